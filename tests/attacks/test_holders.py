"""Sums whose shares a committee holds, under attack: by a server that would choose it, and by those who sit in it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, chi2, hypergeom
from tests.attacks.attackers_hidden import why
from tests.attacks.attackers_holders import Hall, Line

import hansa as h
from hansa.aggregators.hidden.committee import RISK, committee, holders_that_fit, log2_risk
from hansa.aggregators.hidden.holding import HERE, left_out
from hansa.aggregators.hidden.terms import View, as_set, colluding, needed
from hansa.crypto.identity import Identity
from hansa.errors import PlanError, ProtocolError
from hansa.messages import Reply, SessionId
from hansa.spec import Spec, SumFacts
from hansa.store import Store, verify

HALL = Hall()
T = needed(2 / 3, 10)
HOLDERS = HALL.seats.holders
OUTSIDE = HALL.outside


# ── the sum ──


@pytest.mark.promise("P422")
@pytest.mark.parametrize("size", [100, 20_000])
@pytest.mark.control("holders open the sum")
def test_holders_open_the_sum_and_all_others_say_one_message(size: int) -> None:
    hall = Hall(size=size)
    line = Line(hall)
    total, inside, table = line.served()
    assert total is not None, why(table)
    assert inside == hall.names and np.array_equal(total, hall.sum(inside))
    assert set(line.told[0]) == {*hall.names, *hall.seats.holders}
    assert all(set(told) == set(hall.seats.holders) for told in line.told[1:])
    assert hall.outside and all(line.said[0][who] == HERE for who in hall.outside)


@pytest.mark.promise("P422")
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.control("so many holders may be away, and no more")
def test_a_holder_that_is_away_is_one_that_has_vanished(turn: int) -> None:
    gone = dict.fromkeys(HOLDERS[: 10 - T], turn)
    total, inside, table = Line(HALL, gone=gone).served()
    assert total is not None, why(table)
    assert np.array_equal(total, HALL.sum(inside))
    one_more = dict.fromkeys(HOLDERS[: 10 - T + 1], turn)
    total, _, table = Line(HALL, gone=one_more).served()
    assert total is None and "must" in why(table)


@pytest.mark.parametrize("away", [0, 3, 4])
@pytest.mark.control("so many members may vanish, and no more")
def test_members_may_vanish_down_to_two_thirds(away: int) -> None:
    members = [who for who in HALL.names if who not in HOLDERS][:away]
    total, inside, table = Line(HALL, gone=dict.fromkeys(members, 0)).served()
    if away > 12 - needed(2 / 3, 12):
        assert total is None and "must" in why(table)
    else:
        assert total is not None and np.array_equal(total, HALL.sum(inside)) and len(inside) == 12 - away


# ── who is in the committee ──


@pytest.mark.promise("P422")
@pytest.mark.guards("holders are of the roster", "holders are of the round")
def test_a_committee_follows_from_roster_and_round_and_from_nothing_that_a_server_says() -> None:
    session = HALL.session()
    found = committee(session, 10)
    assert found == HOLDERS and len(set(found)) == 10
    said = {"task": b"another session and model", "round": 7, "common": h.Key.of(9), "cohort": ()}
    for name, value in said.items():
        assert committee(replace(session, **{name: value}), 10) == found, name
    assert committee(replace(session, drawn=h.Key.of(5)), 10) != found
    other = {**HALL.roster, HALL.everybody[-1]: Identity.fresh(HALL.everybody[-1], "client").member}
    assert committee(replace(session, roster=other), 10) != found


@pytest.mark.control("the draw is even")
def test_each_client_is_as_likely_a_holder() -> None:
    """Helpers are none."""
    roster = {**HALL.roster, "helper": replace(HALL.roster["client-000"], role="helper")}
    counts = dict.fromkeys(HALL.everybody, 0)
    rounds = 3000
    for number in range(rounds):
        for who in committee(replace(HALL.session(), drawn=h.Key.of(number), roster=roster), 10):
            counts[who] += 1
    expected = rounds / 3
    variance = expected * (1 - 1 / 3) * 30 / 29
    statistic = sum((count - expected) ** 2 for count in counts.values()) / variance
    assert 1e-6 < chi2.sf(statistic, 29) < 1 - 1e-6


@pytest.mark.control("a committee is of the roster alone")
def test_a_roster_that_is_too_small_has_no_committee() -> None:
    with pytest.raises(ProtocolError, match="10 clients are to hold shares"):
        committee(replace(HALL.session(), roster=dict(list(HALL.roster.items())[:9])), 10)


@pytest.mark.guards("a cohort with holders is the plan's")
@pytest.mark.parametrize("who", [HALL.names[0], OUTSIDE[0]])
def test_a_server_chooses_no_cohort(who: str) -> None:
    """Neither a member nor a holder takes part in a sum over those whom the server would ask."""
    chosen = sorted({*HALL.names[:11], HALL.everybody[-1]})
    assert HALL.talk(who).hear({"cohort": HALL.names}) is not None
    talk = HALL.talk(who)
    assert talk.hear({"cohort": chosen}) is None and "does not draw" in str(talk.error)


@pytest.mark.guards("who is neither asked nor a holder says nothing")
def test_a_server_makes_nobody_a_holder() -> None:
    stranger = next(who for who in HALL.everybody if who not in {*HALL.names, *HOLDERS})
    talk = HALL.talk(stranger)
    assert talk.hear({"cohort": HALL.names}) is None and "neither" in str(talk.error)


@pytest.mark.promise("P422")
@pytest.mark.control("draw, binding, boxes and signatures each tell two rosters apart")
def test_two_rosters_have_no_sum_in_common() -> None:
    """A server gives half of them a roster in which one client has another key: no holder has shares of both."""
    false = {**HALL.roster, HALL.everybody[-1]: Identity.fresh(HALL.everybody[-1], "client").member}
    line = Line(HALL)
    for who in HALL.names[6:]:
        line.talks[who] = HALL.talk(who, roster=false)
    total, _, table = line.served()
    assert total is None and why(table)


# ── what holders open ──


def asked_for_help(line: Line, table: Any, inside: Any, holders: list[str], signatures: Any) -> list[Any]:
    """What these holders say to a set, and to these signatures."""
    for who in holders:
        line.talks[who].hear({"inside": as_set(inside)})
    return [line.talks[who].hear({"signatures": signatures}) for who in holders]


def signatures_of(table: Any, inside: Any, signers: list[str]) -> Any:
    """Of holders that collude."""
    seats = HALL.seats
    rows = np.zeros((len(seats.holders), 64), np.uint8)
    agreed = seats.agreed(View(table.view.prepared, table.view.publics), np.asarray(inside, bool))
    for who in signers:
        rows[seats.holders.index(who)] = np.frombuffer(HALL.identities[who].signing.sign(agreed), np.uint8)
    return rows


@pytest.mark.promise("P422")
@pytest.mark.guards("holders open what t of them have signed")
def test_two_sets_are_not_signed_by_enough_holders() -> None:
    """Three of ten collude, and sign whatever they are asked to; each of seven honest ones signs one set."""
    assert colluding(2 / 3, 10) == 3
    line = Line(HALL, gone=dict.fromkeys(HOLDERS, 2))
    _, _, table = line.served()
    everybody = np.ones(12, bool)
    without = everybody.copy()
    without[0] = False
    halves = ((everybody, list(HOLDERS[:4])), (without, list(HOLDERS[4:7])))
    helped = []
    for inside, honest in halves:
        rows = signatures_of(table, inside, [*HOLDERS[7:], *honest])
        helped.append(asked_for_help(line, table, inside, honest, rows))
    assert all(one is not None for one in helped[0])
    assert all(one is None for one in helped[1])


@pytest.mark.guards("holders open no sum of a few")
def test_a_set_of_a_few_is_signed_by_no_holder() -> None:
    line = Line(HALL, gone=dict.fromkeys(HOLDERS, 2))
    line.served()
    few = np.arange(12) < needed(2 / 3, 12) - 1
    enough = np.arange(12) < needed(2 / 3, 12)
    assert line.talks[HOLDERS[0]].hear({"inside": as_set(enough)}) is not None
    assert line.talks[HOLDERS[1]].hear({"inside": as_set(few)}) is None


LIAR = next(who for who in HALL.names if who not in HOLDERS)


@pytest.mark.guards("who deals rubbish to holders is not in the sum")
def test_who_deals_rubbish_to_holders_is_left_out() -> None:
    def craft(turn: int, answer: Any) -> Any:
        boxes = answer["boxes"].copy()
        boxes[:5] ^= 1
        message = HALL.seats.prepared(LIAR, answer["public"], boxes)
        return {**answer, "boxes": boxes, "prepared": HALL.identities[LIAR].signing.sign(message)}

    total, inside, table = Line(HALL, crafts={LIAR: craft}).served()
    assert total is not None, why(table)
    assert inside == [who for who in HALL.names if who != LIAR]
    assert np.array_equal(total, HALL.sum(inside))


@pytest.mark.parametrize(("liars", "seed"), list(product(range(4), range(5))))
@pytest.mark.control("who is left out with liars on both sides")
def test_liars_on_both_sides_lose_no_sum(liars: int, seed: int) -> None:
    """So many holders disown whom they like, and as many members deal to whom they like: t holders have the shares of
    all that are left, and no more honest ones go than there are liars.
    """
    draw = np.random.default_rng(seed)
    holds = np.ones((10, 12), bool)
    holds[:liars] = draw.random((liars, 12)) < 0.5
    holds[:, :liars] &= draw.random((10, liars)) < 0.5
    out = left_out(T, holds, np.ones(12, bool))
    inside = np.ones(12, bool)
    inside[out] = False
    assert holds[:, inside].all(axis=1).sum() >= T
    assert len([i for i in out if i >= liars]) <= liars


FIRST: dict[str, Any] = {
    "no box": lambda a: {**a, "boxes": a["boxes"][:-1]},
    "words": lambda a: {**a, "boxes": "all"},
    "another's signature": lambda a: {**a, "prepared": bytes(64)},
    "a vector that it has not signed": lambda a: {**a, "signature": bytes(64)},
    "no vector": lambda a: {**a, "vector": None},
    "more": lambda a: {**a, "more": 1},
    "nothing": lambda a: {},
    "here": lambda a: HERE,
}


@pytest.mark.parametrize("kind", FIRST)
@pytest.mark.control("a member that says nothing of the form is left out by name")
def test_what_is_no_first_message_is_left_out_by_name(kind: str) -> None:
    line = Line(HALL, crafts={LIAR: lambda turn, answer: FIRST[kind](answer)})
    total, inside, _ = line.served()
    assert inside == [who for who in HALL.names if who != LIAR] and list(line.excluded) == [LIAR]
    assert total is not None and np.array_equal(total, HALL.sum(inside))


LATER: dict[int, list[Any]] = {
    1: [np.ones(11, np.uint8), np.full(12, 2, np.uint8), "all", {}, HERE],
    2: [bytes(64), bytes(63), "yes", {}],
    3: [np.zeros((1, 3), np.uint64), "help", np.full((1, 1024), 2**64 - 1, np.uint64), {}],
}


@pytest.mark.parametrize(("turn", "k"), [(turn, k) for turn, some in LATER.items() for k in range(len(some))])
@pytest.mark.control("a holder that says nothing of the form is left out by name")
def test_what_is_no_word_of_a_holder_is_left_out_by_name(turn: int, k: int) -> None:
    bad = OUTSIDE[0]
    line = Line(HALL, crafts={bad: lambda now, answer: LATER[turn][k] if now == turn else answer})
    total, inside, _ = line.served()
    assert list(line.excluded) == [bad]
    assert total is not None and np.array_equal(total, HALL.sum(inside))


@pytest.mark.control("wrong help is found by name")
def test_whose_help_is_wrong_is_found() -> None:
    bad = OUTSIDE[0]
    line = Line(HALL, crafts={bad: lambda now, answer: answer ^ np.uint64(1) if now == 3 else answer})
    total, inside, table = line.served()
    assert total is not None and np.array_equal(total, HALL.sum(inside))
    assert table.wrong == [bad]


@pytest.mark.control("a key encrypts one vector, also after a restart")
def test_who_starts_anew_says_the_same() -> None:
    line = Line(HALL)
    line.served()
    for who in (LIAR, next(one for one in HALL.names if one in HOLDERS)):
        again = HALL.talk(who, line.talks[who].drawn)
        first = again.hear(line.told[0][who])
        assert np.array_equal(first["vector"], line.said[0][who]["vector"])
        assert np.array_equal(first["boxes"], line.said[0][who]["boxes"])


@pytest.mark.control("no honest answer is refused for its length")
def test_no_answer_is_longer_than_what_is_said() -> None:
    line = Line(HALL)
    line.served()
    for turn, answers in enumerate(line.said):
        longest = HALL.aggregator.largest_reply(HALL.spec, turn)
        for who, body in answers.items():
            assert sum(map(len, Reply(SessionId("a run"), 0, (who,), body).encode())) <= longest


# ── how likely it is that too many collude ──


@pytest.mark.promise("P422")
@pytest.mark.parametrize(("holders", "population"), [(10, 30), (100, 1000), (100, 5000), (300, 3000), (500, 10**5)])
@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.control("the chance is computed exactly")
def test_the_chance_is_that_of_a_hypergeometric_tail(holders: int, population: int, share: float) -> None:
    least = colluding(2 / 3, holders)
    expected = hypergeom.logsf(least, population, math.ceil(share * population), holders) / math.log(2)
    found = log2_risk(holders, 2 / 3, share, 1, population)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert found <= log2_risk(holders, 2 / 3, share, 1) + 1e-9
    assert log2_risk(holders, 2 / 3, share, 1) == pytest.approx(
        binom.logsf(least, holders, share) / math.log(2), rel=1e-6, abs=1e-6
    )


@pytest.mark.promise("P422")
@pytest.mark.control("a committee that is too small falls")
def test_a_hundred_holders_fail_once_in_some_1400_rounds() -> None:
    assert 1300 < 2 ** -log2_risk(100, 2 / 3, 0.2, 1) < 1400
    fit = holders_that_fit(2 / 3, 0.2, 100, 1000)
    assert log2_risk(fit, 2 / 3, 0.2, 100) <= RISK < log2_risk(fit - 1, 2 / 3, 0.2, 100)
    assert 500 < fit < 620


def spec_of(**facts: Any) -> Spec:
    return Spec({"delta": 100}, space="integer", sum_facts=SumFacts(**{"modulus": 16, "clients": 100, **facts}))


@pytest.mark.promise("P422")
@pytest.mark.guards("a committee that colluders would hold is refused")
def test_a_plan_with_too_few_holders_is_refused_with_how_many_would_fit() -> None:
    with pytest.raises(PlanError) as refused:
        h.EncryptedSum(holders=100).plan(spec_of(rounds=100))
    fit = holders_that_fit(2 / 3, 0.2, 100, 1000)
    assert f"holders={fit}" in str(refused.value) and "34 of 100" in str(refused.value)
    h.EncryptedSum(holders=fit).plan(spec_of(rounds=100))
    h.EncryptedSum(holders=100, colluders=0.02).plan(spec_of(rounds=100))
    h.EncryptedSum(holders=100, threshold=0.8).plan(spec_of(rounds=100))
    words = h.EncryptedSum(holders=fit).in_numbers(spec_of(rounds=100), 100)
    for part in (f"{fit} holders", "whole roster", "20% of all", "100 rounds", "2^-40."):
        assert part in words, words
    assert repr(h.EncryptedSum(holders=fit)) == f"EncryptedSum(holders={fit})"


@pytest.mark.parametrize(
    "wrong", [{"holders": 2}, {"holders": 1001}, {"holders": 0.5}, {"colluders": 0.4}, {"colluders": "few"}]
)
@pytest.mark.control("a committee hides something")
def test_what_is_no_committee_is_refused(wrong: Any) -> None:
    with pytest.raises(PlanError, match="EncryptedSum"):
        h.EncryptedSum(**wrong)


@pytest.mark.control("holders are for many clients")
def test_more_clients_than_without_holders_fit() -> None:
    h.EncryptedSum(holders=100, threshold=0.8).plan(spec_of(clients=5000, rounds=10))
    with pytest.raises(PlanError, match="holders"):
        h.EncryptedSum().plan(spec_of(clients=5000, rounds=10))


# ── runs ──


@pytest.mark.promise("P422")
@pytest.mark.control("a run with holders is one without")
def test_a_run_is_that_of_all_who_hold_shares_and_its_record_is_verified(tmp_path: Path) -> None:
    """Of 30 clients twelve are asked, and ten hold shares; what was opened is computed again."""
    data = {
        f"c{i:02d}": (np.random.default_rng(i).normal(size=(9, 3)).astype(np.float32), np.arange(9) % 2)
        for i in range(30)
    }
    pipe = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(24, of="sum", clients=12))
    sample = h.Uniform(12, quorum=9)
    models = []
    for aggregator in (h.EncryptedSum(), h.EncryptedSum(holders=10, colluders=0.0)):
        plan = h.Plan(h.Softmax(3, 2), pipe=pipe, aggregator=aggregator, sample=sample, rounds=2)
        run = Store(tmp_path / "runs").new("plan", plan.digest, "app", {}, 2)
        run.ciphertexts = tmp_path / repr(aggregator)
        with pytest.warns(UserWarning, match="ciphertexts"):
            states = list(h.App(plan, data).run(run))
        assert not any(state.skipped for state in states)
        assert verify(run, ciphertexts=run.ciphertexts) == 2
        models.append(states[-1].x)
    assert np.allclose(models[0], models[1], atol=2e-5)
