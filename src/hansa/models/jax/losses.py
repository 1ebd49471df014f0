"""Losses of optax and of JaxModel, known by name, and what is measured beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...spec import Vector
from ..checks import check_range, check_shapes


def accuracy(outputs: Any, targets: Any) -> Any:
    """1 where the target is the largest of the outputs [n, …, classes], for labels [n, …] and
    one-hot targets.

    Floats, so that their mean is the share of right ones: [n, …].
    """
    right = targets if targets.ndim < outputs.ndim else targets.argmax(-1)
    return (outputs.argmax(-1) == right) * 1.0


def binary(outputs: Any, targets: Any) -> Any:
    """1 where the output is positive and the target 1, or neither.

    Outputs are logits, and targets 0, 1 or shares between, of one shape [n, …].
    """
    return ((outputs > 0) == (targets > 0.5)) * 1.0


# by the names that optax gives to losses, and JaxModel's own
ACCURACY: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(
        ("softmax_cross_entropy_with_integer_labels", "softmax_cross_entropy", "cross_entropy"),
        accuracy,
    ),
    "sigmoid_binary_cross_entropy": binary,
}


def known(loss: Any) -> str:
    """The name of a loss of optax or of JaxModel's file; "" for any other.

    A partial counts as its function: what it fixes is no other loss.
    """
    if isinstance(loss, partial):
        loss = loss.func
    home = str(getattr(loss, "__module__", ""))
    if home.split(".")[0] != "optax" and home != "hansa.models.jax":
        return ""
    return str(getattr(loss, "__name__", ""))


def fit(loss: str, outputs: Any, y: Vector, who: str) -> None:
    """Raise DataError for targets that a known loss cannot compare with such outputs.

    Of other losses nothing is known, and they are only tried.
    """
    measure = ACCURACY.get(loss)
    if measure is accuracy and outputs.ndim == y.ndim + 1:
        check_range(y, outputs.shape[-1], who)
    elif measure is binary:
        check_shapes(outputs.shape, y, who)
        check_range(y, 2, who)
