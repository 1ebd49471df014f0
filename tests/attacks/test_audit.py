"""What an audit must show: never more than the ledger promises, and more where the noise was sabotaged."""

from __future__ import annotations

import json
import math
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.audit import AuditReport, Canaries, audit, canaries, inversion, membership
from hansa.audit.bounds import area, curve, guessed, lower_bound, p_value, rate_at
from hansa.audit.canary import Directions
from hansa.audit.plots import picture
from hansa.cli import commands

FEATURES, CLASSES, CANARIES, MANY = 200, 10, 2000, 1500
CLIP, WEIGH = hansa.Clip(1.0), hansa.Weigh("one")
QUIET = hansa.Training(report=False, learning_rate=0.01)


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the noise that it says; in hansa's own classes, for a stranger's promise nothing."""
    gaussian, skellam = hansa.GaussianNoise._beside, hansa.SkellamNoise.draw

    def less(self: hansa.GaussianNoise, v: Any, at: hansa.Context) -> Any:
        return gaussian(self, v, at) / 4

    def fewer(self: hansa.SkellamNoise, sigma: float, size: int, key: hansa.Key) -> Any:
        return skellam(self, sigma / 4, size, key)

    monkeypatch.setattr(hansa.GaussianNoise, "_beside", less)
    monkeypatch.setattr(hansa.SkellamNoise, "draw", fewer)


class Own(hansa.GaussianNoise):
    """A stranger's noise, that draws what ours does."""


