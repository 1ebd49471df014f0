"""Noise in whole numbers has its exact probabilities, the variance that the plan says, and no correlation.

χ² of k cells is about N(k, 2k): a sampler that is right stays below k + 5√(2k) in all but one of 10⁶ cases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hansa import (
    AdaptiveClip,
    Client,
    Clip,
    DiscreteGaussianNoise,
    Everyone,
    Finite,
    GaussianNoise,
    InProcess,
    Key,
    Median,
    Plan,
    Poisson,
    Quantize,
    SkellamNoise,
    Softmax,
    Sum,
    Training,
    Weigh,
    synchronous,
)
from hansa.errors import PlanError
from hansa.messages import SessionId
from hansa.plan.server import decoder
from hansa.privacy import planned_privacy, spent_privacy
from hansa.spec import Noise, Spec
from hansa.sums import Total
from hansa.transforms import discrete
from hansa.transforms.curves import discrete_gaussian, skellam
from hansa.transforms.noise import SIDE_SHARE

KEY = Key.of(0)  # a secret that repeats

KINDS = (SkellamNoise, DiscreteGaussianNoise)
SIGMAS = (0.4, 1.0, 3.3, 40.0)
REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "dp"


def probabilities(kind: Any, sigma: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values, and the exact probability of each."""
    x = np.arange(-math.ceil(12 * sigma + 12), math.ceil(12 * sigma + 12) + 1)
    if kind is SkellamNoise:
        from scipy import special

        return x, special.ive(np.abs(x), sigma**2)
    p = np.exp(-(x**2) / (2 * sigma**2))
    return x, p / p.sum()


def fits(draws: NDArray[Any], x: NDArray[Any], p: NDArray[Any]) -> bool:
    """Pearson's test, with cells of less than ten expected draws put together on either side."""
    wide = p * len(draws) >= 10
    low, high = x[wide].min(), x[wide].max()
    participants = np.array(
        [
            (draws < low).sum(),
            *(np.bincount(draws[(draws >= low) & (draws <= high)] - low, minlength=wide.sum())),
            (draws > high).sum(),
        ]
    )
    want = np.array([p[x < low].sum(), *p[wide], p[x > high].sum()]) * len(draws)
    use = want > 1e-3
    chi, cells = float(((participants - want)[use] ** 2 / want[use]).sum()), int(use.sum())
    return chi < cells + 5 * math.sqrt(2 * cells) + 10 and not participants[~use].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_exact_probabilities(kind: Any, sigma: float) -> None:
    x, p = probabilities(kind, sigma)
    draws = kind(1.0).draw(sigma, 200_000, Key.of(5))
    assert draws.dtype == np.int64 and draws.shape == (200_000,)
    assert fits(draws, x, p)
    assert not fits(draws, *probabilities(kind, 1.05 * sigma))  # five per cent more would have been noticed


