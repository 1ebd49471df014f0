"""What JaxModel gathers of outputs and metrics, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax import numpy as jnp

from .private import mean
from .pytrees import Tree


def summed(value: Any, size: Any) -> tuple[Array, Array]:
    """(sum, denominator) over the first `size` rows of what a mean gives: the mean, a number for
    each row, or the two themselves.
    """
    if isinstance(value, tuple):
        total, count = value
        return jnp.asarray(total, jnp.float32), jnp.asarray(count, jnp.float32)
    return size * mean(jnp.asarray(value, jnp.float32), size), jnp.asarray(size, jnp.float32)


def number(value: Any) -> float:
    """What a metric gives, as one number."""
    return float(np.asarray(value, np.float64).mean())


def first(outputs: Tree, rows: int) -> Tree:
    """The first rows of outputs, in NumPy; what has no rows as it is."""
    return jax.tree.map(lambda one: np.asarray(one)[:rows] if np.ndim(one) else one, outputs)


def joined(pieces: Sequence[Tree]) -> Tree:
    """All rows of outputs or targets that came in pieces."""
    return jax.tree.map(lambda *parts: jnp.concatenate(list(map(jnp.atleast_1d, parts))), *pieces)
