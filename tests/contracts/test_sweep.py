"""A sweep: each setting with each seed is a run; what they share is told; a second call does what is left."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.test_cli import call

import hansa as h
from hansa.app.sweep import Tried, planned, sweep
from hansa.cli.sweep import parted, tried_of
from hansa.config import set_, value_of
from hansa.config.run import Config
from hansa.errors import AppError, PlanError
from hansa.plan.checks import EXAMPLES
from hansa.rounds import Round, Spent
from hansa.ui.sweeps import by_setting, chosen_by, drawn, given_away, line, ordered, table, warned_of

RATES = {"training.learning_rate": (0.01, 0.1)}
APP = """
import numpy as np
import hansa
rng = np.random.default_rng(0)
def of(i):
    X = rng.normal(size=(20, 3)) + i / 3
    return X, (X[:, 0] > 0).astype(int)
app = hansa.App(hansa.Plan(hansa.Softmax(3, 2), rounds=2), {f"c{i}": of(i) for i in range(3)}, test=of(0))
"""


def app(**more: Any) -> h.App:
    rng = np.random.default_rng(0)
    data = {f"c{i}": (rng.normal(size=(12, 3)), np.arange(12) % 2) for i in range(3)}
    return h.App(h.Plan(h.Softmax(3, 2), rounds=2), data, **more)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


PLAN = h.Plan(h.Softmax(3, 2), pipe=(h.Clip(1.0), h.Weigh("one")))


@pytest.mark.promise("P670")
@pytest.mark.parametrize(
    ("path", "text", "toml"),
    [
        ("algorithm", "FedProx(mu=0.1)", '{use = "FedProx", mu = 0.1}'),
        ("algorithm", "Scaffold", '{use = "Scaffold"}'),
        ("algorithm", "Scaffold(server=Adam(lr=0.1))", '{use = "Scaffold", server = {use = "Adam", lr = 0.1}}'),
        ("pipe.0", "Clip(norm=2.0, side=3.0)", '{use = "Clip", norm = 2.0, side = 3.0}'),
        ("training.schedule", "Cosine", '{use = "Cosine"}'),
        ("training.only", '["bias*"]', '["bias*"]'),
    ],
)
def test_a_piece_is_written_as_python_writes_it_or_as_toml(path: str, text: str, toml: str) -> None:
    assert set_(PLAN, {path: value_of(text)}) == set_(PLAN, {path: value_of(toml)}) != PLAN


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("algorithm", "FedPrx", "Did you mean 'FedProx'"),
        ("algorithm", "FedProx(0.1)", "without a name"),
        ("algorithm", "__import__('os').x(1)", "is no piece"),
        ("algorithm", "FedProx(mu=open(name='x'))", "No piece is called 'open'"),
        ("algorithm", "FedProx(mu=1+1)", "is no piece"),
        ("algorithm", "FedProx(mu=", "is no value"),
        ("algorithm", "FedProx(mu=))", "As Python it is wrong"),
        ("pipe.0.norm", "Clip", "It takes a number"),
        ("seed", "Clip(norm=1.0)", "It takes a whole number"),
    ],
)
def test_what_is_no_piece_is_told(path: str, text: str, said: str) -> None:
    with pytest.raises(AppError) as told:
        set_(PLAN, {path: value_of(text)})
    assert said in str(told.value)


@dataclass(frozen=True)
class Named(h.FedAvg):
    """A stranger's algorithm with a setting that is a word."""

    mode: str | None = None


def test_a_text_stays_a_text_where_one_stands() -> None:
    plan = h.Plan(h.Softmax(3, 2), Named(mode="fast"))
    assert set_(plan, {"algorithm.mode": "Adam"}).algorithm == Named(mode="Adam")
    assert set_(h.Plan(h.Softmax(3, 2), Named()), {"algorithm.mode": "slow"}).algorithm == Named(mode="slow")


