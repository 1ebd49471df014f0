"""What several runs on one client's data give away together, each of which may be chosen after the
results of those before.

    Σ D(α) ≤ ε + log(δα)/(α − 1) − log(1 − 1/α)  at one order α, fixed before any result is known

Each run is kept as its Rényi divergences, which add up whatever its noise is. With α fixed before
the first run the sum bounds ε at δ, also where a server plans a run by what it has seen (a Rényi
filter; Feldman & Zrnic 2021), by the conversion of Canonne et al. 2020, Prop. 12. The least over
all α, which is ε of one run, does not: whoever plans runs by results could choose α by luck. At
α = ∞ divergences are ε at δ = 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .ledger import Ledger
from .mechanisms import curve


@dataclass(frozen=True)
class Given:
    """What a run gives away about one client, or one example of it, at most: divergences at each
    order of dp-accounting, and at ∞.

    why: why nobody knows, if so. replaced: is the neighbour a federation with another client in its
    place? Such curves add up among themselves alone. even: does each answer give away as much?
    """

    curve: tuple[float, ...] = field(default=(), repr=False)
    why: str = ""
    replaced: bool = False
    even: bool = True

    @classmethod
    def by(cls, ledger: Ledger, delta: float) -> Self:
        """What a ledger adds up to, for the client of which most was released."""
        why = ledger.why or ledger.guarantee(delta).why
        if why:
            return cls(why=why)
        releases = ledger.worst(delta)
        total = np.zeros(len(orders()))
        pure = 0.0
        for release, times in releases.items():
            total[:-1] += times * curve(release)
            pure += times * release.mechanism.pure
        total[-1] = pure
        alike = [
            release.mechanism.during(0) == release.mechanism
            and (ledger.unit == "example" or release.relation == "all")
            for release in releases
        ]
        replaced = any(release.relation == "uniform" for release in releases)
        return cls(tuple(total.tolist()), "", replaced, all(alike))

    def times(self, share: float) -> Self:
        """The same for this share of its answers; all of it at least where they do not count
        evenly.
        """
        if not self.even:
            share = max(1.0, share)
        if self.why:
            return self
        if not share:
            return type(self)()
        return replace(self, curve=tuple(share * one for one in self.curve))

    def plus(self, other: Self) -> Self:
        """Both together."""
        why = self.why or other.why
        if not why and self.curve and other.curve and self.replaced != other.replaced:
            why = "runs were sampled in ways whose guarantees do not add up"
        if why:
            return type(self)(why=why)
        if not self.curve or not other.curve:
            return self if self.curve else other
        total = np.add(self.curve, other.curve)
        return type(self)(tuple(total.tolist()), "", self.replaced, self.even and other.even)

    def epsilon(self, order: int, delta: float) -> float:
        """ε at δ, by the order that stands at this place; infinite where nobody knows."""
        if self.why:
            return math.inf
        if not self.curve:
            return 0.0
        return max(0.0, float(self.curve[order] + offset(delta)[order]))

    def order(self, epsilon: float, delta: float) -> int:
        """The place of the order at which most runs like this one stay within ε at δ; for an ε
        without end that of this run's own ε.
        """
        if not self.curve:
            return 0
        spent = np.array(self.curve)
        if math.isinf(epsilon):
            return int(np.argmin(spent + offset(delta)))
        room = epsilon - offset(delta)
        with np.errstate(divide="ignore", invalid="ignore"):
            runs = np.where(room > 0, room / spent, 0.0)
        return int(np.argmax(np.nan_to_num(runs, nan=0.0)))

    def encode(self) -> str:
        """JSON, for a database."""
        return json.dumps([self.curve, self.why, self.replaced, self.even])

    @classmethod
    def decode(cls, text: str) -> Self:
        """What `encode` has written."""
        found, why, replaced, even = json.loads(text)
        return cls(tuple(found), why, replaced, even)


def added(several: Iterable[Given]) -> Given:
    """What all of these give away together."""
    total = Given()
    for one in several:
        total = total.plus(one)
    return total


def orders() -> NDArray[np.float64]:
    """The orders α > 1.01 of dp-accounting, and ∞ as the last."""
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    return np.array([*DEFAULT_RDP_ORDERS, np.inf])


def offset(delta: float) -> NDArray[np.float64]:
    """log(1 − 1/α) − log(δα)/(α − 1) at each order: what ε has beyond the divergence."""
    alpha = orders()[:-1]
    return np.append(np.log1p(-1 / alpha) - np.log(delta * alpha) / (alpha - 1), 0.0)
