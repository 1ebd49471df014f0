"""Fewer bits on the wire."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from ..errors import DataError, PlanError, RoundError, number, refuse
from ..spec import Spec, Vector, blocks, word
from . import Context, Transform
from .noise import shares
from .scale import bounding

SIGMAS = 4.0  # standard deviations of a sum that 2ᵇ integers have room for
TRIES = 100  # at rounding; each is short enough with probability 1 − e^(−1/2) or more
CHUNK = 2**14  # numbers that are rounded at a time, and stay in the cache meanwhile
FAR = 2.0**62  # steps; what is longer has no integer of 64 bits
SHORT = 2.0**31  # steps; what is shorter has one of 32 bits


@dataclass(frozen=True)
class Quantize(Transform):
    """Round to integers mod 2⁶⁴ or less, without bias:  ⌊v/γ + u⌋,  u ~ U[0, 1),  until the result
    is short enough.

    Rounding lengthens a vector. A block of length d and norm C is rounded anew while it is longer
    than

        Δ = γ · min(c + √d, √(c² + d/4 + c + √d/2)),      c = C/γ

    which is the bound on the wire; the bias of that is less than a step in all. `bits` b are those
    of one vector, γ = C / (2^(b−1) − 1), and sums are exact while n · 2^(b−1) < 2⁶³. Or they are
    `of="sum"`: integers are added mod 2ᵇ, and γ leaves room for n = `clients` (where the plan's
    sample does not say how many) and σ of the noise after it:

        2^(b−1) · γ = n (C + γ) + 4σ,         or, of a block spread by Rotate,   4 √(C² n²/d + n
        γ²/4 + σ²)

    The first holds for certain but for the noise. By the second a coordinate wraps around with
    probability 6·10⁻⁵ at
    most, when all n clients say the same with norm C. Noise by clients that is drawn before does
    not let a result be
    short: there nothing is rounded anew, and Δ = C + √d·γ.   (Kairouz et al. 2021, §4, with β =
    e^(−1/2), k = 4)
    """

    bits: int = 20
    of: Literal["vector", "sum"] = "vector"
    clients: int = 0

    def plan(self, spec: Spec) -> Spec:
        """The vector becomes integer, and its bounds grow by the rounding."""
        self._check(spec)
        step = {name: self._step(spec, name) for name in spec.blocks}
        grown = {
            name: _longest(C, spec.blocks[name], step[name], _early(spec))
            for name, C in spec.bounds.items()
        }
        lows = {name: _lowest(low, step[name]) for name, low in spec.lows.items()}
        return spec.replace(
            space="integer",
            bounds=grown,
            lows=lows,
            noise=replace(spec.noise, step=step),
            sum_facts=replace(spec.sum_facts, modulus=self._modulus, clients=self._room(spec)),
        )

    @property
    def _modulus(self) -> int:
        """b of the 2ᵇ that integers are added modulo."""
        return self.bits if self.of == "sum" else 64

    def _check(self, spec: Spec) -> None:
        counted = number(self.clients, whole=True) and self.clients >= 0
        wrong = [
            (
                not (number(self.bits, whole=True) and 2 <= self.bits <= 48),
                f"{self!r} cannot be summed.",
                "One bit holds no sign, and more than 48 leave no room in 64 for a sum of many "
                "clients.",
                "Write a number from 2 to 48; 20 to 32 lose nothing that training notices.",
            ),
            (
                self.of not in ("vector", "sum"),
                f"{self!r} has bits of nothing.",
                "They are those of one client's numbers, or those of the sum.",
                "Write of='vector' or of='sum'.",
            ),
            (
                not counted or (bool(self.clients) and self.of != "sum"),
                f"{self!r} counts no clients.",
                "It is how many vectors are in a sum at most, and matters for of='sum'.",
                "Write Quantize(16, of='sum', clients=100).",
            ),
            (
                spec.space != "real",
                "The pipe holds two Quantizes.",
                "Integers need no rounding.",
                "Keep one, at its end.",
            ),
            (
                bool(spec.unbounded),
                f"{self!r} needs a bound on: {', '.join(spec.unbounded)}.",
                "The bound decides what the largest integer stands for.",
                bounding(spec),
            ),
            (
                self.of == "sum" and not self._most(spec),
                f"{self!r} does not know how many clients a sum holds.",
                "The more vectors are added, the larger is the sum that has to fit into its bits.",
                f"Write Quantize({self.bits}, of='sum', clients=…) with the most that may be, or "
                "take sample=Uniform(…).",
            ),
            (
                0 < self.clients < spec.sum_facts.clients,
                f"{self!r} has room for {self.clients} clients.",
                f"The plan samples {spec.sum_facts.clients}.",
                "Leave `clients` out.",
            ),
        ]
        refuse(wrong)

    def _most(self, spec: Spec) -> int:
        return self.clients or spec.sum_facts.clients

    def _room(self, spec: Spec) -> int:
        """How many vectors the sum has room for; as many as are asked, where it has more."""
        return self._most(spec) if self.of == "sum" else spec.sum_facts.clients

    def _step(self, spec: Spec, name: str) -> float:
        """γ of a block."""
        C = spec.bounds[name]
        d = spec.blocks[name]
        reach = spec.noise.reach.get(name, 0.0)
        if self.of == "vector":
            return (C + reach) / (2.0 ** (self.bits - 1) - 1)
        noise = spec.sum_facts.noise
        n = self._most(spec)
        # in whole numbers
        z = noise.multiplier * math.sqrt(noise.hands(n) / shares(spec)[name]) if noise.parts else 0
        step = _room(C, d, reach, z, n, self.bits, name in spec.rotated)
        if not step:
            raise PlanError(
                f"{self!r} has no room for a sum of {n} clients' {name}.",
                "A step would be as long as the whole vector is.",
                "Take more bits"
                + ("." if name in spec.rotated or d == 1 else ", or put Rotate() before it."),
            )
        return step

    def encode(self, v: Vector, at: Context) -> Vector:
        """⌊v/γ + u⌋ mod 2ᵇ, or DataError for what is no number, or longer than the plan says.

        All u come from one stream, block after block; those of a second try follow the first's.
        """
        words = np.empty(v.shape, word(self._modulus))
        rng = at.key.rng()
        for one, found in zip(np.atleast_2d(v), np.atleast_2d(words), strict=True):
            for name in at.spec.blocks:
                place = at.spec.slice(name)
                _round(one[place], found[place], name, self._step(at.spec, name), rng, at)
        words &= words.dtype.type(2**self._modulus - 1)
        return words

    def decode(self, total: Vector, at: Context) -> Vector:
        """The signed sum, times γ; RoundError where so many vectors may have passed what integers
        have room for.
        """
        most = self._most(at.spec) if self.of == "sum" else 2 ** (64 - self.bits)
        if at.n > most:
            raise RoundError(
                f"{at.n} vectors of {self.bits} bits were added up.",
                f"The sum holds {most} of them for certain, and more may have wrapped around.",
                "Sample fewer clients, or quantise to fewer bits.",
            )
        same = at.overwrite and total.itemsize == 8
        decoded = total.view(np.float64) if same else np.empty(total.shape)
        unused = total.itemsize * 8 - self._modulus
        signed = np.dtype(f"i{total.itemsize}")
        for name in at.spec.blocks:
            first = at.spec.slice(name).start
            scale = 1 / self._step(at.spec, name)
            for place in blocks(at.spec.blocks[name], first):
                whole = (total[..., place] << unused).view(signed) >> unused
                np.divide(whole, scale, out=decoded[..., place], dtype=np.float64)
        return decoded

    def explain(self, spec: Spec) -> str:
        """How finely."""
        # P45
        steps = ", ".join(f"{name} {self._step(spec, name):.2g}" for name in spec.blocks)
        room = (
            f", so that the sum of {self._most(spec)} clients has as many"
            if self.of == "sum"
            else ""
        )
        return f"rounds to integers of {self.bits} bits without bias (steps: {steps}){room}"


def _early(spec: Spec) -> bool:
    """Have clients drawn noise already, which no bound holds for?"""
    return bool(spec.noise.reach)


def _longest(C: float, d: int, step: float, early: bool = False) -> float:
    """Δ: how long what is rounded can be."""
    c = C / step
    root = math.sqrt(d)
    return step * (c + root if early else min(c + root, math.sqrt(c * c + d / 4 + c + root / 2)))


def _lowest(low: float, step: float) -> float:
    """How far down what is rounded can be."""
    return math.floor(low / step - 1e-14 * abs(low / step)) * step


@lru_cache(1024)
def _room(C: float, d: int, reach: float, z: float, n: int, bits: int, spread: bool) -> float:
    """The least γ that leaves room for the sum of n vectors and noise of σ = z·Δ; 0 where there is
    none.
    """
    step = 0.0
    half = 2.0 ** (bits - 1) - 1
    for _ in range(200):
        sigma = z * (_longest(C, d, step) if step else C)
        need = n * (C + reach + step) + SIGMAS * sigma
        if spread and not reach:
            need = min(need, SIGMAS * math.sqrt((C * n) ** 2 / d + n * step**2 / 4 + sigma**2))
        before = step
        step = need / half
        if step > C + reach:
            return 0.0
        if step - before < 1e-12 * step:
            break
    return step


def _round(
    v: Vector, words: Vector, name: str, step: float, rng: np.random.Generator, at: Context
) -> None:
    """A block, rounded into words; anew while it is longer than Δ."""
    bound = at.spec.bounds[name]
    most = FAR if _early(at.spec) else _longest(bound, len(v), step) / step
    for _ in range(TRIES):
        if _rounded(v, words, 1 / step, most, rng):
            return
        if not np.isfinite(v).all():
            raise DataError(
                f"{at.who}'s vector of round {at.round} holds NaN or infinity.",
                "No integer stands for that, so this client stays out of the round.",
                "Lower the learning rate, or look for extreme values in its data.",
            )
    raise DataError(
        f"{at.who}'s {name} of round {at.round} is longer than {bound:g}.",
        "The plan bounds it by that, and noise and bits are sized for it.",
        "Look at the transforms before Quantize: one of them does not keep the bound that it "
        "declares.",
    )


def _rounded(v: Vector, words: Vector, scale: float, most: float, rng: np.random.Generator) -> bool:
    """⌊v · scale + u⌋ into words; or is it longer than `most`, or no number?"""
    size = min(len(v), CHUNK)
    drawn = np.empty(size)
    exact = np.empty(size)
    # to integers of 32 bits, where they have room, processors round twice as fast
    whole = np.empty(size, np.int32 if most < SHORT else np.int64)
    square = 0.0
    for start in range(0, len(v), CHUNK):
        part = v[start : start + CHUNK]
        n = len(part)
        rounded = rng.random(out=drawn[:n])
        rounded += np.multiply(part, scale, out=exact[:n])
        np.floor(rounded, out=rounded)
        square += float(rounded @ rounded)
        if not square <= most**2:  # also where it is NaN
            return False
        whole[:n] = rounded
        words[start : start + n] = whole[:n]
    return True
