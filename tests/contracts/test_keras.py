"""KerasModel: Keras' own training, repeatable, in the caller's own object, on three backends.

Tests called test_everywhere_… run again on JAX and PyTorch, in a process of their own; all others on TensorFlow.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import cloudpickle
import datasets
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from safetensors.numpy import load_file

import hansa as h
from hansa.data import Examples
from hansa.messages import SessionId
from hansa.metrics import RATE
from hansa.models.keras import KerasModel
from hansa.models.predictions import predicted
from hansa.store import export
from hansa.testing import check_model

KEY, NONE = h.Key.of(1), h.models.Drift()
CROSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
COMPILED = h.Training(epochs=2, batch=16, optimizer="compiled")


def points(n: int = 60, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] in three classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y]).astype(np.float32), y


def deep(*between: Any, optimizer: Any = None, seed: int = 0, **more: Any) -> Any:
    """8 → 16 → 3, with layers between, compiled."""
    keras.utils.set_random_seed(seed)
    net = keras.Sequential([keras.Input((8,)), layers.Dense(16), *between, layers.ReLU(), layers.Dense(3)])
    net.compile(**{"optimizer": optimizer, "loss": CROSS, "metrics": ["accuracy"], **more})
    return net


def sent(model: KerasModel) -> KerasModel:
    """The model as a worker process gets it."""
    return cloudpickle.loads(cloudpickle.dumps(model))


def weights(net: Any) -> Any:
    """All weights as one vector."""
    return np.concatenate([np.asarray(v.numpy(), np.float64).reshape(-1) for v in net.trainable_variables])


def federated(plan: h.Plan, data: dict[str, Any]) -> h.State:
    """The last state."""
    *_, state = h.synchronous(plan, h.InProcess(h.Client(who, plan, part) for who, part in data.items()))
    return state


# --- the mathematics ---


def test_everywhere_one_training_knows_nothing_of_another() -> None:
    """A program that was compiled for one clip, or for one part alone, is not that of the next."""
    trainings = [
        h.Training(learning_rate=0.1, clip=clip, only=only)
        for clip, only in ((1e-3, ()), (1e-2, ()), (1e-2, ("*bias",)))
    ]
    model: Any = KerasModel(deep())
    x = model.start(KEY)
    for training in trainings:
        found = model.train(x, points(64), training, NONE, KEY).x
        fresh: Any = KerasModel(deep())
        assert (found == fresh.train(x, points(64), training, NONE, KEY).x).all()


def test_everywhere_promises() -> None:
    """What every model promises, with layers that have state."""
    check_model(KerasModel(deep(layers.BatchNormalization(), layers.Dropout(0.2))), points(64))


def test_promises_of_a_compiled_optimizer_after_a_trip() -> None:
    model = KerasModel(deep(layers.BatchNormalization(), optimizer=keras.optimizers.AdamW(0.01, clipnorm=1.0)), "local")
    check_model(sent(model), points(64), h.Training(epochs=2, batch=8, learning_rate=0.05, optimizer="compiled"))


def as_keras(optimizer: Any) -> None:
    """As train_on_batch on the same batches; the loss is their mean, weighed by examples."""
    net, data = deep(optimizer=optimizer), points()
    model = KerasModel(net)
    fit = model.train(model.start(KEY), data, COMPILED, NONE, KEY)
    losses = [(float(net.train_on_batch(A, y)[0]), len(y)) for A, y in h.data.Examples.of(data).batches(COMPILED, KEY)]
    assert np.abs(fit.x - weights(net)).max() < 1e-6
    means, sizes = zip(*losses, strict=True)
    assert fit.steps == 8 and abs(fit.loss - np.average(means, weights=sizes)) < 1e-5
    assert np.abs(fit.x - model.start(KEY)).max() > 1e-3


def test_everywhere_training_is_keras_own() -> None:
    as_keras(keras.optimizers.Adam(0.02, clipnorm=0.5))


def test_training_with_other_optimizers_is_keras_own() -> None:
    decay = keras.optimizers.schedules.ExponentialDecay(0.05, decay_steps=2, decay_rate=0.5)
    for optimizer in (keras.optimizers.RMSprop(decay), keras.optimizers.Lion(0.01)):
        as_keras(optimizer)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_weight_decay_goes_into_the_gradient(optimizer: Any) -> None:
    """g + λy: in the first step −ηλx more."""
    model, x = KerasModel(deep()), KerasModel(deep()).start(KEY)
    plain, decayed = (
        model.train(x, points(), h.Training(1, 0, 0.1, optimizer, decay), NONE, KEY).x - x for decay in (0.0, 0.5)
    )
    assert np.abs(decayed - plain + 0.1 * 0.5 * x).max() < 1e-6


# --- what moves, what stays ---


def test_averaged_statistics_travel() -> None:
    """BatchNorm's are the weighted mean of the clients'; a server optimizer leaves them alone."""
    model = KerasModel(deep(layers.BatchNormalization()))
    assert model.size == model.trainable + 32
    training = h.Training(batch=10)
    parts = {"a": points(30, 1), "b": points(60, 2)}
    plan = h.Plan(model, h.FedAvg(h.Adam(0.5)), training=training, rounds=1)
    state = federated(plan, parts)
    alone = [
        model.train(model.start(KEY), d, training, NONE, plan.context(0, SessionId(), w, secret=KEY).session.repeats).x
        for w, d in parts.items()
    ]
    assert np.abs(state.x - (30 * alone[0] + 60 * alone[1]) / 90)[model.trainable :].max() < 1e-9
    assert np.abs(alone[0] - alone[1])[model.trainable :].max() > 0.01


@pytest.mark.promise("P7")
def test_local_statistics_stay_with_their_client() -> None:
    model = KerasModel(deep(layers.BatchNormalization()), buffers="local")
    assert model.size == model.trainable
    plan = h.Plan(model, training=h.Training(batch=10), rounds=3)
    (A, y), (B, z) = points(30, 1), points(60, 2)
    clients = {"a": h.Client("a", plan, (A, y)), "b": h.Client("b", plan, (3 * B + 1, z))}
    *_, state = h.synchronous(plan, runtime := h.InProcess(clients.values()))
    kept = [memory["model"] for memory in runtime.memory.of(clients).values()]
    assert max(np.abs(kept[0][name] - kept[1][name]).max() for name in kept[0]) > 0.1
    plain = model.score(state.x, points(50, 5))
    assert model.score(state.x, points(50, 5), kept[0]) != plain
    assert model.score(state.x, points(50, 5)) == plain


def test_frozen_layers_stay() -> None:
    """Neither their weights nor their statistics are in the vector."""
    net = deep(layers.BatchNormalization())
    net.layers[0].trainable = net.layers[1].trainable = False
    net.compile(optimizer=None, loss=CROSS)
    model = KerasModel(net)
    assert model.size == model.trainable == 16 * 3 + 3
    first = net.layers[0].get_weights()
    net = model.load(model.train(model.start(KEY), points(), h.Training(), NONE, KEY).x)
    assert all((a == b).all() for a, b in zip(first, net.layers[0].get_weights(), strict=True))


def test_everywhere_the_callers_object() -> None:
    """It is as it was after each call, seeds and optimizer included; `load` puts the weights in, and it saves."""
    net = deep(layers.BatchNormalization(), layers.Dropout(0.3), optimizer="adam")
    net.fit(*points(), epochs=1, verbose=0)
    had = [np.array(v.numpy()) for v in (*net.variables, *net.optimizer.variables)]
    own = net.optimizer, net.train_function
    model = KerasModel(net)
    model.check(points(), "somebody")
    fit = model.train(model.start(KEY), points(), COMPILED, h.models.Drift(0.1), KEY)
    score = model.score(fit.x, points(50, 3))
    assert all((a == v.numpy()).all() for a, v in zip(had, (*net.variables, *net.optimizer.variables), strict=True))
    assert own == (net.optimizer, net.train_function)
    assert model.load(fit.x) is net
    told = net.evaluate(*points(50, 3), verbose=0, return_dict=True)
    assert all(abs(told[name] - score[name]) < 1e-5 for name in model.metrics)
    net.fit(*points(), epochs=1, verbose=0)


# --- repeatable ---


def test_randomness_comes_from_the_key() -> None:
    """Equal keys give equal bytes, with dropout and shuffling, whatever was drawn before."""
    model = KerasModel(deep(layers.Dropout(0.5), layers.GaussianNoise(0.1)))
    x = model.start(KEY)
    one = model.train(x, points(), h.Training(epochs=2), NONE, KEY)
    model.train(x, points(), h.Training(epochs=3), NONE, KEY.child("other"))
    two = model.train(x, points(), h.Training(epochs=2), NONE, KEY)
    assert (one.x == two.x).all() and one.loss == two.loss
    assert (model.train(x, points(), h.Training(epochs=2), NONE, KEY.child("other")).x != one.x).any()


def double(targets: Any, outputs: Any) -> Any:
    """A loss of the caller's own."""
    return 2 * keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)


