"""FedBuff: clients train at their own pace, and the model steps when a buffer is full.

Each client that is asked has a session of its own, so that it can be settled by itself: what it has
learnt counts when the step with its vector is committed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from ..aggregators import NO_VECTOR
from ..aggregators.arrivals import arriving
from ..errors import PlanError, RoundError, printable
from ..messages import Reply, Request, SessionId
from ..plan import Plan, server
from ..rand import Key
from ..spec import Spec
from ..state import State
from ..sums import Total
from ..transforms import Decoder, Mean
from ..transforms.staleness import slowed
from .channel import Runtime, ServerChannel, begin, idle, session_of, settle
from .checks import LOOK, PATIENCE, _named, check_mistakes, check_roster
from .journal import Journal

SIZE = 10  # of a buffer, where nobody says


def buffered(
    plan: Plan,
    runtime: Runtime,
    state: State | None = None,
    secret: Key | None = None,
    size: int | None = None,
    busy: int = 30,
    journal: Journal | None = None,
) -> Iterator[State]:
    """FedBuff: `busy` clients train at any time; the model steps when `size` vectors are in.

        x ← x + η·(1/K)·Σ s(τᵢ)·Δᵢ,      s(τ) = 1/√(1 + τ)

    K is `size`, 10 where nobody says; τᵢ is how many rounds ago client i got its model, and only Δ
    is scaled by s, not what rides along. A resumed run asks its clients afresh; with a `journal` it
    goes on with what was under way, and hears again what it had heard. Where sums are hidden the
    plan says the size, as in Arriving(MaskedSum(), size=10). PlanError where the plan needs clients
    in step: for noise on a sum in the clear, proofs, turns, a learnt clip or a rotation; or where
    no buffer of this `size` would ever fill.   (Nguyen et al. 2022, Alg. 1 and §5)
    """
    secret = secret or Key.fresh()
    _check_plan(plan)
    size = _checked_size(plan, size, busy)
    check_roster(plan, len(runtime.roster()))
    if arriving(plan.aggregator):
        from .arriving import in_cells

        yield from in_cells(plan, runtime, state, secret, busy, journal)
        return
    office = Office(plan, runtime, state, secret, journal)
    state = office.start(state)
    while state.round < plan.rounds:
        buffer = office.fill(state, size, busy)
        state = one_step(plan, office, state, buffer)
        yield state
        for session, who in buffer.answers.items():
            settle(runtime, journal, session, _counted(who, state))


def one_step(plan: Plan, office: Office, state: State, buffer: Buffer) -> State:
    """The state after a full buffer: decode its sum, absorb the mean."""
    session = session_of(office.secret, number=state.round)
    more: dict[str, Any] = {
        "population": len(office.roster),
        "memo": state.transforms,
        "n": buffer.total.count,
    }
    at = plan.context(state.round, session, secret=office.secret, **more)
    mean, skipped = _decoded(server.decoder(plan, at), buffer.total)
    counted = frozenset(buffer.participants)  # asked again, some have answered who had not
    excluded = {who: why for who, why in buffer.excluded.items() if who not in counted}
    participants = sorted(buffer.participants)
    return server.absorb(plan, state, mean, participants, at, excluded=excluded, skipped=skipped)


class Buffer:
    """What has come in since the last step: the sum so far, who is in it, and who gave nothing."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.total = Total()
        self.participants = list[str]()
        self.excluded = dict[str, str]()
        self.answers = dict[SessionId, tuple[str, ...]]()  # session → whose vector came of it
        self.idle = 0  # replies without a vector, one after another

    def take(self, reply: Reply, staleness: int) -> None:
        """Add a reply's vector, which is about a model of so many rounds ago; or note its lack."""
        if not self.spec.fits(reply.body):
            self.answers[reply.session] = ()
            self.excluded |= dict.fromkeys(reply.who, reply.why or NO_VECTOR)
            self.idle += 1
            return
        self.answers[reply.session] = reply.who
        self.total.add(slowed(reply.body, self.spec, staleness))
        self.participants += reply.who
        self.idle = 0

    def check(self, size: int, clients: int) -> None:
        """RoundError where the buffer will not fill: all have made mistakes, or nobody answers."""
        if not self.idle:
            return
        if not self.participants and len(self.excluded) >= min(size, clients):
            check_mistakes(len(self.excluded), self.excluded)
        if self.idle > PATIENCE * clients:
            raise RoundError(
                f"None of the last {self.idle} requests was answered.", _named(self.excluded), LOOK
            )


