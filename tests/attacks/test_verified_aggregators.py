"""The aggregators of a VerifiedSum under attack: servers and helpers that do as they like, and checks that are deleted.

Which attack is tested where stands in test_verified.py.
"""

from __future__ import annotations

import secrets
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.attacks.attackers_verified import (
    HELPER,
    HONEST,
    PLAN,
    VALUES,
    B,
    P,
    Server,
    honest,
    plan_of,
    states,
    verified_one,
)

import hansa as h
from hansa.aggregators.verified import server as verified_server
from hansa.aggregators.verified.claims import Norm
from hansa.aggregators.verified.reports import Reports
from hansa.crypto import vdaf
from hansa.crypto.identity import Identity
from hansa.crypto.pine import PRODUCT
from hansa.parties.book import Book
from hansa.parties.helper import Helper
from hansa.plan import server as server_half
from hansa.transforms.discrete import LARGEST

# ── servers that do as they like ──


@pytest.mark.guards("joint randomness is compared")
@pytest.mark.promise("P19")
def test_a_refused_client_is_not_counted_with_a_made_up_verdict() -> None:
    """The helper is told that a report is valid, with a random message in place of the seeds."""
    server, reports = verified_one()
    reply = server.pass_on(reports)
    message = [secrets.token_bytes(64), secrets.token_bytes(32)]
    server.ask({"verdicts": dict.fromkeys(reply, message)})
    assert server.ask({"close": list(reply)}) is None


@pytest.mark.guards("a helper compares the opening")
@pytest.mark.promise("P16")
def test_a_helper_checks_with_the_key_that_clients_were_promised() -> None:
    """Another may have been told to an attacker."""
    assert Server(PLAN, honest(PLAN)).open(key=bytes(32)) is not True


@pytest.mark.guards("a helper compares the opening")
@pytest.mark.promise("P16")
def test_a_helper_hears_of_the_same_cohort_as_the_clients() -> None:
    server = Server(PLAN, honest(PLAN))
    assert server.open(cohort=server.cohort[:2]) is not True


@pytest.mark.guards("a report is of the cohort")
@pytest.mark.promise("P16")
def test_a_stranger_is_not_in_the_sum() -> None:
    """Who is not in the cohort was asked in secret."""
    server = Server(PLAN, honest(PLAN))
    server.cohort = ["client-0", "client-1"]
    server.open()
    assert not isinstance(server.pass_on(server.hear(["client-2"]))["client-2"], list)


@pytest.mark.guards("a client has one report")
@pytest.mark.promise("P18")
def test_a_client_counts_once_however_many_reports_it_has() -> None:
    """The second is a new one, with a nonce of its own."""
    server, reports = verified_one()
    server.check(reports)
    first = server.clients[0]
    twin = h.Client("client-0", PLAN, first.data, identity=first.identity, roster=first.roster)
    again = twin.answer(replace(server.channel.head, bodies={"client-0": server.opening})).reply
    reply = server.pass_on({"client-0": again}, count=list(reports))
    assert not isinstance(reply["client-0"], list)


@pytest.mark.guards("a sum holds enough clients")
@pytest.mark.promise("P20")
def test_a_helper_says_no_sum_over_one_client() -> None:
    server, reports = verified_one()
    server.check({"client-0": reports["client-0"]})
    assert server.ask({"close": ["client-0"]}) is None


@pytest.mark.guards("a helper says one sum in a round")
@pytest.mark.promise("P20")
def test_a_helper_says_no_two_sums_of_one_round() -> None:
    """All, and all but one, in two sessions of one round: the difference is what one client says."""
    server, reports = verified_one()
    server.check(reports)
    assert server.ask({"close": server.cohort})
    server.session(1)
    server.open()
    server.check(server.hear(["client-0", "client-1"]))
    assert server.ask({"close": ["client-0", "client-1"]}) is None


