"""Book: what each party was asked and has said, so that it says the same to the same question, and
else nothing.

Noise is sized for one answer in each round. A server that may ask again, in other words or of other
clients, takes the noise off by the difference of two answers, and a network that loses replies asks
again in all honesty. So a question has one reply, for good:

    ask      a question comes: is it new, the same as before, or to be refused?
    said     its reply is written down, and only then said
    settle   the session is over: replies go, digests stay
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..codec import dumps, frames, loads
from ..errors import ProtocolError, RestartedError
from ..messages import Request, SessionId
from . import Said
from .database import Database, Row

TABLES = """
CREATE TABLE IF NOT EXISTS asked (
    who TEXT, run TEXT, epoch INTEGER, number INTEGER, round INTEGER, turn INTEGER,
    digest BLOB, data TEXT, question BLOB, reply BLOB, drawn BLOB, settled INTEGER,
    PRIMARY KEY (who, run, epoch, number, turn)
);
CREATE TABLE IF NOT EXISTS pending (
    who TEXT, run TEXT, epoch INTEGER, number INTEGER, state BLOB,
    PRIMARY KEY (who, run, epoch, number)
);
"""
GONE = "SET reply = NULL, question = NULL, drawn = NULL"
NEVER = -1  # the round of who has said nothing
SMALL = 2**16  # bytes of a reply that is kept in memory


@dataclass(frozen=True)
class Entry:
    """One question to a party, and what it said.

    What is kept of the question is a digest, which tells whether it comes again; the reply is there
    until the session is settled.
    """

    digest: bytes  # of the question
    said: bool = False
    data: str = ""  # SHA-256 of what it said it of; nothing where nothing rests on that
    reply: Any = field(default=None, repr=False)
    kept: bool = False  # is the reply written down, or has it to be made again?


@dataclass
class Page:
    """What one party was asked in its latest session of a run; earlier sessions are not answered
    again, so nothing of them is needed.
    """

    session: SessionId
    round: int  # the latest in which it was asked to say anything
    turns: dict[int, Entry] = field(default_factory=dict)
    settled: bool = False
    # what a conversation is driven with again
    asked: dict[int, Request] = field(default_factory=dict, repr=False)
    drawn: bytes = field(default=b"", repr=False)  # its secrets, where the book is a file


class Book:
    """(who, session, turn) → digest of the question, fingerprint of the data, reply; in memory, or
    also at a path.

    A reply is written down before it is said. The same question gets the same reply until the
    session is settled, any other a refusal. In memory there is one page for each party that was
    asked; a file keeps the digests of all. Replies to folded requests are not kept: the party makes
    the same again, from the same data and what it remembered. Large replies of a book in memory lie
    in a file without a name, until the session is settled.
    """

    def __init__(self, path: str | Path | None = None):
        self.pages: dict[str, Page] = {}  # of the present run
        # who → what it learnt, and in which session
        self.pending: dict[str, list[tuple[SessionId, Any]]] = {}
        self.answers = Counter[str]()  # who → in how many sessions it has answered
        self._past: dict[str, dict[str, Page]] = {}  # run → its pages
        self._floor: dict[str, int] = {}  # who → the latest round, whatever its run was called
        self._renamed = set[str]()  # runs that came after another, and have not begun here
        self._open: dict[SessionId, set[str]] = {}  # who was asked
        self._shelf = Shelf()
        self.lasts = path is not None  # does it outlive this process?
        self._file: Database | None = None
        if path is not None:
            self._file = Database(path, TABLES)
        self._read()

    def begin(self, run: str, again: bool) -> None:
        """A run begins; what was said in it stays said, unless all may be said `again`."""
        if again:
            self.pages = {}
            self._past = {}
            self._open = {}
            self.pending = {}
            self._shelf = Shelf()
            self._write([("DELETE FROM asked", ()), ("DELETE FROM pending", ())])
            return
        self._leave()
        self._renamed.discard(run)
        self.pages = self._past.pop(run, {})
        self._floor = {}

    def turn_to(self, run: str) -> None:
        """Go on with a run; one that has not begun here has its rounds in common with all
        others.
        """
        self._leave()
        if self._past and run not in self._past:
            self._renamed.add(run)
        self.pages = self._past.pop(run, {})
        self._floor = {}
        for other, pages in self._past.items():
            if run in self._renamed or other in self._renamed:
                for who, page in pages.items():
                    self._floor[who] = max(page.round, self._floor.get(who, NEVER))

    def _leave(self) -> None:
        """Put the pages of the present run with those of the past."""
        for who, page in self.pages.items():
            self._past.setdefault(page.session.run, {})[who] = page

    def ask(self, who: str, request: Request, once: bool) -> Entry:
        """The entry of a question, made now where it is new; ProtocolError where it may not be
        answered.

        With `once` a round is answered in one session, and rounds one after another: where noise
        hides the answer, or a helper sums shares. RestartedError where a session goes on of which
        this book does not hold the beginning.
        """
        page = self.pages.get(who)
        digest = request.question(who)
        if page is None or request.session > page.session:
            page = self._turn_page(who, page, request, once)
        if request.session < page.session or page.settled:
            raise ProtocolError(
                f"{who} was asked in session {request.session.number}, which is over.",
                "A session is over when its round is committed, or when a later one has begun.",
                "Go on with the latest state; or start another run.",
            )
        entry = page.turns.get(request.turn)
        if entry is None and request.turn < max(page.turns, default=0):
            raise ProtocolError(
                f"{who} was asked for turn {request.turn} of a session, and has heard a later one."
            )
        if entry is not None and entry.digest != digest:
            raise ProtocolError(
                f"{who} was asked one thing in session {request.session.number}, and now another.",
                "To the same question it says the same; two answers in one place would differ by "
                "what it hides.",
                "Look at the server.",
            )
        entry = page.turns.setdefault(request.turn, entry or Entry(digest))
        if self.lasts and not request.fold:
            page.asked[request.turn] = replace(request, bodies={who: request.bodies[who]})
        return entry

    def earlier(self, who: str, request: Request) -> tuple[Request, ...]:
        """What a party was asked before in the session, to drive its conversation again; where the
        book is a file.
        """
        if not self.lasts:
            return ()
        asked = self.pages[who].asked
        return tuple(asked[turn] for turn in sorted(asked) if turn < request.turn)

    def said_of(self, who: str) -> str:
        """SHA-256 of what a party has answered of in its present session; nothing where nothing
        rests on that.
        """
        return next((entry.data for entry in self.pages[who].turns.values() if entry.data), "")

    def drawn(self, who: str) -> bytes:
        """The secrets that a party has drawn in its present session, where the book is a file."""
        return self.pages[who].drawn

    def _turn_page(self, who: str, page: Page | None, request: Request, once: bool) -> Page:
        """A new page, for a new session."""
        latest = self._floor.get(who, NEVER)
        if page is not None:
            latest = max(page.round, latest)
        if request.turn:
            raise RestartedError(
                f"{who} was asked to go on with session {request.session.number}, and knows "
                "nothing of it.",
                "It was asked for another in between, or started anew.",
            )
        if once and request.round <= latest:
            raise ProtocolError(
                f"{who} was asked in round {request.round}, and has answered in round {latest}.",
                "Noise is sized for one answer in each round, one round after another.",
                "Look at the server; or start another run.",
            )
        if page is not None and not page.settled:  # what it has said it is not asked again
            page.turns = {turn: self._crossed_out(one) for turn, one in page.turns.items()}
            of = "WHERE who = ? AND run = ? AND epoch = ? AND number = ?"
            self._write([(f"UPDATE asked {GONE} {of}", (who, *page.session))])
        self.pages[who] = Page(request.session, max(request.round, latest))
        self._open.setdefault(request.session, set()).add(who)
        return self.pages[who]

    def said(self, who: str, request: Request, said: Said) -> Any:
        """Write down what a party says, and what it learnt; the reply, or what it said to this
        question before.
        """
        page = self.pages.get(who)
        if (
            page is None
            or page.session != request.session
            or page.settled
            or request.turn not in page.turns
        ):
            return said.reply  # it comes after the end of its session
        entry = page.turns[request.turn]
        if entry.kept:
            return self.recall(who, request)
        kept = not request.fold
        place = None
        if kept and not self.lasts:
            place = self._shelf.put(said.reply)
        entry = Entry(entry.digest, True, said.data, place, kept)
        if self.lasts:
            self._write(self._rows(who, page, request, entry, said))
            page.drawn = page.drawn or said.drawn
        if len(page.turns) == 1 and not page.turns[request.turn].said:
            self.answers[who] += 1
        page.turns[request.turn] = entry
        if said.learnt is not None:
            earlier = [one for one in self.pending.get(who, []) if one[0] != request.session]
            self.pending[who] = [*earlier, (request.session, said.learnt)]
        return said.reply

    def recall(self, who: str, request: Request) -> Any:
        """What a party has said to this question, from the shelf or the file."""
        if self._file is None:
            return self._shelf.get(self.pages[who].turns[request.turn].reply)
        of = "WHERE who = ? AND run = ? AND epoch = ? AND number = ? AND turn = ?"
        ((reply,),) = self._file.execute(
            f"SELECT reply FROM asked {of}", (who, *request.session, request.turn)
        )
        return self._file.load(reply)

    def _rows(self, who: str, page: Page, request: Request, entry: Entry, said: Said) -> list[Row]:
        """What a file holds of a question, its reply, and what was drawn for it and learnt."""
        at = (who, *request.session)
        question = None
        if (asked := page.asked.get(request.turn)) is not None:
            question = asked.encode()
        drawn = said.drawn or None
        kept = None
        if entry.kept:
            kept = frames(said.reply)
        row = (*at, page.round, request.turn, entry.digest, entry.data, question, kept, drawn, 0)
        places = ", ".join("?" * len(row))
        rows: list[Row] = [(f"INSERT OR REPLACE INTO asked VALUES ({places})", row)]
        if said.learnt is not None:
            learnt = (*at, frames(said.learnt))
            rows.append(("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?)", learnt))
        return rows

    def settle(self, session: SessionId, counted: Iterable[str]) -> dict[str, Any]:
        """End a session: replies go, digests stay; gives what those learnt who are counted.

        What the others have learnt is forgotten: their vectors are in no model, and their memory
        stays that of the last round in which they counted.
        """
        counts = set(counted)
        found = dict[str, Any]()
        for who in self._open.pop(session, ()):
            if learnt := self.pending.pop(who, []):
                here = [state for one, state in learnt if one == session]
                if here and who in counts:
                    found[who] = here[-1]
                if rest := [one for one in learnt if one[0] != session]:
                    self.pending[who] = rest
            page = self.pages.get(who)
            if page is not None and page.session == session:
                page.settled = True
                page.asked = {}
                page.drawn = b""
                page.turns = {turn: self._crossed_out(one) for turn, one in page.turns.items()}
        of = "WHERE run = ? AND epoch = ? AND number = ?"
        self._write(
            [
                (f"UPDATE asked {GONE}, settled = 1 {of}", tuple(session)),
                (f"DELETE FROM pending {of}", tuple(session)),
            ]
        )
        if self._file is not None:
            self._file.forget()
        return found

    def answered(self, run: str) -> int:
        """In how many sessions of a run it was answered, where the book is a file."""
        assert self._file is not None
        text = "SELECT COUNT(*) FROM (SELECT DISTINCT who, epoch, number FROM asked WHERE run = ?)"
        ((count,),) = self._file.execute(text, (run,))
        return int(count)

    def leave(self, run: str) -> None:
        """End all sessions of a run: replies go, and what was learnt; digests stay."""
        for session in [one for one in self._open if one.run == run]:
            self.settle(session, ())
        self._write(
            [
                (f"UPDATE asked {GONE} WHERE run = ?", (run,)),
                ("UPDATE asked SET settled = 1 WHERE run = ?", (run,)),
                ("DELETE FROM pending WHERE run = ?", (run,)),
            ]
        )
        if self._file is not None:
            self._file.forget()

    def _crossed_out(self, entry: Entry) -> Entry:
        """The same without the reply."""
        if not entry.kept:
            return entry
        if not self.lasts:
            self._shelf.drop(entry.reply)
        return replace(entry, reply=None, kept=False)

    def _write(self, rows: list[Row]) -> None:
        """One transaction, where there is a file."""
        if self._file is not None:
            self._file.write(rows)

    def _read(self) -> None:
        """The latest session of each party in each run, and what is pending."""
        if self._file is None:
            return
        order = "ORDER BY run, epoch, number, turn"
        columns = (
            "who, run, epoch, number, round, turn, digest, data, question, reply IS NOT NULL, "
            "drawn, settled"
        )
        for row in self._file.execute(f"SELECT {columns} FROM asked {order}"):
            who, run, epoch, number, round, turn, digest, data, question, kept, drawn, settled = row
            session = SessionId(run, epoch, number)
            pages = self._past.setdefault(run, {})
            page = pages.get(who)
            if page is None or page.session != session:
                page = pages[who] = Page(session, round, settled=bool(settled))
                self.answers[who] += 1
                if not settled:
                    self._open.setdefault(session, set()).add(who)
            page.turns[turn] = Entry(digest, True, data, kept=bool(kept))
            if question is not None:
                page.asked[turn] = Request.decode(self._file.value(question))
            page.drawn = page.drawn or drawn or b""
        for who, run, epoch, number, state in self._file.execute(
            f"SELECT * FROM pending {order.replace(', turn', '')}"
        ):
            self.pending.setdefault(who, []).append(
                (SessionId(run, epoch, number), self._file.load(state))
            )

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True)
class Place:
    """Where a reply lies in the shelf's file, in bytes."""

    start: int
    length: int


class Shelf:
    """Replies of sessions under way: small ones in memory, large ones in a file that has no name.

    A round of many clients has as many vectors, each of which may be asked for again until it is
    settled. The file has no name, so nothing of it is left when the process ends.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._places = 0

    def put(self, reply: Any) -> Any:
        """Keep a reply; what `get` takes."""
        if weight(reply) <= SMALL:
            return reply
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the book
        data = dumps(reply)
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self._places += 1
        return Place(start, len(data))

    def get(self, reply: Any) -> Any:
        """What was put."""
        if not isinstance(reply, Place):
            return reply
        assert self._file is not None
        self._file.seek(reply.start)
        return loads(self._file.read(reply.length))

    def drop(self, reply: Any) -> None:
        """Let a reply go; the file is emptied with the last."""
        if isinstance(reply, Place) and self._file is not None:
            self._places -= 1
            if not self._places:
                self._file.truncate(0)


def weight(value: Any) -> int:
    """Bytes of arrays and texts in a value, about."""
    if isinstance(value, Mapping):
        return sum(map(weight, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(weight, value))
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, bytes | str):
        return len(value)
    return 0
