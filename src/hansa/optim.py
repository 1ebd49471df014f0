"""Server optimizers: steps along the mean update Δ, which stands where a negative gradient would.

(Reddi et al. 2021, "Adaptive Federated Optimization", Alg. 1 and 2, which correct no bias.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .errors import number, refuse
from .known import own
from .spec import Vector, blocks

ServerState = dict[str, Any]

DECAYS = ("beta", "b1", "b2")


class Optimizer(Protocol):
    """Takes x to the next x along Δ, and remembers what it must; all vectors are float64 [d]."""

    def start(self, x: Vector) -> ServerState:
        """What it remembers before the first step."""
        ...

    def step(self, x: Vector, delta: Vector, memo: ServerState) -> tuple[Vector, ServerState]:
        """The next x, and what it remembers then."""
        ...


def stepped(
    optimizer: Optimizer, x: Vector, delta: Vector, memo: ServerState, overwrite: bool = False
) -> tuple[Vector, ServerState]:
    """The step of an optimizer, into the memory of delta where that may be overwritten.

    Those of hansa move each coordinate by itself, and so a block at a time; a stranger's moves all
    at once.
    """
    if not own(optimizer):
        return optimizer.step(x, delta, memo)
    out = delta
    if not overwrite:
        out = np.empty_like(x)
    after = {name: np.empty_like(v) for name, v in memo.items()}
    for place in blocks(len(x)):
        before = {name: v[place] for name, v in memo.items()}
        out[place], moved = optimizer.step(x[place], delta[place], before)
        for name, v in moved.items():
            after[name][place] = v
    return out, after


def _check(name: str, **values: float) -> None:
    """PlanError where a decay is outside [0, 1), or another number is not positive and finite."""
    examples = dict.fromkeys(DECAYS, 0.9)
    refuse(
        (
            not _fits(key, value),
            f"{name}({key}={value}) cannot step.",
            "A decay lies in [0, 1); a learning rate and τ are positive.",
            f"Write for example {name}({key}={examples.get(key, 0.1)}).",
        )
        for key, value in values.items()
    )


def _fits(key: str, value: float) -> bool:
    """Is this a decay, or else a positive and finite number?"""
    if key in DECAYS:
        return number(value) and 0 <= value < 1
    return number(value) and 0 < value < math.inf


@dataclass(frozen=True)
class Sgd:
    """x ← x + η Δ;  with η = 1 the new model is the clients' mean   (McMahan et al. 2017)."""

    lr: float = 1.0

    def __post_init__(self) -> None:
        _check("Sgd", lr=self.lr)

    def start(self, x: Vector) -> ServerState:
        """Nothing."""
        return {}

    def step(self, x: Vector, delta: Vector, memo: ServerState) -> tuple[Vector, ServerState]:
        """One step."""
        return x + self.lr * delta, memo


@dataclass(frozen=True)
class Momentum:
    """FedAvgM:  m ← β m + Δ,  x ← x + η m   (Hsu et al. 2019, §4.3)."""

    lr: float = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        _check("Momentum", lr=self.lr, beta=self.beta)

    def start(self, x: Vector) -> ServerState:
        """m = 0."""
        return {"m": np.zeros_like(x)}

    def step(self, x: Vector, delta: Vector, memo: ServerState) -> tuple[Vector, ServerState]:
        """One step."""
        m = self.beta * memo["m"] + delta
        return x + self.lr * m, {"m": m}


@dataclass(frozen=True)
class Adagrad:
    """FedAdagrad:  m ← β₁m + (1−β₁)Δ,  v ← v + Δ²,  x ← x + η m/(√v + τ).

    (Reddi et al. 2021, Alg. 2; in their experiments with it β₁ = 0, and v starts at τ²)

    v starts at `v0`, where it is given: v0=0 is the start of Flower, 0.1 that of Keras' Adagrad.
    """

    lr: float = 0.1
    b1: float = 0.0
    tau: float = 1e-3
    v0: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check(type(self).__name__, lr=self.lr, b1=self.b1, tau=self.tau)
        first = self.v0
        wrong = first is not None and not (number(first) and 0 <= first < math.inf)
        found = f"{type(self).__name__}(v0={first!r}) cannot step."
        why = "v sums squares, and starts at a number that is 0 or positive."
        refuse([(wrong, found, why, "Write v0=0.0, or leave it out for τ².")])

    def start(self, x: Vector) -> ServerState:
        """m = 0, v = τ² or v0."""
        first = self.tau**2 if self.v0 is None else self.v0
        return {"m": np.zeros_like(x), "v": np.full_like(x, first)}

    def second(self, v: Vector, delta: Vector) -> Vector:
        """The next v."""
        return np.asarray(v + delta**2)

    def step(self, x: Vector, delta: Vector, memo: ServerState) -> tuple[Vector, ServerState]:
        """One step."""
        m = self.b1 * memo["m"] + (1 - self.b1) * delta
        v = self.second(memo["v"], delta)
        return x + self.lr * m / (np.sqrt(v) + self.tau), {"m": m, "v": v}


@dataclass(frozen=True)
class Adam(Adagrad):
    """FedAdam:  m ← β₁m + (1−β₁)Δ,  v ← β₂v + (1−β₂)Δ²,  x ← x + η m/(√v + τ).

    (Reddi et al. 2021, Alg. 2)
    """

    b1: float = 0.9
    b2: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(type(self).__name__, b2=self.b2)

    def second(self, v: Vector, delta: Vector) -> Vector:
        """β₂v + (1−β₂)Δ²."""
        return np.asarray(self.b2 * v + (1 - self.b2) * delta**2)


@dataclass(frozen=True)
class Yogi(Adam):
    """FedYogi: as FedAdam with  v ← v − (1−β₂)Δ² sign(v − Δ²)   (Reddi et al. 2021, Alg. 2)."""

    def second(self, v: Vector, delta: Vector) -> Vector:
        """v − (1−β₂)Δ² sign(v − Δ²)."""
        return np.asarray(v - (1 - self.b2) * delta**2 * np.sign(v - delta**2))
