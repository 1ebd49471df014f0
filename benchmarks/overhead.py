"""The framework's own share of a round: the time outside `model.train`, over the whole.

1,000 clients of 100 examples of 784 numbers, softmax regression, one local epoch of batches of 10, cohort 100.
A round counts from one `next()` of the loop to the next, so it holds sampling, requests, packing, weighing, the exact
sum, decoding and the step. The first rounds, in which clients look through their data for the first time, are left out;
what such a look costs is reported beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from common import save

import hansa as h

CLIENTS, EXAMPLES, COHORT, WARM, ROUNDS = 1000, 100, 100, 60, 200
PIPES = {
    "Weigh": (h.Weigh("examples"),),
    "Finite, Clip, Weigh": (h.Finite(), h.Clip(10.0, side=10.0), h.Weigh("examples", cap=100)),
}


@dataclass
class Watch:
    """Adds up the seconds spent in training."""

    seconds: float = 0.0


@dataclass(frozen=True)
class Timed(h.models.Model):
    """Another model, with a watch on its training."""

    model: h.models.Model
    watch: Watch = field(default_factory=Watch, compare=False, repr=False)

    @property
    def size(self) -> int:
        return self.model.size

    def start(self, key: h.Key) -> Any:
        return self.model.start(key)

    def train(self, *arguments: Any) -> h.models.TrainResult:
        begin = time.perf_counter()
        result = self.model.train(*arguments)
        self.watch.seconds += time.perf_counter() - begin
        return result


def linear() -> h.models.Model:
    """Softmax regression in PyTorch."""
    torch.manual_seed(0)
    return h.TorchModel(torch.nn.Linear(784, 10), torch.nn.functional.cross_entropy)


def measure(model: h.models.Model, pipe: tuple[h.transforms.Transform, ...], data: dict[str, Any]) -> dict[str, Any]:
    """Medians over the rounds."""
    timed = Timed(model)
    plan = h.Plan(timed, pipe=pipe, training=h.Training(batch=10), sample=h.Uniform(COHORT), rounds=WARM + ROUNDS)
    states = h.synchronous(plan, h.InProcess([h.Client(who, plan, d) for who, d in data.items()]))
    rounds = []
    for _ in range(plan.rounds):
        timed.watch.seconds, begin = 0.0, time.perf_counter()
        next(states)
        rounds.append((time.perf_counter() - begin, timed.watch.seconds))
    shares = [1 - train / whole for whole, train in rounds[WARM:]]
    return {
        "round_ms": 1e3 * statistics.median(whole for whole, _ in rounds[WARM:]),
        "train_ms": 1e3 * statistics.median(train for _, train in rounds[WARM:]),
        "own_share": statistics.median(shares),
        "own_share_worst": max(shares),
        "own_share_first_round": 1 - rounds[0][1] / rounds[0][0],
    }


def main() -> None:
    """Both libraries, both pipes."""
    rng = h.Key.of(0).rng()
    data = {
        f"{i:04d}": (rng.random((EXAMPLES, 784), dtype=np.float32), rng.integers(0, 10, EXAMPLES))
        for i in range(CLIENTS)
    }
    rows = []
    for name, model in (("NumPy", h.Softmax(784, 10)), ("PyTorch", linear())):
        for title, pipe in PIPES.items():
            rows.append({"model": name, "pipe": title} | measure(model, pipe, data))
            print(f"{name:8} {title:20} round {rows[-1]['round_ms']:6.1f} ms, own share {rows[-1]['own_share']:.1%}")
    save("overhead", rows)


if __name__ == "__main__":
    main()
