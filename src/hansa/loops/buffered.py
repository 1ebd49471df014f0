"""FedBuff: clients train at their own pace, and the model steps when a buffer is full."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from ..aggregators import NO_VECTOR, Sum
from ..errors import PlanError, RoundError, printable
from ..plan import Plan
from ..rand import Key
from ..spec import Spec, Vector
from ..state import State
from ..sums import Total
from ..transforms import Decoder, Mean
from .channel import Runtime, ServerChannel, begin
from .checks import LOOK, PATIENCE, _named, check_mistakes, check_roster


def buffered(
    plan: Plan, runtime: Runtime, state: State | None = None, secret: Key | None = None, size: int = 10, busy: int = 30
) -> Iterator[State]:
    """FedBuff: `busy` clients train at any time; the model steps when `size` vectors are in.

        x ← x + η_g · (1/K) Σ s(τᵢ) Δᵢ,      s(τ) = 1/√(1 + τ),      τ = rounds since client i got its model

    K = `size` (Nguyen et al. 2022, Alg. 1 and §5). Only Δ is scaled by s. A resumed run asks its clients afresh.
    """
    secret = secret or Key.fresh()
    _bufferable(plan, size, busy)
    check_roster(plan, len(runtime.roster()))
    state = state or begin(plan, runtime)
    sessions, roster = count(state.round << 32), runtime.roster()  # never the sessions of an earlier run
    asked, working = dict[int, int](), set[str]()  # session → round; who trains

    def ask(state: State, session: int) -> None:
        at = plan.context(state.round, session, secret=secret)
        who = _idle(roster, working, at.session.repeats.child("sample"))
        working.add(who)
        asked[session] = state.round
        runtime.send(replace(ServerChannel(plan, runtime, state, session, secret).head, bodies={who: None}))

    while state.round < plan.rounds:
        total, participants, excluded, idle = Total(), list[str](), dict[str, str](), 0
        while total.count < size:
            while len(working) < min(busy, len(roster)):
                ask(state, next(sessions))
            reply = runtime.receive()
            if reply.session not in asked:
                continue
            staleness = state.round - asked.pop(reply.session)
            working -= set(reply.who)
            if reply.body is None or not plan.encoded_spec.fits(reply.body):
                excluded |= dict.fromkeys(reply.who, reply.why or NO_VECTOR)
                idle += 1
                if not participants and len(excluded) >= min(size, len(roster)):
                    check_mistakes(len(excluded), excluded)
                if idle > PATIENCE * len(roster):
                    raise RoundError(f"None of the last {idle} requests was answered.", _named(excluded), LOOK)
            else:
                total.add(_slowed(reply.body, plan.encoded_spec, staleness))
                participants, idle = [*participants, *reply.who], 0
        more: dict[str, Any] = {"population": len(roster), "memo": state.transforms, "n": size}
        at = plan.context(state.round, state.round, secret=secret, **more)
        mean, skipped = _decoded(plan.decoder(at), total)
        for who in participants:
            excluded.pop(who, None)  # asked again, it has answered
        state = plan.absorb(state, mean, sorted(participants), at, excluded=excluded, skipped=skipped)
        yield state


def _idle(roster: Sequence[str], working: Collection[str], key: Key) -> str:
    """Somebody at random who does not train now."""
    rng = key.rng()
    drawn = (roster[int(rng.integers(len(roster)))] for _ in count())
    return next(name for name in drawn if name not in working)


def _slowed(v: Vector, spec: Spec, staleness: int) -> Vector:
    """v with s(τ)·Δ, of which the statistics are a part."""
    slowed: Vector = np.array(v, np.float64)
    for name in {"delta", *spec.statistics} & spec.blocks.keys():
        slowed[spec.slice(name)] *= (1 + staleness) ** -0.5
    return slowed


def _decoded(decode: Decoder, total: Total) -> tuple[Mean | None, str]:
    """The mean of all that is in a total, or why there is none."""
    try:
        n = total.count
        return decode(total.release(), n, overwrite=True), ""
    except RoundError as error:
        return None, printable(str(error))


def _bufferable(plan: Plan, size: int, busy: int) -> None:
    if not isinstance(plan.aggregator, Sum) or plan.encoded_spec.space != "real":
        raise PlanError(
            f"buffered cannot run {plan.aggregator!r} on {plan.encoded_spec.space} vectors.",
            "It weighs each vector by its staleness as it comes in, which needs the plain sum of real numbers.",
            "Take Sum() and leave Quantize out, or use `synchronous`.",
        )
    if plan.encoded_spec.noise.multiplier:
        raise PlanError(
            f"buffered cannot run noise (multiplier {plan.encoded_spec.noise.multiplier:g}).",
            "A fast client may be twice in one buffer, and the noise is sized for once.",
            "Leave GaussianNoise out, or use `synchronous`.",
        )
    if plan.training.private:
        raise PlanError(
            f"buffered cannot run noise for single examples ({plan.training.private!r}).",
            "A fast client trains more often than there are rounds, and ε is stated for one training in each.",
            "Leave `private` out of the Training, or use `synchronous`.",
        )
    if plan.sample.by == "turns":
        raise PlanError(
            "buffered cannot let clients take turns.",
            "Many train at the same time, whoever is free.",
            "Take another sample, or use `synchronous`.",
        )
    if plan.encoded_spec.learns:
        raise PlanError(
            "buffered cannot run a clip that is learnt.",
            "A client's vector is scaled by the norm of the round in which it was asked, and the server has another.",
            "Take Clip(norm=…), or use `synchronous`.",
        )
    if plan.encoded_spec.rotated:
        raise PlanError(
            "buffered cannot run Rotate.",
            "Each client is asked in a session of its own, turns its vector otherwise, and their sum means nothing.",
            "Leave Rotate() out, or use `synchronous`.",
        )
    if size < plan.sample.quorum:
        raise PlanError(
            f"buffered(size={size}) never reaches the quorum of {plan.sample.quorum}.",
            "The model steps with `size` vectors, and the plan wants more.",
            f"Write size={plan.sample.quorum}, or a lower quorum.",
        )
    if not 1 <= size <= busy:
        raise PlanError(
            f"buffered(size={size}, busy={busy}) would wait for ever.",
            "A buffer fills from the clients that train at the same time.",
            "Write 1 ≤ size ≤ busy, for example size=10, busy=30.",
        )
