"""The loops: what repeats, who is in a sum, who is lost and why, what a run reports, and how it goes on."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from hansa import (
    AdaptiveClip,
    Client,
    Clip,
    Ditto,
    Everyone,
    FedAvg,
    FedDyn,
    Finite,
    GaussianNoise,
    InProcess,
    InTurn,
    Key,
    Krum,
    MimeLite,
    Momentum,
    Network,
    Plan,
    Poisson,
    Policy,
    Quantize,
    Scaffold,
    Softmax,
    State,
    Training,
    Uniform,
    Weigh,
    Yogi,
    buffered,
    synchronous,
)
from hansa import data as local
from hansa.errors import DataError, LeftOut, PlanError, ProtocolError, RoundError
from hansa.messages import Request, SessionId
from hansa.plan import server
from hansa.state import FAILED
from hansa.testing.algorithm import federation
from hansa.testing.asserts import equal

KEY = Key.of(0)  # a secret that repeats

MODEL = Softmax(4, 3)
PARTIES = federation(8)
SECURE = (
    Finite(),
    AdaptiveClip(side=10.0),
    Weigh("examples", cap=32),
    GaussianNoise(0.1, by="all", least=4),
    Quantize(24),
)


def plan(**given: Any) -> Plan:
    return Plan(MODEL, **{"rounds": 4, "training": Training(batch=8), **given})


def clients(p: Plan, parties: Any = PARTIES, **allow: Any) -> list[Client]:
    return [Client(who, p, data, allow=Policy(**allow), secret=KEY) for who, data in parties.items()]


def states(p: Plan, parties: Any = PARTIES, network: Any = None, seed: int = 0, **more: Any) -> list[State]:
    return list(synchronous(p, InProcess(clients(p, parties), network, seed, KEY), secret=KEY, **more))


def alike(a: Sequence[State], b: Sequence[State]) -> bool:
    return len(a) == len(b) and all(equal(vars(one), vars(other)) for one, other in zip(a, b, strict=True))


KINDS = {
    "fedavg": {},
    "yogi, three of eight": {"algorithm": FedAvg(Yogi(0.1)), "sample": Uniform(3)},
    "scaffold, by chance": {"algorithm": Scaffold(), "sample": Poisson(0.6)},
    "feddyn": {"algorithm": FedDyn(alpha=0.1), "pipe": (Weigh("one"),)},
    "ditto, momentum": {"algorithm": Ditto(Momentum(0.5))},
    "mimelite": {"algorithm": MimeLite(), "sample": Uniform(5)},
    "noise and integers": {"pipe": SECURE, "sample": Everyone(quorum=4)},
    "krum": {"aggregator": Krum(f=2), "sample": Everyone(quorum=7)},
    "held out": {"training": Training(batch=8, validation=0.25)},
}

# ── the same bytes ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P46")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_same_seed_gives_the_same_bytes_in_any_order(kind: dict[str, Any]) -> None:
    """Of the list of clients, and of the arrival of their replies: four networks without loss, four orders."""
    p = plan(**kind)
    first = states(p)
    backwards = dict(reversed(PARTIES.items()))
    assert alike(first, states(p, backwards))
    for seed in range(4):
        assert alike(first, states(p, backwards, Network(latency=1.0, stragglers=0.3), seed))
    assert not equal(first[-1].x, states(replace(p, seed=1))[-1].x)


def test_replies_do_arrive_in_different_orders() -> None:
    """Else the test above would test nothing."""
    p, orders = plan(aggregator=Krum(f=2), sample=Everyone(quorum=7)), set()
    for seed in range(4):
        runtime = InProcess(clients(p), Network(latency=1.0), seed)
        runtime.send(Request(p.digest, 0, SessionId(), server.broadcast(p, p.start()), dict.fromkeys(PARTIES)))
        orders.add(tuple(runtime.receive().who[0] for _ in PARTIES))
    assert len(orders) == 4


@pytest.mark.parametrize("loop", [synchronous, buffered])
def test_what_a_network_does_repeats(loop: Any) -> None:
    p, network = plan(sample=Everyone(deadline=3.0), rounds=6), Network(1.0, drop=0.2, stragglers=0.25)

    def go(seed: int) -> tuple[list[State], float]:
        runtime = InProcess(clients(p), network, seed)
        more = {"size": 4, "busy": 6} if loop is buffered else {}
        return list(loop(p, runtime, **more)), runtime.now

    (one, now), (again, then), (other, _) = go(0), go(0), go(1)
    assert alike(one, again) and now == then > 0
    assert not equal(one[-1].x, other[-1].x)
    reasons = {why for state in one for why in state.excluded.values()}
    assert reasons == {"absent", "late"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_run_goes_on_from_any_state_as_if_it_had_never_stopped(kind: dict[str, Any]) -> None:
    """In fresh clients, that are given back what they remembered."""
    p, network = plan(**kind), Network(1.0, drop=0.1)
    runtime, memories, whole = InProcess(clients(p), network), [], []
    for state in synchronous(p, runtime, secret=KEY):
        whole.append(state)
        memories.append({who: dict(memo) for who, memo in runtime.memory.after(state.counted).items()})
    for i, state in enumerate(whole):
        fresh = InProcess(clients(p), network)
        fresh.memory.load(memories[i])
        assert alike(whole[i + 1 :], list(synchronous(p, fresh, state, KEY)))


def test_a_run_can_be_repeated_on_the_same_runtime() -> None:
    """A session that a client has been in before is a new conversation when it starts again."""
    p = plan(sample=Uniform(3))
    runtime = InProcess(clients(p))
    first = list(synchronous(p, runtime))
    again = list(synchronous(p, runtime))
    assert alike(first, again) and not again[-1].excluded


def test_a_loop_does_nothing_after_the_last_round() -> None:
    p = plan(rounds=2)
    last = states(p)[-1]
    assert list(synchronous(p, InProcess(clients(p)), last)) == []


# ── who is in, who is lost ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P49")
def test_everybody_asked_is_in_the_sum_or_lost_with_a_reason() -> None:
    p = plan(sample=Uniform(6, deadline=2.0), rounds=20)
    counts = dict.fromkeys(("seen", "absent", "late"), 0)
    for state in states(p, network=Network(1.0, drop=0.2)):
        assert (
            len(state.participants) + len(state.excluded) == 6 and not set(state.participants) & state.excluded.keys()
        )
        assert list(state.participants) == sorted(state.participants)
        counts["seen"] += len(state.participants)
        for why in state.excluded.values():
            counts[why] += 1
    assert sum(counts.values()) == 120
    # a reply takes Exp(1) s; late with e⁻² = 0.135, unless dropped, with 0.2
    assert counts["absent"] == pytest.approx(24, abs=15) and counts["late"] == pytest.approx(13, abs=12)


@pytest.mark.promise("P50")
def test_time_passes_to_the_slowest_or_to_the_deadline() -> None:
    p = plan(sample=Everyone(deadline=0.5), rounds=10)
    runtime = InProcess(clients(p), Network(latency=1.0))
    for state in synchronous(p, runtime):
        assert runtime.now <= 0.5 * state.round + 1e-9
        if "late" in state.excluded.values():
            assert runtime.now > 0.5 * (state.round - 1)


@pytest.mark.guards("a round has its quorum")
@pytest.mark.promise("P50")
def test_fewer_than_the_quorum_leave_the_model_as_it_was() -> None:
    p = plan(sample=Everyone(quorum=7), pipe=(AdaptiveClip(), Weigh("one")), algorithm=FedAvg(Momentum()), rounds=12)
    before, failed, stepped = p.start(), 0, 0
    for state in states(p, network=Network(drop=0.15)):
        assert state.round == before.round + 1 and len(state.participants) + len(state.excluded) == 8
        if len(state.participants) < 7:
            failed += 1
            assert state.skipped == f"{len(state.participants)} answered, 7 needed"
            assert equal((state.x, state.memo, state.transforms), (before.x, before.memo, before.transforms))
            assert state.metrics == {}
        else:
            stepped += 1
            assert not state.skipped and not equal(state.x, before.x)
        before = state
    assert failed and stepped


def test_a_round_that_asks_nobody_changes_nothing() -> None:
    p = plan(sample=Poisson(1e-9))
    (*_, last) = states(p)
    assert (
        equal(last.x, p.start().x) and last.round == 4 and last.skipped == "0 answered, 1 needed" and not last.excluded
    )


def spoilt(who: str, how: str) -> dict[str, Any]:
    """The parties, one of which has data that cannot be trained on."""
    X, y = (part.copy() for part in PARTIES[who])
    bad = {
        "NaN": (np.where(X > 1.5, np.nan, X), y),
        "a wrong shape": (X[:, :3], y),
        "unequal lengths": (X, y[:-1]),
        "no examples": (X[:0], y[:0]),
        "a label out of range": (X, np.where(np.arange(len(y)) == len(y) - 1, 7, y)),
        "a negative label": (X, y - 1),
        "words": (X.astype(str), y),
        "an iterator that is read once": iter([(X, y)]),
    }[how]
    return {**PARTIES, who: bad}


@pytest.mark.parametrize(
    "how, words",
    [
        ("NaN", "NaN or infinity"),
        ("a wrong shape", "takes 4 numbers"),
        ("unequal lengths", "Lengths differ"),
        ("no examples", "no examples"),
        ("a label out of range", "classes=8"),
        ("a negative label", "lie in -1"),
        ("words", "real numbers"),
        ("an iterator that is read once", "only once"),
    ],
)
def test_bad_data_keeps_its_client_out_and_its_own_words_stay_with_it(how: str, words: str) -> None:
    parties = spoilt("client-3", how)
    others = {who: data for who, data in parties.items() if who != "client-3"}
    with pytest.warns(LeftOut, match=rf"client-3(.|\n)*{re.escape(words)}") as received:
        run = states(plan(), parties)
    assert len(received) == 1  # not once a round
    for state, without in zip(run, states(plan(), others), strict=True):
        assert state.excluded == {"client-3": "data"}
        assert equal(state.x, without.x)  # and nobody else notices


@pytest.mark.promise("P63")
def test_bad_data_among_many_rows_or_held_out_is_found_before_training() -> None:
    """Also behind the first 4096 rows, and among those that are held out."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5000, 4)), rng.integers(0, 3, 5000)
    y[4999] = 3
    with pytest.raises(DataError, match="anna"):
        Client("anna", plan(), (X, y)).check()
    for seed in range(5):  # whichever part the row falls into
        with pytest.raises(DataError, match="anna"):
            Client("anna", plan(training=Training(validation=0.5), seed=seed), (X[4990:], y[4990:])).check()


