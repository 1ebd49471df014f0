"""The final weights of ten plans, as digests: what a change that means to change nothing must leave as they are.

    python -m tests.evidence.ten_plans            compares with benchmarks/results/ten_plans.json
    python -m tests.evidence.ten_plans --write    writes that file

One plan for each backend and each kind of aggregator, on the CPU and one thread, with a named secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")

import numpy as np
from benchmarks.common import RESULTS, save

import hansa

SECRET = hansa.Key.of(7)
CLIENTS, ROWS = 6, 40


def data(shape: tuple[int, ...] = (8,)) -> dict[str, Any]:
    """A few clients with three classes."""
    rng = np.random.default_rng(5)
    found = {}
    for i in range(CLIENTS):
        x = rng.normal(size=(ROWS + i, *shape)).astype(np.float32)
        y = (x.reshape(len(x), -1)[:, :3].argmax(1)).astype(np.int64)
        found[f"site-{i}"] = (x, y)
    return found


def trained(plan: hansa.Plan, shape: tuple[int, ...] = (8,)) -> Iterable[hansa.State]:
    """The states of a plan."""
    clients = [hansa.Client(who, plan, one, secret=SECRET) for who, one in data(shape).items()]
    return hansa.synchronous(plan, hansa.InProcess(clients, secret=SECRET), secret=SECRET)


def softmax(**more: Any) -> Iterable[hansa.State]:
    """The model of reference."""
    return trained(hansa.Plan(hansa.Softmax(8, 3), **{"rounds": 3, "seed": 3, **more}))


def torch_net() -> Iterable[hansa.State]:
    """A convolution with BatchNorm, whose statistics travel, under SCAFFOLD."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    model = hansa.TorchModel(net, nn.functional.cross_entropy, compile=False)
    return trained(hansa.Plan(model, hansa.Scaffold(), rounds=3), (1, 8, 8))


def jax_net() -> Iterable[hansa.State]:
    """Two layers with AdamW under an adaptive clip."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 2)
    first = {"a": jax.random.normal(keys[0], (8, 16)) / 3, "b": jax.random.normal(keys[1], (16, 3)) / 4}

    def apply(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params["a"]) @ params["b"]

    def loss(outputs: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], 1).mean()

    pipe = hansa.AdaptiveClip(0.5), hansa.Weigh("examples", cap=64)
    training = hansa.Training(optimizer="adamw", learning_rate=0.01)
    return trained(hansa.Plan(hansa.JaxModel(first, apply, loss), pipe=pipe, training=training, rounds=3))


def keras_net() -> Iterable[hansa.State]:
    """A Keras model, trained as it is compiled."""
    import keras

    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(3)])
    net.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    training = hansa.Training(optimizer="compiled")
    return trained(hansa.Plan(hansa.KerasModel(net), training=training, rounds=3))


def sklearn_net() -> Iterable[hansa.State]:
    """Logistic regression of scikit-learn, with the coordinate-wise median."""
    from sklearn.linear_model import SGDClassifier

    model = hansa.SklearnModel(SGDClassifier(loss="log_loss", alpha=1e-4), 8, 3)
    return trained(hansa.Plan(model, aggregator=hansa.Median(), pipe=(hansa.Weigh("one"),), rounds=3))


def trees() -> Iterable[hansa.State]:
    """Boosted trees, one client after another."""
    model = hansa.XgboostModel({"objective": "multi:softprob", "num_class": 3, "max_depth": 3}, 8)
    return trained(
        hansa.Plan(
            model,
            hansa.Boosting(),
            aggregator=hansa.Ensemble(),
            training=hansa.Training(epochs=1, batch=0, learning_rate=0.3),
            sample=hansa.InTurn(),
            rounds=6,
        )
    )


def buffered() -> Iterable[hansa.State]:
    """Whoever is free trains, and a buffer steps."""
    plan = hansa.Plan(hansa.Softmax(8, 3), hansa.FedProx(0.1, server=hansa.Adam(0.1)), rounds=4)
    clients = [hansa.Client(who, plan, one, secret=SECRET) for who, one in data().items()]
    return hansa.buffered(plan, hansa.InProcess(clients, secret=SECRET), size=2, busy=4, secret=SECRET)


PROVEN = {
    "pipe": (hansa.Clip(1.0, side=10.0), hansa.Weigh("one")),
    "training": hansa.Training(batch=0),
    "sample": hansa.Everyone(quorum=2),
}
NOISED = {
    "pipe": (hansa.Clip(1.0), hansa.Weigh("one"), hansa.Quantize(16), hansa.DiscreteGaussianNoise(1.0)),
    "training": hansa.Training(report=False),
    "sample": hansa.Poisson(0.7),
}
PLANS: dict[str, Callable[[], Iterable[hansa.State]]] = {
    "Softmax, FedNova, Sum": lambda: softmax(algorithm=hansa.FedNova()),
    "Softmax, DP-SGD": lambda: softmax(training=hansa.Training(private=hansa.PerExample(1.0, 1.0), report=False)),
    "Softmax, discrete Gaussian noise, Poisson": lambda: softmax(**NOISED),
    "Softmax, VerifiedSum": lambda: softmax(aggregator=hansa.VerifiedSum(noise=0.5), **PROVEN),
    "Softmax, FedDyn, MultiKrum": lambda: softmax(
        algorithm=hansa.FedDyn(alpha=0.1), aggregator=hansa.MultiKrum(1, 3), pipe=(hansa.Weigh("one"),)
    ),
    "Softmax, FedProx, buffered": buffered,
    "PyTorch, Scaffold": torch_net,
    "JAX, AdaptiveClip": jax_net,
    "Keras, its own optimizer": keras_net,
    "scikit-learn, Median": sklearn_net,
    "XGBoost, Ensemble": trees,
}


def digests() -> dict[str, str]:
    """Plan → SHA-256 of its last weights."""
    found = {}
    for name, states in PLANS.items():
        last = list(states())[-1]
        assert np.isfinite(last.x).all()
        found[name] = hashlib.sha256(np.ascontiguousarray(last.x).tobytes()).hexdigest()
        print(f"{found[name][:16]}  {name}", flush=True)
    return found


def main() -> int:
    """Write what is found, or say what differs; how many plans do."""
    found = digests()
    if "--write" in sys.argv:
        save("ten_plans", [{"plan": name, "weights": digest} for name, digest in found.items()])
        return 0
    before = {row["plan"]: row["weights"] for row in json.loads((RESULTS / "ten_plans.json").read_text())["rows"]}
    changed = [name for name in before.keys() | found.keys() if before.get(name) != found.get(name)]
    print(f"{len(found) - len(changed)} of {len(found)} plans end with the same bytes")
    for name in sorted(changed):
        print(f"other bytes: {name}")
    return len(changed)


if __name__ == "__main__":
    raise SystemExit(main())
