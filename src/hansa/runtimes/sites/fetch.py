"""Fetch: the bundle that a server offers, as bytes. They are stored, and nothing of them is run."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from ...approval.bundle import INDEX, LARGEST
from ...errors import AppError, DeadlineError, ProtocolError, RefusedError, printable
from .away import check_refused, in_words
from .greeting import HANDSHAKE
from .link import Way
from .spool import PART

MOST = LARGEST + INDEX  # bytes of a bundle
NAMES = 1000  # bytes of a list of names
LONGEST = 600.0  # seconds for all of it


async def fetch(way: Way, name: str, more: Mapping[str, str] | None = None) -> bytes:
    """The bundle of this name, unchecked: `Bundle.decode` looks at it.

    way: to the server. name: as `Bundle.name`, without the ending. more: headers.
    All of it takes ten minutes at most, and it is sent nowhere else where the server points
    elsewhere.

    RefusedError where the server does not take this party, or is none of the federation;
    AppError where it has no such bundle; DeadlineError where it is not reached in ten seconds, or
    sends nothing for a minute; ProtocolError for more bytes than a bundle has.
    """
    timeout = aiohttp.ClientTimeout(total=LONGEST, connect=HANDSHAKE, sock_read=60)
    connector = aiohttp.TCPConnector(ssl=way.context)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, proxy=way.proxy, auto_decompress=False
            ) as http,
            http.get(
                way.url(f"/v1/bundles/{name}"),
                allow_redirects=False,
                headers=more,
                server_hostname=way.host,
            ) as response,
        ):
            return await _body(response, name)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        check_refused(error)
        raise DeadlineError(
            f"The server at {way.address} is not reached.",
            printable(in_words(error)) or "It said nothing in time.",
            "Try again when it runs: hansa serve",
        ) from error


async def _body(response: aiohttp.ClientResponse, name: str) -> bytes:
    """What the server has sent, with status 200.

    403 is RefusedError, 404 AppError with the names that it offers, any other ProtocolError.
    """
    if response.status == 403:
        raise RefusedError(
            "The server does not take this party.",
            "Its certificate is on no roster that counts.",
            "Ask who runs the federation for the newest roster.",
        )
    if response.status == 404:
        there = printable((await response.content.read(NAMES)).decode(errors="replace"))
        raise AppError(
            f"The server has no bundle {name!r}.", f"It offers: {there or 'none'}.", "Name it so."
        )
    if response.status != 200:
        raise ProtocolError(f"The server answers {response.status} to who fetches a bundle.")
    found = bytearray()
    async for part in response.content.iter_chunked(PART):
        found += part
        if len(found) > MOST:
            raise ProtocolError(
                f"The server sends more than {MOST:,} bytes.",
                "No bundle has more.",
                "Ask who runs the server.",
            )
    return bytes(found)
