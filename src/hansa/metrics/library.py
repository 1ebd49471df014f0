"""Metrics of other libraries, of all outputs and targets at once.

They get what the model gives: logits, unless `outputs="probabilities"` says otherwise. Outputs are
[n] or [n, 1] for two classes, [n, 2] for two, [n, C] for C classes; targets are labels [n].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import DataError, PlanError
from ..spec import Bound, Interval, Vector

Outputs = Literal["logits", "probabilities"]


def check_installed(library: str, metric: Any) -> None:
    """Raise PlanError where the library is missing that computes a metric."""
    if find_spec(library) is None:
        raise PlanError(
            f"{library} is not installed.",
            f"{type(metric).__name__} is computed by it.",
            "Install it: pip install 'hansa[metrics]'.",
        )


@dataclass(frozen=True)
class _OfClasses:
    """A metric of the scores of classes."""

    outputs: Outputs = "logits"
    bound: ClassVar[Bound] = Interval(0.0, 1.0)
    library: ClassVar[str] = "sklearn"

    def __post_init__(self) -> None:
        check_installed(self.library, self)
        if self.outputs not in ("logits", "probabilities"):
            raise PlanError(
                f"{type(self).__name__}(outputs={self.outputs!r}).",
                "A model gives logits, or probabilities that add up to 1.",
                "Write outputs='logits' or outputs='probabilities'.",
            )

    def __call__(self, outputs: Any, targets: Any) -> float:
        """The metric; NaN where it is not defined."""
        y = _labels(targets)
        p = self._probabilities(plain(outputs))
        if len(p) != len(y):
            raise DataError(
                f"{type(self).__name__} gets {len(p)} outputs for {len(y)} targets.",
                "It compares one row of scores with one label.",
                "Give the model one output for each example.",
            )
        return self._of(y, p)

    def _probabilities(self, found: Vector) -> Vector:
        """Of two classes that of the second [n], of more all of them [n, C]."""
        if found.ndim == 2 and found.shape[1] == 1:
            found = found[:, 0]
        if found.ndim not in (1, 2):
            raise DataError(
                f"{type(self).__name__} gets outputs of shape {found.shape}.",
                "It takes a score for each example, or one for each of its classes.",
                "Write a function of your own: metrics={'name': (function, bound)}.",
            )
        if self.outputs == "logits":
            found = _sigmoid(found) if found.ndim == 1 else _softmax(found)
        if found.ndim == 2 and found.shape[1] == 2:
            return np.asarray(found[:, 1])
        return found

    def _of(self, y: Vector, p: Vector) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class AUC(_OfClasses):
    """The area under the ROC curve, of more than two classes the mean of each against the rest, by
    scikit-learn's roc_auc_score; not defined where a class is missing.
    """

    def _of(self, y: Vector, p: Vector) -> float:
        from sklearn.metrics import roc_auc_score

        classes = 2 if p.ndim == 1 else p.shape[1]
        if len(np.unique(y)) < classes:
            return math.nan
        if p.ndim == 1:
            return float(roc_auc_score(y, p))
        return float(roc_auc_score(y, p, multi_class="ovr", labels=np.arange(classes)))


@dataclass(frozen=True)
class AveragePrecision(_OfClasses):
    """The mean precision over all recalls, for two classes, by scikit-learn's
    average_precision_score; not defined without a positive example.
    """

    def _of(self, y: Vector, p: Vector) -> float:
        from sklearn.metrics import average_precision_score

        if not (y == 1).any():
            return math.nan
        _two(self, p)
        return float(average_precision_score(y, p))


@dataclass(frozen=True)
class F1(_OfClasses):
    """2·precision·recall / (precision + recall) of the second of two classes, or the plain mean
    over more, by scikit-learn's f1_score; not defined without a positive example, told or true.
    """

    def _of(self, y: Vector, p: Vector) -> float:
        from sklearn.metrics import f1_score

        if p.ndim == 1:
            return float(f1_score(y, p > 0.5, zero_division=math.nan))
        told = p.argmax(1)
        return float(f1_score(y, told, average="macro", zero_division=math.nan))


@dataclass(frozen=True)
class CalibrationError(_OfClasses):
    """The expected calibration error, Σ share of a bin · |accuracy − confidence| in it, by
    torchmetrics (Naeini et al. 2015; Guo et al. 2017, eq. 3).
    """

    bins: int = 15
    library: ClassVar[str] = "torchmetrics"

    def _of(self, y: Vector, p: Vector) -> float:
        import torch
        from torchmetrics.functional.classification import (
            binary_calibration_error,
            multiclass_calibration_error,
        )

        told = torch.from_numpy(np.array(p))
        true = torch.from_numpy(np.array(y, np.int64))
        if p.ndim == 1:
            return float(binary_calibration_error(told, true, n_bins=self.bins))
        return float(multiclass_calibration_error(told, true, p.shape[1], n_bins=self.bins))


@dataclass(frozen=True)
class R2:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², by scikit-learn's r2_score; not defined for fewer than two
    examples.
    """

    bound: ClassVar[Bound] = math.inf

    def __post_init__(self) -> None:
        check_installed("sklearn", self)

    def __call__(self, outputs: Any, targets: Any) -> float:
        """R²."""
        from sklearn.metrics import r2_score

        y = plain(targets)
        if len(y) < 2:
            return math.nan
        return float(r2_score(y.reshape(len(y), -1), plain(outputs).reshape(len(y), -1)))


@dataclass(frozen=True)
class CIndex:
    """The share of comparable pairs whose higher risk has the earlier event, by lifelines'
    concordance_index (Harrell et al. 1982); not defined where no pair can be compared.

    Outputs are risks [n] or [n, 1], targets [n, 2]: the time, and 1 for an event or 0 where
    observation ended.
    """

    bound: ClassVar[Bound] = Interval(0.0, 1.0)

    def __post_init__(self) -> None:
        check_installed("lifelines", self)

    def __call__(self, outputs: Any, targets: Any) -> float:
        """The c-index."""
        from lifelines.utils import concordance_index

        y = plain(targets)
        if y.ndim != 2 or y.shape[1] != 2:
            raise DataError(
                f"CIndex gets targets of shape {y.shape}.",
                "It takes the time and whether there was an event, for each example.",
                "Give targets [n, 2]: np.stack([time, event], 1).",
            )
        time, event = y.T
        try:
            return float(concordance_index(time, -plain(outputs).reshape(len(y)), event))
        except ZeroDivisionError:  # no pair can be compared
            return math.nan


def plain(values: Any) -> Vector:
    """Outputs or targets of any library as float64; of a network's outputs the logits."""
    values = getattr(values, "logits", values)
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, np.float64)


def _labels(targets: Any) -> Vector:
    """Labels [n]; of one-hot rows the largest."""
    y = plain(targets)
    if y.ndim == 2 and y.shape[1] > 1:
        return np.asarray(y.argmax(1))
    return y.reshape(len(y))


def _two(metric: Any, p: Vector) -> None:
    """Raise DataError for more than two classes."""
    if p.ndim != 1:
        raise DataError(
            f"{type(metric).__name__} gets scores of {p.shape[1]} classes.",
            "It is defined for two.",
            "Write a function of your own: metrics={'name': (function, bound)}.",
        )


def _sigmoid(z: Vector) -> Vector:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def _softmax(z: Vector) -> Vector:
    p = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))
