"""Batches: a client's data, in whatever form its owner has it, as batches of NumPy arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..rand import Key
from ..training import Training
from .foreign import check_end, columns
from .inputs import flat, is_target, named_pair, several

Array = NDArray[Any]
Rows = NDArray[np.int64]
Batch = tuple[Array, ...] | dict[str, Array]

TARGETS = ("y", "labels", "label")  # the last two as Hugging Face's data and models call it
CHUNK_ROWS, CHUNK_BYTES = 4096, 2**26  # what is gathered or scored at once


# ── one form for all ──────────────────────────────────────────────────────────────────────────────


def kind_of(data: Any) -> Literal["arrays", "dataset", "stream"]:
    """Which of the three forms `data` has; a torch DataLoader is a stream."""
    form = type(data)
    if isinstance(data, Mapping):
        return "arrays"
    if isinstance(data, tuple | list):
        return (
            "arrays"
            if any(hasattr(part, "__array__") for part in data) or named_pair(data)
            else "stream"
        )
    if hasattr(form, "__array__"):
        raise DataError(
            f"The data is one {form.__name__}.",
            "Training needs to know which part of it is the target.",
            "Write (inputs, targets), or {'x': inputs, 'y': targets}.",
        )
    if hasattr(form, "__next__"):
        raise DataError(
            f"The data is a {form.__name__}, which can be read only once.",
            "Every round and every epoch reads the data from its start.",
            "Give the function that makes it: `data=batches` instead of `data=batches()`, or "
            "`lambda: batches(path)`.",
        )
    if (
        hasattr(form, "__len__")
        and hasattr(form, "__getitem__")
        and not isinstance(data, str | bytes)
    ):
        return "dataset"
    if (hasattr(form, "__iter__") or callable(data)) and not isinstance(
        data, str | bytes | set | frozenset
    ):
        return "stream"
    raise DataError(
        f"The data is a {form.__name__}: {str(data)[:60]!r}.",
        "It is none of the forms that data may have.",
        "Give (inputs, targets), a dict of arrays, a Dataset, a DataLoader, or a function that "
        "returns batches.",
    )


def _array(value: Any, name: str) -> Array:
    """`value` as NumPy sees it, without a copy where there need be none."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise DataError(
            f"{name}: a {type(value).__name__} that NumPy cannot read ({reason}).",
            "Batches travel as NumPy arrays.",
            "Convert it first, for example with np.asarray(…), or tensor.float().",
        ) from None
    if not hasattr(value, "__array__") or array.ndim == 0:
        raise DataError(
            f"{name}: a {type(value).__name__} stands where an array of examples should.",
            "Data is (inputs, targets), each with one row for each example; other tuples and lists "
            "are lists of such.",
            "Convert it with np.asarray(…) (np.stack for a list, x.toarray() if it is sparse; in "
            "tf.data .batch(32)).",
        )
    return array


def as_arrays(data: Any) -> Batch:
    """Arrays, or one batch of them, as NumPy; refused where no target can be told or the lengths
    differ.
    """
    data = flat(data)
    if isinstance(data, Mapping):
        target = next((name for name in TARGETS if name in data), "y")
        if sum(name == target or is_target(name) for name in data) in (0, len(data)):
            raise DataError(
                f"The data has the names {', '.join(map(str, data)) or '(none)'}.",
                "The target is called 'y', 'labels' or 'label'; all other names are inputs, and "
                "there must be one.",
                "Write {'x': inputs, 'y': targets}.",
            )
        batch: Batch = {
            "y" if k == target else str(k): _array(value, str(k)) for k, value in data.items()
        }
    elif isinstance(data, tuple | list) and len(data) >= 2:
        batch = tuple(_array(value, _name(i, len(data))) for i, value in enumerate(data))
    else:
        size = f" of length {len(data)}" if isinstance(data, tuple | list) else ""
        raise DataError(
            f"A {type(data).__name__}{size} stands where a batch should.",
            "A batch is (inputs, targets), or a dict of arrays with the target under 'y'.",
            "Let the data give (x, y), or {'x': x, 'y': y}; where there are no targets, (x, x).",
        )
    lengths = {name: len(column) for name, column in _named(batch).items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "Lengths differ: "
            + ", ".join(f"{name} has {n}" for name, n in lengths.items())
            + " rows.",
            "Row i of each array belongs to example i.",
            "Give arrays of equal length.",
        )
    return batch


def _name(i: int, parts: int) -> str:
    """What the i-th array of a tuple is called in messages."""
    return "targets" if i == parts - 1 else "inputs" if parts == 2 else f"inputs {i}"


