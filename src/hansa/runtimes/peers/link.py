"""Link: the way to one neighbour who hears this node. It dials, says what is owed, and comes back.

    owed ──▶ Words ──┬─ Send ──▶ pieces ──┐
                     ├─────────◀──────────┘
                     └─ Held ──▶ not owed any more; or Refused, and not said again

Before anything is said, the certificate of who answers is looked up on the roster: it must be that
very neighbour's. A link that breaks is tried again; how soon says `sites.away`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import ClientWebSocketResponse, WSMsgType

from ...crypto.identity import Roster
from ...errors import ProtocolError, RefusedError, printable
from ...kits.names import host_and_port
from ..sites import away
from ..sites.away import in_words, why_away
from ..sites.control import MOST, Blob
from ..sites.events import log, tell
from ..sites.greeting import HANDSHAKE
from ..sites.link import Way, dialled
from ..sites.moving import NonsenseError
from .once import Once
from .talk import FAULTS, PIECE, Done, Held, In, Message, Refused, Send, Words, decoded, encode

ANSWER = 120.0  # seconds until words that were sent are held
WAITING = 8  # answers that nobody has read yet

Answers = asyncio.Queue[Message | None]


class Speaking(Protocol):
    """Who has something to say: the node."""

    roster: Roster
    federation: str
    run: str
    context: ssl.SSLContext

    def met(self, who: str) -> None:
        """This neighbour is there, in the same run."""
        ...

    async def next(self, who: str) -> tuple[int, bytes | Path] | None:
        """The words that are owed to it, and their round; None where it has heard all."""
        ...

    async def held(self, who: str, round: int) -> None:
        """It has them, or does not take them."""
        ...


class Link:
    """The way to one neighbour, for as long as its task lasts."""

    def __init__(self, node: Speaking, who: str):
        self.node = node
        self.who = who
        self._said = Once()
        self._why = ""  # why it was not reached the last time
        self._reached = time.monotonic()
        self._over = False

    async def speak(self) -> None:
        """Say what is owed, and dial again where a link ends, until the neighbour has heard all;
        one that is not on the roster is not dialled.
        """
        pause = away.FIRST
        while not self._over:
            try:
                if self.who in self.node.roster:
                    await self._dial()
                    pause = away.FIRST
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.debug("%s", printable(in_words(error)))
                self._tell(_why(error))
            except (ProtocolError, RefusedError, NonsenseError) as error:
                log.debug("%s", printable(str(error)))
                self._tell("it is not that neighbour, or says what none says")
            if not self._over:
                await asyncio.sleep(random.uniform(0, pause))
            pause = away.longer(pause, time.monotonic() - self._reached)

    def _tell(self, why: str) -> None:
        """Say why it is not reached; once, while that is why."""
        if why != self._why:
            self._said.tell("unreached", who=self.who, kind=why)
        self._why = why

    async def _dial(self) -> None:
        """One link, until it ends."""
        member = self.node.roster[self.who]
        host, _ = host_and_port(member.address)
        way = Way(member.address, self.node.context, self.node.federation, host=host)
        async with dialled(way, "/v1/peer", MOST) as (_, socket):
            self._check(socket)
            await socket.send_str(encode(In(self.node.run)))
            async with asyncio.timeout(HANDSHAKE):
                there = await _heard(socket)
            if there != In(self.node.run):
                self._tell("it is in another run: of another app, graph, roster or number")
                return
            self._why = ""
            self.node.met(self.who)
            await self._say(socket)

    def _check(self, socket: ClientWebSocketResponse) -> None:
        """ProtocolError unless who answers is this very neighbour, by the roster as it is now;
        ClientError where the link has ended.
        """
        tls = socket.get_extra_info("ssl_object")
        if tls is None:
            raise aiohttp.ClientError("the link has ended")
        found = self.node.roster.who(tls.getpeercert(True) or b"")
        if found != self.who:
            raise ProtocolError(
                f"Where {self.who} listens, {found} answers.",
                "What is said to one neighbour is not for another.",
                "Ask both where they listen.",
            )

    async def _say(self, socket: ClientWebSocketResponse) -> None:
        """Say what is owed, until the link ends; the roster is looked at again before each."""
        answers = Answers()
        running: list[asyncio.Task[Any]] = [asyncio.create_task(_read(socket, answers))]
        try:
            while True:
                running[1:] = [asyncio.create_task(self.node.next(self.who))]
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if running[0].done():
                    running[0].result()
                    return
                owed = running[1].result()
                if owed is None:
                    await socket.send_str(encode(Done()))
                    self._over = True
                    return
                self._check(socket)
                await self._send(socket, answers, *owed)
                self._reached = time.monotonic()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _send(
        self, socket: ClientWebSocketResponse, answers: Answers, round: int, words: bytes | Path
    ) -> None:
        """Say the words of one round, until they are held."""
        began = time.monotonic()
        blob = await asyncio.to_thread(_named, words)
        await socket.send_str(encode(Words(round, blob)))
        answer = await _next(answers)
        if isinstance(answer, Send) and answer.offset < blob.size:
            for piece in _pieces(words, answer.offset):
                await socket.send_bytes(piece)
            answer = await _next(answers)
        if not isinstance(answer, Held | Refused) or answer.round != round:
            raise NonsenseError("The neighbour answers what was not said.")
        await self.node.held(self.who, round)
        if isinstance(answer, Refused):
            self._said.tell("unheard", who=self.who, kind=FAULTS[answer.why])
            return
        took = time.monotonic() - began
        tell("told", who=self.who, round=round, bytes=blob.size, seconds=took)


async def _heard(socket: ClientWebSocketResponse) -> Message:
    """The next message; ClientError where the neighbour ends the link instead."""
    message = await socket.receive()
    if message.type is not WSMsgType.TEXT:
        raise aiohttp.ClientError("it ended the link")
    return decoded(message.data)


async def _read(socket: ClientWebSocketResponse, answers: Answers) -> None:
    """Put what the neighbour says into the queue, and None when the link has ended."""
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT or answers.qsize() >= WAITING:
                raise NonsenseError("The neighbour says what nobody has asked it.")
            answers.put_nowait(decoded(message.data))
    finally:
        answers.put_nowait(None)


async def _next(answers: Answers) -> Message:
    """The next of these; ClientError where the link ends before."""
    async with asyncio.timeout(ANSWER):
        answer = await answers.get()
    if answer is None:
        raise aiohttp.ClientError("the link has ended")
    return answer


def _named(words: bytes | Path) -> Blob:
    """What these words are called."""
    if isinstance(words, bytes):
        return Blob(hashlib.sha256(words).hexdigest(), len(words))
    with words.open("rb") as file:
        return Blob(hashlib.file_digest(file, "sha256").hexdigest(), words.stat().st_size)


def _pieces(words: bytes | Path, offset: int) -> Iterator[bytes]:
    """The bytes of these words from one on, piece by piece."""
    file = BytesIO(words) if isinstance(words, bytes) else words.open("rb")
    with file:
        file.seek(offset)
        while piece := file.read(PIECE):
            yield piece


def _why(error: BaseException) -> str:
    """Why a neighbour is not reached, in words that it does not choose."""
    if isinstance(error, aiohttp.WSServerHandshakeError) and error.status == 403:
        return "it does not take this node: look at both rosters"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is none of this federation, or of another address"
    return why_away(error)
