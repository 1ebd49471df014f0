"""Noise that later rounds take back in part: for deployments that cannot sample their clients at
random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, number, refuse
from ..spec import Noise, Spec, Vector
from . import Context, Transform
from .curves import Mechanism, Orders
from .noise import called, check, drawn_by, hideable, shares

MOST = 64  # bands that are tried; each takes a vector of draws in every round
OWNER = -1  # the round that stands for all: what its name names is the secret

Past = tuple[tuple[int, bytes], ...]  # (round, the name of its sum)


@dataclass(frozen=True)
class CorrelatedNoise(Transform):
    """Add row t of C⁻¹Z to the sum of round t: DP-FTRL, by a factorisation A = (A C⁻¹) C of the
    sums A over rounds.

        wₜ = Σⱼ eⱼ zₜ₋ⱼ,  j < bands,     eⱼ = (−1)ʲ (½ choose j) = 1, −½, −⅛, −1/16, …,     zₜ ~
        N(0, σₖ²)

    C⁻¹ is banded: the first coefficients of √(1 − x). Each eⱼ but the first is negative, so a round
    takes part of the
    noise of those before it back, and the model, which is the sum of all rounds, has less of it.
    What a client says in
    all its rounds is one vector to one Gaussian mechanism, with σₖ = z·S·Cₖ/√sₖ:  z = `noise`, Cₖ
    and sₖ are as with
    GaussianNoise, and S is the norm of the sum of the columns of C for a client that takes part
    every `separation`
    rounds, from the first on: no client gives more away that keeps at least so many rounds between
    its parts (Kalinin
    and Lampert 2024, Thm 2, as the entries of C are positive and fall). ε is counted for the rounds
    that a client was
    asked in, and so no sample has to be secret. `bands` is what makes the model's error least,
    where it is 0.
    The server draws. It keeps no zₜ: it draws those of past rounds again, each from its secret and
    from what names the
    sum that it was added to; these names are its memo, tell nothing without the secret, and are
    public.
    (Kairouz et al. 2021, "Practical and private (deep) learning"; Denisov et al. 2022;
    Choquette-Choo et al. 2023;
    Kalinin et al. 2025, "Back to square roots", for a banded inverse)
    """

    noise: float
    separation: int = 1
    bands: int = 0

    by: ClassVar[Literal["server"]] = "server"
    least: ClassVar[int] = 1

    def plan(self, spec: Spec) -> Spec:
        """The noise is known."""
        wrong = [
            (
                not number(self.separation, whole=True) or self.separation < 1,
                f"{self!r} separates no rounds.",
                "A client is in a round once, and again one round later or more.",
                "Write for example CorrelatedNoise(2.0, separation=10).",
            ),
            (
                not number(self.bands, whole=True) or self.bands < 0,
                f"{self!r} has no bands.",
                "They count the rounds whose draws one round's noise is made of.",
                "Leave `bands` out, or write a positive number.",
            ),
            (
                spec.learns,
                f"{self!r} with AdaptiveClip takes nothing back.",
                "The noise of a round is scaled by the norm that was learnt, and what later rounds "
                "take back by another.",
                "Take Clip(norm=…), or GaussianNoise.",
            ),
        ]
        refuse(wrong)
        check(self, spec)
        scales = {name: self.noise / math.sqrt(share) for name, share in shares(spec).items()}
        noise = Noise(self.noise, server=True, lasting=True, scales=scales)
        return spec.replace(noise=noise)

    def privacy(self, spec: Spec, n: int) -> Mechanism:
        """One Gaussian over the whole run, of which a client has taken no part yet."""
        rounds = spec.sum_facts.rounds
        return Participation(self.whole(rounds), self.matrix(rounds))

    def describe(self) -> str:
        """What is drawn over the rounds, and by whom."""
        return f"{called(self)} noise over all rounds together: {drawn_by('server', 1)}"

    def matrix(self, rounds: int) -> Matrix:
        """C, for so many rounds."""
        return Matrix(rounds, min(self.bands, rounds) or best(rounds, self.separation))

    def whole(self, rounds: int) -> float:
        """z·S: standard deviation of the draws over what a client changes in one round."""
        return self.noise * self.matrix(rounds).sensitivity(self.separation)

    def start(self) -> Past:
        """No round is past."""
        return ()

    def encode(self, v: Vector, at: Context) -> Vector:
        """v, or nothing where it is not finite."""
        return hideable(v)

    def decode(self, total: Vector, at: Context) -> Vector:
        """The sum, with this round's noise; PlanError where the secret is not that of the rounds
        before.
        """
        if at.memo and at.memo[0][1] != _owner(at):
            raise PlanError(
                f"{self!r} cannot take back the noise of the rounds before.",
                "It grew from another secret than this round's does.",
                "Go on with the secret that the run began with: synchronous(…, secret=…); or start "
                "a new run.",
            )
        rounds = at.spec.sum_facts.rounds or 1
        names = dict(self.learn(total, at))
        noise = np.zeros(total.shape)
        for j, e in enumerate(self.matrix(rounds).inverse()[: at.round + 1]):
            drawn = at.session.own.child("noise", at.round - j, names.get(at.round - j, b"").hex())
            noise += e * drawn.normal(total.shape)
        return np.asarray(total + at.spec.spread(self._sigma(at.spec)) * noise)

    def learn(self, total: Vector, at: Context) -> Past:
        """What the secret is called, then this round's sum and those before, as far as noise is
        still taken back.
        """
        first = at.round - self.matrix(at.spec.sum_facts.rounds or 1).bands
        name = at.key.beside(total).child("name").secret
        before = at.memo or ((OWNER, _owner(at)),)
        return (before[0], *(one for one in before[1:] if one[0] > first), (at.round, name))

    def _sigma(self, spec: Spec) -> dict[str, float]:
        whole = self.whole(spec.sum_facts.rounds or 1)
        return {
            name: whole / math.sqrt(s) * spec.sum_facts.bounds[name]
            for name, s in shares(spec).items()
        }

    def explain(self, spec: Spec) -> str:
        """Who draws how much."""
        rounds = spec.sum_facts.rounds or 1
        # P27
        sigma = ", ".join(f"{name} ±{one:.3g}" for name, one in self._sigma(spec).items())
        return (
            f"{called(self)} noise of {sigma}, of which later rounds take a part back "
            f"({self.matrix(rounds).bands} bands): "
            f"{drawn_by('server', 1)}; real numbers, not discrete"
        )


def _owner(at: Context) -> bytes:
    return at.session.own.child("name").secret


@dataclass(frozen=True)
class Matrix:
    """C: what the rounds of a run mean to the noise; lower triangular, and the same along each
    diagonal.
    """

    rounds: int
    bands: int  # of its inverse

    def inverse(self) -> NDArray[np.float64]:
        """e: the first column of C⁻¹, as far as it is not zero."""
        j = np.arange(1, self.bands)
        return np.concatenate([[1.0], np.cumprod((j - 1.5) / j)])

    def column(self) -> NDArray[np.float64]:
        """c: the first column of C, 1/e(x) as a power series; positive, and falling, as −e₁ − e₂ −
        … < 1.
        """
        return _column(self)

    def sensitivity(self, separation: int) -> float:
        """S: the reach of who takes part as often as it may."""
        return reach(self, tuple(range(0, self.rounds, separation)))

    def error(self, separation: int) -> float:
        """Root mean square, over rounds, of the noise in the sum of all rounds so far, for z·C = 1.

        Row t of B = A C⁻¹ holds the running sums bₙ = Σ eⱼ, j ≤ n ≤ t.
        """
        e = np.zeros(self.rounds)
        e[: self.bands] = self.inverse()
        return self.sensitivity(separation) * math.sqrt(
            float(np.mean(np.cumsum(np.cumsum(e) ** 2)))
        )


@dataclass(frozen=True)
class Participation(Mechanism):
    """What a client that took part in some rounds gives away in a run whose noise is correlated
    over rounds: one Gaussian release, of σ over how far the client moves C·X.
    """

    noise: float  # z·S
    matrix: Matrix
    taken: tuple[int, ...] = ()  # 0 for the first

    def divergence(self, orders: Orders) -> Orders:
        """That of the Gaussian."""
        return orders / (2 * self.gaussian**2)

    @property
    def gaussian(self) -> float:
        """z·S over the reach of the rounds."""
        return self.noise / reach(self.matrix, self.taken)

    def during(self, *rounds: int) -> Participation:
        """The part in these rounds."""
        return replace(self, taken=rounds)

    def beside(self, other: Mechanism) -> Participation | None:
        """The part in the rounds of both."""
        if not isinstance(other, Participation):
            return None
        if (other.noise, other.matrix) != (self.noise, self.matrix):
            return None
        return self.during(*sorted({*self.taken, *other.taken}))


@lru_cache(64)
def _column(matrix: Matrix) -> NDArray[np.float64]:
    e = matrix.inverse()[1:]
    c = np.zeros(matrix.rounds)
    c[0] = 1.0
    for n in range(1, matrix.rounds):
        k = min(n, len(e))
        c[n] = -(e[:k] @ c[n - k : n][::-1])
    return c


@lru_cache(4096)
def reach(matrix: Matrix, taken: tuple[int, ...]) -> float:
    """‖Σ C₍ᵣ₎‖₂ over the columns of the rounds r (0 for the first) that a client took part in: how
    far it can move C·X.

    That is if all it says points the same way, which is the worst, for no entry of CᵀC is negative.
    """
    c = matrix.column()
    moved = np.zeros(matrix.rounds)
    for r in taken:
        moved[r:] += c[: matrix.rounds - r]
    return float(np.linalg.norm(moved))


@lru_cache(64)
def best(rounds: int, separation: int) -> int:
    """The number of bands with the least error; with clients in every round that is one:
    independent noise.
    """
    return min(
        range(1, min(rounds, MOST) + 1), key=lambda bands: Matrix(rounds, bands).error(separation)
    )
