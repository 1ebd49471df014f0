"""Processes: clients on all cores of this machine; each worker trains whoever is next, and returns
one sum.

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

from ...crypto.identity import Member
from ...errors import PlanError
from ...messages import Begin, Message, Reply, Request, Settle
from ...parties import Given, Said
from ...parties.book import Book
from ...parties.client import Client
from ...parties.memory import Memory
from ...parties.population import Clients, Population, gathered
from ...rand import Key
from ..allocator import keep
from ..inprocess import Deadlines, all_given, heard, introduce, kept
from .forkserver import ForkServer
from .sharedmemory import Sender, receive, take
from .worker import Task

LONGEST = 1e6  # seconds that are waited at once; systems count milliseconds in 32 bits


@dataclass(frozen=True)
class Worker:
    """A worker process; `names` are the parties that live nowhere else."""

    number: int
    names: tuple[str, ...]
    link: socket.socket


@dataclass
class Waiting:
    """A request under way: whose, until when, and for whom."""

    request: Request
    until: float
    who: set[str]


class Processes:
    """Clients in `workers` processes; the same bytes as in one process, whatever their number.

    The model and all clients' arrays lie in shared memory, once, and any worker trains any client:
    the longest first, and each for the worker that is free. What clients remember, and their book,
    are kept here, and travel to where they train. Only data in other forms (a Dataset, a stream)
    stay with one worker. Of a `Population` the workers make the data themselves.

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
        self._names = found.names
        number = min(workers, len(found))
        parties = found.plan.aggregator.parties
        self._home = _homes(found, number)
        self._sizes = _sizes(found)
        self.memory = Memory(found.plan, self.named, book)
        self._deadlines = Deadlines()
        self._at = dict[str, int]()  # who is in a conversation, and with which worker
        self._tasks = count()
        self._waiting = dict[int, Waiting]()
        self._ready = deque[Reply]()
        self._later = list[Request]()  # of who is answering the same turn just now
        homes = [
            tuple(who for who, i in self._home.items() if i == worker) for worker in range(number)
        ]
        homes += [(name,) for name in parties]
        self._forkserver = ForkServer(found.plan.model, len(homes))
        self._all = [
            Worker(i, *one) for i, one in enumerate(zip(homes, self._forkserver.links, strict=True))
        ]
        self._workers = self._all[:number]
        self._home |= {worker.names[0]: worker.number for worker in self._all[number:]}
        self._inbox = selectors.PollSelector()
        self._sender = Sender()
        self._end = weakref.finalize(self, stop, self._forkserver, self._sender)
        for worker in self._all:
            self._inbox.register(worker.link, selectors.EVENT_READ, worker)
        self._inbox.register(self._forkserver.link, selectors.EVENT_READ)
        for worker in self._all[number:]:
            self._tell([worker], (worker.names[0], found.plan, secret))
        introduce(found, dict(self._hear()[1][1:] for _ in parties))
        self.members: Mapping[str, Member] = found.roster
        for worker in self._all[number:]:
            self._tell([worker], found.roster)
        self._settle(found)
        for _ in self._workers:  # an interpreter's start is no part of a round
            self._hear()

    def _settle(self, clients: Clients) -> None:
        """Give the workers their clients, and the arrays of all that are free in memory that they
        share.
        """
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
        self._sender.send([worker.link for worker in workers], message, tasks)

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self._names

    def send(self, message: Message) -> None:
        """Lay the request out for all workers; each takes the next client when it is free, the
        longest first.
        """
        if not isinstance(message, Request):
            self._hear_of(message)
            return
        until = self._deadlines.of(message, time.monotonic())
        if message.turn == 0 and not self._sizes:
            self._at.clear()  # a population's clients keep no conversation beyond the next round
        busy = self._busy(message)
        self._later += [
            replace(message, bodies={who: body})
            for who, body in message.bodies.items()
            if who in busy
        ]
        given, known = all_given(
            self.memory, message, [who for who in message.bodies if who not in busy]
        )
        self._ready += known
        fixed = dict[int, list[str]]()
        free = list[str]()
        for who in given:
            worker = self._home.get(who, self._at.get(who) if message.turn else None)
            (free if worker is None else fixed.setdefault(worker, [])).append(who)
        for number, names in fixed.items():
            self._ask([self._all[number]], message, {who: given[who] for who in names}, until)
        if free:
            free.sort(key=lambda who: -self._sizes.get(who, 0))
            self._ask(self._workers, message, {who: given[who] for who in free}, until, True)

    def _busy(self, message: Request) -> set[str]:
        """Who has been asked for this turn of the session, and is answering."""
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
        number = next(self._tasks)
        part = replace(request, bodies={who: request.bodies[who] for who in given})
        self._waiting[number] = Waiting(replace(part, broadcast=None), until, set(given))
        self._tell(workers, Task(number, part, until, open, given), len(given) if open else 0)

    def receive(self) -> Reply:
        """The next reply, written down before it is given; clients that pass the deadline are lost
        as late.
        """
        while not self._ready:
            received = self._listen(min(one.until for one in self._waiting.values()))
            if received is None:
                self._give_up(time.monotonic())
            else:
                worker, (_, task, replies, said) = received
                self._take(worker.number, task, replies, said)
        return heard(self.memory, self._ready.popleft())

    def _take(self, worker: int, task: int, replies: list[Reply], said: Mapping[str, Said]) -> None:
        waiting = self._waiting.get(task)
        if waiting is None:  # it comes after its deadline
            return
        said = deepcopy(said)  # what one remembers must not keep all of its message alive
        for reply in replies:
            waiting.who -= set(reply.who)
            own = reply if waiting.request.fold else replace(reply, body=deepcopy(reply.body))
            self._ready.append(kept(self.memory, own, waiting.request, said))
            if not waiting.request.fold:
                self._at |= dict.fromkeys(reply.who, worker)
        if not waiting.who:
            del self._waiting[task]
        self._ask_again()

    def _give_up(self, now: float) -> None:
        for task, waiting in list(self._waiting.items()):
            if waiting.until <= now:
                del self._waiting[task]
                self._ready.append(
                    Reply.to(waiting.request, tuple(sorted(waiting.who)), None, "late")
                )
        self._ask_again()

    def _listen(self, until: float = math.inf) -> tuple[Worker, Any] | None:
        """A worker, and what it says next; None when it is too late."""
        left = None if math.isinf(until) else min(max(0.0, until - time.monotonic()), LONGEST)
        return self._hear(ready[0][0].data) if (ready := self._inbox.select(left)) else None

    def _hear(self, worker: Worker | None = None) -> tuple[Worker, Any]:
        """What this worker says next, or any; waits."""
        worker = worker or self._inbox.select()[0][0].data
        memory = receive(worker.link) if worker else None
        if worker is None or memory is None:
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
        code = self._forkserver.code(worker.number) if worker else None
        if worker is None or code is None:
            code = self._forkserver.end()
            who = "The process that started the workers"
            excluded = "They"
        else:
            who = f"Worker {worker.number} of {len(self._all)}"
            excluded = (
                f"{', '.join(worker.names[:3])} and so on"
                if worker.names
                else "The clients it was training"
            )
        return (
            f"{who} died ({'signal' if code < 0 else 'exit code'} {abs(code)}).\n"
            f"  {excluded} are lost.\n"
            "  Signal 9 is most often the system running out of memory.\n"
            "  Use fewer workers or smaller data, and resume the run."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; also happens when this object is forgotten."""
        self._end()


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
    """Is this made of NumPy arrays alone?"""
    if type(data) in (dict, tuple, list):
        return all(map(_arrays, data.values() if isinstance(data, dict) else data))
    return type(data) is np.ndarray and not data.dtype.hasobject


def _sizes(clients: Clients) -> dict[str, int]:
    """How much work each client is, as far as can be told without reading its data."""
    if isinstance(clients, Population):
        return {}
    return {who: _rows(client.data) for who, client in clients.items()}


def _rows(data: Any) -> int:
    if isinstance(data, Mapping | tuple | list):
        return max(map(_rows, data.values() if isinstance(data, Mapping) else data), default=0)
    return len(data) if hasattr(data, "__len__") else 0


def _dense(data: Any) -> Any:
    """The same arrays without gaps, for only these are shared."""
    if isinstance(data, dict):
        return {name: _dense(part) for name, part in data.items()}
    if isinstance(data, tuple | list):
        return type(data)(map(_dense, data))
    return data if data.flags.f_contiguous else np.ascontiguousarray(data)
