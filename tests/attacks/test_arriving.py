"""Servers that choose who is added with whom: what they may say of a cell, and what a client refuses.

Who is in a cell the server alone chooses; what it says of that each client checks where it was there, and all of them
together where it was not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_arriving import PLAN, Crowd, first_of, model, second_of

import hansa as h
from hansa.aggregators.arrivals import Arrivals
from hansa.aggregators.hidden.record import entry_of
from hansa.aggregators.hidden.terms import View, as_set
from hansa.errors import ProtocolError, StoreError
from hansa.messages import Request, SessionId
from hansa.plan.server import broadcast
from hansa.record import Record
from hansa.testing.algorithm import MODEL, federation

VICTIM = "client-00"


def refusal(crowd: Crowd, who: str = VICTIM) -> str:
    """Why a client has refused."""
    error = crowd.talks[who].error
    assert isinstance(error, ProtocolError), error
    return error.found


# ── what one client was asked ──

LIES: dict[str, dict[str, Any]] = {
    "another round": {"asked": {VICTIM: (0, 0, 2)}},
    "another session": {"asked": {VICTIM: (0, 77, 1)}},
    "another model": {"models": {1: model(9)}},
    "another run": {"run": "another"},
    "another plan": {"plan": "another"},
    "another name": {"names": ("another-name", "client-01", "client-02", "client-03", "client-04")},
}


@pytest.mark.promise("P581")
@pytest.mark.guards("a client is in no cell that says it was asked something else")
@pytest.mark.parametrize("lie", LIES)
def test_a_client_refuses_what_it_was_not_asked(lie: str) -> None:
    """A server that says a client's model is older or newer than it is would have that signed."""
    crowd = Crowd(rounds={VICTIM: 1})
    told = crowd.arrivals(**LIES[lie]).body()
    assert first_of(crowd, {VICTIM: told})[VICTIM] is None
    assert "was asked otherwise than all are told" in refusal(crowd)


@pytest.mark.promise("P581")
@pytest.mark.guards("how stale an update is its client knows by itself")
def test_a_client_slows_its_update_by_what_it_knows() -> None:
    rounds = {f"client-{i:02d}": i for i in range(4)}
    crowd = Crowd(rounds=rounds)
    total, _, _ = crowd.served()
    assert total is not None and np.array_equal(total, crowd.sum(crowd.names))
    assert crowd.slowed == {"client-00": 3, "client-01": 2, "client-02": 1, "client-03": 0, "client-04": 3}


# ── what all of a cell are told ──

VIEWS: dict[str, Any] = {
    "another τ of a third": lambda crowd: crowd.arrivals(asked={"client-04": (0, 4, 2)}),
    "another session of a third": lambda crowd: crowd.arrivals(asked={"client-04": (0, 44, 0)}),
    "another model of a third": lambda crowd: crowd.arrivals(asked={"client-04": (0, 4, 2)}, models={2: model(8)}),
    "another round of the cell": lambda crowd: crowd.arrivals(round=8),
}


@pytest.mark.promise("P581")
@pytest.mark.guards("all of a cell are told the same of each other")
@pytest.mark.parametrize("view", VIEWS)
def test_two_views_of_a_cell_have_no_sum(view: str) -> None:
    """A server that tells some another τ of a third, or slows some by the round of the cell, opens nothing: those who
    are told otherwise hold no shares of the others."""
    crowd = Crowd(rounds={"client-04": 2} if "model" in view else {})
    other = VIEWS[view](crowd).body()
    first = first_of(crowd, {"client-01": other, "client-02": other})
    assert all(first.values())
    second = second_of(crowd, first)
    held = {who: set(np.flatnonzero(one["holds"])) if one else set() for who, one in second.items()}
    assert not held["client-00"] & {1, 2} and not held["client-01"] & {0, 3, 4}


@pytest.mark.promise("P581")
@pytest.mark.guards("a round has one model in a cell")
def test_a_round_with_two_models_has_no_cell() -> None:
    """Two clients of one round, whom a server has given two models: one of them refuses what is said, or they are told
    otherwise, and hold nothing of each other."""
    crowd = Crowd(models={VICTIM: model(7)})
    assert first_of(crowd)[VICTIM] is None and "was asked otherwise" in refusal(crowd)
    theirs = crowd.arrivals(models={0: model(7)}).body()
    first = first_of(crowd, {VICTIM: theirs})
    assert all(first.values())
    second = second_of(crowd, first)
    assert second[VICTIM] is None and "1 of 5 clients have said to" in refusal(crowd)
    assert all(not second[who]["holds"][0] for who in crowd.names[1:])


@pytest.mark.promise("P582")
@pytest.mark.guards("what is sealed for a cell opens in no other")
def test_a_cell_takes_nothing_from_another() -> None:
    """The same five in two cells: what a client has said to the first, whose key is opened there, is no part of the
    second."""
    one = Crowd()
    before = first_of(one)
    two = Crowd(first=50, round=4, rounds=dict.fromkeys(one.names, 3))
    first = {**first_of(two), VICTIM: before[VICTIM]}
    second = second_of(two, first)
    assert second[VICTIM] is None  # its own value is another
    assert all(second[who] and not second[who]["holds"][0] for who in two.names[1:])


