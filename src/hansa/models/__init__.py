"""Models: one flat vector in, one flat vector out, and local training between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from typing import Any

import numpy as np

from ..data import Examples
from ..data.examples import Stream
from ..errors import DataError, PlanError
from ..rand import Key, seeded
from ..spec import Bound, Vector
from ..training import Training
from .values import LAST as LAST
from .values import NO_LOCAL as NO_LOCAL
from .values import NO_TOLD as NO_TOLD
from .values import Drift as Drift
from .values import Features as Features
from .values import Gradient as Gradient
from .values import Local as Local
from .values import Score as Score
from .values import Takes as Takes
from .values import Told as Told
from .values import Train as Train
from .values import TrainResult as TrainResult
from .values import Traits as Traits


class Model:
    """All that the framework asks of torch, keras, jax or scikit-learn: a flat vector, and training
    from it.

    The first `trainable` of its `size` numbers are trained; the rest (running statistics of
    normalisation layers) are carried along and averaged, and no optimizer, drift or penalty touches
    them. Clients say them as a block of its own.

    Whoever calls `train`, `score` or `check` may give data in any of its forms: it is parsed there,
    and what a subclass gets is `Examples`. What foreign code draws there from the generators that
    all of a process share follows from the key of the training, or is the same in each score.
    """

    size: int
    # what `score` gives → its bound; is the loss ever negative?
    metrics: Mapping[str, Bound] = {"loss": np.inf}
    # metrics that are not defined of all data, such as an AUC of a single class: `score` gives NaN
    undefined: frozenset[str] = frozenset()
    takes: Takes = Takes()  # what of a plan, and of data, is not refused
    traits: Traits = Traits()  # how it is unlike most others
    # how many clients `train_all` trains at once, each to the same bytes as `train`
    cohort: int = 1

    def __init_subclass__(cls, **more: Any) -> None:
        """Let what the subclass does with data be done with `Examples`; PlanError where it states
        a trait in a place where nobody looks.
        """
        super().__init_subclass__(**more)
        _check_stated(cls)
        for name, place in READS.items():
            if name in vars(cls):
                setattr(cls, name, _parsing(vars(cls)[name], place))

    @property
    def trainable(self) -> int:
        """How many of the numbers are trained; all, where a model does not say otherwise."""
        return self.size

    @property
    def domain(self) -> Vector:
        """The least that each number behind the trained ones can be [size − trainable]: 0 for a
        variance, else −∞.
        """
        return np.full(self.size - self.trainable, -np.inf)

    def plan(self, training: Training) -> None:
        """Raise PlanError where this model cannot be trained so."""
        if training.optimizer == "compiled":
            raise PlanError(
                f"{self!r} cannot train with optimizer='compiled'.",
                "Only a Keras model is compiled with an optimizer of its own.",
                "Write Training(optimizer='sgd', learning_rate=…).",
            )

    def start(self, key: Key) -> Vector:
        """The vector [size] that the federation starts from."""
        raise TypeError(f"{type(self).__name__} does not say where it starts")

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
    ) -> TrainResult:
        """Train from x on one client's data, with its own statistics; nothing of the client stays
        in the model.
        """
        raise TypeError(f"{type(self).__name__} does not say how it trains")

    def train_all(self, asks: Sequence[Train]) -> list[TrainResult]:
        """What `train` gives for each of many clients, whose `Training` is the same."""
        return [fitted(self, one) for one in asks]

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """The gradient [size] for each of many clients, whose `only` is the same.

        It is read off one long step of `train`, see `gradients_by_steps`; a model whose steps are
        not in proportion to their gradient says it itself. PlanError where it takes no such step.
        """
        if self.traits.grows:
            raise PlanError(
                f"{type(self).__name__} has no gradient.",
                "It adds trees to what is there, and descends no loss.",
                "Take an algorithm that asks for none, such as Boosting().",
            )
        self.plan(one_step(asks[0].only or ()))
        return gradients_by_steps(self, asks)

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The `metrics` of x on `data`, as means over its examples; with a client's own
        statistics.
        """
        raise TypeError(f"{type(self).__name__} does not say how it scores")

    def features_of(
        self, x: Vector, data: Examples, local: Local = NO_LOCAL
    ) -> tuple[Vector, Vector]:
        """What the net of x gives before its head for each example [n, width], and the examples'
        targets [n, …]; with a client's own statistics.
        """
        raise PlanError(
            f"{self!r} gives no features.",
            "They are what a named module of a net gives, and nothing names one.",
            "Write TorchModel(net, loss, features='name of a module').",
        )

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Raise DataError where this model cannot be trained on `data` so: a wrong shape, a label
        out of range. Where there is no training, it is only scored.
        """

    def slices(self) -> dict[str, slice]:
        """Its named parts in the order of the vector: name → where it lies; "x" alone where a model
        has no names.

        The trained parts come first, then the statistics; together they cover the vector.
        """
        named = {"x": self.trainable, "statistics": self.size - self.trainable}
        return consecutive((name, size) for name, size in named.items() if size)

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The numbers of x as the model's own library names and shapes them, by the names of
        `slices`; maybe others beside. With a client's own statistics, where they are given.
        """
        return {name: x[place] for name, place in self.slices().items()}

    def fault(self, parts: dict[str, Vector]) -> str:
        """Why no client can honestly say this of the model, or nothing; asked where the server sees
        what each says.
        """
        return ""


