"""Sample: who is asked in a round, and how long they have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from .errors import number, refuse
from .known import own
from .rand import Key


@dataclass(frozen=True)
class Amplification:
    """What a random sample does for privacy, as long as it stays secret (amplification by
    subsampling).

    Each client is in a round with probability `rate`, independently of all others; or, where that
    is 0, each set of `size` clients is equally likely.
    """

    rate: float = 0.0
    size: int = 0


@dataclass(frozen=True, repr=False)
class Sample:
    """Who is asked in a round, how many must answer, and how long the round may take.

    A subclass says whom, by `draw`. What the others say is believed of hansa's own alone: whatever
    a stranger's sample declares, it amplifies nothing, and a client may be in every round. Fewer
    than `quorum` answers, and the model stays as it was.
    """

    quorum: int = field(default=1, kw_only=True)
    deadline: float = field(default=math.inf, kw_only=True)  # seconds

    def __post_init__(self) -> None:
        check(self)

    def __repr__(self) -> str:
        """The expression that builds it, without what is as ever."""
        said = [(one.name, getattr(self, one.name), one.default) for one in fields(self)]
        given = [f"{name}={value!r}" for name, value, default in said if value != default]
        return f"{type(self).__name__}({', '.join(given)})"

    def draw(self, roster: Sequence[str], key: Key, round: int = 0) -> list[str]:
        """The cohort of one round (0 for the first): names of the roster, each once."""
        raise TypeError(f"{type(self).__name__} does not say whom it asks")

    @property
    def most(self) -> int:
        """How many clients a round asks at most, where that is known without the roster; else 0."""
        return 0

    def expected(self, population: int) -> float:
        """How many of so many clients a round asks on average."""
        return min(self.most or population, population)

    @property
    def amplification(self) -> Amplification | None:
        """What it does for privacy; None for a sample that is not random."""
        return None

    @property
    def in_any_order(self) -> bool:
        """May a loop ask whoever is free in its place?"""
        return False

    def apart(self, population: int) -> int:
        """How many rounds lie between a client's parts, at least."""
        return 1

    def describe(self) -> str:
        """One clause on who is asked, for a reader who knows no code."""
        return f"the clients that {self!r} draws"


@dataclass(frozen=True, repr=False)
class Everyone(Sample):
    """Ask every client in every round."""

    in_any_order = True

    def draw(self, roster: Sequence[str], key: Key, round: int = 0) -> list[str]:
        """All."""
        return list(roster)

    def describe(self) -> str:
        """Who is asked."""
        return "every client, in every round"


@dataclass(frozen=True, repr=False)
class Uniform(Sample):
    """Ask `size` clients in a round, each set of that size equally likely (sampling without
    replacement); its cost does not grow with the roster.
    """

    size: int

    in_any_order = True

    def __post_init__(self) -> None:
        check(self)
        _check_size(self, self.size)

    def draw(self, roster: Sequence[str], key: Key, round: int = 0) -> list[str]:
        """So many, in the order of the roster."""
        return _some(roster, self.size, key.rng())

    @property
    def most(self) -> int:
        """`size`."""
        return self.size

    @property
    def amplification(self) -> Amplification:
        """That of a sample of fixed size."""
        return Amplification(size=self.size)

    def describe(self) -> str:
        """Who is asked."""
        return f"{self.size} clients, drawn anew each round, each set equally likely"


@dataclass(frozen=True, repr=False)
class Poisson(Sample):
    """Ask each client with probability `rate`, independently of all others (Poisson sampling); its
    cost does not grow with the roster.
    """

    rate: float

    in_any_order = True

    def __post_init__(self) -> None:
        check(self)
        fits = number(self.rate) and 0 < self.rate <= 1
        _refuse(self, (not fits, "the rate is a probability", "Poisson(0.1)"))

    def draw(self, roster: Sequence[str], key: Key, round: int = 0) -> list[str]:
        """How many is binomial, and each set of so many equally likely."""
        rng = key.rng()
        size = int(rng.binomial(len(roster), self.rate))
        return _some(roster, size, rng)

    def expected(self, population: int) -> float:
        """q·N."""
        return self.rate * population

    @property
    def amplification(self) -> Amplification:
        """That of Poisson sampling."""
        return Amplification(rate=self.rate)

    def describe(self) -> str:
        """Who is asked."""
        return f"each client with probability {self.rate:g}, independently of the others"


