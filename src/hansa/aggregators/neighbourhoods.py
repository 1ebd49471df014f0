"""Neighbourhoods: a hidden sum in each closed neighbourhood of a graph, whose centre learns it.

    xᵢ = Σⱼ W[i, j] yⱼ / Σⱼ W[i, j],      over those j in the cell of i whose vectors are in

The cell of i is i and whom it hears. Cells overlap: a peer stands in the server's place of its own,
and is a member of the cell of each who hears it, with other secrets in each. What is added are
integers mod 2³², by which each says its share of its model:

    qⱼ = ⌊W[i, j] · yⱼ · s⌉,      s = (2³¹ − 1 − n)/reach,      n: peers in the cell
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np

from ..asks import Work
from ..codec import dumps, fingerprint, loads
from ..crypto.identity import clients_of
from ..errors import ProtocolError, number, refuse, tell
from ..graphs import Graph, Mixing
from ..spec import Spec, SumFacts, Vector
from ..transforms import Context, Session
from . import Conversation, Draw
from .hidden import HiddenSum
from .hidden.client import member
from .hidden.terms import Terms, colluding
from .mixing import Inbox, Mine, PeerRule

TASK = "hansa neighbourhood 1"
SUM = ""  # under this name, which no peer has, an inbox holds the mean of a neighbourhood
FEWEST = 4  # in a sum, with its centre: then each of the others is one of three
BITS = 32


@dataclass(frozen=True)
class Neighbourhoods(PeerRule):
    """A peer learns the mean of its neighbourhood, and no neighbour's model: `inner` hides these.

        Neighbourhoods(MaskedSum(), graph=Torus(), reach=100.0)

    graph: that of the loop; each peer finds in it by itself who is in a cell. reach: no number of a
    model, and of what is reported beside it, is further from 0; what would be is said as that. It
    hides single models in one round, and no more: over rounds sums are equations in them.
    """

    inner: HiddenSum
    graph: Graph
    reach: float

    hides: ClassVar[bool] = True

    @property
    def identified(self) -> bool:
        """Peers know each other by their keys."""
        return True

    def plan(self, spec: Spec) -> Spec:
        """The same; PlanError where nothing is hidden, or models have no bound."""
        instead = "Write Neighbourhoods(MaskedSum(), graph=Torus(), reach=100.0)."
        hidden = isinstance(self.inner, HiddenSum)
        wrong = [
            (
                not hidden or bool(getattr(self.inner, "holders", 0)),
                f"Neighbourhoods(inner={self.inner!r}).",
                "In each neighbourhood a hidden sum is taken, of which all hold shares.",
                instead,
            ),
            (
                not isinstance(self.graph, Graph),
                f"Neighbourhoods(graph={self.graph!r}).",
                "Each peer finds in the graph whose sums it may be in.",
                instead,
            ),
            (
                not number(self.reach) or not 0 < self.reach <= 2.0**20,
                f"Neighbourhoods(reach={self.reach!r}) bounds no model.",
                "Peers add up models as integers: what they stand for follows from a bound on "
                "each number of a model.",
                instead,
            ),
        ]
        refuse(wrong)
        self.inner.plan(self.added_spec(FEWEST, spec.size))
        return spec

    def check(self, mixing: Mixing) -> None:
        """Raise PlanError where a neighbourhood hides nobody, or the loop has another graph."""
        cells = _cells(mixing)
        smallest = min((sorted(weights) for _, weights in cells), key=len)
        fewest = len(smallest)
        centre, weights = min(cells, key=lambda cell: _heavy(*cell))
        heavy = _heavy(centre, weights)
        alike = repr(self.graph) == mixing.graph
        if alike:  # so may graphs of two classes be written, or two of whom not all is written
            alike = self.graph.among(mixing.names).rows == mixing.rows
        wrong = [
            (
                not alike,
                f"{self!r} in gossip(graph={mixing.graph}), whose links or weights are others.",
                "Peers look into the plan's graph for whose sums they may be in, and how much they "
                "weigh.",
                f"Write gossip(graph={self.graph!r}), with the very graph of the plan.",
            ),
            (
                fewest < FEWEST,
                f"gossip cannot run {self!r}: on {mixing.graph} a neighbourhood has {fewest} "
                f"peers, {', '.join(smallest[:4])}.",
                "Who is in its middle knows its own model, and of fewer than three others the sum "
                "says too much of each.",
                "Write a graph in which each hears three others or more in every round, such as "
                "Torus() or Regular(4).",
            ),
            (
                heavy < FEWEST - 1,
                f"gossip cannot run {self!r}: on {mixing.graph} {heavy} of those whom {centre} "
                "hears have half the largest of their weights or more.",
                f"The others are next to nothing in the sum, so that {centre} would read the "
                "models of those few off it.",
                "Write a graph in which each hears three others or more by like weights, such as "
                "Torus() or Regular(4).",
            ),
        ]
        refuse(wrong)
        self.inner.plan(self.added_spec(max(len(weights) for _, weights in cells), 1))

    def added_spec(self, n: int, size: int, light: int = 0) -> Spec:
        """Of what is added in a cell of n peers: `size` integers mod 2³². `light`: of how many the
        weight hides nobody; without them a sum is over four, so in each there is some weight, and
        a peer refuses a cell that has fewer.
        """
        facts = SumFacts(modulus=BITS, clients=n, quorum=FEWEST + light)
        return Spec({"model": size}, space="integer", sum_facts=facts)

    def cells(self, session: Session, size: int, who: str = "") -> dict[str, Terms]:
        """Centre → its cell in a session, as one party knows it from the plan and its own roster;
        those alone of which `who` is a member, where it is somebody.
        """
        mixing = self.mixing(session)
        found = dict[str, Terms]()
        for centre in mixing.names:
            weights = mixing.of(centre, session.round)
            if who and who not in weights:
                continue
            members = sorted(weights)
            task = fingerprint((TASK, session.task, centre))
            own = replace(session, task=task)
            spec = self.added_spec(len(members), size, _light(centre, weights))
            found[centre] = Terms.of(members, self.inner, spec, own)
        return found

    def exchange(
        self, vector: Callable[[], Work[Vector]], length: int, at: Context
    ) -> Conversation:
        """A peer's side of a round: a member of each cell that it is in, with a message for each in
        each turn. Whose centre says what does not fit together it leaves, and goes on in others.

        vector: trains, and gives what is added [length].
        """
        cells = self.cells(at.session, length, at.who)
        mixing = self.mixing(at.session)
        shares = dict[str, Vector]()  # once it has trained
        members = {
            centre: member(terms, partial(_there, shares, centre), at)
            for centre, terms in cells.items()
        }
        draws: dict[str, Draw] = {centre: next(one) for centre, one in members.items()}
        drawn = yield Draw(lambda: dumps({centre: one.make() for centre, one in draws.items()}))
        told = yield {centre: members[centre].send(one) for centre, one in loads(drawn).items()}
        v = self.within((yield from vector()))
        for centre, terms in cells.items():
            weight = mixing.of(centre, at.round)[at.who]
            shares[centre] = self.encoded(v, weight, terms.n)
        while True:  # until nothing more is asked
            told = yield _replies(at.who, members, told)

    def mixing(self, session: Session) -> Mixing:
        """The graph of all who are on a party's roster."""
        return among(self.graph, tuple(sorted(clients_of(session.roster))))

    def encoded(self, v: Vector, weight: float, n: int) -> Vector:
        """q: a share of a vector that lies within `reach`, in a sum of n."""
        scale = self._scale(n)
        return np.rint(weight * scale * v).astype(np.int64).astype(np.uint32)

    def decoded(self, total: Vector, weight: float, n: int) -> Vector:
        """Σ W v / Σ W of a sum; weight: that of all who are in it."""
        whole = total.astype(np.uint32).view(np.int32)
        return whole / (self._scale(n) * weight)

    def _scale(self, n: int) -> float:
        """s: so that n roundings of ½ leave a sum within 31 bits."""
        return float((2 ** (BITS - 1) - 1 - n) / self.reach)

    def within(self, v: Vector) -> Vector:
        """The nearest vector of which no number is further from 0 than `reach`; ProtocolError for
        NaN and infinity, which as integers would count like numbers.
        """
        if not np.isfinite(v).all():
            raise ProtocolError(
                "What this peer would say holds NaN or infinity.",
                "In a hidden sum of integers nobody could tell it from a number.",
                "Look at its data, or write a lower learning rate.",
            )
        return np.clip(v, -self.reach, self.reach)

    def mix(self, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """The mean of its neighbourhood; where that had no sum, its own model."""
        return np.array(inbox.said.get(SUM, mine["y"])), mine

    def say(self, v: Vector, mine: Mine, inbox: Inbox) -> tuple[Vector, Mine]:
        """Where training led, within reach."""
        y = self.within(v)
        return y, {"y": y}

    def told(self, mixing: Mixing) -> str:
        """How few a peer hides among on this graph, and what that does not hide."""
        cells = [(len(weights), _light(who, weights)) for who, weights in _cells(mixing)]
        n = min(cells)[0]
        least = min(max(self.inner.min_clients(n), FEWEST + light) for n, light in cells)
        most = max(0, min(colluding(self.inner.threshold, n) - 1 - light for n, light in cells))
        return (
            # P615
            f"In each neighbourhood, of {n} peers at least with its centre, {least} or more are in "
            "a sum, which the centre learns, among them three others of whom none weighs less than "
            "half of what another does; no neighbour's model does it see in a round, unless "
            f"{most + 1} or more of the others are in league with it. That is hiding, and no ε: "
            "sums over rounds, and those of two centres together, can be solved for single models "
            "like any linear system; `hansa audit --attacks linear` does it on this graph. A "
            f"number of a model is said as {self.reach:g} where it is further from 0, and "
            f"rounded to {1 / self._scale(n):.2g}."
        )


def _there(shares: dict[str, Vector], centre: str) -> Work[Vector]:
    """A share that is there already, and is written to."""
    yield from ()
    return shares.pop(centre)


def _replies(who: str, members: Mapping[str, Conversation], told: Any) -> dict[str, Any]:
    """What a peer says in each cell that it is told something of."""
    if not isinstance(told, dict) or not told.keys() <= members.keys():
        raise ProtocolError(
            f"{who} was told of a neighbourhood that it is not in.",
            "Its plan's graph says whose sums it may be in.",
            "Look at who carries the messages.",
        )
    found = dict[str, Any]()
    for centre, body in told.items():
        try:
            found[centre] = members[centre].send(body)
        except ProtocolError as error:
            tell(str(error))
        except StopIteration:  # it has left this one
            continue
    return found


@lru_cache(maxsize=8)  # for every peer of a process asks it in each round
def among(graph: Graph, names: tuple[str, ...]) -> Mixing:
    """The graph of these peers."""
    return graph.among(names)


def _cells(mixing: Mixing) -> Sequence[tuple[str, dict[str, float]]]:
    """The centre of each closed neighbourhood of each round, and its members' weights."""
    return [(who, mixing.of(who, round)) for round in range(mixing.period) for who in mixing.names]


def _light(centre: str, weights: Mapping[str, float]) -> int:
    """How many of the others weigh nothing, or less than half of what the heaviest does: in a sum
    they hide nobody.
    """
    others = [weight for who, weight in weights.items() if who != centre]
    half = max(others, default=0.0) / 2
    return sum(not weight or weight < half for weight in others)


def _heavy(centre: str, weights: Mapping[str, float]) -> int:
    """How many of the others hide each other."""
    return len(weights) - 1 - _light(centre, weights)
