"""Early stopping: a run ends in the round that its history names, and the model of the best round is kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import hansa
from hansa import App, Ditto, EarlyStopping, Plan, Softmax, Store, Training
from hansa.algorithms import FedAvg
from hansa.app.compare import Fair
from hansa.app.running import how_it_ended
from hansa.cli import commands
from hansa.errors import AppError, PlanError, StoreError
from hansa.explain import explain
from hansa.rounds import Round
from hansa.ui.live import follow


def history(name: str, *values: float | None) -> list[Round]:
    """Rounds of which each has this value of a metric, or none."""
    return [Round(i + 1, metrics={} if value is None else {name: value}) for i, value in enumerate(values)]


def ends(stop: EarlyStopping, rounds: list[Round]) -> int | None:
    """After how many rounds of a history a run ends."""
    return next((n for n in range(len(rounds) + 1) if stop.over(rounds[:n])), None)


# ── on a given history ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards("what is no number is no better")
@pytest.mark.parametrize(
    ("stop", "values", "end", "best"),
    [
        # the least is 1.0 in round 3, and rounds 4 and 5 are not better
        (EarlyStopping("loss", 2), [3.0, 2.0, 1.0, 1.0, 1.5, 0.5], 5, 3),
        # a gain of 0.5 is not more than min_delta, one of 1.0 since round 1 is
        (EarlyStopping("loss", 2, 0.5), [3.0, 2.5, 2.0, 1.5, 1.5], 5, 3),
        (EarlyStopping("loss", 2, 0.5), [3.0, 2.5, 2.6, 2.0], 3, 1),
        # what is missing or no number is no better, and the best goes on to be compared with
        (EarlyStopping("loss", 3), [2.0, None, math.nan, 1.0, None, -math.inf, 1.0], 7, 4),
        (EarlyStopping("loss", 3), [None, math.nan, None, 1.0], 3, None),
        # more is better
        (EarlyStopping("accuracy", 1), [0.1, 0.2, 0.2], 3, 2),
        (EarlyStopping("loss", 1, mode="max"), [1.0, 2.0, 1.0], 3, 2),
        (EarlyStopping("loss", 4), [3.0, 2.0, 1.0, 1.0, 1.5, 0.5], None, 6),
    ],
)
def test_the_round_of_the_end_and_of_the_best(
    stop: EarlyStopping, values: list[float | None], end: int | None, best: int | None
) -> None:
    rounds = history(stop.metric, *values)
    assert ends(stop, rounds) == end
    assert stop.model(rounds[:end]) == best


@pytest.mark.guards("clients score the model of the round before")
def test_scores_of_clients_are_those_of_the_round_before() -> None:
    """A client scores the model that its round begins with: val_… of round 3 is of the model of round 2."""
    for name, best in (("val_loss", 2), ("personal_loss", 2), ("loss", 3)):
        rounds = history(name, 3.0, 2.0, 1.0, 1.5)
        assert EarlyStopping(name, 5).model(rounds) == best
    worse = history("val_loss", 1.0, 2.0)
    assert EarlyStopping("val_loss").model(worse) == 0
    assert "first weights, which are not kept" in EarlyStopping("val_loss").told(worse)


@pytest.mark.guards("nobody guesses which way is better")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping("loss", 0), "never waits"),
        (lambda: EarlyStopping("loss", min_delta=-1.0), "tells nothing apart"),
        (lambda: EarlyStopping("loss", mode="least"), "knows no better value"),
        (lambda: EarlyStopping("val_perplexity"), "Write mode='min' where less is better"),
        (lambda: EarlyStopping(3), "knows no better value"),  # type: ignore[arg-type]
    ],
)
def test_what_means_nothing_is_refused(make: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        make()


# ── in an app ────────────────────────────────────────────────────────────────────────────────────────────────────────

COURSE = (5.0, 4.0, 2.0, 3.0, 2.0, 6.0, 1.0, 1.0)  # of the loss after rounds 1, 2, …


@dataclass(frozen=True)
class Step(FedAvg):
    """Each round adds 1 to the model, so that it tells its round."""

    def step(self, x: Any, memo: Any, mean: Any, n: int) -> Any:
        return x + 1.0, memo


class Planned(Softmax):
    """Its loss after a round is that of the course; a client scores the model that it gets."""

    def score(self, x: Any, data: Any, local: Any = None) -> dict[str, float]:
        found = super().score(x, data)
        return {**found, "loss": COURSE[round(float(x[0])) - 1] if x[0] >= 1 else 9.0}


def records(n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, 2)), rng.integers(0, 2, n)


DATA = {"north": records(8), "south": records(9)}
TRAINING = Training(learning_rate=0.1, batch=0, validation=0.3)
PLAN = Plan(Planned(2, 2), Step(), training=TRAINING, rounds=8)


def app_of(metric: str = "test_loss", patience: int = 3, **more: Any) -> App:
    return App(PLAN, DATA, test=records(10), stop=EarlyStopping(metric, patience), **more)


def new(store: Store) -> Any:
    return store.new(repr(PLAN), PLAN.digest, "app.py", {}, PLAN.rounds)


def left(run: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.glob("*.safetensors")}


@pytest.mark.promise("P330")
@pytest.mark.parametrize(("metric", "end"), [("test_loss", 6), ("val_loss", 7)])
def test_a_run_ends_where_its_history_says_and_a_killed_one_too(tmp_path: Path, metric: str, end: int) -> None:
    """Test loss is best after round 3, and rounds 4, 5, 6 are not better; clients see it a round later."""
    app, store = app_of(metric), Store(tmp_path)
    whole = new(store)
    states = list(app.run(whole))
    assert [one.round for one in states] == list(range(1, end + 1))
    assert whole.best() == 3
    assert whole.state("best").x.tobytes() == whole.state(3).x.tobytes() == states[2].x.tobytes()
    assert [path.name[:6] for path in sorted(whole.folder.glob("*state*"))] == ["000003", f"{end - 1:06}", f"{end:06}"]
    whole.finish("done")
    for killed in (2, 3, 4, end):
        run = new(store)
        for one in app.run(run):
            if one.round == killed:
                break
        run.finish("stopped")
        run = store.resume(run.id)
        assert [one.round for one in app.run(run)] == list(range(killed + 1, end + 1))
        assert (run.best(), left(run)) == (3, left(whole))
        run.finish("stopped")


@pytest.mark.guards("another best is kept as such no longer")
def test_the_best_moves_and_is_dropped_with_the_metric(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = new(store)
    found = [run.best() for _ in app_of(patience=8).run(run)]
    assert found == [1, 2, 3, 3, 3, 3, 7, 7]
    assert len(list(run.folder.glob("*state*"))) == 2  # 7 and 8
    for _ in App(PLAN, DATA).run(other := new(store)):
        assert other.best() is None
    with pytest.raises(StoreError, match="no best model"):
        other.state("best")
    with pytest.raises(StoreError, match="no checkpoint of round 3") as error:
        other.state(3)
    assert "Take 7 or 8" in str(error.value)


def test_every_checkpoint_may_be_kept(tmp_path: Path) -> None:
    run = new(Store(tmp_path))
    states = list(app_of(keep="all").run(run))
    assert [run.state(one.round).x.tobytes() for one in states] == [one.x.tobytes() for one in states]
    assert run.best() == 3


@pytest.mark.promise("P331")
@pytest.mark.guards("a metric that no round has is refused")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: app_of("val_f1"), ["no round of this plan has a 'val_f1'", "loss, val_loss, val_accuracy, test_loss"]),
        (lambda: App(PLAN, DATA, stop=EarlyStopping("test_loss")), ["It has loss, val_loss", "App(test=…)"]),
        (lambda: App(PLAN, DATA, stop="val_loss"), ["stop='val_loss'", "a metric and a patience"]),  # type: ignore[arg-type]
        (lambda: App(PLAN, DATA, keep="some"), ["keep='some'"]),  # type: ignore[arg-type]
    ],
)
def test_what_no_round_can_have_is_refused_before_work_starts(make: Any, words: list[str]) -> None:
    with pytest.raises(AppError) as error:
        make()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_explanation_says_when_the_rounds_end() -> None:
    told = str(app_of("val_loss").explain())
    assert "ends early | when val_loss has not become better for 3 rounds" in told
    assert "in the sum already, with its noise, and has no ε of its own" in told
    assert "the server's test data" in str(app_of("test_loss").explain())
    assert "ends early" not in str(explain(PLAN))


@pytest.mark.guards("all are compared after as many rounds")
def test_the_comparison_trains_as_long_as_the_federation_did() -> None:
    """It ended after 6 rounds of 8, of one pass each."""
    app = app_of()
    *_, state = app.run()
    assert {round(row.passes) for row in app.compare(state)} == {6}
    assert Fair(PLAN, {"north": 8, "south": 9}, 6).rounds == 6


# ── on the command line ──────────────────────────────────────────────────────────────────────────────────────────────

FILE = """
import hansa
from tests.contracts.test_stopping import app_of
app = app_of()
"""


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(commands, [str(one) for one in arguments], prog_name="hansa")
    return done.exit_code, done.stdout, done.stderr


def test_the_command_line_says_why_it_ended_and_exports_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    code, out, err = call("run", "mine.py", "--no-compare")
    assert code == 0, err
    words = "Ended after 6 of 8 rounds: no better test_loss for 3 rounds. The best test_loss, 2, is that of"
    assert f"{words} the model of round 3." in " ".join(out.split())
    (summary,) = Store("runs").runs()
    assert (summary.status, summary.done) == ("done", 6)
    assert f"{words} the model of round 3." in (tmp_path / "runs" / summary.id / "report.html").read_text()
    shown = " ".join(call("show", summary.id)[1].split())
    assert "best model round 3" in shown and " best 3 loss" in shown
    for which, at in (("best", 3), ("3", 3), ("5", 5), ("6", 6)):
        code, out, err = call("export", summary.id, "m.safetensors", "--raw", "--round", which)
        assert code == 0 and f"after round {at}." in out, err
        want = Store("runs").open(summary.id).state(at).x
        assert load_file("m.safetensors")["x"].tobytes() == want.tobytes()
        assert float(want[0]) == at
    code, _, err = call("export", summary.id, "m.safetensors", "--round", "2")
    assert code == 2 and "Take 3 or 5 or 6" in err
    assert call("export", summary.id, "m.safetensors", "--round", "last")[0] == 2


def test_files_and_settings_say_when_a_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table in TOML, then --set; a resumed run has kept both, and ends in the same round."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.replace("app_of()", "app_of(patience=8)"))
    (tmp_path / "bare.py").write_text(FILE.replace("app_of()", "app_of().__class__(app_of().plan, app_of().data)"))
    table = 'stop = {use = "EarlyStopping", metric = "loss", patience = 7, mode = "max"}'
    (tmp_path / "run.toml").write_text(f'app = "bare.py"\n{table}\n')

    def end_of(*words: object) -> str:
        """When the explanation says that the rounds end."""
        code, out, err = call("explain", *words)
        assert code == 0, err
        found = re.search(r"ends early +when (\S+) has not become better for (\d+)", out)
        return " ".join(found.groups()) if found else ""

    assert end_of("mine.py") == "test_loss 8"
    assert end_of("mine.py", "--set", "stop.patience=3") == "test_loss 3"
    assert end_of("bare.py") == ""
    assert end_of("run.toml") == "loss 7"
    assert end_of("run.toml", "--set", "stop.metric=val_loss", "--set", "stop.patience=2") == "val_loss 2"
    assert end_of("bare.py", "--set", 'stop={use="EarlyStopping", metric="val_loss"}') == "val_loss 5"

    code, out, err = call("run", "mine.py", "--no-compare", "--set", "stop.patience=1", "--rounds", "2")
    assert code == 0, err
    (summary,) = Store("runs").runs()
    assert Store("runs").open(summary.id).settings["set"]["stop.patience"] == 1
    code, out, err = call("run", "--resume", summary.id, "--no-compare", "--rounds", "8")
    assert "Ended after 4 of 8 rounds: no better test_loss for 1 round." in " ".join(out.split()), err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stop.patience=0", "never waits"),
        ("stop.patience=two", "It takes a whole number"),
        ("stop.patient=3", "Did you mean 'patience'?"),
        ("stop.metric=val_f1", "no round of this plan has a 'val_f1'"),
        ("stop=3", "a metric and a patience"),
        ('stop={use="EarlyStop", metric="loss"}', "Did you mean 'EarlyStopping'?"),
        ('stop={metric="loss"}', "`use` says of what"),
    ],
)
def test_a_setting_that_stops_nothing(
    setting: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    done = call("explain", "mine.py", "--set", setting)
    assert done[0] == 2 and words in done[2], done


@pytest.mark.guards("who names no best leaves it as it was")
def test_resuming_without_it_keeps_the_best(tmp_path: Path) -> None:
    """The run goes on to its last round, and the model that was the best until then is still there."""
    store = Store(tmp_path)
    run = new(store)
    for one in app_of(patience=8).run(run):
        if one.round == 4:
            break
    run.finish("stopped")
    run = store.resume(run.id)
    *_, last = App(PLAN, DATA, test=records(10)).run(run)
    assert (last.round, run.best()) == (8, 3)
    assert float(run.state("best").x[0]) == 3
    assert [path.name[:6] for path in sorted(run.folder.glob("*state*"))] == ["000003", "000007", "000008"]
    run.finish("stopped")


@pytest.mark.guards("a client's own model is of the last round")
def test_a_clients_own_model_is_that_of_the_last_round(tmp_path: Path) -> None:
    from hansa.app.personal import stored_model

    app = App(Plan(Softmax(2, 2), Ditto(), training=TRAINING, rounds=2), DATA)
    run = new(Store(tmp_path))
    list(app.run(run))
    assert stored_model(app, run, run.state(), "north")[0].shape == (app.plan.model.size,)
    with pytest.raises(AppError, match="own model after round 1"):
        stored_model(app, run, run.state(1), "north")


def test_a_resumed_run_that_is_over_stays_over(tmp_path: Path) -> None:
    app, store = app_of(), Store(tmp_path)
    run = new(store)
    assert follow(app, run, "a run", False, "again") == 0
    run = store.resume(run.id)
    assert follow(app, run, "a run", False, "again") == 0
    assert len(run.history()) == 6
    assert how_it_ended(app, run.history()).startswith("Ended after 6 of 8 rounds")
    assert hansa.EarlyStopping is EarlyStopping
