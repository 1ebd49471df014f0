"""Real sites for tests: a gateway on the loopback, and parties that attend it over TLS, each in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hansa import Client, Key, Plan
from hansa.kits import Kit
from hansa.kits.provision import KITS, Design, provision
from hansa.parties import Party
from hansa.parties.helper import Helper
from hansa.runtimes.sites import Gateway, SiteRuntime
from hansa.runtimes.sites.link import Link, Way
from hansa.runtimes.sites.site import Site

HOST = "127.0.0.1"
SECRET = Key.of(7)  # so that runs repeat, and can be held against those of InProcess


@dataclass
class Attendant:
    """A party at its own place, attending in a thread."""

    kit: Kit
    make: Callable[[str, Any], Party]
    address: str
    accept: int = 1
    proxy: str | None = None
    error: BaseException | None = None
    link: Link = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin, or begin again with what is in the folder."""
        self.site = Site(self.kit.folder, self.make, self.accept)
        way = Way(self.address, self.kit.server_listed(), self.kit.federation, self.proxy)
        self.link = Link(way, self.site, self.kit.folder)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self.link.attend())
        except BaseException as error:
            self.error = error
        finally:
            self._loop.close()
            self.site.close()

    def stop(self) -> None:
        """End, with what was begun ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.link.stop)
        self._thread.join(60)
        assert not self._thread.is_alive()


class Sites:
    """A federation on this machine: kits in a folder, a gateway, and who attends; a context manager.

    data: each client's. address: that parties dial, if it is not the gateway's own. host: for which the server has its
    certificate. proxy: that parties go through. gateways: names of those that may stand before it.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        data: Mapping[str, Any],
        address: str = "",
        host: str = HOST,
        proxy: str | None = None,
        gateways: tuple[str, ...] = (),
    ):
        self.folder, self.plan, self.data = folder, plan, data
        self.proxy = proxy
        roles = {
            "server": "server",
            **dict.fromkeys(data, "client"),
            **dict.fromkeys(plan.aggregator.parties, "helper"),
            **dict.fromkeys(gateways, "gateway"),
        }
        provision(Design("study", f"{host}:7443", parties=roles), folder / "pki")
        self.dials: dict[str, str] = {}  # who → another address
        self.kits = {who: Kit.load(folder / "pki" / KITS / who) for who in roles}
        self.attendants: dict[str, Attendant] = {}
        self.gateway = self.serve()
        self.address = address or f"{host}:{self.gateway.port}"

    def __enter__(self) -> Self:
        for who in self.kits:
            if self.kits[who].role in ("client", "helper"):
                self.attend(who)
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self.attendants.values():
            one.stop()
        self.gateway.close()

    def serve(self, port: int = 0) -> Gateway:
        """A gateway, with what an earlier one has left in the folder."""
        own = self.kits["server"]
        (self.folder / "server").mkdir(exist_ok=True)
        context, place = own.server_context(), self.folder / "server"
        return Gateway(own.roster, context, (HOST, port), place, own.federation, own.enrolment)

    def serve_again(self) -> None:
        """End the gateway, and open it anew where it was."""
        port = self.gateway.port
        self.gateway.close()
        self.gateway = self.serve(port)

    def attend(self, who: str) -> Attendant:
        """Let a party attend."""
        kit, make = self.kits[who], lambda plan, found: self.party(who)
        self.attendants[who] = Attendant(kit, make, self.dials.get(who, self.address), proxy=self.proxy)
        return self.attendants[who]

    def wait(self, *who: str) -> None:
        """Until these attend."""
        until = time.monotonic() + 60
        while not set(who) <= set(self.gateway.desk.present):
            assert time.monotonic() < until
            time.sleep(0.01)

    def party(self, who: str) -> Party:
        """The party as its app makes it."""
        kit = self.kits[who]
        more: dict[str, Any] = {"secret": SECRET, "identity": kit.identity, "roster": kit.roster}
        if kit.role == "helper":
            return Helper(who, self.plan, **more)
        return Client(who, self.plan, self.data[who], **more)

    def runtime(self) -> SiteRuntime:
        """Where the clients live."""
        return SiteRuntime(self.gateway, self.plan)


@contextmanager
def cutting(port: int, after: int, times: int) -> Iterator[tuple[int, list[int]]]:
    """A port that passes on to another, and cuts the first `times` connections that carry `after` bytes upwards.

    Gives its number, and how many bytes each connection carried upwards.
    """
    carried: list[int] = []
    left = [times]

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, port)
        mine = len(carried)
        carried.append(0)

        async def pump(one: asyncio.StreamReader, other: asyncio.StreamWriter, up: bool) -> None:
            while data := await one.read(2**16):
                if up:
                    carried[mine] += len(data)
                    if carried[mine] > after and left[0]:
                        left[0] -= 1
                        break
                other.write(data)
                await other.drain()
            for end in (writer, back):
                end.transport.abort()

        await asyncio.gather(pump(reader, back, True), pump(there, writer, False), return_exceptions=True)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(pass_on, HOST, 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], carried
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
