"""Local training by round and by step: learning rates, clipped gradients, RMSprop; against plain loops."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from tests.contracts.test_backends import KEY, compiled, network, numbers, own, points
from torch.nn import functional as F

import hansa as h
from hansa.data import Examples
from hansa.errors import PlanError
from hansa.explain import explain
from hansa.models import Drift
from hansa.training import Training

PARTS = {"a": points(20, 1), "b": points(30, 2)}
ROUNDS = 6
WAVE = h.WarmUp(2, then=h.Cosine(0.1))


def run(plan: h.Plan, state: Any = None, parts: Any = PARTS) -> list[Any]:
    """The state after each round."""
    return list(h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in parts.items()]), state))


# ── the learning rate of a round ──


def rates(schedule: Any) -> list[float]:
    return [Training(learning_rate=0.5, schedule=schedule).at(t, ROUNDS).learning_rate for t in range(ROUNDS)]


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (h.Cosine(0.1), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, ROUNDS, eta_min=0.05)),
        (h.StepDecay(2, 0.3), lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.3)),
        (h.WarmUp(3), lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 4, total_iters=3)),
    ],
    ids=["cosine", "step decay", "warm-up"],
)
def test_schedules_are_those_of_pytorch(schedule: Any, theirs: Callable[[Any], Any]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    scheduler = theirs(optimizer)
    for rate in rates(schedule):
        assert rate == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_a_warm_up_goes_over_to_another_that_counts_from_0() -> None:
    factors = [WAVE(t, ROUNDS) for t in range(ROUNDS)]
    assert factors == [1 / 3, 2 / 3, *(h.Cosine(0.1)(t, ROUNDS - 2) for t in range(ROUNDS - 2))]


@pytest.mark.parametrize(
    "make",
    [
        partial(h.Softmax, 8, 3),
        lambda: h.SklearnModel(SGDClassifier(loss="log_loss", alpha=0.0), 8, 3),
        lambda: h.TorchModel(network(), F.cross_entropy),
        lambda: h.TorchModel(network(), F.cross_entropy, compile=False),
        lambda: h.TorchModel(network(), F.cross_entropy, cohort=2),
        own,
        compiled,
    ],
)
def test_a_round_trains_at_its_rate(make: Any) -> None:
    """As plans of one round each, whose rates somebody has written down; one client, all examples at once."""
    one = {"a": PARTS["a"]}
    plan = h.Plan(make(), training=h.Training(batch=0, steps=1, learning_rate=0.5, schedule=WAVE), rounds=ROUNDS)
    x = plan.start().x
    for state, rate in zip(run(plan, parts=one), rates(WAVE), strict=True):
        training = Training(batch=0, steps=1, learning_rate=rate)
        x = plan.model.train(x, PARTS["a"], training, Drift(), KEY).x
        # scikit-learn takes one example after another, in an order of each round's own
        close = 0.02 if isinstance(plan.model, h.SklearnModel) else 1e-5
        np.testing.assert_allclose(state.x, x, atol=close)


def test_keras_compiles_once_for_all_rates() -> None:
    model = compiled()
    run(h.Plan(model, training=h.Training(schedule=WAVE), rounds=3))
    assert len(model._steps) == 1  # type: ignore[attr-defined]


def gradient(x: Any, A: Any, y: Any) -> Any:
    """∇ of the mean of −log softmax([A, 1]·W)_y."""
    A = np.c_[A, np.ones(len(y))].astype(float)
    z = A @ x.reshape(9, 3)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return (A.T @ (p - np.eye(3)[y]) / len(y)).ravel()


def by_hand(name: str) -> Any:
    """Scaffold, FedNova, FedDyn in NumPy with the η of each round; K steps over all examples, clients weigh alike."""
    x = np.zeros(27)
    server = np.zeros(27)  # c of SCAFFOLD, h of FedDyn
    kept = {who: np.zeros(27) for who in PARTS}
    for eta in rates(WAVE):
        ends, steps = {}, {}
        for who, (A, y) in PARTS.items():
            steps[who] = -(-2 * len(y) // 20)  # two epochs of batches of 20
            w = x.copy()
            for _ in range(steps[who]):
                drift = {"Scaffold": server - kept[who], "FedDyn": 0.3 * (w - x) - kept[who]}.get(name, 0.0)
                w = w - eta * (gradient(w, A, y) + drift)
            ends[who] = w
        mean = sum(ends.values()) / 2 - x
        if name == "Scaffold":
            new = {who: kept[who] - server + (x - ends[who]) / (steps[who] * eta) for who in PARTS}
            server = server + sum(new[who] - kept[who] for who in PARTS) / 2
            kept, x = new, x + mean
        elif name == "FedNova":
            x = x + np.mean(list(steps.values())) * sum((ends[who] - x) / steps[who] for who in PARTS) / 2
        else:
            kept = {who: kept[who] - 0.3 * (ends[who] - x) for who in PARTS}
            server = server - 0.3 * mean
            x = x + mean - server / 0.3
    return x


class Whole(h.Softmax):
    """Each of its steps is over all examples."""

    def train(self, x: Any, data: Any, training: Any, drift: Any, key: Any, local: Any = {}) -> Any:  # noqa: B006
        steps = training.counts(len(data))[1]
        return super().train(x, data, replace(training, batch=0, epochs=1, steps=steps), drift, key, local)


@pytest.mark.parametrize("algorithm", [h.Scaffold(), h.FedNova(), h.FedDyn(alpha=0.3)], ids=repr)
def test_algorithms_hold_the_rate_of_the_round(algorithm: Any) -> None:
    """SCAFFOLD divides by it, FedNova's update holds it, FedDyn's pull is beside it."""
    training = h.Training(epochs=2, batch=20, learning_rate=0.5, schedule=WAVE)
    plan = h.Plan(Whole(8, 3), algorithm, (h.Weigh("one"),), training=training, rounds=ROUNDS)
    np.testing.assert_allclose(run(plan)[-1].x, by_hand(type(algorithm).__name__), atol=1e-9)


@pytest.mark.promise("P310")
def test_resumed_and_by_workers_the_bytes_are_the_same() -> None:
    plan = h.Plan(h.Softmax(8, 3), training=h.Training(batch=8, schedule=WAVE), rounds=ROUNDS)

    def clients() -> list[h.Client]:
        return [h.Client(who, plan, data) for who, data in PARTS.items()]

    runtime = h.InProcess(clients())
    begun = h.synchronous(plan, runtime)
    for _ in range(3):
        state = next(begun)
    *_, resumed = h.synchronous(plan, runtime, state)
    with h.Processes(clients(), workers=2) as workers:
        *_, shared = h.synchronous(plan, workers)
    whole = run(plan)[-1]
    assert (resumed.x == whole.x).all() and (shared.x == whole.x).all()


@dataclass(frozen=True)
class Halved:
    """Anybody's schedule: a value that is called."""

    after: int = 1

    def __call__(self, round: int, rounds: int) -> float:
        return 1.0 if round < self.after else 0.5


