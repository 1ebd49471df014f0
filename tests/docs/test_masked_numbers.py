"""The numbers that a data protection officer is told of hidden sums are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hansa.aggregators.hidden.terms import SHARE, colluding, needed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verified" / "masked-for-data-protection.md"


@pytest.mark.promise("P400")
def test_the_table_for_data_protection_has_the_program_s_numbers() -> None:
    rows = re.findall(r"(?m)^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text("utf-8"))
    assert len(rows) == 7
    for row in rows:
        n, opens, vanish, collude = map(int, row)
        assert opens == needed(SHARE, n)
        assert vanish == n - opens
        assert collude == colluding(SHARE, n)
