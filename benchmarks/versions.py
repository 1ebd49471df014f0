"""Processor seconds of a round, in this source and in another: what a change that means to change nothing has cost.

    python benchmarks/versions.py /path/to/other/src      alternates the two, and writes results/versions.json

Each turn is a process of its own, with one thread: it sets up, runs a round to warm up, and counts the others.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

TURNS = 9
COMPILED = {"0.1.0": "auto", "0.2.0": True}  # what `compile` is where nothing is said
HERE = Path(__file__).resolve().parents[1] / "src"


def clients(many: int, rows: int, features: int) -> dict[str, Any]:
    """Examples of ten classes for each of many clients."""
    import numpy as np

    rng = np.random.default_rng(0)
    return {
        f"client-{i:04d}": (rng.normal(size=(rows, features)).astype(np.float32), rng.integers(0, 10, rows))
        for i in range(many)
    }


def overhead() -> tuple[Any, dict[str, Any], int]:
    """A model of a few numbers: what is left is the framework."""
    import hansa

    return hansa.Plan(hansa.Softmax(4, 10), rounds=6, training=hansa.Training(batch=0)), clients(1000, 2, 4), 6


def linear() -> tuple[Any, dict[str, Any], int]:
    """Softmax regression on images."""
    import hansa

    plan = hansa.Plan(hansa.Softmax(784, 10), rounds=6, sample=hansa.Uniform(50), training=hansa.Training(batch=10))
    return plan, clients(200, 50, 784), 6


def net(*widths: int, **more: Any) -> Any:
    """Layers with ReLU between them; in PyTorch as it is, where nothing else is said."""
    import torch
    from torch import nn

    import hansa

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return hansa.TorchModel(nn.Sequential(*layers[:-1]), nn.functional.cross_entropy, **({"compile": False} | more))


def two_layers() -> tuple[Any, dict[str, Any], int]:
    """McMahan's 2NN."""
    import hansa

    plan = hansa.Plan(net(784, 200, 200, 10), rounds=4, sample=hansa.Uniform(10), training=hansa.Training(batch=10))
    return plan, clients(20, 100, 784), 4


def small() -> tuple[Any, dict[str, Any], int]:
    """A small net on many clients."""
    import hansa

    plan = hansa.Plan(net(32, 32, 10), rounds=6, sample=hansa.Uniform(50), training=hansa.Training(batch=10))
    return plan, clients(100, 40, 32), 6


def homes() -> tuple[Any, dict[str, Any], int]:
    """Fifty homes, all in each round, with a small net that is compiled where the plan lets it be."""
    import hansa

    model = net(26, 32, 10, compile=COMPILED[hansa.__version__])
    plan = hansa.Plan(model, rounds=6, sample=hansa.Everyone(), training=hansa.Training(batch=32))
    return plan, clients(50, 400, 26), 6


def verified() -> tuple[Any, dict[str, Any], int]:
    """A sum with proofs."""
    import hansa

    plan = hansa.Plan(
        net(32, 128, 10),
        rounds=4,
        pipe=(hansa.Clip(1.0, side=10.0), hansa.Weigh("one"), hansa.Quantize(16)),
        aggregator=hansa.VerifiedSum(),
        sample=hansa.Everyone(quorum=2),
        training=hansa.Training(batch=20),
    )
    return plan, clients(6, 40, 32), 4


SETTINGS: dict[str, Callable[[], tuple[Any, dict[str, Any], int]]] = {
    "overhead": overhead,
    "lr": linear,
    "2nn": two_layers,
    "small": small,
    "homes": homes,
    "verified": verified,
}


def turn(name: str) -> None:
    """Print the processor seconds of a round, the first one apart."""
    import time

    import hansa

    plan, data, rounds = SETTINGS[name]()
    runtime = hansa.InProcess([hansa.Client(who, plan, one) for who, one in data.items()])
    states = hansa.synchronous(plan, runtime)
    next(states)
    begin = time.process_time()
    for _ in states:
        pass
    print((time.process_time() - begin) / (rounds - 1))


def seconds(source: Path, name: str) -> float:
    """One turn in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--turn", name]
    return float(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()[-1]
    )


def main() -> None:
    """Alternate, and write the medians."""
    from common import save

    other, rows = Path(sys.argv[1]).resolve(), []
    for name in SETTINGS:
        before, after = [], []
        for _ in range(TURNS):
            before.append(seconds(other, name))
            after.append(seconds(HERE, name))
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        row = {
            "setting": name,
            "turns": TURNS,
            "before": statistics.median(before),
            "after": statistics.median(after),
            "ratio": statistics.median(after) / statistics.median(before),
            "least ratio": min(after) / min(before),
            "median of ratios": statistics.median(ratios),
        }
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
        rows.append(row)
    save("versions", rows)


if __name__ == "__main__":
    turn(sys.argv[2]) if sys.argv[1] == "--turn" else main()
