"""Statistics that travel: which of them cannot be negative.

That they are a block of their own, and are averaged, is in `plan.py`; how long they may be, in
`transforms/scale.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..spec import Vector

# What libraries call a running variance: PyTorch, Keras, Flax, Keras' Normalization, Haiku.
VARIANCES = {"running_var", "moving_variance", "var", "variance", "var_ema"}


def lower_ends(named: Iterable[tuple[str, int]]) -> Vector:
    """The least that each number can be, from (path, how many numbers): 0 below a name of
    variances, else −∞.
    """
    ends = [
        np.full(size, 0.0 if VARIANCES & set(re.split("[./]", path)) else -np.inf)
        for path, size in named
    ]
    return np.concatenate([np.empty(0), *ends])
