"""Optimizers of Keras: the one that a plan names, and one that corrects gradients for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np

from ...spec import Vector
from ...training import MOMENTUM, RHO, TINY, Training
from .. import Drift
from .variables import Values, Variable, cut, put, value


@dataclass(frozen=True)
class Step:
    """One optimizer, the values that its variables start from, and Keras' training function
    compiled with it; where a plan names it, its learning rate is set before each training.
    """

    optimizer: Any
    rate: Variable | None
    correction: Corrected | None
    first: Values
    function: Callable[..., Any]

    def begin(self, rate: float) -> None:
        """All as before the first step, at this learning rate.

        Moments go back to 0 and schedules to their first step, so nothing of a client is left for
        the next.
        """
        put(self.first)
        if self.rate is not None:
            put([(self.rate, np.float32(rate))])


class TorchRMSprop(keras.optimizers.Optimizer):  # type: ignore[misc]
    """v ← αv + (1 − α)g²,  y ← y − η g/(√v + ε):  as PyTorch has it, where Keras' own has √(v + ε).

    α = RHO, ε = TINY.
    """

    def build(self, variables: list[Variable]) -> None:
        """Make the v of each."""
        super().build(variables)
        self.squares = self.add_optimizer_variables(variables, "square")

    def update_step(self, gradient: Any, variable: Variable, learning_rate: Any) -> None:
        """One step of one weight.

        gradient and variable are of one shape, and computed with in the type of the variable.
        """
        g = keras.ops.cast(gradient, variable.dtype)
        eta = keras.ops.cast(learning_rate, variable.dtype)
        square = self.squares[self._get_variable_index(variable)]
        v = RHO * square + (1 - RHO) * g * g
        self.assign(square, v)
        self.assign_sub(variable, eta * g / (keras.ops.sqrt(v) + TINY))


class Corrected(keras.optimizers.Optimizer):  # type: ignore[misc]
    """Hands clip(g) + pull·(y − centre) + shift + λy to another optimizer, of the weights that are
    moved, and takes the share of its step that each has; the last four are variables, so nothing
    recompiles.

        y ← y + share·(step(y, clip(g) + pull·(y − centre) + shift + λy) − y)

    inner: the one that steps. moved: for each weight, is it moved? drifts: is there a drift, which
    moves what the loss does not reach as well? clip: C of the norm of g.
    """

    def __init__(
        self,
        inner: Any,
        moved: Sequence[bool],
        drifts: bool,
        clip: float | None = None,
        shares: Sequence[float] = (),
    ):
        super().__init__(learning_rate=0.0, name="corrected")
        self.inner = inner
        self.moved = moved
        self.drifts = drifts
        self.clip = clip
        self.shares = shares

    def build(self, variables: list[Variable]) -> None:
        """Make the variables of both."""
        self.inner.build(variables)
        super().build(variables)
        self.decay = self.add_variable((), name="decay")
        self.pull = [self.add_variable_from_reference(v, "pull") for v in variables]
        self.centre = [self.add_variable_from_reference(v, "centre") for v in variables]
        self.shift = [self.add_variable_from_reference(v, "shift") for v in variables]

    def put(self, drift: Drift, x: Vector, decay: float) -> None:
        """Take up a drift, and a decay λ.

        Vectors are [size]; what lies behind the trained numbers, statistics, is not read.
        """
        put([(self.decay, np.float32(decay))])
        pull = np.broadcast_to(drift.pull, np.shape(x))
        put(zip(self.pull, cut(pull, self.pull), strict=True))
        put(zip(self.centre, cut(drift.about(x), self.centre), strict=True))
        shift = drift.shift
        if shift is None:
            shift = np.zeros_like(x)
        put(zip(self.shift, cut(shift, self.shift), strict=True))

    @property
    def variables(self) -> list[Variable]:
        """Those of both optimizers."""
        return [*self._variables, *self.inner.variables]

    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None
    ) -> None:
        """One step along the corrected gradient.

        grads: one for each weight, or None where the loss does not reach it. Those that stay are
        handed to nobody, so that no moment of theirs changes.
        """
        ys = list(trainable_variables or self._trainable_variables)
        pairs = [(g, y) for g, y in zip(grads, ys, strict=True) if self._moves(g, y)]
        if self.clip is not None:
            pairs = [(g, y) for g, (_, y) in zip(self._clipped(pairs), pairs, strict=True)]
        slow = [y for _, y in pairs if self._share(y) < 1]
        before = [keras.ops.copy(y) for y in slow]
        self.inner.apply([self._correct(g, y) for g, y in pairs], [y for _, y in pairs])
        for y, old in zip(slow, before, strict=True):
            y.assign(old + self._share(y) * (y - old))

    def _share(self, y: Variable) -> float:
        """The share of a step that it takes."""
        if not self.shares:
            return 1.0
        index: int = self._get_variable_index(y)
        return self.shares[index]

    def _clipped(self, pairs: Sequence[tuple[Any, Variable]]) -> list[Any]:
        """g · min(1, C/‖g‖₂) of each; the norm is that of all together."""
        ops = keras.ops
        each = [None if g is None else ops.convert_to_tensor(g) for g, _ in pairs]
        squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in each if g is not None]
        norm = ops.sqrt(sum(squares))
        scale = ops.minimum(1.0, self.clip / norm)
        return [None if g is None else g * ops.cast(scale, g.dtype) for g in each]

    def _moves(self, g: Any, y: Variable) -> bool:
        """Is it to be moved? Keras passes by what has no gradient; a drift is one, of all."""
        index: int = self._get_variable_index(y)
        return self.moved[index] and (self.drifts or g is not None)

    def _correct(self, g: Any, y: Variable) -> Any:
        """g + pull·(y − x₀) + shift + λy of one variable; without a g, the rest alone."""
        i = self._get_variable_index(y)
        decay = keras.ops.cast(self.decay, y.dtype)
        more = self.pull[i] * (y - self.centre[i]) + self.shift[i] + decay * y
        scale = self.inner.loss_scale_factor
        if scale:
            more = more * scale  # the inner one divides by it
        if g is None:
            return more
        return keras.ops.convert_to_tensor(g) + more

    def scale_loss(self, loss: Any) -> Any:
        """As the inner one does."""
        return self.inner.scale_loss(loss)


def compile_anew(net: Any) -> None:
    """Make Keras' training function with the optimizer that the net has now.

    JAX keeps a program for each method, whatever optimizer it found there when it was made; so the
    method has to be another one.
    """
    object.__setattr__(net, "train_step", partial(net.train_step))
    try:
        net.make_train_function(force=True)
    finally:
        object.__delattr__(net, "train_step")


def inner(optimizer: Any) -> Any:
    """The optimizer below a LossScaleOptimizer."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def copied(optimizer: Any) -> Any:
    """Another of the same settings, which has done nothing yet.

    Made from its configuration, as Keras saves it.
    """
    return type(optimizer).from_config(optimizer.get_config())


