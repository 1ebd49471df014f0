"""scikit-learn: its linear models that learn by stochastic gradient descent, one example at a
time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..data.batches import mass, relative, weighed
from ..data.examples import Examples
from ..errors import DataError, PlanError, number, refuse
from ..metrics import (
    LOSS,
    RATE,
    CalibrationError,
    Gathered,
    Mean,
    Measured,
    Whole,
    check_ready,
    check_weights,
    undefined,
)
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import NO_LOCAL, Drift, Gradient, Local, Model, TrainResult, consecutive, gradients_by_steps
from .checks import check_some
from .linear import Linear

try:
    from sklearn.base import clone
    from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
except ModuleNotFoundError as missing:
    raise PlanError(
        "scikit-learn is not installed.",
        "SklearnModel trains with it.",
        "Install it: pip install 'hansa[sklearn]'.",
    ) from missing

# η of a step that a gradient is read off: scikit-learn shrinks w by 1 − η·alpha, and never below 0
SHORT = 2.0**-10
LEARNT = ("coef_", "intercept_", "classes_")  # of an estimator that has been fitted


@dataclass(frozen=True)
class SklearnModel(Model):
    """A linear model of scikit-learn with `partial_fit`: SGDClassifier, SGDRegressor or Perceptron.

        w ← w − η/b · ∂(loss(w·a + β) + penalty)/∂w      for each example a of a batch of b, one
        after another
        y ← y − η (pull·(y₀ − x₀) + shift)               then, for y = (w, β) and y₀ the y before
        the batch

    A step is a batch, as for any other model: to the first order in η, one step along its mean
    gradient. With batch=1 it is scikit-learn's own SGD with eta0 = η. The drift is added between
    batches, since scikit-learn has no place for it inside (operator splitting); it is exact at
    batch=1, and off by O(η²) for each batch otherwise.

    The vector is [w row by row, β]: one row for a regressor or two classes, else one for each class
    against the rest. It starts at the weights of an estimator that has been fitted, on labels as
    below, and else at 0, since the loss is convex. Inputs are [n, …] of `features`
    numbers each; labels are 0 … classes − 1. Of the estimator count its loss, its penalty and
    alpha; the learning rate is constant, and that of `Training`.

    `metrics`: name → a metric of hansa.metrics, or (function, bound), besides the loss; where it is
    not given a classifier has its accuracy. They get scikit-learn's decision function: [n] of a
    regressor or two classes, else [n, classes]. Of log_loss these are logits; for several classes
    log p of each against the rest, whose softmax is scikit-learn's predict_proba.
    """

    estimator: Any
    features: int
    classes: int | None = None
    metrics: Any = field(default=None, hash=False, repr=False)

    def __post_init__(self) -> None:
        name = getattr(self.estimator, "__name__", type(self.estimator).__name__)
        found = f"SklearnModel cannot train {name} so: {self.estimator!r}."
        wrong = _faults(self.estimator, name, self.features, self.classes is not None)
        refuse((bad, found, why, instead) for bad, why, instead in wrong)
        counted = number(self.features, whole=True) and self.features >= 1
        if self.classes is not None:
            counted = counted and number(self.classes, whole=True) and self.classes >= 2
        if not counted:
            raise PlanError(
                f"{self!r} has nothing to learn from, or nothing to tell apart.",
                "It needs at least one feature, and a classifier two classes.",
                "Write for example SklearnModel(SGDClassifier(loss='log_loss'), features=30, "
                "classes=2).",
            )
        own = clone(self.estimator).set_params(random_state=None)
        for learnt in LEARNT:
            if hasattr(self.estimator, learnt):
                setattr(own, learnt, np.array(getattr(self.estimator, learnt)))
        object.__setattr__(self, "estimator", own)
        _check_start(own, self._linear, self._start)
        linear = self._linear
        usual = dict[str, Whole]()
        if self.classes is not None:
            usual = {"accuracy": Mean(linear.right, RATE)}
        measured = Measured.of(Mean(linear.losses, LOSS), usual, self.metrics, linear.outputs)
        object.__setattr__(self, "metrics", measured)
        object.__setattr__(self, "undefined", undefined(measured.metrics))
        ready = measured.ready.items()
        calibrated = [n for n, one in ready if isinstance(one.function, CalibrationError)]
        if calibrated and linear.loss != "log_loss":
            raise PlanError(
                f"{name} has no probabilities, and {', '.join(calibrated)} is of them.",
                f"The decision function of loss={linear.loss!r} is no logit.",
                "Write SGDClassifier(loss='log_loss').",
            )

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: all settings, where the repr leaves out some, and where it
        starts.
        """
        estimator = type(self.estimator), self.estimator.get_params(), self._start
        return *estimator, self.features, self.classes, self.metrics

    @property
    def _start(self) -> Vector:
        """[w row by row, β] of an estimator that has been fitted, and else zeros."""
        if not hasattr(self.estimator, "coef_"):
            return np.zeros(self.size)
        x = np.r_[self.estimator.coef_.ravel(), self.estimator.intercept_]
        return np.asarray(x, np.float64)

    @property
    def size(self) -> int:  # type: ignore[override]
        """(features + 1) · rows."""
        return self._linear.size

    @cached_property
    def _linear(self) -> Linear:
        """How it computes, beside scikit-learn's training."""
        loss = "perceptron"
        if not isinstance(self.estimator, Perceptron):
            loss = self.estimator.loss
        return Linear(loss, self.features, self.classes)

    def plan(self, training: Training) -> None:
        """Plain SGD alone."""
        if training.optimizer != "sgd" or training.weight_decay:
            raise PlanError(
                f"{self!r} cannot train with optimizer={training.optimizer!r}, "
                f"weight_decay={training.weight_decay:g}.",
                "scikit-learn steps with plain SGD, and has a penalty of its own.",
                "Write optimizer='sgd', and alpha=… in the estimator for a penalty.",
            )

    def start(self, key: Key) -> Vector:
        """The weights of an estimator that has been fitted; else zeros."""
        return self._start

    # ── training ──

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
    ) -> TrainResult:
        """SGD over the examples; the drift after each batch."""
        self.plan(training)
        y = np.array(x, np.float64)
        eta = training.learning_rate
        losses = []
        shift: Any = 0.0
        if drift.shift is not None:
            shift = drift.shift
        estimator = self.fitted(x)
        for batch in data.batches(training, key):
            batch, w = weighed(batch)
            w = relative(w)
            A, target = _arrays(batch)
            found = self._linear.losses(self._linear.decisions(y, A), target)
            losses.append(float(np.average(found, weights=w)))
            estimator.coef_, estimator.intercept_ = self._linear.weights(y)
            estimator.eta0 = eta / len(target)
            try:
                estimator.partial_fit(A, target, sample_weight=w)
            except ValueError as error:
                raise DataError(
                    f"Training cannot go on after {len(losses)} batches: {error}",
                    "The steps leave the range of numbers, or the labels those of the model.",
                    "Standardise the inputs, write a smaller learning_rate, or look at the labels.",
                ) from error
            correction = drift.pull * (y - drift.about(x)) + shift
            y = np.r_[estimator.coef_.ravel(), estimator.intercept_] - eta * correction
        return TrainResult(y, len(losses), sum(losses) / len(losses))

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """The mean over steps of single examples, all from x: a batch is such steps one after
        another, whose long ones would be of other gradients, and of no penalty.
        """
        found = []
        for ask in asks:
            alone = [ask._replace(data=ask.data.take([i])) for i in range(len(ask.data))]
            each = gradients_by_steps(self, alone, SHORT)
            weights = [mass(batch) for one in alone for batch in one.data.whole()]
            found.append(np.average(each, axis=0, weights=relative(np.array(weights))))
        return found

    def fitted(self, x: Vector) -> Any:
        """The estimator with the weights x, ready to predict."""
        estimator = copy.copy(self._template)
        estimator.coef_, estimator.intercept_ = self._linear.weights(np.asarray(x))
        return estimator

    @cached_property
    def _template(self) -> Any:
        """An estimator that has seen nothing, with all that `partial_fit` sets up when it is first
        called.
        """
        # batches come in random order
        estimator = clone(self.estimator).set_params(shuffle=False, random_state=0)
        if not isinstance(estimator, Perceptron):
            estimator.set_params(learning_rate="constant", eta0=1.0)
        if self.classes is None:
            return estimator.partial_fit(np.zeros((1, self.features)), np.zeros(1))
        labels = np.arange(self.classes)
        return estimator.partial_fit(np.zeros((self.classes, self.features)), labels, labels)

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The mean loss without penalty, and the metrics."""
        found: Gathered = self.metrics.gathered()
        for batch in data.whole():
            batch, w = weighed(batch)
            A, y = _arrays(batch)
            found.add(self._linear.decisions(x, A), y, w)
        check_some(found.rows)
        return found.values()

    def predict(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Vector:
        """As scikit-learn: probabilities [n, classes] where the loss has such, decisions of another
        classifier, and values [n] of a regressor.
        """
        estimator = self.fitted(x)
        says = estimator.predict
        if self.classes is not None:
            says = estimator.decision_function
        if hasattr(estimator, "predict_proba"):
            says = estimator.predict_proba
        every = [says(_arrays(weighed(batch)[0])[0]) for batch in data.whole()]
        return np.concatenate(every)

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Shapes and labels of the first batch.

        DataError for several arrays of inputs, for another number of features, for targets that are
        no single numbers, and for labels that are none.
        """
        batch, w = weighed(next(iter(data.whole())))
        check_weights(self.metrics.metrics, w)
        if len(batch) != 2:
            raise DataError(
                f"{who} has {len(batch) - 1} arrays of inputs.",
                f"{self!r} takes one.",
                "Join them into one array: np.hstack([...]).",
            )
        A, y = _arrays(batch)
        if A.shape[1] != self.features:
            raise DataError(
                f"{who}'s inputs have {A.shape[1]} numbers for each example.",
                f"{self!r} takes {self.features}.",
                f"Give it inputs of shape ({len(A)}, {self.features}), or write "
                f"features={A.shape[1]}.",
            )
        if y.ndim != 1:
            raise DataError(
                f"{who}'s targets have shape {y.shape}.",
                f"{self!r} takes one number for each example.",
                "Give it a column of them: y.ravel() or y[:, 0].",
            )
        if self.classes is not None and (
            y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= self.classes
        ):
            raise DataError(
                f"{who}'s labels have type {y.dtype} and lie in {y.min()} … {y.max()}.",
                f"{self!r} takes integers from 0 to {self.classes - 1}.",
                "Number the classes from 0, or give it more classes.",
            )
        z = self._linear.outputs(self._linear.decisions(self._start, A))
        check_ready(self.metrics.ready, z, y)

    def slices(self) -> dict[str, slice]:
        """scikit-learn's names."""
        rows = self._linear.rows
        return consecutive([("coef_", self.features * rows), ("intercept_", rows)])

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The weights as scikit-learn names and shapes them."""
        estimator = self.fitted(x)
        return {"coef_": estimator.coef_, "intercept_": estimator.intercept_}


def _arrays(batch: Any) -> tuple[Vector, Vector]:
    """A batch as inputs [n, features] of float64, and targets [n].

    Of several inputs the first is taken; `check` has refused the others.
    """
    if isinstance(batch, Mapping):
        A = next(array for name, array in batch.items() if name != "y")
        y = batch["y"]
    else:
        A, *_, y = batch
    return np.ascontiguousarray(np.reshape(A, (len(A), -1)), np.float64), np.asarray(y)


def _check_start(estimator: Any, linear: Linear, x: Vector) -> None:
    """Raise PlanError where an estimator that has been fitted, whose weights are x [size], fits no
    federation.
    """
    if not hasattr(estimator, "coef_"):
        return
    W, intercept = linear.weights(np.zeros(linear.size))
    wanted = (W.shape, intercept.shape)
    shapes = (estimator.coef_.shape, estimator.intercept_.shape)
    labels = list(range(linear.classes or 0))
    known = getattr(estimator, "classes_", np.array(labels)).tolist()
    found = f"{type(estimator).__name__} has been fitted"
    faults = (
        (
            shapes != wanted,
            f"{found}: coef_ {shapes[0]}, intercept_ {shapes[1]}.",
            f"With features={linear.features}, classes={linear.classes} they are {wanted[0]} and "
            f"{wanted[1]}, and training goes on from them.",
        ),
        (
            known != labels,
            f"{found} on the labels {known}.",
            f"Those of the federation are {labels}, and each row of coef_ is of one of them.",
        ),
        (
            shapes[0] == wanted[0] and not np.isfinite(x).all(),
            f"{found}, and its weights hold NaN or infinity.",
            "No step leads from there to a number.",
        ),
    )
    instead = "Fit it on such inputs and labels; sklearn.base.clone(estimator) starts at 0."
    refuse((wrong, what, why, instead) for wrong, what, why in faults)


def _faults(e: Any, name: str, features: int, told: bool) -> Iterator[tuple[bool, str, str]]:
    """Why an estimator of that name cannot train here, and what to write instead; is it told how
    many classes there are?
    """
    example = "SklearnModel(SGDClassifier(loss='log_loss'), features=30, classes=2)"
    settings = dict[str, Any]()
    if hasattr(e, "get_params") and not isinstance(e, type):
        settings = e.get_params()
    classifies = isinstance(e, SGDClassifier | Perceptron)
    yield (
        isinstance(e, type),
        "It is a class, not an estimator.",
        f"Make one: SklearnModel({name}(), …).",
    )
    yield (
        not hasattr(e, "partial_fit"),
        "Training goes on from the federation's weights, and it has no partial_fit.",
        f"Write for example {example}.",
    )
    yield (
        not classifies and not isinstance(e, SGDRegressor),
        "Only SGDClassifier, SGDRegressor and Perceptron take gradient steps of a given size.",
        f"Write for example {example}; for neural networks take TorchModel.",
    )
    yield (
        bool(settings.get("average")) or bool(settings.get("early_stopping")),
        "An average over steps, or an early stop, belongs to one long training and not to a "
        "client's round.",
        "Leave `average` and `early_stopping` out.",
    )
    yield (
        settings.get("class_weight") == "balanced",
        "One batch does not tell how often a class occurs.",
        "Give numbers: class_weight={0: 1.0, 1: 3.0}, the same for all clients.",
    )
    yield (
        settings.get("learning_rate") in ("pa1", "pa2"),
        "Passive-aggressive steps have no learning rate.",
        "Leave `learning_rate` out; it is that of Training.",
    )
    classes = ", classes=2" * classifies
    yield (
        classifies != told,
        "A classifier must know how many classes there are at all clients, and a regressor has "
        "none.",
        f"Write SklearnModel(…, features={features}{classes}).",
    )
