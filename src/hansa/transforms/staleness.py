"""Staleness: how much an update counts that is about an older model.

    s(τ) = 1/√(1 + τ)

τ is how many rounds ago its client got the model. (Nguyen et al. 2022, §5)
"""

from __future__ import annotations

import numpy as np

from ..spec import Spec, Vector


def slowed(v: Vector, spec: Spec, staleness: int) -> Vector:
    """v [size] with s(τ)·Δ, of which running statistics are a part; what rides along stays as it
    is.
    """
    found: Vector = np.array(v, np.float64)
    for name in {"delta", *spec.statistics} & spec.blocks.keys():
        found[spec.slice(name)] *= (1 + staleness) ** -0.5
    return found
