"""What is measured of a model, by its right value: on all rows, whatever pieces they come in; and what has no value."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.data.examples import parsed
from hansa.errors import DataError, PlanError
from hansa.metrics import AUC, F1, R2, AveragePrecision, CalibrationError, CIndex, Mean, Whole

RNG = np.random.default_rng(0)
KEY = h.Key.of(0)
PRIVATE = h.Training(batch=8, private=h.PerExample(clip=1.0, noise=1.0), report=False)
SORTED = np.repeat([0, 1], 300)  # more rows than go through a net at once
Loss = Callable[[Any, Any, Any], Any]  # (library, outputs, targets)


def of_torch(loss: Any, metrics: Any = None) -> h.TorchModel:
    """A net whose outputs are its inputs, in each library."""
    net = nn.Linear(2, 2, bias=False)
    nn.init.eye_(net.weight)
    return h.TorchModel(net, loss, metrics=metrics)


def of_jax(loss: Any, metrics: Any = None) -> h.JaxModel:
    return h.JaxModel(np.eye(2, dtype=np.float32), lambda w, x: x @ w, loss, metrics=metrics)


def of_keras(loss: Any, metrics: Any = None) -> Any:
    dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="identity")
    net = keras.Sequential([keras.Input((2,)), dense])
    net.compile(optimizer="sgd", loss=loss)
    return h.KerasModel(net, metrics=metrics)


BY: dict[str, Callable[[Loss, Any], Any]] = {
    "torch": lambda loss, metrics: of_torch(lambda z, y: loss(torch, z, y), metrics),
    "jax": lambda loss, metrics: of_jax(lambda z, y: loss(jnp, z, y), metrics),
    "keras": lambda loss, metrics: of_keras(lambda y, z: loss(keras.ops, z, y), metrics),
}
each_library = pytest.mark.parametrize("library", BY)


def cox(ops: Any, z: Any, y: Any) -> Any:
    """−1/E Σ over events of (z − log Σ exp of those still at risk): Cox 1972, eq. 14."""
    z = z[:, 0]
    risk = ops.where(y[:, 0][None, :] >= y[:, 0][:, None], ops.exp(z)[None, :], 0.0 * z[None, :])
    return -ops.sum(y[:, 1] * (z - ops.log(ops.sum(risk, 1)))) / ops.sum(y[:, 1])


def squares(ops: Any, z: Any, y: Any) -> Any:
    return ops.sum(z * z)


def scores(model: Any, x: Any, y: Any) -> dict[str, float]:
    data = parsed((x, y))
    model.check(data, "anna")
    found: dict[str, float] = model.score(model.start(KEY), data)
    return found


# ── losses that are no mean over rows ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards("a loss of one's own is scored on all rows", "Keras scores a loss of one's own on all rows")
@each_library
def test_a_cox_loss_is_what_it_is_on_all_rows(library: str) -> None:
    """By the sum over risk sets; of pieces of 256 each would have risk sets of its own."""
    z = RNG.normal(size=(600, 2)).astype(np.float32)
    y = np.stack([RNG.permutation(600) + 1.0, RNG.random(600) < 0.5], 1).astype(np.float32)
    terms = [z[i, 0] - np.log(np.exp(z[y[:, 0] >= y[i, 0], 0]).sum()) for i in range(600) if y[i, 1]]
    assert scores(BY[library](cox, None), z, y)["loss"] == pytest.approx(-np.mean(terms), rel=1e-5)


# log-odds of log 3 for the second class: −log p is log 4 of the first, log 4/3 of the second
SURE = np.tile([0.0, np.log(3)], (600, 1)).astype(np.float32)
FIRST, SECOND = np.log(4), np.log(4 / 3)
WEIGHED = (1 * FIRST + 9 * SECOND) / 10  # with the weights 1 and 9, as many rows of each class


@pytest.mark.guards("weights of classes weigh pieces")
def test_class_weights_weigh_sorted_rows() -> None:
    """PyTorch's Σ w·ℓ / Σ w of all rows, where each piece has one class and its weight would cancel."""
    w = torch.tensor([1.0, 9.0])
    losses = (nn.CrossEntropyLoss(weight=w), lambda z, y: F.cross_entropy(z, y, weight=w))
    for loss in losses:
        assert scores(of_torch(loss), SURE, SORTED)["loss"] == pytest.approx(WEIGHED, rel=1e-6)

    def weighed(z: Any, y: Any) -> Any:
        return w[y] * F.cross_entropy(z, y, reduction="none"), w[y]

    assert scores(of_torch(Mean(weighed)), SURE, SORTED)["loss"] == pytest.approx(WEIGHED, rel=1e-6)


