"""Attacks on hidden sums within neighbourhoods: by who carries the messages, and by who is in the middle of one."""

from __future__ import annotations

import secrets
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_hidden import sealed

import hansa as h
from hansa.aggregators.hidden.cell import LACKING, Cell
from hansa.aggregators.hidden.client import Me
from hansa.aggregators.hidden.terms import shares_of
from hansa.audit import audit
from hansa.errors import LeftOut, PlanError, ProtocolError
from hansa.loops.neighbourhoods import GONE
from hansa.messages import Request, SessionId
from hansa.parties import Said
from hansa.plan import peers
from hansa.plan.layout import reported
from hansa.testing.algorithm import federation

KEY = h.Key.of(0)
CUBE = h.Hypercube()
PARTIES = federation(8)
RULE = h.Neighbourhoods(h.MaskedSum(), graph=CUBE, reach=50.0)
TRAINING = h.Training(batch=8, learning_rate=0.1)
PLAN = h.Plan(h.Softmax(4, 3), aggregator=RULE, pipe=(h.Weigh("one"),), training=TRAINING, rounds=2)


def parts(body: Any) -> list[Any]:
    """All arrays in a message."""
    if isinstance(body, dict):
        return [one for value in body.values() for one in parts(value)]
    return [body] if isinstance(body, np.ndarray) else []


class Overheard(h.InProcess):
    """A network in which somebody writes down what is said, and loses what some say of some neighbourhood."""

    def __init__(self, lost: Any = (), plan: h.Plan = PLAN):
        super().__init__([h.Client(who, plan, data, secret=KEY) for who, data in PARTIES.items()], secret=KEY)
        self.lost = lost  # (who, in whose neighbourhood, turn)
        self.said: list[Any] = []

    def receive(self) -> Any:
        reply = super().receive()
        self.said.append(reply)
        for who, centre, turn in self.lost:
            if reply.who == (who,) and reply.turn == turn and reply.session.number == 0:
                reply.body.pop(centre, None)
        return reply


@pytest.mark.promise("P615")
@pytest.mark.guards("who hides among neighbours says its model to none")
def test_whoever_carries_messages_sees_random_numbers() -> None:
    runtime = Overheard()
    _ = list(h.gossip(PLAN, runtime, None, KEY, graph=CUBE))
    assert not any(one.dtype.kind == "f" for reply in runtime.said for one in parts(reply.body))
    for reply in runtime.said:
        if reply.turn == 1:  # one model in four sums, in the same shares
            vectors = np.stack([one["vector"] for one in reply.body.values()])
            assert len(vectors) == 4 and not (vectors[0] == vectors[1]).any()


@pytest.mark.promise("P615")
@pytest.mark.guards("each neighbourhood has a binding of its own")
def test_what_is_said_in_one_neighbourhood_is_not_taken_in_another() -> None:
    """On a complete graph all neighbourhoods have the same members: their messages could be exchanged."""
    graph = h.Complete()
    rule = h.Neighbourhoods(h.MaskedSum(), graph=graph, reach=50.0)
    runtime = Overheard(
        plan=h.Plan(h.Softmax(4, 3), aggregator=rule, pipe=(h.Weigh("one"),), training=TRAINING, rounds=1)
    )
    sums: list[Any] = []
    cells = h.Neighbourhoods.cells

    def seen(self: Any, *given: Any) -> Any:
        found = cells(self, *given)
        if len(given) == 2:
            sums.append(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h.Neighbourhoods, "cells", seen)
        _ = list(h.gossip(runtime.clients.plan, runtime, None, KEY, graph=graph))
    who, first, second = sorted(PARTIES)[:3]
    (body,) = (reply.body for reply in runtime.said if reply.who == (who,) and reply.turn == 0)
    assert Cell.of(sums[0][first]).hear_prepared(who, body[first]) == ""
    assert Cell.of(sums[0][second]).hear_prepared(who, body[first])


@pytest.mark.promise("P615")
@pytest.mark.guards("a sum of neighbours is over four")
def test_a_centre_does_not_learn_the_sum_of_two_others() -> None:
    """Of a neighbourhood of four one says no vector: its centre, which knows its own, would have the sum of two."""
    me, *_ = sorted(PARTIES)
    others = CUBE.among(sorted(PARTIES)).neighbours(me)
    runtime = Overheard([(others[0], me, 1)])
    state = next(h.gossip(PLAN, runtime, None, KEY, graph=CUBE))
    assert me not in state.memo["held"] and others[0] in state.memo["held"]
    assert set(state.participants) == set(PARTIES)  # in the sums of the others


