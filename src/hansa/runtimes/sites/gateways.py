"""Gateways: what stands before a server, seen from the server, and who attends there.

    GET /v1/relay      a WebSocket for each gateway (`between`); nobody else may open one

A party attends at one place, the newest: at this port, or at one gateway. What it is asked, and
whether its answer is still waited for, is decided at the server's desk wherever it attends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Container
from functools import partial
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from ...crypto.identity import Member, Roster
from ...errors import HansaError, ProtocolError, StoreError
from . import between, door
from .between import Came, Elsewhere, Folded, For, From, Left
from .control import Ask, Blob, Said, Settled, ToParty
from .desk import Desk
from .events import tell
from .greeting import HEARTBEAT, greet, parting
from .posts import Post, awaited
from .watch import Watch

Outbox = asyncio.Queue["For | Elsewhere"]
Say = Callable[[ToParty], None]


class Served(Protocol):
    """The port of a server, as its gateways need it."""

    roster: Roster
    federation: str
    desk: Desk
    watch: Watch

    def part(self, who: str) -> None:
        """End a party's link to this port, if it has one."""

    def fail(self, error: HansaError) -> None:
        """What lies on the disk cannot be used."""

    async def go_on(self, post: Post, blob: Blob | None) -> None:
        """Hear an answer that is whole; else let it be sent."""


def speaks_for(member: Member, who: str, request: web.Request) -> str:
    """The party on whose behalf something is asked for: a gateway names it, others are it."""
    if member.role == "gateway":
        return between.named(request.headers.get(between.PARTY, ""))
    return who


class Gateways:
    """The links of a server's gateways."""

    def __init__(self, port: Served):
        self._port = port
        self._at = dict[str, Outbox]()  # who attends at a gateway → how that is told
        self._links = set[web.WebSocketResponse]()

    def elsewhere(self, who: str) -> None:
        """A party attends at another place now, or nowhere any more."""
        before = self._at.pop(who, None)
        if before is not None:
            before.put_nowait(Elsewhere(who))

    async def close(self) -> None:
        """End the links of all gateways."""
        for link in list(self._links):
            await link.close(code=WSCloseCode.GOING_AWAY)

    def admit(self, admitted: Container[str]) -> None:
        """Others than these have been taken off the roster."""
        for who in list(self._at):
            if who not in admitted:
                self.elsewhere(who)

    async def attend(self, request: web.Request) -> web.WebSocketResponse:
        """One gateway's link, for as long as it lasts."""
        name = self._gateway(request)
        link = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=between.MOST, compress=False)
        await link.prepare(request)
        self._links.add(link)
        outbox: Outbox = asyncio.Queue()
        says = dict[str, Say]()
        sending = asyncio.create_task(_send(link, outbox))
        try:
            if not await greet(self._port.federation, name, link):
                return link
            tell("gateway", who=name)
            await self._hear(link, outbox, says)
        except StoreError as error:
            self._port.fail(error)
        except (ProtocolError, TimeoutError) as error:
            tell("rejected", who=name, kind=parting(error))
            await link.close(code=WSCloseCode.POLICY_VIOLATION)
        finally:
            sending.cancel()
            self._links.discard(link)
            tell("ungated", who=name)
            for who, say in says.items():
                self._gone(who, say, outbox)
        return link

    def _gateway(self, request: web.Request) -> str:
        """Which gateway dials; HTTPForbidden for who is none."""
        roster = self._port.roster
        with contextlib.suppress(ProtocolError):
            who = door.named(roster, request.transport)
            if roster[who].role == "gateway":
                return who
        tell("stranger", who=str(request.remote))
        raise web.HTTPForbidden(text="not a gateway")

    def _gone(self, who: str, say: Say, outbox: Outbox) -> None:
        """A party has left a gateway."""
        if self._at.get(who) is outbox:
            del self._at[who]
            tell("left", who=who)
        self._port.desk.go(who, say)

    async def _hear(
        self, link: web.WebSocketResponse, outbox: Outbox, says: dict[str, Say]
    ) -> None:
        """What a gateway says, until its link ends; of a party that attends elsewhere by now, or
        that is on the roster no more, nothing is heard.
        """
        posts = self._port.desk.posts
        async for message in link:
            if message.type is not WSMsgType.TEXT:
                raise ProtocolError("A gateway sent something else than text.")
            match between.of_gateway(message.data):
                case Came(who) if who in posts and who in self._port.roster:
                    self._come(who, outbox, says)
                case Left(who) if who in says:
                    self._gone(who, says.pop(who), outbox)
                case From(who, said) if self._at.get(who) is outbox:
                    await self._said(who, said)
                case Folded(names, said) if all(self._at.get(who) is outbox for who in names):
                    self._port.desk.folded(tuple(names), said)
                    await self._port.go_on(posts[names[0]], said.blob)

    def _come(self, who: str, outbox: Outbox, says: dict[str, Say]) -> None:
        """A party attends at this gateway, from now on at no other place."""
        if self._at.get(who) is not outbox:
            self.elsewhere(who)
        self._port.part(who)
        self._at[who] = outbox
        says[who] = partial(self._pass, who, outbox)
        self._port.desk.come(who, says[who])
        tell("came", who=who)

    async def _said(self, who: str, said: Said | Settled) -> None:
        """What a party says at a gateway; what cannot be ends its question, and not the link."""
        desk = self._port.desk
        if isinstance(said, Settled):
            desk.settled(who, said)
            return
        if not awaited(desk.posts[who], said):
            self._port.watch.too_late()
        try:
            desk.said(who, said)
        except ProtocolError as error:
            tell("rejected", who=who, kind=error.kind)
            return
        await self._port.go_on(desk.posts[who], said.blob)

    def _pass(self, who: str, outbox: Outbox, message: ToParty) -> None:
        """Tell a party something by way of its gateway."""
        if not isinstance(message, Ask):
            outbox.put_nowait(For(who, message))
            return
        question = self._port.desk.posts[who].open[message.session.id, message.turn]
        outbox.put_nowait(For(who, message, question.most, question.fold))


async def _send(link: web.WebSocketResponse, outbox: Outbox) -> None:
    """Send what is to be told, in order, until the link ends."""
    while True:
        message = await outbox.get()
        with contextlib.suppress(ConnectionError):  # its end is heard where it is heard
            await link.send_str(between.encode(message))
