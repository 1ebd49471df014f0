"""What an explanation is made of: sections, and numbers and lists in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..known import own

Row = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of an explanation: a sentence or two, and a table."""

    title: str
    text: str
    head: Row = ()
    rows: tuple[Row, ...] = ()


def many(n: int) -> str:
    """A number with its thousands apart."""
    return f"{n:,}".replace(",", " ")


def count(n: int, one: str, many: str) -> str:
    """So many of something, in words."""
    return f"{n} {one if n == 1 else many}"


def listed(names: Sequence[str]) -> str:
    """Names as a clause: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def whose(piece: object) -> str:
    """Beside what a piece says of itself: hansa's own is known, and a stranger's is not."""
    return "" if own(piece) else f", as {type(piece).__name__} says, which is not hansa's own"
