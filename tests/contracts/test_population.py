"""A population is the same federation as a list of clients, and costs what a round costs."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from hansa import (
    Client,
    FedAvg,
    InProcess,
    Plan,
    Policy,
    Population,
    Scaffold,
    Softmax,
    Training,
    Uniform,
    VerifiedSum,
    Weigh,
    synchronous,
)
from hansa.errors import LeftOut, PlanError, RoundError
from hansa.parties.population import Names
from hansa.rand import Key
from hansa.testing.asserts import equal
from hansa.transforms.scale import Clip

KEY = Key.of(0)  # a secret that repeats


def data(i: int) -> Any:
    rng = np.random.default_rng(i)
    X = rng.normal(size=(12, 5))
    return X, (X[:, i % 5] > 0).astype(np.int64)


def plan(**more: Any) -> Plan:
    training = Training(batch=4, report=False)
    return Plan(Softmax(5, 2), **{"training": training, "sample": Uniform(4), "rounds": 4, **more})


SECRET = {"pipe": (Clip(5.0), Weigh("one")), "aggregator": VerifiedSum(), "sample": Uniform(4, quorum=2)}


@pytest.mark.parametrize("more", [{}, {"algorithm": Scaffold()}, SECRET], ids=["FedAvg", "Scaffold", "VerifiedSum"])
def test_it_gives_the_bytes_of_a_list(more: dict[str, Any]) -> None:
    p = plan(**more)
    listed = [Client(name, p, data(i), secret=KEY) for i, name in enumerate(Names(9))]
    here, there = InProcess(Population(p, 9, data, secret=KEY)), InProcess(listed)
    for a, b in zip(synchronous(p, here, secret=KEY), synchronous(p, there, secret=KEY), strict=True):
        assert equal(a.x, b.x) and a.participants == b.participants and not a.excluded
        assert equal(here.memory.after(a.counted), there.memory.after(b.counted))


def test_what_clients_remember_comes_back() -> None:
    p = plan(algorithm=Scaffold())
    first = InProcess(Population(p, 9, data))
    states = list(synchronous(p, first))
    second = InProcess(Population(p, 9, data))
    halfway = InProcess(Population(p, 9, data))
    for state in synchronous(p, halfway):
        if state.round == 2:
            break
    second.memory.load(halfway.memory.after(state.counted))
    assert equal(list(synchronous(p, second, state))[-1].x, states[-1].x)


@pytest.mark.promise("P54")
def test_memory_and_reads_do_not_grow_with_the_population() -> None:
    read: list[int] = []

    def noted(i: int) -> Any:
        read.append(i)
        return data(i)

    def peak(size: int) -> int:
        p = plan(algorithm=FedAvg(), sample=Uniform(20), rounds=3)
        tracemalloc.start()
        list(synchronous(p, InProcess(Population(p, size, noted))))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    small = peak(100)
    read.clear()
    assert peak(10_000_000) < 1.5 * small
    assert len(read) == 3 * 20


@pytest.mark.promise("P4")
def test_a_policy_holds_for_all_of_them() -> None:
    p = plan(sample=Uniform(3), rounds=1)
    with pytest.raises(RoundError, match="refused"), pytest.warns(LeftOut, match="at least 5"):
        next(synchronous(p, InProcess(Population(p, 50, data, Policy(min_cohort=5)))))


def test_names_are_in_order_and_found_again() -> None:
    names = Names(1000)
    assert list(names) == sorted(names) and names[7] == "client-007" and names[-1] == "client-999"
    assert names[2:4] == ["client-002", "client-003"] and names.index("client-999") == 999
    for stranger in ("client-1000", "client-7", "client-00٣", "anna", "", 3):
        assert stranger not in names
    with pytest.raises(KeyError):
        Population(plan(), 9, data)["client-9"]


@pytest.mark.parametrize("size", [0, -1, 2.5, "9", True])
def test_wrong_sizes_are_refused(size: Any) -> None:
    with pytest.raises(PlanError, match="no clients"):
        Population(plan(), size, data)