def _named(batch: Batch) -> dict[str, Array]:
    if isinstance(batch, dict):
        return batch
    return {_name(i, len(batch)): column for i, column in enumerate(batch)}


def pick(batch: Batch, where: Rows | slice) -> Batch:
    """Some rows of each array: a view for a slice, a copy for indices."""
    if isinstance(batch, dict):
        return {name: column[where] for name, column in batch.items()}
    return tuple([column[where] for column in batch])


def length_of(batch: Batch) -> int:
    """How many examples a batch has."""
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch[-1])


def _row_bytes(batch: Batch) -> int:
    return (
        sum(math.prod(column.shape[1:]) * column.itemsize for column in _named(batch).values()) or 1
    )


def _collate(dataset: Any, rows: Rows) -> Batch:
    """Items of a dataset as one batch."""
    if not len(rows):
        return pick(_collate(dataset, np.arange(1)), slice(0))
    if isinstance(dataset, Part):
        return _collate(dataset.dataset, dataset.rows[rows])
    if (read := columns(dataset, rows)) is not None:
        return as_arrays(read)
    items = [dataset[int(row)] for row in rows]
    try:
        if isinstance(items[0], Mapping):
            return as_arrays({name: _stack([item[name] for item in items]) for name in items[0]})
        if isinstance(items[0], tuple | list):
            return as_arrays([_stack(column) for column in zip(*items, strict=True)])
    except (ValueError, KeyError, TypeError) as reason:
        raise DataError(
            f"The items of the {type(dataset).__name__} do not fit into one batch: {reason}.",
            "All items need the same parts, and equal parts the same shape.",
            "Pad, crop or resize them in __getitem__, or give a DataLoader with a collate_fn.",
        ) from None
    return as_arrays(items[0])


def _stack(values: Sequence[Any]) -> Array:
    return np.stack([np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for v in values])


def stream_of(data: Any) -> Iterator[Batch]:
    """The batches of a stream, from its start."""
    check_end(data)
    for batch in data if hasattr(type(data), "__iter__") else data():
        if length_of(arrays := as_arrays(batch)):  # the mean loss of an empty batch is no number
            yield arrays


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def count(data: Any) -> int:
    """How many examples `data` has; a stream is read once to tell, a DataLoader asked."""
    kind = kind_of(data)
    if kind == "arrays":
        return length_of(as_arrays(data))
    if kind == "dataset":
        return len(data)
    cut: Any = getattr(data, "batch_sampler", None)
    order: Any = getattr(cut, "sampler", None)
    if hasattr(type(order), "__len__"):
        n = len(order)
        return n - n % cut.batch_size if cut.drop_last else n
    return sum(map(length_of, stream_of(data)))


def batches(data: Any, training: Training, key: Key) -> Iterator[Any]:
    """The batches of one client's local training.

    Arrays and datasets are shuffled afresh in each epoch e by the permutation of key.child(e), and
    cut into `training.batch` rows (0 = all); streams keep their own order and sizes. There are
    `training.epochs` epochs, or exactly `training.steps` batches, from as many epochs as that
    takes; with `training.private`, those that it draws.
    """
    if training.private is not None:
        rows = training.draws(samplable(data), key)
        return map(
            partial(pick, as_arrays(data))
            if kind_of(data) == "arrays"
            else partial(_collate, data),
            rows,
        )
    epochs = itertools.count() if training.steps is not None else range(training.epochs)
    kind = kind_of(data)
    source = as_arrays(data) if kind == "arrays" else data
    every = itertools.chain.from_iterable(
        _epoch(source, kind, training.batch, key.child(epoch)) for epoch in epochs
    )
    return itertools.islice(every, training.steps)


def samplable(data: Any, who: str = "This client") -> int:
    """The number of examples, of data that single ones can be drawn from; DataError for a
    stream.
    """
    if kind_of(data) == "stream":
        raise DataError(
            f"{who}'s data is a {type(data).__name__}, a stream of batches.",
            "Noise for single examples counts on batches that each example is in at random, "
            "whatever the others are.",
            "Give arrays or a Dataset (for a DataLoader, its .dataset); batches are drawn from "
            "them.",
        )
    return count(data)


def _epoch(data: Any, kind: str, batch: int, key: Key) -> Iterator[Batch]:
    if kind == "stream":
        parts = stream_of(data)
    else:
        n = length_of(data) if kind == "arrays" else len(data)
        order = key.rng().permutation(n)
        rows = batch if 0 < batch < n else max(1, n)
        parts = _gathered(data, order, rows) if kind == "arrays" else _collated(data, order, rows)
    first = next(parts, None)
    if first is None:
        raise _nothing()
    yield first
    yield from parts


