"""Many clients trained as one batch: each ends where it ends alone, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.data import Examples
from hansa.data.blocks import ordered
from hansa.data.inputs import LABELS
from hansa.data.turns import Kind, kind, turns
from hansa.models import Train
from hansa.models.torch import TorchModel
from hansa.models.torch import cohort as cohort
from hansa.models.torch.cohort import ClientBatch, Form, KeyedDropout, width

KEY = h.Key.of(1)
SIZES = (20, 33, 16, 5)


def points(n: int, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] in three classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y]).astype(np.float32), y


def net(*between: nn.Module) -> nn.Sequential:
    """A convolution, a frozen layer, a linear one."""
    torch.manual_seed(0)
    found = nn.Sequential(nn.Unflatten(1, (1, 2, 4)), nn.Conv2d(1, 3, 3, padding=1), *between, nn.ReLU(), nn.Flatten())
    found.append(nn.Linear(24, 6).requires_grad_(False))
    return found.append(nn.Linear(6, 3))


def under(asks: list[Train], training: h.Training) -> list[Train]:
    """The same, with this training."""
    return [one._replace(training=training) for one in asks]


def jobs(model: TorchModel, drifts: bool) -> list[Train]:
    """Four clients, of different sizes, that start from different places."""
    rng, x, found = np.random.default_rng(3), model.start(KEY), []
    for i, n in enumerate(SIZES):
        far, near = (x + 0.1 * rng.normal(size=x.size) for _ in range(2))
        drift = h.models.Drift(0.3, shift=rng.normal(size=x.size), centre=far) if drifts else h.models.Drift()
        found.append(Train(near, Examples.of(points(n, i)), h.Training(), drift, KEY.child(i)))
    return found


@pytest.mark.parametrize(
    ("optimizer", "decay", "drifts"),
    [("sgd", 0.0, False), ("momentum", 0.05, True), ("adam", 0.05, True), ("adamw", 0.05, False)],
)
def test_each_is_trained_as_it_is_alone(optimizer: str, decay: float, drifts: bool) -> None:
    """As one by one, up to rounding; and to the same bytes alone, in another order, in other company."""
    alone, model = TorchModel(net(), F.cross_entropy), TorchModel(net(), F.cross_entropy, cohort=3)
    training = h.Training(epochs=2, batch=8, learning_rate=0.05, optimizer=optimizer, weight_decay=decay)
    todo = jobs(model, drifts)
    found = model.train_all(under(todo, training))
    for job, one in zip(todo, found, strict=True):
        expected = alone.train(job.x, job.data, training, job.drift, job.key)
        assert one.steps == expected.steps and abs(one.loss - expected.loss) < 1e-5
        assert np.abs(one.x - expected.x).max() < 1e-5 < 1e-2 < np.abs(one.x - job.x).max()
        again = model.train(job.x, job.data, training, job.drift, job.key)
        assert (again.x == one.x).all() and again.loss == one.loss
    for one, other in zip(found, reversed(model.train_all(under(todo[::-1], training))), strict=True):
        assert (one.x == other.x).all() and one.loss == other.loss


def last(algorithm: h.algorithms.Algorithm, runtime: Any = h.InProcess, **more: Any) -> Any:
    """The model after two rounds of four clients."""
    plan = h.Plan(TorchModel(net(), F.cross_entropy, **more), algorithm,
                  training=h.Training(batch=8, learning_rate=0.05), rounds=2)  # fmt: skip
    clients = [h.Client(f"c{i}", plan, points(n, i)) for i, n in enumerate(SIZES)]
    *_, state = h.synchronous(plan, runtime(clients))
    assert not state.excluded
    return state.x


@pytest.mark.parametrize(
    "algorithm", [h.FedAvg(), h.Scaffold(), h.FedDyn(alpha=0.1), h.Ditto(), h.MimeLite(), h.APFL()], ids=repr
)
def test_rounds_train_their_cohort_at_once(algorithm: h.algorithms.Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the algorithm that trains twice; nobody is left to be trained alone."""
    algorithm_like = last(algorithm)
    monkeypatch.setattr(TorchModel, "train", None)
    assert np.abs(last(algorithm, cohort=3) - algorithm_like).max() < 1e-5


