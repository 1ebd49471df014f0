"""What KerasModel measures of all outputs at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np

from ...data.batches import Batch, length, pieces, relative, weighed
from ...data.examples import Examples
from ...metrics import Gathered, Whole, check_ready, check_weights, joined, metric
from ...spec import Vector
from . import checks, inspect
from .feed import Feed

CHECKED, SCORED = 32, 256  # rows that go through the model at once: to check it, to score it
ALONE = 16  # rows that go through one by one, to see whether weights count the loss of each


def scored(data: Examples) -> Iterator[tuple[Batch, Vector | None]]:
    """The pieces in which examples are scored, and how much each counts: its weight over the mean
    of all, so that a mean over rows is Σ wᵢ lᵢ / Σ wᵢ; None where they count alike.
    """
    wholes = data.whole()
    first = list(itertools.islice(wholes, 1))
    weighs = any(weighed(one)[1] is not None for one in first)
    mean = None
    if weighs:
        mean = _mean_weight(data)
    for whole in itertools.chain(first, wholes):
        for batch in pieces(whole, SCORED):
            shares = None
            if weighs:
                batch, weights = weighed(batch)
                assert weights is not None
                if mean:
                    shares = weights / mean
            yield batch, shares


def _mean_weight(data: Examples) -> float | None:
    """The mean weight of all examples; None where they count alike."""
    weights: Any = [weighed(whole)[1] for whole in data.whole()]
    every = np.concatenate(weights)
    if relative(every) is None:
        return None
    return float(every.mean(dtype=np.float64))


class Outputs:
    """The metrics of a net's outputs, and its loss where that is not known to be a mean over
    examples: Keras' own, and those of a `test_step` of one's own, are left to Keras.
    """

    def __init__(self, feed: Feed, metrics: Mapping[str, Any], compiled: Mapping[str, Any]):
        self.feed = feed
        self.net = net = feed.net
        self.metrics = {name: metric(one) for name, one in metrics.items()}
        self._compiled: Any = None  # what predicts, once it is there
        losses = inspect.losses(net, keras.losses.get)
        checks.check_measured(self.metrics, compiled, losses)
        kept = type(net).test_step is keras.Model.test_step
        summed = type(net).compute_loss is not keras.Model.compute_loss
        self.whole = kept and (summed or not all(map(inspect.is_mean, losses)))

    def scores(self, batches: Iterable[tuple[Batch, Vector | None]]) -> dict[str, float]:
        """name → value, of examples that come in pieces, and how much each counts.

        Nothing, where there are neither metrics nor a loss that needs all outputs: then no outputs
        are computed.
        """
        if not self.metrics and not self.whole:
            return {}
        inputs = list[Any]()

        def whole(outputs: Any, given: Any) -> float:
            """The loss of all outputs, with their inputs and what else is given."""
            return self.loss(joined(inputs), given[0], outputs, *given[1:])

        object.__setattr__(self.net, "predict_function", self._compiled)
        found = Gathered(self.metrics, joined)
        loss = Gathered({}, joined)
        if self.whole:
            loss = Gathered({"loss": Whole(whole)}, joined)
        for batch, shares in batches:
            x, *given = self.feed.given(batch, shares)
            outputs = self.net.predict_on_batch(x)
            found.add(outputs, given[0], shares)
            if self.whole:
                loss.hold(outputs, given)
                inputs.append(x)
        self._compiled = self.net.predict_function
        return found.values() | loss.values()

    def loss(self, x: Any, y: Any, outputs: Any, weights: Vector | None = None) -> float:
        """What `compute_loss` gives for these rows.

        x, y and outputs are what Keras takes, and weights [n] count each example.
        """
        more = {}
        if weights is not None:
            more = {"sample_weight": weights}
        loss = self.net.compute_loss(x=x, y=y, y_pred=outputs, **more)
        return float(keras.ops.convert_to_numpy(loss))

    def check_shares(self, some: Batch) -> None:
        """Raise DataError where weights would not count the loss of each of these examples."""
        rows = length(some)
        shares = np.arange(1, rows + 1) * 2 / (rows + 1)
        check_weights(self.metrics, shares)
        found = self._loss(some, shares)
        alone = [self._loss(one, None) for one in pieces(some, 1)]
        each = np.array(alone)
        if np.isfinite(each).all():  # near the start it need not be
            checks.check_shares(found, self._loss(some, None), each, shares)

    def _loss(self, batch: Batch, shares: Vector | None) -> float:
        """The loss of a batch whose examples count so, or alike."""
        x, y, *weights = self.feed.given(batch, shares)
        return self.loss(x, y, self.feed.reply(x), *weights)

    def check(self, outputs: Any, y: Any, weighs: bool) -> None:
        """Raise an error where they cannot be measured."""
        checks.check_added(self.net, keras.tree.flatten(outputs), self.whole, weighs)
        plain = keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)
        check_ready(self.metrics, plain, y)
