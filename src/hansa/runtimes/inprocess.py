"""InProcess: all clients in this process, on a virtual clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from ..aggregators import NO_VECTOR
from ..algorithms import ClientState
from ..crypto.identity import Member
from ..errors import HansaError, Kind, PlanError, number
from ..messages import Reply, Request
from ..parties import Party
from ..parties.client import Client, together
from ..parties.helper import Helper
from ..parties.population import Clients, Population, gathered
from ..rand import Key
from ..spec import Spec
from ..sums import Total
from .allocator import keep

Why = Kind | Literal[""]
Said = tuple[str, Any, Why]  # who, its reply or None, why not


@dataclass(frozen=True)
class Network:
    """A simulated network: replies take Exp(`latency`) virtual seconds, and a share of them is lost.

    A fixed share of the clients, the `stragglers`, is slower by the factor `slowdown`.
    """

    latency: float = 0.0
    drop: float = 0.0
    stragglers: float = 0.0
    slowdown: float = 10.0

    def __post_init__(self) -> None:
        numbers = all(map(number, (self.latency, self.drop, self.stragglers, self.slowdown)))
        shares = numbers and 0 <= self.drop < 1 and 0 <= self.stragglers <= 1
        if not shares or not 0 <= self.latency < math.inf or not 1 <= self.slowdown < math.inf:
            raise PlanError(
                f"{self!r} cannot be simulated.",
                "A latency is not negative, shares lie between 0 and 1, and stragglers are slower, not faster.",
                "Write for example Network(latency=1.0, drop=0.05, stragglers=0.1).",
            )

    def fate(self, who: str, request: Request, key: Key) -> tuple[float, bool]:
        """How long the reply of `who` takes, and whether it is lost; equal for equal keys."""
        if not (self.latency or self.drop):
            return 0.0, False
        rng = key.child(request.session, request.turn, who).rng()
        slow = self.stragglers and key.child("straggler", who).rng().random() < self.stragglers
        return rng.exponential(self.latency) * (self.slowdown if slow else 1.0), rng.random() < self.drop


class InProcess:
    """All clients in this process; latency, dropouts and stragglers are simulated, and repeat for equal `seed`s.

    So are the helpers that the plan's aggregator asks for; they answer at once, and their noise grows from `secret`,
    or from a fresh one of each.
    """

    def __init__(
        self,
        clients: Iterable[Client] | Population,
        network: Network | None = None,
        seed: int = 0,
        secret: Key | None = None,
    ):
        keep()
        self.clients = gathered(clients)
        self.helpers = helpers(self.clients, secret)
        self.named = self.clients.named or (secret is not None and not secret.hides)
        self.network, self.key = network or Network(), Key.of(seed).child("network")
        self.now = 0.0
        self._events: list[tuple[float, bool, int, Request, tuple[str, ...], Why]] = []
        self._order = count()

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self.clients.names

    @property
    def members(self) -> Mapping[str, Member]:
        """The public halves of all parties, by name, where helpers must know them."""
        return self.clients.roster

    def send(self, request: Request) -> None:
        """Decide at once, by the virtual clock, who will answer and when."""
        if request.turn == 0:
            self.clients.evict()
        answering, end = [], self.now
        for who in request.bodies:
            takes, dropped = (0.0, False) if who in self.helpers else self.network.fate(who, request, self.key)
            when, late = self.now + min(takes, request.deadline), takes > request.deadline
            if dropped or late:
                self._push(when, request, (who,), "absent" if dropped else "late")
            elif request.fold:
                answering.append(who)
                end = max(end, when)
            else:
                self._push(when, request, (who,), "")
        if answering:
            self._push(end, request, tuple(answering), "")

    def _push(self, when: float, request: Request, who: tuple[str, ...], why: Why) -> None:
        after = who[0] not in self.helpers  # else many clients' replies would wait for one helper's
        heapq.heappush(self._events, (when, after, next(self._order), request, who, why))

    def receive(self) -> Reply:
        """Let the earliest reply arrive; its client trains now."""
        self.now, _, _, request, who, why = heapq.heappop(self._events)
        if why:
            return Reply(request.session, request.round, who, None, why)
        if request.fold:
            asked = together((self.clients[name] for name in who), request)
            reply = ((client.who, *answer(client, request)) for client in asked)
            total, there, excluded = fold(reply, self.clients.plan.encoded_spec)
            for name, reason in excluded.items():
                self._push(self.now, request, (name,), reason)
            return Reply(request.session, request.round, there, total if there else None)
        body, why = answer(self.helpers.get(who[0]) or self.clients[who[0]], request)
        return Reply(request.session, request.round, who, body, why)

    def memory(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these clients remember between rounds."""
        return self.clients.memory(who)

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each client remember this, and those that are not named nothing."""
        self.clients.load(client_states)
        for helper in self.helpers.values():
            helper.load({})

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these clients remember what they did before the session, for it did not count."""
        self.clients.rollback(session, who)


def helpers(clients: Clients, secret: Key | None) -> dict[str, Helper]:
    """The helpers that the clients' plan asks for; they and the clients know each other."""
    found = {who: Helper(who, clients.plan, secret=secret or Key.fresh()) for who in clients.plan.aggregator.parties}
    introduce(clients, {who: one.enrol() for who, one in found.items()})
    for helper in found.values():
        helper.roster = clients.roster
    return found


def introduce(clients: Clients, helpers: Mapping[str, Member]) -> None:
    """Let clients and helpers know each other; PlanError for a helper named like a client."""
    if twice := [name for name in helpers if name in clients.names]:
        raise PlanError(
            f"A client and a helper are called {twice[0]!r}.", "Replies are told apart by name.", "Rename one."
        )
    if helpers:
        clients.introduce(helpers)


def answer(client: Party, request: Request) -> tuple[Any, Why]:
    """A party's reply, or None and the kind of why not, whose words stay here; a bug of its code passes, and ends all.

    Any error but hansa's own is one. In a simulation the developer sees where it came from.
    """
    try:
        return client.answer(request), ""
    except HansaError as error:
        return None, client.report(error)


def fold(reply: Iterable[Said], encoded: Spec) -> tuple[Total, tuple[str, ...], dict[str, Kind]]:
    """The exact sum of what clients say, who is in it, and who is not and why."""
    total, there, excluded = Total(), list[str](), dict[str, Kind]()
    for who, body, why in reply:
        if body is None or not encoded.fits(body):
            excluded[who] = why or NO_VECTOR
        else:
            total.add(body)
            there.append(who)
    return total, tuple(there), excluded
