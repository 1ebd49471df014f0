"""Parts of a model, by name: which of them a training moves, and which stay with each client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    consecutive,
    fitted,
)

Asked = TypeVar("Asked", Train, Gradient)

KEPT = "kept"  # in a client's memory: name → the numbers of a part that stays with it


def chosen(names: Iterable[str], patterns: Sequence[str], why: str) -> list[str]:
    """The names that a pattern fits, in their order; PlanError for a pattern that fits none."""
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


def moving(model: Model, training: Training) -> Vector | None:
    """Does a training move each number [trainable]? None where it moves all."""
    if not training.only:
        return None
    moved = moves(model, training)
    places = model.slices()
    sizes = [places[name].stop - places[name].start for name in moved]
    return np.repeat(list(moved.values()), sizes)


def check_training(model: Model, training: Training) -> None:
    """Raise PlanError where a model cannot clip gradients, or train the parts alone that a training
    names.
    """
    if training.clip is not None and not model.clips:
        raise PlanError(
            f"{type(model).__name__} cannot train with clip={training.clip}.",
            "It does not say that it bounds the gradient of a batch, and would train without the "
            "bound.",
            "Take Softmax, TorchModel, JaxModel or KerasModel, or leave `clip` out.",
        )
    if not training.only:
        return
    if not model.partial:
        raise PlanError(
            f"{type(model).__name__} cannot train with only={training.only!r}.",
            "It trains all of its numbers, or does not say that it can leave some as they are.",
            "Take Softmax, TorchModel, JaxModel or KerasModel, or leave `only` out.",
        )
    moves(model, training)


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

    remembers = True

    def __post_init__(self) -> None:
        listed = isinstance(self.keep, tuple) and all(isinstance(one, str) for one in self.keep)
        if not listed or not self.keep or not number(self.seed, whole=True):
            raise PlanError(
                f"Personal(keep={self.keep!r}, seed={self.seed!r}) keeps nothing.",
                "`keep` is a tuple of patterns of names, and `seed` a whole number.",
                "Write for example Personal(model, keep=('head.*',)).",
            )
        if self.model.grows or isinstance(self.model, Personal):
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
    def kept(self) -> dict[str, slice]:
        """The parts that stay with each client: name → where they lie in the whole vector."""
        places = self.model.slices()
        names = chosen(places, self.keep, "Personal(keep=…) names what stays with each client.")
        return {name: places[name] for name in names}

    @cached_property
    def _shared(self) -> dict[str, slice]:
        """The others: name → where they lie in the whole vector."""
        places = self.model.slices().items()
        return {name: place for name, place in places if name not in self.kept}

    @cached_property
    def _own(self) -> dict[str, slice]:
        """The others: name → where they lie in the vector that travels."""
        return consecutive((name, one.stop - one.start) for name, one in self._shared.items())

    @cached_property
    def _first(self) -> Vector:
        """The whole vector that all start from."""
        return np.asarray(self.model.start(Key.of(self.seed).child("start")), np.float64)

    def slices(self) -> dict[str, slice]:
        """The parts that travel."""
        return dict(self._own)

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many numbers travel."""
        return sum(place.stop - place.start for place in self._shared.values())

    @property
    def trainable(self) -> int:
        """How many of them are trained."""
        trained = [one for one in self._shared.values() if one.stop <= self.model.trainable]
        return sum(place.stop - place.start for place in trained)

    @property
    def domain(self) -> Vector:
        """As the model, for the statistics that travel."""
        free = np.full(self.model.trainable, -np.inf)
        return self._travelling(np.concatenate([free, self.model.domain]))[self.trainable :]

    @property
    def cohort(self) -> int:  # type: ignore[override]
        """As the model."""
        return self.model.cohort

    @property
    def personal(self) -> bool:  # type: ignore[override]
        """Each client uses the shared parts with kept ones of its own."""
        return True

    def start(self, key: Key) -> Vector:
        """What travels of the model's start; `seed` decides, not the plan's."""
        return self._travelling(self._first)

    def whole(self, x: Vector, local: Local = NO_LOCAL) -> Vector:
        """x and the kept parts as one vector of `model`: a client's own, or those of the start."""
        whole = self._spread(x, self._first)
        for name, numbers in local.get(KEPT, {}).items():
            whole[self.kept[name]] = numbers
        return whole

    def _spread(self, x: Vector, other: Vector) -> Vector:
        """The whole vector of x, and of `other` where the kept parts lie."""
        whole = np.array(other, np.float64)
        for name, place in self._shared.items():
            whole[place] = x[self._own[name]]
        return whole

    def _travelling(self, whole: Vector) -> Vector:
        """What travels of a whole vector."""
        return np.concatenate([whole[place] for place in self._shared.values()])

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
        ask = self._whole(Train(x, data, training, drift, key, local, told))
        return self._result(fitted(self.model, ask))

    def train_all(self, asks: Sequence[Train]) -> list[TrainResult]:
        """What `train` gives for each."""
        return [self._result(fit) for fit in self.model.train_all(list(map(self._whole, asks)))]

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """As the model, of what travels."""
        return [self._travelling(g) for g in self.model.gradients(list(map(self._ask, asks)))]

    def _ask(self, ask: Asked) -> Asked:
        """The same at the whole vector."""
        local = ask.local or NO_LOCAL
        return ask._replace(x=self.whole(ask.x, local), local=_without_kept(local))

    def _whole(self, ask: Train) -> Train:
        """The same training of the whole vector."""
        whole = self._ask(ask)
        return whole._replace(drift=self._drift(ask.drift, whole.x))

    def _drift(self, drift: Drift, start: Vector) -> Drift:
        """The same for the whole vector: 0 for what is kept, and around the client's own, for a
        loss may look at the net there.
        """
        nothing = np.zeros(self.model.size)
        if drift.pulls:
            pulls = np.broadcast_to(drift.pull, self.size)
            drift = replace(drift, pull=self._spread(pulls, nothing))
        if drift.shift is not None:
            drift = replace(drift, shift=self._spread(drift.shift, nothing))
        if drift.centre is not None:
            drift = replace(drift, centre=self._spread(drift.centre, start))
        return drift

    def _result(self, fit: TrainResult) -> TrainResult:
        kept = {name: np.array(fit.x[place]) for name, place in self.kept.items()}
        return replace(fit, x=self._travelling(fit.x), local={**fit.local, KEPT: kept})

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """As the model, of the whole vector."""
        return self.model.score(self.whole(x, local), data, _without_kept(local))

    def features_of(
        self, x: Vector, data: Examples, local: Local = NO_LOCAL
    ) -> tuple[Vector, Vector]:
        """As the model, of the whole vector."""
        return self.model.features_of(self.whole(x, local), data, _without_kept(local))

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """As the model."""
        self.model.check(data, who, training)

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """As the model, of the whole vector: x, and the client's own of what is kept, or its
        start.
        """
        return self.model.tensors(self.whole(x, local), _without_kept(local))


def _without_kept(local: Local) -> Local:
    return {name: value for name, value in local.items() if name != KEPT}
