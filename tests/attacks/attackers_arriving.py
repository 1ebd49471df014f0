"""Cells of those who are ready, without a network: what each client was asked, and what a server says of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tests.attacks.attackers_hidden import Circle, Line, Talk, spec_of

import hansa as h
from hansa.aggregators.arrivals import Arrivals
from hansa.aggregators.arriving import READY, Arriving
from hansa.aggregators.hidden.cell import Cell
from hansa.aggregators.hidden.server import collect
from hansa.messages import SessionId, task_of
from hansa.spec import Vector
from hansa.transforms import Context

PLAN, RUN, ROUNDS = "a plan", "a run", 100


def model(round: int) -> bytes:
    """SHA-256 of what is broadcast in a round."""
    return bytes([round]) * 32


@dataclass
class Crowd(Circle):
    """n clients that are ready, of whom each was asked in a session of its own, in a round of its own.

    rounds: in which; all in the first, where nothing is said. models: who got another than its round's. round: that of
    the cell.
    """

    spec: h.spec.Spec = field(default_factory=lambda: spec_of(rounds=ROUNDS))
    rounds: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, bytes] = field(default_factory=dict)
    round: int = 3
    first: int = 0  # number of the first session
    stale: int = 10
    alike: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slowed: dict[str, int] = {}  # who → the τ by which its update was slowed
        self.task = self.arrivals().task

    @property
    def arriving(self) -> Arriving:
        """The sum."""
        return Arriving(self.aggregator, self.n, self.stale, self.alike)

    def line(self, who: str) -> tuple[int, int, int]:
        """In which session and round it was asked."""
        return 0, self.first + self.names.index(who), self.rounds.get(who, 0)

    def arrivals(self, asked: Mapping[str, Any] | None = None, **changed: Any) -> Arrivals:
        """What an honest server says of the cell, but for what is changed; `asked` of some members."""
        lines = {who: self.line(who) for who in self.names} | dict(asked or {})
        names = tuple(changed.pop("names", self.names))
        lines = dict.fromkeys(names, (0, 0, 0)) | lines
        rounds = {lines[who][2] for who in names}
        models = {one: model(one) for one in rounds} | changed.pop("models", {})
        honest = Arrivals(PLAN, RUN, self.round, names, tuple(lines[who] for who in names), models)
        return replace(honest, **changed)

    def at(self, who: str, **session: Any) -> Context:
        """What a client is given in the first turn of its own session."""
        epoch, number, round = self.line(who)
        told = self.models.get(who, model(round))
        task = task_of(PLAN, round, SessionId(RUN, epoch, number), told)
        at = super().at(who, **{"task": task, **session})
        return replace(at, session=replace(at.session, round=round))

    def talk(self, who: str, drawn: bytes = b"", **session: Any) -> Talk:
        """A client that has trained."""
        self.talks[who] = Trained(self.arriving, self.vectors[who], self.at(who, **session), drawn, crowd=self)  # type: ignore[arg-type]
        return self.talks[who]

    def people(self) -> dict[str, Talk]:
        """All of them, ready."""
        return {who: self.talk(who) for who in self.names}

    def served(self, told: Any = None, **line: Any) -> tuple[Vector | None, Cell, Line]:
        """A cell with the real server, which tells these arrivals: the sum, if it is opened."""
        wire = Line(self.people(), **line)
        told = told or self.arrivals().body()
        ((cell, total),) = collect(wire, self.names, [Cell.of(self.terms())], told)  # type: ignore[arg-type]
        return total, cell, wire


@dataclass
class Trained(Talk):
    """A client that has trained, and says so; its vector is there, and how it was slowed is noted."""

    crowd: Crowd | None = None

    def __post_init__(self) -> None:
        self.conversation = self.aggregator.client(self, self.at)  # type: ignore[arg-type]
        assert next(self.conversation) == READY

    def train(self) -> Iterator[Any]:
        """Nothing is to be done."""
        yield from ()

    def encode(self, staleness: int) -> Vector:
        """Its vector."""
        assert self.crowd is not None
        self.crowd.slowed[self.at.who] = staleness
        return self.v.copy()


def first_of(cell: Crowd, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What each says to a cell; None where it refuses. told: who is told otherwise."""
    honest = cell.arrivals().body()
    return {who: talk.hear((told or {}).get(who, honest)) for who, talk in cell.people().items()}


def second_of(cell: Crowd, first: Mapping[str, Any], publics: Any = None) -> dict[str, Any]:
    """What each says to who has prepared, of whom these are the first messages; None where it refuses."""
    names = cell.names
    values = np.stack([np.frombuffer(first[who]["public"], np.uint8) for who in names])
    boxes = np.stack([first[who]["boxes"] for who in names])
    view = {"prepared": np.ones(cell.n, np.uint8), "publics": values if publics is None else publics}
    return {who: cell.talks[who].hear({**view, "boxes": boxes[:, i].copy()}) for i, who in enumerate(names)}
