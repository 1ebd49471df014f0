"""Questions of a survey: each asks for sums and counts over a column, and answers from their sums.

What a question asks for has a bound for so many records, so that a client can prove that it kept to
it, and noise can be sized: hence the ranges, edges and lists of values that they all want.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..algorithms import Parts
from ..errors import DataError, PlanError, RoundError, number
from ..spec import Bound, Counts, Interval, Vector

Column = int | str | None  # of (X, y): a column of X, "y", or None for all of X; of a dict: a name


class Question(Protocol):
    """What is asked of the values [n] or [n, k] of a column.

    name: of the question, with which the names of its side values begin. width: k, or 1.
    """

    column: Column

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """The side values that it needs, with what `most` records can make of them at most."""

    def client(self, name: str, values: Vector) -> Parts:
        """A client's part of them."""

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> Any:
        """The answer, from the sums over all clients and the number of their records."""


@dataclass(frozen=True)
class Count:
    """How many records there are."""

    column: Column = None

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """Nothing beyond the number of records."""
        return {}

    def client(self, name: str, values: Vector) -> Parts:
        """Nothing beyond it."""
        return {}

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> float:
        """The number; with noise it need not be whole."""
        return records


@dataclass(frozen=True)
class Mean:
    """The mean of values, each cut to low … high; of each column alone.

    c + Σ (v − c) / n,    c = (low + high) / 2
    """

    low: float
    high: float
    column: Column = None

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high)

    @property
    def _half(self) -> float:
        """How far a value can lie from the middle."""
        return (self.high - self.low) / 2

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """A sum for each column."""
        return {f"{name}.sum.{i}": most * self._half for i in range(width)}

    def client(self, name: str, values: Vector) -> Parts:
        """Σ (v − c)."""
        sums = self._centred(values).sum(axis=0)
        return {f"{name}.sum.{i}": total for i, total in enumerate(sums)}

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> Any:
        """One mean, or one for each column."""
        means = np.array([sums[f"{name}.sum.{i}"][0] for i in range(width)]) / _some(records)
        return _alone(means + self.low + self._half)

    def _centred(self, values: Vector) -> Vector:
        """v − c of the values, cut, [n, k]."""
        return np.clip(values, self.low, self.high).reshape(len(values), -1) - self.low - self._half


@dataclass(frozen=True)
class Variance(Mean):
    """The variance of values, each cut to low … high; of each column alone.

    Σ (v − c)² / n − (Σ (v − c) / n)²,    c = (low + high) / 2
    """

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """A sum, and one of squares, for each column."""
        square = Interval(0.0, most * self._half**2)
        squares = {f"{name}.square.{i}": square for i in range(width)}
        return super().side(name, most, width) | squares

    def client(self, name: str, values: Vector) -> Parts:
        """Σ (v − c) and Σ (v − c)²."""
        totals = (self._centred(values) ** 2).sum(axis=0)
        squares = {f"{name}.square.{i}": total for i, total in enumerate(totals)}
        return super().client(name, values) | squares

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> Any:
        """One variance, or one for each column; never below 0, whatever noise there is."""
        squares = np.array([sums[f"{name}.square.{i}"][0] for i in range(width)]) / _some(records)
        means = np.array([sums[f"{name}.sum.{i}"][0] for i in range(width)]) / _some(records)
        return _alone(np.maximum(squares - means**2, 0.0))


@dataclass(frozen=True)
class Histogram:
    """How many values lie between each two neighbours of `edges`.

        countᵢ = |{v: edgesᵢ ≤ v < edgesᵢ₊₁}|

    Values beyond the ends count in the first or the last bucket.
    """

    edges: tuple[float, ...]
    column: Column = None

    def __post_init__(self) -> None:
        numbers = len(self.edges) >= 2 and all(map(number, self.edges))
        if not numbers or (np.diff(self.edges) <= 0).any():
            raise PlanError(
                f"Histogram(edges={self.edges!r}) has no buckets.",
                "Each bucket lies between two edges, which rise.",
                "Write for example Histogram((0, 10, 20)).",
            )

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """The counts of all buckets, of one column."""
        if width > 1:
            raise PlanError(
                f"The question {name!r} is about {width} columns at once.",
                "Values are counted for one column at a time.",
                f"Name it: {type(self).__name__}(…, column=0).",
            )
        return {f"{name}.counts": Counts(len(self.edges) - 1, most)}

    def client(self, name: str, values: Vector) -> Parts:
        """Its own counts."""
        inner = np.digitize(values.reshape(-1), self.edges[1:-1])
        return {f"{name}.counts": np.bincount(inner, minlength=len(self.edges) - 1)}

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> Any:
        """The counts; with noise they need be neither whole nor positive."""
        return sums[f"{name}.counts"]


