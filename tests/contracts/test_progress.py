"""What is shown of a run: what is done right now, to whoever looks on and nobody else; scores that are defined."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import hansa as h
from hansa.progress import Watch, tell, watching
from hansa.rounds import Round
from hansa.ui import curves, figure, scores, waiting
from hansa.ui.terminal import Progress

RNG = np.random.default_rng(0)
SIZES = {"north": 10, "south": 25, "west": 5}
DATA = {who: (RNG.normal(size=(n, 3)), RNG.integers(0, 2, n)) for who, n in SIZES.items()}


def told(plan: h.Plan, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is told in a run, in order."""
    found = list[str]()
    of = Watch.tell

    def heard(self: Watch, *given: Any) -> None:
        of(self, *given)
        found.append(str(self))

    monkeypatch.setattr(Watch, "tell", heard)
    with watching():
        list(h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in DATA.items()])))
    return found


@pytest.mark.parametrize("aggregator", [h.Sum(), h.Median()], ids=["a sum", "one by one"])
def test_clients_and_their_steps_are_counted(aggregator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 examples in batches of 10, twice, are 6 steps; the second of three clients trains when one is done."""
    training = h.Training(batch=10, epochs=2)
    pipe = (h.Weigh("one"),)
    plan = h.Plan(h.Softmax(3, 2), pipe=pipe, aggregator=aggregator, training=training, rounds=1)
    found = told(plan, monkeypatch)
    assert "0 of 3 clients, north: step 2 of 2" in found
    assert "1 of 3 clients, south: step 6 of 6" in found


def test_a_number_of_steps_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = h.Plan(h.Softmax(3, 2), training=h.Training(batch=10, steps=4), rounds=1)
    assert "1 of 3 clients, south: step 4 of 4" in told(plan, monkeypatch)


def test_without_anybody_who_looks_on_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "tell", None)
    tell("client", "north")
    plan = h.Plan(h.Softmax(3, 2), rounds=1)
    list(h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in DATA.items()])))


def test_what_was_within_is_over_when_something_else_begins() -> None:
    with watching() as watch:
        tell("stage", "comparing", 1, 3)
        tell("clients", done=2, total=4)
        tell("client", "north")
        tell("step", done=7)
        assert str(watch) == "comparing 1 of 3, 2 of 4 clients, north: step 7"
        tell("client", "south")
        assert str(watch) == "comparing 1 of 3, 2 of 4 clients, south"
        tell("stage", "fetching x")
        assert str(watch) == "fetching x"


def waited(seconds: float, monkeypatch: pytest.MonkeyPatch, hidden: bool = False) -> str:
    """What a log holds of a round that takes so long."""
    monkeypatch.setattr(waiting, "PAUSE", 0.05)
    log = io.StringIO()
    with Progress(Console(file=log, width=100), 3, ["north"], hidden=hidden):
        tell("client", "no\x1brth")
        tell("step", done=3, total=9)
        time.sleep(seconds)
    return log.getvalue()


def test_a_log_hears_of_a_long_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in each pause, in which a client's name commands no terminal."""
    log = waited(0.5, monkeypatch)
    assert "round 1/3 is under way: no\\x1brth: step 3 of 9" in log and log.count("\n") > 1


def test_where_it_is_a_secret_who_takes_part_no_name_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    log = waited(0.3, monkeypatch, hidden=True)
    assert "round 1/3 is under way" in log and "rth" not in log and "step" not in log


def test_a_share_that_is_defined_is_shown_beside_its_score_and_has_no_curve() -> None:
    told = {"val_auc": 0.5, "val_auc_defined": 0.75, "val_defined": 0.99}
    assert scores(told) == {"auc": 0.5, "auc_defined": 0.75, "scored": 0.99}
    assert [figure(name, value) for name, value in scores(told).items()] == ["0.500", "75.0 %", "99.0 %"]
    assert list(curves([Round(1, metrics=told)])) == ["auc"]
