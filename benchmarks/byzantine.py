"""Clients that say their update times −1000: the plain sum, and the sum of what clients prove. MNIST.

20 clients with 600 digits each, softmax regression (7,850 numbers), 10 rounds, mean of 3 seeds, which decide who holds
what; the first clients by name lie. Under VerifiedSum an attacker skips Clip and all checks of its own, and proves what
can be proven of such a vector. "honest alone" is the same run without the attackers.

Beside it, the time in which an aggregator accepts a report or refuses one, by what is wrong with it: what can be seen
of a report from outside. Which reports are refused is public, so it gives nothing away.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import ROOT, save

sys.path.append(str(ROOT))

from tests.attacks.attackers_verified import Forger, facts
from tests.vdaf.attackers import Liar

import hansa as h
from hansa.aggregators.verified.claims import claims
from hansa.crypto import vdaf
from hansa.datasets.mnist import mnist_clients
from hansa.errors import ProtocolError

CLIENTS, SEEDS, LIARS, TURNS = 20, range(3), (0, 1, 4, 8), 30
AGGREGATORS = {"Sum()": h.Sum(), "VerifiedSum()": h.VerifiedSum()}


@dataclass
class Louder(h.Client):
    """Says its honest update times −1000."""

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        """The vector, after Clip."""
        return -1000 * (yield from super().reply(request, given))


def plan_of(aggregator: h.aggregators.Aggregator, seed: int) -> h.Plan:
    """10 rounds of one pass over the digits, every client counts once."""
    return h.Plan(
        h.Softmax(784, 10),
        pipe=(h.Clip(1.0, side=10.0), h.Weigh("one")),
        aggregator=aggregator,
        training=h.Training(epochs=1, batch=50, learning_rate=0.1),
        sample=h.Everyone(quorum=2),
        rounds=10,
        seed=seed,
    )


def run(aggregator: h.aggregators.Aggregator, seed: int, attackers: int, there: bool = True) -> tuple[float, h.State]:
    """Accuracy after the last round, and its state."""
    plan = plan_of(aggregator, seed)
    parts, (X, y) = mnist_clients(clients=100, key=h.Key.of(seed))
    names, clients = sorted(parts)[:CLIENTS], []
    for i, name in enumerate(names):
        data = parts[name][0].reshape(-1, 784), parts[name][1]
        if i >= attackers:
            clients.append(h.Client(name, plan, data))
        elif there and isinstance(aggregator, h.VerifiedSum):
            clients.append(Forger(name, plan, data, times=-1000.0))
        elif there:
            clients.append(Louder(name, plan, data))
    *_, state = h.synchronous(plan, h.InProcess(clients))
    return plan.model.score(state.x, (X.reshape(-1, 784), y))["accuracy"], state


def measure(name: str, attackers: int) -> dict[str, Any]:
    """One line: the mean over the seeds, and each of them."""
    runs = [run(AGGREGATORS[name], seed, attackers) for seed in SEEDS]
    alone = [run(AGGREGATORS[name], seed, attackers, there=False) for seed in SEEDS]
    excluded = [state.excluded for _, state in runs]
    return {
        "aggregator": name,
        "attackers": attackers,
        "clients": CLIENTS,
        "accuracy": statistics.mean(score for score, _ in runs),
        "honest_alone": statistics.mean(score for score, _ in alone),
        "same_bytes_as_honest_alone": all(
            a.x.tobytes() == b.x.tobytes() for (_, a), (_, b) in zip(runs, alone, strict=True)
        ),
        "refused": sorted({len(one) for one in excluded}),
        "reasons": sorted({why for one in excluded for why in one.values()}),
        "seeds": [score for score, _ in runs],
    }


def reports(d: int) -> tuple[Any, dict[str, tuple[bytes, bytes, list[bytes]]]]:
    """PINE for d numbers, and reports (nonce, public share, input shares) of each kind."""
    spec = h.spec.Spec({"delta": d}, bounds={"delta": 1.0})
    one = claims(spec, 2, None, False, b"task")[0].sum
    made = {}
    for name, sharded in (("valid", one), ("norm above the bound", Liar(**facts(one)))):
        x = np.zeros(d, np.int64)
        x[:2] = one.bound if name != "valid" else one.bound // 2
        nonce = vdaf.nonce()
        made[name] = nonce, *sharded.shard(x if sharded is one else x.tolist(), nonce)
    nonce, public, (leader, helper) = made["valid"]
    made["one bit changed"] = nonce, public, [leader[:8] + bytes([leader[8] ^ 1]) + leader[9:], helper]
    made["an element above p"] = nonce, public, [leader[: 8 * d - 8] + b"\xff" * 8 + leader[8 * d :], helper]
    made["a share too short"] = nonce, public, [leader[:-1], helper]
    return one, made


def clocked(d: int) -> list[dict[str, Any]]:
    """Milliseconds of the server for each kind of report, in turns; medians."""
    (one, made), key, times = reports(d), bytes(32), dict[str, list[float]]()
    for _ in range(TURNS):
        for name, (nonce, public, shares) in made.items():
            theirs = one.prepare(key, 1, nonce, public, shares[1])[1]
            start = time.perf_counter()
            try:
                state, reply = one.prepare(key, 0, nonce, public, shares[0])
                one.finish(state, one.decide([reply, theirs]))
                valid = True
            except ProtocolError:
                valid = False
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - start))
            assert valid is (name == "valid"), name
    return [
        {"numbers": d, "report": name, "milliseconds": statistics.median(row), "least": min(row), "turns": TURNS}
        for name, row in times.items()
    ]


def main() -> None:
    """Measure, print, save."""
    rows = []
    for name in AGGREGATORS:
        for attackers in LIARS:
            rows.append(measure(name, attackers))
            print(rows[-1], flush=True)
    for d in (7_850, 100_000):
        for row in clocked(d):
            rows.append(row)
            print(row, flush=True)
    save("byzantine", rows)


if __name__ == "__main__":
    main()
