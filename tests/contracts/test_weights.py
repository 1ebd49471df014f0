"""Weights of examples: the loss of a batch is Σ wᵢ lᵢ / Σ wᵢ, in training and in scores; against plain loops.

Tests called test_everywhere_… run again with Keras on JAX and PyTorch, as those of test_keras.py do.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import jax
import keras
import numpy as np
import pytest
import torch
import xgboost as xgb
from keras import layers
from sklearn.linear_model import SGDClassifier, SGDRegressor
from tests.contracts.test_backends import KEY, averaged, compiled, network, numbers, own, points
from torch.nn import functional as F

import hansa as h
from hansa.data import Examples, check
from hansa.errors import DataError, HansaError
from hansa.models import Drift
from hansa.models.jax import cross_entropy
from hansa.training import Training

A, Y = points(20, 1)
W = np.random.default_rng(3).uniform(0.2, 5.0, 20)
WEIGHTED = {"x": A, "y": Y, "sample_weight": W}


def softmax() -> Any:
    return h.Softmax(8, 3)


def linear() -> Any:
    return h.SklearnModel(SGDClassifier(loss="log_loss", alpha=0.0), 8, 3)


def trees(**more: Any) -> Any:
    return h.XgboostModel({"objective": "multi:softprob", "num_class": 3, "max_depth": 2}, 8, **more)


def torched(**more: Any) -> Any:
    return h.TorchModel(network(), F.cross_entropy, **more)


CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def weighed(loss: Any = CROSS, kind: Any = keras.Sequential, **more: Any) -> Any:
    """The same in Keras, which gives weights to its accuracy too."""
    net = kind([keras.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(3)])
    net.set_weights([p.detach().numpy().T for p in network().parameters()])
    net.compile(optimizer=None, loss=loss, weighted_metrics=["accuracy"])
    return h.KerasModel(net, **more)


TORCH = [torched, lambda: torched(compile=False), lambda: torched(cohort=2)]


def how(model: Any, **more: Any) -> Training:
    if isinstance(model, h.XgboostModel):
        return Training(batch=0, learning_rate=0.3)
    return Training(**{"epochs": 2, "batch": 8, "learning_rate": 0.1, **more})


def probabilities(x: Any, inputs: Any) -> Any:
    z = np.c_[inputs, np.ones(len(inputs))].astype(float) @ x.reshape(9, 3)
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def gradients(x: Any, inputs: Any, y: Any) -> Any:
    """∇ of −log softmax([a, 1]·W)_y of each example [n, 27]."""
    errors = probabilities(x, inputs) - np.eye(3)[y]
    return (np.c_[inputs, np.ones(len(y))][:, :, None] * errors[:, None, :]).reshape(len(y), -1)


def test_softmax_in_a_plain_loop() -> None:
    training = how(softmax(), weight_decay=0.1)
    x: Any = np.linspace(-1, 1, 27)
    fit = softmax().train(x, WEIGHTED, training, Drift(), KEY)
    losses = []
    for batch in Examples.of(WEIGHTED).batches(training, KEY):
        inputs, y, w = batch["x"], batch["y"], batch["sample_weight"]
        share = w / w.sum()
        losses.append(-share @ np.log(probabilities(x, inputs)[np.arange(len(y)), y]))
        x = x - 0.1 * (share @ gradients(x, inputs, y) + 0.1 * x)
    np.testing.assert_allclose(fit.x, x, atol=1e-9)
    assert fit.loss == pytest.approx(np.mean(losses)) and fit.steps == 6


def test_the_clip_bounds_the_weighted_gradient_of_an_example() -> None:
    """Σ clip(wᵢ gᵢ) / b: by the examples that are expected, for the sum of the weights is a secret."""
    training = Training(batch=8, steps=3, learning_rate=0.1, private=h.PerExample(5.0, 1e-10), report=False)
    x: Any = np.linspace(-1, 1, 27)
    fit = softmax().train(x, WEIGHTED, training, Drift(), KEY)
    for batch in Examples.of(WEIGHTED).batches(training, KEY):
        g = batch["sample_weight"][:, None] * gradients(x, batch["x"], batch["y"])
        norms = np.linalg.norm(g, axis=1, keepdims=True)
        assert norms.max() > 5 > norms.min()
        x = x - 0.1 * (g * np.minimum(1, 5 / norms)).sum(0) / 8
    np.testing.assert_allclose(fit.x, x, atol=1e-7)


@pytest.mark.parametrize("regressor", [False, True])
def test_scikit_learn_takes_them_over_their_mean(regressor: bool) -> None:
    """As its own partial_fit does with weights of mean 1; a penalty is that of a batch without weights."""
    estimator: Any = SGDClassifier(loss="log_loss", alpha=0.01)
    if regressor:
        estimator = SGDRegressor(alpha=0.01)
    model: Any = h.SklearnModel(estimator, 8, None if regressor else 3)
    training = how(model)
    data = {"x": A, "y": Y.astype(float) if regressor else Y, "sample_weight": W}
    x = model.start(KEY)
    fit = model.train(x, data, training, Drift(), KEY)
    theirs = model.fitted(x)
    for batch in Examples.of(data).batches(training, KEY):
        w = batch["sample_weight"]
        theirs.eta0 = 0.1 / len(w)
        theirs.partial_fit(batch["x"].astype(float), batch["y"], sample_weight=w / w.mean())
    np.testing.assert_allclose(fit.x, np.r_[theirs.coef_.ravel(), theirs.intercept_], atol=1e-12)


def test_xgboost_takes_them_over_their_mean() -> None:
    model = trees()
    fit = model.train(np.zeros(0), WEIGHTED, how(model), Drift(), KEY)
    examples = xgb.DMatrix(A, label=Y, weight=W / W.mean(), nthread=1)
    theirs = xgb.train({**model._params, "eta": 0.3}, examples, 1)
    found = model.booster(fit.x).predict(xgb.DMatrix(A), output_margin=True)
    np.testing.assert_allclose(found, theirs.predict(xgb.DMatrix(A), output_margin=True), atol=1e-6)
    plain = model.train(np.zeros(0), (A, Y), how(model), Drift(), KEY)
    assert (plain.x != fit.x).any()


LOOPS = [(make, "sgd") for make in (*TORCH, own, weighed)]
LOOPS += [(make, "adam") for make in (*TORCH, own)]  # Keras has another ε in it


@pytest.mark.parametrize(("make", "optimizer"), LOOPS)
def test_everywhere_networks_in_a_plain_loop(make: Any, optimizer: Any) -> None:
    """With a short batch at the end of each epoch, which JaxModel fills up."""
    model = make()
    training = how(model, learning_rate=0.02, optimizer=optimizer)
    net: Any = network()
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    stepper = kinds[optimizer](net.parameters(), 0.02)
    losses = []
    sizes = []
    for batch in Examples.of(WEIGHTED).batches(training, KEY):
        w = torch.tensor(batch["sample_weight"])
        stepper.zero_grad()
        each = F.cross_entropy(net(torch.tensor(batch["x"])), torch.tensor(batch["y"]), reduction="none")
        loss: Any = (w * each).sum() / w.sum()
        loss.backward()
        stepper.step()
        losses.append(float(loss.detach()))
        sizes.append(len(w) if isinstance(model, h.KerasModel) else 1)
    fit = model.train(model.start(KEY), WEIGHTED, training, Drift(), KEY)
    theirs = torch.cat([p.detach().ravel() for p in net.parameters()]).numpy()
    np.testing.assert_allclose(numbers(model, fit.x), theirs, atol=2e-6)
    assert fit.loss == pytest.approx(np.average(losses, weights=sizes), rel=1e-5)


@pytest.mark.parametrize("make", [torched, own])
def test_networks_clip_the_weighted_gradient_of_an_example(make: Any) -> None:
    training = Training(batch=8, steps=3, learning_rate=0.1, private=h.PerExample(5.0, 1e-10), report=False)
    model = make()
    fit = model.train(model.start(KEY), WEIGHTED, training, Drift(), KEY)
    net: Any = network()
    for batch in Examples.of(WEIGHTED).batches(training, KEY):
        total = torch.zeros(len(fit.x))
        norms = []
        for a, y, w in zip(batch["x"], batch["y"], batch["sample_weight"], strict=True):
            net.zero_grad()
            loss: Any = w * F.cross_entropy(net(torch.tensor(a))[None], torch.tensor(y)[None])
            loss.backward()
            g = torch.cat([p.grad.ravel() for p in net.parameters()])
            norms.append(float(g.norm()))
            total += g * min(1.0, 5.0 / norms[-1])
        assert max(norms) > 5 > min(norms)
        torch.nn.utils.vector_to_parameters(
            torch.nn.utils.parameters_to_vector(net.parameters()) - 0.1 * total / 8, net.parameters()
        )
    theirs = torch.nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    np.testing.assert_allclose(fit.x, theirs, atol=1e-6)


def test_pytorch_takes_the_losses_that_are_means() -> None:
    """Of a number against a number, and a mean of one's own that says so; with labels that are left out none."""

    def mean(outputs: Any, targets: Any) -> Any:
        return F.cross_entropy(outputs, targets)

    x = torched().start(KEY)
    expected = torched().train(x, WEIGHTED, how(None), Drift(), KEY).x
    own_mean: Any = h.TorchModel(network(), h.metrics.Mean(mean))
    own_mean.check(WEIGHTED, "north", how(None))
    np.testing.assert_allclose(own_mean.train(x, WEIGHTED, how(None), Drift(), KEY).x, expected, atol=1e-6)
    squares: Any = h.TorchModel(network(), F.mse_loss)
    data = {"x": A, "y": np.eye(3)[Y].astype(np.float32), "sample_weight": W}
    squares.check(data, "north", how(None))
    each = [squares.score(x, (A[i : i + 1], data["y"][i : i + 1]))["loss"] for i in range(20)]
    assert squares.score(x, data)["loss"] == pytest.approx(np.average(each, weights=W))
    for loss, words in (
        (mean, "hansa.metrics.Mean"),
        (torch.nn.CrossEntropyLoss(torch.tensor([1.0, 5.0, 9.0])), "weighted"),
    ):
        unlike: Any = h.TorchModel(network(), loss)
        with pytest.raises(DataError, match=words):
            unlike.check(WEIGHTED, "north", how(None))
    left_out = {**WEIGHTED, "y": np.where(np.arange(20) < 5, -100, Y)}
    with pytest.raises(DataError, match="left out"):
        torched().check(left_out, "north", how(None))


