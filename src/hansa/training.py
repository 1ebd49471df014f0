"""Training: how a client trains on its own data, and the noise that hides a single example of
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import Fault, PlanError, number, refuse
from .rand import Key
from .schedules import Factor
from .spec import Vector

Amounts: TypeAlias = Mapping[str, int] | tuple[tuple[str, int], ...]  # AMOUNTS → how many
Rates: TypeAlias = Mapping[str, float] | tuple[tuple[str, float], ...]
ByName: TypeAlias = Mapping[str, Amounts] | tuple[tuple[str, Amounts], ...]


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

    `rates` gives parts of the model a learning rate of their own: a factor rₚ on η for the numbers
    of part p, by patterns of which the first that fits counts, and 1 where none does. It scales the
    whole step of the optimizer, decay, drift and noise included, as the `lr` of a parameter group
    does:

        y ← y + rₚ (step(y) − y)            rates={"head.*": 10.0, "embedding.*": 0}

    A part of rate 0 stays; `clip` and PerExample still count its gradient, unlike those that `only`
    leaves out.

    `by_client` says how much single clients train: `epochs`, `steps` and `batch` by patterns of
    their names, of which the first that fits counts, or as a function of how many examples a client
    trains on. What it leaves out is that of all; epochs take the place of the steps of all.

        by_client={"north": {"epochs": 1}, "phone-*": {"epochs": 2, "batch": 8}}
        by_client=lambda n: {"batch": max(8, n // 100)}
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
    rates: Rates = ()
    by_client: Callable[[int], Amounts] | ByName = ()

    def __post_init__(self) -> None:
        for name in ("rates", "by_client"):
            object.__setattr__(self, name, _paired(getattr(self, name)))
        refuse(
            (
                not fits,
                f"Training({name}={getattr(self, name)!r}) cannot train.",
                f"`{name}` {what}.",
                f"Write for example Training({name}={instead}).",
            )
            for name, fits, what, instead in _right(self)
        )
        refuse(_clashes(self))
        refuse(_misnamed(self))
        for amounts in amounts_by_name(self).values():
            _of_its_own(self, amounts)

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

    def at(self, round: int, rounds: int) -> Training:
        """That of one round (0 for the first) of so many, at the learning rate of that round."""
        if self.schedule is None:
            return self
        eta = self.learning_rate * self.schedule(round, rounds)
        return replace(self, learning_rate=eta, schedule=None)

    def of(self, who: str, examples: int) -> Training:
        """That of one client, which trains on so many examples."""
        if callable(self.by_client):
            return _of_its_own(self, self.by_client(examples))
        for pattern, amounts in amounts_by_name(self).items():
            if fnmatchcase(who, pattern):
                return _of_its_own(self, amounts)
        return _of_its_own(self, {}) if self.by_client else self

    def counts(self, examples: int) -> tuple[int, int]:
        """How many of so many examples a batch holds, on average where they are drawn, and how many
        steps it takes.
        """
        b = max(1, min(self.batch or examples, examples))
        return b, self.steps or -(-self.epochs * examples // b)


def amounts_by_name(training: Training) -> dict[str, Amounts]:
    """What `by_client` says by name: pattern → amounts."""
    return {} if callable(training.by_client) else dict(training.by_client)


def kept_of(training: Training, examples: int) -> int:
    """How many of so many examples are trained on: all that are not held out."""
    if not training.validation or examples < 2:
        return examples
    return examples - held_out(training.validation, examples)


def drawn_rows(training: Training, examples: int, key: Key) -> Iterator[NDArray[np.int64]]:
    """The rows of each step's batch: each with probability b/n, independently of all others;
    maybe none.
    """
    b, steps = training.counts(examples)
    for step in range(steps):
        yield np.flatnonzero(key.child("sample", step).uniform((examples,)) < b / examples)


def _clashes(training: Training) -> Iterator[Fault]:
    """What is right alone, and cannot stand together."""
    yield (
        bool(training.validation) and not training.report,
        f"Training(validation={training.validation}, report=False) keeps examples back for "
        "nothing.",
        "They are held out to score the global model on, and no client tells its score.",
        "Leave `validation` out, or write report=True.",
    )
    yield (
        training.private is not None and training.report,
        f"Training(private={training.private!r}, report=True) tells losses of the examples "
        "that it hides.",
        "The noise is in the gradients; a loss or a score is computed from the examples "
        "without any.",
        "Write report=False, and score the model on data that is nobody's secret.",
    )
    yield (
        training.private is not None and training.last != "keep",
        f"Training(private=…, last={training.last!r}) has no last batch.",
        "PerExample draws each batch from all examples, so that none is what others leave.",
        "Leave `last` out.",
    )
    yield (
        training.private is not None and training.clip is not None,
        f"Training(clip={training.clip}, private={training.private!r}) clips twice.",
        "PerExample clips the gradient of each example, and its noise is sized for that alone.",
        "Leave `clip` out; PerExample(clip=…) is the bound.",
    )
    yield (
        training.private is not None and bool(training.by_client),
        "Training(private=…, by_client=…) has no ε that is known of all.",
        "PerExample counts steps and the share of a batch, and these would be other ones for "
        "each client.",
        "Leave `by_client` out.",
    )
    for name in ("schedule", "clip", "rates"):
        yield (
            training.optimizer == "compiled" and getattr(training, name) not in (None, ()),
            f"Training(optimizer='compiled', {name}={getattr(training, name)!r}) says it twice.",
            "The optimizer of `compile` has a learning rate and a clip of its own, and this "
            "would be passed over in silence.",
            "Give it to the optimizer of `compile`, or name one in the plan: "
            "Training(optimizer='sgd').",
        )


def _misnamed(training: Training) -> Iterator[Fault]:
    """What names neither parts of a model nor clients."""
    yield (
        not isinstance(training.only, tuple)
        or not all(isinstance(one, str) for one in training.only),
        f"Training(only={training.only!r}) cannot train.",
        "`only` is a tuple of patterns of names.",
        "Write for example Training(only=('head.*',)).",
    )
    yield (
        not _names(training.rates) or not all(map(_is_rate, dict(training.rates).values())),
        f"Training(rates={training.rates!r}) has no learning rates.",
        "It names parts of the model, each with a factor ≥ 0 on the learning rate.",
        "Write for example Training(rates={'head.*': 10.0}).",
    )
    yield (
        not _is_function(training.by_client) and not _names(training.by_client),
        f"Training(by_client={training.by_client!r}) names no clients.",
        "It gives each its own epochs, steps or batch, by name or by a function of how many "
        "examples it has.",
        "Write for example Training(by_client={'north': {'epochs': 1}}).",
    )


def _of_its_own(training: Training, given: Amounts) -> Training:
    """This one with a client's own amounts; PlanError where they are none."""
    right = isinstance(given, Mapping) or _names(given)
    own: dict[str, Any] = dict(given) if right else {}
    if not right or not own.keys() <= set(AMOUNTS):
        raise PlanError(
            f"Training(by_client=…) says {given!r} of a client.",
            f"A client has {', '.join(AMOUNTS)} of its own, and nothing else.",
            "Write for example by_client={'north': {'epochs': 1}}.",
        )
    if "epochs" in own:
        own = {"steps": None, **own}
    return replace(training, by_client=(), **own)