class Residual(keras.Model):
    """A subclassed model, with code of its own."""

    def __init__(self, units: int = 8, **more: Any) -> None:
        super().__init__(**more)
        self.inner, self.outer, self.drop = layers.Dense(units), layers.Dense(3), layers.Dropout(0.1)

    def call(self, x: Any, training: bool = False) -> Any:
        """Logits [n, 3]."""
        return self.outer(x + self.drop(self.inner(x), training=training))


def residual() -> Any:
    """Built and compiled."""
    keras.utils.set_random_seed(0)
    net = Residual()
    net(np.zeros((1, 8), np.float32))
    net.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=double)
    return net


def test_subclassed_models_and_own_losses_travel() -> None:
    """Sent to another process: equal digest, equal bytes."""
    model = KerasModel(residual())
    x = model.start(KEY)
    used = model.train(x, points(), COMPILED, NONE, KEY)
    model.load(used.x)  # neither this nor training changes what is sent
    other = sent(model)
    assert repr(other) == repr(model) and (other.start(KEY) == x).all()
    assert (other.train(x, points(), COMPILED, NONE, KEY).x == used.x).all()
    assert model.score(used.x, points())["loss"] < model.score(x, points())["loss"]


def test_digests() -> None:
    """What is computed makes the digest; weights, and names that only count layers, do not."""
    base = repr(KerasModel(deep()))
    assert repr(KerasModel(deep(seed=1))) == base and "SparseCategoricalCrossentropy" in base
    frozen, other = deep(), deep(seed=1)
    frozen.layers[0].trainable = other.layers[0].trainable = False
    nets = [
        other,
        deep(layers.Dropout(0.1)),
        deep(layers.Dropout(0.2)),
        deep(optimizer="adam"),
        deep(optimizer=keras.optimizers.Adam(0.1)),
        deep(metrics=None),
        deep(loss="mse"),
        frozen,
    ]
    assert len({base, *(repr(KerasModel(net)) for net in nets)}) == 9