def test_jax_weighs_an_example_of_many_losses() -> None:
    """As of tokens: a loss [n, T] counts by its mean, in batches that come one by one too."""
    y = np.random.default_rng(5).integers(0, 2, (20, 4))

    def apply(p: Any, x: Any) -> Any:
        return (x @ p).reshape(-1, 4, 2)

    model: Any = h.JaxModel(np.zeros((8, 8), np.float32), apply, cross_entropy)
    data: Any = {"x": A, "y": y, "sample_weight": W}
    model.check(data, "north", how(model))
    training = Training(batch=8, learning_rate=0.1)
    p: Any = model.start(KEY).reshape(8, 8)
    for batch in Examples.of(data).batches(training, KEY):
        share = batch["sample_weight"] / batch["sample_weight"].sum()
        loss = lambda p, b=batch, s=share: s @ cross_entropy(apply(p, b["x"]), b["y"]).mean(1)  # noqa: E731
        p = p - 0.1 * jax.grad(loss)(p)
    expected = np.asarray(p).ravel()
    items = [{"x": A[i], "y": y[i], "sample_weight": W[i]} for i in range(20)]
    for given in (data, items):
        np.testing.assert_allclose(model.train(model.start(KEY), given, training, Drift(), KEY).x, expected, atol=1e-6)


