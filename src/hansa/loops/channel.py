"""ServerChannel: how a server speaks with the clients of one session, and what it asks of a runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..aggregators import NO_VECTOR
from ..algorithms import ClientState
from ..errors import printable
from ..messages import Reply, Request
from ..plan import Plan
from ..rand import Key
from ..state import State
from ..sums import Total


class Runtime(Protocol):
    """Where clients live. Every client of a request is answered for once: by a reply, or as excluded, with a reason.

    The runtime alone decides who is late: it keeps `Request.deadline`, by a clock of its own, from the sending on.
    """

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
        """The next reply, or that somebody is late; waits until one of the two."""
        ...

    def memory(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these clients remember between rounds, where it is anything."""
        ...

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each client remember this, and those that are not named nothing."""
        ...

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these clients remember what they did before the session, for it did not count."""
        ...


class ServerChannel:
    """The server's letterbox for one session: say something to many, wait, hear who answered."""

    def __init__(self, plan: Plan, runtime: Runtime, state: State, session: int, secret: Key):
        self.runtime, self.excluded, self.wire = runtime, dict[str, str](), plan.encoded_spec
        self.head = Request(plan.digest, state.round, session, plan.broadcast(state), {}, plan.sample.deadline)
        self.head = replace(self.head, run=secret.child("name").secret.hex())  # a run is called what its secret says
        self._turns = dict[str, int]()  # how often each was asked
        self._early = list[Reply]()  # what nobody waits for yet

    def gather(self, bodies: Mapping[str, Any]) -> dict[str, Any]:
        """Say something to each of many, and hear who answered what, in the order of their names."""
        return dict(sorted(self.as_completed(bodies)))

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Say something to each of many, and hear who answered what, as it comes; others may be asked meanwhile."""
        self._send(bodies)
        yield from ((reply.who[0], reply.body) for reply in self._replies(set(bodies)))

    def sum(self, cohort: Sequence[str]) -> tuple[Total, list[str]]:
        """Ask each for its vector, and hear their exact sum alone, and who is in it."""
        self._send(dict.fromkeys(cohort), fold=True)
        total, participants = Total(), list[str]()
        for reply in self._replies(set(cohort)):
            if isinstance(reply.body, Total) and reply.body.fits(self.wire):
                total.merge(reply.body)
            elif self.wire.fits(reply.body):
                total.add(reply.body)
            else:
                self.excluded |= dict.fromkeys(reply.who, NO_VECTOR)
                continue
            participants += reply.who
        return total, sorted(participants)

    def exclude(self, who: str, why: str) -> None:
        """Leave out one who answered, for a reason."""
        self.excluded[who] = printable(why)

    def _send(self, bodies: Mapping[str, Any], fold: bool = False) -> None:
        turn = max((self._turns.get(who, 0) for who in bodies), default=0)
        self._turns |= dict.fromkeys(bodies, turn + 1)
        broadcast = None if turn else self.head.broadcast  # said once
        self.runtime.send(replace(self.head, bodies=bodies, fold=fold, turn=turn, broadcast=broadcast))

    def _replies(self, waiting: set[str]) -> Iterator[Reply]:
        while waiting:
            reply = self._next(waiting)
            waiting -= set(reply.who)
            if reply.body is None:
                self.excluded |= dict.fromkeys(reply.who, reply.why)
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


def begin(plan: Plan, runtime: Runtime) -> State:
    """The first state of a run, whose clients remember nothing."""
    runtime.load({})
    return plan.start()
