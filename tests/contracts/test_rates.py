"""Learning rates by part of the model: in every backend as parameter groups of PyTorch, and in every algorithm."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from tests.contracts.test_backends import KEY, compiled, network, numbers, own, points
from tests.contracts.test_schedules import MODELS, Whole, compiled_with_sgd, gradient
from torch.nn import functional as F

import hansa as h
from hansa.asks import perform
from hansa.audit.inversion import along_gradient
from hansa.data import Examples
from hansa.errors import PlanError
from hansa.explain import explain
from hansa.models import Drift, Train
from hansa.models.parts import paced, paces
from hansa.training import Training

PARTS = {"a": points(20, 1), "b": points(30, 2)}
FACTORS = (0.25, 1.0, 4.0, 0.0)  # of the four tensors of `network`
TRAINING = Training(epochs=2, batch=8, learning_rate=0.02, weight_decay=0.05)
IDS = ["native", "eager", "cohort", "jax", "keras"]


def rated(model: Any, training: Training = TRAINING, factors: Any = FACTORS) -> Training:
    names = [name.replace("[", "[[]") for name in model.slices()]
    return replace(training, rates=dict(zip(names, factors, strict=True)))


def plain_loop(training: Training, factors: Any = FACTORS) -> Any:
    """The same in PyTorch, with a parameter group for each tensor; a pull of 0.3 behind the clip."""
    net: Any = network()
    start = [p.detach().clone() for p in net.parameters()]
    eta = training.learning_rate
    groups = [{"params": [p], "lr": eta * one} for p, one in zip(net.parameters(), factors, strict=True)]
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "momentum": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    kinds |= {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more = {"momentum": 0.9} if training.optimizer == "momentum" else {}
    stepper = kinds[training.optimizer](groups, eta, weight_decay=training.weight_decay, **more)
    for A, y in Examples.of(PARTS["a"]).batches(training, KEY):
        stepper.zero_grad()
        loss: Any = F.cross_entropy(net(torch.tensor(A)), torch.tensor(y))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), training.clip or np.inf)
        for p, first in zip(net.parameters(), start, strict=True):
            assert p.grad is not None
            p.grad += 0.3 * (p.detach() - first)
        stepper.step()
    return torch.cat([p.detach().ravel() for p in net.parameters()]).numpy()


@pytest.mark.parametrize("make", MODELS, ids=IDS)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_as_parameter_groups_of_pytorch(make: Any, optimizer: Any) -> None:
    model = make()
    training = rated(model, replace(TRAINING, optimizer=optimizer, clip=0.9))
    start = model.start(KEY)
    fit = model.train(start, PARTS["a"], training, Drift(0.3), KEY)
    if not (isinstance(model, h.KerasModel) and optimizer.startswith("adam")):  # whose ε is another
        np.testing.assert_allclose(numbers(model, fit.x), plain_loop(training), atol=5e-6)
    frozen = list(model.slices().values())[3]
    assert (fit.x[frozen] == start[frozen]).all()


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_step_of_keras_own_adam(optimizer: Any) -> None:
    model: Any = compiled()
    plain = Training(steps=1, learning_rate=0.02, optimizer=optimizer, weight_decay=0.05)
    x = model.start(KEY)
    step = model.train(x, PARTS["a"], plain, Drift(), KEY).x - x
    scaled = model.train(x, PARTS["a"], rated(model, plain), Drift(), KEY).x - x
    for factor, place in zip(FACTORS, model.slices().values(), strict=True):
        np.testing.assert_allclose(scaled[place], factor * step[place], atol=1e-6)


@pytest.mark.parametrize("make", MODELS, ids=IDS)
def test_with_parts_that_alone_are_trained(make: Any) -> None:
    """What `only` leaves out stays whatever its rate is."""
    model = make()
    training = rated(model, factors=(2.0, 2.0, 0.5, 1.0))
    training = replace(training, only=tuple(name for name, _ in list(dict(training.rates).items())[2:]))
    start = model.start(KEY)
    fit = model.train(start, PARTS["a"], training, Drift(0.3), KEY)
    np.testing.assert_allclose(numbers(model, fit.x), plain_loop(training, (0.0, 0.0, 0.5, 1.0)), atol=5e-6)
    assert (fit.x[: 8 * 16 + 16] == start[: 8 * 16 + 16]).all()


def test_softmax_in_a_plain_loop() -> None:
    A, y = PARTS["a"]
    training = Training(batch=0, steps=5, learning_rate=0.5, weight_decay=0.1, clip=0.1, rates={"w*": 3.0, "*": 0.5})
    factors = np.where(np.arange(27) < 24, 3.0, 0.5)
    x: Any = np.linspace(-1, 1, 27)
    w = x
    for _ in range(5):
        g = gradient(w, A, y)
        assert np.linalg.norm(g) > 0.1
        w = w - 0.5 * factors * (g * 0.1 / np.linalg.norm(g) + 0.1 * w)
    model: Any = h.Softmax(8, 3)
    np.testing.assert_allclose(model.train(x, PARTS["a"], training, Drift(), KEY).x, w, atol=1e-9)


def test_the_first_pattern_counts_and_shares_are_one_at_most() -> None:
    model = h.TorchModel(network(), F.cross_entropy)
    training = Training(learning_rate=0.1, rates={"2.bias": 8, "2.*": 4, "0.bias": 0})
    eta, shares = paced(model, training)
    assert eta == pytest.approx(0.8)
    assert shares == {"0.weight": 1 / 8, "0.bias": 0, "2.weight": 1 / 2, "2.bias": 1}
    assert paced(model, Training(only=("2.*",))) == (0.1, {"0.weight": 0, "0.bias": 0, "2.weight": 1, "2.bias": 1})


@pytest.mark.parametrize(
    "make",
    [
        lambda: h.Softmax(8, 3),
        lambda: h.TorchModel(network(), F.cross_entropy),
        lambda: h.TorchModel(network(), F.cross_entropy, cohort=2),
        own,
    ],
    ids=["softmax", "torch", "cohort", "jax"],
)
def test_noise_for_single_examples_is_scaled_with_the_step(make: Any) -> None:
    """The rate comes behind clip and noise: one step of each part is that factor of the step without rates."""
    model = make()
    plain = Training(batch=8, steps=1, private=h.PerExample(0.5, 2.0), report=False)
    names = list(model.slices())
    factors = (0.5, 2.0) if len(names) == 2 else FACTORS
    x = model.start(KEY)
    step = model.train(x, PARTS["a"], plain, Drift(), KEY).x - x
    scaled = model.train(x, PARTS["a"], rated(model, plain, factors), Drift(), KEY).x - x
    for factor, place in zip(factors, model.slices().values(), strict=True):
        assert np.abs(step[place]).min() > 0
        np.testing.assert_allclose(scaled[place], factor * step[place], atol=1e-6)


def test_in_a_batch_of_clients_each_has_the_bytes_that_it_has_alone() -> None:
    model = h.TorchModel(network(), F.cross_entropy, cohort=4)
    x = model.start(KEY)
    asks = [Train(x, Examples.of(one), rated(model), Drift(0.1), KEY.child(who)) for who, one in PARTS.items()]
    for ask, fit in zip(asks, perform(model, asks), strict=True):
        assert (perform(model, [ask])[0].x == fit.x).all()


# ── in algorithms ──


def run(plan: h.Plan, parts: Any = PARTS) -> Any:
    *_, state = h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in parts.items()]))
    return state


RATES = {"weight": 0.5, "bias": 2.0}
PACE = np.where(np.arange(27) < 24, 0.5, 2.0)


def by_hand(algorithm: str, pace: Any) -> Any:
    """In NumPy, with a rate for each number; three rounds, two steps of each client in the first place."""
    x: Any = np.zeros(27)
    server = np.zeros(27)  # c of SCAFFOLD, m of MimeLite
    kept = {who: np.zeros(27) for who in PARTS}
    for round in range(3):
        eta = 0.5 * 0.5**round * pace
        ends: Any = {}
        steps = {who: -(-2 * len(y) // 20) for who, (_, y) in PARTS.items()}
        for who, (A, y) in PARTS.items():
            w = x.copy()
            for _ in range(steps[who]):
                g = gradient(w, A, y)
                if algorithm == "MimeLite":
                    g = 0.1 * g + 0.9 * server
                if algorithm == "Scaffold":
                    g = g + server - kept[who]
                w = w - eta * g
            ends[who] = w
        if algorithm == "FedNova":
            x = x + np.mean(list(steps.values())) * sum((ends[who] - x) / steps[who] for who in PARTS) / 2
            continue
        if algorithm == "MimeLite":
            server = 0.1 * sum(gradient(x, *PARTS[who]) for who in PARTS) / 2 + 0.9 * server
        if algorithm == "Scaffold":
            moved = {who: np.divide(x - ends[who], steps[who] * eta, out=np.zeros(27), where=pace > 0) for who in PARTS}
            new = {who: kept[who] - server + moved[who] for who in PARTS}
            server = server + sum(new[who] - kept[who] for who in PARTS) / 2
            kept = new
        x = sum(ends.values()) / 2
    return x


@pytest.mark.parametrize("algorithm", [h.Scaffold(), h.FedNova(), h.MimeLite(), h.FedAvg()], ids=repr)
@pytest.mark.parametrize(("rates", "pace"), [(RATES, PACE), ({"bias": 0}, np.where(np.arange(27) < 24, 1.0, 0.0))])
def test_algorithms_hold_the_rate_of_each_number(algorithm: Any, rates: Any, pace: Any) -> None:
    """SCAFFOLD divides by it; with the schedule's factor on top."""
    training = Training(epochs=2, batch=20, learning_rate=0.5, schedule=h.StepDecay(1, 0.5), rates=rates)
    plan = h.Plan(Whole(8, 3), algorithm, (h.Weigh("one"),), training=training, rounds=3)
    np.testing.assert_allclose(run(plan).x, by_hand(type(algorithm).__name__, pace), atol=1e-9)


