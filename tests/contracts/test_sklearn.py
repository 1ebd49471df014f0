"""SklearnModel: equal to scikit-learn's own steps, fit for every algorithm, and clear about what it cannot train."""

from __future__ import annotations

from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDOneClassSVM, SGDRegressor
from sklearn.naive_bayes import MultinomialNB

import hansa as h
from hansa import data as local
from hansa.metrics import LOSS
from hansa.models.sklearn import SklearnModel
from hansa.testing import check_model

KEY, NONE = h.Key.of(1), h.models.Drift()
LOG = SGDClassifier(loss="log_loss", alpha=1e-4)
SLOPES = np.linspace(-1, 1, 8)
ALGORITHMS = [
    h.FedAvg(),
    h.FedProx(0.1),
    h.FedAvg(h.Momentum(0.5)),
    h.FedAvg(h.Adam(0.1)),
    h.FedAvg(h.Yogi(0.1)),
    h.FedAvg(h.Adagrad(0.3)),
    h.Scaffold(),
    h.FedNova(),
    h.FedDyn(alpha=0.1),
    h.Ditto(),
]


def points(n: int = 60, seed: int = 0, classes: int = 3) -> tuple[Any, Any]:
    """n points [n, 8] in classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y], y


def line(n: int = 60, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] and a noisy linear function of them."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, 8))
    return A, A @ SLOPES + 1 + 0.1 * rng.normal(size=n)


# --- the mathematics ---


@pytest.mark.parametrize("batch", [1, 16])
def test_small_steps_of_a_batch(batch: int) -> None:
    """For each example a step of η/b along its own gradient, penalty included, and the drift after the batch."""
    data, eta, alpha = points(classes=2), 0.3, 0.05
    model = SklearnModel(SGDClassifier(loss="log_loss", alpha=alpha), 8, classes=2)
    rng = np.random.default_rng(2)
    x = rng.normal(size=model.size)
    drift = h.models.Drift(0.2, shift=rng.normal(size=9), centre=rng.normal(size=9))
    training = h.Training(epochs=2, batch=batch, learning_rate=eta)
    fit = model.train(x, data, training, drift, KEY)
    v, losses = x.copy(), []
    for A, y in local.Examples.of(data).batches(training, KEY):
        before, step, signs = v.copy(), eta / len(y), np.where(y == 1, 1, -1)
        losses.append(np.log1p(np.exp(-signs * (A @ v[:8] + v[8]))).mean())
        for a, s in zip(A, signs, strict=True):
            slope = -s / (1 + np.exp(s * (a @ v[:8] + v[8])))
            v[:8] = v[:8] * (1 - step * alpha) - step * slope * a
            v[8] -= step * slope
        v -= eta * (0.2 * (before - drift.centre) + drift.shift)
    assert fit.steps == len(losses)
    assert np.abs(fit.x - v).max() < 1e-9
    assert abs(fit.loss - np.mean(losses)) < 1e-9


def test_a_batch_is_a_step() -> None:
    """To the first order in η, the small steps of a batch are one along its mean gradient."""
    A, y = line()
    model, x = SklearnModel(SGDRegressor(alpha=0.0), 8), np.linspace(-1, 1, 9)
    A1 = np.c_[A, np.ones(len(A))]
    for eta in (1e-3, 1e-4):
        step = (x - model.train(x, (A, y), h.Training(batch=0, learning_rate=eta), NONE, KEY).x) / eta
        off = np.abs(step - A1.T @ (A1 @ x - y) / len(y)).max()
        assert off < 50 * eta


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (SklearnModel(LOG, 8, classes=3), points()),
        (SklearnModel(LOG, 8, classes=2), points(classes=2)),
        (SklearnModel(SGDClassifier(loss="modified_huber"), 8, classes=3), points()),
        (SklearnModel(SGDRegressor(), 8), line()),
    ],
)
def test_promises(model: SklearnModel, data: Any) -> None:
    """What every model promises, before and after a trip to another process."""
    check_model(model, data)
    check_model(cloudpickle.loads(cloudpickle.dumps(model)), data)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
@pytest.mark.parametrize("classes", [2, 3, None])
def test_every_algorithm_learns(classes: int | None, algorithm: Any) -> None:
    """Three clients with few examples each; the test examples are nobody's."""

    def make(n: int, seed: int) -> tuple[Any, Any]:
        return points(n, seed, classes) if classes else line(n, seed)

    model = SklearnModel(LOG, 8, classes) if classes else SklearnModel(SGDRegressor(alpha=1e-5), 8)
    weigh = "one" if isinstance(algorithm, h.FedDyn) else "examples"
    training = h.Training(epochs=2, batch=10, learning_rate=0.1)
    plan = h.Plan(model, algorithm, pipe=(h.Weigh(weigh),), training=training, rounds=8)
    *_, state = h.synchronous(plan, h.InProcess(h.Client(f"c{i}", plan, make(30, i)) for i in range(3)))
    before, after = (model.score(x, make(300, 99)) for x in (model.start(KEY), state.x))
    assert after["loss"] < 0.7 * before["loss"]
    assert classes is None or after["accuracy"] > 0.85


