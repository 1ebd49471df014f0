"""Where people see ε: in the states and the history of a run, on the terminal, in the report, and before all of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hansa
from hansa.app.federation import delta_of
from hansa.cli import commands
from hansa.config import Pieces
from hansa.explain import explain
from hansa.privacy.ledger import default_delta
from hansa.rounds import Round, Spent
from hansa.ui import private, scores, witness

APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
data = {f"c{i}": (rng.normal(size=(8, 3)), rng.integers(0, 2, 8)) for i in range(12)}
plan = hansa.Plan(hansa.Softmax(3, 2), pipe=(hansa.Clip(1.0, side=5.0), hansa.Weigh("one"), hansa.GaussianNoise(4.0)),
                  sample=hansa.Poisson(0.4), rounds=9)
app = hansa.App(plan, data, data["c0"], budget=BUDGET)
"""
DELTA = "1e-05"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "free.py").write_text(APP.replace("BUDGET", "None"))
    (tmp_path / "kept.py").write_text(APP.replace("BUDGET", "hansa.Budget(1.0, 1e-5)"))
    yield tmp_path


def call(*arguments: object) -> str:
    done = CliRunner().invoke(commands, [str(one) for one in arguments], prog_name="hansa")
    assert done.exit_code == 0, done.stderr
    return done.stdout


def epsilons(states: Iterable[Round]) -> list[float]:
    assert {one.spent["client"].delta for one in states} == {float(DELTA)}
    return [one.spent["client"].epsilon for one in states]


def test_each_state_tells_what_is_spent(here: Path) -> None:
    from hansa.app.load import load

    app = load(here / "free.py")
    states = list(app.run())
    wanted = [hansa.planned_privacy(app.plan, 12, t).epsilon(1e-5) for t in range(1, 10)]
    assert epsilons(states) == pytest.approx(wanted, abs=1e-9)
    assert delta_of(app) == default_delta(12) == 1e-5


def test_a_run_with_a_budget_ends_before_it_and_says_so(here: Path) -> None:
    from hansa.app.load import load

    out = call("run", "kept.py", "--no-compare")
    fits = max(
        t for t in range(1, 10) if hansa.Budget(1.0, 1e-5).allows(hansa.planned_privacy(load("kept.py").plan, 12, t))
    )
    assert 0 < fits < 9
    assert f"Ended after {fits} of 9 rounds: one more could pass ε = 1 at δ = 1e-05." in out
    run = re.findall(r"run (\S+)  ", out)[0]
    rounds = hansa.Store("runs").open(run).history()
    assert len(rounds) == fits and max(epsilons(rounds)) <= 1.0
    assert "Ended after" in call("run", "--resume", run, "--no-compare")
    assert len(hansa.Store("runs").open(run).history()) == fits


def test_a_resumed_run_remembers_what_it_has_spent(here: Path) -> None:
    run = re.findall(r"run (\S+)  ", call("run", "free.py", "--rounds", 4, "--no-compare"))[0]
    call("run", "--resume", run, "--rounds", 9, "--no-compare")
    whole = re.findall(r"run (\S+)  ", call("run", "free.py", "--no-compare"))[0]
    store = hansa.Store("runs")
    assert epsilons(store.open(run).history()) == epsilons(store.open(whole).history())


def test_without_the_rounds_before_there_is_no_number(here: Path) -> None:
    from hansa.app.load import load

    app = load(here / "free.py")
    first, *_ = app.run()
    for state in app.run(state=first):
        assert not state.spent


def test_show_and_report_tell_it(here: Path) -> None:
    out = call("run", "free.py", "--no-compare")
    run = re.findall(r"run (\S+)  ", out)[0]
    last = epsilons(hansa.Store("runs").open(run).history())[-1]
    told = f"ε {last:.3g} at δ {DELTA}"
    assert told in out
    assert told in re.sub(r"\s+", " ", call("show", run))
    assert "ε" in call("runs")
    page = (here / "runs" / run / "report.html").read_text()
    assert f"bounded: {told}" in page and "Differential privacy" in page
    assert 'data-plot="ε spent, for each client"' in page


@pytest.mark.promise("P26")
def test_explain_says_it_before(here: Path) -> None:
    out = re.sub(r"\s+", " ", call("explain", "kept.py"))
    from hansa.app.load import load

    promise = hansa.planned_privacy(load("kept.py").plan, 12).guarantee(1e-5)
    assert f"after 9 rounds ε = {promise.epsilon:.4g} at δ = 1e-05" in out
    assert "one client, and all it says in all rounds" in out and "with the client, or with nothing in its place" in out
    assert "sample that stays secret" in out


