"""Steps: how each local optimizer moves a pytree of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ...training import MOMENTUM, RHO, TINY
from .pytrees import Tree

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam
MOMENTS = {"sgd": 0, "momentum": 1, "rmsprop": 1}  # and Adam's two


def stepped(
    name: str, y: Tree, g: Tree, moments: Tree, t: Any, eta: Any, decay: Any
) -> tuple[Tree, Tree]:
    """The t-th step of an optimizer, from y along g; and its moments."""
    each = jax.tree.map
    if name == "adamw":
        y = each(lambda y: y * (1 - eta * decay), y)
    else:
        g = each(lambda g, y: g + decay * y, g, y)
    if name == "sgd":
        return each(lambda y, g: y - eta * g, y, g), ()
    if name == "momentum":
        m = each(lambda m, g: MOMENTUM * m + g, moments[0], g)
        return each(lambda y, m: y - eta * m, y, m), (m,)
    if name == "rmsprop":
        v = each(lambda v, g: RHO * v + (1 - RHO) * g * g, moments[0], g)
        return each(lambda y, g, v: y - eta * g / (jnp.sqrt(v) + TINY), y, g, v), (v,)
    m = each(lambda m, g: BETA1 * m + (1 - BETA1) * g, moments[0], g)
    v = each(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, moments[1], g)
    a, b = (-jnp.expm1(t * np.float32(np.log(beta))) for beta in (BETA1, BETA2))  # 1 − βᵗ
    return each(lambda y, m, v: y - eta / a * m / (jnp.sqrt(v) / jnp.sqrt(b) + EPSILON), y, m, v), (
        m,
        v,
    )


def bounded(g: Tree, moved: Sequence[bool], most: Any) -> Tree:
    """g · min(1, C/‖g‖₂), C = `most`; the norm is that of the leaves that are moved."""
    leaves = zip(moved, jax.tree.leaves(g), strict=True)
    norm = jnp.sqrt(sum((leaf**2).sum() for moves, leaf in leaves if moves))
    return jax.tree.map(lambda g: g * jnp.minimum(1, most / norm), g)


def corrected(g: Tree, y: Tree, pull: Any, drifts: Sequence[Tree | None]) -> Tree:
    """g + pull·(y − x₀) + shift; the drifts are x₀, pulls of each number's own, and the shift."""
    centre, pulls, shift = drifts
    if pulls is not None:
        g = jax.tree.map(lambda g, y, c, p: g + p * (y - c), g, y, centre, pulls)
    elif centre is not None:
        g = jax.tree.map(lambda g, y, c: g + pull * (y - c), g, y, centre)
    return g if shift is None else jax.tree.map(jnp.add, g, shift)


def only(moved: Sequence[bool], new: Tree, old: Tree) -> Tree:
    """The new leaves where they are moved, and the old ones elsewhere."""
    leaves = zip(moved, jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    found = [a if moves else b for moves, a, b in leaves]
    return jax.tree.unflatten(jax.tree.structure(old), found)
