"""Node: one peer's rounds, from when its neighbours are there until all that it owes is held.

    wait for the words of round t − 1 of all it hears, until the deadline
    mix what has come, train, and write down what it says in round t      (a transaction)
    say it to all who hear it, while the next round waits

Who is not heard in time counts with what it said last, as the loop of a simulation has it. A node
that was away finds that all it hears have gone on without it: it skips to where they are, and took
no part in the rounds between; its model is as it was. A neighbour is in step if it is ahead by no
more rounds than it could be if all had waited, so that one that lies about its round moves nobody.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...aggregators.mixing import is_vector
from ...codec import frames
from ...codec import read as read_value
from ...crypto.identity import Roster
from ...errors import DeadlineError, ProtocolError
from ...kits import Kit
from ..sites.events import log, tell
from ..sites.models import Models
from ..sites.runs import Runs
from .agent import AgentPeer, Inbox, request_of
from .link import Link
from .mail import NEVER, Mail, inbox_of_mail
from .mesh import Mesh
from .port import Port, most_of
from .talk import Fault, Held, Words

LINGER = 5.0  # seconds


@dataclass(frozen=True)
class Course:
    """What a node takes part in: a run, which is so many'th of its plan, and the graph as the node
    sees it.
    """

    run: str
    number: int
    party: AgentPeer
    mesh: Mesh

    @property
    def rounds(self) -> int:
        """How many there are."""
        return self.party.plan.rounds

    @property
    def deadline(self) -> float:
        """Seconds for the words of one round."""
        return self.party.plan.sample.deadline


class Node:
    """A peer at its own place. StoreError where another process has its kit open.

    kit: of the role peer. course: the run. patience: seconds to wait for all neighbours before the
    first round; DeadlineError behind them.
    """

    def __init__(
        self,
        kit: Kit,
        course: Course,
        mail: Mail,
        runs: Runs,
        address: tuple[str, int],
        patience: float = math.inf,
    ):
        self.kit = kit
        self.course = course
        self.roster = kit.roster
        self.federation = kit.federation
        self.run = course.run
        self.context: ssl.SSLContext = kit.client_context()
        self.round = 0
        self._mail = mail
        self._runs = runs
        self._patience = patience
        self._latest = dict[str, int]()  # who → the round in which it spoke last
        self._met = set[str]()
        self._left = set[str]()  # who has said all, and has gone
        self._news = asyncio.Event()  # something came
        self._said = asyncio.Event()  # something is owed
        self._stopping = asyncio.Event()
        self._broken = asyncio.get_running_loop().create_future()  # the mail, and so the node
        self._port = Port(self, kit.server_context(), address, kit.folder / "coming")
        self._desk = ThreadPoolExecutor(1, "mail")  # one thing after another
        self._bench = ThreadPoolExecutor(1, "rounds")

    async def live(self) -> bool:
        """Take part until the run is over; False where it was told to stop before."""
        self.round = (await self._do(self._mail.begun, *self._named)).round
        self._latest = await self._do(self._mail.latest, self.run)
        await self._port.open()
        hearers = [who for who in self.course.mesh.neighbours if self._speaks_to(who)]
        rounds = asyncio.create_task(self._rounds())
        running: list[asyncio.Future[Any]] = [rounds, self._broken]
        links = [asyncio.create_task(self._link(who)) for who in hearers]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:  # what is broken ends it all
                task.result()
            return rounds.result()
        finally:
            running += links
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._port.close()
            self._desk.shutdown()
            self._bench.shutdown()

    async def _link(self, who: str) -> None:
        """Speak to a neighbour, until it has heard all; what goes wrong there ends the node."""
        try:
            await Link(self, who).speak()
        except Exception as error:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """End the node with this."""
        if not self._broken.done():
            self._broken.set_exception(error)

    async def _rounds(self) -> bool:
        """All rounds that are left, and the end of the run."""
        await self._meet()
        while self.round < self.course.rounds and not self._stopping.is_set():
            await self._one_round()
        if self.round < self.course.rounds:
            return False
        return await self._end()

    def stop(self) -> None:
        """Finish the round under way, and leave."""
        self._stopping.set()
        self._news.set()

    def with_roster(self, newer: Roster) -> None:
        """Let a newer roster say who may speak and is spoken to; ProtocolError where it does not
        count.
        """
        newer.verify(self.kit.enrolment, self.roster.serial)
        self.roster = newer
        log.info("the roster of serial %d counts", newer.serial)

    @property
    def _named(self) -> tuple[str, int]:
        """The plan, and which run of it."""
        return self.course.party.plan.digest, self.course.number

    # rounds

    async def _meet(self) -> None:
        """Wait until all neighbours have been there, before a run's first round."""
        until = time.monotonic() + self._patience
        told = set[str]()
        while not self.round and not self._stopping.is_set():
            self._news.clear()
            missing = set(self.course.mesh.neighbours) - self._met
            missing &= self.roster.keys()
            if not missing:
                return
            if missing != told:
                tell("waits", who=", ".join(sorted(missing)))
                told = missing
            if not await self._wait(until - time.monotonic()):
                raise DeadlineError(
                    f"{', '.join(sorted(missing))} did not come in {self._patience:g} seconds.",
                    "A first round without them would mix fewer models.",
                    "Start again when they are there; or wait longer: --give-up",
                )

    async def _one_round(self) -> None:
        """Gather, and say; or skip to where the others are."""
        began = time.monotonic()
        missing = await self._gather()
        if self._stopping.is_set() and missing:
            return
        if await self._skipped():
            return
        if missing:
            tell("alone", round=self.round, who=", ".join(missing))
        began = time.monotonic()
        await self._make(self._speak)
        tell("spoke", round=self.round, seconds=time.monotonic() - began)
        self.round += 1
        self._wake()

    def _wake(self) -> None:
        """Let the links look whether there is something to say."""
        self._said.set()
        self._said = asyncio.Event()

    async def _gather(self) -> list[str]:
        """Wait for the words of the round before; gives who was not heard until the deadline."""
        until = time.monotonic() + self.course.deadline
        self._news.clear()
        while missing := self._missing():
            if self._stopping.is_set() or not await self._wait(until - time.monotonic()):
                break
            self._news.clear()
        return missing

    def _missing(self) -> list[str]:
        """Whose words of the round before have not come, of those that are on the roster."""
        if not self.round:
            return []
        before = self.round - 1
        heard = self.course.mesh.heard(before)
        return [
            who for who in heard if self._latest.get(who, NEVER) < before and who in self.roster
        ]

    async def _skipped(self) -> bool:
        """Go on where the others are, if all that are heard have gone on without this node."""
        if not self.round:
            return False
        before = self.round - 1
        mesh = self.course.mesh
        there = {who: self._latest.get(who, NEVER) for who in mesh.heard(before)}
        there = {who: round for who, round in there.items() if round >= before}
        if not there or any(round <= before + mesh.leads[who] for who, round in there.items()):
            return False
        self.round = min(there.values()) + 1
        await self._do(self._mail.behind, self.run, self.round)
        self._wake()
        tell("behind", round=self.round)
        return True

    def _speak(self) -> None:
        """One round, in the thread of rounds."""
        course = self.course
        inbox, state = self._desk.submit(self._opened).result()
        request = request_of(course.party.plan.digest, self.run, self.round, course.party.who)
        words, learnt = course.party.speak(request, inbox, state, course.mesh)
        said = frames(words)
        self._desk.submit(self._mail.say, self.run, self.round, said, learnt, course.mesh).result()

    def _opened(self) -> tuple[Inbox, Any]:
        """What was heard, and what is remembered."""
        gone = set(self.course.mesh.neighbours) - self.roster.keys()
        inbox = inbox_of_mail(self._mail, self.run, self.course.mesh, self.round, gone)
        return inbox, self._mail.state(self.run)

    async def _end(self) -> bool:
        """The last words of the others make the node's own model; its own are waited for until
        they are held, or the deadline.
        """
        await self._gather()
        await self._make(self._keep)
        until = time.monotonic() + self.course.deadline
        self._news.clear()
        while await self._do(self._mail.owes, self.run):
            if self._stopping.is_set() or not await self._wait(until - time.monotonic()):
                break
            self._news.clear()
        await self._linger()
        begun = await self._do(self._mail.begun, *self._named)
        await self._do(self._runs.ended, self.run, begun.answers)
        await self._do(self._mail.end, self.run)
        tell("ended", run=self.run)
        return True

    async def _linger(self) -> None:
        """Stay until all have taken their leave; a little, for one may be gone for good."""
        until = time.monotonic() + LINGER
        sources = self.course.mesh.sources & self.roster.keys()
        self._news.clear()
        while sources - self._left and not self._stopping.is_set():
            if not await self._wait(until - time.monotonic()):
                break
            self._news.clear()

    def _keep(self) -> None:
        """Put the node's own model where its owner finds it, in the thread of rounds."""
        inbox, state = self._desk.submit(self._opened).result()
        party = self.course.party
        x = party.model(self.round, inbox, state, self.course.mesh)
        request = request_of(party.plan.digest, self.run, self.round, party.who)
        Models(self.kit.folder).keep(replace(request, broadcast=({"x": x}, ())), None)

    async def _wait(self, seconds: float) -> bool:
        """Wait until something has come since the last look; False where nothing has in time."""
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else max(0.0, seconds)):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _do(self, work: Callable[..., Any], *about: Any) -> Any:
        """Do this with the mail, behind what is being done there; where it fails, so does the
        node, whoever has asked for it.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._desk, work, *about)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._break(error)
            raise

    async def _make(self, work: Callable[..., Any]) -> Any:
        """Do this where rounds are made; neighbours are heard meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._bench, work)

    # what the port asks

    def hears(self, who: str) -> bool:
        """Is this a neighbour that dials here?"""
        return who in self.course.mesh.sources

    def met(self, who: str) -> None:
        """It is there, in the same run."""
        if who not in self._met:
            tell("meets", who=who)
        self._met.add(who)
        self._news.set()

    def left(self, who: str) -> None:
        """It has said all."""
        self._left.add(who)
        self._news.set()

    async def fits(self, who: str, words: Words) -> Fault | Held | None:
        """May this come? Held where it is there already."""
        latest = self._latest.get(who, NEVER)
        if words.round == latest:
            there = await self._do(self._mail.sha256, self.run, who, words.round)
            return Held(words.round) if there == words.blob.sha256 else "other"
        if words.round < latest or words.round >= self.course.rounds:
            return "late"
        if who not in self.course.mesh.heard(words.round):
            return "late"
        if words.blob.size > most_of(self.course.mesh.length):
            return await self._noted(who, words, None, "large")
        return None

    async def heard(self, who: str, words: Words, path: Path) -> Fault | Held:
        """It has come, and is written down; of what is no vector of the plan only that it came."""
        said = await asyncio.to_thread(_read, path, self.course.mesh.length)
        found = await self._noted(who, words, said, "invalid")
        if found == Held(words.round):
            tell("heeds", who=who, round=words.round)
        return found

    async def _noted(self, who: str, words: Words, said: Any, why: Fault) -> Fault | Held:
        """Write down what was said, or that it was nonsense: who says that is not waited for."""
        if self._latest.get(who, NEVER) >= words.round:  # by another link meanwhile
            return "late"
        about = (self.run, who, words.round, words.blob.sha256)
        await self._do(self._mail.hear, *about, said, self.course.mesh)
        self._latest[who] = max(words.round, self._latest.get(who, NEVER))
        self._news.set()
        return Held(words.round) if said is not None else why

    # what a link asks

    def _speaks_to(self, who: str) -> bool:
        mesh = self.course.mesh
        return any(who in mesh.hearers(round) for round in range(mesh.mixing.period))

    async def next(self, who: str) -> tuple[int, bytes | Path] | None:
        """The words that are owed to it, and their round; waits for them. None where it has heard
        all.
        """
        while True:
            said = self._said
            round = await self._do(self._mail.owed, self.run, who)
            if round is not None:
                words = await self._do(self._mail.words, self.run, round)
                if words is not None:
                    return round, words
            if self.round >= self.course.rounds:
                return None
            await said.wait()

    async def held(self, who: str, round: int) -> None:
        """It has them, or does not take them."""
        await self._do(self._mail.held, self.run, who, round)
        self._news.set()


def _read(path: Path, length: int) -> Any:
    """The words in a file, in memory; None for what is no vector of so many finite numbers."""
    try:
        found = read_value(path, most_of(length))
    except ProtocolError:
        return None
    return np.array(found) if is_vector(found, length) else None
