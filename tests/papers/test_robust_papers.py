"""Robust rules: cases computed by hand, the papers' own words as slow code, and what each paper claims."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hansa as h

RULES = [
    h.Median(),
    h.TrimmedMean(0.25),
    h.Krum(2),
    h.MultiKrum(2, 5),
    h.GeometricMedian(iterations=200),
    h.CentredClipping(3.0),
    h.Bulyan(2),
]
FAR = (1e3, -1e12, 1e160, -1.7e308)


def name(rule: h.aggregators.RobustRule) -> str:
    return type(rule).__name__


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return h.Key.of(seed).child("normal").normal((n, d))


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_median_by_hand() -> None:
    V = np.array([[1, 9, -5], [2, 0, 1e9], [4, 1, 0]])
    assert h.Median().rule(V).tolist() == [2, 1, 0]
    assert h.Median().rule(column(1, 2, 6, 100)).tolist() == [4]


def test_trimmed_mean_by_hand() -> None:
    V = column(-1e9, 1, 2, 3, 7, 8, 9, 1e6, 5, 1e9)
    assert h.TrimmedMean(0.1).rule(V) == pytest.approx((1 + 2 + 3 + 5 + 7 + 8 + 9 + 1e6) / 8)
    assert h.TrimmedMean(0.2).rule(V) == pytest.approx((2 + 3 + 5 + 7 + 8 + 9) / 6)
    assert h.TrimmedMean(0.29).rule(np.arange(100.0)[:, None] ** 2) == np.mean(np.arange(29, 71) ** 2)  # k = 29, not 28


def test_krum_by_hand() -> None:
    """n = 7, f = 2: the 3 nearest of each; 1 and 2 have the same, and 2 the nearer fourth."""
    V = column(0, 1, 2, 3, 6, 50, 51)
    scores = [1 + 4 + 9, 1 + 1 + 4, 1 + 1 + 4, 1 + 4 + 9, 9 + 16 + 25, 1 + 44**2 + 47**2, 1 + 45**2 + 48**2]
    assert sorted(scores)[:3] == [scores[1], scores[2], scores[0]]
    assert h.Krum(2).rule(V).tolist() == [2]
    assert h.MultiKrum(2, 2).rule(V).tolist() == [1.5]
    assert h.MultiKrum(2, 3).rule(V).tolist() == [2]  # 1, 2 and 3, which has a nearer fourth than 0


def test_geometric_median_by_hand() -> None:
    rule = h.GeometricMedian(iterations=500)
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], float)
    assert rule.rule(square) == pytest.approx([1, 1])
    flat = np.array([[-5, 0], [0, 0.1], [5, 0]])  # an angle beyond 120°: its corner
    assert rule.rule(flat) == pytest.approx([0, 0.1], abs=1e-3)
    a = np.array([[0, 0], [1, 2], [3, 1]], float)  # Fermat's point: all sides are seen at 120°
    rays = (a - rule.rule(a)) / np.linalg.norm(a - rule.rule(a), axis=1)[:, None]
    assert rays @ rays.T == pytest.approx(1.5 * np.eye(3) - 0.5, abs=1e-4)


def test_geometric_median_with_zero_vectors_is_not_held_at_zero() -> None:
    """Lazy attackers at the point where "no change" would start; 13 honest outweigh 12."""
    honest = np.array([10.0, 0.0]) + 0.1 * normal(13, 2)
    v = h.GeometricMedian().rule(np.concatenate([np.zeros((12, 2)), honest]))
    assert np.linalg.norm(v - honest.mean(0)) < 0.5


def test_centred_clipping_by_hand() -> None:
    V = np.array([[3, 4], [0.3, -0.4], [0, 0]])
    once = np.array([0.6 + 0.3, 0.8 - 0.4]) / 3  # τ = 1: (3, 4) of length 5 counts as (0.6, 0.8)
    assert h.CentredClipping(1.0, iterations=1).rule(V) == pytest.approx(once)
    d = np.array([3, 4]) - once
    twice = once + (d / np.linalg.norm(d) + (V[1] - once) + (V[2] - once)) / 3
    assert h.CentredClipping(1.0, iterations=2).rule(V) == pytest.approx(twice)
    assert h.CentredClipping(100.0).rule(V) == pytest.approx(V.mean(0))


def test_bulyan_by_hand() -> None:
    """n = 7, f = 1: Krum takes 3 (sum of its 4 nearest squares: 4+9+16+25), then of the others 7, 1, 8 and 12: θ = 5.

    Their median is 7; the β = 3 nearest to it are 7, 8 and 3.
    """
    assert h.Bulyan(1).rule(column(0, 1, 3, 7, 8, 12, 1000)).tolist() == [6]


# ── the papers' words, slowly ────────────────────────────────────────────────────────────────────────────────────────


def slow_krum(V: np.ndarray, f: int) -> int:
    k, scores = max(1, len(V) - f - 2), []
    for i, x in enumerate(V):
        squares = sorted(float(((x - y) ** 2).sum()) for j, y in enumerate(V) if j != i)
        scores.append((round(sum(squares[:k]), 9), sum(squares[: k + 1])))
    return scores.index(min(scores))


def slow_bulyan(V: np.ndarray, f: int) -> np.ndarray:
    received, chosen = list(V), []
    theta = len(V) - 2 * f
    while len(chosen) < theta:
        chosen.append(received.pop(slow_krum(np.array(received), f)))
    out = []
    for values in np.array(chosen).T:
        middle = np.median(values)
        out.append(np.mean(sorted(values, key=lambda value: abs(value - middle))[: theta - 2 * f]))
    return np.array(out)


@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_krum_and_bulyan_are_what_their_papers_say(f: int) -> None:
    for seed in range(10):
        V = normal(4 * f + 3 + seed % 3, 7, seed)
        V[:f] = V[-1] + 5 * V[:f]
        assert np.array_equal(h.Krum(f).rule(V), V[slow_krum(V, f)])
        assert h.Bulyan(f).rule(V) == pytest.approx(slow_bulyan(V, f))


@pytest.mark.parametrize("n", [3, 4, 9, 10])
def test_coordinate_rules_are_numpy_s(n: int) -> None:
    V = normal(n, 10_000)  # more coordinates than are sorted at once
    assert np.array_equal(h.Median().rule(V), np.median(V, axis=0))
    k = n // 3
    assert h.TrimmedMean(1 / 3).rule(V) == pytest.approx(np.sort(V, axis=0)[k : n - k].mean(0))


def test_geometric_median_is_stationary() -> None:
    """Σ (xᵢ − v)/‖xᵢ − v‖ = 0."""
    V = normal(30, 6)
    away = V - (v := h.GeometricMedian(iterations=500).rule(V))
    assert np.linalg.norm((away / np.linalg.norm(away, axis=1)[:, None]).sum(0)) < 1e-4
    nearby = [np.linalg.norm(V - v - 1e-3 * step, axis=1).sum() for step in normal(50, 6, 1)]
    assert min(nearby) > np.linalg.norm(away, axis=1).sum()


# ── what holds for all ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_the_order_of_vectors_does_not_matter(rule: h.aggregators.RobustRule) -> None:
    V = normal(12, 40)
    for seed in range(5):
        order = h.Key.of(seed).rng().permutation(len(V))
        assert rule.rule(V[order]) == pytest.approx(rule.rule(V), abs=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_equal_vectors_are_their_own_aggregate(rule: h.aggregators.RobustRule) -> None:
    x = normal(1, 20)[0] / 3
    assert rule.rule(np.tile(x, (11, 1))) == pytest.approx(x)


@pytest.mark.parametrize("rule", [rule for rule in RULES if not isinstance(rule, h.CentredClipping)], ids=name)
def test_rules_move_and_stretch_with_the_vectors(rule: h.aggregators.RobustRule) -> None:
    """All but centred clipping, which starts at zero and has a length of its own."""
    V, c = normal(12, 40), normal(1, 40, 1)
    assert rule.rule(3 * V + c) == pytest.approx(3 * rule.rule(V) + c[0], abs=1e-5)


@pytest.mark.parametrize("rule", RULES, ids=name)
@pytest.mark.parametrize("far", FAR)
def test_two_of_eleven_stay_bounded_whatever_their_numbers(rule: h.aggregators.RobustRule, far: float) -> None:
    """Numbers whose squares, or whose differences, are past all floating point; the mean is carried away."""
    V = normal(11, 30)
    V[2], V[7] = far, -far / 2
    honest = np.delete(V, [2, 7], axis=0)
    reach = np.linalg.norm(honest - honest.mean(0), axis=1).max()
    assert np.linalg.norm(rule.rule(V) - honest.mean(0)) < 2 * reach
    with np.errstate(over="ignore"):
        assert np.linalg.norm(V.mean(0) - honest.mean(0)) > 5 * reach


@pytest.mark.parametrize("rule", RULES, ids=name)
def test_vectors_are_not_changed(rule: h.aggregators.RobustRule) -> None:
    V = normal(11, 30)
    before = V.copy()
    rule.rule(V)
    assert np.array_equal(V, before)


@pytest.mark.parametrize(
    "rule", [h.Krum(20), h.MultiKrum(20, 50), h.Bulyan(20), *(r for r in RULES if not hasattr(r, "f"))], ids=name
)
def test_memory_stays_flat(rule: h.aggregators.RobustRule) -> None:
    """100 vectors of 10⁵ numbers are 80 MB; a rule needs an eighth of that, not another copy or n²d."""
    V = normal(100, 100_001)[:, :100_000]
    tracemalloc.start()
    rule.rule(V)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < V.nbytes / 8


# ── what the papers claim ────────────────────────────────────────────────────────────────────────────────────────────

numbers = st.floats(-1e6, 1e6)


@pytest.mark.promise("P66")
@given(arrays(float, (7, 3), elements=numbers), arrays(float, (6, 3), elements=st.floats(-1e200, 1e200)))
def test_a_minority_cannot_leave_the_honest_range(honest: np.ndarray, attackers: np.ndarray) -> None:
    """Yin et al. 2018: less than half for the median, a share β for the trimmed mean; here 6 of 13 lie as they like."""
    V = np.concatenate([attackers, honest])
    for rule in (h.Median(), h.TrimmedMean(0.47)):
        v = rule.rule(V)
        assert (honest.min(0) <= v).all() and (v <= honest.max(0)).all()


def test_one_liar_decides_the_mean_and_no_rule() -> None:
    """Blanchard et al. 2017, Lemma 1: no linear combination withstands a single attacker, who can choose the result."""
    honest, goal = normal(10, 5), 1e3 * normal(1, 5, 1)[0]
    V = np.concatenate([honest, [11 * goal - honest.sum(0)]])
    assert V.mean(0) == pytest.approx(goal)
    for rule in RULES:
        assert np.linalg.norm(rule.rule(V) - goal) > 500


@pytest.mark.parametrize("lie", ["reversed", "far", "near", "one coordinate"])
def test_krum_is_byzantine_resilient(lie: str) -> None:
    """Blanchard et al. 2017: ‖E v − g‖² ≤ η²·d·σ², so that ⟨E v, g⟩ > 0 where η·√d·σ < ‖g‖.

    η² = 2 (n − f + (f(n−f−2) + f²(n−f−1)) / (n−2f−2))
    """
    n, f, d, sigma = 15, 4, 20, 0.1
    eta2 = 2 * (n - f + (f * (n - f - 2) + f**2 * (n - f - 1)) / (n - 2 * f - 2))
    g = np.full(d, 1.1 * math.sqrt(eta2) * sigma)  # ‖g‖ = 1.1·η·√d·σ
    found = []
    for seed in range(200):
        V = g + sigma * normal(n, d, seed)
        mean = V[f:].mean(0)
        V[:f] = {
            "reversed": -mean,
            "far": -1e6 * mean,
            "near": mean - 1.4 * sigma,  # as far from the mean as the honest are: it is often chosen
            "one coordinate": mean - 0.9 * math.sqrt(d) * sigma * np.eye(d)[0],
        }[lie]
        found.append(h.Krum(f).rule(V))
        assert V.mean(0) @ g < 0 if lie == "far" else True
    v = np.mean(found, axis=0)
    assert ((v - g) ** 2).sum() <= eta2 * d * sigma**2
    assert v @ g > 0


@pytest.mark.promise("P66")
def test_bulyan_closes_the_gap_that_krum_leaves_in_one_coordinate() -> None:
    """El Mhamdi et al. 2018: under Krum an attacker moves one coordinate by Ω(√d·σ); under Bulyan by O(σ)."""
    n, f, d = 23, 5, 2500
    V = normal(n, d)
    V[:f] = V[f:].mean(0)
    V[:f, 0] += 0.8 * math.sqrt(d)  # nearer to the honest than they are to each other, as a whole
    assert h.Krum(f).rule(V)[0] > 0.7 * math.sqrt(d)
    assert abs(h.Bulyan(f).rule(V)[0]) < 2
    assert V[:, 0].mean() > 5


@pytest.mark.parametrize("f", range(6))
def test_the_geometric_median_stays_within_its_bound(f: int) -> None:
    """‖v − μ‖ ≤ 2(n−f)/(n−2f) · max ‖xᵢ − μ‖ over the honest (Pillutla et al. 2022; Minsker 2015)."""
    n, d = 13, 8
    for distance, spread in itertools.product((0.5, 3.0, 30.0, 1e9), (0.0, 1.0)):
        V = normal(n, d)
        V[:f] = distance + spread * V[:f]
        mu = V[f:].mean(0)
        far = np.linalg.norm(h.GeometricMedian(iterations=300).rule(V) - mu)
        assert far <= 2 * (n - f) / (n - 2 * f) * np.linalg.norm(V[f:] - mu, axis=1).max()


@given(arrays(float, (3, 4), elements=st.floats(-1e150, 1e150)), st.integers(1, 5))
def test_liars_pull_centred_clipping_no_farther_than_their_share(attackers: np.ndarray, iterations: int) -> None:
    """Karimireddy et al. 2021: each vector moves the centre by τ/n in an iteration, so 3 of 10 move it by 0.3·τ·l.

    Two runs that differ in the attackers alone: v ↦ v + mean of clipped differences brings no two centres farther
    apart.
    """
    honest, rule = normal(7, 4), h.CentredClipping(0.5, iterations)
    one, other = (rule.rule(np.concatenate([lies, honest])) for lies in (attackers, np.zeros((3, 4))))
    assert np.linalg.norm(one - other) <= 2 * 0.3 * 0.5 * iterations + 1e-9


def test_centred_clipping_nears_the_mean_of_the_honest_with_iterations() -> None:
    """It starts at distance 5, τ = 2: one iteration gets part of the way, more arrive, although 10 % pull back."""
    honest = np.array([3.0, 4.0, 0, 0]) + 0.2 * normal(18, 4)
    V = np.concatenate([honest, np.full((2, 4), -1e9)])
    far = [np.linalg.norm(h.CentredClipping(2.0, i).rule(V) - honest.mean(0)) for i in (1, 2, 3, 8)]
    assert far[0] > far[1] > far[2] > far[3] and far[0] > 3 and far[3] < 0.5
    assert np.linalg.norm(V.mean(0)) > 1e8


def test_a_little_is_enough_moves_the_median_farther_than_the_mean() -> None:
    """Baruch et al. 2019: the attackers' value itself becomes the median. 24 of 51, z = Φ⁻¹(25/27) = 1.446."""
    n, f, d, z = 51, 24, 2000, 1.446
    V = normal(n, d)
    honest = V[f:].mean(0)
    V[:f] = honest - z * V[f:].std(0)
    mean, median = ((rule - honest).mean() for rule in (V.mean(0), h.Median().rule(V)))
    assert mean == pytest.approx(-z * f / n, abs=0.05)
    assert -z - 0.05 < median < 1.5 * mean
