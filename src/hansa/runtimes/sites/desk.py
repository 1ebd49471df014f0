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
written down, and so are the bytes of answers, as far as they came. What goes out is deleted at the
start, and written anew when it is asked.

A party that is away for longer than GRACE is absent: its questions end, and so do those that come
while it is away. All of it happens in one thread, that of the gateway; what is decided goes out as
`Answer`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...errors import Kind, ProtocolError
from ...messages import SessionId
from ...parties.database import Database
from .control import Ask, Begin, Blob, Ended, Held, Said, Send, Session, Settle, Settled, ToParty
from .spool import Spool

GRACE = 40.0  # seconds after which a party whose link is dead is absent
TRIES = 3  # of an answer whose bytes are not those that were announced

TABLES = """
CREATE TABLE IF NOT EXISTS unsettled (
    who TEXT, run TEXT, epoch INTEGER, number INTEGER, counted INTEGER,
    PRIMARY KEY (who, run, epoch, number)
);
"""
OF = "WHERE who = ? AND run = ? AND epoch = ? AND number = ?"

Place = tuple[SessionId, int]  # a question's session and turn


class Answer(NamedTuple):
    """One party's answer to a question: where it lies, or why there is none."""

    who: str
    session: SessionId
    round: int
    turn: int
    path: Path | None
    most: int  # bytes that it may have
    why: Kind | Literal[""] = ""


@dataclass
class Question:
    """What a party was asked, and has not answered."""

    ask: Ask
    most: int  # bytes that an answer may have
    until: float  # by the loop's clock
    ends: asyncio.TimerHandle | None = None
    coming: Blob | None = None  # what it has announced
    spoilt: int = 0  # how often other bytes came


@dataclass
class Post:
    """One party: its link, if it attends; what it was asked; what it is to be told."""

    who: str
    spool: Spool  # what comes from it
    tell: Callable[[ToParty], None] | None = None
    left: float = 0.0  # when its link ended, by the loop's clock
    open: dict[Place, Question] = field(default_factory=dict)
    answered: dict[Place, Blob] = field(default_factory=dict)  # of sessions that are not settled
    unsettled: dict[SessionId, bool] = field(default_factory=dict)
    requests: int = 0  # for blobs, under way
    upload: object = None  # the one that may go on: the newest
    away: asyncio.TimerHandle | None = None  # when it is absent

    def forget(self, session: SessionId) -> None:
        """Delete what came in a session; and all that nobody waits for, where nothing is open.

        What was answered in another may not have been heard yet.
        """
        for place in [place for place in self.answered if place[0] == session]:
            self.spool.drop(self.answered.pop(place))
        if not self.open:
            self.spool.clear(but=self.answered.values())

    def say(self, message: ToParty) -> None:
        """Tell it, if it attends; else it hears when it does."""
        if self.tell is not None:
            self.tell(message)


