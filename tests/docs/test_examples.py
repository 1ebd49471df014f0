"""Every example runs as a reader would run it, and pays for those who take part."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

USES = ("driving", "health", "highway", "homes", "keyboard")  # in tests/docs/test_uses.py
FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.stem not in USES)
HANSA = [sys.executable, "-c", "from hansa.cli import main; main()"]
ROW = re.compile(r"^(\S.*?) +(\d+) .*?(\d\.\d+)$", re.MULTILINE)  # name, examples, accuracy or AUC


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_federation_beats_those_who_train_alone(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    examples: list[Path],
) -> None:
    """By the table that it prints: alone, federated, pooled, all on the same held-out examples."""
    assert len(example.read_text().splitlines()) <= 60
    if example not in examples:
        pytest.skip("its public data is not here")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    rows = {name: (int(n), float(accuracy)) for name, n, accuracy in ROW.findall(capsys.readouterr().out)}
    alone = [row for name, row in rows.items() if name.endswith(" alone")]
    (together, federated), (total, pooled) = rows["federated"], rows["all data pooled"]
    assert len(alone) >= 3 and len(rows) == len(alone) + 2
    assert together == total == sum(n for n, _ in alone)
    assert pooled > federated - 0.03 and federated > sum(accuracy for _, accuracy in alone) / len(alone)


def test_the_heart_example_shows_auc_and_calibration(shared_data: Path, tmp_path: Path) -> None:
    """In the terminal, in the report, and in what the plan asks of a client."""
    environment = {**os.environ, "HANSA_DATA": str(shared_data), "NO_COLOR": "1", "COLUMNS": "140"}
    example = str(EXAMPLES[0].parent / "heart.py")

    def hansa(*words: str) -> str:
        command = [*HANSA, *words]
        return subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    shown = hansa("run", example, "--rounds", "2")
    assert re.search(r"round +2/2 .* auc 0\.\d+  calibration 0\.\d+", shown)
    assert re.search(r"federated +389 .* 0\.\d+ +0\.\d+", shown)
    (report,) = tmp_path.glob("runs/*/report.html")
    told = report.read_text("utf-8")
    assert 'data-plot="auc"' in told and 'data-plot="calibration"' in told
    assert re.search(r"val_auc_defined +1 +1 where val_auc is defined", hansa("explain", example))