@pytest.mark.guards("a sum holds enough clients")
@pytest.mark.promise("P20")
def test_a_helper_says_why_it_refuses() -> None:
    server, reports = verified_one()
    server.check({"client-0": reports["client-0"]})
    assert server.ask({"close": ["client-0"]}) is None
    assert "It says none over fewer than 2" in server.why()
    assert server.ask({"close": ["client-0"]}) is None  # what it has refused is over


@pytest.mark.guards("a helper says one sum in a round")
@pytest.mark.promise("P20")
def test_a_helper_sums_once_in_a_session() -> None:
    server, reports = verified_one()
    assert server.check(reports) == (server.cohort, {})
    end = server.ask({"close": server.cohort})
    assert end["seen"] == server.cohort
    assert server.ask({"close": server.cohort}) is None
    assert server.ask({"reports": [], "count": []}) is None
    server.session(1)
    assert server.ask({"key": server.secret, "cohort": server.cohort}) is None
    assert "has answered in round 0" in server.why()


@pytest.mark.guards("a helper knows the quorum")
@pytest.mark.promise("P20")
def test_a_higher_quorum_binds_the_helper() -> None:
    plan = plan_of(sample=h.Everyone(quorum=3))
    server = Server(plan, honest(plan))
    server.open()
    two = dict(list(server.hear(server.cohort).items())[:2])
    server.check(two)
    assert server.ask({"close": list(two)}) is None
    assert "fewer than 3" in server.why()


@pytest.mark.guards("a report is bound to the challenges", "a signature is of its session")
@pytest.mark.promise("P16")
def test_the_same_session_again_needs_new_reports() -> None:
    """A helper that has lost its book and secret has another challenge; what it was sent before does not open."""
    server, reports = verified_one()
    one = server.runtime.helpers[HELPER]
    server.runtime.helpers[HELPER] = Helper(HELPER, PLAN, identity=one.identity, roster=one.roster)
    server.runtime.memory.book = Book()
    server.session(0)
    server.open()
    server.hear([])
    answers = server.pass_on(reports)
    assert list(answers) == server.cohort
    assert all("not signed" in str(answer) for answer in answers.values())


@pytest.mark.guards("shares are sealed for the helper")
@pytest.mark.promise("P17")
def test_a_server_cannot_put_its_own_key_in_place_of_a_helpers() -> None:
    clients = honest(PLAN)
    runtime = h.InProcess(clients)  # which gives clients the key of the true helper
    false = Identity.fresh(HELPER, "helper")
    runtime.helpers[HELPER] = Helper(HELPER, PLAN, identity=false, roster=runtime.members)
    server = Server(PLAN, clients, runtime)
    server.open()
    assert all("does not open" in reply for reply in server.pass_on(server.hear(server.cohort)).values())


NAMES = st.sampled_from(["client-0", "client-1", "a stranger"])
LISTS = st.lists(VALUES, max_size=2)
NONCES, SIGNATURES = st.binary(min_size=16, max_size=16), st.binary(min_size=64, max_size=64)
ROWS = st.tuples(NAMES, NONCES, LISTS, LISTS, LISTS, SIGNATURES)  # nearly reports
MESSAGES = st.one_of(
    VALUES,
    st.fixed_dictionaries({"reports": st.lists(ROWS | VALUES, max_size=2), "count": LISTS}),
    st.fixed_dictionaries({"verdicts": st.dictionaries(NAMES, VALUES, max_size=2)}),
    st.fixed_dictionaries({"close": st.lists(NAMES | VALUES, max_size=3)}),
    st.fixed_dictionaries({"key": st.binary(min_size=32, max_size=32) | VALUES, "cohort": VALUES}),
)


