"""Metrics of other libraries, of all outputs and targets at once.

They get what the model gives: logits, unless `outputs="probabilities"` says otherwise. Outputs are
[n] or [n, 1] for two classes, [n, 2] for two, [n, C] for C classes; targets are labels [n].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import DataError, PlanError, number
from ..spec import Bound, Interval, Vector

Outputs = Literal["logits", "probabilities"]


def check_installed(library: str, metric: Any) -> None:
    """Raise PlanError where the library is missing that computes a metric.

    It is asked when the metric is made, and names it.
    """
    if find_spec(library) is None:
        raise PlanError(
            f"{library} is not installed.",
            f"{type(metric).__name__} is computed by it.",
            "Install it: pip install 'hansa[metrics]'.",
        )


@dataclass(frozen=True)
class _OfClasses(ABC):
    """A metric of the scores of classes; examples with the label `ignored` do not count.

    outputs   "logits", or "probabilities" [n] or [n, C] that add up to 1
    ignored   a label whose examples are left out

    Outputs are [n] or [n, 1] for two classes, of the second, or [n, C]; targets labels [n] from 0,
    or one-hot rows [n, C].
    """

    outputs: Outputs = "logits"
    ignored: int = -100
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
        """The metric; NaN where it is not defined.

        DataError for outputs of another shape or kind, for labels that are none, and for other
        numbers of rows.
        """
        z = plain(outputs, self)
        y = plain(targets, self)
        check_rows(self, z, y)
        if z.ndim == 2 and z.shape[1] == 1:
            z = z[:, 0]
        y = _labels(y, self)
        counts = y != self.ignored
        y = y[counts]
        z = z[counts]
        _check_scores(self, z)
        _check_labels(self, y, 2 if z.ndim == 1 else z.shape[1])
        if not len(y) or not np.isfinite(z).all():
            return math.nan
        return self._of(y, z)

    @abstractmethod
    def _of(self, y: Vector, z: Vector) -> float:
        """Of labels [n], and outputs [n] or [n, C]."""

    def _ranks(self, z: Vector) -> Vector:
        """A number for each class that grows with its probability p, of two classes for the second
        [n]: of logits log(p / (1 − p)), which does not round to 1 as p does.

        Of more than two classes [n, C].
        """
        if z.ndim == 1:
            return z
        two = z.shape[1] == 2
        if self.outputs == "probabilities":
            return z[:, 1] if two else z
        if two:
            return z[:, 1] - z[:, 0]
        return _margins(z)

    def _probabilities(self, z: Vector) -> Vector:
        """Of two classes that of the second [n], of more all of them [n, C]."""
        many = z.ndim == 2 and z.shape[1] > 2
        if self.outputs == "probabilities":
            return z if many else self._ranks(z)
        return _softmax(z) if many else _sigmoid(self._ranks(z))


@dataclass(frozen=True)
class AUC(_OfClasses):
    """The area under the ROC curve, of more than two classes the mean of each against the rest, by
    scikit-learn's roc_auc_score; not defined where a class is missing.
    """

    def _of(self, y: Vector, z: Vector) -> float:
        """NaN where a class is missing; of ranks, which a monotone map does not change."""
        from sklearn.metrics import roc_auc_score

        ranks = self._ranks(z)
        if len(np.unique(y)) < (2 if z.ndim == 1 else z.shape[1]):
            return math.nan
        if ranks.ndim == 1:
            return float(roc_auc_score(y, ranks))
        each = [roc_auc_score(y == c, column) for c, column in enumerate(ranks.T)]
        return float(np.mean(each))


@dataclass(frozen=True)
class AveragePrecision(_OfClasses):
    """The mean precision over all recalls, for two classes, by scikit-learn's
    average_precision_score; not defined without a positive example.
    """

    def _of(self, y: Vector, z: Vector) -> float:
        """NaN without a positive label; DataError for more than two classes."""
        from sklearn.metrics import average_precision_score

        ranks = self._ranks(z)
        _check_two(self, ranks)
        if not (y == 1).any():
            return math.nan
        return float(average_precision_score(y, ranks))


@dataclass(frozen=True)
class F1(_OfClasses):
    """2·precision·recall / (precision + recall) of the second of two classes, or of more the plain
    mean over those that occur, by scikit-learn's f1_score; not defined without a positive example,
    told or true.
    """

    def _of(self, y: Vector, z: Vector) -> float:
        """Of two classes the second is told where p > 1/2, of more the one of the largest p."""
        from sklearn.metrics import f1_score

        ranks = self._ranks(z)
        if ranks.ndim == 1:
            half = 0.5 if self.outputs == "probabilities" else 0.0
            return float(f1_score(y, ranks > half, zero_division=math.nan))
        return float(f1_score(y, z.argmax(1), average="macro", zero_division=math.nan))


@dataclass(frozen=True)
class CalibrationError(_OfClasses):
    """The expected calibration error, Σ share of a bin · |accuracy − confidence| in it, by
    torchmetrics (Naeini et al. 2015; Guo et al. 2017, eq. 3).
    """

    bins: int = 15
    library: ClassVar[str] = "torchmetrics"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not number(self.bins, whole=True) or self.bins < 1:
            raise PlanError(
                f"CalibrationError(bins={self.bins!r}).",
                "Confidences are compared with accuracies in so many bins.",
                "Write bins=15.",
            )

    def _of(self, y: Vector, z: Vector) -> float:
        """Of the p of the second class, or of the largest p, in `bins` bins of equal width."""
        import torch
        from torchmetrics.functional.classification import (
            binary_calibration_error,
            multiclass_calibration_error,
        )

        p = self._probabilities(z)
        told = torch.from_numpy(np.array(p))
        true = torch.from_numpy(np.array(y, np.int64))
        if p.ndim == 1:
            return float(binary_calibration_error(told, true, n_bins=self.bins))
        return float(multiclass_calibration_error(told, true, p.shape[1], n_bins=self.bins))


@dataclass(frozen=True)
class R2:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², by scikit-learn's r2_score, of several targets the mean; not
    defined where a target is the same for all examples.
    """

    bound: ClassVar[Bound] = math.inf

    def __post_init__(self) -> None:
        check_installed("sklearn", self)

    def __call__(self, outputs: Any, targets: Any) -> float:
        """R².

        outputs and targets are [n], [n, 1] or [n, k], of one number of columns. NaN where outputs
        are not finite.
        """
        from sklearn.metrics import r2_score

        found = plain(outputs, self)
        y = plain(targets, self)
        check_rows(self, found, y)
        y = y.reshape(len(y), -1)
        found = found.reshape(len(found), -1)
        _check(
            self,
            found.shape != y.shape,
            f"{found.shape[1]} outputs and {y.shape[1]} targets for each example",
            "It compares number with number.",
        )
        if not np.isfinite(found).all() or (np.ptp(y, axis=0) == 0).any():
            return math.nan
        return float(r2_score(y, found))


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
        """The c-index.

        A higher risk is to have the earlier event, so lifelines gets −risk, which it takes for a
        time. NaN where no pair can be compared.
        """
        from lifelines.utils import concordance_index

        risk = plain(outputs, self)
        y = plain(targets, self)
        check_rows(self, risk, y)
        shaped = y.ndim == 2 and y.shape[1] == 2
        _check(
            self,
            not (shaped and np.isin(y[:, 1], (0, 1)).all()),
            f"targets of shape {y.shape}",
            "It takes the time, and 1 for an event or 0 for none, for each example: "
            "np.stack([time, event], 1).",
        )
        _check(
            self, risk.size != len(y), f"outputs of shape {risk.shape}", "It takes one risk each."
        )
        if not np.isfinite(risk).all():
            return math.nan
        time, event = y.T
        try:
            return float(concordance_index(time, -risk.reshape(len(y)), event))
        except ZeroDivisionError:  # no pair can be compared
            return math.nan


