"""Clients that lie, and a federation with some of them in it: scikit-learn's digits, softmax regression.

The attackers know the plan, what all honest clients say in a round before they say it, and one another.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits

import hansa as h
from hansa.data import partition
from hansa.messages import SessionId

CLIENTS, ROUNDS = 25, 15
MODEL = h.Softmax(64, 10)
TRAINING = h.Training(epochs=5, batch=0, learning_rate=2.0)


@dataclass
class Reversed(h.Client):
    """Says its honest vector times a negative number (sign-flip)."""

    factor: float = -1.0

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        return self.factor * (yield from super().reply(request, given))


@dataclass
class Far(h.Client):
    """Says a vector `times` as long as its honest one, in a direction that all attackers share (large norm)."""

    times: float = 1.0

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        v = yield from super().reply(request, given)
        u = h.Key.of(1).child("direction").normal(v.shape)
        return self.times * np.linalg.norm(v) / np.linalg.norm(u) * u


@dataclass
class Poisoned(h.Client):
    """Trains on labels y → 9 − y, and says the update `boost` times (Bagdasaryan et al. 2020: model replacement)."""

    boost: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        x, y = self.data
        self.data = x, 9 - y

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        return self.boost * (yield from super().reply(request, given))


@dataclass
class Constant(h.Client):
    """Says the same number in every coordinate, such as NaN."""

    value: float = 0.0

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        return np.full_like((yield from super().reply(request, given)), self.value)


@dataclass
class Mixed(h.Client):
    """Every second attacker shows itself by saying NaN, the others turn the mean around."""

    factor: float = -1.0

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        return (math.nan if int(self.who[-2:]) % 2 else self.factor) * (yield from super().reply(request, given))


@dataclass
class Spies:
    """What colluders share: what each honest client is about to say."""

    honest: list[h.Client]
    heard: dict[SessionId, Any] = field(default_factory=dict)

    def hear(self, request: h.messages.Request) -> Any:
        """The honest vectors [honest, size] of the session, from twins of the honest clients."""
        if request.session not in self.heard:
            twins = [h.Client(it.who, it.plan, it.data) for it in self.honest]
            self.heard = {request.session: np.stack([twin.answer(request).reply for twin in twins])}
        return self.heard[request.session]


@dataclass
class Little(h.Client):
    """Says mean − z·std of the honest vectors, coordinate by coordinate (Baruch et al. 2019, Alg. 3)."""

    spies: Spies | None = None
    z: float = 0.0

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        yield from ()
        assert self.spies is not None
        V = self.spies.hear(request)
        return V.mean(axis=0) - self.z * V.std(axis=0)


def z_max(n: int, f: int) -> float:
    """Φ⁻¹((n − f − s) / (n − f)), s = ⌊n/2 + 1⌋ − f: s honest values lie farther out, and with f they are a majority.

    (Baruch et al. 2019, Alg. 3)
    """
    s = n // 2 + 1 - f
    return statistics.NormalDist().inv_cdf((n - f - s) / (n - f))


class Scene(NamedTuple):
    """What an attack is made from."""

    n: int
    f: int
    spies: Spies


Attack = Callable[[Scene], Callable[..., h.Client]]  # → a maker of attackers, called as Client is


def overturn(it: Scene) -> Callable[..., h.Client]:
    """Sign-flip, just strong enough to turn the mean around: ((n − f) − f·(n/f)) / n < 0."""
    return partial(Reversed, factor=-it.n / it.f)


ATTACKS: dict[str, Attack] = {
    "sign-flip": lambda it: partial(Reversed, factor=-1.0),
    "sign-flip, strong": overturn,
    "norm 1e3": lambda it: partial(Far, times=1e3),
    "norm 1e12": lambda it: partial(Far, times=1e12),
    "labels": lambda it: Poisoned,
    "labels, boosted": lambda it: partial(Poisoned, boost=it.n / it.f),
    "little": lambda it: partial(Little, spies=it.spies, z=z_max(it.n, it.f)),
    "little, loud": lambda it: partial(Little, spies=it.spies, z=20 * it.n / it.f),  # moves the mean by 20 std
    "NaN": lambda it: partial(Constant, value=math.nan),
    "infinity": lambda it: partial(Constant, value=-math.inf),
    "NaN, sign-flip": lambda it: partial(Mixed, factor=-2 * it.n / it.f),
}


@cache
def digits() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """1500 images to train on, 297 to test with."""
    x, y = load_digits(return_X_y=True)
    order = h.Key.of(0).child("digits").rng().permutation(len(y))
    x, y = x[order] / 16, y[order]
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def plan_of(aggregator: h.aggregators.Aggregator, seed: int = 0, **more: Any) -> h.Plan:
    """15 rounds of 5 full-batch steps, every client counts once; or as `more` says."""
    pieces = {"pipe": (h.Weigh("one"),), "training": TRAINING, "rounds": ROUNDS, "seed": seed, **more}
    return h.Plan(MODEL, aggregator=aggregator, **pieces)


def clients_of(plan: h.Plan, attack: str = "", f: int = 0, alpha: float | None = None) -> list[h.Client]:
    """25 clients with 60 images each, or Dirichlet(α) shares of every class; f of them, drawn by the seed, lie."""
    (x, y), _ = digits()
    key = plan.key.child("deal")
    rows = (
        partition.iid(len(y), CLIENTS, key) if alpha is None else partition.dirichlet(y, CLIENTS, alpha, key, least=10)
    )
    data = {f"client-{i:02d}": (x[part], y[part]) for i, part in enumerate(rows)}
    lying = set(key.child("liars").rng().permutation(sorted(data))[:f].tolist())
    honest = [h.Client(who, plan, part) for who, part in data.items() if who not in lying]
    if not lying:
        return honest
    make = ATTACKS[attack](Scene(CLIENTS, f, Spies(honest)))
    return honest + [make(who, plan, mine) for who, mine in data.items() if who in lying]


def last(plan: h.Plan, clients: Iterable[h.Client]) -> h.State:
    """The state after the last round."""
    with np.errstate(all="ignore"):  # the plain mean of such vectors overflows, which is the point
        *_, state = h.synchronous(plan, h.InProcess(clients))
    return state


def score(plan: h.Plan, clients: Iterable[h.Client]) -> float:
    """Accuracy on the test images after the last round."""
    state = last(plan, clients)
    with np.errstate(all="ignore"):
        return plan.model.score(state.x, digits()[1])["accuracy"]


@cache
def accuracy(
    aggregator: h.aggregators.Aggregator, attack: str = "", f: int = 0, alpha: float | None = None, seed: int = 0
) -> float:
    """The same, of a federation of which f lie."""
    plan = plan_of(aggregator, seed)
    return score(plan, clients_of(plan, attack, f, alpha))


@cache
def noisy(aggregator: h.aggregators.Aggregator, attack: str = "", f: int = 0, seed: int = 0) -> float:
    """The same where an update is one gradient of one image, so that honest ones scatter far more than they agree."""
    plan = plan_of(aggregator, seed, training=h.Training(steps=1, batch=1, learning_rate=0.5), rounds=100)
    return score(plan, clients_of(plan, attack, f))
