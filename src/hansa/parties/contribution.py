"""Contribution: a client's vector of one session, which it trains for once and encodes once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ..algorithms import ClientState
from ..asks import Work
from ..spec import Vector
from ..transforms import Context


class Resting(Protocol):
    """What came of a training, until it is encoded."""

    def encoded(self, staleness: int) -> tuple[Vector, ClientState]:
        """The vector so many rounds later, and what the client remembers after it."""
        ...


class Contributor(Protocol):
    """Who trains, and encodes: a client, or its agent for the worker that does."""

    def contributed(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context
    ) -> Work[tuple[Vector, ClientState]]:
        """Both at once: its vector, and what it remembers after it."""
        ...

    def trained(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context
    ) -> Work[Resting]:
        """What comes of its training, to be encoded later."""
        ...


@dataclass
class Contribution:
    """What a client trains with, and then what came of that; what it `learnt`, where it has.

    A session may go on for many rounds: the model of its round is let go when the training has it.
    """

    who: Contributor
    broadcast: dict[str, Vector] = field(repr=False)
    state: ClientState = field(repr=False)  # what the client remembers
    at: Context = field(repr=False)
    trained: Resting | None = field(default=None, repr=False)
    learnt: ClientState | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._remembers = bool(self.state)

    def __call__(self) -> Work[Vector]:
        """Train, and encode."""
        broadcast, state = self._taken()
        with Noting(self.at):
            found = yield from self.who.contributed(broadcast, state, self.at)
        return self._said(*found)

    def train(self) -> Work[None]:
        """Train; what comes of it rests until it is encoded."""
        broadcast, state = self._taken()
        with Noting(self.at):
            self.trained = yield from self.who.trained(broadcast, state, self.at)

    def encode(self, staleness: int) -> Vector:
        """The vector of what was trained, so many rounds after its model came."""
        trained = self.trained
        assert trained is not None
        self.trained = None
        with Noting(self.at):
            found = trained.encoded(staleness)
        return self._said(*found)

    def take(self) -> ClientState | None:
        """What was learnt since this was last asked."""
        learnt = self.learnt
        self.learnt = None
        return learnt

    def _taken(self) -> tuple[dict[str, Vector], ClientState]:
        """The model and the memory, which are kept no longer."""
        found = self.broadcast, self.state
        self.broadcast = {}
        self.state = {}
        return found

    def _said(self, v: Vector, learnt: ClientState) -> Vector:
        """The vector; what was learnt counts with it. A name beside nothing would tell who was
        asked.
        """
        self.learnt = None
        if learnt or self._remembers:
            self.learnt = learnt
        return v


class Noting:
    """A note on an exception of a client's code: whose it is, and in which round."""

    def __init__(self, at: Context):
        self.at = at

    def __enter__(self) -> None:
        """Nothing has happened yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            error.add_note(f"This happened when {self.at.who} trained in round {self.at.round}.")
