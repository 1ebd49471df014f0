"""What share of a round the noise is: 20 clients that train a network of 1,003,810 numbers, on one core.

Each client has 100 examples and trains on them once, in batches of 10. Timed are whole rounds in one process, and in
the same rounds what draws and adds the noise, of all who do; seconds of the processor, medians.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import save
from torch import nn
from torch.nn.functional import cross_entropy

import hansa as h

CLIENTS, EXAMPLES, ROUNDS = 20, 100, 5
ONE, SHORT = (h.Clip(1.0), h.Weigh("one")), h.Quantize(16)
PIPES = {  # what → (pipe, aggregator, who draws)
    "GaussianNoise(1.0)": ((*ONE, h.GaussianNoise(1.0)), h.Sum(), "the server"),
    "LaplaceNoise(1.0)": ((*ONE, h.LaplaceNoise(1.0)), h.Sum(), "the server"),
    "SkellamNoise(1.0)": ((*ONE, SHORT, h.SkellamNoise(1.0)), h.Sum(), "the server"),
    "GaussianNoise(1.0, by='all', least=20)": ((*ONE, h.GaussianNoise(1.0, "all", CLIENTS)), h.Sum(), "each client"),
    "SkellamNoise(1.0, by='all', least=20)": (
        (*ONE, SHORT, h.SkellamNoise(1.0, "all", CLIENTS)),
        h.Sum(),
        "each client",
    ),
    "DiscreteGaussianNoise(1.0, by='all', least=20)": (
        (*ONE, SHORT, h.DiscreteGaussianNoise(1.0, "all", CLIENTS)),
        h.Sum(),
        "each client",
    ),
    "VerifiedSum(noise=1.0)": (ONE, h.VerifiedSum(noise=1.0), "each of two aggregators"),
}


@dataclass
class Watch:
    """Seconds of the processor that went into noise."""

    seconds: float = 0.0

    def over(self, kind: type, name: str) -> None:
        """Watch a method of `kind`."""
        method = getattr(kind, name)

        def timed(*arguments: Any) -> Any:
            began = time.process_time()
            try:
                return method(*arguments)
            finally:
                self.seconds += time.process_time() - began

        setattr(kind, name, timed)


def rounds(plan: h.Plan, clients: list[h.Client], watch: Watch) -> dict[str, float]:
    """Seconds of a round, and of the noise in it; the first, in which all is compiled, is left out."""
    took = []
    states = h.synchronous(plan, h.InProcess(clients))
    for _ in range(plan.rounds):
        watch.seconds, began = 0.0, time.process_time()
        state = next(states)
        took.append((time.process_time() - began, watch.seconds))
        assert len(state.seen) == CLIENTS, state.note
    whole, noise = (statistics.median(column) for column in zip(*took[1:], strict=True))
    return {"round_s": whole, "noise_s": noise, "share": noise / whole}


def main() -> None:
    """All kinds of noise."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(784, 720), nn.ReLU(), nn.Linear(720, 600), nn.ReLU(), nn.Linear(600, 10))
    model, training = h.TorchModel(net, cross_entropy), h.Training(batch=10, learning_rate=0.1, report=False)
    rng = h.Key.of(0).rng()
    data = [(rng.random((EXAMPLES, 784), np.float32), rng.integers(0, 10, EXAMPLES)) for _ in range(CLIENTS)]
    watch, rows = Watch(), []
    for kind in (h.GaussianNoise, h.LaplaceNoise, h.SkellamNoise, h.DiscreteGaussianNoise):
        for method in ("encode", "decode"):
            watch.over(kind, method)
    watch.over(h.VerifiedSum, "_noise")
    for name, (pipe, aggregator, who) in PIPES.items():
        few = 2 if isinstance(aggregator, h.VerifiedSum) else ROUNDS
        plan = h.Plan(
            model,
            pipe=pipe,
            aggregator=aggregator,
            training=training,
            sample=h.Everyone(quorum=CLIENTS),
            rounds=1 + few,
        )
        found = rounds(plan, [h.Client(f"{i:02d}", plan, d) for i, d in enumerate(data)], watch)
        rows.append({"noise": name, "by": who, "d": model.size, "clients": CLIENTS, **found})
        print(rows[-1], flush=True)
    print(save("noise_cost", rows))


if __name__ == "__main__":
    main()
