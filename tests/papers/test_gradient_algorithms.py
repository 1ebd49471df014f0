"""Algorithms that ask for gradients, or train twice, against plain loops over batches on softmax regression:
Mime, MimeLite, APFL, Per-FedAvg, pFedMe, FedRep, FedALA, FedSAM, LG-FedAvg and fine-tuning.

Each client's data are batches in an order of their own, so that the loops here see them in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.algorithms import full_gradient
from hansa.models import Gradient, Score
from hansa.models.parts import KEPT
from hansa.plan.client import LOCAL
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


def ran(algorithm: Any, rounds: int, model: Any = MODEL) -> tuple[h.State, dict[str, Any]]:
    """The last state, and what clients remember; each client counts once."""
    plan = h.Plan(model, algorithm, (h.Weigh("one"),), training=TRAINING, rounds=rounds)
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


def test_per_fedavg() -> None:
    """Each step follows the gradient on the next batch at the point that a step on this one leads to."""
    alpha, x = 0.2, MODEL.start(h.Key.of(0))
    for _ in range(3):
        ends, own = [], {}
        for who, batches in DATA.items():
            y, through = x, steps(batches)
            for i, batch in enumerate(through):
                adapted = y - alpha * gradient(y, batch)
                y = y - ETA * gradient(adapted, through[(i + 1) % len(through)])
            ends.append(y)
            own[who] = x - alpha * gradient(x, batches)
        x = np.mean(ends, axis=0)
    algorithm = h.PerFedAvg(alpha=alpha)
    state, memory = ran(algorithm, 3)
    assert near(state.x, x)
    for who, v in own.items():
        assert near(algorithm.personal_model({"x": state.x}, memory[who]), v)


def test_fedsam() -> None:
    """Each step follows the gradient of its batch at ρ along its gradient."""
    rho, x = 0.3, MODEL.start(h.Key.of(0))
    for _ in range(3):
        ends = []
        for batches in DATA.values():
            y = x
            for batch in steps(batches):
                g = gradient(y, batch)
                y = y - ETA * gradient(y + rho * g / np.linalg.norm(g), batch)
            ends.append(y)
        x = np.mean(ends, axis=0)
    state, _ = ran(h.FedSAM(rho=rho), 3)
    assert near(state.x, x)


def test_fedala() -> None:
    """w is learnt on the way from one's own model to the global one; training starts in between."""
    rate, x = 20.0, MODEL.start(h.Key.of(0))
    own, taken = dict.fromkeys(DATA, x), dict.fromkeys(DATA, np.ones_like(x))
    for _ in range(3):
        ends = []
        for who, batches in DATA.items():
            v, w = own[who], taken[who]
            y = v + (x - v) * w
            for batch in batches:
                w = np.clip(w - rate * gradient(y, [batch]) * (x - v), 0, 1)
                y = v + (x - v) * w
            for batch in steps(batches):
                y = y - ETA * gradient(y, batch)
            own[who], taken[who] = y, w
            ends.append(y)
        x = np.mean(ends, axis=0)
    algorithm = h.FedALA(rate=rate)
    state, memory = ran(algorithm, 3)
    assert near(state.x, x)
    assert any((w > 0).any() and (w < 1).any() for w in taken.values())
    for who, v in own.items():
        assert near(memory[who]["w"], taken[who])
        assert near(algorithm.personal_model({"x": state.x}, memory[who]), v)


def test_lg_fedavg() -> None:
    """LG-FedAvg is FedAvg of the upper part, above a lower part that each client keeps (Liang et al. 2020)."""
    start = MODEL.start(h.Key.of(0))
    lower, upper = dict.fromkeys(DATA, start[:12]), start[12:]
    for _ in range(3):
        ends = []
        for who, batches in DATA.items():
            y = np.append(lower[who], upper)
            for batch in steps(batches):
                y = y - ETA * gradient(y, batch)
            lower[who] = y[:12]
            ends.append(y[12:])
        upper = np.mean(ends, axis=0)
    state, memory = ran(h.FedAvg(), 3, h.Personal(MODEL, keep=("weight",)))
    assert near(state.x, upper)
    for who, kept in lower.items():
        assert near(memory[who][LOCAL][KEPT]["weight"], kept)


