"""Sums within neighbourhoods: each peer in the server's place of its own cell, in a simulation.

Cells overlap, so a peer has a message for each of its cells in each turn, under the name of its
centre; for the rest it is the exchange of every hidden sum, and the same code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..aggregators.hidden.cell import LACKING, Cell, Failure, told_agreed, told_prepared
from ..aggregators.hidden.opening import opened
from ..aggregators.hidden.terms import Terms
from ..errors import tell
from ..spec import Vector
from .channel import ServerChannel

GONE = "its centre is gone, or has said what does not fit."


def opened_sums(
    channel: ServerChannel, terms: Mapping[str, Terms], inboxes: Mapping[str, Any]
) -> dict[str, tuple[Vector, list[str]]]:
    """Centre → the sum of its cell, and who is in it; those alone whose sum is opened.

    A cell has none once its centre does not answer for it, for that would have had to open it; nor
    where too few others are left, or a liar is in it. Why is told; proofs of who lies, by which a
    server bans, are not asked for here.
    """
    cells = {centre: Cell.of(one) for centre, one in terms.items()}
    _turn(channel, cells, inboxes, set(inboxes), Cell.hear_prepared)
    for told, hear in (
        (told_prepared, Cell.hear_vector),
        (Cell.told_inside, Cell.hear_agreed),
        (told_agreed, Cell.hear_help),
    ):
        bodies = dict[str, Any]()
        for centre, cell in cells.items():
            for who, body in told(cell).items():
                bodies.setdefault(who, {})[centre] = body
        asked = {centre for centre in cells if centre in bodies.get(centre, {})}
        _turn(channel, cells, bodies, asked, hear)
    found = dict[str, tuple[Vector, list[str]]]()
    for centre, cell in cells.items():
        total = opened(cell)
        _name(channel, centre, cell)
        if total is not None:
            found[centre] = (total, cell.terms.named(cell.inside))
    return found


def _name(channel: ServerChannel, centre: str, cell: Cell) -> None:
    """Say why a cell has no sum, and whose help is a lie; leave out whose shares do not open."""
    if cell.wrong:
        tell(f"{centre}: the help of {', '.join(cell.wrong)} lies beside that of the others.")
    if not cell.failure:
        return
    tell(f"{centre}: {cell.failure.why}")
    for who in cell.failure.lacking:
        channel.exclude(who, LACKING)


def _turn(
    channel: ServerChannel,
    cells: Mapping[str, Cell],
    bodies: Mapping[str, Any],
    asked: Collection[str],
    hear: Any,
) -> None:
    """Say this to each, and let its cells hear the answers; those fail whose centre was asked
    something of its own cell, and was silent.

    In a cell that it says nothing fitting for, a peer is not; it may be in others.
    """
    answered = set[str]()
    for who, answer in channel.as_completed(bodies):
        said = answer if isinstance(answer, dict) else {}
        for centre in sorted(said.keys() & cells.keys()):
            if who not in cells[centre].terms.names:
                continue
            why = hear(cells[centre], who, said[centre])
            if why:
                channel.exclude(who, why)
            elif who == centre:
                answered.add(who)
    for centre in sorted(set(asked) - answered):
        cells[centre].failure = cells[centre].failure or Failure(GONE)
