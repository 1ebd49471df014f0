"""Accounting: what the rounds of a run have given away about one client, as the ε and δ of differential privacy.

    Pr[M(D) ∈ S] ≤ e^ε · Pr[M(D′) ∈ S] + δ        for every S, and all D, D′ that differ in one unit

The unit is a whole client, all that one party says in all rounds; or one example of a client, where that adds noise in
its own training. Every statement says which, and the two are never added up. The sums are those of the library
dp-accounting: Rényi divergences (Mironov 2017) or privacy loss distributions (Koskela et al. 2020). Where no bound is
known there is no number, but a reason.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError, number
from .transforms.correlated import Matrix, reach

Sampling = Literal["all", "poisson", "uniform"]
Unit = Literal["client", "example"]

NEIGHBOURS = {  # which two federations ε compares
    "all": "with the client's part in every sum, or with nothing in its place",
    "poisson": "with the client, or with nothing in its place",  # N is no secret: means are over the number expected
    "uniform": "with the client, or with another in its place",
}
EXAMPLE = "its client's data with the example, or with nothing in its place"  # how many there are is no secret
NAMED = "not against who knows the secret that the simulation names: it takes the noise off again"
MISSING = "the library that adds up privacy is not installed: pip install 'hansa[privacy]'"
LARGEST = 1e6  # noise multiplier that calibration tries


@dataclass(frozen=True)
class Rounds:
    """Rounds that a client took part in, of a run whose noise is correlated over rounds by a matrix."""

    matrix: Matrix
    taken: tuple[int, ...]  # 0 for the first

    def length(self) -> float:
        """How far it can move what is released, over how far in one round without correlation."""
        return reach(self.matrix, self.taken)


@dataclass(frozen=True)
class Release:
    """What one round gives away: a sum over a cohort, with noise of σ = z·C on what one client changes by C.

    z = `noise`. The sampling counts only where it is random and stays secret: by "poisson", each of all clients with
    probability `size`; by "uniform", `size` clients out of `population`, each set equally likely. By "all" it hides
    nothing, and so does a uniform sample of everybody. The noise is Gaussian; or Laplace, of scale z over what one
    client changes in Σ|v|; or in whole numbers, `draws` of it in the sum, with each block's size, bound and σ of one
    draw in `parts`. Of these two no amplification is known here. Or it is "correlated" over all rounds of a run, and
    what counts is in which of them the client took part.
    """

    noise: float
    by: Sampling = "all"
    size: float = 0.0
    population: int = 0
    kind: Literal["gaussian", "laplace", "correlated", "skellam", "discrete gaussian"] = "gaussian"
    parts: tuple[tuple[int, float, float], ...] = ()
    draws: int = 1
    rounds: Rounds | None = None

    def __post_init__(self) -> None:
        real = number(self.noise) and number(self.size) and number(self.population, whole=True)
        wrong = [
            (not real or not 0 < self.noise < math.inf, "a noise multiplier is positive", "Release(1.0)"),
            (self.by not in NEIGHBOURS, "nobody is sampled that way", "Release(1.0, 'poisson', 0.01)"),
            (self.by == "poisson" and not 0 < self.size <= 1, "the rate is a probability",
             "Release(1.0, 'poisson', 0.01)"),
            (self.by == "uniform" and not 0 < self.size <= self.population,
             "a cohort is drawn from at least as many clients", "Release(1.0, 'uniform', 100, 10000)"),
            (self.kind != "gaussian" and self.by != "all",
             "only Gaussian noise is amplified by sampling", "Release(1.0)"),
            (self.kind in ("skellam", "discrete gaussian") and (not self.parts or self.draws < 1),
             "noise in whole numbers is accounted for by its parts", "Release(1.0)"),
            ((self.kind == "correlated") != (self.rounds is not None),
             "correlated noise is accounted for by the rounds that a client took part in", "Release(1.0)"),
        ]  # fmt: skip
        for bad, why, instead in wrong:
            if bad:
                raise PlanError(
                    f"{self!r} cannot be accounted for.", f"{why[0].upper()}{why[1:]}.", f"Write for example {instead}."
                )

    @property
    def gaussian(self) -> float:
        """The multiplier of the Gaussian noise that gives as much away, without sampling; 0 where there is none."""
        if self.rounds is not None:
            return self.noise / self.rounds.length()
        return self.noise if self.kind == "gaussian" else 0.0

    def beside(self, other: Release) -> Release | None:
        """Both at once, where both are parts of one release over many rounds."""
        if self.rounds is None or other.rounds is None:
            return None
        both = replace(self.rounds, taken=tuple(sorted({*self.rounds.taken, *other.rounds.taken})))
        together = replace(self, rounds=both)
        return together if together == replace(other, rounds=replace(both, matrix=other.rounds.matrix)) else None

    @property
    def relation(self) -> Sampling:
        """The sampling that counts: that of everybody is none."""
        everybody = self.size >= (self.population if self.by == "uniform" else 1)
        return "all" if everybody else self.by

    def event(self) -> Any:
        """The release as dp-accounting knows it.

        To replace one client by another changes a sum by 2C, so the multiplier of a uniform sample is z/2.
        """
        from dp_accounting import dp_event

        match self.relation:
            case "poisson":
                return dp_event.PoissonSampledDpEvent(self.size, dp_event.GaussianDpEvent(self.noise))
            case "uniform":
                swap = dp_event.GaussianDpEvent(self.noise / 2)
                return dp_event.SampledWithoutReplacementDpEvent(self.population, int(self.size), swap)
        return dp_event.GaussianDpEvent(self.gaussian)


@dataclass(frozen=True)
class Guarantee:
    """What a run promises each client: ε at δ; or no ε, and why not."""

    epsilon: float | None
    delta: float
    neighbours: str = ""
    why: str = ""
    unit: Unit = "client"
    named: bool = False  # does the noise grow from a secret that a simulation names?

    def __str__(self) -> str:
        """The promise as a clause."""
        if self.epsilon is None:
            return f"no ε for {'an' if self.unit == 'example' else 'a'} {self.unit}: {self.why}"
        but = f", but {NAMED}" if self.named else ""
        return f"ε = {self.epsilon:.4g} at δ = {self.delta:.2g} for each {self.unit} ({self.neighbours}){but}"


@dataclass(frozen=True)
class Ledger:
    """All releases of a run, and what they add up to for the client that has taken part most; or for one example.

    A release with secret sampling counts for every client. Any other counts for those whose vectors may be in it: the
    rest are known not to be, and lose nothing.
    """

    secret: Mapping[Release, int] = field(default_factory=dict)  # release → how often
    clients: Mapping[str, Mapping[Release, int]] = field(default_factory=dict)  # who → the same, for it alone
    why: str = ""  # why nothing bounds what a client gives away, if so
    accountant: Literal["rdp", "pld"] = "rdp"
    unit: Unit = "client"
    named: bool = False  # does noise of a round grow from a secret that a simulation names?

    def __post_init__(self) -> None:
        if self.accountant not in ("rdp", "pld"):
            raise PlanError(
                f"Ledger(accountant={self.accountant!r}) cannot add up.",
                "There are Rényi divergences and privacy loss distributions.",
                "Write 'rdp' (quick, and for every sampling) or 'pld' (tighter, and slow).",
            )

    def plus(self, release: Release, times: int = 1, who: Iterable[str] | None = None) -> Ledger:
        """This ledger with one more release, for all clients or for those named."""
        if who is None:
            return replace(self, secret={**self.secret, release: self.secret.get(release, 0) + times})
        added = {name: _and(self.clients.get(name, {}), release, times) for name in who}
        return replace(self, clients={**self.clients, **added})

    def without(self, why: str) -> Ledger:
        """This ledger with something in it that nothing bounds."""
        return replace(self, why=self.why or why)

    def worst(self, delta: float) -> dict[Release, int]:
        """The releases that count for the client that has given away most, at δ."""
        histories = list({frozenset(own.items()): own for own in self.clients.values()}.values())
        gaussian = all(release.gaussian for own in histories for release in own)

        def cost(own: Mapping[Release, int]) -> float:
            if gaussian:  # their 1/z² add up to that of one Gaussian
                return sum(times / release.gaussian**2 for release, times in own.items())
            return _by_divergence(own, delta)

        own = max(histories, key=cost) if len(histories) > 1 else histories[0] if histories else {}
        total = dict(self.secret)
        for release, times in own.items():
            total[release] = total.get(release, 0) + times
        return total

    def epsilon(self, delta: float) -> float | None:
        """ε at δ for each unit; None where there is no bound, and `guarantee` says why."""
        return self.guarantee(delta).epsilon

    def guarantee(self, delta: float) -> Guarantee:
        """What all releases together promise each unit."""
        _check_delta(delta)
        say = partial(Guarantee, delta=delta, unit=self.unit, named=self.named)
        why, known = self.why, bool(self.secret or self.clients)
        if not why and known and find_spec("dp_accounting") is None:
            why = MISSING
        if why:
            return say(None, why=why)
        releases = self.worst(delta)
        relations = {release.relation for release in releases}
        neighbours = NEIGHBOURS[max(relations, default="all", key=list(NEIGHBOURS).index)]
        if self.unit == "example":  # clipped to nothing, as far as sums and samples can tell
            neighbours = EXAMPLE
        if "uniform" in relations and len(relations) > 1:
            return Guarantee(
                None, delta, unit=self.unit, why="its rounds were sampled in ways whose guarantees do not add up"
            )
        if not releases:
            return say(0.0, neighbours=neighbours)
        gaussian = all(release.gaussian for release in releases)
        pld = self.accountant == "pld" and "uniform" not in relations and gaussian  # it knows no others
        found = _by_loss(releases, delta) if pld else _by_divergence(releases, delta)
        if math.isfinite(found):
            return say(found, neighbours=neighbours)
        return say(None, why="so little noise gives no finite ε")


@dataclass(frozen=True)
class Budget:
    """The most that a run may give away about a client: ε at δ. A run with a budget ends before it is passed."""

    epsilon: float
    delta: float = 1e-6

    def __post_init__(self) -> None:
        _check_delta(self.delta)
        if not number(self.epsilon) or not 0 < self.epsilon < math.inf:
            raise PlanError(
                f"Budget(epsilon={self.epsilon!r}) bounds nothing.",
                "ε is positive: at 0 nothing could be learnt, and without a bound there is no budget.",
                "Write for example Budget(epsilon=4.0, delta=1e-6).",
            )

    def allows(self, ledger: Ledger) -> bool:
        """Is ε within the budget? What has no ε is not."""
        epsilon = ledger.epsilon(self.delta)
        return epsilon is not None and epsilon <= self.epsilon


def usual_delta(population: int) -> float:
    """δ where nobody names one: 1/N^1.1 for N clients (Ponomareva et al. 2023, §5.3), and at most 10⁻⁵."""
    return float(min(1e-5, max(population, 1) ** -1.1))


def calibrate(budget: Budget, release: Release, rounds: int, accountant: Literal["rdp", "pld"] = "rdp") -> float:
    """The least noise multiplier z, to four digits, with which `rounds` releases stay within the budget.

    `release` says the sampling; its noise does not count. ε falls as z grows, so halving an interval finds it.
    """
    if find_spec("dp_accounting") is None:
        raise PlanError("The noise cannot be calibrated.", f"{MISSING[0].upper()}{MISSING[1:].split(': ')[0]}.",
                        "Install it: pip install 'hansa[privacy]'.")  # fmt: skip
    if not isinstance(rounds, int) or rounds < 1:
        raise PlanError(f"{rounds!r} rounds need no noise.", "It counts rounds.", "Write for example rounds=200.")

    def enough(z: float) -> bool:
        return budget.allows(Ledger(accountant=accountant).plus(replace(release, noise=z), rounds))

    high = 1.0
    while not enough(high):
        high *= 2
        if high > LARGEST:
            raise PlanError(
                f"No noise keeps {rounds} rounds within ε = {budget.epsilon:g} at δ = {budget.delta:g}.",
                f"Not even a multiplier of {LARGEST:g} does, by this accountant.",
                "Allow a larger ε or δ.",
            )
    low = high / 2
    while low > 1e-3 and enough(low):
        low, high = low / 2, low
    while high / low > 1 + 1e-5:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    unit = 10.0 ** (math.floor(math.log10(high)) - 3)
    return float(f"{math.ceil(high / unit) * unit:.4g}")


def _and(own: Mapping[Release, int], release: Release, times: int) -> dict[Release, int]:
    for held in own:
        if both := held.beside(release):
            return {both if one is held else one: many for one, many in own.items()}
    return {**own, release: own.get(release, 0) + times}


def _by_divergence(releases: Mapping[Release, int], delta: float) -> float:
    from dp_accounting.rdp import compute_epsilon
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    curve = sum(times * _curve(release) for release, times in releases.items())
    found = float(compute_epsilon(DEFAULT_RDP_ORDERS, curve, delta)[0])
    pure = {release: times for release, times in releases.items() if release.kind == "laplace"}
    if not pure:
        return found
    rest = {release: times for release, times in releases.items() if release not in pure}
    added = sum(times / release.noise for release, times in pure.items())  # their ε hold at δ = 0, and add up
    return min(found, added + (_by_divergence(rest, delta) if rest else 0.0))


def _by_loss(releases: Mapping[Release, int], delta: float) -> float:
    from dp_accounting.pld import PLDAccountant

    total = PLDAccountant()
    for release, times in releases.items():
        total.compose(release.event(), times)
    return float(total.get_epsilon(delta))


@lru_cache(4096)
def _curve(release: Release) -> NDArray[np.float64]:
    """The Rényi divergence of one release at each order; a fixed-size sample takes a tenth of a second."""
    from dp_accounting.privacy_accountant import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    orders = np.array(DEFAULT_RDP_ORDERS, np.float64)
    if release.kind == "laplace":
        return laplace(orders, release.noise)
    if not release.gaussian:
        bound = skellam if release.kind == "skellam" else discrete_gaussian
        curve = sum(bound(orders, *part, release.draws) for part in release.parts)  # blocks have noise of their own
        return np.where((orders == np.floor(orders)) & (orders >= 2), curve, np.inf)
    uniform = release.relation == "uniform"
    one = RdpAccountant(
        neighboring_relation=NeighboringRelation.REPLACE_ONE if uniform else NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    warnings = logging.getLogger("absl")
    said, warnings.disabled = (
        warnings.disabled,
        True,
    )  # of orders that do not converge; it leaves them out, as it should
    try:
        one.compose(release.event())
    finally:
        warnings.disabled = said
    return np.asarray(one._rdp, np.float64)


def laplace(orders: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Rényi divergence of Laplace noise:  log(α/(2α − 1)·e^((α − 1)ε) + (α − 1)/(2α − 1)·e^(−αε)) / (α − 1),  ε = 1/z.

    For one number, and an upper bound for many: it is convex in ε and 0 at 0, so that a change that is spread over many
    numbers gives no more away than all of it in one.   (Mironov 2017, Prop. 6)
    """
    high = np.log(orders / (2 * orders - 1)) + (orders - 1) / noise
    low = np.log((orders - 1) / (2 * orders - 1)) - orders / noise
    return np.asarray(np.logaddexp(high, low) / (orders - 1))


