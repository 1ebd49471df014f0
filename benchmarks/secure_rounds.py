"""What a whole round costs with the plain sum, and with sums that hide what they add.

10 clients train on data of random numbers, of which the cost does not depend: a network for patients' records (the one
of examples/hospitals.py), and the 2NN and the CNN of McMahan et al. (2017). Every aggregator sums the same work, round
by round in turns, on one core; seconds are those of the processor, medians over the rounds. Whoever brings another
aggregator adds a line to AGGREGATORS.

    python benchmarks/secure_rounds.py          measures, and draws
    python benchmarks/secure_rounds.py plot     draws what was measured
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from common import RESULTS, ROOT, save
from peers.networks import network
from torch import nn
from torch.nn.functional import cross_entropy

import hansa as h
from hansa.codec import dumps
from hansa.messages import Message, Reply, Request

AGGREGATORS: dict[str, tuple[h.aggregators.Aggregator, tuple[h.transforms.Transform, ...]]] = {  # and its pipe's end
    "Sum()": (h.Sum(), ()),
    "MaskedSum()": (h.MaskedSum(), (h.Quantize(16, of="sum", clients=10),)),
    "EncryptedSum()": (h.EncryptedSum(), (h.Quantize(16, of="sum", clients=10),)),
    "VerifiedSum()": (h.VerifiedSum(), ()),
    "VerifiedSum(helpers=2)": (h.VerifiedSum(helpers=2), ()),
}
CLIENTS, ROUNDS = 10, {"MLP": 15, "2NN": 5, "CNN": 3}
EXAMPLES = {"MLP": (200, 16), "2NN": (600, 10), "CNN": (600, 10)}  # of a client, and how many are in a batch
PLOT = ROOT / "docs" / "secure_rounds.svg"
WHO = ("training", "clients", "helpers", "server")


@dataclass
class Watch:
    """Seconds of the processor in a round, by who uses them; and bytes, by whom they come from and go to."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WHO, 0.0))
    sent: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Timed(h.models.Model):
    """Another model, with a watch on its training."""

    model: h.models.Model
    watch: Watch = field(default_factory=Watch, compare=False, repr=False)

    @property
    def size(self) -> int:
        return self.model.size

    def start(self, key: h.Key) -> Any:
        return self.model.start(key)

    def train(self, *arguments: Any) -> h.models.TrainResult:
        begin = time.process_time()
        result = self.model.train(*arguments)
        self.watch.seconds["training"] += time.process_time() - begin
        return result


class Watched(h.InProcess):
    """InProcess, with a watch on who answers how long; `weighing`, also on how many bytes are said."""

    def __init__(self, clients: list[h.Client], watch: Watch):
        super().__init__(clients)
        self.watch, self.weighing = watch, False

    def send(self, message: Message) -> None:
        super().send(message)
        if self.weighing and isinstance(message, Request):
            for who, body in message.bodies.items():
                self._weigh("server", who, body)

    def receive(self) -> Reply:
        trained, begin = self.watch.seconds["training"], time.process_time()
        reply = super().receive()
        took = time.process_time() - begin - (self.watch.seconds["training"] - trained)
        self.watch.seconds["helpers" if set(reply.who) & self.helpers.keys() else "clients"] += took
        if self.weighing:
            for who in reply.who:
                body = reply.body.value() if isinstance(reply.body, h.sums.Total) else reply.body
                self._weigh(who, "server", body)
        return reply

    def _weigh(self, giver: str, taker: str, body: Any) -> None:
        names = [
            "helpers" if who in self.helpers else "clients" if who in self.clients else who for who in (giver, taker)
        ]
        line = " → ".join(names)
        self.watch.sent[line] = self.watch.sent.get(line, 0) + len(dumps(body))


def work(name: str) -> tuple[h.models.Model, dict[str, tuple[Any, Any]]]:
    """A model, and every client's data."""
    rng, (n, _) = np.random.default_rng(0), EXAMPLES[name]
    shape, classes = {"MLP": ((30,), 2), "2NN": ((784,), 10), "CNN": ((28, 28), 10)}[name]
    net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2)) if name == "MLP" else network(name.lower(), 0)
    data = {
        f"client {i}": (rng.random((n, *shape), dtype=np.float32), rng.integers(0, classes, n)) for i in range(CLIENTS)
    }
    return h.TorchModel(net, cross_entropy), data


