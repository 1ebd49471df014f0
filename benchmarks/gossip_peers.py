"""Peers without a server in a simulation: how far off the optimum they end, what many of them cost, and what they show.

quadratics  16 peers on a ring with different optima: how far off the optimum they end, by step and rounds
many        250, 500 and 1,000 peers on a ring with 60 digits each, and 100 with 600: seconds and memory, beside rounds
            with a server
noise       what a neighbour shows of a peer's ε by all that it hears, beside the ledger's, by graph and noise
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, save

sys.path.append(str(ROOT))

from tests.papers.quadratic import Quadratic, bowl, optimum

import hansa as h
from hansa.audit.noised import noised
from hansa.datasets.mnist import mnist
from hansa.loops.gossip import post_office
from hansa.plan import peers

QUADRATICS = ((h.FedAvg(), 0.05, 600), (h.FedAvg(), 0.02, 1200), *((h.Scaffold(), 0.03, n) for n in (400, 1000, 1500)))
MANY = ((250, 60), (500, 60), (1000, 60), (100, 600))
TIMES = 3  # processes, of which the quickest counts
NOISE = (0.5, 1.0, 2.0)
HEARD = ((h.Ring(), False), *((graph, sums) for graph in (h.Torus(), h.Complete()) for sums in (False, True)))


def clients(plan: h.Plan, data: dict[str, Any]) -> list[h.Client]:
    return [h.Client(who, plan, one) for who, one in data.items()]


def quadratics() -> list[dict[str, Any]]:
    """The peers' distance from the optimum, √Σᵢ (xᵢ − x*)², after so many rounds of one step."""
    rng = np.random.default_rng(5)
    names = [f"peer-{i:02d}" for i in range(16)]
    parties = {
        who: bowl(a, b) for who, a, b in zip(names, rng.uniform(0.6, 1.4, 16), rng.normal(0, 10, 16), strict=True)
    }
    best = float(optimum(parties)[0])
    rows = []
    for algorithm, step, rounds in QUADRATICS:
        training = h.Training(steps=1, batch=0, learning_rate=step)
        plan = h.Plan(Quadratic((0.0,)), algorithm, (h.Weigh("one"),), training=training, rounds=rounds)
        runtime = h.InProcess(clients(plan, parties))
        office = post_office(plan, h.Ring(), names)
        *_, state = h.gossip(plan, runtime)
        memory = runtime.memory.after(state.counted)
        own = np.array([office.model_of(state, who, memory[who][peers.PEER])[0] for who in names])
        off = float(np.linalg.norm(own - best))
        kind = type(algorithm).__name__
        rows.append(
            {"setting": "quadratics", "algorithm": kind, "step": step, "rounds": rounds, "off the optimum": off}
        )
        print(rows[-1], flush=True)
    return rows


def one(folder: str, count: int, each: int, loop: str) -> None:
    """Print processor seconds and memory (MiB) of three rounds of so many peers: for a process of its own.

    It reads no more digits than they have, since what is let go again would hide what comes after.
    """
    x = np.fromfile(f"{folder}/x", np.float32, count * each * 784).reshape(-1, 784)
    y = np.fromfile(f"{folder}/y", np.int64, count * each)
    part = {}
    for i in range(count):
        mine = slice(i * each, (i + 1) * each)
        part[f"peer-{i:04d}"] = (x[mine], y[mine])
    training = h.Training(epochs=1, batch=10, learning_rate=0.05)
    plan = h.Plan(h.Softmax(784, 10), pipe=(h.Weigh("one"),), training=training, rounds=3)
    runtime = h.InProcess(clients(plan, part))
    before = most()
    begin = time.process_time()
    states = h.gossip(plan, runtime, graph=h.Ring()) if loop == "gossip" else h.synchronous(plan, runtime)
    for _ in states:
        pass
    print(time.process_time() - begin, most() - before)


def most() -> float:
    """The most memory that this process has held (MiB); what getrusage says is that of who began it, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) / 1024


def many() -> list[dict[str, Any]]:
    """Gossip on a ring and rounds with a server: the quickest of some processes, and the least memory."""
    (x, y), _ = mnist()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        x.astype(np.float32).tofile(f"{folder}/x")
        y.astype(np.int64).tofile(f"{folder}/y")
        for count, each in MANY:
            for loop in ("server", "gossip"):
                found = [measured(folder, count, each, loop) for _ in range(TIMES)]
                seconds, memory = (min(column) for column in zip(*found, strict=True))
                row = {"setting": "many", "peers": count, "examples": each, "graph": loop}
                rows.append({**row, "cpu seconds": seconds, "MiB": memory})
                print(rows[-1], flush=True)
    return rows


def measured(folder: str, count: int, each: int, loop: str) -> tuple[float, ...]:
    """What a process of its own prints."""
    command = [sys.executable, __file__, "one", folder, str(count), str(each), loop]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def noise() -> list[dict[str, Any]]:
    """A lower bound on a peer's ε after three rounds, by what its neighbour hears of 16, plain and as hidden sums."""
    rows = []
    names = [f"peer-{i:02d}" for i in range(16)]
    for multiplier in NOISE:
        pipe = (h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(multiplier, by="each"))
        plan = h.Plan(h.Softmax(30, 2), pipe=pipe, training=h.Training(report=False), rounds=3)
        for graph, sums in HEARD:
            found = noised(plan, graph.among(names), names[:1], names[1], 3, 1e-5, sums)
            row = {"setting": "noise", "graph": repr(graph), "noise": multiplier, "sums": sums}
            rows.append({**row, "shown": found.epsilon, "promised": found.promise.epsilon})
            print(rows[-1], flush=True)
    return rows


PARTS = {"quadratics": quadratics, "many": many, "noise": noise}


def main() -> None:
    """Run all, or the parts that are named and leave the others' rows; save them."""
    if sys.argv[1:2] == ["one"]:
        folder, count, each, loop = sys.argv[2:]
        one(folder, int(count), int(each), loop)
        return
    named = sys.argv[1:] or list(PARTS)
    rows = {name: PARTS[name]() for name in named}
    kept = RESULTS / "gossip_peers.json"
    for row in json.loads(kept.read_text("utf-8"))["rows"] if kept.exists() else ():
        if row["setting"] not in named:
            rows.setdefault(row["setting"], []).append(row)
    save("gossip_peers", [row for name in PARTS for row in rows.get(name, ())])


if __name__ == "__main__":
    main()
