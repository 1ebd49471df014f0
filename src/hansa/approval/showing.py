"""Showing: what is in a bundle, and what is other than before, in lines that command nothing.

      heart.py        24 lines          812 bytes  3f2a…         16 digits of the file's SHA-256
      photo.bin      (no text)       10,240 bytes  90bc…
    2 files, 24 lines, sha256 …                                  all 64 of the bundle's

Differences are unified ones, with three lines around each; of what is no text the sizes are told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from difflib import unified_diff

from ..errors import printable
from .bundle import Bundle

BINARY = "(no text)"


def contents(bundle: Bundle) -> Iterator[str]:
    """A line for each file, and one for the whole."""
    lines = {name: _lines(data) for name, data in bundle.files.items()}
    width = max(map(len, bundle.files))
    for name, data in bundle.files.items():
        text = lines[name]
        counted = BINARY if text is None else f"{len(text):,} lines"
        digest = hashlib.sha256(data).hexdigest()[:16]
        yield f"  {name:<{width}}  {counted:>12}  {len(data):>11,} bytes  {digest}…"
    count = sum(len(text) for text in lines.values() if text is not None)
    yield f"{len(lines)} files, {count:,} lines, sha256 {bundle.sha256}"


def difference(before: Bundle | None, now: Bundle) -> Iterator[str]:
    """The unified difference of all files; against nothing where nothing was approved before."""
    old = {} if before is None else before.files
    for name in sorted({*old, *now.files}):
        a = old.get(name)
        b = now.files.get(name)
        if a != b:
            yield from _difference(name, a, b)


def _difference(name: str, a: bytes | None, b: bytes | None) -> Iterator[str]:
    """That of one file."""
    old = _lines(a or b"")
    new = _lines(b or b"")
    names = ("/dev/null" if a is None else f"a/{name}", "/dev/null" if b is None else f"b/{name}")
    if old is None or new is None:
        yield f"--- {names[0]}"
        yield f"+++ {names[1]}"
        yield f"{BINARY}: {len(a or b''):,} bytes before, {len(b or b''):,} now"
        return
    yield from unified_diff(old, new, *names, lineterm="")


def _lines(data: bytes) -> list[str] | None:
    """The lines of a text, with all that would command a terminal written out; None for no text.

    Only a line feed ends a line: what else some programs take for an end is shown as what it is.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    lines = [printable(line) for line in text.split("\n")]
    if lines[-1]:
        return [*lines[:-1], lines[-1] + " (no line feed at its end)"]
    return lines[:-1]
