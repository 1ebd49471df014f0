"""How well scores tell two classes apart among clients, from two histograms that a sum adds up.

    records = {who: scored(p, y) for …}          p: a model's probabilities at that client
    curve = ask({"scores": Scores()}, records, most=500, policies=…)["scores"]
    curve.auc, curve.calibration, curve.sensitivity(0.5)

The histograms of the two classes travel as one vector of counts, so every sum hides them, Prio3
proves them, and noise is sized for one client as for any histogram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..algorithms import Parts
from ..errors import DataError, PlanError, number
from ..spec import Bound, Counts, Vector
from .questions import Column

FINEST = 2.0**-30  # of scores


def scored(p: ArrayLike, y: ArrayLike) -> tuple[Vector, Vector]:
    """A client's records for `Scores`: (v [n], y [n]), of probabilities p [n] of the class 1 and
    labels y [n].

        v = y + min(p, 1 − 2⁻³⁰)         so that v in 0 … 1 is of class 0, in 1 … 2 of class 1

    p is rounded to 2⁻³⁰, so that v − y is exact: equal scores are in one bin, whatever their class.
    DataError for what is no probability or label, or of other lengths.
    """
    p = np.asarray(p, np.float64)
    y = np.asarray(y)
    if p.ndim != 1 or p.shape != y.shape or not (np.isin(y, (0, 1)).all() and _shares(p)):
        raise DataError(
            f"scored(p {p.shape}, y {y.shape}) holds other than probabilities and labels.",
            "Scores are probabilities of the class 1 in 0 … 1, beside labels that are 0 or 1.",
            "Write scored(torch.softmax(outputs, 1)[:, 1], y).",
        )
    y = y.astype(np.int64)
    return y + np.round(np.minimum(p, 1 - FINEST) / FINEST) * FINEST, y


def _shares(p: Vector) -> bool:
    """Do all lie in 0 … 1?"""
    return bool(((p >= 0) & (p <= 1)).all())


@dataclass(frozen=True)
class Curve:
    """Counts of scores in equal bins of 0 … 1, for the two classes: what ROC, calibration and
    sensitivity are read off.

    negative, positive: [bins]. With noise they need not be whole, and may be below 0: cut there,
    every empty bin would seem to hold something. Of sums with noise that is as large as they are
    nothing can be read.
    """

    negative: Vector
    positive: Vector

    @property
    def auc(self) -> float:
        """P(score of a positive > of a negative) + ½ P(same bin); NaN, not defined, of one class.

        Σ_b pos_b (Σ_{a<b} neg_a + ½ neg_b) / (Σ pos · Σ neg)
        """
        pairs = self._pairs
        if not pairs:
            return math.nan
        below = np.cumsum(self.negative) - self.negative
        return float(self.positive @ (below + self.negative / 2) / pairs)

    @property
    def auc_within(self) -> float:
        """How far bins can carry `auc` from that of the scores; NaN of one class. What noise adds
        is not in it.

        ½ Σ_b pos_b · neg_b / (Σ pos · Σ neg)
        """
        pairs = self._pairs
        if not pairs:
            return math.nan
        return float(np.maximum(self.positive, 0) @ np.maximum(self.negative, 0) / pairs / 2)

    @property
    def _pairs(self) -> float:
        """Of a positive and a negative; 0 where one class has none, as far as can be told."""
        return float(max(self.positive.sum(), 0.0) * max(self.negative.sum(), 0.0))

    @property
    def calibration(self) -> float:
        """Σ_b n_b/n · |share of positives in b − middle of b|; NaN without any score (Naeini et al.
        2015). With noise it is too large: what is below 0 counts as 0.
        """
        n = self._counts[0] + self._counts[1]
        if not n.sum():
            return math.nan
        share, middle = self.reliability
        known = n > 0
        return float(n[known] @ np.abs(share[known] - middle[known]) / n.sum())

    @property
    def reliability(self) -> tuple[Vector, Vector]:
        """The calibration curve: (share of positives in each bin, NaN in an empty one; its middle),
        both [bins].
        """
        negative, positive = self._counts
        n = positive + negative
        middle = (np.arange(len(n)) + 0.5) / len(n)
        share = np.full(len(n), math.nan)
        np.divide(positive, n, out=share, where=n > 0)
        return share, middle

    @property
    def _counts(self) -> tuple[Vector, Vector]:
        """Both, without what noise has made of less than nothing."""
        return np.maximum(self.negative, 0.0), np.maximum(self.positive, 0.0)

    def sensitivity(self, threshold: float = 0.5) -> float:
        """The share of positives whose score is in a bin from the threshold on; NaN without one."""
        return self._from(self.positive, threshold)

    def specificity(self, threshold: float = 0.5) -> float:
        """The share of negatives whose score is in a bin below the threshold; NaN without one."""
        return 1 - self._from(self.negative, threshold)

    def _from(self, counts: Vector, threshold: float) -> float:
        """The share of counts in bins that begin at the threshold, or above."""
        if not (number(threshold) and 0 <= threshold <= 1):
            raise DataError(
                f"{threshold!r} is no threshold.",
                "Scores are probabilities, in 0 … 1.",
                "Write for example curve.sensitivity(0.3).",
            )
        if counts.sum() <= 0:
            return math.nan
        first = math.ceil(threshold * len(counts) - 1e-9)
        return float(counts[first:].sum() / counts.sum())

    def merged(self, bins: int) -> Curve:
        """The same in fewer, wider bins; DataError where these do not hold whole ones."""
        if bins < 1 or len(self.positive) % bins:
            raise DataError(
                f"{len(self.positive)} bins do not make {bins}.",
                "Each wide bin holds as many of the narrow ones.",
                "Take a divisor, such as 10 of 100.",
            )
        return Curve(*(one.reshape(bins, -1).sum(1) for one in (self.negative, self.positive)))


@dataclass(frozen=True)
class Scores:
    """Scores of two classes in `bins` equal bins of 0 … 1; the records are those of `scored`. The
    answer is a `Curve`.
    """

    bins: int = 100
    column: Column = None

    def __post_init__(self) -> None:
        if not (number(self.bins, whole=True) and self.bins >= 2):
            raise PlanError(
                f"Scores(bins={self.bins!r}) orders no scores.",
                "Those in one bin count as equal.",
                "Write bins=100.",
            )

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """The counts of both classes, one behind the other."""
        if width > 1:
            raise PlanError(
                f"The question {name!r} is about {width} columns at once.",
                "Each record is one score and its class.",
                "Give the records that hansa.analytics.scored(p, y) makes.",
            )
        return {f"{name}.counts": Counts(2 * self.bins, most)}

    def client(self, name: str, values: Vector) -> Parts:
        """Its own counts."""
        values = np.clip(values.reshape(-1), 0, 2 - FINEST)
        classes = np.floor(values)
        # what is written as an edge is one, though it may lie a little below in binary
        places = np.minimum(np.floor((values - classes) * self.bins + 1e-6), self.bins - 1)
        found = (classes * self.bins + places).astype(np.int64)
        return {f"{name}.counts": np.bincount(found, minlength=2 * self.bins)}

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> Curve:
        """The histograms of all clients together."""
        counts = sums[f"{name}.counts"]
        return Curve(counts[: self.bins], counts[self.bins :])