def test_a_schedule_of_ones_own_is_told_and_in_the_digest() -> None:
    plans = [
        h.Plan(h.Softmax(8, 3), training=h.Training(learning_rate=0.5, schedule=one))
        for one in (None, Halved(), Halved(2), lambda round, rounds: 0.9**round, h.Cosine(), h.Cosine(0.1))
    ]
    assert len({plan.digest for plan in plans}) == 6
    told = str(explain(plans[1]))
    assert "learning rate 0.5 in the first round and 0.25 in the last by Halved(after=1)" in told


# ── clipped gradients, and RMSprop ──


MODELS = [
    lambda: h.TorchModel(network(), F.cross_entropy),
    lambda: h.TorchModel(network(), F.cross_entropy, compile=False),
    lambda: h.TorchModel(network(), F.cross_entropy, cohort=2),
    own,
    compiled,
]
TRAINING = h.Training(epochs=2, batch=8, learning_rate=0.02, weight_decay=0.05)


def plain_loop(training: h.Training, trained: tuple[int, ...] = (0, 1, 2, 3)) -> Any:
    """The same in PyTorch: clip_grad_norm_, then a pull of 0.3, then a step; of these parameters alone."""
    net = network()
    start = [p.detach().clone() for p in net.parameters()]
    for i, p in enumerate(net.parameters()):
        p.requires_grad_(i in trained)
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    some = [p for p in net.parameters() if p.requires_grad]
    stepper = kinds[training.optimizer](some, training.learning_rate, weight_decay=0.05)
    norms = []
    for A, y in Examples.of(PARTS["a"]).batches(training, KEY):
        stepper.zero_grad()
        F.cross_entropy(net(torch.tensor(A)), torch.tensor(y)).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(some, training.clip or np.inf)))
        for p, first in zip(net.parameters(), start, strict=True):
            if p.grad is not None:
                p.grad += 0.3 * (p.detach() - first)
        stepper.step()
    if training.clip:
        assert max(norms) > training.clip > min(norms)  # it binds, and not always
    return torch.cat([p.detach().ravel() for p in net.parameters()]).numpy()


