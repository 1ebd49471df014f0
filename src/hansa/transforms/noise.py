"""Noise that hides what one client changes in the sum."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

import numpy as np

from ..errors import Fault, number, refuse
from ..known import own
from ..rand import Key
from ..spec import Noise, Spec, Vector
from . import Context, Transform
from .curves import Gaussian, Laplace, Mechanism
from .scale import bounding, norm

SIDE_SHARE = 0.05  # of the privacy that one round spends, what all side values together get


@dataclass(frozen=True)
class RealNoise(Transform):
    """Noise added to each coordinate of block k of the sum; what one client can change there, Cₖ,
    is inferred.

    It is no argument: it follows from all transforms of the pipe, also from those after this one,
    such as the rounding of Quantize. Drawn by the server (central DP), in shares by `least` clients
    or more together (distributed DP: the sum is private, one vector alone is not, so the server
    must see nothing but the sum), or in full by each client (local DP). One client is one who is
    there or not; a vector that is not finite counts as nothing. Draws grow from the secret of who
    draws, and from what they hide: the same noise is never seen beside another vector. Real-valued
    noise is not private against an attacker who sees every bit of a float (Mironov 2012); discrete
    noise on quantised vectors is.
    """

    noise: float
    by: Literal["server", "all", "each"] = "server"
    least: int = 1

    tail: ClassVar[float]  # no draw is as many times its scale

    def plan(self, spec: Spec) -> Spec:
        """The noise is known; by clients, it reaches beyond the bounds."""
        check(self, spec)
        part = 1.0
        if self.by == "all":
            part = self._part
        tails = dict[str, float]()
        if self.by != "server":
            scales = self.scales(spec, spec.bounds)
            tails = {name: self.tail * part * scale for name, scale in scales.items()}
        found = Noise(
            self.noise,
            int(self.least),
            tails,
            scales=self.scales(spec, dict.fromkeys(spec.blocks, 1.0)),
        )
        return spec.replace(noise=drawing(found, self.by))

    def scales(self, spec: Spec, bounds: Mapping[str, float]) -> dict[str, float]:
        """The scale of the noise on each block, for what one client can change in it."""
        raise TypeError(f"{type(self).__name__} does not say how much it draws")

    def draw(self, shape: tuple[int, ...], key: Key) -> Vector:
        """Independent draws of scale 1; by all, of one client's share of it."""
        raise TypeError(f"{type(self).__name__} does not say how it draws")

    def describe(self) -> str:
        """What is drawn in each round, and by whom."""
        return f"{called(self)} noise in each round: {drawn_by(self.by, self.least)}"

    @property
    def _part(self) -> float:
        """A share's scale over that of the whole."""
        return 1.0

    def _beside(self, v: Vector, at: Context) -> Vector:
        noise = self.draw(v.shape, at.key.beside(v))
        for name, scale in self.scales(at.spec, at.spec.sum_facts.bounds).items():
            noise[..., at.spec.slice(name)] *= scale
        return noise

    def encode(self, v: Vector, at: Context) -> Vector:
        """v, or nothing where it is not finite, with this client's share of the noise."""
        v = hideable(v)
        if self.by == "server":
            return v
        return v + self._beside(v, at)

    def decode(self, total: Vector, at: Context) -> Vector:
        """The sum, with the server's noise."""
        if self.by != "server":
            return total
        noise = self._beside(total, at)
        out = noise
        if at.overwrite:
            out = total
        return np.add(total, noise, out=out)

    def explain(self, spec: Spec) -> str:
        """Who draws how much."""
        # P27
        scales = ", ".join(
            f"{name} ±{scale:.3g}"
            for name, scale in self.scales(spec, spec.sum_facts.bounds).items()
        )
        return (
            f"{called(self)} noise of {scales}: {drawn_by(self.by, self.least)}; real numbers, not "
            "discrete"
        )


@dataclass(frozen=True)
class GaussianNoise(RealNoise):
    """Add N(0, σₖ²) to every coordinate of block k of the sum:  σₖ = z·Cₖ / √sₖ,  Σ sₖ = 1.

    z = `noise`, and Cₖ is what one client can change in block k of the sum (see RealNoise). The
    shares sₖ split the sensitivity, Σ (Cₖ/σₖ)² = 1/z²: equal ones for the blocks of the update, and
    a small one for all side values. By all, each of `least` clients draws σₖ/√least.   (Dwork et
    al. 2006; McMahan et al. 2018, Alg. 1)
    """

    tail = 10.0

    def privacy(self, spec: Spec, n: int) -> Mechanism:
        """By all, n clients draw z·√(n / least) together."""
        if self.by != "all":
            return Gaussian(self.noise)
        return Gaussian(self.noise * (n / self.least) ** 0.5)

    def scales(self, spec: Spec, bounds: Mapping[str, float]) -> dict[str, float]:
        """σₖ."""
        return {name: self.noise / math.sqrt(s) * bounds[name] for name, s in shares(spec).items()}

    @property
    def _part(self) -> float:
        return 1 / math.sqrt(self.least)

    def draw(self, shape: tuple[int, ...], key: Key) -> Vector:
        """N(0, 1), or N(0, 1/least)."""
        drawn = key.normal(shape)
        drawn *= self._part
        return drawn


