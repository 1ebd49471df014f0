"""Backends beside each other: one start, the same data and order, and so the same numbers in each library."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from itertools import combinations
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import jax
import keras
import numpy as np
import pytest
import torch
from keras import layers
from sklearn.linear_model import SGDClassifier
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.models.jax import cross_entropy

KEY = h.Key.of(1)
ALGORITHMS = [h.FedAvg(), h.FedProx(0.1), h.Scaffold(), h.FedAvg(h.Adam(0.05))]


def points(n: int, seed: int) -> tuple[Any, Any]:
    """n points [n, 8] in three classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y]).astype(np.float32), y


def network() -> nn.Sequential:
    """8 → 16 → 3, the start that all backends share."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def pytorch() -> h.models.Model:
    return h.TorchModel(network(), F.cross_entropy)


def own(loss: Any = cross_entropy) -> h.models.Model:
    """The same in JAX."""
    w1, b1, w2, b2 = (p.detach().numpy() for p in network().parameters())
    return h.JaxModel((w1, b1, w2, b2), lambda p, x: jax.nn.relu(x @ p[0].T + p[1]) @ p[2].T + p[3], loss)


def averaged() -> h.models.Model:
    """With a loss that gives the mean of a batch."""
    return own(lambda outputs, y: cross_entropy(outputs, y).mean())


def compiled() -> h.models.Model:
    """The same in Keras."""
    net = keras.Sequential([keras.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(3)])
    net.set_weights([p.detach().numpy().T for p in network().parameters()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer=None, loss=loss, metrics=["accuracy"])
    return h.KerasModel(net)


def numbers(model: h.models.Model, x: Any) -> Any:
    """The parameters in PyTorch's order."""
    arrays = model.tensors(x).values()
    return np.concatenate([(a.T if isinstance(model, h.KerasModel) else a).ravel() for a in arrays])


def federated(model: h.models.Model, algorithm: Any, training: h.Training, parts: Any, rounds: int) -> Any:
    """The last x."""
    plan = h.Plan(model, algorithm, training=training, rounds=rounds)
    *_, state = h.synchronous(plan, h.InProcess([h.Client(who, plan, data) for who, data in parts.items()]))
    return state.x


PARTS = {"a": points(20, 1), "b": points(50, 2), "c": points(33, 3)}


@pytest.mark.parametrize("make", [pytorch, own, averaged, compiled])
def test_one_full_step_at_each_client_is_the_central_gradient(make: Any) -> None:
    """The mean of full-batch steps, weighed by examples, is x − η∇loss on all examples together."""
    model, net, training = make(), network(), h.Training(batch=0, learning_rate=0.5)
    A, y = (torch.tensor(np.concatenate(column)) for column in zip(*PARTS.values(), strict=True))
    F.cross_entropy(net(A), y).backward()
    expected = torch.cat([(p - 0.5 * p.grad).reshape(-1) for p in net.parameters()]).detach().numpy()
    assert np.abs(numbers(model, model.start(KEY)) - expected).max() > 0.01
    assert np.abs(numbers(model, federated(model, h.FedAvg(), training, PARTS, 1)) - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("model", "rate", "close"),  # scikit-learn takes one example after another, so it is that only for small steps
    [(h.Softmax(8, 3), 0.5, 1e-6), (h.SklearnModel(SGDClassifier(loss="log_loss", alpha=0.0), 8, 2), 1e-4, 1e-4)],
)
def test_one_full_step_of_linear_models_is_the_central_gradient(
    model: h.models.Model, rate: float, close: float
) -> None:
    """The same of −log softmax(Wa + b)_y, and of two classes −log sigmoid(±(w·a + b))."""
    rows = model.size // 9
    parts = {who: (A, np.minimum(y, max(1, rows - 1))) for who, (A, y) in PARTS.items()}
    A, y = (torch.tensor(np.concatenate(column)) for column in zip(*parts.values(), strict=True))
    linear = nn.Linear(8, rows)
    for p in linear.parameters():
        nn.init.zeros_(p)
    z = linear(A)
    loss = F.cross_entropy(z, y) if rows > 1 else F.binary_cross_entropy_with_logits(z[:, 0], y.float())
    g = torch.cat([part.T.reshape(-1) for part in torch.autograd.grad(loss, list(linear.parameters()))]).numpy()
    x = federated(model, h.FedAvg(), h.Training(batch=0, learning_rate=rate), parts, 1)
    assert np.abs(g).max() > 0.01 and np.abs((model.start(KEY) - x) / rate - g).max() < close


@cache
def learnt(make: Any, algorithm: Any) -> tuple[Any, float]:
    """Parameters after eight rounds over four clients with few examples each; accuracy on examples of nobody."""
    model = make()
    training = h.Training(epochs=3, batch=10, learning_rate=0.1)
    x = federated(model, algorithm, training, {f"c{i}": points(34 + i, i) for i in range(4)}, 8)
    return numbers(model, x), model.score(x, points(1000, 99))["accuracy"]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("make", [own, compiled])
def test_networks_learn_alike(make: Any, algorithm: Any) -> None:
    """As PyTorch: each parameter to 1e-4, and so the accuracy."""
    (x, accuracy), (expected, reached) = learnt(make, algorithm), learnt(pytorch, algorithm)
    assert np.abs(x - expected).max() < 1e-4
    assert reached > 0.9 and abs(accuracy - reached) < 0.005


def test_the_algorithms_differ() -> None:
    """So that none of them is FedAvg by mistake."""
    ends = [learnt(pytorch, algorithm)[0] for algorithm in ALGORITHMS]
    assert min(np.abs(one - other).max() for one, other in combinations(ends, 2)) > 1e-3


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize(
    "make", [lambda: h.Softmax(8, 3), lambda: h.SklearnModel(SGDClassifier(loss="log_loss", alpha=1e-4), 8, 3)]
)
def test_linear_models_learn_as_well(make: Any, algorithm: Any) -> None:
    """The classes lie around corners, so a linear model tells them apart as well as a network, within noise."""
    assert abs(learnt(make, algorithm)[1] - learnt(pytorch, algorithm)[1]) < 0.03


@pytest.mark.parametrize(
    ("model", "library"),
    [
        ("TorchModel", "torch"),
        ("KerasModel", "keras"),
        ("JaxModel", "jax"),
        ("SklearnModel", "sklearn"),
        ("XgboostModel", "xgboost"),
    ],
)
def test_a_missing_library(model: str, library: str) -> None:
    """Where it is not installed, hansa says what to install."""
    program = f"""
import sys, hansa
sys.modules[{library!r}] = None
try: hansa.{model}
except hansa.errors.PlanError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"pip install 'hansa[{library}]'" in done.stdout