@dataclass(frozen=True, repr=False)
class InTurn(Sample):
    """Ask `size` clients in a round, and the next ones in the next, in the order of the roster;
    with one, cyclic training (Chang et al. 2018).
    """

    size: int = 1

    def __post_init__(self) -> None:
        check(self)
        _check_size(self, self.size)

    def draw(self, roster: Sequence[str], key: Key, round: int = 0) -> list[str]:
        """Those whose turn it is."""
        first = round * self.size
        many = min(self.size, len(roster))
        return [roster[i] for i in sorted((first + i) % len(roster) for i in range(many))]

    @property
    def most(self) -> int:
        """`size`."""
        return self.size

    def apart(self, population: int) -> int:
        """⌊N / size⌋: all others come before a client's next turn."""
        return max(population // self.size, 1)

    def describe(self) -> str:
        """Who is asked."""
        many = "one client" if self.size == 1 else f"{self.size} clients"
        return f"{many}, each in its turn"


def check(sample: Sample) -> None:
    """Raise PlanError where no sample could be drawn like this, whatever its class has checked."""
    whole = number(sample.quorum, whole=True) and sample.quorum >= 1
    timed = number(sample.deadline) and sample.deadline > 0
    silent = type(sample).draw is Sample.draw
    _refuse(
        sample,
        (silent, "it does not say whom it asks", "Everyone(), or a draw of your own"),
        (not whole, "a round needs at least one client", "quorum=1"),
        (not timed, "a round takes some seconds", "deadline=60.0"),
    )


def check_drawn(sample: Sample, drawn: Iterable[str], roster: Sequence[str]) -> list[str]:
    """The cohort, or PlanError where a stranger's draw is none: what rests on each client being
    asked once a round, and on no more than `most` being asked, would not hold.
    """
    if own(sample):
        return list(drawn)
    name = type(sample).__name__
    listed = isinstance(drawn, list | tuple)
    cohort = list(drawn) if listed else []
    known = set(roster)
    strangers = [who for who in cohort if not isinstance(who, str) or who not in known]
    wrong = [
        (not cohort, f"{name} drew nobody.", "A round asks at least one client."),
        (bool(strangers), f"{name} drew {strangers[:1]}.", "No client has that name."),
        (
            not strangers and len(set(cohort)) < len(cohort),
            f"{name} drew a client twice.",
            "A client is in a round once; ε is counted for that.",
        ),
        (
            0 < sample.most < len(cohort),
            f"{name} drew {len(cohort)} clients, and `most` says {sample.most}.",
            "What a sum has room for is sized by that.",
        ),
    ]
    instead = "Let `draw` give a list of names of the roster, each once."
    refuse((bad, found, why, instead) for bad, found, why in wrong)
    return cohort


def _check_size(sample: Sample, size: int) -> None:
    whole = number(size, whole=True) and size >= 1
    example = f"{type(sample).__name__}(10)"
    more = whole and sample.quorum > size
    _refuse(
        sample,
        (not whole, "the size counts clients", example),
        (more, "more must answer than are asked", "a lower quorum"),
    )


def _refuse(sample: Sample, *wrong: tuple[bool, str, str]) -> None:
    """PlanError for the first of these that is so."""
    refuse(
        (bad, f"{sample!r} cannot sample.", f"{why.capitalize()}.", f"Write for example {instead}.")
        for bad, why, instead in wrong
    )


def _some(roster: Sequence[str], size: int, rng: np.random.Generator) -> list[str]:
    many = min(size, len(roster))
    rows = rng.choice(len(roster), many, replace=False, shuffle=False)
    return [roster[i] for i in sorted(rows.tolist())]