@dataclass(frozen=True)
class LaplaceNoise(RealNoise):
    """Add Laplace numbers to every coordinate of block k of the sum:  bₖ = z·√dₖ·Cₖ / sₖ,  Σ sₖ =
    1.

    z = `noise`. A block of length d and norm C has Σ|v| ≤ √d·C, so that one round is
    ε-differentially private with ε = Σ √dₖ·Cₖ/bₖ = 1/z, and δ = 0: for small models, as σ = √2·b
    grows with √d. The shares sₖ are those of GaussianNoise. By all, each of `least` clients draws
    the difference of two Gamma(1/least, bₖ) numbers, and as many of these add up to one Laplace
    number.   (Dwork et al. 2006, Prop. 1; Kotz et al. 2001, Prop. 2.4.1)
    """

    tail = 40.0

    def privacy(self, spec: Spec, n: int) -> Mechanism | None:
        """By all, fewer than `least` draw no Laplace numbers; more are not counted."""
        if self.by == "all" and n < self.least:
            return None
        return Laplace(self.noise)

    def scales(self, spec: Spec, bounds: Mapping[str, float]) -> dict[str, float]:
        """bₖ."""
        return {
            name: self.noise / s * math.sqrt(spec.blocks[name]) * bounds[name]
            for name, s in shares(spec).items()
        }

    def draw(self, shape: tuple[int, ...], key: Key) -> Vector:
        """Laplace(1), or one of `least` numbers that add up to it."""
        rng = key.rng()
        if self.by != "all":
            return rng.laplace(size=shape)
        drawn = rng.standard_gamma(1 / self.least, shape)
        drawn -= rng.standard_gamma(1 / self.least, shape)
        return drawn


class Drawn(Protocol):
    """Noise in real numbers."""

    @property
    def noise(self) -> float:
        """z."""
        ...

    @property
    def by(self) -> str:
        """Who draws it."""
        ...

    @property
    def least(self) -> int:
        """As many make it whole."""
        ...


def check(noise: Drawn, spec: Spec) -> None:
    """Raise PlanError where such noise would mean nothing."""
    name = type(noise).__name__
    shared = (
        number(noise.least, whole=True)
        and noise.least >= 1
        and (noise.least == 1 or noise.by == "all")
    )
    wrong: list[Fault] = [
        (
            not (number(noise.noise) and 0 < noise.noise < math.inf),
            f"{name}(noise={noise.noise}) is no noise.",
            "The multiplier z is the scale of the noise over what one client can change.",
            f"Write a positive number, for example {name}(1.0), or leave it out.",
        ),
        (
            noise.by not in ("server", "all", "each"),
            f"{name}(by={noise.by!r}): nobody of that name can draw it.",
            "Noise is drawn by the server, by all clients together, or by each in full.",
            "Write by='server', by='all' or by='each'.",
        ),
        (
            not shared,
            f"{name}(by={noise.by!r}, least={noise.least}) cannot be shared out.",
            "`least` is how many clients together make the whole noise, "
            "and only by='all' shares it.",
            "Write by='all' with a positive least, or leave `least` out.",
        ),
        (
            bool(spec.noise.multiplier),
            "The pipe holds two noises.",
            "The guarantee is stated for one; two would be counted as one.",
            "Keep one of them, with the larger multiplier.",
        ),
        (
            bool(spec.unbounded),
            f"{noise!r} needs a bound on: {', '.join(spec.unbounded)}.",
            "Without one, no amount of noise gives a privacy guarantee.",
            lambda: bounding(spec),
        ),
        (
            not spec.weighed,
            f"{noise!r} comes before Weigh.",
            "Its noise is sized for what one client changes in the weighted sum.",
            "Put it after Weigh(…).",
        ),
        (
            spec.space != "real",
            f"{noise!r} comes after Quantize.",
            "It draws real numbers, and after Quantize the vector holds integers mod 2⁶⁴.",
            "Put it before Quantize(…).",
        ),
    ]
    refuse(wrong)


def hideable(v: Vector) -> Vector:
    """v, or zeros where it is not finite: no noise hides NaN, and a round that it spoils tells of
    its client.
    """
    good = np.isfinite(norm(v))
    if good.all():
        return v
    return np.where(good, v, 0.0)


def drawing(noise: Noise, by: str) -> Noise:
    """The same, with who draws it as facts."""
    return replace(noise, server=by == "server", clients=by != "server", alone=by == "each")


def called(noise: Transform) -> str:
    """What noise is called: a stranger's, whatever it inherits, by its own name."""
    name = type(noise).__name__
    if not own(noise):
        return name
    return re.sub("(?<=.)(?=[A-Z])", " ", name.removesuffix("Noise")).lower()


def drawn_by(by: str, least: int) -> str:
    """Who draws the noise, in words."""
    return {
        # P39
        "server": "the server adds it to the sum (it sees the sum without)",
        # P28
        "all": f"the clients add it in shares; it is whole when {least} of them take part",
        # P38
        "each": "each client adds all of it",
    }[by]


def shares(spec: Spec) -> dict[str, float]:
    """How much of the sensitivity each block gets; they add up to one."""
    update = spec.update
    side = [name for name in spec.blocks if name in spec.side]
    if not side or not update:
        return dict.fromkeys(spec.blocks, 1 / len(spec.blocks))
    return dict.fromkeys(update, (1 - SIDE_SHARE) / len(update)) | dict.fromkeys(
        side, SIDE_SHARE / len(side)
    )
