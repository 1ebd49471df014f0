"""Many clients trained as one batch: each ends where it ends alone, whoever else is in the batch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.models import Job
from hansa.models.cohort.torch import Drop, width
from hansa.models.torch import TorchModel

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


def jobs(model: TorchModel, drifts: bool) -> list[Job]:
    """Four clients, of different sizes, that start from different places."""
    rng, x, found = np.random.default_rng(3), model.start(KEY), []
    for i, n in enumerate(SIZES):
        far, near = (x + 0.1 * rng.normal(size=x.size) for _ in range(2))
        drift = h.Drift(0.3, shift=rng.normal(size=x.size), centre=far) if drifts else h.Drift()
        found.append(Job(near, points(n, i), drift, KEY.child(i)))
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
    found = model.train_all(todo, training)
    for job, one in zip(todo, found, strict=True):
        expected = alone.train(job.x, job.data, training, job.drift, job.key)
        assert one.steps == expected.steps and abs(one.loss - expected.loss) < 1e-5
        assert np.abs(one.x - expected.x).max() < 1e-5 < 1e-2 < np.abs(one.x - job.x).max()
        again = model.train(job.x, job.data, training, job.drift, job.key)
        assert (again.x == one.x).all() and again.loss == one.loss
    for one, other in zip(found, reversed(model.train_all(todo[::-1], training)), strict=True):
        assert (one.x == other.x).all() and one.loss == other.loss


def last(algorithm: h.Algorithm, runtime: Any = h.InProcess, **more: Any) -> Any:
    """The model after two rounds of four clients."""
    plan = h.Plan(TorchModel(net(), F.cross_entropy, **more), algorithm,
                  training=h.Training(batch=8, learning_rate=0.05), rounds=2)  # fmt: skip
    clients = [h.Client(f"c{i}", plan, points(n, i)) for i, n in enumerate(SIZES)]
    *_, state = h.synchronous(plan, runtime(clients))
    assert not state.lost
    return state.x


@pytest.mark.parametrize("algorithm", [h.FedAvg(), h.Scaffold(), h.FedDyn(alpha=0.1), h.Ditto()], ids=repr)
def test_rounds_train_their_cohort_at_once(algorithm: h.Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for job, one in zip(todo, model.train_all(todo, training), strict=True):
        assert (one.x == model.train(*job[:2], training, *job[2:]).x).all()
    same = [Job(*todo[0][:3], KEY.child(i)) for i in range(2)]
    one, other = model.train_all(same, h.Training(batch=0))
    assert np.abs(one.x - other.x).max() > 1e-4  # a full batch: nothing but dropout differs
    assert type(model.net[2]) is nn.Dropout


def test_a_first_training_without_gradients_spoils_no_later_one() -> None:
    """Where the caller has switched them off: what steps write into outlasts the training."""
    model, training = TorchModel(net(), F.cross_entropy, cohort=3), h.Training(batch=8)
    with torch.inference_mode():
        first = model.train_all(jobs(model, False), training)
    for one, again in zip(first, model.train_all(jobs(model, False), training), strict=True):
        assert (one.x == again.x).all()


def test_draws_of_dropout() -> None:
    """Each number is kept with probability 1 − p, independently of its neighbour and of other seeds; means are kept."""
    drop, ones = Drop(0.3), torch.ones(200_000)
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
    for data, training in (((A, y), noised), ([(A[:20], y[:20]), (A[20:], y[20:])], h.Training())):
        todo = [Job(plain.start(KEY), data, h.Drift(), KEY)]
        assert (model.train_all(todo, training)[0].x == plain.train_all(todo, training)[0].x).all()


class Branches(nn.Linear):
    """Looks at its values."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """Twice as much, where there is little."""
        out = super().forward(a)
        return 2 * out if float(out.detach().sum()) < 1 else out


def test_errors() -> None:
    """A net that vmap cannot follow is refused where a cohort is asked for; a client with a wrong label is named."""
    with pytest.raises(h.PlanError, match="cohort=0"):
        TorchModel(net(), F.cross_entropy, cohort=0)
    model = TorchModel(Branches(8, 3), F.cross_entropy, cohort=2)
    with pytest.raises(h.PlanError, match="at once"):
        model.train(model.start(KEY), points(20), h.Training(), h.Drift(), KEY)
    model = TorchModel(net(), F.cross_entropy, cohort=2)
    A, y = points(20)
    late = (A, np.where(np.arange(20) == 7, 9, y))
    with pytest.raises(h.DataError, match="too large or negative"):
        model.train_all([Job(model.start(KEY), d, h.Drift(), KEY) for d in ((A, y), late)], h.Training())
