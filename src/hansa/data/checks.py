"""A look at each of a client's examples before any training: are they numbers, and is any there?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .batches import TARGET, Rows, is_target, length, named
from .examples import Examples, named_in_errors, nothing


def check(data: object, who: str, missing: bool = False) -> int:
    """The number of examples, after one look at each of them.

    missing: may inputs hold NaN, as `Model.missing` says?

    DataError, with `who`, for no examples, unequal lengths, values that are not finite or not
    numbers, a dict without "y", an iterator that can be read only once, or what is no data at all.
    """
    examples = Examples.of(data, who)
    with named_in_errors(who):
        n = 0
        rows = dict[str, Rows]()
        places = dict[str, Any]()
        for batch in examples.whole():
            for name, column in named(batch).items():
                wrong = _wrong(column, name, missing and not _answers(name))
                if wrong is not None:
                    these = n + np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))
                    rows[name] = np.append(rows.get(name, these[:0]), these)
                    if name in examples.columns:
                        places[name] = wrong.any(axis=0) | places.get(name, False)
            n += length(batch)
        if n == 0:
            raise nothing()
        for name, these in rows.items():
            what = "infinity" if missing and not _answers(name) else "NaN or infinity"
            where = _in(places.get(name), examples.columns.get(name, ()))
            raise DataError(
                f"{len(these)} of {n} rows of {name} hold {what}, the first in row "
                f"{these[0]}{where}.",
                "One such value makes the client's whole update useless, and with it the sum.",
                "Leave these rows out (keep = np.isfinite(…)), or fill in the missing values.",
            )
        return n


def _wrong(column: Any, name: str, missing: bool) -> NDArray[np.bool_] | None:
    """Where a column [n, …] holds NaN or infinity, or infinity alone; None where it does not.

    DataError for what is no number.
    """
    if column.dtype.kind not in "biuf":
        raise DataError(
            f"{name} has type {column.dtype}.",
            "A model computes with real numbers.",
            "Give classes as numbers from 0 in an order that all clients share, categories "
            "one-hot, times as seconds, numbers kept as text with x.astype(np.float32), lists of "
            "unequal lengths padded.",
        )
    if column.dtype.kind != "f" or np.isfinite(column).all():
        return None
    wrong: NDArray[np.bool_] = ~np.isfinite(column)
    if missing:
        wrong = np.isinf(column)
    if wrong.any():
        return wrong
    return None


def _answers(name: str) -> bool:
    """Is an array of this name what is to be predicted, and not an input?"""
    return name == TARGET or is_target(name)


def _in(places: Any, names: Sequence[str]) -> str:
    """In which columns of a data frame they are, for a message; nothing where that is not known."""
    if not names:
        return ""
    return f", in {', '.join(repr(names[i]) for i in np.flatnonzero(places).tolist())}"