# ── what they get ─────────────────────────────────────────────────────────────────────────────────


def plain(values: Any, metric: Any) -> Vector:
    """Outputs or targets of any library as float64; of a network's outputs the logits.

    DataError for several arrays. A tensor on a GPU is brought to the CPU.
    """
    values = getattr(values, "logits", values)
    _check(
        metric,
        isinstance(values, Mapping | tuple | list),
        f"a {type(values).__name__}",
        "It takes one array, or outputs that have `logits`.",
    )
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    return np.asarray(values, np.float64)


def check_rows(metric: Any, outputs: Vector, y: Vector) -> None:
    """Raise DataError where there are not as many targets as outputs."""
    rows = [len(np.atleast_1d(one)) for one in (outputs, y)]
    _check(
        metric,
        rows[0] != rows[1],
        f"{rows[0]} outputs for {rows[1]} targets",
        "It compares one row of outputs with one target.",
    )


def _check(metric: Any, wrong: bool, found: str, why: str) -> None:
    """Raise DataError for what a metric does not take."""
    if wrong:
        name = type(metric).__name__
        raise DataError(
            f"{name} gets {found}.",
            why,
            f"Give it that in a function of your own, such as lambda outputs, y: {name}()(…, …): "
            "metrics={'name': (function, bound)}.",
        )


