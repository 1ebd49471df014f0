"""The ledger says what dp-accounting says, of what happened; where nothing bounds it, it says nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting import pld, rdp

from hansa import (
    AdaptiveClip,
    Budget,
    Clip,
    Everyone,
    GaussianNoise,
    InProcess,
    Network,
    Plan,
    Poisson,
    Quantize,
    Sample,
    Scaffold,
    Softmax,
    State,
    Training,
    Uniform,
    Weigh,
    synchronous,
)
from hansa.errors import PlanError
from hansa.messages import SessionId
from hansa.parties.client import Client
from hansa.plan.server import decoder
from hansa.privacy import planned_privacy, spent_privacy, stop_at_budget
from hansa.privacy.calibrate import calibrate
from hansa.privacy.ledger import Guarantee, Ledger, default_delta
from hansa.privacy.mechanisms import Release
from hansa.rand import Key
from hansa.transforms.curves import Gaussian

KEY = Key.of(0)  # a secret that repeats

QUIET = Training(report=False)
CLIENTS = 20


def plan(noise: float = 2.0, sample: Sample | None = None, by: Any = "server", least: int = 1, **more: Any) -> Plan:
    pipe = (Clip(1.0), Weigh("one"), GaussianNoise(noise, by=by, least=least))
    sample = sample or Everyone(quorum=least)
    return Plan(Softmax(2, 2), **{"pipe": pipe, "training": QUIET, "sample": sample, "rounds": 5, **more})


def clients(plan: Plan, n: int = CLIENTS) -> list[Client]:
    rng = np.random.default_rng(0)
    return [Client(f"c{i}", plan, (rng.normal(size=(4, 2)), rng.integers(0, 2, 4))) for i in range(n)]


def direct(event: Any, delta: float, accountant: str = "rdp", swaps: bool = False) -> float:
    relation = dp.NeighboringRelation.REPLACE_ONE if swaps else dp.NeighboringRelation.ADD_OR_REMOVE_ONE
    total = rdp.RdpAccountant(neighboring_relation=relation) if accountant == "rdp" else pld.PLDAccountant(relation)
    return float(total.compose(event).get_epsilon(delta))


# ── the sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────

GRID = [
    *product((0.6, 1.0, 4.0), ("poisson",), (0.001, 0.02, 0.3), (1, 50, 1000)),
    *product((1.5, 4.0), ("uniform",), (10, 300), (1, 40)),
    *product((0.7, 3.0, 20.0), ("all",), (0,), (1, 2, 30, 400)),
]


@pytest.mark.promise("P26")
@pytest.mark.parametrize("z, by, size, rounds", GRID)
@pytest.mark.parametrize("delta", [1e-5, 1e-8])
def test_it_is_the_number_of_dp_accounting(z: float, by: Any, size: float, rounds: int, delta: float) -> None:
    gaussian = dp.GaussianDpEvent(z)
    event = {
        "poisson": lambda: dp.PoissonSampledDpEvent(size, gaussian),
        "uniform": lambda: dp.SampledWithoutReplacementDpEvent(3000, size, dp.GaussianDpEvent(z / 2)),
        "all": lambda: gaussian,
    }[by]()
    ledger = Ledger().plus(Release(Gaussian(z), by, size, 3000), rounds)
    wanted = direct(dp.SelfComposedDpEvent(event, rounds), delta, swaps=by == "uniform")
    assert ledger.epsilon(delta) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("release", [Release(Gaussian(1.0), "poisson", 0.05), Release(Gaussian(6.0))])
def test_loss_distributions_are_tighter(release: Release) -> None:
    found = Ledger(accountant="pld").plus(release, 30).epsilon(1e-6)
    event = dp.SelfComposedDpEvent(release.event(), 30)
    assert found is not None and found == pytest.approx(direct(event, 1e-6, "pld"), abs=1e-6)
    assert found < direct(event, 1e-6)


def test_unlike_rounds_add_up_in_any_order() -> None:
    releases = [Release(Gaussian(1.0 + i / 10)) for i in range(10)]
    there, back = Ledger(), Ledger()
    for one, other in zip(releases, reversed(releases), strict=True):
        there, back = there.plus(one), back.plus(other)
    together = 1 / math.sqrt(sum(1 / release.mechanism.gaussian**2 for release in releases))
    event = dp.ComposedDpEvent([dp.GaussianDpEvent(release.mechanism.gaussian) for release in releases])
    assert there.epsilon(1e-6) == pytest.approx(direct(event, 1e-6), abs=1e-9)
    assert there.epsilon(1e-6) == pytest.approx(back.epsilon(1e-6) or 0, abs=1e-9)
    assert there.epsilon(1e-6) == pytest.approx(Ledger().plus(Release(Gaussian(together))).epsilon(1e-6) or 0, abs=1e-9)


@pytest.mark.promise("P30")
def test_the_worst_client_counts_where_who_took_part_is_known() -> None:
    ledger = (
        Ledger()
        .plus(Release(Gaussian(3.0)), who=["a", "b"])
        .plus(Release(Gaussian(3.0)), who=["b", "c"])
        .plus(Release(Gaussian(9.0)), who="c")
    )
    assert ledger.worst(1e-6) == {Release(Gaussian(3.0)): 2}
    assert ledger.epsilon(1e-6) == Ledger().plus(Release(Gaussian(3.0)), 2).epsilon(1e-6)
    assert ledger.plus(Release(Gaussian(5.0))).worst(1e-6) == {Release(Gaussian(3.0)): 2, Release(Gaussian(5.0)): 1}


def test_orders_that_do_not_converge_are_left_out_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        assert Ledger().plus(Release(Gaussian(4.125), "poisson", 0.4), 3).epsilon(1e-6) is not None
    assert not caplog.records


@pytest.mark.promise("P29")
def test_nothing_given_away_is_nothing_and_unknown_is_no_number() -> None:
    assert Ledger().epsilon(1e-6) == 0.0
    unknown = Ledger().plus(Release(Gaussian(1.0))).without("it rained").plus(Release(Gaussian(1.0)))
    assert unknown.epsilon(1e-6) is None
    assert str(unknown.guarantee(1e-6)) == "no ε for a client: it rained"
    mixed = Ledger().plus(Release(Gaussian(1.0))).plus(Release(Gaussian(1.0), "uniform", 5, 50))
    assert mixed.epsilon(1e-6) is None and "do not add up" in mixed.guarantee(1e-6).why


def test_without_the_library_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("hansa.privacy.ledger", "hansa.privacy.calibrate"):
        monkeypatch.setattr(sys.modules[module], "find_spec", lambda name: None)
    ledger = Ledger().plus(Release(Gaussian(1.0)))
    assert ledger.epsilon(1e-6) is None and "hansa[privacy]" in ledger.guarantee(1e-6).why
    assert not Budget(100.0).allows(ledger)
    with pytest.raises(PlanError, match=r"hansa\[privacy\]"):
        calibrate(Budget(4.0), Release(Gaussian(1.0)), 10)


def test_a_guarantee_says_client() -> None:
    guarantee = Ledger().plus(Release(Gaussian(5.0), "poisson", 0.1)).guarantee(1e-6)
    assert isinstance(guarantee, Guarantee) and guarantee.unit == "client"
    assert str(guarantee).startswith("ε = ")
    assert "for each client (with the client, or with nothing in its place)" in str(guarantee)


# ── what happened ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P26")
def test_everybody_in_every_round() -> None:
    p = plan(5.0)
    states = list(synchronous(p, InProcess(clients(p))))
    wanted = direct(dp.SelfComposedDpEvent(dp.GaussianDpEvent(5.0), 5), 1e-6)
    assert spent_privacy(p, states, CLIENTS).epsilon(1e-6) == pytest.approx(wanted, abs=1e-9)
    assert planned_privacy(p).epsilon(1e-6) == pytest.approx(wanted, abs=1e-9)
    assert spent_privacy(p, states[:2]).epsilon(1e-6) == planned_privacy(p, rounds=2).epsilon(1e-6)


@pytest.mark.promise("P32")
def test_secret_samples_are_amplified_and_for_everybody() -> None:
    for sample, event, swaps in [
        (Poisson(0.3), dp.PoissonSampledDpEvent(0.3, dp.GaussianDpEvent(2.0)), False),
        (Uniform(4), dp.SampledWithoutReplacementDpEvent(CLIENTS, 4, dp.GaussianDpEvent(1.0)), True),
    ]:
        p = plan(2.0, sample)
        states = list(synchronous(p, InProcess(clients(p))))
        wanted = direct(dp.SelfComposedDpEvent(event, 5), 1e-6, swaps=swaps)
        assert spent_privacy(p, states, CLIENTS).epsilon(1e-6) == pytest.approx(wanted, abs=1e-9)


def test_a_sample_of_everybody_is_none() -> None:
    alone = planned_privacy(plan(2.0)).epsilon(1e-6)
    assert planned_privacy(plan(2.0, Uniform(CLIENTS)), CLIENTS).epsilon(1e-6) == alone
    assert planned_privacy(plan(2.0, Poisson(1.0)), CLIENTS).epsilon(1e-6) == alone


@pytest.mark.promise("P32")
@pytest.mark.parametrize("by", ["all", "each"])
def test_a_sample_that_the_server_knows_is_not_amplified(by: Any) -> None:
    """Clients draw noise where the server is not trusted, and the server samples: the worst client's rounds count."""
    p = plan(4.0, Poisson(0.5), by)
    states = list(synchronous(p, InProcess(clients(p))))
    asked = [sum(f"c{i}" in {*state.participants, *state.excluded} for state in states) for i in range(CLIENTS)]
    assert max(asked) > 0 and min(asked) < 5
    z = {state.round: 4.0 * (len(state.participants) ** 0.5 if by == "all" else 1.0) for state in states}
    of_each = [[z[state.round] for state in states if f"c{i}" in state.participants] for i in range(CLIENTS)]
    wanted = max(direct(dp.ComposedDpEvent([dp.GaussianDpEvent(one) for one in own]), 1e-6) for own in of_each if own)
    assert spent_privacy(p, states).epsilon(1e-6) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.promise("P28")
