"""Cells of clients that are ready: the rounds of `buffered` where a sum hides what is in it.

    ask ─▶ train ─▶ ready ─▶ a cell ─▶ prepare, vector, agree, open ─▶ absorb the mean ─▶ state

A client trains in a session of its own, in whose first turn it says that it is ready; the turns of
its cell are the later ones of the same session. Who is ready while a cell is open waits for the
next one. A cell that is not opened changes nothing, and its members train again.

    lobby     who trains, and who is ready; it outlives rounds
    cell      `size` of those who are ready; it is one round
    channel   what a cell says and hears, in the sessions of its members

A round ends without a cell where all who may be asked in it have answered, and too few are ready:
each client is asked once in a round, so that no update of it is in two sums.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from ..aggregators import NO_VECTOR, PROVEN
from ..aggregators.arrivals import Arrivals, arriving
from ..aggregators.arriving import READY, Arriving, chosen
from ..codec import fingerprint
from ..messages import Reply, Request, SessionId
from ..plan import Plan, server
from ..rand import Key
from ..record import round_entry
from ..state import State
from .channel import Runtime, ServerChannel, begin, idle, session_of, settle
from .checks import check_mistakes
from .journal import Journal
from .synchronous import aggregated, check_cohort, excluded_of

STALE = "its model was too old when it was ready"


def in_cells(
    plan: Plan,
    runtime: Runtime,
    state: State | None,
    secret: Key,
    busy: int,
    journal: Journal | None,
) -> Iterator[State]:
    """The rounds of a plan that adds up those who are ready; each is one cell, or changes
    nothing.

    A state is committed by the caller, who asks for the next one then: only then are the sessions
    settled that ended with it, and what those in the sum have learnt counts.
    """
    lobby = Lobby(plan, runtime, secret, journal)
    state = lobby.start(state)
    while state.round < plan.rounds:
        members = lobby.fill(state, busy)
        state = one_cell(plan, lobby, state, members)
        yield state
        lobby.settle(state)


@dataclass(frozen=True)
class Member:
    """A client that has been asked: what it was asked, and SHA-256 of what was broadcast."""

    who: str
    request: Request  # but for what was broadcast
    model: bytes

    @property
    def session(self) -> SessionId:
        """Its own."""
        return self.request.session

    @property
    def round(self) -> int:
        """Of whose model it trains."""
        return self.request.round


def one_cell(plan: Plan, lobby: Lobby, state: State, members: Sequence[Member]) -> State:
    """The state after a cell: its sum is opened and absorbed, or it changes nothing.

        x ← x + η·decode(Σᵢ s(τᵢ)·Δᵢ)/n,    over the n members that are in the sum

    Where there is no cell, or too few of it are left, the model stays, and the state says why.
    """
    cohort = [one.who for one in members]
    arrivals = lobby.arrivals(state, members)
    channel = CellChannel(lobby, state, members, arrivals)
    session = channel.head.session
    more: dict[str, Any] = {"population": len(lobby.roster), "memo": state.transforms}
    task = arrivals.task if arrivals else b""
    at = plan.context(state.round, session, secret=lobby.secret, task=task, **more)
    at = at.enrolled(lobby.runtime.members)
    if arrivals is None:
        mean = None
        participants: Sequence[str] = []
        skipped = f"{len(lobby.ready)} clients are ready for a sum over {arriving(plan.aggregator)}"
    else:
        mean, participants, skipped = aggregated(plan, channel, cohort, at)
        check_cohort(plan, channel, cohort)
    outside = {who: why for who, why in lobby.excluded.items() if who not in cohort}
    told = {
        "excluded": outside | excluded_of(channel, cohort, participants, skipped),
        "skipped": skipped,
        "named": lobby.runtime.named or not lobby.secret.hides,
    }
    at = replace(at, n=len(participants))
    new = server.absorb(plan, state, mean, participants, at, **told)
    models = state.x, new.x
    entry = round_entry(new.round, channel.head, channel.notes, models)
    if arrivals:
        entry["arrivals"] = arrivals.entry()
    return replace(new, record=entry)


class Lobby:
    """Who trains, who is ready, and in which session; a client is asked once in a round.

    Sessions are numbered on over all rounds. A start without a journal knows nothing of the
    sessions before it, and so begins an epoch of its own. With one, it hears again what it had
    heard since the last state, in the same order, and so makes the same cell.
    """

    def __init__(self, plan: Plan, runtime: Runtime, secret: Key, journal: Journal | None):
        self.plan = plan
        self.runtime = runtime
        self.secret = secret
        self.roster = runtime.roster()
        self.ready = dict[SessionId, Member]()  # in the order in which they said so
        self.excluded = dict[str, str]()  # since the last state
        self._journal = journal
        self._training = dict[SessionId, Member]()
        self._over = dict[SessionId, Member]()  # to be settled with the next state
        self._now = set[str]()  # who was asked on the present state
        self._models = dict[int, bytes]()  # round → SHA-256 of what was broadcast
        self._heard = deque[Reply]()  # on this state, before a restart
        self._known = set[tuple[SessionId, int]]()  # whose turn is answered
        self._epoch = 0
        self._numbers = count()
        self._again = False  # has it started again, and knows nothing of before?

    def start(self, state: State | None) -> State:
        """The first state; of a run that goes on, all that was under way is asked again."""
        if self._journal is None:
            if state is None:
                return begin(self.plan, self.runtime, self.secret)
            self._again = True
            self._epoch = time.time_ns()
            self._numbers = count(state.round << 32)
            return state
        run = session_of(self.secret).run
        past = self._journal.waiting(run, state.round if state else 0)
        if state is None and not past.any:
            return begin(self.plan, self.runtime, self.secret)
        for session, who in past.over:
            self._settle(session, who, state)
        self._heard = deque(past.heard)
        self._numbers = count(past.next)
        for request in past.open:
            self._open(request, request.session in past.ready)
        for session in past.ready:
            self._become_ready(session)
        return state or self.plan.start()

    def fill(self, state: State, busy: int) -> list[Member]:
        """The members of the next cell, sorted by name, for which `busy` clients are kept at work;
        nobody, where all who can be asked have answered, and they make up none.

        Whose model has become too old meanwhile is left out, by name, and may be asked again.
        Others are asked before anybody is heard, so that devices are at work while cells are open.
        RoundError where all who were asked make a mistake that they would make again.
        """
        self._now = set()
        self._ask_more(state, busy)
        while not (found := self._chosen(state)):
            if not self._training:
                self._check_mistakes()
                break
            self.take(self.next(state), state)
            self._ask_more(state, busy)
        self._again = False
        return found

    def take(self, reply: Reply, state: State) -> None:
        """Hear one of those who train: it is ready, or its session is over."""
        member = self._training.get(reply.session)
        if member is None or reply.turn:
            return
        if reply.body == READY:
            self._become_ready(reply.session)
        else:
            self._end([member], state)
            self.excluded[member.who] = reply.why or NO_VECTOR

    def next(self, state: State) -> Reply:
        """The next reply that is no answer to a turn that is answered; what is new is written
        down.

        It is written before it is heard, with the number of the state on which that is: a server
        that starts again hears it on the same one, in the same place.
        """
        while True:
            if self._heard:
                reply = self._heard.popleft()
            else:
                reply = self.runtime.receive()
                place = (reply.session, reply.turn)
                member = self._training.get(reply.session) or self._over.get(reply.session)
                if member is None or reply.who != (member.who,) or place in self._known:
                    continue  # of a session that is over, or heard before
                if self._journal:
                    self._journal.write(reply, state.round)
            self._known.add((reply.session, reply.turn))
            return reply

    def is_heard(self, session: SessionId, turn: int) -> bool:
        """Was this said before a restart, and is to be heard again?"""
        return any((one.session, one.turn) == (session, turn) for one in self._heard)

    def arrivals(self, state: State, members: Sequence[Member]) -> Arrivals | None:
        """What all of a cell are told of one another."""
        if not members:
            return None
        return Arrivals(
            self.plan.digest,
            session_of(self.secret).run,
            state.round,
            tuple(one.who for one in members),
            tuple((one.session.epoch, one.session.number, one.round) for one in members),
            {one.round: one.model for one in members},
        )

    def settle(self, state: State) -> None:
        """The state is committed: all sessions that ended with it are over."""
        over = self._over
        self._over = {}
        self.excluded = {}
        for session, member in over.items():
            self._settle(session, member.who, state)
        self._known = {one for one in self._known if one[0] in self.ready}
        rounds = {one.round for one in (*self._training.values(), *self.ready.values())}
        self._models = {round: self._models[round] for round in rounds}

    def _settle(self, session: SessionId, who: str, state: State | None) -> None:
        """One session is over; what its client has learnt counts where it is in the sum."""
        counted = (who,) if state and who in state.counted else ()
        settle(self.runtime, self._journal, session, counted)

    def _drop_stale(self, state: State) -> None:
        """Who is ready, and has trained too old a model, trains again."""
        most = _sum_of(self.plan).stale
        late = [one for one in self.ready.values() if state.round - one.round > most]
        self._end(late, state)
        self.excluded |= {one.who: STALE for one in late}

    def _ask_more(self, state: State, busy: int) -> None:
        """Ask others about the present model, until `busy` train; each once in a round."""
        while len(self._training) < busy:
            at_work = {one.who for one in (*self._training.values(), *self.ready.values())}
            banned = {one for one, why in state.excluded.items() if why == PROVEN}
            blocked = at_work | self._now | (banned & set(self.roster))
            if len(blocked) >= len(self.roster):
                return
            session = session_of(self.secret, self._epoch, next(self._numbers))
            at = self.plan.context(state.round, session, secret=self.secret)
            who = idle(self.roster, blocked, at.session.repeats.child("sample"))
            channel = ServerChannel(self.plan, self.runtime, state, session)
            request = replace(channel.head, bodies={who: None})
            if self._journal:
                request = self._journal.ask(request)
            self._now.update(request.bodies)
            self._open(request)

    def _open(self, request: Request, is_ready: bool = False) -> None:
        """A client is at work; it is asked, unless its answer was heard before a restart."""
        (who,) = request.bodies
        model = self._models.get(request.round)
        if model is None:
            model = self._models[request.round] = fingerprint(request.broadcast)
        member = Member(who, replace(request, broadcast=None), model)
        self._training[request.session] = member
        if not is_ready and not self.is_heard(request.session, 0):
            self.runtime.send(request)

    def _become_ready(self, session: SessionId) -> None:
        """Its client waits for others."""
        self.ready[session] = self._training.pop(session)

    def _chosen(self, state: State) -> list[Member]:
        """Who of those who are ready make up the next cell, sorted by name."""
        self._drop_stale(state)
        there = list(self.ready.values())
        one = _sum_of(self.plan)
        places = chosen([member.model for member in there], one.size, one.alike)
        found = sorted((there[i] for i in places), key=lambda one: one.who)
        self._end(found, state)
        return found

    def _end(self, members: Sequence[Member], state: State) -> None:
        """With the next state the sessions of these are over."""
        for one in members:
            self.ready.pop(one.session, None)
            self._training.pop(one.session, None)
            self._over[one.session] = one
        if self._journal and members:
            self._journal.end([one.session for one in members], state.round)

    def _check_mistakes(self) -> None:
        """RoundError where all who were asked make a mistake that they would make again; who had
        been asked before a restart refuses to be asked once more in the round.
        """
        if not self.ready and not self._again:
            asked = {who: why for who, why in self.excluded.items() if who in self._now}
            check_mistakes(len(self._now), asked)


class CellChannel(ServerChannel):
    """The letterbox of one cell, which speaks with each member in the session in which it was
    asked; what others say meanwhile the lobby hears.

    Its turns begin at 1. Answers that the journal has are heard again, and not asked for.
    """

    opening = 1  # in the turn before, each has said that it is ready

    def __init__(
        self, lobby: Lobby, state: State, members: Sequence[Member], arrivals: Arrivals | None
    ):
        session = session_of(lobby.secret, number=state.round)
        super().__init__(lobby.plan, lobby.runtime, state, session)
        self.arrivals = arrivals
        self._lobby = lobby
        self._state = state
        self._members = {one.who: one for one in members}
        self._sessions = {one.session for one in members}
        self._turns = dict.fromkeys(self._members, self.opening)

    def _requests(self, bodies: Mapping[str, Any], turn: int, fold: bool) -> Iterator[Request]:
        """One for each member that has not been heard in this turn before a restart."""
        for who, body in bodies.items():
            member = self._members[who]
            if not self._lobby.is_heard(member.session, turn):
                yield replace(member.request, bodies={who: body}, turn=turn)

    def _received(self) -> Reply:
        """The next reply of a member to what was asked in the cell."""
        while True:
            reply = self._lobby.next(self._state)
            if reply.session not in self._sessions:
                self._lobby.take(reply, self._state)
            elif all(self._turns.get(who, 0) > reply.turn for who in reply.who):
                return reply


def _sum_of(plan: Plan) -> Arriving:
    """The plan's sum of those who are ready."""
    assert isinstance(plan.aggregator, Arriving)
    return plan.aggregator
