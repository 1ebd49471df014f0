"""Mixing among liars by trimming: of each number the largest and the smallest that are heard are
dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import PlanError, number
from ..graphs import Mixing
from ..spec import Vector
from .mixing import Inbox, Mine, PeerRule


@dataclass(frozen=True)
class TrimmedGossip(PeerRule):
    """The mean of a peer's own model and, number by number, of what its neighbours say without the
    b largest and the b smallest:

        xᵢ[k] = (yᵢ[k] + y₍b₊₁₎[k] + … + y₍h₋b₎[k]) / (1 + h − 2b),    y₍₁₎ ≤ … ≤ y₍h₎ of h heard

    b is `liars`. Of b liars at most, who say anything, a number that is kept lies between two that
    honest neighbours say: else b + 1 would lie beyond the honest. All neighbours count alike.
    (the screening of Fang, Yang, Bajwa 2022, BRIDGE)
    """

    liars: int = 1

    def __post_init__(self) -> None:
        if not number(self.liars, whole=True) or self.liars < 1:
            raise PlanError(
                f"{self!r} withstands nobody.",
                "So many of a peer's neighbours may lie.",
                "Write a whole number from 1 on; Sum() trusts all.",
            )

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """xᵢ; where too few are heard to trim, the peer's own model."""
        b = self.liars
        y = mine["y"]
        if len(inbox.said) <= 2 * b:
            return np.array(y), mine
        heard = np.sort(np.stack([inbox.said[who] for who in sorted(inbox.said)]), axis=0)
        kept = heard[b : len(heard) - b]
        return (y + kept.sum(axis=0)) / (1 + len(kept)), mine

    def check(self, mixing: Mixing) -> None:
        """Raise PlanError where a peer hears too few to trim."""
        fewest = _fewest(mixing)
        if fewest <= 2 * self.liars:
            raise PlanError(
                f"gossip cannot run {self!r} on {mixing.graph}.",
                f"A peer hears {fewest} others in some round, of whom it would drop "
                f"{2 * self.liars}.",
                f"Write a graph in which each hears {2 * self.liars + 1} others or more, such as "
                f"Regular({2 * self.liars + 2}), or fewer liars.",
            )

    def told(self, mixing: Mixing) -> str:
        """How many neighbours may lie."""
        return (
            # P617
            f"Of each peer's neighbours, {_fewest(mixing)} at least in each round, {self.liars} "
            "may lie: each number of its mean then lies between two that it and its honest "
            f"neighbours have. {self.liars + 1} may decide it. The mean of all peers is not kept, "
            "with and without liars, and how near the honest come to each other no theorem is told "
            "of."
        )


def _fewest(mixing: Mixing) -> int:
    """How many others a peer hears in a round, at least."""
    return min(len(row.keys() - {i}) for rows in mixing.rows for i, row in enumerate(rows))
