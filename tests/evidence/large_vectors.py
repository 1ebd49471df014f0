"""A gigabyte of numbers from each of 3 and of 30 sites: how many vectors a server holds at its peak.

python -m tests.evidence.large_vectors [MILLIONS]      numbers of a vector; writes benchmarks/results/large_vectors.json

Server and sites are processes that speak over TLS, with journal and store as `hansa serve` has them. What a site says
is made once and mapped by all of them: nothing is trained. Three sites take two rounds; then thirty take the third,
of which the last 27 leave the model where it is, for what goes down is one file, whoever reads it.

A vector is d × 8 bytes. `held` is the server's own memory (RssAnon and RssShmem of Linux) at its highest, in vectors
above what it had before the run; `mapped` is what it read off files besides (RssFile), which the system takes back
where it needs room.
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from benchmarks.common import save

import hansa as h
from hansa import codec
from hansa.kits import Kit
from hansa.kits.provision import KITS, Design, provision
from hansa.loops.journal import Journal
from hansa.messages import Reply, Request, SessionId
from hansa.runtimes.sites import Gateway, SiteRuntime
from hansa.runtimes.sites import link as links
from hansa.runtimes.sites.link import Link, Way
from hansa.store import Store

HOST = "127.0.0.1"
CLASSES = 10
FEW, MANY = 3, 30
BOUNDED = h.Clip(1.0, side=10.0), h.Weigh("one")
PIPES: dict[str, tuple[Any, ...]] = {"reals": (h.Weigh("examples"),), "integers": (*BOUNDED, h.Quantize(20))}
LIMIT = {"reals": 3.5, "integers": 2.5}
SECRET = h.Key.of(7)


def plan(kind: str, inputs: int) -> h.Plan:
    """Three rounds, in which nothing is reported but the vector."""
    training = h.Training(report=False)
    sample = h.Everyone(deadline=3600)
    return h.Plan(h.Softmax(inputs, CLASSES), h.FedAvg(), PIPES[kind], training=training, rounds=3, sample=sample)


def write_answer(path: Path, kind: str, inputs: int) -> None:
    """What each site says."""
    p = plan(kind, inputs)
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(scale=1e-4, size=size) for name, size in p.spec.blocks.items()}
    at = p.context(0, SessionId(), "0", secret=h.Key.of(0), memo=p.pipeline.start())
    with open(path, "wb") as file:
        codec.write(file, p.pipeline.encode(p.spec.pack(parts), at)[0])


def serve(folder: Path, kind: str, inputs: int, clients: int, pipe: Any) -> None:
    """The rounds, each when it is told to begin; with the state that the store has."""
    p = plan(kind, inputs)
    own = Kit.load(folder / str(clients) / KITS / "server")
    store = Store(folder / "runs")
    if known := store.runs():
        run = store.open(known[0].id)
        state = run.state()
    else:
        run = store.new(repr(p), p.digest, "", {}, p.rounds)
        state = None
    place = folder / "server"
    place.mkdir(exist_ok=True)
    with Gateway(own.roster, own.server_context(), (HOST, 0), place, own.federation, own.enrolment) as gateway:
        pipe.send(gateway.port)
        while len(gateway.desk.present) < clients:
            time.sleep(0.05)
        journal = Journal(run.journal)
        states = h.synchronous(p, SiteRuntime(gateway, p), state, SECRET, journal)
        del state
        while pipe.recv():
            new = next(states)
            run.commit(new)
            pipe.send((new.round, len(new.participants), dict(new.excluded)))
            del new


def live(folder: Path, clients: int, names: list[str], port: int) -> None:
    """Sites that say all the same."""
    body = codec.read(folder / "answer")

    def one(who: str) -> Link:
        kit = Kit.load(folder / str(clients) / KITS / who)

        def answer(request: Request) -> Reply:
            return Reply.to(request, (who,), body)

        def nothing(*given: object) -> None:
            return None

        party = SimpleNamespace(who=who, role="client")
        calls = dict.fromkeys(("begin", "check_asked", "settle", "end"), nothing)
        site: Any = SimpleNamespace(party=party, run="", answer=answer, **calls)
        return Link(Way(f"{HOST}:{port}", kit.client_context(), kit.federation), site, kit.folder)

    if clients == MANY:
        links._Turn._request = _unread  # type: ignore[method-assign]

    async def main() -> None:
        await asyncio.gather(*(one(who).attend() for who in names))

    asyncio.run(main())


async def _unread(turn: Any, ask: Any) -> Request:
    """The question without the model."""
    who = turn.link.site.party.who
    return Request(ask.plan, ask.round, ask.session.id, None, {who: None}, turn=ask.turn)


class Watched:
    """The memory of a process, looked at fifty times a second."""

    def __init__(self, pid: int):
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self._start, _ = self._now()
        self.held = self.mapped = 0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _now(self) -> tuple[int, int]:
        lines = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
        own, shared, mapped = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem", "RssFile"))
        return own + shared, mapped

    def _look(self) -> None:
        while not self._over.wait(0.02):
            held, mapped = self._now()
            self.held = max(self.held, held - self._start)
            self.mapped = max(self.mapped, mapped)

    def end(self, vector: int) -> dict[str, float]:
        """The highest, in vectors."""
        self._over.set()
        self._thread.join()
        return {"held": round(self.held / vector, 2), "mapped": round(self.mapped / vector, 2)}


def rounds_of(folder: Path, kind: str, inputs: int, clients: int, rounds: int) -> dict[str, Any]:
    """Some rounds of so many sites."""
    names = [f"site {i:02}" for i in range(clients)]
    parties: dict[str, Any] = {"server": "server", **dict.fromkeys(names, "client")}
    provision(Design("large", f"{HOST}:7443", parties=parties), folder / str(clients))
    here, there = mp.Pipe()
    server = mp.Process(target=serve, args=(folder, kind, inputs, clients, there), daemon=True)
    server.start()
    there.close()  # so that a server that has died is noticed
    port = here.recv()
    assert server.pid is not None
    watched = Watched(server.pid)
    homes = [mp.Process(target=live, args=(folder, clients, names[i::2], port), daemon=True) for i in range(2)]
    for home in homes:
        home.start()
    start = time.perf_counter()
    for _ in range(rounds):
        here.send(True)
        round_, participants, excluded = here.recv()
        assert participants == clients and not excluded, (round_, participants, excluded)
    seconds = time.perf_counter() - start
    d = inputs * CLASSES + CLASSES
    found = watched.end(8 * d)
    here.send(False)
    server.join(60)
    for home in homes:
        home.kill()
        home.join()
    row = {"sum": kind, "numbers": d, "clients": clients, "rounds": rounds, **found, "limit": LIMIT[kind]}
    return {**row, "seconds_a_round": round(seconds / rounds, 1)}


def main(millions: float = 125.0) -> int:
    """Reals and integers; 1 where a server held more than it may."""
    mp.set_start_method("spawn")
    inputs = int(millions * 1e6) // CLASSES
    rows = []
    for kind in PIPES:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            making = mp.Process(target=write_answer, args=(folder / "answer", kind, inputs))
            making.start()
            making.join()
            for clients, rounds in ((FEW, 2), (MANY, 1)):
                rows.append(rounds_of(folder, kind, inputs, clients, rounds))
                print(rows[-1], flush=True)
    save("large_vectors", rows)
    return int(any(row["held"] > row["limit"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
