"""Single items of a dataset, as batches: what has `len()` and `[i]`, such as a torch Dataset.

An item is (x, y), of several inputs (a, b, y), or a dict with "y", "labels" or "label".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError
from ..spec import Vector
from .batches import Batch, Rows, as_batch, as_numpy, pick
from .foreign import columns


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a dataset, itself a dataset; none of them is read before it is asked for.

    rows   [m], in the order in which they are given
    """

    dataset: Any = field(repr=False)
    rows: Rows = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[int(self.rows[i])]


def collate(dataset: Any, rows: Rows) -> Batch:
    """Items of a dataset as one batch; DataError where they do not fit together.

    A Hugging Face dataset is read once, column by column. Of no rows a batch has the form of the
    first item.
    """
    if not len(rows):
        return pick(collate(dataset, np.arange(1)), slice(0))
    if isinstance(dataset, Part):
        return collate(dataset.dataset, dataset.rows[rows])
    if (read := columns(dataset, rows)) is not None:
        return as_batch(read)
    items = [dataset[int(row)] for row in rows]
    try:
        stacked = _stacked(items)
    except (ValueError, KeyError, TypeError) as reason:
        raise DataError(
            f"The items of the {type(dataset).__name__} do not fit into one batch: {reason}.",
            "All items need the same parts, and equal parts the same shape.",
            "Pad, crop or resize them in __getitem__, or give a DataLoader with a collate_fn.",
        ) from None
    return as_batch(stacked)


def _stacked(items: Sequence[Any]) -> Any:
    """Items part by part; the first item where they have no parts, to be refused."""
    first = items[0]
    if isinstance(first, Mapping):
        return {name: _stack([item[name] for item in items]) for name in first}
    if isinstance(first, tuple | list):
        return [_stack(column) for column in zip(*items, strict=True)]
    return first


def _stack(values: Sequence[Any]) -> Vector:
    """One part of m items, as an array [m, …]."""
    return np.stack([as_numpy(value) for value in values])
