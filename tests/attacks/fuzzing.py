"""Messages of a party that has a valid certificate and no sense: random ones, and true ones with a wrong field."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections import Counter
from typing import Any

from tests.attacks.intruders import Attacked, Intruder, blob_of, reply

from hansa.messages import SessionId
from hansa.runtimes.sites.control import Said, Session, Settled, encode

EDGES: tuple[Any, ...] = (
    0,
    1,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    1e300,
    "",
    "x" * 300,
    "\x00",
    "\u202e",
    None,
    [],
    {},
)
HASH = "0123456789abcdef"
SHARES = {"said": 50, "settled": 20, "upload": 8, "fetch": 7, "field": 8, "text": 4, "binary": 2, "hello": 1}


def resident() -> float:
    """MiB of this process that are in memory."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


class Fuzzer:
    """One link, what is asked on it, and what was said."""

    def __init__(self, attacked: Attacked, seed: int):
        self.attacked = attacked
        self.draw = random.Random(seed)
        self.count = Counter[str]()
        self.session = attacked.ask(seconds=3600)

    async def run(self, messages: int, every: int) -> list[float]:
        """Say so many; the memory after each so many of them."""
        found = []
        async with self.attacked.intruder() as mallory:
            await self._attend(mallory)
            for number in range(1, messages + 1):
                if number % every == 0:
                    found.append(round(resident(), 1))
                kind = self.draw.choices(list(SHARES), list(SHARES.values()))[0]
                self.count[kind] += 1
                await self._say(mallory, kind)
                if number % 16 == 0:
                    self._answer()
                    await asyncio.sleep(0)
            self._listening.cancel()
        return found

    async def _attend(self, mallory: Intruder) -> None:
        await mallory.attend()
        self.count["links"] += 1
        self._listening = asyncio.create_task(self._listen(mallory.socket))

    async def _listen(self, socket: Any) -> None:
        """Read, so that the server reads on."""
        async for _ in socket:
            pass

    async def _say(self, mallory: Intruder, kind: str) -> None:
        if mallory.socket.closed or self._listening.done():
            await self._attend(mallory)
        if kind in ("upload", "fetch"):
            await self._http(mallory, kind)
            return
        try:
            if kind == "binary":
                await mallory.socket.send_bytes(self.draw.randbytes(self.draw.randrange(300)))
            else:
                await mallory.socket.send_str(self._words(kind))
        except ConnectionError:
            return

    def _words(self, kind: str) -> str:
        """A message."""
        draw = self.draw
        if kind == "text":
            return "".join(
                chr(draw.choice((draw.randrange(128), draw.randrange(0x800)))) for _ in range(draw.randrange(200))
            )
        if kind == "hello":
            return '{"type":"hello","wire":[1,0],"version":"0"}'
        here = draw.random() < 0.1
        session = self.session if here else SessionId("x" * draw.randrange(9), draw.randrange(3), draw.randrange(2**40))
        if kind == "settled":
            return encode(Settled(Session.of(session)))
        blob = blob_of(draw.randbytes(8)) if draw.random() < 0.7 else None
        said = encode(
            Said(Session.of(session), draw.choice((0, 0, 1, 2**40)), blob, draw.choice(("", "refused", "bug")))
        )
        if kind == "said":
            return said
        value = json.loads(said)
        place = draw.choice((value, value["session"], value.get("blob") or value))
        place[draw.choice([*place, "more"])] = draw.choice(EDGES)
        return json.dumps(value)

    async def _http(self, mallory: Intruder, kind: str) -> None:
        """A request for a blob: sometimes one that is expected."""
        draw = self.draw
        data = reply(self.session) if draw.random() < 0.3 else draw.randbytes(draw.randrange(1, 400))
        blob = blob_of(data)
        if draw.random() < 0.3:
            await mallory.say(self.session, blob)
        if kind == "fetch":
            await mallory.get(blob, Range=draw.choice(("bytes=0-", "bytes=9-3", "bytes=-1", "x", "bytes=0-1,4-9")))
            return
        first, last = (draw.choice((0, len(data) - 1, len(data), 2**62, draw.randrange(400))) for _ in range(2))
        span = draw.choice(("", "", f"{first}-{last}/{blob.size}", f"0-{last}/{first}", "*/*"))
        await mallory.put(blob, data, span)

    def _answer(self) -> None:
        """The loop hears what came, and asks again; nothing that came may end it."""
        inbox = self.attacked.gateway.inbox
        while not inbox.empty():
            found = self.attacked.runtime.receive()
            self.count["answers" if found.body is not None else "no answers"] += 1
            desk = self.attacked.gateway.desk
            self.attacked.runtime.send(_settle(found.session))
            self.attacked.gateway.soon(desk.settled, "mallory", Settled(Session.of(found.session)))
            self.session = self.attacked.ask(seconds=3600)


def _settle(session: SessionId) -> Any:
    from hansa.messages import Settle

    return Settle(session, ())
