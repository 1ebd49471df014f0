"""Outline: a plan as a party knows it that imports no code of the app's.

    outlined(plan)        what is told of a plan, where its code is        → a value of hansa.codec
    Outline.of(told)      the plan as far as it is known where it is not

Aggregator, sample, and what noise and clips are, are hansa's own pieces here as there, and facts of
the vector are inferred from them anew: policies, accounting and an aggregator's half of a
conversation rest on these alone. Of the model, the algorithm and of strangers' pieces there are
names and sizes, and no code.

    first, pipe, aggregator, sample  ─▶  specs  ─▶  facts of the sum  ─▶  policy, ε, conversation

Whoever tells it also tells the digest, which is compared with what the server asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Self

from ..aggregators import Aggregator
from ..codec import fingerprint
from ..errors import PlanError, ProtocolError
from ..known import own
from ..models import Model
from ..models.values import Traits
from ..sample import Sample
from ..spec import Spec, SumFacts
from ..training import Training
from ..transforms import Pipe, Transform
from . import Plan, layout
from .noise import draws_in_public
from .pieces import Unwritten, read, written

LARGEST = 2**40  # numbers of a vector, at most


@dataclass(frozen=True)
class NamedModel(Model):
    """A model of which name and sizes are known."""

    name: str
    size: int
    trained: int
    grows: bool
    metrics: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trainable(self) -> int:
        """How many numbers an optimizer moves."""
        return self.trained

    @property
    def traits(self) -> Traits:  # type: ignore[override]
        """Whether it grows."""
        return Traits(grows=self.grows)


@dataclass(frozen=True)
class Named:
    """An algorithm, or a question, of which the name is known."""

    name: str


@dataclass(frozen=True)
class NamedTransform(Transform):
    """A stranger's transform: its name, and what is known of the vector behind it."""

    name: str
    leaves: Spec
    reads: bool = False  # type: ignore[misc]

    def plan(self, spec: Spec) -> Spec:
        """As it was where its code is."""
        return self.leaves


@dataclass(frozen=True, repr=False)
class NamedSample(Sample):
    """A stranger's sample: how many it asks at most."""

    name: str = ""
    asks: int = 0

    @property
    def most(self) -> int:
        """As it said where its code is."""
        return self.asks


@dataclass(frozen=True)
class Outline(Plan):
    """A plan without its code. It is held against policies and ε as the plan itself is."""

    first: Spec = field(default_factory=lambda: Spec({}))

    def __post_init__(self) -> None:
        _ = self.sum_spec

    @classmethod
    def of(cls, told: Any) -> Self:
        """The outline that `outlined` has told; ProtocolError where that cannot be one, PlanError
        where a vector cannot be what its pieces say.
        """
        try:
            return cls._of(told)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _no_outline("what is no outline") from error

    @classmethod
    def _of(cls, told: Any) -> Self:
        """The same, where anything may be wrong."""
        aggregator = read(told["aggregator"])
        sample = _sample(told["sample"])
        training = _training(told["training"])
        _check_kinds(((aggregator, Aggregator), (sample, Sample)))
        rounds = int(told["rounds"])
        added = aggregator.added(sample.most)
        facts = SumFacts(clients=added, quorum=sample.quorum, rounds=rounds)
        first = _first(told["first"], facts)
        made = cls(
            model=_model(told["model"]),
            algorithm=_stood_in(Named, told["algorithm"]),
            pipe=tuple(map(_transform, told["pipe"])),
            aggregator=aggregator,
            training=training,
            sample=sample,
            rounds=rounds,
            seed=int(told["seed"]),
            first=first,
        )
        shapes = {str(k): tuple(map(int, shape)) for k, shape in told["broadcast"].items()}
        vars(made).update(digest=str(told["digest"]), broadcast_shapes=shapes)
        if fingerprint(written(made.encoded_spec)) != told["encoded"]:
            raise _no_outline("facts that do not follow from its pieces")
        return made

    @cached_property
    def pipeline(self) -> Pipe:
        """The pipe, with the facts that enter each transform."""
        return layout.piped(self, self.first)


def outlined(plan: Plan) -> dict[str, Any]:
    """What is told of a plan to who has not its code.

    PlanError for an aggregator, or a sample that parties draw by themselves, that is not hansa's
    own.
    """
    specs = plan.pipeline.specs
    first = specs[0]
    return {
        "digest": plan.digest,
        "rounds": int(plan.rounds),
        "seed": int(plan.seed),
        "aggregator": _aggregator(plan),
        "sample": _sampled(plan),
        "training": _trained(plan.training),
        "pipe": [_step(step, leaves) for step, leaves in zip(plan.pipe, specs[1:], strict=True)],
        "model": _modelled(plan.model),
        "algorithm": _name(plan.algorithm),
        "first": {name: written(getattr(first, name)) for name in FACTS},
        "broadcast": {name: list(shape) for name, shape in plan.broadcast_shapes.items()},
        "encoded": fingerprint(written(plan.encoded_spec)),
    }


FACTS = ("blocks", "kinds", "bounds", "lows")  # of a vector before any transform


def check_own(plan: Plan) -> None:
    """PlanError where a party could not hold its half of a conversation without the app's code."""
    _aggregator(plan)
    _sampled(plan)


