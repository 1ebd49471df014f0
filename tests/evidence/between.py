"""What stands between sites and their server, and repeats itself: for evidence, with the kits of all of them.

python -m tests.evidence.between PKI HOST:PORT SERVER COUNTS

TLS keeps the network from saying anything twice, or in another order. So this ends the links of the parties as their
server would, with its kit, and dials the server with each party's own. It passes on what is said, up to 20 ms later;
a tenth of all messages twice, of those of parties a tenth behind the one that comes next, and a tenth of all parts of
answers twice. At SIGUSR1 all links are cut. How often is written into COUNTS.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web

from hansa.crypto.certificates import named
from hansa.kits import Kit
from hansa.kits.provision import KITS

OFTEN = 0.1
PASSED = ("Range", "Content-Range")
GIVEN = ("Content-Range", "ETag", "Upload-Offset")


class Between:
    """It, and how often it has done what."""

    def __init__(self, pki: Path, server: str, counts: Path):
        self.kits = pki / KITS
        self.server = f"https://{server}"
        self.counts = Counter[str]()
        self._file = counts
        self._open = set[Any]()
        self._as: dict[str, aiohttp.ClientSession] = {}

    def note(self, what: str) -> None:
        """One more of these."""
        self.counts[what] += 1
        self._file.write_text(json.dumps(self.counts))

    def cut(self) -> None:
        """End all links."""
        for transport in list(self._open):
            transport.abort()

    def dialling(self, request: web.Request) -> aiohttp.ClientSession:
        """The server, as the party that has sent this sees it."""
        if request.transport is None:
            raise web.HTTPServiceUnavailable
        self._open.add(request.transport)
        who, _ = named(request.transport.get_extra_info("ssl_object").getpeercert(True))
        if who not in self._as:
            connector = aiohttp.TCPConnector(ssl=Kit.load(self.kits / who).client_context())
            self._as[who] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._as[who]

    async def attend(self, request: web.Request) -> web.StreamResponse:
        """A party's link."""
        http = self.dialling(request)
        party = web.WebSocketResponse()
        await party.prepare(request)
        try:
            async with http.ws_connect(f"{self.server}/v1/attend") as server:
                pumps = [self._pump(party, server, up=True), self._pump(server, party, up=False)]
                tasks = [asyncio.create_task(one) for one in pumps]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            self._end(request)
        return party

    def _end(self, request: web.Request) -> None:
        """End a connection, if that has not ended."""
        if request.transport is not None:
            request.transport.abort()
        self._open = {one for one in self._open if not one.is_closing()}

    async def _pump(self, one: Any, other: Any, up: bool) -> None:
        """What one says, to the other; the first of it once."""
        first = True
        while (message := await one.receive()).type is WSMsgType.TEXT:
            await asyncio.sleep(random.uniform(0, 0.02))
            if up and not first and random.random() < OFTEN:
                try:
                    overtaking = await one.receive(timeout=0.3)
                except TimeoutError:
                    overtaking = None
                if overtaking is not None:
                    if overtaking.type is not WSMsgType.TEXT:
                        return
                    self.note("messages in another order")
                    await other.send_str(overtaking.data)
            await other.send_str(message.data)
            if not first and random.random() < OFTEN:
                self.note("messages twice")
                await other.send_str(message.data)
            first = False

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """A request for a blob, or a part of one."""
        http = self.dialling(request)
        headers = {name: request.headers[name] for name in PASSED if name in request.headers}
        body = await request.read()
        url = f"{self.server}{request.path}"
        try:
            async with http.request(request.method, url, data=body or None, headers=headers) as response:
                found = await response.read()
            if request.method == "PUT" and random.random() < OFTEN:
                self.note("parts twice")
                async with http.put(url, data=body, headers=headers) as again:
                    await again.read()
        except (aiohttp.ClientError, OSError):
            self._end(request)
            return web.Response(status=502)
        given = {name: response.headers[name] for name in GIVEN if name in response.headers}
        return web.Response(status=response.status, body=found, headers=given)


async def main(pki: str, listen: str, server: str, counts: str) -> None:
    """Stand there until somebody ends it."""
    random.seed(7)
    between = Between(Path(pki), server, Path(counts))
    app = web.Application(client_max_size=2**24)
    app.router.add_get("/v1/attend", between.attend)
    app.router.add_route("*", "/v1/{rest:.*}", between.pass_on)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    host, _, port = listen.partition(":")
    context = Kit.load(Path(pki) / KITS / "server").server_context()
    await web.TCPSite(runner, host, int(port), ssl_context=context).start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, between.cut)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
