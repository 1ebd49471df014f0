"""Processes: clients on all cores of this machine.

    program ── fork server ──┬── worker 0   trains whoever is next, and says the sum of its clients
                             ├── worker 1   …
                             └── helper     holds its own keys, where an aggregator asks for one

No script needs an `if __name__ == "__main__"`, and a worker computes on one thread: more cores are
more workers. Parent and worker are one program of one user, and speak pickle in shared memory;
nothing that comes from another party is unpickled.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import time
import weakref
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Self

import numpy as np

from ...aggregators.arrivals import arriving
from ...crypto.identity import Member
from ...errors import PlanError
from ...messages import Begin, Message, Reply, Request, Settle
from ...parties import Given, Said
from ...parties.book import Book
from ...parties.client import Client
from ...parties.memory import Memory
from ...parties.population import Clients, Population, gathered
from ...progress import looked_on, tell
from ...rand import Key
from ..allocator import keep
from ..inprocess import Deadlines, all_given, heard, introduce, kept
from .forkserver import ForkServer
from .sharedmemory import Sender, receive, take
from .worker import Task

LONGEST = 1e6  # seconds that are waited at once; systems count milliseconds in 32 bits


@dataclass(frozen=True)
class Worker:
    """A worker process, and this end of the link to it.

    `names` are the parties that live nowhere else: a helper, or clients whose data are not shared.
    """

    number: int
    names: tuple[str, ...]
    link: socket.socket


@dataclass
class Waiting:
    """A request under way: whose, until when on the monotonic clock, and who has not answered."""

    request: Request
    until: float
    who: set[str]


class Processes:
    """Clients in `workers` processes; the same bytes as in one process, whatever their number.

    PlanError where there are fewer than one; RuntimeError where a worker dies, or a client's code
    fails in one.

    The model and all clients' arrays lie in shared memory, once, and any worker trains any client:
    the longest first, and each for the worker that is free. What clients remember, and their book,
    are kept here, and travel to where they train. Only data in other forms (a Dataset, a stream)
    stay with one worker. Of a `Population` the workers make the data themselves.

    Where somebody looks on, a worker says every second whom it trains, and at which step that is;
    of what is over sooner nothing is said.

    Each helper that the plan's aggregator asks for has a process of its own, where its private keys
    are and stay. Its noise grows from `secret`, or from a fresh one of its own.
    """

    def __init__(
        self,
        clients: Iterable[Client] | Population,
        workers: int = 2,
        secret: Key | None = None,
        book: Book | None = None,
    ):
        keep()
        found = gathered(clients)
        self.named = found.named or (secret is not None and not secret.hides)
        if workers < 1:
            raise PlanError(
                f"Processes(workers={workers}) has nobody to work.",
                "One is the least.",
                "Write workers=2.",
            )
        if isinstance(found, Population) and arriving(found.plan.aggregator):
            raise PlanError(
                f"Processes cannot run {found.plan.aggregator!r} with a Population.",
                "A client waits between two messages until enough are ready, and those of a "
                "population are made anew for each message.",
                "Use InProcess, or give Processes a list of Clients.",
            )
        self._names = found.names
        number = min(workers, len(found))
        self._home = _homes(found, number)
        self._sizes = _sizes(found)
        self.memory = Memory(found.plan, self.named, book)
        self._deadlines = Deadlines(bool(arriving(found.plan.aggregator)))
        self._at = dict[str, int]()  # who is in a conversation, and with which worker
        self._tasks = count()
        self._waiting = dict[int, Waiting]()
        self._ready = deque[Reply]()
        self._later = list[Request]()  # of who is answering the same turn just now
        self._doing = dict[int, str]()  # worker → what it has said that it does
        self._start(found, number)
        self._introduce(found, self._all[number:], secret)
        self._settle(found)
        for _ in self._workers:  # an interpreter's start is no part of a round
            self._hear()

    def _start(self, clients: Clients, number: int) -> None:
        """Start so many workers, and a process for each helper."""
        homes = [
            tuple(who for who, i in self._home.items() if i == worker) for worker in range(number)
        ]
        homes += [(name,) for name in clients.plan.aggregator.parties]
        self._forkserver = ForkServer(clients.plan.model, len(homes))
        ends = zip(homes, self._forkserver.links, strict=True)
        self._all = [Worker(i, names, link) for i, (names, link) in enumerate(ends)]
        self._workers = self._all[:number]
        self._home |= {worker.names[0]: worker.number for worker in self._all[number:]}
        self._inbox = selectors.PollSelector()
        self._sender = Sender()
        self._end = weakref.finalize(self, stop, self._forkserver, self._sender)
        for worker in self._all:
            self._inbox.register(worker.link, selectors.EVENT_READ, worker)
        self._inbox.register(self._forkserver.link, selectors.EVENT_READ)

    def _introduce(self, clients: Clients, helpers: list[Worker], secret: Key | None) -> None:
        """Let helpers make their keys, each where it lives, and all parties know each other."""
        for worker in helpers:
            self._tell([worker], (worker.names[0], clients.plan, secret))
        introduce(clients, dict(self._hear()[1][1:] for _ in helpers))
        self.members: Mapping[str, Member] = clients.roster
        for worker in helpers:
            self._tell([worker], clients.roster)

    def _settle(self, clients: Clients) -> None:
        """Give the workers their clients; the arrays of all that are free, in shared memory."""
        if isinstance(clients, Population):
            self._tell(self._workers, clients)
            return
        bare = {
            who: replace(client, data=None)
            for who, client in clients.items()
            if who not in self._home
        }
        for worker in self._workers:
            self._tell([worker], bare | {who: clients[who] for who in worker.names})
        self._tell(self._workers, {who: _dense(clients[who].data) for who in bare})

    def _tell(self, workers: Iterable[Worker], message: Any, tasks: int = 0) -> None:
        """Send a message to some workers, with so many tasks to claim."""
        self._sender.send([worker.link for worker in workers], message, tasks)

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self._names

    def send(self, message: Message) -> None:
        """Lay the request out for all workers: each takes the next client when it is free.

        Longest first; but who lives with one worker, or is in a conversation with it, is asked
        there. Who is answering the same turn just now is asked again when it has answered.
        """
        if not isinstance(message, Request):
            self._hear_of(message)
            return
        until = self._deadlines.of(message, time.monotonic())
        if message.turn == 0 and not self._sizes:
            self._at.clear()  # a population's clients keep no conversation beyond the next round
        given, known, later = all_given(self.memory, message, self._busy(message))
        self._ready += known
        self._later += later
        fixed = dict[int, list[str]]()
        free = list[str]()
        for who in given:
            worker = self._home.get(who)
            if worker is None and message.turn:
                worker = self._at.get(who)
            if worker is None:
                free.append(who)
            else:
                fixed.setdefault(worker, []).append(who)
        for number, names in fixed.items():
            self._ask([self._all[number]], message, {who: given[who] for who in names}, until)
        if free:
            free.sort(key=lambda who: -self._sizes.get(who, 0))
            self._ask(self._workers, message, {who: given[who] for who in free}, until, True)

    def _busy(self, message: Request) -> set[str]:
        """Who has been asked for this turn of the session, and is answering.

        Asked a second time, it would train a second time before the first is written down.
        """
        place = message.session, message.turn
        under_way = [
            one
            for one in self._waiting.values()
            if (one.request.session, one.request.turn) == place
        ]
        return {who for one in under_way for who in one.who}

    def _ask_again(self) -> None:
        """Ask those who were busy: what they have said they say again, or nothing."""
        later = self._later
        self._later = []
        for message in later:
            self.send(message)

    def _hear_of(self, message: Begin | Settle) -> None:
        """A run begins, and nothing of another is under way any more; or a session is settled."""
        self.memory.hear(message)
        self._deadlines.hear(message)
        if isinstance(message, Begin):
            self._waiting.clear()
            self._ready.clear()
            self._later.clear()
            self._at.clear()

    def _ask(
        self,
        workers: list[Worker],
        request: Request,
        given: dict[str, Given],
        until: float,
        open: bool = False,
    ) -> None:
        """Hand a part of a request to these workers; `open`, whoever of them is free takes it."""
        number = next(self._tasks)
        part = replace(request, bodies={who: request.bodies[who] for who in given})
        self._waiting[number] = Waiting(replace(part, broadcast=None), until, set(given))
        task = Task(number, part, until, open, looked_on(), given)
        self._tell(workers, task, len(given) if open else 0)

    def receive(self) -> Reply:
        """The next reply, written down before it is given.

        Clients that pass the deadline are excluded as late, and what they say then is not heard.
        """
        while not self._ready:
            received = self._listen(min(one.until for one in self._waiting.values()))
            if received is None:
                self._give_up(time.monotonic())
            else:
                worker, (kind, *message) = received
                if kind == "doing":
                    task, words = message
                    if task in self._waiting:
                        show(self._doing, worker.number, words)
                else:
                    self._take(worker.number, *message)
        return heard(self.memory, self._ready.popleft())

    def _take(self, worker: int, task: int, replies: list[Reply], said: Mapping[str, Said]) -> None:
        """Replies of a worker, and what their clients have learnt: keep what outlives them."""
        self._doing.pop(worker, None)
        waiting = self._waiting.get(task)
        if waiting is None:  # it comes after its deadline
            return
        said = deepcopy(said)  # what one remembers must not keep all of its message alive
        for reply in replies:
            waiting.who -= set(reply.who)
            own = reply
            if not waiting.request.fold:
                own = replace(reply, body=deepcopy(reply.body))
                self._at |= dict.fromkeys(reply.who, worker)
            self._ready.append(kept(self.memory, own, waiting.request, said))
        if not waiting.who:
            del self._waiting[task]
        self._ask_again()

    def _give_up(self, now: float) -> None:
        """Exclude as late who has not answered by now, and should have."""
        for task, waiting in list(self._waiting.items()):
            if waiting.until <= now:
                del self._waiting[task]
                self._ready.append(
                    Reply.to(waiting.request, tuple(sorted(waiting.who)), None, "late")
                )
        self._ask_again()

    def _listen(self, until: float = math.inf) -> tuple[Worker, Any] | None:
        """A worker, and what it says next; None when it is too late."""
        left = None
        if not math.isinf(until):
            left = min(max(0.0, until - time.monotonic()), LONGEST)
        ready = self._inbox.select(left)
        if not ready:
            return None
        return self._hear(ready[0][0].data)

    def _hear(self, worker: Worker | None = None) -> tuple[Worker, Any]:
        """What this worker says next, or any; waits. RuntimeError where it has died, or failed."""
        worker = worker or self._inbox.select()[0][0].data
        if worker is None or (memory := receive(worker.link)) is None:
            raise RuntimeError(self._death(worker))
        message = take(memory)
        os.close(memory)
        if message[0] == "bug":
            error = RuntimeError(f"A client's code failed in worker {worker.number}:\n{message[1]}")
            for skipped in message[2]:
                error.add_note(skipped)
            raise error
        return worker, message

    def _death(self, worker: Worker | None) -> str:
        """Who has died, of what, and what to do."""
        if worker is None or (code := self._forkserver.code(worker.number)) is None:
            code = self._forkserver.end()
            who = "The process that started the workers"
            excluded = "They"
        else:
            who = f"Worker {worker.number} of {len(self._all)}"
            excluded = "The clients it was training"
            if worker.names:
                excluded = f"{', '.join(worker.names[:3])} and so on"
        cause = f"exit code {code}"
        if code < 0:
            cause = f"signal {-code}"
        return (
            f"{who} died ({cause}).\n"
            f"  {excluded} are lost.\n"
            "  Signal 9 is most often the system running out of memory.\n"
            "  Use fewer workers or smaller data, and resume the run."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and free what they share; also happens when this object is forgotten."""
        self._end()


