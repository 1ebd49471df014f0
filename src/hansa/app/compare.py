"""The comparison: each client alone, and all data pooled, by the code that trains the federation.

It says what joining is worth to a client, and what is lost by not putting all data in one place.
"""

from __future__ import annotations

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
from ..transforms.weigh import Weigh

OUTSIDE = (
    "Outside ε: these numbers are computed from each client's own examples, without the noise of "
    "the sums, and ε does not count them. Keep them where the examples are."
)


@dataclass(frozen=True)
class Row:
    """A line of a table of scores: what data, how many examples, and a model's scores.

    scores: by metric. outside: do noise or a budget hide the examples? ε does not count what is
    told of them here.
    """

    name: str
    examples: int
    scores: Mapping[str, float]
    outside: bool = False


def trained_alone(plan: Plan, who: str, data: Examples) -> Vector:
    """The model [size] that the plan gives with a single client, and no noise.

    No federated algorithm trains it; trees are appended whoever grows them.
    """
    training = replace(plan.training, validation=0.0, report=False)
    more: dict[str, Any] = {}
    if not plan.model.grows:
        more = {"algorithm": FedAvg(), "aggregator": Sum()}
    plan = replace(plan, pipe=(Weigh("one"),), training=training, sample=Everyone(), **more)
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
