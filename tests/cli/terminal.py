"""A terminal of 80 columns and 24 lines, in which a command of hansa runs as somebody's would."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 80
LINES = 24
PATIENCE = 60.0  # seconds
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
MOVING = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhl]")  # all but colours


@dataclass(frozen=True)
class Shown:
    """What a command has shown, as it came: with colours, and lines that were drawn over."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        """What can be read, one line after another."""
        return CONTROL.sub("", self.raw).replace("\r", "")

    @property
    def lines(self) -> list[str]:
        """Each line that was ever shown, also where another was drawn over it."""
        parts = re.split(r"\r?\n|\r|\x1b\[[0-9;?]*[A-HJKSTfhl]", self.raw)
        return [line for part in parts if (line := CONTROL.sub("", part).rstrip())]

    @property
    def coloured(self) -> str:
        """The same with its colours."""
        return MOVING.sub("", self.raw).replace("\r", "")


def typed(words: Sequence[str], folder: Path, stop_at: str = "", answer: str = "") -> Shown:
    """Run a command in a terminal of its own, to its end.

    stop_at: press Ctrl-C as soon as this is shown. answer: what is typed at once. TimeoutError after PATIENCE seconds.
    """
    child, ours = pty.fork()
    if child == 0:  # in the terminal
        os.chdir(folder)
        known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        os.execve(words[0], list(words), {**known, "TERM": "xterm-256color"})
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    if answer:
        os.write(ours, f"{answer}\n".encode())
    raw = b""
    end = time.monotonic() + PATIENCE
    while part := _read(ours):
        raw += part
        if stop_at and stop_at in CONTROL.sub("", raw.decode(errors="replace")):
            stop_at = ""
            os.write(ours, b"\x03")
        if time.monotonic() > end:
            os.kill(child, 9)
            raise TimeoutError(f"{words} has not ended: {raw.decode(errors='replace')}")
    os.close(ours)
    _, status = os.waitpid(child, 0)
    return Shown(os.waitstatus_to_exitcode(status), raw.decode(errors="replace"))


def _read(terminal: int) -> bytes:
    """What is there to read; nothing at the end, which Linux tells as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
