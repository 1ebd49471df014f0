"""What a sample promises.

    draw()        names of the roster, each once, one at least, and no more than `most`
    its key       equal arguments give equal draws, whatever was drawn before
    the roster    stays as it is, and is read a few times over at most
    expected()    how many a draw holds on average; apart(), how many rounds lie between two
    amplification a client is in a draw as often as that says
    in words      its repr builds it, and describe() is one clause

Who is asked decides whom a round tells of, and a run that is carried on draws its rounds again: so
nothing but the arguments may decide it. A stranger's sample amplifies nothing, whatever it says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import PlanError
from ..known import own
from ..sample import Sample, check
from .asserts import KEY, check_clause, check_repr, require

ROUNDS = 400  # draws over which what is random is averaged
SIGMAS = 6.0  # how far such an average may lie from what is said
READS = 50  # of each name of the roster, in one draw: none that looks at every pair does with these


class Roster(Sequence[str]):
    """So many names, which count how often one of them is read, also by a search or a slice."""

    def __init__(self, size: int):
        self.names = tuple(f"client-{i:05d}" for i in range(size))
        self.reads = 0

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> Any:
        found = self.names[i]
        self.reads += np.size(found)
        return found


def check_sample(sample: Sample, clients: int = 12) -> None:
    """Hold a sample to its promises, on rosters of `clients` names, and of many more.

    A draw is a list of names of the roster, each once, and a function of roster, key and round;
    `most`, `expected`, `apart` and `amplification` are true of it. AssertionError names the first
    promise that is broken.
    """
    check_repr(sample)
    name = repr(sample)
    try:
        check(sample)
    except PlanError as error:
        raise AssertionError(f"{name}: a plan refuses it.\n  {error}") from error
    check_clause(sample, sample.describe(), "describe()")
    for size in (clients, 3 * clients + 1):
        drawn = [_draw(sample, size, round) for round in range(ROUNDS)]
        _functions(sample, size, drawn)
        _often(sample, size, drawn)
        _apart(sample, size, drawn)
    _cost(sample, 200 * clients)
    require(repr(sample) == name, f"{name}: it changed while it was used; draw from the key alone.")


def _draw(sample: Sample, size: int, round: int) -> list[str]:
    """The cohort of one round, which is one: what a plan with a stranger's would refuse."""
    roster = [f"client-{i}" for i in range(size)]
    before = list(roster)
    drawn: Any = sample.draw(roster, KEY.child("sample", round), round)
    require(roster == before, f"{sample!r}: draw() changes the roster; work on a copy.")
    require(
        isinstance(drawn, list | tuple) and all(who in roster for who in drawn),
        f"{sample!r}: draw() must give a list of names of the roster, not {drawn!r}.",
    )
    require(len(set(drawn)) == len(drawn), f"{sample!r}: draw() names a client twice: {drawn!r}.")
    require(
        drawn or own(sample),
        f"{sample!r}: draw() names nobody of {size} clients; a round asks one at least.",
    )
    most = sample.most
    require(
        isinstance(most, int) and most >= 0,
        f"{sample!r}: `most` is {most!r}; it counts clients, and is 0 where it is not known.",
    )
    require(
        not most or len(drawn) <= most,
        f"{sample!r}: draw() names {len(drawn)} clients, and `most` says {most}.",
    )
    return list(drawn)


def _functions(sample: Sample, size: int, drawn: list[list[str]]) -> None:
    """The last rounds first, and once more: a run that is carried on begins anywhere."""
    for round in (ROUNDS - 1, 7, 0, 7):
        require(
            _draw(sample, size, round) == drawn[round],
            f"{sample!r}: draw() is not a function of roster, key and round; draw from the key, "
            "and keep nothing between rounds.",
        )


def _often(sample: Sample, size: int, drawn: list[list[str]]) -> None:
    """How many are drawn, and how often each where the sample amplifies:  q = rate, or size / N."""
    counts = np.array([len(cohort) for cohort in drawn])
    said = sample.expected(size)
    spread = SIGMAS * float(counts.std()) / math.sqrt(ROUNDS)
    require(
        abs(counts.mean() - said) <= spread + 1e-9,
        f"{sample!r}: draw() names {counts.mean():.3g} of {size} clients on average, and "
        f"expected() says {said:.3g}; say it there, or by `most`.",
    )
    if (amplified := sample.amplification) is None:
        return
    q = amplified.rate or min(amplified.size / size, 1.0)
    spread = SIGMAS * math.sqrt(q * (1 - q) / ROUNDS)
    names, times = np.unique(np.concatenate(drawn), return_counts=True)
    require(
        len(names) == size and (abs(times / ROUNDS - q) <= spread + 1e-9).all(),
        f"{sample!r}: `amplification` says that a client is in a round with probability {q:.3g}; "
        f"one is in {times.min() / ROUNDS:.3g} of them, another in {times.max() / ROUNDS:.3g}.",
    )


def _apart(sample: Sample, size: int, drawn: list[list[str]]) -> None:
    """A client's rounds lie as far apart as the sample says."""
    least = sample.apart(size)
    for who in sorted({who for cohort in drawn for who in cohort}):
        rounds = [round for round, cohort in enumerate(drawn) if who in cohort]
        nearest = min((later - earlier for earlier, later in pairwise(rounds)), default=ROUNDS)
        require(
            nearest >= min(least, ROUNDS),
            f"{sample!r}: a client comes after {nearest} rounds again; apart() says {least}.",
        )


def _cost(sample: Sample, size: int) -> None:
    """One draw of a long roster."""
    roster = Roster(size)
    sample.draw(roster, KEY.child("long"), 0)
    require(
        roster.reads <= READS * size,
        f"{sample!r}: one draw from {size} names reads {roster.reads} times; look a name up in a "
        "set, not in the roster.",
    )
