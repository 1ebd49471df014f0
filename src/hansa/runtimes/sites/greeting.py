"""Greeting: how a link begins at a server's end, with Hello and Welcome; and how it is ended."""

from __future__ import annotations

import asyncio

from aiohttp import WSCloseCode, WSMsgType, web

from ... import __version__
from ...errors import Kind, ProtocolError
from .control import WIRE, Hello, Welcome, encode, numbered, understand
from .control import from_party as decoded
from .events import tell

HEARTBEAT = 20.0  # seconds between two pings
HANDSHAKE = 10.0  # seconds for a TLS handshake, and for the first message


async def greet(federation: str, who: str, link: web.WebSocketResponse) -> bool:
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


def parting(error: BaseException) -> Kind:
    """What was wrong; never in words, which could be the party's."""
    if isinstance(error, TimeoutError):
        return "late"
    return "invalid"
