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
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from aiohttp import WSCloseCode, WSMsgType, web

from ... import __version__
from ...crypto.identity import Roster
from ...errors import HansaError, Kind, ProtocolError, StoreError
from . import door
from .blobs import asked_for, part_of, read, stream, under_way
from .control import (
    MOST,
    WIRE,
    Blob,
    Hello,
    Said,
    Settled,
    ToParty,
    Welcome,
    encode,
    numbered,
    understand,
)
from .control import from_party as decoded
from .desk import Answer, Desk, Post, awaited
from .events import log, tell
from .spool import PART
from .watch import Watch

HEARTBEAT = 20.0  # seconds between two pings
HANDSHAKE = 10.0  # seconds for a TLS handshake, and for the first message
GOODBYE = 2.0  # seconds in which what is under way may end when the port is closed
IDLE = 75.0  # seconds after which a connection ends on which nothing is asked


class Gateway:
    """The port of a server, and its desk; a context manager.

    host, port: to listen at; port 0 takes a free one. context: TLS, as `Kit.server_context` has it.
    roster: who may speak, signed by the key `enrolment`. folder: for what comes and goes. Each
    `Answer` is put into the `inbox`, an error that ends the run, and None where what is under way
    is waited for no more.
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
        self.inbox = SimpleQueue[Answer | HansaError | None]()
        self.watch = Watch()
        self.draining = False
        self.over = threading.Event()  # nothing is waited for any more
        self.bundles = dict[str, bytes]()  # that are offered, by name
        self._enrolment = enrolment
        self._context = context
        self._address = address
        self._links = dict[str, tuple[web.WebSocketResponse, web.Request]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)
        self._thread.start()
        try:
            self.desk: Desk = self.do(self._start(folder))
        except BaseException:
            _end(self._loop, self._thread)
            raise

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do this in the gateway's thread, and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

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

    def with_roster(self, newer: Roster) -> None:
        """Let a newer roster say who may speak, from here on: who is not on it is cut off.

        ProtocolError where the enrolment key has not signed it, it has expired, or its serial is
        lower than that of the present one.
        """
        newer.verify(self._enrolment, self.roster.serial)

        async def turn() -> None:
            self.roster = newer
            self.desk.admit(_parties(newer))
            self._look()

        self.do(turn())
        log.info("the roster of serial %d counts", newer.serial)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def end(self) -> None:
        """The run is over: let all know who attend, and wait a little for their goodbye."""
        self.do(_goodbye(self.desk))

    def drain(self, seconds: float) -> None:
        """Let no new session begin, and what is under way go on for so long."""
        self.draining = True
        tell("draining")
        self.soon(self._loop.call_later, seconds, self.over.set)
        self.soon(self._loop.call_later, seconds, self.inbox.put, None)

    def close(self) -> None:
        """End all links, and the thread."""
        if self._loop.is_closed():
            return
        self.do(self._stop())
        _end(self._loop, self._thread)

    async def _start(self, folder: Path) -> Desk:
        """Open the port."""
        self.desk = Desk(_parties(self.roster), folder, self.inbox.put)
        app = web.Application(client_max_size=PART)
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
        return self.desk

    def _look(self) -> None:
        """End the connections that do not count."""
        assert self._runner.server is not None
        door.look(self._runner.server.connections, self.roster)

    async def _stop(self) -> None:
        self._port.close()
        for link, _ in list(self._links.values()):
            await link.close(code=WSCloseCode.GOING_AWAY)
        await self._runner.cleanup()
        self.desk.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def party(self, request: web.Request) -> Post:
        """Who speaks; HTTPForbidden where its certificate is on no roster."""
        try:
            return self.desk.posts[door.named(self.roster, request.transport)]
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
            if not await _greet(self.federation, who, link):
                return link
            self._replace(who, link, request)
            self.desk.come(who, say)
            tell("came", who=who)
            await self._hear(who, link, outbox)
        except StoreError as error:
            self.inbox.put(error)
        except (ProtocolError, TimeoutError) as error:
            tell("rejected", who=who, kind=_kind(error))
            await link.close(code=WSCloseCode.POLICY_VIOLATION)
        finally:
            sending.cancel()
            if self._links.get(who) == (link, request):
                del self._links[who]
                tell("left", who=who)
            self.desk.go(who, say)
        return link

    def _replace(self, who: str, link: web.WebSocketResponse, request: web.Request) -> None:
        """Let this be the party's link; the one before ends at once: who is there may be silent."""
        before = self._links.get(who)
        self._links[who] = (link, request)
        if before is not None and (transport := before[1].transport) is not None:
            tell("replaced", who=who)
            transport.abort()

    async def _hear(
        self, who: str, link: web.WebSocketResponse, outbox: asyncio.Queue[ToParty]
    ) -> None:
        """What a party says, until its link ends; who does not listen is not heard meanwhile."""
        async for message in link:
            if message.type is not WSMsgType.TEXT:
                raise ProtocolError(f"{who} sent something else than text.")
            match decoded(message.data):
                case Said() as said:
                    if not awaited(self.desk.posts[who], said):
                        self.watch.too_late()
                    self.desk.said(who, said)
                    await self._go_on(self.desk.posts[who], said.blob)
                case Settled() as settled:
                    self.desk.settled(who, settled)
                case _:
                    raise ProtocolError(f"{who} said hello twice.")
            await outbox.join()

    # what travels beside

    async def _get(self, request: web.Request) -> web.StreamResponse:
        """A blob that the party was told of."""
        post = self.party(request)
        sha256 = request.match_info["sha256"]
        offered = self.desk.offered(post.who, sha256)
        if offered is None:
            raise web.HTTPNotFound
        self.watch.moved("down", asked_for(request, offered))
        with under_way(post):  # until all of it is sent
            path = self.desk.outgoing.path(offered)
            return await stream(request, path, offered, self.watch.headers(post.who))

    async def _bundle(self, request: web.Request) -> web.StreamResponse:
        """A bundle by its name; who asks for another hears which there are."""
        post = self.party(request)
        found = self.bundles.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound(text=", ".join(self.bundles))
        with under_way(post):
            response = web.StreamResponse(headers={"Content-Length": str(len(found))})
            await response.prepare(request)
            for at in range(0, len(found), PART):
                await response.write(found[at : at + PART])
            await response.write_eof()
            return response

    async def _put(self, request: web.Request) -> web.Response:
        """The next part of an answer that was announced; 409 tells where it has to begin."""
        post = self.party(request)
        question = self.desk.expected(post.who, request.match_info["sha256"])
        if question is None or question.coming is None:
            raise web.HTTPNotFound
        blob = question.coming
        start, length = part_of(request, blob)
        with under_way(post):
            try:
                async with asyncio.timeout_at(question.until):
                    await read(request, self.desk, post, blob, start, length)
                self.watch.moved("up", length)
                if post.spool.there(blob) == blob.size:
                    await self._go_on(post, blob)
            except TimeoutError:
                raise web.HTTPRequestTimeout from None
            except ProtocolError:
                there = str(post.spool.there(blob))
                raise web.HTTPConflict(headers={"Upload-Offset": there}) from None
            except StoreError as error:
                self.inbox.put(error)
                raise web.HTTPInsufficientStorage from None
        return web.Response(status=202)

    async def _go_on(self, post: Post, blob: Blob | None) -> None:
        """Hear an answer that is whole, and was announced so; else let it be sent, from where it
        is: a part may have come to a server that has ended since.
        """
        if blob is not None and post.spool.there(blob) == blob.size:
            try:
                path = await asyncio.to_thread(post.spool.whole, blob)
                self.desk.came(post.who, blob, path)
            except ProtocolError:
                tell("torn", who=post.who)
                self.desk.spoilt(post.who, blob)
        self.desk.want(post.who, blob)


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


