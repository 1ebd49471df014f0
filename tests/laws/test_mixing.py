"""Mixing alone, without training: what stays, what goes to the mean, and what a lost message does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.papers.quadratic import Quadratic

import hansa as h
from hansa.aggregators.mixing import Averaging, inbox_of
from hansa.errors import PlanError
from hansa.loops.gossip import Heard, post_office

NAMES = [f"peer-{i:02d}" for i in range(16)]
DIRECTED = h.Given({who: [NAMES[i - 1], NAMES[(i * 5 + 3) % 16]] for i, who in enumerate(NAMES)})
VALUES = np.random.default_rng(3).normal(size=(16, 20)) + 5


def mixed(aggregator: Any, graph: Any, rounds: int, lost: float = 0.0, values: Any = VALUES) -> Any:
    """What 16 peers have after so many rounds in which they train nothing; each reply is lost with a probability."""
    plan = h.Plan(Quadratic((0.0,) * values.shape[1]), aggregator=aggregator, pipe=(h.Weigh("one"),), rounds=9)
    office = post_office(plan, graph, NAMES)
    rule = office.rule
    own = "x" if "x" in rule.start(values[0]) else "y"
    mine = {who: {**rule.start(np.zeros_like(v)), own: v} for who, v in zip(NAMES, values, strict=True)}
    said = {} if rule.adds else dict(zip(NAMES, values, strict=True))
    state = replace(plan.start(), memo={"said": said, "held": {}}, round=int(not rule.adds))
    rng = np.random.default_rng(7)
    for _ in range(rounds):
        outboxes: dict[str, Any] = {}
        for who in NAMES:
            if rng.random() < lost:
                continue
            inbox = inbox_of(who, office.inbox(state, who), rule.length(office.size))
            assert inbox is not None
            point, kept = rule.mix(mine[who], inbox)
            message, kept = rule.say(point, kept, inbox)
            mine[who] = kept
            outboxes[who] = {"says": message, "model": rule.model(point, message)}
        heard = Heard(tuple(sorted(outboxes)), outboxes)
        state = replace(state, memo=office.carried(state, heard), round=state.round + 1)
    return np.stack([office.model_of(state, who, mine[who]) for who in NAMES])


def off(models: Any) -> float:
    """How far the worst number of the worst peer is from the mean of all that there was."""
    return float(abs(models - VALUES.mean(0)).max())


def test_averaging_is_the_matrix() -> None:
    w = h.Torus().among(NAMES).matrix()
    assert np.allclose(mixed(h.Sum(), h.Torus(), 3), np.linalg.matrix_power(w, 4) @ VALUES, rtol=0, atol=1e-12)


@pytest.mark.promise("P609")
def test_push_sum_keeps_the_mean_with_a_fifth_of_messages_lost() -> None:
    for graph in (h.Torus(), DIRECTED):
        assert off(mixed(h.PushSum(), graph, 150, lost=0.2)) < 1e-9
    plain = mixed(h.Sum(), h.Torus(), 150, lost=0.2)
    assert abs(plain - plain.mean(0)).max() < 1e-9  # they agree,
    assert off(plain) > 1e-3  # and on another mean


def test_push_sum_goes_to_the_mean_of_a_directed_graph() -> None:
    assert off(mixed(h.PushSum(), DIRECTED, 100)) < 1e-9
    ring = h.Given({who: [NAMES[i - 1]] for i, who in enumerate(NAMES)})
    assert off(mixed(h.PushSum(), ring, 10)) > off(mixed(h.PushSum(), ring, 100)) * 5


@pytest.mark.promise("P610")
@pytest.mark.parametrize(("share", "gamma"), [(1.0, 1.0), (0.5, 0.4), (0.1, 0.1)])
def test_choco_goes_to_the_mean_though_little_is_said(share: float, gamma: float) -> None:
    """What is left out is said later: the distance falls in every hundred rounds, to nothing."""
    rule = h.Choco(share, gamma)
    far = [off(mixed(rule, h.Torus(), rounds)) for rounds in (0, 120, 240)]
    assert far[2] < 1e-2 * far[0] and far[2] < far[1] / 5 + 1e-11
    assert np.allclose(mixed(rule, h.Torus(), 50).mean(0), VALUES.mean(0), rtol=0, atol=1e-12)


def test_choco_that_says_all_in_full_steps_is_averaging() -> None:
    w = h.Ring().among(NAMES).matrix()
    found = mixed(h.Choco(1.0, 1.0), h.Ring(), 4)
    assert np.allclose(found, np.linalg.matrix_power(w, 4) @ VALUES, rtol=0, atol=1e-12)


def test_choco_loses_nothing_where_replies_are_lost() -> None:
    values = off(mixed(h.Choco(0.3, 0.2), h.Torus(), 0))
    assert off(mixed(h.Choco(0.3, 0.2), h.Torus(), 150, lost=0.2)) < values / 2


@pytest.mark.promise("P605")
def test_rules_of_peers_are_refused_where_they_cannot_stand() -> None:
    with pytest.raises(PlanError, match="neighbours change"):
        mixed(h.Choco(), h.OnePeer(), 1)
    with pytest.raises(PlanError, match="mixes nothing"):
        h.Choco(share=0.0)
    plan = h.Plan(h.Softmax(2, 2), aggregator=h.PushSum(), pipe=(h.Weigh("one"),))
    client = h.Client("a", plan, (np.eye(2), np.arange(2)))
    with pytest.raises(PlanError, match="Use `gossip`"):
        list(h.synchronous(plan, h.InProcess([client])))
    tracking = replace(plan, algorithm=h.Scaffold())
    with pytest.raises(PlanError, match="Gradient tracking"):
        post_office(tracking, h.Ring(), NAMES)


def test_silence_leaves_a_peer_its_own() -> None:
    rule = Averaging()
    found = inbox_of("a", {"weights": {"a": 0.5, "b": 0.5}, "said": {}}, 2)
    assert found is not None
    x, mine = rule.mix({"y": np.ones(2)}, found)
    assert np.array_equal(x, np.ones(2)) and mine["y"] is not x