def test_one_compilation_for_a_shape() -> None:
    """A step is traced once for a batch, once more for a remainder of any size, and again with a drift; never later."""
    traced = []

    class Counts(layers.Layer):
        def call(self, x: Any) -> Any:
            """As it came."""
            traced.append(tuple(x.shape))
            return x

    model = KerasModel(deep(Counts()))
    x, training = model.start(KEY), h.Training(epochs=2, batch=16)
    model.train(x, points(60), training, NONE, KEY)
    first = len(traced)
    for n in (60, 52, 37, 64, 16):
        model.train(x, points(n), training, NONE, KEY)
    assert len(traced) == first
    model.train(x, points(60), training, h.models.Drift(0.1), KEY)
    again = len(traced)
    model.train(x, points(50), training, h.models.Drift(0.2, shift=np.ones_like(x)), KEY)
    assert len(traced) == again < 3 * first


# --- data ---


def test_forms_of_data_train_alike() -> None:
    """Arrays, a Hugging Face dataset and a tf.data pipeline hold the same examples."""
    A, y = points()
    model, training = KerasModel(deep()), h.Training(batch=16, epochs=2)
    x = model.start(KEY)
    expected = model.train(x, (A, y), training, NONE, KEY).x
    hugging = datasets.Dataset.from_dict({"features": A.tolist(), "label": y.tolist()})
    for data in ({"a": A, "y": y}, hugging, (A.astype(np.float64), y.astype(np.uint8))):
        model.check(data, "somebody")
        assert (model.train(x, data, training, NONE, KEY).x == expected).all()
        assert abs(model.score(x, data)["loss"] - model.score(x, (A, y))["loss"]) < 1e-6
    pipeline = tf.data.Dataset.from_tensor_slices((A, y)).batch(16)
    inorder = [(A[i : i + 16], y[i : i + 16]) for i in range(0, 60, 16)]
    model.check(pipeline, "somebody")
    same = [model.train(x, data, training, NONE, KEY) for data in (pipeline, lambda: inorder)]
    assert (same[0].x == same[1].x).all() and same[0].steps == 8
    train, held = h.data.Examples.of(hugging).split(0.2, KEY)
    assert model.train(x, train, training, NONE, KEY).steps == 6 and len(held) == 12


