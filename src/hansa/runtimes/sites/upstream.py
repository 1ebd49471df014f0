"""Upstream: a gateway's port, and its link to the server before which it stands.

    RelayPort    parties attend at it; what they say and are told is a `Relay`'s
    Upstream     what goes to the server beside the messages, while the link lasts

Where that link ends, all parties are let go: they dial again, here or at another gateway, as they
would dial a server that has started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

from ...errors import AppError, HansaError, ProtocolError, RefusedError, printable
from . import away, between
from .away import check_lasting, why_away
from .control import Blob
from .events import log, tell
from .fetch import fetch
from .gateway import Port, parties
from .link import Way, dialled
from .moving import GoneError, NonsenseError, fetch_part, send_parts
from .posts import Post, Posts
from .relay import Relay, nobody
from .spool import Spool

BUSY = 8  # uploads to the server at a time
AGAIN = 0.5  # seconds until one is tried again that was refused


class Upstream:
    """A gateway's link to its server, while it lasts."""

    def __init__(self, way: Way, http: ClientSession, socket: ClientWebSocketResponse):
        self._way = way
        self._http = http
        self._socket = socket
        self._busy = asyncio.Semaphore(BUSY)
        self._bundles = dict[str, bytes]()
        self._fetching = asyncio.Lock()

    async def fetch(self, who: str, blob: Blob, spool: Spool) -> None:
        """All of a blob that a party was told of; HTTPNotFound where it is offered no more."""
        spool.check_room(blob)
        try:
            while spool.there(blob) < blob.size:
                await fetch_part(self._http, self._url(blob), blob, spool, **self._more(who))
            await asyncio.to_thread(spool.whole, blob)
        except GoneError:
            raise web.HTTPNotFound from None
        except (aiohttp.ClientError, NonsenseError, ProtocolError) as error:
            log.warning("%s", printable(str(error)))
            raise web.HTTPServiceUnavailable from None

    async def send(self, who: str, blob: Blob, path: Path, offset: int) -> None:
        """Send what lies in a file, as this party's answer; what was dropped meanwhile is not.

        What is refused is sent again until it is dropped: a party may be the cause, which has too
        much under way, or sends the same itself, and others' links are not to end with its own.
        """
        while not await self._sent(who, blob, path, offset):
            await asyncio.sleep(AGAIN)

    async def _sent(self, who: str, blob: Blob, path: Path, offset: int) -> bool:
        """Is it sent, or dropped?"""
        url = self._url(blob)
        try:
            async with self._busy:
                with open(path, "rb") as file:
                    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                await send_parts(self._http, url, [data], blob, offset, **self._more(who))
        except FileNotFoundError:
            return True
        except (aiohttp.ClientError, ConnectionError) as error:
            log.warning("%s", printable(str(error)))
            return False
        return True

    async def bundle(self, name: str, who: str) -> bytes:
        """The bundle of this name, which is fetched once, one at a time: else what one party wants
        of bundles would be as many requests of its at the server.
        """
        async with self._fetching:
            if name not in self._bundles:
                self._bundles[name] = await fetch(self._way, name, between.headers(who))
        return self._bundles[name]

    def end(self) -> None:
        """End the link, so that all begins anew."""
        asyncio.create_task(self._socket.close())  # noqa: RUF006  # it ends who holds the link

    def _more(self, who: str) -> dict[str, Any]:
        """On whose behalf, and which name the server's certificate has."""
        return {"headers": between.headers(who), "server_hostname": self._way.host}

    def _url(self, blob: Blob) -> str:
        return self._way.url(f"/v1/blobs/{blob.sha256}")


class RelayPort(Port):
    """The port of a gateway; a context manager, whose link to the server `relay` keeps.

    way: to the server. about: as a `Port` has it.
    """

    def __init__(self, way: Way, *about: Any):
        self.way = way
        super().__init__(*about)

    def party(self, request: web.Request) -> Post:
        """Who speaks; 503 while the server is away, and 421 for blobs of who attends elsewhere."""
        post = super().party(request)
        if self.relay.server is None:
            raise web.HTTPServiceUnavailable
        if "sha256" in request.match_info and post.tell is None:
            raise web.HTTPMisdirectedRequest
        return post

    def begin(self) -> Future[None]:
        """Keep the link to the server, in the port's thread, until what this gives is cancelled.

        RefusedError in it, where the server does not take this gateway.
        """
        return asyncio.run_coroutine_threadsafe(self._stay(), self._loop)

    async def _stay(self) -> None:
        """Dial, again and again."""
        why = ""  # the server was not reached the last time
        pause = away.FIRST
        reached = time.monotonic()
        while True:
            try:
                async with dialled(self.way, "/v1/relay", between.MOST) as (http, socket):
                    why = ""
                    pause = away.FIRST
                    tell("attends")
                    try:
                        await self._relay(http, socket)
                    finally:
                        reached = time.monotonic()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                check_lasting(error)
                tell("still away" if why_away(error) == why else "away", kind=why_away(error))
                why = why_away(error)
            except (ProtocolError, NonsenseError) as error:
                if isinstance(error, RefusedError):
                    raise
                log.warning("%s", printable(str(error)))
            await asyncio.sleep(random.uniform(0, pause))
            pause = away.longer(pause, time.monotonic() - reached)

    async def _relay(self, http: ClientSession, socket: ClientWebSocketResponse) -> None:
        """Pass on what both sides say, until the link ends; then all parties dial again."""
        outbox = asyncio.Queue[between.OfGateway]()
        self.relay.up = outbox.put_nowait
        self.relay.server = Upstream(self.way, http, socket)
        sending = asyncio.create_task(_say(socket, outbox))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    raise NonsenseError("The server sent something else than text.")
                self.relay.hear(between.to_gateway(message.data))
        finally:
            sending.cancel()
            self.relay.server = None
            self.relay.up = nobody
            self.relay.forget()
            for who in list(self._links):
                self.part(who)

    def _open(self, folder: Path, app: web.Application) -> Posts:
        self.relay = Relay(parties(self.roster), folder)
        return self.relay

    def fail(self, error: HansaError) -> None:
        """The disk is full: what was begun begins anew, as the server hears nothing of it."""
        log.error("%s", printable(str(error)))
        if self.relay.server is not None:
            self.relay.server.end()

    async def _bundle_of(self, name: str, who: str) -> bytes:
        if self.relay.server is None:
            raise web.HTTPServiceUnavailable
        try:
            return await self.relay.server.bundle(name, who)
        except AppError as error:
            raise web.HTTPNotFound(text=error.why) from None
        except HansaError:
            raise web.HTTPServiceUnavailable from None


async def _say(socket: ClientWebSocketResponse, outbox: asyncio.Queue[between.OfGateway]) -> None:
    """Send what the server is to hear, in order."""
    while True:
        message = await outbox.get()
        with contextlib.suppress(ConnectionError):  # its end is heard where it is heard
            await socket.send_str(between.encode(message))
