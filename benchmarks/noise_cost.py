"""What share of a round the noise is: 20 clients that train a network of 1,003,810 numbers, on one core.

Each client has 100 examples and trains on them once, in batches of 10. Timed are whole rounds in one process, and in
the same rounds what draws and adds the noise, of all who do; seconds of the processor, medians. Rounds whose noise
grows from secrets, and is drawn from AES-128, take turns with rounds in which a simulation names the secret, and the
noise is drawn from Philox. First the draws alone, in turns too.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import save
from torch import nn
from torch.nn.functional import cross_entropy

import hansa as h

CLIENTS, EXAMPLES, ROUNDS, TURNS = 20, 100, 5, 101
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


def rounds(plan: h.Plan, data: list[Any], watch: Watch) -> dict[str, float]:
    """Seconds of a round, and of the noise in it; the first, in which all is compiled, is left out."""
    took: dict[str, list[tuple[float, float]]] = {"secret": [], "named": []}
    runs = {}
    for stream, secret in (("secret", h.Key.fresh()), ("named", h.Key.of(0))):
        clients = [h.Client(f"{i:02d}", plan, one, secret=secret) for i, one in enumerate(data)]
        runs[stream] = h.synchronous(plan, h.InProcess(clients, secret=secret), secret=secret)
    for _ in range(plan.rounds):
        for stream, states in runs.items():
            watch.seconds, began = 0.0, time.process_time()
            state = next(states)
            took[stream].append((time.process_time() - began, watch.seconds))
            assert len(state.participants) == CLIENTS, state.skipped
    whole, noise = (statistics.median(column) for column in zip(*took["secret"][1:], strict=True))
    named = statistics.median(seconds for _, seconds in took["named"][1:])
    return {"round_s": whole, "noise_s": noise, "share": noise / whole, "named_s": named, "over_named": noise / named}


def draws(d: int) -> list[dict[str, Any]]:
    """Seconds of d draws of each kind from either stream, and of the hash that binds them to what they are added to."""
    v = h.Key.of(1).normal((d,))
    keys = {"secret": h.Key.fresh(), "named": h.Key.of(0)}
    kinds: dict[str, Callable[[h.Key], Any]] = {
        "normal": lambda key: key.normal((d,)),
        "uniform": lambda key: key.uniform((d,)),
        "integers": lambda key: key.integers(d),
        "normal, bound to a vector": lambda key: key.beside(v).normal((d,)),
    }
    rows = []
    for kind, draw in kinds.items():
        took: dict[str, list[float]] = {stream: [] for stream in keys}
        for turn in range(TURNS):
            for stream, key in keys.items():
                began = time.process_time()
                draw(key.child(turn))
                took[stream].append(time.process_time() - began)
        secret, named = (statistics.median(took[stream]) for stream in keys)
        rows.append({"draws": kind, "d": d, "secret_s": secret, "named_s": named, "over_named": secret / named})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """All kinds of noise."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Sequential(nn.Linear(784, 720), nn.ReLU(), nn.Linear(720, 600), nn.ReLU(), nn.Linear(600, 10))
    model, training = h.TorchModel(net, cross_entropy), h.Training(batch=10, learning_rate=0.1, report=False)
    rng = h.Key.of(0).rng()
    data = [(rng.random((EXAMPLES, 784), np.float32), rng.integers(0, 10, EXAMPLES)) for _ in range(CLIENTS)]
    watch, rows = Watch(), draws(10**6)
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
        found = rounds(plan, data, watch)
        rows.append({"noise": name, "by": who, "d": model.size, "clients": CLIENTS, **found})
        print(rows[-1], flush=True)
    print(save("noise_cost", rows))


if __name__ == "__main__":
    main()