def _check_stated(kind: type[Model]) -> None:
    """Raise PlanError where a class has a flag that is a field of its `takes` or `traits`."""
    for place, value in (("takes", Takes), ("traits", Traits)):
        for one in fields(value):
            if isinstance(flag := vars(kind).get(one.name), bool):
                raise PlanError(
                    f"{kind.__name__}.{one.name} is {flag}, and nobody looks there.",
                    f"A model says so in `{place}`.",
                    f"Write {place} = {value.__name__}({one.name}={flag}) in the class.",
                )


LONG = 2.0**64  # η of a step that a gradient is read off


def one_step(only: tuple[str, ...], eta: float = LONG) -> Training:
    """One step of plain SGD, over all examples as one batch."""
    return Training(batch=0, steps=1, learning_rate=eta, only=only)


def gradients_by_steps(model: Model, asks: Sequence[Gradient], eta: float = LONG) -> list[Vector]:
    """Gradients, read off one step each:  g = (x − y)/η,  y = x − η·g.

    η is a power of two, and so long that η·|g| ≫ |x|: then nothing is lost of g but what a float
    rounds in η·g, which it rounds in g as well. In float32 that holds for |g| ≫ 2⁻⁶⁴|x|, and for
    |g| < 2⁶⁴. DataError for a stream, which has batches of its own.
    """
    training = one_step(asks[0].only or (), eta)
    trainings = [
        Train(ask.x, _as_one_batch(ask.data), training, Drift(), ask.key, ask.local) for ask in asks
    ]
    found = []
    for ask, fit in zip(asks, model.train_all(trainings), strict=True):
        g = (ask.x - fit.x) / eta
        g[model.trainable :] = 0.0  # statistics, which a step renews
        found.append(g)
    return found


def _as_one_batch(data: Examples) -> Examples:
    data = Examples.of(data)
    if isinstance(data, Stream):
        raise DataError(
            f"The data is a {type(data.given).__name__}, a stream of batches.",
            "A gradient is that of all examples as one batch, and a stream has batches of its own.",
            "Give arrays or a Dataset (for a DataLoader, its .dataset), or let the algorithm ask "
            "for each batch of data.batches(training, key).",
        )
    return data


def consecutive(sizes: Iterable[tuple[str, int]]) -> dict[str, slice]:
    """(name, how many numbers), one part behind the other: name → where it lies."""
    found = dict[str, slice]()
    i = 0
    for name, size in sizes:
        found[name] = slice(i, i + size)
        i += size
    return found


def fitted(model: Any, ask: Train) -> TrainResult:
    """What `train` gives for an ask; PlanError as `check_told`."""
    given = ask.x, ask.data, ask.training, ask.drift, ask.key, ask.local or NO_LOCAL
    more = {}
    if ask.told:
        check_told(model, ask.told)
        more = {"told": ask.told}
    fit: TrainResult = model.train(*given, **more)
    return fit


def check_told(model: Model, told: Told) -> None:
    """Raise PlanError where an algorithm tells the loss what that does not take."""
    if told and not model.takes.told:
        raise PlanError(
            f"The algorithm tells the loss {', '.join(told)}, and that of {model!r} does not take "
            "it.",
            "Without it the training would be another than the algorithm's.",
            "Take a TorchModel whose loss has a parameter `told`.",
        )


# methods that read data → which of their arguments it is, after the model itself
READS = {"train": 2, "score": 2, "predict": 2, "features_of": 2, "check": 1}
KEY = 5  # which argument of `train` its key is
NO_KEY = Key.of(0)  # of a score, and of a check


def _parsing(method: Callable[..., Any], place: int) -> Callable[..., Any]:
    """A method that may be given data in any form, for one that takes `Examples`."""

    @wraps(method)
    def parsing(*given: Any, **named: Any) -> Any:
        if len(given) > place:
            data = Examples.of(given[place])
            given = (*given[:place], data, *given[place + 1 :])
        elif "data" in named:
            data = named["data"] = Examples.of(named["data"])
        else:
            return method(*given, **named)  # Python says what is missing
        if data.arrays is not None and not given[0].traits.draws:
            return method(*given, **named)
        key = named.get("key", NO_KEY)
        if len(given) > KEY:
            key = given[KEY]
        with seeded(key):
            return method(*given, **named)

    return parsing


class ModelView(Model):
    """Another model; a subclass says what is different, and how it trains and scores.

    It trains clients one by one, however many the model takes at once: whoever lets them train side
    by side passes `train_all` on, and `cohort` with it.
    """

    model: Model

    @property
    def size(self) -> int:  # type: ignore[override]
        """As the model."""
        return self.model.size

    @property
    def metrics(self) -> Mapping[str, Bound]:  # type: ignore[override]
        """As the model."""
        return self.model.metrics

    @property
    def undefined(self) -> frozenset[str]:  # type: ignore[override]
        """As the model."""
        return self.model.undefined

    @property
    def takes(self) -> Takes:  # type: ignore[override]
        """As the model."""
        return self.model.takes

    @property
    def traits(self) -> Traits:  # type: ignore[override]
        """As the model."""
        return self.model.traits

    @property
    def trainable(self) -> int:
        """As the model."""
        return self.model.trainable

    @property
    def domain(self) -> Vector:
        """As the model."""
        return self.model.domain

    def plan(self, training: Training) -> None:
        """As the model."""
        self.model.plan(training)

    def start(self, key: Key) -> Vector:
        """As the model."""
        return self.model.start(key)

    def features_of(
        self, x: Vector, data: Examples, local: Local = NO_LOCAL
    ) -> tuple[Vector, Vector]:
        """As the model."""
        return self.model.features_of(x, data, local)

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """As the model."""
        self.model.check(data, who, training)

    def slices(self) -> dict[str, slice]:
        """As the model."""
        return self.model.slices()

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """As the model."""
        return self.model.tensors(x, local)
