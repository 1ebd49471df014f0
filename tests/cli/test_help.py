"""What a command says of itself fits into 80 columns, whole, and names an example."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from hansa.cli import commands


def every() -> list[str]:
    """The commands, those below another with its name before theirs."""
    found = [_name(one) for one in commands.registered_commands]
    for group in commands.registered_groups:
        assert group.typer_instance
        found += [f"{group.name} {_name(one)}" for one in group.typer_instance.registered_commands]
    return found


def _name(one: object) -> str:
    return str(getattr(one, "name"))  # noqa: B009


def told(*words: str) -> str:
    done = CliRunner().invoke(commands, [*words, "--help"], prog_name="hansa", terminal_width=80)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.promise("P713")
@pytest.mark.parametrize("command", ["", *every()])
def test_help_is_not_cut_off(command: str) -> None:
    out = told(*command.split())
    assert all(len(line) <= 80 for line in out.splitlines())
    cut = [line for line in out.splitlines() if "..." in line and not line.startswith("Usage:")]
    assert not cut
    if command:
        assert re.search(rf"Examples?: hansa {command}", " ".join(out.split())), command


def test_a_list_of_commands_says_of_each_what_it_does() -> None:
    out = " ".join(told().split())
    for command in every():
        if " " not in command:
            assert re.search(rf" {command} [A-Z][a-z]+ ", out), command