def _gathered(arrays: Batch, order: Rows, rows: int) -> Iterator[Batch]:
    """Slices of one gathered copy: as many batches at once as fit into CHUNK_BYTES, for a small
    client all of them.
    """
    block = rows * max(1, CHUNK_BYTES // (_row_bytes(arrays) * rows))
    for top in range(0, len(order), block):
        part = pick(arrays, order[top : top + block])
        for i in range(0, length_of(part), rows):
            yield pick(part, slice(i, i + rows))


def _collated(dataset: Any, order: Rows, rows: int) -> Iterator[Batch]:
    return (_collate(dataset, order[i : i + rows]) for i in range(0, len(order), rows))


def whole(data: Any) -> Iterator[Any]:
    """All examples once, in order, in pieces of at most 4096 rows; copies, so that no model can
    change the data.
    """
    kind = kind_of(data)
    if kind == "stream":
        yield from stream_of(data)
    elif kind == "arrays":
        arrays = as_arrays(data)
        yield from (pick(arrays, rows) for rows in _pieces(length_of(arrays), _row_bytes(arrays)))
    elif len(data):
        row = _row_bytes(_collate(data, np.arange(1)))
        yield from (_collate(data, rows) for rows in _pieces(len(data), row))


def _pieces(n: int, row_bytes: int) -> Iterator[Rows]:
    rows = min(CHUNK_ROWS, max(1, CHUNK_BYTES // row_bytes))
    return (np.arange(i, min(i + rows, n)) for i in range(0, n, rows))


def pair(batch: Batch) -> tuple[Any, Array]:
    """(inputs, targets) of a batch; several inputs stay a tuple, or a dict by name, and a single
    one is the array.
    """
    if not isinstance(batch, dict):
        return (batch[0] if len(batch) == 2 else batch[:-1]), batch[-1]
    if "y" not in batch:
        raise several(batch)
    inputs = {name: column for name, column in batch.items() if name != "y"}
    return (inputs if len(inputs) > 1 else next(iter(inputs.values()))), batch["y"]


def check(data: Any, who: str) -> int:
    """The number of examples, after one look at each of them.

    DataError, with `who`, for no examples, unequal lengths, values that are not finite or not
    numbers, a dict without "y", an iterator that can be read only once, or what is no data at all.
    """
    try:
        n = 0
        bad = dict[str, int]()
        first = dict[str, int]()
        for batch in whole(data):
            for name, column in _named(batch).items():
                wrong = _not_finite(column, name)
                if wrong.size:
                    bad[name] = bad.get(name, 0) + wrong.size
                    first.setdefault(name, n + int(wrong[0]))
            n += length_of(batch)
        if n == 0:
            raise _nothing()
        for name in bad:
            raise DataError(
                f"{bad[name]} of {n} rows of {name} hold NaN or infinity, the first in row "
                f"{first[name]}.",
                "One such value makes the client's whole update useless, and with it the sum.",
                "Leave these rows out (keep = np.isfinite(…)), or fill in the missing values.",
            )
        return n
    except DataError as error:
        raise DataError(f"{who}: {error.found}", error.why, error.instead) from None


def _not_finite(column: Array, name: str) -> Rows:
    """The rows that hold NaN or infinity."""
    if column.dtype.kind not in "biuf":
        raise DataError(
            f"{name} has type {column.dtype}.",
            "A model computes with real numbers.",
            "Give classes as numbers from 0 in an order that all clients share, categories "
            "one-hot, times as "
            "seconds, numbers kept as text with x.astype(np.float32).",
        )
    if column.dtype.kind != "f" or np.isfinite(column).all():
        return np.empty(0, np.int64)
    return np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(1))


def _nothing() -> DataError:
    return DataError(
        "There are no examples.",
        "Nothing can be learnt from none, and a function must start a new iterator at each call.",
        "Leave this client out, or look at how its data is read.",
    )


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a dataset, itself a dataset."""

    dataset: Any = field(repr=False)
    rows: Rows = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        return self.dataset[int(self.rows[i])]


def examples_at_a_glance(parts: Iterable[Any]) -> str:
    """So many examples, of all parts; nothing where that cannot be seen at a glance, for no data is
    read to tell it.
    """
    total = 0
    for data in parts:
        columns = (
            list(data.values())
            if type(data) is dict
            else data
            if type(data) in (tuple, list)
            else [data]
        )
        if not columns or not all(type(column) is np.ndarray and column.ndim for column in columns):
            return ""
        total += max(map(len, columns))
    return f"{total} examples"
