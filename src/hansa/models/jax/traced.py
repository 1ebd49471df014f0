"""What JAX traces of a model: apply, loss and metrics, of a batch and of each of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax import numpy as jnp

from ...data.batches import Batch
from ...data.inputs import LABELS, parts
from ...metrics import Mean, Whole
from . import checks
from .flat import FlatTree
from .private import mean
from .pytrees import Tree, forms, key_words, wrap_key
from .scores import copies, furthest, row, summed


class Traced(FlatTree):
    """What is traced, once for each shape: functions of parameters, state and batch.

        apply     (params, *inputs, state=, key=, train=) → outputs, or (outputs, state)
        loss      (outputs, targets) → a number for each example [n, …], or their mean

    A function here is run by Python once for each shape of its arguments, and its numbers are
    symbols then.
    """

    apply: Callable[..., Any]
    loss: Callable[[Any, Array], Array]
    _takes: list[str]
    _measured: dict[str, Whole]

    def _call(
        self, params: Tree, state: Tree, inputs: Any, named: Any, key: Array, train: bool
    ) -> Any:
        """Outputs and new state.

        apply gets by name what it has names for. PlanError where it takes a state and returns none
        like it.
        """
        # Flax nnx's own nodes, new in this trace
        params, state = jax.tree.map(lambda leaf: leaf, (params, state))
        more = {"state": state, "key": key, "train": train}
        taken = {name: more[name] for name in self._takes}
        out = self.apply(params, *inputs, **named, **taken)
        if "state" not in self._takes:
            return out, state
        both = isinstance(out, tuple) and len(out) == 2
        checks.check_state(not both or forms(out[1]) != forms(state))
        return out

    def _given(self, params: Tree, state: Tree, batch: Batch) -> Any:
        """Outputs of a batch, with train=False."""
        inputs, named, _ = parts(batch, LABELS)
        key = wrap_key(key_words(None))
        return self._call(params, state, inputs, named, key, False)[0]

    def _losses(self, outputs: Any, y: Array) -> Any:
        """What the loss gives; PlanError where it is neither a number for each example nor one for
        all.
        """
        losses: Any = self.loss(outputs, y)
        fits = (
            isinstance(losses, Array)
            and losses.dtype.kind == "f"
            and losses.shape[:1] in ((), (len(y),))
        )
        checks.check_losses(not fits, losses, len(y))
        return losses

    def _measure(
        self, each: bool, params: Tree, state: Tree, inputs: Any, named: Any, y: Array, size: Any
    ) -> tuple[Tree, dict[str, tuple[Array, Array]]]:
        """Outputs, and the sum and the denominator of each mean over the first `size` rows; with
        `each` those of every row alone [rows].

        The filling of a batch lies behind the first `size` rows; no key is drawn from, for
        train=False.
        """
        key = wrap_key(key_words(None))
        outputs, _ = self._call(params, state, inputs, named, key, False)
        if not each:
            return outputs, self._sums(outputs, y, size)

        def alone(i: Array) -> dict[str, tuple[Array, Array]]:
            """The sums of row i."""
            one, target = row((outputs, y), i, len(y))
            return self._sums(one, target, 1)

        return outputs, jax.vmap(alone)(jnp.arange(len(y)))

    def _sums(self, outputs: Any, y: Array, size: Any) -> dict[str, tuple[Array, Array]]:
        """The sum and the denominator of each mean over the first `size` rows."""
        return {name: summed(value, size) for name, value in self._means(outputs, y).items()}

    def _means(self, outputs: Any, y: Array) -> dict[str, Any]:
        """What the loss gives, and each metric that is a mean."""
        means = {name: one for name, one in self._measured.items() if isinstance(one, Mean)}
        return {"loss": self._losses(outputs, y)} | {
            name: one.function(outputs, y) for name, one in means.items()
        }

    def _try(
        self, params: Tree, state: Tree, inputs: Any, named: Any, y: Array, size: Any
    ) -> tuple[Any, Array, Array]:
        """Outputs, the mean loss, and how far an example's loss is at most from what it is among
        copies of itself: of its outputs, where batch statistics mix them rightly.

        `size` rows count in the mean, and all in the comparison, which is 0 where the loss gives a
        single number.
        """

        key = wrap_key(key_words(None))

        def losses(inputs: Any, named: Any, y: Array) -> tuple[Any, Array]:
            """Outputs and losses, in training."""
            outputs, _ = self._call(params, state, inputs, named, key, True)
            return outputs, self._losses(outputs, y)

        outputs, found = losses(inputs, named, y)
        if found.ndim == 0:
            return outputs, found, jnp.zeros(())

        def alone(i: Array) -> Any:
            """The loss of row i among its copies."""
            if self._first:
                same = copies((outputs, y), i, len(y))
                return mean(self._losses(*same), 1)
            same = copies((inputs, named, y), i, len(y))
            return mean(losses(*same)[1], 1)

        return outputs, mean(found, size), furthest(found, alone)