def test_the_same_bytes_in_workers() -> None:
    """Where each client trains alone."""
    assert (last(h.FedAvg(), cohort=3) == last(h.FedAvg(), partial(h.Processes, workers=2), cohort=3)).all()


def test_dropout_is_of_the_clients_own_key() -> None:
    """Whoever else is there; other keys and other steps draw otherwise."""
    model, training = TorchModel(net(nn.Dropout(0.5)), F.cross_entropy, cohort=3), h.Training(batch=8)
    todo = jobs(model, False)
    for job, one in zip(todo, model.train_all(under(todo, training)), strict=True):
        assert (one.x == model.train(*job[:2], training, *job[3:5]).x).all()
    same = [todo[0]._replace(key=KEY.child(i)) for i in range(2)]
    one, other = model.train_all(under(same, h.Training(batch=0)))
    assert np.abs(one.x - other.x).max() > 1e-4  # a full batch: nothing but dropout differs
    assert type(model.net[2]) is nn.Dropout


def test_a_first_training_without_gradients_spoils_no_later_one() -> None:
    """Where the caller has switched them off: what steps write into outlasts the training."""
    model, training = TorchModel(net(), F.cross_entropy, cohort=3), h.Training(batch=8)
    with torch.inference_mode():
        first = model.train_all(under(jobs(model, False), training))
    for one, again in zip(first, model.train_all(under(jobs(model, False), training)), strict=True):
        assert (one.x == again.x).all()


def test_draws_of_dropout() -> None:
    """Each number is kept with probability 1 − p, independently of its neighbour and of other seeds; means are kept."""
    drop, ones = KeyedDropout(0.3), torch.ones(200_000)
    kept = []
    for seed in (1, 2, -(2**63)):
        drop.seed = torch.tensor(seed)
        out = drop(ones)
        assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
        kept.append((out > 0).double() - 0.7)
    sigma = (0.3 * 0.7 / len(ones)) ** 0.5
    for i, one in enumerate(kept):
        assert abs(one.mean()) < 4 * sigma
        assert abs((one[1:] * one[:-1]).mean()) < 4 * 0.21 / len(ones) ** 0.5
        assert abs((one * kept[i - 1]).mean()) < 4 * 0.21 / len(ones) ** 0.5
    assert (drop.eval()(ones) == 1).all()


def test_who_trains_one_by_one() -> None:
    """Nets with statistics, noise for single examples, streams; and on a CPU all, unless somebody says otherwise."""
    assert TorchModel(net(nn.BatchNorm2d(3)), F.cross_entropy, cohort=3).cohort == 1
    assert TorchModel(net(), F.cross_entropy).cohort == width(100, torch.device("cpu")) == 1
    assert width(1_626_442, torch.device("cuda")) == 64 and width(2**28, torch.device("cuda")) == 1
    plain, model = TorchModel(net(), F.cross_entropy), TorchModel(net(), F.cross_entropy, cohort=3)
    A, y = points(40)
    noised = h.Training(batch=8, report=False, private=h.PerExample(1.0, 1.0))
    for data, training in (((A, y), noised), (lambda: [(A[:20], y[:20]), (A[20:], y[20:])], h.Training())):
        todo = [Train(plain.start(KEY), Examples.of(data), training, h.models.Drift(), KEY)]
        assert (model.train_all(under(todo, training))[0].x == plain.train_all(under(todo, training))[0].x).all()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_a_step_moves_those_alone_who_are_on(optimizer: str) -> None:
    """Of the others not one bit changes."""
    lanes, form = ClientBatch(net(), F.cross_entropy, 3, LABELS), Form(optimizer, True, True, True)
    state = lanes._state(form, torch.zeros(sum(p.numel() for p in net().parameters() if p.requires_grad)), apart=True)
    moving = [state.y, *state.moments, state.t, state.total]
    rng = torch.Generator().manual_seed(0)
    for tensor in (*moving, *state.drift, state.rates):
        assert tensor is not None
        tensor.copy_(torch.rand(tensor.shape, generator=rng))
    batch = [torch.ones(3, 4, 8), torch.ones(3, 4, dtype=torch.int64)]
    for on in ([False] * 3, [True, False, True]):
        state.on.copy_(torch.tensor(on))
        before = [one.clone() for one in moving]
        lanes.step(form, state, batch, ("", ""))
        for old, new in zip(before, moving, strict=True):
            assert [bool((new[i] != old[i]).any()) for i in range(3)] == on


