"""Sites: parties at places of their own, that dial in to a server over TLS.

    control     the small messages of both, and their bounds
    spool       what is large, in parts that survive a broken link
    posts       what is asked of each party at one port
    desk        all that the server holds for each party
    gateway     the server's port
    between     the messages of a server and of gateways that stand before it
    gateways    those, at the server's end
    upstream    the port of one, and its link to the server
    relay       what its parties are asked and say
    folds       what it adds up of that
    moving      how who dials in fetches and sends what is large
    greeting    how a link begins
    blobs       what is large, at that port
    door        who is connected to it
    revoking    a roster that changes while it is open
    link        a party's way to it
    away        why it is not reached
    site        a party at its own place: book, memory, runs
    agent       the same where a worker runs the app's code
    worker      that process, as its agent sees it; talk: what they say to each other
    runs        those that it takes part in, and what they give away
    models      the global model of each, as it was told last
    fetch       the bundle that a server offers
    events      what happens, for a log
    watch       what an operator may see of it
    standing    a gateway from its kit; ray: in an actor
    metrics     the same for Prometheus, and whether all is well
    traces      the same for OpenTelemetry

The loop is that of a simulation. A `SiteRuntime` carries its requests to who attends, and brings
back what they reply; a party that is away for 40 seconds is absent, and one that comes back goes on
where it was. What a party remembers, and what it has said, is written down where it lives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, Self

import numpy as np

from ... import codec
from ...aggregators.arrivals import arriving
from ...crypto.identity import Member, Roster, clients_of
from ...errors import HansaError, Kind, PlanError, ProtocolError
from ...loops.checks import check_roster
from ...messages import HEAD, Begin, Message, Reply, Request, SessionId, Settle
from ...plan import Plan
from ...sample import Poisson
from ...sums import Total
from ..inprocess import Deadlines
from . import control
from .between import Folding
from .control import Ask, Blob, Session
from .events import Asked, log
from .gateway import Gateway
from .posts import Answer

__all__ = ["Drained", "Gateway", "SiteRuntime"]


class Drained(KeyboardInterrupt):
    """A server was told to end: what is under way is left to its journal."""


class SiteRuntime:
    """Parties of a roster that attend at a gateway; for one plan.

    found: the state of the survey that was asked before, which the parties' plan hangs on.
    PlanError for a deadline without end, and for a plan whose helpers are on no roster.

    It keeps nothing of what parties remember: `memory` is None. Where it is closed, the gateway
    stays open.
    """

    named = False
    memory = None

    def __init__(self, gateway: Gateway, plan: Plan, found: np.ndarray[Any, Any] | None = None):
        check_sites(plan, gateway.roster)
        self.gateway = gateway
        self.plan = plan
        self._roster = gateway.roster
        self._refused = gateway.roster
        self._found = found
        self._deadlines = Deadlines(bool(arriving(plan.aggregator)))
        self._run = ""
        self._sent = dict[SessionId, set[Blob]]()
        self._sizes = dict[int, int]()  # turn → bytes of a client's answer
        gateway.watch.hidden = plan.encoded_spec.hidden

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def members(self) -> Mapping[str, Member]:
        """The public halves of all parties, by name; of the roster that was asked for last."""
        return self._roster

    def roster(self) -> Sequence[str]:
        """Names of all clients of the roster, sorted, whether they attend or not.

        A newer one counts from here on, unless the plan cannot be carried out with its clients:
        then those before are asked as before, and the log says why. Who is revoked is not heard.
        """
        newer = self.gateway.roster
        if newer is not self._roster and newer is not self._refused:
            try:
                check_change(self.plan, clients_of(self._roster), clients_of(newer))
                self._roster = newer
            except PlanError as error:
                self._refused = newer
                log.warning("the clients of the run stay: %s", error)
        return sorted(clients_of(self._roster))

    def send(self, message: Message) -> None:
        """Pass a request on to each whom it names; or tell all that a run begins, and those that
        were asked that a session is over.
        """
        desk = self.gateway.desk
        match message:
            case Begin(run):
                self._begin(run)
            case Settle(session, counted):
                self._go_on(session.run)
                self._deadlines.hear(message)
                self.gateway.watch.settled(message)
                self.gateway.soon(desk.settle, session, counted)
                self._drop(session)
            case Request():
                self._ask(message)

    def _go_on(self, run: str) -> None:
        """Tell that a run goes on, where the server has started again since it began."""
        if run != self._run:
            self._begin(run)

    def _begin(self, run: str) -> None:
        """Tell all, and who comes later, that a run of this plan begins, or goes on."""
        self._run = run
        begin = control.Begin(run, self.plan.digest, self._known())
        self.gateway.soon(self.gateway.desk.begin, begin)

    def _known(self) -> Blob | None:
        """What a survey has found, as a blob."""
        if self._found is None:
            return None
        return self.gateway.desk.outgoing.put(codec.frames(self._found))

    def _ask(self, request: Request) -> None:
        """Ask each; what all are told is written once."""
        new = request.turn == 0 and request.session not in self._sent
        if new and self.gateway.draining:
            raise Drained
        self.gateway.watch.begun(request.session, request.round)
        self._go_on(request.session.run)
        desk = self.gateway.desk
        now = time.monotonic()
        left = max(0.0, self._deadlines.of(request, now) - now)
        broadcast = None
        if request.turn == 0:
            broadcast = self._put(request.session, request.broadcast)
        fold = Folding.of(self.plan.encoded_spec) if request.fold else None
        for who, body in request.bodies.items():
            part = None
            if body is not None:
                part = self._put(request.session, body)
            session = Session.of(request.session)
            ask = Ask(session, request.plan, request.round, request.turn, left, broadcast, part)
            self.gateway.watch.asked(Asked(request.session, who, request.turn))
            self.gateway.soon(desk.ask, who, ask, self._most(who, request.turn), fold)

    def _put(self, session: SessionId, value: Any) -> Blob:
        """A value as a blob, which is there until the session is settled."""
        blob = self.gateway.desk.outgoing.put(codec.frames(value))
        self._sent.setdefault(session, set()).add(blob)
        return blob

    def _drop(self, session: SessionId) -> None:
        """Delete what went out in a session; but for what another has in common with it."""
        mine = self._sent.pop(session, set())
        for blob in mine.difference(*self._sent.values()):
            self.gateway.desk.outgoing.drop(blob)

    def _most(self, who: str, turn: int) -> int:
        """How many bytes the answer to a question may have; a helper's holds something of each
        client.
        """
        if turn not in self._sizes:
            encoded = self.plan.encoded_spec
            self._sizes[turn] = self.plan.aggregator.largest_reply(encoded, turn)
        if who in self.plan.aggregator.parties:
            return HEAD + self._sizes[turn] * len(clients_of(self._roster))
        return self._sizes[turn]

    def receive(self) -> Reply:
        """The next reply, or that somebody is absent, late, or has said what cannot be.

        StoreError where the server's disk is full; Drained where it was told to end, and this round
        has taken too long.
        """
        answer = self.gateway.inbox.get()
        if isinstance(answer, HansaError):
            raise answer
        if answer is None:
            raise Drained
        place = (answer.session, answer.round, answer.who)
        if answer.path is None:
            return self._missed(answer, answer.why)
        bytes = 0
        with suppress(FileNotFoundError):  # its session was settled meanwhile
            bytes = answer.path.stat().st_size
        reply = _read(answer)
        if reply is None or (reply.session, reply.round, reply.who) != place:
            return self._missed(answer, "invalid")
        if reply.body is None:
            return self._missed(answer, reply.why)
        for who in answer.who:  # of a sum each has its share
            asked = Asked(answer.session, who, answer.turn)
            self.gateway.watch.heard(asked, answer.round, bytes // len(answer.who))
        return reply

    def _missed(self, answer: Answer, why: Kind | Literal[""]) -> Reply:
        """That these have given no answer, or none that can be."""
        for who in answer.who:
            self.gateway.watch.missed(Asked(answer.session, who, answer.turn), answer.round, why)
        return Reply(answer.session, answer.round, answer.who, None, why, answer.turn)

    def close(self) -> None:
        """Nothing ends: the gateway is its owner's."""


