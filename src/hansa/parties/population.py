"""Population: clients by name, each of them made when it is asked; a million cost no more than
those of one round.

    Population    clients that are made when they are asked, and go when the session is over
    Listed        clients that are there already, as a list of `Client`

A runtime takes either, and asks nothing but what both have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, overload

from ..crypto.identity import Identity, Member, Roster
from ..crypto.keys import SigningKey
from ..data import Source
from ..errors import PlanError, number
from ..messages import SessionId
from ..plan import Plan
from ..rand import Key
from .client import Client
from .policy import Policy


@dataclass(frozen=True)
class Names(Sequence[str]):
    """client-0000 … client-9999: as many names, in order, none of which is stored.

    As wide as the last number, so that their order is that of text. A name is found by its number,
    not by looking for it.
    """

    size: int

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(self.size)[i]]
        return f"client-{range(self.size)[i]:0{len(str(self.size - 1))}d}"

    def index(self, name: Any, start: int = 0, stop: int | None = None) -> int:
        """The number of the client of that name."""
        digits = str(name).removeprefix("client-")
        if digits.isascii() and digits.isdecimal():
            i = int(digits)
            if i < self.size and self[i] == name:
                return i
        raise ValueError(f"{name!r} is none of {self[0]} … {self[-1]}")

    def __contains__(self, name: object) -> bool:
        try:
            return self.index(name) >= 0
        except ValueError:
            return False


class Population(Mapping[str, Client]):
    """`size` clients of a plan; client i has the examples data(i), read or made each time that it
    is asked.

    That happens at the client, after its owner's policy `allow`. before: the survey that all were
    asked first.

    Only those of the present session are in memory. What they hide grows from `secret`, or from a
    fresh one; each has a branch of its own.
    """

    def __init__(
        self,
        plan: Plan,
        size: int,
        data: Callable[[int], Any],
        allow: Policy | None = None,
        secret: Key | None = None,
        before: Plan | None = None,
    ):
        if not number(size, whole=True) or size < 1 or not callable(data):
            raise PlanError(
                f"Population(size={size!r}, data=…) with a {type(data).__name__} as data has no "
                "clients.",
                "`size` counts them, and `data` is a function of their number that gives the "
                "examples of one.",
                "Write for example Population(plan, 1_000_000, data=lambda i: load(i)).",
            )
        self.plan = plan
        self.names = Names(int(size))
        self.data = data
        self.allow = allow or Policy()
        self.secret = secret or Key.fresh()
        self.before = before
        self.roster: Mapping[str, Member] = {}
        self._awake = dict[str, Client]()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} clients>"

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, who: str) -> Client:
        if who not in self._awake:
            if who not in self.names:
                raise KeyError(who)
            data = Source(partial(self.data, self.names.index(who)))
            known: dict[str, Any] = {
                "before": self.before,
                "secret": self.secret,
                "roster": self.roster,
            }
            client = Client(who, self.plan, data, self.allow, **known)
            if self.roster:
                client.enrol()
            self._awake[who] = client
        return self._awake[who]

    @property
    def named(self) -> bool:
        """Does what they hide grow from a secret that the simulation names?"""
        return not self.secret.hides

    def evict(self, session: SessionId | None = None) -> None:
        """Let all clients go, or those of a session; who is asked again is made again, from the
        same data and secret.
        """
        if session is None:
            self._awake = {}
            return
        self._awake = {who: one for who, one in self._awake.items() if one.latest != session}

    def introduce(self, helpers: Mapping[str, Member]) -> None:
        """Let clients and helpers know each other."""
        self.evict()
        self.roster = PopulationRoster(self.names, self.secret, helpers)


class PopulationRoster(Mapping[str, Member]):
    """The members of a population, each computed from its secret when it is asked for; and helpers.

    Nobody has signed it, for nobody makes a list of a million; and who has it has the keys of all.
    So it is for simulations alone, where one process has all secrets anyway.
    """

    def __init__(self, names: Names, secret: Key, helpers: Mapping[str, Member]):
        self._names = names
        self._secret = secret
        self._helpers = helpers

    @property
    def clients(self) -> Sequence[str]:
        """Names of the clients, without their keys."""
        return self._names

    @property
    def digest(self) -> bytes:
        """What tells it from others, without the keys of a million."""
        return self._secret.child("roster").secret

    def __getitem__(self, who: str) -> Member:
        if who in self._helpers:
            return self._helpers[who]
        if who not in self._names:
            raise KeyError(who)
        return Identity.of(who, "client", self._secret).member

    def __iter__(self) -> Iterator[str]:
        yield from self._names
        yield from self._helpers

    def __len__(self) -> int:
        return len(self._names) + len(self._helpers)


class Listed(dict[str, Client]):
    """A population whose clients are all there already, sorted by name.

    PlanError where there are none, two have one name, a name cannot be shown, or they hold
    different plans.
    """

    def __init__(self, clients: Iterable[Client]):
        if isinstance(clients, Population):
            raise PlanError(
                f"A Population of {len(clients)} clients cannot be listed.",
                "They are made when they are asked, and here all would have to be there.",
                "Give it to InProcess or Processes, or make a list of Clients.",
            )
        ordered = sorted(clients, key=lambda client: client.who)
        if not ordered:
            raise PlanError(
                "There are no clients.",
                "A federation is a sum over clients.",
                "Give the runtime at least one Client.",
            )
        if twice := [a.who for a, b in pairwise(ordered) if a.who == b.who]:
            raise PlanError(
                f"Two clients are called {twice[0]!r}.",
                "Replies are told apart by name.",
                "Give each its own name.",
            )
        if odd := [
            client.who
            for client in ordered
            if not client.who.strip() or not client.who.isprintable()
        ]:
            raise PlanError(
                f"A client is called {odd[0]!r}.",
                "Names are shown, and a name is one line of text that can be.",
                "Name it otherwise.",
            )
        if len(plans := {client.plan.digest for client in ordered}) > 1:
            raise PlanError(
                f"The clients hold {len(plans)} different plans.",
                "A sum adds like to like.",
                "Give all the same plan.",
            )
        super().__init__((client.who, client) for client in ordered)
        self.plan = ordered[0].plan
        self.names = tuple(self)
        self.roster: Mapping[str, Member] = {}

    @property
    def named(self) -> bool:
        """Does what one of them hides grow from a secret that the simulation names?"""
        return not all(client.secret.hides for client in self.values())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} clients>"

    def evict(self, session: SessionId | None = None) -> None:
        """All stay where they are."""

    def introduce(self, helpers: Mapping[str, Member]) -> None:
        """Let clients and helpers know each other; the roster is signed by a key of the moment."""
        members = {who: client.enrol() for who, client in self.items()}
        self.roster = Roster.signed({**members, **helpers}, 1, SigningKey.fresh())
        for client in self.values():
            client.roster = self.roster


Clients = Population | Listed


def gathered(clients: Iterable[Client] | Population) -> Clients:
    """The clients of a runtime, by name; PlanError where they are no federation of one plan."""
    if isinstance(clients, Population):
        return clients
    return Listed(clients)