def test_trainings_leave_nothing_to_the_next() -> None:
    """Whatever was trained before, the bytes are the same; earlier results stay as they are."""
    model = TorchModel(net(), F.cross_entropy, cohort=3)
    todo, optimizers = jobs(model, True), ("sgd", "momentum", "adam", "adamw")
    ways = [h.Training(epochs=2, batch=8, optimizer=one) for one in optimizers]
    first = [model.train_all(under(todo, training)) for training in ways]
    kept = [[one.x.copy() for one in some] for some in first]
    for training, some, before in reversed(list(zip(ways, first, kept, strict=True))):
        for one, other, old in zip(some, model.train_all(under(todo, training)), before, strict=True):
            assert (one.x == other.x).all() and (one.x == old).all() and one.loss == other.loss


@pytest.mark.parametrize(("name", "value"), [("HELD", 0), ("TURN", 600), ("ROWS", 30)])
def test_bytes_do_not_hang_on_how_examples_are_held(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All on the device or those of a turn, in long turns or in short ones."""
    model, training = TorchModel(net(), F.cross_entropy, cohort=3), h.Training(epochs=2, batch=8)
    expected = model.train_all(under(jobs(model, True), training))
    if name == "TURN":
        monkeypatch.setattr(cohort, "HELD", 0)
    monkeypatch.setattr(cohort, name, value)
    for one, other in zip(expected, model.train_all(under(jobs(model, True), training)), strict=True):
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
    todo = [
        Train(model.start(KEY), Examples.of(data), training, h.models.Drift(), KEY.child(i))
        for i, data in enumerate(some)
    ]
    for job, one in zip(todo, model.train_all(under(todo, training)), strict=True):
        assert np.abs(alone.train(*job[:2], training, *job[3:5]).x - one.x).max() < 1e-6
        assert (model.train(*job[:2], training, *job[3:5]).x == one.x).all()


@pytest.mark.parametrize("training", [h.Training(epochs=3, batch=8), h.Training(steps=7, batch=8), h.Training(batch=0)])
@pytest.mark.parametrize("most", [1, 60, 10**6])
def test_turns(training: h.Training, most: int) -> None:
    """Each client has its own batches in their order, as `Examples.batches` has them, whoever steps beside it."""
    data: list[Any] = [points(n, i) for i, n in enumerate(SIZES)]
    kinds: list[Kind] = [kind(one, LABELS) for one in data]
    rows: list[Iterator[Any]] = [ordered(Examples.of(one), training, KEY.child(i)) for i, one in enumerate(data)]
    expected = [list(Examples.of(one).batches(training, KEY.child(i))) for i, one in enumerate(data)]
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
    with pytest.raises(h.errors.DataError, match="no examples"):
        model.train(model.start(KEY), points(0), h.Training(), h.models.Drift(), KEY)


class Branches(nn.Linear):
    """Looks at its values."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """Twice as much, where there is little."""
        out = super().forward(a)
        return 2 * out if float(out.detach().sum()) < 1 else out


def test_errors() -> None:
    """A net that vmap cannot follow is refused where a cohort is asked for; a client with a wrong label is named."""
    with pytest.raises(h.errors.PlanError, match="cohort=0"):
        TorchModel(net(), F.cross_entropy, cohort=0)
    model = TorchModel(Branches(8, 3), F.cross_entropy, cohort=2)
    with pytest.raises(h.errors.PlanError, match="at once"):
        model.train(model.start(KEY), points(20), h.Training(), h.models.Drift(), KEY)
    model = TorchModel(net(), F.cross_entropy, cohort=2)
    A, y = points(20)
    late = (A, np.where(np.arange(20) == 7, 9, y))
    with pytest.raises(h.errors.DataError, match="too large or negative"):
        model.train_all(
            [Train(model.start(KEY), Examples.of(d), h.Training(), h.models.Drift(), KEY) for d in ((A, y), late)]
        )
