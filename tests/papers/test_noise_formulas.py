"""ε of a run from the formulas of the papers, written out for one order at a time, with no line of the ledger's."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, pld, rdp
from scipy import special

from hansa import (
    Clip,
    CorrelatedNoise,
    DiscreteGaussianNoise,
    Everyone,
    InTurn,
    Plan,
    Quantize,
    SkellamNoise,
    Softmax,
    Training,
    Weigh,
)
from hansa.privacy import planned_privacy
from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.transforms.curves import DiscreteGaussian, Skellam

DELTA = 1e-6
ORDERS = [*range(2, 64), 128, 256, 512, 1024]  # the whole ones that dp-accounting tries


def epsilon(curve: Callable[[int], float]) -> float:
    """min over α of R(α) + log(1 − 1/α) − log(αδ)/(α − 1).   (Canonne, Kamath and Steinke 2020, Prop. 12)"""
    return max(0.0, min(curve(a) + math.log1p(-1 / a) - math.log(a * DELTA) / (a - 1) for a in ORDERS))


# ── noise in whole numbers ───────────────────────────────────────────────────────────────────────────────────────────


def skellam(a: int, d: int, two: float, variance: float) -> float:
    """Agarwal, Kairouz and Liu 2021, Thm 3.5, with Δ₁ ≤ min(√d·Δ₂, Δ₂²) for vectors of integers."""
    one = min(math.sqrt(d) * two, two**2)
    first = ((2 * a - 1) * two**2 + 6 * one) / (4 * variance**2)
    return a * two**2 / (2 * variance) + min(first, 3 * one / (2 * variance))


def discrete_gaussian(a: int, d: int, two: float, sigma: float, draws: int) -> float:
    """Kairouz, Liu and Steinke 2021, Thm 1, the three bounds on ε² of concentrated privacy, R(α) = α·ε²/2."""
    one = min(math.sqrt(d) * two, two**2)
    tau = 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, draws))
    ratio = two**2 / (draws * sigma**2)
    squares = (
        ratio + 2 * tau * d / a,  # this one is additive: R(α) = α·Δ²/2nσ² + τd
        ratio + 2 * one * tau / (math.sqrt(draws) * sigma) + tau**2 * d,
        (two / (math.sqrt(draws) * sigma) + tau * math.sqrt(d)) ** 2,
    )
    return a * min(squares) / 2


WHO: list[dict[str, Any]] = [{}, {"by": "each"}, {"by": "all", "least": 30}]


@pytest.mark.parametrize("kind", [SkellamNoise, DiscreteGaussianNoise])
@pytest.mark.parametrize("z, bits, who, rounds", list(product((0.8, 3.0), (6, 16), WHO, (1, 40))))
def test_noise_in_whole_numbers(kind: Any, z: float, bits: int, who: dict[str, Any], rounds: int) -> None:
    noise = kind(z, **who)
    pipe = (Clip(2.0), Weigh("one"), Quantize(bits), noise)
    plan = Plan(Softmax(9, 5), pipe=pipe, training=Training(report=False), sample=Everyone(quorum=noise.least))
    encoded = plan.encoded_spec.sum_facts
    two = encoded.bounds["delta"] / encoded.noise.step["delta"]  # what one client changes, in steps
    sigma = z * two / math.sqrt(noise.least)  # of one draw
    bound = {
        SkellamNoise: lambda a: rounds * skellam(a, 50, two, noise.least * sigma**2),
        DiscreteGaussianNoise: lambda a: rounds * discrete_gaussian(a, 50, two, sigma, noise.least),
    }[kind]
    assert two > 2.0 and plan.spec.blocks == {"delta": 50}
    assert planned_privacy(plan, rounds=rounds).epsilon(DELTA) == pytest.approx(epsilon(bound), abs=1e-6)


@pytest.mark.parametrize("sigma, shift, rounds", list(product((4.0, 25.0), (1, 5), (1, 20))))
def test_one_discrete_gaussian_by_its_privacy_losses(sigma: float, shift: int, rounds: int) -> None:
    """dp-accounting knows the losses of a single number; Rényi's way is an upper bound, and not far off."""
    release = Release(DiscreteGaussian(((1, shift, sigma),)))
    found = Ledger().plus(release, rounds).epsilon(DELTA)
    losses = pld.privacy_loss_distribution.from_discrete_gaussian_mechanism(sigma, shift)
    true = losses.self_compose(rounds).get_epsilon_for_delta(DELTA)
    assert found is not None and true <= found <= 1.2 * true


@pytest.mark.parametrize("sigma, shift, rounds", list(product((4.0, 25.0), (1, 5), (1, 20))))
def test_one_skellam_number_by_its_exact_divergence(sigma: float, shift: int, rounds: int) -> None:
    """Σ pₖ^α pₖ₋ₛ^(1−α) with pₖ = e^(−σ²) Iₖ(σ²)."""
    release = Release(Skellam(((1, shift, sigma),)))
    k = np.arange(-int(30 * sigma), int(30 * sigma) + 1)
    with np.errstate(divide="ignore"):
        there, back = (np.log(special.ive(abs(k - s), sigma**2)) for s in (0, shift))
    kept = np.isfinite(there) & np.isfinite(back)

    def exact(a: int) -> float:
        return rounds * float(np.logaddexp.reduce(a * there[kept] + (1 - a) * back[kept])) / (a - 1)

    true, found = epsilon(exact), Ledger().plus(release, rounds).epsilon(DELTA)
    assert found is not None and true <= found <= (1.05 if sigma > 20 else 1.3) * true


# ── noise that is correlated over rounds ─────────────────────────────────────────────────────────────────────────────

TURNS = list(product((4, 24), (1, 3), (1, 2, 5)))  # rounds, separation, bands


@pytest.mark.parametrize("rounds, separation, bands", TURNS)
def test_all_rounds_are_one_gaussian_release(rounds: int, separation: int, bands: int) -> None:
    """z of CorrelatedNoise is the noise over all that a client moves in the run, whatever the matrix.

    With half as many clients each comes twice as often; then the matrix counts: σ = z·‖Σ of columns r, r + s, …‖.
    """
    noise = CorrelatedNoise(1.3, separation, bands)
    pipe = (Clip(2.0), Weigh("one"), noise)
    plan = Plan(Softmax(3, 2), pipe=pipe, training=Training(report=False), sample=InTurn(10), rounds=rounds)
    assert planned_privacy(plan, 10 * separation).epsilon(DELTA) == pytest.approx(gaussian(1.3), abs=1e-6)
    e = [1.0]
    for j in range(1, min(bands, rounds)):
        e.append(e[-1] * (j - 1.5) / j)
    inverse = np.array([[e[i - j] if 0 <= i - j < len(e) else 0.0 for j in range(rounds)] for i in range(rounds)])
    C = np.linalg.inv(inverse)
    made_for, in_all = (np.linalg.norm(C[:, ::s].sum(1)) for s in (separation, 1))
    assert planned_privacy(plan, 10).epsilon(DELTA) == pytest.approx(gaussian(1.3 * made_for / in_all), abs=1e-6)


def gaussian(z: float) -> float:
    """One release, by dp-accounting."""
    return float(rdp.RdpAccountant().compose(GaussianDpEvent(z)).get_epsilon(DELTA))
