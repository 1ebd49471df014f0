"""VerifiedSum under attack: who lies is refused by name, the round goes on, and each check is missed when deleted.

Which attack is tested where; those without a file are in this one, through whole rounds:

proofs    changed or random: test_any_changed_byte…, test_a_changed_proof… (tests/vdaf); test_a_changed_report…
          of another vector, swapped: test_a_changed_report…, test_two_reports_cannot_be_mixed (tests/vdaf)
          each element of a share, a verifier share, a gadget: test_any_changed_element… (tests/vdaf)
claims    forged success (zero, cut), no bits, one success too few or many, v and u shifted by 2ⁿ, above the bound by
          one, wrapped around p in four and in all coordinates, p/2: test_a_lie_is_refused…
          success of ½: test_success_is_a_bit; no bits that balance: test_what_is_no_bit… (tests/vdaf)
          limits of parameters, t a root of unity: test_parameters_that_cannot_be…, test_a_query_at_a_root… (tests/vdaf)
deleted   each of these checks, and those of helpers: test_a_deleted_check_is_missed
decoding  elements ≥ p, lengths, types, pickles: test_a_changed_report…, test_whatever_a_client_says…
          NaN, infinity, subnormals: test_a_measurement_that_is_not_allowed… (tests/vdaf), test_an_honest_client_with…
          other parameters of the same lengths: test_every_parameter_is_bound (tests/vdaf)
replay    nonces, other rounds, names, plans, models; another public share for the helper: test_a_replayed_report…,
          test_one_who_was_told_another_model…, test_a_nonce_belongs…, test_the_helper_must_get_the_same_public_share
aggregators  key, cohort, challenge changed; a refused client counted; one client; two sums: test_a_deleted_check…
          another public key: test_a_server_cannot_put_its_own_key…; wrong sums, silence: test_a_helper_that…
noise     variance and independence: test_each_aggregator_adds…; sum below p/2: test_a_sum_that_could_wrap…
load      many invalid reports: test_memory_does_not_grow…; time of acceptance and refusal: benchmarks/byzantine.py
"""

from __future__ import annotations

import pickle
import secrets
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.liars_verified import (
    HELPER,
    B,
    Crafted,
    Cut,
    FalseRest,
    FalseSquare,
    Fewer,
    Forger,
    Loud,
    NoBit,
    P,
    Server,
    Zero,
    honest,
    liar,
    plan_of,
    states,
    vector,
    without,
    wrapped,
)
from tests.vdaf.liars import Liar, squares

import hansa as h
from hansa import wire
from hansa.aggregators import verified
from hansa.aggregators.share import Share
from hansa.client import Helper
from hansa.crypto import vdaf
from hansa.crypto.keys import PrivateKey
from hansa.crypto.norms import Claims
from hansa.crypto.pine import Pine
from hansa.testing.algorithm import federation
from hansa.transforms import Context

PLAN = plan_of()
HONEST = ("client-0", "client-1", "client-2")


# ── clients that prove what is false ──

