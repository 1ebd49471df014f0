"""What JaxModel gathers of outputs and metrics, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from ...metrics import check_joined
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


def first(outputs: Tree, rows: int) -> Tree:
    """The first rows of outputs, in NumPy; what has no rows as it is."""
    return jax.tree.map(lambda one: np.asarray(one)[:rows] if np.ndim(one) else one, outputs)


def joined(pieces: Sequence[Tree]) -> Tree:
    """All rows of outputs or targets that came in pieces."""

    def whole(*parts: Any) -> Any:
        check_joined([np.shape(part)[1:] for part in parts])
        return jnp.concatenate(list(map(jnp.atleast_1d, parts)))

    return jax.tree.map(whole, *pieces)


def copies(tree: Tree, i: Any, rows: int) -> Tree:
    """Every row as row i is; what has no rows as it is."""

    def repeated(one: Any) -> Any:
        return jnp.broadcast_to(one[i], one.shape) if jnp.shape(one)[:1] == (rows,) else one

    return jax.tree.map(repeated, tree)


def furthest(losses: Array, alone: Callable[[Array], Any]) -> Array:
    """How far the loss of row i is at most from alone(i)."""
    each = losses.reshape(len(losses), -1).mean(1)
    apart = jnp.abs(each - lax.map(alone, jnp.arange(len(each))))
    return jnp.max(jnp.where(jnp.isfinite(apart), apart, 0.0))
