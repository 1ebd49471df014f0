"""What an audit must show: never more than the ledger promises, and more where the noise was sabotaged."""

from __future__ import annotations

import math
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.audit import Canaries, canaries, inversion, membership
from hansa.audit.canary import Directions
from hansa.cli import commands

FEATURES, CLASSES, CANARIES, MANY = 200, 10, 2000, 1500
CLIP, WEIGH = hansa.Clip(1.0), hansa.Weigh("one")
QUIET = hansa.Training(report=False, learning_rate=0.01)


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the noise that it says; in hansa's own classes, for a stranger's promise nothing."""
    gaussian, skellam = hansa.GaussianNoise._beside, hansa.SkellamNoise.draw

    def less(self: hansa.GaussianNoise, v: Any, at: hansa.transforms.Context) -> Any:
        return gaussian(self, v, at) / 10

    def fewer(self: hansa.SkellamNoise, sigma: float, size: int, key: hansa.Key) -> Any:
        return skellam(self, sigma / 10, size, key)

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
        "uniform": {"pipe": (CLIP, WEIGH, gaussian(5.0)), "rounds": 4, "sample": hansa.Uniform(1900)},
        "learnt clip": {
            "pipe": (hansa.AdaptiveClip(), hansa.Weigh("examples", cap=4), gaussian(2.6)),
            "rounds": 2,
            "algorithm": hansa.FedAvg(server=hansa.Adam(0.01)),
        },
    }
    plan = hansa.Plan(hansa.Softmax(FEATURES, CLASSES), training=QUIET, **settings[name])
    many = name in ("all", "skellam")
    n = {"all": MANY, "skellam": MANY, "uniform": 1900}.get(name, 40)
    app = hansa.App(plan, federation(n), secret=hansa.Key.of(1))
    return canaries(app, CANARIES // 2 if many else CANARIES)


PLANS = ("server", "all", "each", "skellam", "poisson", "uniform", "learnt clip")


@pytest.mark.guards(
    "the server draws Gaussian noise",
    "clients draw real noise",
    "clients draw whole numbers",
    "the update is clipped",
    "an adaptive clip cuts",
)
@pytest.mark.promise("P27")
@pytest.mark.parametrize("name", PLANS)
def test_an_honest_plan_is_not_refuted(name: str) -> None:
    found = audited(name)
    assert found.promise.epsilon is not None
    assert found.epsilon <= found.promise.epsilon < found.most and not found.broken


@pytest.mark.guards("an audit refutes")
@pytest.mark.promise("P71")
@pytest.mark.parametrize("name", PLANS)
def test_a_tenth_of_the_noise_is_noticed(name: str, sabotage: None) -> None:
    found = audited(name)
    assert found.promise.epsilon is not None and found.broken
    assert found.epsilon > found.promise.epsilon


@pytest.mark.guards("unknown noise has no ε")
@pytest.mark.promise("P84")
def test_of_a_strangers_noise_only_the_attack_tells() -> None:
    """Nobody has promised anything, so there is nothing to refute."""
    found = audited("server", Own)
    assert found.promise.epsilon is None and "what Own gives away" in found.promise.why
    assert found.epsilon > 0.2 and not found.broken


@pytest.mark.guards("the update is clipped", "a weight is capped")
@pytest.mark.promise("P44")
def test_a_canary_is_clipped_and_weighed_like_everybody() -> None:
    """Its vector on the wire is as long as the bound that the plan infers, and no longer."""
    from hansa.audit.canary import CanaryModel
    from hansa.audit.recording import RecordingRuntime

    plan = hansa.Plan(
        hansa.Softmax(5, 2),
        hansa.Scaffold(),
        (hansa.Clip(0.7), hansa.Weigh("examples", cap=3)),
        training=QUIET,
        rounds=1,
    )
    directions = Directions.of(2, 12, plan.key)
    plan = hansa.Plan(
        CanaryModel(plan.model, np.array([1e9, 0.0]), directions), plan.algorithm, plan.pipe, training=QUIET, rounds=1
    )
    data = [{"canary": np.full(8, i), "y": np.zeros(8, int)} for i in range(2)]
    tap = RecordingRuntime([hansa.Client(f"c{i}", plan, one) for i, one in enumerate(data)], 0)
    list(hansa.synchronous(plan, tap))
    reply, silent = plan.encoded_spec.unpack(tap.said["c0"]), plan.encoded_spec.unpack(tap.said["c1"])
    np.testing.assert_allclose(reply["delta"], 3 * 0.7 * directions.along(0, 12), atol=1e-6)
    assert math.isclose(float(np.linalg.norm(reply["control"])), 2.1, rel_tol=1e-6)
    assert reply["weight"] == silent["weight"] == 3 and not silent["delta"].any()


# ── membership ───────────────────────────────────────────────────────────────────────────────────────────────────────


def clinics(pipe: tuple[hansa.transforms.Transform, ...]) -> hansa.App:
    """Few records of many features, with labels of chance: all that a model can do is to learn them by heart."""
    rng = np.random.default_rng(3)
    data = {f"c{i}": (rng.normal(size=(20, 60)), rng.integers(0, 2, 20)) for i in range(8)}
    training = hansa.Training(report=False, epochs=5, learning_rate=0.5)
    return hansa.App(hansa.Plan(hansa.Softmax(60, 2), pipe=pipe, training=training, rounds=10), data)


@pytest.mark.guards("the server draws Gaussian noise")
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


@pytest.mark.guards("the server draws Gaussian noise")
@pytest.mark.promise("P72")
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


@pytest.mark.guards("the server draws Gaussian noise")
def test_a_convolution_gives_it_away_to_descent() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 64, 4))
    app = hansa.App(hansa.Plan(hansa.TorchModel(net, F.cross_entropy), training=QUIET), pictures((1, 8, 8)))
    found = inversion(app)
    likeness = {view.name: view.likeness for view in found.views}
    assert "descent" in found.how and likeness["one record, Sum"] > 0.95
    assert likeness["one record, Clip, GaussianNoise(1)"] < 0.6


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


@pytest.mark.guards("an audit refutes", "a refuted plan fails the command")
@pytest.mark.promise("P71")
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
