"""A sample that ε rests on is a secret: nothing that a run shows or leaves names who was in it, and no round stops."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests.pages import get, served
from typer.testing import CliRunner

from hansa import (
    App,
    Client,
    Clip,
    Everyone,
    FedAvg,
    GaussianNoise,
    InProcess,
    LaplaceNoise,
    Plan,
    Poisson,
    Quantize,
    Sample,
    Softmax,
    Store,
    Training,
    Uniform,
    Weigh,
    synchronous,
)
from hansa.cli import commands
from hansa.errors import RoundError
from hansa.explain import explain
from hansa.privacy import planned_privacy, spent_privacy, trainings
from hansa.store import files
from hansa.transforms import Transform
from hansa.ui.terminal import Progress

QUIET = Training(report=False)
# A hyphen, so that no word of a page is one of them.
NAMES = ("st-anouk", "st-bruno", "st-carla", "st-doris", "st-edgar")
RNG = np.random.default_rng(0)
DATA = {who: (RNG.normal(size=(8, 3)), RNG.integers(0, 2, 8)) for who in NAMES}
BAD = {**DATA, "st-doris": (RNG.normal(size=(8, 2)), RNG.integers(0, 2, 8))}  # a column is missing
SECRET = [Poisson(0.3), Uniform(1)]
IDS = ["poisson", "uniform"]


def plan(sample: Sample, *noise: Any, **more: Any) -> Plan:
    pipe = (Clip(1.0), Weigh("one"), *(noise or (GaussianNoise(1.0),)))
    return Plan(**{"model": Softmax(3, 2), "pipe": pipe, "training": QUIET, "sample": sample, "rounds": 12, **more})


def states(p: Plan, data: Any) -> list[Any]:
    return list(synchronous(p, InProcess([Client(who, p, one) for who, one in data.items()])))


@pytest.mark.guards("nobody in a secret sample ends the run", "a sum over nobody steps", "a small sample does not show")
@pytest.mark.promise("P80", "P95")
@pytest.mark.parametrize("sample", SECRET, ids=IDS)
def test_a_round_whose_only_client_has_bad_data_steps_with_noise_alone(sample: Sample) -> None:
    """To stop, or to name it, would tell that it was sampled; so would a model that stays as it was."""
    p = plan(sample, rounds=400)
    found = states(p, BAD)
    alone = [i for i, one in enumerate(found) if one.excluded.keys() == {"st-doris"} and not one.participants]
    assert alone and len(found) == 400 and not any(one.skipped for one in found)
    for i in alone:
        assert (found[i].x != (found[i - 1] if i else p.start()).x).all()
    with pytest.raises(RoundError, match="st-doris"):  # as it does where nothing rests on the sample
        states(plan(Uniform(1), LaplaceNoise(1.0), rounds=40), BAD)


@pytest.mark.guards("a sum over nobody steps")
@pytest.mark.promise("P95")
def test_a_sum_of_whole_numbers_over_nobody_steps_too() -> None:
    p = plan(Poisson(0.01), GaussianNoise(1.0), Quantize(20), rounds=5)
    found = states(p, DATA)
    assert any(not one.participants for one in found) and not any(one.skipped for one in found)


@pytest.mark.guards("a mean is over those expected")
@pytest.mark.promise("P33")
@pytest.mark.parametrize("sample", [Poisson(0.5), Uniform(2)], ids=IDS)
def test_how_many_took_part_does_not_show_in_the_noise(sample: Sample) -> None:
    """With all data bad and with nobody's, a round adds as much noise to the model: over the number expected."""
    p = plan(sample, rounds=400, model=Still(3, 2))
    good, bad = states(p, DATA), states(p, dict.fromkeys(NAMES, BAD["st-doris"]))
    assert any(one.participants for one in good) and not any(one.participants for one in bad)
    sizes = [np.diff([one.x for one in found], axis=0).std() for found in (good, bad)]
    assert sizes[0] == pytest.approx(sizes[1], rel=6 / np.sqrt(2 * good[0].x.size * len(good)))


