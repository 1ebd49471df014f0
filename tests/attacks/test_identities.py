"""Identities under attack: reports in other clients' names, rosters that nobody has signed, keys that are looked at.

What a server sees that speaks for clients is in test_sight.py.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.attackers_verified import (
    HELPER,
    HONEST,
    PLAN,
    Server,
    attacker,
    flip,
    honest,
    plan_of,
    states,
    verified_one,
)

import hansa as h
from hansa.aggregators.verified.share import UNSIGNED
from hansa.crypto.identity import Identity, Member, Roster
from hansa.crypto.keys import SIGNATURE, SigningKey, verify
from hansa.kits.files import read_identity, read_roster, write_identity, write_roster
from hansa.messages import SessionId
from hansa.plan.client import aggregator_context

# ── reports ──


@dataclass
class Unsigned(h.Client):
    """Says its honest report, with another signature."""

    forge: Callable[[bytes], Any] = lambda signature: bytes(SIGNATURE)

    def reply(self, request: Any, given: Any) -> Any:
        report = yield from super().reply(request, given)
        return {**report, "signature": self.forge(report["signature"])}


FORGED: dict[str, Callable[[bytes], Any]] = {
    "none": lambda signature: bytes(SIGNATURE),
    "one bit changed": flip,
    "of something else": lambda signature: SigningKey.fresh().sign(b"report"),
}


@pytest.mark.promise("P120")
@pytest.mark.guards("the server checks who signed")
@pytest.mark.parametrize("forged", FORGED)
def test_a_report_that_is_not_signed_is_refused_before_anybody_looks_at_it(forged: str) -> None:
    looked = list[str]()

    def look(asked: Any, reply: Any) -> Any:
        if isinstance(asked, dict) and "reports" in asked:
            looked.extend(who for who, *_ in asked["reports"])
        return reply

    (state,) = states(PLAN, [*honest(PLAN), attacker(Unsigned, PLAN, forge=FORGED[forged])], craft=look)
    assert state.participants == HONEST and tuple(sorted(looked)) == HONEST
    assert state.excluded == {
        "mallory": "its report is refused: it is not signed by the client that it is said to be of"
    }


@pytest.mark.promise("P120")
@pytest.mark.control("whoever looks at its length, a signature of another form is refused")
@pytest.mark.parametrize("forge", [lambda s: s + b"\0", lambda s: s[:-1], lambda s: None, lambda s: s.hex()])
def test_what_is_no_signature_makes_no_report(forge: Callable[[bytes], Any]) -> None:
    (state,) = states(PLAN, [*honest(PLAN), attacker(Unsigned, PLAN, forge=forge)])
    assert state.participants == HONEST
    assert state.excluded == {"mallory": "what it says is no report of this plan"}


@pytest.mark.promise("P120")
@pytest.mark.guards("a helper hashes its own share")
def test_a_server_exchanges_no_share_of_a_signed_report() -> None:
    """Of a share that it has sealed itself it would know what the helper adds."""
    server, reports = verified_one()
    rows = [list(server.reports.row(who, report, HELPER)) for who, report in reports.items()]
    who, nonce, public, sealed, *_ = rows[0]
    seeds = [bytes(len(box) - 48) for box in sealed]
    (rows[0][3],) = server.reports.sealed(who, nonce, public, [seeds])
    reply = server.ask({"reports": list(map(tuple, rows)), "count": []})
    assert reply[who] == UNSIGNED
    assert isinstance(reply["client-1"], list)


@pytest.mark.promise("P120")
@pytest.mark.guards("a cohort is of clients")
@pytest.mark.parametrize("name", ["an invention", HELPER])
def test_a_helper_hears_of_no_cohort_with_others_than_clients(name: str) -> None:
    server = Server(PLAN, honest(PLAN))
    server.cohort = [*server.cohort, name]
    assert server.open() is not True
    assert f"{name} is no client" in server.why()


@pytest.mark.promise("P120")
@pytest.mark.guards("what is refused takes nothing of others")
def test_who_speaks_for_another_takes_neither_its_name_nor_its_nonce() -> None:
    server, reports = verified_one()
    forged = {**reports["client-0"], "signature": bytes(SIGNATURE)}
    assert server.pass_on({"client-0": forged}) == {"client-0": UNSIGNED}
    assert isinstance(server.pass_on({"client-0": reports["client-0"]})["client-0"], list)


@dataclass(frozen=True)
class Curious(h.transforms.Transform):
    """A stranger's transform, which looks who its client is."""

    def encode(self, v: h.Vector, at: h.transforms.Context) -> h.Vector:
        FOUND.append(at.session.identity)
        return v


@dataclass(frozen=True)
class Nosy(h.FedAvg):
    """A stranger's algorithm, which looks who its client is."""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        FOUND.append(at.session.identity)
        return super().client(model, broadcast, client_state, data, training, at)


@dataclass(frozen=True)
class Own(h.VerifiedSum):
    """A stranger's aggregator."""


FOUND = list[Identity | None]()


@pytest.mark.promise("P122")
@pytest.mark.guards("who is not hansa's own speaks for no party")
def test_strangers_get_no_identity() -> None:
    FOUND.clear()
    plan = plan_of(algorithm=Nosy(), pipe=(Curious(), *PLAN.pipe))
    (state,) = states(plan, honest(plan))
    assert state.participants == HONEST and FOUND == [None] * 6
    strange = plan_of(Own())
    anna = Identity.fresh("anna", "client")
    at = strange.context(0, SessionId(), "anna", secret=h.Key.fresh()).enrolled({"anna": anna.member}, anna)
    session = aggregator_context(strange, at).session
    assert session.identity is None and not session.roster
    assert aggregator_context(PLAN, at).session.identity is anna