def test_noise_by_all_is_what_those_who_came_have_added() -> None:
    """Each adds z/√least: n of them together z·√(n/least). Too few count too, with the little they had."""
    p = plan(3.0, by="all", least=4)
    names = [f"c{i}" for i in range(9)]
    start = p.start()
    rounds = [
        replace(start, participants=tuple(names)),
        replace(start, participants=tuple(names[:4]), excluded=dict.fromkeys(names[4:], "late")),
        replace(
            start,
            participants=tuple(names[:1]),
            excluded=dict.fromkeys(names[1:], "late"),
            skipped="1 answered, 4 needed",
        ),
        replace(start, excluded=dict.fromkeys(names[:6], "the round failed") | {"c8": "late"}, skipped="weights"),
    ]
    noises = [3.0 * math.sqrt(n / 4) for n in (9, 4, 1, 6)]
    wanted = direct(dp.ComposedDpEvent([dp.GaussianDpEvent(z) for z in noises]), 1e-6)
    assert spent_privacy(p, rounds).epsilon(1e-6) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.promise("P30")
def test_rounds_that_change_nothing_count() -> None:
    p = plan(3.0, Everyone(quorum=CLIENTS))
    states = list(synchronous(p, InProcess(clients(p), Network(drop=0.5), 0)))
    assert all(state.skipped for state in states)
    assert spent_privacy(p, states).epsilon(1e-6) == planned_privacy(p).epsilon(1e-6)


