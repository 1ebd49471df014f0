"""JAX: any pytree of parameters and any function of it; a client's whole training is one compiled
loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Any, Literal

import numpy as np

from ...data.batches import Batch, pieces, spread, target
from ...data.blocks import blocks, lengthened, noises, power
from ...data.examples import Examples
from ...data.inputs import LABELS, parts
from ...errors import PlanError, refuse
from ...metrics import LOSS, RATE, Gathered, Mean, Whole, bounds, check_ready, metric, undefined
from ...rand import Key
from ...spec import Vector
from ...training import Training
from .. import NO_LOCAL, Drift, Local, TrainResult
from ..checks import (
    check_apart,
    check_blind,
    check_choices,
    check_finite,
    check_some,
    fingerprint,
    parameter_names,
    passing,
    shaken,
    spell,
    spelled,
)
from ..parts import moves
from . import checks
from .losses import ACCURACY, fit, known

try:
    import jax
    from jax import Array, lax
    from jax import numpy as jnp
except ModuleNotFoundError as missing:
    raise PlanError(
        "JAX is not installed.", "JaxModel trains with it.", "Install it: pip install 'hansa[jax]'."
    ) from missing

# behind the message on what is missing
from .flat import FlatTree
from .private import clipped, mean
from .pytrees import Tree, forms, is_key, key_words, path_of, wrap_key
from .scores import copies, first, furthest, joined, summed
from .steps import MOMENTS, bounded, corrected, only, stepped

# (outputs, targets) → one number for each example [n, …], or their mean
Loss = Callable[[Any, Array], Array]

# rows that go through at once, to check and to score them; one by one, to compare their losses
CHECKED, SCORED, ALONE = 32, 256, 16
OPTIONS = {"xla_cpu_multi_thread_eigen": False}


def cross_entropy(outputs: Array, targets: Array) -> Array:
    """−log softmax(outputs)[target] for each example: outputs [n, …, C], targets [n, …] from 0."""
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[..., None], -1)[..., 0]


class JaxModel(FlatTree):
    """Any pytree of parameters, any function of it and any loss; the federation starts from the
    parameters given.

        outputs = apply(params, *inputs)                 state=, key=, train= besides, those that
        `apply` has names for
        g ← clip(∂loss/∂y) + pull·(y − x₀) + shift       each batch
        sgd       y ← y − η (g + λy)
        momentum  m ← βm + g + λy,  y ← y − ηm           β = MOMENTUM
        rmsprop   v ← αv + (1 − α)g²,  y ← y − η g/(√v + ε),  g with λy   (Tieleman and Hinton 2012)
        adam      Adam with g + λy   (Kingma and Ba 2015, Alg. 1)
        adamw     λ apart from g     (Loshchilov and Hutter 2019, Alg. 2)

    η is the learning rate, λ the weight decay, clip that of `Training`; α = RHO, ε = TINY as in
    PyTorch. m, v and Adam's moments start at 0 in each training. What a loss does not reach has the
    gradient 0 in JAX, so it decays, as with optax.

    `loss`: a function of outputs and targets. Where it gives one number for each example, as
    optax's losses do, a short batch is filled up and the filling left out of the mean, so that one
    compiled program serves all. Where it gives their mean, a short batch is compiled apart.

    `state`: what `apply` changes but no gradient does, such as batch statistics. Then `apply` takes
    `state` and returns (outputs, state), and short batches are compiled apart, for filling would
    enter the statistics.

    `buffers`: "average" sends the state along, that is, its floating-point arrays that start
    finite; all others start each training as given. "local" sends none: each client keeps its own
    (Li et al. 2021, "FedBN"), and `score` outside of a client has the one given.

    `metrics`: name → a metric of hansa.metrics, or (function, bound), besides the loss. Where it is
    not given there is an accuracy for `cross_entropy` of this module and for optax's
    cross-entropies; else the loss alone. A loss that gives one number for all examples is scored on
    all at once.

    Equal bytes: batches and `key` come from the plan's key. XLA's kernels run on one thread here,
    since a matrix product depends in its last bits on how many share it; more cores are more
    workers. Other kinds of CPU may round differently. On the CPU XLA computes convolutions ten
    times slower inside a loop than outside, so a network with convolutions is stepped from Python.
    `compiled` counts the programs made for training: one for each shape.

    The digest covers the shapes of parameters and state, the code of `apply`, loss and metrics, and
    the module that `apply` is a method of; not the first values.
    """

    private = True
    partial = True
    clips = True
    draws = False  # what is drawn while a program is made is refused

    def __init__(
        self,
        params: Tree,
        apply: Callable[..., Any],
        loss: Loss,
        state: Tree = None,
        buffers: Literal["average", "local"] = "average",
        metrics: Mapping[str, Any] | None = None,
    ):
        takes = parameter_names(apply)
        rest = check_choices(buffers, metrics, 1)
        leaves = [
            (path_of(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
        ]
        of_calls = checks.check_apply(apply, loss, state is not None, "state" in takes)
        blind = check_blind(loss, "JaxModel")
        refuse(chain(checks.check_leaves(leaves), of_calls, blind, rest))
        self.apply = apply
        self.loss = loss
        self.buffers = buffers
        self.compiled = 0
        self._takes = [name for name in ("state", "key", "train") if name in takes]
        self._known = known(loss)
        if metrics is None:
            metrics = {}
            if self._known in ACCURACY:
                metrics = {"accuracy": Mean(ACCURACY[self._known], RATE)}
        self._measured = {name: metric(given) for name, given in metrics.items()}
        self.undefined = undefined(self._measured)
        self.metrics = {"loss": LOSS if self._known in ACCURACY else math.inf}
        self.metrics |= bounds(self._measured)
        self._flatten(params, state)
        self._facts: checks.Facts | None = None
        # memory for batches; free again when a block's losses are there
        self._kept = dict[Any, Vector]()
        compiled = partial(
            jax.jit, compiler_options=OPTIONS if jax.default_backend() == "cpu" else None
        )
        self._fit = compiled(self._loop, static_argnums=0)
        self._one = compiled(self._step, static_argnums=0, donate_argnums=2)
        self._scored, self._tried = compiled(self._measure), compiled(self._try)

    def __reduce__(self) -> tuple[Any, ...]:
        """A new model from the parameters of the start, to be compiled where it arrives."""
        params, state = self._trees(self._start)
        return type(self), (params, self.apply, self.loss, state, self.buffers, self._measured)

    def __repr__(self) -> str:
        apply = spell(self.apply)
        loss = spell(self.loss)
        tensors = [
            *zip(self._names, self._shapes, strict=True),
            *((n, b.shape, b.dtype) for n, b in self._first.items()),
        ]
        metrics = spelled(self._measured)
        digest = fingerprint([repr((apply, loss, tensors, metrics)).encode()])
        shown = [apply if len(apply) <= 120 else f"{apply[:100].rstrip()} …", f"loss={loss}"]
        shown += [f"buffers={self.buffers!r}"] * bool(self._first)
        shown += [f"metrics={', '.join(self._measured)}"] * bool(metrics)
        return f"JaxModel({', '.join(shown)}, {self.size} numbers, {digest})"

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: the repr, and the code of `apply`, loss and metrics."""
        return repr(self), self.apply, self.loss, self._measured

    def plan(self, training: Training) -> None:
        """With PerExample, no state."""
        super().plan(training)
        checks.check_stateless(training.private is not None and bool(self._first))

    # ── training ──

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
    ) -> TrainResult:
        """Train from x, with the local optimizer that `training` names."""
        params, state = self._trees(x, local)
        facts = self._look(data)
        private = training.private
        b = training.private and training.counts(len(data))[0]
        bound = private.clip if private else training.clip
        rates = training.learning_rate, training.weight_decay
        given = (*rates, drift.alike, bound or 0, b or 1)
        drifts = [None if v is None else self._trees(v)[0] for v in drift.vectors(x)]
        clips = private is not None, training.clip is not None
        how = training.optimizer, *clips, tuple(moves(self, training).values())
        moments = tuple(
            [jax.tree.map(np.zeros_like, params) for _ in range(MOMENTS.get(training.optimizer, 2))]
        )
        carry = (params, moments, state, np.int32(0))
        losses = [np.zeros(0)]
        for block in blocks(
            data, training, key, facts.padded, 4 * self.size if private else 0, self._kept
        ):
            noise = (
                None
                if private is None
                else noises(block, private, self.size, key, sum(map(len, losses)))
            )
            batches = *parts(block.arrays, LABELS), block.sizes, noise
            run = self._fit if facts.fused else self._walk
            carry, found = run(
                how,
                np.int32(block.steps),
                carry,
                batches,
                (np.array(given, np.float32), drifts, key_words(key)),
            )
            losses.append(np.asarray(found, np.float64)[: block.steps])
        after = dict(zip(self._first, jax.tree.leaves(carry[2]), strict=True))
        stays = after if self.buffers == "local" else {}
        own = {name: np.array(leaf) for name, leaf in stays.items() if not is_key(leaf)}
        total = np.concatenate(losses)
        end = self._layout.join(
            [*jax.tree.leaves(carry[0]), *(after[name] for name in self._moving)]
        )
        return TrainResult(end, len(total), float(total.mean()), own)

    def _walk(
        self, how: Any, steps: Any, carry: Tree, batches: Tree, given: Tree
    ) -> tuple[Tree, Any]:
        """All steps of a block, one call for each."""
        # a copy, as each step writes over what it is given
        carry, losses = jax.tree.map(jnp.array, carry), []
        batches, given = jax.device_put((batches, given))
        for i in range(steps):
            carry, loss = self._one(how, np.int32(i), carry, batches, given)
            losses.append(loss)
        return carry, losses

    def _loop(self, how: Any, steps: Any, carry: Tree, batches: Tree, given: Tree) -> Any:
        """All steps of a block, compiled as one loop."""

        def step(i: Any, now: tuple[Tree, Array]) -> tuple[Tree, Array]:
            carry, loss = self._step(how, i, now[0], batches, given)
            return carry, now[1].at[i].set(loss)

        return lax.fori_loop(0, steps, step, (carry, jnp.zeros(len(batches[3]))))

    def _step(
        self, how: Any, i: Any, carry: Tree, batches: Tree, given: Tree
    ) -> tuple[Tree, Array]:
        """Step i of a block: traced once for each shape, and compiled."""
        self.compiled += 1
        (optimizer, private, clips, moved), (params, moments, state, t) = how, carry
        (eta, decay, pull, *bound), drifts, words = given
        inputs, named, y, size, _ = batch = jax.tree.map(lambda a: a[i], batches)
        key = jax.random.fold_in(wrap_key(words), t)

        def loss(params: Tree) -> tuple[Array, Tree]:
            outputs, after = self._call(params, state, inputs, named, key, True)
            return mean(self._losses(outputs, y), size), after

        if private:
            value, g, after = *self._clipped(params, batch, key, moved, *bound), state
        else:
            (value, after), g = jax.value_and_grad(loss, has_aux=True)(params)
        if clips:
            g = bounded(g, moved, bound[0])
        g = corrected(g, params, pull, drifts)
        new, moments = stepped(optimizer, params, g, moments, t + 1, eta, decay)
        params = only(moved, new, params)
        return (params, moments, after, t + 1), value

    def _clipped(
        self, params: Tree, batch: Tree, key: Array, moved: tuple[bool, ...], clip: Any, b: Any
    ) -> tuple[Array, Tree]:
        """The mean loss of a sample, and PerExample's gradient."""
        *parts, size, noise = batch

        def alone(params: Tree, inputs: Any, named: Any, y: Array, key: Array) -> Any:
            inputs, named, y = jax.tree.map(lambda a: a[None], (inputs, named, y))
            outputs, _ = self._call(params, None, inputs, named, key, True)
            return mean(self._losses(outputs, y), 1)

        total = [noise[place] for place in self._layout.places]
        how = jax.value_and_grad(alone), moved
        value, total = clipped(how, params, parts, size, key, clip, total)
        g = [leaf.reshape(shape) / b for leaf, shape in zip(total, self._shapes, strict=True)]
        return value, self._form.unflatten(g)

    def _call(
        self, params: Tree, state: Tree, inputs: Any, named: Any, key: Array, train: bool
    ) -> Any:
        """Outputs and new state."""
        # Flax nnx's own nodes, new in this trace
        params, state = jax.tree.map(lambda leaf: leaf, (params, state))
        more = {"state": state, "key": key, "train": train}
        out = self.apply(params, *inputs, **named, **{name: more[name] for name in self._takes})
        if "state" not in self._takes:
            return out, state
        checks.check_state(
            not (isinstance(out, tuple) and len(out) == 2) or forms(out[1]) != forms(state)
        )
        return out

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

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The loss and the other metrics of all examples, with train=False."""
        params, state = jax.device_put(self._trees(x, local))
        facts = self._look(data)
        loss = (Mean if facts.single else Whole)(self.loss)
        found = Gathered({"loss": loss, **self._measured}, joined)
        for whole in data.whole():
            for batch in pieces(whole, SCORED):
                m = len(target(batch))
                rows = power(m) if facts.scored else m
                given = parts(lengthened(batch, rows), LABELS)
                outputs, sums = self._scored(params, state, *given, np.int32(m))
                found.rows += m
                for name, (total, count) in sums.items():
                    found.count(name, total, float(count))
                if found.holds:
                    found.hold(first(outputs, m), given[2][:m])
        check_some(found.rows)
        return found.values()

    def _measure(
        self, params: Tree, state: Tree, inputs: Any, named: Any, y: Array, size: Any
    ) -> tuple[Tree, dict[str, tuple[Array, Array]]]:
        """Outputs, and the sum and the denominator of each mean over the first `size` rows."""
        outputs, _ = self._call(params, state, inputs, named, wrap_key(key_words(None)), False)
        means = self._means(outputs, y)
        return outputs, {name: summed(value, size) for name, value in means.items()}

    def _means(self, outputs: Any, y: Array) -> dict[str, Any]:
        """What the loss gives, and each metric that is a mean."""
        means = {name: one for name, one in self._measured.items() if isinstance(one, Mean)}
        return {"loss": self._losses(outputs, y)} | {
            name: one.function(outputs, y) for name, one in means.items()
        }

    def _look(self, data: Examples) -> checks.Facts:
        """The facts, from the first two examples that this model meets."""
        if self._facts is None:
            whole = data.arrays
            given = (
                *self._trees(self._start),
                *parts(next(pieces(whole or next(data.whole()), 2)), LABELS),
            )

            def both(params: Tree, state: Tree, inputs: Any, named: Any, y: Array) -> Any:
                outputs, _ = self._call(
                    params, state, inputs, named, wrap_key(key_words(None)), True
                )
                return self._means(outputs, y)

            with checks.undrawn():
                program, shapes = jax.make_jaxpr(both, return_shape=True)(*given)
            single = {name: bool(getattr(one, "ndim", 0)) for name, one in shapes.items()}
            slow = jax.default_backend() == "cpu" and "conv_general_dilated" in str(program)
            self._facts = checks.Facts(
                single["loss"] and not self._first, all(single.values()), not slow, single["loss"]
            )
        return self._facts

    # ── checking ──

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Send rows through `apply` and loss, as in training, and look at all labels."""
        few = next(pieces(next(data.whole()), CHECKED))
        with passing(few, who):
            single = self._look(data).single
            outputs, loss, _ = self._tried_at(self._start, few)
            check_ready(self._measured, outputs, target(few))
        for batch in data.whole():
            fit(self._known, outputs, target(batch), who)
        check_finite(loss, len(target(few)), who)
        some = spread(next(data.whole()), CHECKED)
        for x in (self._start, shaken(self._start, self.trainable)):
            _, loss, apart = self._tried_at(x, some)
            checks.check_mixed(apart > 1e-3 * (1 + abs(loss)))
            if training is not None and training.private and not single:
                self._check_apart(x, spread(some, ALONE), who)

    def _check_apart(self, x: Vector, some: Batch, who: str) -> None:
        """Raise DataError where the loss of some examples is not the mean of each one's."""
        loss, *alone = [self._tried_at(x, one)[1] for one in (some, *pieces(some, 1))]
        if x is self._start or math.isfinite(loss):
            check_apart(loss, alone, who)

    def _tried_at(self, x: Vector, batch: Batch) -> tuple[Any, float, float]:
        """What `_try` finds at x."""
        n = len(target(batch))
        single = self._facts is not None and self._facts.single
        given = parts(lengthened(batch, CHECKED if single else n), LABELS)
        outputs, loss, apart = self._tried(*self._trees(x), *given, np.int32(n))
        return first(outputs, n), float(loss), float(apart)

    def _try(
        self, params: Tree, state: Tree, inputs: Any, named: Any, y: Array, size: Any
    ) -> tuple[Any, Array, Array]:
        """Outputs, the mean loss, and how far an example's loss is at most from what it is among
        copies of itself: of its outputs, where batch statistics mix them rightly.
        """

        def losses(inputs: Any, named: Any, y: Array) -> tuple[Any, Array]:
            outputs, _ = self._call(params, state, inputs, named, wrap_key(key_words(None)), True)
            return outputs, self._losses(outputs, y)

        outputs, found = losses(inputs, named, y)
        if found.ndim == 0:
            return outputs, found, jnp.zeros(())

        def alone(i: Array) -> Any:
            if self._first:
                return mean(self._losses(*copies((outputs, y), i, len(y))), 1)
            return mean(losses(*copies((inputs, named, y), i, len(y)))[1], 1)

        return outputs, mean(found, size), furthest(found, alone)
