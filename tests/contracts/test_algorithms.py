"""Every algorithm keeps what `check_algorithm` promises in its name, and the check notices one that does not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tests.contracts.asking import client_of

from hansa import (
    APFL,
    Adagrad,
    Adam,
    Ditto,
    FedALA,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    FedSAM,
    FineTuned,
    MimeLite,
    Momentum,
    PerFedAvg,
    PFedMe,
    Plan,
    Scaffold,
    Sgd,
    Softmax,
    Training,
    Yogi,
)
from hansa.algorithms import Algorithm
from hansa.config import Pieces
from hansa.errors import PlanError
from hansa.messages import SessionId
from hansa.rand import Key
from hansa.testing import check_algorithm

KEY = Key.of(0)  # a secret that repeats

ALGORITHMS = [
    FedAvg(),
    FedAvg(Sgd(0.5)),
    FedProx(0.1),
    FedProx(0.1, Adam(0.1)),
    FedAvg(Momentum(0.5)),
    FedAvg(Adam(0.1)),
    FedAvg(Yogi(0.1)),
    FedAvg(Adagrad(0.1)),
    Scaffold(),
    Scaffold(Momentum(0.5, 0.5)),
    FedNova(),
    FedNova(most=100),
    FedNova(Adam(0.1)),
    FedDyn(alpha=0.1),
    Ditto(),
    Ditto(lam=0.0),
    Ditto(Adam(0.1), lam=1.0),
    MimeLite(),
    MimeLite(Momentum(0.5), beta=0.5),
    APFL(),
    APFL(Adam(0.1), 0.01, alpha=1.0),
    PerFedAvg(),
    PFedMe(Sgd(0.5), lam=1.0, rate=0.5),
    FedSAM(),
    FedALA(),
    FedALA(Adam(0.1), 0.01, rate=2.0),
    FineTuned(),
    FineTuned(Adam(0.1), 0.01, tuning=Training(epochs=2)),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_every_algorithm(algorithm: Algorithm) -> None:
    check_algorithm(algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_prints_as_the_expression_that_builds_it(algorithm: Algorithm) -> None:

    assert eval(repr(algorithm), {"inf": math.inf}, Pieces()) == algorithm  # noqa: S307


@pytest.mark.parametrize("algorithm", [Scaffold(), FedNova(), MimeLite(), APFL(), PerFedAvg(), PFedMe()], ids=repr)
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_who_reads_gradients_off_the_way_refuses_adam(algorithm: Any, optimizer: Any) -> None:
    with pytest.raises(PlanError, match=optimizer):
        algorithm.plan(Training(optimizer=optimizer), Softmax(2, 2))


# ── algorithms that break a promise ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Mute(FedAvg):
    """Say no loss."""

    def client(self, *given: Any) -> Any:
        parts, client_state = yield from super().client(*given)
        return {"delta": parts["delta"]}, client_state


@dataclass(frozen=True)
class Short(FedAvg):
    """Say fewer numbers than declared."""

    def client(self, *given: Any) -> Any:
        parts, client_state = yield from super().client(*given)
        return {**parts, "delta": parts["delta"][:-1]}, client_state


@dataclass(frozen=True)
class Overshoots(FedAvg):
    """Say a side value beyond its bound."""

    def side(self) -> Any:
        return {"steps": 1.0}

    def client(self, *given: Any) -> Any:
        parts, client_state = yield from super().client(*given)
        return {**parts, "steps": 2.0}, client_state


@dataclass(frozen=True)
class Scribbles(FedAvg):
    """Train in the array that came down."""

    def client(self, model: Any, broadcast: Any, *given: Any) -> Any:
        parts, client_state = yield from super().client(model, broadcast, *given)
        broadcast["x"] += parts["delta"]
        return parts, client_state


@dataclass(frozen=True)
class StepsInPlace(FedAvg):
    """Step in the array of the old model."""

    def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
        x += mean["delta"]
        return x, memo


@dataclass(frozen=True)
class RemembersItself(FedAvg):
    """Keep the clients' count in the algorithm, not in their memory."""

    count: list[int] = field(default_factory=list, repr=False)

    def client(self, *given: Any) -> Any:
        self.count.append(1)
        parts, client_state = yield from super().client(*given)
        return {**parts, "delta": parts["delta"] / len(self.count)}, client_state


@dataclass(frozen=True)
class NeedsMemory(FedAvg):
    """Expect what no client has in its first round."""

    def client(self, model: Any, broadcast: Any, client_state: Any, *given: Any) -> Any:
        parts, new = yield from super().client(model, broadcast, client_state, *given)
        return {**parts, "delta": parts["delta"] + client_state.get("last", np.nan)}, {**new, "last": parts["delta"]}


