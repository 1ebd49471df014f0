"""Noise in whole numbers, for vectors that are quantised: no bit of it is an artefact of floats."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, number, refuse
from ..rand import Key
from ..spec import Noise, Spec, Vector
from . import Context, Transform
from .curves import DiscreteGaussian, Mechanism, Part, Skellam
from .noise import called, drawing, drawn_by, shares

Integers = NDArray[np.int64]

# standard deviation; above, doubles no longer tell all the integers that are drawn apart
LARGEST = 2.0**25
TABLED = 1000.0  # standard deviation up to which Skellam numbers are looked up
OPEN = -(2**15)  # what no table decides by 16 bits
NEAR = 2.0**-40  # exp() in doubles is closer than that


@dataclass(frozen=True)
class IntegerNoise(Transform):
    """Noise added mod 2ᵇ to each coordinate of block k:  σₖ = z·Δₖ / √sₖ,  Σ sₖ = 1, in steps of
    Quantize.

    z = `noise`, and Δₖ is what one client can change in block k, rounding included. Who draws, and
    the shares sₖ, are as with GaussianNoise.
    """

    noise: float
    by: Literal["server", "all", "each"] = "server"
    least: int = 1

    def plan(self, spec: Spec) -> Spec:
        """The noise is known, in steps."""
        self._check(spec)
        step = spec.noise.step
        parts = []
        for name, share in shares(spec).items():
            bound = spec.bounds[name] / step[name]
            parts.append((spec.blocks[name], bound, self.noise * bound / math.sqrt(share)))
        if max(sigma for *_, sigma in parts) > LARGEST:
            raise PlanError(
                f"{self!r} would draw numbers of a standard deviation of "
                f"{max(s for *_, s in parts):.3g} steps.",
                f"Above {LARGEST:.3g} steps its draws are no longer exact.",
                "Quantise to fewer bits: 16 to 20 lose nothing beside such noise.",
            )
        found = Noise(
            self.noise,
            int(self.least),
            scales={name: self.noise / math.sqrt(share) for name, share in shares(spec).items()},
            parts=tuple(parts),
            step=step,
        )
        return spec.replace(noise=drawing(found, self.by))

    def _check(self, spec: Spec) -> None:
        name = type(self).__name__
        shared = (
            number(self.least, whole=True)
            and self.least >= 1
            and (self.least == 1 or self.by == "all")
        )
        wrong = [
            (
                not (number(self.noise) and 0 < self.noise < math.inf),
                f"{self!r} is no noise.",
                "The multiplier z is the standard deviation over what one client can change.",
                f"Write {name}(1.0).",
            ),
            (
                self.by not in ("server", "all", "each") or not shared,
                f"{self!r} cannot be shared out.",
                "Noise is drawn by the server, in shares by all clients, of which `least` make it "
                "whole, or by each.",
                "Write by='server', by='each', or by='all' with a positive least.",
            ),
            (
                bool(spec.noise.multiplier),
                "The pipe holds two noises.",
                "The guarantee is stated for one; two would be counted as one.",
                "Keep one of them.",
            ),
            (
                spec.space != "integer" or not spec.noise.step,
                f"{name} comes before Quantize.",
                "It draws whole numbers, and before Quantize the vector holds real ones.",
                "Put it after Quantize(…), or take GaussianNoise.",
            ),
            (
                not spec.weighed,
                f"{name} comes before Weigh.",
                "Its noise is sized for what one client changes in the weighted sum.",
                "Put it after Weigh(…).",
            ),
        ]
        refuse(wrong)

    def describe(self) -> str:
        """What is drawn in each round, and by whom."""
        whole = f"{called(self)} noise in whole steps in each round"
        return f"{whole}: {drawn_by(self.by, self.least)}"

    def _draws(self, spec: Spec, n: int) -> tuple[tuple[Part, ...], int]:
        """The parts of one draw, and how many draws are counted in a sum of n vectors: what is
        beyond `least` is not.
        """
        root = self.least**0.5
        parts = tuple((size, bound, sigma / root) for size, bound, sigma in spec.noise.parts)
        return parts, min(n, self.least)

    def draw(self, sigma: float, size: int, key: Key) -> Integers:
        """`size` independent integers of mean 0 and standard deviation `sigma`."""
        raise TypeError(f"{type(self).__name__} does not say how it draws")

    def _added(self, v: Vector, at: Context) -> Vector:
        """v and the noise beside it, in the words of v."""
        parts = self.plan(at.spec).noise.parts
        key = at.key.beside(v)
        part = 1.0
        if self.by == "all":
            part = math.sqrt(self.least)
        rows = math.prod(v.shape[:-1])
        added = v
        if not at.overwrite:
            added = v.copy()
        for name, (d, _, sigma) in zip(at.spec.blocks, parts, strict=True):
            drawn = self.draw(sigma / part, rows * d, key.child(name)).reshape(*v.shape[:-1], d)
            added[..., at.spec.slice(name)] += drawn.astype(v.dtype, copy=False)
        return added

    def encode(self, v: Vector, at: Context) -> Vector:
        """v, with this client's share of the noise, mod 2ᵇ."""
        if self.by == "server":
            return v
        added = self._added(v, at)
        added &= added.dtype.type(2**at.spec.sum_facts.modulus - 1)
        return added

    def decode(self, total: Vector, at: Context) -> Vector:
        """The sum, with the server's noise."""
        if self.by != "server":
            return total
        return self._added(total, at)

    def explain(self, spec: Spec) -> str:
        """Who draws how much."""
        noise = self.plan(spec).noise
        # P27
        sigma = ", ".join(
            f"{name} ±{sigma * noise.step[name]:.3g}"
            for name, (_, _, sigma) in zip(spec.blocks, noise.parts, strict=True)
        )
        return (
            f"{called(self)} noise in whole steps, of standard deviation {sigma}: "
            f"{drawn_by(self.by, self.least)}"
        )


