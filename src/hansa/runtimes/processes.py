"""Processes: clients in worker processes of this machine; each worker sums its own clients and returns one vector.

A worker is a fresh interpreter, so no script needs an `if __name__ == "__main__"`, and it computes on one thread: more
cores are more workers. Parent and worker are one program of one user and speak pickle over the worker's own pipes;
nothing that comes from another party is unpickled.
"""

from __future__ import annotations

import math
import os
import pickle
import struct
import subprocess
import sys
import time
import traceback
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, Queue
from threading import TIMEOUT_MAX, Thread
from typing import Any, BinaryIO

import cloudpickle

from ..client import Client, Helper, Party, Reply, Request
from ..errors import PlanError
from ..optim import Memo
from ..population import Listed
from .inprocess import answer, fold, introduce

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
START = "from hansa.runtimes.processes import work; work()"


@dataclass
class Worker:
    """A worker process and the names of its clients; a thread puts what it says into `inbox`."""

    number: int
    names: tuple[str, ...]
    inbox: Queue[tuple[int, Any]]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        paths = os.pathsep.join(filter(None, sys.path))
        self.process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": paths},
            process_group=0,  # Ctrl-C is for the parent, which ends its workers itself
        )
        assert self.process.stdout is not None
        Thread(target=listen, args=(self.process.stdout, self.number, self.inbox), daemon=True).start()

    def say(self, message: Any) -> None:
        """Write one message to the worker; one that is dead is noticed when it is listened to."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            write(self.process.stdin, cloudpickle.dumps(message))


class Processes:
    """Clients in `workers` processes; the same bytes as in one process, whatever their number.

    Each helper that the plan's aggregator asks for has a process of its own, where its private key is made and stays.
    """

    def __init__(self, clients: Iterable[Client], workers: int = 2):
        found = Listed(clients)
        if workers < 1:
            raise PlanError(
                f"Processes(workers={workers}) has nobody to work.", "One is the least.", "Write workers=2."
            )
        self._names, number = tuple(found), min(workers, len(found))
        self._inbox: Queue[tuple[int, Any]] = Queue()
        self._ready: deque[Reply] = deque()
        self._waiting: dict[tuple[int, int], tuple[float, set[str]]] = {}  # (session, turn) → until when, for whom
        plan = found.plan
        named = [*(self._names[i::number] for i in range(number)), *((name,) for name in plan.aggregator.parties)]
        self._all = [Worker(i, names, self._inbox) for i, names in enumerate(named)]
        self._workers = self._all[:number]
        self._end = weakref.finalize(self, stop, [worker.process for worker in self._all])
        for worker in self._all[number:]:
            worker.say([partial(Helper, worker.names[0], plan)])
        introduce(found, dict(self._listen()[1] for _ in plan.aggregator.parties))
        for worker in self._workers:
            worker.say([found[name] for name in worker.names])

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self._names

    def send(self, request: Request) -> None:
        """Give each worker the part of the request that concerns its clients."""
        until = time.monotonic() + request.deadline
        self._waiting[request.session, request.turn] = until, set(request.bodies)
        for worker in self._all:
            if mine := {who: request.bodies[who] for who in worker.names if who in request.bodies}:
                worker.say(("answer", replace(request, bodies=mine)))

    def receive(self) -> Reply:
        """The next reply; clients that pass the deadline are lost as late."""
        while not self._ready:
            until = min(end for end, _ in self._waiting.values())
            message = self._listen(until)
            if message is None:
                self._give_up(time.monotonic())
            elif message[0] == "reply":
                self._take(*message[1:])
        return self._ready.popleft()

    def _take(self, turn: tuple[int, int], reply: Reply) -> None:
        waiting = self._waiting.get(turn, (0.0, set[str]()))[1]
        if waiting >= set(reply.who):  # and otherwise it comes after its deadline
            waiting -= set(reply.who)
            self._ready.append(reply)
        if not waiting:
            self._waiting.pop(turn, None)

    def _give_up(self, now: float) -> None:
        for (session, turn), (until, who) in list(self._waiting.items()):
            if until <= now:
                del self._waiting[session, turn]
                self._ready.append(Reply(session, -1, tuple(sorted(who)), None, "late"))

    def _listen(self, until: float = math.inf) -> Any:
        """What a worker says next; None when it is too late."""
        left = min(max(0.0, until - time.monotonic()), TIMEOUT_MAX / 2)
        try:
            number, message = self._inbox.get(timeout=left)
        except Empty:
            return None
        if message is None:
            code = self._all[number].process.wait()
            raise RuntimeError(
                f"Worker {number} of {len(self._all)} died ({'signal' if code < 0 else 'exit code'} {abs(code)}).\n"
                f"  {', '.join(self._all[number].names[:3])} and so on are lost.\n"
                "  Signal 9 is most often the system running out of memory.\n"
                "  Use fewer workers or smaller data, and resume the run."
            )
        if message[0] == "bug":
            error = RuntimeError(f"A client's code failed in worker {number}:\n{message[1]}")
            for note in message[2]:
                error.add_note(note)
            raise error
        return message

    def memory(self, who: Iterable[str]) -> dict[str, Memo]:
        """What these clients remember between rounds."""
        asked, memos = set(who), dict[str, Memo]()
        workers = [(worker, names) for worker in self._workers if (names := asked & set(worker.names))]
        for worker, names in workers:
            worker.say(("memory", names))
        while workers:
            message = self._listen()
            if message[0] == "reply":
                self._take(*message[1:])
            else:
                memos |= message[1]
                workers.pop()
        return {name: memos[name] for name in self._names if name in memos}

    def remember(self, memos: Mapping[str, Memo]) -> None:
        """Let each client remember this, and those that are not named nothing."""
        for worker in self._all:
            worker.say(("remember", {name: memos.get(name, {}) for name in worker.names}))

    def forget(self, session: int, who: Iterable[str]) -> None:
        """Let these clients remember what they did before the session, for it did not count."""
        names = set(who)
        for worker in self._workers:
            if mine := names & set(worker.names):
                worker.say(("forget", (session, mine)))

    def close(self) -> None:
        """End the workers; also happens when this object is forgotten."""
        self._end()


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End worker processes."""
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it had not read goes with it
                    stream.close()


