"""Port: where a node is dialled by its neighbours, and hears what they say.

Who dials in shows a certificate of the federation; the roster says whose it is, the graph whether
that one is heard. What comes is announced first, and no more of it is read than a vector of the
plan has; its pieces go into a file, and it is held when it is in the mail.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Protocol

from aiohttp import ClientError, WSCloseCode, WSMsgType, web

from ...codec import HEAD
from ...crypto.identity import Roster
from ...errors import ProtocolError, StoreError
from ..sites import door
from ..sites.control import MOST
from ..sites.greeting import HANDSHAKE, HEARTBEAT, greet, parting
from ..sites.spool import Spool
from .gate import Gate
from .once import Once
from .talk import FAULTS, PIECE, Done, Fault, Held, In, Refused, Send, Words, decoded, encode

SILENT = 60.0  # seconds between two pieces
GOODBYE = 1.0


class Hearing(Protocol):
    """Who hears what comes: the node."""

    roster: Roster
    federation: str
    run: str

    def hears(self, who: str) -> bool:
        """Is this a neighbour that dials here?"""
        ...

    def met(self, who: str) -> None:
        """It is there, in the same run."""
        ...

    def left(self, who: str) -> None:
        """It has said all."""
        ...

    async def fits(self, who: str, words: Words) -> Fault | Held | None:
        """May this come? Held where it is there already."""
        ...

    async def heard(self, who: str, words: Words, path: Path) -> Fault | Held:
        """It has come, and is written down."""
        ...


class Port:
    """The port of a node, in the running loop; StoreError where nobody can listen there."""

    def __init__(self, node: Hearing, context: ssl.SSLContext, address: tuple[str, int], at: Path):
        self.node = node
        self.port = 0
        self._context = context
        self._address = address
        self._coming = at
        self._spools = dict[str, Spool]()  # one of each neighbour: none touches another's words
        shutil.rmtree(at, ignore_errors=True)
        self._links = dict[str, web.WebSocketResponse]()
        self._said = Once()

    async def open(self) -> None:
        """Listen from here on."""
        app = web.Application(client_max_size=MOST)
        app.router.add_get("/v1/peer", self._attend)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=GOODBYE
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = Gate(self._runner.server, self._context)
        await self._gate.open(*self._address)
        self.port = self._gate.port
        self._looking = asyncio.create_task(door.keep_looking(self._look))

    async def close(self) -> None:
        """End all links."""
        self._looking.cancel()
        await self._gate.close()
        for link in list(self._links.values()):
            await link.close(code=WSCloseCode.GOING_AWAY)
        await self._runner.cleanup()

    def _look(self) -> None:
        """End the connections of who is on the roster no more."""
        assert self._runner.server is not None
        door.look(self._runner.server.connections, self.node.roster)

    def _who(self, request: web.Request) -> str:
        """Which neighbour dials; HTTPForbidden for anybody else."""
        try:
            who = door.named(self.node.roster, request.transport)
        except ProtocolError:
            self._said.tell("stranger", who=str(request.remote))
            raise web.HTTPForbidden(text="not on the roster") from None
        if not self.node.hears(who):
            self._said.tell("no neighbour", who=who)
            raise web.HTTPForbidden(text="no neighbour")
        return who

    async def _attend(self, request: web.Request) -> web.WebSocketResponse:
        """A neighbour's link, for as long as it lasts."""
        who = self._who(request)
        link = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=2 * PIECE, compress=False)
        await link.prepare(request)
        before = self._links.pop(who, None)
        self._links[who] = link
        if before is not None:
            await before.close(code=WSCloseCode.GOING_AWAY)
        try:
            if await greet(self.node.federation, who, link):
                await self._hear(who, link)
        except (ProtocolError, TimeoutError, StoreError, OSError, ClientError) as error:
            self._said.tell("rejected", who=who, kind=_parting(error))
            await link.close(code=WSCloseCode.POLICY_VIOLATION)
        finally:
            if self._links.get(who) is link:
                del self._links[who]
        return link

    async def _hear(self, who: str, link: web.WebSocketResponse) -> None:
        """What it says, one thing after another, until its link ends."""
        async with asyncio.timeout(HANDSHAKE):
            first = decoded(await _text(link))
        await link.send_str(encode(In(self.node.run)))
        if first != In(self.node.run):
            self._said.tell("elsewhere", who=who)
            await link.close()
            return
        self.node.met(who)
        async for message in link:
            if message.type is not WSMsgType.TEXT:
                raise ProtocolError(f"{who} sent what was not announced.")
            words = decoded(message.data)
            if words == Done():
                self.node.left(who)
                continue
            if not isinstance(words, Words):
                raise ProtocolError(f"{who} said what a hearer says.")
            found = await self.node.fits(who, words) or await self._fetched(who, words, link)
            if not isinstance(found, Held):
                self._said.tell("refused", who=who, kind=FAULTS[found])
                await link.send_str(encode(Refused(words.round, found)))
                continue
            await link.send_str(encode(found))

    async def _fetched(self, who: str, words: Words, link: web.WebSocketResponse) -> Fault | Held:
        """What was announced, once it is in the mail; what has come of it stays for the next link
        where this one breaks. ProtocolError for what is not what was announced: its speaker comes
        again, and begins anew.
        """
        blob = words.blob
        coming = self._spool(who)
        coming.clear(but=[blob])
        coming.check_room(blob)
        there = coming.there(blob)
        await link.send_str(encode(Send(there)))
        while there < blob.size:
            async with asyncio.timeout(SILENT):
                message = await link.receive()
            if message.type is not WSMsgType.BINARY or not message.data:
                raise ProtocolError(f"{who} did not go on with what it announced.")
            if there + len(message.data) > blob.size:
                raise ProtocolError(f"{who} did not send what it announced.")
            with coming.appending(blob, there) as append:
                append(message.data)
            there += len(message.data)
        path = await asyncio.to_thread(coming.whole, blob)
        try:
            return await self.node.heard(who, words, path)
        finally:
            coming.drop(blob)

    def _spool(self, who: str) -> Spool:
        """Where the words of this neighbour come."""
        if who not in self._spools:
            self._spools[who] = Spool(self._coming / who)
        return self._spools[who]


async def _text(link: web.WebSocketResponse) -> str:
    """The next message, which is text."""
    message = await link.receive()
    if message.type is not WSMsgType.TEXT:
        raise ProtocolError("A link ended before it said in which run it is.")
    return str(message.data)


def _parting(error: BaseException) -> str:
    """Why a link ends, in words that nobody else chooses."""
    if isinstance(error, ProtocolError | TimeoutError):
        return parting(error)
    return type(error).__name__


def most_of(length: int) -> int:
    """How many bytes the words of a node have at most, which says so many numbers."""
    return HEAD + 8 * length
