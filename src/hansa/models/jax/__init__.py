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

from ...data.batches import Batch, pieces, relative, spread, target, weighed
from ...data.blocks import blocks, lengthened, noises, power
from ...data.examples import Examples
from ...data.inputs import LABELS, parts
from ...errors import PlanError, refuse
from ...metrics import LOSS, RATE, Gathered, Mean, Whole, bounds, check_ready, metric, undefined
from ...progress import Pace
from ...rand import Key
from ...spec import Vector
from ...training import Training
from .. import NO_LOCAL, Drift, Local, Takes, TrainResult, Traits
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
    shortened,
    spell,
    spelled,
)
from ..parts import moves, paced
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
from .private import clipped, mean
from .pytrees import Tree, is_key, key_words, path_of, wrap_key
from .scores import count, first, joined, predicted
from .steps import MOMENTS, between, bounded, corrected, stepped
from .traced import Traced

# (outputs, targets) → one number for each example [n, …], or their mean
Loss = Callable[[Any, Array], Array]

# rows that go through at once, to check and to score them; one by one, to compare their losses
CHECKED, SCORED, ALONE = 32, 256, 16
OPTIONS = {"xla_cpu_multi_thread_eigen": False}


def cross_entropy(outputs: Array, targets: Array) -> Array:
    """−log softmax(outputs)[target] for each example: outputs [n, …, C], targets [n, …] from 0."""
    logs = jax.nn.log_softmax(outputs)
    return -jnp.take_along_axis(logs, targets[..., None], -1)[..., 0]


