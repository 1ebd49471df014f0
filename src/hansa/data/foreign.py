"""Data sets of other libraries, known by what they can do; none of these libraries is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

INFINITE = -1  # tf.data.INFINITE_CARDINALITY


RAW = (None, "pandas", "polars", "arrow")  # formats of Hugging Face's that change no value


def columns(dataset: Any, rows: NDArray[np.int64]) -> Mapping[str, Any] | None:
    """Some rows of a Hugging Face dataset, column by column, in one read; None for any other.

    They are those of `dataset[i]`: in the columns and the format that its owner has chosen, and
    float64 where it gives that. None too where a transform is set, for what that makes of a row may
    depend on the rows beside it, and where the format has settings.
    """
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "column_names"):
        return None
    form = dataset.format
    if form["output_all_columns"] or form["format_kwargs"]:  # of which a transform is one
        return None
    chosen = form["columns"]
    double: list[str] = []
    if form["type"] in RAW:
        double = [name for name in chosen if "float64" in str(dataset.features[name])]
        dataset = dataset.with_format("numpy", columns=chosen)
    elif form["type"] == "numpy":  # of a row it leaves a single number as it is, and no array
        double = [name for name in chosen if _is_double(dataset.features[name])]
    found = dict(_read(dataset, rows))
    if double:  # which the format makes float32 of many rows
        found |= _read(dataset.with_format("numpy", columns=double, dtype=np.float64), rows)
    return found


def _is_double(feature: Any) -> bool:
    """Is it one float64 in each row?"""
    return getattr(feature, "dtype", "") == "float64" and not hasattr(feature, "shape")


def _read(dataset: Any, rows: NDArray[np.int64]) -> Mapping[str, Any]:
    """Some rows as the dataset's own format has them."""
    found: Mapping[str, Any] = dataset[rows]
    return found


def check_kind(data: Any) -> None:
    """DataError for what gives examples where batches belong, or batches where examples do.

    An example taken for a batch would count for as many as its vector has numbers.
    """
    kinds = {kind.__name__ for kind in type(data).__mro__}
    name = type(data).__name__
    if "PyDataset" in kinds:
        raise DataError(
            f"The {name} is a PyDataset of Keras.",
            "It gives batches by number, where a dataset gives examples.",
            "Give a function: lambda: (data[i] for i in range(len(data))).",
        )
    if "IterableDataset" in kinds:
        raise DataError(
            f"The {name} is an IterableDataset.",
            "It gives examples or batches, and nobody can tell which.",
            "Give DataLoader(data, batch_size=32), or batch_size=None where it gives batches.",
        )
    if getattr(data, "batch_sampler", "") is None and hasattr(type(data.dataset), "__len__"):
        raise DataError(
            f"The {name} has batch_size=None.",
            "It gives the items of its dataset one by one.",
            "Write batch_size=32, or give its .dataset; where items are batches, lambda: loader.",
        )
    if _gives_slices(data):
        raise DataError(
            f"The {name} gives examples one by one.",
            "A tf.data pipeline is read as a stream of batches.",
            "Write pipeline.batch(32); where its slices are batches, give lambda: pipeline.",
        )


def _gives_slices(data: Any) -> bool:
    """Does this tf.data pipeline give slices of tensors, which nothing on the way batches?"""
    name = type(data).__name__
    if "TensorSlice" in name or "Unbatch" in name:
        return True
    makes_batches = re.search("Batch|Window|Flat|Interleave", name)
    if makes_batches or not callable(getattr(type(data), "_inputs", None)):
        return False
    return any(map(_gives_slices, data._inputs()))


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
