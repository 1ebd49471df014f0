"""Door: who is connected to a server, and how often.

Handshakes tell whose a certificate is; whether that still counts says the roster, which may have
become another since. So all connections are looked at again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ...crypto.identity import Roster
from ...errors import ProtocolError

CONNECTIONS = 32  # of one party
LOOK = 1.0  # seconds between two looks

log = logging.getLogger("hansa.sites")


def named(roster: Roster, transport: asyncio.BaseTransport | None) -> str:
    """Whose certificate a connection has; ProtocolError where it is nobody's."""
    tls = transport and transport.get_extra_info("ssl_object")
    der = tls and tls.getpeercert(binary_form=True)
    return roster.who(der or b"")


def look(connections: Iterable[Any], roster: Roster) -> None:
    """End the connections of who is on the roster no more, and those that are too many.

    connections: those of an aiohttp server. One whose handshake is not done has no certificate yet,
    and is not among them.
    """
    count = Counter[str]()
    for transport in [one.transport for one in connections]:
        if transport is None or transport.is_closing():  # its certificate is gone
            continue
        try:
            who = named(roster, transport)
        except ProtocolError:
            log.warning("a connection ends: its certificate is on no roster")
            transport.abort()
            continue
        count[who] += 1
        if count[who] > CONNECTIONS:
            log.warning("%s has too many connections; the last ends", who)
            transport.abort()


async def keep_looking(look: Callable[[], None]) -> None:
    """Look each second, until the task is cancelled."""
    while True:
        await asyncio.sleep(LOOK)
        look()