UNBOUNDED: dict[str, tuple[Plan, str]] = {
    "no noise": (Plan(Softmax(2, 2)), "adds no noise"),
    "no noise behind a clip": (Plan(Softmax(2, 2), pipe=(Clip(1.0), Weigh("one"))), "adds no noise"),
    "cohorts out of nobody knows how many": (plan(2.0, Uniform(4)), "is not known"),
}


@pytest.mark.promise("P29")
@pytest.mark.parametrize("p, why", UNBOUNDED.values(), ids=UNBOUNDED)
def test_no_bound_no_number(p: Plan, why: str) -> None:
    for ledger in (planned_privacy(p), spent_privacy(p, [p.start()])):
        assert ledger.epsilon(1e-6) is None and why in ledger.guarantee(1e-6).why
    with pytest.raises(PlanError, match=why):
        next(stop_at_budget(iter([p.start()]), p, Budget(4.0)))


# ── the divisor ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P33")
def test_how_many_were_sampled_does_not_show_in_the_mean() -> None:
    """Σ vᵢ is divided by the number expected: the number that came tells of each client whether it was there."""
    for sample, expected in ((Poisson(0.25), 10.0), (Everyone(), 0.0), (Uniform(4), 4.0)):
        p = plan(1e-9, sample)
        at = p.context(0, SessionId(), population=40, memo=p.pipeline.start(), secret=KEY)
        total = np.full(p.encoded_spec.size, 30.0)
        mean, _ = decoder(p, at)(total, 6)
        np.testing.assert_allclose(mean, 30.0 / (expected or 6), rtol=1e-6)


