"""Which clients step when, and on which of their examples: known before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .batches import Batch, pick
from .inputs import Types, parts

Ints = NDArray[np.int64]


class Kind(NamedTuple):
    """What an example is: of each array the name by which the net takes it, the shape, the type.

    The name is "" for an array that goes in by its position, and for the last, the target.
    """

    takes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    types: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Of one example."""
        sizes = zip(self.shapes, self.types, strict=True)
        return sum(int(np.prod(shape)) * np.dtype(type).itemsize for shape, type in sizes)


def kind(data: Batch, targets: Types) -> Kind:
    """What these examples are once they are as networks take them."""
    inputs, named, y = parts(pick(data, slice(0, 1)), targets)
    arrays = [*inputs, *named.values(), y]
    takes = *[""] * len(inputs), *named, ""
    return Kind(takes, tuple(a.shape[1:] for a in arrays), tuple(a.dtype.str for a in arrays))


@dataclass(frozen=True)
class Steps:
    """Some steps of the same clients, on batches of one size.

    rows   [steps, width, batch], of each one's own examples
    whose  [width], the client whose examples fill the place: its own where it is on
    on     [width], who steps
    """

    kind: Kind
    rows: Ints
    whose: Ints
    on: NDArray[np.bool_]


def turns(
    kinds: Sequence[Kind], rows: Sequence[Iterator[Ints]], width: int, most: int
) -> Iterator[Steps]:
    """All steps of clients with such examples and batches [batches, rows], with at most so many
    examples in each turn.

    Those whose next batch is largest go on; the others wait, so that any loss is right.
    """
    ahead = {i: block for i, some in enumerate(rows) if (block := next(some, None)) is not None}
    while ahead:
        sizes = {i: (block.shape[1], kinds[i]) for i, block in ahead.items()}
        largest = max(sizes.values())
        now = [i for i, size in sizes.items() if size == largest]
        steps = min(max(1, most // (width * largest[0])), *(len(ahead[i]) for i in now))
        whose = np.full(width, now[0])
        on = np.zeros(width, np.bool_)
        whose[now], on[now] = now, True
        yield Steps(
            largest[1], np.stack([ahead[i][:steps] for i in whose.tolist()], axis=1), whose, on
        )
        later = {i: ahead[i][steps:] if len(ahead[i]) > steps else next(rows[i], None) for i in now}
        ahead = {
            i: block
            for i, old in ahead.items()
            if (block := later.get(i) if i in later else old) is not None
        }
