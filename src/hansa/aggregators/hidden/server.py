"""The server of a hidden sum: it asks each cell four times, and opens the sum of each.

It carries what clients say to one another, adds vectors that it cannot read, and learns of the
secrets only what at least t members agree to help with. What does not fit is left out by name; a
cell of which too few are left has no sum, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...spec import Vector
from .. import PROVEN, Channel
from .cell import LACKING, RESTING, Bodies, Cell, told_agreed, told_prepared
from .denials import settle
from .opening import opened


def collect(
    channel: Channel, asked: list[str], cells: Sequence[Cell], told: Any = None
) -> list[tuple[Cell, Vector | None]]:
    """The server's side for all cells of those who are asked at once: each with its sum, if there
    is one.

    told: what all hear first; else who is asked.
    """
    homes = {name: cell for cell in cells for name in cell.terms.names}
    out = _left_out(channel, asked)
    for who, why in out.items():
        channel.exclude(who, why)
    word = told or {"cohort": asked}
    first = {who: word for who in asked if who not in out}
    _turn(channel, first, homes, Cell.hear_prepared)
    for told, hear in (
        (told_prepared, Cell.hear_vector),
        (Cell.told_inside, Cell.hear_agreed),
        (told_agreed, Cell.hear_help),
    ):
        if hear == Cell.hear_agreed:
            settle(channel, cells, homes)
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


def _left_out(channel: Channel, asked: list[str]) -> dict[str, str]:
    """Who is not asked, and why: for the rest of the run, or for this round."""
    before = channel.before
    banned = {who: PROVEN for who in asked if before.get(who) == PROVEN}
    if RESTING in before.values():  # of who is left, one could name honest ones for ever
        return banned
    resting = {who: RESTING for who in asked if before.get(who) == LACKING}
    return {**banned, **resting}