def test_without_noise_a_mean_is_a_mean() -> None:
    p = Plan(Softmax(2, 2), pipe=(Weigh("one"),), sample=Poisson(0.25), training=QUIET)
    at = p.context(0, SessionId(), population=40, memo=p.pipeline.start(), secret=KEY)
    np.testing.assert_array_equal(decoder(p, at)(np.full(p.encoded_spec.size, 30.0), 6)[0], 5.0)


def test_control_variates_move_by_the_share_expected() -> None:
    p = plan(1.0, Poisson(0.25), algorithm=Scaffold())
    x = np.zeros(p.model.size)
    mean = {"delta": x, "control": np.ones_like(x)}
    for n in (3, 11):
        at = replace(p.context(0, SessionId(), population=40, secret=KEY), n=n)
        _, memo = p.algorithm.step(x, p.algorithm.start(x, p.key), mean, at)
        np.testing.assert_allclose(memo["c"], 0.25)


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

KEPT: dict[str, Plan] = {
    "everybody": plan(8.0, rounds=60),
    "sampled": plan(1.0, Poisson(0.1), rounds=60),
    "drawn": plan(6.0, Uniform(5), rounds=60),
    "by all": plan(8.0, Everyone(quorum=10), "all", 10, rounds=60),
    "by each": plan(8.0, Poisson(0.5), "each", rounds=60),
    "learnt": plan(8.0, pipe=(AdaptiveClip(), Weigh("examples", cap=4), GaussianNoise(8.0)), rounds=60),
    "rounded": plan(8.0, pipe=(Clip(1.0), Weigh("one"), GaussianNoise(8.0, by="each"), Quantize(20)), rounds=60),
}


@pytest.mark.parametrize("p", KEPT.values(), ids=KEPT)
def test_a_budget_ends_the_run_before_it_is_passed(p: Plan) -> None:
    budget = Budget(3.0, 1e-5)
    states = list(stop_at_budget(synchronous(p, InProcess(clients(p))), p, budget, CLIENTS))
    found = spent_privacy(p, states, CLIENTS).epsilon(1e-5)
    assert found is not None and found <= 3.0
    assert 0 < len(states) < 60
    assert not budget.allows(planned_privacy(p, CLIENTS, len(states) + (20 if p.encoded_spec.noise.clients else 5)))


