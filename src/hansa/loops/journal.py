"""Journal: what the server has heard in sessions that are not settled, to hear it again.

A server that is killed in the middle of a round and asked its clients once more would hear other
answers from some, and all would pay for the round twice. With a journal it goes on instead:

    heard        replies in order, with the number of the state on which they were heard
    asked        who was asked in which session, where each client has one of its own
    broadcasts   what all of a round were told, once
    sessions     with which roster each that is not settled began, and when

One session, as its rows have it:

    begin ──▶ sessions ──▶ write … ──▶ heard ──▶ (a restart hears them again) ──▶ settle ──▶ none

Where a statement fails nothing of it is there; one that was carried out and not heard of is carried
out again, and changes nothing (`Rows`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..codec import SIZE, frames
from ..messages import Reply, Request, SessionId
from ..parties.database import Database, Row
from .opening import Opening

__all__ = ["Journal", "Past", "Row", "Rows"]

TABLES = """
CREATE TABLE IF NOT EXISTS heard (
    run TEXT, seq INTEGER, epoch INTEGER, number INTEGER, state INTEGER, reply BLOB,
    PRIMARY KEY (run, seq)
);
CREATE TABLE IF NOT EXISTS asked (
    run TEXT, epoch INTEGER, number INTEGER, round INTEGER, who TEXT, open INTEGER,
    ended INTEGER, PRIMARY KEY (run, epoch, number)
);
CREATE TABLE IF NOT EXISTS broadcasts (
    run TEXT, round INTEGER, request BLOB, PRIMARY KEY (run, round)
);
CREATE TABLE IF NOT EXISTS sessions (
    run TEXT, epoch INTEGER, number INTEGER, clients TEXT, start TEXT, running REAL, clock REAL,
    PRIMARY KEY (run, epoch, number)
);
"""


@dataclass(frozen=True)
class Past:
    """What a loop finds that starts again, where each client has a session of its own."""

    # sessions whose round is committed, and who counts
    settled: list[tuple[SessionId, tuple[str, ...]]]
    heard: list[Reply]  # on the present state, in order
    open: list[Request]  # asked on an earlier state, and not answered yet or answered on this one
    next: int  # the number of the next session

    @property
    def any(self) -> bool:
        """Was anything heard or asked?"""
        return bool(self.settled or self.heard or self.open)


@dataclass(frozen=True)
class Waiting:
    """The same, where a client that has said it is ready waits for others."""

    over: list[tuple[SessionId, str]]  # sessions that ended with a committed state, and whose
    ready: list[SessionId]  # who has said so on an earlier state, in order, and waits still
    heard: list[Reply]  # on the present state, in order
    open: list[Request]  # asked on an earlier state, and not over
    next: int  # the number of the next session

    @property
    def any(self) -> bool:
        """Was anything heard or asked?"""
        return bool(self.over or self.heard or self.open)


class Rows(Protocol):
    """Where a journal's rows lie, with values where a statement has `?`.

    A statement may be carried out twice, where nobody knows whether it was; so each of a journal's
    does the same then.
    """

    def execute(self, text: str, values: Iterable[Any] = ()) -> list[Any]:
        """What one statement gives."""
        ...

    def write(self, rows: Iterable[Row]) -> None:
        """Several statements, all of which count or none."""
        ...

    def value(self, cell: Any) -> bytes | Path:
        """What was given in frames, as a row holds it: its bytes, or the file where they lie."""
        ...

    def load(self, cell: Any) -> Any:
        """The codec's value of that."""
        ...

    def forget(self) -> None:
        """Leave what was deleted nowhere."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Journal:
    """Replies in the order in which the loop heard them.

    Each is written before it is heard. A loop that starts again from its last state hears them
    again, and asks only what it had not heard. What is settled is deleted.

    place: a file, or where else rows lie. of: what tells this run's rows from those of others
    there. StoreError where rows cannot be read or written.
    """

    def __init__(self, place: str | Path | Rows, of: str = ""):
        self._of = of
        self._seq = dict[str, int]()  # run → number of the next row
        self._file: Rows
        if isinstance(place, str | Path):
            self._file = Database(place, TABLES)
        else:
            self._file = place

    def begin(self, session: SessionId, clients: Sequence[str]) -> Opening:
        """How a session began, which is now where it has not begun before.

        clients: whom a cohort is drawn from now.
        """
        place = self._place(session)
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        row = (*place, *Opening(tuple(clients)).row())
        self._file.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
        )
        ((*row,),) = self._file.execute(
            f"SELECT clients, start, running, clock FROM sessions {of}", place
        )
        return Opening.of(*row)

    def write(self, reply: Reply, state: int = 0) -> None:
        """Write down what was heard, and on which state.

        Rows are numbered here, so that one which is written twice is one row.
        """
        run = self._run(reply.session.run)
        if run not in self._seq:
            of = "SELECT COALESCE(MAX(seq), 0) FROM heard WHERE run = ?"
            ((last,),) = self._file.execute(of, (run,))
            self._seq[run] = last + 1
        row = (run, self._seq[run], *reply.session[1:], state, reply.encode())
        into = "heard (run, seq, epoch, number, state, reply)"
        self._file.execute(
            f"INSERT INTO {into} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
        )
        self._seq[run] += 1

    def heard(self, session: SessionId) -> list[Reply]:
        """What was heard in a session, in order."""
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        rows = self._file.execute(
            f"SELECT reply FROM heard {of} ORDER BY seq", self._place(session)
        )
        return [Reply.decode(self._file.value(reply), SIZE) for (reply,) in rows]

    def settle(self, session: SessionId) -> None:
        """A session is over: what was heard in it is deleted."""
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        place = self._place(session)
        needed = "SELECT round FROM asked WHERE asked.run = broadcasts.run AND open = 1"
        idle = f"DELETE FROM broadcasts WHERE run = ? AND round NOT IN ({needed})"
        self._file.write(
            [
                (f"DELETE FROM heard {of}", place),
                (f"DELETE FROM sessions {of}", place),
                (f"UPDATE asked SET open = 0 {of}", place),
                (idle, (place[0],)),
            ]
        )
        self._file.forget()

    def ask(self, request: Request) -> Request:
        """Write down who is asked in a session of its own; what all are told once for a round.

        Gives the request as it is to be sent: where the session had begun before, to whom it was
        sent then, with the seconds that are left.
        """
        opening = self.begin(request.session, tuple(request.bodies))
        (who,) = opening.clients
        head = frames((request.plan, request.broadcast, request.deadline))
        place = self._place(request.session)
        again = "(run, epoch, number) DO UPDATE SET round = excluded.round, who = excluded.who"
        again = f"ON CONFLICT {again}, open = excluded.open, ended = NULL"
        asked = (*place, request.round, who, 1)
        self._file.write(
            [
                (
                    "INSERT INTO broadcasts VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (place[0], request.round, head),
                ),
                (f"INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?, NULL) {again}", asked),
            ]
        )
        return replace(request, bodies={who: None}, deadline=opening.left(request.deadline))

    def past(self, run: str, done: int) -> Past:
        """What there was when a run with `done` rounds was interrupted.

        What was heard before that belongs to a state that is committed, and is to be settled; what
        was heard since is to be heard again.
        """
        rows = self._file.execute(
            "SELECT state, reply FROM heard WHERE run = ? ORDER BY seq", (self._run(run),)
        )
        replies = [(state, Reply.decode(self._file.value(reply), SIZE)) for state, reply in rows]
        over = {reply.session for state, reply in replies if state < done}
        of = (
            "SELECT epoch, number, round, who FROM asked WHERE run = ? AND round < ? AND open = 1 "
            "ORDER BY number"
        )
        open = list[Request]()
        for epoch, number, round, who in self._file.execute(of, (self._run(run), done)):
            session = SessionId(run, epoch, number)
            if session not in over:
                open.append(self._request(session, round, who))
        return Past(
            settled=[(reply.session, _given(reply)) for state, reply in replies if state < done],
            heard=[reply for state, reply in replies if state == done],
            open=open,
            next=self._next(run, done),
        )

    def end(self, sessions: Sequence[SessionId], state: int) -> None:
        """With the state after this one these sessions are over."""
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        self._file.write(
            [(f"UPDATE asked SET ended = ? {of}", (state, *self._place(one))) for one in sessions]
        )

    def waiting(self, run: str, done: int) -> Waiting:
        """What there was when a run with `done` rounds was interrupted, in which sessions `end`.

        What ended on the present state ends again, when it is heard again.
        """
        over = list[tuple[SessionId, str]]()
        open = list[Request]()
        of = (
            "SELECT epoch, number, round, who, ended FROM asked "
            "WHERE run = ? AND round < ? AND open = 1 ORDER BY number"
        )
        for epoch, number, round, who, ended in self._file.execute(of, (self._run(run), done)):
            session = SessionId(run, epoch, number)
            if ended is not None and ended < done:
                over.append((session, who))
            else:
                open.append(self._request(session, round, who))
        there = {request.session for request in open}
        rows = self._file.execute(
            "SELECT state, reply FROM heard WHERE run = ? ORDER BY seq", (self._run(run),)
        )
        replies = [(state, Reply.decode(self._file.value(reply), SIZE)) for state, reply in rows]
        return Waiting(
            over=over,
            ready=[one.session for state, one in replies if state < done and one.session in there],
            heard=[one for state, one in replies if state == done],
            open=open,
            next=self._next(run, done),
        )

    def _next(self, run: str, done: int) -> int:
        """The number behind those of sessions that were asked on an earlier state."""
        ((last,),) = self._file.execute(
            "SELECT MAX(number) FROM asked WHERE run = ? AND round < ?", (self._run(run), done)
        )
        return 0 if last is None else int(last) + 1

    def _request(self, session: SessionId, round: int, who: str) -> Request:
        """The request that was sent to one client, from what all of its round were told."""
        of = "SELECT request FROM broadcasts WHERE run = ? AND round = ?"
        ((head,),) = self._file.execute(of, (self._run(session.run), round))
        plan, broadcast, deadline = self._file.load(head)
        left = self.begin(session, (who,)).left(deadline)
        return Request(plan, round, session, broadcast, {who: None}, left)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _run(self, run: str) -> str:
        """What a run is called in its rows: two of one secret may share a database."""
        return self._of + run

    def _place(self, session: SessionId) -> tuple[str, int, int]:
        """What a session is called in its rows."""
        return (self._run(session.run), session.epoch, session.number)


def _given(reply: Reply) -> tuple[str, ...]:
    """Whose answer a reply holds: nobody's, where it says why there is none."""
    if reply.body is None:
        return ()
    return reply.who