def write(stream: BinaryIO | Any, message: bytes) -> None:
    """One frame: its length in eight bytes, then the message."""
    stream.write(struct.pack("<Q", len(message)))
    stream.write(message)
    stream.flush()


def read(stream: BinaryIO | Any) -> Any:
    """The next frame's message; None at the end of the stream."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    (length,) = struct.unpack("<Q", head)
    body = stream.read(length)
    return pickle.loads(body) if len(body) == length else None  # noqa: S301  (our own child's pipe)


def listen(stream: BinaryIO | Any, number: int, inbox: Queue[tuple[int, Any]]) -> None:
    """Put every message of a stream into `inbox`, and None at its end."""
    while (message := read(stream)) is not None:
        inbox.put((number, message))
    inbox.put((number, None))


def work() -> None:
    """A worker's whole life: hear a message, say the answer; it ends with its parent."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a client's code prints must not look like a reply
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # nor be lost when the worker ends
    inbox: Queue[tuple[int, Any]] = Queue()
    Thread(target=hear, args=(requests, inbox), daemon=True).start()
    clients = dict[str, Any]()
    for client in inbox.get()[1]:
        if isinstance(client, partial):  # a helper is made here, and tells its public key
            client = client()
            write(replies, pickle.dumps(("key", (client.who, client.key.public))))
        clients[client.who] = client
    while True:
        what, body = inbox.get()[1]
        if what == "memory":
            write(replies, pickle.dumps(("memory", {who: clients[who].mine for who in body if clients[who].mine})))
        elif what == "remember":
            for who, memo in body.items():
                clients[who].remember(memo)
        elif what == "forget":
            for who in body[1]:
                clients[who].forget(body[0])
        else:
            try:
                for reply in answers(clients, body):
                    write(replies, pickle.dumps(("reply", (body.session, body.turn), reply)))
            except Exception as error:
                notes = error.__dict__.pop("__notes__", [])  # the parent's own error carries them on
                write(replies, pickle.dumps(("bug", traceback.format_exc(), notes)))


def hear(stream: BinaryIO | Any, inbox: Queue[tuple[int, Any]]) -> None:
    """Read on while the clients train, so that neither side ever waits for the other to read; end with the parent."""
    try:
        while (message := read(stream)) is not None:
            inbox.put((0, message))
    except Exception:
        traceback.print_exc()  # a thread's own report would come too late
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def answers(clients: Mapping[str, Party], request: Request) -> Iterator[Reply]:
    """The replies of one worker's clients to one request."""
    until = time.monotonic() + request.deadline
    in_time = (clients[who] for who in request.bodies if time.monotonic() < until)  # the rest is given up as late
    if request.fold and request.deadline == math.inf:  # else one who is late would take all the others along
        total, there, lost = fold(in_time, request)
        yield Reply(request.session, request.round, there, total if there else None)
        for who, why in lost.items():
            yield Reply(request.session, request.round, (who,), None, why)
    else:
        for client in in_time:
            body, why = answer(client, request)
            yield Reply(request.session, request.round, (client.who,), body, why)
