"""Rounds of Flower's SecAgg+ in one process: its workflow, and clients for which its own mod answers.

python flower_masks.py CLIENTS NUMBERS GONE

A round for each line of the standard input, and then a line of JSON: seconds of the processor, and bytes. GONE clients
vanish before their vector. Messages are written and read as Flower does, and that takes no time here: only its bytes
count. `quantizing_s` is the part of a round in which numbers become integers, and integers numbers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module, metadata
from typing import Any

os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.compat.common import recorddict_compat as compat
from flwr.proto.recorddict_pb2 import RecordDict as Written
from flwr.server import LegacyContext, SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.supercore.task_identity import TaskIdentity

CLIENTS, NUMBERS, GONE = map(int, sys.argv[1:])
THRESHOLD = CLIENTS * 2 // 3 + 1
VECTORS = 2  # the stage in which clients say their vectors
logging.getLogger("flwr").setLevel(logging.ERROR)
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1

client = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
server = import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")
UPDATES = np.random.default_rng(0).normal(scale=1e-3, size=(CLIENTS, NUMBERS)).astype(np.float32)
clock = dict.fromkeys(("clients_s", "elsewhere_s", "quantizing_s"), 0.0)
sizes = {"up": 0, "down": 0, "vector": 0}


def timed(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    """The same, on the clock."""

    def doing(*arguments: Any) -> Any:
        begin = time.process_time()
        result = do(*arguments)
        clock[name] += time.process_time() - begin
        return result

    return doing


client.quantize = timed("quantizing_s", client.quantize)
server.dequantize = timed("quantizing_s", server.dequantize)


def written(content: RecordDict) -> bytes:
    """The bytes of a message's content."""
    data: bytes = recorddict_to_proto(content).SerializeToString()
    return data


def read(data: bytes) -> RecordDict:
    """What was written."""
    return recorddict_from_proto(Written.FromString(data))


class Clients:
    """A grid in which all clients live."""

    def __init__(self) -> None:
        self.contexts = {i + 2: Context(1, i + 2, {}, RecordDict(), {}) for i in range(CLIENTS)}
        self.stage = 0

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Sequence[Message]:
        """What the clients answer."""
        begin, before = time.process_time(), clock["clients_s"]
        gone = range(GONE) if self.stage >= VECTORS else range(0)
        answers = [self.answer(one) for one in messages if one.metadata.dst_node_id - 2 not in gone]
        self.stage += 1
        clock["elsewhere_s"] += time.process_time() - begin - (clock["clients_s"] - before)
        return answers

    def answer(self, message: Message) -> Message:
        """One client's answer."""
        who = message.metadata.dst_node_id
        down = written(message.content)
        heard = Message(content=read(down), dst_node_id=who, message_type=message.metadata.message_type, group_id="1")
        answer = timed("clients_s", client.secaggplus_mod)(heard, self.contexts[who], fit)
        up = written(answer.content)
        sizes["down"] += len(down)
        sizes["up"] += len(up)
        if self.stage == VECTORS:
            sizes["vector"] = len(up)
        answer.content = read(up)
        return answer


def fit(message: Message, context: Context) -> Message:
    """One client's update, which takes no time."""
    begin = time.process_time()
    parameters = ndarrays_to_parameters([UPDATES[context.node_id - 2]])
    result = FitRes(Status(Code.OK, ""), parameters, 1000, {})
    said = Message(compat.fitres_to_recorddict(result, False), reply_to=message)
    clock["clients_s"] -= time.process_time() - begin
    return said


def round() -> dict[str, Any]:
    """One round, whose result is checked."""
    for found in (clock, sizes):
        found.update(dict.fromkeys(found, 0))
    grid, manager = Clients(), SimpleClientManager()
    for who in grid.contexts:
        manager.register(GridClientProxy(who, grid, 1))
    strategy = FedAvg(min_fit_clients=CLIENTS, min_available_clients=CLIENTS)
    context = LegacyContext(Context(1, 1, {}, RecordDict(), {}), strategy=strategy, client_manager=manager)
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    nothing = ndarrays_to_parameters([np.zeros(0, np.float32)])  # the model is no part of the sum
    context.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(nothing, True)
    begin = time.process_time()
    SecAggPlusWorkflow(1.0, THRESHOLD, max_weight=1000.0)(grid, context)
    took = time.process_time() - begin - clock["elsewhere_s"]
    found = compat.arrayrecord_to_parameters(context.state.array_records[MAIN_PARAMS_RECORD], True)
    (mean,) = parameters_to_ndarrays(found)
    assert np.abs(mean - UPDATES[GONE:].mean(axis=0)).max() < 1e-5
    seconds = {"round_s": took, "clients_s": clock["clients_s"], "quantizing_s": clock["quantizing_s"]}
    return seconds | sizes | {"version": metadata.version("flwr")}


if __name__ == "__main__":
    for _ in sys.stdin:
        print(json.dumps(round()), flush=True)
