"""JaxModel: equal to a plain JAX loop, compiled once for each shape, repeatable, clear about what it cannot train."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache, partial
from itertools import pairwise
from typing import Any

import cloudpickle
import equinox as eqx
import jax
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx
from jax import numpy as jnp
from torch.nn import functional as F

import hansa as h
from hansa import data as local
from hansa.data.blocks import blocks
from hansa.models.jax import OPTIONS, JaxModel, cross_entropy
from hansa.testing import check_model

KEY, NONE = h.Key.of(1), h.models.Drift()
integer_labels = optax.softmax_cross_entropy_with_integer_labels


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small here is compiled more often than run."""
    monkeypatch.setitem(OPTIONS, "xla_backend_optimization_level", 0)


def points(n: int = 60, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] in three classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y]).astype(np.float32), y


def dense(*sizes: int, seed: int = 0) -> Any:
    """Weights and biases of a perceptron."""
    rng = np.random.default_rng(seed)
    return [
        {"w": (rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32), "b": np.zeros(b, np.float32)}
        for a, b in pairwise(sizes)
    ]


def mlp(params: Any, x: Any) -> Any:
    """Outputs of the perceptron with ReLU."""
    for i, layer in enumerate(params):
        x = (jax.nn.relu(x) if i else x) @ layer["w"] + layer["b"]
    return x


def mean_loss(outputs: Any, y: Any) -> Any:
    """One number for a batch."""
    return cross_entropy(outputs, y).mean()


def sent(model: JaxModel) -> JaxModel:
    """The model as a worker process gets it."""
    return cloudpickle.loads(cloudpickle.dumps(model))


class Net(linen.Module):
    """8 → 16 → 3 with batch normalisation and dropout."""

    @linen.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        """Logits."""
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(linen.Dense(16)(x))
        x = linen.Dropout(0.1, deterministic=not train)(linen.relu(x))
        return linen.Dense(3)(x)


@cache
def first_of_net() -> Any:
    """Parameters and statistics of a Net."""
    return jax.jit(Net().init)(jax.random.key(0), jnp.ones((1, 8)))


@cache
def first_of_nnx() -> Any:
    """Graph, parameters and the rest of an Nnx."""
    return nnx.split(Nnx(nnx.Rngs(0)), nnx.Param, ...)


def flax_linen(**more: Any) -> JaxModel:
    """Batch statistics as the state, dropout from the key."""
    net, first = Net(), first_of_net()

    def apply(params: Any, x: Any, state: Any, key: Any, train: bool) -> Any:
        variables = {"params": params, **state}
        return net.apply(variables, x, train, rngs={"dropout": key}, mutable=list(state))

    return JaxModel(first["params"], apply, integer_labels, {"batch_stats": first["batch_stats"]}, **more)


