"""A client's examples, in whatever form their owner has them: parsed once, read as batches.

Arrays   (inputs, targets), or arrays by name
Items    a dataset with `len()` and `[i]`, or a list of examples
Stream   batches in an order and in sizes of their own
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from ..progress import counted, looked_on
from ..rand import Key
from ..training import Training, drawn_rows, held_out, kept_of
from . import streams
from .batches import (
    Batch,
    Rows,
    as_batch,
    column_names,
    is_pair_by_name,
    length,
    pick,
    relative,
    row_bytes,
    weighed,
)
from .foreign import check_kind
from .items import Part, collate, listed
from .sites import loaded

CHUNK_ROWS, CHUNK_BYTES = 4096, 2**26  # what is gathered or scored at once
NO_STREAM = (str, bytes, set, frozenset)


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of one client. Reading them changes nothing, and may be done again and again.

    given     the data as its owner has it; arrays as NumPy sees them
    columns   what the columns of its data frames are called, for messages: array → their names
    """

    given: Any = field(repr=False)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)

    @property
    def arrays(self) -> Batch | None:
        """The arrays themselves, which nobody may write to; None where batches must be read."""
        return None

    @property
    def plain(self) -> bool:
        """Are they arrays, of examples that all count alike?"""
        return self.arrays is not None and relative(weighed(self.arrays)[1]) is None

    @staticmethod
    def of(data: object, who: str = "") -> Examples:
        """What an owner gives, parsed; what is parsed already, as it is; of a `Source` what it
        reads.

        data   (inputs, targets), or a dict of arrays; a dataset, or a list of examples; a stream
               of batches
        who    whose it is, for messages

        DataError for what is none of these, or arrays of unequal lengths or without a target.
        """
        if isinstance(data, Examples):
            return data
        with named_in_errors(who):
            return parsed(loaded(data))

    def __len__(self) -> int:
        """How many examples there are; a stream is read once to tell, a DataLoader asked."""
        raise TypeError(f"{type(self).__name__} does not say how many examples it has")

    def batches(self, training: Training, key: Key) -> Iterator[Batch]:
        """The batches of one local training.

        Arrays and datasets are shuffled afresh in each epoch e by the permutation of key.child(e),
        and cut into `training.batch` rows (0 = all), as `training.sizes` says; streams keep their
        own order and sizes. There are `training.epochs` epochs, or exactly `training.steps`
        batches, from as many epochs as that takes; with `training.private`, those that it draws.
        All are copies. DataError where an epoch has no batch.
        """
        drawn = self.drawn(training, key)
        if not looked_on():  # else nobody asks how many there are, which takes time to say
            return drawn
        return counted("step", "", drawn, self.steps(training))

    def drawn(self, training: Training, key: Key) -> Iterator[Batch]:
        """As `batches`, for who tells how far training is."""
        if training.private is not None:
            return map(self._rows, drawn_rows(training, self.samplable(), key))
        epochs: Iterable[int] = range(training.epochs)
        if training.steps is not None:
            epochs = itertools.count()
        every = (self._epoch(training, key.child(epoch)) for epoch in epochs)
        return itertools.islice(itertools.chain.from_iterable(map(_some, every)), training.steps)

    def whole(self) -> Iterator[Batch]:
        """All examples once, in order, in pieces of at most 4096 rows; copies, so that no model can
        change the data.
        """
        n = len(self)
        if n:
            row = row_bytes(self._rows(np.arange(1)))
            rows = min(CHUNK_ROWS, max(1, CHUNK_BYTES // row))
            yield from (self._rows(np.arange(i, min(i + rows, n))) for i in range(0, n, rows))

    def take(self, rows: ArrayLike) -> Examples:
        """Some rows in the order given, by number or by a mask; DataError of a stream."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return self._part(chosen.astype(np.int64))

    def split(self, share: float, key: Key) -> tuple[Examples, Examples]:
        """Two parts, (kept for training, held out), equal for equal keys.

        Of n examples max(1, round(share·n)) are held out, at random. Of a stream, batch i is held
        out where ⌊(i+1)·share + φ⌋ > ⌊i·share + φ⌋ with φ ~ U[0, 1): every k-th for share = 1/k.
        DataError where a part is empty.
        """
        if not 0 < share < 1:
            raise DataError(
                f"A share of {share} is to be held out.",
                "One of the two parts would be empty.",
                "Give a share between 0 and 1, such as 0.2.",
            )
        kept, held = self._halves(share, key)
        if held is None:
            raise DataError(
                f"{len(self)} examples cannot be split to hold out {share} of them.",
                "One of the two parts would be empty; a stream is split by whole batches.",
                "Hold nothing out here, give smaller batches, or a share nearer to one half.",
            )
        return kept, held

    def held_out(self, share: float, key: Key) -> tuple[Examples, Examples | None]:
        """As `split`; where a part would be empty, all of them and None."""
        return self._halves(share, key)

    def sizes(self, training: Training) -> list[int]:
        """How many examples each batch of an epoch has, of those that are not held out; a stream
        is read once to tell.
        """
        return training.sizes(kept_of(training, len(self)))

    def steps(self, training: Training) -> int:
        """How many batches a training has; 0 where only the training tells."""
        if training.private is not None:
            return training.counts(len(self))[1]
        return training.steps or training.epochs * len(training.sizes(len(self)))

    def samplable(self, who: str = "This client") -> int:
        """How many examples there are to draw single ones from; DataError of a stream."""
        return len(self)

    # ── what a form of data says of itself ──

    def _rows(self, rows: Rows) -> Batch:
        """Copies of some rows [m]."""
        raise TypeError(f"{type(self).__name__} does not say how its rows are read")

    def _part(self, rows: Rows) -> Examples:
        """Some rows [m], as examples."""
        return Arrays(self._rows(rows))

    def _epoch(self, training: Training, key: Key) -> Iterator[Batch]:
        """All examples once, shuffled, in batches."""
        n = len(self)
        return self._cut(key.rng().permutation(n), training.sizes(n))

    def _cut(self, order: Rows, sizes: Sequence[int]) -> Iterator[Batch]:
        """Batches of so many rows, in this order."""
        ends = itertools.accumulate(sizes)
        return (self._rows(order[end - size : end]) for size, end in zip(sizes, ends, strict=True))

    def _halves(self, share: float, key: Key) -> tuple[Examples, Examples | None]:
        """The parts of a split; all and None where one would be empty."""
        n = len(self)
        if n < 2:
            return self, None
        order = key.rng().permutation(n)
        held = held_out(share, n)
        return self.take(np.sort(order[held:])), self.take(np.sort(order[:held]))


class Arrays(Examples):
    """Arrays with a row for each example."""

    given: Batch

    @classmethod
    def read(cls, data: Any) -> Arrays:
        """Arrays as their owner has them."""
        return cls(as_batch(data), column_names(data))

    @property
    def arrays(self) -> Batch:
        """The arrays themselves, which nobody may write to."""
        return self.given

    def __len__(self) -> int:
        return length(self.given)

    def _rows(self, rows: Rows) -> Batch:
        return pick(self.given, rows)

    def _cut(self, order: Rows, sizes: Sequence[int]) -> Iterator[Batch]:
        """Slices of one gathered copy: as many batches at once as fit into CHUNK_BYTES, for a small
        client all of them.
        """
        most = max(1, CHUNK_BYTES // (row_bytes(self.given) * max(sizes, default=1)))
        top = 0
        for first in range(0, len(sizes), most):
            some = sizes[first : first + most]
            part = pick(self.given, order[top : top + sum(some)])
            top += sum(some)
            i = 0
            for size in some:
                yield pick(part, slice(i, i + size))
                i += size


class Items(Examples):
    """A dataset with `len()` and `[i]`, whose items are (x, y) or dicts with "y"."""

    def __len__(self) -> int:
        return len(self.given)

    def _rows(self, rows: Rows) -> Batch:
        return collate(self.given, rows)

    def _part(self, rows: Rows) -> Examples:
        """A dataset again, of which nothing is read."""
        return Items(Part(self.given, rows))


class Stream(Examples):
    """Batches in an order and in sizes of their own, as a DataLoader gives them."""

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return streams.count(self.given)

    def whole(self) -> Iterator[Batch]:
        """All batches, from the start."""
        return streams.read(self.given)

    def samplable(self, who: str = "This client") -> int:
        """DataError: nobody knows which examples a batch could have had."""
        raise DataError(
            f"{who}'s data is a {type(self.given).__name__}, a stream of batches.",
            "Noise for single examples counts on batches that each example is in at random, "
            "whatever the others are.",
            "Give arrays or a Dataset (for a DataLoader, its .dataset); batches are drawn from "
            "them.",
        )

    def sizes(self, training: Training) -> list[int]:
        """Of all its batches: which are held out is not asked."""
        return [length(batch) for batch in self.whole()]

    def steps(self, training: Training) -> int:
        """As many as are asked for; else its end tells."""
        return training.steps or 0

    def _epoch(self, training: Training, key: Key) -> Iterator[Batch]:
        """All batches, whatever their size is to be."""
        return streams.read(self.given)

    def _halves(self, share: float, key: Key) -> tuple[Examples, Examples | None]:
        """Whole batches on either side."""
        parts = streams.split(self.given, share, key)
        if parts is None:
            return self, None
        kept, held = parts
        return Stream(kept), Stream(held)

    def _rows(self, rows: Rows) -> Batch:
        """DataError: batches come in an order of their own."""
        raise DataError(
            f"The data is a {type(self.given).__name__}, a stream of batches.",
            "A stream has no rows to choose from.",
            "Choose from arrays or from a Dataset (for a DataLoader, its .dataset).",
        )


# ── parsing ───────────────────────────────────────────────────────────────────────────────────────


def parsed(data: Any) -> Examples:
    """Data by its form, which is found out here and nowhere else; DataError for what has none.

    Mappings, and tuples or lists that hold arrays, are arrays. A list of tuples or dicts is a
    dataset, as is what has `len()` and `[i]`; what can be iterated over again, or called, is a
    stream.
    """
    if isinstance(data, Examples):
        return data
    form = type(data)
    if isinstance(data, Mapping):
        return Arrays.read(data)
    if isinstance(data, tuple | list):
        if any(hasattr(part, "__array__") for part in data) or is_pair_by_name(data):
            return Arrays.read(data)
        return Items(listed(data))
    _check_form(data)
    check_kind(data)
    numbered = hasattr(form, "__len__") and hasattr(form, "__getitem__")
    if numbered and not isinstance(data, str | bytes):
        return Items(data)
    if (hasattr(form, "__iter__") or callable(data)) and not isinstance(data, NO_STREAM):
        return Stream(data)
    raise DataError(
        f"The data is a {form.__name__}: {str(data)[:60]!r}.",
        "It is none of the forms that data may have.",
        "Give (inputs, targets), a dict of arrays, a Dataset, a DataLoader, or a function that "
        "returns batches.",
    )


def _check_form(data: Any) -> None:
    """DataError for one array, and for what can be read only once."""
    form = type(data)
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


def _some(batches: Iterator[Batch]) -> Iterator[Batch]:
    """These batches; DataError where there are none."""
    first = next(batches, None)
    if first is None:
        raise nothing()
    yield first
    yield from batches


def nothing() -> DataError:
    """What is said where there are no examples."""
    return DataError(
        "There are no examples.",
        "Nothing can be learnt from none, and a function must start a new iterator at each call.",
        "Leave this client out, or look at how its data is read.",
    )


@contextmanager
def named_in_errors(who: str) -> Iterator[None]:
    """Whose data it is, in what is said of it."""
    try:
        yield
    except DataError as error:
        if not who:
            raise
        raise DataError(f"{who}: {error.found}", error.why, error.instead) from None


def at_a_glance(parts: Iterable[Any]) -> str:
    """So many examples, of all parts; nothing where that cannot be seen at a glance, for no data is
    read to tell it.
    """
    total = 0
    for data in parts:
        arrays = _listed(data)
        if not arrays or not all(type(one) is np.ndarray and one.ndim for one in arrays):
            return ""
        total += max(map(len, arrays))
    return f"{total} examples"


def _listed(data: Any) -> list[Any]:
    """What stands in a dict, a tuple or a list, and any other as it is."""
    if isinstance(data, Arrays):
        return _listed(data.given)
    if type(data) is dict:
        return list(data.values())
    if type(data) in (tuple, list):
        return list(data)
    return [data]