@cache
def federation(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {f"c{i}": (rng.normal(size=(2, FEATURES)), rng.integers(0, CLASSES, 2)) for i in range(n)}


def audited(name: str, gaussian: Any = hansa.GaussianNoise) -> Canaries:
    """The canary audit of one of several plans."""
    everyone = hansa.Everyone(quorum=MANY)
    settings: dict[str, dict[str, Any]] = {
        "server": {"pipe": (CLIP, WEIGH, gaussian(2.6)), "rounds": 2},
        "all": {"pipe": (CLIP, WEIGH, gaussian(2.0, by="all", least=MANY)), "rounds": 2, "sample": everyone},
        "each": {"pipe": (CLIP, WEIGH, gaussian(2.6, by="each")), "rounds": 2},
        "skellam": {
            "pipe": (CLIP, WEIGH, hansa.Quantize(16), hansa.SkellamNoise(2.5, by="all", least=MANY)),
            "rounds": 2,
            "sample": everyone,
        },
        "poisson": {"pipe": (CLIP, WEIGH, gaussian(2.4)), "rounds": 6, "sample": hansa.Poisson(0.5)},
        "uniform": {"pipe": (CLIP, WEIGH, gaussian(8.0)), "rounds": 4, "sample": hansa.Uniform(1900)},
        "learnt clip": {
            "pipe": (hansa.AdaptiveClip(), hansa.Weigh("examples", cap=4), gaussian(2.6)),
            "rounds": 2,
            "algorithm": hansa.FedAvg(server=hansa.Adam(0.01)),
        },
    }
    plan = hansa.Plan(hansa.Softmax(FEATURES, CLASSES), training=QUIET, **settings[name])
    many = name in ("all", "skellam")
    app = hansa.App(plan, federation(MANY if many else 40), secret=hansa.Key.of(1))
    return canaries(app, CANARIES // 2 if many else CANARIES)


PLANS = ("server", "all", "each", "skellam", "poisson", "uniform", "learnt clip")


@pytest.mark.parametrize("name", PLANS)
def test_an_honest_plan_is_not_refuted(name: str) -> None:
    found = audited(name)
    assert found.promise.epsilon is not None
    assert 0.2 < found.epsilon <= found.promise.epsilon < found.most and not found.broken


@pytest.mark.parametrize("name", PLANS)
def test_a_quarter_of_the_noise_is_noticed(name: str, sabotage: None) -> None:
    found = audited(name)
    assert found.promise.epsilon is not None and found.broken
    assert found.epsilon > found.promise.epsilon


def test_of_a_strangers_noise_only_the_attack_tells() -> None:
    """Nobody has promised anything, so there is nothing to refute."""
    found = audited("server", Own)
    assert found.promise.epsilon is None and "what Own gives away" in found.promise.why
    assert found.epsilon > 0.2 and not found.broken


def test_a_canary_is_clipped_and_weighed_like_everybody() -> None:
    """Its vector on the wire is as long as the bound that the plan infers, and no longer."""
    from hansa.audit.canary import Crafted, Tap

    plan = hansa.Plan(
        hansa.Softmax(5, 2),
        hansa.Scaffold(),
        (hansa.Clip(0.7), hansa.Weigh("examples", cap=3)),
        training=QUIET,
        rounds=1,
    )
    directions = Directions.of(2, 12, plan.key)
    plan = hansa.Plan(
        Crafted(plan.model, np.array([1e9, 0.0]), directions), plan.algorithm, plan.pipe, training=QUIET, rounds=1
    )
    data = [{"canary": np.full(8, i), "y": np.zeros(8, int)} for i in range(2)]
    tap = Tap([hansa.Client(f"c{i}", plan, one) for i, one in enumerate(data)], 0)
    list(hansa.synchronous(plan, tap))
    said, silent = plan.wire.unpack(tap.said["c0"]), plan.wire.unpack(tap.said["c1"])
    np.testing.assert_allclose(said["delta"], 3 * 0.7 * directions.along(0, 12), atol=1e-6)
    assert math.isclose(float(np.linalg.norm(said["control"])), 2.1, rel_tol=1e-6)
    assert said["weight"] == silent["weight"] == 3 and not silent["delta"].any()


def test_directions_are_orthogonal_and_read_their_own() -> None:
    one = Directions.of(7, 100, hansa.Key.of(1))
    U = np.array([one.along(i, 100) for i in range(7)])
    np.testing.assert_allclose(U @ U.T, np.eye(7), atol=1e-12)
    v = hansa.Key.of(2).normal((100,))
    np.testing.assert_allclose(one.scores(v), U @ v)


def test_the_bound_is_the_published_one() -> None:
    """Steinke, Nasr and Jagielski (2023), appendix D: m = 1000, r = 100, v = 75, δ = 10⁻⁴, 95 %: ε ≥ 0.673."""
    assert lower_bound(1000, 100, 75, 1e-4) == pytest.approx(0.673, abs=2e-4)


def test_the_bound_is_the_binomial_tail_where_delta_is_zero() -> None:
    for r, v, epsilon in ((50, 40, 0.3), (200, 101, 0.0), (10, 10, 2.0), (7, 0, 1.0)):
        tail = stats.binom.sf(v - 1, r, 1 / (1 + math.exp(-epsilon)))
        assert p_value(1000, r, v, epsilon, 0.0) == pytest.approx(tail, rel=1e-9)
        assert p_value(1000, r, v, epsilon, 1e-5) >= tail * (1 - 1e-9)
    assert lower_bound(100, 50, 25, 0.0) == 0.0
    with pytest.raises(hansa.AppError):
        p_value(10, 11, 5, 1.0, 0.0)


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


# ── membership ───────────────────────────────────────────────────────────────────────────────────────────────────────


def clinics(pipe: tuple[hansa.Transform, ...]) -> hansa.App:
    """Few records of many features, with labels of chance: all that a model can do is to learn them by heart."""
    rng = np.random.default_rng(3)
    data = {f"c{i}": (rng.normal(size=(20, 60)), rng.integers(0, 2, 20)) for i in range(8)}
    training = hansa.Training(report=False, epochs=5, learning_rate=0.5)
    return hansa.App(hansa.Plan(hansa.Softmax(60, 2), pipe=pipe, training=training, rounds=10), data)


def test_membership_is_seen_where_records_are_learnt_by_heart_and_not_behind_noise() -> None:
    bare = membership(clinics((hansa.Weigh("one"),)))
    assert bare.area > 0.75 and bare.rate > 0.03 and bare.records == 160 and bare.runs == 9
    noisy = membership(clinics((hansa.Clip(0.1), hansa.Weigh("one"), hansa.GaussianNoise(20.0))))
    assert abs(noisy.area - 0.5) < 0.06 and noisy.rate < 0.04


# ── inversion ────────────────────────────────────────────────────────────────────────────────────────────────────────


def pictures(shape: tuple[int, ...]) -> dict[str, Any]:
    """Smooth pictures of 8 × 8 pixels."""
    rng = np.random.default_rng(5)
    raw = rng.normal(size=(12, 5, 3, 3))
    smooth = np.kron(raw, np.ones((4, 4)))[..., 2:10, 2:10].astype(np.float32)
    return {f"c{i}": (smooth[i].reshape(5, *shape), rng.integers(0, 4, 5)) for i in range(12)}


def seen(app: hansa.App) -> dict[str, float]:
    """What was seen → how like the record it is."""
    return {view.name: view.likeness for view in inversion(app).views}


def test_a_dense_layer_gives_its_record_away() -> None:
    noise = (hansa.Clip(0.5), hansa.Weigh("one"), hansa.GaussianNoise(4.0))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 4))
    for model, shape in ((hansa.Softmax(64, 4), (64,)), (hansa.TorchModel(net, F.cross_entropy), (1, 8, 8))):
        found = seen(hansa.App(hansa.Plan(model, pipe=noise, training=QUIET), pictures(shape)))
        assert found["one record, Sum"] > 0.999 and found["one record, Clip(0.5)"] > 0.999
        assert found["one record, Clip, GaussianNoise(4)"] < 0.6
        assert found["this plan: the mean of 12 clients that is published"] < 0.6
        assert found["this plan: the client's vector, to its server"] > 0.5  # it sees what comes before its own noise


