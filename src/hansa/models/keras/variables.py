"""Variables of Keras as NumPy arrays and as parts of a vector; Keras is not imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...rand import Key
from ...spec import Vector

Variable = Any  # keras.Variable, of whichever backend
Values = Sequence[tuple[Variable, Vector]]


def value(v: Variable) -> Vector:
    """A copy of what it holds; torch's bfloat16 as float32."""
    held = v.value.detach().cpu() if hasattr(v.value, "detach") else v.value
    held = held.float() if str(held.dtype) == "torch.bfloat16" else held
    return np.array(held.numpy() if hasattr(held, "numpy") else held)


def plain(v: Variable) -> Vector:
    """The same in a type that NumPy knows: bfloat16 as float32."""
    array = value(v)
    return array if array.dtype.kind in "biuf" else array.astype(np.float32)


def put(values: Iterable[tuple[Variable, Any]]) -> None:
    """Set variables."""
    for v, new in values:
        v.assign(new)


def size(v: Variable) -> int:
    """How many numbers it holds."""
    return int(np.prod(tuple(v.shape), dtype=np.int64))


def joined(variables: Sequence[Variable]) -> Vector:
    """What they hold, as one vector."""
    return np.concatenate([value(v).astype(np.float64).reshape(-1) for v in variables])


def cut(x: Vector, variables: Sequence[Variable]) -> Iterator[Vector]:
    """The parts of x in the shapes of these variables; x may go on after them."""
    i = 0
    for v in variables:
        yield np.asarray(x[i : i + size(v)], np.float32).reshape(tuple(v.shape))
        i += size(v)


def given(side: Any) -> Any:
    """Arrays, or several by name or position, in types that networks compute with."""
    if isinstance(side, Mapping):
        return {name: given(part) for name, part in side.items()}
    if isinstance(side, tuple):
        return [given(part) for part in side]
    return np.asarray(side, np.float32) if side.dtype.kind == "f" else np.asarray(side)


@contextmanager
def generator(backend: str, key: Key) -> Iterator[None]:
    """On the torch backend Keras' dropout draws from torch's own generator: seeded here, and given
    back.
    """
    if backend != "torch":
        yield
        return
    torch = sys.modules["torch"]
    with torch.random.fork_rng():
        torch.manual_seed(key.seed())
        yield


def by_path(weights: Iterable[Variable]) -> dict[str, Variable]:
    """All weights by their paths; of several with one path the second is PATH:1."""
    found: dict[str, Variable] = {}
    for v in weights:
        same = sum(name.split(":")[0] == v.path for name in found)
        found[f"{v.path}:{same}" if same else v.path] = v
    return found
