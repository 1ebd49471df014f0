"""Every Python block of the README and the docs runs, page by page, from top to bottom; every command is known."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "docs/how-to", "docs/uses")
PAGES = [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md")))]
PRINTED = ("own-data.md",)  # pages whose blocks of text are what their Python prints


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.promise("P711")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)  # noqa: S102
    shown = blocks(page, "text") if page.name in PRINTED else []
    printed = capsys.readouterr().out
    assert [text for text in shown if text not in printed] == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    from hansa.cli import commands

    for line in "\n".join(blocks(page, "sh")).replace(";", "\n").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["hansa"]:
            told = CliRunner().invoke(commands, [words[1], "--help"])
            assert told.exit_code == 0, f"{page.name}: {line}"
            for option in (word for word in words if word.startswith("--")):
                assert option in told.output, f"{page.name}: {line} uses {option}"


def test_the_readme_shows_the_three_commands_first() -> None:
    lines = blocks(ROOT / "README.md", "sh")[0].splitlines()
    assert [line.split()[:2] for line in lines] == [["make", "demo"], ["make", "test"], ["make", "sites"]]


def test_the_program_of_the_readme_has_twenty_lines() -> None:
    program = blocks(ROOT / "README.md", "python")[0]
    assert len(program.strip().splitlines()) <= 22
