"""The noise of local steps, and the batches under it, have the distribution that the ledger counts on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from hansa import Clip, Key, PerExample, Plan, Softmax, TorchModel, Training, Weigh
from hansa.messages import SessionId
from hansa.models import Drift, Model
from hansa.spec import Vector
from hansa.training import drawn_rows

KEY = Key.of(0)  # a secret that repeats

FEATURES, CLASSES, N, B = 1999, 4, 6, 2
SILENT = PerExample(1e-9, 1e9)  # noise of σ = 1, and gradients of nothing beside it
TRAINING = Training(batch=B, steps=1, learning_rate=1.0, private=SILENT, report=False)


def model(name: str) -> Model:
    if name == "softmax":
        return Softmax(FEATURES, CLASSES)
    torch.manual_seed(0)
    return TorchModel(nn.Sequential(nn.Linear(FEATURES, CLASSES)), F.cross_entropy)


def noise(name: str, key: Key, training: Training = TRAINING) -> Vector:
    """What one training adds to the sum of its gradients."""
    of, rng = model(name), np.random.default_rng(0)
    data = rng.normal(size=(N, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, N)
    x = np.zeros(of.size)
    return np.asarray((x - of.train(x, data, training, Drift(), key).x) * B)


@pytest.mark.promise("P36")
@pytest.mark.parametrize("name", ["softmax", "torch"])
def test_the_noise_is_gaussian_of_the_size_that_is_named(name: str) -> None:
    draws = np.concatenate([noise(name, Key.of(seed)) for seed in range(8)])  # 64,000
    assert stats.kstest(draws, "norm").pvalue > 1e-4
    assert abs(draws.var() - 1) < 4 * np.sqrt(2 / draws.size) and abs(stats.kurtosis(draws)) < 4 * np.sqrt(
        24 / draws.size
    )
    for clip, z in ((2e-9, 1e9), (1e-9, 3e9)):
        other = noise(name, Key.of(0), Training(**{**vars(TRAINING), "private": PerExample(clip, z)}))
        assert other.std() / noise(name, Key.of(0)).std() == pytest.approx(clip * z, rel=1e-3)


def test_steps_rounds_clients_and_coordinates_draw_apart() -> None:
    plan = Plan(Softmax(FEATURES, CLASSES), pipe=(Clip(1.0), Weigh("one")), training=TRAINING)
    keys = [
        plan.context(round, SessionId(number=round), who, secret=KEY).key for round in range(2) for who in ("a", "b")
    ]
    private = plan.training.private
    assert private is not None
    shape = (plan.model.size,)
    one = [private.drawn(shape, key.child("noise", step)) for key in keys for step in range(3)]
    rows = np.array([*one, *(np.roll(v, 1) for v in one)])
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / np.sqrt(shape[0])


@pytest.mark.promise("P36")
def test_batches_are_poisson_samples() -> None:
    n, b, steps = 40, 8, 6000
    training = Training(batch=b, steps=steps, private=SILENT, report=False)
    drawn = np.zeros((steps, n))
    for step, rows in enumerate(drawn_rows(training, n, Key.of(3))):
        drawn[step, rows] = 1
    q = b / n
    sizes = drawn.sum(1).astype(int)
    want = stats.binom(n, q).pmf(np.arange(n + 1))
    low, high = 2, 15
    participants = np.bincount(np.clip(sizes, low, high), minlength=high + 1)[low:]
    expected = np.r_[want[: low + 1].sum(), want[low + 1 : high], want[high:].sum()] * steps
    assert stats.chisquare(participants, expected).pvalue > 1e-4
    assert np.abs(drawn.mean(0) - q).max() < 5 * np.sqrt(q * (1 - q) / steps)  # each example as often as any other
    pairs = np.corrcoef(drawn.T) - np.eye(n)
    assert np.abs(pairs).max() < 5 / np.sqrt(steps)  # and whatever the others do
    later = np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]
    assert abs(later) < 5 / np.sqrt(drawn.size)  # step by step anew
