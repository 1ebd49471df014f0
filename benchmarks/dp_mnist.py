"""MNIST with noise that hides a client: accuracy at ε = 2, 4, 8 and without noise, beside pfl-research.

1,000 clients of 60 digits each, at random; 2NN of McMahan et al. 2017, 199,210 numbers; δ = 1/N^1.1 with N = 1,000.
100 rounds of FedAvg, each client in each with probability 0.1, one epoch in batches of 10. The server adds the noise,
and each library finds the multiplier by its own accountant of privacy loss distributions. Clip and learning rate were
chosen at ε = 4 by the test accuracy of seed 0 with hansa, which no ledger counts, and are the same in both. Both begin
each seed with the same parameters and data; each draws its own cohorts and noise. hansa divides the sum by the number
of clients expected, pfl by the number that came.

    python benchmarks/dp_mnist.py --seeds 2

pfl asks for other versions than hansa, so it has an environment of its own; HANSA_PFL_PYTHON names its interpreter. It
needs pfl and PyTorch. Without it that column is left out.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import itertools
import json
import math
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import save

import hansa as h
from hansa.datasets.mnist import mnist_clients
from hansa.models.jax import cross_entropy
from hansa.privacy.calibrate import calibrate

PEER = Path(__file__).parent / "peers" / "pfl_mnist.py"
SIZES = (784, 200, 200, 10)
CLIENTS, EPSILONS = 1000, (2.0, 4.0, 8.0, math.inf)
RATE, ROUNDS, BATCH = 0.1, 100, 10
CLIP, LEARNING_RATE, SERVER = 0.8, 0.2, 1.0
DELTA = CLIENTS**-1.1

Params = list[tuple[Any, Any]]


def network(params: Params, X: Any) -> Any:
    """2NN: two hidden layers of 200, ReLU."""
    *hidden, (W, b) = params
    x = X.reshape(len(X), -1)
    for V, c in hidden:
        x = jax.nn.relu(x @ V + c)
    return x @ W + b


def start(key: h.Key) -> Params:
    """Uniform in ±1/√inputs, as PyTorch's linear layers begin."""
    rng = key.rng()
    return [
        tuple((rng.uniform(-1, 1, shape) / n**0.5).astype(np.float32) for shape in ((n, m), (m,)))
        for n, m in itertools.pairwise(SIZES)
    ]


def noises(epsilon: float) -> dict[str, float]:
    """The multipliers by both of hansa's accountants."""
    if epsilon == math.inf:
        return {"hansa_rdp": 0.0, "hansa_pld": 0.0}
    release = h.privacy.mechanisms.Release(h.transforms.curves.Gaussian(1.0), "poisson", RATE)
    budget = h.Budget(epsilon, DELTA)
    return {f"hansa_{kind}": calibrate(budget, release, ROUNDS, kind) for kind in ("rdp", "pld")}


def train(params: Params, data: Any, test: Any, z: float, seed: int) -> dict[str, Any]:
    """One run by hansa: its accuracy, and the ε that its own ledger counted."""
    noise = (h.GaussianNoise(z),) if z else ()
    plan = h.Plan(
        h.JaxModel(params, network, cross_entropy),
        h.FedAvg(h.Sgd(SERVER)),
        pipe=(h.Clip(CLIP), h.Weigh("one"), *noise),
        training=h.Training(batch=BATCH, learning_rate=LEARNING_RATE, report=False),
        sample=h.Poisson(RATE),
        rounds=ROUNDS,
        seed=seed,
    )
    states = list(h.synchronous(plan, h.InProcess([h.Client(who, plan, d) for who, d in data.items()])))
    spent = replace(h.spent_privacy(plan, states, CLIENTS), accountant="pld").epsilon(DELTA)
    return {"spent": spent, "accuracy": plan.model.score(states[-1].x, test)["accuracy"]}


def peer(python: str, work: Path, epsilon: float) -> subprocess.Popen[str]:
    """The same by pfl, begun."""
    return subprocess.Popen([python, str(PEER), str(work), str(epsilon)], stdout=subprocess.PIPE, text=True)


def write(path: Path, params: Params, data: Any, test: Any, seed: int) -> None:
    """All that pfl needs, in one file."""
    X, y = (np.stack([d[i] for d in data.values()]) for i in (0, 1))
    numbers = {"clip": CLIP, "rate": RATE, "rounds": ROUNDS, "batch": BATCH, "learning_rate": LEARNING_RATE}
    numbers |= {"server": SERVER, "delta": DELTA, "seed": seed}
    flat = {f"params{i}": array for i, array in enumerate(array for layer in params for array in layer)}
    np.savez(path, X=X, y=y, X_test=test[0], y_test=test[1], **numbers, **flat)


def main() -> None:
    """Each seed: by pfl all ε at once, in processes of their own, while hansa takes one after the other."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seeds", type=int, default=1)
    seeds, python = range(ask.parse_args().seeds), os.environ.get("HANSA_PFL_PYTHON", "")
    if not python:
        print("HANSA_PFL_PYTHON names no interpreter with pfl: its column is left out.")
    multipliers, rows = {epsilon: noises(epsilon) for epsilon in EPSILONS}, []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            data, test = mnist_clients("iid", CLIENTS, h.Key.of(seed))
            params, work = start(h.Key.of(seed).child("start")), Path(folder) / f"{seed}.npz"
            write(work, params, data, test, seed)
            beside = {epsilon: peer(python, work, epsilon) for epsilon in EPSILONS} if python else {}
            for epsilon, found in multipliers.items():
                row = {"epsilon": epsilon if epsilon < math.inf else None, "delta": DELTA, "seed": seed, **found}
                row |= train(params, data, test, found["hansa_pld"], seed)
                rows.append(row)
                print(row, flush=True)
            for row, process in zip(rows[-len(EPSILONS) :], beside.values(), strict=False):
                row |= json.loads(process.communicate()[0])
                print(row, flush=True)
            save("dp_mnist", rows)


if __name__ == "__main__":
    main()
