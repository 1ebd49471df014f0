"""Models: one flat vector in, one flat vector out, and local training between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import PlanError
from ..rand import Key
from ..spec import Bound, Vector
from ..training import Training


@dataclass(frozen=True)
class Drift:
    """An affine correction of every local gradient:  g(y) + pull·(y − x₀) + shift.

    pull = μ, shift = 0         FedProx    (Li et al. 2020, eq. 2)
    pull = 0, shift = c − cᵢ    SCAFFOLD   (Karimireddy et al. 2020, eq. 3)
    pull = α, shift = −gᵢ       FedDyn     (Acar et al. 2021, eq. 1)
    """

    pull: float = 0.0
    shift: Vector | None = field(default=None, repr=False)  # [size]
    centre: Vector | None = field(default=None, repr=False)  # [size] x₀; where not given, the start of the training


@dataclass(frozen=True)
class TrainResult:
    """What training gave: the new vector [size], the number of steps taken, the mean loss over them."""

    x: Vector = field(repr=False)
    steps: int
    loss: float


class Job(NamedTuple):
    """One client's training: what `Model.train` takes besides a `Training`."""

    x: Vector
    data: Any
    drift: Drift
    key: Key

    def __repr__(self) -> str:
        return "<Job>"


class Model:
    """All that the framework asks of torch, keras, jax or scikit-learn: a flat vector, and training from it.

    The first `trainable` of its `size` numbers are trained; the rest (running statistics of normalisation layers) are
    carried along and averaged, and no optimizer, drift or penalty touches them. Clients say them as a block of its own.
    """

    size: int
    metrics: Mapping[str, Bound] = {"loss": np.inf}  # what `score` gives → its bound; is the loss ever negative?
    grows: bool = False  # does training add `size` numbers behind those of x, and leave these as they are? see `trees`
    cohort: int = 1  # how many clients `train_all` trains at once, each to the same bytes as `train`
    private: bool = False  # does `train` do what Training(private=…) says? Where it does not, a plan with it is refused

    @property
    def trainable(self) -> int:
        """How many of the numbers are trained; all, where a model does not say otherwise."""
        return self.size

    @property
    def domain(self) -> Vector:
        """The least that each number behind the trained ones can be [size − trainable]: 0 for a variance, else −∞."""
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

    def train(self, x: Vector, data: Any, training: Training, drift: Drift, key: Key) -> TrainResult:
        """Train from x on one client's data."""
        raise TypeError(f"{type(self).__name__} does not say how it trains")

    def train_all(self, jobs: Sequence[Job], training: Training) -> list[TrainResult]:
        """Train many clients; what `train` gives for each."""
        return [self.train(x, data, training, drift, key) for x, data, drift, key in jobs]

    def score(self, x: Vector, data: Any) -> dict[str, float]:
        """The `metrics` of x on `data`, as means over its examples."""
        raise TypeError(f"{type(self).__name__} does not say how it scores")

    def check(self, data: Any, who: str) -> None:
        """Raise DataError where this model cannot be trained on `data`: a wrong shape, a label out of range."""

    def tensors(self, x: Vector) -> dict[str, Vector]:
        """The numbers of x as the model's own library names and shapes them; "x" alone where it has no names."""
        return {"x": x}

    def fault(self, parts: dict[str, Vector]) -> str:
        """Why no client can honestly say this of the model, or nothing; asked where the server sees what each says."""
        return ""

    def keep(self, memo: dict[str, Any]) -> None:
        """Take up the numbers that a client keeps to itself (local statistics); {} for the first ones."""

    def kept(self) -> dict[str, Any]:
        """The numbers that a client keeps to itself after training."""
        return {}


@dataclass(frozen=True)
class Foretold(Model):
    """A model some of whose trainings are done already, by their keys; the others are done now, or raise Undone."""

    model: Model
    done: Mapping[Key, TrainResult] = field(repr=False)
    now: bool

    @property
    def size(self) -> int:  # type: ignore[override]
        """That of the model."""
        return self.model.size

    @property
    def trainable(self) -> int:
        """That of the model."""
        return self.model.trainable

    def train(self, x: Vector, data: Any, training: Training, drift: Drift, key: Key) -> TrainResult:
        """What is done, or what the model makes of it now."""
        if key in self.done:
            return self.done[key]
        if not self.now:
            raise Undone(Job(x, data, drift, key))
        return self.model.train(x, data, training, drift, key)


class Undone(Exception):
    """A training that is not done yet: the way out of an algorithm that asks for it."""

    def __init__(self, job: Job):
        super().__init__()
        self.job = job
