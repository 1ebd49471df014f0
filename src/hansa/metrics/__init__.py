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
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..errors import DataError, Fault, PlanError, refuse
from ..spec import Bound, Interval, Vector
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
    everywhere: ClassVar[bool] = False  # is it defined of all data? Of a Whole nobody knows

    def __call__(self, outputs: Any, targets: Any, **seen: Any) -> Any:
        """The number; a loss may see more than both."""
        found = self.function(outputs, targets, **seen)
        if not isinstance(found, tuple):
            return found
        total, count = map(summed, found)
        return total / count


@dataclass(frozen=True)
class Mean(Whole):
    """A metric that is a mean over examples:  function(outputs, targets) → the mean, a number for
    each example [n], or (sum, denominator), each a number or one for each example.

    Of pieces of m rows it is Σ m·mean / Σ m, or Σ sum / Σ denominator where rows count differently:
    weighted classes, labels that are left out. As a loss it trains on sum / denominator.

    Where some data leaves it undefined, as 0 / 0 is, say everywhere=False: then a client without a
    value is left out of this mean, and not of all.
    """

    everywhere: bool = True  # type: ignore[misc]

    def parts(self, outputs: Any, targets: Any, rows: int) -> tuple[Any, Any]:
        """(sum, denominator) of some rows."""
        found = self.function(outputs, targets)
        if not isinstance(found, tuple):
            return rows * found, rows
        total, count = map(summed, found)
        return total, count


def summed(part: Any) -> Any:
    """A sum, or the sum of what is given for each example."""
    if hasattr(part, "sum"):
        return part.sum()
    return part


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
    """Has it a function and a bound, as a pair or as a metric?"""
    if isinstance(given, READY):
        return True
    if isinstance(given, tuple) and len(given) == 2:
        given = Whole(*given)
    if not isinstance(given, Whole) or not callable(given.function):
        return False
    bound = given.bound
    return isinstance(bound, Interval) or (isinstance(bound, int | float) and bound > 0)


def check_ready(metrics: Mapping[str, Whole], outputs: Any, targets: Any) -> None:
    """Raise DataError where a ready metric does not take such outputs or targets."""
    for one in metrics.values():
        if isinstance(one.function, READY):
            one.function(outputs, targets)


def check_probabilities(metrics: Mapping[str, Whole], loss: str) -> None:
    """Raise PlanError for ready metrics that would take for logits what this loss takes for
    probabilities.
    """
    wrong = [n for n, one in metrics.items() if getattr(one.function, "outputs", "") == "logits"]
    if wrong:
        kind = type(metrics[wrong[0]].function).__name__
        raise PlanError(
            f"{kind}() takes logits, and {loss} takes probabilities.",
            "Both get what the model gives.",
            f"Write {kind}(outputs='probabilities').",
        )


def bounds(metrics: Mapping[str, Whole]) -> dict[str, Bound]:
    """name → bound."""
    return {name: one.bound for name, one in metrics.items()}


def undefined(metrics: Mapping[str, Whole]) -> frozenset[str]:
    """Names of those that are not defined of all data."""
    return frozenset(name for name, one in metrics.items() if not one.everywhere)


class Measured(Mapping[str, Bound]):
    """The metrics of a model, name → bound, and how it measures them: `chosen` are those that its
    caller names, None where that is left to it.
    """

    def __init__(self, metrics: Mapping[str, Whole], chosen: Mapping[str, Any] | None):
        self.metrics = metrics
        self.chosen = chosen
        self.ready = {name: metric(one) for name, one in (chosen or {}).items()}

    @staticmethod
    def of(
        loss: Whole,
        usual: Mapping[str, Whole],
        given: Any,
        outputs: Callable[[Any], Any] = lambda z: z,
    ) -> Measured:
        """The loss, and what a caller names or else the usual ones; what is named gets `outputs` of
        what the model's own get. PlanError for what is none.

        Metrics of a model that is sent on are a Measured already, and stay what its caller named.
        """
        chosen = given
        if isinstance(given, Measured):
            chosen = given.chosen
        refuse(faults(chosen))
        found = Measured({"loss": loss, **usual}, chosen)
        if chosen is not None:
            of = {n: replace(one, function=_Of(one, outputs)) for n, one in found.ready.items()}
            found.metrics = {"loss": loss, **of}
        return found

    def __getitem__(self, name: str) -> Bound:
        return self.metrics[name].bound

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __repr__(self) -> str:
        return repr(self.chosen)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measured) and self.chosen == other.chosen

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: what the caller names; the rest is the model's."""
        return (self.chosen,)

    def gathered(self) -> Gathered:
        """What gathers outputs and targets in NumPy."""
        return Gathered(self.metrics, joined)


@dataclass(frozen=True)
class _Of:
    """A metric of outputs that a model's own metrics see in another form."""

    metric: Whole
    outputs: Callable[[Any], Any]

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """What its function gives."""
        return self.metric.function(self.outputs(outputs), targets)


def number(value: Any) -> float:
    """What a metric gives, as one number."""
    return float(np.asarray(value, np.float64).mean())


def joined(pieces: Sequence[Any]) -> Any:
    """All rows of arrays that came in pieces, or of lists and mappings of such.

    DataError where pieces have rows of other shapes.
    """
    first = pieces[0]
    if isinstance(first, Mapping):
        return {name: joined([piece[name] for piece in pieces]) for name in first}
    if isinstance(first, list | tuple):
        return [joined(column) for column in zip(*pieces, strict=True)]
    check_joined([np.shape(piece)[1:] for piece in pieces])
    return np.concatenate(pieces)


