"""Robust rules in a plan: what they say of themselves, what they refuse, and bytes that do not depend on order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers import MODEL, TRAINING, clients_of, last, plan_of

import hansa as h


def test_quantized_and_plain_vectors_give_the_same_median() -> None:
    bounded = (h.Clip(5.0, side=10.0), h.Weigh("one"))
    plain, fine = (plan_of(h.Median(), pipe=pipe, rounds=3) for pipe in (bounded, (*bounded, h.Quantize(40))))
    assert np.allclose(last(plain, clients_of(plain)).x, last(fine, clients_of(fine)).x, atol=1e-6)


def test_the_order_of_clients_changes_no_byte() -> None:
    for rule in (h.Median(), h.TrimmedMean(0.4), h.GeometricMedian(), h.Krum(11), h.Bulyan(5), h.CentredClipping(2.0)):
        plan = plan_of(rule, rounds=2)
        clients = clients_of(plan, "sign-flip", 2)
        assert last(plan, clients[::-1]).x.tobytes() == last(plan, clients_of(plan, "sign-flip", 2)).x.tobytes()


@pytest.mark.promise("P62")
@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda: h.TrimmedMean(0.0), "leaves nothing to average"),
        (lambda: h.TrimmedMean(0.5), "leaves nothing to average"),
        (lambda: h.TrimmedMean("0.1"), "leaves nothing to average"),
        (lambda: h.Krum(-1), "Krum(f=-1) is no rule"),
        (lambda: h.Krum(0.2), "Krum(f=0.2) is no rule"),
        (lambda: h.Krum(True), "Krum(f=True) is no rule"),
        (lambda: h.MultiKrum(1, 0), "MultiKrum(m=0) is no rule"),
        (lambda: h.Bulyan(math.nan), "Bulyan(f=nan) is no rule"),
        (lambda: h.GeometricMedian(iterations=0), "GeometricMedian(iterations=0) is no rule"),
        (lambda: h.GeometricMedian(smoothing=0.0), "GeometricMedian(smoothing=0.0) is no rule"),
        (lambda: h.CentredClipping(0.0), "CentredClipping(radius=0.0) is no rule"),
        (lambda: h.CentredClipping(math.inf), "CentredClipping(radius=inf) is no rule"),
        (lambda: h.CentredClipping(1.0, iterations=-1), "CentredClipping(iterations=-1) is no rule"),
        (lambda: plan_of(h.Krum(4), sample=h.Uniform(10)), "Krum(f=4) hears 10 clients"),
        (lambda: plan_of(h.MultiKrum(2, 7), sample=h.Uniform(10)), "MultiKrum(f=2, m=7) hears 10 clients"),
        (lambda: plan_of(h.Bulyan(2), sample=h.Uniform(10)), "Bulyan(f=2) hears 10 clients"),
        (lambda: plan_of(h.TrimmedMean(0.05), sample=h.Uniform(10)), "TrimmedMean(share=0.05) hears 10 clients"),
        (lambda: plan_of(h.Median(), sample=h.Uniform(2)), "Median() hears 2 clients"),
        (lambda: plan_of(h.GeometricMedian(), sample=h.Uniform(2)), "hears 2 clients"),
        (lambda: h.Plan(MODEL, aggregator=h.Median(), pipe=(h.AdaptiveClip(), h.Weigh("one"))), "cannot learn"),
        (
            lambda: h.Plan(
                MODEL,
                aggregator=h.Median(),
                pipe=(h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(1.0)),
                training=replace(TRAINING, report=False),
            ),
            "has no guarantee",
        ),
    ],
)
def test_wrong_plans_are_refused_when_built(build: Any, found: str) -> None:
    with pytest.raises(h.errors.PlanError) as refused:
        build()
    assert found in refused.value.found
    assert refused.value.why and refused.value.instead


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        (h.Median(), 3),
        (h.GeometricMedian(), 3),
        (h.TrimmedMean(0.1), 10),
        (h.TrimmedMean(0.29), 4),
        (h.Krum(2), 7),
        (h.MultiKrum(2, 3), 7),
        (h.MultiKrum(2, 6), 10),
        (h.Bulyan(2), 11),
        (h.CentredClipping(1.0), 1),
    ],
)
def test_the_least_number_of_vectors(rule: h.aggregators.RobustRule, least: int) -> None:
    assert rule.shortfall(least) == "" and all(str(least) in rule.shortfall(n) for n in range(1, least))
    plan_of(rule, sample=h.Uniform(least))


@pytest.mark.promise("P9")
def test_a_rule_says_who_sees_what_and_up_to_which_share_it_holds() -> None:
    told = {
        h.Median(): "fewer than half",
        h.TrimmedMean(0.125): "at most 12.5%",
        h.Krum(2): "at most 2 of the clients heard lie, and 7 or more",
        h.MultiKrum(2, 6): "at most 2 of the clients heard lie, and 10 or more",
        h.GeometricMedian(): "fewer than half",
        h.CentredClipping(2.0, 3): "moves the update by s·6 at most",
        h.Bulyan(2): "at most 2 of the clients heard lie, and 11 or more",
    }
    for rule, promise in told.items():
        rows = {who: (what, rests) for who, what, rests in rule.visibility()}
        assert "each client's encoded vector, by name" in rows["server"][0] and "trusted" in rows["server"][1]
        assert promise in rows["Byzantine clients"][1]
