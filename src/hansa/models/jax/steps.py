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
    """The t-th step of an optimizer, from y along g; and its moments.

        sgd       y ← y − ηg
        momentum  m ← βm + g,  y ← y − ηm
        rmsprop   v ← αv + (1 − α)g²,  y ← y − η g/(√v + ε)     (Tieleman and Hinton 2012)
        adam      m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,
                  y ← y − η m̂/(√v̂ + ε),  m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)
                                                        (Kingma and Ba 2015, Alg. 1)

    λ goes into g, and for adamw into y ← (1 − ηλ)y (Loshchilov and Hutter 2019, Alg. 2). 1 − βᵗ is
    −expm1(t log β), which loses no digits at small t.
    """
    each = jax.tree.map
    if name == "adamw":
        y = each(lambda y: y * (1 - eta * decay), y)
    else:
        g = each(lambda g, y: g + decay * y, g, y)
    if name == "sgd":
        return each(lambda y, g: y - eta * g, y, g), ()
    if name == "momentum":
        m = each(lambda m, g: MOMENTUM * m + g, moments[0], g)
        y = each(lambda y, m: y - eta * m, y, m)
        return y, (m,)
    if name == "rmsprop":
        v = each(lambda v, g: RHO * v + (1 - RHO) * g * g, moments[0], g)
        y = each(lambda y, g, v: y - eta * g / (jnp.sqrt(v) + TINY), y, g, v)
        return y, (v,)
    m = each(lambda m, g: BETA1 * m + (1 - BETA1) * g, moments[0], g)
    v = each(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, moments[1], g)
    a, b = (-jnp.expm1(t * np.float32(np.log(beta))) for beta in (BETA1, BETA2))  # 1 − βᵗ
    root = jnp.sqrt(b)
    y = each(lambda y, m, v: y - eta / a * m / (jnp.sqrt(v) / root + EPSILON), y, m, v)
    return y, (m, v)


def bounded(g: Tree, moved: Sequence[bool], most: Any) -> Tree:
    """g · min(1, C/‖g‖₂), C = `most`; the norm is that of the leaves that are moved."""
    leaves = zip(moved, jax.tree.leaves(g), strict=True)
    squares = sum((leaf**2).sum() for moves, leaf in leaves if moves)
    scale = jnp.minimum(1, most / jnp.sqrt(squares))
    return jax.tree.map(lambda g: g * scale, g)


def corrected(g: Tree, y: Tree, pull: Any, drifts: Sequence[Tree | None]) -> Tree:
    """g + pull·(y − x₀) + shift; the drifts are x₀, pulls of each number's own, and the shift.

    A pull of 0 has no centre here, and nothing is subtracted. All are trees of the shapes of y.
    """
    centre, pulls, shift = drifts
    if pulls is not None:
        g = jax.tree.map(lambda g, y, c, p: g + p * (y - c), g, y, centre, pulls)
    elif centre is not None:
        g = jax.tree.map(lambda g, y, c: g + pull * (y - c), g, y, centre)
    if shift is not None:
        g = jax.tree.map(jnp.add, g, shift)
    return g


def between(shares: Sequence[float], new: Tree, old: Tree) -> Tree:
    """old + share·(new − old), leaf by leaf: the new one at a share of 1, the old one at 0.

    A share is a number of the plan and no array, so that the program holds the one or the other
    alone.
    """
    leaves = zip(shares, jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    found = [_between(share, a, b) for share, a, b in leaves]
    form = jax.tree.structure(old)
    return jax.tree.unflatten(form, found)


def _between(share: float, new: Any, old: Any) -> Any:
    """Of one leaf."""
    if share == 0:
        return old
    if share == 1:
        return new
    return old + share * (new - old)
