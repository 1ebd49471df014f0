"""Softmax regression some of whose numbers are called statistics: nothing trains them, and clients say them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import hansa as h
from hansa.testing.algorithm import MODEL

CARRIED = 3


@dataclass(frozen=True)
class Carrying(h.Softmax):
    """The last three numbers are a mean and two variances, as far as a plan can tell."""

    @property
    def trainable(self) -> int:
        return self.size - CARRIED

    @property
    def domain(self) -> Any:
        return np.array([-np.inf, 0.0, 0.0])


SMALL = Carrying(MODEL.features, MODEL.classes)
