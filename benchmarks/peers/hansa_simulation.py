"""FedAvg in hansa: one of its models, in one process or in several.

python hansa_simulation.py SETTING jax|torch|compiled WORKERS        WORKERS: 0 = in this process
"""

from __future__ import annotations

import sys
from functools import partial

from setting import BATCH, RATE, SCORED, SETTINGS, read, turns

import hansa as h

name, backend, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
setting = SETTINGS[name]


def in_torch() -> h.models.Model:
    """The network in PyTorch."""
    from networks import network
    from torch.nn.functional import cross_entropy

    return h.TorchModel(network(setting.net, 0), cross_entropy, compile=backend == "compiled")


def in_jax() -> h.models.Model:
    """The same network in JAX."""
    from jax_networks import forward, weights

    from hansa.models.jax import cross_entropy

    return h.JaxModel(weights(setting.net, 0), partial(forward, setting.net), cross_entropy)


def main() -> None:
    """All rounds."""
    model = in_jax() if backend == "jax" else in_torch()
    plan = h.Plan(
        model, training=h.Training(batch=BATCH, learning_rate=RATE), sample=h.Uniform(setting.cohort), rounds=10**6
    )
    runtime = started(plan)
    now = [plan.start()]
    few = tuple(part.reshape(-1, *part.shape[2:])[:SCORED] for part in read(setting, mapped=True))
    clock = turns(lambda: model.score(now[0].x, few)["loss"])
    next(clock)
    for state in h.synchronous(plan, runtime):
        now[0] = state
        if state.skipped or len(state.participants) != setting.cohort:
            raise SystemExit(f"Round {state.round} failed: {state.skipped} {state.excluded}")
        next(clock)


def started(plan: h.Plan) -> h.loops.Runtime:
    """All clients, where they live; each holds rows of one array."""
    x, y = read(setting)
    clients = [h.Client(f"{i:04d}", plan, pair) for i, pair in enumerate(zip(x, y, strict=True))]
    return h.Processes(clients, workers) if workers else h.InProcess(clients)


if __name__ == "__main__":
    main()
