"""What all checks share: how a broken promise is told, what may be remembered, what is equal.

They draw from one fixed key, so that a check that fails fails again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..rand import Key

KEY = Key.of(20210101)  # the root of all that checks draw


def require(holds: Any, sentence: str) -> None:
    """AssertionError with this sentence unless it holds; python -O would leave out an `assert`.

    The sentence begins with the piece as it prints, and ends with what to do instead.
    """
    if not holds:
        raise AssertionError(sentence)


def check_repr(piece: Any) -> None:
    """AssertionError where it prints as the place where it lies, and not as what builds it."""
    name = repr(piece)
    require(
        " at 0x" not in name,
        f"{name}: its repr must be the expression that builds it; make it a frozen dataclass.",
    )


def check_clause(piece: Any, text: Any, where: str) -> None:
    """AssertionError unless `text` is one clause, to stand in a sentence of `explain`."""
    clause = isinstance(text, str) and text.strip() and "\n" not in text and text[-1] != "."
    require(
        clause,
        f"{piece!r}: {where} must say in one clause, without a full stop, what it does: {text!r}.",
    )


def is_plain(value: Any) -> bool:
    """May it stand in a checkpoint: numbers, words and arrays, in dicts, lists and tuples of them?

    Such a value is written without pickle, and read by a process that knows no class of it.
    """
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.number | np.ndarray)


def equal(a: Any, b: Any) -> bool:
    """Equal, to the last bit: type, shape and bytes of arrays, keys and parts of collections.

    NaN is equal to NaN: what is not known is the same twice.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)
