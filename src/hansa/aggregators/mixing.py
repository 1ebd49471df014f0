"""Mixing: what a peer makes of what it hears from its neighbours, and what it says to them.

    point, mine = rule.mix(mine, inbox)         a round begins: the point that it trains from
    message, mine = rule.say(v, mine, inbox)    and ends: v [size] is where training led

A peer has no server; `mine` is what it keeps between rounds, as vectors by name. So the mixture of
a whole graph is these two functions, and a matrix of weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ..errors import PlanError
from ..graphs import Mixing
from ..rand import Key
from ..spec import Vector
from . import Aggregator, RobustRule
from .reveals import Reveals

Mine = dict[str, Vector]  # what a peer keeps of mixing


@dataclass(frozen=True)
class Inbox:
    """What a peer is given when a round begins.

    weights: of whom it hears, and its own. said: what each of them has said, by name; of who is
    silent nothing.
    """

    me: str
    weights: Mapping[str, float]
    said: Mapping[str, Vector]

    @property
    def own(self) -> float:
        """The weight of its own."""
        return self.weights.get(self.me, 0.0)


class Rule(Protocol):
    """How a peer mixes; values in, values out."""

    # is what is said added up until it is heard? Else the latest counts alone, and is the model
    adds: ClassVar[bool]
    # does it take graphs in which somebody is heard whom it does not hear?
    directed: ClassVar[bool]
    # does a peer say its model to nobody, but into hidden sums?
    hides: ClassVar[bool]
    # is there one model, which is with one peer at a time?
    alone: ClassVar[bool]

    def asked(self, mixing: Mixing, has: Collection[str], round: int, key: Key) -> tuple[str, ...]:
        """Whose round it is; `has`: who has said something, and `key` is public."""
        ...

    def length(self, size: int) -> int:
        """How many numbers it says, where a model with what travels beside it has so many."""
        ...

    def start(self, v: Vector) -> Mine:
        """What a peer keeps before its first round, from the point that all begin with."""
        ...

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """The point [size] that it trains from, and what it keeps."""
        ...

    def say(self, v: Vector, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """What it says to all who hear it, and what it keeps; v [size]: where training led."""
        ...

    def model(self, v: Vector, message: Vector) -> Vector:
        """Its own model [size] after it has said this, with what travels beside it."""
        ...


@dataclass(frozen=True)
class Averaging:
    """The weighted mean of what is heard   (D-PSGD: Lian et al. 2017, Alg. 1, in the order of
    Koloskova et al. 2020, Alg. 1, with local steps).

        xᵢ ← yᵢ + Σⱼ W[i, j] (yⱼ − yᵢ),      yᵢ ← xᵢ + Δᵢ

    The weight of who is silent is the peer's own.
    """

    adds: ClassVar[bool] = False
    directed: ClassVar[bool] = False
    hides: ClassVar[bool] = False
    alone: ClassVar[bool] = False

    def asked(self, mixing: Mixing, has: Collection[str], round: int, key: Key) -> tuple[str, ...]:
        """All."""
        return mixing.names

    def length(self, size: int) -> int:
        """As many."""
        return size

    def start(self, v: Vector) -> Mine:
        """The point that all begin with."""
        return {"y": v}

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """xᵢ."""
        y = mine["y"]
        x: Vector = np.array(y)
        for who in sorted(inbox.said):
            x += inbox.weights[who] * (inbox.said[who] - y)
        return x, mine

    def say(self, v: Vector, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """yᵢ, to all alike."""
        return v, {"y": v}

    def model(self, v: Vector, message: Vector) -> Vector:
        """What it says."""
        return message


class PeerRule(Aggregator):
    """An aggregator that has no server: it is a `Rule`, by which peers mix.

    A plan with one of these runs in `gossip`; loops with a server refuse it.
    """

    adds: ClassVar[bool] = False
    directed: ClassVar[bool] = False
    hides: ClassVar[bool] = False
    alone: ClassVar[bool] = False

    def asked(self, mixing: Mixing, has: Collection[str], round: int, key: Key) -> tuple[str, ...]:
        """Whose round it is; `has`: who has said something, and `key` is public. Here: all."""
        return mixing.names

    def length(self, size: int) -> int:
        """As many numbers as are mixed."""
        return size

    def start(self, v: Vector) -> Mine:
        """The point that all begin with."""
        return {"y": v}

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """The point that it trains from, and what it keeps."""
        raise TypeError(f"{type(self).__name__} does not say how it mixes")

    def say(self, v: Vector, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """Where training led, to all alike."""
        return v, {"y": v}

    def model(self, v: Vector, message: Vector) -> Vector:
        """Where training led."""
        return v

    def check(self, mixing: Mixing) -> None:
        """Raise PlanError where it cannot mix on this graph."""

    def told(self, mixing: Mixing) -> str:
        """What it does and withstands on this graph, in a sentence; nothing where it says none."""
        return ""

    def reveals(self) -> Reveals:
        """Each neighbour hears each model."""
        return Reveals(server="each", clients="each")


def rule_of(aggregator: Aggregator) -> Rule:
    """How peers of a plan with this aggregator mix; PlanError for one that needs a server."""
    if isinstance(aggregator, PeerRule):
        return aggregator
    if aggregator.sums:
        return Averaging()
    why = "What it makes of vectors is not known for the few that one peer hears."
    instead = "Take Sum(), which mixes and hides nothing, or `synchronous`."
    if aggregator.identified:
        why = (
            "It hides vectors among those of one cohort, which one server sums, and here each "
            "neighbourhood has a sum of its own."
        )
        instead = "Write Neighbourhoods(MaskedSum(), graph=…, reach=…)."
    elif isinstance(aggregator, RobustRule):
        why = "It is a rule for a server, which hears all; how few of them lie here it cannot know."
    raise PlanError(f"gossip cannot run {aggregator!r}.", why, instead)


def is_inbox(body: Any) -> bool:
    """Is this how a peer is asked, by its form?"""
    return isinstance(body, dict) and body.keys() == {"weights", "said"}


def inbox_of(me: str, body: Any, size: int) -> Inbox | None:
    """The inbox that a message holds; None where it has none, or holds other than shares.

    Whoever has said no vector of this size, or numbers that are not finite, counts as silent.
    """
    if not is_inbox(body):
        return None
    weights = body["weights"]
    said = body["said"]
    if not isinstance(weights, dict) or not isinstance(said, dict):
        return None
    fits = all(isinstance(one, float) and 0 <= one <= 1 for one in weights.values())
    if not fits or not said.keys() <= weights.keys():
        return None
    heard = {who: v for who, v in said.items() if who != me and is_vector(v, size)}
    return Inbox(me, weights, heard)


def is_vector(v: Any, size: int) -> bool:
    """Is this a vector of so many finite numbers?"""
    shaped = isinstance(v, np.ndarray) and v.shape == (size,) and v.dtype == np.float64
    return shaped and bool(np.isfinite(v).all())
