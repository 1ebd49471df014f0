"""Gateway: the server's port. TLS 1.3 with certificates on both sides, and a roster behind them.

    GET  /v1/attend            a WebSocket for each party; the newest counts
    GET  /v1/blobs/{sha256}    what a party was asked; with Range
    PUT  /v1/blobs/{sha256}    an answer that was announced; with Content-Range
    GET  /v1/bundles/{name}    the app, for those who approve it: nothing runs it as it comes

All four are for clients and helpers of the roster: 403 else. 404 is what this party was not told
of, has not announced, or is not offered; 409 says with Upload-Offset where to go on; 429 means more
than REQUESTS at a time, 408 that the question's time is over, 507 that the disk is full.

Who speaks says its certificate, and the roster whether that counts: nothing in a message does. It
runs in a thread of its own, which runs no code of an app.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from aiohttp import WSCloseCode, WSMsgType, web

from ...crypto.identity import Roster
from ...errors import HansaError, ProtocolError, StoreError
from . import door
from .blobs import asked_for, part_of, read, stream, under_way
from .control import MOST, Blob, Said, Settled, ToParty, encode
from .control import from_party as decoded
from .desk import Desk, check_federation, federation_at
from .events import log, tell
from .gateways import Gateways, speaks_for
from .greeting import HANDSHAKE, HEARTBEAT, greet, parting
from .posts import Answer, Post, Posts, awaited
from .spool import PART
from .watch import Watch

GOODBYE = 2.0  # seconds in which what is under way may end when the port is closed
IDLE = 75.0  # seconds after which a connection ends on which nothing is asked


class Port(ABC):
    """A port at which parties attend, in a thread of its own; a context manager.

    host, port: to listen at; port 0 takes a free one. context: TLS, as `Kit.server_context` has it.
    roster: who may speak, signed by the key `enrolment`. folder: for what comes and goes.
    """

    def __init__(
        self,
        roster: Roster,
        context: ssl.SSLContext,
        address: tuple[str, int],
        folder: Path,
        federation: str,
        enrolment: bytes,
    ):
        self.roster = roster
        self.federation = federation
        self.watch = Watch()
        self._enrolment = enrolment
        self._context = context
        self._address = address
        self._links = dict[str, tuple[web.WebSocketResponse, web.Request]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)
        self._thread.start()
        try:
            self.posts: Posts = self.do(self._start(folder))
        except BaseException:
            _end(self._loop, self._thread)
            raise

    @abstractmethod
    def _open(self, folder: Path, app: web.Application) -> Posts:
        """What is asked of the parties that attend here, and what else is found here."""

    @abstractmethod
    def fail(self, error: HansaError) -> None:
        """The disk is full, or what lies on it cannot be used."""

    @abstractmethod
    async def _bundle_of(self, name: str, who: str) -> bytes:
        """The app of this name; HTTPNotFound, with those that there are, for no such."""

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do this in the gateway's thread, and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def with_roster(self, newer: Roster) -> None:
        """Let a newer roster say who may speak, from here on: who is not on it is cut off.

        ProtocolError where the enrolment key has not signed it, it has expired, or its serial is
        lower than that of the present one.
        """
        newer.verify(self._enrolment, self.roster.serial)

        async def turn() -> None:
            self.roster = newer
            self.posts.admit(parties(newer))
            self._look()

        self.do(turn())
        log.info("the roster of serial %d counts", newer.serial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End all links, and the thread."""
        if self._loop.is_closed():
            return
        self.do(self._stop())
        _end(self._loop, self._thread)

    async def _start(self, folder: Path) -> Posts:
        """Open the port."""
        app = web.Application(client_max_size=PART)
        self.posts = self._open(folder, app)
        app.router.add_get("/v1/attend", self._attend)
        app.router.add_get("/v1/blobs/{sha256:[0-9a-f]{64}}", self._get)
        app.router.add_put("/v1/blobs/{sha256:[0-9a-f]{64}}", self._put)
        app.router.add_get("/v1/bundles/{name}", self._bundle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=GOODBYE,
            keepalive_timeout=IDLE,
            auto_decompress=False,  # what unpacks to more than it has bytes is not unpacked
        )
        await self._runner.setup()
        host, port = self._address
        try:
            self._port = await self._loop.create_server(
                self._runner.server,  # type: ignore[arg-type]
                host,
                port,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE,
            )
        except OSError as error:
            raise StoreError(
                f"Nobody can listen at {host}:{port}.",
                f"{error.strerror}.",
                "End what listens there, or name another port: --listen 0.0.0.0:7443.",
            ) from error
        self.port = self._port.sockets[0].getsockname()[1]
        self._looking = asyncio.create_task(door.keep_looking(self._look))
        return self.posts

    def _look(self) -> None:
        """End the connections that do not count."""
        assert self._runner.server is not None
        door.look(self._runner.server.connections, self.roster)

    async def _stop(self) -> None:
        self._port.close()
        for link, _ in list(self._links.values()):
            await link.close(code=WSCloseCode.GOING_AWAY)
        await self._runner.cleanup()
        self.posts.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def party(self, request: web.Request) -> Post:
        """Who speaks, or for whom a gateway does; HTTPForbidden where its certificate is on no
        roster.
        """
        try:
            who = door.named(self.roster, request.transport)
            whom = speaks_for(self.roster[who], who, request)
            if whom not in self.roster:  # posts outlive who is revoked
                raise KeyError(whom)
            return self.posts.posts[whom]
        except (ProtocolError, KeyError):
            tell("stranger", who=str(request.remote))
            raise web.HTTPForbidden(text="not on the roster") from None

    # who attends

    async def _attend(self, request: web.Request) -> web.WebSocketResponse:
        """One party's link, for as long as it lasts."""
        who = self.party(request).who
        link = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MOST, compress=False)
        await link.prepare(request)
        outbox = asyncio.Queue[ToParty]()
        say = outbox.put_nowait
        sending = asyncio.create_task(_send(link, outbox))
        try:
            if not await greet(self.federation, who, link):
                return link
            self._replace(who, link, request)
            self.posts.come(who, say)
            tell("came", who=who)
            await _hear(self, who, link, outbox)
        except StoreError as error:
            self.fail(error)
        except (ProtocolError, TimeoutError) as error:
            tell("rejected", who=who, kind=parting(error))
            await link.close(code=WSCloseCode.POLICY_VIOLATION)
        finally:
            sending.cancel()
            if self._links.get(who) == (link, request):
                del self._links[who]
                tell("left", who=who)
            self.posts.go(who, say)
        return link

    def _replace(self, who: str, link: web.WebSocketResponse, request: web.Request) -> None:
        """Let this be the party's link; the one before ends at once: who is there may be silent."""
        if who in self._links:
            tell("replaced", who=who)
        self.part(who)
        self._links[who] = (link, request)

    def part(self, who: str) -> None:
        """End a party's link to this port, if it has one."""
        before = self._links.pop(who, None)
        if before is not None and (transport := before[1].transport) is not None:
            transport.abort()

    # what travels beside

    async def _get(self, request: web.Request) -> web.StreamResponse:
        """A blob that the party was told of."""
        post = self.party(request)
        sha256 = request.match_info["sha256"]
        offered = self.posts.offered(post.who, sha256)
        if offered is None:
            raise web.HTTPNotFound
        self.watch.moved("down", asked_for(request, offered))
        with under_way(post):  # until all of it is sent
            path = await self.posts.fetched(post.who, offered)
            return await stream(request, path, offered, self.watch.headers(post.who))

    async def _bundle(self, request: web.Request) -> web.StreamResponse:
        """A bundle by its name; who asks for another hears which there are."""
        post = self.party(request)
        with under_way(post):
            found = await self._bundle_of(request.match_info["name"], post.who)
            response = web.StreamResponse(headers={"Content-Length": str(len(found))})
            await response.prepare(request)
            for at in range(0, len(found), PART):
                await response.write(found[at : at + PART])
            await response.write_eof()
            return response

    async def _put(self, request: web.Request) -> web.Response:
        """The next part of an answer that was announced; 409 tells where it has to begin."""
        post = self.party(request)
        question = self.posts.expected(post.who, request.match_info["sha256"])
        if question is None or question.coming is None:
            raise web.HTTPNotFound
        blob = question.coming
        start, length = part_of(request, blob)
        with under_way(post):
            try:
                async with asyncio.timeout_at(question.until):
                    await read(request, self.posts, post, blob, start, length)
                self.watch.moved("up", length)
                if post.spool.there(blob) == blob.size:
                    await self.go_on(post, blob)
            except TimeoutError:
                raise web.HTTPRequestTimeout from None
            except ProtocolError:
                there = str(post.spool.there(blob))
                raise web.HTTPConflict(headers={"Upload-Offset": there}) from None
            except StoreError as error:
                self.fail(error)
                raise web.HTTPInsufficientStorage from None
        return web.Response(status=202)

    async def go_on(self, post: Post, blob: Blob | None) -> None:
        """Hear an answer that is whole, and was announced so; else let it be sent, from where it
        is: a part may have come to a server that has ended since.
        """
        if blob is not None and post.spool.there(blob) == blob.size:
            try:
                path = await asyncio.to_thread(post.spool.whole, blob)
                self.posts.came(post.who, blob, path)
            except ProtocolError:
                tell("torn", who=post.who)
                self.posts.spoilt(post.who, blob)
        self.posts.want(post.who, blob)