@pytest.mark.promise("P35")
def test_explain_says_what_noise_does_to_weights() -> None:
    """Their share of the sensitivity is 5 %, so σ = z·cap/√0.05."""
    quiet = hansa.Training(report=False)
    for weigh, told in ((hansa.Weigh("examples", cap=10), True), (hansa.Weigh("one"), False)):
        pipe = (hansa.Clip(1.0), weigh, hansa.GaussianNoise(2.0))
        found = explain(hansa.Plan(hansa.Softmax(2, 2), pipe=pipe, training=quiet)).warnings
        assert any("as much as 8.94 clients weigh" in warning for warning in found) is told


@pytest.mark.promise("P29")
def test_explain_says_why_there_is_none() -> None:
    for plan, why in (
        (hansa.Plan(hansa.Softmax(2, 2)), "adds no noise"),
        (
            hansa.Plan(
                hansa.Softmax(2, 2),
                pipe=(hansa.Clip(1.0, side=1.0), hansa.Weigh("one"), hansa.GaussianNoise(1.0)),
                sample=hansa.Uniform(5),
            ),
            "drawn from is not known",
        ),
    ):
        section = next(one for one in explain(plan).sections if one.title == "Differential privacy")
        assert why in section.text and not section.rows


def test_epsilon_is_no_score() -> None:
    one = Round(1, metrics={"loss": 1.0}, spent={"client": Spent(2.5, 1e-5)})
    assert scores(one.witnessed) == {"loss": 1.0} and witness(one.witnessed) == "training examples"
    assert private(one) == "ε 2.5 at δ 1e-05 for each client" and private(Round(1)) == ""
    both = Round(2, spent={"client": Spent(2.5, 1e-5), "example": Spent(0.25, 1e-6)})
    assert private(both) == "ε 2.5 at δ 1e-05 for each client; ε 0.25 at δ 1e-06 for each example"
    assert witness(both.witnessed) == ""


def test_a_budget_needs_a_plan_with_noise() -> None:
    data = {"a": ([[0.0, 1.0]], [0]), "b": ([[1.0, 1.0]], [1])}
    with pytest.raises(hansa.errors.AppError, match="adds no noise"):
        hansa.App(hansa.Plan(hansa.Softmax(2, 2)), data, budget=hansa.Budget(4.0))
    with pytest.raises(hansa.errors.AppError, match="ε at δ"):
        hansa.App(hansa.Plan(hansa.Softmax(2, 2)), data, budget=4.0)  # type: ignore[arg-type]


CALIBRATE = ("calibrate", "--epsilon", 4, "--rounds", 200, "--population", 10000)


@pytest.mark.promise("P43")
def test_calibrate_gives_noise_that_keeps_the_budget() -> None:
    for more, release in [
        (
            ("--cohort", 100),
            lambda z: hansa.privacy.mechanisms.Release(hansa.transforms.curves.Gaussian(z), "poisson", 0.01),
        ),
        (
            ("--cohort", 100, "--uniform"),
            lambda z: hansa.privacy.mechanisms.Release(hansa.transforms.curves.Gaussian(z), "uniform", 100, 10000),
        ),
        ((), lambda z: hansa.privacy.mechanisms.Release(hansa.transforms.curves.Gaussian(z))),
    ]:
        out = call(*CALIBRATE, "--delta", 1e-6, *more)
        z = float(re.findall(r"GaussianNoise\((\S+)\)", out)[0])
        found = hansa.privacy.ledger.Ledger().plus(release(z), 200).epsilon(1e-6)
        assert found is not None and 3.97 < found <= 4.0
        sample = eval(re.findall(r"sample=(\w+\([\d.]*\))", out)[0], {}, Pieces())  # noqa: S307
        assert isinstance(sample, hansa.Sample)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (("--cohort", 20000), "--cohort 10000 or fewer"),
        (("--epsilon", 0), "ε is positive"),
        (("--delta", 2), "between 0 and 1"),
        (("--epsilon", 1e-9), "Allow a larger ε"),
    ],
)
def test_calibrate_says_what_it_cannot_do(changed: tuple[object, ...], why: str) -> None:
    done = CliRunner().invoke(commands, [str(one) for one in (*CALIBRATE, *changed)])
    assert done.exit_code == 2 and why in " ".join(done.stderr.split())