def test_a_piece_is_read_where_one_is_declared_whatever_stood_there() -> None:
    """A model of torch is no dataclass; a list of pieces may stand where there was none."""
    net = torch.nn.Linear(3, 2)
    plan = h.Plan(h.TorchModel(net, torch.nn.functional.cross_entropy))
    assert set_(plan, {"model": value_of("Softmax(features=3, classes=2)")}).model == h.Softmax(3, 2)
    assert set_(plan, {"pipe": ["Clip(norm=1.0)", "Weigh(by='one')"]}).pipe == PLAN.pipe
    for name, words in EXAMPLES.items():
        assert set_(PLAN, {name: value_of(words)})


def test_values_of_one_piece_are_checked_together() -> None:
    settings = {"training.private": "PerExample(clip=1.0, noise=1.1)", "training.report": False}
    for order in (settings, dict(reversed(settings.items()))):
        assert set_(PLAN, order).training == h.Training(private=h.PerExample(1.0, 1.1), report=False)
    for wins, order in ((0.2, ("algorithm", "algorithm.pull")), (0.1, ("algorithm.pull", "algorithm"))):
        values = {"algorithm": "FedProx(mu=0.1)", "algorithm.pull": 0.2}
        assert set_(PLAN, {path: values[path] for path in order}).algorithm == h.FedAvg(pull=wins)


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 5000, "[" * 100_000, "[" * 30 + "]" * 30], ids=len)
def test_a_value_that_is_too_large_is_told(text: str) -> None:
    with pytest.raises(AppError, match="cannot be read"):
        value_of(text)
    with pytest.raises(AppError):
        set_(PLAN, {"model": f"Softmax(features={text}, classes=2)"})


def test_commas_part_values_but_not_inside_brackets_and_quotes() -> None:
    assert parted("0.1, 0.2") == ["0.1", "0.2"]
    assert parted("FedAvg,Scaffold(server=Adam(lr=0.1, tau=0.2))") == [
        "FedAvg",
        "Scaffold(server=Adam(lr=0.1, tau=0.2))",
    ]
    assert parted("[1, 2],{use = 'a,b'}") == ["[1, 2]", "{use = 'a,b'}"]
    assert tried_of(["a=1,2", "a=3", "b=x"]) == {"a": [1, 2, 3], "b": ["x"]}


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_setting_with_each_seed_is_the_run_that_it_would_be_alone() -> None:
    tried = list(h.sweep(app(), {**RATES, "algorithm": ("FedAvg", h.Scaffold())}, seeds=2))
    assert [one.seed for one in tried] == [0, 1] * 4 and not any(one.error for one in tried)
    plan = h.Plan(h.Softmax(3, 2), h.Scaffold(), training=h.Training(learning_rate=0.1), rounds=2, seed=1)
    *_, alone = h.App(plan, app().data).run()
    assert tried[-1].rounds[-1].metrics == alone.metrics
    assert tried[-1].row["training.learning_rate"] == 0.1 and tried[-1].row["loss"] == alone.metrics["loss"]


def test_drawn_settings_are_the_same_each_time() -> None:
    many = {"training.learning_rate": [i / 100 for i in range(1, 50)]}
    first, second = ([one.settings for one in planned(app(), many, tries=5)] for _ in range(2))
    assert first == second and len(first) == 5


