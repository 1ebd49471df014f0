"""The tables of docs/how-to/robust.md are those of benchmarks/results/robust.json."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"sign-flip, strong": "strong", "labels, boosted": "boosted", "little, loud": "loud"}


@pytest.mark.promise("P73")
def test_every_number_is_measured() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "robust.json").read_text())["rows"]
    page = re.split(r"^<!-- ", (ROOT / "docs" / "how-to" / "robust.md").read_text(), flags=re.MULTILINE)
    tables = {part.split(" -->")[0]: part for part in page[1:]}
    assert tables.keys() == {row["setting"] for row in rows}
    for setting, part in tables.items():
        lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
        shown = {
            (line[0], line[1], attack): cell for line in lines[1:] for attack, cell in zip(lines[0], line, strict=True)
        }
        measured = {
            (
                f"`{row['rule']}`",
                str(row["attackers"]),
                SHORT.get(row["attack"], row["attack"]),
            ): f"{100 * row['accuracy']:.0f}"
            for row in rows
            if row["setting"] == setting
        }
        assert measured == {key: cell for key, cell in shown.items() if key[2] not in ("rule", "attackers")}
