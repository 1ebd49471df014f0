"""A batch: NumPy arrays with a row for each example, in a tuple or a dict, and what is read as one.

(inputs, …, targets)                       of a tuple the last array is the target
{"age": …, "scan": …, "y": …}              of a dict "y"
{"age": …, "y.price": …, "y.kind": …}      several targets are "y." and their name
{"x": …, "y": …, "sample_weight": …}       how much each example counts, beside the others
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..spec import Vector
from . import frames

Rows = NDArray[np.int64]
Batch = tuple[Vector, ...] | dict[str, Vector]

TARGETS = ("y", "labels", "label")  # the last two as Hugging Face's data and models call it
TARGET = "targets"  # of a tuple, in messages
WEIGHT = "sample_weight"


# ── what a batch holds ────────────────────────────────────────────────────────────────────────────


def columns(batch: Batch) -> Sequence[Vector]:
    """Its arrays in their order, each [n, …]."""
    if isinstance(batch, dict):
        return list(batch.values())
    return batch


def alike(batch: Batch, arrays: Iterable[Vector]) -> Batch:
    """Other arrays in the form of this batch: with its names, where it has names."""
    if isinstance(batch, dict):
        return dict(zip(batch, arrays, strict=True))
    return tuple(arrays)


def named(batch: Batch) -> dict[str, Vector]:
    """Its arrays, each by what it is called in messages."""
    if isinstance(batch, dict):
        return batch
    return {_name(i, len(batch)): column for i, column in enumerate(batch)}


def _name(i: int, parts: int) -> str:
    """What the i-th array of a tuple is called."""
    if i == parts - 1:
        return TARGET
    if parts == 2:
        return "inputs"
    return f"inputs {i}"


def length(batch: Batch) -> int:
    """How many examples it has."""
    return len(columns(batch)[-1])


def row_bytes(batch: Batch) -> int:
    """How many bytes an example takes; 1 at least."""
    return sum(math.prod(a.shape[1:]) * a.itemsize for a in columns(batch)) or 1


def pick(batch: Batch, rows: Rows | slice) -> Batch:
    """Some rows of each array: views for a slice, copies for indices."""
    if isinstance(batch, dict):
        return {name: column[rows] for name, column in batch.items()}
    return tuple([column[rows] for column in batch])


def spread(batch: Batch, rows: int) -> Batch:
    """At most so many rows, spread evenly over the order of their targets, so that the least and
    the largest are among them.
    """
    n = length(batch)
    order = np.lexsort(target(batch).reshape(n, -1)[:, :8].T)
    return pick(batch, order[np.unique(np.linspace(0, n - 1, min(n, rows)).astype(np.int64))])


def pieces(batch: Batch, rows: int) -> Iterator[Batch]:
    """The batch in pieces of at most so many rows, as views."""
    for i in range(0, length(batch), rows):
        yield pick(batch, slice(i, i + rows))


def joined(batches: Sequence[Batch]) -> Batch:
    """All examples of batches that are alike, as one batch of copies; ValueError where their shapes
    do not fit.
    """
    listed = zip(*map(columns, batches), strict=True)
    return alike(batches[0], map(np.concatenate, listed))


def is_target(name: Any) -> bool:
    """Is this the name of a target?"""
    return name == "y" or str(name).startswith("y.")


def target(batch: Batch) -> Vector:
    """Its targets [n, …], as they are; of several the first."""
    if isinstance(batch, Mapping):
        return np.asarray(batch[next(filter(is_target, batch))])
    return np.asarray(batch[-1])


def weighed(batch: Batch) -> tuple[Batch, Vector | None]:
    """The batch without its weights, and these [n]; None where all examples count alike."""
    if not isinstance(batch, dict) or WEIGHT not in batch:
        return batch, None
    return {name: column for name, column in batch.items() if name != WEIGHT}, batch[WEIGHT]


def relative(weights: Vector | None) -> Vector | None:
    """Weights over their mean, so that a mean of what they weigh is Σ wᵢ lᵢ / Σ wᵢ; None where they
    are equal.
    """
    if weights is None or (weights == weights[0]).all():
        return None
    return np.asarray(weights / weights.mean(dtype=np.float64))


def check_unweighed(batch: Batch) -> None:
    """DataError for weights of examples, where a model has no place for them."""
    if WEIGHT in batch:
        raise DataError(
            f"The data has {WEIGHT!r}, how much each example counts.",
            "This model counts all examples alike, and would pass them over.",
            "Take a model of hansa's, or leave them out.",
        )


def mass(batch: Batch) -> float:
    """What a batch counts beside others: its examples, or their weights."""
    _, weights = weighed(batch)
    return length(batch) if weights is None else float(weights.sum(dtype=np.float64))


def pair(batch: Batch) -> tuple[Any, Vector]:
    """(inputs, targets) of a batch: one input is an array, several are a tuple, or a dict by name.

    DataError where there are several targets, or weights of examples, which `weighed` takes out.
    """
    if not isinstance(batch, dict):
        *inputs, y = batch
        return _single(tuple(inputs)), y
    if "y" not in batch:
        raise several(batch)
    check_unweighed(batch)
    return _single({name: column for name, column in batch.items() if name != "y"}), batch["y"]


def _single(arrays: Any) -> Any:
    """One array as itself, and several as they are."""
    if len(arrays) > 1:
        return arrays
    return columns(arrays)[0]


def several(names: Any) -> DataError:
    """What a model of a single target says to data with several."""
    return DataError(
        f"The data has the targets {', '.join(map(str, filter(is_target, names)))}.",
        "This model is trained on one target, called 'y'.",
        "Choose one, or stack them into one array; KerasModel takes several.",
    )


def spelled(batch: Batch) -> str:
    """Names, shapes and types of a batch's arrays, for messages."""
    spoken = batch
    if not isinstance(spoken, Mapping):
        spoken = {"inputs": batch[0], "targets": batch[-1]}  # type: ignore[index]
    return ", ".join(
        f"{name} {np.shape(array)} of {np.asarray(array).dtype}" for name, array in spoken.items()
    )