def _aggregator(plan: Plan) -> Any:
    """The aggregator, written."""
    try:
        return written(plan.aggregator)
    except Unwritten:
        raise PlanError(
            f"{plan.aggregator!r} is not hansa's own, and a site does not run it.",
            "A party's half of it would run beside the party's keys, where no code of an app's "
            "does.",
            "Take one of hansa's, such as VerifiedSum(helpers=1); in a simulation any may run.",
        ) from None


def _sampled(plan: Plan) -> Any:
    """The sample, written, or what is known of a stranger's."""
    try:
        return written(plan.sample)
    except Unwritten:
        name = type(plan.sample).__name__
    if draws_in_public(plan):
        raise PlanError(
            f"{name} is not hansa's own, and each client would have to draw it.",
            f"With {type(plan.aggregator).__name__} each client sees by itself who is asked, and "
            "no code of an app's runs beside its keys.",
            "Take one of hansa's samples, such as Everyone(quorum=3).",
        )
    return {
        "stranger": name,
        "quorum": int(plan.sample.quorum),
        "deadline": float(plan.sample.deadline),
        "most": int(plan.sample.most),
    }


def _sample(told: Any) -> Any:
    """The sample that `_sampled` has told."""
    match told:
        case {"stranger": str(name), "quorum": quorum, "deadline": deadline, "most": most}:
            made = _made(NamedSample, name)
            return made(name=name, asks=int(most), quorum=int(quorum), deadline=float(deadline))
    return read(told)


def _step(step: Transform, leaves: Spec) -> Any:
    """A transform, written, or what is known of a stranger's."""
    try:
        return written(step)
    except Unwritten:
        told = {"stranger": type(step).__name__, "reads": bool(step.reads)}
        return {**told, "leaves": written(leaves)}


def _transform(told: Any) -> Any:
    """The transform that `_step` has told."""
    match told:
        case {"stranger": str(name), "reads": bool(reads), "leaves": leaves}:
            found = _made(NamedTransform, name)(name, read(leaves), reads)
            _check_kinds(((found.leaves, Spec),))
            return found
    found = read(told)
    _check_kinds(((found, Transform),))
    return found


def _modelled(model: Model) -> dict[str, Any]:
    """What is known of a model."""
    questions = getattr(model, "questions", {})
    return {
        **_name(model),
        "size": int(model.size),
        "trainable": int(model.trainable),
        "grows": bool(model.traits.grows),
        "metrics": [str(name) for name in model.metrics],
        "questions": {str(name): _name(one) for name, one in questions.items()},
    }


def _model(told: Any) -> Any:
    """The model that `_modelled` has told."""
    size = int(told["size"])
    trained = int(told["trainable"])
    if not 0 <= trained <= size <= LARGEST:
        raise _no_outline("a model without a size")
    questions = {str(k): _stood_in(Named, one) for k, one in told["questions"].items()}
    metrics = dict.fromkeys(map(str, told["metrics"]), float("inf"))
    more = (size, trained, bool(told["grows"]), metrics, questions)
    return _stood_in(NamedModel, told, *more)


def _name(piece: Any) -> dict[str, Any]:
    """What a piece is called, and whether it is hansa's own."""
    return {"name": type(piece).__name__, "own": own(piece)}


def _stood_in(kind: type[Any], told: Any, *more: Any) -> Any:
    """What stands in for a piece; for a stranger's it is of no class of hansa's."""
    name = str(told["name"])
    if told["own"] is not True:
        kind = _made(kind, name)
    return kind(name, *more)


def _made(kind: type[Any], name: str) -> type[Any]:
    """A class of a stranger's name, that is not hansa's own."""
    if not name.isidentifier():
        raise _no_outline("a class without a name")
    return type(name, (kind,), {"__module__": "app"})


def _first(told: Any, facts: SumFacts) -> Spec:
    """What a client says before any transform."""
    found = Spec(**{name: read(told[name]) for name in FACTS}, sum_facts=facts)
    sizes = list(found.blocks.values())
    if not sizes or not all(type(n) is int and 0 <= n <= LARGEST for n in sizes):
        raise _no_outline("a vector without a size")
    return found


def _trained(training: Training) -> dict[str, Any]:
    """The fields of a training that are values, and whether that is all there is to it: functions
    stay where they are.
    """
    found = dict[str, Any]()
    for one in fields(Training):
        with suppress(Unwritten):
            found[one.name] = written(getattr(training, one.name))
    return {"own": own(training) and len(found) == len(fields(Training)), "fields": found}


def _training(told: Any) -> Training:
    """The training that `_trained` has told; of which a function is missing nobody knows what it
    gives away.
    """
    kind: Any = Training
    if told["own"] is not True:
        kind = _made(Training, Training.__name__)
    made: Training = kind(**{str(name): read(one) for name, one in told["fields"].items()})
    return made


def _check_kinds(pairs: tuple[tuple[Any, type], ...]) -> None:
    """ProtocolError where one of these is not of its kind."""
    for found, kind in pairs:
        if not isinstance(found, kind):
            raise _no_outline(f"a {type(found).__name__} in the place of a {kind.__name__}")


def _no_outline(what: str) -> ProtocolError:
    return ProtocolError(
        f"A plan was outlined with {what}.",
        "Its outline is what keeps it to an owner's policy.",
        "Look at the app, and at the version of hansa that its worker has.",
    )
