"""Many stored runs: listed for people and programs, compared, taken out; and what `hansa doctor` says of a machine."""

from __future__ import annotations

import csv
import io
import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contracts.test_cli import call

import hansa as h
from hansa.cli.doctor import EXTRAS
from hansa.rounds import Round, Spent
from hansa.store.removal import remove

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> h.Store:
    """Three runs of two apps: of three rounds, of two, and one that has none."""
    monkeypatch.chdir(tmp_path)
    store = h.Store("runs")
    for app, rate, rounds in (("north.py", 0.1, 3), ("north.py", 0.5, 2), ("west-[b].py", 0.1, 0)):
        run = store.new("Plan(…)", "digest", app, {"set": {"training": {"learning_rate": rate}}}, 3)
        for i in range(rounds):
            metrics = {"loss": 1.0 / (i + 1), "val_auc": math.nan}
            state = replace(h.Plan(h.Softmax(2, 2)).start(), round=i + 1, metrics=metrics, participants=("a", "b"))
            run.commit(state, {})
        run.finish("done" if rounds == 3 else "stopped")
    return store


def ids(store: h.Store) -> list[str]:
    return [one.id for one in store.runs()]


@pytest.mark.promise("P650")
def test_runs_are_rows_for_programs(store: h.Store) -> None:
    """As CSV and as JSON, which has no NaN; sorted and chosen."""
    first, second, third = ids(store)
    rows = list(csv.DictReader(io.StringIO(call("runs", "--as", "csv")[1])))
    assert [row["run"] for row in rows] == [first, second, third]
    assert rows[1]["loss"] == "0.5" and rows[0]["val_auc"] == "" and rows[2]["loss"] == ""
    found = json.loads(call("runs", "--as", "json", "--status", "stopped", "--app", "north")[1])
    assert [row["run"] for row in found] == [second] and found[0]["val_auc"] is None
    sort = list(csv.DictReader(io.StringIO(call("runs", "--as", "csv", "--sort", "loss")[1])))
    assert [row["run"] for row in sort] == [third, first, second]
    assert [row["run"] for row in json.loads(call("runs", "--last", 1, "--as", "json")[1])] == [third]
    code, _, err = call("runs", "--sort", "speed")
    assert code == 2 and "No run has a column 'speed'" in err and "loss" in err
    rounds = json.loads(call("show", first, "--as", "json")[1])
    assert [one["round"] for one in rounds] == [1, 2, 3] and rounds[2]["loss"] == 1 / 3


@pytest.mark.promise("P650")
def test_a_round_is_one_flat_row() -> None:
    """And of a secret sample it does not tell how many took part."""
    spent = {"client": Spent(2.0, 1e-5)}
    one = Round(1, metrics={"loss": 0.5}, scores={"accuracy": 0.9}, spent=spent, participants=("a",), seconds=2.0)
    assert one.row == {
        "round": 1, "seconds": 2.0, "participants": 1, "excluded": 0, "loss": 0.5, "test_accuracy": 0.9,
        "epsilon_client": 2.0, "delta_client": 1e-5, "skipped": "",
    }  # fmt: skip
    assert not {"participants", "excluded"} & Round(1, participants=("a",), hidden=True).row.keys()


@pytest.mark.promise("P651")
def test_runs_are_compared_by_what_is_set_otherwise(store: h.Store, tmp_path: Path) -> None:
    first, second, third = ids(store)
    code, out, _ = call("compare", first, second, third, "--plot", "loss.png")
    assert code == 0 and "training.learning_rate" in out and "Plan(…)" not in out
    assert "0.333" in out and "0.500" in out
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    for words, said in (
        ((first, first), "Two runs"),
        ((first, second, "--plot", "loss.svg"), "no PNG"),
        ((first, second, "--plot", "a.png", "--score", "speed"), "No run has the score 'speed'"),
        ((third, second[:-1], "--plot", "a.png", "--score", "val_auc"), "No run has the score"),
        ((first, "1999"), "There is no run '1999'"),
    ):
        code, _, err = call("compare", *words)
        assert code and said in err and not (tmp_path / "a.png").exists(), (words, err)


@pytest.mark.promise("P652")
def test_a_run_is_taken_out_with_its_files_and_no_other(store: h.Store) -> None:
    first, second, third = ids(store)
    assert call("rm", second)[0] == 1 and ids(store) == [first, second, third]  # nobody has said yes
    assert call("rm", second, "--yes")[0] == 0
    assert ids(store) == [first, third] and not (store.folder / second).exists()
    assert len(store.open(first).history()) == 3 and store.open(first).state() is not None
    held = h.Store("runs").resume(third)
    with pytest.raises(h.HansaError, match="is being run by"):
        remove(store, third)
    held.finish("stopped")
    assert remove(store, third) == third and ids(store) == [first]


@pytest.mark.promise("P653")
def test_doctor_says_what_is_installed() -> None:
    """It knows each extra of the package that users install."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert EXTRAS.keys() == table.keys() - {"dev", "docs", "zoo"}
    for extra, packages in EXTRAS.items():
        assert all(any(one.startswith(package) for one in table[extra]) for package in packages), extra
    code, out, _ = call("doctor")
    assert code == 0 and all(f"\n{extra} " in out for extra in EXTRAS) and "cores" in out