LIGHT = (0.2, 0.2, 0.2, 1e-3, 1e-3)


def circle(*shares: float) -> h.Given:
    """Each of eight takes these shares of the next ones."""
    names = sorted(PARTIES)
    rows = {who: {names[(i + k) % 8]: share for k, share in enumerate(shares, 1)} for i, who in enumerate(names)}
    return h.Given(rows)


def on(graph: Any) -> h.Plan:
    rule = h.Neighbourhoods(h.MaskedSum(), graph=graph, reach=50.0)
    return h.Plan(h.Softmax(4, 3), aggregator=rule, pipe=(h.Weigh("one"),), training=TRAINING, rounds=1)


@pytest.mark.promise("P616")
@pytest.mark.guards("who weighs next to nothing hides nobody")
@pytest.mark.parametrize("shares", [(1.0, 0.0, 0.0, 0.0), (0.4, 1e-12, 1e-12, 1e-12), (0.2, 0.2, 0.005, 0.005)])
def test_weights_that_give_a_model_away_are_refused(shares: tuple[float, ...]) -> None:
    """Five are in each neighbourhood, and its centre would learn the model of one, or the sum of two."""
    graph = circle(*shares)
    refused = None
    try:
        h.gossip(on(graph), Overheard(plan=on(graph)), graph=graph)
    except PlanError as error:
        refused = error
    assert refused is not None and "half the largest" in refused.found and "Regular(4)" in refused.instead


@pytest.mark.promise("P616")
@pytest.mark.guards("who weighs next to nothing hides nobody")
def test_a_peer_says_nothing_where_its_model_would_be_given_away() -> None:
    """Though whoever runs the loop has not looked at the weights."""
    plan = on(circle(1.0, 0.0, 0.0, 0.0))
    me = min(PARTIES)
    client = Overheard(plan=plan).clients[me]
    refused = None
    try:
        client.answer(Request(plan.digest, 0, SessionId("run"), None, {me: {"weights": {me: 1.0}, "said": {}}}))
    except ProtocolError as error:
        refused = error
    assert refused is not None and "a sum is over 7 at least" in refused.why


@pytest.mark.promise("P615")
@pytest.mark.guards("who weighs next to nothing hides nobody")
def test_light_neighbours_do_not_make_up_a_sum() -> None:
    """Three of five others weigh something: where one of these is lost, the centre has no sum of two and the light."""
    plan = on(circle(*LIGHT))
    me, heavy, *_ = sorted(PARTIES)
    runtime = Overheard([(heavy, me, 1)], plan)
    state = next(h.gossip(plan, runtime, None, KEY, graph=circle(*LIGHT)))
    assert me not in state.memo["held"] and heavy in state.memo["held"]


@pytest.mark.promise("P615")
@pytest.mark.guards("NaN is in no hidden sum of neighbours")
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_who_has_diverged_is_in_no_sum(number: float) -> None:
    """As an integer NaN would count as 0, and infinity as a bound that nobody has come to."""
    me, *_ = sorted(PARTIES)
    runtime = Overheard()
    learnt = h.Neighbourhoods.say

    def diverged(self: Any, v: Any, mine: Any, inbox: Any) -> Any:
        return learnt(self, np.full_like(v, number) if inbox.me == me else v, mine, inbox)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h.Neighbourhoods, "say", diverged)
        state = next(h.gossip(PLAN, runtime, None, KEY, graph=CUBE))
    assert me in state.excluded and me not in state.participants


class Wrong(h.Client):
    """To all whom it hides among it deals shares of another secret than it has said, well sealed."""

    def answer(self, request: Any, given: Any = None) -> Said:
        said = super().answer(request, given)
        if request.turn:
            return said
        at = self._at(request, self.secret)
        size = peers.size(PLAN) + len(reported(PLAN))
        for centre, terms in RULE.cells(at.session, size, self.who).items():
            me = Me(terms, at)
            mine = said.reply[centre]
            boxes = sealed(me, mine["public"], shares_of(terms, secrets.token_bytes(64)))
            mine["boxes"][:] = boxes
            mine["signature"] = me.signed(mine["public"], boxes)
        return said


