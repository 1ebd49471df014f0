"""Algorithms that would read single examples without the noise that the plan has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.errors import PlanError
from hansa.models import Drift, Gradient, Score, Train
from hansa.privacy import examples
from hansa.testing import check_algorithm
from hansa.testing.algorithm import SideBySide

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(30, 4)), RNG.integers(0, 3, 30)
PRIVATE = h.Training(batch=10, private=h.PerExample(1.0, 20.0), report=False)
PLAIN = h.Training(batch=10)

Ask = Callable[[Any, Any, Any, Any], Any]


def trained(private: h.PerExample | None) -> Ask:
    """A training with that noise."""

    def ask(x: Any, data: Any, training: Any, key: Any) -> Any:
        return Train(x, data, replace(training, private=private, report=False), Drift(), key)

    return ask


WAYS: dict[str, tuple[h.Training, Ask]] = {
    "a training without noise": (PRIVATE, trained(None)),
    "a training with hardly any": (PRIVATE, trained(h.PerExample(1.0, 1e-9))),
    "a gradient": (PRIVATE, lambda x, data, training, key: Gradient(x, data, key)),
    "a gradient of one example": (PRIVATE, lambda x, data, training, key: Gradient(x, data.take([0]), key)),
    "a score": (PRIVATE, lambda x, data, training, key: Score(x, data)),
    "noise from the plan's seed": (PLAIN, trained(h.PerExample(1.0, 20.0))),
}


@dataclass(frozen=True)
class Reads(h.FedAvg):
    """Tells what it was answered beside the update that the plan hides; and hears no refusal."""

    way: str = ""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        parts, client_state = yield from super().client(model, broadcast, client_state, data, training, at)
        x = broadcast["x"]
        try:
            told = yield WAYS[self.way][1](x, data, training, at.key)
        except Exception:
            told = None
        if isinstance(told, dict):
            told = np.full(x.shape, told["loss"])
        told = getattr(told, "x", told)
        return {**parts, "delta": 0 * x if told is None else told}, client_state


@pytest.mark.promise("P270")
@pytest.mark.guards("what is asked has the plan's noise")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cohort", [1, 4])
def test_what_reads_examples_without_the_plans_noise_ends_the_run(way: str, cohort: int) -> None:
    """Before it is done; wherever clients train, and though the algorithm would go on."""
    plan = h.Plan(SideBySide(h.Softmax(4, 3), cohort), Reads(way=way), training=WAYS[way][0], rounds=1)
    states = list[h.State]()
    try:
        states += h.synchronous(plan, h.InProcess([h.Client("anna", plan, DATA)]))
        refused = ""
    except TypeError as error:
        refused = str(error)
    assert not states and "`private`" in refused


@pytest.mark.promise("P270")
@pytest.mark.guards("what is asked has the plan's noise")
def test_the_check_of_an_algorithm_finds_it() -> None:
    model = h.Softmax(4, 3)
    with pytest.raises(TypeError, match="no noise of the plan hides"):
        check_algorithm(Reads(way="a gradient"), PRIVATE, model=model)


@pytest.mark.control("what has the noise of the plan is done")
def test_what_has_the_plans_noise_is_done() -> None:
    """A training of other steps, with the noise of the plan; no ε follows for an algorithm of a stranger's."""

    @dataclass(frozen=True)
    class Slower(h.FedAvg):
        def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
            slower = replace(training, learning_rate=0.01)
            return super().client(model, broadcast, client_state, data, slower, at)

    plan = h.Plan(h.Softmax(4, 3), Slower(), training=PRIVATE, rounds=1)
    (state,) = h.synchronous(plan, h.InProcess([h.Client("anna", plan, DATA)]))
    assert state.participants == ("anna",) and state.x.any()
    assert examples(plan, 30).epsilon(1e-5) is None


@pytest.mark.promise("P270")
@pytest.mark.guards("who asks for gradients says so when the plan is built")
@pytest.mark.parametrize("algorithm", [h.MimeLite(), h.APFL(), h.FedSAM(), h.FedALA()], ids=repr)
def test_hansas_own_that_ask_for_gradients_refuse_such_a_plan(algorithm: Any) -> None:
    try:
        h.Plan(h.Softmax(4, 3), algorithm, training=PRIVATE)
        refused = ""
    except PlanError as error:
        refused = str(error)
    assert "no noise hides an example" in refused
