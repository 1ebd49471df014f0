"""Local training as a few blocks of equal batches, for models whose whole training is one compiled
loop.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rand import Key
from ..spec import Vector
from ..training import PerExample, Training
from .batches import Batch, Rows, alike, columns, joined, length, pick, relative, row_bytes, weighed
from .examples import Examples

# bytes in a block, batches it has room for; where XLA reads arrays in place
MOST, LEAST, ALIGNED = 2**26, 16, 64
KEPT = 2**23  # bytes of an array that is worth keeping: new memory costs more than filling it


@dataclass(frozen=True)
class Block:
    """Batches one behind the other: arrays [room, rows, …], of which the first `steps` are batches.

    Batch i has `sizes[i]` examples; the rows behind them repeat its last one. `room` is a power of
    two, 16 or more, so that clients of different size share a compiled program; what lies behind
    the steps is never read. `weights` [room, rows] say how much each example counts: as it is given
    with PerExample, else over the mean of its batch; None where all count alike.
    """

    arrays: Batch
    sizes: NDArray[np.int32]
    steps: int
    weights: Vector | None = None


@dataclass(frozen=True)
class Layout:
    """Where arrays of these shapes lie in a vector, one behind the other."""

    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def places(self) -> list[slice]:
        """The part of the vector that each array has."""
        ends = itertools.accumulate(map(math.prod, self.shapes))
        return [
            slice(end - math.prod(shape), end) for shape, end in zip(self.shapes, ends, strict=True)
        ]

    def split(self, x: Vector) -> list[Vector]:
        """The arrays of x, copied to float32."""
        found = [aligned(shape) for shape in self.shapes]
        for array, place in zip(found, self.places, strict=True):
            array.reshape(-1)[:] = x[place]
        return found

    def join(self, found: Iterable[Any]) -> Vector:
        """The vector of such arrays."""
        x = np.empty(self.places[-1].stop)
        for place, array in zip(self.places, found, strict=True):
            x[place] = np.asarray(array).ravel()
        return x


def power(n: int) -> int:
    """The least power of two that is n or more."""
    return 1 << max(0, n - 1).bit_length()


def blocks(
    data: Examples,
    training: Training,
    key: Key,
    padded: bool,
    more: int = 0,
    kept: dict[Any, Vector] | None = None,
) -> Iterator[Block]:
    """The batches of `data.batches`, in the same order, as blocks of at most 64 MB.

    `padded`: a batch that is shorter than the others is filled up with copies of its last row;
    otherwise it makes a block of its own, of its own shape. `more`: bytes that each batch takes
    besides. `kept`: arrays of earlier blocks, to be written over, where each block is done with
    before the next is asked for. Samples for PerExample are always padded.
    """
    whole = data.arrays
    plan = picked
    if training.private is not None:
        data.samplable()
        whole = whole or joined(list(data.whole()))
        plan = _sampled
    if whole is None or not length(whole):
        yield from _stacked(data.drawn(training, key), training, padded)
        return
    row = row_bytes(whole)
    whole, weights = weighed(whole)
    for rows, sizes in plan(length(whole), training, key, padded):
        most = _room(row * rows.shape[1] + more)
        for i in range(0, len(rows), most):
            to = {} if kept is None else kept  # new memory for each, where none may be written over
            some = rows[i : i + most]
            block = _gathered(whole, some, sizes[i : i + most], to)
            if weights is not None:
                each = [weights[of[:m]] for of, m in zip(some, block.sizes, strict=False)]
                block = replace(block, weights=_counts(block, each, training))
            yield block


def lengthened(batch: Batch, rows: int) -> Batch:
    """The batch with copies of its last row behind it."""
    return pick(batch, np.minimum(np.arange(rows), length(batch) - 1))


def _room(batch_bytes: int) -> int:
    """How many batches a block may have, a power of two."""
    return 1 << (max(1, MOST // max(1, batch_bytes)).bit_length() - 1)


def ordered(data: Examples, training: Training, key: Key) -> Iterator[Rows]:
    """The rows of `data.batches` [batches, rows], some batches of one size at a time, of data that
    is arrays.
    """
    n = len(data)
    if not n:
        next(data.batches(training, key))  # raises DataError, for there are none
    yield from (rows for rows, _ in picked(n, training, key, padded=False))


def picked(n: int, training: Training, key: Key, padded: bool) -> Iterator[tuple[Rows, Rows]]:
    """The rows of batches [batches, rows], and how many of them count; all at once where batches
    are padded.
    """
    cut = training.sizes(n)
    each = len(cut)  # batches in an epoch
    left = training.steps or training.epochs * each
    orders = (key.child(epoch).rng().permutation(n) for epoch in range(-(-left // each)))
    if padded:
        sizes = np.array(cut)
        starts = np.cumsum(sizes) - sizes
        width = _width(n, training)
        places = starts[:, None] + np.minimum(np.arange(width), sizes[:, None] - 1)
        rows = np.concatenate([order[places] for order in orders])
        yield rows[:left], np.tile(sizes, len(rows) // each)[:left]
        return
    full = cut.count(cut[0])
    for order in orders:
        for some in (cut[:full], cut[full:]):
            if some and left:
                part = order[: sum(some)]
                order = order[sum(some) :]
                rows = part.reshape(-1, some[0])[:left]
                left -= len(rows)
                yield rows, np.full(len(rows), some[0])


def _width(n: int, training: Training) -> int:
    """How many rows a padded batch has: one number for clients of many sizes."""
    size = min(training.batch or n, n)
    if size == n:
        return min(power(n), training.batch or power(n))
    if training.last == "merge":
        return size + size // 2
    return size


def _sampled(n: int, training: Training, key: Key, padded: bool) -> Iterator[tuple[Rows, Rows]]:
    """The rows that `data.batches` draws for PerExample, and how many of each step; the rest
    is row 0.
    """
    b, steps = training.counts(n)
    drawn = [
        np.flatnonzero(key.child("sample", step).uniform((n,)) < b / n) for step in range(steps)
    ]
    rows = np.zeros((steps, power(max(map(len, drawn)))), np.int64)
    for place, part in zip(rows, drawn, strict=True):
        place[: len(part)] = part
    yield rows, np.array([len(part) for part in drawn])


def noises(block: Block, private: PerExample, size: int, key: Key, first: int) -> Vector:
    """What PerExample adds in each step of a block [room, size], of which `first` steps came
    before.
    """
    noise = aligned((len(block.sizes), size))
    for i in range(block.steps):
        noise[i] = private.drawn((size,), key.child("noise", first + i))
    return noise


def _gathered(whole: Batch, rows: Rows, sizes: Rows, kept: dict[Any, Vector]) -> Block:
    """Rows of the data, copied once: to where they will be read."""

    def gather(i: int, array: Vector) -> Vector:
        shape = max(LEAST, power(len(rows))), rows.shape[1], *array.shape[1:]
        block = kept.get(which := (i, shape, array.dtype.str))
        if block is None:
            block = aligned(shape, array.dtype)
            if block.nbytes <= KEPT:
                kept[which] = block
        if block.dtype == array.dtype:
            np.take(array, rows, axis=0, out=block[: len(rows)], mode="clip")
        else:
            block[: len(rows)] = array[rows]
        return block

    arrays = [gather(i, array) for i, array in enumerate(columns(whole))]
    return Block(alike(whole, arrays), _sizes(sizes), len(rows))


def _counts(block: Block, weights: Sequence[Vector], training: Training) -> Vector | None:
    """The weights of a block's rows, of those of each batch."""
    each: Sequence[Vector | None] = weights
    if training.private is None:
        each = [relative(one) for one in weights]
    if all(one is None for one in each):
        return None
    found = aligned(columns(block.arrays)[0].shape[:2])
    found[:] = 1
    for place, one in zip(found, each, strict=False):
        if one is not None:
            place[: len(one)] = one
    return found


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> Vector:
    """An empty array that XLA reads in place; of float32 where the type is another float."""
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.kind == "f":
        dtype = np.dtype(np.float32)
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return np.asarray(raw[start : start + size].view(dtype).reshape(shape))


