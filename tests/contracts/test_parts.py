"""Parts of a model by name: which stay with each client, and which alone are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.aggregators.verified import VerifiedSum
from hansa.errors import PlanError
from hansa.explain import explain
from hansa.models import Drift, Train
from hansa.models.torch import TorchModel
from hansa.testing import check_algorithm, check_model
from hansa.testing.algorithm import MODEL, federation

KEY, NONE = h.Key.of(4), Drift()
DATA = {who: (X.astype(np.float32), y) for who, (X, y) in federation(4).items()}
HOME = ("bias",)
ONCE = h.Training(batch=0, steps=1, learning_rate=0.2)


def net(buffers: Any = "average", cohort: int | None = None, compile: bool = True) -> TorchModel:
    """A body with BatchNorm, and a head."""
    torch.manual_seed(0)
    body = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()] if buffers else [nn.Linear(4, 8), nn.ReLU()]
    head = nn.Linear(8, 3)
    whole = nn.Sequential()
    whole.add_module("body", nn.Sequential(*body))
    whole.add_module("head", head)
    return TorchModel(whole, F.cross_entropy, buffers or "average", cohort=cohort, compile=compile)


def run(plan: h.Plan, runtime: Any = h.InProcess, **more: Any) -> tuple[h.State, dict[str, Any]]:
    """The last state, and what the clients remember."""
    clients = [h.Client(who, plan, one, secret=KEY) for who, one in DATA.items()]
    with runtime(clients, secret=KEY, **more) as there:
        *_, state = h.synchronous(plan, there, secret=KEY)
        return state, dict(there.memory.of(DATA))


def same(a: Any, b: Any) -> bool:
    """Equal to the last byte."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


# ── names ──