@dataclass(frozen=True)
class SkellamNoise(IntegerNoise):
    """Add the difference of two Poisson numbers to every coordinate:  P − P′,  P, P′ ~
    Poisson(σ²/2).

    Sums of Skellam numbers are Skellam numbers, so the shares of clients add up to one noise of the
    summed variance. Up
    to σ = 1000 a number is looked up in a table of Pr[x ≤ k], computed to 60 digits: 64 random bits
    decide, and where
    they leave it open 64 more, so that no probability is off by more than 2⁻¹²⁰. Above, P and P′
    are NumPy's, exact up
    to the logarithms of its sampler, which are doubles.   (Agarwal et al. 2021, §3; Devroye 1986,
    §III.2)
    """

    def privacy(self, spec: Spec, n: int) -> Mechanism:
        """Its draws add up to Skellam noise."""
        return Skellam(*self._draws(spec, n))

    def draw(self, sigma: float, size: int, key: Key) -> Integers:
        """P − P′."""
        rng = key.rng()
        rate = sigma**2 / 2
        if sigma <= TABLED:
            return _looked_up(_table(sigma), size, rng)
        drawn = rng.poisson(rate, size)
        drawn -= rng.poisson(rate, size)
        return drawn


@dataclass(frozen=True)
class Table:
    """A distribution on −n … n, to draw from by inversion."""

    n: int
    below: tuple[int, ...]  # ⌊2¹²⁸ · Pr[x ≤ k]⌋, k = −n … n − 1
    cut: NDArray[np.uint64]  # the upper 64 bits of these
    guide: NDArray[np.int16]  # the number that 16 bits decide, or OPEN


@lru_cache(64)
def _table(sigma: float) -> Table:
    """Pr[k] = e^(−μ) Iₖ(μ), μ = σ², by Miller's recurrence  Iₖ₋₁ = (2k/μ) Iₖ + Iₖ₊₁,  scaled so
    that all add up to 1.

    Beyond n = 14σ + 60 lies less than 2⁻¹²⁸. All terms are positive, so the recurrence loses no
    digits downwards.
    """
    n = math.ceil(14 * sigma) + 60
    with localcontext() as context:
        context.prec = 60
        two = 2 / Decimal(sigma) ** 2
        after = Decimal(0)
        now = Decimal(1)
        half = [now]
        for k in range(n, 0, -1):
            before = k * two * now + after
            after = now
            now = before
            half.append(now)  # k = n, …, 0
        whole = 2 * sum(half[:-1]) + half[-1]
        total = Decimal(0)
        below = list[int]()
        for weight in half + half[-2:0:-1]:  # up to n − 1
            total += weight
            below.append(min(int(total / whole * 2**128), 2**128 - 1))
    cut = np.array([bits >> 64 for bits in below], np.uint64)
    first = np.arange(2**16, dtype=np.uint64) << np.uint64(48)
    least = np.searchsorted(cut, first, "left")
    most = np.searchsorted(cut, first + np.uint64(2**48 - 1), "right")
    return Table(n, tuple(below), cut, np.where(least == most, least - n, OPEN).astype(np.int16))


