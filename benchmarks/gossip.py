"""Gossip beside the federation with a server: accuracy, rounds and bytes to a target, by graph.

heart  FLamby's four centres, logistic regression, 40 rounds of 20 steps; five seeds
mnist  20 peers with two-label shards of 600 digits each, softmax regression, 60 rounds; five seeds

Of gossip the model of each peer is scored, when it has taken the mean of its neighbourhood: their mean, and the worst.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from typing import Any

import numpy as np
from common import save

import hansa as h
from hansa.datasets.heart_disease import heart_disease
from hansa.datasets.mnist import mnist_clients
from hansa.loops.gossip import post_office
from hansa.plan import peers

SEEDS = range(5)
MNIST = {"graphs": (h.Ring(), h.Torus(), h.Regular(4), h.OnePeer(), h.Base(1), h.Complete()), "peers": 20}
HEART = (h.Ring(), h.Star(), h.OnePeer(), h.Complete())
ALGORITHMS = (h.FedAvg(), h.Scaffold())


def clients(plan: h.Plan, data: dict[str, Any]) -> list[h.Client]:
    return [h.Client(who, plan, one) for who, one in data.items()]


def star(plan: h.Plan, data: dict[str, Any], test: Any, target: float) -> dict[str, Any]:
    """With a server: its accuracy after each round."""
    begin = time.perf_counter()
    scores = [plan.model.score(s.x, test)["accuracy"] for s in h.synchronous(plan, h.InProcess(clients(plan, data)))]
    size = peers.size(plan)
    return {
        "accuracy": scores[-1],
        "worst": scores[-1],
        "rounds": first(scores, target),
        "bytes": 16 * size,  # the model down, the update up
        "seconds": time.perf_counter() - begin,
    }


def gossip(plan: h.Plan, data: dict[str, Any], test: Any, target: float, graph: Any) -> dict[str, Any]:
    """Without: that of the peers' own models after each fifth round, and after the last."""
    begin = time.perf_counter()
    runtime = h.InProcess(clients(plan, data))
    office = post_office(plan, graph, runtime.roster())
    means: list[float] = []
    for state in h.gossip(plan, runtime, graph=graph):
        if state.round % 5 and state.round < plan.rounds:
            continue
        memory = runtime.memory.after(state.counted)
        own = [office.model_of(state, who, memory[who][peers.PEER]) for who in office.mixing.names]
        scores = [plan.model.score(x, test)["accuracy"] for x in own]
        means.append(statistics.mean(scores))
    return {
        "accuracy": means[-1],
        "worst": min(scores),
        "rounds": first(means, target, 5),
        "bytes": 8 * peers.size(plan) * max(office.mixing.degrees),  # what the busiest peer hears
        "apart": state.metrics["apart"],
        "gap": office.mixing.gap,
        "seconds": time.perf_counter() - begin,
    }


def first(scores: list[float], target: float, each: int = 1) -> int | None:
    """The first round with this accuracy."""
    return next(((i + 1) * each for i, one in enumerate(scores) if one >= target), None)


def compared(setting: str, plans: Any, target: float, graphs: Any) -> list[dict[str, Any]]:
    """A row for the star and for each graph: mean and standard deviation over the seeds."""
    rows = []
    for algorithm in ALGORITHMS:
        for graph in (None, *graphs):
            found = []
            for seed in SEEDS:
                plan, data, test = plans(seed, algorithm)
                found.append(
                    star(plan, data, test, target) if graph is None else gossip(plan, data, test, target, graph)
                )
            scores = [one["accuracy"] for one in found]
            known = [one["rounds"] for one in found]
            row = {
                "setting": setting,
                "algorithm": type(algorithm).__name__,
                "graph": "server" if graph is None else repr(graph),
                "accuracy": statistics.mean(scores),
                "sd": statistics.stdev(scores),
                "worst peer": statistics.mean(one["worst"] for one in found),
                "rounds to target": None if None in known else statistics.mean(known),
                "target": target,
                "bytes a round": found[0]["bytes"],
                "seconds": statistics.mean(one["seconds"] for one in found),
            }
            if graph is not None:
                row |= {key: statistics.mean(one[key] for one in found) for key in ("apart", "gap")}
            print(row, flush=True)
            rows.append(row)
    return rows


def heart(seed: int, algorithm: Any) -> tuple[Any, ...]:
    """The four centres, each normalised by itself; scored on the test patients of all."""
    centres = heart_disease("local")
    data = {who: one["train"] for who, one in centres.items()}
    test = tuple(np.concatenate(part) for part in zip(*(one["test"] for one in centres.values()), strict=True))
    training = h.Training(steps=20, batch=4, learning_rate=0.01)
    return h.Plan(h.Softmax(13, 2), algorithm, (h.Weigh("one"),), training=training, rounds=40, seed=seed), data, test


def digits(seed: int, algorithm: Any) -> tuple[Any, ...]:
    """Twenty of the hundred clients of McMahan et al.'s shards, scored on 2,000 test digits."""
    data, (x, y) = mnist_clients("shards", key=h.Key.of(seed))
    some = sorted(data)[: MNIST["peers"]]
    flat = {who: (data[who][0].reshape(len(data[who][0]), -1), data[who][1]) for who in some}
    training = h.Training(epochs=1, batch=50, learning_rate=0.05)
    plan = h.Plan(h.Softmax(784, 10), algorithm, (h.Weigh("one"),), training=training, rounds=60, seed=seed)
    return plan, flat, (x[:2000].reshape(2000, -1), y[:2000])


PARTS = {
    "heart": lambda: compared("heart", heart, 0.75, HEART),
    "mnist": lambda: compared("mnist", digits, 0.8, MNIST["graphs"]),
}


def main() -> None:
    """Run all, print the rows, save them."""
    save("gossip", [row for part in PARTS.values() for row in part()])


if __name__ == "__main__":
    main()