@contextmanager
def beside(net: Any) -> Iterator[None]:
    """Optimizers of the model's own as before their first step; afterwards they are as they
    were.
    """
    own = _beside(net)
    had = [(one, [(v, value(v)) for v in one.variables]) for one in own if one.built]
    new = [one for one in own if not one.built]
    for one, _ in had:
        put(anew(one))
    try:
        yield
    finally:
        for _, values in had:
            put(values)
        for one in new:
            put(anew(one))


def _beside(net: Any) -> list[Any]:
    """Such as the two of a GAN; not the one of `compile`."""
    parts = (net, *net._flatten_layers())
    held = [one for part in parts for one in vars(part).values()]
    held += [one for some in held if isinstance(some, list | tuple) for one in some]
    held += [one for some in held if isinstance(some, dict) for one in some.values()]
    found = {id(one): one for one in held if isinstance(one, keras.optimizers.Optimizer)}
    return [one for one in found.values() if one is not net.optimizer]


def anew(optimizer: Any) -> Values:
    """The variables of an optimizer, with the values that they have before its first step; none
    where it has never been built.
    """
    if not optimizer.built:
        return []
    other = copied(optimizer)
    other.build(optimizer._trainable_variables)
    return [(v, value(new)) for v, new in zip(optimizer.variables, other.variables, strict=True)]


def named(training: Training) -> Any:
    """The optimizer that `Training` names; λ is added to the gradient before it, but for adamw."""
    rate = training.learning_rate
    optimizers = keras.optimizers
    if training.optimizer == "momentum":
        return optimizers.SGD(float(rate), momentum=MOMENTUM)
    if training.optimizer == "rmsprop":
        return TorchRMSprop(float(rate))
    if training.optimizer == "adam":
        return optimizers.Adam(float(rate))
    if training.optimizer == "adamw":
        return optimizers.AdamW(float(rate), weight_decay=training.weight_decay)
    return optimizers.SGD(float(rate))


def differences(own: Any, training: Training) -> str:
    """In which settings the compiled optimizer and that of the plan differ, in words.

    Nothing where all settings are alike.
    """
    if training.schedule is not None:
        return "its learning rate, which a schedule changes"
    if training.rates:
        return "its learning rate, of which parts have another"
    other = named(training)
    if type(own) is not type(other):
        return f"its kind, {type(other).__name__}"
    a, b = (
        {k: v for k, v in optimizer.get_config().items() if k != "name"}
        for optimizer in (own, other)
    )
    if training.weight_decay and training.optimizer != "adamw":  # which goes into the gradient
        b["weight_decay"] = training.weight_decay
    return ", ".join(f"{k} ({b.get(k)!r}, compiled: {a[k]!r})" for k in a if a[k] != b.get(k))
