"""What an audit finds is what its papers say it should, and it says what it cannot attack."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import hansa
from hansa.audit import AuditReport, audit, canaries, membership
from hansa.audit.bounds import area, curve, guessed, lower_bound, p_value, rate_at
from hansa.audit.canary import Directions
from hansa.audit.plots import picture
from hansa.cli import commands

APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
data = {f"c{i}": (rng.normal(size=(10, 64)), rng.integers(0, 3, 10)) for i in range(12)}
pipe = (hansa.Clip(0.5), hansa.Weigh("one"), hansa.GaussianNoise(4.0))
plan = hansa.Plan(hansa.Softmax(64, 3), pipe=pipe, training=hansa.Training(report=False), rounds=3)
app = hansa.App(plan, data)
"""


def test_directions_are_orthogonal_and_read_their_own() -> None:
    one = Directions.of(7, 100, hansa.Key.of(1))
    U = np.array([one.along(i, 100) for i in range(7)])
    np.testing.assert_allclose(U @ U.T, np.eye(7), atol=1e-12)
    v = hansa.Key.of(2).normal((100,))
    np.testing.assert_allclose(one.scores(v), U @ v)


@pytest.mark.promise("P71")
def test_the_bound_is_the_published_one() -> None:
    """Steinke, Nasr and Jagielski (2023), appendix D: m = 1000, r = 100, v = 75, δ = 10⁻⁴, 95 %: ε ≥ 0.673."""
    assert lower_bound(1000, 100, 75, 1e-4) == pytest.approx(0.673, abs=2e-4)


def test_the_bound_is_the_binomial_tail_where_delta_is_zero() -> None:
    for r, v, epsilon in ((50, 40, 0.3), (200, 101, 0.0), (10, 10, 2.0), (7, 0, 1.0)):
        tail = stats.binom.sf(v - 1, r, 1 / (1 + math.exp(-epsilon)))
        assert p_value(1000, r, v, epsilon, 0.0) == pytest.approx(tail, rel=1e-9)
        assert p_value(1000, r, v, epsilon, 1e-5) >= tail * (1 - 1e-9)
    assert lower_bound(100, 50, 25, 0.0) == 0.0
    with pytest.raises(hansa.errors.AppError):
        p_value(10, 11, 5, 1.0, 0.0)


@pytest.mark.promise("P71")
def test_the_bound_fails_as_rarely_as_it_says() -> None:
    """Coins told by randomised response of ε = 1: the bound is above 1 in 5 % of audits at most."""
    rng, q = np.random.default_rng(0), 1 / (1 + math.exp(-1))
    above = [lower_bound(400, 400, int(v), 1e-6) > 1 for v in rng.binomial(400, q, 600)]
    assert 0.01 < np.mean(above) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_guesses_and_curves_by_hand() -> None:
    scores, truth = np.array([4.0, 3.0, 2.0, 1.0, 0.0, -1.0]), np.array([True, True, False, True, False, False])
    assert guessed(scores, truth, 0.7) == (4, 4) and guessed(scores, truth, 1.0) == (6, 4)
    false, true = curve(scores, truth)
    np.testing.assert_allclose(false, [0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(true, [0, 1 / 3, 2 / 3, 2 / 3, 1, 1, 1])
    assert area(false, true) == pytest.approx(8 / 9) and rate_at(false, true, 0.01) == pytest.approx(2 / 3)
    assert area(*curve(np.zeros(6), truth)) == 0.5


def test_what_cannot_be_inverted_is_said() -> None:
    class Odd(hansa.Softmax):
        def tensors(self, x: Any) -> dict[str, Any]:
            return {"x": x}

    with pytest.raises(hansa.errors.AppError, match="single record"):
        membership(hansa.App(hansa.Plan(hansa.Softmax(2, 2)), {"a": (np.zeros((1, 2)), np.zeros(1, int))}))
    with pytest.raises(hansa.errors.AppError, match="12 trained numbers"):
        canaries(hansa.App(hansa.Plan(hansa.Softmax(5, 2)), clinic := {"a": (np.zeros((4, 5)), np.zeros(4, int))}), 13)
    with pytest.raises(hansa.errors.AppError, match="no attack 'x'"):
        audit(hansa.App(hansa.Plan(hansa.Softmax(5, 2)), clinic), ["x"])


@pytest.mark.parametrize("sample", [hansa.Everyone(), hansa.Uniform(3), hansa.Poisson(0.5), hansa.InTurn(3)], ids=repr)
def test_every_sample_can_be_audited(sample: hansa.Sample) -> None:
    rng = np.random.default_rng(5)
    data = {f"c{i}": (rng.normal(size=(5, 64)), rng.integers(0, 4, 5)) for i in range(12)}
    app = hansa.App(
        hansa.Plan(hansa.Softmax(64, 4), training=hansa.Training(report=False), sample=sample, rounds=2), data
    )
    asked = round(sample.expected(12))
    report = audit(app, m=40)
    assert not report.missing and report.inversion is not None
    assert f"this plan: the mean of {asked} clients that is published" in {one.name for one in report.inversion.views}


def test_the_command_audits_files_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    Path("mine.py").write_text(APP)
    call = CliRunner().invoke
    told = call(commands, ["audit", "mine.py", "--canaries", "100", "--attacks", "canary, inversion", "--out", "here"])
    assert told.exit_code == 0, told.output
    assert "does not contradict" in told.output and "likeness" in told.output and "lower bound" in told.output
    assert {path.name for path in Path("here").iterdir()} == {
        "audit.txt", "audit.json", "audit-canary.png", "audit-inversion.png",
    }  # fmt: skip
    numbers = json.loads(Path("here/audit.json").read_text())
    assert numbers["canary"]["canaries"] == 100 and not numbers["canary"]["broken"]
    assert numbers["canary"]["epsilon_at_least"] <= numbers["canary"]["epsilon_promised"]
    assert numbers["inversion"]["views"][0]["likeness"] > 0.999

    assert call(commands, ["run", "mine.py", "--no-compare"]).exit_code == 0
    (run,) = (path.parent for path in Path("runs").glob("*/report.html"))
    told = call(commands, ["audit", run.name, "--attacks", "membership"])
    assert told.exit_code == 0, told.output
    assert (run / "audit-membership.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((run / "audit.json").read_text())["membership"]["runs"] == 9
    told = call(commands, ["audit", "mine.py", "--attacks", "guessing"])
    assert told.exit_code == 2 and "no attack 'guessing'" in told.output


def test_an_attack_without_room_is_named_with_its_reason() -> None:
    data = {f"c{i}": (np.full((1, 5), float(i)), np.zeros(1, int)) for i in range(3)}
    report = audit(hansa.App(hansa.Plan(hansa.Softmax(5, 2)), data), m=12)
    assert isinstance(report, AuditReport) and set(report.missing) == {"membership"}
    assert "single record" in str(report) and report.canary is not None and report.canary.promise.epsilon is None
    assert set(report.plots()) == {"canary", "inversion"}


def test_pictures_are_told_from_tables() -> None:
    assert picture(np.zeros(64)).shape == (8, 8) and picture(np.zeros((1, 5, 7))).shape == (5, 7)  # type: ignore[union-attr]
    assert picture(np.zeros((3, 5, 7))).shape == (5, 7, 3) and picture(np.zeros((5, 7, 3))).shape == (5, 7, 3)  # type: ignore[union-attr]
    assert picture(np.zeros(30)) is None and picture(np.zeros(9)) is None
