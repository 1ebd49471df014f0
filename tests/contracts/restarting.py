"""Runs whose server, helpers and clients are killed at any instant, and go on with their books and the journal."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import hansa as h
from hansa.loops.buffered import buffered
from hansa.loops.journal import Journal
from hansa.messages import Message, Reply
from hansa.parties.book import Book
from hansa.parties.client import Client
from hansa.parties.helper import Helper
from hansa.store import Store

ROUNDS, CLIENTS = 4, 5
SECRET = h.Key(bytes(range(32)), hides=True)
BOUND = (h.Clip(1.0, side=10.0), h.Weigh("one"))


class Killed(Exception):
    """What a process does not survive."""


@dataclass(frozen=True)
class Mortal(h.Softmax):
    """Softmax regression that may be killed in the middle of a training."""

    def train(self, *job: Any) -> Any:
        result = super().train(*job)
        FATE.pass_by("training")
        return result


MODEL = Mortal(6, 3)
QUIET = h.Training(batch=8, epochs=1)
PLANS: dict[str, dict[str, Any]] = {
    "sum": {},
    "scaffold": {"algorithm": h.Scaffold()},
    "median": {"aggregator": h.Median()},
    "verified": {
        "pipe": BOUND,
        "aggregator": h.VerifiedSum(helpers=2, noise=0.1),
        "sample": h.Everyone(quorum=3),
        "algorithm": h.Scaffold(),
    },
    "masked": {
        "pipe": (*BOUND, h.Quantize(16, of="sum", clients=CLIENTS)),
        "aggregator": h.MaskedSum(),
        "sample": h.Everyone(quorum=4),
        "algorithm": h.Scaffold(),
    },
    "encrypted": {
        "pipe": (*BOUND, h.Quantize(16, of="sum", clients=CLIENTS)),
        "aggregator": h.EncryptedSum(),
        "sample": h.Everyone(quorum=4),
    },
    "examples": {"training": h.Training(batch=4, report=False, private=h.PerExample(1.0, 1.0))},
    "buffered": {"algorithm": h.Scaffold()},
    "arriving": {
        "pipe": (*BOUND, h.Quantize(16, of="sum", clients=CLIENTS)),
        "aggregator": h.Arriving(h.MaskedSum(), size=3),
        "sample": h.Everyone(quorum=3),
        "algorithm": h.Scaffold(),
    },
}


def plan_of(name: str) -> h.Plan:
    """One of these, at the size of a test."""
    more = {"training": QUIET, "rounds": ROUNDS, **PLANS[name]}
    if name == "verified":
        more["pipe"] = (h.Clip(1.0, side=10.0), h.Weigh("one"))
    return h.Plan(MODEL, **more)


def data_of(i: int) -> tuple[Any, Any]:
    """A client's examples."""
    rng = np.random.default_rng(i)
    return rng.normal(size=(20 + i, 6)), rng.integers(0, 3, 20 + i)


class Fate:
    """Kills at the n-th instant that is passed by; no dataclass, whose fields would be a part of plans that name it."""

    def __init__(self) -> None:
        self.left, self.passed = -1, list[str]()

    def pass_by(self, where: str) -> None:
        """One instant."""
        self.passed.append(where)
        self.left -= 1
        if self.left == 0:
            raise Killed(where)


FATE = Fate()


class MortalBook(Book):
    """May be killed before, inside and after a transaction."""

    def _write(self, rows: Any) -> None:
        FATE.pass_by("before a party writes")
        super()._write(rows)
        FATE.pass_by("after a party has written")


class MortalJournal(Journal):
    """The same."""

    def write(self, reply: Reply, state: int = 0) -> None:
        FATE.pass_by("before the server writes")
        super().write(reply, state)
        FATE.pass_by("after the server has written")

    def end(self, *given: Any) -> None:
        FATE.pass_by("before the server ends sessions")
        super().end(*given)