def _right(training: Training) -> list[tuple[str, bool, str, str]]:
    """Of each field: is it right, what is it, and what to write for example."""
    eta = training.learning_rate
    decay = training.weight_decay
    clip = training.clip
    steps = training.steps
    validation = training.validation
    counts = number(training.epochs, True) and training.epochs >= 1
    batches = number(training.batch, True) and training.batch >= 0
    bounds = clip is None or (number(clip) and 0 < clip < np.inf)
    ends = steps is None or (number(steps, True) and steps >= 1)
    shares = number(validation) and 0 <= validation < 1
    return [
        ("epochs", counts, "counts passes over a client's examples", "1"),
        ("batch", batches, "counts examples, and 0 takes all at once", "32"),
        ("learning_rate", number(eta) and 0 < eta < np.inf, "is a positive number", "0.1"),
        (
            "optimizer",
            training.optimizer in OPTIMIZERS,
            f"is one of {', '.join(OPTIMIZERS)}",
            "'sgd'",
        ),
        ("weight_decay", number(decay) and 0 <= decay < np.inf, "is a factor ≥ 0", "0.0"),
        (
            "schedule",
            training.schedule is None or _is_function(training.schedule),
            "is a function of (round, rounds)",
            "Cosine()",
        ),
        ("clip", bounds, "is the norm that a gradient has at most", "1.0"),
        ("steps", ends, "counts batches", "100"),
        ("validation", shares, "is a share of the examples, less than all", "0.2"),
        ("report", isinstance(training.report, bool), "is True or False", "True"),
        (
            "private",
            isinstance(training.private, PerExample | None),
            "is a PerExample",
            "PerExample(1.0, 1.1), …",
        ),
        ("last", training.last in LAST, f"is one of {', '.join(LAST)}", "'drop'"),
    ]


def held_out(share: float, examples: int) -> int:
    """How many of n ≥ 2 examples are held out: max(1, round(share·n)), and never all."""
    return min(examples - 1, max(1, round(share * examples)))


def _paired(given: Any) -> Any:
    """A mapping as its pairs, all the way down, so that it has a hash; all else as it is."""
    if isinstance(given, Mapping):
        return tuple((name, _paired(one)) for name, one in given.items())
    return given


def _names(pairs: Any) -> bool:
    """Are these pairs, each with a name?"""
    if not isinstance(pairs, tuple):
        return False
    return all(isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) for p in pairs)


def _is_rate(value: Any) -> bool:
    """Is it a factor on a learning rate?"""
    return number(value) and 0 <= value < math.inf


def _is_function(value: object) -> bool:
    """Can it be called? A class can too, and is mostly one whose brackets were forgotten."""
    return callable(value) and not isinstance(value, type)


LAST = ("keep", "drop", "merge")
AMOUNTS = ("epochs", "steps", "batch")  # of which a client may have its own
MOMENTUM = 0.9  # β of optimizer="momentum"
RHO, TINY = 0.99, 1e-8  # α and ε of optimizer="rmsprop"
# the last: as a Keras model is compiled
Word = Literal["sgd", "momentum", "rmsprop", "adam", "adamw", "compiled"]
OPTIMIZERS: tuple[Word, ...] = ("sgd", "momentum", "rmsprop", "adam", "adamw", "compiled")
