"""RayCluster: clients in Ray actors on many machines; each sums its own clients.

What a lost actor did is done anew, to the same bytes: nothing that a client draws hangs on where it
is. What clients remember stays with the caller and travels with each request, so that it is lost
with no machine.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from ..aggregators.arrivals import arriving
from ..crypto.identity import Member
from ..errors import Aside, Kind, PlanError, tell
from ..messages import Message, Reply, Request
from ..parties import Given, Said
from ..parties.book import Book
from ..parties.client import Client
from ..parties.memory import Memory
from ..parties.population import Listed
from ..rand import Key
from .inprocess import Answer, Deadlines, all_given, answer, heard, helpers, kept
from .processes.worker import answers

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a library does not phone home for its user

try:
    import ray as ray
    from ray.exceptions import RayActorError, RayTaskError
except ModuleNotFoundError as missing:
    raise PlanError(
        "Ray is not installed.",
        "RayCluster runs clients on its machines.",
        "Install it: pip install 'hansa[ray]'.",
    ) from missing

LOST: Kind = "restarted"  # why a client is lost whose machine was, in the middle of a conversation
ATTEMPTS = 5  # to do what was lost, before the machines are held to be at fault

Asked = tuple[int, Request, float]  # actor, request, until when


class Actor:
    """Some clients on one machine.

    What they remember from one round to the next comes with each request, and goes with its reply.
    """

    def __init__(self, clients: list[Client]):
        self.clients = {client.who: client for client in clients}

    def answer(
        self, request: Request, broadcast: Any, given: Mapping[str, Given]
    ) -> tuple[list[Reply], dict[str, Said], list[Aside]]:
        """The replies to a request, what those asked have learnt, and what they say aside.

        The last is said where the caller sits, whose simulation it is.
        """
        asked = replace(request, broadcast=broadcast)
        until = time.monotonic() + request.deadline
        # the rest is given up as late
        names = (who for who in request.bodies if time.monotonic() < until)
        learnt = dict[str, Said]()
        encoded = next(iter(self.clients.values())).plan.encoded_spec
        with warnings.catch_warnings(record=True) as received:  # what is said here nobody sees
            warnings.simplefilter("always", Aside)
            said = (self._said(who, asked, given[who], learnt) for who in names)
            replies = [reply for some in answers(said, asked, encoded) for reply in some]
        words = [one.message for one in received if isinstance(one.message, Aside)]
        return replies, learnt, words

    def _said(self, who: str, request: Request, given: Given, learnt: dict[str, Said]) -> Answer:
        """What one client says; what it has learnt is put beside that of the others."""
        said, why = answer(self.clients[who], request, given)
        if said is None:
            return who, None, why
        learnt[who] = replace(said, reply=None)
        return who, said.reply, why


def joined(actors: int, address: str | None) -> bool:
    """Join a cluster, or start one on this machine with a CPU for each actor.

    Was it started here?
    """
    if ray.is_initialized():
        return False
    more: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
    if not address:
        more["num_cpus"] = actors
    more["logging_level"] = "error"
    ray.init(address=address, **more)
    return True


def check_cores(actors: int, what: str) -> None:
    """PlanError where the cluster has no CPU for each of so many actors."""
    cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    if cores < actors:
        raise PlanError(
            f"{what} would wait for ever.",
            f"Each takes a CPU of the cluster, and it has {cores}.",
            f"Take {cores or 1}, or bring machines to the cluster first.",
        )


class RayCluster:
    """Clients in `workers` actors of a Ray cluster; the same bytes as in one process.

    `address` joins a cluster ("auto", or ray://head:10001); without one, Ray is started on this
    machine, with a CPU for each worker. When an actor or its machine is lost, Ray starts it
    elsewhere, and what it had been asked is asked again; only a client in the middle of a longer
    conversation is lost for the round. Helpers live with the caller. PlanError where there is no
    worker, or no CPU for each; RuntimeError where a client's code fails, or ATTEMPTS were in vain.
    """

    def __init__(
        self,
        clients: Iterable[Client],
        workers: int = 2,
        address: str | None = None,
        secret: Key | None = None,
        book: Book | None = None,
    ):
        if not isinstance(workers, int) or workers < 1:
            raise PlanError(
                f"RayCluster(workers={workers!r}) has nobody to work.",
                "One is the least.",
                "Write workers=2.",
            )
        self._clients = Listed(clients)
        self.helpers = helpers(self._clients, secret)
        self.named = self._clients.named or (secret is not None and not secret.hides)
        self._started = joined(workers, address)
        count = min(workers, len(self._clients))
        check_cores(count, f"RayCluster(workers={count})")
        # Without retries of its own, Ray refuses all calls for as long as an actor is being started
        # again.
        kind = ray.remote(max_restarts=-1, max_task_retries=ATTEMPTS, num_cpus=1)(Actor)
        self._names = [self._clients.names[i::count] for i in range(count)]
        self._actors: list[Any] = [
            kind.remote([self._clients[who] for who in names]) for names in self._names
        ]
        self.memory = Memory(self._clients.plan, self.named, book)
        self._deadlines = Deadlines(bool(arriving(self._clients.plan.aggregator)))
        self._asked: dict[Any, Asked] = {}  # by the call that will answer
        self._ready = deque[Reply]()
        self._later = list[Request]()  # of who is answering the same turn just now

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted, on whichever machine."""
        return self._clients.names

    @property
    def members(self) -> Mapping[str, Member]:
        """The public halves of all parties, by name, where helpers must know them."""
        return self._clients.roster

    def send(self, message: Message) -> None:
        """Give each actor the part of the request that concerns its clients.

        The model goes once to each machine, through Ray's own store.
        """
        if not isinstance(message, Request):
            self.memory.hear(message)
            self._deadlines.hear(message)
            return
        until = self._deadlines.of(message, time.monotonic())
        broadcast = ray.put(message.broadcast)
        given, known, later = all_given(self.memory, message, self._busy(message))
        self._ready += known
        self._later += later
        for who, helper in self.helpers.items():
            if who in given:
                said, why = answer(helper, message, given[who])
                reply = Reply.to(message, (who,), said and said.reply, why)
                self._ready.append(kept(self.memory, reply, message, {who: said} if said else {}))
        for i, names in enumerate(self._names):
            if own := {who: message.bodies[who] for who in names if who in given}:
                self._ask(i, replace(message, bodies=own, broadcast=None), given, broadcast, until)

    def _busy(self, message: Request) -> set[str]:
        """Who has been asked for this turn of the session, and is answering.

        Asked a second time, it would train a second time before the first is written down.
        """
        place = message.session, message.turn
        under_way = [one for _, one, _ in self._asked.values() if (one.session, one.turn) == place]
        return {who for one in under_way for who in one.bodies}

    def _ask(
        self, i: int, request: Request, given: dict[str, Given], broadcast: Any, until: float
    ) -> None:
        """Ask an actor for what concerns its own clients, and note until when it may answer."""
        again = 0 if request.turn else ATTEMPTS  # a conversation is lost with its actor
        left = replace(request, deadline=until - time.monotonic())
        call = self._actors[i].answer.options(max_task_retries=again)
        own = {who: given[who] for who in request.bodies}
        self._asked[call.remote(left, broadcast, own)] = i, request, until

    def receive(self) -> Reply:
        """The next reply, written down before it is given.

        Clients that pass the deadline are excluded as late, and what they say then is not heard.
        """
        while not self._ready:
            left = None
            until = min(end for *_, end in self._asked.values())
            if not math.isinf(until):
                left = max(0.0, until - time.monotonic())
            done, _ = ray.wait(list(self._asked), timeout=left)
            for call in done or self._overdue():
                self._take(call, late=not done)
            self._ask_again()
        return heard(self.memory, self._ready.popleft())

    def _ask_again(self) -> None:
        """Ask those who were busy: what they have said they say again, or nothing."""
        later = self._later
        self._later = []
        for message in later:
            self.send(message)

    def _overdue(self) -> list[Any]:
        """The calls that should have answered by now."""
        now = time.monotonic()
        return [call for call, (*_, until) in self._asked.items() if until <= now]

    def _take(self, call: Any, late: bool) -> None:
        """What an actor has answered, or that it was late; what is missing in it was late, too."""
        i, request, _ = self._asked.pop(call)
        if late:
            self._lose(request, "late")
            return
        try:
            replies, said, words = ray.get(call)
        except RayTaskError as error:
            raise RuntimeError(f"A client's code failed in actor {i}:\n{error}") from None
        except RayActorError as error:
            if request.turn:
                self._lose(request, LOST)
                return
            raise RuntimeError(
                f"Actor {i} was lost {ATTEMPTS + 1} times with one request.\n"
                "  Its machine may run out of memory.\n"
                "  Use fewer workers or smaller data, and resume the run."
            ) from error
        for text in words:
            tell(str(text), type(text))
        self._ready += [kept(self.memory, reply, request, said) for reply in replies]
        if missing := request.bodies.keys() - {who for reply in replies for who in reply.who}:
            self._lose(replace(request, bodies=dict.fromkeys(missing)), "late")

    def _lose(self, request: Request, why: Kind) -> None:
        """Exclude all of whom this request asks, for one reason."""
        self._ready.append(Reply.to(request, tuple(sorted(request.bodies)), None, why))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._started:
            ray.shutdown()
