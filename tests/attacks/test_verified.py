"""VerifiedSum under attack: who lies is refused by name, the round goes on, and each check is missed when deleted.

Which attack is tested where; without a file: here, or in test_verified_aggregators.py, through whole rounds.

T1–T5    proofs that are random, of another vector, changed in any element, swapped: test_a_changed_report…,
         test_any_changed_byte…, test_any_changed_element…, test_a_changed_proof…, test_two_reports… (tests/vdaf)
T6–T13   forged success (zero, cut), no bits, ½, one success too few or many, v and u shifted by 2ⁿ, the bound and one
         more, wrapped in four and in all coordinates, p/2: test_a_lie_is_refused…, test_success_is_a_bit,
         test_what_is_no_bit…, test_one_success…, test_the_bound_itself… (tests/vdaf)
         wrapped in thirty shapes at the largest bound: test_wraparound.py
T14–T15  limits of parameters, t a root of unity: test_parameters…, test_a_query_at_a_root… (tests/vdaf)
T16      every term, proof and comparison deleted, and those of helpers: defences.py
T17–T18  elements ≥ p, lengths, types, NaN, other parameters: test_a_changed_report…, test_whatever_a_client_says…,
         test_an_honest_client_with…, test_every_parameter_is_bound (tests/vdaf)
T19      nonces, rounds, names, plans, models, public shares: test_a_replayed_report…, test_a_report_of_an_earlier…,
         test_a_report_of_another…, test_one_who_was_told…, test_clients_who_were_told…, test_a_nonce_belongs…,
         test_the_helper_must_get…
T20      key, cohort, challenge changed, refused clients counted, one client, two sums, another public key, helpers that
         do not finish or say another sum: test_a_refused_client…, test_a_client_counts…, test_a_server…, test_a_helper…
T21–T22  order: test_the_order_of_arrival… (tests/contracts); randomness twice: test_reports_have_fresh… (tests/vdaf)
T42 T47  noise of each aggregator, sums below p/2: test_each_aggregator_adds…, test_a_sum_that_could_wrap…
T48      many reports, invalid ones: test_memory_does_not_grow…; T49 time of each verdict: benchmarks/byzantine.py
T50      pickles: test_a_pickle_is_never_opened
"""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attackers_verified import (
    HELPER,
    HONEST,
    KEY,
    LIES,
    PLAN,
    VALUES,
    B,
    Crafted,
    Forger,
    Loud,
    P,
    Server,
    attacker,
    flip,
    honest,
    plan_of,
    states,
    vector,
    verified_one,
)
from tests.vdaf.attackers import Attacker

import hansa as h
from hansa import codec as wire
from hansa.aggregators.verified import server as verified_server
from hansa.crypto import vdaf
from hansa.errors import LeftOut
from hansa.testing.algorithm import federation

# ── clients that prove what is false ──


@pytest.mark.guards(
    "all are bits",
    "v + u = B²",
    "dots are as claimed",
    "enough checks succeed",
    "the norm is proven",
    "proofs are decided",
    "side values are bits",
)
@pytest.mark.promise("P12")
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_by_name_and_the_others_are_summed(lie: str) -> None:
    kind, x = LIES[lie]
    (state,) = states(PLAN, [*honest(PLAN), attacker(Forger, PLAN, x=x, kind=kind)])
    assert state.participants == HONEST and not state.skipped
    assert list(state.excluded) == ["mallory"] and "A proof does not hold" in state.excluded["mallory"]
    (alone,) = states(PLAN, honest(PLAN))
    assert state.x.tobytes() == alone.x.tobytes()


