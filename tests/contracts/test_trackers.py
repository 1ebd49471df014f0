"""Trackers: each library's own reader finds the rounds; one that fails or hangs stops nothing; none hears too much."""

from __future__ import annotations

import csv
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.contracts.test_cli import call

import hansa as h
from hansa.errors import AppError
from hansa.rounds import Round
from hansa.ui.trackers import NAMES, Rounds, Tracked, checked, parameters
from hansa.ui.trackers import following as trackers
from hansa.ui.trackers.csv import Csv
from hansa.ui.trackers.mlflow import Mlflow
from hansa.ui.trackers.tensorboard import TensorBoard
from hansa.ui.trackers.wandb import Wandb

CANARY = 4711.25  # a record's value
PLAIN = {"pipe": (h.Weigh("one"),), "sample": h.Everyone()}


class Heard:
    """A stranger's tracker: it keeps what it is told."""

    def __init__(self) -> None:
        self.run: Tracked | None = None
        self.rounds: list[Round] = []
        self.ended = ""
        self.report: Path | None = None

    def track(self, run: Tracked, rounds: Rounds) -> None:
        self.run = run
        self.rounds.extend(rounds)
        self.ended = rounds.ended
        self.report = run.report


class Broken:
    """One that fails in its second round."""

    def track(self, run: Tracked, rounds: Rounds) -> None:
        for one in rounds:
            if one.round == 2:
                raise ConnectionError("no route to the server\nwith a second line")


def app(rounds: int = 3, **more: Any) -> h.App:
    rng = np.random.default_rng(0)
    data = {f"c{i}": (np.vstack([rng.normal(size=(11, 3)), [[CANARY, 0, 0]]]), np.arange(12) % 2) for i in range(4)}
    plan = h.Plan(
        h.Softmax(3, 2),
        pipe=(h.Clip(1.0, side=2.0), h.Weigh("one"), h.GaussianNoise(0.01)),
        training=h.Training(learning_rate=0.1, validation=0.25),
        sample=h.Poisson(0.99),
        rounds=rounds,
    )
    return h.App(replace(plan, **more.pop("plan", {})), data, **more)


def stored(tmp_path: Path, one: h.App, **label: Any) -> h.store.Run:
    plan = one.known_plan
    called = h.store.Label(**label)
    return h.Store(tmp_path / "runs").new(repr(plan), plan.digest, "mine/app.py", {}, plan.rounds, called)


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, ...]]:
    """A run that all of ours have followed, with a stranger's, and the trackers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    mlflow = Mlflow(f"sqlite:///{tmp_path}/mlflow.db")
    ours = [Csv(), TensorBoard(), mlflow, Wandb(), Heard()]
    one = app(track=ours)
    run = stored(tmp_path, one, name="baseline", tags=("paper",), note="a note")
    (run.folder / "report.html").write_text("a report")
    secret = run.secret().secret
    for _ in one.run(run):
        pass
    run.finish("done")
    assert run.tracked == dict.fromkeys(("Csv", "TensorBoard", "Mlflow", "Wandb", "Heard"), "")
    yield run, ours, secret


@pytest.mark.promise("P674", "P675")
@pytest.mark.guards("a tracker hears what the store holds", "no report is sent unasked")
def test_all_of_ours(followed: Any, tmp_path: Path) -> None:
    """In one test, for one run is read by all: each by its library's own reader."""
    run, ours, secret = followed
    history = run.history()
    _csv(run, history)
    _tensorboard(run, history)
    _mlflow(ours[2], run, history)
    _wandb(run, history)
    _no_more_than_the_store(ours[4], history, secret, tmp_path)


def _csv(run: h.store.Run, history: list[Round]) -> None:
    with open(run.folder / "rounds.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [one.metrics["val_loss"] for one in history]
    assert [float(row["epsilon_client"]) for row in rows] == [one.spent["client"].epsilon for one in history]


def _tensorboard(run: h.store.Run, history: list[Round]) -> None:
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))  # its own reader of files, not TensorFlow's
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    (file,) = (run.folder / "tensorboard").glob("events.out.tfevents.*")
    events = [event for event in LegacyEventFileLoader(str(file)).Load() if event.HasField("summary")]
    told, *scalars = events
    info = parse_session_start_info_plugin_data(told.summary.value[0].metadata.plugin_data.content)
    assert info.hparams["training.learning_rate"].number_value == 0.1
    assert info.hparams["run"].string_value == "baseline"
    found = [{one.tag: one.simple_value for one in event.summary.value} for event in scalars]
    assert [event.step for event in scalars] == [1, 2, 3]
    for values, one in zip(found, history, strict=True):
        assert values["val_loss"] == pytest.approx(one.metrics["val_loss"])
        assert values["epsilon_client"] == pytest.approx(one.spent["client"].epsilon)


