"""What JaxModel gathers of outputs and metrics, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from ...data.batches import Batch, pieces, weighed
from ...data.examples import Examples
from ...metrics import Gathered, check_joined, groups
from ...spec import Vector
from .private import mean
from .pytrees import Tree


def summed(value: Any, size: Any) -> tuple[Array, Array]:
    """(sum, denominator) over the first `size` rows of what a mean gives: the mean, a number for
    each row, or the two themselves.

    Both in float32; sums of pieces are added in float64 by `count`.
    """
    if isinstance(value, tuple):
        total, count = value
        return jnp.asarray(total, jnp.float32), jnp.asarray(count, jnp.float32)
    each = jnp.asarray(value, jnp.float32)
    count = jnp.asarray(size, jnp.float32)
    return size * mean(each, size), count


def first(outputs: Tree, rows: int) -> Tree:
    """The first rows of outputs, in NumPy; what has no rows as it is."""

    def begin(one: Any) -> Any:
        if np.ndim(one):
            return np.asarray(one)[:rows]
        return one

    return jax.tree.map(begin, outputs)


def predicted(given: Callable[[Batch], Any], data: Examples, rows: int) -> Any:
    """What is given for each example [n, …], some rows at a time; the outputs as they are where
    they are no array.
    """
    found = []
    for whole in data.whole():
        for batch in pieces(weighed(whole)[0], rows):
            outputs = given(batch)
            if not isinstance(outputs, Array | np.ndarray):
                return outputs
            found.append(np.atleast_1d(outputs))
    return np.concatenate(found)


def joined(pieces: Sequence[Tree]) -> Tree:
    """All rows of outputs or targets that came in pieces.

    DataError where pieces have rows of other shapes; a number of each piece becomes numbers
    [pieces].
    """

    def whole(*parts: Any) -> Any:
        check_joined([np.shape(part)[1:] for part in parts])
        return jnp.concatenate(list(map(jnp.atleast_1d, parts)))

    return jax.tree.map(whole, *pieces)


def count(
    found: Gathered, sums: Mapping[str, tuple[Array, Array]], weights: Vector | None, rows: int
) -> None:
    """Add sums of so many rows to what is gathered; those of each row by its weight.

    sums: name → (sum, denominator), each one number, or [rows] where the rows have weights; filling
    lies behind the first `rows`.
    """
    for name, pair in sums.items():
        total, number = [np.asarray(one, np.float64) for one in pair]
        for weight, some in groups(weights):
            if total.ndim:
                found.count(name, total[:rows][some].sum(), number[:rows][some].sum(), weight)
            else:
                found.count(name, total, float(number), weight)


def row(tree: Tree, i: Any, rows: int) -> Tree:
    """Row i alone [1, …]; what has no rows as it is."""

    def alone(one: Any) -> Any:
        if jnp.shape(one)[:1] == (rows,):
            return one[i][None]
        return one

    return jax.tree.map(alone, tree)


def copies(tree: Tree, i: Any, rows: int) -> Tree:
    """Every row as row i is; what has no rows as it is."""

    def repeated(one: Any) -> Any:
        if jnp.shape(one)[:1] == (rows,):
            return jnp.broadcast_to(one[i], one.shape)
        return one

    return jax.tree.map(repeated, tree)


def furthest(losses: Array, alone: Callable[[Array], Any]) -> Array:
    """How far the loss of row i is at most from alone(i).

    Where a loss is not finite it counts as 0: what is not finite is looked for elsewhere.
    """
    n = len(losses)
    each = losses.reshape(n, -1).mean(1)
    rows = jnp.arange(n)
    apart = jnp.abs(each - lax.map(alone, rows))
    return jnp.max(jnp.where(jnp.isfinite(apart), apart, 0.0))