class Office:
    """Who is at work, in which session, on the model of which round; one client in each session.

    Sessions are numbered on over all rounds. A start without a journal knows nothing of the
    sessions before it, and so begins an epoch of its own: an answer to one of those is nobody's.
    """

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
        self.working = set[str]()
        self._asked = dict[SessionId, int]()  # session → round
        self._heard = deque[Reply]()  # of this round, before a restart
        self._epoch = 0
        self._numbers = count()
        if state is not None and journal is None:  # never the sessions of an earlier start
            self._epoch = time.time_ns()
            self._numbers = count(state.round << 32)

    @property
    def roster(self) -> Sequence[str]:
        """Who may be asked now."""
        return self.runtime.roster()

    def start(self, state: State | None) -> State:
        """The first state; of a run that goes on, all that was under way is asked again."""
        if self.journal is None:
            return state or begin(self.plan, self.runtime, self.secret)
        run = session_of(self.secret).run
        done = state.round if state else 0
        past = self.journal.past(run, done)
        if state is None and not past.any:
            return begin(self.plan, self.runtime, self.secret)
        for session, who in past.settled:
            settle(self.runtime, self.journal, session, _counted(who, state))
        self._heard = deque(past.heard)
        self._numbers = count(past.next)
        for request in past.open:
            self._send(request)
        return state or self.plan.start()

    def fill(self, state: State, size: int, busy: int) -> Buffer:
        """A buffer of `size` vectors, for which `busy` clients are kept at work."""
        buffer = Buffer(self.plan.encoded_spec)
        while buffer.total.count < size:
            while len(self.working) < min(busy, len(self.roster)):
                self.ask(state)
            reply, asked = self.hear(state)
            buffer.take(reply, state.round - asked)
            buffer.check(size, len(self.roster))
        return buffer

    def ask(self, state: State) -> None:
        """Ask somebody who is not at work, in a session of its own, about the present model."""
        session = session_of(self.secret, self._epoch, next(self._numbers))
        at = self.plan.context(state.round, session, secret=self.secret)
        who = idle(self.roster, self.working, at.session.repeats.child("sample"))
        channel = ServerChannel(self.plan, self.runtime, state, session)
        request = replace(channel.head, bodies={who: None})
        if self.journal:  # before a restart another may have been drawn, from another roster
            request = self.journal.ask(request)
        self._send(request)

    def _send(self, request: Request) -> None:
        """Send it, unless its answer was heard before a restart; its clients are at work now."""
        self.working |= set(request.bodies)
        self._asked[request.session] = request.round
        if all(reply.session != request.session for reply in self._heard):
            self.runtime.send(request)

    def hear(self, state: State) -> tuple[Reply, int]:
        """The next reply, and the round whose model it is about."""
        while True:
            reply = self._next(state)
            if reply.session in self._asked:
                self.working -= set(reply.who)
                return reply, self._asked.pop(reply.session)

    def _next(self, state: State) -> Reply:
        """The next reply: first what was heard before a restart; what is new is written down."""
        if self._heard:
            return self._heard.popleft()
        reply = self.runtime.receive()
        if self.journal and reply.session in self._asked:
            self.journal.write(reply, state.round)
        return reply


def _counted(who: tuple[str, ...], state: State | None) -> tuple[str, ...]:
    """Whose work counts of those who are in a buffer: nobody's where the step was not made."""
    if state and state.skipped:
        return ()
    return who


def _decoded(decode: Decoder, total: Total) -> tuple[Mean | None, str]:
    """The mean of all that is in a total, or why there is none."""
    try:
        n = total.count
        return decode(total.release(), n, overwrite=True), ""
    except RoundError as error:
        return None, printable(str(error))


def _check_aggregator(plan: Plan) -> None:
    """PlanError where who is added with whom must not be the server's choice, or cannot be."""
    if plan.aggregator.identified:
        raise PlanError(
            f"buffered cannot run {plan.aggregator!r}.",
            "It adds up whoever is ready first, which the server alone sees: it could put a client "
            "among those who collude with it. By this plan, whom a sum is over is drawn.",
            "Use `synchronous`; or say in the plan that the server may choose: "
            "aggregator=Arriving(MaskedSum(), size=10).",
        )
    if not plan.aggregator.sums or plan.encoded_spec.space != "real":
        raise PlanError(
            f"buffered cannot run {plan.aggregator!r} on {plan.encoded_spec.space} vectors.",
            "It weighs each vector by its staleness as it comes in, which needs the plain sum of "
            "real numbers.",
            "Take Sum() and leave Quantize out, or use `synchronous`.",
        )


def _check_plan(plan: Plan) -> None:
    """PlanError where a piece of the plan needs clients that train in step."""
    if not arriving(plan.aggregator):
        _check_aggregator(plan)
        _check_once(plan)
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


def _check_once(plan: Plan) -> None:
    """PlanError where a client must be once in a sum, and train once in a round."""
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


def _checked_size(plan: Plan, size: int | None, busy: int) -> int:
    """How many vectors make a step; PlanError where so many never come, are fewer than the quorum,
    or the plan says another number.
    """
    planned = arriving(plan.aggregator)
    if planned and size not in (None, planned):
        raise PlanError(
            f"buffered(size={size}) of a plan with {plan.aggregator!r}.",
            "Clients refuse a cell of another size than their plan says.",
            f"Leave `size` out, or write it in the plan: size={size}.",
        )
    if size is None:
        size = planned or SIZE
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
    return size
