"""Plan: one immutable value that says what a federation does. Server and clients hold the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..aggregators import Aggregator, Sum, trees
from ..algorithms import Algorithm, FedAvg
from ..asks import Ask, perform
from ..digest import digest_of
from ..messages import SessionId
from ..models import Model
from ..models.parts import check_training
from ..notebook import Arguments
from ..rand import Key
from ..sample import Everyone, Sample
from ..spec import Spec
from ..state import State
from ..training import Training
from ..transforms import Context, Pipe, Session, Transform
from ..transforms.weigh import Weigh
from . import layout
from .checks import (
    check_heard,
    check_memory,
    check_pieces,
    check_private,
    check_schedule,
    check_statistics,
    check_sum,
)


@dataclass(frozen=True)
class Plan(Arguments):
    """A model, an algorithm, the transforms around a sum, and the way the sum is taken.

    It prints as the expression that builds it. A plan that cannot mean anything raises PlanError
    when it is built.
    """

    model: Model
    algorithm: Algorithm = field(default_factory=FedAvg)
    pipe: tuple[Transform, ...] = (Weigh("examples"),)
    aggregator: Aggregator = field(default_factory=Sum)
    training: Training = field(default_factory=Training)
    sample: Sample = field(default_factory=Everyone)
    rounds: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "pipe", tuple(self.pipe) if isinstance(self.pipe, (list, tuple)) else (self.pipe,)
        )
        check_pieces(self)
        # refuses what it cannot tell apart; kept when it is first asked for, when all code is there
        digest_of(self)
        trees.check(self.model, self.algorithm, self.pipe, self.aggregator)
        check_private(self)
        check_training(self.model, self.training)
        self.model.plan(self.training)
        check_schedule(self)
        self.algorithm.plan(self.training, self.model)
        check_statistics(self.model, self.algorithm)
        check_sum(self.encoded_spec, self.sample, self.aggregator)
        check_memory(self)
        _ = self.sum_spec
        check_heard(self)

    @cached_property
    def pipeline(self) -> Pipe:
        """The pipe, with the facts that enter each transform."""
        return layout.pipeline(self)

    @property
    def spec(self) -> Spec:
        """What a client says before any transform."""
        return self.pipeline.specs[0]

    @property
    def encoded_spec(self) -> Spec:
        """What is summed in the end."""
        return self.pipeline.specs[-1]

    @cached_property
    def sum_spec(self) -> Spec:
        """What is known of the sum, with what the aggregator adds to it."""
        return self.aggregator.plan(self.encoded_spec)

    @cached_property
    def digest(self) -> str:
        """A fingerprint of all that the plan says; server and clients compare it.

        It covers every field of every piece, arrays with all their bytes, and the code of classes
        and functions that neither hansa nor an installed package defines: parents, methods,
        defaults, closures, and what that code names in its own modules, to any depth. Libraries
        count by name, without their version. It does not follow imports inside functions or names
        that are computed, and an object that code refers to may count by its class alone. Bytecode
        counts, so parties whose plan holds code of its own need one minor version of Python.
        """
        return digest_of(self)

    @cached_property
    def key(self) -> Key:
        """The root of all randomness that is public: first weights, shuffles, dropout, the
        hold-out, rotations.
        """
        return Key.of(self.seed)

    @cached_property
    def hides(self) -> bool:
        """Does anybody add noise, so that something rests on secrets?"""
        return bool(self.sum_spec.noise.multiplier or self.training.private)

    def context(
        self,
        round: int,
        session: SessionId,
        who: str | None = None,
        *,
        secret: Key,
        task: bytes = b"",
        **more: Any,
    ) -> Context:
        """Where a party, or the server where none is named, is in one session of one round of a
        run.

        `secret` is the party's own, and `task` that of the request: a hash of plan, session and
        what was broadcast. The path of what the party draws holds all of this, so no draw ever
        answers two questions.
        """
        party = ("server",) if who is None else ("client", who)
        public, common, drawn = _public(self.key, round, session.number)
        own = secret.child("run", session.run).child(*party)
        key = own.child(round, session.number, "task", task.hex())
        one = Session(round, common, public.child(*party), own, drawn, task)
        return Context(one, key, self.spec, who or "server", **more)

    def start(self) -> State:
        """The state before the first round."""
        x = np.asarray(self.model.start(self.key.child("start")), np.float64)
        memo = self.algorithm.start(x, self.key.child("algorithm"))
        return State(0, x, memo, self.pipeline.start())

    @cached_property
    def broadcast_shapes(self) -> dict[str, tuple[int, ...]]:
        """The vectors that every client of a round is told: name → shape."""
        first = self.start()
        told = self.algorithm.broadcast(first.x, first.memo)
        return {name: np.shape(v) for name, v in told.items()}

    def perform(self, asks: Sequence[Ask]) -> list[Any]:
        """What clients ask of the model: the answer to each, or the exception that it ended in."""
        return perform(self.model, asks)


@lru_cache(maxsize=4)  # for it is asked once per client
def _public(key: Key, round: int, session: int) -> tuple[Key, Key, Key]:
    """The key of a session, the one that all of its parties share, and that of the round."""
    public = key.child(round, session)
    return public, public.child("all"), key.child("drawn", round)
