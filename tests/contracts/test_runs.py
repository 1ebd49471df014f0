"""Many stored runs: listed for people and programs, compared, taken out; and what `hansa doctor` says of a machine."""

from __future__ import annotations

import csv
import io
import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.contracts.test_cli import call

import hansa as h
from hansa.cli.doctor import EXTRAS
from hansa.errors import AppError
from hansa.rounds import NAMED, Round, Spent
from hansa.store import export
from hansa.store.removal import fail, remove
from hansa.ui.tables import best_of

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
        "epsilon_client": 2.0, "delta_client": 1e-5, "named": False, "skipped": "",
    }  # fmt: skip
    assert replace(one, named=True).row["named"] is True and "named" not in Round(1).row
    assert NAMED in replace(one, named=True)._repr_html_() and NAMED not in one._repr_html_()
    assert not {"participants", "excluded"} & Round(1, participants=("a",), hidden=True).row.keys()


@pytest.mark.promise("P651")
def test_runs_are_compared_by_what_is_set_otherwise(store: h.Store, tmp_path: Path) -> None:
    first, second, third = ids(store)
    code, out, _ = call("compare", first, second, third, "--plot", "loss.png")
    assert code == 0 and "learning_rate 0.5" in out and "Plan(…)" not in out
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


# ── names, tags, notes ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def named(store: h.Store) -> h.Store:
    """The three, of which two are called something."""
    first, second, _ = ids(store)
    store.open(first).relabel(h.store.Label("baseline", ("paper", "lr"), "before the data was cleaned"))
    store.open(second).relabel(h.store.Label("fast", ("paper",)))
    return store


def chosen(*words: object) -> list[str]:
    return [row["run"] for row in json.loads(call("runs", "--as", "json", *words)[1])]


@pytest.mark.promise("P678")
def test_runs_are_found_by_what_they_are_called_and_how_they_are_set(named: h.Store) -> None:
    first, second, third = ids(named)
    assert chosen("--tag", "paper") == [first, second] and chosen("--tag", "paper", "--tag", "lr") == [first]
    assert chosen("--name", "fas") == [second] and not chosen("--tag", "other")
    assert chosen("--setting", "training.learning_rate=0.1") == [first, third]
    assert chosen("--setting", "training.learning_rate=0.1", "--app", "west") == [third]
    assert not chosen("--setting", "training.batch=8")
    assert call("show", "baseline")[1].count(first) and named.open("fast").id == second
    named.open(third).relabel(h.store.Label("fast"))
    code, _, err = call("show", "fast")
    assert code and "2 runs begin with 'fast', or have that name" in err
    row = json.loads(call("runs", "--as", "json")[1])[0]
    assert (row["name"], row["tags"], row["note"]) == ("baseline", "paper,lr", "before the data was cleaned")
    assert row["training.learning_rate"] == 0.1
    out = call("runs")[1]
    assert all(word in out for word in ("baseline", "#paper #lr", "learning_rate 0.5", "3/3 done", "north.py"))
    assert "before the data was cleaned" in call("show", first)[1]


@pytest.mark.promise("P678")
@pytest.mark.guards("what a run is called commands no terminal")
def test_a_run_is_called_otherwise(named: h.Store) -> None:
    """What is not said stays; a run that somebody goes on with is not disturbed."""
    first = ids(named)[0]
    held = h.Store("runs").resume(first)
    assert call("label", first, "--note", "kept")[0] == 0
    assert named.open(first).label == h.store.Label("baseline", ("paper", "lr"), "kept")
    assert call("label", first, "--name", "", "--tag", "new")[0] == 0
    assert named.open(first).label == h.store.Label("", ("new",), "kept")
    held.finish("stopped")
    for words, said in (
        (("--tag", "a,b"), "cannot be shown"),
        (("--name", "x" * 81), "cannot be shown"),
        (("--name", "two\nlines"), "cannot be shown"),
        (("--name", "\x1b[31mred"), "cannot be shown"),
    ):
        code, _, err = call("label", first, *words)
        assert code and said in err and "\x1b" not in err


