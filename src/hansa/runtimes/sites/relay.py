"""Relay: a gateway, a port before that of a server, at which parties attend as if it were it.

It ends TLS, fetches what many are told once, takes their answers, and adds up those that the
server wants the sum of alone. Several stand side by side: how many there are, and who attends at
which, changes no byte of a model, for the sums are exact.

    party ── TLS ──▶ Relay ── TLS ──▶ server          what it hears        From, as it came
                       │                              an answer, whole     From, or added up:
                       └── Σ of many answers          every TICK           Folded, and one upload

Nothing is decided here, and nothing outlives the process: whose question is open, who is late and
who counts says the server. Where its link ends, so do those of all parties, which then dial again,
here or elsewhere, and say the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from ...errors import Kind, printable
from . import between
from .between import Came, Elsewhere, Folded, For, From, Left
from .control import Ask, Begin, Blob, Held, Said, Send, Session, Settle, Settled, ToParty
from .events import log, tell
from .folds import Folds, Ready
from .posts import Place, Post, Posts, Question
from .spool import Spool


class Server(Protocol):
    """What goes to the server, and comes from it, beside messages (`upstream`)."""

    async def fetch(self, who: str, blob: Blob, spool: Spool) -> None:
        """Fetch what a party was told of."""

    async def send(self, who: str, blob: Blob, path: Path, offset: int) -> None:
        """Send what lies in a file as this party's answer."""

    async def bundle(self, name: str, who: str) -> bytes:
        """The bundle of this name, as a party fetches it."""

    def end(self) -> None:
        """End the link, so that all begins anew."""


class Relay(Posts):
    """What the parties of a gateway are asked, and what it does with their answers.

    up: says something to the server. send: uploads a file to it, on a party's behalf. fetch: puts
    what is missing of a blob into a spool.
    """

    def __init__(self, parties: Iterable[str], folder: Path):
        self.up: Callable[[between.OfGateway], None] = nobody
        self.server: Server | None = None
        self._folds = Folds(Spool(folder / "sums"), self._announce, self.beside)
        self._fetching = dict[str, asyncio.Lock]()
        self._sending = set[asyncio.Task[None]]()
        super().__init__(parties, folder)
        for post in self.posts.values():
            post.spool.clear()

    # what the server says

    def hear(self, message: between.ToGateway) -> None:
        """Pass on what a party is told; but take part in what its answer is about."""
        post = self.posts.get(message.who)
        if post is None or post.tell is None:
            return  # it has left, as the server hears
        match message:
            case Elsewhere():
                self._close_all(post)
                post.tell = None
            case For(message=Ask() as ask, most=most, fold=fold):
                until = self.loop.time() + ask.seconds
                post.open[ask.session.id, ask.turn] = Question(ask, most, until, fold=fold)
                post.say(ask)
            case For(message=Send(session, turn, offset)):
                self._upload(post, (session.id, turn), offset)
            case For(message=Held(session, turn) as held):
                self._close(post, (session.id, turn))
                post.say(held)
            case For(message=Settle(session) as settle):
                post.forget(session.id)
                self._folds.over(session.id)
                self.outgoing.clear(but=self._told())
                post.say(settle)
            case For(message=told):
                if isinstance(told, Begin):
                    self._begin = told
                post.say(told)

    def forget(self) -> None:
        """The server is not there any more, and what was asked comes again; no party has left."""
        for post in self.posts.values():
            for place in list(post.open):
                self._close(post, place)
            post.tell = None
        for task in self._sending:
            task.cancel()

    # what parties do

    def come(self, who: str, tell: Callable[[ToParty], None]) -> None:
        post = self.posts[who]
        self._close_all(post)
        post.tell = tell
        self.up(Came(who))

    def go(self, who: str, tell: Callable[[ToParty], None]) -> None:
        post = self.posts[who]
        if post.tell is tell:
            self._close_all(post)
            post.tell = None
            self.up(Left(who))

    def said(self, who: str, said: Said, others: tuple[str, ...] = ()) -> None:
        """What a party announces; another answer than one that is here, and is being added up, is
        not heard: the one that is here counts, as at a server.
        """
        place = (said.session.id, said.turn)
        if self._folds.has(who, place) and said.blob != self.posts[who].open[place].coming:
            tell("changed", who=who)
            return
        super().said(who, said, others)

    def settled(self, who: str, settled: Settled) -> None:
        self.up(From(who, settled))

    def came(self, who: str, blob: Blob, path: Path) -> None:
        post = self.posts[who]
        for place, question in post.open.items():
            if question.coming != blob:
                continue
            if question.fold is None:
                self._announce((who,), place, blob)
                continue
            asked = sum(place in one.open for one in self.posts.values())
            self._folds.put(Ready(who, path, blob, question), place, asked)

    async def fetched(self, who: str, blob: Blob) -> Path:
        """Where a blob lies, which is fetched where nobody has asked for it before."""
        path = self.outgoing.path(blob)
        async with self._fetching.setdefault(blob.sha256, asyncio.Lock()):
            if not path.exists():
                if self.server is None:
                    raise web.HTTPServiceUnavailable
                await self.server.fetch(who, blob, self.outgoing)
        self._fetching.pop(blob.sha256, None)
        return path

    def close(self) -> None:
        for task in self._sending:
            task.cancel()

    def _told(self) -> list[Blob]:
        """All blobs that some party here was told of."""
        asks = [one.ask for post in self.posts.values() for one in post.open.values()]
        told = [blob for ask in asks for blob in (ask.broadcast, ask.body)]
        if self._begin is not None:
            told.append(self._begin.found)
        return [blob for blob in told if blob is not None]

    def _silent(self, who: str, said: Said) -> None:
        self.up(From(who, said))

    def _end(self, post: Post, place: Place, why: Kind) -> None:
        session, turn = place
        self.up(From(post.who, Said(Session.of(session), turn, why=why)))

    def _revoke(self, post: Post) -> None:
        if post.tell is not None:
            self.go(post.who, post.tell)

    def _announce(self, who: tuple[str, ...], place: Place, blob: Blob) -> None:
        """Offer the server one party's own answer, or the sum of several."""
        session, turn = place
        said = Said(Session.of(session), turn, blob)
        if len(who) == 1:
            self.up(From(who[0], said))
        else:
            self.up(Folded(list(who), said))

    def _close(self, post: Post, place: Place) -> None:
        """A party's answer to a question is at the server, or is not waited for."""
        question = post.open.pop(place, None)
        if question is not None and question.coming is not None:
            post.spool.drop(question.coming)
        self._folds.drop(post.who, place)

    def _close_all(self, post: Post) -> None:
        """What a party was told on one link ends with it."""
        for place in list(post.open):
            self._folds.leave(post.who, place)
            self._close(post, place)

    # uploads

    def _upload(self, post: Post, place: Place, offset: int) -> None:
        """The server wants an answer, or the sum that was announced as this party's."""
        question = post.open.get(place)
        if self.server is None or question is None or question.coming is None:
            return
        blob = question.coming
        path = post.spool.path(blob)
        if (found := self._folds.sum_of(post.who, place)) is not None:
            blob, path = found
        self.beside(self.server.send(post.who, blob, path, offset))

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside all else."""
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """What fails here, as a full disk, ends the link to the server: then all is asked again."""
        self._sending.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.warning("%s", printable(str(error)))
        if self.server is not None:
            self.server.end()


def nobody(message: between.OfGateway) -> None:
    """The server is away; all comes again when it is there."""
