"""The gradients of single examples in JAX, each clipped, and their sum with noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array, lax
from jax import numpy as jnp

from ...data.blocks import power
from .pytrees import Tree

GRADIENTS = 2**24  # numbers in the gradients of single examples that are held at once


def mean(values: Array, size: Any, weights: Array | None = None) -> Any:
    """The mean over the first `size` examples, of one number for each, times its weight where they
    have such, or of their mean.

    The others are filling. `values` are [rows, …], or one number, which is a mean already.
    """
    if values.ndim == 0:
        return values
    each = values.reshape(len(values), -1).mean(1)
    if weights is not None:
        each = each * weights
    there = jnp.arange(len(each)) < size
    return jnp.where(there, each, 0).sum() / size


def clipped(
    how: tuple[Callable[..., tuple[Array, Tree]], Sequence[bool]],
    params: Tree,
    parts: Sequence[Tree],
    size: Any,
    key: Array,
    clip: Any,
    noise: Sequence[Array],
) -> tuple[Array, list[Array]]:
    """The mean loss of the first `size` examples, and Σᵢ gᵢ · min(1, C/‖gᵢ‖) + noise, leaf by leaf.

    how        (params, …one example, key) → its loss and gᵢ, which counts as 0 where not finite;
               and which leaves are moved, whose norm counts alone
    parts      inputs by position and by name, weights or None, and targets, each [rows, …]
    clip       C
    noise      one vector for each leaf of params; some examples at a time are added to it
    """
    gradient, moved = how
    rows = len(parts[-1])
    numbers = sum(map(len, noise))
    few = min(rows, power(max(1, GRADIENTS // numbers)))

    def add(total: Tree, some: Tree) -> tuple[Tree, Array]:
        """The sum with some examples more, and the sum of their losses."""
        *one, there = some
        every = jax.vmap(gradient, (None, 0, 0, 0, 0, 0))
        values, g = every(params, *one)
        leaves = [leaf.reshape(few, -1) for leaf in jax.tree.leaves(g)]
        counted = [leaf for leaf, moves in zip(leaves, moved, strict=True) if moves]
        squares = sum((leaf**2).sum(1) for leaf in counted)
        norms = jnp.sqrt(squares)
        good = there & jnp.isfinite(norms)
        scale = jnp.where(good, clip / jnp.maximum(norms, clip), 0)
        found = [jnp.where(good[:, None], leaf, 0) for leaf in leaves]
        total = [t + scale @ leaf for t, leaf in zip(total, found, strict=True)]
        return total, jnp.where(there, values, 0).sum()

    keys = jax.random.split(key, rows)
    there = jnp.arange(rows) < size
    each = *parts, keys, there
    each = jax.tree.map(lambda a: a.reshape(-1, few, *a.shape[1:]), each)
    total, values = lax.scan(add, list(noise), each)
    return values.sum() / jnp.maximum(1, size), total