class JaxModel(Traced):
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

    takes = Takes(private=True, only=True, clip=True, rates=True)
    traits = Traits(draws=False)  # what is drawn while a program is made is refused

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
        self.metrics = {"loss": math.inf}
        if self._known in ACCURACY:
            self.metrics = {"loss": LOSS}
        self.metrics |= bounds(self._measured)
        self._flatten(params, state)
        self._facts: checks.Facts | None = None
        # memory for batches; free again when a block's losses are there
        self._kept = dict[Any, Vector]()
        self._pace = Pace()
        compiled: Any = jax.jit
        if jax.default_backend() == "cpu":
            compiled = partial(jax.jit, compiler_options=OPTIONS)
        self._fit = compiled(self._loop, static_argnums=0)
        self._one = compiled(self._step, static_argnums=0, donate_argnums=2)
        self._scored = compiled(self._measure, static_argnums=0)
        self._tried = compiled(self._try)

    def __reduce__(self) -> tuple[Any, ...]:
        """A new model from the parameters of the start, to be compiled where it arrives."""
        params, state = self._trees(self._start)
        given = params, self.apply, self.loss, state, self.buffers, self._measured
        return type(self), given

    def __repr__(self) -> str:
        apply = spell(self.apply)
        loss = spell(self.loss)
        tensors = [
            *zip(self._names, self._shapes, strict=True),
            *((n, b.shape, b.dtype) for n, b in self._first.items()),
        ]
        metrics = spelled(self._measured)
        digest = fingerprint([repr((apply, loss, tensors, metrics)).encode()])
        shown = [shortened(apply), f"loss={loss}"]
        shown += [f"buffers={self.buffers!r}"] * bool(self._first)
        shown += [f"metrics={', '.join(self._measured)}"] * bool(metrics)
        return f"JaxModel({', '.join(shown)}, {self.size} numbers, {digest})"

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: the repr, and the code of `apply`, loss and metrics."""
        return repr(self), self.apply, self.loss, self._measured

    def plan(self, training: Training) -> None:
        """With PerExample, no state.

        A state is of the batch that it comes from, so no example would have a gradient of its own.
        """
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
        """Train from x, with the local optimizer that `training` names.

        Batches come in blocks of equal shape, so that one program serves all.
        """
        params, state = self._trees(x, local)
        facts = self._look(data)
        private = training.private
        b = 1
        bound = training.clip or 0
        noisy = 0  # bytes of noise in a step
        if private is not None:
            b = training.counts(len(data))[0] or 1
            bound = private.clip
            noisy = 4 * self.size
        eta, shares = paced(self, training)
        given = eta, training.weight_decay, drift.alike, bound, b
        drifts = [None if v is None else self._trees(v)[0] for v in drift.vectors(x)]
        clips = private is not None, training.clip is not None
        moved = moves(self, training).values()
        how = training.optimizer, *clips, tuple(moved), tuple(shares.values())
        size = MOMENTS.get(training.optimizer, 2)
        moments = tuple([jax.tree.map(np.zeros_like, params) for _ in range(size)])
        carry = (params, moments, state, np.int32(0))
        losses = [np.zeros(0)]
        planned = data.steps(training)
        run = self._walk
        if facts.fused:
            run = self._fit
        for block in blocks(data, training, key, facts.padded, noisy, self._kept):
            before = sum(map(len, losses))
            noise = None
            if private is not None:
                noise = noises(block, private, self.size, key, before)
            checks.check_weighted({}, block.weights, facts.single)
            batches = *parts(block.arrays, LABELS), block.sizes, noise, block.weights
            fixed = np.array(given, np.float32), drifts, key_words(key)
            for some in self._pace.parts(block.steps, before, planned):
                carry, found = run(how, np.array(some, np.int32), carry, batches, fixed)
                losses.append(np.asarray(found, np.float64)[slice(*some)])
        return self._ended(carry, np.concatenate(losses))

    def _ended(self, carry: Tree, losses: Vector) -> TrainResult:
        """What a training gives that ends so, with these losses [steps]."""
        params, _, state, _ = carry
        after = dict(zip(self._first, jax.tree.leaves(state), strict=True))
        own = {}
        if self.buffers == "local":
            own = {name: np.array(leaf) for name, leaf in after.items() if not is_key(leaf)}
        sent = [after[name] for name in self._moving]
        end = self._layout.join([*jax.tree.leaves(params), *sent])
        return TrainResult(end, len(losses), float(losses.mean()), own)

    def _walk(
        self, how: Any, some: Any, carry: Tree, batches: Tree, given: Tree
    ) -> tuple[Tree, Any]:
        """Steps some[0] … some[1] − 1 of a block, one call for each; their losses, behind zeros."""
        # a copy, as each step writes over what it is given
        start, end = some
        carry = jax.tree.map(jnp.array, carry)
        losses = [0.0] * start
        batches, given = jax.device_put((batches, given))
        for i in range(start, end):
            carry, loss = self._one(how, np.int32(i), carry, batches, given)
            losses.append(loss)
        return carry, losses

    def _loop(self, how: Any, some: Any, carry: Tree, batches: Tree, given: Tree) -> Any:
        """The steps some[0] … some[1] − 1 of a block, compiled as one loop; their losses [room].

        The room is that of the block, so a program is not compiled anew for another number of
        steps.
        """

        def step(i: Any, now: tuple[Tree, Array]) -> tuple[Tree, Array]:
            """Step i, and its loss in its place."""
            carry, loss = self._step(how, i, now[0], batches, given)
            return carry, now[1].at[i].set(loss)

        losses = jnp.zeros(len(batches[3]))
        return lax.fori_loop(some[0], some[1], step, (carry, losses))

    def _step(
        self, how: Any, i: Any, carry: Tree, batches: Tree, given: Tree
    ) -> tuple[Tree, Array]:
        """Step i of a block: traced once for each shape, and compiled.

            carry   (parameters, moments, state, steps before this one)
            how     optimizer, private?, clip?, which leaves move, the share of η that each has
            given   (η, λ, pull, C, b), the drift's vectors as trees, the words of the key

        It gives the next carry and the mean loss of the batch.
        """
        self.compiled += 1
        optimizer, private, clips, moved, shares = how
        params, moments, state, t = carry
        (eta, decay, pull, *bound), drifts, words = given
        batch = jax.tree.map(lambda a: a[i], batches)
        inputs, named, y, size, _, w = batch
        key = jax.random.fold_in(wrap_key(words), t)

        def loss(params: Tree) -> tuple[Array, Tree]:
            """The mean loss of the batch, and the state after it."""
            outputs, after = self._call(params, state, inputs, named, key, True)
            return mean(self._losses(outputs, y), size, w), after

        if private:
            value, g = self._clipped(params, batch, key, moved, *bound)
            after = state
        else:
            (value, after), g = jax.value_and_grad(loss, has_aux=True)(params)
        if clips:
            g = bounded(g, moved, bound[0])
        g = corrected(g, params, pull, drifts)
        new, moments = stepped(optimizer, params, g, moments, t + 1, eta, decay)
        params = between(shares, new, params)
        return (params, moments, after, t + 1), value

    def _clipped(
        self, params: Tree, batch: Tree, key: Array, moved: tuple[bool, ...], clip: Any, b: Any
    ) -> tuple[Array, Tree]:
        """The mean loss of a sample, and PerExample's gradient.

            g = (Σᵢ gᵢ · min(1, C/‖gᵢ‖) + noise) / b,     b the number of examples on average

        The noise is drawn by NumPy from the plan's key, see `blocks.noises`, and is the same on
        every device.
        """
        inputs, named, y, size, noise, w = batch

        def alone(params: Tree, inputs: Any, named: Any, w: Any, y: Array, key: Array) -> Any:
            """The loss of one example, as a batch of one."""
            inputs, named, w, y = jax.tree.map(lambda a: a[None], (inputs, named, w, y))
            outputs, _ = self._call(params, None, inputs, named, key, True)
            return mean(self._losses(outputs, y), 1, w)

        total = [noise[place] for place in self._layout.places]
        how = jax.value_and_grad(alone), moved
        parts = inputs, named, w, y
        value, total = clipped(how, params, parts, size, key, clip, total)
        g = [leaf.reshape(shape) / b for leaf, shape in zip(total, self._shapes, strict=True)]
        return value, self._form.unflatten(g)

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The loss and the other metrics of all examples, with train=False."""
        params, state = jax.device_put(self._trees(x, local))
        facts = self._look(data)
        loss = (Mean if facts.single else Whole)(self.loss)
        found = Gathered({"loss": loss, **self._measured}, joined)
        for whole in data.whole():
            for batch in pieces(whole, SCORED):
                batch, weights = weighed(batch)
                checks.check_weighted(self._measured, weights, facts.single)
                each = relative(weights) is not None
                m = len(target(batch))
                rows = power(m) if facts.scored else m
                given = parts(lengthened(batch, rows), LABELS)
                outputs, sums = self._scored(each, params, state, *given, np.int32(m))
                found.rows += m
                count(found, sums, weights, m)
                if found.holds:
                    found.hold(first(outputs, m), given[2][:m])
        check_some(found.rows)
        return found.values()

    def predict(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Any:
        """What `apply` gives for each example [n, …], with train=False."""
        return predicted(partial(self._given, *self._trees(x, local)), data, SCORED)

    def _look(self, data: Examples) -> checks.Facts:
        """The facts, from the first two examples that this model meets.

        It traces the loss and runs nothing. A convolution shows there, which is slow in a loop on a
        CPU.
        """
        if self._facts is None:
            whole = data.arrays
            batch = whole or next(data.whole())
            few, _ = weighed(next(pieces(batch, 2)))
            given = (*self._trees(self._start), *parts(few, LABELS))

            def both(params: Tree, state: Tree, inputs: Any, named: Any, y: Array) -> Any:
                """Loss and means of two examples, as training has them."""
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
        """Send rows through `apply` and loss, as in training, and look at all labels.

        DataError for what does not go through, for labels out of range and a loss that is no
        number; PlanError where examples change each other's losses, at the start or near it.
        """
        few, weights = weighed(next(pieces(next(data.whole()), CHECKED)))
        with passing(few, who):
            single = self._look(data).single
            outputs, loss, _ = self._tried_at(self._start, few)
            check_ready(self._measured, outputs, target(few))
        for batch in data.whole():
            fit(self._known, outputs, target(batch), who)
        check_finite(loss, len(target(few)), who)
        checks.check_weighted(self._measured, weights, single)
        some, _ = weighed(spread(next(data.whole()), CHECKED))
        for x in (self._start, shaken(self._start, self.trainable)):
            _, loss, apart = self._tried_at(x, some)
            checks.check_mixed(apart > 1e-3 * (1 + abs(loss)))
            if training is not None and training.private and not single:
                self._check_apart(x, spread(some, ALONE), who)

    def _check_apart(self, x: Vector, some: Batch, who: str) -> None:
        """Raise DataError where the loss of some examples is not the mean of each one's."""
        loss = self._tried_at(x, some)[1]
        alone = [self._tried_at(x, one)[1] for one in pieces(some, 1)]
        if x is self._start or math.isfinite(loss):
            check_apart(loss, alone, who)

    def _tried_at(self, x: Vector, batch: Batch) -> tuple[Any, float, float]:
        """What `_try` finds at x.

        Outputs [n, …] in NumPy, the mean loss, and how far an example's loss is from what it is
        alone. A loss of single examples is tried in batches of CHECKED rows, filled up.
        """
        n = len(target(batch))
        single = self._facts is not None and self._facts.single
        given = parts(lengthened(batch, CHECKED if single else n), LABELS)
        outputs, loss, apart = self._tried(*self._trees(x), *given, np.int32(n))
        return first(outputs, n), float(loss), float(apart)
