"""A cohort's step could be a CUDA graph: it stays in its tensors and looks at no value. On CUDA it is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import hansa as h
from hansa.models import Job
from hansa.models.batch import LABELS
from hansa.models.blocks import ordered
from hansa.models.cohort import torch as cohort
from hansa.models.cohort.torch import Form, Lanes, State
from hansa.models.cohort.turns import Kind, kind, turns
from hansa.models.graphs.recent import Recent
from hansa.models.graphs.torch import Graphs
from hansa.models.torch import TorchModel

KEY, CPU = h.Key.of(1), torch.device("cpu")
FORMS = [Form("sgd", False, False, False), Form("momentum", True, True, True), Form("adam", True, False, True),
         Form("adamw", True, True, False)]  # fmt: skip
SIZES = (20, 33, 16, 5)


class Scaled(nn.Module):
    """Reads a frozen number of its own on the host: vmap does not mind, a GPU is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """a, scaled."""
        return a * float(self.scale)


class Elsewhere(nn.Module):
    """Makes a tensor on the CPU, wherever it is."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """a, shifted."""
        return a + torch.ones(3)


class Branches(nn.Module):
    """Goes where the values say."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """a, or twice as much."""
        return 2 * a if bool(a.detach().sum() < 1) else a


def net(*last: nn.Module) -> nn.Module:
    """A convolution, dropout, a linear layer."""
    torch.manual_seed(0)
    between = nn.Conv2d(1, 3, 3, padding=1), nn.Dropout(0.3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(nn.Unflatten(1, (1, 2, 4)), *between, nn.Linear(24, 3), *last)


def points(n: int, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] in three classes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 8)).astype(np.float32), rng.integers(0, 3, n)


def jobs(model: TorchModel) -> list[Job]:
    """Four clients with drifts of their own."""
    rng, x = np.random.default_rng(3), model.start(KEY)
    return [
        Job(x, points(n, i), h.Drift(0.3, shift=0.1 * rng.normal(size=x.size)), KEY.child(i))
        for i, n in enumerate(SIZES)
    ]


def three(made: nn.Module) -> Lanes:
    """A net for three clients."""
    return Lanes(made, F.cross_entropy, 3, LABELS, Graphs(CPU, wanted=True))


def begun(lanes: Lanes, form: Form, device: torch.device) -> tuple[State, list[Any]]:
    """Their state, and a batch of four examples for each."""
    state = lanes.state(form, sum(p.numel() for p in lanes.net.parameters() if p.requires_grad), device)
    return state, [torch.ones(3, 4, 8, device=device), torch.ones(3, 4, dtype=torch.int64, device=device)]


def tensors(state: State) -> list[torch.Tensor]:
    """All that a step could write into."""
    drift = [one for one in state.drift if one is not None]
    return [state.y, *state.moments, *drift, state.rates, state.seeds, state.t, state.total, state.on]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.optimizer)
def test_a_step_writes_where_its_state_lies(form: Form) -> None:
    """And only into what belongs to those who are on: a step of nobody changes not one bit."""
    lanes = three(net())
    state, batch = begun(lanes, form, CPU)
    rng = torch.Generator().manual_seed(0)
    for tensor in tensors(state):
        tensor.copy_(torch.rand(tensor.shape, generator=rng))
    for on in ([False] * 3, [True, False, True]):
        state.on.copy_(torch.tensor(on))
        before, places = [one.clone() for one in tensors(state)], [one.data_ptr() for one in tensors(state)]
        lanes.step(form, state, batch, ("", ""))
        assert [one.data_ptr() for one in tensors(state)] == places
        for old, new in zip(before, tensors(state), strict=True):
            moves = any(new is one for one in (state.y, *state.moments, state.t, state.total))
            for i in range(len(new)):
                assert (new[i] != old[i]).any() == (moves and on[i])


def test_trainings_leave_nothing_to_the_next() -> None:
    """The same places in each, whatever was trained before; earlier results stay as they are."""
    model = TorchModel(net(), F.cross_entropy, cohort=3)
    lanes, todo = model._lanes, jobs(model)
    assert lanes is not None
    ways = [h.Training(epochs=2, batch=8, optimizer=form.optimizer, weight_decay=0.1 * form.decays) for form in FORMS]
    first = [model.train_all(todo, training) for training in ways]
    kept, places = [[one.x.copy() for one in some] for some in first], {k: v.data_ptr() for k, v in lanes._made.items()}
    assert {"y", "moment 0", "moment 1", "centre", "shift", "on"} < places.keys()
    for training, some, before in reversed(list(zip(ways, first, kept, strict=True))):
        again = model.train_all(todo[:], training)
        for one, other, old in zip(some, again, before, strict=True):
            assert (one.x == other.x).all() and (one.x == old).all() and one.loss == other.loss
    assert {name: one.data_ptr() for name, one in lanes._made.items()} == places


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.optimizer)
def test_a_step_looks_at_no_value(form: Form) -> None:
    """It goes through with tensors that have no values, all on one device that is not the CPU."""
    unseen(net(), form)


@pytest.mark.parametrize("last", [Scaled, Elsewhere, Branches])
def test_that_one_which_does_is_noticed(last: Callable[[], nn.Module]) -> None:
    """A net that reads a number, mixes devices or branches does not go through."""
    said = {Scaled: "_local_scalar_dense", Elsewhere: "same device", Branches: "control flow"}[last]
    with pytest.raises(RuntimeError, match=said):
        unseen(net(last()), FORMS[0])


def unseen(made: nn.Module, form: Form) -> None:
    """A step without values. (Of fake tensors for CUDA, a PyTorch that is built without it takes no gradients.)"""
    meta = torch.device("meta")
    lanes = three(made.to(meta))
    with FakeTensorMode(allow_non_fake_inputs=True):  # the net's frozen tensors
        state, batch = begun(lanes, form, meta)
        lanes.step(form, state, batch, ("", ""))


@pytest.mark.parametrize(("name", "value"), [("HELD", 0), ("TURN", 600), ("ROWS", 30)])
def test_bytes_do_not_hang_on_how_examples_are_held(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All on the device or those of a turn, in long turns or in short ones."""
    model, training = TorchModel(net(), F.cross_entropy, cohort=3), h.Training(epochs=2, batch=8)
    expected = model.train_all(jobs(model), training)
    if name == "TURN":
        monkeypatch.setattr(cohort, "HELD", 0)
    monkeypatch.setattr(cohort, name, value)
    for one, other in zip(expected, model.train_all(jobs(model), training), strict=True):
        assert (one.x == other.x).all() and one.loss == other.loss


