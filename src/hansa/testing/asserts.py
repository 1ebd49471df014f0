"""What all checks share: how a broken promise is told, what may be remembered, when two values are
equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..rand import Key

KEY = Key.of(20210101)  # the root of all that checks draw


def require(holds: Any, sentence: str) -> None:
    """Raise AssertionError with `sentence` unless it holds; an `assert` would be left out by python
    -O.
    """
    if not holds:
        raise AssertionError(sentence)


def is_plain(value: Any) -> bool:
    """May it stand in a checkpoint?"""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.number | np.ndarray)


def equal(a: Any, b: Any) -> bool:
    """Equal, to the last bit."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)
