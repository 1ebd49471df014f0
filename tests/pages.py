"""The live page of a store in a thread of its own, and stores to show."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from sqlalchemy import insert

from hansa.store import Store
from hansa.store import database as db
from hansa.store.rows import numbers_text
from hansa.ui.page import server
from hansa.ui.page.reading import Reading

CLIENTS = ("St. Anna", "圣玛丽医院", "مستشفى الملك", "Ospedale Maggiore di Bologna", "north", "south")


@contextmanager
def served(folder: Path, port: int = 0, token: str | None = None) -> Iterator[int]:
    """The page of the store in a folder, on 127.0.0.1, while this is open: its port."""
    ready = threading.Event()
    found = dict[str, Any]()

    async def serve() -> None:
        found["over"], found["loop"] = asyncio.Event(), asyncio.get_running_loop()
        reading = Reading(lambda: Store(folder, new=False), folder / "hansa.sqlite")
        runner = web.AppRunner(server.app_of(reading, token), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        found["port"] = runner.addresses[0][1]
        ready.set()
        await found["over"].wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield found["port"]
    finally:
        found["loop"].call_soon_threadsafe(found["over"].set)
        thread.join(10)
        assert not thread.is_alive()


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        for one in value.split("|"):
            connection.putheader(name.replace("_", "-"), one)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def stored(
    folder: Path,
    n: int,
    clients: Sequence[str] = CLIENTS,
    app: str = "hospitals.py",
    names: Mapping[str, str] | None = None,
    status: str = "done",
    why: str = "late",
) -> str:
    """A run of n rounds, as the store has it; names: of its scores, where they are others."""
    store = Store(folder)
    run = store.new("Plan(Softmax(4, 2))", "ab" * 32, app, {"set": {"training.batch": len(app)}}, n)
    rng = np.random.default_rng(n)
    rows = []
    for r in range(1, n + 1):
        out = {who: why for who in clients if rng.random() < 0.06}
        loss = 0.1 + 0.6 * math.exp(-4 * r / n) + 0.01 * rng.normal()
        said = {"loss": loss, "accuracy": 1 - loss / 2}
        scores = {(names or {}).get(name, name): value for name, value in said.items()}
        there = [who for who in clients if who not in out]
        row = {"run": run.id, "round": r, "metrics": numbers_text({f"val_{k}": 1.1 * v for k, v in said.items()})}
        row |= {"scores": numbers_text(scores), "spent": json.dumps({"client": [3 * math.sqrt(r / n), 1e-6]})}
        row |= {"participants": json.dumps(there), "excluded": json.dumps(out), "skipped": "", "named": 0}
        rows.append(row | {"seconds": 1.2 + 0.2 * rng.random()})
    with store.database.write() as connection:
        connection.execute(insert(db.rounds), rows)
    if status != "running":
        run.finish(status)
    store.database.close()
    return run.id
