"""A model that travels along the graph: whom it visits, that it is what a server would have trained, and stops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.aggregators.passing import Passing
from hansa.errors import PlanError
from hansa.testing.algorithm import federation
from hansa.testing.asserts import equal

KEY = h.Key.of(0)
PARTIES = federation(6)
NAMES = sorted(PARTIES)
CYCLE = h.Given({NAMES[i]: {NAMES[i - 1]: 1.0} for i in range(6)})


def plan(**given: Any) -> h.Plan:
    training = h.Training(batch=8, learning_rate=0.1)
    more = {"aggregator": h.Passing(), "pipe": (h.Weigh("one"),), "rounds": 12, "training": training}
    return h.Plan(h.Softmax(4, 3), **{**more, **given})


def runtime(p: h.Plan, **more: Any) -> h.InProcess:
    return h.InProcess([h.Client(who, p, data, secret=KEY) for who, data in PARTIES.items()], secret=KEY, **more)


@pytest.mark.promise("P618")
def test_a_model_that_is_passed_is_trained_in_turn() -> None:
    """On a directed cycle it visits all, and is what cyclic training with a server gives."""
    p = plan()
    passed = list(h.gossip(p, runtime(p), None, KEY, graph=CYCLE))
    order = [state.participants[0] for state in passed]
    assert all(NAMES.index(b) == (NAMES.index(a) + 1) % 6 for a, b in pairwise(order))
    x = p.start().x
    for state in passed:
        (who,) = state.participants
        assert list(state.memo["said"]) == [who] and state.metrics["apart"] == 0
        data = PARTIES[who]
        alone = plan(aggregator=h.Sum(), rounds=12, sample=h.Everyone())
        here = h.InProcess([h.Client(who, alone, data, secret=KEY)], secret=KEY)
        begun = replace(alone.start(), round=state.round - 1, x=x)
        there = next(h.synchronous(alone, here, begun, KEY))
        assert np.allclose(there.x, state.x, rtol=0, atol=1e-12)
        x = state.x


@pytest.mark.promise("P618")
def test_it_goes_along_links_and_is_lost_nowhere() -> None:
    p = plan(rounds=40)
    mixing = h.Ring().among(NAMES)
    network = h.Network(drop=0.2)
    states = list(h.gossip(p, runtime(p, network=network), None, KEY, graph=h.Ring()))
    at = ""
    for state in states:
        if state.skipped:
            assert at == "" or list(state.memo["said"]) == [at]
            continue
        (who,) = state.participants
        assert not at or who == at or who in mixing.neighbours(at)
        at = who
    assert any(state.skipped for state in states)
    first = runtime(p, network=network)
    begun = list(islice(h.gossip(p, first, None, KEY, graph=h.Ring()), 15))
    again = runtime(p, network=network)
    again.memory.load(first.memory.after(begun[-1].counted))
    rest = list(h.gossip(p, again, begun[-1], KEY, graph=h.Ring()))
    assert all(map(equal, map(vars, states), map(vars, [*begun, *rest])))


@pytest.mark.promise("P618")
def test_in_the_long_run_it_is_with_each_as_often() -> None:
    """Also on a star, whose centre hears five times as many."""
    mixing = h.Star().among(NAMES)
    seen: Counter[str] = Counter()
    has: tuple[str, ...] = ()
    for round in range(6000):
        has = Passing().asked(mixing, has, round, KEY)
        seen[has[0]] += 1
    assert all(abs(seen[who] / 1000 - 1) < 0.4 for who in NAMES)
    text = str(h.App(plan(), PARTIES, loop=h.gossip(graph=CYCLE)).explain())
    assert "One peer trains in a round" in text and "Mixing alone brings peers no nearer" in text


@pytest.mark.promise("P618")
def test_a_quorum_of_more_than_one_is_refused() -> None:
    p = plan(sample=h.Everyone(quorum=2))
    with pytest.raises(PlanError, match=r"wants 2 answers in a round of Passing\(\)") as error:
        h.gossip(p, runtime(p), graph=CYCLE)
    assert "every round would be skipped" in error.value.why and "Everyone()" in error.value.instead
