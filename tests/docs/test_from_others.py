"""Commands that the page for who comes from elsewhere gives: those of a federation's beginning run, all are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.approving import hansa, study
from typer.testing import CliRunner

from hansa.cli import commands

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "from-flower-nvflare-sites.md"
WORDS = re.compile(r"\b[a-z]+(?:-[a-z]+){7}\b")


@pytest.mark.promise("P571")
def test_the_commands_of_the_page_run_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = study(tmp_path / "study")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "federation.toml").write_text('name = "heart study"\naddress = "127.0.0.1:7443"\n')
    (app.parent / "data" / "north.csv").rename("north.csv")
    (block,) = re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    heard = ""
    said: dict[str, str] = {}
    for line in block.splitlines():
        words = shlex.split(line.removeprefix("$ hansa "))
        if "--words" in words:
            words[-1] = heard
        if words[0] == "bundle":
            words[1] = str(app)
        told = hansa(*words)
        assert told.exit_code == 0, f"{line}: {told.output}"
        heard = (WORDS.findall(told.output) or [heard])[-1]
        said[words[0]] = told.output
    assert "24 examples can be read." in said["check"] and "serial 3" in said["roster"]


@pytest.mark.promise("P571")
def test_every_command_and_option_that_the_page_names_is_there() -> None:
    tables = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    named = {one for line in tables for one in re.findall(r"`(hansa [^`]+)`", line)}
    assert len(named) > 12
    for line in sorted(named):
        words = [word for word in line.split()[1:] if "…" not in word]
        groups = {"kit": 2, "roster": 2, "policy": 2}
        command = words[: groups.get(words[0], 1)]
        told = CliRunner().invoke(commands, [*command, "--help"], terminal_width=200)
        assert told.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in told.output, f"{line} uses {option}"
