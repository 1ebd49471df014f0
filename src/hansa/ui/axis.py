"""A dot on a line, which takes the room that there is: where a value lies between two others.

─────────●──────────    a column of a table, at its full width
───●────                the same dot in a narrow terminal
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

NARROWEST = 8
WIDEST = 20


@dataclass(frozen=True)
class Axis:
    """A dot at `place`, from 0 (the lowest) to 1 (the highest), in a style."""

    place: float
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line, at most WIDEST characters, and never wider than the column."""
        width = min(WIDEST, options.max_width)
        dot = round((width - 1) * self.place)
        yield Text.assemble(
            ("─" * dot, "dim"), ("●", self.style), ("─" * (width - 1 - dot), "dim"), no_wrap=True
        )

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From NARROWEST to WIDEST, as far as there is room."""
        return Measurement(NARROWEST, WIDEST).with_maximum(options.max_width)