class Wire(h.InProcess):
    """A network on which each instant may be the last; parties die alone where `frail` says so."""

    frail: random.Random | None = None

    def send(self, message: Message) -> None:
        FATE.pass_by("before a message")
        super().send(message)

    def receive(self) -> Reply:
        FATE.pass_by("before a reply")
        self.bury()
        reply = super().receive()
        FATE.pass_by("after a reply")
        return reply

    def cut(self) -> None:
        """The server has died, and with it what was on its way to it."""
        self._events.clear()

    def bury(self) -> None:
        """Some parties lose all that is not in their books."""
        if self.frail is None:
            return
        for who, old in list(self.clients.items()):
            if self.frail.random() < 0.2:
                self.clients[who] = born(old)
        for who, one in list(self.helpers.items()):
            if self.frail.random() < 0.2:
                self.helpers[who] = born(one)


def born(party: Any) -> Any:
    """The same party after a restart: name, secret and keys are its own, and nothing else."""
    known: dict[str, Any] = {"secret": party.secret, "identity": party.identity, "roster": party.roster}
    if isinstance(party, Client):
        return Client(party.who, party.plan, party.data, **known)
    return Helper(party.who, party.plan, **known)


def life(folder: Path, name: str, wire: Wire | None = None) -> Wire | None:
    """Begin the run in a folder, or go on with it, to its end."""
    gc.collect()  # a process that dies leaves nothing open; what was raised in this one may still hold its run
    plan, store = plan_of(name), Store(folder)
    found = [row.id for row in store.runs()]
    run = store.resume(found[0]) if found else store.new(repr(plan), plan.digest, name, {}, plan.rounds)
    journal = JOURNALS[folder] = MortalJournal(folder / "journal")
    if wire is None:
        wire = wire_of(plan, folder)
        wire.memory.load(run.memory())
    LIVE[folder] = wire
    loop = LOOPS.get(name, h.synchronous)
    for state in loop(plan, wire, run.state(), SECRET, journal=journal):
        FATE.pass_by("before a commit")
        run.commit(state, wire.memory.learnt(state.counted))
        FATE.pass_by("after a commit")
    journal.close()
    return wire


LOOPS: dict[str, Any] = {"buffered": partial(buffered, size=3, busy=4), "arriving": partial(buffered, busy=4)}
LIVE: dict[Path, Wire] = {}
JOURNALS: dict[Path, MortalJournal] = {}


def wire_of(plan: h.Plan, folder: Path) -> Wire:
    """All parties, as they start."""
    clients = [Client(f"site {i}", plan, data_of(i), secret=SECRET) for i in range(CLIENTS)]
    return Wire(clients, secret=SECRET, book=MortalBook(folder / "book"))


def ended(folder: Path) -> tuple[Any, ...]:
    """All that a run ends with."""
    run = Store(folder).open("2")
    state = run.state()
    assert state is not None
    memory = {who: {k: np.asarray(v).tobytes() for k, v in one.items()} for who, one in run.memory().items()}
    rounds = [(one.participants, dict(one.excluded), one.skipped) for one in run.history()]
    return state.round, state.x.tobytes(), rounds, memory


def killed_again_and_again(folder: Path, name: str, seed: int, kills: int = 3) -> list[str]:
    """Run to the end through so many kills; where each of them hit."""
    rng, hit = random.Random(seed), list[str]()
    wire: Wire | None = None
    while True:
        FATE.left = rng.randint(1, 120) if len(hit) < kills else -1
        Wire.frail = random.Random(seed) if seed % 2 else None
        try:
            life(folder, name, wire)
            return hit
        except Killed as where:
            hit.append(str(where))
            JOURNALS[folder].close()
            alone = "server" in str(where) or "commit" in str(where) or "message" in str(where)
            wire = LIVE[folder] if alone and rng.random() < 0.5 else None
            if wire is None:
                LIVE[folder].memory.book.close()
            else:
                wire.cut()
