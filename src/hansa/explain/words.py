"""What an explanation is made of: sections, and numbers and lists in words.

A section is data and no markup: the terminal, a report and `str` each lay it out in their own way.
All rows of a section have equally many cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..known import own

Row = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of an explanation: a sentence or two, and a table.

    head: names of the columns; () or empty texts where they need none, as for a setting and its
    value.
    """

    title: str
    text: str
    head: Row = ()
    rows: tuple[Row, ...] = ()


def many(n: int) -> str:
    """A number with its thousands apart: 1 234 567."""
    return f"{n:,}".replace(",", " ")


def count(n: int, one: str, many: str) -> str:
    """So many of something, in words: 1 client, 5 clients."""
    return f"{n} {one if n == 1 else many}"


def listed(names: Sequence[str]) -> str:
    """Names, one or more, as a clause: a, b and c."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def whose(piece: object) -> str:
    """Beside what a piece says of itself: hansa's own is known, and a stranger's is not."""
    if own(piece):
        return ""
    return f", as {type(piece).__name__} says, which is not hansa's own"
