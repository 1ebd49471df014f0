"""Posts: what each party was asked at one port, and what comes of it, whether it attends or not.

    Desk     a server's: it decides when a question is over (`desk`)
    Relay    a gateway's: what it hears and has goes to the server, which decides (`relay`)

Both let a party fetch what it was told of, and send what it has announced, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ...errors import Kind, ProtocolError
from ...messages import SessionId
from .between import Folding
from .control import Ask, Begin, Blob, Held, Said, Send, Session, Settled, ToParty
from .spool import Spool

TRIES = 3  # of an answer whose bytes are not those that were announced

Place = tuple[SessionId, int]  # a question's session and turn


class Answer(NamedTuple):
    """An answer to a question: where it lies, or why there is none.

    who: whose it is; several, where a gateway has added up theirs.
    """

    who: tuple[str, ...]
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
    fold: Folding | None = None  # may it be added up with others', and as what?
    others: tuple[str, ...] = ()  # whose answers are in what it has announced


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


class Posts(ABC):
    """All parties of one port; see above.

    parties: their names. folder: for what comes from them.
    """

    def __init__(self, parties: Iterable[str], folder: Path):
        self.loop = asyncio.get_running_loop()
        self.outgoing = Spool(folder / "outgoing")
        self.outgoing.clear()
        self._incoming = folder / "incoming"
        self._begin: Begin | None = None
        self.posts = dict[str, Post]()
        self.admit(parties)

    def admit(self, parties: Iterable[str]) -> None:
        """These may attend from here on; of others no answer is waited for."""
        admitted = set(parties)
        for who in admitted.difference(self.posts):
            place = hashlib.sha256(who.encode()).hexdigest()
            self.posts[who] = Post(who, Spool(self._incoming / place), left=self.loop.time())
        for who in self.posts.keys() - admitted:
            self._revoke(self.posts[who])

    @property
    def present(self) -> list[str]:
        """Who attends."""
        return [who for who, post in self.posts.items() if post.tell is not None]

    @abstractmethod
    def come(self, who: str, tell: Callable[[ToParty], None]) -> None:
        """A party attends; `tell` takes one message, and does not wait."""

    @abstractmethod
    def go(self, who: str, tell: Callable[[ToParty], None]) -> None:
        """A party's link has ended; where it has another by now, nothing changes."""

    @abstractmethod
    def settled(self, who: str, settled: Settled) -> None:
        """A party has heard that a session is over."""

    @abstractmethod
    def came(self, who: str, blob: Blob, path: Path) -> None:
        """All bytes of an announced answer are there."""

    @abstractmethod
    async def fetched(self, who: str, blob: Blob) -> Path:
        """Where a blob lies that a party was told of."""

    @abstractmethod
    def _silent(self, who: str, said: Said) -> None:
        """A party says why it gives no answer."""

    @abstractmethod
    def _end(self, post: Post, place: Place, why: Kind) -> None:
        """A question ends without an answer."""

    @abstractmethod
    def _revoke(self, post: Post) -> None:
        """A party was taken off the roster."""

    def said(self, who: str, said: Said, others: tuple[str, ...] = ()) -> None:
        """A party announces its answer; ProtocolError for more bytes than it may have, and for one
        blob in answer to two questions; StoreError where the disk has no room for it.

        Announced again, it changes nothing; another blob takes the place of the one before.
        others: whose answers were added to it by a gateway.
        """
        post = self.posts[who]
        place = (said.session.id, said.turn)
        question = post.open.get(place)
        if question is None:  # it is late, or the answer has come before
            post.say(Held(said.session, said.turn))
            return
        if said.blob is None:
            self._silent(who, said)
            return
        most = question.most
        if others and question.fold is not None:
            most = question.fold.most
        if said.blob.size > most:
            self._end(post, place, "invalid")
            raise ProtocolError(
                f"{who} announced an answer of {said.blob.size:,} bytes.",
                f"What it was asked has {most:,} at most.",
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
        question.others = others

    def spoilt(self, who: str, blob: Blob) -> None:
        """Other bytes came than were announced; they are not asked for again without end."""
        post = self.posts[who]
        for place, question in list(post.open.items()):
            if question.coming == blob:
                question.spoilt += 1
                if question.spoilt == TRIES:
                    self._end(post, place, "invalid")

    def want(self, who: str, blob: Blob | None) -> None:
        """Let a party send what it has announced, from where it is here."""
        post = self.posts[who]
        for (session, turn), question in post.open.items():
            if blob is not None and question.coming == blob:
                there = post.spool.there(blob)
                if there < blob.size:
                    post.say(Send(Session.of(session), turn, there))

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

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held."""


def awaited(post: Post, said: Said) -> bool:
    """Is the question open that a party answers here?"""
    return (said.session.id, said.turn) in post.open
