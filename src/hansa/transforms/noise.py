"""Noise that hides what one client changes in the sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import PlanError, number
from ..spec import Noise, Spec, Vector
from . import Context, Transform

SIDE_SHARE = 0.05  # of the privacy that one round spends, what all side values together get


@dataclass(frozen=True)
class GaussianNoise(Transform):
    """Add N(0, σₖ²) to every coordinate of block k of the sum:  σₖ = z·Cₖ / √sₖ,  Σ sₖ = 1.

    z = `noise`. Cₖ is what one client can change in block k of the sum; it is no argument, but inferred from all
    transforms of the pipe, also from those after this one, such as the rounding of Quantize. The shares sₖ split the
    sensitivity, Σ (Cₖ/σₖ)² = 1/z²: equal ones for the blocks of the update, and a small one for all side values.
    Drawn by the server (central DP), in shares by `least` clients or more together (distributed DP: the sum is private,
    one vector alone is not, so the server must see nothing but the sum), or in full by each client (local DP). One
    client is one who is there or not. Draws grow from the plan's seed, as all of a simulation does: they show what
    noise does to learning, and hide nothing from who knows the seed. Real-valued noise is not private against an
    attacker who sees every bit of a float (Mironov 2012); discrete noise on quantised vectors is.
    (Dwork et al. 2006; McMahan et al. 2018, Alg. 1)
    """

    noise: float
    by: Literal["server", "all", "each"] = "server"
    least: int = 1

    def plan(self, spec: Spec) -> Spec:
        """The noise is known; by clients, it reaches beyond the bounds."""
        if not (number(self.noise) and 0 < self.noise < math.inf):
            raise PlanError(
                f"GaussianNoise(noise={self.noise}) is no noise.",
                "The multiplier z is the standard deviation over what one client can change.",
                "Write a positive number, for example GaussianNoise(1.0), or leave it out.",
            )
        if self.by not in ("server", "all", "each"):
            raise PlanError(
                f"GaussianNoise(by={self.by!r}): nobody of that name can draw it.",
                "Noise is drawn by the server, by all clients together, or by each in full.",
                "Write by='server', by='all' or by='each'.",
            )
        if not number(self.least, whole=True) or self.least < 1 or (self.least > 1 and self.by != "all"):
            raise PlanError(
                f"GaussianNoise(by={self.by!r}, least={self.least}) cannot be shared out.",
                "`least` is how many clients together make the whole noise, and only by='all' shares it.",
                "Write by='all' with a positive least, or leave `least` out.",
            )
        if spec.noise.multiplier:
            raise PlanError(
                "The pipe holds two noises.",
                "The guarantee is stated for one; two would be counted as one.",
                "Keep one of them, with the larger multiplier.",
            )
        if loose := spec.unbounded:
            side = set(loose) & spec.side - {"weight"}
            raise PlanError(
                f"{self!r} needs a bound on: {', '.join(loose)}.",
                "Without one, no amount of noise gives a privacy guarantee.",
                "Put Clip(norm=…) before it, and give Weigh a cap: Weigh('examples', cap=…) or Weigh('one')."
                + (f" For {', '.join(sorted(side))}: Clip(…, side=…) or Training(report=False)." if side else ""),
            )
        if not spec.weighed:
            raise PlanError(
                f"{self!r} comes before Weigh.",
                "Its noise is sized for what one client changes in the weighted sum.",
                "Put it after Weigh(…).",
            )
        if spec.space != "real":
            raise PlanError(
                f"{self!r} comes after Quantize.",
                "It draws real numbers, and after Quantize the vector holds integers mod 2⁶⁴.",
                "Put it before Quantize(…).",
            )
        tails = {name: 10 * self._part / math.sqrt(s) * spec.bounds[name] for name, s in shares(spec).items()}
        return spec.but(noise=Noise(self.noise, int(self.least), {} if self.by == "server" else tails, self.by))

    @property
    def _part(self) -> float:
        return self.noise / math.sqrt(self.least) if self.by == "all" else self.noise

    def _draw(self, shape: tuple[int, ...], at: Context) -> Vector:
        sigma = {name: self._part / math.sqrt(s) * at.spec.wire.bounds[name] for name, s in shares(at.spec).items()}
        return at.spec.each(sigma) * at.key.normal(shape)

    def encode(self, v: Vector, at: Context) -> Vector:
        """v, with this client's share of the noise."""
        return v if self.by == "server" else v + self._draw(v.shape, at)

    def decode(self, total: Vector, at: Context) -> Vector:
        """The sum, with the server's noise."""
        return total + self._draw(total.shape, at) if self.by == "server" else total

    def explain(self, spec: Spec) -> str:
        """Who draws how much."""
        sigma = ", ".join(
            f"{name} ±{self.noise / math.sqrt(s) * spec.wire.bounds[name]:.3g}" for name, s in shares(spec).items()
        )
        return (
            f"Gaussian noise of standard deviation {sigma}: {drawn_by(self.by, self.least)}; real numbers, not discrete"
        )


def drawn_by(by: str, least: int) -> str:
    """Who draws the noise, in words."""
    return {
        "server": "the server adds it to the sum (it sees the sum without)",
        "all": f"the clients add it in shares; it is whole when {least} of them take part",
        "each": "each client adds all of it",
    }[by]


def shares(spec: Spec) -> dict[str, float]:
    """How much of the sensitivity each block gets; they add up to one."""
    update, side = spec.update, [name for name in spec.blocks if name in spec.side]
    if not side or not update:
        return dict.fromkeys(spec.blocks, 1 / len(spec.blocks))
    return dict.fromkeys(update, (1 - SIDE_SHARE) / len(update)) | dict.fromkeys(side, SIDE_SHARE / len(side))
