"""Node: one peer's rounds, from when its neighbours are there until all that it owes is held.

    wait for the words of round t − 1 of all it hears, until the deadline
    mix what has come, train, and write down what it says in round t      (a transaction)
    say it to all who hear it, while the next round waits

Who is not heard in time counts with what it said last, as the loop of a simulation has it. A node
that was away finds that all it hears have gone on without it: it skips to where they are, and took
no part in the rounds between; its model is as it was. A neighbour is in step unless it is ahead by
more rounds than it could be if all had waited, and said a vector of the plan there. While one is in
step, and on one voice alone, nobody skips: so one that lies about its round moves nobody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ...codec import frames
from ...errors import DeadlineError
from ...kits import Kit
from ..sites.events import tell
from ..sites.models import Models
from ..sites.runs import Runs
from .agent import Inbox, request_of
from .desk import Course, Desk
from .link import Link
from .mail import NEVER, Mail, inbox_of_mail
from .port import Port

LINGER = 5.0  # seconds


class Node:
    """A peer at its own place, in the running loop.

    kit: of the role peer. course: the run. address: where it listens. patience: seconds to wait for
    all neighbours before the first round; DeadlineError behind them.
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
        self.course = course
        self.desk = Desk(kit, course, mail)
        self.port = Port(self.desk, kit.server_context(), address, kit.folder / "coming")
        self._mail = mail
        self._runs = runs
        self._patience = patience
        self._stopping = asyncio.Event()
        self._bench = ThreadPoolExecutor(1, "rounds")

    async def live(self) -> bool:
        """Take part until the run is over; False where it was told to stop before."""
        await self.desk.open()
        await self.port.open()
        rounds = asyncio.create_task(self._rounds())
        running: list[asyncio.Future[Any]] = [rounds, self.desk.broken]
        links = [asyncio.create_task(self._link(who)) for who in self.course.mesh.speaks_to]
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
            await self.port.close()
            self.desk.close()
            self._bench.shutdown()

    def stop(self) -> None:
        """Finish the round under way, and leave."""
        self._stopping.set()
        self.desk.news.set()

    async def _link(self, who: str) -> None:
        """Speak to a neighbour, until it has heard all; what goes wrong there ends the node."""
        try:
            await Link(self.desk, who).speak()
        except Exception as error:
            self.desk.fail(error)

    async def _rounds(self) -> bool:
        """All rounds that are left, and the end of the run."""
        await self._meet()
        while self.desk.round < self.course.rounds and not self._stopping.is_set():
            await self._one_round()
        if self.desk.round < self.course.rounds:
            return False
        return await self._end()

    async def _meet(self) -> None:
        """Wait until all neighbours have been there, before a run's first round."""
        until = time.monotonic() + self._patience
        told = set[str]()
        while not self.desk.round and not self._stopping.is_set():
            self.desk.news.clear()
            missing = set(self.course.mesh.neighbours) - self.desk.there
            missing &= self.desk.roster.keys()
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
        missing = await self._gather()
        if self._stopping.is_set() and missing:
            return
        if await self._skipped():
            return
        await self._forgive()
        round = self.desk.round
        if missing:
            tell("alone", round=round, who=", ".join(missing))
        began = time.monotonic()
        await self._make(self._speak)
        tell("spoke", round=round, seconds=time.monotonic() - began)
        self.desk.round += 1
        self.desk.wake()

    async def _gather(self) -> list[str]:
        """Wait for the words of the round before; gives who was not heard until the deadline."""
        until = time.monotonic() + self.course.deadline
        self.desk.news.clear()
        while missing := self._missing():
            if self._stopping.is_set() or not await self._wait(until - time.monotonic()):
                break
            self.desk.news.clear()
        return missing

    def _missing(self) -> list[str]:
        """Whose words of the round before have not come, of those that are on the roster."""
        before = self.desk.round - 1
        if before < 0:
            return []
        late = [who for who in self.course.mesh.heard(before) if self._latest(who) < before]
        return [who for who in late if who in self.desk.roster]

    def _latest(self, who: str) -> int:
        """The round in which a neighbour spoke last."""
        return self.desk.latest.get(who, NEVER)

    async def _skipped(self) -> bool:
        """Go on where the others are, if all sources, and two at least, have gone on without this
        node.
        """
        before = self.desk.round - 1
        if before < 0:
            return False
        mesh = self.course.mesh
        sources = mesh.sources & self.desk.roster.keys()
        there = {who: self.desk.vectors.get(who, NEVER) for who in sources}
        if len(there) < 2 or any(round <= before + mesh.leads[who] for who, round in there.items()):
            return False
        self.desk.round = min(there.values()) + 1
        await self.desk.do(self._mail.behind, self.course.run, self.desk.round)
        self.desk.wake()
        tell("behind", round=self.desk.round)
        return True

    def _speak(self) -> None:
        """One round, in the thread of rounds."""
        course = self.course
        round = self.desk.round
        inbox, state = self.desk.done(self._opened)
        request = request_of(course.party.plan.digest, course.run, round, course.party.who)
        words, learnt = course.party.speak(request, inbox, state, course.mesh)
        said = frames(words)
        self.desk.done(self._mail.say, course.run, round, said, learnt, course.mesh)

    def _opened(self) -> tuple[Inbox, Any]:
        """What was heard, and what is remembered."""
        course = self.course
        about = course.run, course.mesh, self.desk.round, self._revoked()
        inbox = inbox_of_mail(self._mail, *about)
        return inbox, self._mail.state(course.run)

    async def _end(self) -> bool:
        """The last words of the others make the node's own model; its own are waited for until
        they are held, or the deadline.
        """
        await self._gather()
        await self._make(self._keep)
        until = time.monotonic() + self.course.deadline
        run = self.course.run
        self.desk.news.clear()
        await self._forgive()
        while await self.desk.do(self._mail.owes, run):
            if self._stopping.is_set() or not await self._wait(until - time.monotonic()):
                break
            self.desk.news.clear()
            await self._forgive()
        await self._linger()
        answers = await self.desk.do(self._mail.answers, run)
        assert answers is not None
        await self.desk.do(self._runs.ended, run, answers)
        await self.desk.do(self._mail.end, run)
        tell("ended", run=run)
        return True

    async def _forgive(self) -> None:
        """Owe nothing to who is on the roster no more."""
        for who in self._revoked():
            await self.desk.do(self._mail.forgive, self.course.run, who)

    def _revoked(self) -> set[str]:
        """Which neighbours are on the roster no more."""
        return set(self.course.mesh.neighbours) - self.desk.roster.keys()

    async def _linger(self) -> None:
        """Stay until all have taken their leave; a little, for one may be gone for good."""
        until = time.monotonic() + LINGER
        sources = self.course.mesh.sources
        self.desk.news.clear()
        while (sources & self.desk.roster.keys()) - self.desk.gone and not self._stopping.is_set():
            if not await self._wait(until - time.monotonic()):
                break
            self.desk.news.clear()

    def _keep(self) -> None:
        """Put the node's own model where its owner finds it, in the thread of rounds."""
        party = self.course.party
        round = self.desk.round
        inbox, state = self.desk.done(self._opened)
        x = party.model(round, inbox, state, self.course.mesh)
        request = request_of(party.plan.digest, self.course.run, round, party.who)
        Models(self.desk.kit.folder).keep(replace(request, broadcast=({"x": x}, ())), None)

    async def _wait(self, seconds: float) -> bool:
        """Wait until something has come since the last look; False where nothing has in time."""
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else max(0.0, seconds)):
                await self.desk.news.wait()
        except TimeoutError:
            return False
        return True

    async def _make(self, work: Callable[..., Any]) -> Any:
        """Do this where rounds are made; neighbours are heard meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._bench, work)
