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
    """
    right = targets if targets.ndim < outputs.ndim else targets.argmax(-1)
    return (outputs.argmax(-1) == right) * 1.0


def binary(outputs: Any, targets: Any) -> Any:
    """1 where the output is positive and the target 1, or neither."""
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
    """The name of a loss of optax or of JaxModel's file; "" for any other."""
    plain = loss.func if isinstance(loss, partial) else loss
    home = str(getattr(plain, "__module__", ""))
    return (
        str(getattr(plain, "__name__", ""))
        if home.split(".")[0] == "optax" or home == "hansa.models.jax"
        else ""
    )


def fit(loss: str, outputs: Any, y: Vector, who: str) -> None:
    """Raise DataError for targets that a known loss cannot compare with such outputs."""
    measure = ACCURACY.get(loss)
    if measure is accuracy and outputs.ndim == y.ndim + 1:
        check_range(y, outputs.shape[-1], who)
    elif measure is binary:
        check_shapes(outputs.shape, y, who)
        check_range(y, 2, who)
