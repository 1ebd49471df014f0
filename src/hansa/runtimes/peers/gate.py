"""Gate: accepts connections, a bounded number of which have not shown a certificate yet.

    accepted ──▶ handshake, one of PENDING ──▶ protocol of who has a certificate

A connection costs its stranger nothing, and the node a file. So the oldest of too many ends, which
a neighbour's handshake is not, as long as it takes less than so many others take to come; and where
there is no file left, the gate waits for one.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from ...errors import StoreError
from ..sites.greeting import HANDSHAKE

PENDING = 64  # handshakes at a time
AGAIN = 0.1  # seconds until a file may be free
BACKLOG = 128

Protocols = Callable[[], asyncio.Protocol]


class Gate:
    """Where connections come, in the running loop, until it is closed.

    make: the protocol of one whose handshake is done.
    """

    def __init__(self, make: Protocols, context: ssl.SSLContext):
        self.port = 0
        self._make = make
        self._context = context
        self._pending = dict[asyncio.Task[None], socket.socket]()  # the oldest first
        self._accepting = list[asyncio.Task[None]]()

    async def open(self, host: str, port: int) -> None:
        """Listen; StoreError where nobody can."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in dict.fromkeys(found):
                listener = socket.create_server(address, family=family, backlog=BACKLOG)
                listener.setblocking(False)
                self.port = listener.getsockname()[1]
                self._accepting.append(asyncio.create_task(self._accept(listener)))
        except OSError as error:
            await self.close()
            raise StoreError(
                f"Nobody can listen at {host}:{port}.",
                f"{error.strerror}.",
                "End what listens there, or name another address of this machine: --listen",
            ) from error

    async def _accept(self, listener: socket.socket) -> None:
        """Accept, one after another, until this is cancelled."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    one, _ = await loop.sock_accept(listener)
                except OSError:  # no file is left, or who came has gone
                    await asyncio.sleep(AGAIN)
                    continue
                if len(self._pending) >= PENDING:
                    self._end(next(iter(self._pending)))
                task = asyncio.create_task(self._shake(one))
                self._pending[task] = one
                task.add_done_callback(self._end)
                await asyncio.sleep(0)  # a task that has not begun would not let go of its file

    async def _shake(self, one: socket.socket) -> None:
        """One handshake; who has no certificate is gone behind it."""
        with suppress(OSError, TimeoutError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, one, ssl=self._context, ssl_handshake_timeout=HANDSHAKE
            )

    def _end(self, task: asyncio.Task[None]) -> None:
        """A handshake is over, or ends here."""
        one = self._pending.pop(task, None)
        if one is not None and not task.done():
            task.cancel()

    async def close(self) -> None:
        """Listen no more."""
        running = [*self._accepting, *self._pending]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def more_files() -> None:
    """Let this process open as many files as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
