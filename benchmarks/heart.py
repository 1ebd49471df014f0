"""FLamby's Fed-Heart-Disease, by its own protocol: each strategy over seeds 42–46, beside the published accuracies.

Linear(13, 1), binary cross-entropy, batches of 4. Strategies: SGD, 100 local updates a round, 15 rounds, all four
centres, weighed by training patients. Baselines: Adam, learning rate 0.001, 50 epochs.
(du Terrail et al. 2022; hyperparameters from the project's config_heart_disease.json)

Cyclic is run twice. In FLamby's code (flamby/strategies/cyclic.py and utils.py) each centre holds a deep copy of the
model, nothing carries the weights from one centre to the next, and what is scored is the copy of centre 0: so the
published numbers are those of Cleveland training alone on its turns ("Cyclic, no transfer"). With the weights really
handed on, the last centres of the cycle decide ("Cyclic").
"""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import torch
from common import save, shared
from torch.nn.functional import binary_cross_entropy_with_logits

import hansa as h
from hansa.datasets.heart_disease import CENTRES, heart_disease

SEEDS = range(42, 47)
ROUNDS, UPDATES = 15, 100
ADAPTIVE = {"tau": 1e-8, "b1": 0.9}

STRATEGIES = {
    "FedAvg": (h.FedAvg(), 0.001),
    "FedProx": (h.FedProx(0.01), 0.001),
    "Scaffold": (h.Scaffold(), 0.001),
    "FedAdagrad": (h.FedAvg(h.Adagrad(0.316228, **ADAPTIVE)), 0.003162),
    "FedAdam": (h.FedAvg(h.Adam(0.01, b2=0.999, **ADAPTIVE)), 0.01),
    "FedYogi": (h.FedAvg(h.Yogi(0.01, b2=0.999, **ADAPTIVE)), 0.003162),
}


def loss(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of one logit each."""
    return binary_cross_entropy_with_logits(z[:, 0], y.float())


def model(seed: int) -> h.TorchModel:
    """The published initial weights: the library's own draw right after seeding it."""
    torch.manual_seed(seed)
    return h.TorchModel(torch.nn.Linear(13, 1), loss)


def last(plan: h.Plan, data: dict, state: h.State | None = None) -> h.State:
    """The state after the last round."""
    *_, end = h.synchronous(plan, h.InProcess([h.Client(who, plan, d) for who, d in data.items()]), state)
    return end


def federated(seed: int, algorithm: h.algorithms.Algorithm, rate: float, data: dict) -> np.ndarray:
    """One strategy's final weights."""
    training = h.Training(steps=UPDATES, batch=4, learning_rate=rate)
    return last(h.Plan(model(seed), algorithm, training=training, rounds=ROUNDS, seed=seed), data).x


def alone(seed: int, data: tuple) -> np.ndarray:
    """A baseline's final weights: Adam, one client, one round of 50 epochs."""
    training = h.Training(epochs=50, batch=4, learning_rate=0.001, optimizer="adam")
    return last(h.Plan(model(seed), training=training, rounds=1, seed=seed), {"one": data}).x


def cyclic(seed: int, data: dict, transfer: bool = True) -> np.ndarray:
    """The model goes from centre to centre, each cycle in its own order (Chang et al. 2018); or it stays."""
    training = h.Training(steps=UPDATES, batch=4, learning_rate=0.01)
    rng, order, state = np.random.default_rng(seed), [], None
    for _ in range(ROUNDS):
        order = order or [list(data)[i] for i in rng.permutation(len(data))]
        who = order.pop(0)
        if transfer or who == next(iter(data)):
            plan = h.Plan(model(seed), training=training, rounds=1 if state is None else state.round + 1, seed=seed)
            state = last(plan, {who: data[who]}, state)
    return state.x


def accuracies(x: np.ndarray, local: dict, pooled: dict) -> dict[str, float]:
    """Accuracy at probability ½ in each centre, and of all patients together, normalised together."""
    right = {who: ((X @ x[:-1] + x[-1] > 0) == y).mean() for who, (X, y) in local.items()}
    X, y = (np.concatenate(part) for part in zip(*pooled.values(), strict=True))
    return right | {"pooled": ((X @ x[:-1] + x[-1] > 0) == y).mean()}


def published() -> dict[str, dict[str, list[float]]]:
    """method → test → the five published accuracies."""
    tests = {f"client_test_{i}": who for i, who in enumerate(CENTRES)} | {"Pooled Test": "pooled"}
    table: dict = defaultdict(lambda: defaultdict(list))
    with open(shared("heart_disease") / "flamby_published_results.csv") as file:
        for row in csv.DictReader(file):
            method = row["Method"].removesuffix("100").replace("Pooled Training", "Pooled")
            table[method][tests[row["Test"]]].append(float(row["Metric"]))
    return table


def main() -> None:
    """Run all, print the table, save it."""
    local, pooled = heart_disease("local"), heart_disease("pooled")
    train, test, test_pooled = (
        {who: d[part] for who, d in source.items()}
        for source, part in ((local, "train"), (local, "test"), (pooled, "test"))
    )
    everything = tuple(np.concatenate(part) for part in zip(*(d["train"] for d in pooled.values()), strict=True))
    runs = {
        name: lambda seed, a=a, rate=rate: federated(seed, a, rate, train) for name, (a, rate) in STRATEGIES.items()
    }
    runs |= {"Cyclic": lambda seed: cyclic(seed, train), "Cyclic, no transfer": lambda seed: cyclic(seed, train, False)}
    runs |= {"Pooled": lambda seed: alone(seed, everything)}
    runs |= {f"Local {i}": lambda seed, who=who: alone(seed, train[who]) for i, who in enumerate(CENTRES)}
    rows, theirs = [], published()
    print(f"{'method':20}{'test':13}{'ours':>8}{'±':>7}{'published':>11}{'±':>7}   within 2σ")
    for name, run in runs.items():
        scores = [accuracies(run(seed), test, test_pooled) for seed in SEEDS]
        for where in [*CENTRES, "pooled"]:
            ours, known = np.array([s[where] for s in scores]), np.array(theirs[name.split(",")[0]][where])
            within = abs(ours.mean() - known.mean()) <= 2 * known.std() + 1e-12
            rows.append(
                {
                    "method": name,
                    "test": where,
                    "ours": ours.tolist(),
                    "published": known.tolist(),
                    "mean": ours.mean(),
                    "published_mean": known.mean(),
                    "published_std": known.std(),
                    "within_two_std": bool(within),
                }
            )
            print(
                f"{name:20}{where:13}{ours.mean():8.4f}{ours.std():7.4f}{known.mean():11.4f}{known.std():7.4f}   "
                f"{'yes' if within else 'NO'}"
            )
    save("heart", rows)


if __name__ == "__main__":
    main()