@pytest.mark.guards("a helper reads a report before it opens it")
@pytest.mark.promise("P10")
@settings(max_examples=150, deadline=None)
@example({"reports": [("client-0", bytes(16), [], [None], [], bytes(64))], "count": []}, 1)
@example({"reports": [("client-0", bytes(16), [7], [b""], [None], bytes(64))], "count": []}, 1)
@given(MESSAGES, st.integers(0, 2))
def test_whatever_a_server_says_a_helper_answers_or_refuses(reply: Any, right: int) -> None:
    """After nothing, the opening or a batch of reports that were in order."""
    server = Server(PLAN, honest(PLAN, 2))
    if right:
        server.open()
    if right > 1:
        server.pass_on(server.hear(server.cohort))
    server.ask(reply)
    assert server.ask({"close": ["client-0", "client-1"]}) is None


# ── helpers that do as they like ──


def after(word: str, what: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """What it says where it is asked for `word`; all else is honest."""
    return lambda asked, reply: what(reply) if isinstance(asked, dict) and word in asked else reply


def silent(reply: Any) -> Any:
    raise h.errors.ProtocolError("It has gone.", "", "")


def other_sum(reply: Any) -> Any:
    return {**reply, "totals": [bytes(len(total)) for total in reply["totals"]]}


DECEITS: dict[str, Callable[[Any, Any], Any]] = {
    "silent at once": after("cohort", silent),
    "silent in the middle": after("reports", silent),
    "silent at the end": after("close", silent),
    "no challenge": after("cohort", lambda reply: b""),
    "a word for a challenge": after("cohort", lambda reply: "challenge"),
    "nonsense for verifier shares": after("reports", lambda reply: 7),
    "nonsense for verdicts": after("verdicts", lambda reply: {"client-0": 1}),
    "other clients": after("close", lambda reply: {**reply, "seen": reply["seen"][1:]}),
    "a short sum": after("close", lambda reply: {**reply, "totals": [t[:-8] for t in reply["totals"]]}),
    "fewer sums": after("close", lambda reply: {**reply, "totals": reply["totals"][:1]}),
    "no element": after("close", lambda reply: {**reply, "totals": [b"\xff" * len(t) for t in reply["totals"]]}),
    "another sum": after("close", other_sum),
    "nonsense for a sum": after("close", lambda reply: None if reply is None else 3),
}


@pytest.mark.guards("sums are over the same clients", "a sum is within reach")
@pytest.mark.promise("P21")
@pytest.mark.parametrize("deceit", DECEITS)
def test_a_helper_that_breaks_the_protocol_voids_the_round_and_not_the_run(deceit: str) -> None:
    plan = plan_of(rounds=2)
    begun = list[Any]()

    def first(asked: Any, reply: Any) -> Any:
        if isinstance(asked, dict) and isinstance(asked.get("cohort"), list):
            begun.append(asked)
        return DECEITS[deceit](asked, reply) if len(begun) == 1 else reply

    void, good = states(plan, honest(plan), craft=first)
    assert void.skipped and np.array_equal(void.x, plan.start().x) and not void.participants
    assert good.participants == HONEST and not good.skipped


@pytest.mark.guards("a refusal is of one report")
@pytest.mark.promise("P21")
@pytest.mark.parametrize("wrong", [7, None, "valid", [], [b""], [b"", b""], [1, 2], {"a": 1}, [b"x" * 2000] * 2])
def test_a_helper_that_says_nonsense_of_a_report_costs_that_report_only(wrong: Any) -> None:
    """A helper can refuse whom it likes, and is told apart from a client that lies by nobody."""
    craft = after("reports", lambda reply: {**reply, "client-1": wrong})
    (state,) = states(PLAN, honest(PLAN), craft=craft)
    assert state.participants == ("client-0", "client-2") and "client-1" in state.excluded


@pytest.mark.guards("all aggregators finish")
@pytest.mark.promise("P19")
def test_a_helper_that_does_not_finish_loses_the_client() -> None:
    craft = after("verdicts", lambda reply: [who for who in reply if who != "client-1"])
    (state,) = states(PLAN, honest(PLAN), craft=craft)
    assert state.participants == ("client-0", "client-2")
    assert "other joint randomness" in state.excluded["client-1"]


@pytest.mark.control("proofs hold against clients only")
@pytest.mark.promise("P10")
def test_a_helper_can_spoil_a_sum_undetected_and_learns_nothing_by_it() -> None:
    """Which is why false proofs are only found while all aggregators do their work."""

    def moved(reply: Any) -> Any:
        first, *more = reply["totals"]
        x = (int.from_bytes(first[:8], "little") + B) % P
        return {**reply, "totals": [x.to_bytes(8, "little") + first[8:], *more]}

    (state,) = states(PLAN, honest(PLAN), craft=after("close", moved))
    (right,) = states(PLAN, honest(PLAN))
    assert state.participants == HONEST and not state.skipped
    assert state.x[0] - right.x[0] == pytest.approx(1 / 3, rel=1e-5)
    assert np.array_equal(state.x[1:], right.x[1:])


# ── noise ──


@pytest.mark.guards("a helper adds its noise", "the server adds its noise")
@pytest.mark.promise("P24")
@pytest.mark.parametrize("helpers", [1, 2])
def test_each_aggregator_adds_the_whole_noise_to_its_share(helpers: int) -> None:
    """σ² each, independent; whole steps; the plan counts on one of them."""
    pieces: Any = {"pipe": (h.Clip(1.0), h.Weigh("one")), "training": h.Training(batch=0, report=False), "rounds": 3}
    pieces |= {"sample": h.Everyone(quorum=2)}
    plain, noisy = (
        h.Plan(h.Softmax(300, 10), aggregator=h.VerifiedSum(helpers, noise=z), **pieces) for z in (0.0, 2.0)
    )
    ((d, bound, sigma),) = noisy.sum_spec.noise.parts
    assert sigma == pytest.approx(2.0 * bound) and d == 3010
    aggregator = noisy.aggregator
    assert isinstance(aggregator, h.VerifiedSum)
    key, terms = h.Key.fresh(), aggregator._terms(noisy.encoded_spec)
    draws = np.stack([terms.drawn(key.child(i), set())["delta"] for i in range(4)])
    assert draws.dtype == np.int64
    assert np.std(draws) == pytest.approx(sigma, rel=0.03)
    data = {f"client-{i}": (np.zeros((2, 300)), np.zeros(2, int)) for i in range(2)}
    start = plain.start()
    sums = []
    for state in h.synchronous(noisy, h.InProcess([h.Client(who, noisy, one) for who, one in data.items()])):
        sums.append((state.x - start.x) * 2 / noisy.sum_spec.noise.step["delta"])
        start = state
    drawn = np.stack(sums)[:, 600:]  # coordinates whose gradient is 0: no example has that feature, or it is equal
    assert np.std(drawn) == pytest.approx(sigma * (1 + helpers) ** 0.5, rel=0.06)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.1


@pytest.mark.guards("an aggregator's noise covers all blocks")
@pytest.mark.promise("P24")
def test_the_plan_counts_on_one_honest_aggregator() -> None:
    for helpers in (1, 3):
        plan = plan_of(h.VerifiedSum(helpers, noise=1.5), rounds=10)
        server = plan_of(
            pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16), h.DiscreteGaussianNoise(1.5)),
            aggregator=h.Sum(),
            rounds=10,
        )
        told = [h.planned_privacy(one).guarantee(1e-6).epsilon for one in (plan, server)]
        assert told[0] == pytest.approx(told[1], rel=1e-3)
        sigmas = {
            name: sigma / bound
            for name, (_, bound, sigma) in zip(plan.encoded_spec.blocks, plan.sum_spec.noise.parts, strict=True)
        }
        assert sum(ratio**-2 for ratio in sigmas.values()) == pytest.approx(1.5**-2)


