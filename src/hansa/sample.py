"""Sample: who is asked in a round, and how long they have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import PlanError, number
from .rand import Key


@dataclass(frozen=True)
class Sample:
    """Who is asked in a round, how many must answer, and how long the round may take.

    by "all": everyone; "uniform": `size` clients, each set equally likely; "poisson": each with
    probability `size`, independently (the sampling that amplifies privacy); "turns": `size`
    clients, then the next, in the roster's order. Fewer than `quorum` answers, and the model stays
    as it was.
    """

    by: Literal["all", "uniform", "poisson", "turns"] = "all"
    size: float = 0.0
    quorum: int = 1
    deadline: float = math.inf  # seconds

    def __post_init__(self) -> None:
        real = number(self.size) and math.isfinite(self.size)
        whole = real and self.size == int(self.size)
        counted = number(self.quorum, whole=True)
        wrong = [
            (
                self.by not in ("all", "uniform", "poisson", "turns"),
                "nobody can be drawn that way",
                "Everyone()",
            ),
            (
                self.by == "all" and self.size != 0,
                "everyone is asked, whatever the size",
                "Uniform(10)",
            ),
            (
                self.by in ("uniform", "turns") and not (whole and self.size >= 1),
                "the size counts clients",
                "Uniform(10)",
            ),
            (
                self.by == "poisson" and not (real and 0 < self.size <= 1),
                "the rate is a probability",
                "Poisson(0.1)",
            ),
            (not counted or self.quorum < 1, "a round needs at least one client", "quorum=1"),
            (
                self.by in ("uniform", "turns") and whole and counted and self.quorum > self.size,
                "more must answer than are asked",
                "a lower quorum",
            ),
            (
                not (number(self.deadline) and self.deadline > 0),
                "a round takes some seconds",
                "deadline=60.0",
            ),
        ]
        for bad, why, instead in wrong:
            if bad:
                raise PlanError(
                    f"{self!r} cannot sample.",
                    f"{why.capitalize()}.",
                    f"Write for example {instead}.",
                )

    @property
    def most(self) -> int:
        """How many clients a round asks at most, where that is known without the roster; else 0."""
        return int(self.size) if self.by in ("uniform", "turns") else 0

    def draw(self, roster: Sequence[str], key: Key, round: int = 0) -> list[str]:
        """The cohort of one round, in the order of the roster; its cost does not grow with the
        roster.
        """
        if self.by == "all":
            return list(roster)
        if self.by == "turns":
            first = round * int(self.size)
            many = min(int(self.size), len(roster))
            return [roster[i] for i in sorted((first + i) % len(roster) for i in range(many))]
        rng = key.rng()
        population = len(roster)
        size = int(self.size) if self.by == "uniform" else int(rng.binomial(population, self.size))
        rows = rng.choice(population, min(size, population), replace=False, shuffle=False)
        return [roster[i] for i in sorted(rows.tolist())]


def Everyone(quorum: int = 1, deadline: float = math.inf) -> Sample:
    """Ask every client in every round."""
    return Sample("all", 0.0, quorum, deadline)


def Uniform(size: int, quorum: int = 1, deadline: float = math.inf) -> Sample:
    """Ask `size` clients in a round, each set of that size equally likely."""
    return Sample("uniform", size, quorum, deadline)


def Poisson(rate: float, quorum: int = 1, deadline: float = math.inf) -> Sample:
    """Ask each client with probability `rate`, independently of all others."""
    return Sample("poisson", rate, quorum, deadline)


def InTurn(size: int = 1, quorum: int = 1, deadline: float = math.inf) -> Sample:
    """Ask `size` clients in a round, and the next ones in the next; with one, cyclic training
    (Chang et al. 2018).
    """
    return Sample("turns", size, quorum, deadline)
