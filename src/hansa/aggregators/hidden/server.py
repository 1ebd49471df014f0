"""The server of a hidden sum: it asks each cell four times, and opens the sum of each.

It carries what clients say to one another, adds vectors that it cannot read, and learns of the
secrets only what at least t members agree to help with. What does not fit is left out by name; a
cell of which too few are left has no sum, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...spec import Vector
from .. import Channel
from .cell import APART, LACKING, RESTING, Bodies, Cell
from .opening import opened


def collect(
    channel: Channel, asked: list[str], cells: Sequence[Cell], told: Any = None
) -> list[tuple[Cell, Vector | None]]:
    """The server's side for all cells of those who are asked at once: each with its sum, if there
    is one.

    told: what all hear first; else who is asked.
    """
    homes = {name: cell for cell in cells for name in cell.terms.names}
    resting = [who for who in asked if channel.before.get(who) == LACKING]
    if RESTING in channel.before.values():  # of who is left, one could name honest ones for ever
        resting = []
    for who in resting:
        channel.exclude(who, RESTING)
    word = told or {"cohort": asked}
    first = {who: word for who in asked if who not in resting}
    _turn(channel, first, homes, Cell.hear_prepared)
    for told, hear in (
        (Cell.told_prepared, Cell.hear_vector),
        (Cell.told_inside, Cell.hear_agreed),
        (Cell.told_agreed, Cell.hear_help),
    ):
        if hear == Cell.hear_agreed:
            _leave_out(channel, cells)
        bodies = {who: body for cell in cells for who, body in told(cell).items()}
        _turn(channel, bodies, homes, hear)
    found = [(cell, opened(cell)) for cell in cells]
    for cell in cells:
        for who in cell.failure.lacking if cell.failure else ():
            channel.exclude(who, LACKING)
    return found


def _turn(
    channel: Channel,
    bodies: Bodies,
    homes: Mapping[str, Cell],
    hear: Callable[[Cell, str, Any], str],
) -> None:
    """Say this to each, and let its cell hear the answer; who says something else is left out."""
    for who, answer in channel.as_completed(bodies):
        if why := hear(homes[who], who, answer):
            channel.exclude(who, why)


def _leave_out(channel: Channel, cells: Sequence[Cell]) -> None:
    """Take those out of each sum with whom it could not be opened, and without whom it can."""
    for cell in cells:
        for i in cell.terms.scheme.left_out(cell.terms, cell.holds, cell.inside):
            cell.vectors.remove(i)
            cell.inside[i] = False
            channel.exclude(cell.terms.names[i], APART)