def test_two_inputs_and_two_outputs() -> None:
    """By name, in one dict, by position, and as Keras' own pair of dicts; validation scores by Keras' names."""
    net, (inputs, targets) = branched()
    (age, image), (price, kind) = inputs.values(), targets.values()
    model = KerasModel(net)
    assert model.metrics == {"loss": np.inf, "price_mae": np.inf, "kind_accuracy": RATE}
    x, fits = model.start(KEY), []
    for data in (
        ({"age": age, "image": image}, {"price": price, "kind": kind}),
        {"image": image, "age": age, "y.kind": kind, "y.price": price},
        (age, image, price, kind),
        ((age, image), {"kind": kind, "price": price}),
    ):
        model.check(data, "somebody")
        fits.append(model.train(x, data, COMPILED, NONE, KEY))
    assert all((fit.x == fits[0].x).all() for fit in fits)
    training = h.Training(epochs=20, optimizer="compiled", validation=0.2)
    state = federated(h.Plan(model, training=training, rounds=2), {"a": data, "b": data})
    assert state.metrics["val_kind_accuracy"] > 0.5
    after, before = model.score(state.x, data), model.score(x, data)
    assert after["price_mae"] < before["price_mae"] and after["kind_accuracy"] > before["kind_accuracy"]
    with pytest.raises(h.errors.DataError, match="one target"):
        h.data.pair(next(h.data.Examples.of({"a": age, "y.p": price, "y.q": kind}).whole()))


# --- kinds of models, saved, loaded and exported ---


