"""The comparison: each client alone, and all data pooled, by the code that trains the federation.

It says what joining is worth to a client, and what is lost by not putting all data in one place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ..aggregators import Sum
from ..algorithms import FedAvg
from ..data import Examples
from ..data.batches import joined
from ..errors import DataError
from ..loops.synchronous import synchronous
from ..parties.client import Client
from ..plan import Plan
from ..runtimes.inprocess import InProcess
from ..sample import Everyone
from ..spec import Vector
from ..training import Training
from ..transforms.weigh import Weigh

OUTSIDE = (
    "Outside ε: these numbers are computed from each client's own examples, without the noise of "
    "the sums, and ε does not count them. Keep them where the examples are."
)


@dataclass(frozen=True)
class Row:
    """A line of a table of scores: what data, how many examples, and a model's scores.

    scores: by metric. outside: do noise or a budget hide the examples? ε does not count what is
    told of them here. passes: how often the training went over these examples; NaN where nobody
    knows.
    """

    name: str
    examples: int
    scores: Mapping[str, float]
    outside: bool = False
    passes: float = math.nan


@dataclass(frozen=True)
class Fair:
    """Trainings of single models that go over their examples as often as the federation does.

        turns = rounds · (clients asked on average) / clients          how often each is asked
        passes = turns · epochs,   or   turns · steps · b / n          over n examples, b a batch

    Epochs, steps and b are the client's own, where it has such.

    Alone a client trains for so many rounds. One model on all data does, too, with as many steps in
    each as give every example as many passes, on average.
    """

    plan: Plan
    sizes: Mapping[str, int]  # client → examples
    done: int  # rounds of the federation

    @property
    def rounds(self) -> int:
        """The turns, as a whole number."""
        clients = len(self.sizes)
        turns = self.done * self.plan.sample.expected(clients) / clients
        return max(1, round(turns))

    @property
    def all_at_once(self) -> Training:
        """How one model on all data trains in each round."""
        training = self.plan.training
        if training.steps is None and not training.by_client:
            return training
        alone = sum(_gone_over(self.alone(who), n) for who, n in self.sizes.items())
        b, _ = training.counts(sum(self.sizes.values()))
        return replace(training, by_client=(), steps=max(1, round(alone / b)))

    def alone(self, who: str) -> Training:
        """How a client trains."""
        return self.plan.training.of(who, self.sizes[who])

    def passes(self, training: Training, n: int) -> float:
        """How often so many examples are gone over, in all rounds."""
        return self.rounds * _gone_over(training, n) / n

    @property
    def mean_passes(self) -> float:
        """That of the federation, for an example, on average."""
        total = sum(n * self.passes(self.alone(who), n) for who, n in self.sizes.items())
        return total / sum(self.sizes.values())


def _gone_over(training: Training, n: int) -> int:
    """How many examples the batches of a training hold, of n that there are."""
    if training.steps is None:
        return training.epochs * n
    return training.steps * training.counts(n)[0]


def trained_alone(
    plan: Plan, who: str, data: Examples, rounds: int, training: Training | None = None
) -> Vector:
    """The model [size] that the plan gives in so many rounds with a single client, and no noise.

    No federated algorithm trains it; trees are appended whoever grows them.
    """
    training = replace(training or plan.training, validation=0.0, report=False)
    more: dict[str, Any] = {}
    if not plan.model.traits.grows:
        more = {"algorithm": FedAvg(), "aggregator": Sum()}
    plan = replace(plan, pipe=(Weigh("one"),), training=training, sample=Everyone(), **more)
    plan = replace(plan, rounds=rounds)
    for state in synchronous(plan, InProcess([Client(who, plan, data)])):
        x = state.x
    return x


def pooled(parts: Sequence[Examples]) -> Examples:
    """All examples of several clients as one client's: arrays joined in memory; streams one after
    another, unread.

    DataError where some have other parts than others.
    """
    owned = [part.given for part in parts]
    if any(callable(one) or not hasattr(one, "__getitem__") for one in owned):
        return Examples.of(lambda: chain.from_iterable(part.whole() for part in parts))
    batches = [batch for part in parts for batch in part.whole()]
    kinds = {tuple(batch) if isinstance(batch, dict) else len(batch) for batch in batches}
    if len(kinds) != 1:
        raise DataError(
            "The clients' data has several forms.",
            "Only like data can be pooled.",
            "Run with --no-compare.",
        )
    return Examples.of(joined(batches))
