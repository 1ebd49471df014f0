"""TorchModel: equal to a plain PyTorch loop, repeatable, and clear about what it cannot train."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import hansa as h
from hansa import data as local
from hansa.messages import SessionId
from hansa.metrics import LOSS
from hansa.models.torch import TorchModel, accuracy
from hansa.testing import check_model

KEY, NONE = h.Key.of(1), h.models.Drift()
ALGORITHMS = [
    h.FedAvg(),
    h.FedProx(0.1),
    h.FedAvg(h.Momentum(0.5)),
    h.FedAvg(h.Adam(0.03)),
    h.FedAvg(h.Yogi(0.03)),
    h.FedAvg(h.Adagrad(0.03)),
    h.Scaffold(),
    h.FedNova(),
    h.FedDyn(alpha=0.1),
    h.Ditto(),
]


def points(n: int = 60, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] in three classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y]).astype(np.float32), y


def deep(*between: nn.Module, seed: int = 0) -> nn.Sequential:
    """8 → 16 → 3, with layers between."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), *between, nn.ReLU(), nn.Linear(16, 3))


def sent(model: TorchModel) -> TorchModel:
    """The model as a worker process gets it."""
    return cloudpickle.loads(cloudpickle.dumps(model))


def numbers(net: nn.Module) -> Any:
    """The trainable parameters of a module as one vector."""
    parts = [p.detach().reshape(-1) for p in net.parameters() if p.requires_grad]
    return torch.cat(parts).double().numpy()


class Two(nn.Module):
    """Takes numbers and a category by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.linear = nn.Embedding(4, 3), nn.Linear(11, 3)

    def forward(self, category: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Logits [n, 3]."""
        return self.linear(torch.cat([values, self.embed(category)], 1))