@pytest.mark.promise("P615")
@pytest.mark.guards("who keeps a neighbourhood without a sum is named")
def test_who_deals_shares_of_another_secret_is_named() -> None:
    evil, *_ = sorted(PARTIES)
    clients = [(Wrong if who == evil else h.Client)(who, PLAN, data, secret=KEY) for who, data in PARTIES.items()]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        state = next(h.gossip(PLAN, h.InProcess(clients, secret=KEY), None, KEY, graph=CUBE))
    assert state.excluded.get(evil) == LACKING
    words = [str(one.message) for one in told]
    for centre in (evil, *CUBE.among(sorted(PARTIES)).neighbours(evil)):
        assert any(one.startswith(f"{centre}: The shares of {evil} do not open") for one in words)
        assert centre not in state.memo["held"]


class Empty(Overheard):
    """One says in its own neighbourhood that it holds nobody's shares."""

    def receive(self) -> Any:
        reply = super().receive()
        me = min(PARTIES)
        if reply.who == (me,) and reply.turn == 1:
            own = {**reply.body[me], "holds": np.zeros_like(reply.body[me]["holds"])}
            return replace(reply, body={**reply.body, me: own})
        return reply


@pytest.mark.control("what is said of a round that no sum came of")
def test_the_cause_is_named_why_there_is_no_sum() -> None:
    """A centre that cannot help is not gone, for the others open its sum; and all answered where none is opened."""
    state = next(h.gossip(PLAN, Empty(), None, KEY, graph=CUBE))
    assert state.memo["held"].keys() == PARTIES.keys()
    runtime = Overheard([(who, who, 1) for who in PARTIES])
    with pytest.warns(LeftOut, match=GONE):
        state = next(h.gossip(PLAN, runtime, None, KEY, graph=CUBE))
    assert state.skipped == "no neighbourhood's sum could be opened"


class Helping(Overheard):
    """One helps with other shares than it holds."""

    def receive(self) -> Any:
        reply = super().receive()
        if reply.who == (min(PARTIES),) and reply.turn == 3:
            return replace(reply, body={centre: one ^ np.uint64(1) for centre, one in reply.body.items()})
        return reply


@pytest.mark.promise("P615")
@pytest.mark.guards("who keeps a neighbourhood without a sum is named")
def test_whose_help_is_a_lie_is_named() -> None:
    """Of eight, six of whom open a sum, one lie can be told from the others."""
    plan = on(h.Complete())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        state = next(h.gossip(plan, Helping(plan=plan), None, KEY, graph=h.Complete()))
    assert state.memo["held"].keys() == PARTIES.keys()
    words = [str(one.message) for one in told]
    for centre in PARTIES:
        assert f"{centre}: the help of {min(PARTIES)} lies beside that of the others." in words


@pytest.mark.promise("P616")
@pytest.mark.control("who says whose sums a peer is in")
def test_who_carries_messages_makes_up_no_neighbourhood() -> None:
    """A peer has a message for each neighbourhood of its plan's graph, and refuses to go on in any other."""
    runtime = Overheard()
    _ = next(h.gossip(PLAN, runtime, None, KEY, graph=CUBE))
    me, *_, far = sorted(PARTIES)
    mixing = CUBE.among(sorted(PARTIES))
    (reply,) = (one for one in runtime.said if one.who == (me,) and one.turn == 0)
    assert reply.body.keys() == {me, *mixing.neighbours(me)} and far not in reply.body
    client = runtime.clients[me]
    ask = Request(PLAN.digest, 1, SessionId("run", 0, 5), None, {me: {"weights": {me: 0.25}, "said": {}}})
    _ = client.answer(ask)
    with pytest.raises(ProtocolError, match="not in"):
        client.answer(replace(ask, turn=1, bodies={me: {far: {}}}))


@pytest.mark.promise("P616")
@pytest.mark.control("what sums over rounds leave open")
def test_an_audit_solves_sums_of_many_rounds() -> None:
    """On a torus of sixteen a peer solves for one other's first value, two peers for more; of one round for none."""
    data = {f"peer-{i:02d}": data for i, data in enumerate(federation(16).values())}
    found = {}
    for rounds in (1, 12):
        rule = h.Neighbourhoods(h.MaskedSum(), graph=h.Torus(), reach=50.0)
        plan = h.Plan(h.Softmax(4, 3), aggregator=rule, pipe=(h.Weigh("one"),), training=TRAINING, rounds=rounds)
        report = audit(h.App(plan, data, loop=h.gossip(graph=h.Torus())), ["linear"])
        assert report.linear is not None and report.linear.hidden
        found[rounds] = report.linear.found
        assert "a peer hears sums of neighbours alone" in str(report)
    assert [one.summed for one in found[1]] == [0, 0]
    assert [one.trained for one in found[12]] == [0, 0]
    assert found[12][0].summed == 1 < found[12][1].summed
