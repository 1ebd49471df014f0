"""Parts of a model, by name: which of them a training moves, and which stay with each client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TypeVar

import numpy as np

from ..data.examples import Examples
from ..errors import PlanError, number
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import (
    NO_LOCAL,
    NO_TOLD,
    Drift,
    Gradient,
    Local,
    Model,
    ModelView,
    Told,
    Train,
    TrainResult,
    Traits,
    consecutive,
    fitted,
)

Asked = TypeVar("Asked", Train, Gradient)

KEPT = "kept"  # in a client's memory: name → the numbers of a part that stays with it


def chosen(names: Iterable[str], patterns: Sequence[str], why: str) -> list[str]:
    """The names that a pattern fits, in their order; PlanError for a pattern that fits none.

    Patterns are those of `fnmatch`, with case: * for anything, ? for one character, [ab] for one of
    them.
    """
    every = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in every):
            raise PlanError(
                f"No part of the model fits {pattern!r}.",
                f"{why} Its parts are {', '.join(every)}.",
                f"Write one of these, or a pattern such as {every[-1].split('.')[0] + '*'!r}.",
            )
    return [name for name in every if any(fnmatchcase(name, one) for one in patterns)]


def moves(model: Model, training: Training) -> dict[str, bool]:
    """Each part that can be trained, in the order of the vector: does this training move it?"""
    while isinstance(model, ModelView):
        model = model.model  # which has the names of all parts, kept ones too
    trained = [name for name, place in model.slices().items() if place.stop <= model.trainable]
    if not training.only:
        return dict.fromkeys(trained, True)
    moved = set(chosen(trained, training.only, "Training(only=…) names what is trained."))
    return {name: name in moved for name in trained}


def still(model: Model, training: Training) -> list[slice]:
    """Where those parts lie that can be trained, and that a training leaves as they are."""
    if not training.only:
        return []
    places = model.slices()
    return [places[name] for name, moved in moves(model, training).items() if not moved]


def moving(model: Model, training: Training) -> Vector | None:
    """Does a training move each number [trainable]? None where it moves all."""
    if not training.only:
        return None
    return spread(model, moves(model, training))


def rates(model: Model, training: Training) -> dict[str, float]:
    """The factor on the learning rate of each part that can be trained, in the order of the vector;
    0 where the training moves nothing.

    Where two patterns of `rates` fit, the first that is written counts.
    """
    moved = moves(model, training)
    found = {name: float(one) for name, one in moved.items()}
    for pattern, factor in reversed(list(dict(training.rates).items())):
        why = "Training(rates=…) names what has a learning rate of its own."
        found |= {name: factor * moved[name] for name in chosen(moved, [pattern], why)}
    return found


def paced(model: Model, training: Training) -> tuple[float, dict[str, float]]:
    """The learning rate of the fastest part, and the share of it that each part has.

    Shares are 1 at most, so that y + share·(step(y) − y) loses no more digits than the step.
    """
    found = rates(model, training)
    most = max(found.values())
    return most * training.learning_rate, {name: one / most for name, one in found.items()}


def paces(model: Model, training: Training) -> Vector:
    """The factor on the learning rate of each number [size]; 0 where the training moves nothing."""
    factors = np.zeros(model.size)
    factors[: model.trainable] = spread(model, rates(model, training))
    return factors


def spread(model: Model, parts: Mapping[str, float]) -> Vector:
    """A number of each trained part, for each of its numbers [trainable]."""
    places = [(name, one) for name, one in model.slices().items() if one.stop <= model.trainable]
    sizes = [place.stop - place.start for _, place in places]
    return np.repeat([parts[name] for name, _ in places], sizes)


def check_training(model: Model, training: Training) -> None:
    """Raise PlanError where a model cannot clip gradients, or train the parts that a training names
    alone, or at other rates.
    """
    if training.clip is not None and not model.takes.clip:
        raise PlanError(
            f"{type(model).__name__} cannot train with clip={training.clip}.",
            "It does not say that it bounds the gradient of a batch, and would train without the "
            "bound.",
            "Take Softmax, TorchModel, JaxModel or KerasModel, or leave `clip` out.",
        )
    if training.rates:
        _check_rates(model, training)
    if not training.only:
        return
    if not model.takes.only:
        raise PlanError(
            f"{type(model).__name__} cannot train with only={training.only!r}.",
            "It trains all of its numbers, or does not say that it can leave some as they are.",
            "Take Softmax, TorchModel, JaxModel or KerasModel, or leave `only` out.",
        )
    moves(model, training)


def _check_rates(model: Model, training: Training) -> None:
    """Raise PlanError where a model has one learning rate, or no part would move."""
    if not model.takes.rates:
        raise PlanError(
            f"{type(model).__name__} cannot train with rates={training.rates!r}.",
            "It does not say that its parts may have learning rates of their own, and would train "
            "all at one.",
            "Take Softmax, TorchModel, JaxModel or KerasModel, or leave `rates` out.",
        )
    if not any(rates(model, training).values()):
        raise PlanError(
            f"Training(rates={training.rates!r}) moves nothing.",
            "A part whose rate is 0 stays as it is, and so would all.",
            "Give some part a rate above 0.",
        )


@dataclass(frozen=True)
class Split:
    """The whole vector [size] of a model as two: the parts that travel, and those that stay."""

    first: Vector  # the whole that all start from
    kept: dict[str, slice]  # name → where it lies in the whole
    shared: dict[str, slice]  # the others: name → where they lie in the whole
    own: dict[str, slice]  # and where in the vector that travels

    @classmethod
    def of(cls, model: Model, keep: Sequence[str], seed: int) -> Split:
        """The model's parts, of which those stay that a pattern fits, from weights that grow from
        `seed`; PlanError where a pattern fits none.
        """
        places = model.slices()
        names = chosen(places, keep, "Personal(keep=…) names what stays with each client.")
        kept = {name: places[name] for name in names}
        shared = {name: place for name, place in places.items() if name not in kept}
        own = consecutive((name, one.stop - one.start) for name, one in shared.items())
        first = np.asarray(model.start(Key.of(seed).child("start")), np.float64)
        return cls(first, kept, shared, own)

    def travelling(self, whole: Vector) -> Vector:
        """What travels of a whole vector [size]."""
        return np.concatenate([whole[place] for place in self.shared.values()])

    def whole(self, x: Vector, local: Local) -> Vector:
        """x and the kept parts as one vector [size]: a client's own, or those of the start."""
        whole = self._filled(x, self.first)
        for name, numbers in local.get(KEPT, {}).items():
            whole[self.kept[name]] = numbers
        return whole

    def ask(self, ask: Asked) -> Asked:
        """The same asked of the whole vector.

        Of a training the drift as well, of a gradient its place alone; what else is the client's
        own goes along.
        """
        local = ask.local or NO_LOCAL
        whole = ask._replace(x=self.whole(ask.x, local), local=without_kept(local))
        if isinstance(whole, Train):
            return whole._replace(drift=self._drift(whole.drift, whole.x))
        return whole

    def result(self, fit: TrainResult) -> TrainResult:
        """What travels of a training of the whole vector; the kept parts are the client's own."""
        kept = {name: np.array(fit.x[place]) for name, place in self.kept.items()}
        return replace(fit, x=self.travelling(fit.x), local={**fit.local, KEPT: kept})

    def _filled(self, x: Vector, other: Vector) -> Vector:
        """The whole vector [size]: x where it travels, and `other` [size] where it stays."""
        whole = np.array(other, np.float64)
        for name, place in self.shared.items():
            whole[place] = x[self.own[name]]
        return whole

    def _drift(self, drift: Drift, start: Vector) -> Drift:
        """The same for the whole vector: 0 for what is kept, and around `start` [size], the
        client's own, for a loss may look at the net there.
        """
        nothing = np.zeros(len(self.first))
        if drift.pulls:
            pulls = np.broadcast_to(drift.pull, lengths(self.own.values()))
            drift = replace(drift, pull=self._filled(pulls, nothing))
        if drift.shift is not None:
            drift = replace(drift, shift=self._filled(drift.shift, nothing))
        if drift.centre is not None:
            drift = replace(drift, centre=self._filled(drift.centre, start))
        return drift