def rounds(name: str) -> Iterator[dict[str, Any]]:
    """One row for each aggregator."""
    model, data = work(name)
    n, batch = EXAMPLES[name]
    runs, took = {}, {title: list[dict[str, float]]() for title in AGGREGATORS}
    for title, (aggregator, end) in AGGREGATORS.items():
        timed = Timed(model)
        plan = h.Plan(
            timed,
            pipe=(h.Finite(), h.Clip(1.0, side=10.0), h.Weigh("examples", cap=n), *end),
            aggregator=aggregator,
            training=h.Training(batch=batch),
            sample=h.Everyone(quorum=CLIENTS),
            rounds=ROUNDS[name] + 1,
        )
        runtime = Watched([h.Client(who, plan, d) for who, d in data.items()], timed.watch)
        runs[title] = h.synchronous(plan, runtime), runtime
    for i in range(ROUNDS[name] + 1):
        for title, (states, runtime) in runs.items():
            watch, runtime.weighing = runtime.watch, i == 0  # the first round warms up, and is weighed
            watch.seconds = dict.fromkeys(WHO, 0.0)
            begin = time.process_time()
            state = next(states)
            watch.seconds["server"] = time.process_time() - begin - sum(watch.seconds.values())
            assert len(state.participants) == CLIENTS, state
            if i:
                took[title].append(watch.seconds | {"round": sum(watch.seconds.values())})
    for title, (_, runtime) in runs.items():
        plain = took["Sum()"]
        row: dict[str, Any] = {"model": name, "numbers": model.size, "aggregator": title, "clients": CLIENTS}
        row |= {f"{who}_s": statistics.median(one[who] for one in took[title]) for who in (*WHO, "round")}
        row["over_sum"] = statistics.median(a["round"] / b["round"] for a, b in zip(took[title], plain, strict=True))
        yield row | {"rounds": len(plain), "bytes": runtime.watch.sent}


def plot(rows: list[dict[str, Any]]) -> None:
    """A bar for each aggregator: whose seconds a round takes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hansa", "font.size": 9}
    from matplotlib import pyplot

    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = pyplot.subplots(len(models), figsize=(7.2, 1.1 + 0.28 * len(rows)), layout="constrained")
    for ax, name in zip(np.atleast_1d(axes), models, strict=True):
        here = [row for row in rows if row["model"] == name][::-1]
        left = np.zeros(len(here))
        for who, colour in zip(WHO, ("#8a94a0", "#0b6e99", "#d1762b", "#1d2733"), strict=True):
            width = np.array([row[f"{who}_s"] for row in here])
            ax.barh([row["aggregator"] for row in here], width, left=left, color=colour, label=who)
            left += width
        ax.set_title(f"{name}, {here[0]['numbers']:,} numbers, {CLIENTS} clients", loc="left", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[-1].set_xlabel("seconds of one core in a round")
    figure.legend(*ax.get_legend_handles_labels(), frameon=False, ncols=4, loc="outside upper right")
    figure.savefig(PLOT, metadata={"Date": None})
    pyplot.close(figure)


def measure() -> None:
    """Every model, every aggregator."""
    warnings.simplefilter("ignore")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:1])
    torch.set_num_threads(1)
    rows = []
    for name in ROUNDS:
        for row in rounds(name):
            rows.append(row)
            seconds = ", ".join(f"{who} {row[f'{who}_s']:.3f}" for who in (*WHO, "round"))
            print(f"{name} {row['aggregator']:30} {seconds} s, ×{row['over_sum']:.2f}", row["bytes"], flush=True)
    os.sched_setaffinity(0, cores)
    save("secure_rounds", rows)


def main() -> None:
    """Measure, print and save; draw."""
    if sys.argv[1:] != ["plot"]:
        measure()
    plot(json.loads((RESULTS / "secure_rounds.json").read_text("utf-8"))["rows"])


if __name__ == "__main__":
    main()