def _sizes(sizes: Any) -> NDArray[np.int32]:
    """Sizes of batches, filled up to a power of two."""
    filled = np.ones(max(LEAST, power(len(sizes))), np.int32)
    filled[: len(sizes)] = sizes
    return filled


def _stacked(batches: Iterator[Batch], training: Training, padded: bool) -> Iterator[Block]:
    """Batches that come one by one, as blocks: each of batches that are alike in shape, or no
    larger than the first.
    """
    held: list[Batch] = []
    for batch in batches:
        row = sum(array.nbytes for array in columns(batch)) // length(batch) or 1
        if held and not (
            _fits(held[0], batch, padded) and len(held) < _room(row * length(held[0]))
        ):
            yield _stack(held, training)
            held = []
        held.append(batch)
    if held:
        yield _stack(held, training)


def _fits(first: Batch, batch: Batch, padded: bool) -> bool:
    """May `batch` lie in one block with `first`?"""
    n = length(first)
    m = length(batch)
    pairs = zip(columns(first), columns(batch), strict=True)
    return (m == n or (padded and m < n)) and all(
        a.shape[1:] == b.shape[1:] and a.dtype == b.dtype for a, b in pairs
    )


def _stack(held: list[Batch], training: Training) -> Block:
    """All as long as the first."""
    sizes = [length(batch) for batch in held]
    plain, weights = zip(*map(weighed, held), strict=True)

    def stack(parts: tuple[Vector, ...]) -> Vector:
        block = aligned((max(LEAST, power(len(parts))), *parts[0].shape), parts[0].dtype)
        for place, part in zip(block, parts, strict=False):
            place[: len(part)] = part
            place[len(part) :] = part[-1:]
        return block

    listed = zip(*map(columns, plain), strict=True)
    block = Block(alike(plain[0], map(stack, listed)), _sizes(sizes), len(held))
    if weights[0] is None:
        return block
    return replace(block, weights=_counts(block, weights, training))
