"""Journal: what the server has heard in sessions that are not settled, to hear it again.

A server that is killed in the middle of a round and asked its clients once more would hear other
answers from some, and all would pay for the round twice. With a journal it goes on instead:

    heard        replies in order, with the number of the state on which they were heard
    asked        who was asked in which session, where each client has one of its own
    broadcasts   what all of a round were told, once
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..codec import SIZE, dumps, loads
from ..messages import Reply, Request, SessionId
from ..parties.database import Database

TABLES = """
CREATE TABLE IF NOT EXISTS heard (
    seq INTEGER PRIMARY KEY, run TEXT, epoch INTEGER, number INTEGER, state INTEGER, reply BLOB
);
CREATE TABLE IF NOT EXISTS asked (
    run TEXT, epoch INTEGER, number INTEGER, round INTEGER, who TEXT, open INTEGER,
    PRIMARY KEY (run, epoch, number)
);
CREATE TABLE IF NOT EXISTS broadcasts (
    run TEXT, round INTEGER, request BLOB, PRIMARY KEY (run, round)
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


class Journal:
    """Replies in the order in which the loop heard them, in a file.

    Each is written before it is heard. A loop that starts again from its last state hears them
    again, and asks only what it had not heard. What is settled is deleted. StoreError where the
    file cannot be opened, read or written.
    """

    def __init__(self, path: str | Path):
        self._file = Database(path, TABLES)

    def write(self, reply: Reply, state: int = 0) -> None:
        """Write down what was heard, and on which state."""
        row = (*reply.session, state, b"".join(reply.encode()))
        self._file.execute(
            "INSERT INTO heard (run, epoch, number, state, reply) VALUES (?, ?, ?, ?, ?)", row
        )

    def heard(self, session: SessionId) -> list[Reply]:
        """What was heard in a session, in order."""
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        rows = self._file.execute(f"SELECT reply FROM heard {of} ORDER BY seq", session)
        return [Reply.decode(reply, SIZE) for (reply,) in rows]

    def settle(self, session: SessionId) -> None:
        """A session is over: what was heard in it is deleted."""
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        needed = "SELECT round FROM asked WHERE asked.run = broadcasts.run AND open = 1"
        idle = f"DELETE FROM broadcasts WHERE run = ? AND round NOT IN ({needed})"
        self._file.write(
            [
                (f"DELETE FROM heard {of}", session),
                (f"UPDATE asked SET open = 0 {of}", session),
                (idle, (session.run,)),
            ]
        )
        self._file.forget()

    def ask(self, request: Request) -> None:
        """Write down who is asked in a session of its own; what all are told once for a round."""
        (who,) = request.bodies
        head = dumps((request.plan, request.broadcast, request.deadline))
        asked = (*request.session, request.round, who, 1)
        told = request.session.run, request.round, head
        self._file.write(
            [
                ("INSERT OR IGNORE INTO broadcasts VALUES (?, ?, ?)", told),
                ("INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?, ?, ?)", asked),
            ]
        )

    def past(self, run: str, done: int) -> Past:
        """What there was when a run with `done` rounds was interrupted.

        What was heard before that belongs to a state that is committed, and is to be settled; what
        was heard since is to be heard again.
        """
        rows = self._file.execute(
            "SELECT state, reply FROM heard WHERE run = ? ORDER BY seq", (run,)
        )
        replies = [(state, Reply.decode(reply, SIZE)) for state, reply in rows]
        over = {reply.session for state, reply in replies if state < done}
        of = (
            "SELECT epoch, number, round, who FROM asked WHERE run = ? AND round < ? AND open = 1 "
            "ORDER BY number"
        )
        open = list[Request]()
        for epoch, number, round, who in self._file.execute(of, (run, done)):
            session = SessionId(run, epoch, number)
            if session not in over:
                open.append(self._request(session, round, who))
        ((last,),) = self._file.execute(
            "SELECT MAX(number) FROM asked WHERE run = ? AND round < ?", (run, done)
        )
        if last is None:
            last = -1
        return Past(
            settled=[(reply.session, _given(reply)) for state, reply in replies if state < done],
            heard=[reply for state, reply in replies if state == done],
            open=open,
            next=last + 1,
        )

    def _request(self, session: SessionId, round: int, who: str) -> Request:
        """The request that was sent to one client, from what all of its round were told."""
        of = "SELECT request FROM broadcasts WHERE run = ? AND round = ?"
        ((head,),) = self._file.execute(of, (session.run, round))
        plan, broadcast, deadline = loads(head)
        return Request(plan, round, session, broadcast, {who: None}, deadline)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _given(reply: Reply) -> tuple[str, ...]:
    """Whose answer a reply holds: nobody's, where it says why there is none."""
    if reply.body is None:
        return ()
    return reply.who