def test_parts_have_the_names_of_their_library() -> None:
    assert MODEL.slices() == {"weight": slice(0, 12), "bias": slice(12, 15)}
    assert list(net().slices()) == [
        *("body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "head.weight", "head.bias"),
        *("body.1.running_mean", "body.1.running_var"),
    ]
    assert list(net("local").slices())[-1] == "head.bias"
    assert h.models.Model.slices(MODEL) == {"x": slice(0, 15)}  # a stranger's, without names


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: h.Personal(MODEL, ("head.*",)), "No part .* fits 'head.*weight, bias.*Write one of these"),
        (lambda: h.Personal(MODEL, ("bias", "haed")), "fits 'haed'"),
        (lambda: h.Personal(MODEL, ("*",)), "keeps all that is trained.*weight, bias"),
        (lambda: h.Personal(net(), ("body.*eight", "*.bias", "head.*")), "nothing at all|keeps all"),
        (lambda: h.Personal(MODEL, "bias"), "tuple of patterns"),
        (lambda: h.Personal(MODEL, ()), "keeps nothing"),
        (lambda: h.Personal(h.Personal(MODEL, ("bias",)), ("weight",)), "one Personal"),
        (lambda: h.Training(only="bias"), "only.*tuple of patterns"),
        (lambda: h.Plan(MODEL, training=h.Training(only=("head",))), "fits 'head'.*weight, bias"),
        (lambda: h.Plan(net(), training=h.Training(only=("*running_mean",))), "fits '.*running_mean'"),
    ],
)
def test_what_names_nothing_is_refused(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(PlanError, match=f"(?s){words}"):
        build()


def test_a_model_that_trains_all_of_itself_is_refused_a_part() -> None:
    class Whole(h.Softmax):
        takes = replace(h.Softmax.takes, only=False)

    with pytest.raises(PlanError, match=r"(?s)only=.*Take Softmax"):
        h.Plan(Whole(4, 3), training=h.Training(only=("bias",)))
    h.Plan(Whole(4, 3))


@pytest.mark.parametrize("flag", ["remembers", "private"])
def test_a_flag_where_nobody_looks_is_refused(flag: str) -> None:
    """It would be passed by in silence, and with `remembers` an ε that is none would be told."""
    with pytest.raises(PlanError, match=rf"(?s)nobody looks there.*(Traits|Takes)\({flag}=True\)"):
        type("Mine", (h.Softmax,), {flag: True})


# ── kept at home ──


def softmax_gradient(W: Any, b: Any, X: Any, y: Any) -> tuple[Any, Any]:
    P = np.exp(X @ W + b)
    P /= P.sum(1, keepdims=True)
    P[np.arange(len(y)), y] -= 1
    return X.T @ P / len(y), P.mean(0)


@pytest.mark.promise("P181")
def test_fedper_by_hand() -> None:
    """FedAvg of the weights, by numbers of examples; each bias goes on from where its client left it."""
    rounds, eta = 4, 0.2
    plan = h.Plan(h.Personal(MODEL, HOME), training=h.Training(batch=0, epochs=2, learning_rate=eta), rounds=rounds)
    state, memory = run(plan)
    W, biases = np.zeros((4, 3)), {who: np.zeros(3) for who in DATA}
    total = sum(len(y) for _, y in DATA.values())
    for _ in range(rounds):
        step = np.zeros_like(W)
        for who, (X, y) in DATA.items():
            V = W.copy()
            for _ in range(2):
                of_W, of_b = softmax_gradient(V, biases[who], X, y)
                V -= eta * of_W
                biases[who] = biases[who] - eta * of_b
            step += (V - W) * len(y) / total
        W += step
    assert np.allclose(state.x, W.ravel(), atol=1e-9)
    for who, b in biases.items():
        assert np.allclose(memory[who]["model"]["kept"]["bias"], b, atol=1e-9)
    assert not np.allclose(biases["client-0"], biases["client-1"], atol=1e-3)


@pytest.mark.promise("P181")
def test_nothing_of_what_is_kept_travels() -> None:
    model = h.Personal(net(), ("body.1.*", "head.*"))
    plan = h.Plan(model, h.Scaffold())
    assert list(model.slices()) == ["body.0.weight", "body.0.bias"] and model.size == model.trainable == 40
    assert {name: n for name, n in plan.spec.blocks.items() if n > 1} == {"delta": 40, "control": 40}
    assert plan.broadcast_shapes == {"x": (40,), "c": (40,)}
    half = h.Personal(net(), ("head.*", "*.running_mean"))
    assert half.size - half.trainable == 8 and (half.domain == 0).all()  # the variances alone
    assert h.Plan(half).spec.blocks["statistics"] == 8


@pytest.mark.parametrize(
    ("model", "keep"),
    [
        (MODEL, HOME),
        (net(), ("head.*",)),
        (net(), ("body.1.*",)),
        (net("local"), ("*.bias",)),
        (net(None), ("head.*",)),
        (net(None, compile=False), ("*.bias",)),
        (net(None, cohort=2), ("head.*",)),
    ],
)
def test_a_model_without_what_is_kept_keeps_its_promises(model: Any, keep: Any) -> None:
    check_model(h.Personal(model, keep), DATA["client-3"])


@pytest.mark.parametrize("model", [MODEL, net(None), net(None, compile=False), net(None, cohort=2)])
def test_no_drift_touches_what_is_kept(model: Any) -> None:
    own = h.Personal(model, ("*bias",))
    x = own.start(KEY)
    plain = own.train(x, DATA["client-0"], ONCE, NONE, KEY)
    drift = Drift(0.7, shift=np.ones(own.size), centre=x + 1.0)
    moved = own.train(x, DATA["client-0"], ONCE, drift, KEY)
    for name, numbers in plain.local["kept"].items():
        assert np.allclose(moved.local["kept"][name], numbers, atol=1e-6)
    assert np.allclose(moved.x, plain.x - 0.2 * (0.7 * -1.0 + 1.0), atol=1e-5)


@pytest.mark.parametrize(
    "algorithm", [h.FedProx(0.1), h.Scaffold(), h.FedDyn(alpha=0.1), h.FedNova(), h.Ditto(lam=0.3), h.APFL()], ids=repr
)
def test_every_algorithm_takes_it(algorithm: Any) -> None:
    training = h.Training(batch=10, learning_rate=0.1, validation=0.2)
    plan = h.Plan(h.Personal(MODEL, HOME), algorithm, training=training, rounds=8)
    state, memory = run(plan)
    assert state.metrics["val_loss"] < 1.0 and state.x.shape == (12,)
    assert len({one["model"]["kept"]["bias"].tobytes() for one in memory.values()}) == len(DATA)


def test_fedbn_keeps_what_batchnorm_has() -> None:
    plan = h.Plan(h.Personal(net(), ("body.1.*",)), training=h.Training(batch=10), rounds=3)
    _, memory = run(plan)
    kept = {who: one["model"]["kept"] for who, one in memory.items()}
    assert all(
        one.keys() == {f"body.1.{n}" for n in ("weight", "bias", "running_mean", "running_var")}
        for one in kept.values()
    )
    assert not same(kept["client-0"]["body.1.running_mean"], kept["client-1"]["body.1.running_mean"])


@pytest.mark.parametrize("noise", ["examples", "clients", "verified"])
def test_noise_and_proofs_are_for_what_travels(noise: str) -> None:
    model = h.Personal(MODEL, HOME)
    if noise == "examples":
        quiet = h.Training(report=False, private=h.PerExample(1.0, 1.1))
        plan = h.Plan(model, training=quiet, rounds=2)
    elif noise == "clients":
        plan = h.Plan(model, pipe=(h.Clip(1.0, side=2.0), h.Weigh("one"), h.GaussianNoise(0.5)), rounds=2)
    else:
        pipe = (h.Clip(1.0, side=2.0), h.Weigh("one"), h.Quantize(16))
        plan = h.Plan(model, pipe=pipe, aggregator=VerifiedSum(), sample=h.Everyone(quorum=2), rounds=2)
    state, memory = run(plan)
    assert plan.spec.blocks["delta"] == 12 and np.isfinite(state.x).all() and not state.skipped
    assert all(one["model"]["kept"]["bias"].any() for one in memory.values())


@pytest.mark.promise("P181")
def test_a_cohort_and_workers_have_the_same_bytes() -> None:
    def plan(cohort: int) -> h.Plan:
        return h.Plan(h.Personal(net(None, cohort), ("head.*",)), training=h.Training(batch=8), rounds=2)

    one, many = run(plan(2)), run(plan(4))
    assert np.allclose(one[0].x, many[0].x, atol=1e-6)
    here = run(h.Plan(h.Personal(MODEL, HOME), rounds=3))
    there = run(h.Plan(h.Personal(MODEL, HOME), rounds=3), h.Processes, workers=2)
    assert same(here[0].x, there[0].x) and same(here[1], there[1])


@pytest.mark.promise("P181")
def test_what_is_kept_survives_a_resumed_run(tmp_path: Path) -> None:
    plan = h.Plan(h.Personal(MODEL, HOME), rounds=4)
    whole, _ = run(plan)
    clients = [h.Client(who, plan, one, secret=KEY) for who, one in DATA.items()]
    with h.InProcess(clients, secret=KEY) as first:
        stream = h.synchronous(plan, first, secret=KEY)
        states = [next(stream) for _ in range(2)]
        memory = first.memory.after(states[-1].counted)
    assert memory["client-0"]["model"]["kept"]["bias"].any()
    again = h.InProcess([h.Client(who, plan, one, secret=KEY) for who, one in DATA.items()], secret=KEY)
    with again:
        again.memory.load(memory)
        *_, state = h.synchronous(plan, again, states[-1], secret=KEY)
    assert same(state.x, whole.x)


@pytest.mark.promise("P182")
def test_it_is_said_what_the_global_model_is() -> None:
    model = h.Personal(net(), ("head.*",))
    told = str(explain(h.Plan(model)))
    assert "head.weight, head.bias: 27 numbers, in nothing that travels" in told
    assert "a model that no client uses" in told
    x = model.start(KEY) + 1.0
    tensors = model.tensors(x)
    assert same(tensors["head.weight"], net().tensors(net().start(KEY))["head.weight"])
    own = {"kept": {name: np.zeros(place.stop - place.start) for name, place in model.kept.items()}}
    data = DATA["client-0"]
    assert model.score(x, data) == net().score(model.whole(x), data) != model.score(x, data, own)


@pytest.mark.promise("P183")
def test_it_is_said_what_travels_and_is_not_trained() -> None:
    told = str(explain(h.Plan(net(None), training=h.Training(only=("head.*",)))))
    assert "body.0.weight, body.0.bias: not trained, and they travel all the same" in told
    assert "trained alone | head.weight, head.bias" in told


# ── a part alone ──


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_native_eager_and_cohort_train_the_same_part(optimizer: Any) -> None:
    how = h.Training(epochs=2, batch=8, learning_rate=0.05, optimizer=optimizer, weight_decay=0.1)
    models = [net(None), net(None, compile=False), net(None, cohort=2)]
    x = models[0].start(KEY)
    rng = np.random.default_rng(0)
    drift = Drift(rng.uniform(size=x.size), shift=rng.normal(size=x.size), centre=x + rng.normal(size=x.size))
    for only in (("head.*",), ("body.0.weight",), ("*.bias",)):
        part = replace(how, only=only)
        native, eager, cohort = (one.train(x, DATA["client-2"], part, drift, KEY).x for one in models)
        assert np.allclose(native, eager, atol=2e-4) and np.allclose(cohort, eager, atol=2e-4)
        still = [place for name, place in models[0].slices().items() if not h.models.parts.moves(models[0], part)[name]]
        assert all(same(one[place], x[place]) for one in (native, eager, cohort) for place in still)


@pytest.mark.parametrize("model", [MODEL, net(None, compile=False)])
def test_the_clip_is_that_of_the_part(model: Any) -> None:
    """With a clip that binds, the part's gradient of each example has that norm, and not a share of it."""
    X, y = DATA["client-0"]
    one = (X[:1], y[:1])
    clip = 1e-3
    only = ("*bias",)
    how = replace(ONCE, learning_rate=1.0, report=False, only=only, private=h.PerExample(clip, 1e-9))
    x = np.asarray(model.start(KEY))
    moved = model.train(x, one, how, NONE, KEY).x - x
    assert np.isclose(np.linalg.norm(moved), clip, rtol=1e-2)


def test_a_body_alone_travels_and_is_trained() -> None:
    """FedBABU: the head stays with each client and as it is (Oh et al. 2022)."""
    model = h.Personal(net(None), ("head.*",))
    plan = h.Plan(model, training=h.Training(batch=8, only=("body.*",)), rounds=2)
    state, memory = run(plan)
    first = net(None).start(KEY)
    for name, numbers in memory["client-0"]["model"]["kept"].items():
        assert same(numbers, first[net(None).slices()[name]])
    assert not same(state.x, model.start(KEY))


@dataclass(frozen=True)
class HeadFirst(h.FedAvg):
    """The head in three steps, then the body (Collins et al. 2021, Alg. 1, "FedRep")."""

    head: tuple[str, ...] = ("head.*",)
    body: tuple[str, ...] = ("body.*",)

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        x = broadcast["x"]
        head = replace(training, only=self.head, steps=3)
        yield Train(x, data, head, NONE, at.key.child("head"))
        fit = yield Train(x, data, replace(training, only=self.body), NONE, at.key.child("body"))
        return {"delta": fit.x - x, "loss": fit.loss}, client_state


def test_fedrep_by_hand() -> None:
    """Biases in three steps first, then the weights with the biases as they are."""
    algorithm, eta = HeadFirst(head=("bias",), body=("weight",)), 0.2
    plan = h.Plan(h.Personal(MODEL, HOME), algorithm, training=h.Training(batch=0, learning_rate=eta), rounds=3)
    state, memory = run(plan)
    W, biases = np.zeros((4, 3)), {who: np.zeros(3) for who in DATA}
    total = sum(len(y) for _, y in DATA.values())
    for _ in range(3):
        step = np.zeros_like(W)
        for who, (X, y) in DATA.items():
            for _ in range(3):
                biases[who] = biases[who] - eta * softmax_gradient(W, biases[who], X, y)[1]
            step -= eta * softmax_gradient(W, biases[who], X, y)[0] * len(y) / total
        W += step
    assert np.allclose(state.x, W.ravel(), atol=1e-9)
    assert all(np.allclose(memory[who]["model"]["kept"]["bias"], b, atol=1e-9) for who, b in biases.items())


def test_fedrep_keeps_the_promises_of_an_algorithm() -> None:
    """Also side by side."""
    check_algorithm(HeadFirst(head=("bias",), body=("weight",)), model=h.Personal(MODEL, HOME))
    check_algorithm(HeadFirst(), model=h.Personal(net(None), ("head.*",)), rounds=30)


def test_an_algorithm_cannot_train_a_part_of_a_model_that_trains_all() -> None:
    class Whole(h.Softmax):
        takes = replace(h.Softmax.takes, only=False)

    algorithm = HeadFirst(head=("bias",), body=("weight",))
    with pytest.raises(h.errors.RoundError), pytest.warns(match="cannot train with only"):
        run(h.Plan(Whole(4, 3), algorithm, rounds=1))
