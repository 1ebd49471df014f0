"""McMahan et al. 2017 on MNIST: rounds until the test accuracy is reached, beside the paper's Table 1 and 2.

100 clients of 600 images, C = 0.1, B = 10; IID, and two shards of one or two digits for each client. The paper tunes
the learning rate in each cell; here it is given on the command line and recorded. As in the paper, the curve is made
monotone, and the crossing is interpolated linearly.

    python benchmarks/mnist_rounds.py 2nn iid --rate 0.1
    python benchmarks/mnist_rounds.py cnn shards --rate 0.05 --epochs 1 --most 500
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from common import save
from peers.networks import network
from torch.nn.functional import cross_entropy

import hansa as h
from hansa.datasets.mnist import mnist_clients

PAPER = {  # (model, split, epochs) → rounds, Table 1 (2NN: E = 1; CNN: E = 5) and Table 2 (CNN, E = 1)
    ("2nn", "iid", 1): 87,
    ("2nn", "shards", 1): 664,
    ("cnn", "iid", 5): 20,
    ("cnn", "shards", 5): 229,
    ("cnn", "iid", 1): 34,
    ("cnn", "shards", 1): 350,
}
TABLE_1 = {("cnn", "iid", 5): 18, ("cnn", "shards", 5): 206}  # the same cell as printed in Table 1
TARGET = {"2nn": 0.97, "cnn": 0.99}


def crossing(curve: list[float], target: float) -> float | None:
    """Where the running maximum of the curve first reaches the target, in rounds, interpolated."""
    best = np.maximum.accumulate(curve)
    if not best.size or best[-1] < target:
        return None
    i = int(np.argmax(best >= target))
    return 1.0 if i == 0 else i + (target - best[i - 1]) / (best[i] - best[i - 1])


def main() -> None:
    """One cell of the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("model", choices=["2nn", "cnn"])
    ask.add_argument("split", choices=["iid", "shards"])
    ask.add_argument("--rate", type=float, default=0.1)
    ask.add_argument("--epochs", type=int, default=1)
    ask.add_argument("--most", type=int, default=1000)
    ask.add_argument("--workers", type=int, default=0)
    ask.add_argument("--seed", type=int, default=0)
    it = ask.parse_args()

    data, test = mnist_clients(it.split, key=h.Key.of(it.seed))
    training = h.Training(epochs=it.epochs, batch=10, learning_rate=it.rate)
    plan = h.Plan(
        h.TorchModel(network(it.model, it.seed), cross_entropy),
        training=training,
        sample=h.Uniform(10),
        rounds=it.most,
        seed=it.seed,
    )
    clients = [h.Client(who, plan, d) for who, d in data.items()]
    runtime = h.Processes(clients, it.workers) if it.workers else h.InProcess(clients)
    curve, start = [], time.perf_counter()
    for state in h.synchronous(plan, runtime):
        curve.append(plan.model.score(state.x, test)["accuracy"])
        print(f"{it.model} {it.split} round {state.round}: {curve[-1]:.4f}", flush=True)
        if curve[-1] >= TARGET[it.model]:
            break
    cell = it.model, it.split, it.epochs
    row = vars(it) | {
        "target": TARGET[it.model],
        "rounds": crossing(curve, TARGET[it.model]),
        "paper": PAPER.get(cell),
        "paper_table_1": TABLE_1.get(cell),
        "seconds": time.perf_counter() - start,
        "curve": curve,
    }
    print(f"rounds to {TARGET[it.model]:.0%}: {row['rounds']}, paper {row['paper']}")
    save(f"mnist_rounds_{it.model}_{it.split}_e{it.epochs}_rate{it.rate:g}", [row])


if __name__ == "__main__":
    main()
