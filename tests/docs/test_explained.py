"""What docs/verified/for-data-protection.md shows of `hansa explain` is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hansa.app.load import load

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "verified" / "for-data-protection.md"


@pytest.mark.promise("P9")
def test_the_example_is_explained_like_that() -> None:
    app = load(ROOT / "examples" / "hospitals.py")
    reply = [line.rstrip() for line in str(app.explain()).splitlines()]
    shown = PAGE.read_text().split("```text\n")[1].split("```")[0].splitlines()
    assert "Who sees what" in shown
    assert [line for line in shown if line not in reply] == [], "write what `hansa explain examples/hospitals.py` says"
