"""How fast a site's answer reaches the server, and the model the site, beside what moves a file and does nothing else.

    bare     aiohttp over the same TLS, from an open file into a file
    grpc     grpc.aio over TLS, a stream of pieces into a file
    ours     the link and the gateway: announced, in parts, hashed on both sides, into the spool

Server and client are processes of their own, on the loopback; each size is moved by all of them alternately. A row
holds medians of wall and processor seconds (client and server together). `rate_beside_bare` is bare's seconds divided
by ours: the share of its speed that is left.

python benchmarks/transport.py [MEGABYTES [REPEATS]]
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import grpc
import numpy as np
from aiohttp import web
from common import save

from hansa import codec
from hansa.kits import Kit
from hansa.kits.provision import KITS, Design, provision
from hansa.messages import Reply
from hansa.runtimes.sites import Gateway, control
from hansa.runtimes.sites import _read as read
from hansa.runtimes.sites.link import Link, Way

HOST = "127.0.0.1"
PIECE = 2**18  # bytes of a gRPC message
METHOD = "/bench/Put"


def processor() -> float:
    """Seconds that this process has computed."""
    return sum(os.times()[:2])


# ── bare ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve_bare(folder: Path, place: Path, pipe: Any) -> None:
    kit = Kit.load(place)

    async def put(request: web.Request) -> web.Response:
        with open(folder / "bare", "wb") as file:
            async for chunk in request.content.iter_any():
                file.write(chunk)
        return web.Response(text=str(processor()))

    async def main() -> None:
        app = web.Application(client_max_size=2**40)
        app.router.add_put("/", put)
        app.router.add_get("/", lambda request: web.FileResponse(folder / "blob", chunk_size=2**20))
        app.router.add_get("/cpu", lambda request: web.Response(text=str(processor())))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0, ssl_context=kit.server_context()).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


async def ask_bare(folder: Path, kit: Kit, port: int) -> dict[str, tuple[float, float]]:
    connector = aiohttp.TCPConnector(ssl=kit.client_context())
    url = f"https://{HOST}:{port}"
    async with aiohttp.ClientSession(url, connector=connector) as http:

        async def cpu() -> float:
            async with http.get("/cpu") as response:
                return float(await response.text()) + processor()

        async def up() -> None:
            with open(folder / "blob", "rb") as file:
                async with http.put("/", data=file) as response:
                    await response.read()

        async def down() -> None:
            async with http.get("/") as response:
                with open(folder / "down", "wb") as file:
                    async for chunk in response.content.iter_any():
                        file.write(chunk)

        return {"up": await timed(up, cpu), "down": await timed(down, cpu)}


async def timed(work: Any, cpu: Any) -> tuple[float, float]:
    """Wall and processor seconds."""
    before, start = await cpu(), time.perf_counter()
    await work()
    return time.perf_counter() - start, await cpu() - before


# ── gRPC ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pem(kit: Kit) -> tuple[bytes, bytes, bytes]:
    """Authority, key and certificate."""
    return tuple((kit.folder / name).read_bytes() for name in ("authority.pem", "tls.key", "certificate.pem"))  # type: ignore


def serve_grpc(folder: Path, place: Path, pipe: Any) -> None:
    kit = Kit.load(place)

    async def put(requests: Any, context: Any) -> bytes:
        with open(folder / "grpc", "wb") as file:
            async for piece in requests:
                file.write(piece)
        return str(processor()).encode()

    async def main() -> None:
        authority, key, certificate = pem(kit)
        server = grpc.aio.server()
        handler = grpc.stream_unary_rpc_method_handler(put)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {"Put": handler}),))
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
        pipe.send(server.add_secure_port(f"{HOST}:0", credentials))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(main())


async def ask_grpc(folder: Path, kit: Kit, port: int) -> dict[str, tuple[float, float]]:
    authority, key, certificate = pem(kit)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    async with grpc.aio.secure_channel(f"{HOST}:{port}", credentials) as channel:
        put = channel.stream_unary(METHOD)

        async def pieces(whole: bool) -> Any:
            with open(folder / "blob", "rb") as file:
                while whole and (piece := file.read(PIECE)):
                    yield piece

        before = float(await put(pieces(False))) + processor()
        start = time.perf_counter()
        cpu = float(await put(pieces(True))) + processor()
        return {"up": (time.perf_counter() - start, cpu - before)}


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve_ours(folder: Path, place: Path, pipe: Any) -> None:
    kit = Kit.load(place)
    value = np.frombuffer((folder / "blob").read_bytes(), np.uint32)
    (folder / "server").mkdir()
    with Gateway(
        kit.roster, kit.server_context(), (HOST, 0), folder / "server", kit.federation, kit.enrolment
    ) as gateway:
        pipe.send(gateway.port)
        while not gateway.desk.present:
            time.sleep(0.01)
        number = 0
        while pipe.recv() == "ask":
            number += 1
            before, start = processor(), time.perf_counter()
            blob = gateway.desk.outgoing.put(codec.frames(value))
            ask = control.Ask(control.Session("run", 0, number), "plan", 0, 0, 600.0, blob)
            gateway.soon(gateway.desk.ask, "a", ask, 2**40)
            answer = gateway.inbox.get()
            reply = read(answer)
            assert reply is not None and reply.body.size == value.size
            pipe.send((start, time.perf_counter(), processor() - before))
            gateway.soon(gateway.desk.settle, answer.session, ())
            gateway.desk.outgoing.drop(blob)


def attend(place: Path, port: int, pipe: Any) -> None:
    """A party that says back what it hears, and when it heard all of it."""
    kit = Kit.load(place)

    def answer(request: Any) -> Reply:
        heard = time.perf_counter(), processor()
        pipe.send(heard)
        return Reply.to(request, ("a",), request.broadcast)

    quiet = {
        "begin": lambda *given: None,
        "check_asked": lambda *given: None,
        "settle": lambda *given: pipe.send(processor()),
    }
    site = SimpleNamespace(party=SimpleNamespace(who="a", role="client"), run="", answer=answer, **quiet)
    link = Link(Way(f"{HOST}:{port}", kit.client_context(), kit.federation), site, kit.folder)  # type: ignore[arg-type]
    pipe.send(processor())
    asyncio.run(link.attend())


class Ours:
    """Gateway and link, each in its process."""

    def __init__(self, folder: Path, kits: dict[str, Kit]):
        self.server, port = started(serve_ours, folder, kits["server"])
        self.party, there = mp.Pipe()
        mp.Process(target=attend, args=(kits["a"].folder, port, there), daemon=True).start()
        self.cpu = self.party.recv()

    def ask(self) -> dict[str, tuple[float, float]]:
        """The model down, and the answer up; of the server's processor seconds each is counted half."""
        self.server.send("ask")
        heard, cpu = self.party.recv()
        start, end, served = self.server.recv()
        after = self.party.recv()
        found = {"down": (heard - start, cpu - self.cpu + served / 2), "up": (end - heard, after - cpu + served / 2)}
        self.cpu = after
        return found


