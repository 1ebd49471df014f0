"""Desk: all that a server holds for the parties it speaks with, whether they attend or not.

    ask      a question is open from here on, until it is answered, or its time is over
    said     its answer is announced, and its bytes are expected
    came     they are there: the question is answered
    settle   a session is over; told to who was asked, again and again, until that is acknowledged

One party in one session:

    ask ──▶ open ──said, a blob──▶ coming ──came──▶ answered         Answer(path)
             │                       │
             └───────────┬───────────┘
                         ├── said, no blob ─────▶ over               Answer(why it said)
                         ├── seconds gone ──────▶ over               Answer("late")
                         ├── away for GRACE ────▶ over               Answer("absent")
                         ├── TRIES spoilt, or too many bytes ──▶ over    Answer("invalid")
                         └── settle ────────────▶ over               and no Answer
    settle ──▶ unsettled ──settled──▶ forgotten

What is open lies in memory, and ends with the server's process. Who has not acknowledged an end is
written down, and so are the bytes of answers, as far as they came, and which runs are over: who was
away hears it when it comes, from the server of a later run if need be. What goes out is deleted at
the start, and written anew when it is asked.

A party that is away for longer than GRACE is absent: its questions end, and so do those that come
while it is away. All of it happens in one thread, that of the gateway; what is decided goes out as
`Answer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from ... import private
from ...errors import Kind, ProtocolError, RefusedError, StoreError
from ...messages import SessionId
from ...parties.database import Database
from .between import Folding
from .control import Ask, Begin, Blob, Ended, Held, Said, Session, Settle, Settled, ToParty
from .events import log
from .posts import Answer, Place, Post, Posts, Question

GRACE = 40.0  # seconds after which a party whose link is dead is absent

TABLES = """
CREATE TABLE IF NOT EXISTS unsettled (
    who TEXT, run TEXT, epoch INTEGER, number INTEGER, counted INTEGER,
    PRIMARY KEY (who, run, epoch, number)
);
CREATE TABLE IF NOT EXISTS over (run TEXT PRIMARY KEY);
"""
FEDERATION = "federation"  # the file that says in which one a run is served
LAST = 100  # runs that are over, of which who comes is told
ROW = "?, ?, ?, ?, ?"
OF = "WHERE who = ? AND run = ? AND epoch = ? AND number = ?"


class Desk(Posts):
    """What is asked of whom, and what comes back; see above.

    parties: their names. folder: for spools, and for what is to be told to who is away.
    decide: called with each `Answer`, in the loop's thread, once for each question that is not
    settled before.
    """

    def __init__(self, parties: Iterable[str], folder: Path, decide: Callable[[Answer], None]):
        super().__init__(parties, folder)
        self._decide = decide
        self._asked = dict[SessionId, set[str]]()
        self._first = dict[str, SessionId]()  # run → the first session in which somebody was asked
        self._file = Database(folder / "unsettled", TABLES)
        self._over = list[str]()
        self._read()

    def _read(self) -> None:
        """Which ends were not acknowledged, and which runs are over."""
        for who, run, epoch, number, counted in self._file.execute("SELECT * FROM unsettled"):
            if who in self.posts:
                self.posts[who].unsettled[SessionId(run, epoch, number)] = bool(counted)
        rows = self._file.execute(f"SELECT run FROM over ORDER BY rowid DESC LIMIT {LAST}")
        self._over = [run for (run,) in reversed(rows)]

    # what the server does

    def begin(self, begin: Begin) -> None:
        """A run begins: tell all, and who comes later."""
        self._begin = begin
        for post in self.posts.values():
            post.say(begin)

    def end(self) -> None:
        """The run is over: tell who attends, and who comes later."""
        if self._begin is None:
            return
        self._file.execute("INSERT OR IGNORE INTO over VALUES (?)", (self._begin.run,))
        self._read()
        for post in self.posts.values():
            post.say(Ended(self._begin.run))

    def adopt(self, path: Path) -> None:
        """Tell from here on what the server of an earlier run, which has ended, could not tell all:
        who was away then hears it here. path: what that server has written.
        """
        try:
            with closing(Database(path, TABLES)) as file:
                unsettled = file.execute("SELECT * FROM unsettled")
                over = file.execute("SELECT run FROM over ORDER BY rowid")
                rows = [("INSERT OR IGNORE INTO over VALUES (?)", row) for row in over]
                into = f"INSERT OR IGNORE INTO unsettled VALUES ({ROW})"
                self._file.write([*rows, *((into, row) for row in unsettled)])
                file.write([("DELETE FROM unsettled", ()), ("DELETE FROM over", ())])
        except StoreError as error:
            log.warning("%s", error)
        self._read()

    def ask(self, who: str, ask: Ask, most: int, fold: Folding | None = None) -> None:
        """Ask a party; the question is open for the seconds that it says, or until the party has
        been away for too long.

        most: bytes that an answer may have; one that announces more ends the question. fold: what
        a gateway may add up. Who was not admitted here, for it was revoked since the session began,
        is absent.
        """
        session = ask.session.id
        place = (session, ask.turn)
        until = self.loop.time() + ask.seconds
        question = Question(ask, most, until, fold=fold)
        post = self.posts.get(who)
        if post is None:
            self._decide(_answer((who,), question, None, "absent"))
            return
        question.ends = self.loop.call_at(until, self._end, post, place, "late")
        post.open[place] = question
        self._asked.setdefault(session, set()).add(who)
        self._first.setdefault(session.run, session)
        post.say(ask)
        if post.tell is None:
            _look_ahead(self.loop, post, self._absent)

    def settle(self, session: SessionId, counted: Iterable[str]) -> None:
        """A session is over: what is open of it is not waited for, and who was asked is told.

        All are told of a session in which nobody was asked here, and of the first one of a run in
        which somebody was: others may have been asked in it by a process that has ended since.
        """
        counts = frozenset(counted)
        asked = self._asked.pop(session, set(self.posts))
        if session == self._first.get(session.run):
            asked = set(self.posts)
        rows = [(who, *session, int(who in counts)) for who in sorted(asked)]
        self._file.write(
            [(f"INSERT OR REPLACE INTO unsettled VALUES ({ROW})", row) for row in rows]
        )
        for who in asked:
            post = self.posts[who]
            for place in [place for place in post.open if place[0] == session]:
                self._close(post, place)
            post.forget(session)
            post.unsettled[session] = who in counts
            post.say(Settle(Session.of(session), who in counts))

    # what a party does

    def come(self, who: str, tell: Callable[[ToParty], None]) -> None:
        """A party attends: it hears all that it has not answered or acknowledged.

        tell: takes one message, and does not wait. First comes the run, then ends of sessions, then
        questions, each with the seconds that are left of it.
        """
        post = self.posts[who]
        post.tell = tell
        if self._begin is not None:
            tell(self._begin)
        for session, counted in post.unsettled.items():
            tell(Settle(Session.of(session), counted))
        for run in self._over:
            tell(Ended(run))
        for question in post.open.values():
            left = max(0.0, question.until - self.loop.time())
            tell(_with_seconds(question.ask, left))

    def go(self, who: str, tell: Callable[[ToParty], None]) -> None:
        """A party's link has ended; where it has another by now, nothing changes."""
        post = self.posts[who]
        if post.tell is not tell:
            return
        post.tell = None
        post.left = self.loop.time()
        _look_ahead(self.loop, post, self._absent)

    def settled(self, who: str, settled: Settled) -> None:
        """A party has heard that a session is over."""
        session = settled.session.id
        if self.posts[who].unsettled.pop(session, None) is None:
            return
        self._file.execute(f"DELETE FROM unsettled {OF}", (who, *session))

    def folded(self, who: tuple[str, ...], said: Said) -> None:
        """A gateway announces the sum of what these say, as the answer of the first.

        It is not heard where the question of one of them is over, as the gateway hears too: then it
        adds up the others. ProtocolError where what is asked cannot be added up.
        """
        place = (said.session.id, said.turn)
        found = [self.posts[one].open.get(place) for one in who if one in self.posts]
        questions = [one for one in found if one is not None]
        if len(questions) < len(who):
            return
        if any(one.fold is None for one in questions) or len(set(who)) < len(who):
            raise ProtocolError("A gateway has added up what is to be heard one by one.")
        self.said(who[0], said, who[1:])

    def came(self, who: str, blob: Blob, path: Path) -> None:
        """All bytes of an announced answer are there; a sum does not count where one of those who
        are in it is not waited for any more.
        """
        post = self.posts[who]
        for place, question in list(post.open.items()):
            if question.coming != blob:
                continue
            if not all(place in self.posts[one].open for one in question.others):
                question.coming = None
                question.others = ()
                post.spool.drop(blob)
                continue
            for one in question.others:
                self._close(self.posts[one], place)
            self._close(post, place)
            post.answered[place] = blob
            self._decide(_answer((who, *question.others), question, path))

    async def fetched(self, who: str, blob: Blob) -> Path:
        """Where a blob lies that a party was told of."""
        return self.outgoing.path(blob)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _revoke(self, post: Post) -> None:
        """Who was taken off the roster is absent at once."""
        post.tell = None
        post.left = self.loop.time() - GRACE
        self._absent(post)

    def _silent(self, who: str, said: Said) -> None:
        """A party says why it gives no answer."""
        self._end(self.posts[who], (said.session.id, said.turn), said.why or "invalid")

    def _absent(self, post: Post) -> None:
        """End what a party was asked that has been away for too long."""
        if post.tell is not None or self.loop.time() < post.left + GRACE - 0.001:
            return
        for place in list(post.open):
            self._end(post, place, "absent")

    def _end(self, post: Post, place: Place, why: Kind) -> None:
        """A question ends without an answer."""
        question = self._close(post, place)
        if question is not None:
            self._decide(_answer((post.who,), question, None, why))

    def _close(self, post: Post, place: Place) -> Question | None:
        """A question is open no more, and its answer not waited for."""
        question = post.open.pop(place, None)
        if question is None:
            return None
        if question.ends is not None:
            question.ends.cancel()
        post.say(Held(question.ask.session, question.ask.turn))
        return question


