"""Right numbers from code that users bring: its random numbers, its state, its gradients, its last batch."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.data import Source
from hansa.data.blocks import blocks
from hansa.errors import DataError, PlanError
from hansa.models import Drift, Model, Train
from hansa.models.torch import TorchModel
from hansa.rand import seeded, shared

KEY = h.Key.of(1)


def points(n: int, seed: int = 0, features: int = 6) -> tuple[Any, Any]:
    """n points [n, features] in two classes."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(np.int64)


# ── random numbers of other code ──────────────────────────────────────────────────────────────────


class Noisy:
    """A dataset that augments with every generator that a process shares."""

    def __init__(self, seed: int):
        self.X, self.y = points(12, seed)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        noise = np.random.normal(0, 0.5, 6) + random.random() + torch.randn(6).numpy()  # noqa: NPY002
        return (self.X[i] + noise).astype(np.float32), self.y[i]


def shuffled(seed: int) -> Any:
    """What a reader gives that draws which examples it keeps."""
    X, y = points(12, seed)
    rows = np.random.permutation(12)[:9]  # noqa: NPY002
    return X[rows], y[rows]


class Jitter(nn.Module):
    """A net whose forward draws from NumPy's global generator, as the ones that people write do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> Any:
        noise = np.random.normal(size=(1, 6)).astype(np.float32)  # noqa: NPY002
        return self.inner(x + torch.from_numpy(noise) if self.training else x)


def end(model: Model, data: list[Any], workers: int = 0, algorithm: Any = None, look: bool = False) -> bytes:
    """Where two rounds of three clients end, whose data is looked at before, or not."""
    training = h.Training(batch=4, validation=0.25)
    plan = h.Plan(model, algorithm or h.FedAvg(), training=training, rounds=2)
    clients = [h.Client(f"c{i}", plan, one) for i, one in enumerate(data)]
    for client in clients if look else ():
        client.check()
    with h.Processes(clients, workers) if workers else h.InProcess(clients) as runtime:
        *_, state = h.synchronous(plan, runtime)
    assert not state.excluded
    return state.x.tobytes()


def jitter(**more: Any) -> TorchModel:
    """That net, with the same first weights each time."""
    torch.manual_seed(0)
    return TorchModel(Jitter(), F.cross_entropy, **more)


@pytest.mark.guards("other code draws by the key", "what is read draws by the key")
def test_global_generators_follow_the_key() -> None:
    """Datasets, readers and nets that draw from numpy.random, random and torch give the same bytes, also with workers.

    Source: the promise that equal seeds give equal bytes, whatever the process has drawn before.
    """
    noisy = [Noisy(i) for i in range(3)]
    drawn: list[Any] = [Source(partial(shuffled, i)) for i in range(3)]
    models = h.Softmax(6, 2), jitter()
    whole = [end(models[0], noisy), end(models[1], drawn), end(models[0], noisy, 0, h.APFL())]
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    torch.manual_seed(5)
    drawn = [Source(partial(shuffled, i)) for i in range(3)]
    assert whole[0] == end(models[0], noisy, 2)
    assert whole[1] == end(models[1], drawn, look=True)
    assert whole[2] == end(models[0], noisy, 0, h.APFL())  # which reads between its asks


def test_global_generators_are_given_back() -> None:
    """After a run the generators of the process stand where they stood, half a pair of normal draws included."""
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    np.random.normal()  # noqa: NPY002
    before = shared(), torch.get_rng_state()
    end(h.Softmax(6, 2), [Noisy(i) for i in range(3)])
    assert shared() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    draws = []
    for key in (KEY, KEY, h.Key.of(2)):
        with seeded(key):
            draws.append((np.random.random(), random.random(), float(torch.rand(()))))  # noqa: NPY002
    assert draws[0] == draws[1]
    assert not set(draws[0]) & set(draws[2])


def test_nets_that_draw_are_not_compiled() -> None:
    """A draw that would be made once, for all steps or all clients, is refused or left to each client."""
    model = jitter()
    assert model.traits.draws
    assert model._dense is None
    assert not TorchModel(nn.Linear(6, 2), F.cross_entropy).traits.draws
    assert not TorchModel(nn.Sequential(nn.Linear(6, 2), nn.Dropout()), F.cross_entropy).traits.draws
    asks = [Train(model.start(KEY), points(8, i), h.Training(batch=4), Drift(), KEY.child(i)) for i in range(2)]
    asks = [ask._replace(data=h.data.Examples.of(ask.data)) for ask in asks]
    many = jitter(cohort=2)
    with pytest.raises(PlanError, match="Many clients go through it at once"):
        many.train_all(asks)
    from hansa.models import jax

    def apply(params: Any, x: Any) -> Any:
        return (x + np.random.random()) @ params  # noqa: NPY002

    traced = jax.JaxModel(np.zeros((6, 2), np.float32), apply, jax.cross_entropy)
    with pytest.raises(PlanError, match="JAX runs their code once"):
        traced.score(traced.start(KEY), points(8))


# ── a parameter that no loss reaches ──────────────────────────────────────────────────────────────


class Heads(nn.Module):
    """A body and two heads: the loss reaches the first, and the second where `both` says so of the step."""

    def __init__(self, both: tuple[bool, ...] = ()) -> None:
        super().__init__()
        self.body, self.mine, self.other = nn.Linear(6, 4), nn.Linear(4, 2), nn.Linear(4, 2)
        self.both = both
        self._calls = 0

    def forward(self, x: torch.Tensor) -> Any:
        inner = self.body(x).relu()
        if self.both:
            self._calls += 1
        if self.both[self._calls - 1 : self._calls] == (True,):
            return self.mine(inner) + self.other(inner)
        return self.mine(inner)


def heads(*both: bool) -> Heads:
    """Such a net, with the same weights each time."""
    torch.manual_seed(0)
    return Heads(both)


def plainly(net: nn.Module, training: h.Training, batches: list[Any]) -> torch.Tensor:
    """Where PyTorch's own loop and optimizer lead."""
    more: dict[str, Any] = {"weight_decay": training.weight_decay}
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "momentum": partial(torch.optim.SGD, momentum=0.9)}
    kinds |= {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[training.optimizer](net.parameters(), training.learning_rate, **more)
    for X, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(torch.tensor(X)), torch.tensor(y)).backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in net.parameters()])