class Mean(nn.Linear):
    """Takes rows of any length, of numbers of any type; a second array is added, by its name."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Of the mean over the length."""
        return super().forward(a.float().mean(1) - b)


@pytest.mark.parametrize("held", [2**30, 0])
def test_clients_whose_examples_differ(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In length, in type, in the order of their names: each ends where it ends alone."""
    monkeypatch.setattr(cohort, "HELD", held)
    rng, alone = np.random.default_rng(0), TorchModel(Mean(4, 3), F.cross_entropy)
    model, training = TorchModel(alone.net, F.cross_entropy, cohort=5), h.Training(epochs=2, batch=4, learning_rate=0.1)
    some: list[Any] = []
    for length, type in ((2, np.float32), (3, np.float64), (2, np.uint8), (3, np.float32)):
        a, b, y = rng.integers(0, 9, (10, length, 4)).astype(type), rng.normal(size=(10, 4)), rng.integers(0, 3, 10)
        some.append({"b": b, "a": a, "y": y} if length == 3 else {"y": y, "a": a, "b": b})
    todo = [Job(model.start(KEY), data, h.Drift(), KEY.child(i)) for i, data in enumerate(some)]
    for job, one in zip(todo, model.train_all(todo, training), strict=True):
        assert np.abs(alone.train(*job[:2], training, *job[2:]).x - one.x).max() < 1e-6
        assert (model.train(*job[:2], training, *job[2:]).x == one.x).all()


@pytest.mark.parametrize("training", [h.Training(epochs=3, batch=8), h.Training(steps=7, batch=8), h.Training(batch=0)])
@pytest.mark.parametrize("most", [1, 60, 10**6])
def test_turns(training: h.Training, most: int) -> None:
    """Each client has its own batches in their order, as `hansa.data.batches` has them, whoever steps beside it."""
    data: list[Any] = [points(n, i) for i, n in enumerate(SIZES)]
    kinds: list[Kind] = [kind(one, LABELS) for one in data]
    rows: list[Iterator[Any]] = [ordered(one, training, KEY.child(i)) for i, one in enumerate(data)]
    expected = [list(h.data.batches(one, training, KEY.child(i))) for i, one in enumerate(data)]
    for turn in turns(kinds, rows, 5, most):
        left = [len(some[0][1]) if some else 0 for some in expected]
        assert turn.on.any() and turn.on.tolist() == [n == max(left) for n in (*left, 0)]
        assert turn.whose[turn.on].tolist() == np.flatnonzero(turn.on).tolist() and turn.on[turn.whose].all()
        assert len(turn.rows) == 1 or turn.rows.size <= most
        for step in turn.rows:
            for i in np.flatnonzero(turn.on):
                A, y = expected[i].pop(0)
                assert all((a == b[step[i]]).all() for a, b in zip((A, y), data[i], strict=True))
    assert not any(expected)


def test_an_empty_client_is_named() -> None:
    """As where it trains alone."""
    model = TorchModel(net(), F.cross_entropy, cohort=2)
    with pytest.raises(h.DataError, match="no examples"):
        model.train(model.start(KEY), points(0), h.Training(), h.Drift(), KEY)


def test_what_came_often_is_kept_and_of_that_what_came_last() -> None:
    """After so many uses; the one not used for longest goes, and must come as often again."""
    recent: Recent[str] = Recent(most=2, often=10)
    assert not recent.due("a", 9) and recent.find("a") is None
    assert recent.due("a", 1) and recent.due("b", 10)
    recent.keep("a", "A")
    recent.keep("b", "B")
    assert recent.find("a") == "A" and recent.due("c", 25)
    recent.keep("c", "C")
    assert len(recent) == 2 and recent.find("b") is None and recent.find("a") == "A" and recent.find("c") == "C"
    assert not recent.due("b", 9) and recent.due("b", 1)
    in_turn, made = Recent[int](most=3, often=10), 0
    for i in range(400):  # four in turn, room for three
        if in_turn.find(i % 4) is None and in_turn.due(i % 4, 1):
            in_turn.keep(i % 4, i)
            made += 1
    assert len(in_turn) == 3 and made < 40


# ── on CUDA ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's deterministic algorithms, for a test."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@CUDA
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_graphs_give_the_same_bytes(optimizer: str, deterministic: None) -> None:
    """Captured or not; and a second round, at another rate, captures nothing more."""
    plain, model = (
        TorchModel(net(), F.cross_entropy, device="cuda", cohort=3, compile=way) for way in (False, "auto")
    )  # fmt: skip
    for rate in (0.05, 0.02):
        training = h.Training(epochs=20, batch=8, learning_rate=rate, optimizer=optimizer, weight_decay=0.01)
        pairs = zip(plain.train_all(jobs(plain), training), model.train_all(jobs(model), training), strict=True)
        for one, other in pairs:
            assert (one.x == other.x).all() and one.loss == other.loss
        assert plain.compiled == 0
        assert model.compiled == 4  # batches of 8, and what is left of 20 and of 33; the whole of 5


@CUDA
def test_a_net_that_cannot_be_captured(deterministic: None, caplog: pytest.LogCaptureFixture) -> None:
    """Trains without, and the log says so once."""
    ways = [TorchModel(net(Scaled()), F.cross_entropy, device="cuda", cohort=3, compile=way) for way in (False, True)]
    training = h.Training(epochs=20, batch=8)
    with caplog.at_level(logging.WARNING, "hansa"):
        results = [model.train_all(jobs(model), training) for model in (*ways, ways[1])]
    for one, other, again in zip(*results, strict=True):
        assert (one.x == other.x).all() and (one.x == again.x).all()
    assert len([line for line in caplog.messages if "CUDA graph" in line]) == 1
