"""Gossip beside the federation with a server: accuracy, rounds and bytes to a target, by graph; and a thousand peers.

heart       FLamby's four centres, logistic regression, 40 rounds of 20 steps; five seeds
mnist       20 peers with two-label shards of 600 digits each, softmax regression, 60 rounds; five seeds
quadratics  16 peers on a ring with different optima: how far off the optimum each ends, by step
thousand    1,000 peers with 60 digits each: seconds and memory, beside rounds with a server

Of gossip the model of each peer is scored, when it has taken the mean of its neighbourhood: their mean, and the worst.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from common import ROOT, save

sys.path.append(str(ROOT))

from tests.papers.quadratic import Quadratic, bowl, optimum

import hansa as h
from hansa.datasets.heart_disease import heart_disease
from hansa.datasets.mnist import mnist, mnist_clients
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


def quadratics() -> list[dict[str, Any]]:
    """The peers' distance from the optimum, √Σᵢ (xᵢ − x*)², after 3,000 rounds of one step."""
    rng = np.random.default_rng(5)
    names = [f"peer-{i:02d}" for i in range(16)]
    parties = {
        who: bowl(a, b) for who, a, b in zip(names, rng.uniform(0.6, 1.4, 16), rng.normal(0, 10, 16), strict=True)
    }
    best = float(optimum(parties)[0])
    rows = []
    for algorithm, step, rounds in ((h.FedAvg(), 0.05, 600), (h.FedAvg(), 0.02, 1200), (h.Scaffold(), 0.3, 400)):
        training = h.Training(steps=1, batch=0, learning_rate=step)
        plan = h.Plan(Quadratic((0.0,)), algorithm, (h.Weigh("one"),), training=training, rounds=rounds)
        runtime = h.InProcess(clients(plan, parties))
        office = post_office(plan, h.Ring(), names)
        *_, state = h.gossip(plan, runtime)
        memory = runtime.memory.after(state.counted)
        own = np.array([office.model_of(state, who, memory[who][peers.PEER])[0] for who in names])
        rows.append(
            {
                "setting": "quadratics",
                "algorithm": type(algorithm).__name__,
                "step": step,
                "rounds": rounds,
                "off the optimum": float(np.linalg.norm(own - best)),
            }
        )
        print(rows[-1], flush=True)
    return rows


def thousand(count: int, loop: str) -> None:
    """Print processor seconds and memory (MiB) of three rounds of so many peers: for a process of its own."""
    (x, y), _ = mnist()
    part = {f"peer-{i:04d}": (x[i * 60 : i * 60 + 60].reshape(60, -1), y[i * 60 : i * 60 + 60]) for i in range(count)}
    training = h.Training(epochs=1, batch=10, learning_rate=0.05)
    plan = h.Plan(h.Softmax(784, 10), pipe=(h.Weigh("one"),), training=training, rounds=3)
    runtime = h.InProcess(clients(plan, part))
    del x, y
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    states = h.gossip(plan, runtime, graph=h.Ring()) if loop == "gossip" else h.synchronous(plan, runtime)
    for _ in states:
        pass
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(time.process_time() - begin, (after - before) / 1024)


def many() -> list[dict[str, Any]]:
    """Gossip on a ring and rounds with a server, of 500 and 1,000 peers; the quickest of three."""
    rows = []
    for count in (500, 1000):
        for loop in ("server", "gossip"):
            found = []
            for _ in range(3):
                command = [sys.executable, __file__, "thousand", str(count), loop]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.append(tuple(map(float, done.stdout.split())))
            seconds, memory = min(found)
            rows.append({"setting": "many", "peers": count, "graph": loop, "cpu seconds": seconds, "MiB": memory})
            print(rows[-1], flush=True)
    return rows


PARTS = {
    "quadratics": quadratics,
    "many": many,
    "heart": lambda: compared("heart", heart, 0.75, HEART),
    "mnist": lambda: compared("mnist", digits, 0.8, MNIST["graphs"]),
}


def main() -> None:
    """Run all, print the rows, save them."""
    if sys.argv[1:2] == ["thousand"]:
        thousand(int(sys.argv[2]), sys.argv[3])
        return
    save("gossip", [row for part in PARTS.values() for row in part()])


if __name__ == "__main__":
    main()
