"""Mechanisms: what one release of a sum with noise gives away."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, number
from ..transforms.correlated import Matrix, reach

Sampling = Literal["all", "poisson", "uniform"]

NEIGHBOURS = {  # which two federations ε compares
    "all": "with the client's part in every sum, or with nothing in its place",
    # N is no secret: means are over the number expected
    "poisson": "with the client, or with nothing in its place",
    "uniform": "with the client, or with another in its place",
}


@dataclass(frozen=True)
class Participation:
    """Rounds that a client took part in, of a run whose noise is correlated over rounds by a
    matrix.
    """

    matrix: Matrix
    taken: tuple[int, ...]  # 0 for the first

    def length(self) -> float:
        """How far it can move what is released, over how far in one round without correlation."""
        return reach(self.matrix, self.taken)


@dataclass(frozen=True)
class Release:
    """What one round gives away: a sum over a cohort, with noise of σ = z·C on what one client
    changes by C.

    z = `noise`. The sampling counts only where it is random and stays secret: by "poisson", each of
    all clients with probability `size`; by "uniform", `size` clients out of `population`, each set
    equally likely. By "all" it hides nothing, and so does a uniform sample of everybody. The noise
    is Gaussian; or Laplace, of scale z over what one client changes in Σ|v|; or in whole numbers,
    `draws` of it in the sum, with each block's size, bound and σ of one draw in `parts`. Of these
    two no amplification is known here. Or it is "correlated" over all rounds of a run, and what
    counts is in which of them the client took part.
    """

    noise: float
    by: Sampling = "all"
    size: float = 0.0
    population: int = 0
    kind: Literal["gaussian", "laplace", "correlated", "skellam", "discrete gaussian"] = "gaussian"
    parts: tuple[tuple[int, float, float], ...] = ()
    draws: int = 1
    rounds: Participation | None = None

    def __post_init__(self) -> None:
        real = number(self.noise) and number(self.size) and number(self.population, whole=True)
        wrong = [
            (
                not real or not 0 < self.noise < math.inf,
                "a noise multiplier is positive",
                "Release(1.0)",
            ),
            (
                self.by not in NEIGHBOURS,
                "nobody is sampled that way",
                "Release(1.0, 'poisson', 0.01)",
            ),
            (
                self.by == "poisson" and not 0 < self.size <= 1,
                "the rate is a probability",
                "Release(1.0, 'poisson', 0.01)",
            ),
            (
                self.by == "uniform" and not 0 < self.size <= self.population,
                "a cohort is drawn from at least as many clients",
                "Release(1.0, 'uniform', 100, 10000)",
            ),
            (
                self.kind != "gaussian" and self.by != "all",
                "only Gaussian noise is amplified by sampling",
                "Release(1.0)",
            ),
            (
                self.kind in ("skellam", "discrete gaussian")
                and (not self.parts or self.draws < 1),
                "noise in whole numbers is accounted for by its parts",
                "Release(1.0)",
            ),
            (
                (self.kind == "correlated") != (self.rounds is not None),
                "correlated noise is accounted for by the rounds that a client took part in",
                "Release(1.0)",
            ),
        ]
        for bad, why, instead in wrong:
            if bad:
                raise PlanError(
                    f"{self!r} cannot be accounted for.",
                    f"{why[0].upper()}{why[1:]}.",
                    f"Write for example {instead}.",
                )

    @property
    def gaussian(self) -> float:
        """The multiplier of the Gaussian noise that gives as much away, without sampling; 0 where
        there is none.
        """
        if self.rounds is not None:
            return self.noise / self.rounds.length()
        return self.noise if self.kind == "gaussian" else 0.0

    def beside(self, other: Release) -> Release | None:
        """Both at once, where both are parts of one release over many rounds."""
        if self.rounds is None or other.rounds is None:
            return None
        both = replace(self.rounds, taken=tuple(sorted({*self.rounds.taken, *other.rounds.taken})))
        together = replace(self, rounds=both)
        return (
            together
            if together == replace(other, rounds=replace(both, matrix=other.rounds.matrix))
            else None
        )

    @property
    def relation(self) -> Sampling:
        """The sampling that counts: that of everybody is none."""
        everybody = self.size >= (self.population if self.by == "uniform" else 1)
        return "all" if everybody else self.by

    def event(self) -> Any:
        """The release as dp-accounting knows it.

        To replace one client by another changes a sum by 2C, so the multiplier of a uniform sample
        is z/2.
        """
        from dp_accounting import dp_event

        match self.relation:
            case "poisson":
                return dp_event.PoissonSampledDpEvent(
                    self.size, dp_event.GaussianDpEvent(self.noise)
                )
            case "uniform":
                swap = dp_event.GaussianDpEvent(self.noise / 2)
                return dp_event.SampledWithoutReplacementDpEvent(
                    self.population, int(self.size), swap
                )
        return dp_event.GaussianDpEvent(self.gaussian)


@lru_cache(4096)
def curve(release: Release) -> NDArray[np.float64]:
    """The Rényi divergence of one release at each order; a fixed-size sample takes a tenth of a
    second.
    """
    from dp_accounting.privacy_accountant import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    orders = np.array(DEFAULT_RDP_ORDERS, np.float64)
    if release.kind == "laplace":
        return laplace(orders, release.noise)
    if not release.gaussian:
        bound = skellam if release.kind == "skellam" else discrete_gaussian
        # blocks have noise of their own
        curve = sum(bound(orders, *part, release.draws) for part in release.parts)
        return np.where((orders == np.floor(orders)) & (orders >= 2), curve, np.inf)
    uniform = release.relation == "uniform"
    one = RdpAccountant(
        neighboring_relation=NeighboringRelation.REPLACE_ONE
        if uniform
        else NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    warnings = logging.getLogger("absl")
    reply, warnings.disabled = (
        warnings.disabled,
        True,
    )  # of orders that do not converge; it leaves them out, as it should
    try:
        one.compose(release.event())
    finally:
        warnings.disabled = reply
    return np.asarray(one._rdp, np.float64)


def laplace(orders: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Rényi divergence of Laplace noise:  log(α/(2α − 1)·e^((α − 1)ε) + (α − 1)/(2α − 1)·e^(−αε)) /
    (α − 1),  ε = 1/z.

    For one number, and an upper bound for many: it is convex in ε and 0 at 0, so that a change that
    is spread over many
    numbers gives no more away than all of it in one.   (Mironov 2017, Prop. 6)
    """
    high = np.log(orders / (2 * orders - 1)) + (orders - 1) / noise
    low = np.log((orders - 1) / (2 * orders - 1)) - orders / noise
    return np.asarray(np.logaddexp(high, low) / (orders - 1))


