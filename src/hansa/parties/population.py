"""Population: clients by name, each of them made when it is asked; a million cost no more than those of one round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, overload

from ..algorithms import ClientState
from ..data import Source
from ..errors import PlanError, number
from ..plan import Plan
from ..rand import Key
from .client import Client
from .policy import Policy


@dataclass(frozen=True)
class Names(Sequence[str]):
    """client-0000 … client-9999: as many names, in order, none of which is stored."""

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
        i = int(digits) if digits.isascii() and digits.isdecimal() else self.size
        if i >= self.size or self[i] != name:
            raise ValueError(f"{name!r} is none of {self[0]} … {self[-1]}")
        return i

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

    Only those of the present session are in memory, and what clients remember between rounds, where
    it is anything. What they hide grows from `secret`, or from a fresh one; each has a branch of
    its own.
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
                f"Population(size={size!r}, data=…) with a {type(data).__name__} as data has no clients.",
                "`size` counts them, and `data` is a function of their number that gives the examples of one.",
                "Write for example Population(plan, 1_000_000, data=lambda i: load(i)).",
            )
        self.plan, self.names, self.data, self.allow = plan, Names(int(size)), data, allow or Policy()
        self.secret = secret or Key.fresh()
        self.before = before
        self._keys: Mapping[str, bytes] = {}
        self._awake = dict[str, Client]()
        self._client_states: dict[str, ClientState] = {}
        self._drawn = dict[str, tuple[str | None, dict[str, int]]]()  # who → its run, and where it drew noise

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
            client_state = self._client_states.get(who, {})
            more: dict[str, Any] = {"before": self.before, "secret": self.secret}
            client = Client(who, self.plan, data, self.allow, client_state, self._keys, **more)
            client._run, client._latest = self._drawn.get(who, (None, {}))
            self._awake[who] = client
        return self._awake[who]

    @property
    def named(self) -> bool:
        """Does what they hide grow from a secret that the simulation names?"""
        return not self.secret.hides

    def evict(self) -> None:
        """Let all clients go; what they remember is kept."""
        for who, client in self._awake.items():
            self._client_states[who] = client.client_state
            if not client.client_state:
                del self._client_states[who]
        self._sleep()

    def _sleep(self) -> None:
        drew = ((who, (one._run, one._latest)) for who, one in self._awake.items() if one._latest)
        self._drawn.update(drew)
        self._awake = {}

    def introduce(self, keys: Mapping[str, bytes]) -> None:
        """Give all clients the public keys of helpers."""
        self.evict()
        self._keys = keys

    def memory(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these remember between rounds, where it is anything."""
        client_state = {
            name: self._awake[name].client_state if name in self._awake else self._client_states.get(name, {})
            for name in who
        }
        return {name: memo for name, memo in client_state.items() if memo}

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each remember this, and those that are not named nothing."""
        self._sleep()
        self._client_states = {who: memo for who, memo in client_states.items() if memo and who in self.names}
        self._drawn = {} if self.named else {who: (None, latest) for who, (_, latest) in self._drawn.items()}

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these remember what they did before the session, for it did not count."""
        for name in who:
            if name in self._awake:
                self._awake[name].rollback(session)


class Listed(dict[str, Client]):
    """A population whose clients are all there already, sorted by name; PlanError where two have one name."""

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
                "There are no clients.", "A federation is a sum over clients.", "Give the runtime at least one Client."
            )
        if twice := [a.who for a, b in pairwise(ordered) if a.who == b.who]:
            raise PlanError(
                f"Two clients are called {twice[0]!r}.", "Replies are told apart by name.", "Give each its own name."
            )
        if odd := [client.who for client in ordered if not client.who.strip() or not client.who.isprintable()]:
            raise PlanError(
                f"A client is called {odd[0]!r}.",
                "Names are shown, and a name is one line of text that can be.",
                "Name it otherwise.",
            )
        if len(plans := {client.plan.digest for client in ordered}) > 1:
            raise PlanError(
                f"The clients hold {len(plans)} different plans.", "A sum adds like to like.", "Give all the same plan."
            )
        super().__init__((client.who, client) for client in ordered)
        self.plan, self.names = ordered[0].plan, tuple(self)

    @property
    def named(self) -> bool:
        """Does what one of them hides grow from a secret that the simulation names?"""
        return not all(client.secret.hides for client in self.values())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} clients>"

    def evict(self) -> None:
        """All stay where they are."""

    def introduce(self, keys: Mapping[str, bytes]) -> None:
        """Give all clients the public keys of helpers."""
        for client in self.values():
            client.keys = {**client.keys, **keys}

    def memory(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these remember between rounds, where it is anything."""
        return {name: self[name].client_state for name in who if self[name].client_state}

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each remember this, and those that are not named nothing."""
        for name, client in self.items():
            client.load(client_states.get(name, {}))

    def rollback(self, session: int, who: Iterable[str]) -> None:
        """Let these remember what they did before the session, for it did not count."""
        for name in who:
            self[name].rollback(session)


Clients = Population | Listed


def gathered(clients: Iterable[Client] | Population) -> Clients:
    """The clients of a runtime, by name."""
    return clients if isinstance(clients, Population) else Listed(clients)