def without_kept(local: Local) -> Local:
    """What else than kept parts is the client's own."""
    return {name: value for name, value in local.items() if name != KEPT}


def lengths(places: Iterable[slice]) -> int:
    """How many numbers lie in these places together."""
    return sum(place.stop - place.start for place in places)


@dataclass(frozen=True)
class Personal(ModelView):
    """A model of which each client keeps some parts to itself (Arivazhagan et al. 2019).

        x = [parts that travel],     a client trains [x, its own kept parts] as one vector

    `keep`: patterns of names, as a shell has them: "head.*", "*.bias". The kept numbers are in no
    vector that travels and in no broadcast, so nothing clips, noises, masks or proves them; a drift
    does not touch them. Each client remembers its own, from training to training; all start from
    the same, that of `model.start`. Noise for single examples, PerExample, covers them like all
    others, for the numbers that travel are computed with them.

    With BatchNorm's weights and statistics among them it is FedBN (Li et al. 2021).

    The global model is then a shared part alone. `score` and `tensors` fill it up with the start of
    what is kept; with a client's `local`, with the client's own. The first weights grow from
    `seed`, not from the plan's.
    """

    model: Model
    keep: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        listed = isinstance(self.keep, tuple) and all(isinstance(one, str) for one in self.keep)
        if not listed or not self.keep or not number(self.seed, whole=True):
            raise PlanError(
                f"Personal(keep={self.keep!r}, seed={self.seed!r}) keeps nothing.",
                "`keep` is a tuple of patterns of names, and `seed` a whole number.",
                "Write for example Personal(model, keep=('head.*',)).",
            )
        if self.model.traits.grows or isinstance(self.model, Personal):
            raise PlanError(
                f"Personal cannot keep parts of {type(self.model).__name__}.",
                "It takes a model of a fixed length that is whole.",
                "Name all that is kept in one Personal(model, keep=(…)), and no model of trees.",
            )
        if not self.trainable:
            raise PlanError(
                f"Personal(keep={self.keep!r}) keeps all that is trained.",
                "Nothing would travel but running statistics, or nothing at all. The model's parts "
                f"are {', '.join(self.model.slices())}.",
                "Keep fewer of them.",
            )

    # ── where things lie ──

    @cached_property
    def _split(self) -> Split:
        """Where its parts lie, and the vector that all start from; told once."""
        return Split.of(self.model, self.keep, self.seed)

    @property
    def kept(self) -> dict[str, slice]:
        """The parts that stay with each client: name → where they lie in the whole vector."""
        return self._split.kept

    def slices(self) -> dict[str, slice]:
        """The parts that travel."""
        return dict(self._split.own)

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many numbers travel."""
        return lengths(self._split.shared.values())

    @property
    def trainable(self) -> int:
        """How many of them are trained."""
        shared = self._split.shared.values()
        return lengths(one for one in shared if one.stop <= self.model.trainable)

    @property
    def domain(self) -> Vector:
        """As the model, for the statistics that travel."""
        free = np.full(self.model.trainable, -np.inf)
        whole = np.concatenate([free, self.model.domain])
        return self._split.travelling(whole)[self.trainable :]

    @property
    def cohort(self) -> int:  # type: ignore[override]
        """As the model."""
        return self.model.cohort

    @property
    def traits(self) -> Traits:  # type: ignore[override]
        """As the model; but each client uses the shared parts with kept ones of its own."""
        return replace(self.model.traits, personal=True, remembers=True)

    def start(self, key: Key) -> Vector:
        """What travels of the model's start; `seed` decides, not the plan's."""
        return self._split.travelling(self._split.first)

    def whole(self, x: Vector, local: Local = NO_LOCAL) -> Vector:
        """x and the kept parts as one vector of `model`: a client's own, or those of the start."""
        return self._split.whole(x, local)

    # ── training ──

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
        told: Told = NO_TOLD,
    ) -> TrainResult:
        """Train the whole vector; its kept parts stay, with what else is the client's own."""
        ask = self._split.ask(Train(x, data, training, drift, key, local, told))
        return self._split.result(fitted(self.model, ask))

    def train_all(self, asks: Sequence[Train]) -> list[TrainResult]:
        """What `train` gives for each."""
        split = self._split
        return list(map(split.result, self.model.train_all(list(map(split.ask, asks)))))

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """As the model, of what travels."""
        split = self._split
        return list(map(split.travelling, self.model.gradients(list(map(split.ask, asks)))))

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """As the model, of the whole vector."""
        return self.model.score(self.whole(x, local), data, without_kept(local))

    def features_of(
        self, x: Vector, data: Examples, local: Local = NO_LOCAL
    ) -> tuple[Vector, Vector]:
        """As the model, of the whole vector."""
        return self.model.features_of(self.whole(x, local), data, without_kept(local))

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """As the model, of the whole vector: x, and the client's own of what is kept, or its
        start.
        """
        return self.model.tensors(self.whole(x, local), without_kept(local))