def show(doing: dict[int, str], worker: int, words: str) -> None:
    """Tell what all workers do, of which one has just said so, to whoever looks on.

    doing: worker → what it has said last, of a task that is not over
    """
    doing[worker] = words
    tell("client", ", ".join(doing.values()))


def stop(forkserver: ForkServer, sender: Sender) -> None:
    """End worker processes, and what was sent to them."""
    sender.close()
    forkserver.end()
    for link in (forkserver.link, *forkserver.links):
        link.close()


def _homes(clients: Clients, workers: int) -> dict[str, int]:
    """Who stays with which worker: clients whose data cannot be shared."""
    if isinstance(clients, Population):
        return {}
    return {who: i % workers for i, who in enumerate(clients) if not _arrays(clients[who].data)}


def _arrays(data: Any) -> bool:
    """Is this made of NumPy arrays of numbers alone, which processes can share?"""
    if type(data) is dict:
        return all(map(_arrays, data.values()))
    if type(data) in (tuple, list):
        return all(map(_arrays, data))
    return type(data) is np.ndarray and not data.dtype.hasobject


def _sizes(clients: Clients) -> dict[str, int]:
    """name → how many records: as much as can be told of work without reading any.

    Of a population nothing is known before its clients are made, so its order is that of asking.
    """
    if isinstance(clients, Population):
        return {}
    return {who: _rows(client.data) for who, client in clients.items()}


def _rows(data: Any) -> int:
    """How many records there are: the length of the longest part; 0 for what has none."""
    if isinstance(data, Mapping):
        return max(map(_rows, data.values()), default=0)
    if isinstance(data, tuple | list):
        return max(map(_rows, data), default=0)
    if hasattr(data, "__len__"):
        return len(data)
    return 0


def _dense(data: Any) -> Any:
    """The same arrays without gaps, for only these are shared: others are copied into a pickle."""
    if isinstance(data, dict):
        return {name: _dense(part) for name, part in data.items()}
    if isinstance(data, tuple | list):
        return type(data)(map(_dense, data))
    if data.flags.f_contiguous:
        return data
    return np.ascontiguousarray(data)