@pytest.mark.promise("P31")
def test_the_round_that_would_pass_it_is_never_begun() -> None:
    p, begun = plan(8.0, rounds=60), []
    trained = clients(p)

    def counted(states: Any) -> Any:
        for state in states:
            begun.append(state.round)
            yield state

    kept = list(stop_at_budget(counted(synchronous(p, InProcess(trained))), p, Budget(3.0, 1e-5)))
    assert len(begun) == len(kept)
    fits = max(t for t in range(60) if Budget(3.0, 1e-5).allows(planned_privacy(p, rounds=t)))
    assert len(kept) == fits


@pytest.mark.promise("P31")
def test_a_budget_knows_the_rounds_before() -> None:
    p = plan(8.0, rounds=60)
    states: list[State] = list(stop_at_budget(synchronous(p, InProcess(clients(p))), p, Budget(3.0, 1e-5)))
    loop = synchronous(p, InProcess(clients(p)), states[3])
    rest = list(stop_at_budget(loop, p, Budget(3.0, 1e-5), past=states[:4]))
    assert [state.round for state in rest] == [state.round for state in states[4:]]


def test_a_budget_that_is_no_limit_changes_nothing() -> None:
    p = plan(8.0)
    free = list(synchronous(p, InProcess(clients(p)), secret=KEY))
    kept = list(stop_at_budget(synchronous(p, InProcess(clients(p)), secret=KEY), p, Budget(1e3)))
    assert [state.x.tobytes() for state in kept] == [state.x.tobytes() for state in free]


WRONG: dict[str, Callable[[], Any]] = {
    "a budget of nothing": lambda: Budget(0.0),
    "a budget without end": lambda: Budget(math.inf),
    "a budget in words": lambda: Budget("4"),  # type: ignore[arg-type]
    "a δ of nothing": lambda: Budget(4.0, 0.0),
    "a δ above one": lambda: Budget(4.0, 1.5),
    "a δ that is no number": lambda: Ledger().epsilon(math.nan),
    "noise of nothing": lambda: Release(Gaussian(0.0)),
    "noise below nothing": lambda: Release(Gaussian(-1.0)),
    "a sampling of no name": lambda: Release(Gaussian(1.0), "lottery"),  # type: ignore[arg-type]
    "a rate above one": lambda: Release(Gaussian(1.0), "poisson", 1.5),
    "more drawn than there are": lambda: Release(Gaussian(1.0), "uniform", 10, 5),
    "an accountant of no name": lambda: Ledger(accountant="abacus"),  # type: ignore[arg-type]
    "a budget below one round": lambda: next(stop_at_budget(iter([]), plan(0.1), Budget(0.1))),
    "noise for no rounds": lambda: calibrate(Budget(4.0), Release(Gaussian(1.0)), 0),
    "a budget that no noise keeps": lambda: calibrate(Budget(1e-9), Release(Gaussian(1.0)), 100),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_means_nothing_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(PlanError) as caught:
        wrong()
    assert caught.value.found and caught.value.why and caught.value.instead


# ── calibration ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P43")
@pytest.mark.parametrize(
    "release",
    [Release(Gaussian(1.0), "poisson", 0.01), Release(Gaussian(1.0), "uniform", 10, 200), Release(Gaussian(1.0))],
)
@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_calibrated_noise_is_enough_and_hardly_more(release: Release, epsilon: float) -> None:
    z = calibrate(Budget(epsilon, 1e-6), release, 50)
    ledger = [
        Ledger().plus(replace(release, mechanism=Gaussian(z * factor)), 50).epsilon(1e-6) for factor in (1.0, 0.997)
    ]
    assert ledger[0] is not None and ledger[1] is not None and ledger[0] <= epsilon < ledger[1]


def test_usual_delta() -> None:
    assert default_delta(4) == 1e-5 and default_delta(10**6) == pytest.approx(10**-6.6)