# ── who is in a cell ──


@pytest.mark.promise("P582")
@pytest.mark.guards("a cell is as large as the plan says")
def test_a_smaller_cell_is_refused() -> None:
    """Of fewer, fewer honest ones hide each other."""
    crowd = Crowd()
    few = crowd.arrivals(names=crowd.names[:4]).body()
    assert first_of(crowd, {VICTIM: few})[VICTIM] is None
    assert "it has 4 clients, and the plan says 5" in refusal(crowd)


@pytest.mark.promise("P582")
@pytest.mark.guards("a cohort has each client once")
def test_nobody_is_twice_in_a_cell() -> None:
    crowd = Crowd()
    twice = crowd.arrivals(names=["client-00", "client-01", "client-01", "client-02", "client-03"]).body()
    assert first_of(crowd, {VICTIM: twice})[VICTIM] is None
    assert "names somebody twice" in refusal(crowd)


@pytest.mark.promise("P583")
@pytest.mark.guards("no model of a cell is older than the plan says")
@pytest.mark.parametrize("who", [VICTIM, "client-04"])
def test_a_cell_of_old_models_is_refused(who: str) -> None:
    """A server that holds all but one back, until s(τ) of theirs is nearly nothing, would see the update of that one:
    the fresh client refuses, and so does each that is stale."""
    crowd = Crowd(rounds={VICTIM: 60}, round=60)
    assert first_of(crowd)[who] is None
    assert "a model is 60 rounds old, and 10 may be" in refusal(crowd, who)
    assert all(first_of(Crowd(rounds={VICTIM: 60}, round=60, stale=60)).values())


@pytest.mark.promise("P583")
@pytest.mark.guards("a cell is for a round of the plan")
def test_a_cell_for_no_round_of_the_plan_is_refused() -> None:
    crowd = Crowd(rounds=dict.fromkeys(Crowd().names, 99), round=100)
    assert first_of(crowd)[VICTIM] is None
    assert "the plan has 100 rounds" in refusal(crowd)


@pytest.mark.promise("P583")
@pytest.mark.guards("a cell comes after its models")
def test_a_cell_before_its_models_is_refused() -> None:
    crowd = Crowd(rounds={"client-04": 4}, round=3)
    assert first_of(crowd)[VICTIM] is None
    assert "asked in a round after its own" in refusal(crowd)


@pytest.mark.promise("P584")
@pytest.mark.guards("as many as the plan says have trained one model")
def test_who_alone_has_its_model_refuses() -> None:
    """A server that stalls a client until all others of its round are through, and has given those of the next round a
    model from which nothing is learnt, would see its update as the sum."""
    rounds = dict.fromkeys(["client-01", "client-02", "client-03", "client-04"], 1)
    crowd = Crowd(rounds=rounds, alike=2)
    assert first_of(crowd)[VICTIM] is None
    assert "1 of it have the model of client-00, and 2 must" in refusal(crowd)
    crowd = Crowd(rounds=dict.fromkeys(["client-02", "client-03", "client-04"], 1), alike=2)
    assert all(first_of(crowd).values())


@pytest.mark.control("how much a server learns that makes up models, where the plan asks for no others beside one")
def test_a_server_that_makes_up_models_isolates_who_alone_has_its_own() -> None:
    """What `alike` is for: with alike=1 the sum is the vector of the one."""
    rounds = dict.fromkeys(["client-01", "client-02", "client-03", "client-04"], 1)
    crowd = Crowd(rounds=rounds)
    for who in rounds:
        crowd.vectors[who][:] = 0  # of a net whose units are dead
    total, _, _ = crowd.served()
    assert total is not None and np.array_equal(total, crowd.vectors[VICTIM])


@pytest.mark.promise("P582")
@pytest.mark.guards("a cell opens no fewer than the plan says")
def test_a_cell_of_which_too_few_are_left_is_not_opened() -> None:
    """Three of five, of whom four must be in the sum; a client says so itself where the server does not."""
    crowd = Crowd()
    total, cell, _ = crowd.served(gone={"client-03": 2, "client-04": 1})
    assert total is None and cell.failure
    second = second_of(crowd, first_of(crowd))
    assert all(second.values())
    inside = as_set(np.array([1, 1, 1, 0, 0], bool))
    assert crowd.talks[VICTIM].hear({"inside": inside}) is None
    assert "was asked to open a sum of 3 clients" in refusal(crowd)


@pytest.mark.promise("P581")
@pytest.mark.guards("what is signed of a set holds how old each model is")
def test_a_signature_on_a_set_is_of_one_cell() -> None:
    """What members sign of who is in says, too, in which round each was asked: it is none of another τ."""
    one = Crowd()
    view = View(np.ones(5, bool), np.zeros((5, 64), np.uint8))
    signed = one.terms().agreed(view, np.ones(5, bool))
    for other in (Crowd(rounds={VICTIM: 1}), Crowd(round=4), Crowd(first=1)):
        assert other.terms().agreed(view, np.ones(5, bool)) != signed


