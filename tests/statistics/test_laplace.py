"""Laplace noise has its exact distribution, whoever draws it, and gives away what the ledger says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import rdp

from hansa import (
    Client,
    Clip,
    Everyone,
    GaussianNoise,
    InProcess,
    LaplaceNoise,
    Plan,
    Poisson,
    Quantize,
    Rotate,
    Softmax,
    Training,
    Weigh,
    synchronous,
)
from hansa.errors import PlanError
from hansa.messages import SessionId
from hansa.plan.server import decoder
from hansa.privacy import planned_privacy, spent_privacy
from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.rand import Key
from hansa.sums import Total
from hansa.transforms.curves import Gaussian, Laplace, laplace
from hansa.transforms.noise import SIDE_SHARE

KEY = Key.of(0)  # a secret that repeats

QUIET = Training(report=False)
MODEL = Softmax(49, 4)  # 200 numbers


def plan(noise: Any, *more: Any, **other: Any) -> Plan:
    pipe = (Clip(2.0, side=5.0), Weigh("one"), noise, *more)
    return Plan(MODEL, **{"pipe": pipe, "sample": Everyone(quorum=getattr(noise, "least", 1)), **other})


def noise_on_sums(p: Plan, n: int, rounds: int) -> Any:
    """[rounds, size] of n clients who say zero, in the units of the sum."""
    found = []
    for r in range(rounds):
        total, memo = Total(), p.pipeline.start()
        for i in range(n):
            at = p.context(r, SessionId(number=r), f"c{i}", memo=memo, secret=KEY)
            total.add(p.pipeline.encode(np.zeros(p.spec.size), at)[0])
        found.append(
            n
            * decoder(p, p.context(r, SessionId(number=r), n=n, population=n, memo=memo, secret=KEY))(total.value(), n)[
                0
            ]
        )
    return np.array(found)


def far(draws: Any, scale: float) -> float:
    """How far apart, at most, the shares of draws and of Laplace(scale) below any number are, in 1/√n."""
    x = np.sort(draws.ravel()) / scale
    below = np.where(x < 0, np.exp(np.minimum(x, 0)) / 2, 1 - np.exp(-np.maximum(x, 0)) / 2)
    participants = np.arange(1, x.size + 1) / x.size
    return float(
        max(np.abs(participants - below).max(), np.abs(participants - 1 / x.size - below).max()) * math.sqrt(x.size)
    )


KOLMOGOROV = math.sqrt(-math.log(1e-6 / 2) / 2)  # passed once in 10⁶ cases

WHO: list[tuple[dict[str, Any], int]] = [({}, 1), ({}, 6), ({"by": "all", "least": 6}, 6), ({"by": "each"}, 1)]


@pytest.mark.parametrize("who, n", WHO, ids=str)
def test_the_noise_on_the_sum_is_laplace(who: dict[str, Any], n: int) -> None:
    """bₖ = z·√d·C/s, though by all each draws something else."""
    found = noise_on_sums(plan(LaplaceNoise(0.7, **who)), n, 100)
    delta, loss = found[:, :200], found[:, 200:]
    b = 0.7 * math.sqrt(200) * 2.0 / (1 - SIDE_SHARE)
    assert far(delta, b) < KOLMOGOROV < far(delta, 1.2 * b)
    assert far(loss, 0.7 * 5.0 / SIDE_SHARE) < KOLMOGOROV
    kurtosis = float(np.mean(delta**4) / np.mean(delta**2) ** 2)
    assert kurtosis == pytest.approx(6.0, abs=1.2)


def test_more_hands_make_more_noise_and_one_share_is_little() -> None:
    noise = LaplaceNoise(1.0, by="all", least=5)
    whole = 2 * (math.sqrt(200) * 2.0) ** 2  # variance of Laplace(b)
    for n in (1, 5, 15):
        found = noise_on_sums(plan(noise, training=QUIET), n, 200)
        assert found.var() == pytest.approx(n / 5 * whole, rel=0.12)


def test_clients_rounds_and_numbers_are_independent() -> None:
    p, zero = plan(LaplaceNoise(1.0, by="each"), training=QUIET), np.zeros(200)

    def said(r: int, who: str) -> Any:
        at = p.context(r, SessionId(number=r), who, memo=p.pipeline.start(), secret=KEY)
        return p.pipeline.encode(zero, at)[0]

    np.testing.assert_array_equal(said(0, "anna"), said(0, "anna"))
    for draws in ([said(0, f"c{i}") for i in range(40)], [said(r, "anna") for r in range(40)]):
        for matrix in (np.stack(draws), np.stack(draws)[:, :40].T, np.abs(draws)):
            apart = np.corrcoef(matrix)[np.triu_indices(len(matrix), 1)]
            assert np.abs(apart).max() < 6.5 / math.sqrt(matrix.shape[1])
            assert abs(apart.mean()) < 5 / math.sqrt(len(apart) * matrix.shape[1])


def test_it_covers_what_comes_after_it() -> None:
    """Rotation pads 200 numbers to 256, and rounding lengthens: the noise is for both."""
    p = plan(LaplaceNoise(1.0), Quantize(6), training=QUIET)
    b = math.sqrt(200) * p.encoded_spec.bounds["delta"]
    assert p.encoded_spec.bounds["delta"] > 2.05 and far(noise_on_sums(p, 1, 100), b) < KOLMOGOROV
    pipe = (Clip(2.0), Weigh("one"), Rotate(), LaplaceNoise(1.0))
    assert Plan(MODEL, pipe=pipe, training=QUIET).pipeline.specs[3].blocks == {"delta": 256}


# ── what it is worth ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("z", [0.3, 1.0, 5.0, 60.0])
@pytest.mark.parametrize("rounds", [1, 20, 500])
def test_it_is_the_number_of_dp_accounting_or_the_pure_one(z: float, rounds: int) -> None:
    event = dp.SelfComposedDpEvent(dp.LaplaceDpEvent(z), rounds)
    wanted = min(rounds / z, float(rdp.RdpAccountant().compose(event).get_epsilon(1e-6)))
    found = Ledger().plus(Release(Laplace(z)), rounds).epsilon(1e-6)
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.promise("P41")
def test_one_round_has_epsilon_one_over_z_at_any_delta() -> None:
    p = plan(LaplaceNoise(2.0), rounds=1)
    for delta in (1e-3, 1e-9, 1e-100):
        found = planned_privacy(p).epsilon(delta)
        assert found is not None and found <= 0.5 + 1e-12
    assert planned_privacy(p).epsilon(1e-100) == pytest.approx(0.5)


def test_with_gaussian_rounds_the_pure_part_is_added() -> None:
    both = Ledger().plus(Release(Gaussian(4.0))).plus(Release(Laplace(50.0)))
    alone = Ledger().plus(Release(Gaussian(4.0))).epsilon(1e-6)
    assert alone is not None and alone < (both.epsilon(1e-6) or math.inf) <= alone + 0.02 + 1e-12


def test_a_change_of_many_numbers_gives_no_more_away_than_that_of_one() -> None:
    """R(ε₁) + R(ε₂) ≤ R(ε₁ + ε₂), measured against the divergence of two Laplace distributions on a grid."""
    orders, x = np.array([1.5, 2.0, 8.0, 64.0]), np.linspace(-60, 60, 400_001)
    for z in (0.5, 2.0, 10.0):
        for order, most in zip(orders, laplace(orders, z), strict=True):
            log_p, log_q = -np.abs(x) - math.log(2), -np.abs(x - 1 / z) - math.log(2)
            integral = np.logaddexp.reduce(order * log_p + (1 - order) * log_q) + math.log(x[1] - x[0])
            assert most == pytest.approx(integral / (order - 1), rel=1e-3, abs=1e-6)
        for parts in (2, 10, 1000):
            assert (parts * laplace(orders, z * parts) <= laplace(orders, z) * (1 + 1e-9)).all()


@pytest.mark.promise("P28")
def test_too_few_hands_leave_no_number() -> None:
    """What less than `least` shares add up to is no Laplace noise, and nothing is known of it."""
    p = plan(LaplaceNoise(2.0, by="all", least=5), training=QUIET)
    whole, few = (replace(p.start(), participants=tuple(f"c{i}" for i in range(n))) for n in (7, 3))
    assert spent_privacy(p, [whole]).epsilon(1e-6) == planned_privacy(p, rounds=1).epsilon(1e-6)
    told = spent_privacy(p, [whole, few]).guarantee(1e-6)
    assert told.epsilon is None and "3 clients drew noise" in told.why


def test_samples_do_not_amplify_it_and_a_mean_is_over_those_who_came() -> None:
    p = plan(LaplaceNoise(2.0), sample=Poisson(0.1))
    assert planned_privacy(p, 100).epsilon(1e-6) == planned_privacy(plan(LaplaceNoise(2.0))).epsilon(1e-6)
    assert p.encoded_spec.noise.share == 0.0


def test_a_federation_learns_with_it() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=3)
    data = {f"c{i}": (X, (X @ w > 0).astype(int)) for i, X in enumerate(rng.normal(size=(60, 30, 3)))}
    pipe = (Clip(1.0), Weigh("one"), LaplaceNoise(1.0))
    p = Plan(Softmax(3, 2), pipe=pipe, training=Training(learning_rate=1.0, report=False))
    states = list(synchronous(p, InProcess([Client(who, p, own) for who, own in data.items()])))
    X = rng.normal(size=(500, 3))
    assert p.model.score(states[-1].x, (X, (X @ w > 0).astype(int)))["accuracy"] > 0.8
    assert spent_privacy(p, states).epsilon(1e-6) == planned_privacy(p).epsilon(1e-6)


@pytest.mark.promise("P42")
@pytest.mark.parametrize(
    "pipe",
    [
        (Weigh("one"), LaplaceNoise(1.0)),
        (Clip(1.0), Weigh("examples"), LaplaceNoise(1.0)),
        (Clip(1.0), LaplaceNoise(1.0), Weigh("one")),
        (Clip(1.0), Weigh("one"), Quantize(16), LaplaceNoise(1.0)),
        (Clip(1.0), Weigh("one"), LaplaceNoise(1.0), GaussianNoise(1.0)),
        (Clip(1.0), Weigh("one"), LaplaceNoise(0.0)),
        (Clip(1.0), Weigh("one"), LaplaceNoise(1.0, by="me")),  # type: ignore[arg-type]
        (Clip(1.0), Weigh("one"), LaplaceNoise(1.0, least=3)),
        (Clip(1.0), Weigh("one"), LaplaceNoise(1.0, by="all", least=3)),
    ],
    ids=str,
)
def test_wrong_plans_fail_when_they_are_built(pipe: Any) -> None:
    with pytest.raises(PlanError) as caught:
        Plan(MODEL, pipe=pipe, training=QUIET)
    assert caught.value.found and caught.value.why and caught.value.instead
