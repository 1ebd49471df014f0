"""Keras 3: any compiled model, trained by its own `train_step`, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from ...data.batches import Batch, pieces, relative, spelled, spread, weighed
from ...data.examples import Examples
from ...errors import DataError, HansaError, PlanError, refuse
from ...metrics import bounds, faults, undefined
from ...rand import Key
from ...spec import Vector
from ...training import Training
from .. import NO_LOCAL, Drift, Gradient, Local, Takes, TrainResult, gradients_by_steps
from ..checks import check_blind, check_some, condensed, fingerprint, passing, shaken
from ..parts import moves, paced
from . import checks, inspect
from .variables import joined, put, value

try:
    import keras  # type: ignore[import-untyped]
except ModuleNotFoundError as missing:
    raise PlanError(
        f"Keras is not installed, or has no backend here ({missing}).",
        "KerasModel trains with it.",
        "Install it: pip install 'hansa[keras]', which brings TensorFlow; for another backend set "
        "KERAS_BACKEND.",
    ) from missing

# behind the message on what is missing
from . import optimizers
from .feed import Feed
from .flat import FlatKeras
from .scores import ALONE, CHECKED, Outputs, scored


class KerasModel(FlatKeras):
    """Any compiled Keras model; the federation starts from the weights that it has when it is
    given.

        g ← clip(∂loss/∂y) + pull·(y − x₀) + shift    each batch, over the trainable weights alone

    One optimizer has the word, and g goes into it:

    compiled       Training(optimizer="compiled"): that of `compile`, as it is, with its rate or
                   schedule, clipping and weight decay. Rate and decay of `Training` are not used.
    sgd … adamw    Training(optimizer=…): Keras' SGD, SGD(momentum=0.9), Adam or AdamW with its rate
                   η and decay λ, or RMSprop with PyTorch's √v + ε; g + λy goes into all but AdamW.
                   Refused where `compile` named another, as one of the two words would be passed
                   over in silence; compile(optimizer=None) leaves the word to the plan.

    Either starts anew in each training: moments at 0, schedules at their first step; so do
    optimizers that are attributes of the model or a layer, as a GAN has two of. Loss, metrics
    and `train_step` are the model's own. The vector x is [trainable weights, statistics that
    travel]; frozen layers stay as they are.

    `buffers`: "average" sends the statistics along: the floating-point weights of trainable layers
    that no optimizer moves, such as BatchNorm's. "local" sends none: each client keeps its own, and
    `score` outside of a client has those of `net`. Seed generators stay where they are, and are set
    from the key before each training.

    Measured are the loss and the metrics of `compile`, by their Keras names; with several outputs
    NAME_metric. `metrics` adds others: name → a metric of hansa.metrics, or (function, bound), of
    outputs and targets in NumPy. The score of a loss is Keras' mean over batches where hansa knows
    it to be a mean over examples, as most of keras.losses are, and where `test_step` is the model's
    own; else it is what `compute_loss` gives for all examples at once.

    `net` is lent, not copied: while it trains, checks or scores, the caller's object has other
    weights and another optimizer, and has its own again when the call is over. It changes in `load`
    alone. A plan's digest covers the architecture, the loss, the compiled optimizer, the code of
    all of them and the bytes of frozen layers, not the first weights and not the backend.
    """

    takes = Takes(only=True, clip=True, rates=True)

    def __init__(
        self,
        net: Any,
        buffers: Literal["average", "local"] = "average",
        metrics: Mapping[str, Any] | None = None,
    ):
        refuse(chain(checks.check_net(net, buffers), faults(metrics)))
        for loss in keras.tree.flatten(net.loss):
            refuse(check_blind(loss, "KerasModel"))
        self.net = net
        self.buffers = buffers
        self._flatten()
        self._steps: dict[tuple[Any, ...], optimizers.Step] = {}  # compiled, for each optimizer
        self._scorer: Any = None
        self._built = False  # are the metrics?
        self._compiled = inspect.measured(net, keras.KerasTensor((None, 1)))
        self._feed = Feed(net)
        self._outputs = Outputs(self._feed, metrics or {}, self._compiled)
        self.metrics = self._compiled | bounds(self._outputs.metrics)
        self.undefined = undefined(self._outputs.metrics)
        self._name = self._spelled()

    def _spelled(self) -> str:
        """The repr: kind, loss, optimizer and size, and a digest of the architecture, the shapes
        and the bytes of frozen layers.
        """
        shapes = [
            (v.name, tuple(v.shape), str(v.dtype), bool(v.trainable)) for v in self.net.weights
        ]
        built = inspect.spelled(self.net, keras.saving.serialize_keras_object)
        moving = {id(v) for v in (*self._vectored, *(v for _, v in self._staying))}
        base = fingerprint(value(v).tobytes() for v in self.net.weights if id(v) not in moving)
        digest = fingerprint([repr((built, shapes, base)).encode()])
        losses = keras.tree.flatten(self.net.loss)
        words = ", ".join(map(inspect.word, losses))
        shown = [type(self.net).__name__, f"loss={words or None}", f"buffers={self.buffers!r}"]
        if own := self.net.optimizer:
            shown.insert(2, f"optimizer={type(optimizers.inner(own)).__name__}")
        return f"KerasModel({', '.join(shown)}, {self.size} numbers, {digest})"

    def __repr__(self) -> str:
        return self._name

    def fingerprint(self) -> tuple[Any, ...]:
        """What a plan's digest covers: the repr, and the code of layers, loss, metrics and
        optimizer.
        """
        return self._name, list(inspect.code_of(self.net)), self._outputs.metrics

    def __reduce__(self) -> tuple[Any, ...]:
        """A new model from the weights of the start, through Keras' own format."""
        with self._at(self._start, Key.of(0)):
            load, file = self.net.__reduce__()
        how = self.buffers, self._outputs.metrics
        return _arrived, (load, file, inspect.own_code(self.net), *how)

    def plan(self, training: Training) -> None:
        """Refuse what `compile` contradicts.

        PlanError where both name an optimizer and these differ in any setting, or where the plan
        leaves it to `compile` and that has none.
        """
        own = self.net.optimizer
        if training.optimizer == "compiled":
            if own is None:
                raise PlanError(
                    "Training(optimizer='compiled') asks for the optimizer of `compile`, and there "
                    "is none.",
                    "The model was compiled with optimizer=None.",
                    "Write model.compile(optimizer='adam', …), or name one in the plan: "
                    "Training(optimizer='sgd').",
                )
            return
        inner = optimizers.inner(own)
        if own is not None and (unlike := optimizers.differences(inner, training)):
            raise PlanError(
                f"The model is compiled with {type(inner).__name__}, and "
                f"Training(optimizer={training.optimizer!r}, "
                f"learning_rate={training.learning_rate:g}) differs in {unlike}.",
                "One of the two would be passed over in silence.",
                "Write Training(optimizer='compiled') to train as compiled, or "
                "compile(optimizer=None, …) to leave it "
                "to the plan.",
            )

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
        """Train from x with the model's own `train_step`; the loss is Keras': the mean over the
        examples seen.
        """
        decay = training.weight_decay
        if training.optimizer in ("adamw", "compiled"):
            decay = 0.0  # which is the optimizer's own business
        with self._at(x, key, local):
            drifts = drift.pulls or drift.shift is not None
            more = bool(decay or training.only or training.rates) or training.clip is not None
            step = self._step(training, drifts, drifts or more)
            object.__setattr__(self.net, "optimizer", step.optimizer)
            step.begin(paced(self, training)[0])
            if step.correction is not None:
                step.correction.put(drift, x, decay)
            batches = map(weighed, data.batches(training, key))
            shares = ((batch, relative(weights)) for batch, weights in batches)
            steps, logs = self._run(step.function, shares, training=True)
            end = joined(self._vectored)
            own = {}
            if self.buffers == "local":
                own = {name: value(v) for name, v in self._staying}
        return TrainResult(end, steps, logs["loss"], own)

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """Read off long steps of SGD, whatever `compile` names; PlanError where a step does more
        than to go along its gradient.
        """
        checks.check_long_steps(self.net)
        return gradients_by_steps(self, asks)

    def _step(self, training: Training, drifts: bool, corrected: bool) -> optimizers.Step:
        """The compiled step of that optimizer, made once.

        Keras compiles anew for each optimizer, and a plan has one, or a few where parts are trained
        by turns.
        """
        named = training.optimizer != "compiled"
        which: tuple[Any, ...] = (
            training.optimizer,
            drifts,
            corrected,
            training.only,
            training.rates,
        )
        if named:
            which += (training.weight_decay, training.clip)
        if which not in self._steps:
            own = self.net.optimizer
            if named:
                inner = optimizers.named(training)
            else:
                inner = optimizers.copied(optimizers.inner(own))
            moved = list(moves(self, training).values())
            clip = training.clip
            shares = list(paced(self, training)[1].values())
            correction = None
            if corrected:
                correction = optimizers.Corrected(inner, moved, drifts, clip, shares)
            optimizer = correction or inner
            if self.net.dtype_policy.name == "mixed_float16":
                scale = {}
                if hasattr(own, "initial_scale"):
                    scale = {"initial_scale": own.initial_scale}
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, **scale)
            optimizer.build(self._weights)
            object.__setattr__(self.net, "optimizer", optimizer)
            optimizers.compile_anew(self.net)
            first = [(v, value(v)) for v in optimizer.variables]
            rate = None
            if named:
                rate = inner._learning_rate
            self._steps[which] = optimizers.Step(
                optimizer, rate, correction, first, self.net.train_function
            )
        return self._steps[which]

    def _run(
        self, function: Any, batches: Iterable[tuple[Batch, Vector | None]], training: bool
    ) -> tuple[int, dict[str, float]]:
        """Put batches through Keras' own compiled function; how many, and what the metrics say
        after the last.

        Each batch has its weights over their mean [n], or None where all count alike. PlanError
        where a step tells no loss.
        """
        net = self.net
        steps = 0
        logs = {}
        groups: list[Any] = []
        state: Any = ()
        # there the function takes the state and gives the next
        pure = keras.backend.backend() == "jax"
        for batch in batches:
            xy = self._feed.given(*batch)
            if not steps:
                if not self._built:
                    net._symbolic_build(data_batch=xy[:2])
                    self._built = True
                net.reset_metrics()
            if pure and not steps:
                groups = _groups(net, training)
                state = tuple([v.value for v in group] for group in groups)
            if pure:
                logs, state = function(state, iter((xy,)))
            else:
                logs = function([xy])
            steps += 1
        for group, values in zip(groups, state, strict=True):
            put(zip(group, values, strict=True))
        found = {
            name: np.asarray(keras.ops.convert_to_numpy(reply)) for name, reply in logs.items()
        }
        told = list(self._compiled)
        if training:
            told = ["loss"]
        missing = [name for name in told if found and np.size(found.get(name, ())) != 1]
        checks.check_logs(net, missing)
        return steps, {name: float(said) for name, said in found.items() if not said.ndim}

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The loss and the compiled metrics, as `evaluate` gives them, and those of all outputs."""
        with self._at(x, Key.of(0), local):
            if self._scorer is None:
                self.net.make_test_function(force=True)
                self._scorer = self.net.test_function
            n, logs = self._run(self._scorer, scored(data), training=False)
            check_some(n)
            logs |= self._outputs.scores(scored(data))
        return {name: logs[name] for name in self.metrics}

    def predict(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Any:
        """What the net gives for each example [n, …], with training=False."""
        with self._at(x, Key.of(0), local):
            every = [self._feed.reply(self._feed.data(batch)[0]) for batch, _ in scored(data)]
            if any(isinstance(one, list | tuple | Mapping) for one in every):
                return every[0]
            return np.concatenate([np.atleast_1d(keras.ops.convert_to_numpy(one)) for one in every])

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Send the first rows through net and loss, and compare all labels with the outputs."""
        with self._at(self._start, Key.of(0)):
            outputs: list[Any] = []
            for whole in data.whole():
                whole, weights = weighed(whole)
                if not outputs:
                    few = next(pieces(whole, CHECKED))
                    outputs = self._first_rows(few, who, weights is not None)
                    if weights is not None:
                        self._check_shares(spread(whole, ALONE), who)
                self._check_labels(self._feed.data(whole)[1], outputs, who)

    def _first_rows(self, few: Batch, who: str, weighs: bool) -> list[Any]:
        """The shapes of the outputs of a few rows; DataError where they do not go through.

        One shape for each output, in the order of their names. A model whose own `train_step` has a
        loss of its own is not asked for another.
        """
        try:
            x, y = self._feed.data(few)
            takes = len(getattr(self.net, "inputs", None) or ()) or None
            has = 1
            if isinstance(x, list | dict):
                has = len(x)
            if takes and takes != has:
                raise ValueError(f"the model takes {takes} inputs, not {has}")
            reply = self._feed.reply(x)
            names = getattr(self.net, "output_names", None) or ()
            listed = reply
            if isinstance(reply, Mapping) and set(names) == reply.keys():
                listed = [reply[name] for name in names]
            outputs = [tuple(one.shape) for one in keras.tree.flatten(listed)]
            self._check_labels(y, outputs, who)
            self._outputs.check(reply, y, weighs)
            if self.net.loss is None and type(self.net).train_step is not keras.Model.train_step:
                return outputs  # its own step has a loss of its own
            loss = self._outputs.loss(x, y, reply)
        except HansaError:
            raise
        except Exception as error:
            raise DataError(
                f"{who}'s first examples, {spelled(few)}, do not go through the model and its "
                "loss: "
                f"{type(error).__name__}: {condensed(str(error))[:300]}",
                "Their number, shapes or types are not those that the model or the loss takes.",
                "Give (inputs, targets) as model.fit takes them: several of them as dicts, by the "
                "names of the model's "
                "inputs and outputs.",
            ) from error
        if not np.isfinite(loss):
            raise DataError(
                f"The loss of {who}'s first examples is {loss}, before any training.",
                "No value in them is NaN or infinite, so model or loss leave the range of numbers.",
                "Standardise the inputs, and look at the loss.",
            )
        return outputs

    def _check_shares(self, some: Batch, who: str) -> None:
        """Raise DataError where weights would not count the loss of each of these examples."""
        for x in (self._start, shaken(self._start, self.trainable)):
            self._load(x, NO_LOCAL)
            with passing(some, who):
                self._outputs.check_shares(some)

    def _check_labels(self, y: Any, outputs: list[Any], who: str) -> None:
        """DataError where targets do not fit the outputs of these shapes, and the losses that
        `compile` names.
        """
        if each := inspect.losses(self.net, keras.losses.get, len(outputs)):
            checks.check_labels(each, y, outputs, who)


def _groups(net: Any, training: bool) -> list[Any]:
    """The variables that Keras' function takes and gives on JAX, in its order; those of the
    optimizer where it trains.
    """
    groups = [net.trainable_variables, net.non_trainable_variables, net.metrics_variables]
    if training:
        groups.insert(2, net.optimizer.variables)
    return groups


def _arrived(
    load: Callable[..., Any], file: Any, code: Mapping[str, Any], buffers: Any, metrics: Any
) -> KerasModel:
    """A model from Keras' own file, in a process that finds classes of the caller's by `code`."""
    with keras.saving.custom_object_scope(dict(code)), warnings.catch_warnings():
        # that the optimizer's variables are not loaded: it starts anew
        warnings.simplefilter("ignore")
        return KerasModel(load(*file), buffers, metrics)
