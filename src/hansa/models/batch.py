"""The form in which a batch enters a network of another library, by position and by name, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..spec import Vector

Batch = tuple[Vector, ...] | Mapping[str, Vector]
Types = Mapping[str, np.dtype[Any]]  # kind and bytes of what there is, such as "f8" → the type that is wanted

FLOATS = dict.fromkeys(("f2", "f4", "f8", "f16"), np.dtype(np.float32))
INTEGERS = dict.fromkeys(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"), np.dtype(np.int64))

INPUTS: Types = FLOATS | INTEGERS | {"b1": np.dtype(bool), "u1": np.dtype(np.uint8), "i4": np.dtype(np.int32)}
LABELS: Types = FLOATS | INTEGERS
NUMBERS: Types = FLOATS | dict.fromkeys(INTEGERS, np.dtype(np.float32))


def parts(batch: Batch, targets: Types) -> tuple[tuple[Vector, ...], dict[str, Vector], Vector]:
    """Inputs by position, inputs by name, and targets, in the types that networks compute with.

    Of a tuple the last is the target. Of a dict it is "y"; a single other array goes in by position, several by name.
    Arrays come as they are where they are fit for it: C-contiguous and writable, float32, or integers.
    """
    if not isinstance(batch, Mapping):
        *inputs, y = batch
        return tuple([_fit(array, INPUTS) for array in inputs]), {}, _fit(y, targets)
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
    """The targets of a batch, as they are."""
    return np.asarray(batch["y"] if isinstance(batch, Mapping) else batch[-1])


def pieces(batch: Batch, rows: int) -> Iterator[Batch]:
    """The batch in pieces of at most `rows` examples, as views."""
    for i in range(0, len(target(batch)), rows):
        piece = slice(i, i + rows)
        if isinstance(batch, Mapping):
            yield {name: array[piece] for name, array in batch.items()}
        else:
            yield tuple([array[piece] for array in batch])


def logits(net: Any, inputs: Any, outputs: Any) -> Any:
    """What loss and metrics get of a network's outputs: their `logits`, where they have such, as Hugging Face's do."""
    return getattr(outputs, "logits", outputs)


def spelled(batch: Batch) -> str:
    """Names, shapes and types of a batch's arrays, for messages."""
    named = batch if isinstance(batch, Mapping) else {"inputs": batch[0], "targets": batch[-1]}
    return ", ".join(f"{name} {np.shape(array)} of {np.asarray(array).dtype}" for name, array in named.items())