def skellam(
    orders: NDArray[np.float64], size: int, bound: float, sigma: float, draws: int = 1
) -> NDArray[np.float64]:
    """Rényi divergence of Skellam noise, at whole orders α:  αΔ₂²/2μ + min(((2α − 1)Δ₂² + 6Δ₁) /
    4μ², 3Δ₁ / 2μ).

    μ = draws·σ², Δ₂ = `bound`, and for integers Δ₁ ≤ min(√d·Δ₂, Δ₂²).   (Agarwal et al. 2021, Thm
    3.5)
    """
    mu = draws * sigma**2
    first = min(math.sqrt(size) * bound, bound**2)
    extra = np.minimum(
        ((2 * orders - 1) * bound**2 + 6 * first) / (4 * mu**2), 3 * first / (2 * mu)
    )
    return np.asarray(orders * bound**2 / (2 * mu) + extra)


def discrete_gaussian(
    orders: NDArray[np.float64], size: int, bound: float, sigma: float, draws: int = 1
) -> NDArray[np.float64]:
    """Rényi divergence of a sum of n = `draws` discrete Gaussians, each of σ, with D = Δ / (√n·σ)
    and d = `size`:

        min(α/2·D₂² + τd,  α/2·(D₂² + 2D₁τ + τ²d),  α/2·(D₂ + √d·τ)²),    τ = 10 Σₖ₌₁ⁿ⁻¹
        exp(−2π²σ²k/(k + 1))

    One draw has τ = 0: the divergence of a Gaussian.   (Kairouz et al. 2021, Thm 1)
    """
    k = np.arange(1, draws)
    tau = 10 * float(np.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)).sum())
    whole = math.sqrt(draws) * sigma
    first = min(math.sqrt(size) * bound, bound**2) / whole
    second = bound / whole
    return np.asarray(
        np.minimum(
            orders / 2 * second**2 + tau * size,
            orders
            / 2
            * min(
                second**2 + 2 * first * tau + tau**2 * size, (second + math.sqrt(size) * tau) ** 2
            ),
        )
    )
