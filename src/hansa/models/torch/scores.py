"""What a net in eval mode gives for all examples: loss and metrics, and features.

A few rows go through it at a time, so memory does not grow with the number of examples but by what
a metric of all of them holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...data.batches import Batch, pieces, spread, target, weighed
from ...data.examples import Examples
from ...metrics import Gathered, Whole
from ...spec import Vector
from ..checks import check_apart, check_some
from .losses import joined, mean
from .seen import Objective, passed, plain
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
    """The loss and the other metrics of all examples.

    In pieces of SCORED rows; a metric that is no mean gets all outputs, which are held until then.
    """
    found = Gathered(objective.metrics(metrics), joined, mean, plain)
    for batch in _some(data):
        batch, weights = weighed(batch)
        inputs, named, y = tensors(batch)
        found.add(objective.give(net, inputs, named), y, weights)
    check_some(found.rows)
    return found.values()


def predicted(net: nn.Module, tensors: Tensors, data: Examples) -> Any:
    """What a net gives for each example [n, …]; outputs as they are where they are no tensor."""
    found = []
    for batch in _some(data):
        inputs, named, _ = tensors(weighed(batch)[0])
        outputs, _ = passed(net, inputs, named, "")
        if not isinstance(outputs, Tensor):
            return outputs
        found.append(np.atleast_1d(outputs.double().cpu().numpy()))
    check_some(len(found))
    return np.concatenate(found)


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
    net: nn.Module,
    objective: Objective,
    tensors: Tensors,
    whole: Batch,
    who: str,
    near: bool = False,
) -> None:
    """Raise DataError where the loss of some examples is not the mean of each one's; `near` the
    start it may be no number.

    As many rows as ALONE says, spread over the batch; DataError names the client.
    """
    some = spread(whole, ALONE)
    loss, *alone = [float(objective(net, *tensors(one))) for one in (some, *pieces(some, 1))]
    if not near or math.isfinite(loss):
        check_apart(loss, alone, who)


def _some(data: Examples) -> Iterator[Batch]:
    """All examples, some at a time."""
    for whole in data.whole():
        yield from pieces(whole, SCORED)