def _read(answer: Answer) -> Reply | None:
    """The reply in a file, which is deleted; None where there is none, or one of another turn."""
    assert answer.path is not None
    try:
        reply = Reply.decode(answer.path, answer.most)
    except (ProtocolError, FileNotFoundError):  # the latter where its session was settled since
        return None
    finally:
        answer.path.unlink(missing_ok=True)  # what is mapped stays there until it is let go
    if reply.turn != answer.turn or isinstance(reply.body, Total) != (len(answer.who) > 1):
        return None
    return reply


def check_change(plan: Plan, before: Sequence[str], after: Sequence[str]) -> None:
    """PlanError where the clients of a run cannot become others.

    Where whom a round asks hides who took part, or whose turn it is, ε rests on their number.
    """
    if sorted(before) == sorted(after):
        return
    sample = plan.sample
    by_number = plan.encoded_spec.hidden and not isinstance(sample, Poisson)
    if by_number or not sample.in_any_order:
        raise PlanError(
            f"{sample!r} asks some of {len(before)} clients, and on the newest roster are "
            f"{len(after)}.",
            "How much a round gives away hangs on how many they are.",
            "Begin another run with the new ones; who is revoked takes part no more in this one.",
        )
    check_roster(plan, len(after))


def check_sites(plan: Plan, roster: Roster) -> None:
    """PlanError where a plan cannot be carried out between real sites."""
    if not math.isfinite(plan.sample.deadline):
        raise PlanError(
            "The plan waits for a client without end.",
            "At a real site a machine that is switched off would stop the run.",
            f"Give it seconds for a round: {type(plan.sample).__name__}(…, deadline=3600).",
        )
    named = {who for who, one in roster.items() if one.role == "helper"}
    missing = [who for who in plan.aggregator.parties if who not in named]
    if missing:
        raise PlanError(
            f"The plan needs the helper {missing[0]!r}, and the roster has no such helper.",
            f"Its helpers are {', '.join(sorted(named)) or 'none'}; one that is a client as well "
            "has a name of its own as a helper.",
            f"Enrol it: hansa enroll --name {missing[0]!r} --role helper",
        )
