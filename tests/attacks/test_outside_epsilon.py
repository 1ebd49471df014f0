"""Nothing that is computed from clients' examples without noise stands beside ε, unless it is asked for and says so."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hansa import (
    App,
    Budget,
    Clip,
    GaussianNoise,
    PerExample,
    Plan,
    Poisson,
    Quantize,
    SkellamNoise,
    Softmax,
    Store,
    Training,
    VerifiedSum,
    Weigh,
)
from hansa.app.compare import OUTSIDE
from hansa.audit.report import AuditReport
from hansa.cli import commands
from hansa.messages import SessionId
from hansa.plan.server import absorb
from hansa.rand import Key
from hansa.sample import Everyone

RNG = np.random.default_rng(0)
DATA = {f"clinic {i}": (RNG.normal(size=(8 + i, 3)), RNG.integers(0, 2, 8 + i)) for i in range(4)}
TEST = (RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40))
QUIET = Training(report=False)
TIGHT = (Clip(1.0), Weigh("one"))
PLANS = {
    "noise": Plan(Softmax(3, 2), pipe=(*TIGHT, GaussianNoise(2.0)), training=QUIET, rounds=2),
    "noise in whole numbers": Plan(
        Softmax(3, 2), pipe=(*TIGHT, Quantize(16), SkellamNoise(2.0)), training=QUIET, rounds=2
    ),
    "noise of the aggregators": Plan(
        Softmax(3, 2), pipe=TIGHT, aggregator=VerifiedSum(noise=2.0), training=QUIET,
        sample=Everyone(quorum=2), rounds=2,
    ),
    "noise of the clients": Plan(
        Softmax(3, 2), training=Training(report=False, private=PerExample(1.0, 2.0)), rounds=2
    ),
}  # fmt: skip

APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
data = {f"clinic {i}": (rng.normal(size=(8 + i, 3)), rng.integers(0, 2, 8 + i)) for i in range(4)}
pipe = (hansa.Clip(1.0), hansa.Weigh("one"), *NOISE)
plan = hansa.Plan(hansa.Softmax(3, 2), pipe=pipe, training=hansa.Training(report=False), rounds=2)
app = hansa.App(plan, data, (rng.normal(size=(40, 3)), rng.integers(0, 2, 40)), budget=BUDGET)
"""
BROKEN = APP.replace("for i in range(4)}", "for i in range(4)}\ndata['clinic 2'] = ([[float('nan')] * 3], [0])")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    noisy = "[hansa.GaussianNoise(2.0)]"
    for name, text, noise, budget in (
        ("noisy", APP, noisy, "None"), ("kept", APP, noisy, "hansa.Budget(9.0)"),
        ("plain", APP, "[]", "None"), ("broken", BROKEN, noisy, "None"), ("bare", BROKEN, "[]", "None"),
    ):  # fmt: skip
        Path(f"{name}.py").write_text(text.replace("NOISE", noise).replace("BUDGET", budget))
    yield tmp_path


