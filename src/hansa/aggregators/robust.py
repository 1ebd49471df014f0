"""Robust rules: n vectors become one that a minority of attackers cannot move far.

Letters: n vectors xᵢ of d numbers, the rows of V [n, d]; f of them come from attackers, who know
all the others, collude, and say what they like. A rule holds up to a share of attackers that it
states (`tolerance`), and each client counts once, however many examples it claims to have. What
holds is that the result v stays about as near to the honest mean μ as honest vectors are; where
these differ much (each client has its own labels), attackers may differ as much unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..errors import PlanError, number
from ..spec import Vector
from . import RobustRule, enough

COLUMNS = 2**12  # coordinates sorted at once, so that memory does not grow with their number
SETTLED = 1e-6  # GeometricMedian stops when it moves by less than this share of the median distance
TINY = 1e-300  # keeps 0/0 out of a division by a distance


@dataclass(frozen=True)
class Median(RobustRule):
    """The median of every coordinate:  v_j = median(x_1j, …, x_nj).

    Holds while f < n/2. Then v_j lies between honest values, and |v_j − μ_j| = O(σ_j f/n) where the
    honest x_ij scatter
    with standard deviation σ_j about μ_j.   (Yin et al. 2018, "Byzantine-robust distributed
    learning", Def. 1, Thm. 1)
    """

    def rule(self, V: Vector) -> Vector:
        """median over clients [d]."""
        return _coordinates(V, _middle)

    def shortfall(self, n: int) -> str:
        """Three, the least number with a minority in it."""
        return _few(self, n, 3)

    def tolerance(self) -> str:
        """Up to which share of attackers it holds."""
        # P66
        return "fewer than half of the clients heard lie"


@dataclass(frozen=True)
class TrimmedMean(RobustRule):
    """The mean of every coordinate without its k smallest and k largest values.

        v_j = (1/(n − 2k)) Σ x_(i)j over k < i ≤ n − k,    x_(1)j ≤ … ≤ x_(n)j,    k = ⌊β·n⌋,  β =
        `share`

    Holds while f ≤ β·n: then every value left lies between honest ones.
    The same error as the median's, and less scatter when few lie.   (Yin et al. 2018, Def. 2, Thm.
    4)
    """

    share: float

    def __post_init__(self) -> None:
        if not number(self.share) or not 0 < self.share < 0.5:
            raise PlanError(
                f"TrimmedMean(share={self.share!r}) leaves nothing to average.",
                "This share of the values is cut at each end, so it lies between 0 and one half.",
                "Write the share of clients that may lie, for example TrimmedMean(0.2), or take "
                "Median().",
            )

    def rule(self, V: Vector) -> Vector:
        """Trimmed mean over clients [d]."""
        k = self._cut(len(V))
        return _coordinates(V, lambda S: S[:, k : len(V) - k].mean(axis=1))

    def _cut(self, n: int) -> int:
        # 0.29·100 is 28.999… in floating point
        return min(math.floor(self.share * n + 1e-9), (n - 1) // 2)

    def without(self, n: int, answered: int) -> Self:
        """The rule that cuts as many as of all who answered, or all but the median."""
        enough(Median(), n)
        return replace(self, share=min(self._cut(answered), (n - 1) // 2) / n)

    def shortfall(self, n: int) -> str:
        """As many as make k ≥ 1: with fewer nothing is cut, and this is the plain mean."""
        return _few(self, n, math.ceil(1 / self.share - 1e-9))

    def tolerance(self) -> str:
        """Up to which share of attackers it holds."""
        # P66
        return f"at most {100 * self.share:.3g}% of the clients heard lie"


@dataclass(frozen=True)
class Krum(RobustRule):
    """The one vector with the nearest neighbours:  v = x_i*,  i* = argmin Σ ‖xᵢ − xⱼ‖² over the
    n−f−2 nearest j ≠ i.

    Holds while f attackers are heard at most and n ≥ 2f+3: then E⟨v, g⟩ > 0 where x = g + noise of
    standard deviation σ in each coordinate, if √d·σ·η(n, f) < ‖g‖; the noise matters, as v is one
    client's vector and no mean of many. (Blanchard et al. 2017, "Machine learning with
    adversaries")
    """

    f: int

    def __post_init__(self) -> None:
        _count("Krum", "f", self.f)

    def rule(self, V: Vector) -> Vector:
        """The row of V with the smallest score [d]."""
        return np.asarray(V[_ranks(_distances(V), self.f)[0]])

    def without(self, n: int, answered: int) -> Self:
        """The rule with the same f, or the largest with n ≥ 2f+2: an attacker's score then counts
        an honest vector.
        """
        enough(replace(self, f=0), n)
        return replace(self, f=min(self.f, (n - 2) // 2))

    def shortfall(self, n: int) -> str:
        """2f + 3."""
        return _few(self, n, 2 * self.f + 3)

    def tolerance(self) -> str:
        """Up to which number of attackers it holds."""
        # P66
        return f"at most {self.f} of the clients heard lie, and {2 * self.f + 3} or more are heard"


@dataclass(frozen=True)
class MultiKrum(RobustRule):
    """The mean of the m vectors with the best scores of Krum:  v = (1/m) Σ xᵢ over the m smallest
    scores.

    Holds while f attackers are heard at most, n ≥ 2f+3 and m ≤ n−f−2. m = 1 is Krum; a larger m
    averages the noise away. (Blanchard et al. 2017; El Mhamdi et al. 2019, "Fast and robust
    distributed learning", for the bound on m)
    """

    f: int
    m: int

    def __post_init__(self) -> None:
        _count("MultiKrum", "f", self.f)
        _count("MultiKrum", "m", self.m)

    def rule(self, V: Vector) -> Vector:
        """The mean of the chosen rows [d]."""
        chosen = _ranks(_distances(V), self.f)[: self.m]
        return np.asarray(sum(V[i] for i in chosen) / len(chosen))

    def _least(self) -> int:
        return max(2 * self.f + 3, self.m + self.f + 2)

    def without(self, n: int, answered: int) -> Self:
        """The rule with the same f, or the largest with n ≥ 2f+2; and the same m, or the largest
        with n ≥ m+f+2.
        """
        enough(replace(self, f=0, m=1), n)
        f = min(self.f, (n - 2) // 2)
        return replace(self, f=f, m=max(1, min(self.m, n - f - 2)))

    def shortfall(self, n: int) -> str:
        """2f + 3, and m + f + 2."""
        return _few(self, n, self._least())

    def tolerance(self) -> str:
        """Up to which number of attackers it holds."""
        # P66
        return f"at most {self.f} of the clients heard lie, and {self._least()} or more are heard"


@dataclass(frozen=True)
class GeometricMedian(RobustRule):
    """The point with the least sum of distances:  v = argmin_v Σ ‖xᵢ − v‖, by the smoothed
    Weiszfeld iteration.

        βᵢ = 1 / max(ν, ‖xᵢ − v‖),     v ← Σ βᵢxᵢ / Σ βᵢ          ν = `smoothing`

    Holds while f < n/2: then ‖v − μ‖ ≤ 2(n−f)/(n−2f) · max ‖xᵢ − μ‖ over the honest. It starts at
    the median of every coordinate, so that an iteration cut short ends at a robust point too (the
    mean, or an attacker's vector that is known beforehand such as zero, would hold it back), and
    stops when settled, after `iterations` at the latest. (Pillutla et al. 2022, "Robust aggregation
    for federated learning", Alg. 2, with equal weights)
    """

    iterations: int = 32
    smoothing: float = 1e-6

    def __post_init__(self) -> None:
        _count("GeometricMedian", "iterations", self.iterations)
        _length("GeometricMedian", "smoothing", self.smoothing)

    def rule(self, V: Vector) -> Vector:
        """The geometric median of the rows [d]."""
        v = _coordinates(V, _middle)
        for _ in range(self.iterations):
            away = _away(V, v)
            # 0 where an attacker's distance is past all numbers
            beta = 1 / np.maximum(self.smoothing, away)
            before = v
            v = (beta / beta.sum()) @ V
            if np.linalg.norm(v - before) <= SETTLED * np.median(
                away
            ):  # the mean distance would be the attackers' choice
                break
        return v

    def shortfall(self, n: int) -> str:
        """Three, the least number with a minority in it."""
        return _few(self, n, 3)

    def tolerance(self) -> str:
        """Up to which share of attackers it holds."""
        # P66
        return "fewer than half of the clients heard lie"


@dataclass(frozen=True)
class CentredClipping(RobustRule):
    """The mean of vectors that are clipped about a centre, which is then the next centre.

        v ← v + (1/n) Σ (xᵢ − v) · min(1, τ / ‖xᵢ − v‖)          τ = `radius`, `iterations` times
        from v = 0

    An attacker moves v by τ/n in an iteration at most, so f of them by `iterations`·τ·f/n, whatever
    they say. The paper
    starts from the aggregate of the round before; here a rule has no memory, and v = 0 (no change
    of the model, which
    no attacker can choose) is the start: τ should be about the norm of an honest update. One
    iteration is the mean of
    clipped updates. Proved for shares of attackers up to 10 %.  (Karimireddy et al. 2021, "Learning
    from history")
    """

    radius: float
    iterations: int = 3

    def __post_init__(self) -> None:
        _length("CentredClipping", "radius", self.radius)
        _count("CentredClipping", "iterations", self.iterations)

    def rule(self, V: Vector) -> Vector:
        """The last centre [d]."""
        n, d = V.shape
        v = np.zeros(d)
        for _ in range(self.iterations):
            scale = np.minimum(1.0, self.radius / np.maximum(_away(V, v), TINY))
            v = v + (scale @ V - scale.sum() * v) / n
        return v

    def tolerance(self) -> str:
        """Up to which share of attackers it holds, and what bounds them beyond it."""
        far = self.iterations * self.radius
        # P66
        return (
            "at most 10% of the clients heard lie; any share s of attackers moves the update by "
            f"s·{far:g} at most"
        )


@dataclass(frozen=True)
class Bulyan(RobustRule):
    """θ vectors chosen by Krum one after another, then the mean of the β values nearest the median
    of each coordinate.

        θ = n − 2f,   β = θ − 2f,   v_j = (1/β) Σ of the β values x_ij, i chosen, with the least
        |x_ij − median_j|

    Holds while f attackers are heard at most and n ≥ 4f+3: then every |v_j − g_j| is O(σ_j), where
    Krum alone leaves an
    attacker √d times as much in one coordinate.   (El Mhamdi et al. 2018, "The hidden vulnerability
    of distributed
    learning")
    """

    f: int

    def __post_init__(self) -> None:
        _count("Bulyan", "f", self.f)

    def rule(self, V: Vector) -> Vector:
        """The mean of what is near the median [d]."""
        D = _distances(V)
        theta = len(V) - 2 * self.f
        beta = theta - 2 * self.f
        left = list(range(len(V)))
        chosen = list[int]()
        for _ in range(theta):
            chosen.append(left.pop(_ranks(D[np.ix_(left, left)], self.f)[0]))

        def near(S: Vector) -> Vector:  # sorted, the β nearest to the median stand side by side
            M = _middle(S)[:, None]
            first = np.maximum(M - S[:, : theta - beta + 1], S[:, beta - 1 :] - M).argmin(axis=1)
            return np.asarray(
                np.take_along_axis(S, first[:, None] + np.arange(beta), axis=1).mean(axis=1)
            )

        return _coordinates(V, near, chosen)

    def without(self, n: int, answered: int) -> Self:
        """The rule with the same f, or the largest with n ≥ 4f+1: then θ > 2f, and every median is
        an honest one's.
        """
        enough(replace(self, f=0), n)
        return replace(self, f=min(self.f, (n - 1) // 4))

    def shortfall(self, n: int) -> str:
        """4f + 3."""
        return _few(self, n, 4 * self.f + 3)

    def tolerance(self) -> str:
        """Up to which number of attackers it holds."""
        # P66
        return f"at most {self.f} of the clients heard lie, and {4 * self.f + 3} or more are heard"


# ── one coordinate at a time, or the distances between vectors ────────────────────────────────────


def _coordinates(
    V: Vector, rule: Callable[[Vector], Vector], rows: list[int] | slice = slice(None)
) -> Vector:
    """[d]: `rule` takes the sorted values [·, n] of some coordinates at a time."""
    v = np.empty(V.shape[1])
    for start in range(0, V.shape[1], COLUMNS):
        part = slice(start, start + COLUMNS)
        # each coordinate's values side by side: several times faster to sort
        S = V[rows, part].T.copy()
        S.sort(axis=1)
        v[part] = rule(S)
    return v


def _middle(S: Vector) -> Vector:
    """The median of sorted values [·, n]."""
    n = S.shape[1]
    return np.asarray((S[:, (n - 1) // 2] + S[:, n // 2]) / 2)


def _distances(V: Vector) -> Vector:
    """‖xᵢ − xⱼ‖² = ‖xᵢ‖² + ‖xⱼ‖² − 2⟨xᵢ, xⱼ⟩  [n, n]; infinite on the diagonal, and where numbers
    overflow.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        G = V @ V.T
        D = np.diag(G)[:, None] + np.diag(G) - 2 * G
    D = np.where(np.isnan(D), np.inf, np.maximum(D, 0))
    np.fill_diagonal(D, np.inf)
    return D


def _ranks(D: Vector, f: int) -> Vector:
    """Rows [n] in the order of their scores, Σ of the n−f−2 smallest; one at least, when Bulyan has
    few left.

    Two rows that are each other's nearest have equal scores then; the next distance decides, not
    the order of names.
    """
    S = np.sort(D, axis=1)
    k = max(1, len(D) - f - 2)
    return np.lexsort((S[:, : k + 1].sum(axis=1), S[:, :k].sum(axis=1)))


def _away(V: Vector, v: Vector) -> Vector:
    """‖xᵢ − v‖  [n]."""
    squares = np.zeros(len(V))
    with np.errstate(over="ignore"):
        for start in range(0, len(v), COLUMNS):
            part = slice(start, start + COLUMNS)
            D = V[:, part] - v[part]
            squares += np.einsum("ij,ij->i", D, D)
    return np.sqrt(squares)


# ── what cannot be a rule ─────────────────────────────────────────────────────────────────────────


def _few(rule: RobustRule, n: int, least: int) -> str:
    return (
        ""
        if n >= least
        else f"{rule!r} promises nothing with fewer than {least} vectors, and {n} are too few."
    )


COUNTS = {  # argument → the least, what it counts, an example
    "f": (0, "how many of the clients heard in a round may lie", "2"),
    "m": (1, "how many vectors are averaged", "5"),
    "iterations": (1, "how often the centre moves", "3"),
}
LENGTHS = {
    "smoothing": ("what keeps a division by a distance from a division by zero", "1e-6"),
    "radius": ("about the norm of an honest update", "1.0"),
}


def _count(name: str, argument: str, value: Any) -> None:
    least, why, instead = COUNTS[argument]
    if not number(value, whole=True) or value < least:
        raise PlanError(
            f"{name}({argument}={value!r}) is no rule.",
            f"`{argument}` is a whole number from {least}: {why}.",
            f"Write for example {argument}={instead}.",
        )


def _length(name: str, argument: str, value: Any) -> None:
    if not number(value) or not 0 < value < math.inf:
        why, instead = LENGTHS[argument]
        raise PlanError(
            f"{name}({argument}={value!r}) is no rule.",
            f"`{argument}` is a length in the space of updates, positive and finite: {why}.",
            f"Write for example {argument}={instead}.",
        )
