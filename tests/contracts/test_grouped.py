"""Sums in cells under a robust rule, and the ideal sum in the place of a hidden one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.aggregators.grouped import Grouped, deal
from hansa.aggregators.hidden.terms import colluding, needed
from hansa.aggregators.ideal import Ideal
from hansa.errors import PlanError, PolicyError
from hansa.explain import explain
from hansa.messages import Request, SessionId
from hansa.plan.server import broadcast
from hansa.rand import Key
from hansa.runtimes.inprocess import Network
from hansa.transforms import Context, Transform

rng = np.random.default_rng(5)
DATA = {f"c{i:02d}": (rng.normal(size=(12, 4)).astype(np.float32), rng.integers(0, 3, 12)) for i in range(17)}
BOUND = (h.Clip(1.0, side=10.0), h.Weigh("one"))


class Lie(Transform):
    """Some clients say the opposite of what they have learnt, and at its full length."""

    def __init__(self, liars: tuple[str, ...]):
        self.liars = liars

    def encode(self, v: Any, at: Context) -> Any:
        if at.who in self.liars:
            v = np.where(np.arange(len(v)) < len(v) - 1, -1.0, v)
        return v


def plan_of(aggregator: Any, *, pipe: tuple[Any, ...] = BOUND, **more: Any) -> h.Plan:
    """Softmax regression over integers mod 2³²."""
    pipe = (*pipe, h.Quantize(32, of="sum", clients=20))
    more = {"sample": h.Everyone(quorum=12), "rounds": 3} | more
    return h.Plan(h.Softmax(4, 3), pipe=pipe, aggregator=aggregator, **more)


def run(plan: h.Plan, network: Network | None = None) -> list[h.State]:
    clients = [h.Client(who, plan, one) for who, one in DATA.items()]
    return list(h.synchronous(plan, h.InProcess(clients, network)))


def test_cells_are_dealt_by_a_public_key_and_none_is_small() -> None:
    key = Key.of(3)
    for n in (5, 9, 17, 120):
        names = [f"{i:03d}" for i in range(n)]
        cells = deal(names, 5, key)
        assert sorted(name for cell in cells for name in cell) == names
        assert min(map(len, cells)) >= 5
        assert deal(names, 5, key) == cells
    assert deal(names, 5, Key.of(4)) != cells


def test_a_median_of_cells_is_a_mean_where_nobody_lies() -> None:
    grouped = run(plan_of(Grouped(h.MaskedSum(), 5, h.Median())))
    plain = run(plan_of(h.Sum()))
    for one, other in zip(grouped, plain, strict=True):
        assert one.participants == other.participants == tuple(DATA)
        assert np.abs(one.x - other.x).max() < 0.02


def test_a_liar_spoils_its_cell_and_no_more() -> None:
    def moved(aggregator: Any, liars: tuple[str, ...]) -> float:
        honest, lied = (run(plan_of(aggregator, pipe=(Lie(some), *BOUND)))[-1].x for some in ((), liars))
        return float(np.linalg.norm(honest - lied))

    grouped = Grouped(h.MaskedSum(), 5, h.Median())
    assert moved(grouped, ("c03",)) < 0.5 * moved(h.Sum(), ("c03",)) + 0.05


def test_a_cell_that_cannot_be_opened_is_left_out_and_the_others_go_on() -> None:
    plan = plan_of(Grouped(h.MaskedSum(), 3, h.Median()), rounds=12, sample=h.Everyone(quorum=6))
    states = run(plan, Network(latency=1.0, vanish=0.08))
    closed = [state for state in states if "the aggregator left it out" in state.excluded.values()]
    assert any(not state.skipped for state in closed)
    for state in states:
        assert not set(state.participants) & set(state.excluded)
        assert set(state.participants) | set(state.excluded) == set(DATA)


@pytest.mark.promise("P402")
@pytest.mark.promise("P402")
def test_grouped_refuses_what_has_no_meaning_in_cells() -> None:
    masked = h.MaskedSum()
    with pytest.raises(PlanError, match="hide each other"):
        plan_of(Grouped(masked, 2, h.Median()))
    with pytest.raises(PlanError, match="robust rule"):
        plan_of(Grouped(masked, 5, h.Sum()))  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="inner="):
        plan_of(Grouped(h.Sum(), 5, h.Median()))  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="no guarantee"):
        plan_of(Grouped(masked, 5, h.Median()), pipe=(*BOUND, h.GaussianNoise(1.0, by="all", least=12)))
    plan = plan_of(Grouped(masked, 5, h.Krum(1)))
    some = [h.Client(who, plan, DATA[who]) for who in list(DATA)[:12]]
    with pytest.raises(PlanError, match="Krum"):
        next(h.synchronous(plan, h.InProcess(some)))


@pytest.mark.promise("P402")
def test_in_numbers_says_how_few_a_cell_hides_among_and_who_may_hold_it() -> None:
    plan = plan_of(Grouped(h.MaskedSum(), 10, h.Median()), sample=h.Everyone(quorum=60))
    told = str(explain(plan, 120))
    assert "Of 120 clients 12 cells are made" in told
    assert "with probability 0.013 a round" in told  # P[Bin(10, 0.1) > 3]
    assert "up to 3 may collude" in told


@pytest.mark.promise("P400")
@pytest.mark.parametrize("n", range(3, 60))
def test_as_many_may_collude_as_two_sets_cannot_have(n: int) -> None:
    """Two sets that both have t signatures share 2t − n members at least, and an honest one signs once."""
    t = needed(2 / 3, n)
    c = colluding(2 / 3, n)
    assert 3 * t > 2 * n >= 3 * (t - 1)
    assert c == min(2 * t - n - 1, t - 2)
    assert t - c >= 2  # honest ones that a vector is hidden among
    assert (n - c) // 2 + c < t  # the honest ones split, and all who collude in both


@pytest.mark.promise("P401")
def test_ideal_hides_nothing_and_says_so() -> None:
    plan = plan_of(Ideal(h.MaskedSum()))
    told = str(explain(plan, 17))
    assert "Ideal" in told and "hides nothing" in told
    clients = [h.Client(who, plan, one, h.Policy(sees="sum")) for who, one in DATA.items()]
    with pytest.raises(PolicyError):
        clients[0].check()
    with pytest.raises(PlanError, match="hidden sum"):
        plan_of(Ideal(h.Sum()))  # type: ignore[arg-type]


def test_ideal_computes_the_sum_and_fails_where_the_hidden_one_would() -> None:
    ideal = run(plan_of(Ideal(h.MaskedSum())))
    plain = run(plan_of(h.Sum()))
    for one, other in zip(ideal, plain, strict=True):
        assert one.participants == other.participants
        assert np.abs(one.x - other.x).max() < 1e-6
    lossy = run(plan_of(Ideal(h.MaskedSum()), rounds=12), Network(latency=1.0, drop=0.3))
    assert any(state.skipped for state in lossy)
    assert all(bool(state.skipped) == (len(state.participants) < 12) for state in lossy)


@pytest.mark.guards("a policy counts those of a cell")
def test_a_policy_counts_those_of_a_cell() -> None:
    plan = plan_of(Grouped(h.MaskedSum(), 3, h.Median()))
    who = next(iter(DATA))
    with pytest.raises(PolicyError, match="a quorum of 3"):
        h.Client(who, plan, DATA[who], h.Policy(min_cohort=10, sees="sum")).check()
    h.Client(who, plan_of(h.MaskedSum()), DATA[who], h.Policy(min_cohort=10, sees="sum")).check()


@pytest.mark.guards("a hidden vector is not added up on its way")
def test_a_vector_that_is_added_up_on_its_way_is_not_said() -> None:
    plan = plan_of(h.MaskedSum())
    runtime = h.InProcess([h.Client(who, plan, one) for who, one in DATA.items()])
    bodies = {who: {"cohort": sorted(DATA)} for who in DATA}
    state = plan.start()
    runtime.send(Request(plan.digest, 0, SessionId("run"), broadcast(plan, state), bodies, fold=True))
    runtime.receive()
    replies = [runtime.receive() for _ in DATA]
    assert {reply.who[0] for reply in replies} == DATA.keys()
    assert {(reply.body, reply.why) for reply in replies} == {(None, "refused")}


def test_more_shares_than_a_server_holds_are_refused() -> None:
    pipe = (*BOUND, h.Quantize(32, of="sum"))
    with pytest.raises(PlanError, match="GiB of shares"):
        h.Plan(
            h.Softmax(4, 3), pipe=pipe, aggregator=h.EncryptedSum(threshold=0.99), sample=h.Uniform(1000, quorum=999)
        )
