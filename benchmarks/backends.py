"""A round in each library, beside that library's own training loop on the same examples.

The 2NN and the CNN of McMahan et al. (2017, §3), one epoch of batches of 10 at each client, SGD, random images. The own
loop does what a round makes the library do, and no more: for PyTorch a loop over batches with torch.optim.SGD; for JAX
a jitted scan over the batches (for the CNN a jitted step, since XLA's convolutions are slow inside a loop on a CPU);
for Keras `model.fit`. Each library has a process and one core of its own; the two are run in turns. Seconds are the
processor's, since other programs run on the machine. Programs compiled are counted: after all rounds, which have
batches of one shape, and after two more clients whose last batches are shorter.

    python benchmarks/backends.py             all, and keep the results
    python benchmarks/backends.py Keras       one library, Keras on the backend of KERAS_BACKEND; print them
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import hansa as h

LIBRARIES = {"PyTorch": ("PyTorch", ""), "JAX": ("JAX", ""), "Keras, TensorFlow": ("Keras", "tensorflow")}
LIBRARIES["Keras, JAX"] = ("Keras", "jax")
SIZES = {"2NN": (5, 600), "CNN": (2, 200)}  # clients, examples of each
BATCH, RATE, TURNS, WARM = 10, 0.05, 9, 2

Both = tuple[h.models.Model, Callable[[Any, Any], Any], Callable[[], int]]  # the model, the own loop, programs compiled


def pytorch(name: str) -> Both:
    """The network, and a loop as one writes it."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    def layers() -> list[Any]:
        if name == "2NN":
            return [nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)]
        first = [nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return [*first, *second, nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10)]

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(*layers())
    optimizer = torch.optim.SGD(net.parameters(), RATE)

    def loop(X: Any, y: Any) -> None:
        X, y, order = torch.from_numpy(X), torch.from_numpy(y), torch.randperm(len(y))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()

    return h.TorchModel(net, cross_entropy), loop, lambda: 0


def functions(name: str) -> Both:
    """The network as functions, and a scan over the batches or a step for each."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    from hansa.models.jax import cross_entropy

    rng = np.random.default_rng(0)
    shapes = [(784, 200), (200, 200), (200, 10)]
    if name == "CNN":
        shapes = [(5, 5, 1, 32), (5, 5, 32, 64), (3136, 512), (512, 10)]
    first = [(rng.normal(size=s) / np.sqrt(np.prod(s[:-1])), np.zeros(s[-1])) for s in shapes]
    first = jax.tree.map(lambda a: a.astype(np.float32), first)

    def apply(params: Any, x: Any) -> Any:
        x = x[..., None]
        for w, b in (pair for pair in params if pair[0].ndim == 4):
            x = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
            x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x, dense = x.reshape(len(x), -1), [pair for pair in params if pair[0].ndim == 2]
        for w, b in dense[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ dense[-1][0] + dense[-1][1]

    def step(params: Any, batch: Any) -> Any:
        loss, g = jax.value_and_grad(lambda p: cross_entropy(apply(p, batch[0]), batch[1]).mean())(params)
        return jax.tree.map(lambda p, g: p - RATE * g, params, g), loss

    scan, one, draw = jax.jit(lambda p, batches: lax.scan(step, p, batches)), jax.jit(step), np.random.default_rng(0)

    def loop(X: Any, y: Any) -> None:
        rows = draw.permutation(len(y)).reshape(-1, BATCH)
        if name == "2NN":
            jax.block_until_ready(scan(first, (X[rows], y[rows])))
            return
        params = first
        for some in rows:
            params, loss = one(params, (X[some], y[some]))
        jax.block_until_ready((params, loss))

    model = h.JaxModel(first, apply, cross_entropy)
    return model, loop, lambda: model.compiled


def keras(name: str) -> Both:
    """The network in Keras, and `fit`."""
    import keras
    from keras import layers

    def net() -> Any:
        keras.utils.set_random_seed(0)
        if name == "2NN":
            hidden = [layers.Flatten(), *(layers.Dense(200, activation="relu") for _ in range(2))]
        else:
            some = {"padding": "same", "activation": "relu"}
            hidden = [layers.Reshape((28, 28, 1)), layers.Conv2D(32, 5, **some), layers.MaxPooling2D()]
            hidden += [layers.Conv2D(64, 5, **some), layers.MaxPooling2D(), layers.Flatten()]
            hidden += [layers.Dense(512, activation="relu")]
        made = keras.Sequential([keras.Input((28, 28)), *hidden, layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        made.compile(optimizer=keras.optimizers.SGD(RATE), loss=loss)
        return made

    plain, model = net(), h.KerasModel(net())

    def loop(X: Any, y: Any) -> None:
        plain.fit(X, y, batch_size=BATCH, epochs=1, verbose=0)

    def programs() -> int:
        (step,) = model._steps.values()
        return traced(step.function)

    return model, loop, programs


def traced(function: Any) -> int:
    """How many programs TensorFlow or JAX has made of what Keras wraps up in a function."""
    for word in ("experimental_get_tracing_count", "_cache_size"):
        if hasattr(function, word):
            return int(getattr(function, word)())
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return sum(traced(inside) for inside in cells if callable(inside))


def seconds(work: Callable[[], Any]) -> float:
    """Processor seconds of all threads."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(name: str, both: Both) -> dict[str, Any]:
    """Medians over the turns."""
    model, loop, programs = both
    clients, examples = SIZES[name]
    rng = np.random.default_rng(1)

    def records(n: int) -> Any:
        return rng.random((n, 28, 28), dtype=np.float32), rng.integers(0, 10, n)

    data = {f"c{i}": records(examples) for i in range(clients)}
    training = h.Training(batch=BATCH, learning_rate=RATE)
    plan = h.Plan(model, training=training, rounds=WARM + TURNS)
    states = h.synchronous(plan, h.InProcess([h.Client(who, plan, part) for who, part in data.items()]))
    own, ours = [], []
    for _ in range(plan.rounds):
        own.append(seconds(lambda: [loop(*part) for part in data.values()]))
        ours.append(seconds(lambda: next(states)))
    own, ours, counted = own[WARM:], ours[WARM:], programs()
    for more in (3, 7):
        model.train(model.start(h.Key.of(0)), records(examples + more), training, h.models.Drift(), h.Key.of(0))
    return {
        "network": name,
        "round_s": statistics.median(ours),
        "own_loop_s": statistics.median(own),
        "ratio": statistics.median(a / b for a, b in zip(ours, own, strict=True)),
        "programs": counted,
        "programs_with_short_batches": programs(),
    }


def main(words: list[str]) -> None:
    """One library in this process, or each in one of its own."""
    if words:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        make = {"PyTorch": pytorch, "JAX": functions, "Keras": keras}[words[0]]
        print(json.dumps([measure(name, make(name)) for name in SIZES]))
        return
    from common import save

    rows = []
    for title, (which, backend) in LIBRARIES.items():
        env = {**os.environ, "KERAS_BACKEND": backend or "tensorflow"}
        command = [sys.executable, __file__, which]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
        for row in json.loads(done.stdout.splitlines()[-1]):
            rows.append({"library": title, **row})
            print(
                f"{title:18} {row['network']}: {row['round_s']:.3f} s, own loop {row['own_loop_s']:.3f} s, "
                f"{row['ratio']:.2f}×, programs {row['programs']}"
            )
    save("backends", rows)


if __name__ == "__main__":
    main(sys.argv[1:])
