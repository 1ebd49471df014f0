"""Passing: one model that travels along the graph, and is trained by whoever has it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..graphs import Mixing
from ..rand import Key
from ..spec import Vector
from .mixing import Inbox, Mine, PeerRule


@dataclass(frozen=True)
class Passing(PeerRule):
    """No mixing: whoever has the model trains it, and passes it to one that hears it.

        P[i next | j has it] = W[i, j]

    By Metropolis–Hastings weights it is with each peer as often, in the long run, since columns and
    rows of W add up to 1; a directed ring of shares of 1 is cyclic training. It goes on from where
    it was last, also where a message is lost.   (a random walk; Chang et al. 2018, cyclic)
    """

    alone: ClassVar[bool] = True

    def asked(self, mixing: Mixing, has: Collection[str], round: int, key: Key) -> tuple[str, ...]:
        """Who has the model next, after `has`; before all it is drawn."""
        rng = key.child("passing", round).rng()
        if not has:
            return (mixing.names[int(rng.integers(len(mixing.names)))],)
        (who,) = has
        shares = [mixing.of(one, round).get(who, 0.0) for one in mixing.names]
        return (mixing.names[int(rng.choice(len(shares), p=np.array(shares) / sum(shares)))],)

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """What it is passed; its own, where that is what it was passed last, and it has kept it."""
        (v,) = inbox.said.values() or (mine["y"],)
        return np.array(v), mine

    def told(self, mixing: Mixing) -> str:
        """Who trains."""
        return (
            # P618
            "One peer trains in a round, and passes the model to one that hears it, drawn by the "
            "weights of the graph from the plan's seed: that one hears the model by name, and no "
            "other does. ε is told as if all trained in every round."
        )
