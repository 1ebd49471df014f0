"""What models are scored on: one set of examples that no client has, or one of each name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Any

from .. import data as local
from ..data import Examples, Sites, Source
from ..errors import AppError, DataError, HansaError
from ..models import Model
from ..spec import Vector
from .compare import Row, pooled

ONE = "test"  # what a single set is called in messages


@dataclass(frozen=True)
class TestSets:
    """Examples to score a model on, by name; sources among them are read when they are needed.

    named: is it a set of each name, and not a single one?
    """

    sets: Mapping[str, Any] = field(repr=False)
    named: bool = False

    def __len__(self) -> int:
        return len(self.sets)

    @cached_property
    def whole(self) -> Examples:
        """All of them together: the central test."""
        sets = [self.of(name) for name in self.sets]
        if not self.named:
            return sets[0]
        return pooled(sets)

    def of(self, name: str) -> Examples:
        """One set, read and parsed; DataError where its reader fails."""
        return Examples.of(self._read(name), self._called(name))

    def _read(self, name: str) -> Any:
        """The data of one set in the form that it has; DataError where its reader fails."""
        try:
            return local.loaded(self.sets[name])
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"{self._called(name)} cannot be read: {type(error).__name__}: {error}",
                "Models are scored on it after every round.",
                "Put it there, mend what reads it, or leave it out of App(test=…).",
            ) from error

    def problems(self, model: Model | None) -> Iterator[HansaError]:
        """What keeps a model from being scored on each of them; without a model, from being
        read.
        """
        for name in self.sets:
            try:
                found = self.of(name)
                if model is not None:
                    takes = model.takes
                    local.check(found, self._called(name), takes.missing, takes.endless)
                    model.check(found, self._called(name))
            except HansaError as error:
                yield error

    def score(self, model: Model, x: Vector) -> dict[str, float]:
        """The scores of a model with the vector x [size] on all of them together, by metric; none
        where there are no sets.
        """
        if not self.sets:
            return {}
        return model.score(x, self.whole)

    def rows(self, model: Model, x: Vector) -> list[Row]:
        """How a model does on named sets: on the worst, in the median, on average, on all together.

        The worst has the largest loss; of a model without one, the lowest of its first score.
        """
        if not self.named:
            return []
        scored = {name: model.score(x, self.of(name)) for name in self.sets}
        sizes = {name: len(self.of(name)) for name in self.sets}
        worst = worst_first(scored)[0]
        every = list(scored.values())
        total = sum(sizes.values())
        return [
            Row(f"worst: {worst}", sizes[worst], scored[worst]),
            Row("median", total, of_each_metric(median, every)),
            Row("mean", total, of_each_metric(fmean, every)),
            Row("all together", total, model.score(x, self.whole)),
        ]

    def _called(self, name: str) -> str:
        """What a set is called in messages."""
        if not self.named:
            return ONE
        return f"{ONE} of {name}"


def of_each_metric(
    summary: Callable[[list[float]], Any], scores: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """One number of several scores, such as their median, for each metric by itself: of those that
    are defined; NaN where none is.
    """
    found = dict[str, float]()
    for metric in scores[0]:
        defined = [one[metric] for one in scores if not math.isnan(one[metric])]
        found[metric] = float(summary(defined)) if defined else math.nan
    return found


def weighted_means(
    scores: Sequence[Mapping[str, float]], weights: Sequence[float]
) -> dict[str, float]:
    """The mean for each metric by itself, over the scores that are defined; NaN where none is."""
    found = dict[str, float]()
    for metric in scores[0]:
        pairs = [(one[metric], w) for one, w in zip(scores, weights, strict=True)]
        defined = [(value, w) for value, w in pairs if not math.isnan(value)]
        total = sum(w for _, w in defined)
        found[metric] = sum(value * w for value, w in defined) / total if total else math.nan
    return found


def worst_first(scored: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names by how badly they score: the largest loss first, or without one the lowest first
    score.
    """

    def badness(name: str) -> float:
        scores = scored[name]
        return scores["loss"] if "loss" in scores else -next(iter(scores.values()))

    return sorted(scored, key=badness, reverse=True)


def sets_of(test: Any, data: Any) -> TestSets:
    """The test sets that `App(test=…)` names, none of which is read.

    One set is data in any form, or a path that is read as the clients' own are. Sites, and a dict
    whose values are data or paths, are one set of each name. A dict of arrays is one set; AppError
    where a dict could be taken for both.
    """
    if test is None:
        return TestSets({})
    if isinstance(test, Sites):
        return TestSets(test, named=True)
    if not isinstance(test, Mapping):
        return TestSets({ONE: _source(test, data)})
    columns = [str(name) for name, value in test.items() if _column(value)]
    if len(columns) == len(test):
        return TestSets({ONE: test})
    sets = [str(name) for name in test if str(name) not in columns]
    if columns:
        raise AppError(
            f"App(test={{…}}) holds arrays as {', '.join(columns)}, and examples as "
            f"{', '.join(sets)}.",
            "It is one set, a dict of arrays with the targets as 'y', or the examples of each "
            "name, and not both.",
            "Write test={'x': X, 'y': y} for one set, or test={'north': (X, y), 'south': (X, y)} "
            "for several.",
        )
    return TestSets({str(name): _source(value, data) for name, value in test.items()}, named=True)


def _source(test: Any, data: Any) -> Any:
    """A path as a source, and data as it is."""
    if not isinstance(test, str | Path):
        return test
    if isinstance(data, Sites):
        return data.at(test)
    raise AppError(
        f"App(test={str(test)!r}) with data that is no Sites.",
        "A path is read by the function that reads the clients' own.",
        "Write data=hansa.Sites(read, …), or test=read(…).",
    )


def _column(value: Any) -> bool:
    """Is it an array of a dict of arrays, and not the examples of somebody?"""
    return hasattr(value, "__array__") and not isinstance(value, Source)
