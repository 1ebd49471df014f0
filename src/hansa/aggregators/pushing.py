"""Mixing that adds up: what is said is divided or compressed, and is heard once, however late.

PushSum   directed graphs, and messages that are lost: a sum and its weight travel together
Choco     compressed messages, with feedback of what compression has left out
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import PlanError, number
from ..graphs import Mixing
from ..spec import Vector
from .mixing import Inbox, Mine, PeerRule


@dataclass(frozen=True)
class PushSum(PeerRule):
    """Stochastic gradient push, for directed graphs and lost messages   (Assran et al. 2019).

        xᵢ ← Σⱼ W[i, j] xⱼ,    wᵢ ← Σⱼ W[i, j] wⱼ,    z = xᵢ/wᵢ,    xᵢ ← xᵢ + Δᵢ(z)

    Columns of W add up to 1, rows need not: what a peer says is divided among those who hear it and
    itself. So Σᵢ xᵢ and Σᵢ wᵢ stay, whoever hears whom, and z goes to their ratio: the mean. What a
    lost peer has not heard waits for it.
    """

    adds: ClassVar[bool] = True
    directed: ClassVar[bool] = True

    def length(self, size: int) -> int:
        """x and w."""
        return size + 1

    def start(self, v: Vector) -> Mine:
        """All of its own, with weight 1."""
        return {"x": v, "w": np.ones(1)}

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """z, and the sums."""
        x: Vector = np.array(mine["x"])
        w: Vector = np.array(mine["w"])
        for who in sorted(inbox.said):
            x += inbox.said[who][:-1]
            w += inbox.said[who][-1:]
        return x / w, {"x": x, "w": w}

    def say(self, v: Vector, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """x + Δ and w, of which each hearer gets its share; what the peer keeps is its own."""
        x = mine["x"] + (v - mine["x"] / mine["w"])
        kept = {"x": inbox.own * x, "w": inbox.own * mine["w"]}
        return np.concatenate([x, mine["w"]]), kept

    def model(self, v: Vector, message: Vector) -> Vector:
        """x/w."""
        found: Vector = message[:-1] / message[-1]
        return found


@dataclass(frozen=True)
class Choco(PeerRule):
    """CHOCO-SGD: of each message only its largest numbers travel   (Koloskova, Stich, Jaggi 2019).

        q ← top(yᵢ − x̂ᵢ),    x̂ᵢ ← x̂ᵢ + q,    xᵢ ← yᵢ + γ Σⱼ W[i, j] (x̂ⱼ − x̂ᵢ)

    x̂ is what others know of a peer; what compression leaves out stays in the difference, and is
    said later (error feedback). `share` of the numbers are said, ⌈share·d⌉ of d, and their places.
    γ = `gamma` ≤ 1 keeps the mixture stable: the less is said and the smaller the spectral gap, the
    smaller it has to be. All begin with the x̂ that is the first model.
    """

    share: float = 0.1
    gamma: float = 0.1

    adds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        fits = number(self.share) and 0 < self.share <= 1
        if not fits or not number(self.gamma) or not 0 < self.gamma <= 1:
            raise PlanError(
                f"{self!r} mixes nothing.",
                "A share of the numbers is said, and γ is a step up to 1.",
                "Write for example Choco(share=0.1, gamma=0.1).",
            )

    def check(self, mixing: Mixing) -> None:
        """What others know of a peer adds up over rounds with the same weights alone."""
        if mixing.period > 1:
            raise PlanError(
                f"gossip cannot run {self!r} on {mixing.graph}.",
                "Its peers add up what each neighbour says, and here neighbours change.",
                "Write a graph that stays, such as Torus(), or Sum().",
            )

    def start(self, v: Vector) -> Mine:
        """Nothing is known of anybody but where all begin."""
        nothing = np.zeros_like(v)
        return {"y": v, "first": v, "hat": nothing, "heard": nothing}

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """y + γ (Σ W x̂ⱼ − (Σ W) x̂ᵢ), of x̂ without the first model, which all have in common."""
        heard: Vector = np.array(mine["heard"])
        for who in sorted(inbox.said):
            heard += inbox.said[who]
        x: Vector = mine["y"] + self.gamma * (heard - (1.0 - inbox.own) * mine["hat"])
        return x, {**mine, "heard": heard}

    def say(self, v: Vector, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """q, with zeros where nothing is said."""
        gap = v - mine["first"] - mine["hat"]
        said = np.zeros_like(v)
        count = math.ceil(self.share * len(v))
        largest = np.argsort(-abs(gap), kind="stable")[:count]
        said[largest] = gap[largest]
        return said, {**mine, "y": v, "hat": mine["hat"] + said}
