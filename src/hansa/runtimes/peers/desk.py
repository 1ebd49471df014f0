"""Desk: what a node knows of its neighbours, for its port, its links and its rounds.

All that lies in the mail is asked for here, one thing after another in a thread of its own; where
that fails, so does the node. What is asked from outside runs in the loop of the process.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...aggregators.mixing import is_vector
from ...codec import read as read_value
from ...crypto.identity import Roster
from ...errors import ProtocolError
from ...kits import Kit
from ..sites.events import log, tell
from .agent import AgentPeer
from .mail import NEVER, Mail
from .mesh import Mesh
from .port import most_of
from .talk import Fault, Held, Words


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


class Desk:
    """What comes and goes at one node, in the running loop.

    round: how many are done. latest: who → the round in which it spoke last, vectors: in which that
    was a vector of the plan. news: is set where something has come. broken: what ends the node.
    """

    def __init__(self, kit: Kit, course: Course, mail: Mail):
        self.kit = kit
        self.course = course
        self.mail = mail
        self.roster = kit.roster
        self.federation = kit.federation
        self.run = course.run
        self.context: ssl.SSLContext = kit.client_context()
        self.round = 0
        self.latest = dict[str, int]()
        self.vectors = dict[str, int]()
        self.there = set[str]()  # who has been there in this run
        self.gone = set[str]()  # who has said all
        self.news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.broken: asyncio.Future[Any] = self._loop.create_future()
        self._said = asyncio.Event()  # something is owed
        self._thread = ThreadPoolExecutor(1, "mail")

    async def open(self) -> None:
        """Take up what the mail holds."""
        about = self.course.party.plan.digest, self.course.number
        self.round = (await self.do(self.mail.begun, *about)).round
        self.latest = await self.do(self.mail.latest, self.run)
        self.vectors = await self.do(self.mail.latest, self.run, False)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def do(self, work: Callable[..., Any], *about: Any) -> Any:
        """Do this with the mail, behind what is being done there; where it fails, so does the
        node, whoever has asked for it.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *about)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)
            raise

    def done(self, work: Callable[..., Any], *about: Any) -> Any:
        """The same, waited for in another thread than the loop's."""
        return self._thread.submit(work, *about).result()

    def fail(self, error: BaseException) -> None:
        """End the node with this."""
        if not self.broken.done():
            self.broken.set_exception(error)

    def wake(self) -> None:
        """Let the links look whether there is something to say."""
        self._said.set()
        self._said = asyncio.Event()

    def with_roster(self, newer: Roster) -> None:
        """Let a newer roster say who may speak and is spoken to; ProtocolError where it does not
        count.
        """
        newer.verify(self.kit.enrolment, self.roster.serial)
        self.roster = newer
        self._loop.call_soon_threadsafe(self.news.set)  # who is not waited for any more
        log.info("the roster of serial %d counts", newer.serial)

    # what the port asks

    def hears(self, who: str) -> bool:
        """Is this a neighbour that dials here?"""
        return who in self.course.mesh.sources

    def met(self, who: str) -> None:
        """It is there, in the same run."""
        if who not in self.there:
            tell("meets", who=who)
        self.there.add(who)
        self.news.set()

    def left(self, who: str) -> None:
        """It has said all."""
        self.gone.add(who)
        self.news.set()

    async def fits(self, who: str, words: Words) -> Fault | Held | None:
        """May this come? Held where it is there already."""
        latest = self.latest.get(who, NEVER)
        if words.round == latest:
            there = await self.do(self.mail.sha256, self.run, who, words.round)
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
        if self.latest.get(who, NEVER) >= words.round:  # by another link meanwhile
            return "late"
        about = (self.run, who, words.round, words.blob.sha256)
        await self.do(self.mail.hear, *about, said, self.course.mesh)
        self.latest[who] = max(words.round, self.latest.get(who, NEVER))
        if said is not None:
            self.vectors[who] = max(words.round, self.vectors.get(who, NEVER))
        self.news.set()
        return Held(words.round) if said is not None else why

    # what a link asks

    async def next(self, who: str) -> tuple[int, bytes | Path] | None:
        """The words that are owed to it, and their round; waits for them. None where it has heard
        all.
        """
        while True:
            said = self._said
            round = await self.do(self.mail.owed, self.run, who)
            if round is not None:
                words = await self.do(self.mail.words, self.run, round)
                if words is not None:
                    return round, words
            if self.round >= self.course.rounds:
                return None
            await said.wait()

    async def held(self, who: str, round: int) -> None:
        """It has them, or does not take them."""
        await self.do(self.mail.held, self.run, who, round)
        self.news.set()


def _read(path: Path, length: int) -> Any:
    """The words in a file, in memory; None for what is no vector of so many finite numbers."""
    try:
        found = read_value(path, most_of(length))
    except ProtocolError:
        return None
    return np.array(found) if is_vector(found, length) else None