def started(serve: Any, folder: Path, kit: Kit) -> tuple[Any, int]:
    """A server in a process of its own, and its port."""
    here, there = mp.Pipe()
    mp.Process(target=serve, args=(folder, kit.folder, there), daemon=True).start()
    return here, here.recv()


def main(megabytes: int, repeats: int) -> None:
    """All ways alternately, and a row for each."""
    mp.set_start_method("spawn")
    folder = Path(tempfile.mkdtemp())
    roles = {"server": "server", "a": "client"}
    provision(Design("bench", f"{HOST}:7443", parties=roles), folder / "pki")  # type: ignore[arg-type]
    kits = {who: Kit.load(folder / "pki" / KITS / who) for who in roles}
    (folder / "blob").write_bytes(os.urandom(megabytes * 10**6))
    _, bare = started(serve_bare, folder, kits["server"])
    _, raw = started(serve_grpc, folder, kits["server"])
    ours = Ours(folder, kits)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for i in range(repeats + 1):
        one = {
            "bare": asyncio.run(ask_bare(folder, kits["a"], bare)),
            "grpc": asyncio.run(ask_grpc(folder, kits["a"], raw)),
            "ours": ours.ask(),
        }
        for name, ways in one.items():
            for way, seconds in ways.items():
                if i:  # the first warms up
                    found.setdefault((name, way), []).append(seconds)
    rows = []
    for (name, way), seconds in found.items():
        row: dict[str, Any] = {"name": name, "way": way, "megabytes": megabytes, "repeats": repeats}
        row["seconds"] = round(statistics.median(one for one, _ in seconds), 4)
        row["processor_seconds"] = round(statistics.median(one for _, one in seconds), 4)
        if name == "ours":
            for other in ("bare", "grpc"):
                if beside := found.get((other, way)):
                    ratios = [a[0] / b[0] for a, b in zip(beside, seconds, strict=True)]
                    row[f"rate_beside_{other}"] = round(statistics.median(ratios), 3)
        rows.append(row)
        print(row)
    save("transport", rows)


if __name__ == "__main__":
    sizes = [int(one) for one in sys.argv[1:]]
    main(*sizes, *(100, 10)[len(sizes) :])
