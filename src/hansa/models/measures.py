"""What is measured beside a loss that is known by name, for one example; on arrays of any library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..spec import Bound, Interval, Vector
from . import faults

RATE, LOSS = Interval(0.0, 1.0), Interval(0.0)  # the bounds of a share, and of a cross-entropy or a mean square


def accuracy(outputs: Any, targets: Any) -> Any:
    """1 where the target is the largest of the outputs [n, …, classes], for labels [n, …] and one-hot targets."""
    right = targets if targets.ndim < outputs.ndim else targets.argmax(-1)
    return (outputs.argmax(-1) == right) * 1.0


def binary(outputs: Any, targets: Any) -> Any:
    """1 where the output is positive and the target 1, or neither."""
    return ((outputs > 0) == (targets > 0.5)) * 1.0


ACCURACY: dict[str, Callable[[Any, Any], Any]] = {  # by the names that optax gives to losses, and JaxModel's own
    **dict.fromkeys(("softmax_cross_entropy_with_integer_labels", "softmax_cross_entropy", "cross_entropy"), accuracy),
    "sigmoid_binary_cross_entropy": binary,
}


def bounds(loss: bool, metrics: Mapping[str, tuple[Any, Bound]]) -> dict[str, Bound]:
    """Of metrics name → (function, bound), the bounds, with that of the loss: is it one that is never negative?"""
    return {"loss": LOSS if loss else math.inf} | {name: bound for name, (_, bound) in metrics.items()}


def known(loss: Any) -> str:
    """The name of a loss of optax or of JaxModel's file; "" for any other."""
    plain = loss.func if isinstance(loss, partial) else loss
    home = str(getattr(plain, "__module__", ""))
    return str(getattr(plain, "__name__", "")) if home.split(".")[0] == "optax" or home == "hansa.models.jax" else ""


def fit(loss: str, outputs: Any, y: Vector, who: str) -> None:
    """Raise DataError for targets that a known loss cannot compare with such outputs."""
    measure = ACCURACY.get(loss)
    if measure is accuracy and outputs.ndim == y.ndim + 1:
        faults.labels(y, outputs.shape[-1], who)
    elif measure is binary:
        faults.shapes(outputs.shape, y, who)
        faults.labels(y, 2, who)


def counted(parts: Iterable[Any]) -> str:
    """So many examples, of all parts; nothing where that cannot be seen at a glance, for no data is read to tell it."""
    total = 0
    for data in parts:
        columns = list(data.values()) if type(data) is dict else data if type(data) in (tuple, list) else [data]
        if not columns or not all(type(column) is np.ndarray and column.ndim for column in columns):
            return ""
        total += max(map(len, columns))
    return f"{total} examples"
