"""What a net in eval mode gives for all examples: loss and metrics, and features.

A few rows go through it at a time, so memory does not grow with the number of examples but by what
a metric of all of them holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch import nn

from ...data.batches import Batch, length, pick, pieces, target
from ...data.examples import Examples
from ...metrics import Gathered, Whole
from ...spec import Vector
from ..checks import check_apart, check_some
from .losses import joined, mean
from .seen import Objective, passed
from .tensors import Tensors

SCORED = 256  # rows that go through the net at once
ALONE = 16  # rows that go through one by one, to see whether the loss takes each for itself


def scored(
    net: nn.Module,
    objective: Objective,
    metrics: Mapping[str, Whole],
    tensors: Tensors,
    data: Examples,
) -> dict[str, float]:
    """The loss and the other metrics of all examples."""
    found = Gathered(objective.metrics(metrics), mean, joined)
    for batch in _some(data):
        inputs, named, y = tensors(batch)
        found.add(objective.give(net, inputs, named), y)
    check_some(found.rows)
    return found.values()


def represented(
    net: nn.Module, part: str, tensors: Tensors, data: Examples
) -> tuple[Vector, Vector]:
    """What a part of the net gives for each example, as one row [n, width]; and the targets."""
    found = []
    targets = []
    for batch in _some(data):
        inputs, named, _ = tensors(batch)
        _, rows = passed(net, inputs, named, part)
        assert rows is not None
        found.append(rows.double().cpu().numpy())
        targets.append(target(batch))
    check_some(len(found))
    return np.concatenate(found), np.concatenate(targets)


def check_alone(
    net: nn.Module, objective: Objective, tensors: Tensors, whole: Batch, who: str
) -> None:
    """Raise DataError where the loss of some examples is not the mean of each one's."""
    n = length(whole)
    some = np.unique(np.linspace(0, n - 1, min(n, ALONE)).astype(np.int64))
    rows = [some, *(some[i : i + 1] for i in range(len(some)))]
    losses = [float(objective(net, *tensors(pick(whole, one)))) for one in rows]
    check_apart(losses[0], losses[1:], who)


def _some(data: Examples) -> Iterator[Batch]:
    """All examples, some at a time."""
    for whole in data.whole():
        yield from pieces(whole, SCORED)
