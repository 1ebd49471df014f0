"""Algorithms that ask for gradients, against plain loops over batches: Mime, MimeLite and APFL on softmax regression.

Each client's data are batches in an order of their own, so that the loops here see them in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.algorithms import full_gradient
from hansa.models import Gradient, Score
from hansa.testing import check_algorithm

MODEL = h.Softmax(4, 3)
ETA, EPOCHS = 0.3, 2
TRAINING = h.Training(epochs=EPOCHS, learning_rate=ETA)


def clients() -> dict[str, list[tuple[Any, Any]]]:
    """Three clients of other inputs, with two, three and four batches of unequal sizes."""
    rng = np.random.default_rng(5)
    found = {}
    for i, sizes in enumerate(([3, 5], [4, 4, 2], [1, 6, 2, 3])):
        centre = rng.normal(size=4)
        found[f"client {i}"] = [(rng.normal(size=(n, 4)) + centre, rng.integers(0, 3, n)) for n in sizes]
    return found


DATA = clients()


def gradient(x: Any, batches: Sequence[tuple[Any, Any]]) -> Any:
    """∇ of the mean of −log softmax(W·[a, 1])_y over all examples of these batches."""
    W = x.reshape(5, 3)
    total, n = np.zeros_like(W), 0
    for A, y in batches:
        A = np.hstack([A, np.ones((len(A), 1))])
        odds = np.exp(A @ W)
        total += A.T @ (odds / odds.sum(1, keepdims=True) - np.eye(3)[y])
        n += len(y)
    return (total / n).ravel()


def steps(batches: list[Any]) -> list[list[Any]]:
    """The batch of each step of a round."""
    return [[batch] for batch in EPOCHS * batches]


def ran(algorithm: Any, rounds: int) -> tuple[h.State, dict[str, Any]]:
    """The last state, and what clients remember; each client counts once."""
    plan = h.Plan(MODEL, algorithm, (h.Weigh("one"),), training=TRAINING, rounds=rounds)
    runtime = h.InProcess([h.Client(who, plan, partial(list, batches)) for who, batches in DATA.items()])
    *_, state = h.synchronous(plan, runtime)
    assert not state.excluded
    return state, dict(runtime.memory.of(list(DATA)))


def near(a: Any, b: Any) -> bool:
    return np.abs(a - b).max() < 1e-9 and np.abs(b).max() > 0.1


# ── Mime, as a stranger writes it ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Mime(h.FedAvg):
    """Mime with SGD and momentum   (Karimireddy et al. 2021, Alg. 1).

    y ← y − η ((1 − β)(g(y) − g(x) + c) + β m);   c = mean ∇f(x), in a round of its own before
    """

    beta: float = 0.9

    def blocks(self, d: int) -> Any:
        return {"delta": d, "gradient": d}

    def start(self, x: Any, key: Any) -> Any:
        return {**super().start(x, key), "m": 0 * x, "c": 0 * x, "trains": np.zeros(1)}

    def broadcast(self, x: Any, memo: Any) -> Any:
        return {"x": x, **{name: memo[name] for name in ("m", "c", "trains")}}

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        x, m, c, trains = broadcast.values()
        g = yield from full_gradient(x, data, training, at.key)
        y = x
        for batch in data.batches(training, at.key) if trains[0] else ():
            here = yield Gradient(y, batch, at.key)
            there = yield Gradient(x, batch, at.key)
            y = y - training.learning_rate * ((1 - self.beta) * (here - there + c) + self.beta * m)
        scores = yield Score(y, data)
        return {"delta": y - x, "gradient": g, "loss": scores["loss"]}, client_state

    def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
        if not memo["trains"][0]:
            return x, {**memo, "c": mean["gradient"], "trains": np.ones(1)}
        x, memo = super().step(x, memo, mean, at)
        m = (1 - self.beta) * memo["c"] + self.beta * memo["m"]
        return x, {**memo, "m": m, "trains": np.zeros(1)}


def by_hand(lite: bool, rounds: int, beta: float = 0.9) -> tuple[Any, Any]:
    """x and m after so many rounds of Alg. 1."""
    x, m = MODEL.start(h.Key.of(0)), np.zeros(15)
    for _ in range(rounds):
        gradients = [gradient(x, batches) for batches in DATA.values()]
        c, ends = np.mean(gradients, axis=0), []
        for batches in DATA.values():
            y = x
            for batch in steps(batches):
                g = gradient(y, batch) if lite else gradient(y, batch) - gradient(x, batch) + c
                y = y - ETA * ((1 - beta) * g + beta * m)
            ends.append(y)
        x, m = np.mean(ends, axis=0), (1 - beta) * c + beta * m
    return x, m


@pytest.mark.parametrize("lite", [True, False])
def test_mime(lite: bool) -> None:
    algorithm = h.MimeLite() if lite else Mime()
    state, _ = ran(algorithm, 4 if lite else 8)
    x, m = by_hand(lite, 4)
    assert near(state.x, x) and near(10 * state.memo["m"], 10 * m)


def test_mime_of_a_stranger_keeps_its_promises() -> None:
    check_algorithm(Mime(), rounds=40)


# ── APFL ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_apfl() -> None:
    """w and v of Alg. 1; ∇ᵥ f(α v + (1 − α) w) = α ∇f(v̄)."""
    alpha, x = 0.4, MODEL.start(h.Key.of(0))
    own = dict.fromkeys(DATA, x)
    for _ in range(3):
        ends = []
        for who, batches in DATA.items():
            w, v = x, own[who]
            for batch in steps(batches):
                mixed = alpha * v + (1 - alpha) * w
                w, v = w - ETA * gradient(w, batch), v - ETA * alpha * gradient(mixed, batch)
            own[who] = v
            ends.append(w)
        x = np.mean(ends, axis=0)
    algorithm = h.APFL(alpha=alpha)
    state, memory = ran(algorithm, 3)
    assert near(state.x, x)
    for who, v in own.items():
        assert near(memory[who]["v"], v)
        assert near(algorithm.personal_model({"x": state.x}, memory[who]), alpha * v + (1 - alpha) * x)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_apfl_between_the_global_model_and_training_alone(alpha: float) -> None:
    algorithm = h.APFL(alpha=alpha)
    state, memory = ran(algorithm, 3)
    alone, _ = ran(h.FedAvg(), 3)
    assert near(state.x, alone.x)
    for who, batches in DATA.items():
        v = alone.x if alpha == 0 else MODEL.start(h.Key.of(0))
        for batch in 3 * steps(batches) if alpha else ():
            v = v - ETA * gradient(v, batch)
        assert near(algorithm.personal_model({"x": state.x}, memory[who]), v)