def skellam(orders: NDArray[np.float64], size: int, bound: float, sigma: float, draws: int = 1) -> NDArray[np.float64]:
    """Rényi divergence of Skellam noise, at whole orders α:  αΔ₂²/2μ + min(((2α − 1)Δ₂² + 6Δ₁) / 4μ², 3Δ₁ / 2μ).

    μ = draws·σ², Δ₂ = `bound`, and for integers Δ₁ ≤ min(√d·Δ₂, Δ₂²).   (Agarwal et al. 2021, Thm 3.5)
    """
    mu, first = draws * sigma**2, min(math.sqrt(size) * bound, bound**2)
    extra = np.minimum(((2 * orders - 1) * bound**2 + 6 * first) / (4 * mu**2), 3 * first / (2 * mu))
    return np.asarray(orders * bound**2 / (2 * mu) + extra)


def discrete_gaussian(
    orders: NDArray[np.float64], size: int, bound: float, sigma: float, draws: int = 1
) -> NDArray[np.float64]:
    """Rényi divergence of a sum of n = `draws` discrete Gaussians, each of σ, with D = Δ / (√n·σ) and d = `size`:

        min(α/2·D₂² + τd,  α/2·(D₂² + 2D₁τ + τ²d),  α/2·(D₂ + √d·τ)²),    τ = 10 Σₖ₌₁ⁿ⁻¹ exp(−2π²σ²k/(k + 1))

    One draw has τ = 0: the divergence of a Gaussian.   (Kairouz et al. 2021, Thm 1)
    """
    k = np.arange(1, draws)
    tau = 10 * float(np.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)).sum())
    whole = math.sqrt(draws) * sigma
    first, second = min(math.sqrt(size) * bound, bound**2) / whole, bound / whole
    return np.asarray(
        np.minimum(
            orders / 2 * second**2 + tau * size,
            orders / 2 * min(second**2 + 2 * first * tau + tau**2 * size, (second + math.sqrt(size) * tau) ** 2),
        )
    )


def _check_delta(delta: float) -> None:
    if not number(delta) or not 0 < delta < 1:
        raise PlanError(
            f"δ = {delta!r} is no probability that a guarantee may fail with.",
            "It lies between 0 and 1, well below one in the number of clients.",
            "Write for example delta=1e-6.",
        )