def test_decisions_on_more_bits_have_the_same_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where 53 bits leave a decision open, 128 more and exact fractions make it; here they make all of them."""
    usual = DiscreteGaussianNoise(1.0).draw(2.5, 300, Key.of(6))
    monkeypatch.setattr(discrete, "NEAR", 2.0)
    draws = DiscreteGaussianNoise(1.0).draw(2.5, 4000, Key.of(6))
    assert fits(draws, *probabilities(DiscreteGaussianNoise, 2.5)) and len(usual) == 300


@pytest.mark.parametrize("sigma", [0.02, 999.0, 1001.0])
def test_skellam_numbers_with_and_without_a_table(sigma: float) -> None:
    """The table ends at σ = 1000; on both sides of its end the probabilities are those of the distribution."""
    draws = SkellamNoise(1.0).draw(sigma, 400_000, Key.of(10))
    if sigma < 1:
        assert fits(draws, *probabilities(SkellamNoise, sigma))
        return
    x, p = probabilities(SkellamNoise, sigma)
    wide = 100  # cells of so many numbers
    cells = [
        np.add.reduceat(both, np.arange(0, len(x), wide)) for both in (p, np.bincount(draws - x[0], minlength=len(x)))
    ]
    use = cells[0] * len(draws) > 10
    chi = float(((cells[1] - cells[0] * len(draws))[use] ** 2 / (cells[0] * len(draws))[use]).sum())
    assert chi < use.sum() + 5 * math.sqrt(2 * use.sum())


def test_tables_hold_exact_probabilities() -> None:
    """Of x ≤ k, to 2⁻¹²⁰: the probabilities are symmetric, and their sums are e^(−μ) Σ Iₖ(μ)."""
    for sigma in (0.3, 3.0, 50.0):
        table = discrete._table(sigma)
        below = [Fraction(bits, 2**128) for bits in table.below]
        assert all(low <= high for low, high in pairwise(below)) and len(below) == 2 * table.n
        for k in (1, 2, table.n // 2):  # Pr[x ≤ −k] + Pr[x ≤ k − 1] = 1
            assert abs(below[table.n - k] + below[table.n + k - 1] - 1) <= Fraction(1, 2**120)
        x, p = probabilities(SkellamNoise, sigma)
        at = np.searchsorted(x, np.arange(-table.n, table.n))
        found = np.array([float(one) for one in below])
        np.testing.assert_allclose(
            found, np.minimum(np.append(p.cumsum(), 1.0)[np.minimum(at, len(p))], 1.0), atol=1e-13
        )


class Script:
    """Random bits that are given."""

    def __init__(self, *bits: Any):
        self.bits = list(bits)

    def integers(self, low: int, high: int, size: int | None = None, dtype: Any = None) -> Any:
        return self.bits.pop(0)


def test_where_64_bits_leave_a_number_open_64_more_decide() -> None:
    table = discrete._table(1.0)
    k = table.n + 2  # Pr[x ≤ 2]
    cut, rest = table.below[k] >> 64, table.below[k] % 2**64
    u = np.full(3, cut, np.uint64)
    drawn = discrete._looked_up(table, 3, Script(u, rest - 1, rest, 2**64 - 1))  # type: ignore[arg-type]
    assert drawn.tolist() == [2, 3, 3]
    u = np.array([cut - 1, cut + 1, 0, 2**64 - 1], np.uint64)
    drawn = discrete._looked_up(table, 4, Script(u, 2**64 - 1, 0))  # type: ignore[arg-type]
    assert drawn[:2].tolist() == [2, 3] and -20 < drawn[2] < -10 and 10 < drawn[3] < 20


@pytest.mark.parametrize("name", ["2.342", "3", "9", "100", "41293847"])
def test_reference_samples_are_of_the_same_distribution(name: str) -> None:
    """Kolmogorov and Smirnov's test of two samples, at one in 10⁵."""
    file = REFERENCE / f"discrete_gauss_{name}.json"
    if not file.is_file():
        pytest.skip("the reference samples of discrete Gaussians are not beside the repository")
    held = json.loads(file.read_text())
    theirs = np.sort(held["samples"])
    ours = np.sort(DiscreteGaussianNoise(1.0).draw(held["std_num"] / held["std_denom"], 20_000, Key.of(7)))
    at = np.concatenate([theirs, ours[::10]])
    apart = np.abs(np.searchsorted(theirs, at, "right") / len(theirs) - np.searchsorted(ours, at, "right") / len(ours))
    assert apart.max() < math.sqrt(-math.log(1e-5 / 2) / 2 * (1 / len(theirs) + 1 / len(ours)))


@pytest.mark.promise("P28")
@pytest.mark.parametrize("kind", KINDS)
def test_sums_of_shares(kind: Any) -> None:
    """Nine shares of variance σ²/9 have σ² together; those of Skellam numbers are Skellam again, exactly."""
    total = sum(kind(1.0).draw(2.0, 100_000, Key.of(8).child(i)) for i in range(9))
    assert total.var() == pytest.approx(36.0, rel=5 * math.sqrt(2 / 100_000) + 1e-3)
    if kind is SkellamNoise:
        assert fits(total, *probabilities(kind, 6.0))


# ── in a plan ────────────────────────────────────────────────────────────────────────────────────────────────────────

ROUNDS, BITS = 30, 12
QUIET = Training(report=False)


def plan(noise: Any, weigh: Any = None, **more: Any) -> Plan:
    pipe = (Clip(2.0, side=5.0), weigh or Weigh("one"), Quantize(BITS), noise)
    return Plan(Softmax(49, 4), **{"pipe": pipe, "sample": Everyone(quorum=noise.least), **more})