async def _hear(
    port: Port, who: str, link: web.WebSocketResponse, outbox: asyncio.Queue[ToParty]
) -> None:
    """What a party says, until its link ends; who does not listen is not heard meanwhile."""
    async for message in link:
        if message.type is not WSMsgType.TEXT:
            raise ProtocolError(f"{who} sent something else than text.")
        match decoded(message.data):
            case Said() as said:
                if not awaited(port.posts.posts[who], said):
                    port.watch.too_late()
                port.posts.said(who, said)
                await port.go_on(port.posts.posts[who], said.blob)
            case Settled() as settled:
                port.posts.settled(who, settled)
            case _:
                raise ProtocolError(f"{who} said hello twice.")
        await outbox.join()


class Gateway(Port):
    """The port of a server, and its desk; gateways that stand before it dial in there, too.

    Each `Answer` is put into the `inbox`, an error that ends the run, and None where what is under
    way is waited for no more.
    """

    desk: Desk

    def __init__(self, *about: Any):
        self.inbox = SimpleQueue[Answer | HansaError | None]()
        self.draining = False
        self.over = threading.Event()  # nothing is waited for any more
        self.bundles = dict[str, bytes]()  # that are offered, by name
        super().__init__(*about)

    def soon(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do this in the gateway's thread, behind what is to be done there; where it fails, so does
        the run.
        """

        def tried() -> None:
            try:
                work(*arguments)
            except HansaError as error:
                self.inbox.put(error)

        self._loop.call_soon_threadsafe(tried)

    def adopt(self, folder: Path) -> None:
        """Tell what the server of an earlier run could not tell who was away; in another federation
        parties of the same names are others, and nothing is told.

        folder: that of the earlier run, for what came and went.
        """
        if federation_at(folder) == self._of:
            self.soon(self.desk.adopt, folder / "unsettled")

    def end(self) -> None:
        """The run is over: let all know who attend, and wait a little for their goodbye."""
        self.do(_goodbye(self.desk))

    def drain(self, seconds: float) -> None:
        """Let no new session begin, and what is under way go on for so long."""
        self.draining = True
        tell("draining")
        self.soon(self._loop.call_later, seconds, self.over.set)
        self.soon(self._loop.call_later, seconds, self.inbox.put, None)

    def with_roster(self, newer: Roster) -> None:
        super().with_roster(newer)
        self._loop.call_soon_threadsafe(self._gateways.admit, parties(newer))

    def _open(self, folder: Path, app: web.Application) -> Posts:
        self._of = hashlib.sha256(self._enrolment).hexdigest()
        check_federation(folder, self._of)
        self.desk = Desk(parties(self.roster), folder, self.inbox.put)
        self._gateways = Gateways(self)
        app.router.add_get("/v1/relay", self._gateways.attend)
        return self.desk

    def _replace(self, who: str, link: web.WebSocketResponse, request: web.Request) -> None:
        super()._replace(who, link, request)
        self._gateways.elsewhere(who)

    async def _stop(self) -> None:
        await self._gateways.close()
        await super()._stop()

    def fail(self, error: HansaError) -> None:
        self.inbox.put(error)

    async def _bundle_of(self, name: str, who: str) -> bytes:
        found = self.bundles.get(name)
        if found is None:
            raise web.HTTPNotFound(text=", ".join(self.bundles))
        return found


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """End a loop that runs in a thread, and both."""
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _goodbye(desk: Desk) -> None:
    """Tell that the run is over, and wait until all have left, but HANDSHAKE seconds at most."""
    desk.end()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANDSHAKE):
            while desk.present:
                await asyncio.sleep(0.05)


async def _send(link: web.WebSocketResponse, outbox: asyncio.Queue[ToParty]) -> None:
    """Send what is to be told, in order, until the link ends."""
    while True:
        message = await outbox.get()
        with contextlib.suppress(ConnectionError):  # its end is heard where it is heard
            await link.send_str(encode(message))
        outbox.task_done()


def parties(roster: Roster) -> list[str]:
    """All that dial in."""
    return [who for who, one in roster.items() if one.role in ("client", "helper")]
