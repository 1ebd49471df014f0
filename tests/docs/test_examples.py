"""Every example runs as a reader would run it, and pays for those who take part."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.py"))
ROW = re.compile(r"^(\S.*?) +(\d+) .*?(\d\.\d+)$", re.MULTILINE)  # name, examples, accuracy


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_federation_beats_those_who_train_alone(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the table that it prints: alone, federated, pooled, all on the same held-out examples."""
    assert len(example.read_text().splitlines()) <= 60
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    rows = {name: (int(n), float(accuracy)) for name, n, accuracy in ROW.findall(capsys.readouterr().out)}
    alone = [row for name, row in rows.items() if name.endswith(" alone")]
    (together, federated), (total, pooled) = rows["federated"], rows["all data pooled"]
    assert len(alone) >= 3 and len(rows) == len(alone) + 2
    assert together == total == sum(n for n, _ in alone)
    assert pooled > federated - 0.03 and federated > sum(accuracy for _, accuracy in alone) / len(alone)
