"""Batches that come one after another, in an order and in sizes of their own.

A stream is what can be read from its start again and again: a DataLoader, a tf.data pipeline, or a
function without arguments that starts a new iterator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError
from ..rand import Key
from .batches import Batch, as_batch, length
from .foreign import check_end, reshuffles

# What torch's DataLoader calls the samplers that keep the order of their data.
IN_ORDER = ("NoneType", "SequentialSampler", "_InfiniteConstantSampler")


def read(stream: Any) -> Iterator[Batch]:
    """The batches of a stream, from its start; those without examples are passed over.

    DataError for a pipeline that repeats for ever, and for what is no batch.
    """
    check_end(stream)
    for batch in stream if hasattr(type(stream), "__iter__") else stream():
        found = as_batch(batch)
        if length(found):  # the mean loss of an empty batch is no number
            yield found


def count(stream: Any) -> int:
    """How many examples a stream has: a DataLoader says it, any other is read."""
    cut: Any = getattr(stream, "batch_sampler", None)
    order: Any = getattr(cut, "sampler", None)
    if not hasattr(type(order), "__len__"):
        return sum(map(length, read(stream)))
    n = len(order)
    if cut.drop_last:
        return n - n % int(cut.batch_size)
    return n


@dataclass(frozen=True)
class Sieve:
    """Some batches of a stream, itself a stream: those held out by `split`, or the others.

    Batch i is held out where ⌊(i+1)·share + φ⌋ > ⌊i·share + φ⌋.
    """

    data: Any = field(repr=False)
    share: float
    phase: float  # φ in [0, 1)
    held: bool

    def holds(self, i: int) -> bool:
        """Is batch i held out?"""
        before = math.floor(i * self.share + self.phase)
        return math.floor((i + 1) * self.share + self.phase) > before

    def __iter__(self) -> Iterator[Batch]:
        return (batch for i, batch in enumerate(read(self.data)) if self.holds(i) == self.held)


def split(stream: Any, share: float, key: Key) -> tuple[Sieve, Sieve] | None:
    """Two parts of a stream, (kept, held out), of which every k-th batch for share = 1/k is held;
    None where one would be empty. DataError where its batches are others in each epoch.
    """
    _check_order(stream)
    phase = float(key.uniform((1,))[0])
    kept = Sieve(stream, share, phase, False)
    held = Sieve(stream, share, phase, True)
    found = set[bool]()
    for i, _ in enumerate(read(stream)):  # reads only as far as it must
        found.add(kept.holds(i))
        if len(found) == 2:
            return kept, held
    return None


def _check_order(stream: Any) -> None:
    """DataError for a stream whose batches are others each time."""
    order = getattr(getattr(stream, "batch_sampler", None) or stream, "sampler", None)
    kind = type(order).__name__
    if kind in IN_ORDER and not reshuffles(stream):
        return
    sampler = f" (its sampler is a {kind})" if order else ""
    raise DataError(
        f"The {type(stream).__name__} shuffles{sampler}.",
        "Its batches are others in each epoch, so what is held out would be trained on too.",
        "Give its .dataset, which is shuffled here, or split first and make a loader of each "
        "part; of tf.data, write .shuffle(…, reshuffle_each_iteration=False).",
    )
