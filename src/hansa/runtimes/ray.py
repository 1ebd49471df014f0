"""RayCluster: clients in Ray actors on many machines; each sums its own clients, and what a lost one did is done anew.

What clients remember stays with the caller and travels with each request, so that it is lost with no machine.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..algorithms import ClientState
from ..crypto.identity import Member
from ..errors import Kind, LeftOut, PlanError, tell
from ..messages import Reply, Request
from ..parties.client import Client
from ..parties.population import Listed
from ..rand import Key
from .inprocess import answer, helpers
from .processes.worker import answers

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a library does not phone home for its user

try:
    import ray
    from ray.exceptions import RayActorError, RayTaskError
except ModuleNotFoundError as missing:
    raise PlanError(
        "Ray is not installed.", "RayCluster runs clients on its machines.", "Install it: pip install 'hansa[ray]'."
    ) from missing

LOST: Kind = "restarted"  # why a client is lost whose machine was, in the middle of a conversation
ATTEMPTS = 5  # to do what was lost, before the machines are held to be at fault

Asked = tuple[int, Request, float]  # actor, request, until when


class Actor:
    """Some clients on one machine, each with its memory of the moment."""

    def __init__(self, clients: list[Client]):
        self.clients = {client.who: client for client in clients}

    def answer(
        self, request: Request, broadcast: Any, client_states: Mapping[str, ClientState]
    ) -> tuple[list[Reply], dict[str, ClientState], list[str]]:
        """The replies to a request, what those asked remember now, and their own words on why they are left out."""
        if request.turn == 0:
            for who in request.bodies:
                self.clients[who].client_state = client_states.get(who, {})
        asked, until = replace(request, broadcast=broadcast), time.monotonic() + request.deadline
        names = (who for who in request.bodies if time.monotonic() < until)  # the rest is given up as late
        vector = ((who, *answer(self.clients[who], asked)) for who in names)
        encoded = next(iter(self.clients.values())).plan.encoded_spec
        with warnings.catch_warnings(record=True) as received:  # what is said here nobody sees
            warnings.simplefilter("always", LeftOut)
            replies = [reply for some in answers(vector, asked, encoded) for reply in some]
        client_state = {who: self.clients[who].client_state for who in request.bodies}
        words = [str(one.message) for one in received if one.category is LeftOut]
        return replies, {who: memo for who, memo in client_state.items() if memo}, words

    def start(self) -> None:
        """Begin anew: no client remembers anything."""
        for client in self.clients.values():
            client.load({})


class RayCluster:
    """Clients in `workers` actors of a Ray cluster; the same bytes as in one process, whatever their number.

    `address` joins a cluster ("auto", or ray://head:10001); without one, Ray is started on this machine, with a CPU for
    each worker. When an actor or its machine is lost, Ray starts it elsewhere, and what it had been asked is asked
    again; only a client in the middle of a longer conversation is lost for the round. Helpers live with the caller.
    """

    def __init__(
        self, clients: Iterable[Client], workers: int = 2, address: str | None = None, secret: Key | None = None
    ):
        if not isinstance(workers, int) or workers < 1:
            raise PlanError(
                f"RayCluster(workers={workers!r}) has nobody to work.", "One is the least.", "Write workers=2."
            )
        self._clients = Listed(clients)
        self.helpers = helpers(self._clients, secret)
        self.named = self._clients.named or (secret is not None and not secret.hides)
        self._started = not ray.is_initialized()
        if self._started:
            more: dict[str, Any] = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
            ray.init(address=address, num_cpus=None if address else workers, **more)
        count = min(workers, len(self._clients))
        cores = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if cores < count:
            raise PlanError(
                f"RayCluster(workers={count}) would wait for ever.",
                f"Each takes a CPU of the cluster, and it has {cores}.",
                f"Write workers={cores or 1}, or bring machines to the cluster first.",
            )
        # Without retries of its own, Ray refuses all calls for as long as an actor is being started again.
        kind = ray.remote(max_restarts=-1, max_task_retries=ATTEMPTS, num_cpus=1)(Actor)
        self._names = [self._clients.names[i::count] for i in range(count)]
        self._actors: list[Any] = [kind.remote([self._clients[who] for who in names]) for names in self._names]
        self._client_states: dict[str, ClientState] = {}
        self._before: dict[str, tuple[int, ClientState]] = {}  # a session, and what was remembered before it
        self._asked: dict[Any, Asked] = {}  # by the call that will answer
        self._ready: deque[Reply] = deque()

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self._clients.names

    @property
    def members(self) -> Mapping[str, Member]:
        """The public halves of all parties, by name, where helpers must know them."""
        return self._clients.roster

    def send(self, request: Request) -> None:
        """Give each actor the part of the request that concerns its clients; the model goes once to each machine."""
        until, broadcast = time.monotonic() + request.deadline, ray.put(request.broadcast)
        for who, helper in self.helpers.items():
            if who in request.bodies:
                body, why = answer(helper, request)
                self._ready.append(Reply(request.session, request.round, (who,), body, why))
        for i, names in enumerate(self._names):
            if own := {who: request.bodies[who] for who in names if who in request.bodies}:
                self._ask(i, replace(request, bodies=own, broadcast=None), broadcast, until)

    def _ask(self, i: int, request: Request, broadcast: Any, until: float) -> None:
        client_states = {who: self._client_states[who] for who in request.bodies if who in self._client_states}
        again = 0 if request.turn else ATTEMPTS  # a conversation is lost with its actor
        call = self._actors[i].answer.options(max_task_retries=again).remote(request, broadcast, client_states)
        self._asked[call] = i, request, until

    def receive(self) -> Reply:
        """The next reply; clients that pass the deadline are lost as late."""
        while not self._ready:
            now, until = time.monotonic(), min(end for *_, end in self._asked.values())
            done, _ = ray.wait(list(self._asked), timeout=None if math.isinf(until) else max(0.0, until - now))
            for call in done or [call for call, asked in self._asked.items() if asked[-1] <= time.monotonic()]:
                self._take(call, late=not done)
        return self._ready.popleft()

    def _take(self, call: Any, late: bool) -> None:
        i, request, _ = self._asked.pop(call)
        if late:
            self._lose(request, "late")
            return
        try:
            replies, client_states, words = ray.get(call)
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
        for who in request.bodies if request.turn == 0 else ():
            self._before[who] = request.session, self._client_states.get(who, {})
        self._client_states |= client_states
        for text in words:
            tell(text)
        self._ready += replies
        if missing := request.bodies.keys() - {who for reply in replies for who in reply.who}:
            self._lose(replace(request, bodies=dict.fromkeys(missing)), "late")

    def _lose(self, request: Request, why: Kind) -> None:
        self._ready.append(Reply(request.session, request.round, tuple(sorted(request.bodies)), None, why))

    def memory(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these clients remember between rounds."""
        return {name: self._client_states[name] for name in who if name in self._client_states}

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each client remember this, and those that are not named nothing."""
        self._client_states, self._before = {who: memo for who, memo in client_states.items() if memo}, {}
        for actor in self._actors:
            actor.start.remote()  # calls of an actor are done in order
        for helper in self.helpers.values():
            helper.load({})

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these clients remember what they did before the session, for it did not count."""
        for name in who:
            before, memo = self._before.get(name, (-1, {}))
            if before == session:
                self._client_states.pop(name, None)
                self._client_states |= {name: memo} if memo else {}

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._started:
            ray.shutdown()