@pytest.mark.promise("P50")
def test_a_client_that_diverges_stays_out_and_the_others_go_on() -> None:
    far = {who: (1e200 * X if who == "client-2" else X, y) for who, (X, y) in PARTIES.items()}
    with np.errstate(all="ignore"):
        state = states(plan(pipe=(Finite(), Weigh("examples"))), far)[-1]
    assert state.excluded == {"client-2": "data"}
    assert np.isfinite(state.x).all() and MODEL.score(state.x, PARTIES["client-7"])["accuracy"] > 0.5


def test_when_nobody_can_take_part_the_loop_stops_and_says_why() -> None:
    nothing = {who: (X[:0], y[:0]) for who, (X, y) in PARTIES.items()}
    with pytest.raises(RoundError, match="None of the 8 clients") as caught, pytest.warns(LeftOut) as received:
        states(plan(), nothing)
    assert caught.value.why.startswith("client-0 (data), client-1 (data)") and "and 3 more" in caught.value.why
    assert "client-0: There are no examples." in str(received[0].message)


def test_when_the_network_loses_all_the_loop_goes_on() -> None:
    *_, last = states(plan(sample=Everyone(deadline=1e-9)), network=Network(latency=1.0))
    assert last.round == 4 and set(last.excluded.values()) == {"late"} and last.skipped == "0 answered, 1 needed"


