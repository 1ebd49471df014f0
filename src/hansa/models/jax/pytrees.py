"""Pytrees: their leaves by name, in NumPy, and random keys among them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import Array
from jax import numpy as jnp

from ...rand import Key
from ...spec import Vector

Tree = Any  # a pytree of arrays


def path_of(path: Any) -> str:
    """Where a leaf lies in its tree, as words between dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def is_key(leaf: Any) -> bool:
    """Is this a random key, which has no form in NumPy?

    Such leaves of a state stay where they are, and start each training as they were given.
    """
    return isinstance(leaf, Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def to_host(leaf: Any) -> Any:
    """A leaf of the state in NumPy, in the type that JAX computes with."""
    if is_key(leaf):
        return leaf
    return np.asarray(jnp.asarray(leaf))


def forms(tree: Tree) -> Tree:
    """The tree with shapes and types for its leaves."""
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def key_words(key: Key | None) -> Vector:
    """A key as JAX's generator takes it: two words of 32 bits.

    The generator is Threefry with 20 rounds (Salmon et al. 2011), JAX's own; words of another one
    would give other draws.
    """
    seed = 0
    if key is not None:
        seed = key.seed(64)
    return np.array([seed], np.uint64).view(np.uint32)


def wrap_key(words: Any) -> Any:
    """Those words as a key of JAX."""
    return jax.random.wrap_key_data(words, impl="threefry2x32")
