"""Published vectors, byte for byte: from $HANSA_VECTORS, or ../shared/vectors beside the repository."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hansa import HansaError
from hansa.errors import DataError
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
        with pytest.raises((AssertionError, DataError)):
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


OTHERS = (None, "", "zz", "00", -1, 0, 3, 2**70, 1.5, float("nan"), [], {}, ["00"], {"a": 1}, True)


def places(vector: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all that a vector holds."""
    inside = vector.items() if isinstance(vector, dict) else enumerate(vector) if isinstance(vector, list) else ()
    for key, value in inside:
        yield (*at, key)
        yield from places(value, (*at, key))


def changed(text: str, random: Random) -> str:
    """A vector with one entry missing, cut short, or otherwise."""
    vector = json.loads(text)
    *way, key = random.choice([*places(vector)])
    place = vector
    for step in way:
        place = place[step]
    how = random.choice(["missing", "cut", "other"])
    if how == "missing":
        del place[key]
    elif how == "cut" and isinstance(place[key], str):
        place[key] = place[key][: random.randrange(len(place[key]) + 1)]
    else:
        place[key] = random.choice(OTHERS)
    return json.dumps(vector)


@pytest.mark.parametrize("path", FILES or [pytest.param(FOLDER, marks=ABSENT)], ids=lambda path: path.stem)
def test_a_malformed_vector_is_told_in_words(path: Path, tmp_path: Path) -> None:
    random, text = Random(0), path.read_text(encoding="utf-8")
    for _ in range(12):
        (tmp_path / path.name).write_text(changed(text, random), encoding="utf-8")
        try:
            check_vdaf_vector(tmp_path / path.name)
        except AssertionError as error:
            assert str(error)
        except HansaError as error:
            assert error.found and error.why and error.instead


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "{", "{}", '{"operations": [{"operation": "run"}]}', "\xff"], ids=ascii
)
def test_what_is_no_vector_at_all_is_told_in_words(text: str, tmp_path: Path) -> None:
    for name in ("Prio3Count_0", "Pine64_0", "XofTurboShake128"):
        (tmp_path / f"{name}.json").write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match="is no test vector"):
            check_vdaf_vector(tmp_path / f"{name}.json")
    with pytest.raises(DataError, match="is no test vector"):
        check_vdaf_vector(tmp_path / "absent.json")
