"""Some of a client's examples: held out, or dealt out to many clients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from ..rand import Key
from .batches import Batch, Part, as_arrays, count, kind_of, pick, stream_of
from .foreign import reshuffles
from .partition import numbered

# ── choosing ──────────────────────────────────────────────────────────────────────────────────────


def take(data: Any, rows: ArrayLike) -> Any:
    """Some rows, in the order given: arrays as arrays of the same form, a dataset as a `Part` of
    it.
    """
    kind = kind_of(data)
    chosen = np.asarray(rows)
    chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
    if kind == "arrays":
        return pick(as_arrays(data), chosen)
    if kind == "dataset":
        return Part(data, chosen)
    raise DataError(
        f"The data is a {type(data).__name__}, a stream of batches.",
        "A stream has no rows to choose from.",
        "Choose from arrays or from a Dataset (for a DataLoader, its .dataset).",
    )


def split(data: Any, share: float, key: Key) -> tuple[Any, Any]:
    """Two parts, (kept for training, held out), equal for equal keys.

    Of n examples max(1, round(share·n)) are held out, at random. Of a stream, batch i is held out
    where ⌊(i+1)·share + φ⌋ > ⌊i·share + φ⌋ with φ ~ U[0, 1): every k-th for share = 1/k. DataError
    where a part is empty.
    """
    if not 0 < share < 1:
        raise DataError(
            f"A share of {share} is to be held out.",
            "One of the two parts would be empty.",
            "Give a share between 0 and 1, such as 0.2.",
        )
    if kind_of(data) == "stream":
        return _split_stream(data, share, key)
    n = count(data)
    if n < 2:
        raise DataError(
            f"{n} examples cannot be split.",
            "One of the two parts would be empty.",
            "Hold nothing out here, or leave this client out.",
        )
    order = key.rng().permutation(n)
    held = min(n - 1, max(1, round(share * n)))
    return take(data, np.sort(order[held:])), take(data, np.sort(order[:held]))


def _split_stream(data: Any, share: float, key: Key) -> tuple[Sieve, Sieve]:
    order = getattr(getattr(data, "batch_sampler", None) or data, "sampler", None)
    if type(order).__name__ not in (
        "NoneType",
        "SequentialSampler",
        "_InfiniteConstantSampler",
    ) or reshuffles(data):
        raise DataError(
            f"The {type(data).__name__} "
            f"shuffles{f' (its sampler is a {type(order).__name__})' if order else ''}.",
            "Its batches are others in each epoch, so what is held out would be trained on too.",
            "Give its .dataset, which is shuffled here, or split first and make a loader of each "
            "part; of tf.data, "
            "write .shuffle(…, reshuffle_each_iteration=False).",
        )
    phase = float(key.uniform((1,))[0])
    parts = Sieve(data, share, phase, False), Sieve(data, share, phase, True)
    found = set[bool]()
    for i, _ in enumerate(stream_of(data)):  # reads only as far as it must
        found.add(parts[0].holds(i))
        if len(found) == 2:
            return parts
    raise DataError(
        f"This stream has too few batches to hold out {share} of them.",
        "It is split by whole batches, and one of the two parts would be empty.",
        "Give smaller batches, or a share nearer to one half.",
    )


@dataclass(frozen=True)
class Sieve:
    """Some batches of a stream, itself a stream: those held out by `split`, or the others."""

    data: Any = field(repr=False)
    share: float
    phase: float
    held: bool

    def holds(self, i: int) -> bool:
        """Is batch i held out?"""
        return math.floor((i + 1) * self.share + self.phase) > math.floor(
            i * self.share + self.phase
        )

    def __iter__(self) -> Iterator[Batch]:
        return (batch for i, batch in enumerate(stream_of(self.data)) if self.holds(i) == self.held)


def clients(
    data: Any,
    parts: Sequence[ArrayLike] | Mapping[str, ArrayLike],
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Each client's data by name: `names`, or the names of `parts`, or client-0, client-1, …"""
    rows = list(parts.values()) if isinstance(parts, Mapping) else list(parts)
    called = list(names or (parts if isinstance(parts, Mapping) else numbered(len(rows))))
    if not len(called) == len(set(called)) == len(rows):
        raise DataError(
            f"{len(called)} names, {len(set(called))} of them different, for {len(rows)} clients.",
            "Every client needs a name of its own.",
            "Give as many names as parts, or none.",
        )
    return {name: take(data, chosen) for name, chosen in zip(called, rows, strict=True)}
