"""Trackers that do what they should not, and runs that are found, shown and compared under awkward names."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts.test_cli import call

import hansa as h
from hansa.cli.options import Place, Way
from hansa.cli.started import new_run, resumed_run
from hansa.errors import AppError, StoreError
from hansa.rounds import Round
from hansa.ui.overlay import Compared, differing, drawn, overlaid
from hansa.ui.tables import otherwise, set_at
from hansa.ui.trackers import checked, parameters
from hansa.ui.trackers import following as trackers
from hansa.ui.trackers.csv import Csv
from hansa.ui.trackers.mlflow import Mlflow

FILE = """
import numpy as np
import hansa
rng = np.random.default_rng(0)
data = {f"c{i}": (rng.normal(size=(8, 3)), np.arange(8) % 2) for i in range(3)}
app = hansa.App(hansa.Plan(hansa.Softmax(3, 2), rounds=2), data)
"""


def app(**more: Any) -> h.App:
    rng = np.random.default_rng(0)
    data = {f"c{i}": (rng.normal(size=(8, 3)), np.arange(8) % 2) for i in range(3)}
    plan = h.Plan(h.Softmax(3, 2), rounds=3, training=h.Training(validation=0.25))
    return h.App(plan, data, **more)


class Takes:
    """One that changes all that it is given."""

    def track(self, run: Any, rounds: Any) -> None:
        run.parameters.clear()
        for one in rounds:
            for held in (one.metrics, one.scores, one.spent, one.excluded):
                held.clear()


class Odd(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise LookupError


class Raises:
    def track(self, run: Any, rounds: Any) -> None:
        for _ in rounds:
            raise Odd


@pytest.mark.promise("P675", "P676")
@pytest.mark.guards("what a tracker does to a round stays with it")
def test_a_tracker_changes_nothing_of_the_run() -> None:
    """Nor of what another hears; and an error without words stops nothing."""
    heard: list[Round] = []

    class Heard:
        def track(self, run: Any, rounds: Any) -> None:
            assert run.parameters
            heard.extend(rounds)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        states = list(app(track=[Takes(), Raises(), Heard()]).run())
    assert [one.metrics for one in heard] == [one.metrics for one in states] and "val_loss" in heard[-1].metrics
    (words,) = (str(one.message) for one in told if one.category is trackers.Untracked)
    assert "Raises has failed" in words and "Odd: (no message)." in words


@dataclass
class Piece:
    bound: float = float("inf")
    salt: bytes = b"0123456789abcdef"
    hidden: str = field(default="secret", repr=False)
    unset: int = field(init=False)
    self: Any = None


def test_what_a_strange_piece_is_set_to_is_told_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = Piece()
    piece.self = piece
    plan: Any = piece
    assert parameters(plan) == {"bound": "inf"}

    def breaks(plan: h.Plan) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(trackers, "parameters", breaks)
    with pytest.warns(trackers.Untracked, match="cannot be looked at .ZeroDivisionError."):
        assert len(list(app(track=[Takes()]).run())) == 3


def test_one_tracker_writes_to_one_place_once() -> None:
    assert [name for name, _ in checked([Csv(), "csv", Csv("a.csv"), Takes(), Takes()])] == [
        "Csv", "Csv", "Takes", "Takes",
    ]  # fmt: skip
    (one,) = checked([Mlflow(report=True), "mlflow"])
    assert one[1] == Mlflow() and getattr(one[1], "report")  # noqa: B009


def test_a_file_of_another_run_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "rounds.csv"
    one = app(track=[Csv(path)])
    list(one.run())
    held = path.read_text()
    assert held.startswith("run,round,") and len(held.splitlines()) == 4
    with pytest.warns(trackers.Untracked, match="and no round of"):
        assert len(list(one.run())) == 3
    assert path.read_text() == held


def test_a_resumed_run_is_followed_by_those_that_were_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was stopped before its first round; what followed before stays in its row."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)
    Path("mine.toml").write_text('app = "mine.py"\ntrack = ["csv"]\n')
    assert call("run", "mine.toml", "--no-compare")[0] == 0
    (one,) = h.Store("runs").runs()
    file = Path("runs") / one.id / "rounds.csv"
    file.unlink()
    code, _, err = call("run", "--resume", one.id, "--rounds", "3", "--no-compare")
    assert code == 0, err
    assert len(file.read_text().splitlines()) == 4
    assert h.Store("runs").open(one.id).tracked == {"csv": ""}
    code, _, err = call("sweep", "mine.toml", "--set", "training.learning_rate=0.1", "--name", "a")
    assert code == 0 and "It stays as it was" not in err
    code, _, err = call("sweep", "mine.toml", "--set", "training.learning_rate=0.1", "--name", "b")
    assert code == 0 and "It stays as it was: --track, --name, --tag" in err
    path = Path("mine.toml")
    _, run, _ = new_run(Place(Path("runs")), Way(), path, {})  # which ends before a round
    run.finish("stopped")
    assert run.tracked == {"csv": trackers.OPEN}
    resumed, _, _ = resumed_run(Place(Path("runs")), Way(), run.id, None, {})
    assert resumed.track == ["csv"]


# ── found and compared ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards("nothing is no name of a run")
def test_an_id_then_a_name_then_the_beginning_of_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = h.Store("runs")
    first = store.new("p", "d", "a.py", {})
    first.finish("done")
    with pytest.raises(StoreError, match="There is no run ''"):
        store.open("")
    assert call("rm", "", "--yes")[0] != 0 and [one.id for one in store.runs()] == [first.id]
    second = store.new("p", "d", "a.py", {}, label=h.store.Label(first.id[:15]))
    third = store.new("p", "d", "a.py", {}, label=h.store.Label(first.id))
    assert store.open(first.id[:15]).id == second.id and store.open(first.id).id == first.id
    second.relabel(h.store.Label("twice"))
    third.relabel(h.store.Label("twice"))
    for id in ("twice", "2"):
        with pytest.raises(StoreError, match="runs begin with"):
            store.open(id)


@pytest.mark.parametrize("tags", ["paper", None])
def test_tags_are_a_list(tags: Any) -> None:
    with pytest.raises(AppError, match="are no list"):
        h.store.Label("x", tags=tags)


def test_a_setting_is_found_in_the_tables_of_a_config() -> None:
    piece = {"use": "Training", "learning_rate": 0.5}
    kept = {"set": {"pipe.0.norm": 2}, "plan": {"training": piece, "pipe": [{"use": "Clip", "norm": 1}]}}
    assert set_at(kept, "training.learning_rate") == 0.5 and set_at(kept, "training.batch") is None
    assert (set_at(kept, "pipe.0.norm"), set_at(kept, "pipe.0.use"), set_at(kept, "pipe.1.use")) == (2, "Clip", None)


def test_one_word_means_one_setting_in_all_rows() -> None:
    known = {"pipe.0.norm", "pipe.2.norm", "training.learning_rate"}
    assert otherwise({"pipe.0.norm": 2}, known) == "pipe.0.norm 2"
    assert otherwise({"training.learning_rate": 2}, known) == "learning_rate 2"


def compared(plan: str, app: str = "a.py", loss: float = 1.0, **settings: str) -> Compared:
    rounds = [Round(1, metrics={"loss": loss}), Round(2, metrics={"loss": -loss})]
    return Compared(f"{plan} {app}", "", {**settings, "app": app, "plan": plan}, rounds)


def test_apps_and_plans_that_differ_are_shown_beside_settings() -> None:
    first = compared("Plan(\n  Softmax(3),\n  rounds=2,\n)", seed="1")
    second = compared("Plan(\n  MLP(3),\n  rounds=2,\n)", "b.py", seed="2")
    assert differing([first, second]) == [
        {"seed": "1", "app": "a.py", "plan": "Softmax(3),"},
        {"seed": "2", "app": "b.py", "plan": "MLP(3),"},
    ]
    turned = [compared("a\nb"), compared("b\na")]  # no line is another
    assert [one["plan"] for one in differing(turned)] == ["a\nb", "b\na"]
    assert differing([first, replace(first, id="x")]) == [{}, {}]


def test_the_largest_scores_are_drawn() -> None:
    text = str(overlaid([compared("p", loss=1.7e308), compared("q", loss=1.0)], "loss"))
    assert drawn([compared("p", loss=1.7e308), compared("q")], "loss").startswith(b"\x89PNG")
    plot = [line for line in text.splitlines() if "│" in line]
    assert len(plot) == 12 and "●" in plot[0] and "●" in plot[-1] and "▲" in "".join(plot[5:7])
