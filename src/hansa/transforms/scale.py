"""Clip, AdaptiveClip, Finite: how long a vector may be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import DataError, PlanError, RoundError, number
from ..spec import Spec, Vector
from . import Context, Transform

TINY = 1e-300  # keeps 0/0 out of a division by a norm; no real update is as short


def norm(v: Vector) -> Vector:
    """‖v‖₂ over the last axis, which is kept with length one."""
    square = v @ v if v.ndim == 1 else np.einsum("...i,...i->...", v, v)
    return np.asarray(np.sqrt(square))[..., None]


def bounding(spec: Spec, clip: str = "Put Clip(norm=…) before it") -> str:
    """What to write so that each block has a bound, for those that have none."""
    loose = set(spec.unbounded)
    found = list[str]()
    if loose & {"weight", *spec.trained}:
        found.append(f"{clip}, and give Weigh a cap: Weigh('examples', cap=…) or Weigh('one').")
    if side := loose & spec.side - {"weight"}:
        found.append(f"For {', '.join(sorted(side))}: Clip(…, side=…) or Training(report=False).")
    if loose & spec.statistics:
        found.append(
            "For the statistics: Clip(…, statistics=…); or a model with buffers='local', which "
            "leaves them with each client; or GroupNorm, which has none."
        )
    return " ".join(found)


def _scale(part: Vector, most: float) -> Vector:
    """By what each vector is scaled down to a norm of `most`."""
    if not math.isfinite(most):
        return np.ones(1)
    return np.asarray(np.minimum(1.0, most / np.maximum(norm(part), TINY)))


def _shorten(part: Vector, most: float) -> None:
    """Scale each vector down to a norm of `most`, in place."""
    scale = _scale(part, most)
    if (scale < 1).any():  # most are short enough, and a pass over a vector costs
        part *= scale


def _ends(spec: Spec, cap: float | None) -> Iterator[tuple[slice, float, float]]:
    """Where each side value lies, and its bounds: those that it declares, or the cap above."""
    for name in spec.side:
        if (most := spec.bounds.get(name, cap)) is not None:
            yield spec.slice(name), spec.lows.get(name, -most), most


def _cut(v: Vector, cap: float | None, spec: Spec) -> None:
    """Cut the side values to their bounds, in place."""
    for place, least, most in _ends(spec, cap):
        part = v[..., place]
        # np.clip takes four times as long
        np.maximum(np.minimum(part, most, out=part), least, out=part)


def _within(v: Vector, cap: float | None, spec: Spec) -> bool:
    """Do all side values keep to their bounds?"""
    return all(
        bool(((v[..., place] >= least) & (v[..., place] <= most)).all())
        for place, least, most in _ends(spec, cap)
    )


def _told_statistics(spec: Spec, cap: float | None) -> str:
    """Whether statistics are cut, and to what, in words."""
    if not spec.statistics:
        return ""
    # P112
    return f", the statistics to norm {cap:g}" if cap else "; the statistics stay as they are"


def _told(spec: Spec, cap: float | None) -> str:
    """Which side values a cap cuts, and to what, in words."""
    names = [name for name in spec.unbounded if name in spec.side and cap]
    return "".join(
        f", {name} to {spec.lows[name]:g} … {cap:g}"
        if name in spec.lows
        else f", {name} to ±{cap:g}"
        for name in names
    )


@dataclass(frozen=True)
class Clip(Transform):
    """Scale each block of the update down to norm C:  v ← v · min(1, C / ‖v‖₂).

    Side values (a loss, a step count) keep their meaning; they are cut to the bounds that they
    declare, and those
    without one to ±`side` where it is given; to 0 … `side` where they say that they are never
    negative, as a
    cross-entropy does.   (McMahan et al. 2018, §3.1; Abadi et al. 2016, Alg. 1)

    Running statistics are a block with a norm of their own, `statistics`: a variance is measured in
    other units than a weight, and would leave little of C to the weights. Where it is not given
    they stay as they are, without a bound.
    """

    norm: float
    side: float | None = None
    statistics: float | None = None

    def plan(self, spec: Spec) -> Spec:
        """All blocks of the update are bounded by `norm`, or `statistics`."""
        for name, value in (
            ("norm", self.norm),
            ("side", self.side),
            ("statistics", self.statistics),
        ):
            if (value is not None or name == "norm") and not (
                number(value) and 0 < value < math.inf
            ):
                raise PlanError(
                    f"Clip({name}={value}) is not a length.",
                    "A vector is cut to a norm that is positive and finite.",
                    f"Write for example Clip({name}=1.0), or leave the clip out.",
                )
        if spec.space != "real":
            raise PlanError(
                "Clip comes after Quantize.",
                "It scales real numbers, and after Quantize the vector holds integers mod 2⁶⁴.",
                "Put Clip(…) before Quantize(…).",
            )
        if spec.weighed:
            raise PlanError(
                f"Clip(norm={self.norm}) comes after Weigh.",
                "It would clip the weighted vector but not its weight, so what comes out would be "
                "no mean.",
                "Put Clip(…) before Weigh(…).",
            )
        bounds = {
            name: most for name in spec.update if math.isfinite(most := self._most(spec, name))
        }
        if self.side is not None:
            bounds |= dict.fromkeys(set(spec.unbounded) & spec.side, self.side)
            if above := [
                name for name in spec.lows if bounds.get(name, math.inf) <= spec.lows[name]
            ]:
                raise PlanError(
                    f"Clip(side={self.side:g}) leaves nothing of {', '.join(above)}.",
                    f"Its least value is {spec.lows[above[0]]:g}.",
                    "Cut at a larger number.",
                )
        return spec.replace(bounds={**spec.bounds, **bounds})

    def _most(self, spec: Spec, name: str) -> float:
        """The norm that a block of the update may have."""
        cap = self.statistics if name in spec.statistics else self.norm
        return min(cap or math.inf, spec.bounds.get(name, math.inf))

    def encode(self, v: Vector, at: Context) -> Vector:
        """v · min(1, C / ‖v‖₂), block by block; v itself where nothing is cut."""
        spec = at.spec
        scales = {
            name: _scale(v[..., spec.slice(name)], self._most(spec, name)) for name in spec.update
        }
        long = [name for name, scale in scales.items() if (scale < 1).any()]
        if not long and _within(v, self.side, spec):
            return v
        v = v.copy()
        for name in long:
            v[..., spec.slice(name)] *= scales[name]
        _cut(v, self.side, spec)
        return v

    def explain(self, spec: Spec) -> str:
        """What is cut."""
        # P44
        also = _told_statistics(spec, self.statistics)
        return f"cuts {', '.join(spec.trained)} to norm {self.norm:g}{_told(spec, self.side)}{also}"


@dataclass(frozen=True)
class AdaptiveClip(Transform):
    """Clip the update to a norm C that follows the γ-quantile of all clients' norms:  C ← C ·
    exp(−η (b̄ − γ)).

    Says v/C, so that the bound on the wire is 1 in every round, and one bit: was ‖v‖₂ ≤ C?
    C = `first` in the first round, γ = `quantile`, η = `rate`.   (Andrew et al. 2021, Alg. 1)

    Running statistics have no part in this: they are cut to the norm `statistics`, where it is
    given.
    """

    quantile: float = 0.5
    first: float = 1.0
    rate: float = 0.2
    side: float | None = None
    statistics: float | None = None

    def plan(self, spec: Spec) -> Spec:
        """All blocks of the update but the statistics are bounded by 1, and there is one more side
        value.
        """
        if not (number(self.quantile) and 0 < self.quantile < 1):
            raise PlanError(
                f"AdaptiveClip(quantile={self.quantile}) is not a quantile.",
                "The clip follows the norm that this share of the clients stays below.",
                "Write a number between 0 and 1, for example AdaptiveClip(quantile=0.5).",
            )
        if not (number(self.rate) and 0 < self.rate < math.inf):
            raise PlanError(
                f"AdaptiveClip(rate={self.rate}) never moves towards its quantile.",
                "Each round multiplies the norm by exp(−rate · (share below − quantile)).",
                "Write a positive rate, for example 0.2.",
            )
        if "under" in spec.blocks:
            raise PlanError(
                "The pipe holds two AdaptiveClips.",
                "The second would follow the norms that the first has already cut.",
                "Keep one of them.",
            )
        spec = self._clip.plan(spec)
        bounds = {**spec.bounds, **dict.fromkeys(spec.trained, 1.0)}
        return spec.replace(
            bounds=bounds, sum_facts=replace(spec.sum_facts, learns=True)
        ).with_side("under", 0.5)

    @property
    def _clip(self) -> Clip:
        return Clip(self.first, self.side, self.statistics)

    def start(self) -> float:
        """The first norm."""
        return self.first

    def encode(self, v: Vector, at: Context) -> Vector:
        """(v / max(C, ‖v‖₂), ±½)."""
        trained = np.zeros(at.spec.size, bool)
        for name in at.spec.trained:
            trained[at.spec.slice(name)] = True
        length = norm(v[..., trained])
        v = np.where(trained, v / np.maximum(at.memo, length), v)
        for name in at.spec.statistics:
            _shorten(v[..., at.spec.slice(name)], self._clip._most(at.spec, name))
        _cut(v, self.side, at.spec)
        return np.concatenate([v, np.where(length <= at.memo, 0.5, -0.5)], axis=-1)

    def decode(self, total: Vector, at: Context) -> Vector:
        """The update times C; the bit stays here."""
        update = total[..., :-1] if at.overwrite else total[..., :-1].copy()
        for name in at.spec.trained:
            update[..., at.spec.slice(name)] *= at.memo
        return update

    def learn(self, total: Vector, at: Context) -> float:
        """C · exp(−η (b̄ − γ)), where b̄ is the mean bit."""
        share = min(1.0, max(0.0, float(total[-1]) + 0.5))  # noise may carry it out of [0, 1]
        return float(at.memo * np.exp(-self.rate * (share - self.quantile)))

    def explain(self, spec: Spec) -> str:
        """What is cut, and what is told."""
        return (
            # P44
            f"cuts the update to a norm that {self.quantile:.0%} of the clients stay below, learnt "
            f"from a bit of each (first {self.first:g})"
            f"{_told(spec, self.side)}{_told_statistics(spec, self.statistics)}"
        )


@dataclass(frozen=True)
class Finite(Transform):
    """Keep NaN and infinity out: a client whose vector holds one stays out of the round, and says
    so.
    """

    keeps: ClassVar[bool] = True

    def plan(self, spec: Spec) -> Spec:
        """Integers are always finite, so it must stand where numbers are real."""
        if spec.space != "real":
            raise PlanError(
                "Finite comes after Quantize.",
                "Integers are always finite: there is nothing left to find.",
                "Put Finite() first in the pipe.",
            )
        return spec

    def encode(self, v: Vector, at: Context) -> Vector:
        """v, or DataError."""
        if not np.isfinite(v).all():
            blocks = [
                name for name, part in at.spec.unpack(v).items() if not np.isfinite(part).all()
            ]
            raise DataError(
                f"{at.who}'s {' and '.join(blocks)} of round {at.round} holds NaN or infinity.",
                "One such number would spoil the sum for all, so this client stays out of the "
                "round.",
                "Lower the learning rate, or look for extreme values in its data.",
            )
        return v

    def decode(self, total: Vector, at: Context) -> Vector:
        """The sum, or RoundError."""
        if not np.isfinite(total).all():
            raise RoundError(
                f"The sum of round {at.round} holds NaN or infinity.",
                "A client sent such a number although its own Finite() forbids it; the model stays "
                "as it was.",
            )
        return total

    def explain(self, spec: Spec) -> str:
        """Who stays out."""
        # P50
        return "a client whose numbers are not finite stays out of the round"
