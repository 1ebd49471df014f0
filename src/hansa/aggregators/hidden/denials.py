"""How the server of a hidden sum settles denials: who says that it holds no share of another is
asked to prove it, before anybody signs who is in the sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...crypto.disclosure import PROOF
from .. import PROVEN, Channel
from .cell import Bodies, Cell, Failure, addressed
from .proving import Dealt, Proof, is_octets
from .terms import as_set

UNPROVEN = "it says that it holds no share of another, and does not prove it"


def settle(channel: Channel, cells: Sequence[Cell], homes: Mapping[str, Cell]) -> None:
    """Have all who deny a share prove it: its dealer is out for the run, or they are named, whose
    word alone does no harm to others.
    """
    bodies = {who: body for cell in cells for who, body in _told(cell).items()}
    if not bodies:
        return
    answers = dict(channel.as_completed(bodies))
    for who in sorted(bodies):
        proofs = _proofs(homes[who], who, answers.get(who))
        homes[who].proven += proofs
        if not proofs:
            channel.exclude(who, UNPROVEN)
    for cell in cells:
        for who in sorted({proof.dealt.dealer for proof in cell.proven}):
            channel.exclude(who, PROVEN)
            _remove(cell, who)


def _told(cell: Cell) -> Bodies:
    """To each who says that it holds no share of somebody, what that one has signed."""
    lacks = cell.inside[:, None] & cell.view.prepared[None, :] & ~cell.holds
    bodies = dict[int, Any]()
    for j in np.flatnonzero(lacks.any(axis=1)).tolist():
        bodies[j] = {
            "denied": as_set(lacks[j]),
            "boxes": cell.between[lacks[j]],
            "signatures": cell.dealt[lacks[j]],
        }
    return addressed(cell, bodies)


def _proofs(cell: Cell, who: str, answer: Any) -> list[Proof]:
    """Of all whose shares a client has denied; none, where it does not prove each."""
    j = cell.terms.number(who)
    denied = np.flatnonzero(cell.view.prepared & ~cell.holds[j]).tolist()
    if not is_octets(answer, (len(denied), PROOF)):
        return []
    found = list[Proof]()
    for row, i in zip(answer, denied, strict=True):
        dealt = _dealt(cell, i)
        if not dealt.is_rubbish(j, who, cell.terms.members[who], bytes(row)):
            return []
        found.append(Proof(dealt, who, bytes(row)))
    return found


def _dealt(cell: Cell, i: int) -> Dealt:
    """The first message of a member."""
    terms = cell.terms
    who = terms.names[i]
    boxes = cell.between[i].copy()
    signature = bytes(cell.dealt[i])
    return Dealt(terms.binding, who, terms.members[who], cell.view.public(i), boxes, signature)


def _remove(cell: Cell, who: str) -> None:
    """Go on without a member's vector, and with no sum where that does not come off it."""
    i = cell.terms.number(who)
    if not cell.inside[i]:
        return
    if cell.terms.scheme.apart:
        cell.vectors.remove(i)
        cell.inside[i] = False
    elif not cell.failure:
        cell.failure = Failure(
            f"{who} has dealt rubbish, and its vector does not come off the sum again."
        )
