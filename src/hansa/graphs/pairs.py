"""Pairs: in each round every peer meets one neighbour at most, drawn at random.

It is what asynchronous gossip by pairs becomes where rounds are in step: as few messages, and
nobody waits for more than one other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PlanError, number
from ..rand import Key
from . import Graph, Links, Rows, refused, symmetric
from .known import Complete


@dataclass(frozen=True)
class Pairs(Graph):
    """Disjoint pairs of neighbours, drawn anew in each round; both take the mean of theirs.

        xᵢ, xⱼ ← (xᵢ + xⱼ)/2,      {i, j} a link of `of`

    Links are gone through in random order, and one is taken where both ends are free; who finds
    nobody keeps its own. `period` rounds are drawn from `seed`, and then begin again. With one pair
    in a round this is randomized gossip   (Boyd, Ghosh, Prabhakar, Shah 2006, "Randomized Gossip
    Algorithms"); averaging with a random neighbour after local steps is SwarmSGD's idea, whose
    peers do not wait for each other (Nadiradze et al. 2021).
    """

    of: Graph = Complete()
    period: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.of, Graph) or not number(self.period, whole=True) or self.period < 1:
            raise PlanError(
                f"{self!r} draws no pairs.",
                "Pairs are neighbours in another graph, and `period` counts the rounds drawn.",
                "Write for example Pairs(Regular(4)), or Pairs() for anybody with anybody.",
            )

    def links(self, names: Sequence[str]) -> Links:
        """Who may meet: the links of `of`; PlanError where somebody hears whom it is not heard
        by.
        """
        found = self.of.links(names)
        if not symmetric(found):
            raise refused(
                self,
                len(names),
                "Both of a pair hear each other, and in that graph some links lead one way.",
                "Write each link in both directions.",
            )
        return found

    def rounds(self, names: Sequence[str]) -> tuple[Rows, ...]:
        """A matching of each round."""
        every = self.links(names)
        pairs = [(i, j) for i, heard in enumerate(every) for j in sorted(heard) if i < j]
        rng = Key.of(self.seed).child("pairs", len(names), len(pairs)).rng()
        return tuple(_matched(len(names), pairs, rng) for _ in range(int(self.period)))


def _matched(n: int, pairs: Sequence[tuple[int, int]], rng: np.random.Generator) -> Rows:
    """The weights of one draw: no link is left whose ends are both free (a maximal matching)."""
    met = dict[int, int]()
    for place in rng.permutation(len(pairs)):
        i, j = pairs[place]
        if i not in met and j not in met:
            met[i] = j
            met[j] = i
    return tuple({i: 0.5, met[i]: 0.5} if i in met else {i: 1.0} for i in range(n))