def _looked_up(table: Table, size: int, rng: np.random.Generator) -> Integers:
    """Independent draws: the number of k with Pr[x ≤ k] ≤ U, less n."""
    u = rng.integers(0, 2**64, size, dtype=np.uint64)
    drawn = table.guide[u >> np.uint64(48)].astype(np.int64)
    left = np.flatnonzero(drawn == OPEN)
    place = np.searchsorted(table.cut, u[left], "right")
    drawn[left] = place - table.n
    tied = left[(place > 0) & (table.cut[np.maximum(place, 1) - 1] == u[left])]
    for i in tied:  # the first 64 bits are those of a cut
        drawn[i] = (
            bisect_right(
                table.below, int(u[i]) << 64 | int(rng.integers(0, 2**64, dtype=np.uint64))
            )
            - table.n
        )
    return np.asarray(drawn)


@dataclass(frozen=True)
class DiscreteGaussianNoise(IntegerNoise):
    """Add integers of the discrete Gaussian to every coordinate:  Pr[x] ∝ exp(−x² / 2σ²).

    One draw has the privacy of a Gaussian of the same σ. A sum of n of them is only close to a
    discrete Gaussian, and
    the ledger charges the difference (Kairouz et al. 2021, Thm 1).   (Canonne, Kamath and Steinke
    2020, Alg. 3)
    """

    def privacy(self, spec: Spec, n: int) -> Mechanism:
        """Its draws add up to nearly that."""
        return DiscreteGaussian(*self._draws(spec, n))

    def draw(self, sigma: float, size: int, key: Key) -> Integers:
        """Draws of the discrete Laplace of scale t = ⌊σ⌋ + 1, kept with probability exp(−(|y| −
        σ²/t)² / 2σ²).
        """
        rng = key.rng()
        t = math.floor(sigma) + 1
        square = Fraction(sigma) ** 2
        kept = [np.empty(0, np.int64)]
        missing = size
        while missing:
            y = _laplace(t, int(missing * 1.5) + 16, rng)
            offset = np.abs(y) - float(square / t)

            def exactly(i: int, y: Integers = y) -> Fraction:
                return (abs(int(y[i])) - square / t) ** 2 / (2 * square)

            kept.append(y[_happens(offset**2 / (2 * float(square)), exactly, rng)][:missing])
            missing -= len(kept[-1])
        return np.concatenate(kept)


def _laplace(t: int, size: int, rng: np.random.Generator) -> Integers:
    """Up to `size` draws of Pr[y] ∝ exp(−|y| / t).   (Canonne, Kamath and Steinke 2020, Alg. 2)"""
    u = rng.integers(0, t, size)
    u = u[_happens(u / t, lambda i: Fraction(int(u[i]), t), rng)]
    v = np.zeros(len(u), np.int64)
    going = np.arange(len(u))
    while len(going):
        going = going[_happens(np.ones(len(going)), lambda i: Fraction(1), rng)]
        v[going] += 1
    y = u + t * v
    minus = rng.integers(0, 2, len(y)).astype(bool)
    keep = ~(minus & (y == 0))  # zero once, not twice
    return np.asarray(np.where(minus, -y, y)[keep])


def _happens(
    gamma: NDArray[np.float64], exactly: Callable[[int], Fraction], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Bernoulli(exp(−γ)) for each γ: on 53 random bits, and where those leave it open on 128 more
    and exact γ.
    """
    u = rng.random(len(gamma))
    p = np.exp(-gamma)
    yes = u < p
    for i in np.flatnonzero(np.abs(u - p) < NEAR):
        g = exactly(int(i))
        more = int.from_bytes(rng.bytes(16), "big")
        with localcontext() as context:
            context.prec = 80
            whole = Decimal(float(u[i])) + Decimal(more) / Decimal(2**181)
            yes[i] = whole < (-Decimal(g.numerator) / Decimal(g.denominator)).exp()
    return yes