def test_everywhere_keras_weighs_an_example_of_many_losses() -> None:
    """The same: each token's loss counts by the weight of its example, whatever the number of tokens is."""
    y = np.random.default_rng(5).integers(0, 3, (20, 8))
    net = keras.Sequential([keras.Input((8,)), layers.Dense(24), layers.Reshape((8, 3))])
    net.compile(optimizer=None, loss=CROSS, weighted_metrics=["accuracy"])
    model = h.KerasModel(net)
    data: Any = {"x": A, "y": y, "sample_weight": W}
    model.check(data, "north", how(model))
    x = model.start(KEY)
    each = [model.score(x, (A[i : i + 1], y[i : i + 1])) for i in range(20)]
    expected = {name: np.average([one[name] for one in each], weights=W) for name in each[0]}
    assert model.score(x, data) == pytest.approx(expected, rel=1e-5)
    first = model.train(x, {name: column[:8] for name, column in data.items()}, Training(batch=0), Drift(), KEY)
    assert first.loss == pytest.approx(np.average([one["loss"] for one in each[:8]], weights=W[:8]), rel=1e-5)


def test_everywhere_keras_scores_what_is_its_own_by_weight() -> None:
    """Losses [n] of one's own, on all rows at once; and what `metrics` adds."""

    def squares(y: Any, outputs: Any) -> Any:
        return keras.ops.mean(keras.ops.square(outputs - keras.ops.one_hot(keras.ops.cast(y, "int32"), 3)), -1)

    hits = h.metrics.Mean(lambda outputs, y: (outputs.argmax(1) == y).mean(), 1.0)
    model = weighed(squares, metrics={"hits": hits})
    many = {"x": np.tile(A, (15, 1)), "y": np.tile(Y, 15), "sample_weight": np.r_[np.tile(W, 14), 9 * W]}
    model.check(many, "north", how(model))
    x = model.start(KEY)
    each = [model.score(x, (A[i : i + 1], Y[i : i + 1])) for i in range(20)]
    expected = {name: np.average([one[name] for one in each], weights=W) for name in each[0]}
    assert model.score(x, many) == pytest.approx(expected, rel=1e-5) and set(expected) == {"loss", "accuracy", "hits"}


