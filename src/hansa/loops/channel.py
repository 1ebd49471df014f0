"""ServerChannel: how a server speaks with the clients of one session; and what carries it.

A conversation has turns: the first opens the session and tells all what the round is about, later
ones pass a message to each party. Answers may come in any order, late, twice, or not at all; the
channel passes each on once, to whoever waits for it, and notes who is left out and why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, Self

from ..aggregators import NO_VECTOR, PROVEN
from ..aggregators.arrivals import Arrivals
from ..codec import Frame
from ..crypto.identity import Member
from ..errors import printable
from ..messages import Begin, Message, Reply, Request, SessionId, Settle
from ..plan import Plan, server
from ..progress import tell
from ..rand import Key
from ..state import State
from ..sums import Total
from .journal import Journal

UNSAID = "the aggregator left it out"  # why one is excluded of whom nobody gave a reason


class Runtime(Protocol):
    """Where clients live: it carries requests to them, and what they reply.

    Every client of a request is answered for once: by a reply, or as excluded, with a reason. The
    runtime alone decides who is late: a session has `Request.deadline` seconds, by a clock of
    the runtime's own, from its first message on. A party that is asked the same again says the
    same.
    """

    @property
    def named(self) -> bool:
        """Does a party draw from a secret that the simulation names, not from one of its own?"""
        ...

    @property
    def members(self) -> Mapping[str, Member]:
        """The public halves of all parties, by name, where the plan's aggregator has helpers."""
        ...

    def roster(self) -> Sequence[str]:
        """Names of all clients, in an order that does not change."""
        ...

    def send(self, message: Message) -> None:
        """Pass a request on; or a Begin or Settle, which nobody answers. Does not wait."""
        ...

    def receive(self) -> Reply:
        """The next reply, or that somebody is late; waits until one of the two."""
        ...

    def close(self) -> None:
        """End what was opened; a runtime is a context manager, too."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Kept(Protocol):
    """Where a run keeps what its sums can be computed from again."""

    def add(self, round: int, data: Frame) -> None:
        """Keep bytes of a round, under their SHA-256."""
        ...


class ServerChannel:
    """The server's letterbox for one session: say something to many, wait, hear who answered.

    With a journal, what is heard is written down first; what that holds already is heard again, and
    those who said it are not asked. `excluded` tells who gave no answer, or no vector, and why.

    seconds: that are left of the session; by default all that the plan gives it.
    """

    opening = 0  # the turn in which all are told what it is about
    arrivals: Arrivals | None = None

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        state: State,
        session: SessionId,
        journal: Journal | None = None,
        kept: Kept | None = None,
        seconds: float | None = None,
    ):
        self.runtime = runtime
        self.before: Mapping[str, str] = state.excluded
        # who is out for the run stays so, asked or not
        self.excluded = {who: why for who, why in self.before.items() if why == PROVEN}
        self.notes = list[Mapping[str, Any]]()
        self.encoded = plan.encoded_spec
        self.head = Request(
            plan.digest,
            state.round,
            session,
            server.broadcast(plan, state),
            {},
            plan.sample.deadline if seconds is None else seconds,
        )
        self._kept = kept
        self._turns = dict[str, int]()  # how often each was asked
        self._journal = journal
        self._heard = deque(journal.heard(session) if journal else ())
        self._known = {(who, reply.turn) for reply in self._heard for who in reply.who}
        self._early = list[Reply]()  # what nobody waits for yet

    def gather(self, bodies: Mapping[str, Any]) -> dict[str, Any]:
        """Say something to each of many, and hear who answered what, sorted by name."""
        return dict(sorted(self.as_completed(bodies)))

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Say something to each of many, and hear who answered what, as it comes.

        Others may be asked meanwhile: what they answer is kept for who waits for it.
        """
        turn = self._send(bodies)
        yield from ((reply.who[0], reply.body) for reply in self._replies(set(bodies), turn))

    def sum(self, cohort: Sequence[str]) -> tuple[Total, list[str]]:
        """Ask each for its vector, and hear their exact sum alone, and who is in it, by name.

            Σ vᵢ,    over all i in the cohort whose vector is one of the plan's encoded spec

        Whoever carries the replies may have added up some of them already.
        """
        turn = self._send(dict.fromkeys(cohort), fold=True)
        total = Total()
        participants = list[str]()
        for reply in self._replies(set(cohort), turn):
            if isinstance(reply.body, Total) and reply.body.fits(self.encoded):
                total.merge(reply.body)
            elif self.encoded.fits(reply.body):
                total.add(reply.body)
            else:
                self._leave_out(reply.who, NO_VECTOR)
                continue
            participants += reply.who
        return total, sorted(participants)

    def exclude(self, who: str, why: str) -> None:
        """Leave out one who answered, for a reason; who is out for the run stays so for its own."""
        self._leave_out([who], printable(why))

    def note(self, entry: Mapping[str, Any]) -> None:
        """Let something stand in the run's record."""
        self.notes.append(entry)

    def keep(self, data: Frame) -> None:
        """Keep bytes beside the record, where the run is to."""
        if self._kept is not None:
            self._kept.add(self.head.round + 1, data)

    def mistakes(self, cohort: Collection[str]) -> dict[str, str]:
        """Which of these gave no answer to their first message, and why.

        A later one carries what other clients have said, one of whom may make all others refuse.
        """
        found = dict[str, str]()
        for who in cohort:
            if self._turns.get(who) == self.opening + 1 and who in self.excluded:
                found[who] = self.excluded[who]
        return found

    def outcome(self, cohort: Sequence[str], participants: Collection[str]) -> dict[str, str]:
        """Who was asked and is not in the sum, and why: asked − in the sum."""
        counted = frozenset(participants)
        out = [who for who in dict.fromkeys([*cohort, *self.excluded]) if who not in counted]
        return {who: self.excluded.get(who, UNSAID) for who in out}

    def _leave_out(self, names: Iterable[str], why: str) -> None:
        for who in names:
            if self.excluded.get(who) != PROVEN:
                self.excluded[who] = why

    def _send(self, bodies: Mapping[str, Any], fold: bool = False) -> int:
        """Send to each its message, in the next turn of those parties, whose number it returns."""
        turn = max((self._turns.get(who, 0) for who in bodies), default=0)
        self._turns |= dict.fromkeys(bodies, turn + 1)
        for request in self._requests(bodies, turn, fold):
            self.runtime.send(request)
        return turn

    def _requests(self, bodies: Mapping[str, Any], turn: int, fold: bool) -> Iterator[Request]:
        """What is sent to those that have not been heard in this turn before a restart."""
        broadcast = None if turn else self.head.broadcast  # said once
        unheard = {who: body for who, body in bodies.items() if (who, turn) not in self._known}
        if unheard:
            yield replace(self.head, bodies=unheard, fold=fold, turn=turn, broadcast=broadcast)

    def _replies(self, waiting: set[str], turn: int) -> Iterator[Reply]:
        """What these reply in this turn, each as it comes; who says nothing is excluded."""
        asked = len(waiting)
        while waiting:
            tell("clients", done=asked - len(waiting), total=asked)
            reply = self._next(waiting, turn)
            waiting -= set(reply.who)
            if reply.body is None:
                self._leave_out(reply.who, reply.why)
            else:
                yield reply

    def _next(self, waiting: set[str], turn: int) -> Reply:
        """The next reply of one of these; those of others are kept for who waits for them."""

        def awaited(reply: Reply) -> bool:
            return not reply.who or (reply.turn == turn and bool(waiting & set(reply.who)))

        for i, reply in enumerate(self._early):
            if awaited(reply):
                return self._early.pop(i)
        while True:
            reply = self._heard.popleft() if self._heard else self._received()
            if awaited(reply):
                return reply
            self._early.append(reply)

    def _received(self) -> Reply:
        """The next reply of the channel's session to what was asked in it, written down."""
        while True:
            reply = self.runtime.receive()
            asked = all(self._turns.get(who, 0) > reply.turn for who in reply.who)
            again = any((who, reply.turn) in self._known for who in reply.who)
            if reply.session != self.head.session or not asked or again:
                continue  # from a round that is over, or heard before
            self._known |= {(who, reply.turn) for who in reply.who}
            if self._journal and reply.who:
                self._journal.write(reply)
            return reply


def session_of(secret: Key, epoch: int = 0, number: int = 0) -> SessionId:
    """The name of a session; a run is called what its secret says."""
    return SessionId(secret.child("name").secret.hex(), epoch, number)


def idle(roster: Sequence[str], blocked: Collection[str], key: Key) -> str:
    """Somebody at random who is not one of these; there must be one."""
    rng = key.rng()
    drawn = (roster[int(rng.integers(len(roster)))] for _ in count())
    return next(name for name in drawn if name not in blocked)


def begin(plan: Plan, runtime: Runtime, secret: Key) -> State:
    """The first state of a run, whose clients remember nothing."""
    runtime.send(Begin(session_of(secret).run))
    return plan.start()


def settle(
    runtime: Runtime, journal: Journal | None, session: SessionId, counted: tuple[str, ...]
) -> None:
    """A session is over: tell all parties who counts, and cross it out."""
    runtime.send(Settle(session, counted))
    if journal:
        journal.settle(session)
