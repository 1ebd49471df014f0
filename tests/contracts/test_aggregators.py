"""Every aggregator of hansa's keeps the contract that anybody's must keep."""

from __future__ import annotations

import pytest

import hansa as h
from hansa.testing import check_aggregator

RULES = [
    h.Median(),
    h.TrimmedMean(0.2),
    h.Krum(2),
    h.MultiKrum(2, 3),
    h.GeometricMedian(),
    h.CentredClipping(10.0),
    h.Bulyan(1),
]


@pytest.mark.promise("P49")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_rule(rule: h.aggregators.RobustRule) -> None:
    check_aggregator(rule)
