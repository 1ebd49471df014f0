"""The committed table of accountants: hansa's ε is dp-accounting's, and within what the others state of their error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RESULT = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "accountants.json"
ROWS = json.loads(RESULT.read_text("utf-8"))["rows"]


def test_there_are_fifty_schedules() -> None:
    assert len({(row["noise"], row["rate"], row["steps"]) for row in ROWS}) == 50


@pytest.mark.promise("P26")
@pytest.mark.parametrize(
    "ours, theirs, below, above",
    [
        ("hansa_rdp", "direct_rdp", 1e-6, 1e-6),
        ("hansa_pld", "direct_pld", 1e-6, 1e-6),
        ("hansa_rdp", "pfl_rdp", 1e-6, 1e-6),
        ("hansa_pld", "pfl_pld", 1e-6, 1e-6),
        ("hansa_pld", "pfl_prv", 0.07, 0.07),  # its eps_error, both ways
        ("hansa_pld", "opacus_prv", 1e-6, 0.02),  # the upper end of an estimate that is 0.01 off at most
    ],
)
def test_epsilon_is_the_same(ours: str, theirs: str, below: float, above: float) -> None:
    assert all(-below <= row[theirs] - row[ours] <= above for row in ROWS)


def test_renyi_bounds_differ_by_the_orders_alone() -> None:
    """Where both find their best order among those that both try, they agree; no bound is below the true ε."""
    assert sum(abs(row["opacus_rdp"] - row["hansa_rdp"]) <= 0.01 * row["hansa_rdp"] for row in ROWS) >= 35
    assert all(row["opacus_rdp"] >= row["hansa_pld"] - 1e-6 and row["hansa_rdp"] >= row["hansa_pld"] for row in ROWS)
