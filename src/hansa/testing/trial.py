"""A model on trial: one client's data, weights to start from, and trainings of many kinds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data import Examples
from ..errors import PlanError
from ..models import NO_LOCAL, Drift, Local, Model, TrainResult
from ..spec import Vector
from ..training import OPTIMIZERS, Training
from .asserts import KEY, equal, require

PLAIN = Drift()  # a training that is drawn nowhere


@dataclass(frozen=True, repr=False)
class Trial:
    """A model that is tried: from weights x [size], on one client's data, by a training.

    close: how far a number may be off where exact arithmetic would make two equal, beside numbers
    of size 1.
    """

    model: Model
    x: Vector
    data: Examples
    training: Training
    close: float

    def __repr__(self) -> str:
        """The model alone, as sentences begin with it."""
        return repr(self.model)

    @property
    def trained(self) -> Vector:
        """Which numbers of the model are trained, [size] of truth values."""
        return np.arange(self.model.size) < self.model.trainable

    @property
    def near(self) -> float:
        """How far a number may be off beside the largest of x."""
        return self.close * max(1.0, float(np.abs(self.x).max()))

    def by(self, **changes: Any) -> Trial:
        """The same by another training."""
        return replace(self, training=replace(self.training, **changes))

    def by_each_optimizer(self, **changes: Any) -> Iterator[Trial]:
        """The same by trainings with each optimizer that plan() accepts."""
        for optimizer in OPTIMIZERS:
            try:
                other = self.by(optimizer=optimizer, **changes)
                self.model.plan(other.training)
            except PlanError:
                continue
            yield other

    def one_step(self, **changes: Any) -> Trial:
        """The same by one step of plain SGD on all examples:  y = x − η·g."""
        return self.by(batch=0, steps=1, optimizer="sgd", weight_decay=0.0, **changes)

    def fit(self, drift: Drift = PLAIN, key: object = 0, local: Local = NO_LOCAL) -> TrainResult:
        """One training, by a client that remembers nothing but `local`.

        It may modify neither x nor that, and gives finite numbers and a finite loss.
        """
        x = self.x
        before = x.copy()
        own = copy.deepcopy(dict(local))
        fit = self.model.train(x, self.data, self.training, drift, KEY.child(key), local)
        require(
            equal(x, before),
            f"{self!r}: train() modifies the vector it starts from; work on a copy.",
        )
        require(
            equal(dict(local), own),
            f"{self!r}: train() modifies the client's own statistics; work on a copy.",
        )
        require(
            isinstance(fit.x, np.ndarray) and fit.x.shape == x.shape and np.isfinite(fit.x).all(),
            f"{self!r}: train() must give {self.model.size} finite numbers in one NumPy array; is "
            "the learning rate too high?",
        )
        require(
            math.isfinite(fit.loss),
            f"{self!r}: train() must give the mean loss of its steps, not {fit.loss!r}.",
        )
        return fit
