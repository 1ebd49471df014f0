"""Bounds on what a model measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..spec import Bound, Interval

# the bounds of a share, and of a cross-entropy or a mean square
RATE, LOSS = Interval(0.0, 1.0), Interval(0.0)


def bounds(loss: bool, metrics: Mapping[str, tuple[Any, Bound]]) -> dict[str, Bound]:
    """Of metrics name → (function, bound), the bounds, with that of the loss: is it one that is
    never negative?
    """
    return {"loss": LOSS if loss else math.inf} | {
        name: bound for name, (_, bound) in metrics.items()
    }
