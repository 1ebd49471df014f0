"""MaskedSum: the sum of those who are in it, to the last bit, whoever vanishes, or no sum; in every runtime."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_hidden import NEVER, TURNS, Circle, Line, Talk, served, spec_of, why

import hansa as h
from hansa.aggregators.hidden.terms import Scheme
from hansa.aggregators.masked import Masks
from hansa.codec import fingerprint
from hansa.errors import PlanError
from hansa.spec import Vector
from hansa.testing import check_aggregator
from hansa.testing.algorithm import MODEL, federation
from hansa.transforms import Context, Transform

KEY = h.Key.of(0)
PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20))
TRAINING = h.Training(batch=0, learning_rate=0.05)


# ── who vanishes ──


class Remembered:
    """A client whose answers are a function of what it has heard in a session, and are computed once.

    Its secrets of the session are drawn, and what follows from them is said again, as after a restart.
    """

    def __init__(self, circle: Circle, who: str):
        self.circle = circle
        self.who = who
        self.drawn = b""
        self.answers: dict[tuple[bytes, ...], Any] = {}

    def begin(self) -> Remembered:
        """From the first turn."""
        self.heard: tuple[Any, ...] = ()
        self.key: tuple[bytes, ...] = ()
        return self

    def hear(self, body: Any) -> Any:
        """What it says to this, after what it has heard."""
        self.heard = (*self.heard, body)
        self.key = (*self.key, fingerprint(body))
        if self.key not in self.answers:
            talk = self.circle.talk(self.who, self.drawn)
            said = [talk.hear(one) for one in self.heard]
            self.drawn = talk.drawn
            self.answers[self.key] = said[-1]
        return self.answers[self.key]


def outcome(circle: Circle, gone: dict[str, int], talks: dict[str, Talk] | None = None) -> bool:
    """Was a sum opened, where these vanish? It is that of those in it, and else the words say how many are left."""
    total, inside, cell, _ = served(circle, Line(talks, gone) if talks else None, gone=gone)
    t = circle.terms().t
    left = [[who for who in circle.names if gone.get(who, NEVER) > turn] for turn in range(TURNS)]
    short = next((some for some in left if len(some) < t), None)
    if short is None:
        assert total is not None, why(cell)
        assert inside == left[1] and np.array_equal(total, circle.sum(inside))
        return True
    assert total is None
    assert why(cell).startswith(f"{len(short)} of {circle.n} clients have") and f"{t} must" in why(cell)
    return False


@pytest.mark.promise("P404")
@pytest.mark.promise("P404")
def test_any_of_five_may_vanish_at_any_turn() -> None:
    """All 3,125 ways in which each vanishes at one of four turns, or stays."""
    circle = Circle()
    people = {who: Remembered(circle, who) for who in circle.names}
    opened = 0
    for turns in itertools.product((0, 1, 2, 3, NEVER), repeat=circle.n):
        talks: Any = {who: one.begin() for who, one in people.items()}
        opened += outcome(circle, dict(zip(circle.names, turns, strict=True)), talks)
    assert opened == 1 + 5 * 4  # none, or one of them at one turn: four of five open a sum


FIFTY = Circle(n=50, spec=spec_of(200))  # of whom 34 open a sum


@pytest.mark.promise("P404")
@pytest.mark.promise("P404")
@pytest.mark.parametrize("lost", [0, 5, 15, 16, 17])
def test_so_many_of_fifty_may_vanish(lost: int) -> None:
    """Each at a turn at random; where one fewer than t are left, there is no sum."""
    rng = np.random.Generator(np.random.PCG64(lost))
    gone = {who: int(rng.integers(TURNS)) for who in rng.permutation(FIFTY.names)[:lost].tolist()}
    assert outcome(FIFTY, gone) == (lost <= 16)


@pytest.mark.parametrize("bits", [1, 9, 16, 17, 32, 33, 64])
def test_words_of_any_width_are_added(bits: int) -> None:
    circle = Circle(spec=spec_of(33, modulus=bits))
    assert outcome(circle, {"client-02": 1})


def test_the_order_of_answers_changes_nothing() -> None:
    circle = Circle()
    total, inside, _, _ = served(circle, backwards=True, gone={"client-00": 2})
    assert inside == circle.names and np.array_equal(total, circle.sum(inside))


# ── whole runs ──


@dataclass(frozen=True)
class Noted(Transform):
    """Notes, in this process, each vector that is said, and the sum of which the mean is decoded."""

    def encode(self, v: Any, at: Context) -> Any:
        SAID[at.round, at.who] = v.copy()
        return v

    def decode(self, total: Any, at: Context) -> Any:
        SUMS[at.round] = total.copy()
        return total


SAID: dict[tuple[int, str], Any] = {}
SUMS: dict[int, Any] = {}


def plan_of(pipe: Iterable[Transform] = PIPE, **more: Any) -> h.Plan:
    pieces = {"training": TRAINING, "sample": h.Everyone(quorum=4), "rounds": 3, **more}
    return h.Plan(MODEL, pipe=tuple(pipe), aggregator=pieces.pop("aggregator", h.MaskedSum()), **pieces)


def clients(plan: h.Plan, n: int = 5) -> list[h.Client]:
    return [h.Client(who, plan, data, secret=KEY) for who, data in federation(n).items()]


def run(plan: h.Plan, runtime: Any) -> list[h.State]:
    with runtime:
        return list(h.synchronous(plan, runtime, secret=KEY))


def facts(states: list[h.State]) -> Any:
    return [
        (state.x.tobytes(), state.metrics, state.participants, dict(state.excluded), state.skipped) for state in states
    ]


PLANS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaffold": {"algorithm": h.Scaffold()},
    "weights": {"pipe": (h.Clip(1.0, side=10.0), h.Weigh("examples", cap=64), h.Quantize(20, of="sum", clients=20))},
    "rotate": {"pipe": (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Rotate(), h.Quantize(16, of="sum", clients=20))},
    "adaptive": {"pipe": (h.AdaptiveClip(0.5, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20))},
    "noise": {"pipe": (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16), h.SkellamNoise(0.5, by="all", least=4))},
}


@pytest.mark.parametrize("network", [None, h.Network(latency=1.0, vanish=0.25)], ids=["all stay", "some vanish"])
@pytest.mark.parametrize("name", PLANS)
def test_the_sum_of_a_run_is_that_of_its_vectors(name: str, network: h.Network | None) -> None:
    """Of those who are in it, to the last bit; or the round fails, and nothing has changed."""
    pieces = {"pipe": PIPE, **PLANS[name]}
    plan = plan_of((*pieces.pop("pipe"), Noted()), **pieces, rounds=6, sample=h.Everyone(quorum=6))
    SAID.clear()
    SUMS.clear()
    before = plan.start()
    found = run(plan, h.InProcess(clients(plan, 8), network, secret=KEY))
    for state in found:
        if state.skipped:
            assert state.x.tobytes() == before.x.tobytes() and not state.participants
            assert "and 6 must" in state.skipped
        else:
            want = np.sum([SAID[state.round - 1, who] for who in state.participants], axis=0, dtype=np.uint64)
            word = plan.encoded_spec.word
            mask = 2**plan.encoded_spec.sum_facts.modulus - 1
            assert np.array_equal(SUMS[state.round - 1] & word.type(mask), want.astype(word) & word.type(mask))
        before = state
    skipped = sum(bool(state.skipped) for state in found)
    assert (0 < skipped < 6) if network else not skipped


@pytest.mark.parametrize("name", ["scaffold", "noise"])
def test_same_bytes_in_one_process_and_in_many(name: str) -> None:
    pieces = {"pipe": PIPE, **PLANS[name]}
    plan = plan_of(**pieces)
    want = facts(run(plan, h.InProcess(clients(plan), secret=KEY)))
    assert facts(run(plan, h.InProcess(clients(plan)[::-1], h.Network(latency=1.0), secret=KEY))) == want
    assert facts(run(plan, h.Processes(clients(plan), 2, KEY))) == want


def test_same_bytes_of_a_population() -> None:
    """Whose clients are made when they are asked, with their keys."""
    plan = plan_of(sample=h.Uniform(6, quorum=5))
    data = list(federation(9).values())

    def population() -> h.Population:
        return h.Population(plan, 9, lambda i: data[i], secret=KEY)

    want = run(plan, h.InProcess(population(), secret=KEY))
    assert not any(state.skipped for state in want) and len(want[-1].participants) == 6
    assert facts(run(plan, h.Processes(population(), 2, KEY))) == facts(want)
    lossy = run(plan, h.InProcess(population(), h.Network(vanish=0.1), secret=KEY))
    assert any(state.participants for state in lossy)


# ── the contract ──


@pytest.mark.promise("P49")
def test_it_is_an_aggregator() -> None:
    check_aggregator(h.MaskedSum())
    check_aggregator(h.MaskedSum(0.75), (*PIPE[:2], h.Quantize(30, of="sum", clients=20)), clients=8, close=1e-5)


def test_who_can_lose_nobody_cannot_be_tried() -> None:
    with pytest.raises(AssertionError, match="it can lose none"):
        check_aggregator(h.MaskedSum(), clients=3)


class Bare(Masks):
    """Hides nothing."""

    def hide(self, v: Vector, *more: Any) -> Vector:
        return v

    def open(self, total: Vector, *more: Any) -> Vector:
        """Takes nothing off."""
        return total


class Same(Masks):
    """Adds what is the same in each session."""

    def hide(self, v: Vector, *more: Any) -> Vector:
        v += v.dtype.type(12345)
        return v

    def open(self, total: Vector, terms: Any, view: Any, inside: Any, secrets: Any) -> Vector:
        total -= total.dtype.type(12345 * int(inside.sum()))
        return total


class Leaves(Masks):
    """Takes the masks against those who are gone off nobody."""

    def wanted(self, prepared: Any, inside: Any) -> Any:
        return inside


@pytest.mark.parametrize(
    "scheme, sentence",
    [(Bare(), "the same in two runs"), (Same(), "the same in two runs"), (Leaves(), "off from the mean|it fails")],
    ids=lambda value: type(value).__name__,
)
def test_a_hidden_sum_that_breaks_a_promise(scheme: Scheme, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h.MaskedSum, "scheme", scheme)
    with pytest.raises(AssertionError, match=sentence):
        check_aggregator(h.MaskedSum())


def test_a_hidden_sum_that_says_less_of_a_later_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = h.MaskedSum.largest_reply
    monkeypatch.setattr(h.MaskedSum, "largest_reply", lambda self, spec, turn: whole(self, spec, turn) >> (turn == 1))
    with pytest.raises(AssertionError, match=r"largest_reply\(\) says .* at most for turn 1"):
        check_aggregator(h.MaskedSum())


# ── plans that hide nothing ──

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "real numbers": ({"pipe": PIPE[:2]}, r"real numbers.*\n.*\n.*Quantize\(16, of='sum', clients=…\)"),
    "no quorum": ({"sample": h.Everyone()}, "a round may end with 1"),
    "quorum of two": ({"sample": h.Everyone(quorum=2)}, "hides a client among 3 or more"),
    "quorum below t": ({"sample": h.Uniform(10, quorum=6)}, r"(?s)7 or more; a round may end with 6.*quorum=7"),
    "two clients": ({"sample": h.Uniform(2, quorum=2)}, "3 or more"),
    "a thousand and one": (
        {"sample": h.Uniform(1001, quorum=700), "pipe": (*PIPE[:2], h.Quantize(16))},
        r"1001 clients in one sum",
    ),
    "a secret sample": (
        {"sample": h.Poisson(0.5), "pipe": (*PIPE[:2], h.Quantize(16), h.SkellamNoise(1.0))},
        "a round may end with 1|nobody knowing|in a sum",
    ),
    "noise of more than the quorum": (
        {"pipe": (*PIPE[:2], h.Quantize(16), h.SkellamNoise(1.0, by="all", least=5))},
        "noise is whole with 5 clients",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_that_could_hide_nothing_is_refused(fault: str) -> None:
    pieces, words = FAULTS[fault]
    with pytest.raises(PlanError, match=words) as caught:
        plan_of(**pieces)
    assert caught.value.why and caught.value.instead


@pytest.mark.parametrize("share", [0, 0.5, 0.66, 1, 1.0, 1.5, float("nan"), float("inf"), "most", None, True])
def test_a_threshold_that_protects_nobody_is_refused(share: Any) -> None:
    with pytest.raises(PlanError, match="protects nobody from the server") as caught:
        h.MaskedSum(share)
    assert "MaskedSum()" in caught.value.instead


def test_a_quorum_below_t_of_those_who_are_there_is_refused() -> None:
    plan = plan_of(sample=h.Everyone(quorum=6))
    with pytest.raises(PlanError, match=r"(?s)Of 10 it needs 7.*quorum=7"):
        next(iter(h.synchronous(plan, h.InProcess(clients(plan, 10)))))


def test_a_threshold_of_nearly_all_takes_all() -> None:
    plan = plan_of(aggregator=h.MaskedSum(1 - 1e-9), sample=h.Everyone(quorum=5))
    assert not any(state.skipped for state in run(plan, h.InProcess(clients(plan))))


def test_a_buffer_refuses_and_says_so() -> None:
    plan = plan_of()
    with pytest.raises(PlanError, match=r"(?s)buffered cannot run MaskedSum.*whoever is ready.*Arriving\(MaskedSum"):
        next(iter(h.buffered(plan, h.InProcess(clients(plan)), size=3, busy=4)))


def test_an_owner_decides_what_the_server_may_see() -> None:
    """Whose policy wants more than the plan gives takes no part, and the others go on."""
    plan = plan_of()
    strict = h.Policy(min_cohort=5)
    some = clients(plan)
    some[0].allow = strict
    for state in run(plan, h.InProcess(some)):
        assert state.participants == ("client-1", "client-2", "client-3", "client-4")
        assert state.excluded["client-0"] == "refused"
    some = clients(plan)
    for one in some:
        one.allow = h.Policy(sees="sum", min_cohort=4)
    assert not any(state.skipped for state in run(plan, h.InProcess(some)))


def test_a_sum_without_room_for_all_is_refused_before_the_first_round() -> None:
    pipe = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=5))
    plan = h.Plan(MODEL, pipe=pipe, aggregator=h.MaskedSum(), sample=h.Everyone(quorum=5))
    clients = [h.Client(who, plan, data) for who, data in federation(6).items()]
    with pytest.raises(PlanError, match="room for 5"):
        next(h.synchronous(plan, h.InProcess(clients)))
