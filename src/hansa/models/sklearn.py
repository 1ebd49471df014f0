"""scikit-learn: its linear models that learn by stochastic gradient descent, one example at a
time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..data.examples import Examples
from ..errors import DataError, PlanError, refuse
from ..metrics import LOSS, RATE, CalibrationError, Gathered, Mean, Measured, check_ready, undefined
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import NO_LOCAL, Drift, Gradient, Local, Model, TrainResult, consecutive, gradients_by_steps
from .checks import check_some

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
# of the margin m = ±z, positive on the right side
LOSSES: Mapping[str, Callable[[Vector], Vector]] = {
    "log_loss": lambda m: np.logaddexp(0, -m),
    "hinge": lambda m: np.maximum(0, 1 - m),
    "squared_hinge": lambda m: np.maximum(0, 1 - m) ** 2,
    "modified_huber": lambda m: np.where(m < -1, -4 * m, np.maximum(0, 1 - m) ** 2),
    "perceptron": lambda m: np.maximum(0, -m),
}

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
        refuse((wrong, found, why, instead) for wrong, why, instead in self._faults(name))
        if self.features < 1 or (self.classes is not None and self.classes < 2):
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
        self._check_start()
        usual = {} if self.classes is None else {"accuracy": Mean(self._right, RATE)}
        measured = Measured.of(Mean(self._losses, LOSS), usual, self.metrics, self._outputs)
        object.__setattr__(self, "metrics", measured)
        object.__setattr__(self, "undefined", undefined(measured.metrics))
        ready = measured.ready.items()
        calibrated = [n for n, one in ready if isinstance(one.function, CalibrationError)]
        if calibrated and self._loss != "log_loss":
            raise PlanError(
                f"{name} has no probabilities, and {', '.join(calibrated)} is of them.",
                f"The decision function of loss={self._loss!r} is no logit.",
                "Write SGDClassifier(loss='log_loss').",
            )

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: all settings, where the repr leaves out some, and where it
        starts.
        """
        estimator = type(self.estimator), self.estimator.get_params(), self._start
        return *estimator, self.features, self.classes, self.metrics

    def _check_start(self) -> None:
        """Raise PlanError where an estimator that has been fitted fits no federation."""
        if not hasattr(self.estimator, "coef_"):
            return
        wanted: tuple[int, ...] = (self._rows, self.features)
        if self.classes is None:
            wanted = (self.features,)
        shapes = (self.estimator.coef_.shape, self.estimator.intercept_.shape)
        labels = list(range(self.classes or 0))
        known = getattr(self.estimator, "classes_", np.array(labels)).tolist()
        found = f"{type(self.estimator).__name__} has been fitted"
        faults = (
            (
                shapes != (wanted, (self._rows,)),
                f"{found}: coef_ {shapes[0]}, intercept_ {shapes[1]}.",
                f"With features={self.features}, classes={self.classes} they are {wanted} and "
                f"{(self._rows,)}, and training goes on from them.",
            ),
            (
                known != labels,
                f"{found} on the labels {known}.",
                f"Those of the federation are {labels}, and each row of coef_ is of one of them.",
            ),
            (
                shapes[0] == wanted and not np.isfinite(self._start).all(),
                f"{found}, and its weights hold NaN or infinity.",
                "No step leads from there to a number.",
            ),
        )
        instead = "Fit it on such inputs and labels; sklearn.base.clone(estimator) starts at 0."
        refuse((wrong, what, why, instead) for wrong, what, why in faults)

    @property
    def _start(self) -> Vector:
        """[w row by row, β] of an estimator that has been fitted, and else zeros."""
        if not hasattr(self.estimator, "coef_"):
            return np.zeros(self.size)
        x = np.r_[self.estimator.coef_.ravel(), self.estimator.intercept_]
        return np.asarray(x, np.float64)

    def _faults(self, name: str) -> list[tuple[bool, str, str]]:
        e = self.estimator
        example = "SklearnModel(SGDClassifier(loss='log_loss'), features=30, classes=2)"
        settings: dict[str, Any] = (
            e.get_params() if hasattr(e, "get_params") and not isinstance(e, type) else {}
        )
        classifies = isinstance(e, SGDClassifier | Perceptron)
        return [
            (
                isinstance(e, type),
                "It is a class, not an estimator.",
                f"Make one: SklearnModel({name}(), …).",
            ),
            (
                not hasattr(e, "partial_fit"),
                "Training goes on from the federation's weights, and it has no partial_fit.",
                f"Write for example {example}.",
            ),
            (
                not classifies and not isinstance(e, SGDRegressor),
                "Only SGDClassifier, SGDRegressor and Perceptron take gradient steps of a given "
                "size.",
                f"Write for example {example}; for neural networks take TorchModel.",
            ),
            (
                bool(settings.get("average")) or bool(settings.get("early_stopping")),
                "An average over steps, or an early stop, belongs to one long training and not to "
                "a client's round.",
                "Leave `average` and `early_stopping` out.",
            ),
            (
                settings.get("class_weight") == "balanced",
                "One batch does not tell how often a class occurs.",
                "Give numbers: class_weight={0: 1.0, 1: 3.0}, the same for all clients.",
            ),
            (
                settings.get("learning_rate") in ("pa1", "pa2"),
                "Passive-aggressive steps have no learning rate.",
                "Leave `learning_rate` out; it is that of Training.",
            ),
            (
                classifies != (self.classes is not None),
                "A classifier must know how many classes there are at all clients, and a regressor "
                "has none.",
                "Write SklearnModel(…, "
                f"features={self.features}{', classes=2' if classifies else ''}).",
            ),
        ]

    @property
    def size(self) -> int:  # type: ignore[override]
        """(features + 1) · rows."""
        return (self.features + 1) * self._rows

    @property
    def _rows(self) -> int:
        return 1 if self.classes in (None, 2) else int(self.classes or 1)

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
        x0 = x if drift.centre is None else drift.centre
        shift = 0.0 if drift.shift is None else drift.shift
        estimator = self.fitted(x)
        for batch in data.batches(training, key):
            A, target = self._arrays(batch)
            losses.append(float(self._losses(self._decisions(y, A), target).mean()))
            self._put(estimator, y)
            estimator.eta0 = eta / len(target)
            try:
                estimator.partial_fit(A, target)
            except ValueError as error:
                raise DataError(
                    f"Training cannot go on after {len(losses)} batches: {error}",
                    "The steps leave the range of numbers, or the labels those of the model.",
                    "Standardise the inputs, write a smaller learning_rate, or look at the labels.",
                ) from error
            correction = drift.pull * (y - x0) + shift
            y = np.r_[estimator.coef_.ravel(), estimator.intercept_] - eta * correction
        return TrainResult(y, len(losses), sum(losses) / len(losses))

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """The mean over steps of single examples, all from x: a batch is such steps one after
        another, whose long ones would be of other gradients, and of no penalty.
        """
        found = []
        for ask in asks:
            alone = [ask._replace(data=ask.data.take([i])) for i in range(len(ask.data))]
            found.append(np.mean(gradients_by_steps(self, alone, SHORT), axis=0))
        return found

    def fitted(self, x: Vector) -> Any:
        """The estimator with the weights x, ready to predict."""
        estimator = copy.copy(self._template)
        self._put(estimator, np.asarray(x))
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

    def _put(self, estimator: Any, x: Vector) -> None:
        W = x[: -self._rows].reshape(self._rows, self.features)
        estimator.coef_ = (W[0] if self.classes is None else W).astype(np.float64, copy=True)
        estimator.intercept_ = x[-self._rows :].astype(np.float64, copy=True)

    def _arrays(self, batch: Any) -> tuple[Vector, Vector]:
        if isinstance(batch, Mapping):
            A = next(array for name, array in batch.items() if name != "y")
            y = batch["y"]
        else:
            A, *_, y = batch
        return np.ascontiguousarray(np.reshape(A, (len(A), -1)), np.float64), np.asarray(y)

    # ── scoring ──

    def _decisions(self, x: Vector, A: Vector) -> Vector:
        """z = W·a + b of each example   [n, rows]."""
        return np.asarray(A @ x[: -self._rows].reshape(self._rows, -1).T + x[-self._rows :])

    @property
    def _loss(self) -> str:
        return "perceptron" if isinstance(self.estimator, Perceptron) else self.estimator.loss

    def _losses(self, z: Vector, y: Vector) -> Vector:
        """Of each example, summed over rows; a regressor's is the square."""
        if self.classes is None:
            return np.asarray((z[:, 0] - y) ** 2)
        labels = np.arange(self.classes) if self._rows > 1 else [1]
        m = np.where(y[:, None] == labels, 1.0, -1.0) * z
        return np.asarray((LOSSES[self._loss](m) if self._loss in LOSSES else (1 - m) ** 2).sum(1))

    def _right(self, z: Vector, y: Vector) -> Vector:
        told = z.argmax(1) if self._rows > 1 else z[:, 0] > 0
        return np.asarray(told == y)

    def _outputs(self, z: Vector) -> Vector:
        """What metrics get."""
        if self._rows == 1:
            return z[:, 0]
        return -np.logaddexp(0, -z) if self._loss == "log_loss" else z

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The mean loss without penalty, and the metrics."""
        found: Gathered = self.metrics.gathered()
        for batch in data.whole():
            A, y = self._arrays(batch)
            found.add(self._decisions(x, A), y)
        check_some(found.rows)
        return found.values()

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Shapes and labels of the first batch."""
        batch = next(iter(data.whole()))
        if len(batch) != 2:
            raise DataError(
                f"{who} has {len(batch) - 1} arrays of inputs.",
                f"{self!r} takes one.",
                "Join them into one array: np.hstack([...]).",
            )
        A, y = self._arrays(batch)
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
        z = self._outputs(self._decisions(self.start(Key.of(0)), A))
        check_ready(self.metrics.ready, z, y)

    def slices(self) -> dict[str, slice]:
        """scikit-learn's names."""
        return consecutive([("coef_", self.features * self._rows), ("intercept_", self._rows)])

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The weights as scikit-learn names and shapes them."""
        estimator = self.fitted(x)
        return {"coef_": estimator.coef_, "intercept_": estimator.intercept_}
