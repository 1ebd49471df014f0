"""Link: a party's way to its server. It dials out, stays, and comes back where the network breaks.

    attend    speak with the server until there is nothing left to do, or somebody says stop

What is asked is answered one after another, in a thread of its own: the link lives meanwhile. An
answer that was not held when a link broke goes on from the byte at which it broke.

    Ask ──▶ GET its parts ──▶ Site.answer ──▶ Said ──┬─ Send ──▶ PUT from there on ──┐
                                                      ├──────────◀────────────────────┘
                                                      └─ Held ──▶ the next one

A link that breaks is tried again; how soon says `away`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from ... import __version__, codec
from ...codec import Frame
from ...errors import HansaError, Kind, ProtocolError, printable
from ...kits.listed import Looking
from ...messages import Request, SessionId
from . import away
from .away import check_lasting, check_patience, in_words, why_away
from .control import (
    MOST,
    WIRE,
    Ask,
    Begin,
    Blob,
    Ended,
    Held,
    Hello,
    Said,
    Send,
    Session,
    Settle,
    Settled,
    ToParty,
    Welcome,
    check_welcome,
    encode,
    from_server,
)
from .events import log, tell
from .greeting import HANDSHAKE, HEARTBEAT
from .moving import TRIES, GoneError, NonsenseError, fetch_part, send_parts
from .site import Site
from .spool import Spool

MANY = 10_000  # messages that wait to be answered
LOOK = 1.0  # seconds between two looks at the party's roster
FOUND = 2**26  # bytes of what a survey has found

Task = Begin | Ask | Settle | Ended
News = dict[tuple[Session, int], asyncio.Queue[Held | Send]]  # of answers that are under way


@dataclass(frozen=True)
class Way:
    """How to reach the server of a federation: its address, TLS as `Kit.server_listed` has it, and
    a proxy that passes CONNECT, if one stands between.

    host: that the server's certificate names, where the address has another.
    """

    address: str  # host:port
    context: ssl.SSLContext
    federation: str
    proxy: str | None = None
    host: str | None = None

    def url(self, path: str) -> str:
        """The address of something there."""
        return f"https://{self.address}{path}"


class Link:
    """One party, and its server.

    way: to the server. site: what answers. folder: for what comes and goes. patience: seconds
    without a server, after which it gives up.
    """

    def __init__(self, way: Way, site: Site, folder: Path, patience: float = math.inf):
        self.way = way
        self.site = site
        self.patience = patience
        self.coming = Spool(folder / "coming")
        self.coming.clear()
        self.rounds = dict[SessionId, int]()  # of sessions that are not settled
        self._stop = asyncio.Event()
        self._why = ""  # why the server was not reached the last time
        # one thread: an answer under way when a link breaks is finished before the next begins
        self._thread = ThreadPoolExecutor(1, "site")

    async def do(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do this in the site's thread, behind what is being done there."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def stop(self) -> None:
        """Finish what is being answered, and leave."""
        self._stop.set()

    async def attend(self) -> None:
        """Attend until `stop`; ProtocolError where the server does not take this party, or speaks
        another version, and StoreError where what it says cannot be written down here;
        DeadlineError where it is not reached for too long.

        A server that says what cannot be is left, and heard again after a while. RefusedError is
        the ProtocolError for a certificate that does not count, on either side.
        """
        pause = away.FIRST
        reached = time.monotonic()
        while not self._stop.is_set():
            try:
                async with dialled(self.way, "/v1/attend", MOST) as (http, socket):
                    pause = away.FIRST
                    self._why = ""
                    tell("attends")
                    try:
                        await self._converse(http, socket)
                    finally:
                        reached = time.monotonic()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                check_lasting(error)
                log.debug("%s", printable(in_words(error)))
                why = why_away(error)
                tell("still away" if why == self._why else "away", kind=why)
                self._why = why
                check_patience(time.monotonic() - reached, self.patience)
            except NonsenseError as error:
                log.warning("%s", printable(str(error)))
                pause = away.LONGEST
            if not self._stop.is_set():
                await self._pause(random.uniform(0, pause))
                pause = away.longer(pause, time.monotonic() - reached)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it is said to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _converse(self, http: ClientSession, socket: ClientWebSocketResponse) -> None:
        """Hear what is asked, and answer, until the link ends or it is said to stop."""
        tasks = asyncio.Queue[Task](MANY)
        news: News = {}
        turn = _Turn(self, http, socket, news)
        working = asyncio.create_task(turn.work(tasks))
        hearing = asyncio.create_task(_hear(socket, tasks, news))
        stopping = asyncio.create_task(self._stop.wait())
        running: list[asyncio.Task[Any]] = [working, hearing, stopping]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not hearing.done():
                ending = asyncio.create_task(turn.idle())
                running.append(ending)
                await asyncio.wait([ending, hearing], return_when=asyncio.FIRST_COMPLETED)
            for task in (working, hearing):
                if task.done():
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@dataclass
class _Turn:
    """What is done of what is asked, one thing after another."""

    link: Link
    http: ClientSession
    socket: ClientWebSocketResponse
    news: News
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def idle(self) -> None:
        """Wait until nothing is being answered."""
        async with self.busy:
            return

    async def work(self, tasks: asyncio.Queue[Task]) -> None:
        """Do what comes, in its order."""
        while True:
            task = await tasks.get()
            async with self.busy:
                match task:
                    case Begin():
                        await self._begin(task)
                    case Ask():
                        await self._answer(task)
                    case Settle(session, counted):
                        await self.link.do(self.link.site.settle, session.id, counted)
                        self._tell_settled(session.id, counted)
                        await self.socket.send_str(encode(Settled(session)))
                    case Ended(run):
                        present = run == self.link.site.run
                        if await self.link.do(self.link.site.end, run):
                            tell("ended", run=run)
                        if present:  # not one that was over while this party was away
                            self.link.stop()

    async def _begin(self, begin: Begin) -> None:
        """A run begins; one that is not accepted is not answered in, and the owner hears why."""
        if begin.found is not None and begin.found.size > FOUND:
            log.warning("a run is not begun: no survey finds %d bytes", begin.found.size)
            return
        try:
            found = await self._value(begin.found)
        except GoneError:
            tell("early", run=begin.run)
            return
        except HansaError as error:
            log.warning("%s", printable(str(error)))
            return
        try:
            await self.link.do(self.link.site.begin, begin.run, begin.plan, found)
            tell("begins", run=begin.run)
        except HansaError as error:
            log.warning("%s", printable(str(error)))
        except Exception:
            log.exception("the app cannot take part in a run")

    def _tell_settled(self, session: SessionId, counted: bool) -> None:
        """Say whether what was said in a session counted."""
        round = self.link.rounds.pop(session, None)
        party = self.link.site.party
        if party is not None and party.role == "helper":
            return  # in a sum are clients alone
        if round is not None:
            tell("counted" if counted else "uncounted", session=session, round=round)
        elif counted:
            tell("earlier", session=session)

    async def _answer(self, ask: Ask) -> None:
        """Answer a question, and see that the server has it."""
        began = time.monotonic()
        self.link.rounds[ask.session.id] = ask.round
        why: Kind | Literal[""]
        frames: list[Frame] = []
        try:
            reply = await self.link.do(self.link.site.answer, await self._request(ask))
            why = reply.why
            if reply.body is not None:
                frames = reply.encode()
        except GoneError:
            tell("over", session=ask.session.id, round=ask.round)
            return
        except HansaError as error:
            log.warning("round %d: %s", ask.round + 1, printable(str(error)))
            why = error.kind
        if not frames:
            await self.socket.send_str(encode(Said(ask.session, ask.turn, why=why)))
            tell("silent", session=ask.session.id, round=ask.round, kind=why)
            return
        blob = await asyncio.to_thread(Spool.named, frames)
        place = (ask.session, ask.turn)
        news = self.news[place] = asyncio.Queue(TRIES)
        await self.socket.send_str(encode(Said(ask.session, ask.turn, blob)))
        for _ in range(TRIES):
            word = await news.get()
            if isinstance(word, Held):
                break
            await send_parts(self.http, self._url(blob), frames, blob, word.offset)
        else:
            raise NonsenseError("The server wants one answer again and again.")
        del self.news[place]
        took = time.monotonic() - began
        tell("sent", session=ask.session.id, round=ask.round, bytes=blob.size, seconds=took)

    async def _request(self, ask: Ask) -> Request:
        """The question, with what is fetched for it; ProtocolError where there is nothing to fetch
        that could be one.
        """
        site = self.link.site
        sizes = [0 if blob is None else blob.size for blob in (ask.broadcast, ask.body)]
        site.check_asked(ask.session.run, *sizes)
        assert site.party is not None
        broadcast = await self._value(ask.broadcast)
        bodies = {site.party.who: await self._value(ask.body)}
        return Request(ask.plan, ask.round, ask.session.id, broadcast, bodies, turn=ask.turn)

    async def _value(self, blob: Blob | None) -> Any:
        """The value in a blob of the server, fetched if it is not here; None for none."""
        if blob is None:
            return None
        spool = self.link.coming
        spool.clear(but=[blob])  # what was left of others would fill the disk
        spool.check_room(blob)
        while spool.there(blob) < blob.size:
            await fetch_part(self.http, self._url(blob), blob, spool)
        path = await asyncio.to_thread(spool.whole, blob)
        value = codec.read(path, blob.size)
        spool.drop(blob)  # what is mapped stays there until it is let go
        return value

    def _url(self, blob: Blob) -> str:
        return self.link.way.url(f"/v1/blobs/{blob.sha256}")


@contextlib.asynccontextmanager
async def dialled(
    way: Way, path: str, most: int
) -> AsyncIterator[tuple[ClientSession, ClientWebSocketResponse]]:
    """A link that has said hello, and was welcomed.

    path: that is dialled at the server. most: bytes of one message.
    """
    timeout = aiohttp.ClientTimeout(total=None, connect=HANDSHAKE, sock_read=60)
    elsewhere = aiohttp.TraceConfig()
    elsewhere.on_request_redirect.append(_stay)
    async with (
        ClientSession(
            connector=aiohttp.TCPConnector(ssl=way.context),
            timeout=timeout,
            proxy=way.proxy,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[elsewhere],
        ) as http,
        http.ws_connect(
            way.url(path), heartbeat=HEARTBEAT, max_msg_size=most, server_hostname=way.host
        ) as socket,
    ):
        await socket.send_str(encode(Hello(WIRE, __version__)))
        async with asyncio.timeout(HANDSHAKE):
            welcome = _decoded(await _text(socket))
        if not isinstance(welcome, Welcome):
            raise NonsenseError("The server did not say welcome.")
        check_welcome(welcome)
        if welcome.federation != way.federation:
            raise NonsenseError("The server is that of another federation.")
        watching = asyncio.create_task(_watch(socket))
        try:
            yield http, socket
        finally:
            watching.cancel()


async def _watch(socket: ClientWebSocketResponse) -> None:
    """End a link as soon as the server's certificate counts no more on the party's roster."""
    tls = socket.get_extra_info("ssl_object")
    while isinstance(tls, Looking):
        await asyncio.sleep(LOOK)
        try:
            tls.look()
        except ssl.SSLCertVerificationError:
            await socket.close()
            return


async def _stay(*about: object) -> None:
    """ClientError where the server sends a party elsewhere: there, nobody has to show who it is."""
    raise aiohttp.ClientError("it sends this party elsewhere")


async def _hear(socket: ClientWebSocketResponse, tasks: asyncio.Queue[Task], news: News) -> None:
    """What the server says, until the link ends; what nobody waits for is let go."""
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            raise NonsenseError("The server sent something else than text.")
        match _decoded(message.data):
            case (Held(session, turn) | Send(session, turn)) as word:
                waiting = news.get((session, turn))
                if waiting is not None and not waiting.full():
                    waiting.put_nowait(word)
            case Begin() | Ask() | Settle() | Ended() as task:
                await tasks.put(task)
            case _:
                raise NonsenseError("The server said welcome twice.")


def _decoded(data: str) -> ToParty:
    """What the server says; NonsenseError where that is no message."""
    try:
        return from_server(data)
    except ProtocolError as error:
        raise NonsenseError(str(error)) from None


async def _text(socket: ClientWebSocketResponse) -> str:
    """The next message, which is text; ProtocolError where the server ends the link instead."""
    message = await socket.receive()
    if message.type is not WSMsgType.TEXT:
        raise aiohttp.ClientError("it ended the link")
    return str(message.data)
