"""A look at each of a client's examples before any training: are they numbers, and is any there?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .batches import TARGET, WEIGHT, Batch, Rows, is_target, length, named, weighed
from .examples import Examples, named_in_errors, nothing

NAN, INFINITE, EITHER = "NaN", "infinity", "NaN or infinity"
BANNED: Mapping[str, Callable[[Any], Any]] = {
    NAN: np.isnan,
    INFINITE: np.isinf,
    EITHER: lambda column: ~np.isfinite(column),
}


def check(data: object, who: str, missing: bool = False, endless: bool = False) -> int:
    """The number of examples, after one look at each of them.

    missing: may inputs hold NaN, as `Model.takes` says?
    endless: may targets hold infinity, as `Model.takes` says?

    DataError, with `who`, for no examples, unequal lengths, values that are not finite or not
    numbers, weights that are not above 0, a dict without "y", an iterator that can be read only
    once, or what is no data at all.
    """
    examples = Examples.of(data, who)
    with named_in_errors(who):
        n = 0
        banned = {False: EITHER, True: EITHER}  # of inputs, and of targets
        if missing:
            banned[False] = INFINITE
        if endless:
            banned[True] = NAN
        rows = dict[str, Rows]()
        places = dict[str, Any]()
        for batch in examples.whole():
            _check_weights(batch)
            for name, column in named(batch).items():
                wrong = _wrong(column, name, banned[_answers(name)])
                if wrong is not None:
                    these = n + np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))
                    rows[name] = np.append(rows.get(name, these[:0]), these)
                    if name in examples.columns:
                        places[name] = wrong.any(axis=0) | places.get(name, False)
            n += length(batch)
        if n == 0:
            raise nothing()
        for name, these in rows.items():
            what = banned[_answers(name)]
            where = _in(places.get(name), examples.columns.get(name, ()))
            raise DataError(
                f"{len(these)} of {n} rows of {name} hold {what}, the first in row "
                f"{these[0]}{where}.",
                "One such value makes the client's whole update useless, and with it the sum.",
                "Leave these rows out (keep = np.isfinite(…)), or fill in the missing values.",
            )
        return n


def _wrong(column: Any, name: str, banned: str) -> NDArray[np.bool_] | None:
    """Where a column [n, …] holds what is banned; None where it does not.

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
    wrong: NDArray[np.bool_] = BANNED[banned](column)
    if wrong.any():
        return wrong
    return None


def _answers(name: str) -> bool:
    """Is an array of this name what is to be predicted, and not an input?"""
    return name in (TARGET, WEIGHT) or is_target(name)


def _check_weights(batch: Batch) -> None:
    """DataError for weights of examples that weigh nothing, or less."""
    _, weights = weighed(batch)
    if weights is None:
        return
    if weights.ndim != 1 or weights.dtype.kind not in "iuf" or not (weights > 0).all():
        raise DataError(
            f"{WEIGHT} has type {weights.dtype}, shape {weights.shape}, and the least is "
            f"{weights.min()}.",
            "It is one finite number above 0 for each example, which says how much that counts.",
            "Leave out the examples that are not to count.",
        )


def _in(places: Any, names: Sequence[str]) -> str:
    """In which columns of a data frame they are, for a message; nothing where that is not known."""
    if not names:
        return ""
    return f", in {', '.join(repr(names[i]) for i in np.flatnonzero(places).tolist())}"