@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge", "modified_huber", "squared_error", "huber"])
def test_scores_are_scikit_learns(loss: str) -> None:
    """Fitted gives an estimator whose predictions and decisions are those that are scored."""
    data = points(200)
    model = SklearnModel(SGDClassifier(loss=loss), 8, classes=3)
    x = model.train(model.start(KEY), data, h.Training(epochs=5, batch=4), NONE, KEY).x
    estimator = model.fitted(x)
    assert model.score(x, data)["accuracy"] == estimator.score(*data) > 0.8
    z, signs = estimator.decision_function(data[0]), np.where(data[1][:, None] == np.arange(3), 1, -1)
    if loss == "log_loss":
        assert abs(model.score(x, data)["loss"] - np.log1p(np.exp(-signs * z)).sum(1).mean()) < 1e-9
    if loss == "hinge":
        assert abs(model.score(x, data)["loss"] - np.maximum(0, 1 - signs * z).sum(1).mean()) < 1e-9
    two = SklearnModel(SGDClassifier(loss=loss), 8, classes=2)
    x = np.linspace(-1, 1, 9)
    assert two.score(x, points(classes=2))["accuracy"] == two.fitted(x).score(*points(classes=2))


def test_regression_is_scored_by_the_mean_square() -> None:
    """Which is 0 for the right line."""
    A, y = line()
    model = SklearnModel(SGDRegressor(), 8)
    x = np.append(SLOPES, 1.0)
    assert model.score(x, (A, y))["loss"] == pytest.approx(np.mean((model.fitted(x).predict(A) - y) ** 2))
    assert dict(model.metrics) == {"loss": LOSS}


def test_perceptron() -> None:
    """A perceptron learns what can be told apart."""
    data = points(300, classes=2)
    model = SklearnModel(Perceptron(), 8, classes=2)
    fit = model.train(model.start(KEY), data, h.Training(epochs=5, batch=1), NONE, KEY)
    assert model.score(fit.x, data)["accuracy"] > 0.9


def test_forms_of_data_train_alike() -> None:
    """A dict, images, single precision; neither the user's estimator nor NumPy's generator is touched."""
    A, y = points()
    estimator = SGDClassifier(loss="log_loss", random_state=np.random.RandomState(3))
    model = SklearnModel(estimator, 8, classes=3)
    x, training = model.start(KEY), h.Training(epochs=2)
    np.random.seed(4)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    expected = model.train(x, (A, y), training, NONE, KEY).x
    for data in ({"y": y, "x": A}, {"x": A, "y": y}, (A.reshape(60, 2, 4), y.astype(np.int8))):
        model.check(data, "somebody")
        assert (model.train(x, data, training, NONE, KEY).x == expected).all()
    single = model.train(x, (A.astype(np.float32), y), training, NONE, KEY).x
    assert np.abs(single - expected).max() < 1e-6
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert not hasattr(estimator, "coef_") and not hasattr(model.estimator, "coef_")
    tensors = model.tensors(expected)
    assert (tensors["coef_"].ravel() == expected[:-3]).all() and (tensors["intercept_"] == expected[-3:]).all()


