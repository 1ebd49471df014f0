"""Somebody with a valid certificate who says what they like; and a server with its own that lies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import numpy as np
from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, web
from tests.attending import HOST, Sites

import hansa as h
from hansa import codec
from hansa.kits import Kit
from hansa.messages import Reply, Request, SessionId
from hansa.parties import Party
from hansa.runtimes.sites import SiteRuntime, away, control, link
from hansa.runtimes.sites.control import Ask, Blob, Held, Hello, Said, Send, Session, Welcome, encode
from hansa.runtimes.sites.site import Site
from hansa.runtimes.sites.spool import Spool

PATIENCE = 20  # seconds


@contextlib.asynccontextmanager
async def patience(seconds: float = PATIENCE) -> AsyncIterator[None]:
    """What does not come in time does not come."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError("nothing came") from None


def examples(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)


DATA = {who: examples(i) for i, who in enumerate(("mallory", "north", "south"))}
PLAN = h.Plan(h.Softmax(4, 3), rounds=2, training=h.Training(batch=8), sample=h.Everyone(quorum=2, deadline=8))


def blob_of(data: bytes) -> Blob:
    return Spool.named([data])


@dataclass
class Intruder:
    """A party's certificate in other hands: it attends, says and sends what it likes; a context manager."""

    kit: Kit
    address: str
    socket: ClientWebSocketResponse = field(init=False, repr=False)

    async def __aenter__(self) -> Self:
        connector = TCPConnector(ssl=self.kit.client_context(), limit=0)
        self.http = ClientSession(connector=connector, auto_decompress=False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.http.close()

    def url(self, path: str) -> str:
        return f"https://{self.address}{path}"

    async def attend(self, hello: str = encode(Hello(control.WIRE, "0"))) -> Self:
        """Attend, and be welcome."""
        self.socket = await self.http.ws_connect(self.url("/v1/attend"), max_msg_size=0)
        await self.socket.send_str(hello)
        assert isinstance(await self.hear(), Welcome)
        return self

    async def hear(self) -> Any:
        """The next message; None where the link has ended."""
        async with patience():
            message = await self.socket.receive()
        return control.from_server(message.data) if message.type is aiohttp.WSMsgType.TEXT else None

    async def until(self, kind: type[Any]) -> Any:
        """The next message of this kind; None where the link ends before."""
        while (message := await self.hear()) is not None:
            if isinstance(message, kind):
                return message
        return None

    async def ended(self) -> bool:
        """Does the link end?"""
        try:
            return await self.until(type(None)) is None
        except AssertionError:
            return False

    async def say(self, session: SessionId, blob: Blob | None, turn: int = 0, **more: Any) -> None:
        await self.socket.send_str(encode(Said(Session.of(session), turn, blob, **more)))

    async def put(self, blob: Blob, data: Any, span: str = "", **more: str) -> int:
        """Send these bytes as this part of a blob: the status of what comes back, 0 where the connection ends."""
        span = span or f"0-{blob.size - 1}/{blob.size}"
        headers = {"Content-Range": f"bytes {span}", **more}
        try:
            async with self.http.put(self.url(f"/v1/blobs/{blob.sha256}"), data=data, headers=headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, ConnectionError):
            return 0

    async def half(self, blob: Blob, length: int, begin: bytes = b"") -> tuple[Any, Any]:
        """A PUT of which no more than its beginning is sent; what reads and what writes on."""
        host, port = self.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=self.kit.client_context())
        head = f"PUT /v1/blobs/{blob.sha256} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n"
        head += f"Content-Range: bytes 0-{length - 1}/{blob.size}\r\n\r\n"
        writer.write(head.encode() + begin)
        await asyncio.sleep(0.2)
        return reader, writer

    async def get(self, blob: Blob, **headers: str) -> tuple[int, bytes]:
        """The status and the bytes of a blob."""
        async with self.http.get(self.url(f"/v1/blobs/{blob.sha256}"), headers=headers) as response:
            return response.status, await response.read()

    async def answer(self, session: SessionId, data: bytes) -> None:
        """Announce these bytes, and send them when they are wanted."""
        blob = blob_of(data)
        await self.say(session, blob)
        assert isinstance(await self.until(Send), Send)
        assert await self.put(blob, data) == 202


def reply(session: SessionId, who: str = "mallory", body: Any = None, round: int = 0, turn: int = 0) -> bytes:
    """The bytes of an answer; by default a vector of the plan."""
    body = np.zeros(PLAN.encoded_spec.size, PLAN.encoded_spec.word) if body is None else body
    return b"".join(Reply(session, round, (who,), body, turn=turn).encode())


