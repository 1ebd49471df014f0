"""Batches as a Keras model takes them, and its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np

from ...data.batches import Batch
from ...data.inputs import sides
from ...spec import Vector
from . import checks, inspect
from .variables import given


class Feed:
    """What goes into a net: inputs, targets, and how much each example counts."""

    def __init__(self, net: Any):
        self.net = net
        outputs = getattr(net, "outputs", None) or ()
        self._ranks = [len(one.shape) for one in outputs]
        losses = inspect.losses(net, keras.losses.get)
        self._unweighed = (
            type(net).__name__,
            inspect.own_steps(net, keras.Model),
            inspect.alike(net, keras.KerasTensor((None, 1))),
            any(map(inspect.leaves_out, losses)),
        )

    def data(self, batch: Batch) -> tuple[Any, Any]:
        """Inputs and targets as Keras takes them: one array, several by position, or several by
        name.
        """
        inputs, targets = sides(batch, len(self._ranks) or 1)
        names = getattr(self.net, "output_names", None) or ()
        if isinstance(targets, Mapping) and targets.keys() == set(names):
            targets = {name: targets[name] for name in names}
        return given(inputs), given(targets)

    def given(self, batch: Batch, shares: Vector | None) -> tuple[Any, ...]:
        """Both, and how much each example counts where they do not count alike; DataError where
        Keras would pass that over.
        """
        if shares is None:
            return self.data(batch)
        checks.check_weighted(*self._unweighed)
        x, y = self.data(batch)
        # an example may have a loss for each of its tokens
        more = [1] * (max(self._ranks, default=2) - 2)
        return x, y, np.asarray(shares, np.float32).reshape(-1, *more)

    def reply(self, x: Any) -> Any:
        """The outputs of some rows."""
        if self.net._call_has_training_arg:
            return self.net(x, training=False)
        return self.net(x)
