"""AUC, calibration and sensitivity among clients, from two histograms that travel through a sum."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

import hansa as h
from hansa.analytics import Curve, Scores, ask, scored
from hansa.errors import DataError, PlanError

WHO = ("north", "south", "hospice")
FREE = dict.fromkeys(WHO, h.Policy())


def patients(seed: int, n: int, ill: float) -> tuple[Any, Any]:
    """Probabilities of a model that is neither good nor calibrated, and who is ill."""
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=n) < ill).astype(np.int64)
    return 1 / (1 + np.exp(-rng.normal(1.5 * y - 0.7, 1.0))), y


PATIENTS = {"north": patients(0, 400, 0.5), "south": patients(1, 300, 0.2), "hospice": patients(2, 60, 1.0)}
RECORDS = {who: scored(p, y) for who, (p, y) in PATIENTS.items()}
P, Y = (np.concatenate(part) for part in zip(*PATIENTS.values(), strict=True))


def asked(**more: Any) -> Curve:
    return ask({"scores": Scores()}, RECORDS, most=400, policies=FREE, quorum=3, **more)["scores"]


SUMS = {
    "plain": {"aggregator": h.Sum()},
    "verified": {"aggregator": h.VerifiedSum()},
    "masked": {"aggregator": h.MaskedSum(), "pipe": (h.Quantize(24, of="sum", clients=3),)},
}


@pytest.mark.promise("P644")
@pytest.mark.parametrize("how", SUMS)
def test_the_auc_of_all_clients_comes_through_a_sum(how: str) -> None:
    """|AUC − exact| ≤ .005 with 100 bins; one hospital has one class alone, and counts all the same."""
    curve = asked(**SUMS[how])
    whole = partial(pytest.approx, rel=1e-3) if how == "masked" else float  # integers of a mask round what is told
    exact = roc_auc_score(Y, P)
    assert abs(curve.auc - exact) <= min(0.005, curve.auc_within)
    assert curve.positive.sum() == whole(Y.sum()) and curve.negative.sum() == whole((1 - Y).sum())
    assert curve.sensitivity(0.5) == whole((P[Y == 1] >= 0.5).mean())
    assert curve.specificity(0.5) == whole((P[Y == 0] < 0.5).mean())
    false, true, at = roc_curve(Y, P, drop_intermediate=False)
    place = np.searchsorted(-at, -0.25, side="right") - 1
    assert curve.sensitivity(0.25) == whole(true[place]) and curve.specificity(0.25) == whole(1 - false[place])


def test_calibration_by_hand() -> None:
    """Σ n_b/n |share − middle|: two bins, of 4 and 6 scores."""
    curve = Curve(np.array([3.0, 2.0]), np.array([1.0, 4.0]))
    assert curve.calibration == pytest.approx(0.4 * 0 + 0.6 * abs(4 / 6 - 0.75))
    share, middle = curve.reliability
    assert (share == [0.25, 4 / 6]).all() and (middle == [0.25, 0.75]).all()
    assert curve.auc == pytest.approx((1 * 1.5 + 4 * (3 + 1)) / 25)
    assert curve.auc_within == pytest.approx((3 + 8) / 25 / 2)
    narrow = asked(aggregator=h.Sum())
    wide = narrow.merged(10)
    bins = [np.floor(10 * P) == b for b in range(10)]
    by_hand = sum(one.mean() * abs(Y[one].mean() - (b + 0.5) / 10) for b, one in enumerate(bins))
    assert wide.calibration == pytest.approx(by_hand)
    with pytest.raises(DataError, match="100 bins do not make 7"):
        narrow.merged(7)


@pytest.mark.promise("P644")
def test_of_one_class_nothing_is_told() -> None:
    """The AUC of the hospice alone is not defined; its sensitivity is."""
    curve = ask({"s": Scores()}, {"hospice": RECORDS["hospice"]}, most=99, policies=FREE, aggregator=h.Sum(), quorum=1)[
        "s"
    ]
    assert math.isnan(curve.auc) and math.isnan(curve.auc_within) and math.isnan(curve.specificity())
    assert curve.sensitivity() == (PATIENTS["hospice"][0] >= 0.5).mean()
    nothing = Curve(np.zeros(4), np.zeros(4))
    assert math.isnan(nothing.calibration) and math.isnan(nothing.sensitivity())


def test_noise_is_sized_for_them_and_counts_below_zero_calibrate_nothing() -> None:
    """ε is told as for any histogram; with less noise the AUC is nearer."""
    plan = h.survey({"s": Scores(20)}, most=400, aggregator=h.VerifiedSum(noise=1.0))
    assert 0 < h.planned_privacy(plan).guarantee(1e-3).epsilon < math.inf
    assert asked(aggregator=h.VerifiedSum(noise=1e-4)).auc == pytest.approx(roc_auc_score(Y, P), abs=0.01)
    share, _ = Curve(np.array([-2.0, 1.0]), np.array([0.0, 3.0])).reliability
    assert math.isnan(share[0]) and share[1] == 0.75


def test_what_is_no_score_is_refused() -> None:
    """Logits, labels of three classes, and one bin for all."""
    for p, y in (([1.5], [1]), ([0.5], [2]), ([0.5, 0.5], [1]), ([math.nan], [0])):
        with pytest.raises(DataError, match="probabilities and labels"):
            scored(p, y)
    with pytest.raises(PlanError, match="bins=1"):
        Scores(1)
    with pytest.raises(PlanError, match="2 columns at once"):
        h.survey({"s": Scores()}, most=9, columns=2)
    assert Scores(10).client("s", scored([0.0, 1.0, 1.0], [0, 0, 1])[0])["s.counts"].tolist() == [
        *(1, 0, 0, 0, 0, 0, 0, 0, 0, 1),
        *(0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    ]


@pytest.mark.promise("P644")
@pytest.mark.parametrize("bins", [2, 10, 100, 1000])
def test_equal_scores_are_in_one_bin_whatever_their_class(bins: int) -> None:
    """On every edge too: a model that says the same of all has an AUC of one half."""
    for edge in np.arange(bins + 1) / bins:
        v, _ = scored(np.full(4, edge), np.array([0, 1, 0, 1]))
        counts = Scores(bins).client("s", v)["s.counts"]
        assert Curve(counts[:bins], counts[bins:]).auc == 0.5
        assert counts[:bins].argmax() == min(round(edge * bins), bins - 1)


def test_with_noise_the_auc_is_right_on_average() -> None:
    """Where an empty bin may be below 0; cut at 0 it would be nearer to one half."""
    v, _ = scored(P, Y)
    counts = Scores(100).client("s", v)["s.counts"].astype(float)
    exact = Curve(counts[:100], counts[100:]).auc
    rng = np.random.default_rng(0)
    drawn = [Curve(*(counts + rng.normal(0, 1.0, 200)).reshape(2, 100)).auc for _ in range(300)]
    assert abs(np.mean(drawn) - exact) < 5 * np.std(drawn) / 300**0.5 < 0.02
    assert math.isnan(Curve(np.array([-1.0, 0.5]), np.array([1.0, 1.0])).auc)


@pytest.mark.parametrize("wrong", [lambda c: c.sensitivity(-0.3), lambda c: c.specificity(30), lambda c: scored(Y, P)])
def test_what_is_no_threshold_and_no_label_is_refused(wrong: Any) -> None:
    curve = Curve(np.array([3.0, 2.0]), np.array([1.0, 4.0]))
    with pytest.raises(DataError):
        wrong(curve)