class Desk:
    """What is asked of whom, and what comes back; see above.

    parties: their names. folder: for spools, and for what is to be told to who is away.
    decide: called with each `Answer`, in the loop's thread, once for each question that is not
    settled before.
    """

    def __init__(self, parties: Iterable[str], folder: Path, decide: Callable[[Answer], None]):
        self.loop = asyncio.get_running_loop()
        self.outgoing = Spool(folder / "outgoing")
        self.outgoing.clear()
        self._incoming = folder / "incoming"
        self.posts = dict[str, Post]()
        self.admit(parties)
        self._decide = decide
        self._begin: Begin | None = None
        self._asked = dict[SessionId, set[str]]()
        self._first = dict[str, SessionId]()  # run → the first session in which somebody was asked
        self._file = Database(folder / "unsettled", TABLES)
        for who, run, epoch, number, counted in self._file.execute("SELECT * FROM unsettled"):
            if who in self.posts:
                self.posts[who].unsettled[SessionId(run, epoch, number)] = bool(counted)

    def admit(self, parties: Iterable[str]) -> None:
        """These may attend from here on; of others no answer is waited for."""
        admitted = set(parties)
        for who in admitted.difference(self.posts):
            place = hashlib.sha256(who.encode()).hexdigest()
            self.posts[who] = Post(who, Spool(self._incoming / place), left=self.loop.time())
        for who in self.posts.keys() - admitted:
            post = self.posts[who]
            post.tell = None
            post.left = self.loop.time() - GRACE
            self._absent(post)

    @property
    def present(self) -> list[str]:
        """Who attends."""
        return [who for who, post in self.posts.items() if post.tell is not None]

    # what the server does

    def begin(self, begin: Begin) -> None:
        """A run begins: tell all, and who comes later."""
        self._begin = begin
        for post in self.posts.values():
            post.say(begin)

    def end(self) -> None:
        """The run is over: tell who attends."""
        if self._begin is not None:
            for post in self.posts.values():
                post.say(Ended(self._begin.run))

    def ask(self, who: str, ask: Ask, most: int) -> None:
        """Ask a party; the question is open for the seconds that it says, or until the party has
        been away for too long.

        most: bytes that an answer may have; one that announces more ends the question. Who was not
        admitted here, for it was revoked since the session began, is absent.
        """
        session = ask.session.id
        place = (session, ask.turn)
        until = self.loop.time() + ask.seconds
        question = Question(ask, most, until)
        post = self.posts.get(who)
        if post is None:
            self._decide(_answer(who, question, None, "absent"))
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
            [("INSERT OR REPLACE INTO unsettled VALUES (?, ?, ?, ?, ?)", row) for row in rows]
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

    def said(self, who: str, said: Said) -> None:
        """A party announces its answer; ProtocolError for more bytes than it may have, and for one
        blob in answer to two questions; StoreError where the disk has no room for it.

        Announced again, it changes nothing; another blob takes the place of the one before.
        """
        post = self.posts[who]
        place = (said.session.id, said.turn)
        question = post.open.get(place)
        if question is None:  # it is late, or the answer has come before
            post.say(Held(said.session, said.turn))
            return
        if said.blob is None:
            self._end(post, place, said.why or "invalid")
            return
        if said.blob.size > question.most:
            self._end(post, place, "invalid")
            raise ProtocolError(
                f"{who} announced an answer of {said.blob.size:,} bytes.",
                f"What it was asked has {question.most:,} at most.",
                "Look at the version of hansa that it has.",
            )
        if question.coming == said.blob:
            return
        if self.expected(who, said.blob.sha256) is not None:
            self._end(post, place, "invalid")
            raise ProtocolError(f"{who} announced one answer to two questions.")
        if question.coming is not None:  # else what is never finished would fill the disk
            post.spool.drop(question.coming)
        post.spool.check_room(said.blob)
        question.coming = said.blob

    def spoilt(self, who: str, blob: Blob) -> None:
        """Other bytes came than were announced; they are not asked for again without end."""
        post = self.posts[who]
        for place, question in list(post.open.items()):
            if question.coming == blob:
                question.spoilt += 1
                if question.spoilt == TRIES:
                    self._end(post, place, "invalid")

    def settled(self, who: str, settled: Settled) -> None:
        """A party has heard that a session is over."""
        session = settled.session.id
        if self.posts[who].unsettled.pop(session, None) is None:
            return
        self._file.execute(f"DELETE FROM unsettled {OF}", (who, *session))

    def want(self, who: str, blob: Blob | None) -> None:
        """Let a party send what it has announced, from where it is here."""
        post = self.posts[who]
        for (session, turn), question in post.open.items():
            if blob is not None and question.coming == blob:
                post.say(Send(Session.of(session), turn, post.spool.there(blob)))

    def expected(self, who: str, sha256: str) -> Question | None:
        """The question to whose answer a party has announced the blob of this name."""
        for question in self.posts[who].open.values():
            if question.coming is not None and question.coming.sha256 == sha256:
                return question
        return None

    def offered(self, who: str, sha256: str) -> Blob | None:
        """The blob of this name that a party was told of."""
        asks = [question.ask for question in self.posts[who].open.values()]
        blobs = [blob for ask in asks for blob in (ask.broadcast, ask.body)]
        if self._begin is not None:
            blobs.append(self._begin.found)
        return next((one for one in blobs if one is not None and one.sha256 == sha256), None)

    def came(self, who: str, blob: Blob, path: Path) -> None:
        """All bytes of an announced answer are there."""
        post = self.posts[who]
        for place, question in list(post.open.items()):
            if question.coming == blob:
                self._close(post, place)
                post.answered[place] = blob
                self._decide(_answer(who, question, path))

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

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
            self._decide(_answer(post.who, question, None, why))

    def _close(self, post: Post, place: Place) -> Question | None:
        """A question is open no more, and its answer not waited for."""
        question = post.open.pop(place, None)
        if question is None:
            return None
        if question.ends is not None:
            question.ends.cancel()
        post.say(Held(question.ask.session, question.ask.turn))
        return question


def spooled(desk: Desk) -> int:
    """Bytes that lie on a server's disk, to go out or to be heard, whole or not."""
    spools = [desk.outgoing, *(post.spool for post in desk.posts.values())]
    return sum(spool.bytes() for spool in spools)


def awaited(post: Post, said: Said) -> bool:
    """Is the question open that a party answers here?"""
    return (said.session.id, said.turn) in post.open


def _look_ahead(
    loop: asyncio.AbstractEventLoop, post: Post, absent: Callable[[Post], None]
) -> None:
    """See later whether a party has come back; one look ahead is enough."""
    if post.away is not None:
        post.away.cancel()
    when = max(post.left + GRACE, loop.time())
    post.away = loop.call_at(when, absent, post)


def _answer(
    who: str, question: Question, path: Path | None, why: Kind | Literal[""] = ""
) -> Answer:
    """The answer to a question."""
    ask = question.ask
    return Answer(who, ask.session.id, ask.round, ask.turn, path, question.most, why)


def _with_seconds(ask: Ask, seconds: float) -> Ask:
    """The question, with what is left of its time."""
    parts: dict[str, Any] = {name: getattr(ask, name) for name in ask.__struct_fields__}
    return Ask(**{**parts, "seconds": seconds})