# ── what is read as a batch ───────────────────────────────────────────────────────────────────────


def as_batch(data: Any) -> Batch:
    """Arrays as a batch, not copied where they need not be.

    data   NumPy arrays, tensors, data frames or columns of them: anything with `__array__`, in a
           tuple or a list of two or more, or by name

    DataError where no target can be told, the lengths differ, NumPy cannot read one of them, or a
    column of a data frame is no number.
    """
    arrays = flat(data)
    batch: Batch
    if isinstance(arrays, Mapping):
        batch = _by_target(arrays)
    elif isinstance(arrays, tuple | list) and len(arrays) >= 2:
        names = [_name(i, len(arrays)) for i in range(len(arrays))]
        batch = tuple([_array(value, name) for value, name in zip(arrays, names, strict=True)])
    else:
        size = f" of length {len(arrays)}" if isinstance(arrays, tuple | list) else ""
        raise DataError(
            f"A {type(arrays).__name__}{size} stands where a batch should.",
            "A batch is (inputs, targets), or a dict of arrays with the target under 'y'.",
            "Let the data give (x, y), or {'x': x, 'y': y}; where there are no targets, (x, x).",
        )
    lengths = {name: len(column) for name, column in named(batch).items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise DataError(
            f"Lengths differ: {listed} rows.",
            "Row i of each array belongs to example i.",
            "Give arrays of equal length.",
        )
    return batch


def _by_target(arrays: Mapping[Any, Any]) -> dict[str, Vector]:
    """Arrays by name, with the target as "y"."""
    y = next((name for name in TARGETS if name in arrays), "y")
    answers = sum(name == y or is_target(name) for name in arrays)
    if answers in (0, len(arrays) - (WEIGHT in arrays)):
        raise DataError(
            f"The data has the names {', '.join(map(str, arrays)) or '(none)'}.",
            "The target is called 'y', 'labels' or 'label'; all other names are inputs, and "
            "there must be one.",
            "Write {'x': inputs, 'y': targets}.",
        )
    found = {str(name): _array(value, str(name)) for name, value in arrays.items()}
    return {"y" if name == y else name: array for name, array in found.items()}


def _array(value: Any, name: str) -> Vector:
    """A value as NumPy sees it, without a copy where there need be none; DataError for a number or
    a list.
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    if (numbers := frames.as_numbers(value, name)) is not None:
        return numbers
    try:
        array = as_numpy(value)
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
            "Convert it with np.asarray(…) (np.stack for a list, x.toarray() if it is sparse, "
            "x.collect() of a LazyFrame; in tf.data .batch(32)).",
        )
    return array


def column_names(data: Any) -> dict[str, list[str]]:
    """What the columns of its data frames are called: array of the batch → their names."""
    arrays = flat(data)
    if not isinstance(arrays, Mapping):
        arrays = {_name(i, len(arrays)): value for i, value in enumerate(arrays)}
    found = {str(name): [of for of, _ in frames.columns(one)] for name, one in arrays.items()}
    return {name: names for name, names in found.items() if names}


def as_numpy(value: Any) -> Vector:
    """A value as NumPy sees it: a tensor without its gradients, from wherever it is."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


# ── several inputs, several targets ───────────────────────────────────────────────────────────────


def is_pair_by_name(data: Any) -> bool:
    """Is it ({"age": …, …}, {"price": …, …}): several inputs and targets, and either by name?"""
    if len(data) != 2 or (isinstance(data, list) and _same_names(*data)):
        return False
    by_name = [isinstance(side, Mapping) and not any(map(is_target, side)) for side in data]
    whole = [so or _listed(side) for so, side in zip(by_name, data, strict=True)]
    return any(by_name) and all(whole)


def _same_names(a: Any, b: Any) -> bool:
    """Are these two mappings with the same names, as two examples of a list are?"""
    return isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys()


def flat(data: Any) -> Any:
    """A pair with several inputs or targets as one dict or tuple; what is none, as it is.

    ((a, b), y)                     →  (a, b, y)
    ({"age": a}, {"price": p})      →  {"age": a, "y.price": p}
    ({"age": a}, (p, q))            →  {"age": a, "y.0": p, "y.1": q}
    """
    if not (isinstance(data, tuple | list) and len(data) == 2):
        return data
    inputs, targets = data
    nested = [isinstance(side, Mapping) or _listed(side) for side in data]
    if not any(nested):
        return data
    if not isinstance(inputs, Mapping) and not nested[1]:
        return (*inputs, targets)
    if isinstance(targets, Mapping):
        targets = {f"y.{name}": column for name, column in targets.items()}
    return _by_name(inputs, "x") | _by_name(targets, "y")


def _by_name(side: Any, name: str) -> dict[str, Any]:
    """One side of a pair by name: several without names are counted, one is called `name`."""
    if isinstance(side, Mapping):
        return dict(side)
    if _listed(side):
        return {f"{name}.{i}": column for i, column in enumerate(side)}
    return {name: side}


def _listed(side: Any) -> TypeGuard[Sequence[Any]]:
    """Are these several arrays, one behind the other?"""
    return isinstance(side, tuple | list) and any(hasattr(part, "__array__") for part in side)