def call(*arguments: object, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(commands, [str(one) for one in arguments], prog_name="hansa")
    assert done.exit_code == code, done.stderr
    return _one_line(done.stdout), _one_line(done.stderr)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def report(out: str) -> str:
    """The page of a run."""
    folder = Path("runs") / re.findall(r"run (\S+) ", out)[0]
    return _one_line((folder / "report.html").read_text())


@pytest.mark.guards("no client of a plan that hides is trained alone")
@pytest.mark.promise("P77")
@pytest.mark.parametrize("name", ["noisy", "kept"])
def test_a_run_that_hides_its_clients_trains_none_of_them_alone(here: Path, name: str) -> None:
    out, _ = call("run", f"{name}.py")
    page = report(out)
    for told in (out, page):
        assert "clinic 0 alone" not in told and "pooled" not in told and "trains alone" not in told
    assert "on the central test, outside ε" not in page and "ε" in out
    plain, _ = call("run", "plain.py")
    assert "clinic 0 alone" in plain and "clinic 0 alone" in report(plain)
    assert "Outside ε" not in plain and "Outside ε" not in report(plain)


@pytest.mark.guards(
    "a comparison on the terminal says outside ε",
    "a comparison in a report says outside ε",
    "a summary holds nothing outside ε",
)
@pytest.mark.promise("P77")
def test_numbers_outside_epsilon_say_so_where_they_are_asked_for(here: Path) -> None:
    out, _ = call("run", "noisy.py", "--compare")
    page = report(out)
    for told in (out, page):
        assert (
            "clinic 0 alone" in told and "Outside ε" in told and told.index("Outside ε") < told.index("clinic 0 alone")
        )
    assert OUTSIDE in page.replace("&#39;", "'") and "trains alone reaches" not in page
    assert "on the central test, outside ε" in page


@pytest.mark.guards("a comparison knows that it is outside ε", "noise in training hides", "noise on the sum hides")
@pytest.mark.promise("P77")
@pytest.mark.parametrize("name", PLANS)
def test_every_row_of_a_comparison_says_whether_it_is_outside_epsilon(name: str) -> None:
    app = App(PLANS[name], DATA, TEST)
    *_, state = app.run()
    assert app.plan.hides and all(row.outside for row in app.compare(state))
    bare = App(replace(PLANS[name], pipe=TIGHT, aggregator=Plan(Softmax(3, 2)).aggregator, training=QUIET), DATA, TEST)
    assert not bare.plan.hides and not any(row.outside for row in bare.compare(state))


@pytest.mark.guards("a check says outside ε", "a profile says outside ε", "an audit says outside ε")
@pytest.mark.promise("P77")
def test_what_is_read_off_the_data_is_told_to_be_outside_epsilon(here: Path) -> None:
    """`check` names the client and what it found; a profile's times tell how much each has."""
    _, errors = call("check", "broken.py", code=2)
    assert "clinic 2" in errors and OUTSIDE in errors and errors.index(OUTSIDE) < errors.index("clinic 2")
    assert "Outside ε" not in call("check", "bare.py", code=2)[1]
    out, _ = call("run", "noisy.py", "--profile")
    assert OUTSIDE in out and out.index(OUTSIDE) < out.index("ms each")
    assert "Outside ε" not in call("run", "plain.py", "--profile", "--no-compare")[0]
    assert OUTSIDE in str(AuditReport("Audit", "Plan()"))


@pytest.mark.guards("noise on the sum hides how many examples")
@pytest.mark.promise("P77")
def test_how_many_examples_a_client_has_is_not_told_where_noise_hides_clients() -> None:
    """ε of an example is a function of that number; beside noise on the sum it is the client's secret."""
    private = Training(report=False, private=PerExample(1.0, 2.0))
    both = Plan(Softmax(3, 2), pipe=(*TIGHT, GaussianNoise(2.0)), training=private, rounds=2)
    (first, *_), (alone, *_) = App(both, DATA).run(), App(PLANS["noise of the clients"], DATA).run()
    assert "example" in alone.spent
    assert list(first.spent) == ["client"]


@pytest.mark.guards("a noised report is cut")
@pytest.mark.promise("P93")
@pytest.mark.parametrize("noise", [GaussianNoise(5.0), GaussianNoise(5.0, by="each")], ids=["server", "each"])
def test_a_noised_report_is_within_its_range(noise: GaussianNoise, tmp_path: Path) -> None:
    """Noise carries an accuracy below 0 and above 1; to cut it back costs no ε."""
    plan = Plan(
        Softmax(3, 2), pipe=(Clip(1.0, side=5.0), Weigh("one"), noise),
        training=Training(validation=0.25), rounds=40,
    )  # fmt: skip
    app = App(plan, DATA)
    run = Store(tmp_path).new(repr(plan), plan.digest, "app/__init__.py", {}, 40)
    states = list(app.run(run))
    for told in (states, run.history()):
        scored = [state.metrics for state in told if "val_loss" in state.metrics]  # type: ignore[attr-defined]
        rates = [metrics["val_accuracy"] for metrics in scored]
        assert len(scored) > 4 and all(0 <= rate <= 1 for rate in rates) and {0.0, 1.0} & set(rates)
        for name in ("loss", "val_loss"):
            assert all(0 <= metrics[name] < math.inf for metrics in scored)
    run.finish("done")


@pytest.mark.control("only noise carries a report out of its range")
@pytest.mark.promise("P93")
def test_a_report_without_noise_is_what_clients_say() -> None:
    """Whoever trains with a loss below zero reads it."""
    plan = Plan(Softmax(3, 2), pipe=(Weigh("one"),))
    spec = plan.spec
    received = spec.pack({"delta": np.zeros(spec.blocks["delta"]), "loss": -3.5})
    at = plan.context(0, SessionId(), secret=Key.fresh(), memo=plan.pipeline.start())
    state: Any = absorb(plan, plan.start(), (received, plan.pipeline.start()), ("a",), at)
    assert state.metrics["loss"] == -3.5


@pytest.mark.control("a budget needs noise, which hides already")
@pytest.mark.promise("P77")
def test_a_budget_hides_what_the_plan_hides() -> None:
    app = App(PLANS["noise"], DATA, TEST, budget=Budget(50.0, 1e-5))
    assert app.plan.hides and not App(Plan(Softmax(3, 2), sample=Poisson(0.5)), DATA, TEST).plan.hides