@pytest.mark.parametrize("make", [torched, own, weighed])
def test_weights_have_no_unit(make: Any) -> None:
    """Beyond what float32 holds too."""
    model = make()
    x = model.start(KEY)
    large = {**WEIGHTED, "sample_weight": W * 1e200}
    fit, plain = (model.train(x, one, how(model), Drift(), KEY) for one in (large, WEIGHTED))
    np.testing.assert_allclose(fit.x, plain.x, atol=1e-7)
    assert model.score(x, large) == pytest.approx(model.score(x, WEIGHTED))


BACKENDS = pytest.mark.parametrize("make", [softmax, linear, trees, *TORCH, own, weighed])


@BACKENDS
def test_everywhere_scores_are_means_by_weight(make: Any) -> None:
    """In pieces of any size, and where weights come again."""
    model = make()
    x = model.train(model.start(KEY), (A, Y), how(model), Drift(), KEY).x
    each = [model.score(x, (A[i : i + 1], Y[i : i + 1])) for i in range(20)]
    for w in (W, np.where(np.arange(20) < 7, 1, 3)):
        data = {"x": A, "y": Y, "sample_weight": w}
        pieces = lambda w=w: iter([{"x": A[i::3], "y": Y[i::3], "sample_weight": w[i::3]} for i in range(3)])  # noqa: E731
        for found in (model.score(x, data), model.score(x, pieces)):
            expected = {name: np.average([one[name] for one in each], weights=w) for name in each[0]}
            assert found == pytest.approx(expected, rel=1e-5)