# ── signatures and keys ──


@pytest.mark.promise("P120")
@pytest.mark.guards("a signature is checked")
def test_a_signature_is_of_one_key_and_one_message() -> None:
    one, other = SigningKey.fresh(), SigningKey.fresh()
    signature = one.sign(b"message")
    assert verify(one.public, b"message", signature)
    for public, message, said in (
        (other.public, b"message", signature),
        (one.public, b"massage", signature),
        (one.public, b"message", flip(signature)),
        (one.public, b"message", other.sign(b"message")),
        (one.public, b"message", b""),
        (one.public[:-1], b"message", signature),
        (bytes(32), b"message", bytes(SIGNATURE)),
    ):
        assert not verify(public, message, said)


SMALL = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # 1, written as p + 1
)


@pytest.mark.promise("P120")
@pytest.mark.guards("a key of small order signs nothing")
@pytest.mark.parametrize("public", SMALL)
def test_nobody_has_a_key_with_which_anybody_can_sign(public: str) -> None:
    """One signature, made without any key, is right for one message in eight at least."""
    signature = bytes([1]) + bytes(63)
    assert not any(verify(bytes.fromhex(public), bytes([i]), signature) for i in range(250))


@pytest.mark.promise("P122")
@pytest.mark.guards("a private key does not print")
def test_no_repr_shows_a_private_key() -> None:
    identity = Identity.of("anna", "client", h.Key.of(7))
    secrets = [identity.signing.secret, identity.agreement.secret]
    client = h.Client("anna", PLAN, None, identity=identity)
    shown: list[Any] = [identity, identity.signing, identity.agreement, client]
    shown += [PLAN.context(0, SessionId(), secret=h.Key.fresh()).enrolled({}, identity)]
    for text in map(repr, shown):
        assert not [secret for secret in secrets if repr(secret) in text or secret.hex() in text]


# ── rosters ──


def members(*names: str) -> dict[str, Member]:
    return {who: Identity.fresh(who, "client").member for who in names}


@pytest.mark.promise("P121")
@pytest.mark.guards("a roster is signed")
def test_a_roster_that_somebody_has_changed_is_refused() -> None:
    """A name more, another's key, another role, another serial; and one that somebody else has signed."""
    enrolment = SigningKey.fresh()
    roster = Roster.signed(members("anna", "ben"), 3, enrolment)
    roster.verify(enrolment.public, held=3)
    others = members("anna", "zoe")
    for changed in (
        replace(roster, members={**roster.members, "zoe": others["zoe"]}),
        replace(roster, members={**roster.members, "anna": others["anna"]}),
        replace(roster, members={**roster.members, "anna": replace(roster["anna"], role="helper")}),
        replace(roster, members={"ben": roster["ben"]}),
        replace(roster, serial=4),
        Roster.signed(roster.members, 3, SigningKey.fresh()),
    ):
        with pytest.raises(h.errors.ProtocolError, match="is not signed by the enrolment key"):
            changed.verify(enrolment.public)


@pytest.mark.promise("P121")
@pytest.mark.guards("an old roster is refused")
def test_an_old_roster_brings_nobody_back(tmp_path: Path) -> None:
    """Who was removed is on the old one."""
    enrolment = SigningKey.fresh()
    old = Roster.signed(members("anna", "mallory"), 1, enrolment)
    write_roster(tmp_path / "roster", old)
    assert read_roster(tmp_path / "roster", enrolment.public) == old
    with pytest.raises(h.errors.ProtocolError, match="has the serial 1, and 2 was held before"):
        read_roster(tmp_path / "roster", enrolment.public, held=2)


@pytest.mark.promise("P121")
@pytest.mark.guards("a key is one member's")
def test_nobody_is_on_a_roster_twice() -> None:
    """With two names and one key, one party would be two of a quorum."""
    (member,) = members("anna").values()
    with pytest.raises(h.errors.ProtocolError, match="one key twice"):
        Roster.signed({"anna": member, "anne": member}, 1, SigningKey.fresh())


@pytest.mark.promise("P121")
@pytest.mark.guards("a roster is written in one way")
def test_a_roster_cannot_be_read_in_two_ways() -> None:
    """What one reader takes and another drops: a name twice, a word more, numbers and letters written otherwise."""
    enrolment = SigningKey.fresh()
    roster = Roster.signed(members("anna", "ben"), 1, enrolment)
    text = roster.encode().decode()
    anna = json.dumps({"anna": json.loads(text)["members"]["ben"]})[1:-1]
    for changed in (
        text.replace('"members": {', f'"members": {{{anna},'),
        text.replace('"serial": 1', '"more": 0, "serial": 1'),
        text.replace('"serial": 1', '"serial":  1'),
        text.replace(roster["anna"].signing.hex(), roster["anna"].signing.hex().upper()),
        text + " ",
    ):
        assert changed != text
        with pytest.raises(h.errors.ProtocolError, match="are no roster of hansa"):
            Roster.decode(changed.encode())


# ── files ──


@pytest.mark.promise("P122")
@pytest.mark.guards("a secret that others can read is refused")
@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_an_identity_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anna"
    write_identity(path, Identity.fresh("anna", "client"))
    assert path.stat().st_mode & 0o777 == 0o600
    read_identity(path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(h.errors.StoreError, match="can be read by others"):
            read_identity(path)


@pytest.mark.promise("P122")
@pytest.mark.control("no defence to take away: nothing here reads a pickle")
def test_a_pickle_is_neither_an_identity_nor_a_roster() -> None:
    for kind in (Identity, Roster):
        with pytest.raises(h.errors.ProtocolError, match="of hansa"):
            kind.decode(pickle.dumps({"who": "anna"}))