@dataclass(frozen=True)
class Quantiles:
    """The values below which the shares `at` of all values lie, [len(at)].

    They are read off a histogram of `bins` equal buckets from low to high, to within one of them.
    """

    low: float
    high: float
    at: tuple[float, ...] = (0.25, 0.5, 0.75)
    bins: int = 256
    column: Column = None

    def __post_init__(self) -> None:
        _check_range(self, self.low, self.high)
        if not self.at or not all(number(q) and 0 <= q <= 1 for q in self.at):
            raise PlanError(
                f"{self!r}: quantiles lie in 0 … 1.",
                "They are shares of all values.",
                "Write at=(0.5,).",
            )
        if not (number(self.bins, whole=True) and self.bins >= 1):
            raise PlanError(f"{self!r} has no buckets.", "`bins` counts them.", "Write bins=256.")

    @property
    def _histogram(self) -> Histogram:
        """The question that is asked in its place."""
        edges = np.linspace(self.low, self.high, self.bins + 1).tolist()
        return Histogram(tuple(edges), self.column)

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """The counts of all buckets."""
        return self._histogram.side(name, most, width)

    def client(self, name: str, values: Vector) -> Parts:
        """Its own counts."""
        return self._histogram.client(name, values)

    def answer(self, name: str, sums: Mapping[str, Vector], records: float, width: int) -> Any:
        """One value for each share, as if values lay evenly in their bucket."""
        below = np.concatenate([[0.0], np.cumsum(np.maximum(sums[f"{name}.counts"], 0.0))])
        return np.interp(np.array(self.at) * below[-1], below, self._histogram.edges)


@dataclass(frozen=True)
class TopK:
    """The k values `among` these that are met most often, with their counts, most frequent first.

    Ties go by the order of `among`.
    """

    k: int
    among: tuple[Any, ...]
    column: Column = None

    def __post_init__(self) -> None:
        if len(set(self.among)) < len(self.among) or not (
            number(self.k, True) and 1 <= self.k <= len(self.among)
        ):
            raise PlanError(
                f"TopK({self.k!r}) among {len(self.among)} values.",
                "The values are given, each once, for what nobody has named nobody can count in "
                "secret.",
                "Write for example TopK(3, among=('a', 'b', 'c', 'd')).",
            )

    def side(self, name: str, most: int, width: int) -> dict[str, Bound]:
        """A count for each value, of one column."""
        return Histogram(tuple(range(len(self.among) + 1)), self.column).side(name, most, width)

    def client(self, name: str, values: Vector) -> Parts:
        """Its own counts; values that are not asked for do not count."""
        listed = values.reshape(-1).tolist()
        return {f"{name}.counts": np.array([listed.count(value) for value in self.among])}

    def answer(
        self, name: str, sums: Mapping[str, Vector], records: float, width: int
    ) -> list[tuple[Any, float]]:
        """[(value, count), …]."""
        counts = sums[f"{name}.counts"]
        order = np.argsort(-counts, kind="stable")[: self.k]
        return [(self.among[i], float(counts[i])) for i in order]


def column(batch: Any, name: Column, who: str) -> Vector:
    """The values [n] or [n, k] of a column in a batch of records; DataError where there is none."""
    parts = batch
    if not isinstance(batch, dict):
        parts = {"x": batch[0], "y": batch[-1]}
    if name is None:
        return np.asarray(next(iter(parts.values())))
    if isinstance(name, str) and name in parts:
        return np.asarray(parts[name])
    x = np.asarray(next(iter(parts.values())))
    there = ", ".join(map(repr, parts))
    if x.ndim == 2:
        if not isinstance(name, str) and number(name, whole=True) and 0 <= name < x.shape[1]:
            return np.asarray(x[:, int(name)])
        there += f", and columns 0 to {x.shape[1] - 1}"
    raise DataError(
        f"{who} has no column {name!r}.", f"There is {there}.", "Name one of these in the question."
    )


def _alone(values: Vector) -> Any:
    """One number where there is one, and not a vector of it."""
    if len(values) == 1:
        return float(values[0])
    return values


def _some(records: float) -> float:
    """The number of records, where there are any; else RoundError."""
    if not records > 0:
        raise RoundError(
            "The survey counts no records, so there is no mean.",
            "Nobody has any, or noise outweighs them.",
            "Ask more clients, or with less noise.",
        )
    return records


def _check_range(question: Any, low: float, high: float) -> None:
    """PlanError where low … high is no range of real numbers."""
    if not (number(low) and number(high) and -math.inf < low < high < math.inf):
        raise PlanError(
            f"{question!r} has no range.",
            "What one record can change has a bound because values are cut to low … high.",
            "Write for example Mean(0, 120).",
        )
