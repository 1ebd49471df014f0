"""Statistics that travel: which of them cannot be negative."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..spec import Vector

# What libraries call a running variance: PyTorch, Keras, Flax, Keras' Normalization, Haiku.
VARIANCES = {"running_var", "moving_variance", "var", "variance", "var_ema"}


def lower_ends(named: Iterable[tuple[str, int]]) -> Vector:
    """The least that each number can be, from (path, how many numbers): 0 below a name of variances, else −∞."""
    ends = [np.full(size, 0.0 if VARIANCES & set(re.split("[./]", path)) else -np.inf) for path, size in named]
    return np.concatenate([np.empty(0), *ends])