@pytest.mark.control("it is the lie that is refused, not how the attacker speaks")
@pytest.mark.promise("P15")
@pytest.mark.parametrize("kind, x", [(Attacker, vector(B)), (Attacker, vector(P - 1, P - B // 2)), (Loud, [1])])
def test_a_liar_who_does_not_lie_is_in(kind: Any, x: list[int]) -> None:
    (state,) = states(PLAN, [*honest(PLAN), attacker(Forger, PLAN, x=x, kind=kind)])
    assert state.participants == (*HONEST, "mallory") and not state.excluded


# ── reports that are changed on their way ──


def changed(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Any]:
    return lambda report: {**report, name: change(report[name])}


CHANGES: dict[str, Callable[[Any], Any]] = {
    "public": changed("public", lambda p: [flip(p[0]), *p[1:]]),
    "public, random": changed("public", lambda p: [secrets.token_bytes(len(one)) for one in p]),
    "public, swapped": changed("public", lambda p: p[::-1]),
    "public, short": changed("public", lambda p: [p[0][:-1], *p[1:]]),
    "public, long": changed("public", lambda p: [p[0] + bytes(10**6), *p[1:]]),
    "public, more": changed("public", lambda p: [*p, p[0]]),
    "leader": changed("leader", lambda s: [flip(s[0], 8), *s[1:]]),
    "leader, proofs": changed("leader", lambda s: [flip(s[0], len(s[0]) - 200), *s[1:]]),
    "leader, random proof": changed("leader", lambda s: [s[0][:-800] + bytes(736) + s[0][-64:], *s[1:]]),
    "leader, side": changed("leader", lambda s: [s[0], flip(s[1], 16)]),
    "leader, above p": changed("leader", lambda s: [P.to_bytes(8, "little") + s[0][8:], *s[1:]]),
    "leader, short": changed("leader", lambda s: [s[0][:-8], *s[1:]]),
    "leader, long": changed("leader", lambda s: [s[0] + bytes(8), *s[1:]]),
    "leader, less": changed("leader", lambda s: s[:1]),
    "leader, text": changed("leader", lambda s: ["share", *s[1:]]),
    "sealed": changed("sealed", lambda s: [[flip(s[0][0], 40), *s[0][1:]]]),
    "sealed, swapped": changed("sealed", lambda s: [s[0][::-1]]),
    "sealed, empty": changed("sealed", lambda s: [[b""] * len(s[0])]),
    "sealed, no point": changed("sealed", lambda s: [[bytes(len(box)) for box in s[0]]]),
    "sealed, for two": changed("sealed", lambda s: [*s, *s]),
    "sealed, for none": changed("sealed", lambda s: []),
    "nonce": changed("nonce", lambda n: vdaf.nonce()),  # type: ignore[arg-type,return-value]
    "nonce, long": changed("nonce", lambda n: n * 10**5),
    "nothing": lambda report: {},
    "no report": lambda report: report["leader"][0],
    "one word more": lambda report: {**report, "more": 1},
    "a vector": lambda report: np.zeros(PLAN.encoded_spec.size),
    "a pickle": lambda report: pickle.dumps(report),
}


@pytest.mark.guards("proofs are decided", "a report is no more than a report")
@pytest.mark.promise("P12", "P18")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_report_is_refused_and_the_round_goes_on(change: str) -> None:
    (state,) = states(PLAN, [*honest(PLAN), attacker(Crafted, PLAN, craft=CHANGES[change])])
    assert state.participants == HONEST and not state.skipped
    assert list(state.excluded) == ["mallory"] and "report" in state.excluded["mallory"]


FIELDS = st.sampled_from(["nonce", "public", "leader", "sealed"])


@pytest.mark.guards("a report is read before it is used")
@pytest.mark.promise("P12")
@settings(max_examples=40, deadline=None)
@given(value=VALUES, name=FIELDS, place=st.sampled_from(["whole", "field", "entry"]))
def test_whatever_a_client_says_the_round_goes_on(value: Any, name: str, place: str) -> None:
    def craft(report: Any) -> Any:
        if place == "whole":
            return value if value is not None else 0
        return {**report, name: value if place == "field" else [value, *report[name][1:]] if name != "nonce" else value}

    (state,) = states(PLAN, [*honest(PLAN, 2), attacker(Crafted, PLAN, craft=craft)])
    assert state.participants == HONEST[:2] and not state.skipped
    assert list(state.excluded) == ["mallory"]


@pytest.mark.guards("a lone attacker ends no run")
def test_a_liar_who_is_asked_alone_does_not_end_the_run() -> None:
    plan = plan_of(sample=h.Poisson(0.3, quorum=2), rounds=20)
    run = states(plan, [*honest(plan), attacker(Crafted, plan, craft=CHANGES["leader"])])
    assert len(run) == 20
    assert any(list(state.excluded) == ["mallory"] and "0 answered, 2 needed" in state.skipped for state in run)
    assert any(len(state.participants) >= 2 and not state.skipped for state in run)
    assert all("mallory" not in state.participants for state in run)


@pytest.mark.guards("helpers are no clients")
def test_one_liar_and_the_helpers_who_refuse_do_not_end_the_run() -> None:
    """A quorum of three is missed, both helpers say so, and the next round is no worse for it."""
    plan = plan_of(h.VerifiedSum(2), sample=h.Everyone(quorum=3), rounds=2)
    with pytest.warns(LeftOut, match="fewer than 3"):
        run = states(plan, [*honest(plan, 2), attacker(Crafted, plan, craft=CHANGES["public"])])
    assert [bool(state.skipped) for state in run] == [True, True]
    assert "refused" in run[0].excluded["mallory"] and run[0].excluded[HELPER] == "refused"


OPENED = list[int]()


def opened() -> None:
    """Somebody has executed what a pickle says."""
    OPENED.append(1)


class Opened:
    """Says so when it is unpickled."""

    def __reduce__(self) -> Any:
        return opened, ()


@pytest.mark.guards("nothing is unpickled")
@pytest.mark.promise("P56")
def test_a_pickle_is_never_opened() -> None:
    with pytest.raises(h.errors.ProtocolError, match="no safetensors file"):
        wire.loads(pickle.dumps(Opened()))
    (state,) = states(PLAN, [*honest(PLAN), attacker(Crafted, PLAN, craft=lambda report: [pickle.dumps(Opened())])])
    assert state.participants == HONEST and not OPENED


# ── replay ──


def kept(plan: h.Plan, secret: h.Key) -> list[Any]:
    """The reports of one client in a whole run, with a helper of this secret."""
    reports = list[Any]()

    def keep(report: Any) -> Any:
        reports.append(report)
        return report

    one = Crafted("mallory", plan, honest(plan)[0].data, craft=keep)
    list(h.synchronous(plan, h.InProcess([*honest(plan), one], secret=secret)))
    return reports


@pytest.mark.guards("a report is bound to its session")
@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    "plan",
    [PLAN, plan_of(seed=1), plan_of(rounds=2), plan_of(h.VerifiedSum(bound=2.0))],
    ids=["another run", "another seed", "more rounds", "another bound"],
)
def test_a_replayed_report_is_refused(plan: h.Plan) -> None:
    """Of an earlier run, with the same helper's key even; or of another plan with vectors of the same length."""
    secret = h.Key.fresh()
    report, *_ = kept(plan, secret)
    clients = [*honest(PLAN), attacker(Crafted, PLAN, craft=lambda own: report)]
    (state,) = h.synchronous(PLAN, h.InProcess(clients, secret=secret))
    assert state.participants == HONEST
    assert "does not open" in state.excluded["mallory"]


@pytest.mark.guards("a report is bound to its session")
@pytest.mark.promise("P16")
def test_a_report_of_an_earlier_round_is_refused() -> None:
    plan, reports = plan_of(rounds=3), list[Any]()

    def craft(report: Any) -> Any:
        reports.append(report)
        return reports[0]

    first, *others = states(plan, [*honest(plan), attacker(Crafted, plan, craft=craft)])
    assert first.participants == (*HONEST, "mallory") and not first.excluded
    for state in others:
        assert state.participants == HONEST and "does not open" in state.excluded["mallory"]


@pytest.mark.guards("a report is sealed with its client")
@pytest.mark.promise("P16")
def test_a_report_of_another_client_is_refused() -> None:
    reports = list[Any]()

    def craft(report: Any) -> Any:
        reports.append(report)
        return reports[0]

    clients = [Crafted(who, PLAN, honest(PLAN)[0].data, craft=craft) for who in ("victim", "zzz")]
    (state,) = states(PLAN, [*honest(PLAN), *clients])
    assert state.participants == (*HONEST, "victim")
    assert "it comes twice" in state.excluded["zzz"]
    server, own = verified_one()
    own["client-1"] = server.sign("client-1", own.pop("client-0"))
    assert "does not open" in server.pass_on(own)["client-1"]


@pytest.mark.guards("a nonce belongs to one report")
@pytest.mark.promise("P18")
def test_a_nonce_belongs_to_one_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clients agree on one, and make all else as they should."""
    nonce = vdaf.nonce()
    monkeypatch.setattr(vdaf, "nonce", lambda: nonce)
    (state,) = states(PLAN, [h.Client(who, PLAN, honest(PLAN)[0].data) for who in ("x", "y", "z")])
    assert len(state.participants) < 2
    assert all("it comes twice" in state.excluded[who] for who in ("y", "z"))


@pytest.mark.guards("a report is bound to the model")
@pytest.mark.promise("P16")
def test_one_who_was_told_another_model_is_refused() -> None:
    """So a server cannot look at one client by a model of its own."""
    server = Server(PLAN, honest(PLAN))
    server.open()
    reports = server.hear(["client-0", "client-1"])
    x = server.channel.head.broadcast[0]["x"]
    other = replace(server.channel.head, broadcast=({"x": x + 1}, server.channel.head.broadcast[1]))
    server.runtime.send(replace(other, bodies={"client-2": server.opening}))
    reports["client-2"] = server.runtime.receive().body
    assert set(reports["client-2"]) == {"nonce", "public", "leader", "sealed", "signature"}
    reply, why = server.check(reports)
    assert reply == ["client-0", "client-1"] and "not signed" in why["client-2"]


@pytest.mark.guards(
    "a report is bound to the key", "a report is bound to the challenges", "a report is bound to the cohort"
)
@pytest.mark.promise("P16")
def test_clients_who_were_told_otherwise_are_refused() -> None:
    """Another key, challenge or cohort than the helper: their proofs are bound to what they heard."""
    for name in ("key", "challenges", "cohort"):
        server = Server(PLAN, honest(PLAN))
        server.open()
        right, random = server.opening, secrets.token_bytes(32)
        reports = server.hear(["client-0", "client-1"])
        server.opening = {**right, name: [random] if name == "challenges" else random}
        reports |= server.channel.gather({"client-2": server.opening})
        reply, why = server.check(reports)
        assert reply == ["client-0", "client-1"] and "not signed" in why["client-2"]


@pytest.mark.guards("a public share is signed, and sealed in")
@pytest.mark.promise("P17")
def test_the_helper_must_get_the_same_public_share() -> None:
    """Joint randomness follows from it; a server that could choose it would choose what the helper computes."""
    server, reports = verified_one()
    for who, i in (("client-0", 0), ("client-1", 1)):
        public = list(reports[who]["public"])
        public[i] = flip(public[i])
        reports[who] = {**reports[who], "public": public}
    reply = server.pass_on(reports)
    assert "not signed" in reply["client-0"] and "not signed" in reply["client-1"]
    assert isinstance(reply["client-2"], list)


# ── many at once ──


@pytest.mark.guards("a refusal is of one report")
@pytest.mark.promise("P18")
def test_one_report_of_a_batch_does_not_harm_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of two, with attackers in between."""
    monkeypatch.setattr(verified_server, "MOST", 2)
    attackers = [
        Forger(f"client-{i}x", PLAN, honest(PLAN)[0].data, x=vector(B, B)) if i % 2 else
        Crafted(f"client-{i}x", PLAN, honest(PLAN)[0].data, craft=CHANGES["leader, short"])
        for i in range(4)
    ]  # fmt: skip
    (state,) = states(PLAN, [*honest(PLAN, 5), *attackers])
    assert state.participants == tuple(f"client-{i}" for i in range(5))
    assert set(state.excluded) == {f"client-{i}x" for i in range(4)}
    (alone,) = states(PLAN, honest(PLAN, 5))
    assert state.x.tobytes() == alone.x.tobytes()


# ── the point of it all ──


@dataclass
class Louder(h.Client):
    """Says its honest update times −1000."""

    def reply(self, request: Any, given: Any) -> Any:
        return -1000 * (yield from super().reply(request, given))


@pytest.mark.guards("proofs are decided")
@pytest.mark.promise("P12")
def test_byzantine_clients_destroy_the_plain_sum_and_are_refused_by_the_verified_one() -> None:
    """A fifth of ten clients say their update times 1000."""
    parties = federation(10)
    names = sorted(parties)
    lying, rest = set(names[:2]), names[2:]
    everyone = tuple(np.concatenate(pieces) for pieces in zip(*parties.values(), strict=True))

    def last(aggregator: h.aggregators.Aggregator, make: Any, who: list[str], **more: Any) -> tuple[float, h.State]:
        plan = plan_of(aggregator, rounds=8, training=h.Training(batch=0, epochs=3, learning_rate=0.3))
        attackers = [make(name, plan, parties[name], secret=KEY, **more) for name in who if name in lying]
        others = [h.Client(name, plan, parties[name], secret=KEY) for name in who if name not in lying]
        *_, state = states(plan, [*attackers, *others])
        return plan.model.score(state.x, everyone)["accuracy"], state

    plain, _ = last(h.Sum(), Louder, names)
    good, state = last(h.VerifiedSum(), Forger, names, times=-1000.0)
    alone, want = last(h.VerifiedSum(), h.Client, rest)
    assert plain < 0.5 < good == alone
    assert state.x.tobytes() == want.x.tobytes() and set(state.excluded) == lying
    assert all("A proof does not hold" in why for why in state.excluded.values())