@each_library
def test_a_weighted_mean_of_ones_own_weighs_sorted_rows(library: str) -> None:
    def weighed(ops: Any, z: Any, y: Any) -> Any:
        w = 1.0 + 8.0 * y[:, 0]
        loss = ops.log(ops.sum(ops.exp(z), 1)) - z[:, 0] * (1 - y[:, 0]) - z[:, 1] * y[:, 0]
        return ops.sum(w * loss) / ops.sum(w)

    y = SORTED[:, None].astype(np.float32)
    assert scores(BY[library](weighed, None), SURE, y)["loss"] == pytest.approx(WEIGHED, rel=1e-5)


@pytest.mark.parametrize("ignored", [-100, 255, 0])
def test_rows_without_a_label_do_not_count(ignored: int) -> None:
    """300 rows in front have none: loss and accuracy are those of the others, all of which are told right."""
    loss = nn.CrossEntropyLoss(ignore_index=ignored)
    y = np.r_[np.full(300, ignored), np.ones(300, int)]
    assert scores(of_torch(loss), SURE, y) == {"loss": pytest.approx(SECOND), "accuracy": 1.0}


def test_keras_leaves_rows_without_a_label_out() -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    y = np.r_[np.full(300, 255), np.zeros(10, int), np.ones(290, int)]
    found = scores(of_keras(loss, {"auc": AUC(ignored=255)}), SURE, y)
    assert found["loss"] == pytest.approx((10 * FIRST + 290 * SECOND) / 300, rel=1e-5)
    assert found["auc"] == 0.5


class Told(NamedTuple):
    logits: Any
    aux: Any