@pytest.mark.guards("no decay where there is no gradient")
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("both", [(), (True, False, True, False), (False, True, False)], ids=["never", "first", "then"])
def test_what_no_loss_reaches_is_passed_by(optimizer: Any, both: tuple[bool, ...]) -> None:
    """Weight decay, momentum and Adam pass by a parameter in each step that has no gradient for it, as PyTorch's do.

    Source: torch.optim on the same batches.
    """
    training = h.Training(batch=4, optimizer=optimizer, learning_rate=0.05, weight_decay=0.1)
    data = h.data.Examples.of(points(14))
    model = TorchModel(heads(*both), F.cross_entropy)
    found = model.train(model.start(KEY), data, training, Drift(), KEY).x
    right = plainly(heads(*both), training, list(data.batches(training, KEY)))
    np.testing.assert_allclose(found, right.double().numpy(), rtol=2e-5, atol=1e-6)
    if not both:
        many = TorchModel(heads(), F.cross_entropy, cohort=2)
        together = many.train(many.start(KEY), data, training, Drift(), KEY).x
        np.testing.assert_allclose(together, right.double().numpy(), rtol=2e-5, atol=1e-6)
        head = many.slices()["other.weight"]
        assert (together[head] == many.start(KEY)[head]).all()


# ── state beside the vector ───────────────────────────────────────────────────────────────────────


