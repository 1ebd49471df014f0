"""Single items of a dataset, as batches: what has `len()` and `[i]`, such as a torch Dataset, or a
list of examples.

An item is (x, y), of several inputs (a, b, y) or ((a, b), y), or a dict with "y", "labels" or
"label". What `dataset[i]` gives is the data, whatever else the dataset holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError
from .batches import Batch, Rows, as_batch, as_numpy, flat, pick
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

    A Hugging Face dataset without a transform is read once, column by column. Of no rows a batch
    has the form of the first item.
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


def listed(data: Sequence[Any]) -> Sequence[Any]:
    """A list of examples, as a dataset; DataError for what may be something else.

    list(dataset) has tuples or dicts. list(loader) has lists, which are batches.
    """
    alike = isinstance(data, list) and all(isinstance(one, tuple | Mapping) for one in data)
    if data and not alike:
        inner = ", ".join(sorted({type(one).__name__ for one in data}))
        raise DataError(
            f"The data is a {type(data).__name__} of {inner}.",
            "Examples in a list are tuples (x, y), or dicts with the target as 'y'; anything else "
            "may be inputs and targets, or batches.",
            f"{ARRAYS}; {BATCHES}.",
        )
    if data and _like_a_batch(flat(data[0])):
        raise DataError(
            f"The first of {len(data)} items of the list may be one example, or a batch of many.",
            "All that it holds has the same first dimension, and some of it has two or more.",
            f"{ARRAYS}; {BATCHES}.",
        )
    return data


ARRAYS = "Stack examples into arrays, (np.stack(inputs), np.stack(targets))"
BATCHES = "for batches give a function, lambda: batches"


def _like_a_batch(item: Any) -> bool:
    """Do all of its arrays have one and the same first dimension, and one of them another?"""
    parts = item
    if isinstance(item, Mapping):
        parts = item.values()
    shapes: list[tuple[int, ...]] = [getattr(part, "shape", ()) for part in parts]
    if not all(shapes) or max(map(len, shapes), default=0) < 2:
        return False
    return len({shape[0] for shape in shapes}) == 1


def _stacked(items: Sequence[Any]) -> Any:
    """Items part by part, to any depth; the first item where they have no parts, to be refused."""
    first = items[0]
    if isinstance(first, Mapping | tuple | list):
        return _parts(items)
    return first


def _parts(items: Sequence[Any]) -> Any:
    """Mappings or sequences as one, of the stacks of their parts."""
    first = items[0]
    if isinstance(first, Mapping):
        return {name: _stack([item[name] for item in items]) for name in first}
    return tuple([_stack(column) for column in zip(*items, strict=True)])


def _stack(values: Sequence[Any]) -> Any:
    """One part of m items, as an array [m, …]; where it has parts itself, as so many arrays."""
    first = values[0]
    listed = isinstance(first, tuple | list) and any(getattr(one, "shape", ()) for one in first)
    if isinstance(first, Mapping) or listed:
        return _parts(values)
    return np.stack([as_numpy(value) for value in values])