def recurrent() -> tuple[Any, Any]:
    """An LSTM over numbers."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(40, 6, 2)).astype(np.float32)
    net = keras.Sequential([keras.Input((6, 2)), layers.LSTM(8, dropout=0.1), layers.Dense(1, activation="sigmoid")])
    net.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    return net, (A, (A[:, :, 0].sum(1) > 0).astype(np.int64))


def embedded() -> tuple[Any, Any]:
    """Words are looked up in the pipeline, so numbers come to the model."""
    words = np.array([["good", "film"], ["bad", "film"], ["good", "book"], ["bad", "book"]] * 8)
    lookup = layers.StringLookup(vocabulary=["good", "bad", "film"])
    pipeline = tf.data.Dataset.from_tensor_slices((words, np.array([1, 0, 1, 0] * 8))).batch(8)
    net = keras.Sequential(
        [keras.Input((2,), dtype="int32"), layers.Embedding(4, 4), layers.Flatten(), layers.Dense(2)]
    )
    net.compile(optimizer=keras.optimizers.Adam(0.05), loss=CROSS, metrics=["accuracy"])
    return net, pipeline.map(lambda text, label: (lookup(text), label))


def mixed() -> tuple[Any, Any]:
    """Half precision between, with a scaled loss."""
    A = keras.Input((8,))
    hidden = layers.Dense(16, activation="relu", dtype="mixed_float16")(A)
    net = keras.Model(A, layers.Dense(3, dtype="float32")(hidden), dtype="mixed_float16")
    net.compile(optimizer=keras.optimizers.Adam(0.05), loss=CROSS, metrics=["accuracy"])
    return net, points()


def normalised() -> tuple[Any, Any]:
    """BatchNorm and dropout."""
    return deep(layers.BatchNormalization(), layers.Dropout(0.2), optimizer="adam"), points()


def branched() -> tuple[Any, Any]:
    """Two inputs and two outputs."""
    rng = np.random.default_rng(0)
    age, image = rng.normal(size=(80, 1)).astype(np.float32), rng.normal(size=(80, 4, 4)).astype(np.float32)
    price, kind = age[:, 0] * 2, (image.mean((1, 2)) > 0).astype(np.int64)
    keras.utils.set_random_seed(0)
    inputs = [keras.Input((1,), name="age"), keras.Input((4, 4), name="image")]
    both = layers.Concatenate()([inputs[0], layers.Flatten()(inputs[1])])
    outputs = [layers.Dense(1, name="price")(both), layers.Dense(2, name="kind", activation="softmax")(both)]
    net = keras.Model(inputs, outputs)
    losses = {"price": "mse", "kind": "sparse_categorical_crossentropy"}
    net.compile(optimizer=keras.optimizers.Adam(0.02), loss=losses, metrics={"kind": ["accuracy"], "price": ["mae"]})
    return net, ({"age": age, "image": image}, {"price": price, "kind": kind})


@pytest.mark.parametrize("make", [recurrent, embedded, mixed, normalised, branched])
def test_saved_loaded_and_exported(make: Any, tmp_path: Path) -> None:
    """The same object holds the federated weights; saved and read again it says the same, and can be given again."""
    keras.utils.set_random_seed(0)
    net, data = make()
    model = KerasModel(net)
    plan = h.Plan(model, training=h.Training(epochs=3, batch=8, optimizer="compiled"), rounds=3)
    x = model.start(KEY)
    state = federated(plan, {"a": data, "b": data})
    assert model.score(state.x, data)["loss"] < model.score(x, data)["loss"]
    model.load(state.x).save(tmp_path / "x.keras")
    again = KerasModel(keras.models.load_model(tmp_path / "x.keras"))
    assert np.abs(again.start(KEY) - state.x).max() < 1e-6
    told, expected = again.score(again.start(KEY), data), model.score(state.x, data)
    assert all(abs(told[name] - value) < 1e-6 for name, value in expected.items())
    again.load(again.train(again.start(KEY), data, COMPILED, h.models.Drift(0.1), KEY).x).save(tmp_path / "y.keras")
    export(state.x, tmp_path / "x.safetensors", model)
    tensors = load_file(tmp_path / "x.safetensors")
    assert len(tensors) == len(net.weights)
    assert all(np.array_equal(tensors[v.path], v.numpy()) for v in net.weights)


# --- errors ---


def uncompiled() -> Any:
    return keras.Sequential([keras.Input((8,)), layers.Dense(3)])


def unbuilt() -> Any:
    net = keras.Sequential([layers.Dense(3)])
    net.compile(loss="mse")
    return net


def vectors() -> KerasModel:
    """With a metric that is one number for each class."""
    return KerasModel(deep(loss="mse", metrics=[keras.metrics.F1Score()]))


def frozen() -> Any:
    net = deep()
    net.trainable = False
    return net


@pytest.mark.promise("P62")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: KerasModel("net"), "no keras.Model"),
        (lambda: KerasModel(keras.Sequential), "Make one: KerasModel"),
        (lambda: KerasModel(uncompiled()), "not compiled"),
        (lambda: KerasModel(unbuilt()), "not built"),
        (lambda: KerasModel(frozen()), "no trainable weight"),
        (lambda: KerasModel(deep(), buffers="mine"), "buffers='mine'"),
        (lambda: KerasModel(deep(loss=lambda y, out, last_features: out)), "The loss takes last_features."),
        (lambda: KerasModel(deep()).score(np.zeros(3), points()), "shape"),
        (lambda: vectors().score(vectors().start(KEY), (points()[0], np.eye(3)[points()[1]])), "no number f1_score"),
        (lambda: h.Plan(KerasModel(deep()), training=COMPILED), "optimizer=None"),
        (lambda: h.Plan(KerasModel(deep(optimizer="adam"))), "its kind, SGD"),
        (lambda: h.Plan(KerasModel(deep(optimizer="sgd"))), "learning_rate (0.1"),
        (lambda: h.Plan(KerasModel(deep(optimizer="adam")), h.Scaffold(), training=COMPILED), "Scaffold"),
        (lambda: h.Plan(h.Softmax(8, 3), training=COMPILED), "compiled"),
        (lambda: h.Plan(KerasModel(deep(optimizer=keras.optimizers.SGD(0.1)))) and 1 / 0, None),
    ],
)
def test_wrong_plans(make: Any, says: str | None) -> None:
    """What was found, why it cannot work, what to write instead."""
    if says is None:
        with pytest.raises(ZeroDivisionError):  # both say the same: nothing wrong with it
            make()
        return
    with pytest.raises(h.errors.PlanError) as caught:
        make()
    assert says in str(caught.value)
    assert caught.value.found and caught.value.why and caught.value.instead


def test_wrong_data() -> None:
    """check() names the client and changes nothing."""
    A, y = points()
    model, flat = KerasModel(deep()), KerasModel(deep(loss="mse", metrics=None))
    hot = KerasModel(deep(loss="categorical_crossentropy"))
    wrong = [
        (model, (A[:, :7], y), "do not go through"),
        (model, (A, y[:, None].repeat(3, 1)), "('n', 3)"),
        (model, (A, np.eye(3)[y]), "one-hot"),
        (model, (A, y / 2), "whole numbers"),
        (model, (A, y + 1), "1 … 3"),
        (model, (A, y - 1), "-1 … 1"),
        (model, (A, y, np.ones(60)), "do not go through"),
        (model, {"a": A, "y.p": y, "y.q": y}, "2 targets"),
        (flat, (A, y), "mean_squared_error"),
        (hot, (A, y), "('n',)"),
        (hot, (A, np.eye(3)[y] * 2), "0 to 1"),
        (model, lambda: [(A[:30], y[:30]), (A[30:], y[30:] + 9)], "… 11"),
    ]
    for which, data, says in wrong:
        with pytest.raises(h.errors.DataError) as caught:
            which.check(data, "ward 7")
        assert "ward 7" in str(caught.value) and says in str(caught.value)
        assert caught.value.why and caught.value.instead
    text = (np.array([["good", "film"]] * 4), np.arange(4) % 2)
    for data, says in (
        (text, "type <U4"),
        (tf.data.Dataset.from_tensor_slices((A, y)).batch(8).repeat(), "repeats for ever"),
        (tf.data.Dataset.from_tensor_slices((A, y)), ".batch(32)"),
    ):
        with pytest.raises(h.errors.DataError) as caught:
            h.data.check(data, "ward 7")
        assert says in str(caught.value)
    shuffled = tf.data.Dataset.from_tensor_slices((A, y)).shuffle(60).batch(8).prefetch(1)
    with pytest.raises(h.errors.DataError, match="reshuffle_each_iteration"):
        h.data.Examples.of(shuffled).split(0.2, KEY)


# --- other backends ---


PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "keras.md"
PROGRAMS = dict(re.findall(r"```py\n# KERAS_BACKEND=(\w+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))


def test_everywhere_the_program_of_the_page_that_wants_this_backend() -> None:
    """For noise on single examples, which KerasModel refuses; the programs for TensorFlow run in docs/test_pages.py."""
    assert list(PROGRAMS) == ["jax", "torch"]
    exec(PROGRAMS.get(keras.backend.backend(), ""), {"__name__": "__main__"})  # noqa: S102


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="this is the other backend")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend: str) -> None:
    """The tests called everywhere hold on JAX and PyTorch too, and so does Keras' part beside other backends."""
    files = __file__, *(str(Path(__file__).with_name(name)) for name in ("test_backends.py", "test_weights.py"))
    which = "everywhere and (not weights or keras or weighed) or central and compiled"
    chosen = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", which, *files]
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiled more than run
    env = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1", "XLA_FLAGS": quick}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "pytest", *chosen], capture_output=True, text=True, env=env, cwd=root)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.promise("P579")
def test_a_prediction_is_that_of_keras() -> None:
    model: Any = KerasModel(deep(layers.BatchNormalization(), layers.Dropout(0.5)))
    X, y = points(300)
    x = model.start(KEY)
    found = predicted(model, x, Examples.of((X, y)))
    with model._at(x, KEY):
        wanted = keras.ops.convert_to_numpy(model.net(X, training=False))
    assert found.shape == (300, 3) and np.allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.promise("P680")
def test_a_model_is_written_whole_for_keras_itself(tmp_path: Path) -> None:
    model = KerasModel(deep())
    given = weights(model.net)
    x = model.start(h.Key.of(3))
    export(x, tmp_path / "x.keras", model)
    back: Any = keras.saving.load_model(tmp_path / "x.keras", compile=False, safe_mode=True)
    assert np.array_equal(weights(back), x[: model.trainable].astype(np.float32))
    assert np.array_equal(weights(model.net), given)  # the caller's own is as it was