@pytest.mark.guards("a sum does not wrap around")
@pytest.mark.promise("P25")
def test_a_sum_that_could_wrap_around_is_no_sum() -> None:
    """n·B, and the noise of all aggregators, must stay below p/2; at the largest bound and noise, billions do."""
    claim = Norm(("delta",), 2, PRODUCT.largest, (1.0,), False, 9)
    nothing = [bytes(2 * claim.sum.field.size)] * 9
    most, margin = 2**36, 40 * 9 * LARGEST
    assert claim.read(nothing, most, margin).tolist() == [0, 0]
    for n, noise in ((4 * most, margin), (most, 2.0**63)):
        with pytest.raises(h.errors.RoundError, match="it would wrap around"):
            claim.read(nothing, n, noise)


# ── many at once ──


class Flood:
    """A letterbox into which n reports fall that are invalid in different ways, and a real helper behind it."""

    def __init__(self, n: int):
        self.n, self.excluded = n, 0
        self.report = verified_one()[1]["client-0"]
        self.server = Server(PLAN, honest(PLAN))
        self.identity = Identity.fresh("all of them", "client")
        self.roster = dict.fromkeys(map(str, range(n)), self.identity.member)
        self.server.runtime.helpers[HELPER].roster = self.roster
        head = self.server.channel.head
        secret, memo = h.Key.fresh(), PLAN.start().transforms
        at = PLAN.context(head.round, head.session, secret=secret, task=head.task, memo=memo)
        self.at = at.enrolled(self.roster)

    def gather(self, bodies: Any) -> Any:
        return self.server.channel.gather(bodies)

    def exclude(self, who: str, why: str) -> None:
        self.excluded += 1

    def as_completed(self, bodies: Any) -> Iterator[tuple[str, Any]]:
        assert isinstance(PLAN.aggregator, h.VerifiedSum)
        reports = Reports.of(self.at.session, bodies["0"], PLAN.aggregator.parties)
        sizes = {name: [len(one) for one in self.report[name]] for name in ("public", "leader")}
        for i in range(self.n):
            leader = [bytes(size - (i % 20 > 0)) for size in sizes["leader"]]
            sealed = [[bytes([i % 251]) * len(box) for box in row] for row in self.report["sealed"]]
            report = {"nonce": vdaf.nonce(), "public": [bytes(size) for size in sizes["public"]], "leader": leader}
            report = {**report, "sealed": sealed}
            yield f"{i}", reports.signed(report, replace(self.identity, who=f"{i}"))


