"""Nodes in one process, for tests: each with its kit, mail and port, and over TLS; the app's code beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.operating import HOST, free_port

import hansa as h
from hansa.app.peers import office_of
from hansa.cli.peers import begun
from hansa.cli.worker import Work
from hansa.codec import read
from hansa.data import Sites
from hansa.kits import Kit
from hansa.kits.provision import KITS, Design, provision
from hansa.parties.policy import ALL, Policy
from hansa.plan.peers import PEER
from hansa.rand import Key
from hansa.runtimes.peers.mail import Mail
from hansa.runtimes.peers.node import Node
from hansa.runtimes.sites.agent import Agent
from hansa.runtimes.sites.runs import Runs

SECRET = Key.of(7)
NAMES = ("east", "north", "south", "west")
ONE = (h.Weigh("one"),)
NOISY = (h.Clip(0.5, side=10.0), *ONE, h.GaussianNoise(0.3, by="each"))


@dataclass
class Beside:
    """What a worker does, in this process instead of a sandbox."""

    work: Work
    life: int = 1
    pid: int = 1

    def ask(self, what: str, most: int = 0, **fields: Any) -> Any:
        return self.work.answer({"what": what, **fields})


class Village:
    """Kits and data of some nodes in a folder, and an app that all of them have."""

    def __init__(
        self, folder: Path, graph: Any = h.Ring(), names: tuple[str, ...] = NAMES, deadline: float = 60, **given: Any
    ):
        self.folder, self.names = folder, names
        given = {"pipe": NOISY, "rounds": 4, "training": h.Training(batch=8, learning_rate=0.1), **given}
        plan = h.Plan(h.Softmax(4, 2), sample=h.Everyone(deadline=deadline), **given)
        (folder / "data").mkdir()
        for i, who in enumerate(names):
            rng = np.random.default_rng(i)
            X = rng.normal(size=(24, 4)) + i % 3
            np.savez(folder / "data" / f"{who}.npz", X=X, y=(X[:, 0] > X[:, 1]).astype(int))
        self.app = h.App(plan, Sites(_read, str(folder / "data/*.npz")), loop=h.gossip(graph=graph), secret=SECRET)
        listens = {who: f"{HOST}:{free_port()}" for who in names}
        self.pki = provision(
            Design("study", "", parties=dict.fromkeys(names, "peer"), addresses=listens), folder / "pki"
        )
        self.policies = dict[str, Policy]()
        self.nodes = dict[str, Node]()
        self.tasks = dict[str, asyncio.Task[Any]]()

    def kit(self, who: str) -> Kit:
        return Kit.load(self.folder / "pki" / KITS / who)

    def start(self, who: str) -> asyncio.Task[Any]:
        """Let a node begin, or begin again with what is in its kit."""
        self.tasks[who] = asyncio.create_task(self._live(who))
        return self.tasks[who]

    async def _live(self, who: str) -> None:
        kit = self.kit(who)
        work = Work(self.app, who, self.folder / "data" / f"{who}.npz")
        worker: Any = Beside(work)
        agent = Agent(worker, kit.identity, kit.roster, kit.secret, self.policies.get(who, ALL), repeats=True)
        with contextlib.ExitStack() as held:
            mail = held.enter_context(contextlib.closing(Mail(kit.folder)))
            runs = held.enter_context(contextlib.closing(Runs(kit.folder / "runs")))
            course, over = begun(kit, agent, mail, runs, 1)
            if over:
                return
            node = self.nodes[who] = Node(kit, course, mail, runs, kit.listens)
            await node.live()

    async def all(self, *who: str) -> None:
        """Let these begin, and wait until they are done."""
        await asyncio.gather(*(self.start(one) for one in who or self.names))

    async def until(self, who: str, round: int) -> None:
        """Until a node has so many rounds done."""
        while who not in self.nodes or self.nodes[who].desk.round < round:
            if self.tasks[who].done():
                self.tasks[who].result()
            await asyncio.sleep(0.005)

    async def end(self, who: str) -> None:
        """Let a node be gone at once, whatever it does."""
        self.tasks[who].cancel()
        await asyncio.gather(self.tasks[who], return_exceptions=True)

    def model(self, who: str) -> np.ndarray:
        """The node's own model, as its kit has it."""
        (path,) = (self.kit(who).folder / "models").iterdir()
        *_, vectors = read(path)
        return np.array(vectors["x"])

    def runs(self, who: str) -> int:
        """In how many rounds a node took part, by what its kit says of the one run."""
        with contextlib.closing(Runs(self.kit(who).folder / "runs")) as runs:
            (one,) = runs
            return one.answers or 0

    def models(self) -> dict[str, bytes]:
        return {who: self.model(who).tobytes() for who in self.names}

    def simulated(self) -> Mapping[str, bytes]:
        """Each peer's own model after the same app in one process."""
        return {who: x.tobytes() for who, x in simulated(self.app).items()}


def simulated(app: h.App) -> dict[str, np.ndarray]:
    """Each peer's own model, when an app with a secret of its own has run in one process."""
    office = office_of(app)
    assert office is not None and app.secret is not None
    clients = [h.Client(who, app.known_plan, one, secret=app.secret) for who, one in app.sources.items()]
    runtime = h.InProcess(clients, secret=app.secret)
    *_, last = app.loop(app.known_plan, runtime, secret=app.secret)
    memory = runtime.memory.after(last.counted)
    return {who: office.model_of(last, who, memory[who][PEER]) for who in office.mixing.names}


def _read(path: Path) -> Any:
    table = np.load(path)
    return table["X"], table["y"]
