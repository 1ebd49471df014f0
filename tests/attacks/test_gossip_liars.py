"""Liars among peers: two of twenty break the plain mean, and not the clipped ones; eight break these too.

A liar tells each neighbour what drives the honest apart: along the Fiedler vector of their graph, away from where that
neighbour is (the spectral attack of Gaucher, Dieuleveut, Hendrikx 2025).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.aggregators.mixing import Inbox, rule_of
from hansa.errors import PlanError

NAMES = [f"peer-{i:02d}" for i in range(20)]
GRAPH = h.Regular(10, seed=3)
VALUES = np.random.default_rng(1).normal(size=(20, 30))
WEIGHT = 2 / 11  # of two neighbours
CLIPPED = (h.ClippedGossip(WEIGHT), h.ClippedSum(WEIGHT))
TRIMMED = h.TrimmedGossip(2)
RULES = (*CLIPPED, TRIMMED)


@cache
def fiedler(liars: int) -> Any:
    """The Fiedler vector of the graph of those who are honest, the last ones being liars [honest]."""
    w = GRAPH.among(NAMES).matrix()[: 20 - liars, : 20 - liars]
    laplacian = np.diag(w.sum(1)) - w
    return np.linalg.eigh(laplacian)[1][:, 1]


def mixed(aggregator: Any, liars: int, factor: float = 30.0, rounds: int = 30) -> float:
    """How far the honest are from the mean of what they began with, over how far they were, after so many rounds."""
    rule = rule_of(aggregator)
    mixing = GRAPH.among(NAMES)
    honest = 20 - liars
    u = fiedler(liars) if liars else np.zeros(20)
    x = VALUES[:honest].copy()
    for _ in range(rounds):
        mean = x.mean(0)
        apart = (u[:, None] * (x - mean)).sum(0)  # where they differ most slowly
        push = apart / (np.linalg.norm(apart) + 1e-12)
        new = np.empty_like(x)
        for i in range(honest):
            said = {}
            for who in mixing.neighbours(NAMES[i]):
                j = mixing.place[who]
                lie = x[i] + factor * np.sign(u[i]) * push
                said[who] = x[j] if j < honest else lie
            new[i], _ = rule.mix({"y": x[i]}, Inbox(NAMES[i], mixing.of(NAMES[i], 0), said))
        x = new
    start = VALUES[:honest]
    return float(np.linalg.norm(x - start.mean(0)) / np.linalg.norm(start - start.mean(0)))


@pytest.mark.promise("P613")
@pytest.mark.control("what two liars of twenty do to the plain mean")
def test_two_liars_break_the_plain_mean() -> None:
    assert mixed(h.Sum(), 0) < 1e-3
    assert mixed(h.Sum(), 2, factor=1000.0) > 20


@pytest.mark.promise("P613")
@pytest.mark.guards("what a neighbour says is clipped")
@pytest.mark.parametrize("rule", CLIPPED, ids=repr)
@pytest.mark.parametrize("factor", [0.3, 30.0, 1e6])
def test_two_liars_do_not_break_clipped_gossip(rule: Any, factor: float) -> None:
    assert mixed(rule, 2, factor) < 0.7


@pytest.mark.promise("P617")
@pytest.mark.guards("what lies furthest is dropped")
@pytest.mark.parametrize("factor", [0.3, 30.0, 1e6])
def test_two_liars_do_not_break_trimmed_gossip(factor: float) -> None:
    """Nor does any number of what a peer mixes leave what it and its honest neighbours have."""
    assert mixed(TRIMMED, 2, factor) < 0.3
    rng = np.random.default_rng(int(factor))
    honest = rng.normal(size=(9, 30))  # a peer, and eight of its ten neighbours
    said = {str(i): v for i, v in enumerate((*honest[1:], *(factor * rng.normal(size=(2, 30)))))}
    x, _ = TRIMMED.mix({"y": honest[0]}, Inbox("me", dict.fromkeys(said, 1 / 11), said))
    assert (x >= honest.min(0)).all() and (x <= honest.max(0)).all()


@pytest.mark.promise("P617")
@pytest.mark.control("what is told and refused of trimming")
def test_trimming_says_on_this_graph_how_many_may_lie() -> None:
    plan = h.Plan(h.Softmax(4, 3), aggregator=TRIMMED, pipe=(h.Weigh("one"),))
    data = {who: (np.ones((4, 4)), np.arange(4) % 3) for who in NAMES}
    text = str(h.App(plan, data, loop=h.gossip(graph=GRAPH)).explain())
    assert "Of each peer's neighbours, 10 at least in each round, 2 may lie" in text
    with pytest.raises(PlanError, match="hears 4 others in some round"):
        h.App(plan, data, loop=h.gossip(graph=h.Torus()))
    for liars in (0, 1.5, "x"):
        with pytest.raises(PlanError, match="withstands nobody"):
            h.TrimmedGossip(liars)
    few = {"a": np.full(3, 9.0), "b": np.full(3, 8.0)}  # the others were not heard
    x, _ = TRIMMED.mix({"y": np.zeros(3)}, Inbox("me", dict.fromkeys(few, 0.1), few))
    assert np.array_equal(x, np.zeros(3))


@pytest.mark.promise("P613")
@pytest.mark.control("where the rules end")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_more_liars_than_stated_break_it(rule: Any) -> None:
    assert mixed(rule, 8, rounds=60) > 1.0


@pytest.mark.control("without liars")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_without_liars_the_honest_come_together(rule: Any) -> None:
    assert mixed(rule, 0, rounds=60) < 0.3


class Lying(h.InProcess):
    """A network in which two peers say the opposite of their models, and loudly."""

    def receive(self) -> Any:
        reply = super().receive()
        if reply.body is not None and reply.who[0] in NAMES[-2:]:
            reply.body["says"] *= -20.0
        return reply


@pytest.mark.promise("P613")
@pytest.mark.control("what liars do to what the others have learnt")
def test_peers_learn_among_liars() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 3))
    x = rng.normal(size=(20, 40, 6))
    parties = {who: (x[i], (x[i] @ w).argmax(1)) for i, who in enumerate(NAMES)}
    test = rng.normal(size=(500, 6))
    truth = (test, (test @ w).argmax(1))
    found = {}
    for rule in (h.Sum(), *RULES):
        training = h.Training(batch=20, learning_rate=0.5, report=False)
        plan = h.Plan(h.Softmax(6, 3), aggregator=rule, pipe=(h.Weigh("one"),), training=training, rounds=12)
        clients = [h.Client(who, plan, data) for who, data in parties.items()]
        *_, state = h.gossip(plan, Lying(clients), graph=GRAPH)
        said = state.memo["said"]
        found[rule] = np.mean([plan.model.score(said[who], truth)["accuracy"] for who in NAMES[:-2]])
    assert min(found[rule] for rule in RULES) > 0.8 > found[h.Sum()] + 0.1, found


@pytest.mark.promise("P613")
@pytest.mark.control("what is told and refused")
def test_a_rule_says_on_this_graph_how_many_may_lie() -> None:
    plan = h.Plan(h.Softmax(4, 3), aggregator=h.ClippedSum(0.2), pipe=(h.Weigh("one"),))
    data = {who: (np.ones((4, 4)), np.arange(4) % 3) for who in NAMES}
    app = h.App(plan, data, loop=h.gossip(graph=GRAPH))
    assert "Of each peer's neighbours 2 may lie, whose weights add up to 0.2" in str(app.explain())
    with pytest.raises(PlanError, match="not one may lie"):
        h.App(plan, data, loop=h.gossip(graph=h.Ring()))
    for weight in (0.0, 0.5, "x"):
        with pytest.raises(PlanError, match="withstands nobody"):
            h.ClippedGossip(weight)
