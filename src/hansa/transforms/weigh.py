"""Weighting, Weigh: how much a client counts in the mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import DataError, PlanError, RoundError, number
from ..spec import Interval, Spec, Vector
from . import Context, Transform


class Weighting(Transform):
    """Turn a sum into a mean:  encode (w·v, w),  decode (Σ w·v) / (Σ w).

    A subclass says the weight of a client and its bounds; with `reads = True` its `weight` finds
    the client's examples in `at.data`. The weight is a block, so it stays as hidden as the rest.
    Where all weigh the same, there is no such block: the sum is divided by the number of clients;
    where noise hides who was sampled, by the number expected.   (McMahan et al. 2017, Alg. 1)
    """

    keeps: ClassVar[bool] = True

    @property
    def bounds(self) -> Interval | None:
        """low … high of a weight, with low > 0; None where all weigh the same."""
        raise TypeError(f"{type(self).__name__} does not say what bounds a weight")

    def weight(self, at: Context) -> Any:
        """w of one client; or of many [n], where `at.examples` is an array."""
        raise TypeError(f"{type(self).__name__} does not say what a client weighs")

    def plan(self, spec: Spec) -> Spec:
        """The vector is weighed; what lies in a … b, and weighs l … h, lies in min(a·l, a·h) …
        b·h.
        """
        self._check_place(spec)
        if (span := self._span()) is None:
            return spec.replace(weighed=True)
        low = span.low
        high = span.high
        capped = math.isfinite(high)
        bounds = dict[str, float]()
        if capped:
            bounds = {name: bound * high for name, bound in spec.bounds.items()}
        lows = {
            name: least * (high if least < 0 else low)
            for name, least in spec.lows.items()
            if capped or least >= 0
        }
        weighed = spec.replace(bounds=bounds, lows=lows, weighed=True)
        return weighed.with_side("weight", span)

    def encode(self, v: Vector, at: Context) -> Vector:
        """(w·v, w), with w cut to its bounds."""
        if (span := self.bounds) is None:
            return v
        w = np.asarray(self.weight(at), np.float64)
        w = np.minimum(np.maximum(w, span.low), span.high)  # NaN stays NaN
        if w.shape not in ((), v.shape[:-1]) or np.count_nonzero(w != w):
            raise DataError(
                f"{at.who} weighs {np.asarray(self.weight(at)).tolist()!r}.",
                f"{type(self).__name__}.weight gives one number for a client.",
                "Return a number, also for data that is not as it should be.",
            )
        w = w[..., None]
        weighed = np.empty((*v.shape[:-1], v.shape[-1] + 1))
        np.multiply(w, v, out=weighed[..., :-1])
        weighed[..., -1:] = w
        return weighed

    def decode(self, total: Vector, at: Context) -> Vector:
        """(Σ w·v) / (Σ w)."""
        out = total
        if not at.overwrite:
            out = np.empty_like(total)
        if (span := self.bounds) is None:
            return np.divide(total, at.spec.noise.share * at.population or at.n, out=out)
        _check_sum(float(total[-1]), span, at)
        return np.divide(total[..., :-1], total[..., -1:], out=out[..., :-1])

    def _span(self) -> Interval | None:
        """The bounds; PlanError where none is a weight's."""
        span = self.bounds
        if span is not None and not (isinstance(span, Interval) and span.low > 0):
            raise PlanError(
                f"{self!r} weighs within {span!r}.",
                "A mean is over weights that are positive: a client of weight 0 is not in it.",
                "Return for example Interval(1.0, 64.0) as its bounds, or None where all weigh "
                "the same.",
            )
        return span

    def _check_place(self, spec: Spec) -> None:
        """Raise PlanError where no weighting can stand."""
        name = type(self).__name__
        if spec.weighed:
            raise PlanError(
                f"The pipe holds two weightings, and {name} is the second.",
                "A sum becomes a mean once.",
                "Keep one of them, for example Weigh('one') or Weigh('examples', cap=…).",
            )
        if spec.space != "real":
            raise PlanError(
                f"{name} comes after Quantize.",
                "It multiplies real numbers, and after Quantize the vector holds integers mod 2⁶⁴.",
                f"Put {name}(…) before Quantize(…).",
            )


def _check_sum(weight: float, span: Interval, at: Context) -> None:
    """Raise RoundError where a client alone says a weight that none has, or all together say
    nothing.
    """
    encoded = at.spec.sum_facts
    size = 1.0
    if math.isfinite(span.high):
        size = span.high
    slack = encoded.noise.step.get("weight", 0.0) + 1e-9 * size  # of rounding
    within = span.low - slack <= weight <= span.high + slack
    if at.n == 1 and not encoded.noise.multiplier and not within:
        raise RoundError(
            f"A client weighs {weight:g}, not {span.low:g} … {span.high:g}.",
            "Over such a weight its vector could be of any length, and point the other way.",
        )
    if not weight > 0:
        raise RoundError(
            "The weights of this round add up to nothing, so there is no mean.",
            "Noise or rounding outweighed them (Weigh('one') has none to outweigh), or a "
            "client lies about it.",
        )


@dataclass(frozen=True)
class Weigh(Weighting):
    """A client counts once, or by its examples: the simple mean, or the example-weighted mean.

    w is 1, or the client's number of examples, in 1 … `cap`.   (McMahan et al. 2017, Alg. 1)
    """

    by: Literal["one", "examples"] = "examples"
    cap: float | None = None

    @cached_property  # for it is asked once per client
    def bounds(self) -> Interval | None:
        """1 … cap."""
        if self.by == "one":
            return None
        return Interval(1.0, self.cap or math.inf)

    def weight(self, at: Context) -> Any:
        """How many examples the client has."""
        return at.examples

    def plan(self, spec: Spec) -> Spec:
        """As of every weighting; PlanError for a word or a cap that weighs nobody."""
        if self.by not in ("one", "examples"):
            raise PlanError(
                f"Weigh({self.by!r}) is no way to weigh.",
                "A client counts once, or as many times as it has examples.",
                "Write Weigh('one') or Weigh('examples', cap=…); for another weight, a Weighting.",
            )
        if self.cap is not None and not (number(self.cap) and 1 < self.cap < math.inf):
            raise PlanError(
                f"Weigh(cap={self.cap}) weighs nobody.",
                "The cap is the largest number of examples that counts, and every client has one "
                "at least.",
                "Write a number above 1, for example Weigh('examples', cap=64), or Weigh('one').",
            )
        if self.by == "one" and self.cap is not None:
            raise PlanError(
                f"Weigh('one', cap={self.cap}) caps a weight that is always one.",
                "A cap bounds the number of examples that a client counts for.",
                "Write Weigh('one') or Weigh('examples', cap=…).",
            )
        return super().plan(spec)

    def explain(self, spec: Spec) -> str:
        """How a client counts."""
        if self.bounds is None:
            return "every client counts once"
        # P44
        counts = "a client counts by its examples"
        if self.cap:
            return f"{counts}, at most {self.cap:g}"
        return counts
