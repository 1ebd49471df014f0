"""The form in which a batch enters a network of another library, by position and by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..spec import Vector
from .batches import Batch, check_unweighed, is_target, several

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
    check_unweighed(batch)
    named = {name: _fit(array, INPUTS) for name, array in batch.items() if name != "y"}
    y = _fit(batch["y"], targets)
    if len(named) == 1:
        return tuple(named.values()), {}, y
    return (), named, y


def _fit(array: Vector, types: Types) -> Vector:
    array = np.asarray(array)
    wanted = types.get(array.dtype.str[1:], array.dtype)
    if array.dtype == wanted and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, wanted, order="C")


def sides(batch: Batch, outputs: int = 1) -> tuple[Any, Any]:
    """(inputs, targets) of a batch for a model with so many outputs: each an array, or several as a
    tuple or a dict.
    """
    if not isinstance(batch, Mapping):
        return _side(batch[:-outputs]), _side(batch[-outputs:])
    check_unweighed(batch)
    inputs = {name: column for name, column in batch.items() if not is_target(name)}
    targets = {name[2:]: column for name, column in batch.items() if is_target(name)}
    return _side(inputs), _side(targets)


def _side(columns: Any) -> Any:
    """A single array as itself, and what is named by numbers as a tuple."""
    if not isinstance(columns, dict):
        return columns[0] if len(columns) == 1 else columns
    listed = tuple(columns.values())
    if len(listed) == 1:
        return listed[0]
    counted = all(name.removeprefix("x.").isdigit() for name in columns)
    return listed if counted else columns
