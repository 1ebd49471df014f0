"""What noise on a sum gives away: values that the classes of noise state of themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, number
from ..known import ours, own

Orders = NDArray[np.float64]
Part = tuple[int, float, float]  # of noise in whole numbers: a block's size, its bound, σ of a draw


@dataclass(frozen=True)
class Mechanism:
    """What noise on one sum gives away about a client that is in it, or not: its privacy curve.

    Noise states it by `privacy(spec, n)`. A subclass is a frozen value with `divergence`; equal
    values are equal statements.
    """

    def divergence(self, orders: Orders) -> Orders:
        """The Rényi divergence at each order α > 1 between the sum with the client and without,
        whichever way round is larger (Mironov 2017, Def. 4); infinite where no bound is known.
        """
        raise TypeError(f"{type(self).__name__} does not say what it gives away")

    @property
    def gaussian(self) -> float:
        """The multiplier of the Gaussian noise that gives as much away; 0 where there is none."""
        return 0.0

    @property
    def pure(self) -> float:
        """Its ε at δ = 0; infinite where there is none."""
        return math.inf

    def during(self, *rounds: int) -> Mechanism:
        """The same for a client in these rounds (0 for the first), where rounds hang together."""
        return self

    def beside(self, other: Mechanism) -> Mechanism | None:
        """Both at once, where both are parts of one release over many rounds."""
        return None


@dataclass(frozen=True)
class Gaussian(Mechanism):
    """Gaussian noise of σ = z·C on what one client changes by C:  α / 2z²,  z = `noise` (Mironov
    2017, Prop. 7).
    """

    noise: float

    def __post_init__(self) -> None:
        _check_multiplier(self, self.noise)

    def divergence(self, orders: Orders) -> Orders:
        """α / 2z²."""
        return orders / (2 * self.noise**2)

    @property
    def gaussian(self) -> float:
        """z."""
        return self.noise


@dataclass(frozen=True)
class Laplace(Mechanism):
    """Laplace noise of scale z over what one client changes in Σ|v|:  ε = 1/z at δ = 0."""

    noise: float

    def __post_init__(self) -> None:
        _check_multiplier(self, self.noise)

    def divergence(self, orders: Orders) -> Orders:
        """See `laplace`."""
        return laplace(orders, self.noise)

    @property
    def pure(self) -> float:
        """1/z."""
        return 1 / self.noise


@dataclass(frozen=True)
class Skellam(Mechanism):
    """Skellam noise: `draws` of it in the sum; blocks have noise of their own, so they add up."""

    parts: tuple[Part, ...]
    draws: int = 1

    def __post_init__(self) -> None:
        _check_parts(self, self.parts, self.draws)

    def divergence(self, orders: Orders) -> Orders:
        """See `skellam`."""
        return _whole(orders, sum(skellam(orders, *part, self.draws) for part in self.parts))


@dataclass(frozen=True)
class DiscreteGaussian(Mechanism):
    """Discrete Gaussian noise: `draws` of it in the sum; blocks have noise of their own, so they
    add up.
    """

    parts: tuple[Part, ...]
    draws: int = 1

    def __post_init__(self) -> None:
        _check_parts(self, self.parts, self.draws)

    def divergence(self, orders: Orders) -> Orders:
        """See `discrete_gaussian`."""
        added = sum(discrete_gaussian(orders, *part, self.draws) for part in self.parts)
        return _whole(orders, added)


@dataclass(frozen=True)
class _Bare:
    """Nothing but what Python and dataclass write into every class."""

    nothing: int


GENERATED = frozenset(vars(_Bare))


def stating(piece: Any) -> type | None:
    """The class whose statement of what this noise gives away holds for it; None where none does.

    That is the class itself where it is hansa's own. A stranger's must state it in a class that is
    not hansa's, and have all else as that class has it: who states is who draws, and nobody
    inherits a statement about draws that are no longer those.
    """
    kind = type(piece)
    if own(piece):
        return kind
    stated = next(one for one in kind.__mro__ if one is object or "privacy" in vars(one))
    if stated is object or ours(stated):
        return None
    rest = {*dir(kind)} - GENERATED
    same = all(getattr_static(kind, name) is getattr_static(stated, name, None) for name in rest)
    if not same:
        return None
    return stated


def fault(mechanism: Any) -> str:
    """Why this is no privacy curve, if so."""
    if not isinstance(mechanism, Mechanism):
        return "it is no Mechanism"
    orders = np.array([1.25, 2.0, 8.0, 64.0])
    try:
        hash(mechanism)
        found = np.asarray(mechanism.during(0).divergence(orders), np.float64)
    except Exception as error:  # a stranger's code may raise anything
        return f"it raises {type(error).__name__}"
    if found.shape != orders.shape:
        return "it does not give one number for each order"
    if not (found >= 0).all() or (np.diff(found[np.isfinite(found)]) < 0).any():
        return "a divergence is no number below zero, and does not fall with its order"
    return ""


def laplace(orders: Orders, noise: float) -> Orders:
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


def _whole(orders: Orders, added: Any) -> Orders:
    """The bounds of noise in whole numbers are proven for whole orders."""
    return np.where((orders == np.floor(orders)) & (orders >= 2), added, np.inf)


def _check_multiplier(mechanism: Mechanism, noise: float) -> None:
    if not number(noise) or not 0 < noise < math.inf:
        raise PlanError(
            f"{mechanism!r} cannot be accounted for.",
            "A noise multiplier is positive.",
            f"Write for example {type(mechanism).__name__}(1.0).",
        )


def _check_parts(mechanism: Mechanism, parts: tuple[Part, ...], draws: int) -> None:
    if not parts or draws < 1:
        raise PlanError(
            f"{mechanism!r} cannot be accounted for.",
            "Noise in whole numbers is accounted for by its parts, and by one draw or more.",
            f"Write for example {type(mechanism).__name__}(((100, 20.0, 40.0),)).",
        )
