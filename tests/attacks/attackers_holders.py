"""Sums whose shares a committee holds, without a network: who is asked, who holds shares, and what is between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.attacks.attackers_hidden import KEY, Craft, Talk
from tests.attacks.attackers_hidden import Line as AnyLine

import hansa as h
from hansa.aggregators.hidden.cell import unkept
from hansa.aggregators.hidden.committee import Seats
from hansa.aggregators.hidden.holding import Table, collect
from hansa.crypto.identity import Identity, Member
from hansa.spec import Spec, SumFacts, Vector
from hansa.transforms import Context, Session


@dataclass
class Hall:
    """`people` clients of a roster, the first `n` of whom are asked, and who holds shares."""

    people: int = 30
    n: int = 12
    holders: int = 10
    size: int = 100
    task: bytes = b"a session"
    drawn: h.Key = field(default_factory=lambda: h.Key.of(4))

    def __post_init__(self) -> None:
        self.aggregator = h.EncryptedSum(holders=self.holders)
        self.spec = Spec({"delta": self.size}, space="integer", sum_facts=SumFacts(modulus=16, clients=self.n))
        self.everybody = [f"client-{i:03d}" for i in range(self.people)]
        self.names = self.everybody[: self.n]
        self.identities = {who: Identity.of(who, "client", KEY) for who in self.everybody}
        self.roster: dict[str, Member] = {who: one.member for who, one in self.identities.items()}
        most = (2**15 - 1) // self.n
        draw = np.random.Generator(np.random.PCG64(self.n))
        self.vectors = {who: draw.integers(-most, most, self.size, np.int16).view(np.uint16) for who in self.names}

    def session(self, who: str = "", **other: Any) -> Session:
        """As a client knows it, or the server; `other` is where it knows other things."""
        own: dict[str, Any] = {"task": self.task, "roster": self.roster, "drawn": self.drawn}
        return Session(0, **{**own, "identity": self.identities.get(who), "cohort": tuple(self.names), **other})

    @property
    def seats(self) -> Seats:
        """What all know."""
        return self.aggregator.seats(self.names, self.spec, self.session())

    @property
    def outside(self) -> list[str]:
        """Holders that are not asked for a vector."""
        return [who for who in self.seats.holders if who not in self.names]

    def talk(self, who: str, drawn: bytes = b"", **other: Any) -> Talk:
        """A conversation with a client."""
        at = Context(self.session(who, **other), KEY, self.spec, who)
        return Talk(self.aggregator, self.vectors.get(who, np.zeros(self.size, np.uint16)), at, drawn)

    def sum(self, inside: list[str]) -> Vector:
        """What the plain sum of these would be."""
        return np.asarray(np.sum([self.vectors[who] for who in inside], axis=0, dtype=np.uint16))


class Line(AnyLine):
    """Between the server and all of a hall."""

    def __init__(
        self, hall: Hall, gone: Mapping[str, int] | None = None, crafts: Mapping[str, Craft] | None = None, **other: Any
    ):
        super().__init__({who: hall.talk(who, **other) for who in hall.everybody}, gone, crafts)
        self.hall = hall

    def served(self) -> tuple[Vector | None, list[str], Table]:
        """A session with the real server."""
        table = Table.set_for(self.hall.seats, unkept)
        total = collect(self, self.hall.names, table)  # type: ignore[arg-type]
        return total, table.terms.named(table.inside), table