class Still(Softmax):
    """A model that never moves."""

    def train(self, x: Any, data: Any, *more: Any) -> Any:
        return replace(super().train(x, data, *more), x=x)


@dataclass(frozen=True)
class Counts(Transform):
    """Learns how many vectors are in the sum."""

    def start(self) -> float:
        return 0.0

    def learn(self, total: Any, at: Any) -> float:
        return float(at.n)


class Steps(FedAvg):
    """Steps further the more clients there are."""

    def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
        return x + at.n, memo


@pytest.mark.guards("a mean is over those expected", "an algorithm steps for those expected")
@pytest.mark.promise("P33")
@pytest.mark.parametrize("sample", [Poisson(0.5), Uniform(2)], ids=IDS)
def test_no_piece_of_the_server_gets_to_know_how_many_there_were(sample: Sample) -> None:
    """A stranger's algorithm, or a transform before the clip, would put it into the model."""
    p = replace(plan(sample, algorithm=Steps()), pipe=(Counts(), Clip(1.0), Weigh("one"), GaussianNoise(1.0)))
    found = states(p, BAD)
    assert len({len(one.participants) for one in found}) > 1
    assert (
        len({one.transforms[0] for one in found}) == 1 and len({float(x) for x in np.diff([s.x[0] for s in found])}) < 3
    )
    assert planned_privacy(p, 5).epsilon(1e-5) is not None


APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
names = ("st-anouk", "st-bruno", "st-carla", "st-doris", "st-edgar")
data = {who: (rng.normal(size=(8, 3)), rng.integers(0, 2, 8)) for who in names}
data["st-doris"] = (rng.normal(size=(8, 2)), rng.integers(0, 2, 8))
pipe = (hansa.Clip(1.0), hansa.Weigh("one"), hansa.GaussianNoise(1.0))
plan = hansa.Plan(hansa.Softmax(3, 2), pipe=pipe, training=hansa.Training(report=False), sample=SAMPLE, rounds=9)
app = hansa.App(plan, data, data["st-anouk"])
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, sample in (("poisson", SECRET[0]), ("uniform", SECRET[1]), ("everyone", Everyone())):
        Path(f"{name}.py").write_text(APP.replace("SAMPLE", f"hansa.{sample!r}"))
    yield tmp_path


def call(*arguments: object) -> str:
    done = CliRunner().invoke(commands, [str(one) for one in arguments], prog_name="hansa")
    assert done.exit_code == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.guards(
    "a round knows that its sample is secret",
    "a checkpoint names no one in a secret sample",
    "a history knows that its sample is secret",
    "no one in a secret sample is shown",
    "a line of a round shows no secret sample",
    "no secret sample is drawn",
    "a report says that its sample is secret",
)
@pytest.mark.promise("P80")
@pytest.mark.parametrize("name", ["poisson", "uniform"])
def test_nothing_that_a_run_leaves_behind_names_who_took_part(here: Path, name: str) -> None:
    """Terminal, `show`, report, history, checkpoints, the database's own bytes; and the run that is resumed."""
    out = call("run", f"{name}.py", "--rounds", 5)
    id = re.findall(r"run (\S+)  ", out)[0]
    out += call("run", "--resume", id, "--rounds", 9) + call("show", id) + call("runs")
    folder = Path("runs") / id
    page = (folder / "report.html").read_text()
    run = Store("runs").open(id)
    history, last = run.history(), run.state()
    assert len(history) == 9 and all(one.hidden and not one.participants and not one.excluded for one in history)
    assert last is not None and last.hidden and last.participants == () and not last.excluded
    held = [path.read_bytes() for path in [Path("runs/hansa.sqlite"), *folder.iterdir()] if path.is_file()]
    for who in NAMES:
        assert who not in out and who not in page and not any(who.encode() in one for one in held)
    with served(Path("runs")) as port:
        live = "".join(get(port, path)[2] for path in ("/", f"/runs/{id}", f"/runs/{id}/rounds.csv"))
    assert "a secret that ε rests on" in live and not [who for who in NAMES if who in live]
    assert 'data-plot="who took part' not in live
    assert "took part:" not in out and "not in the sum:" not in out
    assert 'data-plot="who took part' not in page
    assert "a secret that ε rests on" in page and "Nobody was lost" not in page
    known = call("run", "everyone.py")
    assert "took part: st-anouk, st-bruno, st-carla, st-edgar" in known and "st-doris" in known


