"""The form in which a batch enters a network of another library, by position and by name, and what
comes out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from ..spec import Vector

Batch = tuple[Vector, ...] | Mapping[str, Vector]
# kind and bytes of what there is, such as "f8" → the type that is wanted
Types = Mapping[str, np.dtype[Any]]

FLOATS = dict.fromkeys(("f2", "f4", "f8", "f16"), np.dtype(np.float32))
INTEGERS = dict.fromkeys(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"), np.dtype(np.int64))

INPUTS: Types = (
    FLOATS | INTEGERS | {"b1": np.dtype(bool), "u1": np.dtype(np.uint8), "i4": np.dtype(np.int32)}
)
LABELS: Types = FLOATS | INTEGERS
NUMBERS: Types = FLOATS | dict.fromkeys(INTEGERS, np.dtype(np.float32))


def parts(batch: Batch, targets: Types) -> tuple[tuple[Vector, ...], dict[str, Vector], Vector]:
    """Inputs by position, inputs by name, and targets, in the types that networks compute with.

    Of a tuple the last is the target. Of a dict it is "y"; a single other array goes in by
    position, several by name. Arrays come as they are where they are fit for it: C-contiguous and
    writable, float32, or integers.
    """
    if not isinstance(batch, Mapping):
        *inputs, y = batch
        return tuple([_fit(array, INPUTS) for array in inputs]), {}, _fit(y, targets)
    if "y" not in batch:
        raise several(batch)
    named = {name: _fit(array, INPUTS) for name, array in batch.items() if name != "y"}
    y = _fit(batch["y"], targets)
    return (tuple(named.values()), {}, y) if len(named) == 1 else ((), named, y)


def _fit(array: Vector, types: Types) -> Vector:
    array = np.asarray(array)
    wanted = types.get(array.dtype.str[1:], array.dtype)
    if array.dtype == wanted and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, wanted, order="C")


def target(batch: Batch) -> Vector:
    """The targets of a batch, as they are; of several the first."""
    name = next(filter(is_target, batch)) if isinstance(batch, Mapping) else -1
    return np.asarray(batch[name])  # type: ignore[index]


def pieces(batch: Batch, rows: int) -> Iterator[Batch]:
    """The batch in pieces of at most `rows` examples, as views."""
    for i in range(0, len(target(batch)), rows):
        yield taken(batch, slice(i, i + rows))


def taken(batch: Batch, rows: Any) -> Batch:
    """Rows of the batch: views for a slice, copies for indices."""
    if isinstance(batch, Mapping):
        return {name: array[rows] for name, array in batch.items()}
    return tuple([array[rows] for array in batch])


def logits(net: Any, inputs: Any, outputs: Any) -> Any:
    """What loss and metrics get of a network's outputs: their `logits`, where they have such, as
    Hugging Face's do.
    """
    return getattr(outputs, "logits", outputs)


def spelled(batch: Batch) -> str:
    """Names, shapes and types of a batch's arrays, for messages."""
    named = batch if isinstance(batch, Mapping) else {"inputs": batch[0], "targets": batch[-1]}
    return ", ".join(
        f"{name} {np.shape(array)} of {np.asarray(array).dtype}" for name, array in named.items()
    )


# ── several inputs, several targets ───────────────────────────────────────────────────────────────


def named_pair(data: Any) -> bool:
    """Is it ({"age": …, …}, {"price": …, …}): inputs and targets, several of each, and either by
    name?
    """
    named = [isinstance(part, Mapping) and not any(map(is_target, part)) for part in data]
    return (
        len(data) == 2
        and any(named)
        and all(so or _several(part) for so, part in zip(named, data, strict=True))
    )


def is_target(name: Any) -> bool:
    """Is this the name of a target?"""
    return name == "y" or str(name).startswith("y.")


def flat(pair: Any) -> Any:
    """A pair with several inputs or targets as one dict or tuple; what is none, as it is."""
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        return pair
    inputs, targets = pair
    nested = [isinstance(side, Mapping) or _several(side) for side in pair]
    if not any(nested):
        return pair
    if not isinstance(inputs, Mapping) and not nested[1]:
        return (*inputs, targets)
    if isinstance(targets, Mapping):
        targets = {f"y.{name}": column for name, column in targets.items()}
    return _by_name(inputs, "x") | _by_name(targets, "y")


def _by_name(side: Any, name: str) -> dict[str, Any]:
    if isinstance(side, Mapping):
        return dict(side)
    return (
        {f"{name}.{i}": column for i, column in enumerate(side)} if _several(side) else {name: side}
    )


def _several(side: Any) -> bool:
    return isinstance(side, tuple | list) and any(hasattr(part, "__array__") for part in side)


def several(names: Any) -> DataError:
    """What a model of a single target says to data with several."""
    return DataError(
        f"The data has the targets {', '.join(map(str, filter(is_target, names)))}.",
        "This model is trained on one target, called 'y'.",
        "Choose one, or stack them into one array; KerasModel takes several.",
    )


def sides(batch: Batch, outputs: int = 1) -> tuple[Any, Any]:
    """(inputs, targets) of a batch for a model with so many outputs: each an array, or several as a
    tuple or a dict.
    """
    if not isinstance(batch, Mapping):
        return _side(batch[:-outputs]), _side(batch[-outputs:])
    inputs = {name: column for name, column in batch.items() if not is_target(name)}
    return _side(inputs), _side(
        {name[2:]: column for name, column in batch.items() if is_target(name)}
    )


def _side(columns: Any) -> Any:
    listed = tuple(columns.values()) if isinstance(columns, dict) else columns
    if len(listed) == 1:
        return listed[0]
    counted = isinstance(columns, dict) and all(
        name.removeprefix("x.").isdigit() for name in columns
    )
    return listed if counted else columns
