"""The client's half of a round: score, train, pack, encode.

    broadcast, what it remembers, its examples  →  its vector, what it remembers

What the model has to do is asked for (`Work`), so that many clients may be trained side by side.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..algorithms import PIPE, ClientState, reports
from ..asks import Ask, AskedModel, Work, locally
from ..crypto.identity import clients_of
from ..data import Examples
from ..errors import Diverged, tell
from ..known import own
from ..models import NO_LOCAL, Local
from ..spec import Vector
from ..transforms import Context
from . import Plan
from .checks import STATISTICS
from .layout import carried
from .noise import amplification, draws_in_public
from .server import public_cohort

LOCAL = "model"  # in a client's memory: statistics and parts of the model that stay with it


@dataclass(frozen=True)
class Trained:
    """What came of a client's training, which is to be encoded once.

        v = encode(pack(parts)),    parts: what the algorithm says, and the scores

    It may rest until it is known in which round it counts: how old its model is by then decides how
    much its update is slowed.
    """

    plan: Plan
    v: Vector = field(repr=False)  # as the algorithm says it
    state: ClientState = field(repr=False)  # what the client remembers of it
    at: Context

    def encoded(self, staleness: int = 0) -> tuple[Vector, ClientState]:
        """Its vector as it enters a sum, so many rounds after it got its model; and what the client
        remembers.
        """
        pipeline = self.plan.pipeline
        v, kept = pipeline.encode(self.v, self.at, staleness)
        if pipeline.looks:
            v = np.array(v)  # what is said may be written to, and a transform may have kept it
        state = self.state
        if any(one is not None for one in kept):
            state = {**state, PIPE: kept}
        _check_memory(self.plan, state)
        return v, state


def contribute(
    plan: Plan,
    broadcast: dict[str, Vector],
    client_state: ClientState,
    data: Examples,
    held: Examples | None,
    at: Context,
) -> Generator[Ask, Any, tuple[Vector, ClientState]]:
    """A client's vector as it enters the sum, and what the client remembers."""
    trained = yield from train(plan, broadcast, client_state, data, held, at)
    return trained.encoded()


def train(
    plan: Plan,
    broadcast: dict[str, Vector],
    client_state: ClientState,
    data: Examples,
    held: Examples | None,
    at: Context,
) -> Work[Trained]:
    """What a client's training comes to: it scores the model on the examples held out, if any, and
    trains it on the others.

    What it remembers counts with its vector, and what transforms keep of that comes beside it.
    """
    remembered = client_state.get(PIPE, ())
    client_state = {name: one for name, one in client_state.items() if name != PIPE}
    scores = dict[str, Any]()
    if plan.training.validation and plan.training.report:
        theirs = (broadcast, client_state, held)
        scores = yield from reports.scored(plan.model, plan.algorithm, *theirs)
    parts, client_state = yield from _trained(plan, broadcast, client_state, data, at)
    if plan.pipeline.looks:
        at = replace(at, data=data, remembered=remembered)
    return Trained(plan, _packed(plan, parts | scores), client_state, at)


def _trained(
    plan: Plan, broadcast: dict[str, Vector], client_state: ClientState, data: Examples, at: Context
) -> Work[tuple[dict[str, Any], ClientState]]:
    """What the algorithm says, and what it and the model remember."""
    local: Local = client_state.get(LOCAL, NO_LOCAL)
    asked = AskedModel(plan.model)
    there = training_context(plan, at)
    training = plan.training.at(at.round, plan.rounds).of(at.who, at.examples)
    work = plan.algorithm.client(asked, broadcast, client_state, data, training, there)
    (parts, client_state), local = yield from locally(work, local, training)
    if PIPE in client_state:
        raise TypeError(
            f"{type(plan.algorithm).__name__}.client() remembers something as {PIPE!r}, where what "
            "transforms remember is kept; give it another name"
        )
    if why := reports.diverged(plan.model, plan.algorithm, broadcast, client_state):
        tell(f"{at.who}: {why}", Diverged)
        # as before its first round: its own model is the global one. What transforms remember of
        # its updates stays, for those are of the global model, and others count on them.
        return parts, {}
    if local:
        client_state = {**client_state, LOCAL: dict(local)}
    return parts, client_state


def _packed(plan: Plan, parts: Mapping[str, Any]) -> Vector:
    """The parts as one vector; of `delta` the statistics as a block of their own."""
    if not carried(plan.model):
        return plan.spec.pack(parts)
    delta = np.ravel(parts["delta"])
    trained = plan.model.trainable
    return plan.spec.pack({**parts, "delta": delta[:trained], STATISTICS: delta[trained:]})


def _check_memory(plan: Plan, client_state: ClientState) -> None:
    """Raise TypeError for memory of a piece that has not said so, where ε does not know it."""
    amplified = amplification(plan)
    if client_state and amplified and not amplified.rate:
        raise TypeError(
            f"{type(plan.algorithm).__name__} or {type(plan.model).__name__} remembers something "
            f"of a client, and no ε is known for that beside {plan.sample!r}; write Poisson(…), or "
            "a quorum in the sample"
        )


def training_context(plan: Plan, at: Context) -> Context:
    """Where a client is, for the algorithm, which may be anybody's: no noise but that of training
    follows from its key, and it has neither the secret nor the identity of its party.

    Where that hides nothing either, draws repeat with the plan's seed.
    """
    key = at.session.repeats
    if plan.training.private:
        key = at.key.child("training")
    return at.within(at.session.outside(), key, at.spec)


def aggregator_context(plan: Plan, at: Context) -> Context:
    """The same for a party's half of the aggregator: no noise of training or the pipe follows from
    its key.
    """
    session = at.session
    if draws_in_public(plan):
        cohort = public_cohort(plan, clients_of(session.roster), at)
        session = replace(session, cohort=tuple(sorted(cohort)))
    if not own(plan.aggregator):
        session = session.outside()
    return at.within(session, at.key.child("aggregator"), plan.encoded_spec)
