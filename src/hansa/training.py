"""Training: how a client trains on its own data, and the noise that hides a single example of
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import Fault, number, refuse
from .rand import Key
from .schedules import Factor
from .spec import Vector


@dataclass(frozen=True)
class PerExample:
    """DP-SGD: clip each example's gradient gᵢ, and add noise to the sum   (Abadi et al. 2016, Alg.
    1).

        B ∋ i with probability q = b/n, each of the n examples independently
        g ← (Σ_{i∈B} gᵢ · min(1, C/‖gᵢ‖₂) + N(0, (zC)² I)) / b        b: `Training.batch`; min(b,
        n), and n for 0

    C = `clip`, z = `noise`. The mean divides by the size b that is expected, for the real one would
    tell who is in B; an empty batch is a step of noise alone. Drift and weight decay come after the
    noise. An epoch is n/b steps.

    What it hides is one example: data with the example, or with nothing in its place. How many
    examples a client has is no secret. Losses and scores are not hidden, so they are not told. A
    gradient that is not finite counts as 0. Draws grow from the key, which is secret: other data,
    or another model, has other noise.
    """

    clip: float
    noise: float

    def __post_init__(self) -> None:
        refuse(
            (
                not (number(value) and 0 < value < math.inf),
                f"PerExample({name}={value!r}) hides no example.",
                "`clip` bounds the norm of one example's gradient, `noise` is σ over that "
                "bound; both positive.",
                "Write for example PerExample(clip=1.0, noise=1.1).",
            )
            for name, value in (("clip", self.clip), ("noise", self.noise))
        )

    def drawn(self, shape: tuple[int, ...], key: Key) -> Vector:
        """N(0, (zC)²): what is added to the sum of one step."""
        return np.asarray(self.clip * self.noise * key.normal(shape))


@dataclass(frozen=True)
class Training:
    """How a client trains, and what it tells of it.

    `steps` counts batches and takes the place of `epochs`; `validation` is the share of its
    examples that a client keeps from training, to score the global model on, where it has enough to
    keep any; `report` adds the losses and scores to what it says. `private` hides each single
    example by noise in every step, and takes report=False.

    `last` is what becomes of the last batch of an epoch, where n examples leave one that is shorter
    than `batch`: "keep" trains on it as it is; "drop" leaves it out, but not where it is the only
    one, as DataLoader(drop_last=True) would; "merge" adds what has at most half of a batch to the
    batch before, so that no example is lost and none is alone. Streams keep their own batches.

    `schedule` makes the learning rate a function of the round: η · schedule(round, rounds), see
    `hansa.schedules`. `clip` = C bounds the gradient of a batch's mean loss, by the parts that are
    trained, before any drift and weight decay, as PyTorch's clip_grad_norm_ does:

        g ← g · min(1, C/‖g‖₂)

    `only` names the parts of the model that are trained, by patterns as a shell has them:
    ("head.*",). No step, decay or drift moves the others, and PerExample clips the gradient of
    these parts alone. Statistics that no optimizer moves go on.
    """

    epochs: int = 1
    batch: int = 32
    learning_rate: float = 0.1
    optimizer: Literal["sgd", "momentum", "rmsprop", "adam", "adamw", "compiled"] = "sgd"
    weight_decay: float = 0.0
    schedule: Factor | None = None
    clip: float | None = None
    steps: int | None = None
    validation: float = 0.0
    report: bool = True
    private: PerExample | None = None
    only: tuple[str, ...] = ()
    last: Literal["keep", "drop", "merge"] = "keep"

    def __post_init__(self) -> None:
        eta = self.learning_rate
        decay = self.weight_decay
        most = self.clip
        share = self.validation
        named = isinstance(self.only, tuple) and all(isinstance(one, str) for one in self.only)
        right = [
            (
                "epochs",
                number(self.epochs, True) and self.epochs >= 1,
                "counts passes over a client's examples",
                "1",
            ),
            (
                "batch",
                number(self.batch, True) and self.batch >= 0,
                "counts examples, and 0 takes all at once",
                "32",
            ),
            ("learning_rate", number(eta) and 0 < eta < np.inf, "is a positive number", "0.1"),
            (
                "optimizer",
                self.optimizer in OPTIMIZERS,
                f"is one of {', '.join(OPTIMIZERS)}",
                "'sgd'",
            ),
            ("weight_decay", number(decay) and 0 <= decay < np.inf, "is a factor ≥ 0", "0.0"),
            (
                "schedule",
                self.schedule is None or _is_function(self.schedule),
                "is a function of (round, rounds)",
                "Cosine()",
            ),
            (
                "clip",
                most is None or (number(most) and 0 < most < np.inf),
                "is the norm that a gradient has at most",
                "1.0",
            ),
            (
                "steps",
                self.steps is None or (number(self.steps, True) and self.steps >= 1),
                "counts batches",
                "100",
            ),
            (
                "validation",
                number(share) and 0 <= share < 1,
                "is a share of the examples, less than all",
                "0.2",
            ),
            ("report", isinstance(self.report, bool), "is True or False", "True"),
            (
                "private",
                isinstance(self.private, PerExample | None),
                "is a PerExample",
                "PerExample(1.0, 1.1), …",
            ),
            ("only", named, "is a tuple of patterns of names", "('head.*',)"),
            ("last", self.last in LAST, f"is one of {', '.join(LAST)}", "'drop'"),
        ]
        refuse(
            (
                not fits,
                f"Training({name}={getattr(self, name)!r}) cannot train.",
                f"`{name}` {what}.",
                f"Write for example Training({name}={instead}).",
            )
            for name, fits, what, instead in right
        )
        refuse(self._clashes())

    def _clashes(self) -> Iterator[Fault]:
        """What is right alone, and cannot stand together."""
        yield (
            bool(self.validation) and not self.report,
            f"Training(validation={self.validation}, report=False) keeps examples back for "
            "nothing.",
            "They are held out to score the global model on, and no client tells its score.",
            "Leave `validation` out, or write report=True.",
        )
        yield (
            self.private is not None and self.report,
            f"Training(private={self.private!r}, report=True) tells losses of the examples "
            "that it hides.",
            "The noise is in the gradients; a loss or a score is computed from the examples "
            "without any.",
            "Write report=False, and score the model on data that is nobody's secret.",
        )
        yield (
            self.private is not None and self.last != "keep",
            f"Training(private=…, last={self.last!r}) has no last batch.",
            "PerExample draws each batch from all examples, so that none is what others leave.",
            "Leave `last` out.",
        )
        yield (
            self.private is not None and self.clip is not None,
            f"Training(clip={self.clip}, private={self.private!r}) clips twice.",
            "PerExample clips the gradient of each example, and its noise is sized for that alone.",
            "Leave `clip` out; PerExample(clip=…) is the bound.",
        )
        for name in ("schedule", "clip"):
            yield (
                self.optimizer == "compiled" and getattr(self, name) is not None,
                f"Training(optimizer='compiled', {name}={getattr(self, name)!r}) says it twice.",
                "The optimizer of `compile` has a learning rate and a clip of its own, and this "
                "would be passed over in silence.",
                "Give it to the optimizer of `compile`, or name one in the plan: "
                "Training(optimizer='sgd').",
            )

    def sizes(self, examples: int) -> list[int]:
        """How many of so many examples each batch of an epoch holds; of a `private` training,
        whose batches are drawn, nobody knows.
        """
        b = min(self.batch or examples, examples)
        if not b:
            return []
        full, rest = divmod(examples, b)
        found = [b] * full
        if self.last == "merge" and 2 * rest <= b:
            found[-1] += rest
        elif rest and self.last != "drop":
            found.append(rest)
        return found

    def kept(self, examples: int) -> int:
        """How many of so many examples are trained on: all that are not held out."""
        if not self.validation or examples < 2:
            return examples
        return examples - held_out(self.validation, examples)

    def at(self, round: int, rounds: int) -> Training:
        """That of one round (0 for the first) of so many, at the learning rate of that round."""
        if self.schedule is None:
            return self
        eta = self.learning_rate * self.schedule(round, rounds)
        return replace(self, learning_rate=eta, schedule=None)

    def counts(self, examples: int) -> tuple[int, int]:
        """How many of so many examples a batch holds, on average where they are drawn, and how many
        steps it takes.
        """
        b = max(1, min(self.batch or examples, examples))
        return b, self.steps or -(-self.epochs * examples // b)

    def draws(self, examples: int, key: Key) -> Iterator[NDArray[np.int64]]:
        """The rows of each step's batch: each with probability b/n, independently of all others;
        maybe none.
        """
        b, steps = self.counts(examples)
        for step in range(steps):
            yield np.flatnonzero(key.child("sample", step).uniform((examples,)) < b / examples)


def held_out(share: float, examples: int) -> int:
    """How many of n ≥ 2 examples are held out: max(1, round(share·n)), and never all."""
    return min(examples - 1, max(1, round(share * examples)))


def _is_function(value: object) -> bool:
    """Can it be called? A class can too, and is mostly one whose brackets were forgotten."""
    return callable(value) and not isinstance(value, type)


LAST = ("keep", "drop", "merge")
MOMENTUM = 0.9  # β of optimizer="momentum"
RHO, TINY = 0.99, 1e-8  # α and ε of optimizer="rmsprop"
# the last: as a Keras model is compiled
Word = Literal["sgd", "momentum", "rmsprop", "adam", "adamw", "compiled"]
OPTIMIZERS: tuple[Word, ...] = ("sgd", "momentum", "rmsprop", "adam", "adamw", "compiled")
