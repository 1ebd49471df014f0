"""Published vectors, byte for byte: from $HANSA_VECTORS, or ../shared/vectors beside the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hansa.testing import check_vdaf_vector

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors"
FOLDER = Path(os.environ.get("HANSA_VECTORS", BESIDE))
FILES = sorted(path for room in ("xof", "vdaf", "pine") for path in FOLDER.glob(f"{room}/*.json"))
ABSENT = pytest.mark.skip(reason="no published vectors: HANSA_VECTORS is not set and shared/vectors is absent")


@pytest.mark.promise("P22")
@pytest.mark.parametrize("path", FILES or [pytest.param(FOLDER, marks=ABSENT)], ids=lambda path: path.stem)
def test_a_published_vector(path: Path) -> None:
    check_vdaf_vector(path)


@pytest.mark.promise("P22")
@pytest.mark.parametrize("name", ["Prio3Histogram_0", "Prio3Sum_1", "XofTurboShake128"])
def test_a_changed_vector_is_noticed(name: str, tmp_path: Path) -> None:
    found = [path for path in FILES if path.stem == name]
    if not found:
        pytest.skip("no published vectors")
    text = found[0].read_text(encoding="utf-8")
    for key in set(json.loads(text)) & {"verify_key", "ctx", "seed", "agg_shares", "agg_result"}:
        vector = json.loads(text)
        value = vector[key]
        vector[key] = f"{value[:-1]}{int(value[-1], 16) ^ 1:x}" if isinstance(value, str) else 7
        (tmp_path / f"{name}.json").write_text(json.dumps(vector), encoding="utf-8")
        with pytest.raises((AssertionError, TypeError)):
            check_vdaf_vector(tmp_path / f"{name}.json")


def test_a_refusal_that_does_not_come_is_noticed(tmp_path: Path) -> None:
    found = [path for path in FILES if path.stem == "Prio3Count_0"]
    if not found:
        pytest.skip("no published vectors")
    vector = json.loads(found[0].read_text(encoding="utf-8"))
    vector["operations"][3]["success"] = False
    (tmp_path / "Prio3Count_0.json").write_text(json.dumps(vector), encoding="utf-8")
    with pytest.raises(AssertionError, match="must be refused"):
        check_vdaf_vector(tmp_path / "Prio3Count_0.json")


def test_an_unknown_algorithm_is_named(tmp_path: Path) -> None:
    (tmp_path / "Prio9_0.json").write_text("{}", encoding="utf-8")
    with pytest.raises(AssertionError, match="Prio9"):
        check_vdaf_vector(tmp_path / "Prio9_0.json")