@pytest.mark.promise("P671")
@pytest.mark.parametrize(
    ("settings", "more", "said"),
    [
        ({"training.lr": [1]}, {}, "There is no 'training.lr'"),
        ({"training.learning_rate": [0.1, -1]}, {}, "is a positive number"),
        ({"training.learning_rate": np.array([])}, {}, "to try"),
        ({"algorithm": "FedAvg"}, {}, "a list of values"),
        ({"seed": [1, 2]}, {}, "counts seeds"),
        ({}, {"seeds": 0}, "seeds=0"),
        ({}, {"tries": 0}, "tries=0"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(
    tmp_path: Path, settings: Any, more: dict[str, Any], said: str
) -> None:
    store = h.Store(tmp_path)
    with pytest.raises((AppError, PlanError)) as told:
        list(sweep(app(), settings, store=store, **more))
    assert said in str(told.value) and not store.runs()


@pytest.mark.promise("P671")
def test_a_run_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    """A model of other data than there is for tests."""
    tested = app(test=(np.ones((4, 3)), np.arange(4) % 2))
    store = h.Store(tmp_path)
    tried = list(sweep(tested, {"model.features": (4, 3)}, store=store))
    assert [bool(one.rounds) for one in tried] == [False, True]
    assert "features" in tried[0].error and not tried[1].error
    assert [one.status for one in store.runs()] == ["done"]  # one that failed before its first round is no line


@pytest.mark.promise("P672")
def test_a_second_call_does_what_is_left(tmp_path: Path) -> None:
    """What is done stays, what was stopped goes on to the bytes of a run that was not."""
    file = tmp_path / "app.py"
    file.touch()
    config, store = Config(str(file)), h.Store(tmp_path / "runs")
    runs = sweep(app(), RATES, seeds=2, store=store, config=config)
    first = next(runs)
    runs.close()
    trial = planned(app(), RATES, seeds=2)[1]
    whole = [state.x.tobytes() for state in trial.app.run()]
    plan = trial.app.known_plan
    kept = {"rounds": None, "seed": None, "set": trial.written, "plan": {}, "stop": {}}
    stopped = store.new("", plan.digest, str(file), kept, plan.rounds)
    next(trial.app.run(stopped))
    stopped.finish("stopped")
    rest = list(sweep(app(), RATES, seeds=2, store=store, config=config))
    assert rest[0].run == first.run and rest[0].rounds == first.rounds and rest[1].run == stopped.id
    assert [one.before for one in rest] == [True, False, False, False] and "done before" in line(rest[0])
    state = store.open(stopped.id).state()
    assert state is not None and state.x.tobytes() == whole[-1]
    assert len(store.runs()) == 4 and {one.status for one in store.runs()} == {"done"}
    again = [one.run for one in sweep(app(), RATES, seeds=2, store=store, config=config)]
    assert again == [one.run for one in rest] and len(store.runs()) == 4


@pytest.mark.promise("P672")
def test_runs_of_another_file_and_of_none_are_not_taken(tmp_path: Path) -> None:
    """A plan's digest says nothing of data: what began before the file was changed is another app's."""
    file = tmp_path / "app.py"
    file.touch()
    store = h.Store(tmp_path / "runs")
    config = Config(str(file))
    (old,) = sweep(app(), {}, store=store, config=config)
    os.utime(file, (time.time() + 5,) * 2)
    (new,) = sweep(app(), {}, store=store, config=config)
    (one,), (other,) = (list(sweep(app(), {}, store=store)) for _ in range(2))
    assert len({old.run, new.run, one.run, other.run}) == 4


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(AppError, match="make the same run"):
        planned(app(), {"training.learning_rate": (1, 1.0)})


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


def of(rate: float, seed: int, loss: float, **more: Any) -> Tried:
    one = Round(1, metrics={"loss": loss, "accuracy": 1 - loss}, spent={"client": Spent(1.5, 1e-5)})
    return Tried({"rate": rate}, seed, (one,), **more)


def cells(found: Any) -> list[list[str]]:
    drawn = table(found)
    return [[str(cell) for cell in column.cells] for column in drawn.columns]


def test_a_row_has_mean_and_deviation_of_those_that_ended() -> None:
    tried = [of(0.1, 0, 0.4), of(0.1, 1, 0.6), of(0.2, 0, 0.3), of(0.2, 1, math.nan), of(0.2, 2, 0.1, error="too few")]
    found = by_setting(tried)
    rates, runs, losses, _ = cells(found)
    assert rates == ["0.1", "0.2"] and runs == ["2", "2 of 3"]
    assert losses == ["0.500 ± 0.141", "0.300 (1 of 2)"]
    whole = by_setting([*tried[:2], of(0.3, 0, 0.2), of(0.3, 1, 0.1)])
    assert [one.settings["rate"] for one in ordered(whole, "loss")] == [0.3, 0.1]
    assert [one.settings["rate"] for one in ordered(whole, "accuracy")] == [0.3, 0.1]
    assert [one.settings["rate"] for one in ordered(found, "loss")] == [0.1, 0.2]  # of which one seed alone is left
    for name, said in (("speed", "is not known"), ("auc", "No run has the score")):
        with pytest.raises(AppError, match=said):
            ordered(found, name)
    assert "too few" in line(tried[-1])


@pytest.mark.promise("P673")
def test_what_all_runs_give_away_adds_up() -> None:
    runs = [of(0.1, i, 0.5) for i in range(4)]
    assert "All 4 runs together have given away ε 6 at δ 4e-05 for each client." in given_away(runs)
    plain = Tried({}, 0, (Round(1, metrics={"loss": 1.0}),))
    assert "not known" in given_away([*runs, plain]) and not given_away([plain])


@pytest.mark.promise("P684")
def test_settings_are_chosen_by_what_clients_validate_and_not_by_the_test() -> None:
    """Where both are there, a score's name means the validation; the test data is used on purpose, and that is said."""

    def one(rate: float, val: float, test: float) -> Tried:
        last = Round(1, metrics={"loss": 0.5, "val_accuracy": val}, scores={"accuracy": test})
        return Tried({"rate": rate}, 0, (last,))

    tried = [one(0.1, 0.6, 0.9), one(0.2, 0.8, 0.7)]
    assert chosen_by(tried, "accuracy") == "val_accuracy" == chosen_by(tried, "val_accuracy")
    by = {name: [one.settings["rate"] for one in ordered(by_setting(tried), name)] for name in NAMES}
    assert by == {"val_accuracy": [0.2, 0.1], "test_accuracy": [0.1, 0.2], "accuracy": [0.1, 0.2]}
    assert not warned_of(tried, "val_accuracy") and not warned_of(tried, "loss")
    assert all("has no test left" in warned_of(tried, name) for name in ("test_accuracy", "accuracy"))
    head = [column.header for column in table(by_setting(tried), "val_accuracy").columns]
    assert head == ["rate", "runs", "val_accuracy", "loss", "accuracy"]
    assert drawn(by_setting(tried), "val_accuracy").startswith(b"\x89PNG")
    plain = [Tried({}, 0, (Round(1, scores={"accuracy": 0.9}),))]
    assert chosen_by(plain, "accuracy") == "accuracy" and "no test left" in warned_of(plain, "accuracy")


NAMES = ("val_accuracy", "test_accuracy", "accuracy")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text(APP)
    algorithms = 'algorithm=FedAvg,FedProx(mu=0.1),{use = "Scaffold"}'
    words = "sweep", "app.py", "--set", "training.learning_rate=0.01", "--set", algorithms
    code, out, err = call(*words, "--seeds", 2, "--sort", "accuracy", "--plot", "a.png")
    assert "whoever chooses by it has no test left" in err
    assert code == 0 and "FedProx(mu=0.1)" in out and "±" in out and "6 of 6" in err
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads(call(*words, "--seeds", 2, "--as", "json")[1])
    assert len(rows) == 6 == len(h.Store("runs").runs()) and {row["seed"] for row in rows} == {0, 1}
    for wrong, said in (
        (("--set", "training.rate=1"), "There is no 'training.rate'"),
        (("--plot", "a.pdf"), "is no PNG"),
        (("--plot", "no/a.png"), "There is no folder no"),
        (("--sort", "speed"), "is not known"),
        (("--set", "algorithm"), "sets nothing"),
    ):
        code, _, err = call("sweep", "app.py", *wrong)
        assert code == 2 and said in err
