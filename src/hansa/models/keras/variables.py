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
    """A copy of what it holds; torch's bfloat16 as float32.

    A copy in NumPy, of whichever backend: JAX's and TensorFlow's arrays are read by NumPy itself,
    PyTorch's are detached and brought to the CPU.
    """
    held = v.value
    if hasattr(held, "detach"):
        held = held.detach().cpu()
    if str(held.dtype) == "torch.bfloat16":
        held = held.float()
    if hasattr(held, "numpy"):
        held = held.numpy()
    return np.array(held)


def plain(v: Variable) -> Vector:
    """The same in a type that NumPy knows: bfloat16 as float32."""
    array = value(v)
    if array.dtype.kind in "biuf":
        return array
    return array.astype(np.float32)


def put(values: Iterable[tuple[Variable, Any]]) -> None:
    """Set variables."""
    for v, new in values:
        v.assign(new)


def size(v: Variable) -> int:
    """How many numbers it holds."""
    return int(np.prod(tuple(v.shape), dtype=np.int64))


def joined(variables: Sequence[Variable]) -> Vector:
    """What they hold, as one vector.

    In float64 and row by row, in their order [Σ size].
    """
    return np.concatenate([value(v).astype(np.float64).reshape(-1) for v in variables])


def cut(x: Vector, variables: Sequence[Variable]) -> Iterator[Vector]:
    """The parts of x in the shapes of these variables; x may go on after them.

    In float32, which Keras casts where a weight has another type.
    """
    i = 0
    for v in variables:
        yield np.asarray(x[i : i + size(v)], np.float32).reshape(tuple(v.shape))
        i += size(v)


def given(side: Any) -> Any:
    """Arrays, or several by name or position, in types that networks compute with.

    Floating-point numbers become float32; whole ones stay, for embeddings and labels.
    """
    if isinstance(side, Mapping):
        return {name: given(part) for name, part in side.items()}
    if isinstance(side, tuple):
        return [given(part) for part in side]
    if side.dtype.kind == "f":
        return np.asarray(side, np.float32)
    return np.asarray(side)


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
        name = v.path
        if same:
            name = f"{v.path}:{same}"
        found[name] = v
    return found