def test_a_client_without_some_classes() -> None:
    """All classes are known to all clients, whatever examples they have."""
    A, y = points()
    model = SklearnModel(LOG, 8, classes=5)
    fit = model.train(model.start(KEY), (A[y == 1], y[y == 1]), h.Training(), NONE, KEY)
    assert fit.x.shape == (45,) and model.score(fit.x, (A[y == 1], y[y == 1]))["accuracy"] == 1.0


# --- errors ---


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SklearnModel(LogisticRegression(), 8, 2), "partial_fit"),
        (lambda: SklearnModel("SGDClassifier", 8, 2), "partial_fit"),
        (lambda: SklearnModel(SGDClassifier, 8, 2), "SGDClassifier()"),
        (lambda: SklearnModel(MultinomialNB(), 8, 2), "gradient steps"),
        (lambda: SklearnModel(SGDOneClassSVM(), 8), "gradient steps"),
        (lambda: SklearnModel(SGDClassifier(learning_rate="pa1"), 8, 2), "learning rate"),
        (lambda: SklearnModel(SGDClassifier(), 8, (0, 1)), "two classes"),
        (lambda: SklearnModel(SGDClassifier(), "8", 2), "one feature"),
        (lambda: SklearnModel(SGDClassifier(average=True), 8, 2), "average"),
        (lambda: SklearnModel(SGDClassifier(early_stopping=True), 8, 2), "early_stopping"),
        (lambda: SklearnModel(SGDClassifier(class_weight="balanced"), 8, 2), "class_weight={"),
        (lambda: SklearnModel(SGDClassifier(), 8), "classes=2"),
        (lambda: SklearnModel(SGDRegressor(), 8, 2), "features=8)"),
        (lambda: SklearnModel(SGDClassifier(), 8, 1), "two classes"),
        (lambda: SklearnModel(SGDClassifier(), 0, 2), "one feature"),
        (lambda: h.Plan(SklearnModel(LOG, 8, 2), training=h.Training(optimizer="adam")), "plain SGD"),
        (lambda: h.Plan(SklearnModel(LOG, 8, 2), training=h.Training(weight_decay=0.1)), "alpha"),
    ],
)
def test_wrong_plans(make: Any, says: str) -> None:
    """What was found, why it cannot work, what to write instead."""
    with pytest.raises(h.errors.PlanError) as caught:
        make()
    assert says in str(caught.value)
    assert caught.value.found and caught.value.why and caught.value.instead


def test_wrong_data() -> None:
    """check() names the client."""
    A, y = points()
    model, straight = SklearnModel(LOG, 8, classes=3), SklearnModel(SGDRegressor(), 8)
    wrong = [
        (model, (A[:, :7], y), "features=7"),
        (model, (A, y + 1), "1 … 3"),
        (model, (A, y - 1), "-1 … 1"),
        (model, (A, y + 0.5), "float64"),
        (model, (A, y[:, None]), "ravel"),
        (model, {"a": A, "b": A, "y": y}, "2 arrays"),
        (straight, (A, A), "(60, 8)"),
    ]
    for which, data, says in wrong:
        with pytest.raises(h.errors.DataError) as caught:
            which.check(data, "ward 7")
        assert "ward 7" in str(caught.value) and says in str(caught.value)
    with np.errstate(all="ignore"), pytest.raises(h.errors.DataError, match="Standardise"):
        straight.train(straight.start(KEY), (1e200 * A, 1e200 * A[:, 0]), h.Training(batch=10), NONE, KEY)
