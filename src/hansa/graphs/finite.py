"""Graphs that change from round to round, and reach the exact mean after a period.

    OnePeer   each hears one other, at distance 2ᵗ; exact for 2ᵏ peers after k rounds
    Base      each hears k others at most; exact for any number of peers

Every matrix of theirs is doubly stochastic, so the mean of the peers stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import PlanError, number
from . import Graph, Row, Rows

Group = Sequence[int]  # peers that take the mean of theirs in a round


@dataclass(frozen=True)
class OnePeer(Graph):
    """The one-peer exponential graph: in round t each hears the peer 2ᵗ places on.

        xᵢ ← (xᵢ + x_{i+2ᵗ})/2,      t = 0, 1, …, ⌈log₂ n⌉ − 1, and again

    For n = 2ᵏ the period reaches the exact mean; for other n it does not   (Ying et al. 2021,
    "Exponential Graph is Provably Efficient for Decentralized Deep Training").
    """

    def rounds(self, names: Sequence[str]) -> tuple[Rows, ...]:
        """⌈log₂ n⌉ matrices."""
        n = len(names)
        return tuple(
            tuple({i: 0.5, (i + 2**t) % n: 0.5} for i in range(n))
            for t in range((n - 1).bit_length())
        )


@dataclass(frozen=True)
class Base(Graph):
    """The Base-(k+1) graph: exact for any n, and each hears `k` others at most   (Takezawa et al.
    2023, "Beyond Exponential Graph", Alg. 1–3).

        2 log_{k+1}(n) + 2   rounds at most

    Peers are divided into V₁, V₂, … of a·(k+1)ᵖ each, as n is written in base k+1. Each Vₗ takes
    its mean (`_cube`); then the peers of V₂ ∪ V₃ … hand theirs to V₁ and take its mean, in shares
    that make the mean of both right; V₁ takes its mean while V₂ does the same with V₃ ∪ ….
    """

    k: int = 1

    def __post_init__(self) -> None:
        if not number(self.k, whole=True) or self.k < 1:
            raise PlanError(
                f"Base(k={self.k!r}) lets a peer hear nobody.",
                "It counts the others that a peer hears in a round.",
                "Write Base(1), or more for fewer rounds.",
            )

    def rounds(self, names: Sequence[str]) -> tuple[Rows, ...]:
        """The shorter of the two ways that the paper has."""
        return _base(len(names), int(self.k))


@lru_cache(maxsize=64)
def _base(n: int, k: int) -> tuple[Rows, ...]:
    """Groups of n/p peers by the simple way, and then p of each place: where that is shorter.

    p is the largest divisor of n whose prime factors are at most k+1   (ibid., Alg. 3).
    """
    simple = _simple(list(range(n)), n, k)
    p = n
    for factor in range(2, k + 2):
        while p % factor == 0:
            p //= factor
    p = n // p
    if p == 1 or p == n:
        return simple
    size = n // p
    parts = [_simple(list(range(g * size, (g + 1) * size)), n, k) for g in range(p)]
    inside = [_merged([part[t] for part in parts]) for t in range(len(parts[0]))]
    across = [_cube([i + g * size for g in range(p)], n, k) for i in range(size)]
    outside = [_merged([one[t] for one in across]) for t in range(len(across[0]))]
    if len(inside) + len(outside) < len(simple):
        return (*inside, *outside)
    return simple


def _simple(peers: Group, n: int, k: int) -> tuple[Rows, ...]:
    """The simple Base-(k+1) graph of these peers of n   (ibid., Alg. 2)."""
    if _factors(len(peers), k) is not None:
        return _cube(peers, n, k)
    parts = _digits(peers, k + 1)
    cubes = [_cube([i for group in part for i in group], n, k) for part in parts]
    inner = [[_cube(group, n, k) for group in part] for part in parts]
    first = max(map(len, cubes))
    length = first + 1 + len(inner[0][0])
    rounds = list[Rows]()
    for t in range(length):
        pieces = list[Rows]()
        stage = t - first
        for level in range(len(parts)):
            if t < len(cubes[level]):
                pieces.append(cubes[level][t])
            elif stage > level and stage - level - 1 < len(inner[level][0]):
                pieces += [one[stage - level - 1] for one in inner[level]]
        if 0 <= stage < len(parts) - 1:
            pieces.append(_handed(parts[stage], parts[stage + 1 :], n))
        rounds.append(_merged(pieces) if pieces else _alone(n))
    return tuple(rounds)


def _handed(part: Sequence[Group], rest: Sequence[Sequence[Group]], n: int) -> Rows:
    """Each peer of the rest swaps with one peer of each group of V, in shares.

    w = |V| / (|V| + |rest|) / groups
    """
    others = [i for one in rest for group in one for i in group]
    size = sum(map(len, part))
    share = size / (size + len(others))
    rows: list[dict[int, float]] = [{i: 1.0} for i in range(n)]
    for place, i in enumerate(others):
        rows[i] = {i: 1.0 - share}
        for group in part:
            j = group[place]
            rows[i][j] = share / len(part)
            rows[j] = {j: 1.0 - share / len(part), i: share / len(part)}
    return tuple(rows)


def _cube(peers: Group, n: int, k: int) -> tuple[Rows, ...]:
    """The hyper-hypercube: for each factor f of their number, groups of f take their means.

    Exact after as many rounds as there are factors   (ibid., Alg. 1).
    """
    found = _factors(len(peers), k) or []
    rounds = list[Rows]()
    step = 1
    for factor in found:
        rows: list[Row] = [{i: 1.0} for i in range(n)]
        for start in range(len(peers)):
            if start // step % factor == 0:
                group = [peers[start + step * digit] for digit in range(factor)]
                for i in group:
                    rows[i] = dict.fromkeys((i, *group), 1.0 / factor)
        rounds.append(tuple(rows))
        step *= factor
    return tuple(rounds)


def _factors(size: int, k: int) -> list[int] | None:
    """Factors of `size` that are at most k+1, as few as dividing by the largest first finds; None
    where there are none.
    """
    found = list[int]()
    for factor in range(k + 1, 1, -1):
        while size % factor == 0:
            found.append(factor)
            size //= factor
    if size > 1:
        return None
    return found


def _digits(peers: Group, base: int) -> list[list[Group]]:
    """The peers, divided as their number is written in this base: for each digit a > 0 at place p,
    a groups of baseᵖ.
    """
    power = 1
    while power * base <= len(peers):
        power *= base
    parts = list[list[Group]]()
    start = 0
    while power:
        count = (len(peers) - start) // power
        groups = [peers[start + g * power : start + (g + 1) * power] for g in range(count)]
        if groups:
            parts.append(list(groups))
        start += count * power
        power //= base
    return parts


def _merged(pieces: Sequence[Rows]) -> Rows:
    """One round of several that move different peers."""
    rows = list(pieces[0])
    for piece in pieces[1:]:
        for i, row in enumerate(piece):
            if len(row) > 1:
                rows[i] = row
    return tuple(rows)


def _alone(n: int) -> Rows:
    """A round in which nobody hears anybody."""
    return tuple({i: 1.0} for i in range(n))