def test_apfl_steps_its_own_model_at_the_rates() -> None:
    """v ← v − η r α ∇f(v̄), in one step over all examples of one client."""
    A, y = PARTS["a"]
    training = Training(batch=0, learning_rate=0.5, rates=RATES)
    plan = h.Plan(h.Softmax(8, 3), h.APFL(alpha=0.5), (h.Weigh("one"),), training=training, rounds=2)
    client = h.Client("a", plan, PARTS["a"])
    runtime = h.InProcess([client])
    for state in h.synchronous(plan, runtime):
        memory = runtime.memory.after(state.counted)
    w = v = np.zeros(27)
    for _ in range(2):
        g = gradient(w + 0.5 * (v - w), A, y)
        w = w - 0.5 * PACE * gradient(w, A, y)
        v = v - 0.5 * PACE * 0.5 * g
    np.testing.assert_allclose(memory["a"]["v"], v, atol=1e-9)


def test_of_kept_parts_too() -> None:
    """A factor on what stays with a client; SCAFFOLD's control is of what travels."""
    model: Any = h.Personal(h.TorchModel(network(), F.cross_entropy), keep=("2.*",))
    training = Training(batch=0, steps=3, learning_rate=0.1, rates={"2.*": 0.0, "0.bias": 4.0})
    plan = h.Plan(model, h.Scaffold(), (h.Weigh("one"),), training=training, rounds=2)
    assert paces(model, training).tolist() == [1.0] * 128 + [4.0] * 16
    state = run(plan)
    assert np.abs(state.x - plan.start().x).max() > 0
    x = model.start(KEY)
    fit = model.train(x, PARTS["a"], training, Drift(), KEY)
    kept = fit.local["kept"]
    assert (kept["2.bias"] == model.whole(x)[-3:]).all()