# --- the mathematics ---


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("drifts", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_training_is_the_plain_loop(optimizer: str, drifts: bool, decay: float) -> None:
    """Two epochs give what a loop over parameters with torch.optim gives, drift and weight decay included."""
    net, data, eta = deep(), points(), 0.02
    model = TorchModel(net, F.cross_entropy)
    training = h.Training(epochs=2, batch=16, learning_rate=eta, optimizer=optimizer, weight_decay=decay)
    x = model.start(KEY)
    rng = np.random.default_rng(3)
    drift = h.models.Drift(0.3, shift=rng.normal(size=x.size), centre=x + rng.normal(size=x.size)) if drifts else NONE
    fit = model.train(x, data, training, drift, KEY)

    makers = {"sgd": torch.optim.SGD, "momentum": partial(torch.optim.SGD, momentum=h.training.MOMENTUM)}
    makers |= {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    other = copy.deepcopy(net)
    stepper, losses = makers[optimizer](other.parameters(), lr=eta, weight_decay=decay), []
    for A, y in local.Examples.of(data).batches(training, KEY):
        stepper.zero_grad()
        loss = F.cross_entropy(other(torch.tensor(A)), torch.tensor(y))
        loss.backward()
        if drifts:
            now = numbers(other)
            add = torch.tensor(0.3 * (now - drift.centre) + drift.shift, dtype=torch.float32)
            for p, part in zip(other.parameters(), add.split([p.numel() for p in other.parameters()]), strict=True):
                p.grad += part.view_as(p)
        stepper.step()
        losses.append(loss.item())
    assert fit.steps == len(losses) == 8
    assert abs(fit.loss - np.mean(losses)) < 1e-6
    assert np.abs(fit.x - numbers(other)).max() < 1e-6
    assert np.abs(fit.x - x).max() > 1e-3


@pytest.mark.parametrize(
    ("net", "more"),
    [
        (nn.Linear(8, 3), {}),
        (deep(nn.BatchNorm1d(16), nn.Dropout(0.2)), {}),
        (deep(nn.BatchNorm1d(16)), {"buffers": "local"}),
        (deep(nn.BatchNorm1d(16, momentum=None)), {"buffers": "local"}),
    ],
)
def test_promises(net: nn.Module, more: Any) -> None:
    """What every model promises, before and after a trip to another process."""
    model = TorchModel(net, F.cross_entropy, **more)
    check_model(model, points())
    check_model(sent(model), points())


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
def test_every_algorithm_learns(algorithm: Any) -> None:
    """Four clients with few examples each; the test examples are nobody's."""
    model = TorchModel(deep(), F.cross_entropy)
    weigh = "one" if isinstance(algorithm, h.FedDyn) else "examples"
    training = h.Training(epochs=4, batch=10, learning_rate=0.3)
    plan = h.Plan(model, algorithm, pipe=(h.Weigh(weigh),), training=training, rounds=10)
    *_, state = h.synchronous(plan, h.InProcess(h.Client(f"c{i}", plan, points(40, i)) for i in range(4)))
    before, after = (model.score(x, points(300, 99)) for x in (model.start(KEY), state.x))
    assert after["accuracy"] > 0.85 > 0.6 > before["accuracy"]
    assert after["loss"] < before["loss"]


# --- parameters, buffers ---


def test_tied_weights_are_trained_once() -> None:
    """A parameter with two names counts once, and stays one."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 8, bias=False), nn.Linear(8, 3))
    net[2].weight = net[0].weight
    model = TorchModel(net, F.cross_entropy)
    assert model.size == 64 + 27
    fit = model.train(model.start(KEY), points(), h.Training(learning_rate=0.5), NONE, KEY)
    state = model.state_dict(fit.x)
    assert torch.equal(state["0.weight"], state["2.weight"])
    assert not torch.equal(state["0.weight"], net[0].weight)
    model.load(fit.x)
    assert net[2].weight is net[0].weight


def test_frozen_parameters_stay() -> None:
    """requires_grad=False takes a parameter out of the vector, of any type."""
    net = deep()
    net[0].requires_grad_(False)
    net.register_parameter("note", nn.Parameter(torch.ones(2, dtype=torch.float64), requires_grad=False))
    model = TorchModel(net, F.cross_entropy)
    assert model.size == model.trainable == 16 * 3 + 3
    fit = model.train(model.start(KEY), points(), h.Training(learning_rate=0.5), NONE, KEY)
    state = model.state_dict(fit.x)
    assert torch.equal(state["0.weight"], net[0].weight)
    assert not torch.equal(state["2.weight"], net[2].weight)


def federation(model: TorchModel, rounds: int = 3) -> tuple[h.State, dict[str, h.Client], dict[str, Any]]:
    """Two clients whose inputs differ in scale, and what they remember in the end."""
    plan = h.Plan(model, training=h.Training(batch=10, learning_rate=0.1), rounds=rounds)
    (A, y), (B, z) = points(30, 1), points(60, 2)
    clients = {"a": h.Client("a", plan, (A, y)), "b": h.Client("b", plan, (3 * B + 1, z))}
    *_, state = h.synchronous(plan, runtime := h.InProcess(clients.values()))
    return state, clients, runtime.memory.of(clients)


def test_averaged_buffers_travel() -> None:
    """BatchNorm's statistics are the weighted mean of the clients'; counters and masks do not travel."""
    net = deep(nn.BatchNorm1d(16))
    net.register_buffer("mask", torch.full((2, 2), -torch.inf))
    net.register_buffer("table", torch.ones(5), persistent=False)
    model = TorchModel(net, F.cross_entropy)
    assert model.size == model.trainable + 32
    state, clients, memory = federation(model, rounds=1)
    assert not memory
    alone = [
        model.train(model.start(KEY), c.data, c.plan.training, NONE, at.session.repeats).x
        for c in clients.values()
        for at in [c.plan.context(0, SessionId(), c.who, secret=KEY)]
    ]
    expected = (30 * alone[0] + 60 * alone[1]) / 90
    assert np.abs(state.x - expected)[model.trainable :].max() < 1e-9
    assert np.abs(alone[0] - alone[1])[model.trainable :].max() > 0.1
    found = model.state_dict(state.x)
    assert np.allclose(found["1.running_var"], expected[-16:], atol=1e-6)
    assert found["1.num_batches_tracked"] == 0 and found["mask"].isinf().all()


def test_adaptive_servers_leave_statistics_alone() -> None:
    """A server optimizer steps the weights; statistics are the plain mean, so variances stay positive."""
    model = TorchModel(deep(nn.BatchNorm1d(16)), F.cross_entropy)
    plan = h.Plan(model, h.FedAvg(h.Adam(0.5)), training=h.Training(batch=10), rounds=4)
    *_, state = h.synchronous(plan, h.InProcess(h.Client(f"c{i}", plan, points(40, i)) for i in range(2)))
    assert (state.x[-16:] > 0).all()


@pytest.mark.promise("P7")
def test_local_buffers_stay_with_their_client() -> None:
    """Each client goes on with its own statistics, and they are those of training it alone."""
    model = TorchModel(deep(nn.BatchNorm1d(16)), F.cross_entropy, buffers="local")
    assert model.size == model.trainable
    state, _, memory = federation(model)
    kept = {who: one["model"] for who, one in memory.items()}
    assert kept["a"]["1.num_batches_tracked"] == 9 and kept["b"]["1.num_batches_tracked"] == 18
    assert np.abs(kept["b"]["1.running_var"] - kept["a"]["1.running_var"]).max() > 0.1
    held = points(50, 5)
    plain = model.score(state.x, held)
    assert model.score(state.x, held, kept["a"]) != plain
    assert model.score(state.x, held) == plain


class Fails(h.FedAvg):
    def client(self, *given: Any) -> Any:
        yield from super().client(*given)
        raise h.errors.DataError("A record that no one can read.")


def test_a_client_that_fails_leaves_none_of_its_statistics_in_the_model() -> None:
    model, held = TorchModel(deep(nn.BatchNorm1d(16)), F.cross_entropy, buffers="local"), points(50, 5)
    plan = h.Plan(model, Fails())
    plain = model.score(model.start(KEY), held)
    with pytest.raises(h.errors.RoundError):
        next(h.synchronous(plan, h.InProcess([h.Client("a", plan, points())])))
    assert model.score(model.start(KEY), held) == plain


def test_counters_start_anew_in_each_training() -> None:
    """Counters that do not travel are no way for one client to change another's training."""
    model = TorchModel(deep(nn.BatchNorm1d(16, momentum=None)), F.cross_entropy)
    x = model.start(KEY)
    first = model.train(x, points(), h.Training(), NONE, KEY)
    model.train(x, points(seed=7), h.Training(epochs=5), NONE, KEY)
    assert (model.train(x, points(), h.Training(), NONE, KEY).x == first.x).all()


# --- repeatable ---


@pytest.mark.parametrize("loader", [False, True])
def test_randomness_comes_from_the_key(loader: bool) -> None:
    """Equal keys give equal bytes, with dropout and a shuffling loader; torch's own generator is left as it was."""
    data: Any = points()
    if loader:
        data = DataLoader(TensorDataset(*map(torch.tensor, data)), batch_size=7, shuffle=True)
    model = TorchModel(deep(nn.Dropout(0.5)), F.cross_entropy)
    x, training = model.start(KEY), h.Training(epochs=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model.check(data, "somebody")
    one = model.train(x, data, training, NONE, KEY)
    scores = model.score(one.x, data)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    two = model.train(x, data, training, NONE, KEY)
    assert (one.x == two.x).all() and one.loss == two.loss
    assert model.score(two.x, data) == scores
    assert (model.train(x, data, training, NONE, KEY.child("other")).x != one.x).any()


def test_bytes_do_not_depend_on_the_process() -> None:
    """Threads of the process, where arrays lie, their type and layout, and a caller's no_grad change nothing."""
    A, y = points(64)
    model, training = TorchModel(deep(), F.cross_entropy), h.Training(batch=8)
    x = model.start(KEY)
    stream = [(A[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]
    shifted = []
    for a, b in stream:
        raw = np.zeros(a.nbytes + 4, np.uint8)
        moved = raw[4:].view(np.float32).reshape(a.shape)
        moved[:] = a
        shifted.append((moved, b.astype(np.uint8)))
    fortran = [(np.asfortranarray(a).astype(np.float64), b.astype(">i4")) for a, b in stream]
    for a, _ in fortran:
        a.flags.writeable = False
    expected = model.train(x, lambda: stream, training, NONE, KEY).x
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for data in (lambda: stream, lambda: shifted, lambda: fortran):
                with torch.no_grad():
                    assert (model.train(x, data, training, NONE, KEY).x == expected).all()
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_copies_train_alike() -> None:
    """Sent or deep copied: equal digest, equal bytes, and views as before."""
    net = deep(nn.BatchNorm1d(16))
    model = TorchModel(net, lambda outputs, y: F.cross_entropy(outputs, y), metrics={"right": (accuracy, 1.0)})
    x = model.start(KEY)
    used = model.train(x, points(), h.Training(), NONE, KEY).x
    model.load(used)  # neither this nor training changes what is sent
    for other in (sent(model), copy.deepcopy(model)):
        assert repr(other) == repr(model)
        assert (other.start(KEY) == x).all()
        assert (other.train(x, points(), h.Training(), NONE, KEY).x == used).all()
        assert other.score(used, points()) == model.score(used, points())
    assert len(cloudpickle.dumps(TorchModel(nn.Linear(500, 200), F.mse_loss))) < 1.1 * 4 * 500 * 201


def test_digests() -> None:
    """What is computed makes the digest; weights, device and threads do not."""
    base = repr(TorchModel(deep(), F.cross_entropy))
    assert repr(TorchModel(deep(seed=1), F.cross_entropy, threads=2, device=None)) == base
    frozen = deep()
    frozen[0].requires_grad_(False)
    others = [
        TorchModel(deep(nn.Dropout(0.1)), F.cross_entropy),
        TorchModel(deep(nn.Dropout(0.2)), F.cross_entropy),
        TorchModel(frozen, F.cross_entropy),
        TorchModel(deep(), F.cross_entropy, metrics={}),
        TorchModel(deep(), F.cross_entropy, buffers="local"),
        TorchModel(deep(), nn.CrossEntropyLoss()),
        TorchModel(deep(), nn.CrossEntropyLoss(label_smoothing=0.1)),
        TorchModel(deep(), nn.CrossEntropyLoss(weight=torch.ones(3))),
        TorchModel(deep(), partial(F.cross_entropy, label_smoothing=0.1)),
    ]
    assert len({base, *map(repr, others)}) == 10
    assert "16" in base and "cross_entropy" in base and " at 0x" not in repr(others[-1])


# --- data ---


def test_forms_of_data_train_alike() -> None:
    """Arrays, a dict of them, a Dataset and a DataLoader hold the same examples."""
    A, y = points()
    model, training = TorchModel(deep(), F.cross_entropy, compile=False), h.Training(batch=16, epochs=2)
    x = model.start(KEY)
    expected = model.train(x, (A, y), training, NONE, KEY).x
    dataset = TensorDataset(torch.tensor(A), torch.tensor(y))
    for data in ({"y": y, "a": A}, dataset, (A.astype(np.float64), y.astype(np.int32))):
        model.check(data, "somebody")
        assert (model.train(x, data, training, NONE, KEY).x == expected).all()
        assert model.score(x, data) == model.score(x, (A, y))
    loader = DataLoader(dataset, batch_size=16)
    model.check(loader, "somebody")
    inorder = model.train(x, loader, training, NONE, KEY)
    assert inorder.steps == 8 and np.abs(inorder.x - expected).max() < 0.05
    assert abs(model.score(x, loader)["loss"] - model.score(x, (A, y))["loss"]) < 1e-6


def test_several_inputs() -> None:
    """A dict goes in by name, a longer tuple by position."""
    (A, y), rng = points(), np.random.default_rng(1)
    c = rng.integers(0, 4, len(y)).astype(np.int16)
    torch.manual_seed(0)
    model = TorchModel(Two(), F.cross_entropy)
    x = model.start(KEY)
    fits = []
    for data in ({"values": A, "y": y, "category": c}, (c, A, y)):
        model.check(data, "somebody")
        fits.append(model.train(x, data, h.Training(epochs=5), NONE, KEY))
    assert (fits[0].x == fits[1].x).all()
    assert model.score(fits[0].x, data)["loss"] < model.score(x, data)["loss"]


def test_losses_of_numbers_take_integer_targets() -> None:
    """0 and 1 are numbers to a binary cross-entropy, and to a squared error."""
    A, y = points()
    b, column = (y > 0).astype(np.int64), (y[:, None] > 0).astype(np.int64)
    torch.manual_seed(0)
    for loss, end in (
        (F.binary_cross_entropy_with_logits, nn.Flatten(0)),
        (nn.BCELoss(), nn.Sequential(nn.Sigmoid(), nn.Flatten(0))),
    ):
        model = TorchModel(nn.Sequential(nn.Linear(8, 1), end), loss)
        model.check((A, b), "somebody")
        fit = model.train(model.start(KEY), (A, b), h.Training(epochs=20, batch=10, learning_rate=0.5), NONE, KEY)
        assert model.score(fit.x, (A, b))["accuracy"] > 0.8
    model = TorchModel(nn.Linear(8, 1), nn.BCEWithLogitsLoss())
    fit = model.train(model.start(KEY), (A, column), h.Training(epochs=20, batch=10, learning_rate=0.5), NONE, KEY)
    z = A @ fit.x[:8] + fit.x[8]
    assert abs(model.score(fit.x, (A, column))["accuracy"] - ((z > 0) == b).mean()) < 1e-9
    model = TorchModel(nn.Linear(8, 1), F.mse_loss)
    assert set(model.metrics) == set(model.score(model.start(KEY), (A, column))) == {"loss"}
    assert model.train(model.start(KEY), (A, column), h.Training(), NONE, KEY).steps == 2


def test_sequences() -> None:
    """A loss may turn [n, t, classes] as it needs; ignored positions do not count in an accuracy."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5, (40, 6)).astype(np.uint16)
    targets = ((tokens.astype(np.int64) + 1) % 5).copy()
    targets[:, 0] = -100
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5))
    turned = {"right": (lambda outputs, y: accuracy(outputs.transpose(1, 2), y), 1.0)}
    model = TorchModel(net, lambda outputs, y: F.cross_entropy(outputs.transpose(1, 2), y), metrics=turned)
    model.check((tokens, targets), "somebody")
    fit = model.train(model.start(KEY), (tokens, targets), h.Training(epochs=30, learning_rate=1.0), NONE, KEY)
    assert model.score(fit.x, (tokens, targets))["right"] == 1.0
    assert set(TorchModel(net, lambda outputs, y: F.cross_entropy(outputs.transpose(1, 2), y)).metrics) == {"loss"}


def test_scores_are_means_over_examples() -> None:
    """Whatever the sizes of the batches; with class weights, each batch counts by its examples."""
    A, y = points(700)
    net = deep()
    model = TorchModel(
        net, F.cross_entropy, metrics={"top": (lambda outputs, y: float(outputs.max()), np.inf), "right": (accuracy, 1)}
    )
    score = model.score(model.start(KEY), (A, y))
    with torch.no_grad():
        out = net(torch.tensor(A))
    assert abs(score["loss"] - F.cross_entropy(out, torch.tensor(y)).item()) < 1e-6
    assert abs(score["right"] - (out.argmax(1).numpy() == y).mean()) < 1e-9
    assert score["top"] <= out.max() and model.metrics == {"loss": LOSS, "top": np.inf, "right": 1.0}
    with pytest.raises(h.errors.DataError, match="no examples"):
        model.score(model.start(KEY), [])


# --- the caller's module ---


def test_the_callers_module_is_his_own() -> None:
    """It changes in `load` alone; two models from one module do not meet; a state_dict goes there and back."""
    net = deep(nn.BatchNorm1d(16))
    first = copy.deepcopy(net.state_dict())
    model, other = TorchModel(net, F.cross_entropy), TorchModel(net, F.cross_entropy)
    x = model.start(KEY)
    fit = model.train(x, points(), h.Training(epochs=3), NONE, KEY)
    assert (other.train(x, points(), h.Training(epochs=3), NONE, KEY).x == fit.x).all()
    assert all(torch.equal(part, net.state_dict()[name]) for name, part in first.items())
    assert all(p.grad is None for p in net.parameters())
    state = model.state_dict(fit.x)
    assert type(state) is dict and state.keys() == first.keys()
    assert all((model.tensors(fit.x)[name] == part.numpy()).all() for name, part in state.items())
    again = TorchModel(deep(nn.BatchNorm1d(16), seed=9), F.cross_entropy)
    again.net.load_state_dict(state)
    assert (TorchModel(again.net, F.cross_entropy).start(KEY) == fit.x).all()
    assert model.load(fit.x) is net
    A, y = points(50, 3)
    right = (net.eval()(torch.tensor(A)).argmax(1).numpy() == y).mean()
    assert abs(right - model.score(fit.x, (A, y))["accuracy"]) < 1e-9
    assert (model.start(KEY) == x).all()


def test_a_cache_in_the_net_is_no_trap() -> None:
    """What a net computes once, in its first forward, can be trained through later."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.scale = nn.Linear(8, 3), None

        def forward(self, a: torch.Tensor) -> torch.Tensor:
            self.scale = torch.ones(3) if self.scale is None else self.scale
            return self.linear(a) * self.scale

    model = TorchModel(Scaled(), F.cross_entropy)
    model.check(points(), "somebody")
    model.score(model.start(KEY), points())
    assert model.train(model.start(KEY), points(), h.Training(), NONE, KEY).steps == 2


# --- errors ---


class Moving(nn.Linear):
    """Replaces its own weights, as flatten_parameters() may."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """As any Linear, elsewhere."""
        self.weight.data = self.weight.data.clone()
        return super().forward(a)


def halved() -> nn.Module:
    """Two parameters in one memory."""
    net = deep(nn.Linear(16, 16), nn.Linear(16, 16))
    net[1].weight.data = net[2].weight.data
    return net


def uncopied() -> nn.Module:
    """A module that holds a result."""
    net = nn.Linear(8, 3)
    net.result = net(torch.ones(8))
    return net


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TorchModel("net", F.cross_entropy), "no nn.Module"),
        (lambda: TorchModel(nn.Linear, F.cross_entropy), "Make one: TorchModel"),
        (lambda: TorchModel(nn.ReLU(), F.cross_entropy), "no trainable parameter"),
        (lambda: TorchModel(deep().requires_grad_(False), F.cross_entropy), "requires_grad_"),
        (lambda: TorchModel(nn.LazyLinear(3), F.cross_entropy), "without a shape"),
        (lambda: TorchModel(deep().double(), F.cross_entropy), "float64"),
        (lambda: TorchModel(deep().half(), F.cross_entropy), "float16"),
        (lambda: TorchModel(deep().bfloat16(), F.cross_entropy), "bfloat16"),
        (lambda: TorchModel(nn.Linear(8, 3, device="meta"), F.cross_entropy), "cannot be copied"),
        (lambda: TorchModel(halved(), F.cross_entropy), "share memory"),
        (lambda: TorchModel(uncopied(), F.cross_entropy), "cannot be copied"),
        (lambda: TorchModel(deep(), "cross_entropy"), "called with outputs"),
        (lambda: TorchModel(deep(), nn.CrossEntropyLoss), "CrossEntropyLoss()"),
        (lambda: TorchModel(deep(), nn.CrossEntropyLoss(reduction="sum")), "reduction='sum'"),
        (lambda: TorchModel(deep(), partial(F.cross_entropy, reduction="none")), "reduction='none'"),
        (lambda: TorchModel(deep(), nn.Linear(3, 1)), "parameters"),
        (lambda: TorchModel(deep(), F.cross_entropy, buffers="mine"), "buffers='mine'"),
        (lambda: TorchModel(deep(), F.cross_entropy, threads=0), "threads=0"),
        (lambda: TorchModel(deep(), F.cross_entropy, metrics={"right": accuracy}), "metrics"),
        (lambda: TorchModel(deep(), F.cross_entropy, metrics=["accuracy"]), "metrics=["),
        (lambda: TorchModel(deep(), F.cross_entropy, metrics={"loss": (accuracy, 1.0)}), "always there"),
        (lambda: TorchModel(deep(), F.cross_entropy, device="cuda:99"), "cuda"),
        (lambda: TorchModel(deep(), F.cross_entropy, device="gpu"), "device='gpu'"),
        (lambda: TorchModel(deep(), F.cross_entropy).score(np.zeros(3), points()), "shape"),
        (lambda: TorchModel(deep(), partial(F.mse_loss)).check((points()[0], np.ones((60, 3))), "a") or 1 / 0, None),
        (lambda: TorchModel(deep(), lambda out, y: out.mean().item()).check(points(), "a"), "float"),
        (lambda: TorchModel(deep(), lambda out, y: out.mean().detach()).check(points(), "a"), "gradient"),
        (lambda: TorchModel(deep(), lambda out, y: out.mean(1)).check(points(), "a"), "one number"),
        (lambda: TorchModel(Moving(8, 3), F.cross_entropy).check(points(), "a"), "moves its parameters"),
    ],
)
def test_wrong_plans(make: Any, says: str | None) -> None:
    """What was found, why it cannot work, what to write instead."""
    if says is None:
        with pytest.raises(ZeroDivisionError):  # nothing wrong with it
            make()
        return
    with pytest.raises(h.errors.PlanError) as caught:
        make()
    assert says in str(caught.value)
    assert caught.value.found and caught.value.why and caught.value.instead


def test_wrong_data() -> None:
    """check() names the client and changes nothing; what only training can show is a DataError too."""
    A, y = points()
    model, flat = TorchModel(deep(), F.cross_entropy), TorchModel(nn.Linear(8, 1), F.mse_loss)
    binary = TorchModel(nn.Linear(8, 1), F.binary_cross_entropy_with_logits)
    odd = TorchModel(deep(), lambda outputs, y: (outputs.sum() - 1e9).log())
    wrong = [
        (model, (A[:, :7], y), "do not go through"),
        (model, (A, y[:, None].repeat(3, 1)), "do not go through"),
        (model, ((A * 50).astype(np.int64), y), "do not go through"),
        (model, (A, y + 1), "1 … 3"),
        (model, (A, y - 1), "-1 … 1"),
        (model, {"a": A, "b": A, "y": y}, "do not go through"),
        (flat, (A, y), "y[:, None]"),
        (binary, (A, y[:, None]), "0 … 2"),
        (odd, (A, y), "nan"),
    ]
    for which, data, says in wrong:
        before = which.start(KEY)
        with pytest.raises(h.errors.DataError) as caught:
            which.check(data, "ward 7")
        assert "ward 7" in str(caught.value) and says in str(caught.value)
        assert caught.value.why and caught.value.instead
        assert (which.start(KEY) == before).all()
    model.check((A, np.where(A[:, 0] > 1, -100, y)), "ward 7")
    late = [(A[:30], y[:30]), (A[30:], y[30:] + 5)]
    with pytest.raises(h.errors.DataError, match="too large or negative"):
        model.train(model.start(KEY), lambda: late, h.Training(), NONE, KEY)
    norm = TorchModel(deep(nn.BatchNorm1d(16)), F.cross_entropy)
    with pytest.raises(h.errors.DataError, match="single example"):
        norm.train(norm.start(KEY), (A[:33], y[:33]), h.Training(batch=16), NONE, KEY)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_trains_as_the_cpu_does() -> None:
    """Up to rounding, with dropout off; buffers, drift and scores included, and the generator left as it was."""
    A, y = points()
    models = [
        TorchModel(deep(nn.BatchNorm1d(16)), nn.CrossEntropyLoss(weight=torch.ones(3)), device=d)
        for d in ("cpu", "cuda")
    ]
    x = models[0].start(KEY)
    drift = h.models.Drift(0.1, shift=np.full(x.size, 0.01))
    torch.cuda.manual_seed(3)
    before = torch.cuda.get_rng_state()
    for optimizer in h.training.OPTIMIZERS:
        training = h.Training(epochs=2, batch=16, learning_rate=0.01, optimizer=optimizer)
        fits = [model.train(x, (A, y), training, drift, KEY) for model in models]
        assert np.abs(fits[0].x - fits[1].x).max() < 1e-4
        scores = [model.score(fits[0].x, (A, y)) for model in models]
        assert abs(scores[0]["loss"] - scores[1]["loss"]) < 1e-4
    assert torch.equal(torch.cuda.get_rng_state(), before)
    check_model(models[1], (A, y))
    assert (sent(models[1]).start(KEY) == x).all()


def test_layers_of_keras_are_refused() -> None:
    """On its PyTorch backend they are modules, but functions of their weights they are not: gradients would be zero."""
    Dense = type("Dense", (nn.Linear,), {"__module__": "keras.src.layers.core.dense"})
    with pytest.raises(h.errors.PlanError, match="Keras layers"):
        h.TorchModel(nn.Sequential(Dense(2, 2)), F.cross_entropy)