class Counting(nn.Module):
    """A net that keeps numbers, a list, a tensor and a cache from call to call, and computes with them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 2)
        self.calls, self.heard, self.scale = 0, [0.0], torch.ones(())

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        self.heard.append(float(len(x)))
        self.scale.mul_(1.1)
        self.cache = getattr(self, "cache", 0) + 1
        return self.inner(x) * (self.scale * self.calls + len(self.heard) + self.cache)


@pytest.mark.guards("a training starts with the attributes that were given")
def test_no_training_leaves_attributes_to_the_next() -> None:
    """A client that trains twice from one start ends at the same bytes, also when another has trained in between.

    Source: the same training in a model of its own.
    """
    torch.manual_seed(0)
    net = Counting()
    data = h.data.Examples.of(points(8))
    ends = []
    for model in (TorchModel(net, F.cross_entropy), TorchModel(net, F.cross_entropy)):
        given = (model.start(KEY), data, h.Training(batch=4), Drift(), KEY)
        ends += [model.train(*given).x.tobytes() for _ in range(2)]
    assert len(set(ends)) == 1
    assert (net.calls, net.heard, float(net.scale)) == (0, [0.0], 1.0)
    many = TorchModel(heads(True), F.cross_entropy, cohort=2)
    with pytest.raises(PlanError, match="changes attributes of its layers"):
        many.train(many.start(KEY), data, h.Training(batch=4), Drift(), KEY)


def test_an_optimizer_of_a_layers_own_is_refused() -> None:
    net = heads(True)
    net.step = torch.optim.Adam(net.parameters())
    with pytest.raises(PlanError, match="step is an optimizer of the net's own"):
        TorchModel(net, F.cross_entropy)


# ── a last batch that is shorter ──────────────────────────────────────────────────────────────────


LAST = {  # (examples, batch): what is kept, dropped, merged
    (64, 32): ([32, 32], [32, 32], [32, 32]),
    (65, 32): ([32, 32, 1], [32, 32], [32, 33]),
    (33, 32): ([32, 1], [32], [33]),
    (49, 32): ([32, 17], [32], [32, 17]),
    (3, 2): ([2, 1], [2], [3]),
    (5, 32): ([5], [5], [5]),
    (5, 0): ([5], [5], [5]),
    (1, 32): ([1], [1], [1]),
}
CALLS: tuple[tuple[bool, int | None], ...] = ((False, None), (True, None), (False, 2))


@pytest.mark.parametrize("n", LAST, ids=str)
def test_a_last_batch_is_kept_dropped_or_merged(n: tuple[int, int]) -> None:
    """Arrays, datasets, blocks, the native program and cohorts have the same batches, and take as many steps.

    Source: DataLoader(drop_last=…) for the first two, but that the only batch stays; by hand for the third.
    """
    count, batch = n
    X, y = points(count)
    arrays = h.data.Examples.of((X, y))
    items = h.data.Examples.of(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y)))
    torch.manual_seed(0)
    layer = nn.Linear(6, 2)
    models = [TorchModel(layer, F.cross_entropy, compile=now, cohort=many) for now, many in CALLS]
    for last, right in zip(("keep", "drop", "merge"), LAST[n], strict=True):
        training = h.Training(epochs=2, batch=batch, last=last)  # type: ignore[arg-type]
        each = [list(data.batches(training, KEY)) for data in (arrays, items)]
        assert [len(y) for _, y in each[0]] == right * 2 == training.sizes(count) * 2
        for one, other in zip(*each, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
        for padded in (False, True):
            found = [part for block in blocks(arrays, training, KEY, padded) for part in cut(block)]
            for (A, _), B in zip(each[0], found, strict=True):
                np.testing.assert_array_equal(A, B)
        fits = [model.train(model.start(KEY), arrays, training, Drift(), KEY) for model in models]
        assert {fit.steps for fit in fits} == {2 * len(right)}
        for fit in fits[1:]:
            np.testing.assert_allclose(fit.x, fits[0].x, rtol=1e-5, atol=1e-6)


def cut(block: Any) -> list[Any]:
    """The inputs of each batch of a block."""
    pairs = zip(block.arrays[0][: block.steps], block.sizes, strict=False)
    return [inputs[:size] for inputs, size in pairs]


@pytest.mark.guards("a batch of one is told before the run")
def test_a_batch_of_one_is_told_before_the_run() -> None:
    """A net with BatchNorm1d and 65 examples in batches of 32 is refused by `check`; merged or dropped it trains.

    Source: PyTorch, "Expected more than 1 value per channel when training".
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model = TorchModel(net, F.cross_entropy)
    data = {"a": points(64), "b": points(65), "c": points(97)}
    told = h.App(h.Plan(model, rounds=1), data).problems()
    assert [str(one).split("'")[0] for one in told] == ["b", "c"]
    assert all("last='merge'" in str(one) for one in told)
    for last in ("drop", "merge"):
        app = h.App(h.Plan(model, training=h.Training(last=last), rounds=1), data)  # type: ignore[arg-type]
        assert not list(app.problems())
        (state,) = app.run()
        assert not state.excluded
    held = h.Training(validation=0.2)  # 81 examples, of which 65 are trained on
    with pytest.raises(DataError, match="who's examples leave a batch of a single one"):
        model.check(points(81), "who", held)
    model.check(points(65), "who", held)
    few = h.Training(steps=2)  # which never come to the last
    model.check(points(65), "who", few)
    with pytest.raises(PlanError, match="has no last batch"):
        h.Training(last="drop", report=False, private=h.PerExample(1.0, 1.0))