def test_outputs_of_several_parts_reach_a_loss_of_ones_own() -> None:
    """A named tuple with auxiliary logits, as GoogLeNet gives; over two pieces and more."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, x: Any) -> Told:
            return Told(self.w * x, 2 * x)

    model = h.TorchModel(Net(), lambda out, y: F.cross_entropy(out.logits, y) + 0.3 * F.cross_entropy(out.aux, y))
    z, y = torch.from_numpy(SURE), torch.from_numpy(SORTED)
    right = F.cross_entropy(z, y) + 0.3 * F.cross_entropy(2 * z, y)
    assert scores(model, SURE, SORTED)["loss"] == pytest.approx(float(right), rel=1e-6)


def test_a_subclass_of_pytorchs_loss_is_measured_by_its_own_forward() -> None:
    """nn.MSELoss by name, and a standard deviation by what it computes."""

    class Spread(nn.MSELoss):
        def forward(self, z: Any, y: Any) -> Any:
            return z.std() + 0 * y.sum()

    z = np.r_[np.zeros((300, 2)), np.ones((300, 2))].astype(np.float32)
    assert scores(of_torch(Spread()), z, z)["loss"] == pytest.approx(z.std(ddof=1), rel=1e-5)


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────

BY_HAND = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])  # of four pairs three are in order


@each_library
def test_auc_is_of_all_rows(library: str) -> None:
    """0.75 by counting pairs; the 200 rows of each of four kinds come in order, and no piece has both classes."""
    z, y = (np.repeat(one, 200) for one in BY_HAND)
    x = np.stack([0 * z, z], 1).astype(np.float32)
    assert scores(BY[library](squares, {"auc": AUC()}), x, y)["auc"] == 0.75


def test_ready_metrics_by_hand() -> None:
    z, y = BY_HAND
    assert AUC()(z, y) == 0.75
    assert AveragePrecision()(z, y) == pytest.approx((1 + 2 / 3) / 2)  # precision at the two positives
    assert F1()(z, y) == pytest.approx(2 / 3)  # all told positive, half rightly: 2·½·1 / 1½
    p = np.array([0.9, 0.9, 0.9, 0.9])
    assert CalibrationError("probabilities")(p, np.array([1, 1, 1, 0])) == pytest.approx(0.15)  # |0.75 − 0.9|
    assert R2()(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.5)  # 1 − 1/2
    times = np.array([[1.0, 1], [2.0, 1], [3.0, 1]])
    assert CIndex()(np.array([3.0, 1.0, 2.0]), times) == pytest.approx(2 / 3)  # risks of 2 and 3 are out of order
    censored = np.array([[1.0, 1], [2.0, 0], [3.0, 1]])  # after the second nobody knows: two pairs are left
    assert CIndex()(np.array([3.0, 1.0, 2.0]), censored) == 1.0


@pytest.mark.guards("ranks do not round to 1")
def test_large_logits_are_ranked() -> None:
    """p rounds to 1 from a logit of 37 on; logits do not. Of moderate ones it is scikit-learn's number."""
    z = np.array([800.0, 900.0, 1000.0, -5.0])
    y = np.array([0, 1, 1, 0])
    assert AUC()(z, y) == AUC()(np.stack([0 * z, z], 1), y) == AveragePrecision()(z, y) == 1.0
    z, y = RNG.normal(size=(60, 4)), np.arange(60) % 4
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert AUC()(z, y) == AUC("probabilities")(p, y) == pytest.approx(roc_auc_score(y, p, multi_class="ovr"))
    sure = 1000 * np.eye(3)[[0, 1, 2, 0]] * [[1], [2], [3], [4]]
    assert AUC()(sure, np.array([0, 1, 2, 0])) == 1.0


@pytest.mark.parametrize(
    ("metric", "outputs", "targets"),
    [
        (AUC(), [1.0, 2.0], [1, 1]),  # a single class
        (AUC(), [np.nan, 2.0], [0, 1]),  # a model that has diverged
        (AUC(), [1.0, 2.0], [-100, -100]),  # no label
        (AveragePrecision(), [1.0, 2.0], [0, 0]),
        (F1(), [-1.0, -2.0], [0, 0]),
        (R2(), [1.0, 2.0], [3.0, 3.0]),  # 0/0
        (CIndex(), [1.0, 2.0], [[1.0, 0], [2.0, 0]]),  # no event
    ],
)
def test_what_has_no_value_is_nan(metric: Any, outputs: Any, targets: Any) -> None:
    assert np.isnan(metric(np.array(outputs), np.array(targets)))


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "says"),
    [
        (AUC(), np.zeros(2), [0, 255], "the label 255"),
        (F1(), np.zeros(2), [-1, 1], "the label -1"),
        (AUC(), np.zeros((2, 3)), [[1, 1, 0], [0, 0, 1]], "a single 1"),  # several labels each
        (CalibrationError(), np.array([[0.2, 0.8], [0.6, 0.4]]), [0, 1], "gets probabilities"),
        (CalibrationError("probabilities"), np.array([2.0, -3.0]), [0, 1], "such"),
        (AUC(), (np.zeros(2), np.zeros(2)), [0, 1], "gets a tuple"),
        (AUC(), np.zeros(3), [0, 1], "3 outputs for 2 targets"),
        (R2(), np.zeros((2, 2)), [0.0, 1.0], "2 outputs and 1 targets"),
        (CIndex(), np.zeros(2), [1.0, 2.0], "np.stack"),
    ],
)
def test_what_a_metric_does_not_take_is_said(metric: Any, outputs: Any, targets: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        metric(outputs, np.array(targets))


def test_probabilities_are_not_taken_for_logits() -> None:
    net = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid(), nn.Flatten(0))
    with pytest.raises(PlanError, match="outputs='probabilities'"):
        h.TorchModel(net, nn.BCELoss(), metrics={"auc": AUC()})
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    net.compile(optimizer="sgd", loss="binary_crossentropy")
    with pytest.raises(PlanError, match="outputs='probabilities'"):
        h.KerasModel(net, metrics={"auc": AUC()})
    with pytest.raises(PlanError, match="no logit"):
        h.SklearnModel(SGDClassifier(), 2, 2, metrics={"error": CalibrationError()})


