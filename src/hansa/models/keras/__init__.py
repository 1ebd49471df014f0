"""Keras 3: any compiled model, trained by its own `train_step`, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal

import numpy as np

from ...data.batches import Batch, pieces, spelled
from ...data.examples import Examples
from ...data.inputs import sides
from ...errors import DataError, HansaError, PlanError, refuse
from ...metrics import bounds, faults, undefined
from ...rand import Key
from ...spec import Vector
from ...training import Training
from .. import NO_LOCAL, Drift, Gradient, Local, Model, TrainResult, consecutive, gradients_by_steps
from ..checks import check_blind, check_length, check_some, condensed, fingerprint
from ..parts import moves
from ..statistics import lower_ends
from . import checks, inspect
from .variables import Variable, by_path, cut, generator, given, joined, plain, put, size, value

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
from .scores import CHECKED, Outputs, scored

# what of the caller's model is replaced while it trains
LENT = ("optimizer", "train_function", "test_function", "predict_function")


class KerasModel(Model):
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

    partial = True
    clips = True

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
        self._weights: list[Variable] = list(net.trainable_variables)
        layers = [layer for layer in net._flatten_layers() if layer.trainable]
        moving = {id(v): v for layer in layers for v in layer._non_trainable_variables}.values()
        real = [v for v in moving if keras.backend.is_float_dtype(v.dtype)]
        self._vectored = self._weights + (real if buffers == "average" else [])
        travels = set(map(id, self._vectored))
        self._staying = [(f"{i}/{v.name}", v) for i, v in enumerate(moving) if id(v) not in travels]
        self._seeds = [v for v in net.variables if v.name == "seed_generator_state"]
        self._first = {name: value(v) for name, v in self._staying}
        self._steps: dict[tuple[Any, ...], optimizers.Step] = {}  # compiled, for each optimizer
        self._scorer: Any = None
        self._built = False  # are the metrics?
        self._start = joined(self._vectored)
        self.size, self._trainable = len(self._start), sum(size(v) for v in self._weights)
        self._compiled = inspect.measured(net, keras.KerasTensor((None, 1)))
        self._outputs = Outputs(net, metrics or {}, self._compiled)
        self.metrics = self._compiled | bounds(self._outputs.metrics)
        self.undefined = undefined(self._outputs.metrics)
        self._name = self._spelled()

    def _spelled(self) -> str:
        shapes = [
            (v.name, tuple(v.shape), str(v.dtype), bool(v.trainable)) for v in self.net.weights
        ]
        built = inspect.spelled(self.net, keras.saving.serialize_keras_object)
        moving = {id(v) for v in (*self._vectored, *(v for _, v in self._staying))}
        base = fingerprint(value(v).tobytes() for v in self.net.weights if id(v) not in moving)
        digest = fingerprint([repr((built, shapes, base)).encode()])
        words = ", ".join(map(inspect.word, keras.tree.flatten(self.net.loss)))
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

    @property
    def trainable(self) -> int:
        """How many of the numbers are trained: all but the statistics."""
        return self._trainable

    @property
    def domain(self) -> Vector:
        """Every `moving_variance` is ≥ 0."""
        return lower_ends((v.path, size(v)) for v in self._vectored[len(self._weights) :])

    def plan(self, training: Training) -> None:
        """Refuse what `compile` contradicts."""
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

    # ── the vector ──

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
        had = [(v, value(v)) for v in (*net.variables, *net.metrics_variables)]
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
        decay = 0.0 if training.optimizer in ("adamw", "compiled") else training.weight_decay
        with self._at(x, key, local):
            drifts = drift.pulls or drift.shift is not None
            more = bool(decay or training.only) or training.clip is not None
            step = self._step(training, drifts, drifts or more)
            object.__setattr__(self.net, "optimizer", step.optimizer)
            step.begin(training.learning_rate)
            if step.correction is not None:
                step.correction.put(drift, x, decay)
            steps, logs = self._run(step.function, data.batches(training, key), training=True)
            end = joined(self._vectored)
            own = {name: value(v) for name, v in self._staying} if self.buffers == "local" else {}
        return TrainResult(end, steps, logs["loss"], own)

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """Read off long steps of SGD, whatever `compile` names; PlanError where a step does more
        than to go along its gradient.
        """
        checks.check_long_steps(self.net)
        return gradients_by_steps(self, asks)

    def _step(self, training: Training, drifts: bool, corrected: bool) -> optimizers.Step:
        """The compiled step of that optimizer, made once."""
        named = training.optimizer != "compiled"
        fixed = (training.weight_decay, training.clip) if named else ()
        which = (training.optimizer, *fixed, drifts, corrected, training.only)
        if which not in self._steps:
            own = self.net.optimizer
            if named:
                inner = optimizers.named(training)
            else:
                inner = optimizers.copied(optimizers.inner(own))
            moved = list(moves(self, training).values())
            clip = training.clip
            correction = optimizers.Corrected(inner, moved, drifts, clip) if corrected else None
            optimizer = correction or inner
            if self.net.dtype_policy.name == "mixed_float16":
                scale = (
                    {"initial_scale": own.initial_scale} if hasattr(own, "initial_scale") else {}
                )
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, **scale)
            optimizer.build(self._weights)
            object.__setattr__(self.net, "optimizer", optimizer)
            self.net.make_train_function(force=True)
            first = [(v, value(v)) for v in optimizer.variables]
            rate = inner._learning_rate if named else None
            self._steps[which] = optimizers.Step(
                optimizer, rate, correction, first, self.net.train_function
            )
        return self._steps[which]

    def _run(
        self, function: Any, batches: Iterable[Batch], training: bool
    ) -> tuple[int, dict[str, float]]:
        """Put batches through Keras' own compiled function; how many, and what the metrics say
        after the last.
        """
        net = self.net
        steps = 0
        logs = {}
        state = None
        # there the function takes the state and gives the next
        pure = keras.backend.backend() == "jax"
        for batch in batches:
            xy = self._data(batch)
            if not steps:
                self._build_metrics(xy)
                net.reset_metrics()
                groups = [
                    net.trainable_variables,
                    net.non_trainable_variables,
                    net.metrics_variables,
                ]
                if training:
                    groups.insert(2, net.optimizer.variables)
                state = tuple([v.value for v in group] for group in groups) if pure else None
            if pure:
                logs, state = function(state, iter((xy,)))
            else:
                logs = function([xy])
            steps += 1
        for group, values in zip(groups, state, strict=True) if state else ():
            put(zip(group, values, strict=True))
        found = {
            name: np.asarray(keras.ops.convert_to_numpy(reply)) for name, reply in logs.items()
        }
        missing = [
            name
            for name in (["loss"] if training else self._compiled)
            if found and np.size(found.get(name, ())) != 1
        ]
        if missing:
            raise PlanError(
                f"{type(net).__name__} gives no number {', '.join(missing)} after a step.",
                "The loss is told to the server, and each metric is one number.",
                "Let train_step and test_step return get_metrics_result(), and give metrics that "
                "are one number each.",
            )
        return steps, {name: float(said) for name, said in found.items() if not said.ndim}

    def _build_metrics(self, xy: tuple[Any, Any]) -> None:
        if not self._built:
            self.net._symbolic_build(data_batch=xy)
            self._built = True

    def _data(self, batch: Batch) -> tuple[Any, Any]:
        """Inputs and targets as Keras takes them: one array, several by position, or several by
        name.
        """
        inputs, targets = sides(batch, len(getattr(self.net, "outputs", None) or "1"))
        names = getattr(self.net, "output_names", None) or ()
        if isinstance(targets, Mapping) and targets.keys() == set(names):
            targets = {name: targets[name] for name in names}
        return given(inputs), given(targets)

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The loss and the compiled metrics, as `evaluate` gives them, and those of all outputs."""
        with self._at(x, Key.of(0), local):
            if self._scorer is None:
                self.net.make_test_function(force=True)
                self._scorer = self.net.test_function
            n, logs = self._run(self._scorer, scored(data), training=False)
            check_some(n)
            logs |= self._outputs.scores(map(self._data, scored(data)))
        return {name: logs[name] for name in self.metrics}

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Send the first rows through net and loss, and compare all labels with the outputs."""
        with self._at(self._start, Key.of(0)):
            outputs: list[Any] = []
            for whole in data.whole():
                if not outputs:
                    outputs = self._first_rows(next(pieces(whole, CHECKED)), who)
                self._check_labels(self._data(whole)[1], outputs, who)

    def _first_rows(self, few: Batch, who: str) -> list[Any]:
        """The shapes of the outputs of a few rows; DataError where they do not go through."""
        try:
            x, y = self._data(few)
            takes = len(getattr(self.net, "inputs", None) or ()) or None
            if takes and takes != (has := len(x) if isinstance(x, list | dict) else 1):
                raise ValueError(f"the model takes {takes} inputs, not {has}")
            reply = self.net(x, training=False) if self.net._call_has_training_arg else self.net(x)
            names = getattr(self.net, "output_names", None) or ()
            listed = (
                [reply[name] for name in names]
                if isinstance(reply, Mapping) and set(names) == reply.keys()
                else reply
            )
            outputs = [tuple(one.shape) for one in keras.tree.flatten(listed)]
            self._check_labels(y, outputs, who)
            self._outputs.check(reply, y)
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
                "inputs and outputs, and no weights of examples.",
            ) from error
        if not np.isfinite(loss):
            raise DataError(
                f"The loss of {who}'s first examples is {loss}, before any training.",
                "No value in them is NaN or infinite, so model or loss leave the range of numbers.",
                "Standardise the inputs, and look at the loss.",
            )
        return outputs

    def _check_labels(self, y: Any, outputs: list[Any], who: str) -> None:
        if each := inspect.losses(self.net, keras.losses.get, len(outputs)):
            checks.check_labels(each, y, outputs, who)

    # ── Keras' own forms ──

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """All weights as NumPy arrays, by their path in the model, such as
        "sequential/dense/kernel".
        """
        with self._at(x, Key.of(0), local):
            return {name: plain(v) for name, v in by_path(self.net.weights).items()}

    def slices(self) -> dict[str, slice]:
        """The trained weights and the statistics that travel, by their paths."""
        names = {id(v): name for name, v in by_path(self.net.weights).items()}
        return consecutive((names[id(v)], size(v)) for v in self._vectored)

    def load(self, x: Vector) -> Any:
        """Put x into the model that was given, and return it, ready for `save`, `evaluate` and
        `predict`.
        """
        with self._at(x, Key.of(0)):
            values = [(v, value(v)) for v in self._vectored]
        put(values)
        return self.net


def _arrived(
    load: Callable[..., Any], file: Any, code: Mapping[str, Any], buffers: Any, metrics: Any
) -> KerasModel:
    with keras.saving.custom_object_scope(dict(code)), warnings.catch_warnings():
        # that the optimizer's variables are not loaded: it starts anew
        warnings.simplefilter("ignore")
        return KerasModel(load(*file), buffers, metrics)
