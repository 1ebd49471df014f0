"""Pytrees as one vector: where each array of parameters and state lies in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import jax
import numpy as np
from jax import numpy as jnp

from ...data.blocks import Layout
from ...rand import Key
from ...spec import Vector
from .. import NO_LOCAL, Local, Model, consecutive
from ..checks import check_length
from ..statistics import lower_ends
from .pytrees import Tree, is_key, path_of, to_host


class FlatTree(Model):
    """Parameters and state, and the vector x = [parameters, arrays of the state that travel].

    A subclass says how it trains and scores at some x, whose pytrees `_trees` gives.
    """

    buffers: Literal["average", "local"]

    def _flatten(self, params: Tree, state: Tree) -> None:
        """Where each array of `params` lies in the vector, and behind them those of `state` that
        travel.
        """
        self._form: Any
        self._state_form: Any
        leaves, self._form = jax.tree_util.tree_flatten_with_path(params)
        self._names = [path_of(path) for path, _ in leaves]
        first = [np.asarray(leaf, np.float32) for _, leaf in leaves]
        self._shapes = [leaf.shape for leaf in first]
        kept, self._state_form = jax.tree_util.tree_flatten_with_path(state)
        self._first = {f"state.{path_of(path)}": to_host(leaf) for path, leaf in kept}
        self._moving = {
            name: leaf.shape
            for name, leaf in self._first.items()
            if self.buffers == "average"
            and not is_key(leaf)
            and leaf.dtype.kind == "f"
            and np.isfinite(leaf).all()
        }
        first += [self._first[name] for name in self._moving]
        self._layout = Layout(tuple(leaf.shape for leaf in first))
        self._start = self._layout.join(first)
        self._trained = sum(leaf.size for leaf in first[: len(leaves)])
        self.size = len(self._start)
        if self.buffers == "local" and not all(map(is_key, self._first.values())):
            self.traits = replace(self.traits, remembers=True, statistics=True)

    @property
    def trainable(self) -> int:
        """How many of the numbers are trained: all but the state."""
        return self._trained

    @property
    def domain(self) -> Vector:
        """What the state calls `var` or `variance`, or holds below `var_ema`, is ≥ 0."""
        return lower_ends((name, math.prod(shape)) for name, shape in self._moving.items())

    def start(self, key: Key) -> Vector:
        """The parameters as they were given: the caller's seed decides, not the plan's."""
        return self._start.copy()

    def _trees(self, x: Vector, local: Local = NO_LOCAL) -> tuple[Tree, Tree]:
        """Parameters and state of x, in the host's memory; what of the state does not travel is the
        client's own.
        """
        check_length(np.shape(x), self)
        found = self._layout.split(x)
        params = found[: len(self._shapes)]
        moving = dict(zip(self._moving, found[len(self._shapes) :], strict=True))
        own = {name: np.array(leaf) for name, leaf in local.items()}
        state = [moving.get(name, own.get(name, first)) for name, first in self._first.items()]
        return self._form.unflatten(params), self._state_form.unflatten(state)

    def params(self, x: Vector) -> Tree:
        """The parameters of x, as the pytree that was given."""
        return jax.tree.map(jnp.asarray, self._trees(x)[0])

    def state(self, x: Vector) -> Tree:
        """The state of x, as the pytree that was given; None where there was none."""
        return jax.tree.map(jnp.asarray, self._trees(x)[1])

    def slices(self) -> dict[str, slice]:
        """The parameters, and the arrays of the state that travel, by their paths."""
        names = [*self._names, *self._moving]
        sizes = [place.stop - place.start for place in self._layout.places]
        return consecutive(zip(names, sizes, strict=True))

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The arrays of parameters and state by their paths; those of the state begin with
        "state.".
        """
        params, state = self._trees(x, local)
        found = zip(
            [*self._names, *self._first],
            [*jax.tree.leaves(params), *jax.tree.leaves(state)],
            strict=True,
        )
        return {name: leaf for name, leaf in found if isinstance(leaf, np.ndarray)}
