"""Models: one flat vector in, one flat vector out, and local training between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, number
from ..rand import Key
from ..spec import Bound, Vector


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
class PerExample:
    """DP-SGD: clip each example's gradient gᵢ, and add noise to the sum   (Abadi et al. 2016, Alg. 1).

        B ∋ i with probability q = b/n, each of the n examples independently
        g ← (Σ_{i∈B} gᵢ · min(1, C/‖gᵢ‖₂) + N(0, (zC)² I)) / b        b: `Training.batch`; min(b, n), and n for 0

    C = `clip`, z = `noise`. The mean divides by the size b that is expected, for the real one would tell who is in B;
    an empty batch is a step of noise alone. Drift and weight decay come after the noise. An epoch is n/b steps.

    What it hides is one example: data with the example, or with nothing in its place. How many examples a client has
    is no secret. Losses and scores are not hidden, so they are not told. A gradient that is not finite counts as 0.
    Draws grow from the key, which is secret: other data, or another model, has other noise.
    """

    clip: float
    noise: float

    def __post_init__(self) -> None:
        for name, value in (("clip", self.clip), ("noise", self.noise)):
            if not (number(value) and 0 < value < math.inf):
                raise PlanError(
                    f"PerExample({name}={value!r}) hides no example.",
                    "`clip` bounds the norm of one example's gradient, `noise` is σ over that bound; both positive.",
                    "Write for example PerExample(clip=1.0, noise=1.1).",
                )

    def drawn(self, shape: tuple[int, ...], key: Key) -> Vector:
        """N(0, (zC)²): what is added to the sum of one step."""
        return np.asarray(self.clip * self.noise * key.normal(shape))


@dataclass(frozen=True)
class Training:
    """How a client trains, and what it tells of it.

    `steps` counts batches and takes the place of `epochs`; `validation` is the share of its examples that a client
    keeps from training, to score the global model on; `report` adds the losses and scores to what it says. `private`
    hides each single example by noise in every step, and takes report=False.
    """

    epochs: int = 1
    batch: int = 32
    learning_rate: float = 0.1
    optimizer: Literal["sgd", "momentum", "adam", "adamw", "compiled"] = "sgd"
    weight_decay: float = 0.0
    steps: int | None = None
    validation: float = 0.0
    report: bool = True
    private: PerExample | None = None

    def __post_init__(self) -> None:
        eta, decay, share = self.learning_rate, self.weight_decay, self.validation
        right = [
            ("epochs", number(self.epochs, True) and self.epochs >= 1, "counts passes over a client's examples", "1"),
            ("batch", number(self.batch, True) and self.batch >= 0, "counts examples, and 0 takes all at once", "32"),
            ("learning_rate", number(eta) and 0 < eta < np.inf, "is a positive number", "0.1"),
            ("optimizer", self.optimizer in OPTIMIZERS, f"is one of {', '.join(OPTIMIZERS)}", "'sgd'"),
            ("weight_decay", number(decay) and 0 <= decay < np.inf, "is a factor ≥ 0", "0.0"),
            ("steps", self.steps is None or (number(self.steps, True) and self.steps >= 1), "counts batches", "100"),
            ("validation", number(share) and 0 <= share < 1, "is a share of the examples, less than all", "0.2"),
            ("report", isinstance(self.report, bool), "is True or False", "True"),
            ("private", isinstance(self.private, PerExample | None), "is a PerExample", "PerExample(1.0, 1.1), …"),
        ]
        for name, fits, what, instead in right:
            if not fits:
                raise PlanError(
                    f"Training({name}={getattr(self, name)!r}) cannot train.",
                    f"`{name}` {what}.",
                    f"Write for example Training({name}={instead}).",
                )
        if share and not self.report:
            raise PlanError(
                f"Training(validation={share}, report=False) keeps examples back for nothing.",
                "They are held out to score the global model on, and no client tells its score.",
                "Leave `validation` out, or write report=True.",
            )
        if self.private and self.report:
            raise PlanError(
                f"Training(private={self.private!r}, report=True) tells losses of the examples that it hides.",
                "The noise is in the gradients; a loss or a score is computed from the examples without any.",
                "Write report=False, and score the model on data that is nobody's secret.",
            )

    def schedule(self, examples: int) -> tuple[int, int]:
        """How many of so many examples a batch holds, on average where they are drawn, and how many steps it takes."""
        b = max(1, min(self.batch or examples, examples))
        return b, self.steps or -(-self.epochs * examples // b)

    def draws(self, examples: int, key: Key) -> Iterator[NDArray[np.int64]]:
        """The rows of each step's batch: each with probability b/n, independently of all others; maybe none."""
        b, steps = self.schedule(examples)
        for step in range(steps):
            yield np.flatnonzero(key.child("sample", step).uniform((examples,)) < b / examples)


MOMENTUM = 0.9  # β of optimizer="momentum"
Word = Literal["sgd", "momentum", "adam", "adamw", "compiled"]  # the last: as a Keras model is compiled
OPTIMIZERS: tuple[Word, ...] = ("sgd", "momentum", "adam", "adamw", "compiled")


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
    carried along and averaged, and no optimizer, drift or penalty touches them.
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
