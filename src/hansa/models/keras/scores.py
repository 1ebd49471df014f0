"""What KerasModel measures of all outputs at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras  # type: ignore[import-untyped]

from ...data.batches import Batch, pieces
from ...data.examples import Examples
from ...metrics import Gathered, Whole, check_ready, joined, metric
from . import checks, inspect

CHECKED, SCORED = 32, 256  # rows that go through the model at once: to check it, to score it


def scored(data: Examples) -> Iterator[Batch]:
    """The pieces in which examples are scored."""
    return (batch for whole in data.whole() for batch in pieces(whole, SCORED))


class Outputs:
    """The metrics of a net's outputs, and its loss where that is not known to be a mean over
    examples: Keras' own, and those of a `test_step` of one's own, are left to Keras.
    """

    def __init__(self, net: Any, metrics: Mapping[str, Any], compiled: Mapping[str, Any]):
        self.net = net
        self.metrics = {name: metric(one) for name, one in metrics.items()}
        self._compiled: Any = None  # what predicts, once it is there
        losses = inspect.losses(net, keras.losses.get)
        checks.check_measured(self.metrics, compiled, losses)
        kept = type(net).test_step is keras.Model.test_step
        summed = type(net).compute_loss is not keras.Model.compute_loss
        self.whole = kept and (summed or not all(map(inspect.is_mean, losses)))

    def scores(self, batches: Iterable[tuple[Any, Any]]) -> dict[str, float]:
        """name → value, of inputs and targets that come in pieces."""
        measured = dict(self.metrics)
        inputs = list[Any]()
        if self.whole:
            measured["loss"] = Whole(lambda outputs, y: self.loss(joined(inputs), y, outputs))
        if not measured:
            return {}
        object.__setattr__(self.net, "predict_function", self._compiled)
        found = Gathered(measured, joined)
        for x, y in batches:
            found.add(self.net.predict_on_batch(x), y)
            if self.whole:
                inputs.append(x)
        self._compiled = self.net.predict_function
        return found.values()

    def loss(self, x: Any, y: Any, outputs: Any) -> float:
        """What `compute_loss` gives for these rows."""
        loss = self.net.compute_loss(x=x, y=y, y_pred=outputs)
        return float(keras.ops.convert_to_numpy(loss))

    def check(self, outputs: Any, y: Any) -> None:
        """Raise an error where they cannot be measured."""
        checks.check_added(self.net, keras.tree.flatten(outputs), self.whole)
        plain = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
        check_ready(self.metrics, plain, y)