@dataclass(frozen=True)
class GrowsNames(FedAvg):
    """Remember under a name that start() did not give."""

    def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
        x, memo = super().step(x, memo, mean, at)
        return x, {**memo, "extra": 1}


@dataclass(frozen=True)
class StartsAnywhere(FedAvg):
    """Draw the start from nowhere."""

    def start(self, x: Any, key: Any) -> Any:
        return {**super().start(x, key), "centre": np.random.default_rng().normal(size=x.shape)}


@dataclass(frozen=True)
class Hoards(FedAvg):
    """Remember what no checkpoint can hold."""

    def client(self, *given: Any) -> Any:
        parts, client_state = yield from super().client(*given)
        return parts, {**client_state, "model": object}


@dataclass(frozen=True)
class Backwards(FedAvg):
    """Step away from the mean."""

    def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
        return super().step(x, memo, {"delta": -mean["delta"]}, at)


@dataclass(frozen=True)
class TakesANameThatIsTaken(FedAvg):
    """Call a side value as Weigh calls its own."""

    def side(self) -> Any:
        return {"weight": 1.0}


class Nameless(FedAvg):
    """Print as nothing that another machine would print."""

    __repr__ = object.__repr__


@pytest.mark.parametrize(
    "algorithm, sentence",
    [
        (Mute(), "says no loss"),
        (Short(), "says 14 numbers"),
        (Overshoots(), "declares -1 … 1"),
        (Scribbles(), "modifies"),
        (StepsInPlace(), "modifies its arguments"),
        (RemembersItself(), "function of its arguments"),
        (NeedsMemory(), "NaN"),
        (GrowsNames(), "names that start"),
        (StartsAnywhere(), "draw from its key"),
        (Hoards(), "memory must be"),
        (Backwards(), "does not learn"),
        (TakesANameThatIsTaken(), "taken"),
        (Nameless(), "repr"),
        (FedAvg(Sgd(1e-6)), "does not learn"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_check_tells_what_is_broken(algorithm: Algorithm, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_algorithm(algorithm)


def test_the_check_passes_a_refusal_on() -> None:
    with pytest.raises(AssertionError, match=r"Scaffold cannot use .*weight_decay=0.1"):
        check_algorithm(Scaffold(), Training(weight_decay=0.1))


def test_a_model_with_statistics_needs_an_algorithm_that_says_delta() -> None:
    """What no gradient moves is averaged as part of `delta`; an algorithm without it would leave it where it starts."""

    @dataclass(frozen=True)
    class Renamed(FedAvg):
        def blocks(self, d: int) -> Any:
            return {"update": d}

        def client(self, *given: Any) -> Any:
            parts, client_state = yield from super().client(*given)
            return {"update": parts["delta"], "loss": parts["loss"]}, client_state

        def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
            return super().step(x, memo, {"delta": mean["update"]}, at)

    class Statistics(Softmax):
        @property
        def trainable(self) -> int:
            return self.size - 3

    check_algorithm(Renamed())
    with pytest.raises(PlanError, match="delta"):
        Plan(Statistics(4, 3), Renamed())


def test_scaffold_keeps_no_control_for_what_no_gradient_moves() -> None:
    class Statistics(Softmax):
        @property
        def trainable(self) -> int:
            return self.size - 3

    model, rng = Statistics(2, 3), np.random.default_rng(0)
    plan = Plan(model, Scaffold())
    data = rng.normal(size=(9, 2)), rng.integers(0, 3, 9)
    x = model.start(plan.key)
    at = plan.context(0, SessionId(), "anna", secret=KEY)
    parts, _ = client_of(plan, {"x": x, "c": 0 * x}, {}, data, at)
    assert parts["delta"][-3:].any() and not parts["control"][-3:].any() and parts["control"][:-3].all()


@dataclass(frozen=True)
class Centres(FedAvg):
    """Remember random vectors, as an algorithm that begins with clusters does."""

    def start(self, x: Any, key: Key) -> Any:
        return {**super().start(x, key), "centres": x + key.normal((2, x.size))}


def test_a_start_draws_from_the_plans_seed() -> None:
    """So server and clients begin with the same; two draws of one plan are no others, those of another seed are."""
    check_algorithm(Centres())
    first, again, other = (Plan(Softmax(4, 3), Centres(), seed=seed).start().memo["centres"] for seed in (1, 1, 2))
    assert (first == again).all() and (first[0] != first[1]).all() and (first != other).all()