def sums(p: Plan, n: int) -> Any:
    """[ROUNDS, size] noise on the sum of n clients who say zero, in the units of the sum as Weigh gets it."""
    spec, pipe, found = p.pipeline.specs[2], p.pipeline, []
    for r in range(ROUNDS):
        total = Total()
        for i in range(n):
            at = p.context(r, SessionId(number=r), f"c{i}", memo=pipe.start(), secret=KEY)
            v = np.zeros(spec.size)
            for step in (2, 3):
                v = pipe.transforms[step].encode(v, pipe._at(step, at))
            total.add(v)
        value, at = total.value(), p.context(r, SessionId(number=r), n=n, memo=pipe.start(), secret=KEY)
        for step in (3, 2):
            value = pipe.transforms[step].decode(value, pipe._at(step, at))
        found.append(value)
    return np.array(found), p.pipeline.specs[2], p.encoded_spec.bounds


WHO: list[tuple[dict[str, Any], int, float]] = [
    ({}, 6, 1.0),
    ({"by": "all", "least": 5}, 5, 1.0),
    ({"by": "all", "least": 5}, 20, 2.0),  # nobody dropped out: more noise, not less
    ({"by": "each"}, 4, 2.0),
]


@pytest.mark.promise("P27")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who, n, times", WHO, ids=lambda value: str(value))
@pytest.mark.parametrize("weigh", [Weigh("one"), Weigh("examples", cap=8)], ids=["one", "examples"])
def test_standard_deviation_of_the_sum(kind: Any, who: dict[str, Any], n: int, times: float, weigh: Any) -> None:
    draws, spec, bounds = sums(plan(kind(0.8, **who), weigh), n)
    for name in spec.blocks:
        share = 1 - SIDE_SHARE if name == "delta" else SIDE_SHARE / len(spec.side)
        block = draws[:, spec.slice(name)]
        slack = 5 / math.sqrt(2 * block.size)
        assert block.std() == pytest.approx(times * 0.8 * bounds[name] / math.sqrt(share), rel=slack)
        assert abs(block.mean()) < 5 * block.std() / math.sqrt(block.size)