def test_linear_models_and_trees_measure_as_their_own_probabilities_do() -> None:
    """Of three classes: by predict_proba of scikit-learn, and XGBoost's own prediction."""
    y = RNG.integers(0, 3, 300)
    x = RNG.normal(size=(300, 4)) + np.eye(4)[y]
    given = {"auc": AUC(), "error": CalibrationError()}
    linear = h.SklearnModel(SGDClassifier(loss="log_loss"), 4, 3, metrics=given)
    trees = h.XgboostModel({"objective": "multi:softprob", "num_class": 3, "max_depth": 2}, 4, metrics=given)
    data = parsed((x, y))
    at = linear.train(linear.start(KEY), data, h.Training(batch=10), h.models.Drift(), KEY).x
    grown = trees.train(trees.start(KEY), data, h.Training(batch=0), h.models.Drift(), KEY).x
    told = linear.fitted(at).predict_proba(x), trees.booster(grown).inplace_predict(x.astype(np.float32))
    for model, where, p in ((linear, at, told[0]), (trees, grown, told[1])):
        found = model.score(where, data)
        assert found["auc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=1e-6)
        assert found["error"] == pytest.approx(CalibrationError("probabilities")(p, y), abs=1e-5)
        assert found.keys() == model.metrics.keys() and model.undefined == {"auc", "error"}


# ── reports of clients ───────────────────────────────────────────────────────────────────────────────────────────────


def plan(**more: Any) -> h.Plan:
    torch.manual_seed(0)
    model = h.TorchModel(nn.Linear(2, 2), F.cross_entropy, metrics={"auc": AUC(), "n": Whole(lambda z, y: len(y), 99)})
    training = h.Training(batch=8, learning_rate=0.1, validation=0.5)
    return h.Plan(model, pipe=more.pop("pipe", (h.Weigh("one"),)), training=training, rounds=1, **more)


def patients(n: int, labels: Any = (0, 1)) -> tuple[Any, Any]:
    return RNG.normal(size=(n, 2)).astype(np.float32), np.resize(labels, n)


def after(plan: h.Plan, data: Any) -> h.State:
    (state,) = h.App(plan, data).run()
    return state


CLIENTS = {"anna": patients(40), "boris": patients(40), "clara": patients(40, [1])}


@pytest.mark.guards("what is undefined is in no mean")
@pytest.mark.parametrize(
    "pipe", [(), (h.Clip(1.0, side=100.0), h.Weigh("one"), h.Quantize(24))], ids=["plain", "quantised"]
)
def test_an_auc_that_one_client_cannot_have_is_the_mean_of_the_others(pipe: Any) -> None:
    """clara's examples are of one class: her update and her loss count, her AUC is in no mean."""
    three = plan(pipe=pipe or (h.Weigh("one"),))
    state = after(three, CLIENTS)
    each = [after(three, {who: CLIENTS[who]}).metrics for who in CLIENTS]
    assert state.participants == ("anna", "boris", "clara") and not state.excluded
    assert state.metrics["val_auc_defined"] == pytest.approx(2 / 3, abs=1e-3)
    assert state.metrics["val_auc"] == pytest.approx((each[0]["val_auc"] + each[1]["val_auc"]) / 2, abs=1e-3)
    assert state.metrics["val_loss"] == pytest.approx(np.mean([one["val_loss"] for one in each]), abs=1e-3)
    assert "val_auc" not in each[2] and each[2]["val_auc_defined"] == pytest.approx(0, abs=1e-6)


def test_a_client_of_one_example_trains_and_is_in_no_score() -> None:
    data = {"anna": patients(40), "boris": patients(40), "clara": patients(1)}
    two = after(plan(), {"anna": data["anna"], "boris": data["boris"]})
    state = after(plan(), data)
    assert set(state.participants) == set(data) and not state.excluded
    assert state.metrics["val_defined"] == pytest.approx(2 / 3)
    for name in ("val_loss", "val_auc", "val_n"):
        assert state.metrics[name] == pytest.approx(two.metrics[name])


# ── noise for single examples ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards("PerExample takes no class weights")
def test_per_example_takes_no_class_weights() -> None:
    """Of one example w·ℓ / w is ℓ: the weights would do nothing."""
    for loss in (nn.CrossEntropyLoss(weight=torch.ones(2)), nn.NLLLoss(weight=torch.ones(2))):
        refused = ""
        try:
            h.Plan(of_torch(loss), training=PRIVATE)
        except PlanError as error:
            refused = str(error)
        assert "class weights" in refused


def deviation(ops: Any, z: Any, y: Any) -> Any:
    """0 where all outputs are alike, as at weights of 0."""
    return ops.sum((z - ops.sum(z, 0) / len(z)) ** 2) / len(z)


@pytest.mark.guards("a loss is a mean over examples where they are hidden", "examples are mixed near the start too")
@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("loss", [cox, deviation])
def test_per_example_takes_no_loss_that_is_no_mean(library: str, loss: Loss) -> None:
    """Nor one that is 0 where training starts."""
    model = BY[library](loss, None)
    model._start[:] = 0 if loss is deviation else model._start
    y = np.stack([RNG.permutation(60) + 1.0, np.ones(60)], 1).astype(np.float32)
    data = parsed((RNG.normal(size=(60, 2)).astype(np.float32), y))
    model.check(data, "anna", h.Training(batch=8))
    refused = ""
    try:
        model.check(data, "anna", PRIVATE)
    except DataError as error:
        refused = str(error)
    assert "mean over examples" in refused


@pytest.mark.guards("examples that change each other's losses are found")
@pytest.mark.parametrize("kind", ["balanced", "cox", "deviation"])
def test_jax_finds_losses_that_change_each_other(kind: str) -> None:
    """A number for each row, of which few rows in order show nothing: one class alone, no event, outputs of 0."""

    def balanced(z: Any, y: Any) -> Any:
        count = jnp.array([(y == 0).sum(), (y == 1).sum()])
        return (z**2).sum(1) / jnp.maximum(1, count[y]) * len(y) + 1

    def rows_of_cox(z: Any, y: Any) -> Any:
        risk = (jnp.exp(z[:, 0])[None] * (y[:, 0][None] >= y[:, 0][:, None])).sum(1)
        return -(z[:, 0] - jnp.log(risk)) * y[:, 1]

    losses = {"balanced": balanced, "cox": rows_of_cox, "deviation": lambda z, y: ((z - z.mean(0)) ** 2).sum(1)}
    few = np.r_[np.zeros(150, int), np.ones(5, int)]
    y = np.stack([np.arange(155) + 1.0, few], 1).astype(np.float32) if kind == "cox" else few
    x = RNG.normal(size=(155, 2)).astype(np.float32)
    model = h.JaxModel(np.zeros((2, 2), np.float32), lambda w, x: x @ w, losses[kind])
    refused = ""
    try:
        model.check(parsed((x, y)), "anna")
    except PlanError as error:
        refused = str(error)
    assert "what other examples are in its batch" in refused