@pytest.mark.promise("P679")
def test_runs_are_sorted_by_the_best_of_a_score(store: h.Store) -> None:
    """Which way is better is known by its name; a score of clients is that of the model before."""
    first, second, third = ids(store)
    assert chosen("--sort", "best_loss") == [third, first, second]
    assert chosen("--sort", "best_loss", "--descending") == [second, first, third]
    rows = {row["run"]: row for row in json.loads(call("runs", "--as", "json", "--sort", "best_loss")[1])}
    assert (rows[first]["best_loss"], rows[first]["best_loss_round"]) == (1 / 3, 3)
    assert "best 0.333, round 3" in call("runs", "--sort", "best_loss")[1]
    code, _, err = call("runs", "--sort", "best_speed")
    assert code and "Whether more of 'speed' is better is not known" in err
    code, _, err = call("runs", "--sort", "best_val_auc")  # which no round has
    assert code and "No run has a column" in err
    rounds = [Round(i, metrics={"val_accuracy": value}) for i, value in ((1, 0.5), (2, 0.9), (3, 0.7))]
    assert best_of("val_accuracy", rounds) == ("val_accuracy", 0.9, 1)


def test_the_best_round_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = h.Store("runs")
    run = store.new("Plan(…)", "digest", "app.py", {}, 3)
    for i in range(3):
        run.commit(replace(h.Plan(h.Softmax(2, 2)).start(), round=i + 1, metrics={"loss": 1.0}), {}, best=min(i + 1, 2))
    run.finish("done")
    assert store.runs()[0].best == 2
    assert "best 2" in call("runs")[1] and "best 2" in call("show", run.id)[1]
    assert json.loads(call("runs", "--as", "json")[1])[0]["best_round"] == 2


@pytest.mark.promise("P681")
def test_a_history_is_a_table_of_flat_columns(store: h.Store) -> None:
    """pandas and polars alike; a number that comes later has its column, and is missing before."""
    import pandas
    import polars

    run = store.resume(ids(store)[0], 4)
    state = replace(h.Plan(h.Softmax(2, 2)).start(), round=4, metrics={"loss": 0.2}, scores={"accuracy": 0.5})
    run.commit(replace(state, spent={"client": Spent(2.0, 1e-5)}), {})
    run.finish("done")
    for frame in (pandas.DataFrame(run.rows()), polars.DataFrame(run.rows()).to_pandas()):
        assert (
            frame["loss"].tolist() == [1.0, 0.5, 1 / 3, 0.2]
            and frame["test_accuracy"].isna().tolist()[:3] == [True] * 3
        )
        assert frame["epsilon_client"].iloc[-1] == 2.0 and frame["participants"].tolist() == [2, 2, 2, 0]
        assert not any(isinstance(value, dict | tuple | list) for value in frame.iloc[-1])
    assert polars.DataFrame(run.rows()).schema["epsilon_client"] == polars.Float64
    assert [one.round for one in run.history(after=2)] == [3, 4]


@pytest.mark.promise("P682")
def test_a_run_that_fails_before_it_begins_leaves_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails later stays, and one that was stopped before its first round."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(APP.replace("ROUND", "1"))
    assert call("run", "mine.py", "--no-compare")[0] == 1
    assert not h.Store("runs").runs() and not [path for path in Path("runs").iterdir() if path.is_dir()]
    Path("mine.py").write_text(
        APP.replace("ROUND", "1 + 1")
    )  # of another length, or Python may run what it has compiled
    assert call("run", "mine.py", "--no-compare")[0] == 1
    assert [(one.status, one.done) for one in h.Store("runs").runs()] == [("failed", 1)]
    run = h.Store("runs").new("", "", "mine.py", {})
    run.keep_survey("digest", replace(h.Plan(h.Softmax(2, 2)).start(), round=1))
    assert not fail(run) and len(h.Store("runs").runs()) == 2


