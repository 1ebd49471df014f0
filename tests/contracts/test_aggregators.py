"""Every aggregator of hansa's keeps the contract that anybody's must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

import hansa as h
from hansa.testing import check_aggregator


@dataclass(frozen=True)
class FourTurns(h.aggregators.Aggregator):
    """A sum in four messages: here I am; my vector; I know who is in; goodbye. Who has said its vector is in."""

    def client(self, contribute: Any, at: Any) -> Any:
        assert (yield "here") == "your vector"
        known = yield contribute()
        assert (yield sorted(known)) == "goodbye"
        yield "goodbye"

    def server(self, channel: Any, cohort: Any, decode: Any) -> Any:
        there = channel.gather(dict.fromkeys(cohort))
        said = channel.gather(dict.fromkeys(there, "your vector"))
        told = channel.gather(dict.fromkeys(said, sorted(said)))
        channel.gather(dict.fromkeys(told, "goodbye"))
        total = sum(said.values())
        return (decode(total, len(said)) if said else None), sorted(said)

    def visibility(self) -> Any:
        return (("server", "each client's vector", "none"),)


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


@pytest.mark.promise("P49")
def test_an_aggregator_of_four_turns() -> None:
    check_aggregator(FourTurns())
