"""The server's half of a round: draw a cohort, decode the sum, step with the mean.

    roster  →  cohort  →  Σ vᵢ  →  mean  →  the next state

The sum itself is the aggregator's; a loop calls these around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..algorithms import reports
from ..known import own
from ..sample import check_drawn
from ..spec import Vector
from ..spec import blocks as pieces_of
from ..state import State
from ..transforms import Context, Decoder, Mean, counted
from . import Plan
from .checks import STATISTICS
from .layout import carried, reported
from .noise import draws_in_public


def cohort(plan: Plan, roster: Sequence[str], at: Context) -> list[str]:
    """Who is asked in a round: drawn in secret where noise hides who, and else from the plan's
    seed.
    """
    if draws_in_public(plan):
        return public_cohort(plan, roster, at)
    key = at.session.repeats
    if plan.hides:
        key = at.key
    drawn = plan.sample.draw(roster, key.child("sample"), at.round)
    return check_drawn(plan.sample, drawn, roster)


def public_cohort(plan: Plan, roster: Sequence[str], at: Context) -> list[str]:
    """Who is asked in a round, drawn from the plan's seed, so that each party may see that the
    server has not chosen: not by the number of a session either.
    """
    drawn = plan.sample.draw(roster, at.session.drawn.child("sample"), at.round)
    return check_drawn(plan.sample, drawn, roster)


def broadcast(plan: Plan, state: State) -> tuple[dict[str, Vector], tuple[Any, ...]]:
    """What every client of a round is told: the algorithm's vectors, and what the transforms have
    learnt.
    """
    return plan.algorithm.broadcast(state.x, state.memo), state.transforms


def decoder(plan: Plan, at: Context) -> Decoder:
    """The server's half of the pipe: (sum, number of vectors) → mean."""
    return Decoder(plan.pipeline, at, plan.model.fault)


def absorb(
    plan: Plan,
    state: State,
    received: Mean | None,
    participants: Sequence[str],
    at: Context,
    **told: Any,
) -> State:
    """The state after a round: a step with the mean, or why there is none.

    received: the decoded mean, and what the transforms have learnt; None where there is no sum.
    told: what else the state tells of the round.
    """
    skipped = told.pop("skipped", "") or _void(plan, received, participants)
    told |= {"hidden": plan.encoded_spec.hidden, "participants": tuple(participants)}
    if received is None or skipped:
        kept = (state.x, state.memo, state.transforms)
        return State(state.round + 1, *kept, skipped=skipped, **told)
    vector, transforms = received
    x, memo = stepped(plan, state.x, state.memo, vector, at)
    mean = plan.spec.unpack(vector)
    noisy = bool(plan.sum_spec.noise.multiplier)
    metrics = reports.means(mean, reported(plan), noisy)
    return State(state.round + 1, x, memo, transforms, metrics=metrics, **told)


def stepped(
    plan: Plan, x: Vector, memo: dict[str, Any], vector: Vector, at: Context
) -> tuple[Vector, dict[str, Any]]:
    """The model [size] after the algorithm's step with the mean, and what the algorithm remembers.

    Statistics of the model are not stepped: they move by their plain mean.
    """
    ours = _ours(plan)
    outside = replace(counted(at, plan.encoded_spec, at.n), session=at.session.outside())
    outside = replace(outside, key=at.session.repeats, overwrite=ours)
    mean = plan.spec.unpack(vector)
    if not carried(plan.model):
        return plan.algorithm.step(x, memo, mean, outside)
    trained = plan.model.trainable
    statistics = np.maximum(x[trained:] + mean.pop(STATISTICS), plan.model.domain)
    whole = slice(plan.spec.slice("delta").start, plan.spec.slice(STATISTICS).stop)
    mean["delta"] = vector[whole]
    x, memo = plan.algorithm.step(x, memo, mean, outside)
    if not ours:
        x = x.copy()
    x[trained:] = statistics
    return x, memo


def _ours(plan: Plan) -> bool:
    """Are all pieces hansa's own? A stranger's may keep what it is given."""
    optimizer = getattr(plan.algorithm, "server", plan.algorithm)
    return all(map(own, (*plan.pipe, plan.aggregator, plan.algorithm, optimizer)))


def _void(plan: Plan, received: Mean | None, participants: Sequence[str]) -> str:
    """Why a round changes nothing, if so; one that made the model NaN would be the end of the
    run.

    What clients report is no part of the model, and may be anything.
    """
    few = len(set(participants)) < plan.sample.quorum
    # that a round is void would tell who was sampled
    told = few and not plan.encoded_spec.hidden
    if received is None or told:
        return f"{len(set(participants))} answered, {plan.sample.quorum} needed"
    mean = plan.spec.unpack(received[0])
    reports_of = reported(plan)
    bad = [name for name, part in mean.items() if name not in reports_of and not _finite(part)]
    if not bad:
        return ""
    return f"the mean {' and '.join(bad)} holds NaN or infinity; Finite() keeps who says so out"


def _finite(v: Vector) -> bool:
    """Is every number of a vector, or of many, finite?"""
    return all(np.isfinite(v[..., place]).all() for place in pieces_of(v.shape[-1]))