APP = """
import numpy as np
import hansa
class Fails(hansa.FedAvg):
    def step(self, x, memo, mean, n):
        Fails.round = getattr(Fails, "round", 0) + 1
        if Fails.round == ROUND:
            raise ArithmeticError("no")
        return super().step(x, memo, mean, n)
data = {f"c{i}": (np.ones((8, 3)), np.arange(8) % 2) for i in range(3)}
app = hansa.App(hansa.Plan(hansa.Softmax(3, 2), Fails(), rounds=3), data)
"""


# ── one plot ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P683")
def test_compared_runs_are_on_one_plot_in_the_terminal_and_on_a_page(named: h.Store, tmp_path: Path) -> None:
    first, second, _ = ids(named)
    named.open(second).relabel(h.store.Label("<b>fast</b>"))
    code, out, _ = call("compare", "baseline", second, "--html", "compared.html")
    assert code == 0
    plot = [line.split("│")[1] for line in out.splitlines() if "│" in line]
    assert len(plot) == 12 and {"●", "▲"} <= set("".join(plot)) and plot[0].startswith("▲") and "●" in plot[-1]
    assert f"● {first} baseline" in out and f"▲ {second} <b>fast</b>" in out
    page = (tmp_path / "compared.html").read_text()
    assert "&lt;b&gt;fast&lt;/b&gt;" in page and "<b>fast" not in page and page.count("data:image/png;base64") == 2
    assert "http" not in page and "<script" not in page and ">0.333<" in page and "training.learning_rate" in page
    for name, said in (("c.htm", "is no HTML"), ("no/c.html", "There is no folder no")):
        code, _, err = call("compare", first, second, "--html", name)
        assert code and said in err


# ── weights for other programs ───────────────────────────────────────────────────────────────────────────────────────


def exported(model: h.models.Model, path: Path) -> np.ndarray:
    x = model.start(h.Key.of(3))
    export(x, path, model)
    return x


@pytest.mark.promise("P680")
def test_weights_are_written_as_the_ending_says(tmp_path: Path) -> None:
    """Each is read by its library's own reader, which unpickles nothing; they are the numbers of x."""
    import torch
    from safetensors.numpy import load_file

    model = h.TorchModel(
        torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)), torch.nn.functional.cross_entropy
    )
    x = exported(model, tmp_path / "x.pt")
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    net.load_state_dict(state)
    assert np.array_equal(net[0].weight.detach().numpy().ravel(), x[model.slices()["0.weight"]].astype(np.float32))
    for name, read in (("x.npz", lambda path: np.load(path, allow_pickle=False)), ("x.safetensors", load_file)):
        export(x, tmp_path / name, model)
        found = read(tmp_path / name)
        assert all(np.array_equal(found[key], tensor.numpy()) for key, tensor in state.items())
    plain = h.Softmax(2, 2)
    export(plain.start(h.Key.of(0)), tmp_path / "file.npz")
    assert dict(np.load(tmp_path / "file.npz", allow_pickle=False)).keys() == {"x"}


@pytest.mark.promise("P680")
def test_an_ending_that_is_not_written_is_refused_with_those_that_are(tmp_path: Path) -> None:
    import torch

    torches = h.TorchModel(torch.nn.Linear(3, 2), torch.nn.functional.cross_entropy)
    for model, name, said in (
        (torches, "x.onnx", ".safetensors, .npz, .pt"),
        (torches, "x.pkl", ".safetensors, .npz, .pt"),
        (h.Softmax(2, 2), "x.keras", ".safetensors, .npz, .pt."),
        (torches, "x", ".safetensors"),
    ):
        with pytest.raises(AppError) as told:
            exported(model, tmp_path / name)
        assert said in told.value.why and not (tmp_path / name).exists()