@BACKENDS
@pytest.mark.parametrize("weight", [1, 0.3])
def test_everywhere_equal_weights_say_nothing(make: Any, weight: float) -> None:
    model = make()
    data = {"x": A, "y": Y, "sample_weight": np.full(20, weight)}
    x = model.start(KEY)
    plain = model.train(x, {"x": A, "y": Y}, how(model), Drift(), KEY)
    fit = model.train(x, data, how(model), Drift(), KEY)
    assert (fit.x == plain.x).all() and fit.loss == plain.loss
    assert model.score(fit.x, data) == model.score(fit.x, (A, Y))


@pytest.mark.parametrize("make", [softmax, linear, *TORCH, own, weighed])
def test_a_weight_of_two_is_an_example_twice(make: Any) -> None:
    """All examples at once; one step of scikit-learn's is one after another, so it is a short one."""
    model = make()
    twice = np.arange(20) % 4 == 0
    training = Training(batch=0, steps=1, learning_rate=1e-3)
    data = {"x": A, "y": Y, "sample_weight": np.where(twice, 2.0, 1.0)}
    x = model.start(KEY)
    again = (np.r_[A, A[twice]], np.r_[Y, Y[twice]])
    found = [model.train(x, one, training, Drift(), KEY).x - x for one in (data, again)]
    np.testing.assert_allclose(*found, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("algorithm", [h.MimeLite(), h.APFL(), h.Scaffold()], ids=repr)
@pytest.mark.parametrize("make", [softmax, linear, torched, own, weighed])
def test_gradients_of_algorithms_are_weighted(algorithm: Any, make: Any) -> None:
    """A client whose examples count 1 or 3 trains as one that has these three times, in batches of all."""
    thrice = np.arange(20) % 5 == 0
    rows = np.repeat(np.arange(20), np.where(thrice, 3, 1))
    training = Training(batch=0, learning_rate=1e-3)
    plan = h.Plan(make(), algorithm, (h.Weigh("one"),), training=training, rounds=2)
    ends = []
    for data in ({"x": A, "y": Y, "sample_weight": np.where(thrice, 3.0, 1.0)}, (A[rows], Y[rows])):
        *_, state = h.synchronous(plan, h.InProcess([h.Client("a", plan, data)]))
        ends.append(state.x)
    np.testing.assert_allclose(*ends, rtol=2e-2, atol=1e-6)


def test_a_federation_counts_examples_and_trains_by_weight() -> None:
    """Datasets of items, a hold-out and workers too."""
    items = [{"x": A[i], "y": Y[i], "sample_weight": W[i]} for i in range(20)]
    parts = {"north": WEIGHTED, "south": items}
    plan = h.Plan(h.Softmax(8, 3), training=Training(batch=8, learning_rate=0.1), rounds=2)

    def clients() -> list[h.Client]:
        return [h.Client(who, plan, one) for who, one in parts.items()]

    *_, state = h.synchronous(plan, h.InProcess(clients()))
    with h.Processes(clients(), workers=2) as workers:
        *_, shared = h.synchronous(plan, workers)
    assert (state.x == shared.x).all()
    *_, plain = h.synchronous(plan, h.InProcess([h.Client(who, plan, (A, Y)) for who in parts]))
    assert np.abs(plain.x - state.x).max() > 1e-3
    app = h.App(h.Plan(h.Softmax(8, 3), training=Training(validation=0.2), rounds=1), parts, test=WEIGHTED)
    (state,) = app.run()
    expected = app.known_plan.model.score(state.x, Examples.of(WEIGHTED))
    assert state.scores["loss"] == pytest.approx(expected["loss"])


class Stepping(keras.Sequential):
    """With a step of its own, as a GAN has."""

    def train_step(self, *given: Any) -> Any:
        return super().train_step(*given)


class Passing(keras.Sequential):
    """With a loss that passes weights over."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, **more: Any) -> Any:
        return super().compute_loss(x, y, y_pred)


summed = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
left_out = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)


def mean(y: Any, outputs: Any) -> Any:
    """One number for all rows, which Keras would count alike."""
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, outputs, from_logits=True))


@pytest.mark.guards("Keras counts the loss of each example by its weight")
@pytest.mark.promise("P334")
@pytest.mark.guards("a weight is above 0")
@pytest.mark.parametrize(
    ("data", "make", "words"),
    [
        ({"x": A, "y": Y, "sample_weight": -W}, softmax, "above 0"),
        ({"x": A, "y": Y, "sample_weight": W * (np.arange(20) > 0)}, softmax, "above 0"),
        ({"x": A, "y": Y, "sample_weight": np.where(np.arange(20), W, np.nan)}, trees, "above 0"),
        ({"x": A, "y": Y, "sample_weight": np.where(np.arange(20), W, np.inf)}, softmax, "infinity"),
        ({"x": A, "y": Y, "sample_weight": np.c_[W, W]}, softmax, "above 0"),
        ({"x": A, "y": Y, "sample_weight": W[1:]}, softmax, "Lengths differ"),
        ({"y": Y, "sample_weight": W}, softmax, "there must be one"),
        (WEIGHTED, partial(torched, metrics={"auc": (lambda z, y: 0.5, 1.0)}), "have weights"),
        (WEIGHTED, averaged, "one number for all examples"),
        (WEIGHTED, compiled, "accuracy counts all examples alike"),
        (WEIGHTED, partial(weighed, kind=Stepping), "train_step of its own"),
        (WEIGHTED, partial(weighed, summed), "leave the weights out"),
        (WEIGHTED, partial(weighed, mean), "one number for each"),
        (WEIGHTED, partial(weighed, kind=Passing), "one number for each"),
        (WEIGHTED, partial(weighed, left_out), "ignore_class"),
        (WEIGHTED, partial(weighed, metrics={"auc": (lambda z, y: 0.5, 1.0)}), "have weights"),
        (WEIGHTED, partial(trees, metrics={"auc": (lambda z, y: 0.5, 1.0)}), "knows nothing of|have weights"),
    ],
)
def test_refused(data: Any, make: Any, words: str) -> None:
    model = make()
    with pytest.raises(DataError, match=words) as refused:
        check(data, "north", model.takes.missing)
        model.check(data, "north", how(model))
    assert refused.value.instead


@pytest.mark.parametrize("make", [averaged, compiled, partial(weighed, kind=Stepping)])
def test_no_library_trains_or_scores_without_them(make: Any) -> None:
    """Where they would be passed over, though nobody has checked the data."""
    model = make()
    for use in (
        partial(model.train, model.start(KEY), WEIGHTED, how(model), Drift(), KEY),
        partial(model.score, model.start(KEY), WEIGHTED),
    ):
        with pytest.raises(DataError, match="have weights"):
            use()


@pytest.mark.promise("P334")
def test_keras_weighs_nothing_that_a_layer_adds_or_masks() -> None:
    """Keras knows of no weights there."""
    added = keras.Sequential([keras.Input((8,)), layers.ActivityRegularization(l2=0.1), layers.Dense(3)])
    masked = keras.Sequential([keras.Input((8, 1)), layers.Masking(), layers.Dense(3)])
    tokens = {"x": A[:, :, None], "y": np.tile(Y[:, None], 8), "sample_weight": W}
    for net, data, words in ((added, WEIGHTED, "adds losses"), (masked, tokens, "masks outputs")):
        net.compile(optimizer=None, loss=CROSS)
        model = h.KerasModel(net)
        model.check({name: column for name, column in data.items() if name != "sample_weight"}, "north")
        with pytest.raises(HansaError, match=f"{words} in a call, and the examples have weights"):
            model.check(data, "north")


def test_checked_data_says_how_many_there_are() -> None:
    assert check(WEIGHTED, "north") == 20
