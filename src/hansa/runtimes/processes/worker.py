"""The life of a worker process: hear a request, train clients that are free, say their sum.

A worker has two threads: one receives, so that the program never waits for who is training, and one
does all the rest. It ends when its link does, and so with the program, however that ends.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

from ...messages import Reply, Request
from ...parties import Given, Party, Said
from ...parties.client import Client
from ...parties.helper import Helper
from ...parties.population import Population
from ...progress import Watch, every, tell, watching
from ...rand import Key
from ...spec import Spec
from ..allocator import keep
from ..inprocess import Answer, answer, fold
from .sharedmemory import Sender, claims, receive, take

EVERY = 1.0  # seconds between two words of a worker on how far it is


@dataclass(frozen=True)
class Task:
    """A request as workers get it: for one; or `open`, each client for the first who is free."""

    number: int
    request: Request
    until: float  # on the machine's monotonic clock
    open: bool
    told: bool  # does somebody look on, who is to hear how far it is?
    given: Mapping[str, Given] = field(repr=False)  # what its clients remember


def work(end: int) -> None:
    """A worker's whole life, at its end of a link; it ends with its parent.

    First it hears who lives here, and then tasks, one after another. Where a client's code fails,
    its traceback goes to the parent, which raises it, and the worker lives on.
    """
    keep()
    # random's own does so where a process is forked; NumPy's would draw the same in all workers
    np.random.seed()  # noqa: NPY002
    link = socket.socket(fileno=end)
    # else what clients print is lost at the end
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # PyTorch's, of data that all share
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    # a client's words, without a line of hansa's code
    warnings.formatwarning = lambda message, *_: f"{message}\n"
    inbox = SimpleQueue[int]()
    Thread(target=hear, args=(link, inbox), daemon=True).start()
    say = one_by_one(partial(Sender().send, [link]))
    parties = _parties(say, inbox)
    while True:
        memory = inbox.get()
        task = take(memory)
        if isinstance(task, Task):
            try:
                with reporting(say, task.number) if task.told else nullcontext():
                    for replies, said in _done(parties, task, memory):
                        say(("reply", task.number, replies, said))
            except Exception as error:
                # the parent's own error carries them on
                notes = error.__dict__.pop("__notes__", [])
                say(("bug", traceback.format_exc(), notes))
        os.close(memory)
        del task  # and with it the model


def hear(link: socket.socket, inbox: SimpleQueue[int]) -> None:
    """Receive while the clients train, so that the parent never waits; end with the parent."""
    while (memory := receive(link)) is not None:
        inbox.put(memory)
    os._exit(0)


def one_by_one(say: Callable[[Any], None]) -> Callable[[Any], None]:
    """What two threads may call: a message is sent when the one before is."""
    lock = Lock()

    def said(message: Any) -> None:
        with lock:
            say(message)

    return said


@contextmanager
def reporting(say: Callable[[Any], None], task: int) -> Iterator[None]:
    """Say every EVERY seconds what is being done for a task, where that is something else.

    A thread of its own says so: who trains does not wait for it, and of a short task it says
    nothing.
    """
    last = ""

    def report(watch: Watch) -> None:
        nonlocal last
        now = str(watch)
        if now != last:
            say(("doing", task, now))
        last = now

    with watching() as watch, every(EVERY, partial(report, watch)):
        yield


def _parties(say: Callable[[Any], None], inbox: SimpleQueue[int]) -> Population | Mapping[str, Any]:
    """Who lives here, by the first message: name → party, or a population.

    A helper is made here, and tells its public half; clients come first without their data, and
    then with it, where that lies in shared memory.
    """
    memory = inbox.get()
    reply = take(memory, copy=True)
    os.close(memory)
    if isinstance(reply, tuple):
        who, plan, secret = reply
        helper = Helper(who, plan, secret=secret or Key.fresh())
        say(("member", helper.who, helper.enrol()))
        memory = inbox.get()
        helper.roster = take(memory, copy=True)
        os.close(memory)
        return {helper.who: helper}
    if not isinstance(reply, Population):
        memory = inbox.get()
        for who, data in take(memory).items():
            reply[who].data = data
        os.close(memory)
    say(("ready",))
    return reply  # type: ignore[no-any-return]


def _done(
    parties: Population | Mapping[str, Any], task: Task, memory: int
) -> Iterator[tuple[list[Reply], dict[str, Said]]]:
    """The replies to one request, and what those who answered have learnt.

    The two come together, so that none is heard of whom it is not yet written what it has said.
    """
    request = task.request
    new = dict[str, Said]()
    names = list(request.bodies)
    if isinstance(parties, Population) and request.turn == 0:
        parties.evict()
    some: Iterable[str] = names
    if task.open:
        some = claims(memory, names)
    # the rest is late
    reply = (_said(parties, who, task, new) for who in some if time.monotonic() < task.until)
    plan = parties.plan if isinstance(parties, Population) else parties[names[0]].plan
    for replies in answers(reply, request, plan.encoded_spec):
        yield replies, dict(new)
        new.clear()


def _said(
    parties: Population | Mapping[str, Any], who: str, task: Task, new: dict[str, Said]
) -> Answer:
    """What one party says; what it has learnt is put beside that of the others.

    A client of a folded request is done with its round, and lets go of what only that needs.
    """
    tell("client", who)
    party: Party = parties[who]
    said, why = answer(party, task.request, task.given[who])
    if task.request.fold and isinstance(parties, Population):
        parties.evict()
    elif task.request.fold and task.open and isinstance(party, Client):
        party.release()
    if said is None:
        return who, None, why
    new[who] = replace(said, reply=None)
    return who, said.reply, why


def answers(reply: Iterable[Answer], request: Request, encoded: Spec) -> Iterator[list[Reply]]:
    """Replies to a request as they are sent: one sum of all, and why others are not in it.

    One by one where each is asked for, or where who is late would hold up the others.
    """
    if request.fold and request.deadline == math.inf:
        total, there, excluded = fold(reply, encoded)
        yield [
            Reply.to(request, there, total if there else None),
            *(Reply.to(request, (who,), None, excluded[who]) for who in excluded),
        ]
    else:
        for who, body, why in reply:
            yield [Reply.to(request, (who,), body, why)]
