"""A Keras model as one vector: which of its variables lie in it, and how the model is set to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import keras  # type: ignore[import-untyped]
import numpy as np

from ...rand import Key
from ...spec import Vector
from .. import NO_LOCAL, Local, Model, consecutive
from ..checks import check_length
from ..statistics import lower_ends
from . import optimizers
from .variables import Variable, by_path, cut, generator, joined, plain, put, size, value

# what of the caller's model is replaced while it trains
LENT = ("optimizer", "train_function", "test_function", "predict_function")


class FlatKeras(Model):
    """A Keras model, and the vector x = [trainable weights, statistics that travel] that it is set
    to.

    A subclass says how it trains and scores at some x, which `_at` sets and takes back.
    """

    net: Any  # the caller's own
    buffers: Literal["average", "local"]

    def _flatten(self) -> None:
        """Tell the variables of `net` apart: those that are trained, statistics that travel, other
        statistics, and the states of its seed generators.
        """
        net = self.net
        self._weights: list[Variable] = list(net.trainable_variables)
        layers = [layer for layer in net._flatten_layers() if layer.trainable]
        moving = {id(v): v for layer in layers for v in layer._non_trainable_variables}.values()
        self._vectored = list(self._weights)
        if self.buffers == "average":
            self._vectored += [v for v in moving if keras.backend.is_float_dtype(v.dtype)]
        travels = set(map(id, self._vectored))
        self._staying = [(f"{i}/{v.name}", v) for i, v in enumerate(moving) if id(v) not in travels]
        self._seeds = [v for v in net.variables if v.name == "seed_generator_state"]
        self._first = {name: value(v) for name, v in self._staying}
        self._start = joined(self._vectored)
        self.size = len(self._start)
        self._trainable = sum(size(v) for v in self._weights)
        if self.buffers == "local" and self._staying:
            self.traits = replace(self.traits, remembers=True, statistics=True)

    @property
    def trainable(self) -> int:
        """How many of the numbers are trained: all but the statistics."""
        return self._trainable

    @property
    def domain(self) -> Vector:
        """Every `moving_variance` is ≥ 0."""
        return lower_ends((v.path, size(v)) for v in self._vectored[len(self._weights) :])

    def start(self, key: Key) -> Vector:
        """The weights that `net` had when it was given: the caller's seed decides, not the
        plan's.
        """
        return self._start.copy()

    def _load(self, x: Vector, local: Local) -> None:
        """Set the net to x, and the statistics that do not travel to the client's own or the first
        ones.
        """
        check_length(np.shape(x), self)
        put(zip(self._vectored, cut(x, self._vectored), strict=True))
        put((v, np.asarray(local.get(name, self._first[name]))) for name, v in self._staying)

    @contextmanager
    def _at(self, x: Vector, key: Key, local: Local = NO_LOCAL) -> Iterator[None]:
        """The net at x, with random numbers from the key; all that the caller's net had is given
        back.
        """
        net = self.net
        variables = (*net.variables, *net.metrics_variables)
        had = [(v, value(v)) for v in variables]
        held = {name: getattr(net, name, None) for name in LENT}
        try:
            with generator(keras.backend.backend(), key), optimizers.beside(net):
                self._load(x, local)
                put(
                    (v, np.array([key.child("seed", i).seed(31), 0]))
                    for i, v in enumerate(self._seeds)
                )
                yield
        finally:
            put(had)
            for name, own in held.items():
                object.__setattr__(net, name, own)  # past Keras' trackers, which need not know

    def slices(self) -> dict[str, slice]:
        """The trained weights and the statistics that travel, by their paths."""
        names = {id(v): name for name, v in by_path(self.net.weights).items()}
        sizes = ((names[id(v)], size(v)) for v in self._vectored)
        return consecutive(sizes)

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """All weights as NumPy arrays, by their path in the model, such as
        "sequential/dense/kernel".
        """
        with self._at(x, Key.of(0), local):
            return {name: plain(v) for name, v in by_path(self.net.weights).items()}

    def load(self, x: Vector) -> Any:
        """Put x into the model that was given, and return it, ready for `save`, `evaluate` and
        `predict`.
        """
        with self._at(x, Key.of(0)):
            values = [(v, value(v)) for v in self._vectored]
        put(values)
        return self.net
