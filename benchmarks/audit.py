"""What attacks show of plans on MNIST: canaries beside the ledger, membership, and records computed back.

Canaries: softmax regression, 7,850 numbers, 1,000 clients of 60 digits, 1,000 canaries, seeds 0 to 4, for plans of
several noises and samplings; each once as it says, once with a quarter of the noise that it says. Membership: 20
clients of 20 digits, trained long, with ever more noise. Inversion: one digit, two models; the plots go to the folder
that HANSA_PLOTS names.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save, shared
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.app.federation import delta_of
from hansa.audit import audit, canaries, membership
from hansa.datasets.mnist import mnist

CLIENTS, CANARIES, SEEDS, WEAKER = 1000, 1000, range(5), 4
CLIP, WEIGH = h.Clip(0.2), h.Weigh("one")
QUIET = h.Training(report=False, learning_rate=0.05)


@contextmanager
def weaker() -> Iterator[None]:
    """A quarter of the noise that hansa's own classes say; a stranger's class would promise no ε to refute."""
    gaussian, skellam = h.GaussianNoise._beside, h.SkellamNoise.draw
    h.GaussianNoise._beside = lambda self, v, at: gaussian(self, v, at) / WEAKER
    h.SkellamNoise.draw = lambda self, sigma, size, key: skellam(self, sigma / WEAKER, size, key)
    try:
        yield
    finally:
        h.GaussianNoise._beside, h.SkellamNoise.draw = gaussian, skellam


def plans() -> dict[str, dict[str, Any]]:
    """name → what a plan has beside model and training."""
    gaussian, skellam = h.GaussianNoise, h.SkellamNoise
    everyone, every = h.Everyone(quorum=CLIENTS), {"by": "all", "least": CLIENTS}
    return {
        "Gaussian by the server": {"pipe": (CLIP, WEIGH, gaussian(3.0)), "rounds": 4},
        "Gaussian by all": {"pipe": (CLIP, WEIGH, gaussian(2.0, **every)), "rounds": 4, "sample": everyone},
        "Gaussian by each": {"pipe": (CLIP, WEIGH, gaussian(3.0, by="each")), "rounds": 4},
        "Skellam by all, 16 bits": {
            "pipe": (CLIP, WEIGH, h.Quantize(16), skellam(2.5, **every)),
            "rounds": 2,
            "sample": everyone,
        },
        "Poisson sample, 50 %": {"pipe": (CLIP, WEIGH, gaussian(2.4)), "rounds": 6, "sample": h.Poisson(0.5)},
        "uniform sample of 1,000": {"pipe": (CLIP, WEIGH, gaussian(8.0)), "rounds": 4, "sample": h.Uniform(1000)},
        "learnt clip, by examples, Adam": {
            "pipe": (h.AdaptiveClip(), h.Weigh("examples", cap=60), gaussian(3.0)),
            "rounds": 4,
            "algorithm": h.FedAvg(server=h.Adam(0.01)),
        },
    }


def shown(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each plan: what the ledger says, what the attack shows, and what it shows of the weaker noise."""
    for name, settings in plans().items():
        began, found = time.perf_counter(), []
        made = [h.Plan(h.Softmax(784, 10), training=QUIET, seed=seed, **settings) for seed in SEEDS]
        for noise in (nullcontext, weaker):
            with noise():
                found.append([canaries(h.App(plan, data), CANARIES) for plan in made])
        row = {
            "what": "canaries", "plan": name, "epsilon": found[0][0].promise.epsilon, "delta": found[0][0].delta,
            "shown": [one.epsilon for one in found[0]], "shown_weak": [one.epsilon for one in found[1]],
            "most": found[0][0].most, "refuted": sum(one.broken for one in found[0]),
            "refuted_weak": sum(one.broken for one in found[1]),
            "seconds": (time.perf_counter() - began) / (2 * len(SEEDS)),
        }  # fmt: skip
        print(row)
        yield row


def members(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each noise: how well a digit's membership is told from the final model."""
    few = {who: (X[:20], y[:20]) for who, (X, y) in list(data.items())[:20]}
    training = h.Training(report=False, epochs=5, learning_rate=0.5)
    for noise in (0.0, 0.1, 1.0, 10.0):
        pipe = (h.Clip(1.0), WEIGH, *([h.GaussianNoise(noise)] if noise else []))
        app = h.App(h.Plan(h.Softmax(784, 10), pipe=pipe, training=training, rounds=50), few)
        found = membership(app)
        epsilon = h.planned_privacy(app.plan).guarantee(delta_of(app)).epsilon
        row = {"what": "membership", "noise": noise, "epsilon": epsilon, "area": found.area, "rate": found.rate}
        print(row)
        yield row


def pictures(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each model and view: how like the digit that is which is computed back."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 10))
    conv = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, 2, 2), nn.Tanh(), nn.Conv2d(8, 16, 5, 2, 2), nn.Tanh()), nn.Flatten(), nn.Linear(784, 10)
    )
    some = {who: (X[:10, None], y[:10]) for who, (X, y) in list(data.items())[:100]}
    for name, net in (("dense", dense), ("convolutional", conv)):
        pipe = (h.Clip(1.0), WEIGH, h.GaussianNoise(1.0))
        plan = h.Plan(h.TorchModel(net, F.cross_entropy), pipe=pipe, training=QUIET, rounds=1)
        began = time.perf_counter()
        report = audit(h.App(plan, some), ["inversion"])
        if os.environ.get("HANSA_PLOTS"):
            report.write(Path(os.environ["HANSA_PLOTS"]) / name)
        assert report.inversion is not None
        for view in report.inversion.views:
            row = {"what": "inversion", "model": name, "seen": view.name, "likeness": view.likeness}
            row |= {"psnr": view.psnr(report.inversion.span), "seconds": time.perf_counter() - began}
            print(row)
            yield row


def main() -> None:
    """All of it; some minutes."""
    shared("mnist")
    (X, y), _ = mnist()
    order = np.random.default_rng(0).permutation(len(y)).reshape(CLIENTS, -1)
    data = {f"client {i:04d}": (X[rows], y[rows]) for i, rows in enumerate(order)}
    save("audit", [*shown(data), *members(data), *pictures(data)])


if __name__ == "__main__":
    main()
