"""Draws docs/run.svg: what a terminal shows at the end of a first run. By hand: python -m tests.cli.picture."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text
from tests.cli.terminal import COLUMNS, typed

ROOT = Path(__file__).resolve().parents[2]
LAST = "\x1b[1mround 30 of 30"  # the head of the last screen, in bold


def main() -> None:
    """Run it in a folder of its own, and draw its last screen without what fetches a font from elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        hansa = [sys.executable, "-m", "hansa"]
        assert typed([*hansa, "new", "hospitals", "."], Path(folder)).code == 0
        shown = typed([*hansa, "run", "hospitals.py"], Path(folder))
    assert shown.code == 0, shown.text
    lines = shown.coloured.split("\n")
    begin = max(i for i, line in enumerate(lines) if LAST in line)
    lines[begin] = lines[begin][lines[begin].rindex(LAST) :]
    kept = [line for line in lines[begin:] if "Comparing" not in line and "report  " not in line]
    console = Console(record=True, width=COLUMNS, force_terminal=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print("[bold]$ hansa run hospitals.py[/]")
    for line in kept:
        console.print(Text.from_ansi(line.rstrip()), no_wrap=True)
    font, rest = CONSOLE_SVG_FORMAT.split("@font-face", 1)
    plain = font + rest[rest.rindex("}}", 0, rest.index(".{unique_id}-matrix")) + 2 :]
    console.save_svg(
        str(ROOT / "docs" / "run.svg"), title="hansa", code_format=plain.replace("Fira Code", "DejaVu Sans Mono")
    )


if __name__ == "__main__":
    main()