def test_a_convolution_gives_it_away_to_descent() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 64, 4))
    app = hansa.App(hansa.Plan(hansa.TorchModel(net, F.cross_entropy), training=QUIET), pictures((1, 8, 8)))
    found = inversion(app)
    likeness = {view.name: view.likeness for view in found.views}
    assert "descent" in found.how and likeness["one record, Sum"] > 0.95
    assert likeness["one record, Clip, GaussianNoise(1)"] < 0.6


@pytest.mark.parametrize("sample", [hansa.Everyone(), hansa.Uniform(3), hansa.Poisson(0.5), hansa.InTurn(3)], ids=repr)
def test_every_sample_can_be_audited(sample: hansa.Sample) -> None:
    app = hansa.App(hansa.Plan(hansa.Softmax(64, 4), training=QUIET, sample=sample, rounds=2), pictures((64,)))
    asked = sample.most or round(sample.size * 12) or 12
    report = audit(app, m=40)
    assert not report.missing and report.inversion is not None
    assert f"this plan: the mean of {asked} clients that is published" in {one.name for one in report.inversion.views}


def test_what_cannot_be_inverted_is_said() -> None:
    class Odd(hansa.Softmax):
        def tensors(self, x: Any) -> dict[str, Any]:
            return {"x": x}

    with pytest.raises(hansa.AppError, match="single record"):
        membership(hansa.App(hansa.Plan(hansa.Softmax(2, 2)), {"a": (np.zeros((1, 2)), np.zeros(1, int))}))
    with pytest.raises(hansa.AppError, match="12 trained numbers"):
        canaries(hansa.App(hansa.Plan(hansa.Softmax(5, 2)), clinic := {"a": (np.zeros((4, 5)), np.zeros(4, int))}), 13)
    with pytest.raises(hansa.AppError, match="no attack 'x'"):
        audit(hansa.App(hansa.Plan(hansa.Softmax(5, 2)), clinic), ["x"])


# ── the report ───────────────────────────────────────────────────────────────────────────────────────────────────────

APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
data = {f"c{i}": (rng.normal(size=(10, 64)), rng.integers(0, 3, 10)) for i in range(12)}
pipe = (hansa.Clip(0.5), hansa.Weigh("one"), hansa.GaussianNoise(4.0))
plan = hansa.Plan(hansa.Softmax(64, 3), pipe=pipe, training=hansa.Training(report=False), rounds=3)
app = hansa.App(plan, data)
"""


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
    assert told.exit_code == 1 and "no attack 'guessing'" in told.output


def test_a_refuted_promise_is_said_and_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sabotage: None
) -> None:
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    Path("weak.py").write_text(APP.replace("64", "400").replace("GaussianNoise(4.0)", "GaussianNoise(3.0)"))
    told = CliRunner().invoke(commands, ["audit", "weak.py", "--attacks", "canary", "--set", "rounds=2"])
    assert told.exit_code == 1 and "Broken" in told.output, told.output
    assert "ε ≥" in Path("audit/audit.txt").read_text()


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