def flooded(n: int) -> int:
    """Bytes at the peak."""
    flood = Flood(n)
    tracemalloc.start()
    try:
        mean, participants = PLAN.aggregator.server(flood, list(flood.roster), server_half.decoder(PLAN, flood.at))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert mean is None and not participants and flood.excluded == n
    return peak


@pytest.mark.guards("reports are checked in batches")
def test_memory_does_not_grow_with_invalid_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified_server, "MOST", 64)
    few, many = flooded(200), flooded(2000)
    assert many < 1.4 * few


@pytest.mark.guards("reports are checked in batches")
def test_memory_does_not_grow_with_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is gone when it is in the sum, at its client too."""
    monkeypatch.setattr(verified_server, "MOST", 4)
    peaks = []
    for n in (2, 8, 40):
        plan = h.Plan(
            h.Softmax(1000, 10),
            pipe=(h.Clip(1.0, side=10.0), h.Weigh("one")),
            aggregator=h.VerifiedSum(),
            training=h.Training(batch=0),
            sample=h.Everyone(quorum=2),
            rounds=1,
        )
        data = np.zeros((2, 1000)), np.zeros(2, int)
        runtime = h.InProcess([h.Client(f"client-{i:02d}", plan, data) for i in range(n)])
        tracemalloc.start()
        try:
            (state,) = h.synchronous(plan, runtime)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(state.participants) == n
    assert peaks[2] < 1.5 * peaks[1]