def _mlflow(tracker: Mlflow, run: h.store.Run, history: list[Round]) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name("hansa")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "baseline" and found.info.status == "FINISHED"
    assert found.data.params["training.learning_rate"] == "0.1" and found.data.params["pipe.2.noise"] == "0.01"
    assert found.data.tags["hansa_run"] == run.id and found.data.tags["mlflow.note.content"] == "a note"
    seen = client.get_metric_history(found.info.run_id, "val_loss")
    assert {one.step: one.value for one in seen} == {one.round: one.metrics["val_loss"] for one in history}
    assert not client.list_artifacts(found.info.run_id)  # nobody has asked for it
    rounds = Rounds()  # once more, as a run that was resumed is told: nothing is there twice
    for one in history:
        rounds.put(one)
    rounds.end("stopped")
    label = h.store.Label("renamed", ("final",))
    about = Tracked(run.id, "app.py", label, "", "", 4, run.started, run.folder, {"rounds": 4})
    replace(tracker, report=True).track(about, rounds)
    assert len(client.get_metric_history(found.info.run_id, "val_loss")) == 3
    (again,) = client.search_runs([experiment.experiment_id])
    assert (again.info.status, again.info.run_name) == ("KILLED", "renamed")
    assert (again.data.tags["hansa_rounds"], again.data.tags["tags"]) == ("4", "final")
    assert [one.path for one in client.list_artifacts(found.info.run_id)] == ["report.html"]


def _wandb(run: h.store.Run, history: list[Round]) -> None:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = (run.folder / "wandb").glob(f"offline-run-*/run-{run.id}.wandb")
    records = [Record.FromString(data) for data in _log(file.read_bytes())]
    (begun,) = (one.run for one in records if one.HasField("run"))
    assert begun.display_name == "baseline" and list(begun.tags) == ["paper"] and begun.notes == "a note"
    assert begun.host == "-" and not begun.HasField("git")  # nothing of the machine, and no code
    config = {one.key: one.value_json for one in begun.config.update}
    assert config["training.learning_rate"] == "0.1"
    rows = [{one.key or ".".join(one.nested_key): one.value_json for one in r.history.item} for r in records]
    losses = [float(row["val_loss"]) for row in rows if "val_loss" in row]
    assert losses == [one.metrics["val_loss"] for one in history]
    assert not any(one.HasField("artifact") and "report.html" in str(one.artifact) for one in records)


def _log(held: bytes) -> Iterator[bytes]:
    """The records of a file of wandb's: a log of LevelDB's in blocks of 32 KiB, behind a head of 7 bytes."""
    at, parts = 7, b""
    while at + 7 <= len(held):
        if 2**15 - at % 2**15 < 7:  # the rest of a block is filled
            at += 2**15 - at % 2**15
        size, kind = int.from_bytes(held[at + 4 : at + 6], "little"), held[at + 6]
        parts += held[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def _no_more_than_the_store(heard: Heard, history: list[Round], secret: bytes, tmp_path: Path) -> None:
    """Poisson: who took part is a secret that ε rests on, and is told to nobody; no record, no secret."""
    assert heard.run is not None and heard.ended == "done" and heard.report is not None
    assert heard.rounds == history
    assert heard.run.parameters == parameters(app().known_plan)
    assert all(one.hidden and not one.participants and not one.excluded for one in heard.rounds)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "hansa.sqlite"]
    assert len(written) > 6
    for path in written:
        held = path.read_bytes()
        for hidden in (str(CANARY).encode(), np.float64(CANARY).tobytes(), secret, secret.hex().encode(), b'"c2"'):
            assert hidden not in held, path


# ── trackers that fail ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P676")
@pytest.mark.guards("a tracker that fails is told and ends alone", "the record holds no word of a tracker's error")
def test_one_that_fails_is_told_once_and_the_run_ends_as_without_it(tmp_path: Path) -> None:
    """On the screen in its words, in the record by their kind: they may hold what a server is reached with."""
    heard = Heard()
    one = app(5, track=[Broken(), heard], plan=PLAIN)
    run = stored(tmp_path, one)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        states = []
        for state in one.run(run):
            states.append(state)
            if state.round == 2:
                _wait_for(lambda: all(one.name != "tracker Broken" for one in threading.enumerate()))
    words = [str(w.message) for w in told if w.category is trackers.Untracked]
    assert words == [
        "The tracker Broken has failed, and the run goes on without it. ConnectionError: no route to the server"
    ]
    assert len(heard.rounds) == 5 and states[-1].x.tobytes() == [*replace(one, track=()).run()][-1].x.tobytes()
    kept = h.Store(tmp_path / "runs").open(run.id)
    assert kept.tracked["Heard"] == "" and re.fullmatch(
        r"failed by round \d \(ConnectionError\)", kept.tracked["Broken"]
    )


def _wait_for(so: Any) -> None:
    until = time.monotonic() + 10
    while not so() and time.monotonic() < until:
        time.sleep(0.001)


