"""Models: one flat vector in, one flat vector out, and local training between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..data import Examples
from ..data.examples import Stream
from ..errors import DataError, PlanError
from ..rand import Key
from ..spec import Bound, Vector
from ..training import Training


@dataclass(frozen=True)
class Drift:
    """An affine correction of every local gradient:  g(y) + pull·(y − x₀) + shift.

    pull = μ, shift = 0         FedProx    (Li et al. 2020, eq. 2)
    pull = 0, shift = c − cᵢ    SCAFFOLD   (Karimireddy et al. 2020, eq. 3)
    pull = α, shift = −gᵢ       FedDyn     (Acar et al. 2021, eq. 1)

    A pull [size] pulls each number with a strength of its own, such as Fisher's information
    (Shoham et al. 2019).
    """

    pull: float | Vector = 0.0
    shift: Vector | None = field(default=None, repr=False)  # [size]
    # [size] x₀; where not given, the start of the training
    centre: Vector | None = field(default=None, repr=False)

    @property
    def pulls(self) -> bool:
        """Is anything pulled?"""
        if isinstance(self.pull, float | int):  # at each training; NumPy takes longer to say so
            return self.pull != 0
        return bool(np.any(self.pull))

    @property
    def alike(self) -> float:
        """The pull of all numbers; 0 where each has its own."""
        return float(self.pull) if np.ndim(self.pull) == 0 else 0.0

    @property
    def apart(self) -> Vector | None:
        """The pull of each number [size], where each has its own."""
        return None if np.ndim(self.pull) == 0 else np.asarray(self.pull)

    def vectors(self, x: Vector) -> tuple[Vector | None, Vector | None, Vector | None]:
        """x₀, the pull of each number, and the shift, of a training from x; None for what is not
        there.
        """
        if not self.pulls:
            return None, None, self.shift
        return x if self.centre is None else self.centre, self.apart, self.shift


# name → array: statistics that a client keeps to itself, from training to training
Local = Mapping[str, Any]
NO_LOCAL: Local = MappingProxyType({})  # for a client that has none, or none yet


@dataclass(frozen=True)
class TrainResult:
    """What training gave: the new vector [size], how many steps, their mean loss, and what stays
    with the client.
    """

    x: Vector = field(repr=False)
    steps: int
    loss: float
    local: Local = field(default_factory=dict, repr=False)


class Train(NamedTuple):
    """Train from x [size] on these examples, with this drift, and draws of this key.

    local: statistics that the client keeps to itself; its own, where none are given.
    """

    x: Vector
    data: Examples
    training: Training
    drift: Drift
    key: Key
    local: Local | None = None

    def __repr__(self) -> str:
        return "<Train>"


class Score(NamedTuple):
    """The metrics of x [size] on these examples, as means; `local` as in Train."""

    x: Vector
    data: Examples
    local: Local | None = None

    def __repr__(self) -> str:
        return "<Score>"


class Gradient(NamedTuple):
    """The gradient of the mean loss at x [size] over these examples, as one batch; 0 for numbers
    that are not trained.

    It is what one step of training takes, with draws of this key: in a net with dropout, of the
    numbers that the key leaves. `local` as in Train; it stays as it is. only: names of parts, as in
    Training, and 0 for all others; where it is None, those that the plan trains.
    """

    x: Vector
    data: Examples
    key: Key
    local: Local | None = None
    only: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return "<Gradient>"


class Model:
    """All that the framework asks of torch, keras, jax or scikit-learn: a flat vector, and training
    from it.

    The first `trainable` of its `size` numbers are trained; the rest (running statistics of
    normalisation layers) are carried along and averaged, and no optimizer, drift or penalty touches
    them. Clients say them as a block of its own.

    Whoever calls `train`, `score` or `check` may give data in any of its forms: it is parsed there,
    and what a subclass gets is `Examples`.
    """

    size: int
    # what `score` gives → its bound; is the loss ever negative?
    metrics: Mapping[str, Bound] = {"loss": np.inf}
    # metrics that are not defined of all data, such as an AUC of a single class: `score` gives NaN
    undefined: frozenset[str] = frozenset()
    # does training add `size` numbers behind those of x, and leave these as they are? see `trees`
    grows: bool = False
    # how many clients `train_all` trains at once, each to the same bytes as `train`
    cohort: int = 1
    # does `train` do what Training(private=…) says? Where it does not, a plan with it is refused
    private: bool = False
    # does `train` do what Training(only=…) says? Where it does not, a plan with it is refused
    partial: bool = False
    # does each client use trained parts of its own, which its `local` holds? Then it is scored with
    # them, beside the model that all share
    personal: bool = False

    def __init_subclass__(cls, **more: Any) -> None:
        """Let what the subclass does with data be done with `Examples`."""
        super().__init_subclass__(**more)
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
        return [
            self.train(one.x, one.data, one.training, one.drift, one.key, one.local or {})
            for one in asks
        ]

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """The gradient [size] for each of many clients, whose `only` is the same.

        It is read off one long step of `train`, see `gradients_by_steps`; a model whose steps are
        not in proportion to their gradient says it itself. PlanError where it takes no such step.
        """
        if self.grows:
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


# methods that read data → which of their arguments it is, after the model itself
READS = {"train": 2, "score": 2, "check": 1}


def _parsing(method: Callable[..., Any], place: int) -> Callable[..., Any]:
    """A method that may be given data in any form, for one that takes `Examples`."""

    @wraps(method)
    def parsing(*given: Any, **named: Any) -> Any:
        if len(given) > place:
            given = (*given[:place], Examples.of(given[place]), *given[place + 1 :])
        elif "data" in named:
            named["data"] = Examples.of(named["data"])
        return method(*given, **named)

    return parsing


class ModelView(Model):
    """Another model; a subclass says what is different."""

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
    def private(self) -> bool:  # type: ignore[override]
        """As the model."""
        return self.model.private

    @property
    def partial(self) -> bool:  # type: ignore[override]
        """As the model."""
        return self.model.partial

    @property
    def personal(self) -> bool:  # type: ignore[override]
        """As the model."""
        return self.model.personal

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

    def slices(self) -> dict[str, slice]:
        """As the model."""
        return self.model.slices()

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """As the model."""
        return self.model.tensors(x, local)