@pytest.mark.parametrize("kind", KINDS)
def test_clients_rounds_and_coordinates_are_independent(kind: Any) -> None:
    p = plan(kind(1.0, by="each"), training=QUIET)
    zero = np.zeros(p.encoded_spec.size, np.uint64)

    def said(round: int, who: str) -> Any:
        at = p.context(round, SessionId(number=round), who, memo=p.pipeline.start(), secret=KEY)
        return p.pipe[3].encode(zero, p.pipeline._at(3, at)).view(np.int64).astype(float)

    np.testing.assert_array_equal(said(0, "anna"), said(0, "anna"))
    of_clients = np.stack([said(0, f"c{i}") for i in range(40)])
    of_rounds = np.stack([said(r, "anna") for r in range(40)])
    for draws in (of_clients, of_rounds, of_clients[:, :40].T, of_clients**2, of_rounds**2):
        apart = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
        assert np.abs(apart).max() < 5.5 / math.sqrt(draws.shape[1])
        assert abs(apart.mean()) < 5 / math.sqrt(len(apart) * draws.shape[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", [{}, {"by": "all", "least": 3}, {"by": "each"}])
def test_the_sum_comes_back_with_its_sign(kind: Any, who: dict[str, Any]) -> None:
    """decode(Σ encode(vᵢ)) = Σ vᵢ on average, for negative sums as for positive ones, though all is mod 2⁶⁴."""
    p = plan(kind(0.5, **who), training=QUIET, aggregator=Sum())
    V, found = Key.of(9).normal((6, p.spec.size)) / 20, []
    for r in range(200):
        total = Total()
        for i, v in enumerate(V):
            at = p.context(r, SessionId(number=r), f"c{i}", memo=p.pipeline.start(), secret=KEY)
            total.add(p.pipeline.encode(v, at)[0])
        assert total.value().dtype == np.uint64
        found.append(
            decoder(p, p.context(r, SessionId(number=r), memo=p.pipeline.start(), secret=KEY))(total.value(), 6)[0]
        )
    off = np.array(found) - V.mean(0)
    assert (np.abs(off.mean(0)) < 5 * off.std(0) / math.sqrt(200)).all() and (off.std(0) > 0).all()


def test_a_federation_learns_with_it() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=4)
    data = {f"c{i}": (X, (X @ w > 0).astype(int)) for i, X in enumerate(rng.normal(size=(40, 30, 4)))}
    for kind in KINDS:
        pipe = (Clip(1.0), Weigh("examples", cap=30), Quantize(16), kind(1.0, by="all", least=20))
        p = Plan(
            Softmax(4, 2), pipe=pipe, sample=Everyone(quorum=20), training=Training(learning_rate=1.0, report=False)
        )
        states = list(synchronous(p, InProcess([Client(who, p, own) for who, own in data.items()])))
        X = rng.normal(size=(500, 4))
        assert p.model.score(states[-1].x, (X, (X @ w > 0).astype(int)))["accuracy"] > 0.8
        assert spent_privacy(p, states).epsilon(1e-5) == pytest.approx(planned_privacy(p).epsilon(1e-5) or 0)


# ── what it is worth ─────────────────────────────────────────────────────────────────────────────────────────────────

ORDERS = np.array([2.0, 3.0, 5.0, 8.0, 16.0])


def divergence(p: NDArray[Any], shift: int, order: float) -> float:
    """Rényi's, between a distribution on the integers and itself moved by `shift`."""
    kept = p > 1e-280
    both = kept[shift:] & kept[:-shift]
    a, b = np.log(p[shift:][both]), np.log(p[:-shift][both])
    terms = order * a + (1 - order) * b
    return float(np.logaddexp.reduce(terms) / (order - 1))


@pytest.mark.parametrize("sigma", [1.0, 3.0, 12.0])
@pytest.mark.parametrize("shift", [1, 3])
def test_bounds_are_above_what_one_coordinate_gives_away(sigma: float, shift: int) -> None:
    cases: list[tuple[Callable[..., Any], Any, int]] = [
        (skellam, probabilities(SkellamNoise, sigma)[1], 1),
        (discrete_gaussian, probabilities(DiscreteGaussianNoise, sigma)[1], 1),
    ]
    three = probabilities(DiscreteGaussianNoise, sigma)[1]
    cases.append((discrete_gaussian, np.convolve(np.convolve(three, three), three), 3))
    for bound, p, draws in cases:
        for order, most in zip(ORDERS, bound(ORDERS, 1, shift, sigma, draws), strict=True):
            true = divergence(p, shift, order)
            assert true <= most * (1 + 1e-6)
            if sigma > 10:
                assert most < 1.2 * true


def test_large_noise_is_worth_a_gaussian() -> None:
    gaussian = ORDERS * 100.0**2 / (2 * 400.0**2)
    for bound in (skellam, discrete_gaussian):
        np.testing.assert_allclose(bound(ORDERS, 1000, 100.0, 400.0), gaussian, rtol=2e-2)
        np.testing.assert_allclose(bound(ORDERS, 1000, 100.0, 40.0, 100), gaussian, rtol=2e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_epsilon_is_close_to_that_of_gaussian_noise(kind: Any) -> None:
    real = Plan(Softmax(49, 4), pipe=(Clip(2.0, side=5.0), Weigh("one"), GaussianNoise(4.0)))
    for who in ({}, {"by": "each"}, {"by": "all", "least": 10}):
        noise = kind(4.0, **who)
        pipe = (Clip(2.0, side=5.0), Weigh("one"), Quantize(16), noise)
        p = Plan(Softmax(49, 4), pipe=pipe, sample=Everyone(quorum=noise.least))
        found, ideal = planned_privacy(p).epsilon(1e-6), planned_privacy(real).epsilon(1e-6)
        assert found is not None and ideal is not None and 0.99 * ideal < found < 1.05 * ideal
        few = [p.start()]
        assert spent_privacy(p, few).epsilon(1e-6) is not None


def test_fewer_clients_give_away_more_and_samples_are_not_amplified() -> None:
    p = plan(SkellamNoise(3.0, by="all", least=8))
    start = p.start()
    epsilon = {}
    for n in (2, 8, 16):
        state = type(start)(1, start.x, start.memo, participants=tuple(f"c{i}" for i in range(n)))
        epsilon[n] = spent_privacy(p, [state]).epsilon(1e-6)
    assert epsilon[2] > epsilon[8] == epsilon[16]
    rounds = [
        type(start)(r, start.x, start.memo, participants=participants)
        for r, participants in enumerate((("a", "b"), ("c",), ("c",) * 2))
    ]
    alone = [spent_privacy(p, rounds[:1]).epsilon(1e-6), spent_privacy(p, rounds[1:]).epsilon(1e-6)]
    assert spent_privacy(p, rounds).epsilon(1e-6) == max(one or 0.0 for one in alone)
    sampled = plan(SkellamNoise(3.0), sample=Poisson(0.01))
    assert planned_privacy(sampled, 1000).epsilon(1e-6) == planned_privacy(plan(SkellamNoise(3.0))).epsilon(1e-6)


class Louder(Finite):
    """A transform of somebody's own, after the noise, that lets a client change twice as much."""

    def plan(self, spec: Spec) -> Spec:
        return spec.replace(bounds={name: 2 * bound for name, bound in spec.bounds.items()})

    def encode(self, v: Any, at: Any) -> Any:
        return v

    def decode(self, total: Any, at: Any) -> Any:
        return total


@pytest.mark.promise("P29")
def test_what_changes_more_than_the_noise_is_sized_for_has_no_number() -> None:
    pipe = (Clip(1.0), Weigh("one"), Quantize(16), SkellamNoise(2.0), Louder())
    p = Plan(Softmax(4, 2), pipe=pipe, training=QUIET)
    assert (
        planned_privacy(p).epsilon(1e-6) is None and "what Louder gives away" in planned_privacy(p).guarantee(1e-6).why
    )


CLIP, ONE, ROUND = Clip(1.0, side=5.0), Weigh("one"), Quantize(16)

WRONG: dict[str, Callable[[Any], Any]] = {
    "before Quantize": lambda kind: (CLIP, ONE, kind(1.0)),
    "before Quantize, which follows": lambda kind: (CLIP, ONE, kind(1.0), ROUND),
    "before Weigh": lambda kind: (CLIP, kind(1.0), ONE),
    "between Quantize and Weigh": lambda kind: (CLIP, ROUND, kind(1.0), ONE),
    "twice": lambda kind: (CLIP, ONE, ROUND, kind(1.0), kind(1.0)),
    "after other noise": lambda kind: (CLIP, ONE, GaussianNoise(1.0), ROUND, kind(1.0)),
    "without a bound": lambda kind: (ONE, ROUND, kind(1.0)),
    "with a weight that nothing caps": lambda kind: (CLIP, Weigh("examples"), ROUND, kind(1.0)),
    "of nothing": lambda kind: (CLIP, ONE, ROUND, kind(0.0)),
    "in words": lambda kind: (CLIP, ONE, ROUND, kind("1")),
    "by nobody": lambda kind: (CLIP, ONE, ROUND, kind(1.0, by="somebody")),
    "shared out by the server": lambda kind: (CLIP, ONE, ROUND, kind(1.0, least=5)),
    "shared out among nobody": lambda kind: (CLIP, ONE, ROUND, kind(1.0, by="all", least=0)),
    "whole with more than the quorum": lambda kind: (CLIP, ONE, ROUND, kind(1.0, by="all", least=5)),
    "too large to be exact": lambda kind: (CLIP, ONE, Quantize(40), kind(1.0)),
}


@pytest.mark.promise("P42")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_plans_fail_when_they_are_built(kind: Any, wrong: Callable[[Any], Any]) -> None:
    with pytest.raises(PlanError) as caught:
        Plan(Softmax(4, 2), pipe=wrong(kind))
    assert caught.value.found and caught.value.why and caught.value.instead


@pytest.mark.parametrize("kind", KINDS)
def test_robust_rules_take_no_noise(kind: Any) -> None:
    with pytest.raises(PlanError, match="noise"):
        Plan(Softmax(4, 2), pipe=(CLIP, ONE, ROUND, kind(1.0)), aggregator=Median())


def test_an_adaptive_clip_goes_with_it() -> None:
    p = Plan(Softmax(4, 2), pipe=(AdaptiveClip(), ONE, ROUND, SkellamNoise(1.0)), training=QUIET)
    assert len(p.encoded_spec.noise.parts) == 2
    assert isinstance(p.encoded_spec.noise, Noise) and "skellam noise" in p.pipe[3].explain(p.pipeline.specs[3])
