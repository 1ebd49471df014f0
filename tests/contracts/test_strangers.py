"""Pieces of strangers, tried wherever hansa's own are: each is right, or is refused with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansa import (
    App,
    Budget,
    Client,
    Clip,
    CorrelatedNoise,
    Everyone,
    GaussianNoise,
    InProcess,
    InTurn,
    Key,
    Plan,
    Poisson,
    Policy,
    Processes,
    Quantize,
    Sample,
    Softmax,
    Store,
    Training,
    Uniform,
    VerifiedSum,
    Weigh,
    buffered,
    synchronous,
)
from hansa.audit import audit
from hansa.errors import PlanError
from hansa.explain import explain
from hansa.privacy import planned_privacy, spent_privacy

RNG = np.random.default_rng(0)
DATA = {f"c{i}": (RNG.normal(size=(8, 3)), RNG.integers(0, 2, 8)) for i in range(6)}
QUIET = Training(report=False)
TIGHT = (Clip(1.0), Weigh("one"))
DELTA = 1e-5


def plan(*noise: Any, **more: Any) -> Plan:
    return Plan(**{"model": Softmax(3, 2), "pipe": (*TIGHT, *noise), "training": QUIET, "rounds": 4, **more})


def clients(plan: Plan, allow: Policy | None = None) -> list[Client]:
    more = {} if allow is None else {"allow": allow}
    return [Client(who, plan, data, secret=Key.of(i), **more) for i, (who, data) in enumerate(DATA.items())]  # type: ignore[arg-type]


def ran(plan: Plan, runtime: Any = None) -> list[Any]:
    return list(synchronous(plan, runtime or InProcess(clients(plan)), secret=Key.of(7)))


# --- a sample ---


@dataclass(frozen=True)
class Pairs(Sample):
    """Two clients, the second half a round behind the first."""

    step: int = 1

    @property
    def most(self) -> int:
        return 2

    def draw(self, roster: Any, key: Key, round: int = 0) -> list[str]:
        first = self.step * round % len(roster)
        return [roster[first], roster[(first + 1) % len(roster)]]

    def describe(self) -> str:
        return "two neighbours in the roster"


PAIRS = Pairs(2, quorum=2)


def test_a_strangers_sample_asks_whom_it_draws() -> None:
    states = ran(plan(sample=PAIRS))
    assert [sorted(state.participants) for state in states] == [["c0", "c1"], ["c2", "c3"], ["c4", "c5"], ["c0", "c1"]]
    assert plan(sample=PAIRS).digest != plan(sample=Pairs(3, quorum=2)).digest


def test_a_sample_prints_as_the_expression_that_builds_it() -> None:
    assert repr(Uniform(3)) == "Uniform(size=3)" and repr(Everyone(deadline=9.0)) == "Everyone(deadline=9.0)"
    assert repr(Poisson(0.5, quorum=2)) == "Poisson(quorum=2, rate=0.5)" and repr(InTurn()) == "InTurn()"


def test_a_strangers_sample_is_told() -> None:
    text = str(explain(plan(GaussianNoise(2.0), sample=PAIRS), 6))
    assert "two neighbours in the roster, as Pairs says, which is not hansa's own" in text


@pytest.mark.promise("P84")
@pytest.mark.parametrize(
    "noise", [GaussianNoise(2.0), CorrelatedNoise(2.0, separation=3)], ids=["rounds", "one release"]
)
def test_a_strangers_sample_is_counted_by_what_happened(noise: Any) -> None:
    """Planned is a client in every round; spent are the rounds in which a client was asked."""
    p = plan(noise, sample=PAIRS)
    assert planned_privacy(p, 6).guarantee(DELTA) == planned_privacy(plan(noise), 6).guarantee(DELTA)
    planned = planned_privacy(p, 6).epsilon(DELTA) or 0
    spent = spent_privacy(p, ran(p), 6).epsilon(DELTA) or 0
    twice = spent_privacy(plan(noise), [state for state in ran(p) if "c0" in state.participants], 6).epsilon(DELTA)
    assert 0 < spent < planned and spent == twice
    Policy(epsilon=planned * 1.01, delta=DELTA).check(p, "c0")
    assert len(list(App(p, DATA, budget=Budget(planned, DELTA)).run())) == 4


def test_a_strangers_sample_is_audited() -> None:
    rng = np.random.default_rng(5)
    data = {f"c{i}": (rng.normal(size=(5, 64)), rng.integers(0, 4, 5)) for i in range(6)}
    found = audit(App(Plan(Softmax(64, 4), training=QUIET, sample=PAIRS, rounds=2), data), m=20)
    assert found.inversion is not None and not found.missing
    assert "this plan: the mean of 2 clients that is published" in {one.name for one in found.inversion.views}


@pytest.mark.parametrize("noise", [(), (GaussianNoise(1.0),)], ids=["plain", "noise"])
def test_a_strangers_sample_survives_a_stop_and_workers(noise: Any, tmp_path: Path) -> None:
    p = plan(*noise, sample=PAIRS)
    whole = ran(p)
    again = list(synchronous(p, InProcess(clients(p)), state=whole[1], secret=Key.of(7)))
    with_workers = Processes(clients(p), workers=2)
    try:
        apart = ran(p, with_workers)
    finally:
        with_workers.close()
    for states in (again, apart):
        assert states[-1].x.tobytes() == whole[-1].x.tobytes()
    app = App(p, DATA)
    run = Store(tmp_path).new(repr(p), p.digest, "app.py", {}, 4)
    list(islice(app.run(run), 2))
    run.finish("stopped")
    run = Store(tmp_path).resume(run.id)
    assert [sorted(state.participants)[0] for state in app.run(run)] == ["c4", "c0"]
    run.finish("done")


@pytest.mark.parametrize("pipe", [TIGHT, (*TIGHT, Quantize(12, of="sum"))], ids=["real", "few bits"])
def test_a_strangers_sample_in_other_sums(pipe: Any) -> None:
    sums = [VerifiedSum()] if pipe == TIGHT else []
    for aggregator in (Plan(Softmax(3, 2)).aggregator, *sums):
        assert all(not state.skipped for state in ran(plan(sample=PAIRS, pipe=pipe, aggregator=aggregator, rounds=2)))


@dataclass(frozen=True)
class Odd(Sample):
    """Draws what it is told to."""

    gives: Any = ()
    most: int = 0

    def draw(self, roster: Any, key: Key, round: int = 0) -> Any:
        return self.gives


BAD: dict[str, tuple[Callable[[], Sample], str]] = {
    "nobody": (lambda: Odd([]), "drew nobody"),
    "nothing": (lambda: Odd(None), "drew nobody"),
    "a stranger": (lambda: Odd(["c0", "eve"]), "'eve'"),
    "a number": (lambda: Odd([0]), "No client has that name"),
    "one client twice": (lambda: Odd(["c0", "c1", "c0"]), "twice"),
    "more than it says": (lambda: Odd(["c0", "c1"], 1), "`most` says 1"),
}


@pytest.mark.guards("a stranger's draw names clients, each once")
@pytest.mark.promise("P84")
@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_a_draw_that_is_none_is_refused(case: str) -> None:
    build, words = BAD[case]
    with pytest.raises(PlanError, match=words):
        ran(plan(GaussianNoise(1.0), sample=build()))


def test_a_strangers_sample_is_not_replaced_by_whoever_is_free() -> None:
    p = plan(sample=PAIRS)
    with pytest.raises(PlanError, match="whoever is free"):
        next(buffered(p, InProcess(clients(p)), size=2, busy=2))


@dataclass(frozen=True)
class Unchecked(Pairs):
    """Leaves out what its parent checks."""

    def __post_init__(self) -> None:
        pass


def test_a_strangers_sample_is_checked_by_the_plan() -> None:
    for sample in (Unchecked(quorum=0), Unchecked(deadline=-1.0)):
        with pytest.raises(PlanError, match="cannot sample"):
            plan(sample=sample)
    with pytest.raises(PlanError, match="does not say whom it asks"):
        replace(Everyone(), quorum=1) and Sample()