class Nnx(nnx.Module):
    """The same, in Flax's newer form."""

    def __init__(self, rngs: nnx.Rngs):
        self.first, self.last = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)
        self.norm, self.drop = nnx.BatchNorm(16, momentum=0.9, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Logits."""
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def flax_nnx(**more: Any) -> JaxModel:
    """Graph, parameters and the rest; the rest is the state, and its generators are seeded by the key."""
    graph, params, rest = first_of_nnx()

    def apply(params: Any, x: Any, state: Any, key: Any, train: bool) -> Any:
        net = nnx.merge(graph, params, state)
        net.set_attributes(deterministic=not train, use_running_average=not train, raise_if_not_found=False)
        nnx.reseed(net, default=key)
        return net(x), nnx.split(net, nnx.Param, ...)[2]

    return JaxModel(params, apply, integer_labels, rest, **more)


def equinox() -> JaxModel:
    """Arrays as parameters, the rest in the function."""
    params, rest = eqx.partition(eqx.nn.MLP(8, 3, 16, 1, key=jax.random.key(0)), eqx.is_inexact_array)
    return JaxModel(params, lambda params, x: jax.vmap(eqx.combine(params, rest))(x), integer_labels)


class Conv(linen.Module):
    """A convolution over 8 pixels."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """Logits."""
        x = linen.relu(linen.Conv(4, (3,))(x[..., None]))
        return linen.Dense(3)(x.reshape(len(x), -1))


def convolution() -> JaxModel:
    """A module's own `apply` is one."""
    return JaxModel(Conv().init(jax.random.key(0), jnp.ones((1, 8))), Conv().apply, integer_labels)


def plain(**more: Any) -> JaxModel:
    """The perceptron."""
    return JaxModel(dense(8, 16, 3), mlp, more.pop("loss", cross_entropy), **more)


# --- the mathematics ---


@pytest.mark.parametrize(
    ("optimizer", "drifts"),
    [("sgd", False), ("sgd", True), ("momentum", True), ("rmsprop", True), ("adam", True), ("adamw", True)],
)
def test_training_is_the_plain_loop(optimizer: str, drifts: bool) -> None:
    """Two epochs, each with a short batch, give what a loop with optax gives, drift and weight decay included."""
    params, data, eta, decay = dense(8, 16, 3), points(), 0.02, 0.05 if drifts else 0.0
    model = plain()
    training = h.Training(epochs=2, batch=16, learning_rate=eta, optimizer=optimizer, weight_decay=decay)
    x, rng = model.start(KEY), np.random.default_rng(3)
    drift = h.models.Drift(0.3, shift=rng.normal(size=x.size), centre=x + rng.normal(size=x.size)) if drifts else NONE
    fit = model.train(x, data, training, drift, KEY)

    step = {"sgd": optax.sgd, "momentum": partial(optax.sgd, momentum=h.training.MOMENTUM), "adam": optax.adam}
    step |= {"rmsprop": partial(optax.rmsprop, decay=0.99, eps=1e-8, eps_in_sqrt=False)}
    maker = optax.adamw(eta, weight_decay=decay) if optimizer == "adamw" else step[optimizer](eta)
    if decay and optimizer != "adamw":
        maker = optax.chain(optax.add_decayed_weights(decay), maker)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    state, losses = maker.init(flat), []
    gradient = jax.jit(jax.value_and_grad(lambda flat, A, y: mean_loss(mlp(unravel(flat), A), y)))
    for A, y in local.Examples.of(data).batches(training, KEY):
        loss, g = gradient(flat, A, y)
        if drifts:
            g = g + 0.3 * (flat - drift.centre) + drift.shift
        updates, state = maker.update(g, state, flat)
        flat = optax.apply_updates(flat, updates)
        losses.append(float(loss))
    assert fit.steps == len(losses) == 8
    assert abs(fit.loss - np.mean(losses)) < 1e-5
    assert np.abs(fit.x - np.asarray(flat)).max() < 1e-5  # optax rounds 1 − βᵗ
    assert np.abs(fit.x - x).max() > 1e-3


@pytest.mark.parametrize(("make", "n"), [(plain, 60), (flax_linen, 64)])
def test_promises(make: Any, n: int) -> None:
    """What every model promises."""
    check_model(make(), points(n))


@pytest.mark.parametrize(
    "make", [plain, partial(plain, loss=mean_loss), flax_linen, flax_nnx, equinox, convolution], ids=range(6)
)
def test_a_trip_to_another_process_changes_nothing(make: Any) -> None:
    """Equal digest, equal start, equal bytes; and it learns."""
    model, data = make(), points()
    other, x, training = sent(model), model.start(KEY), h.Training(epochs=3, batch=10)
    assert repr(other) == repr(model) and (other.start(KEY) == x).all()
    first, second = (one.train(x, data, training, NONE, KEY) for one in (model, other))
    assert (first.x == second.x).all() and model.score(first.x, data) == other.score(second.x, data)
    assert model.score(first.x, data)["loss"] < model.score(x, data)["loss"]


@pytest.mark.parametrize("loss", [cross_entropy, mean_loss])
def test_noise_for_single_examples_is_that_of_torch(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same samples, clipped gradients and draws; some examples at a time, from arrays and from a dataset."""
    torch.manual_seed(0)
    net, data = torch.nn.Linear(8, 3), points()
    first = {"w": net.weight.detach().numpy(), "z": net.bias.detach().numpy()}
    monkeypatch.setattr("hansa.models.jax.private.GRADIENTS", 2 * 27)
    training = h.Training(2, 8, 0.05, "adam", report=False, private=h.PerExample(clip=0.5, noise=0.8))
    models = h.TorchModel(net, F.cross_entropy), JaxModel(first, lambda p, x: x @ p["w"].T + p["z"], loss)
    x, drift = models[0].start(KEY), h.models.Drift(0.1, shift=np.full(27, 0.1))
    fits = [model.train(x, data, training, drift, KEY) for model in models]
    assert fits[0].steps == fits[1].steps == 15
    assert np.abs(fits[0].x - fits[1].x).max() < 1e-5 and abs(fits[0].loss - fits[1].loss) < 1e-5
    rows = torch.utils.data.TensorDataset(*map(torch.tensor, data))
    assert (models[1].train(x, rows, training, drift, KEY).x == fits[1].x).all()
    with pytest.raises(h.errors.DataError, match="stream"):
        models[1].train(x, lambda: [data, data], training, drift, KEY)
    with pytest.raises(h.errors.PlanError, match="with a state"):
        h.Plan(flax_linen(), training=training)


# --- shapes ---


def batches(found: Any, names: Any = (0, 1)) -> list[tuple[Any, ...]]:
    """The batches in blocks."""
    return [
        tuple(block.arrays[name][i][: block.sizes[i]] for name in names) for block in found for i in range(block.steps)
    ]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "training",
    [h.Training(3, 16), h.Training(batch=0), h.Training(2, 100), h.Training(1, 20), h.Training(5, 7, steps=20)],
)
def test_blocks_are_the_batches(training: h.Training, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same examples in the same order as batch by batch, from arrays, a dict, a dataset and a stream."""
    A, y = points()
    rows = [(A[i], y[i]) for i in range(60)]
    parts = [(A[i : i + 9], y[i : i + 9]) for i in range(0, 60, 9)]

    class Rows:
        def __len__(self) -> int:
            return 60

        def __getitem__(self, i: int) -> Any:
            return rows[i]

    for most in (2**26, 1500):
        monkeypatch.setattr("hansa.data.blocks.MOST", most)
        for data in ((A, y), (A.astype(np.float64), y), Rows(), rows, lambda: parts):
            expected = list(local.Examples.of(data).batches(training, KEY))
            found = batches(blocks(local.Examples.of(data), training, KEY, padded))
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert all(np.array_equal(a, np.asarray(b, a.dtype)) for a, b in zip(one, other, strict=True))
        named = batches(blocks(local.Examples.of({"y": y, "a": A}), training, KEY, padded), ("a", "y"))
        expected = list(local.Examples.of((A, y)).batches(training, KEY))
        assert all((a == b).all() for (a, _), (b, _) in zip(named, expected, strict=True))


def test_one_program_serves_clients_of_many_sizes() -> None:
    """Short batches are filled up and do not count; steps are counted where the loop runs."""
    model, training = plain(), h.Training(epochs=2, batch=10)
    x = model.start(KEY)
    exact = plain(loss=mean_loss)
    for n in (41, 50, 57, 61, 80):  # 10 to 16 steps
        fit, other = (one.train(x, points(n), training, NONE, KEY) for one in (model, exact))
        assert fit.steps == other.steps == 2 * -(-n // 10)
        assert np.abs(fit.x - other.x).max() < 1e-6 and abs(fit.loss - other.loss) < 1e-6
    assert model.compiled == 1
    assert exact.compiled == 3  # whole batches, and short ones of 1 and 7
    model.train(x, points(50), h.Training(epochs=2, batch=10, learning_rate=0.01), h.models.Drift(), KEY)
    assert model.compiled == 1
    model.train(x, points(50), h.Training(epochs=2, batch=10, optimizer="momentum"), NONE, KEY)
    assert model.compiled == 2
    full = plain()
    for n in (33, 40, 50, 64):
        full.train(x, points(n), h.Training(batch=0), NONE, KEY)
    assert full.compiled == 1


def test_convolutions_are_stepped_outside_of_a_loop() -> None:
    """On the CPU; with the same result."""
    model, other = convolution(), convolution()
    x, training = model.start(KEY), h.Training(epochs=2, batch=16, optimizer="adam", learning_rate=0.01)
    fit = model.train(x, points(), training, NONE, KEY)
    assert model._facts is not None and model._facts.fused == (jax.default_backend() != "cpu")
    other._facts = model._facts._replace(fused=True)
    again = other.train(x, points(), training, NONE, KEY)
    assert np.abs(fit.x - again.x).max() < 1e-5 and fit.steps == again.steps == 8
    assert model.compiled == other.compiled == 1


# --- state ---


@pytest.mark.parametrize("make", [flax_linen, flax_nnx])
def test_statistics_travel_or_stay(make: Any) -> None:
    """Averaged behind the parameters, or each client's own."""
    model = make()
    assert model.size == model.trainable + 32
    drift = h.models.Drift(5.0, shift=np.ones(model.size), centre=model.start(KEY) + 1)
    x = model.start(KEY)
    fits = [model.train(x, points(), h.Training(steps=1, batch=0), d, KEY).x for d in (NONE, drift)]
    assert (fits[0][-32:] == fits[1][-32:]).all() and np.abs(fits[0] - x)[-32:].max() > 0.05
    assert sum(name.startswith("state.") for name in model.tensors(x)) >= 2
    local_model = make(buffers="local")
    assert local_model.size == local_model.trainable == model.trainable
    plan = h.Plan(local_model, training=h.Training(batch=10, learning_rate=0.1), rounds=3)
    (A, y), (B, z) = points(30, 1), points(60, 2)
    clients = [h.Client("a", plan, (A, y)), h.Client("b", plan, (3 * B + 1, z))]
    *_, state = h.synchronous(plan, runtime := h.InProcess(clients))
    kept = [memory["model"] for memory in runtime.memory.of("ab").values()]
    assert kept[0].keys() == kept[1].keys()
    assert max(np.abs(np.subtract(kept[0][name], kept[1][name], dtype=float)).max() for name in kept[0]) > 0.1
    before = local_model.score(state.x, (A, y))
    assert local_model.score(state.x, (A, y), kept[0]) != before
    assert local_model.score(state.x, (A, y)) == before


def test_own_forms_are_given_back() -> None:
    """Parameters and state of a vector are pytrees as they came, ready for `apply`."""
    model = flax_linen()
    x = model.start(KEY) + 0.01
    first = first_of_net()
    assert jax.tree.structure(model.params(x)) == jax.tree.structure(first["params"])
    shifted = jax.tree.map(lambda leaf: leaf + 0.01, first)
    outputs = Net().apply({"params": model.params(x), **model.state(x)}, points()[0])
    assert np.abs(outputs - Net().apply(shifted, points()[0])).max() < 1e-5
    assert set(plain().tensors(plain().start(KEY))) == {"0.w", "0.b", "1.w", "1.b"}
    assert plain().state(plain().start(KEY)) is None


# --- repeatable ---


def test_dropout_comes_from_the_key() -> None:
    model = flax_linen()
    x, training = model.start(KEY), h.Training(batch=0, steps=2)
    fits = [model.train(x, points(), training, NONE, key).x for key in (KEY, KEY, KEY.child("other"))]
    assert (fits[0] == fits[1]).all() and (fits[0] != fits[2]).any()


PROGRAM = """
import os, sys, hashlib
os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: int(sys.argv[1])]))
import numpy as np, hansa as h
from hansa.models.jax import JaxModel, cross_entropy
rng = np.random.default_rng(0)
params = [rng.normal(size=size).astype(np.float32) / 30 for size in ((784, 512), (512, 10))]
model = JaxModel(params, lambda p, x: (x @ p[0]) ** 2 @ p[1], cross_entropy)
data = rng.normal(size=(512, 784)).astype(np.float32), rng.integers(0, 10, 512)
fit = model.train(model.start(None), data, h.Training(batch=256, epochs=2), h.models.Drift(), h.Key.of(0))
print(hashlib.sha256(fit.x.tobytes()).hexdigest())
"""


@pytest.mark.promise("P47")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core here")
def test_bytes_do_not_depend_on_cores() -> None:
    """Large matrix products come out alike on one core and on all."""
    ran = [
        subprocess.run([sys.executable, "-c", PROGRAM, cores], capture_output=True, text=True, check=True).stdout
        for cores in ("1", "64")
    ]
    assert ran[0] == ran[1] and len(ran[0]) == 65


def test_digests() -> None:
    """What is computed makes the digest; first values do not."""
    base = repr(plain())
    assert repr(JaxModel(dense(8, 16, 3, seed=5), mlp, cross_entropy)) == base
    others = [
        JaxModel(dense(8, 17, 3), mlp, cross_entropy),
        plain(loss=integer_labels),
        plain(metrics={}),
        JaxModel(dense(8, 16, 3), jax.jit(lambda params, x: mlp(params, x)), cross_entropy),
        flax_linen(),
        flax_linen(buffers="local"),
        convolution(),
        JaxModel(dense(8, 16, 3), mlp, partial(integer_labels, axis=-1)),
    ]
    assert len({base, *map(repr, others)}) == 9
    assert all(" at 0x" not in repr(other) for other in others) and "Conv" in repr(convolution())


# --- data ---


def test_forms_of_data_train_alike() -> None:
    """Arrays of other types, a dict and a stream hold the same examples."""
    A, y = points()
    model, training = plain(), h.Training(batch=16, epochs=2)
    x = model.start(KEY)
    expected = model.train(x, (A, y), training, NONE, KEY).x
    for data in ({"y": y, "a": A}, (A.astype(np.float64), y.astype(np.uint8)), (torch.tensor(A), torch.tensor(y))):
        model.check(data, "somebody")
        assert (model.train(x, data, training, NONE, KEY).x == expected).all()
        assert model.score(x, data) == model.score(x, (A, y))
    parts = [(A[:33], y[:33]), (A[33:], y[33:])]
    model.check(lambda: parts, "somebody")
    assert abs(model.score(x, lambda: parts)["loss"] - model.score(x, (A, y))["loss"]) < 1e-6
    assert model.compiled == 1


def test_several_inputs() -> None:
    """A dict goes in by name, a longer tuple by position."""
    (A, y), c = points(), np.random.default_rng(1).integers(0, 4, 60).astype(np.int16)
    params = {"table": np.zeros((4, 3), np.float32), "w": np.zeros((8, 3), np.float32)}
    model = JaxModel(params, lambda p, category, values: values @ p["w"] + p["table"][category], cross_entropy)
    x, fits = model.start(KEY), []
    for data in ({"values": A, "y": y, "category": c}, (c, A, y)):
        model.check(data, "somebody")
        fits.append(model.train(x, data, h.Training(epochs=5), NONE, KEY))
    assert (fits[0].x == fits[1].x).all()
    assert model.score(fits[0].x, data)["loss"] < model.score(x, data)["loss"]


def test_metrics_by_the_loss() -> None:
    """optax's cross-entropies have an accuracy; a squared error has none; sequences count each position."""
    (A, y), one = points(), {"w": np.zeros((8, 1), np.float32)}
    b = (y > 0).astype(np.float32)
    model = JaxModel(one, lambda p, x: (x @ p["w"])[:, 0], optax.sigmoid_binary_cross_entropy)
    model.check((A, b), "somebody")
    fit = model.train(model.start(KEY), (A, b), h.Training(epochs=20, batch=10), NONE, KEY)
    assert abs(model.score(fit.x, (A, b))["accuracy"] - ((A @ fit.x > 0) == b).mean()) < 1e-6
    squared = JaxModel(one, lambda p, x: (x @ p["w"])[:, 0], optax.squared_error)
    assert set(squared.metrics) == {"loss"} == set(squared.score(squared.start(KEY), (A, b)))
    assert JaxModel(dense(8, 3), mlp, optax.softmax_cross_entropy).score(
        np.zeros(27), (A, np.eye(3, dtype=np.float32)[y])
    )["accuracy"] == (y == 0).mean().astype(np.float32)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5, (40, 6))
    table = JaxModel(np.zeros((5, 5), np.float32), lambda p, x: p[x], cross_entropy)
    table.check((tokens, (tokens + 1) % 5), "somebody")
    fit = table.train(table.start(KEY), (tokens, (tokens + 1) % 5), h.Training(epochs=30, learning_rate=1.0), NONE, KEY)
    assert table.score(fit.x, (tokens, (tokens + 1) % 5))["accuracy"] == 1.0


# --- errors ---


def norm(params: Any, x: Any) -> Any:
    """Normalises by the batch, and has no state to say so."""
    return mlp(params, (x - x.mean(0)) / (x.std(0) + 1e-3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: JaxModel({}, mlp, cross_entropy), "no parameters"),
        (lambda: JaxModel(Net(), mlp, cross_entropy), "a Net"),
        (lambda: JaxModel(eqx.nn.MLP(8, 3, 16, 1, key=jax.random.key(0)), mlp, cross_entropy), "eqx.partition"),
        (lambda: JaxModel({"a": np.ones(3, np.int32)}, mlp, cross_entropy), "a is of int32"),
        (lambda: JaxModel({"a": jnp.ones(3, jnp.bfloat16)}, mlp, cross_entropy), "bfloat16"),
        (lambda: JaxModel(dense(8, 3), Net(), cross_entropy), "net.apply"),
        (lambda: JaxModel(dense(8, 3), "mlp", cross_entropy), "net.apply"),
        (lambda: plain(loss="cross_entropy"), "The loss is"),
        (lambda: plain(loss=lambda out, y, features, told: out.mean()), "The loss takes features, told."),
        (lambda: plain(state={"mean": np.zeros(3)}), "does not take it"),
        (lambda: JaxModel(dense(8, 3), lambda params, x, state: x, cross_entropy), "there is none"),
        (lambda: plain(buffers="mine"), "buffers='mine'"),
        (lambda: plain(metrics={"right": cross_entropy}), "metrics"),
        (lambda: plain().score(np.zeros(3), points()), "shape"),
        (lambda: plain(loss=lambda out, y: out.argmax(1)).check(points(), "a"), "int32"),
        (lambda: plain(loss=lambda out, y: out.mean(0)).check(points(), "a"), "shape (3,)"),
        (lambda: plain(loss=lambda out, y: 1.0).check(points(), "a"), "float"),
        (lambda: JaxModel(dense(8, 3), norm, cross_entropy).check(points(), "a"), "what other examples"),
        (
            lambda: JaxModel(dense(8, 3), lambda p, x, state: mlp(p, x), cross_entropy, {"n": np.zeros(())}).check(
                points(), "a"
            ),
            "(outputs, state)",
        ),
    ],
)
def test_wrong_plans(make: Any, says: str) -> None:
    """What was found, why it cannot work, what to write instead."""
    with pytest.raises(h.errors.PlanError) as caught:
        make()
    assert says in str(caught.value)
    assert caught.value.found and caught.value.why and caught.value.instead


def test_wrong_data() -> None:
    """check() names the client, and looks at all labels: JAX itself would read past them in silence."""
    (A, y), model = points(), plain()
    late = y.copy()
    late[-1] = 3
    odd = plain(loss=lambda outputs, y: jnp.log(outputs.sum(1) - 1e9))
    flat = JaxModel({"w": np.zeros((8, 1), np.float32)}, lambda p, x: x @ p["w"], optax.squared_error)
    signs = JaxModel({"w": np.zeros((8, 1), np.float32)}, lambda p, x: x @ p["w"], optax.sigmoid_binary_cross_entropy)
    wrong = [
        (model, (A[:, :7], y), "do not go through"),
        (model, (A, y + 1), "1 … 3"),
        (model, (A, y - 1), "-1 … 1"),
        (model, (A, late), "0 … 3"),
        (model, lambda: [(A, y), (A, late)], "0 … 3"),
        (model, {"a": A, "b": A, "y": y}, "do not go through"),
        (flat, (A, y), "do not go through"),
        (signs, (A, y), "y[:, None]"),
        (odd, (A, y), "nan"),
    ]
    for which, data, says in wrong:
        with pytest.raises(h.errors.DataError) as caught:
            which.check(data, "ward 7")
        assert "ward 7" in str(caught.value) and says in str(caught.value)
    with pytest.raises(h.errors.DataError, match="no examples"):
        model.score(model.start(KEY), [])
    with pytest.raises(h.errors.DataError, match="no examples"):
        model.train(model.start(KEY), (A[:0], y[:0]), h.Training(), NONE, KEY)