def test_a_rule_that_hears_too_few_does_not_blame_those_who_answered() -> None:
    """One of five has bad data, Krum needs five: the round fails, and the next one may not."""
    parties = dict(list(spoilt("client-3", "NaN").items())[:5])
    p = plan(aggregator=Krum(f=1), sample=Everyone(quorum=1))
    for state in states(p, parties):
        assert "4" in state.skipped and equal(state.x, p.start().x) and set(state.excluded) == set(parties)
        assert state.excluded == dict.fromkeys(parties, FAILED) | {"client-3": "data"}


# ── what an owner forbids ────────────────────────────────────────────────────────────────────────────────────────────

NOISY = plan(pipe=(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(0.5)), sample=Everyone(quorum=3))


@pytest.mark.guards("a policy is checked")
@pytest.mark.promise("P4", "P5")
@pytest.mark.parametrize(
    "allow, found, allowed",
    [
        ({"min_cohort": 4}, "a quorum of 3", "at least 4"),
        ({"max_rounds": 3}, "4 rounds", "at most 3"),
        ({"sees": "sum"}, "with Sum() the server may see each client's vector", "that others see the sum at most"),
        ({"min_noise": 0.7}, "noise multiplier of 0.5", "at least 0.7"),
        ({"reports": False}, "reports of loss", "no reports"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_owner_refuses_and_says_why(allow: dict[str, Any], found: str, allowed: str) -> None:
    shy = Client("shy", NOISY, PARTIES["client-0"], allow=Policy(**allow))
    with pytest.warns(LeftOut, match=rf"shy(.|\n)*{re.escape(found)}(.|\n)*{re.escape(allowed)}"):
        for state in synchronous(NOISY, InProcess([*clients(NOISY), shy])):
            assert state.excluded == {"shy": "refused"} and len(state.participants) == 8
    with pytest.raises(RoundError, match="None of the 8") as caught:
        list(synchronous(NOISY, InProcess(clients(NOISY, **allow))))
    assert "client-0 (refused)" in caught.value.why


def test_an_owner_who_allows_just_this_takes_part() -> None:
    kind = {"min_cohort": 3, "max_rounds": 4, "sees": "each", "min_noise": 0.5}
    assert not list(synchronous(NOISY, InProcess(clients(NOISY, **kind))))[-1].excluded
    quiet = plan(training=Training(report=False))
    *_, last = synchronous(quiet, InProcess(clients(quiet, reports=False)))
    assert not last.excluded and last.metrics == {}


@pytest.mark.guards("digests are compared")
@pytest.mark.promise("P3")
def test_server_and_clients_must_hold_the_same_plan() -> None:
    own, theirs = plan(), plan(seed=1)
    with pytest.raises(ProtocolError, match="and holds"):
        Client("anna", own, PARTIES["client-0"]).answer(
            Request(theirs.digest, 0, SessionId(), server.broadcast(own, own.start()), {"anna": None})
        )
    with pytest.raises(RoundError, match="None of the"), pytest.warns(LeftOut, match=theirs.digest[:8]):
        next(synchronous(own, InProcess(clients(theirs))))


WHAT: dict[str, Any] = {
    "no pair": None,
    "nothing": ({}, (None,)),
    "a short model": ({"x": np.zeros(3)}, (None,)),
    "text": ({"x": "no"}, (None,)),
    "more than the plan tells": ({"x": np.zeros(15), "y": np.zeros(15)}, (None,)),
    "another pipe": ({"x": np.zeros(15)}, ()),
}


@pytest.mark.guards("a client reads what it is told")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("broadcast", WHAT.values(), ids=WHAT)
def test_a_client_answers_only_what_its_plan_tells(broadcast: Any) -> None:
    p = plan(pipe=(Weigh("one"),))
    anna = Client("anna", p, PARTIES["client-0"])
    said = anna.answer(Request(p.digest, 0, SessionId(), ({"x": np.zeros(15)}, (None,)), {"anna": None}))
    assert said.reply.shape == (p.encoded_spec.size,)
    with pytest.raises(ProtocolError, match="does not tell"):
        anna.answer(Request(p.digest, 0, SessionId(number=1), broadcast, {"anna": None}))


@pytest.mark.promise("P3")
@pytest.mark.parametrize("number", [-1, 4])
def test_a_client_answers_in_no_other_round_than_the_plan_has(number: int) -> None:
    p = plan(rounds=4)
    with pytest.raises(ProtocolError, match=f"round {number}"):
        Client("anna", p, PARTIES["client-0"]).answer(
            Request(p.digest, number, SessionId(), server.broadcast(p, p.start()), {"anna": None})
        )


class Mumbler(Client):
    """Says something else than a vector of the plan."""

    said: Any = None

    def reply(self, request: Request, given: Any) -> Any:
        yield from ()
        return self.said


@pytest.mark.guards("a sum is of vectors of the plan")
@pytest.mark.promise("P2")
@pytest.mark.parametrize("reply", [np.ones(1), np.float64(1.0), np.ones(18), np.ones(17, int), "hi"], ids=repr)
@pytest.mark.parametrize("loop", [synchronous, partial(buffered, size=4, busy=9)], ids=["synchronous", "buffered"])
def test_what_is_no_vector_stays_out_of_the_sum(reply: Any, loop: Any) -> None:
    """One number would be added to every coordinate, as NumPy does it."""
    p = plan()
    attacker = Mumbler("aaron", p, PARTIES["client-0"])
    attacker.said, excluded = reply, dict[str, str]()
    for state in loop(p, InProcess([attacker, *clients(p)])):
        assert "aaron" not in state.participants
        excluded |= state.excluded
    assert excluded == {"aaron": "invalid"}


@pytest.mark.parametrize("loop", [synchronous, partial(buffered, size=9, busy=9)], ids=["synchronous", "buffered"])
def test_what_is_not_finite_leaves_the_model_as_it_was(loop: Any) -> None:
    p = plan(pipe=(Weigh("one"),))
    attacker = Mumbler("aaron", p, PARTIES["client-0"])
    attacker.said = np.full(p.encoded_spec.size, np.nan)
    first = next(loop(p, InProcess([attacker, *clients(p)])))
    assert equal(first.x, p.start().x) and "NaN" in first.skipped and "Finite()" in first.skipped


def test_clients_do_not_hold_the_models_of_past_rounds() -> None:
    p = plan(sample=Uniform(1), rounds=6)
    runtime, models = InProcess(clients(p)), list[weakref.ref[Any]]()
    for state in synchronous(p, runtime):
        models.append(weakref.ref(state.x))
    gc.collect()
    assert [x() is None for x in models] == [True] * 5 + [False]  # `state` holds the last


# ── what is reported ─────────────────────────────────────────────────────────────────────────────────────────────────


def by_hand(x: Any, X: Any, y: Any) -> tuple[float, float]:
    """Mean loss and accuracy of softmax regression, one example at a time."""
    W = x.reshape(5, 3)
    losses, right = [], []
    for a, label in zip(X, y, strict=True):
        z = a @ W[:4] + W[4]
        losses.append(np.log(np.exp(z).sum()) - z[label])
        right.append(z.argmax() == label)
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("weigh", [Weigh("one"), Weigh("examples"), Weigh("examples", cap=30)], ids=repr)
def test_reports_are_weighted_means(weigh: Weigh) -> None:
    """The training loss, and the held-out loss and accuracy of the model that came down, weighed as the update is."""
    p = plan(pipe=(weigh,), training=Training(batch=0, learning_rate=0.5, validation=0.3))
    parts = {who: local.Examples.of(data).split(0.3, p.key.child("split", who)) for who, data in PARTIES.items()}
    sizes = np.array([len(train) for train, _ in parts.values()])
    weights = np.ones(8) if weigh.by == "one" else np.minimum(sizes, weigh.cap or np.inf)
    x = p.start().x
    for state in states(p):
        train = [by_hand(x, *part.arrays)[0] for part, _ in parts.values()]
        held = [by_hand(x, *part.arrays) for _, part in parts.values()]
        want = {
            "loss": np.average(train, weights=weights),
            "val_loss": np.average([loss for loss, _ in held], weights=weights),
            "val_accuracy": np.average([right for _, right in held], weights=weights),
        }
        assert state.metrics == pytest.approx(want, rel=1e-9)
        x = state.x


@pytest.mark.promise("P6")
def test_what_is_not_reported_is_not_on_the_wire() -> None:
    assert list(plan().encoded_spec.blocks) == ["delta", "loss", "weight"]
    assert list(plan(training=Training(report=False)).encoded_spec.blocks) == ["delta", "weight"]
    assert states(plan(training=Training(report=False)))[-1].metrics == {}


# ── who is asked ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Census(Sequence[str]):
    """A million names, none of which is written down; reading them all is an error."""

    reads = 0

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, i: Any) -> Any:
        self.reads += 1
        return f"{i:07d}"

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the whole roster is read")


@pytest.mark.parametrize("sample, most", [(Uniform(50), 50), (Poisson(5e-5), 120)], ids=["uniform", "poisson"])
def test_a_draw_reads_only_the_names_it_draws(sample: Any, most: int) -> None:
    roster = Census()
    drawn = sample.draw(roster, Key.of(0))
    assert 0 < len(drawn) == len(set(drawn)) == roster.reads <= most
    assert drawn == sorted(drawn)


NAMES = [f"client-{i:02d}" for i in range(10)]


def inclusion(sample: Any, draws: int = 4000) -> Any:
    """[draws, 10]: was this client drawn?"""
    cohorts = [sample.draw(NAMES, Key.of(3).child(i)) for i in range(draws)]
    for cohort in cohorts:
        assert cohort == sorted(set(cohort))
    return np.array([[name in cohort for name in NAMES] for cohort in cohorts], float)


def test_everyone_is_everyone() -> None:
    assert Everyone().draw(NAMES, Key.of(0)) == NAMES


def test_uniform_draws_are_of_one_size_and_every_pair_is_as_likely() -> None:
    drawn = inclusion(Uniform(3))
    assert (drawn.sum(1) == 3).all()
    together = drawn.T @ drawn / len(drawn)
    np.testing.assert_allclose(np.diag(together), 0.3, atol=5 * np.sqrt(0.21 / 4000))
    apart = together[~np.eye(10, dtype=bool)]
    np.testing.assert_allclose(apart, 3 / 10 * 2 / 9, atol=5 * np.sqrt(0.067 / 4000))


def test_poisson_draws_are_independent() -> None:
    drawn = inclusion(Poisson(0.3))
    np.testing.assert_allclose(drawn.mean(0), 0.3, atol=5 * np.sqrt(0.21 / 4000))
    together = drawn.T @ drawn / len(drawn)
    np.testing.assert_allclose(together[~np.eye(10, dtype=bool)], 0.09, atol=5 * np.sqrt(0.082 / 4000))
    assert drawn.sum(1).var() == pytest.approx(10 * 0.21, rel=0.12)  # of a binomial: not always three


def test_draws_differ_from_round_to_round_and_repeat_with_the_seed() -> None:
    p = plan(sample=Uniform(3), rounds=12)
    one, again, other = states(p), states(p), states(replace(p, seed=5))
    assert [s.participants for s in one] == [s.participants for s in again] != [s.participants for s in other]
    assert len({s.participants for s in one}) > 6


def test_a_sample_larger_than_the_roster_is_the_roster() -> None:
    assert Uniform(100).draw(NAMES, Key.of(0)) == NAMES


# ── the buffer ───────────────────────────────────────────────────────────────────────────────────────────────────────


def flow(p: Plan, parties: Any = PARTIES, network: Any = None, **more: Any) -> list[State]:
    return list(buffered(p, InProcess(clients(p, parties), network), **{"size": 4, "busy": 6, **more}))


def test_a_buffer_steps_with_as_many_vectors_as_it_holds() -> None:
    for state in flow(plan(rounds=8), network=Network(1.0, drop=0.1, stragglers=0.2)):
        assert len(state.participants) == 4 and not state.skipped
        assert not set(state.participants) & state.excluded.keys() and set(state.excluded.values()) <= {"absent"}


def test_a_buffer_learns() -> None:
    *_, last = flow(plan(rounds=40), network=Network(1.0, drop=0.1))
    assert MODEL.score(last.x, PARTIES["client-7"])["accuracy"] > 0.8


def test_staleness_scales_the_update_and_not_what_is_reported() -> None:
    """Losses are near log 3 in the first rounds; scaled by 1/√(1+τ) they would be half of that."""
    p = plan(pipe=(Weigh("one"),), training=Training(steps=1, learning_rate=1e-6), rounds=5)
    for state in flow(p, network=Network(1.0), size=1, busy=8):
        assert state.metrics["loss"] == pytest.approx(np.log(3), abs=1e-4)


def test_a_buffer_stops_when_nobody_can_take_part() -> None:
    nothing = {who: (X[:0], y[:0]) for who, (X, y) in PARTIES.items()}
    for size, busy in ((4, 6), (10, 30)):  # also where it asks for more than there are
        with pytest.raises(RoundError, match="None of the"):
            flow(plan(), nothing, size=size, busy=busy)


def test_a_buffer_leaves_those_out_who_cannot_take_part() -> None:
    parties = spoilt("client-3", "NaN")
    participants: set[str] = set()
    for state in flow(plan(rounds=12), parties, Network(1.0)):
        participants |= set(state.participants)
        assert set(state.excluded) <= {"client-3"}
    assert participants == PARTIES.keys() - {"client-3"}


def test_a_buffer_of_few_clients_counts_each_once_for_the_quorum() -> None:
    """Three clients fill a buffer of four by answering more than once: that may be a sum over two."""
    three, before, void = dict(list(PARTIES.items())[:3]), plan().start(), 0
    network = Network(1.0, stragglers=0.4)
    for state in flow(plan(sample=Everyone(quorum=3), rounds=20), three, network, size=4, busy=6):
        few = (n := len(set(state.participants))) < 3
        assert state.skipped == (f"{n} answered, 3 needed" if few else "") and equal(state.x, before.x) == few
        before, void = state, void + few
    assert 0 < void < 20


def test_a_buffer_goes_on_from_a_state() -> None:
    p = plan(rounds=6)
    third = flow(p)[2]
    rest = list(buffered(p, InProcess(clients(p)), third, size=4, busy=6))
    assert [state.round for state in rest] == [4, 5, 6]
    assert all(len(state.participants) == 4 for state in rest)


# ── what does not count is not remembered ────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P60")
@pytest.mark.parametrize("algorithm", [Scaffold(), FedDyn(alpha=0.1)], ids=["scaffold", "feddyn"])
def test_clients_and_server_stay_in_step_when_rounds_fail(algorithm: Any) -> None:
    """c = mean cᵢ, and h = −α·mean of what gₖ took up, although half of the rounds miss their quorum."""
    p = plan(algorithm=algorithm, pipe=(Weigh("one"),), sample=Everyone(quorum=7), rounds=20)
    runtime = InProcess(clients(p), Network(drop=0.15))
    void = 0
    for state in synchronous(p, runtime):
        void += bool(state.skipped)
        memos, name = runtime.memory.after(state.counted), "c" if isinstance(algorithm, Scaffold) else "g"
        mean = sum((memo[name] for memo in memos.values()), np.zeros(MODEL.size)) / len(PARTIES)
        np.testing.assert_allclose(state.memo["c" if name == "c" else "h"], mean, atol=1e-12)
    assert 0 < void < p.rounds


def test_a_runtime_used_again_starts_again() -> None:
    p = plan(algorithm=Scaffold())
    runtime = InProcess(clients(p))
    assert alike(list(synchronous(p, runtime)), list(synchronous(p, runtime)))


@pytest.mark.parametrize("loop", [synchronous, partial(buffered, size=2, busy=4)], ids=["synchronous", "buffered"])
@pytest.mark.parametrize(
    "given, words",
    [
        ({"sample": Everyone(quorum=10)}, "10 answers from 8"),
        ({"sample": Uniform(50)}, "samples 50 of 8"),
        ({"sample": InTurn(50)}, r"samples 50 of 8(?s:.*)InTurn\(8\)"),
        ({"aggregator": Krum(f=4)}, "has 8 clients"),
    ],
    ids=["quorum", "size", "turns", "krum"],
)
def test_a_plan_that_the_roster_cannot_fulfil(given: dict[str, Any], words: str, loop: Any) -> None:
    p = plan(**given)
    with pytest.raises(PlanError, match=words if loop is synchronous else None):
        next(loop(p, InProcess(clients(p))))


def test_a_buffer_that_nobody_fills_gives_up() -> None:
    p = plan(sample=Everyone(deadline=1e-9))
    with pytest.raises(RoundError, match="None of the last"):
        next(buffered(p, InProcess(clients(p), Network(latency=1.0)), size=2, busy=4))


def test_a_client_may_be_called_server() -> None:
    p = plan()
    assert p.context(0, SessionId(), secret=KEY).key != p.context(0, SessionId(), "server", secret=KEY).key


def test_a_reader_that_fails_costs_one_client_and_a_failing_training_names_it() -> None:
    def missing() -> Any:
        raise FileNotFoundError("records.csv")
        yield

    p = plan(rounds=1)
    with pytest.warns(LeftOut, match="zoe's data(.|\n)*FileNotFoundError: records.csv"):
        state = next(synchronous(p, InProcess([*clients(p), Client("zoe", p, missing)])))
    assert state.excluded == {"zoe": "data"}

    class Fails(Softmax):
        def train(self, *_: Any) -> Any:
            raise ZeroDivisionError

    p = replace(p, model=Fails(4, 3))
    with pytest.raises(ZeroDivisionError) as error:
        next(synchronous(p, InProcess(clients(p))))
    assert error.value.__notes__ == ["This happened when client-0 trained in round 0."]