class Attacked:
    """A gateway with nobody at it yet, and what its loop asks and hears."""

    def __init__(self, folder: Path, plan: h.Plan = PLAN):
        self.sites = Sites(folder, plan, DATA, gateways=("gateway",))
        self.gateway = self.sites.gateway
        self.runtime = SiteRuntime(self.gateway, plan)
        self._sessions = 0

    def intruder(self, who: str = "mallory") -> Intruder:
        return Intruder(self.sites.kits[who], self.sites.address)

    def ask(
        self, *who: str, seconds: float = PATIENCE, told: Any = ({}, ()), body: Any = None, fold: bool = False
    ) -> SessionId:
        """Ask these in a session of its own."""
        self._sessions += 1
        session = SessionId("run", 0, self._sessions)
        bodies = dict.fromkeys(who or ("mallory",), body)
        self.runtime.send(Request(self.runtime.plan.digest, 0, session, told, bodies, seconds, 0, fold))
        return session

    async def reply(self) -> Reply:
        """What the loop hears next."""
        async with patience():
            return await asyncio.to_thread(self.runtime.receive)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds at the server."""
        async with patience():
            while not holds():
                await asyncio.sleep(0.01)

    def post(self, who: str = "mallory") -> Any:
        return self.gateway.desk.posts[who]

    def spooled(self, who: str = "mallory") -> int:
        """Bytes that lie at the server of what a party sends."""
        return sum(one.stat().st_size for one in self.post(who).spool.folder.iterdir())

    async def lives(self) -> bool:
        """Does an honest answer of somebody else come through?"""
        async with self.intruder("north") as north:
            await north.attend()
            session = self.ask("north")
            await north.answer(session, reply(session, "north"))
            found = await self.reply()
        self.end(session)
        return found.who == ("north",) and found.body is not None

    def end(self, *sessions: SessionId) -> None:
        for one in sessions:
            self.gateway.soon(self.gateway.desk.settle, one, ())
        while not self.gateway.inbox.empty():
            self.gateway.inbox.get()


Script = Callable[["Liar"], Awaitable[None]]
Serves = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Liar:
    """The server of a federation, with its certificate, which says what it likes.

    serves: what a GET of a blob gives, where it is not the blob. takes: the status of a PUT.
    said: all that the party has said and sent.
    """

    kit: Kit
    federation: str = ""
    wire: tuple[int, int] = control.WIRE
    serves: Serves | None = None
    attends: Serves | None = None
    takes: int = 202
    said: list[Any] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    socket: web.WebSocketResponse | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/attend", self.attends or self._attend)
        app.router.add_get("/v1/blobs/{sha256}", self._get)
        app.router.add_put("/v1/blobs/{sha256}", self._put)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0, ssl_context=self.kit.server_context()).start()
        self.address = f"{HOST}:{self._runner.addresses[0][1]}"
        self._heard = asyncio.Queue[Any]()
        self.links = 0
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.socket is not None:
            await self.socket.close()
        await self._runner.cleanup()

    async def _attend(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(encode(Welcome(self.wire, "0", self.federation or self.kit.federation)))
        self.socket = socket
        self.links += 1
        async for message in socket:
            word = control.from_party(message.data)
            self.said.append(word)
            self._heard.put_nowait(word)
        return socket

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.asked_for.append(request.match_info["sha256"])
        if self.serves is not None:
            return await self.serves(request)
        data = self.blobs[request.match_info["sha256"]]
        span = request.http_range
        return web.Response(status=206, body=data[span])

    async def _put(self, request: web.Request) -> web.Response:
        self.sent.append(await request.read())
        return web.Response(status=self.takes)

    def offer(self, value: Any) -> Blob:
        """A value that can be fetched."""
        data = codec.dumps(value)
        blob = blob_of(data)
        self.blobs[blob.sha256] = data
        return blob

    async def tell(self, *messages: Any) -> None:
        """Say these to who attends, once it does."""
        async with patience():
            while self.socket is None or self.socket.closed:
                await asyncio.sleep(0.01)
        for one in messages:
            await self.socket.send_str(one if isinstance(one, str) else encode(one))

    async def hear(self) -> Any:
        async with patience():
            return await self._heard.get()

    async def answer(self, ask: Ask) -> bytes | str:
        """What the party says when it is asked: bytes, or why it says nothing."""
        await self.tell(ask)
        said = await self.hear()
        if said.blob is None:
            return str(said.why)
        before = len(self.sent)
        await self.tell(Send(ask.session, ask.turn, 0))
        async with patience():
            while sum(map(len, self.sent[before:])) < said.blob.size:
                await asyncio.sleep(0.01)
        await self.tell(Held(ask.session, ask.turn))
        return b"".join(self.sent[before:])


@dataclass
class Attending:
    """A party at its place, attending a liar, in this loop."""

    site: Site
    task: asyncio.Task[None]

    @property
    def lives(self) -> bool:
        return not self.task.done()


@contextlib.asynccontextmanager
async def attending(
    liar: Liar, kit: Kit, make: Callable[[str, Any], Party], host: str | None = None
) -> AsyncIterator[Attending]:
    """A real site and its link, for as long as the block lasts."""
    site = Site(kit.folder, make)
    way = link.Way(liar.address, kit.server_listed(), kit.federation, host=host)
    one = link.Link(way, site, kit.folder)
    task = asyncio.create_task(one.attend())
    try:
        yield Attending(site, task)
    finally:
        one.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        site.close()


@contextmanager
def impatient(monkeypatch: Any) -> Iterator[None]:
    """Links that come back at once."""
    monkeypatch.setattr(away, "FIRST", 0.02)
    monkeypatch.setattr(away, "SOON", 0.05)
    monkeypatch.setattr(away, "LONGEST", 0.05)
    yield


def question(
    session: SessionId, told: Blob | None, plan: str = PLAN.digest, turn: int = 0, body: Blob | None = None
) -> Ask:
    """What a server asks."""
    return Ask(Session.of(session), plan, 0, turn, 60.0, told, body)


def started(plan: h.Plan = PLAN) -> tuple[Mapping[str, Any], tuple[Any, ...]]:
    """What all are told in round 1."""
    from hansa.plan import server

    return server.broadcast(plan, plan.start())