@pytest.mark.parametrize("make", MODELS, ids=["native", "eager", "cohort", "jax", "keras"])
@pytest.mark.parametrize(("optimizer", "clip"), [("sgd", 0.9), ("rmsprop", None), ("rmsprop", 0.9)])
def test_clip_and_rmsprop_are_pytorchs(make: Any, optimizer: Any, clip: float | None) -> None:
    training = replace(TRAINING, optimizer=optimizer, clip=clip)
    model = make()
    fit = model.train(model.start(KEY), PARTS["a"], training, Drift(0.3), KEY)
    np.testing.assert_allclose(numbers(model, fit.x), plain_loop(training), atol=3e-6)


@pytest.mark.parametrize("make", MODELS, ids=["native", "eager", "cohort", "jax", "keras"])
def test_the_norm_is_that_of_the_parts_that_are_trained(make: Any) -> None:
    model = make()
    last = tuple(list(model.slices())[2:])
    training = replace(TRAINING, clip=0.8, only=tuple(name.replace("[", "[[]") for name in last))
    fit = model.train(model.start(KEY), PARTS["a"], training, Drift(0.3), KEY)
    np.testing.assert_allclose(numbers(model, fit.x), plain_loop(training, (2, 3)), atol=3e-6)


def test_softmax_clips() -> None:
    """In a plain loop over all examples, with weight decay behind the clip; and of its biases alone."""
    A, y = PARTS["a"]
    for only, moved in (((), np.arange(27) >= 0), (("bias",), np.arange(27) >= 24)):
        training = Training(batch=0, steps=5, learning_rate=0.5, weight_decay=0.1, clip=0.1, only=only)
        x = w = np.linspace(-1, 1, 27)
        for _ in range(5):
            g = gradient(w, A, y) * moved
            assert np.linalg.norm(g) > 0.1
            w = w - 0.5 * moved * (g * 0.1 / np.linalg.norm(g) + 0.1 * w)
        np.testing.assert_allclose(h.Softmax(8, 3).train(x, PARTS["a"], training, Drift(), KEY).x, w, atol=1e-9)


# ── what cannot be ──


def plan(model: Any = None, algorithm: Any = None, rounds: int = 10, **training: Any) -> h.Plan:
    return h.Plan(model or h.Softmax(8, 3), algorithm or h.FedAvg(), training=h.Training(**training), rounds=rounds)


def linear() -> Any:
    return h.SklearnModel(SGDClassifier(loss="log_loss"), 8, 3)


def compiled_with_sgd() -> Any:
    net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    net.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    return h.KerasModel(net)


NOISE = h.PerExample(1.0, 1.0)


@pytest.mark.promise("P312")
@pytest.mark.guards(
    "a model that knows no clip is refused",
    "no gradient is asked for beside clipped steps",
    "a rate that no step is taken at is refused",
)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: h.Cosine(1.0), "is a share of the rate"),
        (lambda: h.StepDecay(0), "counts rounds"),
        (lambda: h.StepDecay(3, 1.5), "is a share of the rate"),
        (lambda: h.WarmUp(0), "counts rounds"),
        (lambda: h.WarmUp(1, h.Cosine), "is another schedule"),  # type: ignore[arg-type]
        (lambda: Training(schedule=h.Cosine), "is a function of"),  # type: ignore[arg-type]
        (lambda: Training(schedule="cosine"), "is a function of"),  # type: ignore[arg-type]
        (lambda: Training(clip=0.0), "is the norm"),
        (lambda: Training(clip=1.0, private=NOISE, report=False), "clips twice"),
        (lambda: Training(optimizer="compiled", clip=1.0), "passed over in silence"),
        (lambda: Training(optimizer="compiled", schedule=h.Cosine()), "passed over in silence"),
        (lambda: plan(schedule=lambda round, rounds: 1 - round / 3), "in round 4 of 10"),
        (lambda: plan(schedule=lambda round, rounds: np.nan), "in round 1 of 10"),
        (lambda: plan(schedule=h.StepDecay(1), rounds=400), "stays above 0"),
        (lambda: plan(compiled_with_sgd(), schedule=h.Cosine()), "which a schedule changes"),
        (lambda: plan(linear(), clip=1.0), "does not say that it bounds"),
        (lambda: plan(algorithm=h.MimeLite(), clip=1.0), "these are not clipped"),
        (lambda: plan(algorithm=h.APFL(), clip=1.0), "these are not clipped"),
        (lambda: plan(optimizer="rmsprop"), "SGD alone"),
        (lambda: plan(linear(), optimizer="rmsprop"), "plain SGD"),
    ],
)
def test_refused(make: Any, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert words in str(refused.value) and refused.value.instead
