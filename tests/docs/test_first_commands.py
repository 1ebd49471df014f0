"""The first ten commands of a site, as its page has them, from an empty folder to a run that is over."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.approving import hansa, study

from hansa.kits.provision import Design, provision

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "sites.md"


def commands() -> list[list[str]]:
    """The commands of the section, as words."""
    section = PAGE.read_text(encoding="utf-8").split("## A site's first ten commands\n")[1]
    (block,) = re.findall(r"^```console\n(.*?)^```", section.split("\n## ")[0], re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    assert all(line.startswith("hansa ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def begun(folder: Path, *words: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "hansa", *map(str, words)]
    pipe = subprocess.PIPE
    users = {**os.environ, "NO_COLOR": "1"}
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=users)


def words_of(output: str) -> str:
    """The eight words that a command prints to be read aloud."""
    return re.findall(r"\b[a-z]+(?:-[a-z]+){7}\b", output)[-1]


@pytest.mark.promise("P522")
def test_the_first_ten_commands_of_a_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = study(tmp_path / "study")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    authority = provision(
        Design("heart study", address, parties={"server": "server", "south": "client"}), tmp_path / "pki"
    )
    server, south = (authority.folder / "kits" / who for who in ("server", "south"))
    here = tmp_path / "north"
    here.mkdir()
    monkeypatch.chdir(here)
    for who in ("north", "south"):  # each where it is
        (app.parent / "data" / f"{who}.csv").rename(f"{who}.csv")
    enroll, add, *rest = commands()
    heard = words_of(hansa(*enroll).output)
    answer = ("--pki", authority.folder, "--out", "north.answer", "--words", heard)
    read = words_of(hansa("provision", "--sign", "kit/request.pem", *answer).output)
    assert hansa(*add[:-1], read).exit_code == 0 and add[-2] == "--words"
    assert hansa("kit", "add", server, authority.folder / "roster.json").exit_code == 0

    serving = begun(tmp_path, "serve", app, "--kit", server, "--wait", 0)
    assert serving.stdout is not None and "Waiting for north, south" in serving.stdout.readline()
    said = []
    for words in rest:
        if words[0] == "join":
            assert hansa("approve", "heart.bundle", "--kit", south, "--by", "officer").exit_code == 0
            there = ("--kit", south, "--data", "south.csv")
            both = [begun(here, *words), begun(here, "join", "heart.bundle", *there)]
            outputs = [one.communicate(timeout=120)[0] for one in (*both, serving)]
            assert [one.returncode for one in (*both, serving)] == [0, 0, 0], outputs
            assert "round 4: sent" in outputs[0]
            continue
        told = hansa(*words)
        assert told.exit_code == 0, f"{words}: {told.output}"
        said.append(told.output)
    assert "24 examples can be read." in said[-2] and "4 of 4 rounds answered" in said[-1]
    assert not list(Path("kit/apps").iterdir())
