"""Clients of an EncryptedSum without a network, and a channel between them and the real server; anybody may lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.attacks.attackers_hidden import KEY, Craft, Talk, sealed
from tests.attacks.attackers_hidden import Line as AnyLine

import hansa as h
from hansa.aggregators.encrypted import packed
from hansa.aggregators.hidden.cell import Cell
from hansa.aggregators.hidden.client import Me
from hansa.aggregators.hidden.server import collect
from hansa.aggregators.hidden.terms import Terms, View, digest_of, form_of, said_of
from hansa.crypto.identity import Identity
from hansa.crypto.packing import Packing
from hansa.spec import Spec, SumFacts, Vector
from hansa.transforms import Context, Session

TASK = b"a session"


@dataclass
class Circle:
    """n clients of one session, with vectors of 16 bits whose sum has as many."""

    n: int = 10
    size: int = 100
    threshold: float = 2 / 3
    task: bytes = TASK

    def __post_init__(self) -> None:
        self.aggregator = h.EncryptedSum(self.threshold)
        self.spec = Spec({"delta": self.size}, space="integer", sum_facts=SumFacts(modulus=16, clients=self.n))
        self.names = [f"client-{i:03d}" for i in range(self.n)]
        self.identities = {who: Identity.of(who, "client", KEY) for who in self.names}
        self.roster = {who: one.member for who, one in self.identities.items()}
        most = (2**15 - 1) // self.n
        draw = np.random.Generator(np.random.PCG64(self.n))
        self.vectors = {
            who: draw.integers(-most, most, self.size, np.int16, endpoint=True).view(np.uint16) for who in self.names
        }

    def session(self, who: str = "") -> Session:
        """As a client knows it, or the server."""
        return Session(
            0, task=self.task, roster=self.roster, identity=self.identities.get(who), cohort=tuple(self.names)
        )

    @property
    def terms(self) -> Terms:
        """Of all of them."""
        return Terms.of(self.names, self.aggregator, self.spec, self.session())

    @property
    def way(self) -> Packing:
        """How their vectors are packed."""
        return packed(self.spec, self.n)

    def talk(self, who: str, drawn: bytes = b"") -> Talk:
        """A conversation with a client."""
        at = Context(self.session(who), KEY, self.spec, who)
        return Talk(self.aggregator, self.vectors[who], at, drawn)

    def me(self, who: str) -> Me:
        """What a client knows of itself, for one that cheats."""
        return Me(self.terms, Context(self.session(who), KEY, self.spec, who))

    def sum(self, inside: Iterator[str] | list[str]) -> Vector:
        """What the plain sum of these would be."""
        return np.asarray(np.sum([self.vectors[who] for who in inside], axis=0, dtype=np.uint16))


class Line(AnyLine):
    """Between the server and all clients of a circle. gone: who → the turn from which it says nothing. crafts: what
    liars say.
    """

    def __init__(
        self,
        circle: Circle,
        gone: Mapping[str, int] | None = None,
        crafts: Mapping[str, Craft] | None = None,
        before: Mapping[str, str] | None = None,
    ):
        super().__init__({who: circle.talk(who) for who in circle.names}, gone, crafts)
        self.circle = circle
        self.before = before or {}

    def served(self) -> tuple[Vector | None, list[str], Cell]:
        """A session with the real server: the sum, who is in it, and what the server knows."""
        ((cell, total),) = collect(self, self.circle.names, [Cell.of(self.circle.terms)])  # type: ignore[arg-type]
        return total, cell.terms.named(cell.inside), cell


def resigned(circle: Circle, who: str, answer: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """A first message that is changed, and signed again by its client."""
    new = {**answer, **changed}
    message = circle.terms.prepared(who, new["public"], new["boxes"])
    identity = circle.identities[who]
    return {**new, "signature": identity.signing.sign(message) + identity.seal.sign(message)}


def resaid(circle: Circle, who: str, answer: Mapping[str, Any], vector: Any) -> dict[str, Any]:
    """A second message with another vector, signed by its client."""
    terms = circle.terms
    message = said_of(terms.binding, who, form_of(terms.spec), digest_of(vector))
    return {**answer, "vector": vector, "signature": circle.identities[who].signing.sign(message)}


def dealt(circle: Circle, who: str, answer: Mapping[str, Any], shares: Any) -> dict[str, Any]:
    """A first message whose boxes hold these shares [n, columns], well sealed."""
    boxes = sealed(circle.me(who), answer["public"], shares)
    return resigned(circle, who, answer, boxes=boxes)


def agreed_by(circle: Circle, view: View, inside: Any) -> Any:
    """What all members say to each other of a set: MACs [from, to, …]."""
    message = circle.terms.agreed(view, np.asarray(inside, bool))
    return np.stack([circle.me(who).macs(message) for who in circle.names])
