"""Loops: generators of states. The caller's `for` body is the callback; stop is `break`, resume is a `State`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Protocol

from .aggregators import NO_VECTOR, Sum
from .client import Reply, Request
from .errors import PlanError, RoundError, printable
from .optim import Memo
from .plan import FAILED, Plan, State
from .rand import Key
from .sums import Total
from .transforms import Decoder, Mean

SHOWN = 5  # clients that an error names
LOOK = "Each has said why where its data is: on this terminal if that is here; `hansa check APP` says it again."
PATIENCE = 100  # requests for each client that a buffer may lose in a row
FAULTS = ("absent", "late", "restarted")  # what networks and machines do; every other reason is somebody's mistake


class Runtime(Protocol):
    """Where clients live. Every client of a request is answered for once: by a reply, or as lost, with a reason."""

    @property
    def named(self) -> bool:
        """Does a party draw from a secret that the simulation names, not from one of its own?"""
        ...

    def roster(self) -> Sequence[str]:
        """Names of all clients, in an order that does not change."""
        ...

    def send(self, request: Request) -> None:
        """Pass a request on; does not wait."""
        ...

    def receive(self) -> Reply:
        """The next reply; waits."""
        ...

    def memory(self, who: Iterable[str]) -> dict[str, Memo]:
        """What these clients remember between rounds, where it is anything."""
        ...

    def remember(self, memos: Mapping[str, Memo]) -> None:
        """Let each client remember this, and those that are not named nothing."""
        ...

    def forget(self, session: int, who: Iterable[str]) -> None:
        """Let these clients remember what they did before the session, for it did not count."""
        ...


class Letters:
    """The server's letterbox for one session: say something to many, wait, hear who answered."""

    def __init__(self, plan: Plan, runtime: Runtime, state: State, session: int, secret: Key):
        self.runtime, self.lost, self.wire = runtime, dict[str, str](), plan.wire
        self.head = Request(plan.digest, state.round, session, plan.down(state), {}, plan.sample.deadline)
        self.head = replace(self.head, run=secret.child("name").secret.hex())  # a run is called what its secret says
        self._turns = dict[str, int]()  # how often each was asked
        self._early = list[Reply]()  # what nobody waits for yet

    def ask(self, bodies: Mapping[str, Any]) -> dict[str, Any]:
        """Say something to each of many, and hear who answered what, in the order of their names."""
        return dict(sorted(self.each(bodies)))

    def each(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Say something to each of many, and hear who answered what, as it comes; others may be asked meanwhile."""
        self._send(bodies)
        yield from ((reply.who[0], reply.body) for reply in self._replies(set(bodies)))

    def total(self, cohort: Sequence[str]) -> tuple[Total, list[str]]:
        """Ask each for its vector, and hear their exact sum alone, and who is in it."""
        self._send(dict.fromkeys(cohort), fold=True)
        total, seen = Total(), list[str]()
        for reply in self._replies(set(cohort)):
            if isinstance(reply.body, Total):
                total.merge(reply.body)
            elif self.wire.fits(reply.body):
                total.add(reply.body)
            else:
                self.lose(reply.who[0], NO_VECTOR)
                continue
            seen += reply.who
        return total, sorted(seen)

    def lose(self, who: str, why: str) -> None:
        """Leave out one who answered, for a reason."""
        self.lost[who] = printable(why)

    def _send(self, bodies: Mapping[str, Any], fold: bool = False) -> None:
        turn = max((self._turns.get(who, 0) for who in bodies), default=0)
        self._turns |= dict.fromkeys(bodies, turn + 1)
        down = None if turn else self.head.down  # said once
        self.runtime.send(replace(self.head, bodies=bodies, fold=fold, turn=turn, down=down))

    def _replies(self, waiting: set[str]) -> Iterator[Reply]:
        while waiting:
            reply = self._next(waiting)
            waiting -= set(reply.who)
            if reply.body is None:
                self.lost |= dict.fromkeys(reply.who, reply.why)
            else:
                yield reply

    def _next(self, waiting: set[str]) -> Reply:
        """The next reply of one of these; those of others are kept for who waits for them."""
        for i, reply in enumerate(self._early):
            if waiting & set(reply.who):
                return self._early.pop(i)
        while True:
            reply = self.runtime.receive()
            if reply.session != self.head.session:
                continue  # from a round that is over
            if waiting & set(reply.who) or not reply.who:
                return reply
            self._early.append(reply)


def synchronous(plan: Plan, runtime: Runtime, state: State | None = None, secret: Key | None = None) -> Iterator[State]:
    """Rounds one after another: sample, broadcast, train, encode, aggregate, decode, step.

    Without a state it starts from the beginning, and clients from nothing. Who was asked and does not count forgets the
    round: what clients and server remember (a control variate, its mean) stays in step.

    The server's noise, and its sample where ε rests on it, grow from `secret`: a fresh one, unless a simulation names
    one so that they repeat; then ε does not hold against who knows it. Who resumes a run of noise gives its secret.
    """
    secret = secret or Key.fresh()
    _check_roster(plan, len(runtime.roster()))
    state = state or _begin(plan, runtime)
    named = runtime.named or not secret.hides
    while state.round < plan.rounds:
        roster = runtime.roster()
        letters = Letters(plan, runtime, state, session=state.round, secret=secret)
        fingerprint = letters.head.fingerprint if plan.binds else b""
        more: dict[str, Any] = {"population": len(roster), "memo": state.transforms}
        at = plan.context(
            state.round, state.round, secret=secret, run=letters.head.run, fingerprint=fingerprint, **more
        )
        cohort, note = plan.cohort(roster, at), ""
        try:
            mean, seen = plan.aggregator.server(letters, cohort, plan.decoder(at))
        except RoundError as error:
            mean, seen, note = None, [], printable(str(error))
        # a single liar, asked alone, could end the run; and its end would tell who was in a secret sample
        if len(cohort) >= plan.sample.quorum and not plan.wire.hidden:
            _all_mistaken(len(cohort), {who: why for who, why in letters.lost.items() if who in cohort})
        lost = dict.fromkeys(cohort, FAILED) | letters.lost if note else letters.lost
        state = plan.absorb(state, mean, seen, replace(at, n=len(seen)), lost=lost, note=note, named=named)
        if missing := cohort if state.note else list(lost):
            runtime.forget(letters.head.session, missing)
        yield state


def buffered(
    plan: Plan, runtime: Runtime, state: State | None = None, secret: Key | None = None, size: int = 10, busy: int = 30
) -> Iterator[State]:
    """FedBuff: `busy` clients train at any time; the model steps when `size` vectors are in.

        x ← x + η_g · (1/K) Σ s(τᵢ) Δᵢ,      s(τ) = 1/√(1 + τ),      τ = rounds since client i got its model

    K = `size` (Nguyen et al. 2022, Alg. 1 and §5). Only Δ is scaled by s. A resumed run asks its clients afresh.
    """
    secret = secret or Key.fresh()
    _bufferable(plan, size, busy)
    _check_roster(plan, len(runtime.roster()))
    state = state or _begin(plan, runtime)
    sessions, roster = count(state.round << 32), runtime.roster()  # never the sessions of an earlier run
    asked, working = dict[int, int](), set[str]()  # session → round; who trains

    def ask(state: State, session: int) -> None:
        at = plan.context(state.round, session, secret=secret)
        who = _idle(roster, working, at.session.repeats.child("sample"))
        working.add(who)
        asked[session] = state.round
        runtime.send(replace(Letters(plan, runtime, state, session, secret).head, bodies={who: None}))

    while state.round < plan.rounds:
        total, seen, lost, idle = Total(), list[str](), dict[str, str](), 0
        while total.count < size:
            while len(working) < min(busy, len(roster)):
                ask(state, next(sessions))
            reply = runtime.receive()
            if reply.session not in asked:
                continue
            staleness = state.round - asked.pop(reply.session)
            working -= set(reply.who)
            if reply.body is None or not plan.wire.fits(reply.body):
                lost |= dict.fromkeys(reply.who, reply.why or NO_VECTOR)
                idle += 1
                if not seen and len(lost) >= min(size, len(roster)):
                    _all_mistaken(len(lost), lost)
                if idle > PATIENCE * len(roster):
                    raise RoundError(f"None of the last {idle} requests was answered.", _named(lost), LOOK)
            else:
                total.add(reply.body * plan.wire.each({"delta": (1 + staleness) ** -0.5}, 1.0))
                seen, idle = [*seen, *reply.who], 0
        at = plan.context(
            state.round, state.round, secret=secret, population=len(roster), memo=state.transforms, n=size
        )
        mean, note = _decoded(plan.decoder(at), total)
        lost = {who: why for who, why in lost.items() if who not in seen}  # asked again, they may have answered
        state = plan.absorb(state, mean, sorted(seen), at, lost=lost, note=note)
        yield state


def _idle(roster: Sequence[str], working: Collection[str], key: Key) -> str:
    """Somebody at random who does not train now."""
    rng = key.rng()
    drawn = (roster[int(rng.integers(len(roster)))] for _ in count())
    return next(name for name in drawn if name not in working)


def _begin(plan: Plan, runtime: Runtime) -> State:
    runtime.remember({})
    return plan.start()


def _decoded(decode: Decoder, total: Total) -> tuple[Mean | None, str]:
    """The mean of all that is in a total, or why there is none."""
    try:
        return decode(total.value(), total.count), ""
    except RoundError as error:
        return None, printable(str(error))


def _check_roster(plan: Plan, clients: int) -> None:
    """A plan that these clients can never fulfil fails before the first round."""
    sample = plan.sample
    fewer = f"{'InTurn' if sample.by == 'turns' else 'Uniform'}({clients})"
    wrong = [
        (sample.most > clients, f"The plan samples {sample.most} of {clients} clients.", fewer),
        (sample.quorum > clients, f"The plan wants {sample.quorum} answers from {clients} clients.", "a lower quorum"),
    ]
    for bad, found, instead in wrong:
        if bad:
            raise PlanError(found, "No round could ever be what the plan says.", f"Write {instead}, or bring clients.")
    if why := plan.aggregator.need(clients):
        raise PlanError(f"{plan.aggregator!r} has {clients} clients.", why, "Bring clients, or expect fewer liars.")


def _bufferable(plan: Plan, size: int, busy: int) -> None:
    if not isinstance(plan.aggregator, Sum) or plan.wire.space != "real":
        raise PlanError(
            f"buffered cannot run {plan.aggregator!r} on {plan.wire.space} vectors.",
            "It weighs each vector by its staleness as it comes in, which needs the plain sum of real numbers.",
            "Take Sum() and leave Quantize out, or use `synchronous`.",
        )
    if plan.wire.noise.multiplier:
        raise PlanError(
            f"buffered cannot run noise (multiplier {plan.wire.noise.multiplier:g}).",
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
    if plan.wire.learns:
        raise PlanError(
            "buffered cannot run a clip that is learnt.",
            "A client's vector is scaled by the norm of the round in which it was asked, and the server has another.",
            "Take Clip(norm=…), or use `synchronous`.",
        )
    if plan.wire.spread:
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


def _all_mistaken(asked: int, lost: Mapping[str, str]) -> None:
    """When nobody took part and not by the network's fault, the next round will be no better: stop."""
    mistakes = {who: why for who, why in lost.items() if why not in FAULTS}
    if mistakes and len(mistakes) == asked:
        raise RoundError(f"None of the {asked} clients asked could take part.", _named(mistakes), LOOK)


def _named(lost: Mapping[str, str]) -> str:
    """Who was lost and of what kind the reason is; of many, the first."""
    some = [f"{who} ({why})" for who, why in lost.items()]
    return f"{', '.join(some[:SHOWN])}{f' and {len(some) - SHOWN} more' if len(some) > SHOWN else ''}."
