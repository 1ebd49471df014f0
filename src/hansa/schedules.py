"""Schedules: the learning rate by round, as a factor on that of the training.

    η of a round = learning_rate · schedule(round, rounds)          round: 0 … rounds − 1

Any function of the two will do that gives a positive number. A round's rate hangs on nothing else,
so a run that is resumed, or trained by other workers, has the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .errors import number, refuse

Factor: TypeAlias = Callable[[int, int], float]  # (round, rounds) → factor on the learning rate


class Schedule:
    """A schedule that is a value: a subclass has a repr, and a config knows it by its name."""

    def __call__(self, round: int, rounds: int) -> float:
        """The factor in a round (0 for the first) of so many."""
        raise TypeError(f"{type(self).__name__} does not say what the learning rate is")


@dataclass(frozen=True)
class Cosine(Schedule):
    """m + (1 − m)(1 + cos(π t/T))/2:  from 1 down towards m   (Loshchilov and Hutter 2017, eq. 5).

    t = round, T = rounds, m = `least`. The last round is still above m, as its t is T − 1.
    """

    least: float = 0.0

    def __post_init__(self) -> None:
        low = self.least
        _check(self, number(low) and 0 <= low < 1, "`least` is a share of the rate", "least=0.0")

    def __call__(self, round: int, rounds: int) -> float:
        """The factor."""
        half = (1 + math.cos(math.pi * round / rounds)) / 2
        return self.least + (1 - self.least) * half


@dataclass(frozen=True)
class StepDecay(Schedule):
    """fᵏ, k = ⌊round / every⌋:  lower by the factor f after each so many rounds."""

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        rounds = number(self.every, whole=True) and self.every >= 1
        share = number(self.factor) and 0 < self.factor <= 1
        _check(self, rounds, "`every` counts rounds", "every=10")
        _check(self, share, "`factor` is a share of the rate, above 0", "every=10, factor=0.1")

    def __call__(self, round: int, rounds: int) -> float:
        """The factor."""
        return float(self.factor ** (round // self.every))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """(round + 1)/(W + 1) in the first W rounds, then 1, or what `then` says of the rounds left.

    W = `rounds`   (Goyal et al. 2017, §2.2, a linear warm-up from below). `then` counts from 0
    again: then(round − W, rounds − W).
    """

    rounds: int
    then: Factor | None = None

    def __post_init__(self) -> None:
        wide = number(self.rounds, whole=True) and self.rounds >= 1
        _check(self, wide, "`rounds` counts rounds", "rounds=5")
        named = self.then is None or (callable(self.then) and not isinstance(self.then, type))
        _check(self, named, "`then` is another schedule", "rounds=5, then=Cosine()")

    def __call__(self, round: int, rounds: int) -> float:
        """The factor."""
        if round < self.rounds:
            return (round + 1) / (self.rounds + 1)
        if self.then is None:
            return 1.0
        return self.then(round - self.rounds, rounds - self.rounds)


def _check(schedule: Schedule, fits: bool, what: str, instead: str) -> None:
    """PlanError where a value does not fit."""
    name = type(schedule).__name__
    found = f"{schedule!r} is no schedule of a learning rate."
    refuse([(not fits, found, f"{what}.", f"Write for example {name}({instead}).")])


def check_factors(schedule: Factor, rounds: int) -> float:
    """The largest factor of all rounds; PlanError where one is no rate to train at."""
    factors = [schedule(round, rounds) for round in range(rounds)]
    refuse(
        (
            not (number(factor) and 0 < factor < math.inf),
            f"{schedule!r} gives {factor!r} in round {round + 1} of {rounds}.",
            "It is a factor on the learning rate, and no step is taken at a rate that is not "
            "positive.",
            "Write a schedule that stays above 0, such as Cosine(least=0.01).",
        )
        for round, factor in enumerate(factors)
    )
    return max(factors)