def test_an_audit_knows_the_rates() -> None:
    """What is seen of an update is turned back along the gradient, with 0 for a part that stays."""
    plans = [h.Plan(h.Softmax(8, 3), training=Training(rates=one)) for one in ((), {"weight": 0.25}, {"bias": 0.0})]
    g = np.linspace(-1, 1, 27)
    for plan in plans:
        seen = along_gradient(plan, g * paces(plan.model, plan.training))
        np.testing.assert_allclose(seen, g * (paces(plan.model, plan.training) > 0))


def test_it_is_told_and_in_the_digest() -> None:
    plans = [h.Plan(h.Softmax(8, 3), training=Training(rates=one)) for one in ((), RATES, {"bias": 2.0})]
    assert len({one.digest for one in plans}) == 3
    told = str(explain(plans[1]))
    assert "times the learning rate" in told and "weight 0.5, bias 2" in told


@pytest.mark.promise("P333")
@pytest.mark.guards("a model of one learning rate is refused")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Training(rates={"bias": -1.0}), "each with a factor"),
        (lambda: Training(rates={"bias": np.nan}), "each with a factor"),
        (lambda: Training(rates={"bias": "0"}), "each with a factor"),  # type: ignore[dict-item]
        (lambda: Training(rates=("bias",)), "each with a factor"),  # type: ignore[arg-type]
        (lambda: Training(optimizer="compiled", rates=RATES), "passed over in silence"),
        (lambda: h.Plan(h.Softmax(8, 3), training=Training(rates={"head.*": 1.0})), "Its parts are weight, bias"),
        (lambda: h.Plan(h.Softmax(8, 3), training=Training(rates={"*": 0.0})), "moves nothing"),
        (lambda: h.Plan(compiled_with_sgd(), training=Training(rates={"*": 2.0})), "of which parts have another"),
        (
            lambda: h.Plan(h.SklearnModel(SGDClassifier(), 8, 3), training=Training(rates={"coef_": 2.0})),
            "does not say that its parts",
        ),
    ],
)
def test_refused(make: Any, words: str) -> None:
    with pytest.raises(PlanError) as refused:
        make()
    assert words in str(refused.value) and refused.value.instead


def test_keras_compiles_once_for_all_rounds() -> None:
    model: Any = compiled()
    run(h.Plan(model, training=replace(rated(model, Training(learning_rate=0.1)), schedule=h.Cosine(0.1)), rounds=3))
    assert len(model._steps) == 1
