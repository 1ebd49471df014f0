"""The gradient that an algorithm asks for is that of the library itself; or it is refused with words."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers
from sklearn.linear_model import SGDClassifier, SGDRegressor
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.asks import AskedModel, locally, perform
from hansa.audit.canary import CanaryModel, Directions
from hansa.data import Examples
from hansa.errors import DataError, PlanError
from hansa.models import Drift, Gradient, Train
from hansa.models.jax import cross_entropy

KEY = h.Key.of(2)
RNG = np.random.default_rng(0)
A, Y = RNG.normal(size=(40, 4)).astype(np.float32), RNG.integers(0, 3, 40)
DATA = Examples.of((A, Y))
CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def asked(model: Any, x: Any, data: Examples = DATA, **more: Any) -> Any:
    """The answer to an algorithm's ask."""
    (answer,) = perform(model, [Gradient(x, data, KEY, **more)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def perceptron(*between: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), *between, nn.ReLU(), nn.Linear(8, 3))


def network(**more: Any) -> Any:
    """The same in Keras, compiled."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu", **more), layers.Dense(3)])
    net.compile(optimizer=None, loss=CROSS)
    return net


def pytorch(**more: Any) -> tuple[Any, Any]:
    def autograd(x: Any, data: Any = (A, Y)) -> Any:
        net = perceptron()
        nn.utils.vector_to_parameters(torch.from_numpy(x.astype(np.float32)), net.parameters())
        F.cross_entropy(net(torch.from_numpy(data[0])), torch.from_numpy(data[1])).backward()
        return np.concatenate([p.grad.numpy().ravel() for p in net.parameters()])

    return h.TorchModel(perceptron(), F.cross_entropy, **more), autograd


def in_jax() -> tuple[Any, Any]:
    def apply(params: Any, inputs: Any) -> Any:
        return jax.nn.relu(inputs @ params[0].T + params[1]) @ params[2].T + params[3]

    start = [p.detach().numpy() for p in perceptron().parameters()]
    model = h.JaxModel(start, apply, cross_entropy)

    def autograd(x: Any) -> Any:
        g = jax.grad(lambda params: cross_entropy(apply(params, A), Y).mean())(model.params(x))
        return np.concatenate([np.ravel(one) for one in g])

    return model, autograd


def in_keras() -> tuple[Any, Any]:
    """Compiled with Adam and a clip, neither of which is in a gradient."""
    net = network()
    net.compile(optimizer=keras.optimizers.Adam(0.01, clipnorm=1e-3), loss=CROSS)
    model = h.KerasModel(net)

    def autograd(x: Any) -> Any:
        model.load(x)
        with tf.GradientTape() as tape:
            loss = CROSS(Y, net(A))
        return np.concatenate([np.ravel(g) for g in tape.gradient(loss, [v.value for v in net.trainable_variables])])

    return model, autograd


def softmax() -> tuple[Any, Any]:
    def by_hand(x: Any) -> Any:
        inputs = np.hstack([A.astype(float), np.ones((40, 1))])
        odds = np.exp(inputs @ x.reshape(5, 3))
        return (inputs.T @ (odds / odds.sum(1, keepdims=True) - np.eye(3)[Y]) / 40).ravel()

    return h.Softmax(4, 3), by_hand


BACKENDS = {
    "softmax": (softmax, 1e-14),
    "torch": (lambda: pytorch(compile=False), 1e-6),
    "torch, native": (pytorch, 1e-6),
    "torch, four at once": (lambda: pytorch(cohort=4), 1e-6),
    "jax": (in_jax, 1e-6),
    "keras": (in_keras, 1e-6),
}


@pytest.mark.parametrize(("make", "close"), BACKENDS.values(), ids=BACKENDS)
def test_it_is_the_librarys_own(make: Any, close: float) -> None:
    """Up to the rounding of float32, at a point that float32 does not hold."""
    model, autograd = make()
    x = model.start(KEY) + 0.1 * RNG.normal(size=model.size)
    before = x.copy()
    right = autograd(x).astype(np.float64)
    assert np.abs(asked(model, x) - right).max() < close * np.abs(right).max()
    assert (x == before).all()


def test_numbers_far_from_1_lose_nothing() -> None:
    """Of each column of weights the gradient has a size of its own, whatever the size of the weights."""
    sizes = np.array([1e-12, 1e-4, 1.0, 1e6], np.float32)
    model, autograd = pytorch(compile=False)
    x = model.start(KEY)
    x[:32] /= np.tile(np.maximum(sizes, 1), 8)
    data = (A * sizes, Y)
    right, found = (g[:32].reshape(8, 4) for g in (autograd(x, data), asked(model, x, Examples.of(data))))
    most = np.abs(right).max(0)
    assert most[0] < 1e-12 and most[3] > 1e4
    assert (np.abs(found - right).max(0) < 1e-6 * most).all()


@pytest.mark.parametrize("kind", ["log_loss", "hinge", "regression"])
def test_scikit_learns_is_the_mean_of_its_examples(kind: str) -> None:
    """By hand, with its L2 penalty: it steps after each example, so no long step tells it."""
    labels = np.where(Y > 0, 1, 0)
    x = RNG.normal(size=5)
    inputs = np.hstack([A.astype(float), np.ones((40, 1))])
    z = inputs @ x
    if kind == "regression":
        model, targets = h.SklearnModel(SGDRegressor(alpha=0.01), 4), z + RNG.normal(size=40)
        slopes = z - targets
    else:
        model, targets = h.SklearnModel(SGDClassifier(loss=kind, alpha=0.01), 4, 2), labels
        signs = 2.0 * labels - 1
        slopes = -signs / (1 + np.exp(signs * z)) if kind == "log_loss" else np.where(signs * z < 1, -signs, 0)
    right = inputs.T @ slopes / 40 + 0.01 * np.array([*x[:4], 0])
    assert np.abs(asked(model, x, Examples.of((A, targets))) - right).max() < 1e-10


# ── what is not trained ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("buffers", ["average", "local"])
def test_statistics_have_none_and_stay_as_they_are(buffers: Any) -> None:
    """With draws of the key, as a step of training has them."""
    model = h.TorchModel(perceptron(nn.BatchNorm1d(8), nn.Dropout(0.5)), F.cross_entropy, buffers)
    x = model.start(KEY)
    local = model.train(x, DATA, h.Training(), Drift(), KEY).local

    def work() -> Any:
        g = yield Gradient(x, DATA, KEY)
        return g

    driven = locally(work(), local, h.Training())
    ask = next(driven)
    assert ask.local is local
    g = asked(model, x, local=local)
    with pytest.raises(StopIteration) as end:
        driven.send(g)
    made, after = end.value.value
    assert made is g and after is local
    short = model.train(x, DATA, h.Training(batch=0, learning_rate=0.01), Drift(), KEY, local)
    d = model.trainable
    assert np.abs((x - short.x)[:d] - 0.01 * g[:d]).max() < 1e-6 and not g[d:].any()
    other = model.gradients([Gradient(x, DATA, KEY.child(1), local)])[0]
    assert np.abs(other - g).max() > 1e-3  # another dropout


@dataclass(frozen=True)
class Slopes(h.FedAvg):
    """One step along the gradient   (FedSGD, McMahan et al. 2017, §2)."""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        g = yield Gradient(broadcast["x"], data, at.key)
        return {"delta": -training.learning_rate * g, "loss": 0.0}, client_state


def ran(plan: h.Plan, *parts: Any) -> h.State:
    """The state after a round."""
    (state,) = h.synchronous(plan, h.InProcess([h.Client(f"c{i}", plan, part) for i, part in enumerate(parts)]))
    return state


def test_a_part_that_a_plan_does_not_train_has_none() -> None:
    """Though no training is asked for: an algorithm that steps by itself moves no more than the plan says."""
    plan = h.Plan(h.Softmax(4, 3), Slopes(), training=h.Training(only=("bias",)), rounds=1)
    state = ran(plan, (A, Y))
    whole = ran(replace(plan, training=h.Training()), (A, Y))
    assert not state.x[:12].any() and (state.x[12:] == whole.x[12:]).all() and whole.x[:12].all()


def test_what_stays_at_home_has_none_that_travels() -> None:
    """Of the parts that travel it is that of the whole model, at the client's own kept ones."""
    model, own = h.Softmax(4, 3), h.Personal(h.Softmax(4, 3), keep=("weight",))
    kept = RNG.normal(size=12)
    g = asked(own, np.ones(3), local={"kept": {"weight": kept}})
    whole = asked(model, np.concatenate([kept, np.ones(3)]))
    assert g.shape == (3,) and (g == whole[12:]).all()
    (result,) = own.train_all([Train(np.ones(3), DATA, h.Training(), Drift(0.1), KEY, {"kept": {"weight": kept}})])
    assert (result.x == own.train(np.ones(3), DATA, h.Training(), Drift(0.1), KEY, {"kept": {"weight": kept}}).x).all()


def test_a_canary_stands_out_of_gradients_too() -> None:
    """Else the audit of an algorithm that steps along them would find nothing, whatever they tell."""
    directions = Directions.of(2, 15, KEY)
    model = CanaryModel(h.Softmax(4, 3), np.array([1e9, 0.0]), directions)
    marks = [Examples.of({"canary": np.array([i]), "y": np.zeros(1)}) for i in range(2)]
    x = np.zeros(15)
    g, none, usual = model.gradients([Gradient(x, data, KEY) for data in (*marks, DATA)])
    assert (-g == 1e9 * directions.along(0, 15)).all() and not none.any()
    assert (usual == asked(h.Softmax(4, 3), x)).all()


# ── many clients, and refusals ───────────────────────────────────────────────────────────────────────────────────────


def test_many_that_ask_at_once_are_answered_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last byte, beside trainings and gradients of other parts; and no one is trained alone."""
    model, _ = pytorch(cohort=4)
    x = model.start(KEY)
    asks: list[Any] = [Gradient(x + i, Examples.of((A[i:], Y[i:])), KEY.child(i)) for i in range(5)]
    asks.insert(2, Train(x, DATA, h.Training(), Drift(), KEY))
    asks.insert(4, asks[0]._replace(only=("0.weight",)))
    alone = [perform(model, [ask])[0] for ask in asks]
    monkeypatch.setattr(h.TorchModel, "train", None)
    together = perform(model, asks)
    for one, other in zip(alone, together, strict=True):
        assert (getattr(one, "x", one) == getattr(other, "x", other)).all()
    assert not together[4][32:].any() and (together[4][:32] == together[0][:32]).all()


def test_what_has_no_gradient_says_so() -> None:
    stream = Examples.of(lambda: [(A[:20], Y[:20]), (A[20:], Y[20:])])
    with pytest.raises(DataError, match="a stream of batches"):
        asked(h.Softmax(4, 3), np.zeros(15), stream)
    trees = h.XgboostModel({"objective": "multi:softprob", "num_class": 3, "max_depth": 2}, features=4)
    with pytest.raises(PlanError, match="XgboostModel has no gradient"):
        asked(trees, trees.start(KEY))
    linear = h.SklearnModel(SGDClassifier(), 4, 3)
    with pytest.raises(PlanError, match="only"):
        asked(linear, np.zeros(15), only=("coef_",))
    bounded = h.KerasModel(network(kernel_constraint=keras.constraints.MaxNorm(1.0)))
    with pytest.raises(PlanError, match="constraints on"):
        asked(bounded, bounded.start(KEY))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        halved = h.KerasModel(network())
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(PlanError, match="float16"):
        asked(halved, halved.start(KEY))
    with pytest.raises(TypeError, match="yield Gradient"):
        AskedModel(h.Softmax(4, 3)).gradients([])


def test_a_client_whose_data_is_a_stream_is_left_out_alone() -> None:
    plan = h.Plan(pytorch(cohort=4)[0], Slopes(), training=h.Training(), rounds=1)
    with pytest.warns(h.errors.LeftOut, match="a stream of batches"):
        state = ran(plan, (A, Y), lambda: [(A, Y)])
    assert state.participants == ("c0",) and state.excluded == {"c1": "data"}
