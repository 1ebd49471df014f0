"""Mixing among liars: what a neighbour says counts as far as its distance from a peer's own model.

    xᵢ ← yᵢ + Σⱼ W[i, j] clip(yⱼ − yᵢ, τᵢ),      clip(v, τ) = v · min(1, τ/‖v‖)

A liar with weight w moves a peer by w·τᵢ in a round at most, and τᵢ follows from the distances of
all neighbours, of whom some with a weight of `weight` together may lie. There is no rule for all:
where liars are most of a neighbourhood, they decide.

    ClippedGossip   τᵢ from the mean square of the nearer distances
    ClippedSum      τᵢ is the distance beyond which lies twice the liars' weight
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import PlanError, number
from ..graphs import Mixing
from ..spec import Vector
from .mixing import Inbox, Mine, PeerRule


@dataclass(frozen=True)
class ClippedGossip(PeerRule):
    """Self-centred clipping   (He, Karimireddy, Jaggi 2022; the practical radius).

        τᵢ² = Σ_{j near} W[i, j] ‖yⱼ − yᵢ‖² / b

    b is `weight`, and near are the closest, itself too, whose weights add up to 1 − b at most.
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        if not number(self.weight) or not 0 < self.weight < 0.5:
            raise PlanError(
                f"{self!r} withstands nobody.",
                "Of a peer's neighbourhood, with its own weight 1 in all, so much may lie.",
                "Write a weight above 0 and below ½, such as 0.1; Sum() trusts all.",
            )

    def radius(self, distances: Vector, weights: Vector) -> float:
        """τ of sorted distances, nearest first, and their weights; the peer's own is the first."""
        near = np.cumsum(weights) <= weights.sum() - self.weight + 1e-12
        return float(np.sqrt((weights[near] * distances[near] ** 2).sum() / self.weight))

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """xᵢ."""
        y = mine["y"]
        names = sorted(inbox.said)
        steps = [inbox.said[who] - y for who in names]
        far = np.array([np.linalg.norm(step) for step in steps])
        weights = np.array([inbox.weights[who] for who in names])
        x: Vector = np.array(y)
        if not names:
            return x, mine
        order = np.argsort(far, kind="stable")
        own = 1.0 - weights.sum()
        tau = self.radius(np.append(0.0, far[order]), np.append(own, weights[order]))
        for i, step in enumerate(steps):
            x += weights[i] * _shorter(step, far[i], tau)
        return x, mine

    def check(self, mixing: Mixing) -> None:
        """Raise PlanError where a single neighbour weighs more than may lie."""
        heaviest = max(
            weight
            for rows in mixing.rows
            for i, row in enumerate(rows)
            for j, weight in row.items()
            if j != i
        )
        if heaviest > self.weight + 1e-12:
            raise PlanError(
                f"gossip cannot run {self!r} on {mixing.graph}.",
                f"A single neighbour has a weight of {heaviest:.3g} there, so not one may lie.",
                f"Write weight={heaviest:.3g} or more, or a graph with more neighbours.",
            )

    def told(self, mixing: Mixing) -> str:
        """How many neighbours may lie, of the peer that has the fewest to spare."""
        fewest = min(
            self._liars([weight for j, weight in row.items() if j != i])
            for rows in mixing.rows
            for i, row in enumerate(rows)
        )
        return (
            f"Of each peer's neighbours {fewest} may lie, whose weights add up to {self.weight:g} "
            "at most; more of them decide. How far from the honest mean it ends with them no "
            "theorem is told of."
        )

    def _liars(self, weights: list[float]) -> int:
        """How many of the heaviest neighbours weigh no more than may lie."""
        heaviest = np.sort(weights)[::-1]
        return int((np.cumsum(heaviest) <= self.weight + 1e-12).sum())


@dataclass(frozen=True)
class ClippedSum(ClippedGossip):
    """The clipped sum CS₊ of robust gossip   (Gaucher, Dieuleveut, Hendrikx 2025).

        τᵢ = the largest distance beyond which neighbours of weight 2b or more lie

    b is `weight`. So all who are further than τ are clipped: those who lie, and as many others.
    """

    def radius(self, distances: Vector, weights: Vector) -> float:
        """τ: 0 where the peer's own weight does not reach that far."""
        within = np.cumsum(weights)
        target = weights.sum() - 2 * self.weight
        reached = int(np.searchsorted(within, target - 1e-12))
        if reached < len(within) and abs(within[reached] - target) <= 1e-12:
            return float(distances[reached])
        return float(distances[reached - 1]) if reached else 0.0


def _shorter(step: Vector, length: float, tau: float) -> Vector:
    """clip(v, τ)."""
    if length <= tau:
        return step
    found: Vector = step * (tau / length)
    return found