@pytest.mark.guards("no one in a secret sample is shown", "the live view shows no secret sample")
@pytest.mark.promise("P80")
def test_the_live_view_shows_no_client(here: Path) -> None:
    shown = []
    for p in (plan(SECRET[0]), plan(Everyone())):
        console = Console(record=True, width=120, force_terminal=False)
        progress = Progress(console, 12, NAMES)
        for state in states(p, DATA):
            progress.show(state)
        console.print(progress.view())
        shown.append(console.export_text())
    assert not any(who in shown[0] for who in NAMES) and "a secret that ε rests on" in shown[0]
    assert all(who in shown[1] for who in NAMES)


@pytest.mark.guards("rounds of a secret sample count for all", "rounds without names count as known ones")
@pytest.mark.promise("P30")
@pytest.mark.parametrize("sample", SECRET, ids=IDS)
def test_a_history_without_names_counts_every_round_for_every_client(sample: Sample, tmp_path: Path) -> None:
    p = plan(sample)
    run = Store(tmp_path).new(repr(p), p.digest, "app/__init__.py", {}, 12)
    live = list(App(p, DATA).run(run))
    for past in (live, run.history()):
        assert spent_privacy(p, past, 5).guarantee(1e-5) == planned_privacy(p, 5).guarantee(1e-5)
    assert trainings("st-anouk", run.history()) == 12 > trainings("st-anouk", live)
    known = replace(p, sample=Everyone())  # whoever reads that history as another plan's still counts all of it
    assert spent_privacy(known, run.history(), 5).epsilon(1e-5) == planned_privacy(known, 5).epsilon(1e-5)
    run.finish("done")
    assert files.held(run.folder / "lock") is False


@pytest.mark.guards("a quorum shows the sample")
@pytest.mark.promise("P32")
def test_a_sample_that_a_quorum_shows_is_counted_as_known() -> None:
    for by in (Poisson, Uniform):
        size = 0.1 if by is Poisson else 2
        secret, shown = (planned_privacy(plan(by(size, quorum=q)), 40).epsilon(1e-5) for q in (1, 2))
        assert shown == planned_privacy(plan(Everyone()), 40).epsilon(1e-5) and secret is not None and shown is not None
        assert secret < 0.8 * shown
        assert "misses its quorum shows" in str(explain(plan(by(size, quorum=2)), 40))
        assert not plan(by(size, quorum=2)).encoded_spec.hidden


@pytest.mark.guards("who sees a secret sample is told")
@pytest.mark.promise("P80")
@pytest.mark.parametrize("sample", SECRET, ids=IDS)
def test_explain_says_who_sees_the_sample(sample: Sample) -> None:
    participants = next(one for one in explain(plan(sample), 5).sections if one.title == "Who sees what")
    told = {row[0]: row[1] for row in participants.rows}
    assert told.get("each client") == "whether it was asked itself"
    assert ("server", "who took part in a round, by name") in [row[:2] for row in participants.rows]
    assert told.get("who reads history, report or terminal") == "neither who took part nor how many"
    known = next(one for one in explain(plan(Everyone()), 5).sections if one.title == "Who sees what")
    assert len(known.rows) == len(participants.rows) - 3