def some(outputs: Any, rows: Any) -> Any:
    """Some rows of an array, or of lists and mappings of such.

    rows: a slice, or an array of places or of yes and no.
    """
    if isinstance(outputs, Mapping):
        return {name: some(one, rows) for name, one in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [some(one, rows) for one in outputs]
    return outputs[rows]


def check_joined(shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise DataError for outputs of pieces that have other shapes, row by row."""
    if len(set(shapes)) > 1:
        raise DataError(
            f"The model gives outputs of shape {('n', *shapes[0])}, and of {('n', *shapes[-1])}.",
            "A metric of all outputs at once, and a loss that hansa does not know to be a mean, "
            "takes one array of them.",
            "Give examples of one length, or write hansa.metrics.Mean(function, bound) for what is "
            "a mean over examples, for a loss Mean(loss).",
        )


def groups(weights: Vector | None) -> Iterator[tuple[float, Any]]:
    """Each weight, and which rows have it; without weights all rows, of weight 1.

    Sums are kept apart by weight and put together at last, so that equal weights change no bit of a
    mean.
    """
    if weights is None:
        yield 1.0, slice(None)
        return
    for one in np.unique(weights):
        yield float(one), weights == one


def weighted(sums: Mapping[float, tuple[Any, ...]]) -> tuple[Any, ...]:
    """Sums over all examples, from those of each weight: Σ w·sum; as they are, where all have one
    weight, for then it says nothing.
    """
    if len(sums) == 1:
        return next(iter(sums.values()))
    each = [[weight * one for one in some] for weight, some in sorted(sums.items())]
    return tuple(map(sum, zip(*each, strict=True)))


@dataclass
class Gathered:
    """What metrics need of outputs that come piece by piece.

    join     pieces of outputs → all of them
    number   what a library gives for a metric → a sum in double precision
    take     some rows of outputs
    """

    metrics: Mapping[str, Whole]
    join: Callable[[Sequence[Any]], Any]
    number: Callable[[Any], Any] = number
    take: Callable[[Any, Any], Any] = some
    rows: int = 0
    # name → weight → (sum, denominator)
    _sums: dict[str, dict[float, tuple[Any, Any]]] = field(default_factory=dict)
    _held: list[tuple[Any, Any]] = field(default_factory=list)  # (outputs, targets) of each piece
    _bytes: int = 0

    @property
    def holds(self) -> list[str]:
        """Names of those that need all outputs."""
        return [name for name, one in self.metrics.items() if not isinstance(one, Mean)]

    def add(self, outputs: Any, targets: Any, weights: Vector | None = None) -> None:
        """Some rows more, maybe with the weight of each."""
        self.rows += _rows(targets)
        if weights is None:
            self._add(outputs, targets, 1.0)
        else:
            for weight, rows in groups(weights):
                self._add(self.take(outputs, rows), some(targets, rows), weight)
        if self.holds:
            check_weights(self.metrics, weights)
            self.hold(outputs, targets)

    def _add(self, outputs: Any, targets: Any, weight: float) -> None:
        """Rows of one weight: to the sums of means, and to what is held for the others."""
        for name, one in self.metrics.items():
            if isinstance(one, Mean):
                self.count(name, *one.parts(outputs, targets, _rows(targets)), weight)

    def count(self, name: str, total: Any, count: Any, weight: float = 1.0) -> None:
        """(sum, denominator) of some rows more of one weight, for a mean."""
        sums = self._sums.setdefault(name, {})
        earlier, before = sums.get(weight, (0.0, 0.0))
        sums[weight] = earlier + self.number(total), before + self.number(count)

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
                found[name] = ratio(*weighted(self._sums[name]))
            else:
                found[name] = self._of_all(one.function(*whole))
        return found

    def _of_all(self, value: Any) -> float:
        """A metric of all outputs, as one number."""
        if isinstance(value, tuple):
            return ratio(*(self.number(summed(part)) for part in value))
        return float(self.number(value))


def check_weights(metrics: Mapping[str, Whole], weights: Vector | None) -> bool:
    """Have examples weights? DataError where metrics of all of them know nothing of these."""
    names = undefined(metrics)
    if weights is not None and names:
        raise DataError(
            f"{', '.join(sorted(names))} counts all examples alike, and these have weights.",
            "It is a function of all outputs at once.",
            "Score on examples without weights, or take metrics that are means: "
            "hansa.metrics.Mean(function, bound), for a loss Mean(loss).",
        )
    return weights is not None


def ratio(total: Any, count: Any) -> float:
    """total / count; NaN of nothing.

    A mean of nothing is not defined, and is told apart from 0.
    """
    if not count:
        return math.nan
    return float(total) / float(count)


def _rows(targets: Any) -> int:
    """How many examples they are of; of several targets all have as many."""
    if isinstance(targets, Mapping):
        return _rows(list(targets.values()))
    if isinstance(targets, tuple | list):
        return _rows(targets[0])
    return len(targets)


def _bytes(outputs: Any) -> int:
    """How many bytes the arrays of outputs take."""
    if isinstance(outputs, Mapping):
        return sum(map(_bytes, outputs.values()))
    if isinstance(outputs, tuple | list):
        return sum(map(_bytes, outputs))
    return int(getattr(outputs, "nbytes", 0))
