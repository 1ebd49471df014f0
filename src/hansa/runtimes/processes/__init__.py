"""Processes: clients on all cores of this machine; each worker trains whoever is next, and returns one sum.

No script needs an `if __name__ == "__main__"`, and a worker computes on one thread: more cores are more workers. Parent
and worker are one program of one user, and speak pickle in shared memory; nothing that comes from another party is
unpickled.
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
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from ...algorithms import ClientState
from ...crypto.identity import Member
from ...errors import PlanError
from ...messages import Reply, Request
from ...parties.client import Client
from ...parties.population import Clients, Population, gathered
from ...rand import Key
from ..allocator import keep
from ..inprocess import introduce
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
class Memory:
    """What clients remember between rounds: it stays with the parent, and travels with each request."""

    now: dict[str, ClientState] = field(repr=False)
    # who → a session, and what was remembered before it
    before: dict[str, tuple[int, ClientState]] = field(default_factory=dict, repr=False)

    def of(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these remember, where it is anything."""
        return {name: self.now[name] for name in who if self.now.get(name)}

    def learn(self, session: int, client_states: Mapping[str, ClientState]) -> None:
        """Remember this from now on."""
        for who, memo in client_states.items():
            self.before[who] = session, self.now.get(who, {})
            self.now[who] = memo

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these remember what they did before the session."""
        for name in who:
            if self.before.get(name, (None,))[0] == session:
                self.now[name] = self.before.pop(name)[1]


@dataclass
class Waiting:
    """A request under way: whose, until when, and for whom."""

    request: Request
    until: float
    who: set[str]


class Processes:
    """Clients in `workers` processes; the same bytes as in one process, whatever their number.

    The model and all clients' arrays lie in shared memory, once, and any worker trains any client: the longest first,
    and each for the worker that is free. What clients remember is kept here and travels to where they train. Only
    data in other forms (a Dataset, a stream), and clients that count what they tell, stay with one worker. Of a
    `Population` the workers make the data themselves.

    Each helper that the plan's aggregator asks for has a process of its own, where its private keys are and stay.
    Its noise grows from `secret`, or from a fresh one of its own.
    """

    def __init__(self, clients: Iterable[Client] | Population, workers: int = 2, secret: Key | None = None):
        keep()
        found = gathered(clients)
        self.named = found.named or (secret is not None and not secret.hides)
        if workers < 1:
            raise PlanError(
                f"Processes(workers={workers}) has nobody to work.", "One is the least.", "Write workers=2."
            )
        self._names, number, parties = found.names, min(workers, len(found)), found.plan.aggregator.parties
        self._home, self._sizes = _homes(found, number), _sizes(found)
        self._counting = found.plan.clients_draw
        self._memory = Memory({} if isinstance(found, Population) else found.memory(found))
        self._at = dict[str, int]()  # who is in a conversation, and with which worker
        self._tasks, self._waiting = count(), dict[int, Waiting]()
        self._ready: deque[Reply] = deque()
        homes = [tuple(who for who, i in self._home.items() if i == worker) for worker in range(number)]
        homes += [(name,) for name in parties]
        self._forkserver = ForkServer(found.plan.model, len(homes))
        self._all = [Worker(i, *one) for i, one in enumerate(zip(homes, self._forkserver.links, strict=True))]
        self._workers = self._all[:number]
        self._home |= {worker.names[0]: worker.number for worker in self._all[number:]}
        self._inbox, self._sender = selectors.PollSelector(), Sender()
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
        """Give the workers their clients, and the arrays of all that are free in memory that they share."""
        if isinstance(clients, Population):
            self._tell(self._workers, clients)
            return
        bare = {who: replace(client, data=None) for who, client in clients.items() if who not in self._home}
        for worker in self._workers:
            self._tell([worker], bare | {who: clients[who] for who in worker.names})
        self._tell(self._workers, {who: _dense(clients[who].data) for who in bare})

    def _tell(self, workers: Iterable[Worker], message: Any, tasks: int = 0) -> None:
        self._sender.send([worker.link for worker in workers], message, tasks)

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self._names

    def send(self, request: Request) -> None:
        """Lay the request out for all workers; each takes the next client when it is free, the longest first."""
        until = time.monotonic() + request.deadline
        if request.turn == 0 and not self._sizes:
            self._at.clear()  # a population's clients keep no conversation beyond the next round
        fixed, free = dict[int, list[str]](), list[str]()
        for who in request.bodies:
            worker = self._home.get(who, self._at.get(who) if request.turn else None)
            if worker is None and self._counting:  # of a population, whose clients are not listed
                worker = self._names.index(who) % len(self._workers)
            (free if worker is None else fixed.setdefault(worker, [])).append(who)
        for number, names in fixed.items():
            self._ask([self._all[number]], replace(request, bodies={who: request.bodies[who] for who in names}), until)
        if free:
            free.sort(key=lambda who: -self._sizes.get(who, 0))
            self._ask(self._workers, replace(request, bodies={who: request.bodies[who] for who in free}), until, True)

    def _ask(self, workers: list[Worker], request: Request, until: float, open: bool = False) -> None:
        number, client_states = next(self._tasks), {} if request.turn else self._memory.of(request.bodies)
        self._waiting[number] = Waiting(replace(request, broadcast=None), until, set(request.bodies))
        self._tell(workers, Task(number, request, until, open, client_states), len(request.bodies) if open else 0)

    def receive(self) -> Reply:
        """The next reply; clients that pass the deadline are lost as late."""
        while not self._ready:
            received = self._listen(min(one.until for one in self._waiting.values()))
            if received is None:
                self._give_up(time.monotonic())
            else:
                worker, (_, task, replies, client_states) = received
                self._take(worker.number, task, replies, client_states)
        return self._ready.popleft()

    def _take(self, worker: int, task: int, replies: list[Reply], client_states: Mapping[str, ClientState]) -> None:
        waiting = self._waiting.get(task)
        if waiting is None:  # it comes after its deadline
            return
        self._memory.learn(
            waiting.request.session, deepcopy(client_states)
        )  # a memo must not keep all of its message alive
        for reply in replies:
            waiting.who -= set(reply.who)
            self._ready.append(reply if waiting.request.fold else replace(reply, body=deepcopy(reply.body)))
            if not waiting.request.fold:
                self._at |= dict.fromkeys(reply.who, worker)
        if not waiting.who:
            del self._waiting[task]

    def _give_up(self, now: float) -> None:
        for task, waiting in list(self._waiting.items()):
            if waiting.until <= now:
                del self._waiting[task]
                head = waiting.request
                self._ready.append(Reply(head.session, head.round, tuple(sorted(waiting.who)), None, "late"))

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
            code, who, excluded = self._forkserver.end(), "The process that started the workers", "They"
        else:
            who = f"Worker {worker.number} of {len(self._all)}"
            excluded = f"{', '.join(worker.names[:3])} and so on" if worker.names else "The clients it was training"
        return (
            f"{who} died ({'signal' if code < 0 else 'exit code'} {abs(code)}).\n"
            f"  {excluded} are lost.\n"
            "  Signal 9 is most often the system running out of memory.\n"
            "  Use fewer workers or smaller data, and resume the run."
        )

    def memory(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these clients remember between rounds."""
        return self._memory.of(who)

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each client remember this, and those that are not named nothing."""
        self._memory = Memory({who: memo for who, memo in client_states.items() if memo})
        self._waiting.clear()
        self._ready.clear()
        self._at.clear()
        self._tell(self._all, "load")

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these clients remember what they did before the session, for it did not count."""
        self._memory.rollback(session, who)

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
    """Who stays with which worker: clients whose data cannot be shared, and those that count what they tell."""
    if isinstance(clients, Population):
        return {}
    counting = clients.plan.clients_draw
    return {who: i % workers for i, who in enumerate(clients) if counting or not _arrays(clients[who].data)}


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