# ── Keras ─────────────────────────────────────────────────────────────────────────────────────────


def test_keras_passes_by_what_no_loss_reaches() -> None:
    """A layer that the loss does not reach neither decays nor moves, where Keras gives None for its gradient.

    Source: keras.optimizers.Optimizer.apply, which leaves out variables whose gradient is None. With JAX it is 0.
    """
    import keras

    if keras.backend.backend() == "jax":
        return

    class Half(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.mine, self.other = keras.layers.Dense(2, name="mine"), keras.layers.Dense(2, name="other")

        def call(self, x: Any) -> Any:
            if not self.built:
                self.other(x)
            return self.mine(x)

    net = Half()
    net(points(4)[0])
    net.compile(optimizer=None, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model = h.KerasModel(net)
    training = h.Training(batch=4, optimizer="momentum", learning_rate=0.05, weight_decay=0.1)
    x = model.start(KEY)
    end = model.train(x, points(8), training, Drift(), KEY).x
    moved = {name for name, place in model.slices().items() if (end[place] != x[place]).any()}
    assert {name.split("/")[-2] for name in moved} == {"mine"}


@pytest.mark.guards("a model's own optimizers start anew")
def test_optimizers_of_ones_own_start_anew() -> None:
    """A Keras model with an optimizer of its own trains to the same bytes twice, and the caller's has done nothing.

    Source: a fresh optimizer of the same settings.
    """
    import keras

    if keras.backend.backend() == "jax":
        return  # which keeps no state of an own optimizer

    class Own(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            self.mine.apply([keras.ops.ones_like(w) for w in self.trainable_weights], self.trainable_weights)
            return {"loss": keras.ops.mean(self(data[0]))}

    inputs = keras.Input((6,))
    net = Own(inputs, keras.layers.Dense(2)(inputs))
    net.compile(optimizer=None, loss=None)
    net.mine = keras.optimizers.SGD(0.1, momentum=0.9)
    if keras.backend.backend() == "tensorflow":
        net.mine.build(net.trainable_variables)
    model = h.KerasModel(net)
    x = model.start(KEY)
    ends = [model.train(x, points(8), h.Training(batch=4), Drift(), KEY).x for _ in range(2)]
    np.testing.assert_allclose(ends[0], x - 0.1 - 0.19, rtol=1e-5)  # m = 1, then 0.9 + 1
    assert ends[0].tobytes() == ends[1].tobytes()
    assert int(net.mine.iterations) == 0