# ── the record ──


def line(crowd: Crowd, **told: Any) -> dict[str, Any]:
    """What is kept of a cell whose clients sign all that they are asked, as often as they are asked."""
    arrivals = crowd.arrivals(**told)
    crowd.task = arrivals.task
    total, cell, _ = crowd.served(arrivals.body())
    assert total is not None
    models = [f"{crowd.round}", f"{crowd.round + 1}"]
    at = {"round": crowd.round + 1, "session": ["run", 0, 0], "broadcast": "", "before": models[0], "after": models[1]}
    return {**at, "cells": [entry_of(cell, total)], "arrivals": arrivals.entry()}


def record(path: Path, *lines: dict[str, Any]) -> Record:
    """One of these lines."""
    found = Record(path)
    found.begin(PLAN)
    for one in lines:
        found.add(one)
    return found


@pytest.mark.promise("P586")
@pytest.mark.guards("a record has an update in one cell")
def test_a_record_with_an_update_in_two_cells_does_not_hold(tmp_path: Path) -> None:
    first = line(Crowd(round=0))
    assert record(tmp_path / "right", first, line(Crowd(round=1, first=50))).verify(plan=PLAN)
    with pytest.raises(StoreError, match="in the cells of two rounds with one update"):
        record(tmp_path / "wrong", first, line(Crowd(round=1))).verify(plan=PLAN)


@pytest.mark.promise("P586")
@pytest.mark.guards("a record has one model of each round")
def test_a_record_with_two_models_of_a_round_does_not_hold(tmp_path: Path) -> None:
    first = line(Crowd(round=0))
    names = Crowd().names
    other = Crowd(round=1, first=50, models=dict.fromkeys(names, model(7)))
    with pytest.raises(StoreError, match="round 0 has broadcast two models"):
        record(tmp_path / "wrong", first, line(other, models={0: model(7)})).verify(plan=PLAN)


@pytest.mark.promise("P586")
@pytest.mark.guards("a line of a record is of the cell that it names")
def test_a_line_is_of_the_cell_that_it_names(tmp_path: Path) -> None:
    """Put at the place of another round, it would hide that its models were older."""
    late = {**line(Crowd(round=1)), "round": 1}
    with pytest.raises(StoreError, match="not that of those who are said to be ready"):
        record(tmp_path / "wrong", late).verify(plan=PLAN)


# ── once ──

PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20))


class Asking:
    """A server that asks real clients, with their books, whatever it likes."""

    def __init__(self) -> None:
        pieces: dict[str, Any] = {"training": h.Training(batch=0), "sample": h.Everyone(quorum=4), "rounds": 9}
        self.plan = h.Plan(MODEL, pipe=PIPE, aggregator=h.Arriving(h.MaskedSum(), size=5), **pieces)
        data = federation(6)
        self.names = sorted(data)
        self.runtime = h.InProcess([h.Client(who, self.plan, one) for who, one in data.items()])

    def ask(self, who: str, number: int, turn: int = 0, body: Any = None, round: int = 0) -> Any:
        """What a client answers in a session of its own."""
        told = broadcast(self.plan, self.plan.start()) if turn == 0 else None
        session = SessionId("run", 0, number)
        self.runtime.send(Request(self.plan.digest, round, session, told, {who: body}, turn=turn))
        return self.runtime.receive().body

    def cell(self, names: list[str], round: int) -> Any:
        """What all of a cell are told, of whom each was asked in the session of its number."""
        told = Request("", 0, SessionId(), broadcast(self.plan, self.plan.start()), {})
        found = h.codec.fingerprint(told.broadcast)
        asked = tuple((0, self.names.index(who), 0) for who in names)
        return Arrivals(self.plan.digest, "run", round, tuple(names), asked, {0: found}).body()


@pytest.mark.promise("P582")
@pytest.mark.guards("an update is in one cell")
def test_an_update_is_in_one_cell() -> None:
    """A server that puts one update into two cells would have the others of both as the difference; it is asked twice
    in one session, before and after its vector."""
    server = Asking()
    assert all(server.ask(who, i) == "ready" for i, who in enumerate(server.names))
    victim = server.names[0]
    assert server.ask(victim, 0, 1, server.cell(server.names[:5], 1)) is not None
    with pytest.warns(match="was asked one thing in session 0, and now another"):
        assert server.ask(victim, 0, 1, server.cell([victim, *server.names[2:]], 1)) is None
    with pytest.warns(match="was told something else than who has prepared"):
        assert server.ask(victim, 0, 2, server.cell([victim, *server.names[2:]], 1)) is None


@pytest.mark.promise("P582")
@pytest.mark.guards("a client trains one model once, however many sessions it is asked in")
def test_a_model_is_trained_once() -> None:
    """Else a server would ask again in another session, and have the same update in two cells."""
    server = Asking()
    victim = server.names[0]
    assert server.ask(victim, 0) == "ready"
    with pytest.warns(match="was asked in round 0, and has answered in round 0"):
        assert server.ask(victim, 9) is None
    assert server.ask(victim, 10, round=1) == "ready"