LIES: dict[str, tuple[Any, list[int]]] = {
    "twice the bound": (Liar, vector(B, B)),
    "the bound and one": (Liar, vector(B, 1)),
    "v and u shifted": (Liar, vector(B, B, B, B)),
    "half of p": (Liar, vector(P // 2, P - 3)),
    "false square": (FalseSquare, vector(B, B)),
    "false rest": (FalseRest, vector(B, 100)),
    "no bit": (NoBit, vector(B // 2)),
    "one success too few": (Fewer, vector(B)),
    "wrapped, four": (Liar, vector(*squares(P + 12345))),
    "wrapped, all": (Liar, wrapped(12345)),
    "wrapped, zero": (Zero, vector(*squares(P + 12345))),
    "wrapped, cut": (Cut, wrapped(B**2)),
    "a side value": (Loud, [5]),
    "a negative side value": (Loud, [-1]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_by_name_and_the_others_are_summed(lie: str) -> None:
    kind, x = LIES[lie]
    (state,) = states(PLAN, [*honest(PLAN), liar(Forger, PLAN, x=x, kind=kind)])
    assert state.seen == HONEST and not state.note
    assert list(state.lost) == ["liar"] and "A proof does not hold" in state.lost["liar"]
    (alone,) = states(PLAN, honest(PLAN))
    assert state.x.tobytes() == alone.x.tobytes()


@pytest.mark.parametrize("kind, x", [(Liar, vector(B)), (Liar, vector(P - 1, P - B // 2)), (Loud, [1])])
def test_a_liar_who_does_not_lie_is_in(kind: Any, x: list[int]) -> None:
    (state,) = states(PLAN, [*honest(PLAN), liar(Forger, PLAN, x=x, kind=kind)])
    assert state.seen == (*HONEST, "liar") and not state.lost


# ── reports that are changed on their way ──


def flip(data: bytes, i: int = 0) -> bytes:
    return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]


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
    "a vector": lambda report: np.zeros(PLAN.wire.size),
    "a pickle": lambda report: pickle.dumps(report),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_report_is_refused_and_the_round_goes_on(change: str) -> None:
    (state,) = states(PLAN, [*honest(PLAN), liar(Crafted, PLAN, craft=CHANGES[change])])
    assert state.seen == HONEST and not state.note
    assert list(state.lost) == ["liar"] and "report" in state.lost["liar"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["nonce", "public", "leader", "sealed"]) | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(["nonce", "public", "leader", "sealed"])


@settings(max_examples=40, deadline=None)
@given(value=VALUES, name=FIELDS, place=st.sampled_from(["whole", "field", "entry"]))
def test_whatever_a_client_says_the_round_goes_on(value: Any, name: str, place: str) -> None:
    def craft(report: Any) -> Any:
        if place == "whole":
            return value if value is not None else 0
        return {**report, name: value if place == "field" else [value, *report[name][1:]] if name != "nonce" else value}

    (state,) = states(PLAN, [*honest(PLAN, 2), liar(Crafted, PLAN, craft=craft)])
    assert state.seen == HONEST[:2] and not state.note
    assert list(state.lost) == ["liar"]


def test_a_liar_who_is_asked_alone_does_not_end_the_run() -> None:
    plan = plan_of(sample=h.Poisson(0.3, quorum=2), rounds=20)
    run = states(plan, [*honest(plan), liar(Crafted, plan, craft=CHANGES["leader"])])
    assert len(run) == 20
    assert any(list(state.lost) == ["liar"] and "0 answered, 2 needed" in state.note for state in run)
    assert any(len(state.seen) >= 2 and not state.note for state in run)
    assert all("liar" not in state.seen for state in run)


def test_one_liar_and_the_helpers_who_refuse_do_not_end_the_run() -> None:
    """A quorum of three is missed, both helpers say so, and the next round is no worse for it."""
    plan = plan_of(h.VerifiedSum(2), sample=h.Everyone(quorum=3), rounds=2)
    run = states(plan, [*honest(plan, 2), liar(Crafted, plan, craft=CHANGES["public"])])
    assert [bool(state.note) for state in run] == [True, True]
    assert "refused" in run[0].lost["liar"] and "fewer than 3" in run[0].lost[HELPER]


def test_a_pickle_is_never_opened() -> None:
    class Opened:
        def __reduce__(self) -> Any:
            return exec, ("raise SystemExit('a pickle was opened')",)

    with pytest.raises(h.ProtocolError, match="no safetensors file"):
        wire.loads(pickle.dumps(Opened()))
    (state,) = states(PLAN, [*honest(PLAN), liar(Crafted, PLAN, craft=lambda report: [pickle.dumps(Opened())])])
    assert state.seen == HONEST


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("place, words", [(3, "The delta has norm"), (-1, "The loss is")])
def test_an_honest_client_with_a_broken_vector_says_so_and_nothing_else(value: float, place: int, words: str) -> None:
    def train(down: Any, mine: Any, data: Any, held: Any, at: Context) -> Any:
        v = np.zeros(PLAN.wire.size)
        v[place] = value
        return v, mine

    (one, *others), seen = honest(PLAN), list[Any]()
    plan = replace(PLAN)
    object.__setattr__(plan, "contribute", train)
    broken = Crafted(one.who, plan, one.data, craft=lambda report: seen.append(report))
    with np.errstate(all="ignore"):
        (state,) = states(PLAN, [broken, *others])
    assert state.seen == HONEST[1:] and not seen
    assert words in state.lost["client-0"]


# ── replay ──


def kept(plan: h.Plan, who: str = "liar", **more: Any) -> list[Any]:
    """The reports of one client in a whole run."""
    reports = list[Any]()

    def keep(report: Any) -> Any:
        reports.append(report)
        return report

    one = Crafted(who, plan, honest(plan)[0].data, craft=keep)
    states(plan, [*honest(plan), one], **more)
    return reports


@pytest.mark.parametrize(
    "plan",
    [PLAN, plan_of(seed=1), plan_of(rounds=2), plan_of(h.VerifiedSum(bound=2.0))],
    ids=["another run", "another seed", "more rounds", "another bound"],
)
def test_a_replayed_report_is_refused(plan: h.Plan) -> None:
    """Of an earlier run, with the same helper's key even; or of another plan with vectors of the same length."""
    (report, *_), runtime = kept(plan), h.InProcess([*honest(PLAN), liar(Crafted, PLAN)])
    runtime.clients["liar"].craft = lambda own: report  # type: ignore[attr-defined]
    (state,) = h.synchronous(PLAN, runtime)
    assert state.seen == HONEST
    assert "does not open" in state.lost["liar"]


def test_a_report_of_an_earlier_round_is_refused() -> None:
    plan, reports = plan_of(rounds=3), list[Any]()

    def craft(report: Any) -> Any:
        reports.append(report)
        return reports[0]

    first, *others = states(plan, [*honest(plan), liar(Crafted, plan, craft=craft)])
    assert first.seen == (*HONEST, "liar") and not first.lost
    for state in others:
        assert state.seen == HONEST and "does not open" in state.lost["liar"]


def test_a_report_of_another_client_is_refused() -> None:
    reports = list[Any]()

    def craft(report: Any) -> Any:
        reports.append(report)
        return reports[0]

    clients = [Crafted(who, PLAN, honest(PLAN)[0].data, craft=craft) for who in ("victim", "zzz")]
    (state,) = states(PLAN, [*honest(PLAN), *clients])
    assert state.seen == (*HONEST, "victim")
    assert "it comes twice" in state.lost["zzz"]
    server, own = verified_one()
    own["client-1"] = own.pop("client-0")
    assert "does not open" in server.pass_on(own)["client-1"]


def test_a_nonce_belongs_to_one_report() -> None:
    nonces = list[bytes]()

    def craft(report: Any) -> Any:
        nonces.append(report["nonce"])
        return {**report, "nonce": nonces[0]}

    twins = [Crafted(who, PLAN, honest(PLAN)[0].data, craft=craft) for who in ("x", "y")]
    (state,) = states(PLAN, [*honest(PLAN), *twins])
    assert state.seen == (*HONEST, "x")
    assert "it comes twice" in state.lost["y"]


def test_one_who_was_told_another_model_is_refused() -> None:
    """So a server cannot look at one client by a model of its own."""
    server = Server(PLAN, honest(PLAN))
    server.open()
    reports = server.hear(["client-0", "client-1"])
    x = server.letters.head.down[0]["x"]
    other = replace(server.letters.head, down=({"x": x + 1}, server.letters.head.down[1]))
    server.runtime.send(replace(other, bodies={"client-2": server.opening}))
    reports["client-2"] = server.runtime.receive().body
    assert set(reports["client-2"]) == {"nonce", "public", "leader", "sealed"}
    said, why = server.check(reports)
    assert said == ["client-0", "client-1"] and "does not open" in why["client-2"]


def test_clients_who_were_told_otherwise_are_refused() -> None:
    """Another key, challenge or cohort than the helper: their proofs are bound to what they heard."""
    for name in ("key", "challenges", "cohort"):
        server = Server(PLAN, honest(PLAN))
        server.open()
        right, random = server.opening, secrets.token_bytes(32)
        reports = server.hear(["client-0", "client-1"])
        server.opening = {**right, name: [random] if name == "challenges" else random}
        reports |= server.letters.ask({"client-2": server.opening})
        said, why = server.check(reports)
        assert said == ["client-0", "client-1"] and "does not open" in why["client-2"]


def test_the_helper_must_get_the_same_public_share() -> None:
    """Joint randomness follows from it; a server that could choose it would choose what the helper computes."""
    server, reports = verified_one()
    for who, i in (("client-0", 0), ("client-1", 1)):
        public = list(reports[who]["public"])
        public[i] = flip(public[i])
        reports[who] = {**reports[who], "public": public}
    said = server.pass_on(reports)
    assert "does not open" in said["client-0"] and "does not open" in said["client-1"]
    assert isinstance(said["client-2"], list)


# ── servers that do as they like ──


def verified_one() -> tuple[Server, dict[str, Any]]:
    server = Server(PLAN, honest(PLAN))
    assert server.open() is True
    return server, server.hear(server.cohort)


def counts_a_refused_client() -> bool:
    """The helper is told that a report is valid, with a random message in place of the seeds."""
    server, reports = verified_one()
    said = server.pass_on(reports)
    message = [secrets.token_bytes(64), secrets.token_bytes(32)]
    server.ask({"verdicts": dict.fromkeys(said, message)})
    return server.ask({"close": list(said)}) is not None


def changes_the_key() -> bool:
    """The helper checks with a key that clients have not heard the hash of: it may have been told to a liar."""
    server = Server(PLAN, honest(PLAN))
    return server.open(key=bytes(32)) is True


def changes_the_cohort() -> bool:
    server = Server(PLAN, honest(PLAN))
    return server.open(cohort=[*server.cohort, "an invention"]) is True


def brings_a_stranger() -> bool:
    """Who is not in the cohort was asked in secret."""
    server = Server(PLAN, honest(PLAN))
    server.cohort = ["client-0", "client-1"]
    server.open()
    return isinstance(server.pass_on(server.hear(["client-2"]))["client-2"], list)


def counts_a_client_twice() -> bool:
    server, reports = verified_one()
    server.check(reports)
    said = server.pass_on({"client-0": reports["client-0"]}, count=list(reports))
    return isinstance(said["client-0"], list)


def sums_one_client() -> bool:
    server, reports = verified_one()
    server.check({"client-0": reports["client-0"]})
    return server.ask({"close": ["client-0"]}) is not None


def sums_twice() -> bool:
    """All, and all but one, in two sessions of one round: the difference is what one client says."""
    server, reports = verified_one()
    server.check(reports)
    assert server.ask({"close": server.cohort})
    server.session(1)
    server.open()
    server.check(server.hear(["client-0", "client-1"]))
    return server.ask({"close": ["client-0", "client-1"]}) is not None


def proves(lie: str) -> Callable[[], bool]:
    def attack() -> bool:
        kind, x = LIES[lie]
        (state,) = states(PLAN, [*honest(PLAN), liar(Forger, PLAN, x=x, kind=kind)])
        return "proof does not hold" not in state.lost.get("liar", "")  # though such a sum may be too large to read

    return attack


HELP = (h.VerifiedSum, "helper")
OUTPUT = (Claims, "output")
DELETED: dict[str, tuple[Any, str, str, str, Callable[[], bool]]] = {
    "all are bits": (*OUTPUT, "field.total(bits) + ", "", proves("no bit")),
    "v + u = B²": (*OUTPUT, "s * norm + ", "", proves("false rest")),
    "dots are as claimed": (*OUTPUT, "s**2 * field.total(checks) + ", "", proves("wrapped, zero")),
    "enough successes": (*OUTPUT, " + s**3 * count", "", proves("wrapped, four")),
    "the norm": (Pine, "decide", "if not proof", "if proof is not self.norm and not proof", proves("false square")),
    "any proof": (Pine, "decide", "if not proof", "if False and proof", proves("wrapped, all")),
    "the seeds": (vdaf, "check_seed", "not hmac.compare_digest(ours, theirs)", "False", counts_a_refused_client),
    "the key": (*HELP, "opening != _promise(secret, challenges, cohort)", "False", changes_the_key),
    "the cohort": (*HELP, "opening != _promise(secret, challenges, cohort)", "False", changes_the_cohort),
    "strangers": (verified, "_opened", "who not in cohort", "False", brings_a_stranger),
    "twice": (Share, "_check", "who in self._asked or nonce in self._nonces", "False", counts_a_client_twice),
    "least": (*HELP, "len(share.seen) < max(quorum, self.least)", "False", sums_one_client),
    "one sum a round": (Helper, "_converse", "at.round <= self._summed", "False", sums_twice),
}


@pytest.mark.parametrize("check", DELETED)
def test_a_deleted_check_is_missed(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack fails; without this one check it succeeds."""
    owner, name, source, instead, attack = DELETED[check]
    assert not attack()
    without(monkeypatch, owner, name, source, instead)
    assert attack()


def test_a_helper_says_why_it_refuses() -> None:
    server, reports = verified_one()
    server.check({"client-0": reports["client-0"]})
    assert server.ask({"close": ["client-0"]}) is None
    assert "It says none over fewer than 2" in server.why()
    assert server.ask({"close": ["client-0"]}) is None  # what it has refused is over


def test_a_helper_sums_once_in_a_session() -> None:
    server, reports = verified_one()
    assert server.check(reports) == (server.cohort, {})
    end = server.ask({"close": server.cohort})
    assert end["seen"] == server.cohort
    assert server.ask({"close": server.cohort}) is None
    assert server.ask({"reports": [], "count": []}) is None
    server.session(1)
    server.open()
    server.check(server.hear(server.cohort))
    assert server.ask({"close": server.cohort}) is None
    assert "has said that of round 0" in server.why()


def test_a_higher_quorum_binds_the_helper() -> None:
    plan = plan_of(sample=h.Everyone(quorum=3))
    server = Server(plan, honest(plan))
    server.open()
    two = dict(list(server.hear(server.cohort).items())[:2])
    server.check(two)
    assert server.ask({"close": list(two)}) is None
    assert "fewer than 3" in server.why()


def test_the_same_session_again_needs_new_reports() -> None:
    """A helper's challenge is new each time, so what it was sent before does not open."""
    server, reports = verified_one()
    server.session(0)
    server.open()
    server.hear([])
    assert all("does not open" in said for said in server.pass_on(reports).values())


def test_a_server_cannot_put_its_own_key_in_place_of_a_helpers() -> None:
    clients = honest(PLAN)
    runtime = h.InProcess(clients)  # which gives clients the key of the true helper
    runtime.helpers[HELPER] = Helper(HELPER, PLAN, key=PrivateKey.fresh())
    server = Server(PLAN, clients, runtime)
    server.open()
    assert all("does not open" in said for said in server.pass_on(server.hear(server.cohort)).values())


def test_a_client_without_the_helpers_key_says_nothing() -> None:
    clients = honest(PLAN)
    runtime = h.InProcess(clients)
    clients[0].keys = {}
    (state,) = h.synchronous(PLAN, runtime)
    assert "knows no public key of helper 1" in state.lost["client-0"]


def test_a_server_that_speaks_for_clients_sees_the_one_that_is_real() -> None:
    """No helper can notice, while clients do not sign what they say: a quorum counts names. Noise is what is left."""
    server = Server(PLAN, honest(PLAN))
    server.open()
    reports = server.hear(["client-0"])
    request = replace(server.letters.head, bodies=dict.fromkeys(server.cohort, server.opening))
    for who in ("client-1", "client-2"):
        invented = h.Client(who, PLAN, server.clients[0].data, keys=server.clients[0].keys)
        reports[who] = invented.answer(request)
    said, why = server.check(reports)
    assert said == server.cohort and not why
    assert server.ask({"close": said})["seen"] == server.cohort


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(0, 3))
def test_whatever_a_server_says_a_helper_answers_or_refuses(said: list[Any], right: int) -> None:
    server = Server(PLAN, honest(PLAN, 2))
    if right:
        server.open()
    if right > 1:
        reports = server.hear(server.cohort)
        server.pass_on(reports)
    names = ("reports", "count", "verdicts", "close", "key", "cohort")
    for value in said:
        server.ask(value)
        for name in names:
            server.ask({name: value})
        server.ask({"reports": [value], "count": []})
        server.ask({"reports": [], "count": [value]})
        server.ask({"verdicts": {"client-0": value}})
    assert server.ask({"close": ["client-0", "client-1"]}) is None


# ── helpers that do as they like ──


def after(word: str, what: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """What it says where it is asked for `word`; all else is honest."""
    return lambda asked, said: what(said) if isinstance(asked, dict) and word in asked else said


def silent(said: Any) -> Any:
    raise h.ProtocolError("It has gone.", "", "")


def other_sum(said: Any) -> Any:
    return {**said, "totals": [bytes(len(total)) for total in said["totals"]]}


DECEITS: dict[str, Callable[[Any, Any], Any]] = {
    "silent at once": after("cohort", silent),
    "silent in the middle": after("reports", silent),
    "silent at the end": after("close", silent),
    "no challenge": after("cohort", lambda said: b""),
    "a word for a challenge": after("cohort", lambda said: "challenge"),
    "nonsense for verifier shares": after("reports", lambda said: 7),
    "nonsense for verdicts": after("verdicts", lambda said: {"client-0": 1}),
    "other clients": after("close", lambda said: {**said, "seen": said["seen"][1:]}),
    "a short sum": after("close", lambda said: {**said, "totals": [t[:-8] for t in said["totals"]]}),
    "fewer sums": after("close", lambda said: {**said, "totals": said["totals"][:1]}),
    "no element": after("close", lambda said: {**said, "totals": [b"\xff" * len(t) for t in said["totals"]]}),
    "another sum": after("close", other_sum),
    "nonsense for a sum": after("close", lambda said: None if said is None else 3),
}


@pytest.mark.parametrize("deceit", DECEITS)
def test_a_helper_that_breaks_the_protocol_voids_the_round_and_not_the_run(deceit: str) -> None:
    plan = plan_of(rounds=2)
    begun = list[Any]()

    def first(asked: Any, said: Any) -> Any:
        if isinstance(asked, dict) and isinstance(asked.get("cohort"), list):
            begun.append(asked)
        return DECEITS[deceit](asked, said) if len(begun) == 1 else said

    void, good = states(plan, honest(plan), craft=first)
    assert void.note and np.array_equal(void.x, plan.start().x) and not void.seen
    assert good.seen == HONEST and not good.note


@pytest.mark.parametrize("wrong", [7, None, "valid", [], [b""], [b"", b""], [1, 2], {"a": 1}, [b"x" * 2000] * 2])
def test_a_helper_that_says_nonsense_of_a_report_costs_that_report_only(wrong: Any) -> None:
    """A helper can refuse whom it likes, and is told apart from a client that lies by nobody."""
    craft = after("reports", lambda said: {**said, "client-1": wrong})
    (state,) = states(PLAN, honest(PLAN), craft=craft)
    assert state.seen == ("client-0", "client-2") and "client-1" in state.lost


def test_a_helper_that_does_not_finish_loses_the_client() -> None:
    craft = after("verdicts", lambda said: [who for who in said if who != "client-1"])
    (state,) = states(PLAN, honest(PLAN), craft=craft)
    assert state.seen == ("client-0", "client-2")
    assert "other joint randomness" in state.lost["client-1"]


def test_a_helper_can_spoil_a_sum_undetected_and_learns_nothing_by_it() -> None:
    """Which is why false proofs are only found while all aggregators do their work."""

    def moved(said: Any) -> Any:
        first, *more = said["totals"]
        x = (int.from_bytes(first[:8], "little") + B) % P
        return {**said, "totals": [x.to_bytes(8, "little") + first[8:], *more]}

    (state,) = states(PLAN, honest(PLAN), craft=after("close", moved))
    (right,) = states(PLAN, honest(PLAN))
    assert state.seen == HONEST and not state.note
    assert state.x[0] - right.x[0] == pytest.approx(1 / 3, rel=1e-5)
    assert np.array_equal(state.x[1:], right.x[1:])


# ── noise ──


@pytest.mark.parametrize("helpers", [1, 2])
def test_each_aggregator_adds_the_whole_noise_to_its_share(helpers: int) -> None:
    """σ² each, independent; whole steps; the plan counts on one of them."""
    pieces: Any = {"pipe": (h.Clip(1.0), h.Weigh("one")), "training": h.Training(batch=0, report=False), "rounds": 3}
    pieces |= {"sample": h.Everyone(quorum=2)}
    plain, noisy = (
        h.Plan(h.Softmax(300, 10), aggregator=h.VerifiedSum(helpers, noise=z), **pieces) for z in (0.0, 2.0)
    )
    ((d, bound, sigma),) = noisy.summed.noise.parts
    assert sigma == pytest.approx(2.0 * bound) and d == 3010
    aggregator = noisy.aggregator
    assert isinstance(aggregator, h.VerifiedSum)
    key = noisy.key.child("test")
    draws = np.stack([aggregator._noise(noisy.wire, key.child(i))["delta"] for i in range(4)])
    assert draws.dtype == np.int64
    assert np.std(draws) == pytest.approx(sigma, rel=0.03)
    data = {f"client-{i}": (np.zeros((2, 300)), np.zeros(2, int)) for i in range(2)}
    start = plain.start()
    sums = []
    for state in h.synchronous(noisy, h.InProcess([h.Client(who, noisy, one) for who, one in data.items()])):
        sums.append((state.x - start.x) * 2 / noisy.summed.noise.step["delta"])
        start = state
    drawn = np.stack(sums)[:, 600:]  # coordinates whose gradient is 0: no example has that feature, or it is equal
    assert np.std(drawn) == pytest.approx(sigma * (1 + helpers) ** 0.5, rel=0.06)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.1


def test_the_plan_counts_on_one_honest_aggregator() -> None:
    for helpers in (1, 3):
        plan = plan_of(h.VerifiedSum(helpers, noise=1.5), rounds=10)
        server = plan_of(
            pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16), h.DiscreteGaussianNoise(1.5)),
            aggregator=h.Sum(),
            rounds=10,
        )
        told = [h.privacy.planned(one).guarantee(1e-6).epsilon for one in (plan, server)]
        assert told[0] == pytest.approx(told[1], rel=1e-3)
        sigmas = {
            name: sigma / bound
            for name, (_, bound, sigma) in zip(plan.wire.blocks, plan.summed.noise.parts, strict=True)
        }
        assert sum(ratio**-2 for ratio in sigmas.values()) == pytest.approx(1.5**-2)


def test_a_sum_that_could_wrap_around_is_no_sum() -> None:
    """Compact: n·B + noise must stay below p/2."""
    for noise, fits in ((100.0, True), (900.0, False)):
        quiet = h.Training(batch=0, report=False)
        plan = plan_of(
            h.VerifiedSum(noise=noise, profile="compact"), pipe=(h.Clip(1.0), h.Weigh("one")), training=quiet
        )
        (state,) = states(plan, honest(plan))
        assert bool(state.note) is not fits
        assert fits or "it would wrap around" in state.note


# ── many at once ──


class Flood:
    """A letterbox into which n reports fall that are invalid in different ways, and a real helper behind it."""

    def __init__(self, n: int):
        self.n, self.lost = n, 0
        self.server, reports = verified_one()
        self.report, self.helper = reports["client-0"], self.server.runtime.helpers[HELPER]
        self.server.session(1)

    def ask(self, bodies: Any) -> Any:
        return self.server.letters.ask(bodies)

    def lose(self, who: str, why: str) -> None:
        self.lost += 1

    def each(self, bodies: Any) -> Iterator[tuple[str, Any]]:
        sizes = {name: [len(one) for one in self.report[name]] for name in ("public", "leader")}
        for i in range(self.n):
            leader = [bytes(size - (i % 20 > 0)) for size in sizes["leader"]]
            sealed = [[bytes([i % 251]) * len(box) for box in row] for row in self.report["sealed"]]
            report = {"nonce": vdaf.nonce(), "public": [bytes(size) for size in sizes["public"]], "leader": leader}
            yield f"{i}", {**report, "sealed": sealed}

    def total(self, cohort: Any) -> Any:
        raise NotImplementedError


def flooded(n: int) -> int:
    """Bytes at the peak."""
    flood = Flood(n)
    head = flood.server.letters.head
    at = PLAN.context(0, head.session, down=head.down, memo=PLAN.start().transforms)
    tracemalloc.start()
    try:
        mean, seen = PLAN.aggregator.server(flood, [str(i) for i in range(n)], PLAN.decoder(at))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert mean is None and not seen and flood.lost == n
    return peak


def test_memory_does_not_grow_with_invalid_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "MOST", 64)
    few, many = flooded(200), flooded(2000)
    assert many < 1.4 * few


def test_memory_does_not_grow_with_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is gone when it is in the sum, at its client too."""
    monkeypatch.setattr(verified, "MOST", 4)
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
        assert len(state.seen) == n
    assert peaks[2] < 1.5 * peaks[1]


def test_one_report_of_a_batch_does_not_harm_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of two, with liars in between."""
    monkeypatch.setattr(verified, "MOST", 2)
    liars = [
        Forger(f"client-{i}x", PLAN, honest(PLAN)[0].data, x=vector(B, B)) if i % 2 else
        Crafted(f"client-{i}x", PLAN, honest(PLAN)[0].data, craft=CHANGES["leader, short"])
        for i in range(4)
    ]  # fmt: skip
    (state,) = states(PLAN, [*honest(PLAN, 5), *liars])
    assert state.seen == tuple(f"client-{i}" for i in range(5))
    assert set(state.lost) == {f"client-{i}x" for i in range(4)}
    (alone,) = states(PLAN, honest(PLAN, 5))
    assert state.x.tobytes() == alone.x.tobytes()


# ── the point of it all ──


@dataclass
class Louder(h.Client):
    """Says its honest update times −1000."""

    def answer(self, request: Any) -> Any:
        return -1000 * super().answer(request)


def test_byzantine_clients_destroy_the_plain_sum_and_are_refused_by_the_verified_one() -> None:
    """A fifth of ten clients say their update times 1000."""
    parties = federation(10)
    names = sorted(parties)
    lying, rest = set(names[:2]), names[2:]
    everyone = tuple(np.concatenate(pieces) for pieces in zip(*parties.values(), strict=True))

    def last(aggregator: h.Aggregator, make: Any, who: list[str], **more: Any) -> tuple[float, h.State]:
        plan = plan_of(aggregator, rounds=8, training=h.Training(batch=0, epochs=3, learning_rate=0.3))
        liars = [make(name, plan, parties[name], **more) for name in who if name in lying]
        *_, state = states(plan, [*liars, *(h.Client(name, plan, parties[name]) for name in who if name not in lying)])
        return plan.model.score(state.x, everyone)["accuracy"], state

    plain, _ = last(h.Sum(), Louder, names)
    good, state = last(h.VerifiedSum(), Forger, names, times=-1000.0)
    alone, want = last(h.VerifiedSum(), h.Client, rest)
    assert plain < 0.5 < good == alone
    assert state.x.tobytes() == want.x.tobytes() and set(state.lost) == lying
    assert all("A proof does not hold" in why for why in state.lost.values())