def federation_at(folder: Path) -> str:
    """In which federation a run was served, of which this is the folder; "" where none is named."""
    path = folder / FEDERATION
    return path.read_text(encoding="ascii") if path.exists() else ""


def check_federation(folder: Path, federation: str) -> None:
    """Write down in which federation a run is served; RefusedError where it was another before.

    folder: the run's, for what comes and goes. federation: by its enrolment key.
    """
    before = federation_at(folder)
    if before and before != federation:
        raise RefusedError(
            "This run was served in another federation.",
            "Its enrolment key is another: parties of the same names are others there.",
            "Serve it with the server's kit of that federation, or begin another run.",
        )
    private.write(folder / FEDERATION, federation.encode())


def spooled(desk: Desk) -> int:
    """Bytes that lie on a server's disk, to go out or to be heard, whole or not."""
    spools = [desk.outgoing, *(post.spool for post in desk.posts.values())]
    return sum(spool.bytes() for spool in spools)


def _look_ahead(
    loop: asyncio.AbstractEventLoop, post: Post, absent: Callable[[Post], None]
) -> None:
    """See later whether a party has come back; one look ahead is enough."""
    if post.away is not None:
        post.away.cancel()
    when = max(post.left + GRACE, loop.time())
    post.away = loop.call_at(when, absent, post)


def _answer(
    who: tuple[str, ...], question: Question, path: Path | None, why: Kind | Literal[""] = ""
) -> Answer:
    """The answer to a question."""
    ask = question.ask
    most = question.most
    if len(who) > 1 and question.fold is not None:
        most = question.fold.most
    return Answer(who, ask.session.id, ask.round, ask.turn, path, most, why)


def _with_seconds(ask: Ask, seconds: float) -> Ask:
    """The question, with what is left of its time."""
    parts: dict[str, Any] = {name: getattr(ask, name) for name in ask.__struct_fields__}
    return Ask(**{**parts, "seconds": seconds})
