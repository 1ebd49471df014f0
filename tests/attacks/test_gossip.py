"""Attacks on gossip: what curious peers solve for, and what a client says that is asked as a peer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.audit import audit
from hansa.audit.linear import knowledge, opened
from hansa.audit.noised import noised
from hansa.errors import AppError, ProtocolError
from hansa.graphs import Graph
from hansa.messages import Request, SessionId
from hansa.privacy import planned_privacy
from hansa.testing.algorithm import federation

PARTIES = federation(8)


def names(n: int) -> list[str]:
    return [f"peer-{i:02d}" for i in range(n)]


@pytest.mark.promise("P611")
@pytest.mark.control("how many first values averaging opens, whatever defence there is")
@pytest.mark.parametrize(
    ("graph", "n", "rounds", "alone", "summed"),
    [
        (h.Regular(4), 32, 10, 31, 0),
        (h.Regular(4, seed=1), 32, 10, 31, 0),
        (h.Torus(), 16, 30, 9, 1),
        (h.Complete(), 16, 2, 15, 0),
        (h.Base(1), 16, 8, 1, 1),
    ],
    ids=repr,
)
def test_a_curious_peer_solves_for_first_values(graph: Graph, n: int, rounds: int, alone: int, summed: int) -> None:
    """Each of four peers opens as many; and what is open is computed from what it hears, to its last digits."""
    mixing = graph.among(names(n))
    x = np.random.default_rng(0).normal(size=n)
    for who in mixing.names[:: n // 4]:
        found = opened(mixing, (who,), rounds)
        assert len(found) == alone
        assert len(opened(mixing, (who,), rounds, sums=True)) == summed
        k = knowledge(mixing, (who,), rounds)
        solved = np.linalg.lstsq(k, k @ x, rcond=1e-7)[0]
        places = [mixing.place[one] for one in found]
        assert np.allclose(solved[places], x[places], rtol=0, atol=1e-4)


@pytest.mark.control("how much more two peers open together")
def test_colluders_open_no_less() -> None:
    mixing = h.Torus().among(names(16))
    one = set(opened(mixing, ("peer-00",), 20))
    two = set(opened(mixing, ("peer-00", "peer-05"), 20))
    assert one - {"peer-05"} <= two and len(two) > len(one)


@pytest.mark.promise("P611")
@pytest.mark.control("what an audit tells of a graph")
def test_an_audit_tells_what_peers_can_solve_for() -> None:
    plan = h.Plan(h.Softmax(4, 3), pipe=(h.Weigh("one"),), training=h.Training(batch=8), rounds=12)
    app = h.App(plan, PARTIES, loop=h.gossip(graph=h.Ring()))
    report = audit(app, ["linear"])
    assert report.linear is not None and not report.broken
    alone, together = report.linear.found
    assert (alone.opened, alone.summed, alone.trained) == (7, 1, 2) and together.opened == 6
    assert "7 of 7" in str(report) and report.numbers()["linear"]["rounds"] == 12
    with pytest.raises(AppError, match="hear the server alone"):
        audit(replace(app, loop=h.synchronous), ["linear"])


@pytest.mark.promise("P619")
@pytest.mark.control("what peers show of another under noise, beside what is promised")
@pytest.mark.parametrize("hidden", [False, True])
def test_an_audit_shows_an_epsilon_under_noise_that_is_below_the_stated_one(hidden: bool) -> None:
    """Where a tenth of the noise is drawn that is told of, it shows more."""

    def noisy(multiplier: float) -> h.Plan:
        pipe = (h.Clip(0.5, side=9.0), h.Weigh("one"), h.GaussianNoise(multiplier, by="each"))
        return h.Plan(h.Softmax(4, 3), pipe=pipe, training=h.Training(report=False, batch=8), rounds=3)

    mixing = h.Torus().among(names(16))
    near = noised(noisy(2.0), mixing, ("peer-00",), "peer-01", 3, 1e-5, hidden)
    promised = near.promise.epsilon
    assert promised is not None and 3.5 < promised < 5.0
    weak = noised(noisy(0.2), mixing, ("peer-00",), "peer-01", 3, 1e-5, hidden)
    assert not replace(near, confidence=1 - 1e-9).broken  # by chance in one run of 10⁹
    assert weak.epsilon > max(2.5, near.epsilon)
    assert replace(weak, promise=noisy_promise(noisy(8.0))).broken


def noisy_promise(plan: h.Plan) -> Any:
    """What the ledger says of it."""
    return planned_privacy(plan, 16).guarantee(1e-5)


@pytest.mark.promise("P619")
@pytest.mark.control("what an audit tells of noise")
def test_an_audit_of_noisy_gossip_tells_both() -> None:
    pipe = (h.Clip(0.5, side=9.0), h.Weigh("one"), h.GaussianNoise(1.0, by="each"))
    plan = h.Plan(h.Softmax(4, 3), pipe=pipe, training=h.Training(batch=8), rounds=3)
    report = audit(h.App(plan, PARTIES, loop=h.gossip(graph=h.Ring())), ["linear"])
    assert report.noised is not None and report.numbers()["noised"]["epsilon_promised"] > 5
    assert "A peer's update under noise" in str(report) and "heard of client-" in str(report)


def asked(plan: h.Plan, body: Any) -> Any:
    """What a client says that is asked so, or None where it refuses."""
    client = h.Client("client-0", plan, PARTIES["client-0"], secret=h.Key.of(1))
    request = Request(plan.digest, 0, SessionId("run"), None, {"client-0": body})
    try:
        return client.answer(request).reply
    except ProtocolError:
        return None


@pytest.mark.promise("P612")
@pytest.mark.guards("a client whose plan needs a server says no model")
@pytest.mark.parametrize("by", ["server", "all"])
def test_who_hides_in_a_sum_says_no_model_of_its_own(by: Any) -> None:
    """A server that asks as if there were none would see a model with a share of the noise, or without any."""
    pipe = (h.Clip(1.0, side=9.0), h.Weigh("one"), h.GaussianNoise(1.0, by=by))
    plan = h.Plan(h.Softmax(4, 3), pipe=pipe, training=h.Training(batch=8))
    inbox = {"weights": {"client-0": 1.0}, "said": {}}
    assert asked(plan, inbox) is None
    alone = replace(plan, pipe=(*pipe[:2], h.GaussianNoise(1.0, by="each")))
    assert asked(alone, inbox) is not None  # this one has agreed to it


@pytest.mark.promise("P612")
@pytest.mark.guards("who says NaN is not heard")
def test_a_neighbour_that_says_nonsense_spoils_no_model() -> None:
    plan = h.Plan(h.Softmax(4, 3), pipe=(h.Weigh("one"),), training=h.Training(batch=8))
    bad = np.full(15, np.nan)
    said = asked(plan, {"weights": {"client-0": 0.5, "evil": 0.5}, "said": {"evil": bad}})
    assert said is not None and np.isfinite(said["says"]).all()