async def _greet(federation: str, who: str, link: web.WebSocketResponse) -> bool:
    """Hear who is there, and answer; where both do not understand each other, the link ends."""
    async with asyncio.timeout(HANDSHAKE):
        hello = decoded(await _text(link))
    if not isinstance(hello, Hello):
        raise ProtocolError(f"{who} did not say hello.")
    await link.send_str(encode(Welcome(WIRE, __version__, federation)))
    if not understand(WIRE, hello.wire):
        tell(
            "foreign",
            who=who,
            kind=f"{numbered(hello.wire)} of the messages, and this is {numbered(WIRE)}",
        )
        await link.close(code=WSCloseCode.POLICY_VIOLATION)
        return False
    return True


async def _text(link: web.WebSocketResponse) -> str:
    """The next message, which is text."""
    message = await link.receive()
    if message.type is not WSMsgType.TEXT:
        raise ProtocolError("A link ended before it said who is there.")
    return str(message.data)


async def _send(link: web.WebSocketResponse, outbox: asyncio.Queue[ToParty]) -> None:
    """Send what is to be told, in order, until the link ends."""
    while True:
        message = await outbox.get()
        with contextlib.suppress(ConnectionError):  # its end is heard where it is heard
            await link.send_str(encode(message))
        outbox.task_done()


def _parties(roster: Roster) -> list[str]:
    """All that dial in."""
    return [who for who, one in roster.items() if one.role != "server"]


def _kind(error: BaseException) -> Kind:
    """What was wrong; never in words, which could be the party's."""
    if isinstance(error, TimeoutError):
        return "late"
    return "invalid"
