"""FedAvg in Flower's simulation runtime: as many Ray actors as there are cores, one thread each.

python flower_simulation.py SETTING

It is spared what it could do more slowly: no evaluation, no progress lines, and data that its actors map from a file
that lies in memory.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from networks import network
from setting import BATCH, RATE, SCORED, SETTINGS, read, turns
from torch.nn.functional import cross_entropy

os.environ.setdefault("HANSA_SETTING", sys.argv[1])  # for the actors
setting = SETTINGS[os.environ["HANSA_SETTING"]]
logging.getLogger("flwr").setLevel(logging.WARNING)
client, server = ClientApp(), ServerApp()


@cache
def given() -> tuple[Any, ...]:
    """The data, and a network to train; once for each process."""
    torch.set_num_threads(1)
    return *map(torch.from_numpy, read(setting, mapped=True)), network(setting.net, 0)


@client.train()
def train(message: Message, context: Context) -> Message:
    """One client's local training."""
    *data, net = given()
    x, y = (part[context.node_config["partition-id"]] for part in data)
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    for rows in torch.randperm(len(y)).split(BATCH):
        optimizer.zero_grad()
        cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    metrics = MetricRecord({"num-examples": len(y)})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)


class Strict(FedAvg):
    """FedAvg that ends where a client has failed; else a round without any would be the fastest."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        received = list(replies)
        if len(received) != setting.cohort or any(reply.has_error() for reply in received):
            raise SystemExit(f"Round {server_round} failed: {len(received)} replies, {received[:1]}")
        return super().aggregate_train(server_round, received)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds."""
    *data, net = given()
    x, y = data[0].flatten(0, 1)[:SCORED], data[1].flatten()[:SCORED]

    def loss() -> float:
        with torch.no_grad():
            return float(cross_entropy(net(x), y))

    clock = turns(loss)

    def evaluate(round: int, arrays: ArrayRecord) -> None:
        net.load_state_dict(arrays.to_torch_state_dict())
        next(clock)

    Strict(
        fraction_train=setting.cohort / setting.clients, fraction_evaluate=0.0, min_available_nodes=setting.clients
    ).start(grid, ArrayRecord(net.state_dict()), num_rounds=10**9, evaluate_fn=evaluate)


if __name__ == "__main__":
    import flower_simulation as app  # by a name that actors can import

    run_simulation(
        app.server,
        app.client,
        num_supernodes=setting.clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": os.cpu_count(), "log_to_driver": False},
        },
    )