def _labels(y: Vector, metric: Any) -> Vector:
    """Labels [n]; of one-hot rows their places."""
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim == 1:
        return y
    one_hot = y.ndim == 2 and np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all()
    _check(
        metric,
        not one_hot,
        f"targets of shape {y.shape}",
        "It takes one label for each example, or a row with a single 1.",
    )
    return np.asarray(y.argmax(1))


def _check_labels(metric: Any, y: Vector, classes: int) -> None:
    """DataError for a label outside of 0 … classes − 1."""
    strange = y[~np.isin(y, np.arange(classes))]
    _check(
        metric,
        bool(len(strange)),
        f"the label {strange[0]:g}" if len(strange) else "",
        f"The model tells the classes 0 … {classes - 1} apart, and ignored={metric.ignored} names "
        "the label that does not count.",
    )


def _check_scores(metric: Any, z: Vector) -> None:
    """Raise DataError for outputs of another shape, or that are not what `outputs` says."""
    _check(
        metric,
        z.ndim not in (1, 2),
        f"outputs of shape {z.shape}",
        "It takes a score for each example, or one for each of its classes.",
    )
    add_up = z.ndim == 2 and len(z) > 0 and np.allclose(z.sum(1), 1, atol=1e-4)
    shares = bool((z >= 0).all() and (z <= 1).all())
    _check(
        metric,
        metric.outputs == "logits" and shares and add_up,
        "probabilities",
        "Outputs are taken for logits unless it is told: outputs='probabilities'.",
    )
    told = shares and (z.ndim == 1 or add_up or not len(z))
    _check(
        metric,
        bool(metric.outputs == "probabilities" and not told and np.isfinite(z).all()),
        f"outputs of {z.min(initial=0):g} … {z.max(initial=0):g}, or that do not add up to 1",
        "outputs='probabilities' says that they are such; logits are outputs='logits'.",
    )


def _check_two(metric: Any, ranks: Vector) -> None:
    """DataError for scores of more than two classes."""
    _check(
        metric, ranks.ndim != 1, f"scores of {ranks.shape[-1]} classes", "It is defined for two."
    )


def _margins(z: Vector) -> Vector:
    """log(p / (1 − p)) of p = softmax(z), without rounding p: z − log Σ exp of the others.

        z_c − log Σ_{j≠c} exp z_j

    The sum without the largest is computed apart, for where p is near 1 a difference would lose all
    digits. z is [n, C], and so is what it gives.
    """
    rows = np.arange(len(z))
    top = z.argmax(1)
    rest = z.copy()
    rest[rows, top] = -np.inf
    below = np.logaddexp.reduce(rest, axis=1)
    total = np.logaddexp(below, z[rows, top])
    share = np.exp(z - total[:, None])
    share[rows, top] = 0.0
    others = total[:, None] + np.log1p(-share)
    others[rows, top] = below
    return np.asarray(z - others)


def _sigmoid(z: Vector) -> Vector:
    """1 / (1 + e⁻ᶻ), by tanh, which does not overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def _softmax(z: Vector) -> Vector:
    """exp z / Σ exp z of each row [n, C]; the largest exponent is 0."""
    p = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))
