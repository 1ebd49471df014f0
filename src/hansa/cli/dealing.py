"""What a worker is dealt for one question: keys of what is drawn in it; none leads back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..asks import Work
from ..errors import ProtocolError
from ..messages import SessionId
from ..parties.client import Client
from ..parties.foreign import seeding
from ..rand import Key
from ..transforms import Context


@dataclass(frozen=True)
class Dealt(Key):
    """A key of which nothing is known but some of its children."""

    children: Mapping[str, Key] = field(default_factory=dict, repr=False)

    def child(self, *path: object) -> Any:
        """One of them."""
        label = "/".join(map(str, path))
        if label in self.children:
            return self.children[label]
        raise ProtocolError(
            f"A worker has no key for {label!r}.",
            "It has those of what is drawn where it trains and encodes.",
            "What needs another one runs in the agent.",
        )

    def rng(self) -> Any:
        """Nothing is drawn from it."""
        return self.child("rng")

    def seed(self, bits: int = 63) -> Any:
        """Nothing is seeded by it."""
        return self.child("seed")


def context(client: Client, asked: Mapping[str, Any]) -> tuple[Context, Key]:
    """Where in a run the client trains, with the keys that were dealt; and what foreign code draws
    from.
    """
    keys = {name: Key(secret, asked["hides"]) for name, secret in asked["keys"].items()}
    at = client.plan.context(
        asked["round"],
        SessionId(*asked["session"]),
        client.who,
        secret=Key(b""),
        task=asked["task"],
        examples=client.count,
        memo=asked["memo"],
    )
    foreign = keys.get("foreign", at.session.repeats.child(asked["turn"]))
    dealt = Dealt(b"", asked["hides"], keys)
    return replace(at, key=dealt, session=at.session.outside()), foreign


def seeded(client: Client, work: Work[Any], key: Key) -> Work[Any]:
    """Work in which what foreign code draws follows from a key."""
    if client.plain():
        return work
    return seeding(work, client.plain, key)