def test_pfedme() -> None:
    """θ goes on from batch to batch, and w follows it by the share rate·λ."""
    lam, rate, x = 2.0, 0.25, MODEL.start(h.Key.of(0))
    for _ in range(3):
        ends, own = [], {}
        for who, batches in DATA.items():
            w = theta = x
            for batch in steps(batches):
                for _ in range(4):
                    theta = theta - ETA * (gradient(theta, batch) + lam * (theta - w))
                w = w - rate * lam * (w - theta)
            ends.append(w)
            own[who] = theta
        x = x + 0.5 * (np.mean(ends, axis=0) - x)
    algorithm = h.PFedMe(h.Sgd(0.5), lam=lam, rate=rate, inner=4)
    state, memory = ran(algorithm, 3)
    assert near(state.x, x)
    for who, theta in own.items():
        assert near(algorithm.personal_model({"x": state.x}, memory[who]), theta)


def test_fedrep() -> None:
    """Biases, which stay, are trained for three passes over the batches; then the weights, which travel."""
    start = MODEL.start(h.Key.of(0))
    body, heads = start[:12], dict.fromkeys(DATA, start[12:])
    for _ in range(3):
        ends = []
        for who, batches in DATA.items():
            head, y = heads[who], body
            for batch in 3 * batches:
                head = head - ETA * gradient(np.append(body, head), [batch])[12:]
            for batch in steps(batches):
                y = y - ETA * gradient(np.append(y, head), batch)[:12]
            heads[who] = head
            ends.append(y)
        body = np.mean(ends, axis=0)
    state, memory = ran(h.FedRep(head_epochs=3), 3, h.Personal(MODEL, keep=("bias",)))
    assert near(state.x, body)
    for who, head in heads.items():
        assert near(memory[who][LOCAL][KEPT]["bias"], head)


@pytest.mark.parametrize("tuning", [None, replace(TRAINING, epochs=3, only=("bias",))], ids=["as trained", "bias"])
def test_fine_tuned(tuning: h.Training | None) -> None:
    """The global model is FedAvg's; a client's own is what its last training, or its tuning, makes of it."""
    before, _ = ran(h.FedAvg(), 2)
    after, _ = ran(h.FedAvg(), 3)
    state, memory = ran(h.FineTuned(tuning=tuning), 3)
    np.testing.assert_array_equal(state.x, after.x)
    for who, batches in DATA.items():
        v = before.x
        for batch in steps(batches) if tuning is None else [[batch] for batch in 3 * batches]:
            g = gradient(v, batch)
            if tuning is not None:
                g[:12] = 0.0
            v = v - ETA * g
        assert near(memory[who]["personal"], v)


WRONG = [
    (h.FedRep(), MODEL, TRAINING, "one of both is missing"),
    (h.FedRep(), h.Personal(MODEL, keep=("bias",)), replace(TRAINING, only=("bias",)), "one of both is missing"),
    (h.PerFedAvg(), h.Personal(MODEL, keep=("bias",)), TRAINING, "stay with a client"),
    (h.PerFedAvg(), MODEL, replace(TRAINING, only=("bias",)), "at one rate"),
    (h.FedSAM(), h.Personal(MODEL, keep=("bias",)), TRAINING, "stay with a client"),
    (h.FedALA(), MODEL, replace(TRAINING, clip=1.0), "not clipped"),
    (h.PFedMe(), h.Personal(MODEL, keep=("bias",)), TRAINING, "client's own already"),
    (h.FineTuned(tuning=TRAINING), MODEL, replace(TRAINING, report=False, private=h.PerExample(1.0, 1.0)), "private="),
]


@pytest.mark.promise("P641")
@pytest.mark.parametrize(("algorithm", "model", "training", "why"), WRONG, ids=lambda one: type(one).__name__)
def test_what_an_algorithm_cannot_train_is_refused(algorithm: Any, model: Any, training: Any, why: str) -> None:
    with pytest.raises(h.HansaError, match=why):
        h.Plan(model, algorithm, (h.Weigh("one"),), training=training)


@pytest.mark.parametrize(
    "make",
    [
        lambda: h.PerFedAvg(alpha=0.0),
        lambda: h.FedSAM(rho=0.0),
        lambda: h.FedALA(rate=0.0),
        lambda: h.PFedMe(lam=0.0),
        lambda: h.PFedMe(lam=30.0, rate=0.1),
        lambda: h.PFedMe(inner=0),
        lambda: h.FedRep(head_epochs=0),
    ],
)
def test_numbers_that_mean_nothing_are_refused(make: Any) -> None:
    with pytest.raises(h.HansaError, match="Write"):
        make()
