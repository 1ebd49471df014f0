"""FedBuff: clients train at their own pace, and the model steps when a buffer is full."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from ..aggregators import NO_VECTOR, Sum
from ..errors import PlanError, RoundError, printable
from ..messages import Reply, Request, SessionId
from ..plan import Plan
from ..rand import Key
from ..spec import Spec, Vector
from ..state import State
from ..sums import Total
from ..transforms import Decoder, Mean
from .channel import Runtime, ServerChannel, begin, session_of, settle
from .checks import LOOK, PATIENCE, _named, check_mistakes, check_roster
from .journal import Journal


def buffered(
    plan: Plan,
    runtime: Runtime,
    state: State | None = None,
    secret: Key | None = None,
    size: int = 10,
    busy: int = 30,
    journal: Journal | None = None,
) -> Iterator[State]:
    """FedBuff: `busy` clients train at any time; the model steps when `size` vectors are in.

        x ← x + η_g · (1/K) Σ s(τᵢ) Δᵢ,      s(τ) = 1/√(1 + τ),      τ = rounds since client i got
        its model

    K = `size` (Nguyen et al. 2022, Alg. 1 and §5). Only Δ is scaled by s. A resumed run asks its
    clients afresh; with a `journal` it goes on with what was under way, and hears again what it had
    heard.
    """
    secret = secret or Key.fresh()
    _bufferable(plan, size, busy)
    check_roster(plan, len(runtime.roster()))
    office = Office(plan, runtime, state, secret, journal)
    state = office.start(state)
    while state.round < plan.rounds:
        total = Total()
        participants = list[str]()
        excluded = dict[str, str]()
        idle = 0
        heard = list[Reply]()
        while total.count < size:
            while len(office.working) < min(busy, len(office.roster)):
                office.ask(state)
            reply, asked = office.hear(state)
            heard.append(reply)
            if reply.body is None or not plan.encoded_spec.fits(reply.body):
                excluded |= dict.fromkeys(reply.who, reply.why or NO_VECTOR)
                idle += 1
                if not participants and len(excluded) >= min(size, len(office.roster)):
                    check_mistakes(len(excluded), excluded)
                if idle > PATIENCE * len(office.roster):
                    raise RoundError(
                        f"None of the last {idle} requests was answered.", _named(excluded), LOOK
                    )
            else:
                total.add(_slowed(reply.body, plan.encoded_spec, state.round - asked))
                participants = [*participants, *reply.who]
                idle = 0
        more: dict[str, Any] = {
            "population": len(office.roster),
            "memo": state.transforms,
            "n": size,
        }
        at = plan.context(
            state.round, session_of(secret, number=state.round), secret=secret, **more
        )
        mean, skipped = _decoded(plan.decoder(at), total)
        for who in participants:
            excluded.pop(who, None)  # asked again, it has answered
        state = plan.absorb(
            state, mean, sorted(participants), at, excluded=excluded, skipped=skipped
        )
        yield state
        for reply in heard:
            counts = plan.encoded_spec.fits(reply.body) and not state.skipped
            settle(runtime, journal, reply.session, reply.who if counts else ())


class Office:
    """Who is at work, in which session, on the model of which round; one client in each session."""

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        state: State | None,
        secret: Key,
        journal: Journal | None,
    ):
        self.plan = plan
        self.runtime = runtime
        self.secret = secret
        self.journal = journal
        self.roster = runtime.roster()
        self.working = set[str]()
        self._asked = dict[SessionId, int]()  # session → round
        self._heard = deque[Reply]()  # of this round, before a restart
        afresh = state is not None and journal is None
        self._epoch = time.time_ns() if afresh else 0  # never the sessions of an earlier start
        self._numbers = count(state.round << 32 if afresh and state is not None else 0)

    def start(self, state: State | None) -> State:
        """The first state; of a run that goes on, all that was under way is asked again."""
        if self.journal is None:
            return state or begin(self.plan, self.runtime, self.secret)
        run = session_of(self.secret).run
        done = state.round if state else 0
        past = self.journal.past(run, done)
        if state is None and not past.any:
            return begin(self.plan, self.runtime, self.secret)
        for session, counted in past.settled:
            settle(self.runtime, self.journal, session, () if state and state.skipped else counted)
        self._heard = deque(past.heard)
        self._numbers = count(past.next)
        for request in past.open:
            self._send(request)
        return state or self.plan.start()

    def ask(self, state: State) -> None:
        """Ask somebody who is not at work."""
        session = session_of(self.secret, self._epoch, next(self._numbers))
        at = self.plan.context(state.round, session, secret=self.secret)
        who = _idle(self.roster, self.working, at.session.repeats.child("sample"))
        request = replace(
            ServerChannel(self.plan, self.runtime, state, session).head, bodies={who: None}
        )
        if self.journal:
            self.journal.ask(request)
        self._send(request)

    def _send(self, request: Request) -> None:
        self.working |= set(request.bodies)
        self._asked[request.session] = request.round
        if all(reply.session != request.session for reply in self._heard):
            self.runtime.send(request)

    def hear(self, state: State) -> tuple[Reply, int]:
        """The next reply, and the round whose model it is about."""
        while True:
            known = bool(self._heard)
            reply = self._heard.popleft() if known else self.runtime.receive()
            if reply.session not in self._asked:
                continue
            if self.journal and not known:
                self.journal.write(reply, state.round)
            self.working -= set(reply.who)
            return reply, self._asked.pop(reply.session)


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
            "It weighs each vector by its staleness as it comes in, which needs the plain sum of "
            "real numbers.",
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
            "A fast client trains more often than there are rounds, and ε is stated for one "
            "training in each.",
            "Leave `private` out of the Training, or use `synchronous`.",
        )
    if not plan.sample.in_any_order:
        raise PlanError(
            f"buffered cannot ask whom {plan.sample!r} draws.",
            "Many train at the same time: it asks whoever is free.",
            "Take another sample, or use `synchronous`.",
        )
    if plan.encoded_spec.learns:
        raise PlanError(
            "buffered cannot run a clip that is learnt.",
            "A client's vector is scaled by the norm of the round in which it was asked, and the "
            "server has another.",
            "Take Clip(norm=…), or use `synchronous`.",
        )
    if plan.encoded_spec.rotated:
        raise PlanError(
            "buffered cannot run Rotate.",
            "Each client is asked in a session of its own, turns its vector otherwise, and their "
            "sum means nothing.",
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
