"""Data sets of other libraries, known by what they can do; none of these libraries is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

INFINITE = -1  # tf.data.INFINITE_CARDINALITY


def columns(dataset: Any, rows: NDArray[np.int64]) -> Mapping[str, Any] | None:
    """Some rows of a Hugging Face dataset, column by column, in one read; None for any other
    dataset.
    """
    if hasattr(dataset, "with_format") and hasattr(dataset, "column_names"):
        found: Mapping[str, Any] = dataset.with_format("numpy")[rows]
        return found
    return None


def check_end(data: Any) -> None:
    """DataError for a tf.data pipeline that repeats for ever."""
    if callable(getattr(type(data), "cardinality", None)) and int(data.cardinality()) == INFINITE:
        raise DataError(
            f"The {type(data).__name__} repeats for ever.",
            "A client's examples are read to their end, to check and to count them.",
            "Leave .repeat() out; Training(epochs=…) or Training(steps=…) says how long to train.",
        )


def reshuffles(data: Any) -> bool:
    """Does this tf.data pipeline give other batches each time it is read?"""
    shuffles = "Shuffle" in type(data).__name__
    if shuffles and getattr(data, "_reshuffle_each_iteration", True) is not False:
        return True
    if not callable(getattr(type(data), "_inputs", None)):
        return False
    return any(map(reshuffles, data._inputs()))