@pytest.mark.promise("P676")
def test_one_that_never_ends_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "WAIT", 0.1)
    gate = threading.Event()

    class Hangs:
        def track(self, run: Tracked, rounds: Rounds) -> None:
            gate.wait(60)

    class Leaves:
        def track(self, run: Tracked, rounds: Rounds) -> None:
            raise SystemExit(3)

    one = app(plan=PLAIN, track=[Hangs(), Leaves(), Leaves()])
    run = stored(tmp_path, one)
    with pytest.warns(trackers.Untracked) as told:
        assert len(list(one.run(run))) == 3
    gate.set()
    assert any("Hangs had not finished 0 s after" in str(w.message) for w in told)
    assert run.tracked.keys() == {"Hangs", "Leaves", "Leaves 2"} and all(run.tracked.values())


@pytest.mark.promise("P677")
@pytest.mark.parametrize(
    ("track", "said"),
    [
        (["tensorbord"], "There is no tracker 'tensorbord'"),
        ("csv", "lists no trackers"),
        ([object()], "tracks nothing"),
        (["mlflow"], "needs mlflow, which is not installed"),
        ([Wandb()], "needs wandb, which is not installed"),
    ],
)
def test_what_cannot_follow_is_told_before_the_first_round(
    track: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hansa.ui.trackers as ours

    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    heard = Heard()
    with pytest.raises(AppError) as told:
        one = app(track=track if isinstance(track, str) else [heard, *track])
        next(one.run(stored(tmp_path, one)))
    assert said in str(told.value) and heard.run is None
    if "not installed" in said:
        assert "pip install 'hansa[" in told.value.instead


# ── resumed, without a store, from the command line ──────────────────────────────────────────────────────────────────


def test_a_resumed_run_is_told_from_its_first_round(tmp_path: Path) -> None:
    """Also to a tracker that was not there before, and one file has each round once."""
    one = app(4, plan=PLAIN)
    run = stored(tmp_path, one)
    states = replace(one, track=[Csv(), TensorBoard()]).run(run)
    next(states)
    states.close()  # Ctrl-C
    run.finish("stopped")
    heard = Heard()
    run = h.Store(tmp_path / "runs").resume(run.id)
    assert len(list(replace(one, track=[heard, Csv()]).run(run))) == 3
    assert [one.round for one in heard.rounds] == [1, 2, 3, 4] == [one.round for one in run.history()]
    assert len((run.folder / "rounds.csv").read_text().splitlines()) == 5
    assert h.Store(tmp_path / "runs").open(run.id).tracked == {"Csv": "", "TensorBoard": "", "Heard": ""}


def test_without_a_store_there_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    list(app(plan=PLAIN, track=["csv"]).run())
    (file,) = tmp_path.glob("tracked/*/rounds.csv")
    assert len(file.read_text().splitlines()) == 4


@pytest.mark.promise("P675")
@pytest.mark.guards("a tracker without a store hears no more")
def test_without_a_store_it_hears_no_more() -> None:
    heard = Heard()
    states = list(app(track=[heard]).run())
    assert [one.participants for one in states] != [()] * 3
    assert len(heard.rounds) == 3 and not any(one.participants or one.excluded for one in heard.rounds)


FILE = """
import numpy as np
import hansa
class Printed:
    def track(self, run, rounds):
        for one in rounds:
            open("heard.txt", "a").write(f"{run.name} {one.round}\\n")
rng = np.random.default_rng(0)
data = {f"c{i}": (rng.normal(size=(8, 3)), np.arange(8) % 2) for i in range(3)}
app = hansa.App(hansa.Plan(hansa.Softmax(3, 2), rounds=2), data, track=[Printed()])
"""


@pytest.mark.promise("P674")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's tracker in an app file, one of ours by name, and by the run's config; a sweep's, too."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE)
    code, _, err = call("run", "mine.py", "--track", "csv", "--name", "first", "--no-compare")
    assert code == 0, err
    (one,) = h.Store("runs").runs()
    assert Path("heard.txt").read_text() == "first 1\nfirst 2\n"
    assert (Path("runs") / one.id / "rounds.csv").is_file()
    assert "csv: told; Printed: told" in " ".join(call("show", "first")[1].split())
    code, _, err = call("run", "mine.py", "--track", "csv,mlflo")
    assert code and "There is no tracker 'mlflo'" in err and len(h.Store("runs").runs()) == 1
    Path("mine.toml").write_text('app = "mine.py"\nname = "second"\ntags = ["a", "b"]\ntrack = ["csv"]\n')
    assert call("sweep", "mine.toml", "--set", "training.learning_rate=0.1,0.2", "--tag", "rates")[0] == 0
    swept = h.Store("runs").runs()[1:]
    assert [one.label for one in swept] == [h.store.Label("second", ("rates",))] * 2
    assert all((Path("runs") / one.id / "rounds.csv").is_file() for one in swept)


def test_what_a_plan_is_set_to_is_told_by_path() -> None:
    told = parameters(app().known_plan)
    assert told["algorithm"] == "FedAvg" and told["pipe.0.norm"] == 1.0 and told["model.features"] == 3
    assert told["rounds"] == 3 and all(isinstance(value, str | int | float) for value in told.values())
    assert [name for name, _ in checked(NAMES)] == list(NAMES)
