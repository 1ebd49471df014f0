"""Mechanisms: what one release of a sum with noise gives away, where the clients are sampled.

What the noise alone gives away its class states, as a curve of Rényi divergences
(`hansa.transforms.curves`). What a secret sample takes off that (amplification by subsampling;
Mironov et al. 2019 for "poisson", Wang et al. 2019 for "uniform") is known of Gaussian noise only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import number, refuse
from ..transforms.curves import Gaussian, Mechanism

Sampling = Literal["all", "poisson", "uniform"]

NEIGHBOURS = {  # which two federations ε compares
    "all": "with the client's part in every sum, or with nothing in its place",
    # N is no secret: means are over the number expected
    "poisson": "with the client, or with nothing in its place",
    "uniform": "with the client, or with another in its place",
}


@dataclass(frozen=True)
class Release:
    """What one round gives away: a sum over a cohort, with noise.

    The sampling counts only where it is random and stays secret: by "poisson", each of all clients
    with probability `size`; by "uniform", `size` clients out of `population`, each set equally
    likely. By "all" it hides nothing, and so does a uniform sample of everybody. Of no noise but
    Gaussian noise an amplification is known here.
    """

    mechanism: Mechanism
    by: Sampling = "all"
    size: float = 0.0
    population: int = 0

    def __post_init__(self) -> None:
        counted = number(self.size) and number(self.population, whole=True)
        example = "Release(Gaussian(1.0), 'poisson', 0.01)"
        wrong = [
            (
                not isinstance(self.mechanism, Mechanism),
                "what noise gives away is a Mechanism",
                "Release(Gaussian(1.0))",
            ),
            (not counted or self.by not in NEIGHBOURS, "nobody is sampled that way", example),
            (self.by == "poisson" and not 0 < self.size <= 1, "the rate is a probability", example),
            (
                self.by == "uniform" and not 0 < self.size <= self.population,
                "a cohort is drawn from at least as many clients",
                "Release(Gaussian(1.0), 'uniform', 100, 10000)",
            ),
            (
                not isinstance(self.mechanism, Gaussian) and self.by != "all",
                "only Gaussian noise is amplified by sampling",
                "Release(Gaussian(1.0))",
            ),
        ]
        refuse(
            (
                bad,
                f"{self!r} cannot be accounted for.",
                f"{why[0].upper()}{why[1:]}.",
                f"Write for example {instead}.",
            )
            for bad, why, instead in wrong
        )

    def beside(self, other: Release) -> Release | None:
        """Both at once, where both are parts of one release over many rounds; else None."""
        both = self.mechanism.beside(other.mechanism)
        if both is None:
            return None
        return Release(both)

    @property
    def relation(self) -> Sampling:
        """The sampling that counts: that of everybody is none."""
        if self.by == "uniform" and self.size >= self.population:
            return "all"
        if self.by == "poisson" and self.size >= 1:
            return "all"
        return self.by

    def event(self) -> Any:
        """The release as dp-accounting knows it.

        To replace one client by another changes a sum by 2C, so the multiplier of a uniform sample
        is z/2.
        """
        from dp_accounting import dp_event

        z = self.mechanism.gaussian
        match self.relation:
            case "poisson":
                return dp_event.PoissonSampledDpEvent(self.size, dp_event.GaussianDpEvent(z))
            case "uniform":
                swap = dp_event.GaussianDpEvent(z / 2)
                return dp_event.SampledWithoutReplacementDpEvent(
                    self.population, int(self.size), swap
                )
        return dp_event.GaussianDpEvent(z)


@lru_cache(4096)
def curve(release: Release) -> NDArray[np.float64]:
    """The Rényi divergence of one release at each order of dp-accounting; a fixed-size sample takes
    a tenth of a second.

    Infinite where nothing is known, as at orders whose divergence does not converge. Other noise
    than Gaussian has the curve that its class states.
    """
    from dp_accounting.privacy_accountant import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    if not release.mechanism.gaussian:
        orders = np.array(DEFAULT_RDP_ORDERS, np.float64)
        stated = np.asarray(release.mechanism.divergence(orders), np.float64)
        return np.where(stated >= 0, stated, np.inf)  # what is no number bounds nothing
    neighbours = NeighboringRelation.ADD_OR_REMOVE_ONE
    if release.relation == "uniform":
        neighbours = NeighboringRelation.REPLACE_ONE
    one = RdpAccountant(neighboring_relation=neighbours)
    warnings = logging.getLogger("absl")
    before = warnings.disabled
    warnings.disabled = True  # of orders that do not converge; it leaves them out, as it should
    try:
        one.compose(release.event())
    finally:
        warnings.disabled = before
    return np.asarray(one._rdp, np.float64)
