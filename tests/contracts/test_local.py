"""What a client has of its own comes to a model as a value and goes as one: the model is the same for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.asks import AskedModel
from hansa.data import Examples
from hansa.models import Drift, Score, Train, TrainResult
from hansa.models.torch import TorchModel
from hansa.testing import check_model
from hansa.testing.algorithm import MODEL, federation

KEY, NONE = h.Key.of(4), Drift()
DATA = {who: (X.astype(np.float32), y) for who, (X, y) in federation(4).items()}
ROUNDS = {"training": h.Training(batch=10, validation=0.2), "rounds": 3}


@dataclass(frozen=True)
class Counting(h.Softmax):
    """Each training of a client counts, and shifts its result and its scores; many train at once."""

    cohort: int = 1
    takes = replace(h.Softmax.takes, only=False)

    def train(self, x: Any, data: Any, training: Any, drift: Any, key: Any, local: Any = None) -> TrainResult:
        fit, n = super().train(x, data, training, drift, key), (local or {"n": np.zeros(())})["n"] + 1
        return replace(fit, x=fit.x + 1e-3 * n, local={"n": n})

    def score(self, x: Any, data: Any, local: Any = None) -> dict[str, float]:
        return super().score(x + (local or {"n": 0.0})["n"], data)


@dataclass(frozen=True)
class Scores(h.Ditto):
    """Ditto, whose clients score between and after their two trainings."""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, *more: Any) -> Any:
        before = (yield Score(broadcast["x"], data))["loss"]
        parts, client_state = yield from super().client(model, broadcast, client_state, data, *more)
        after = (yield Score(broadcast["x"], data))["loss"]
        return {**parts, "loss": after - before}, client_state


def norm() -> TorchModel:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return TorchModel(net, F.cross_entropy, buffers="local")


def run(model: Any, algorithm: Any, runtime: Any = h.InProcess, **more: Any) -> tuple[h.State, dict[str, Any]]:
    """The last state, and what the clients remember."""
    plan = h.Plan(model, algorithm, **ROUNDS)
    clients = [h.Client(who, plan, one, secret=KEY) for who, one in DATA.items()]
    with_secret = runtime(clients, secret=KEY, **more)
    *_, state = h.synchronous(plan, with_secret, secret=KEY)
    return state, dict(with_secret.memory.of(DATA))


def same(a: Any, b: Any) -> bool:
    """Equal to the last byte."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_models_with_local_statistics_keep_their_promises() -> None:
    check_model(norm(), DATA["client-0"])
    check_model(Counting(MODEL.features, MODEL.classes), DATA["client-3"], close=0.1)


@pytest.mark.promise("P7")
def test_nothing_of_a_client_stays_in_the_model() -> None:
    """Neither after its round nor when it fails in the midst of it."""

    @dataclass(frozen=True)
    class Fails(h.FedAvg):
        def client(self, *given: Any) -> Any:
            yield from super().client(*given)
            raise h.errors.DataError("A record that no one can read.")

    model, held = norm(), DATA["client-1"]
    x = model.start(KEY)
    plain = model.score(x, held), model.train(x, held, h.Training(), NONE, KEY)
    run(model, h.FedAvg())
    with pytest.raises(h.errors.RoundError):
        run(model, Fails())
    again = model.score(x, held), model.train(x, held, h.Training(), NONE, KEY)
    assert plain[0] == again[0] and same(plain[1].x, again[1].x) and same(dict(plain[1].local), dict(again[1].local))
    assert not plain[1].local.keys() - {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


@pytest.mark.promise("P7")
def test_interleaved_clients_have_the_bytes_of_each_alone() -> None:
    model, (a, b) = norm(), list(DATA.values())[:2]
    x, training = model.start(KEY), h.Training(batch=10)

    def twice(data: Any, between: Any) -> tuple[TrainResult, dict[str, float]]:
        first = model.train(x, data, training, NONE, KEY)
        between()
        second = model.train(x, data, training, NONE, KEY, first.local)
        between()
        return second, model.score(x, data, second.local)

    alone, scored = twice(a, lambda: None)
    beside, again = twice(a, lambda: model.train(x, b, training, NONE, KEY))
    assert same(alone.x, beside.x) and same(dict(alone.local), dict(beside.local)) and scored == again
    first = model.train(x, a, training, NONE, KEY)
    assert not same(dict(first.local), dict(alone.local))
    asks = [Train(x, Examples.of(a), training, NONE, KEY, first.local), Train(x, Examples.of(b), training, NONE, KEY)]
    together = model.train_all(asks)
    assert same(dict(together[0].local), dict(alone.local))


@pytest.mark.promise("P47")
@pytest.mark.parametrize("algorithm", [h.FedAvg(), Scores(lam=0.3)])
def test_a_cohort_has_the_bytes_of_one_after_another(algorithm: Any) -> None:
    """Also with two trainings in a round, each from what the one before left, and scores between them."""
    one, many = (run(Counting(MODEL.features, MODEL.classes, cohort), algorithm) for cohort in (1, 3))
    assert same(one[0].x, many[0].x) and one[0].metrics == many[0].metrics and same(one[1], many[1])
    trainings = 3 if algorithm == h.FedAvg() else 6
    assert all(memory["model"]["n"] == trainings for memory in one[1].values())


@pytest.mark.promise("P47")
def test_workers_give_local_statistics_the_same_bytes() -> None:
    here, there = run(norm(), h.Ditto()), run(norm(), h.Ditto(), h.Processes, workers=2)
    assert same(here[0].x, there[0].x) and here[0].metrics == there[0].metrics and same(here[1], there[1])
    assert here[1]["client-0"]["model"].keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_a_clients_view_has_all_that_its_model_has() -> None:
    model = norm()
    view = AskedModel(model)
    x = view.start(KEY)
    assert (view.size, view.trainable, view.takes.private) == (model.size, model.trainable, True)
    assert view.metrics == model.metrics and view.net is model.net and view.domain.size == 0
    assert view.tensors(x).keys() == model.tensors(x).keys()
    with pytest.raises(AttributeError, match="flights"):
        _ = view.flights


@pytest.mark.parametrize("algorithm", [h.FedSAM(), h.PerFedAvg()], ids=repr)
def test_steps_along_gradients_alone_have_no_statistics_of_a_client(algorithm: h.FedAvg) -> None:
    """No step of theirs would move these: the net would be scored with those of its start."""
    with pytest.raises(h.HansaError, match="a client's own neither"):
        h.Plan(norm(), algorithm)
