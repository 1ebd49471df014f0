"""Metrics: what is measured of a model's outputs on data, beside its loss.

    Whole(function, bound)   of all outputs and targets at once, as an AUC is
    Mean(function, bound)    a mean over examples, which may be measured piece by piece

A pair (function, bound) is a Whole, which is right whatever the function computes. A function that
gives a number for each example [n] is averaged over them.

Ready ones, from scikit-learn, torchmetrics and lifelines: AUC, AveragePrecision, CalibrationError,
CIndex, F1 and R2. Where data leaves one undefined, as a single class does an AUC, it is NaN there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError, Fault
from ..spec import Bound, Interval
from .library import AUC, F1, R2, AveragePrecision, CalibrationError, CIndex

__all__ = ["AUC", "F1", "R2", "AveragePrecision", "CIndex", "CalibrationError", "Mean", "Whole"]

# the bounds of a share, and of a cross-entropy or a mean square
RATE, LOSS = Interval(0.0, 1.0), Interval(0.0)
MOST = 2**30  # bytes of outputs that are held for metrics of all of them
DEFINED = "defined"  # behind the name of a metric: is it a number?


@dataclass(frozen=True)
class Whole:
    """A metric of all outputs and targets at once:  function(outputs, targets) → a number, or (sum,
    denominator).

    NaN is for data on which it is not defined. `bound`: how large it can be, so that noise can hide
    it.
    """

    function: Callable[[Any, Any], Any]
    bound: Bound = math.inf

    def __call__(self, outputs: Any, targets: Any, **seen: Any) -> Any:
        """The number; a loss may see more than both."""
        found = self.function(outputs, targets, **seen)
        if not isinstance(found, tuple):
            return found
        total, count = found
        return total / count


@dataclass(frozen=True)
class Mean(Whole):
    """A metric that is a mean over examples:  function(outputs, targets) → the mean, a number for
    each example [n], or (sum, denominator).

    Of pieces of m rows it is Σ m·mean / Σ m, or Σ sum / Σ denominator where rows count differently:
    weighted classes, labels that are left out. As a loss it trains on sum / denominator.
    """

    def parts(self, outputs: Any, targets: Any, rows: int) -> tuple[Any, Any]:
        """(sum, denominator) of some rows."""
        found = self.function(outputs, targets)
        if isinstance(found, tuple):
            return found
        return rows * found, rows


# the ready ones are functions that know their bound
READY = (AUC, AveragePrecision, CalibrationError, CIndex, F1, R2)


def metric(given: Any) -> Whole:
    """What a caller writes for a metric: a ready one, a pair (function, bound), or a metric."""
    if isinstance(given, READY):
        return Whole(given, given.bound)
    if isinstance(given, tuple):
        return Whole(*given)
    return given  # type: ignore[no-any-return]


def faults(metrics: Any) -> Iterator[Fault]:
    """What is wrong with metrics that a caller gives, name → metric, if anything."""
    why = (
        "A metric has a function of outputs and targets, and a bound, which lets noise hide it; "
        "and the loss is always there."
    )
    instead = "Write metrics={'auc': hansa.metrics.AUC()}, or {'accuracy': (function, 1.0)}."
    named = metrics is None or hasattr(metrics, "items")
    yield not named, f"metrics={metrics!r}.", why, instead
    for name, given in (metrics or {}).items():
        good = name != "loss" and not str(name).endswith(DEFINED) and _is_metric(given)
        yield not good, f"metrics={{{name!r}: {given!r}}}.", why, instead


def _is_metric(given: Any) -> bool:
    if isinstance(given, READY):
        return True
    if isinstance(given, tuple) and len(given) == 2:
        given = Whole(*given)
    if not isinstance(given, Whole) or not callable(given.function):
        return False
    bound = given.bound
    return isinstance(bound, Interval) or (isinstance(bound, int | float) and bound > 0)


def bounds(metrics: Mapping[str, Whole]) -> dict[str, Bound]:
    """name → bound."""
    return {name: one.bound for name, one in metrics.items()}


def undefined(metrics: Mapping[str, Whole]) -> frozenset[str]:
    """Names of those that are not defined of all data: of a Whole nobody knows."""
    return frozenset(name for name, one in metrics.items() if not isinstance(one, Mean))


@dataclass
class Gathered:
    """What metrics need of outputs that come piece by piece.

    number   what a library gives for a metric → a sum in double precision
    join     pieces of outputs → all of them
    """

    metrics: Mapping[str, Whole]
    number: Callable[[Any], Any]
    join: Callable[[Sequence[Any]], Any]
    rows: int = 0
    _sums: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # name → (sum, denominator)
    _held: list[tuple[Any, Any]] = field(default_factory=list)  # (outputs, targets) of each piece
    _bytes: int = 0

    @property
    def holds(self) -> list[str]:
        """Names of those that need all outputs."""
        return [name for name, one in self.metrics.items() if not isinstance(one, Mean)]

    def add(self, outputs: Any, targets: Any) -> None:
        """Some rows more."""
        rows = len(targets)
        self.rows += rows
        for name, one in self.metrics.items():
            if isinstance(one, Mean):
                self.count(name, *one.parts(outputs, targets, rows))
        if self.holds:
            self.hold(outputs, targets)

    def count(self, name: str, total: Any, count: Any) -> None:
        """(sum, denominator) of some rows more, for a mean."""
        earlier, before = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = earlier + self.number(total), before + self.number(count)

    def hold(self, outputs: Any, targets: Any) -> None:
        """Outputs and targets of some rows more; DataError where they take too much."""
        self._held.append((outputs, targets))
        self._bytes += _bytes(outputs)
        if self._bytes > MOST:
            raise DataError(
                f"{', '.join(self.holds)} of these examples takes more than {MOST:,} bytes of "
                "outputs.",
                "Each is a function of all outputs at once, for hansa does not know it to be a "
                "mean over examples.",
                "If it is one, write hansa.metrics.Mean(function, bound), for a loss Mean(loss); "
                "else score fewer examples.",
            )

    def values(self) -> dict[str, float]:
        """name → its value; NaN where it is not defined."""
        whole = list(map(self.join, zip(*self._held, strict=True)))
        found = dict[str, float]()
        for name, one in self.metrics.items():
            if isinstance(one, Mean):
                found[name] = ratio(*self._sums[name])
            else:
                found[name] = self._of_all(one.function(*whole))
        return found

    def _of_all(self, value: Any) -> float:
        if isinstance(value, tuple):
            return ratio(*map(self.number, value))
        return float(self.number(value))


def ratio(total: Any, count: Any) -> float:
    """total / count; NaN of nothing."""
    if not count:
        return math.nan
    return float(total) / float(count)


def _bytes(outputs: Any) -> int:
    """How many bytes the arrays of outputs take."""
    if isinstance(outputs, Mapping):
        return sum(map(_bytes, outputs.values()))
    if isinstance(outputs, tuple | list):
        return sum(map(_bytes, outputs))
    return int(getattr(outputs, "nbytes", 0))
