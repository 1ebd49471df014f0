"""What an algorithm asks of a client is done alike for one alone and for many side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import hansa as h
from hansa.models import Drift, Score, Train
from hansa.testing import check_algorithm
from hansa.testing.algorithm import MODEL, SideBySide, federation

PARTIES = {who: (X.astype(np.float32), y) for who, (X, y) in federation().items()}


@dataclass(frozen=True)
class Falling(h.FedAvg):
    """A learning rate that falls from round to round, and differs by client."""

    rate: float = 0.9

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        eta = training.learning_rate * self.rate ** (at.round + int(at.who[-1]) % 2)
        return super().client(model, broadcast, client_state, data, replace(training, learning_rate=eta), at)


@dataclass(frozen=True)
class Twice(h.FedAvg):
    """Trains on from where its first training has ended, with momentum."""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        x = broadcast["x"]
        first = yield Train(x, data, training, Drift(), at.key)
        more = replace(training, optimizer="momentum", learning_rate=0.01)
        second = yield Train(first.x, data, more, Drift(0.1, centre=x), at.key.child("again"))
        return {"delta": second.x - x, "loss": (first.loss + second.loss) / 2}, client_state


@dataclass(frozen=True)
class QFFL(h.FedAvg):
    """Weighs a client's update by its loss to the power q, which it scores first   (Li et al. 2020, "q-FFL").

    Δ ← Fₖ(x)^q · (y − x)
    """

    q: float = 1.0

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        scores = yield Score(broadcast["x"], data)
        parts, client_state = yield from super().client(model, broadcast, client_state, data, training, at)
        return {**parts, "delta": scores["loss"] ** self.q * parts["delta"]}, client_state


def net(cohort: int) -> h.TorchModel:
    torch.manual_seed(0)
    return h.TorchModel(nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3)), cross_entropy, cohort=cohort)


def end(algorithm: Any, model: Any, runtime: Any = h.InProcess, **more: Any) -> Any:
    plan = h.Plan(model, algorithm, training=h.Training(2, 8, 0.2), rounds=3)
    with runtime([h.Client(who, plan, data) for who, data in PARTIES.items()], **more) as clients:
        *_, state = h.synchronous(plan, clients)
    return state


@pytest.mark.parametrize("algorithm", [h.FedAvg(), Falling(), Twice(), QFFL(), h.Scaffold(), h.Ditto()], ids=repr)
def test_one_by_one_and_side_by_side_are_the_same(algorithm: Any) -> None:
    alone = end(algorithm, net(1))
    for model in (net(4), SideBySide(net(1), 64)):
        beside = end(algorithm, model)
        assert np.allclose(alone.x, beside.x, atol=1e-5)
        assert alone.metrics == pytest.approx(beside.metrics, abs=1e-4)
    if algorithm == Twice():
        workers = end(algorithm, net(1), h.Processes, workers=2)
        assert (workers.x == alone.x).all()


@pytest.mark.parametrize("algorithm", [Falling(), Twice(), QFFL()], ids=repr)
def test_strangers_algorithms_keep_their_promises(algorithm: Any) -> None:
    check_algorithm(algorithm)
    check_algorithm(algorithm, h.Training(2, 16, 0.4), 8, net(4), PARTIES)


@dataclass(frozen=True)
class Counting(h.FedAvg):
    """How often a client was asked in this process, and so by whom before."""

    asked: Any = None

    def client(self, *given: Any) -> Any:
        COUNT.append(0)
        parts, client_state = yield from super().client(*given)
        return {**parts, "delta": len(COUNT) * parts["delta"]}, client_state


COUNT: list[int] = []


def test_an_answer_that_hangs_on_who_was_asked_before_is_found() -> None:
    with pytest.raises(AssertionError, match="not a function of its arguments"):
        check_algorithm(Counting())


class Hasty(h.Softmax):
    """Does less for many clients than for each alone."""

    def train_all(self, asks: Any) -> Any:
        return super().train_all([ask._replace(training=h.Training(steps=1)) for ask in asks])


def test_a_model_that_does_less_for_many_is_found() -> None:
    with pytest.raises(AssertionError, match="how many train side by side"):
        check_algorithm(h.FedAvg(), model=Hasty(4, 3))


@dataclass(frozen=True)
class Direct(h.FedAvg):
    """Trains without asking."""

    how: str = "train"

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        if self.how == "nonsense":
            yield "train"
        if self.how == "score":
            model.score(broadcast["x"], data)
        fit = model.train(broadcast["x"], data, training, Drift(), at.key)
        return {"delta": fit.x - broadcast["x"], "loss": fit.loss}, client_state


@pytest.mark.parametrize(("how", "words"), [("train", "yield Train"), ("score", "yield Score"), ("nonsense", "str")])
def test_what_is_not_asked_is_not_done(how: str, words: str) -> None:
    """A training that the model did itself would pass by the client's own statistics, and nobody would say so."""
    plan = h.Plan(MODEL, Direct(how=how))
    clients = h.InProcess([h.Client("anna", plan, PARTIES["client-0"])])
    with pytest.raises(TypeError, match=words):
        list(h.synchronous(plan, clients))


class Eager(h.Sum):
    """Says the work that its vector takes, instead of the vector."""

    def client(self, contribute: Any, at: Any) -> Iterator[Any]:
        yield contribute()


def test_an_aggregator_that_waits_for_no_vector_is_told() -> None:
    plan = h.Plan(MODEL, aggregator=Eager())
    clients = h.InProcess([h.Client("anna", plan, PARTIES["client-0"])])
    with pytest.raises(TypeError, match="yield from contribute"):
        list(h.synchronous(plan, clients))


@dataclass(frozen=True)
class Silent(h.FedAvg):
    """Asks for nothing, and says an update of zeros."""

    def client(self, model: Any, broadcast: Any, client_state: Any, *given: Any) -> Any:
        return {"delta": 0 * broadcast["x"], "loss": 0.0}, client_state


def test_who_asks_for_nothing_may_answer_at_once() -> None:
    plan = h.Plan(MODEL, Silent(), rounds=1)
    *_, state = h.synchronous(plan, h.InProcess([h.Client("anna", plan, PARTIES["client-0"])]))
    assert state.participants == ("anna",) and not state.x.any()


def test_one_whose_data_cannot_be_trained_on_is_left_out_alone() -> None:
    """Among many that train side by side, and the others' bytes are what they are without it."""
    model = net(4)
    plan = h.Plan(model, training=h.Training(1, 8, 0.2), rounds=2)
    parties = {who: h.Client(who, plan, data) for who, data in PARTIES.items()}
    wrong = PARTIES["client-0"][0].copy()
    wrong[3] = np.nan
    broken = h.Client("broken", plan, (wrong, PARTIES["client-0"][1]))
    *_, state = h.synchronous(plan, h.InProcess([*parties.values(), broken]))
    *_, without = h.synchronous(plan, h.InProcess(parties.values()))
    assert list(state.excluded) == ["broken"]
    assert (state.x == without.x).all()
