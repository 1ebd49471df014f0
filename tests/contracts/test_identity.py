"""Identities and rosters: values that come back as they were, the same keys after a restart, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_verified import PLAN, honest, plan_of

import hansa as h
from hansa.crypto.identity import LARGEST, Identity, Member, Roster
from hansa.crypto.keys import PrivateKey, SigningKey, seal, verify
from hansa.kits.files import read_identity, read_roster, write_identity, write_roster
from hansa.parties.helper import Helper

ENROLMENT = SigningKey.fresh()


def roster_of(*names: str, serial: int = 1) -> Roster:
    members = {who: Identity.fresh(who, "client").member for who in names}
    return Roster.signed(members, serial, ENROLMENT)


# ── keys ──


def test_keys_can_be_kept() -> None:
    """Made of 32 bytes, and giving them back; signatures are those of RFC 8032, §7.1, test 1."""
    again = PrivateKey(PrivateKey.fresh().secret)
    assert PrivateKey(again.secret).open(seal(b"a share", again.public, b"info"), b"info") == b"a share"
    test1 = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert test1.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert test1.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    assert verify(test1.public, b"", test1.sign(b""))


@pytest.mark.parametrize("make", [PrivateKey, SigningKey])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_private_key_has_32_bytes(make: Callable[[bytes], Any], size: int) -> None:
    with pytest.raises(h.errors.ProtocolError, match=f"A private key of {size} bytes"):
        make(bytes(size))


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32)])
def test_nothing_is_sealed_for_what_is_no_key(public: bytes) -> None:
    with pytest.raises(h.errors.ProtocolError, match="cannot be sealed for"):
        seal(b"a share", public, b"info")


def test_equal_secrets_give_equal_keys_and_others_others() -> None:
    """So a party that starts again has the keys that it had."""
    secret = h.Key.fresh()
    one = Identity.of("anna", "client", secret)
    assert Identity.of("anna", "client", secret).member == one.member
    others = [
        Identity.of("ben", "client", secret),
        Identity.of("anna", "helper", secret),
        Identity.of("anna", "client", h.Key.fresh()),
        Identity.fresh("anna", "client"),
    ]
    keys = {key for each in (one, *others) for key in (each.member.signing, each.member.agreement)}
    assert len(keys) == 10


# ── files ──


def test_an_identity_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "anna"
    anna = Identity.fresh("anna", "client")
    write_identity(path, anna)
    back = read_identity(path)
    assert (back.who, back.member) == ("anna", anna.member)
    assert verify(anna.member.signing, b"message", back.signing.sign(b"message"))
    with pytest.raises(h.errors.StoreError, match="is there already"):
        write_identity(path, Identity.fresh("anna", "client"))
    with pytest.raises(h.errors.StoreError, match="cannot be kept"):
        read_identity(tmp_path / "ben")


def test_a_roster_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "roster"
    roster = roster_of("zoe", "anna", "Zürich", serial=7)
    write_roster(path, roster)
    back = read_roster(path, ENROLMENT.public, held=7)
    assert back == roster and back.serial == 7 and list(back) == sorted(roster)
    assert back.encode() == roster.encode() and repr(back) == "Roster(serial=7, until=None)"
    with pytest.raises(h.errors.StoreError, match="cannot be read"):
        read_roster(tmp_path / "none", ENROLMENT.public)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda value: [],
    "no members": lambda value: {**value, "members": None},
    "a name too long": lambda value: {**value, "members": {"a" * 201: value["members"]["anna"]}},
    "a name of two lines": lambda value: {**value, "members": {"a\nb": value["members"]["anna"]}},
    "no name": lambda value: {**value, "members": {" ": value["members"]["anna"]}},
    "a role that is none": lambda value: {**value, "members": {"anna": {**value["members"]["anna"], "role": "king"}}},
    "a short key": lambda value: {**value, "members": {"anna": {**value["members"]["anna"], "signing": "00"}}},
    "no key": lambda value: {**value, "members": {"anna": {"role": "client"}}},
    "serial 0": lambda value: {**value, "serial": 0},
    "serial 1.0": lambda value: {**value, "serial": 1.0},
    "serial true": lambda value: {**value, "serial": True},
    "no signature": lambda value: {**value, "signature": 1},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_roster_is_refused(wrong: str) -> None:
    value = json.loads(roster_of("anna").encode())
    data = json.dumps(WRONG[wrong](value), sort_keys=True, indent=1).encode() + b"\n"
    with pytest.raises(h.errors.ProtocolError, match="no roster of hansa"):
        Roster.decode(data)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff" * 9, b"[" * 100_000, b" " * (LARGEST + 1), b"1" * 9999])
def test_bytes_that_are_nothing_are_refused(data: bytes) -> None:
    with pytest.raises(h.errors.ProtocolError, match="no roster of hansa"):
        Roster.decode(data)
    with pytest.raises(h.errors.ProtocolError, match="no identity of hansa"):
        Identity.decode(data)


def test_what_cannot_be_signed_is_refused() -> None:
    anna = Identity.fresh("anna", "client").member
    for members, serial, words in (
        ({"": anna}, 1, "A party is called"),
        ({"anna": anna}, 0, "serial 0"),
        ({"anna": anna}, True, "serial True"),
    ):
        with pytest.raises(h.errors.ProtocolError, match=words):
            Roster.signed(members, serial, ENROLMENT)
    with pytest.raises(h.errors.ProtocolError, match="not 32 bytes"):
        Member("client", b"short", anna.agreement)
    with pytest.raises(h.errors.ProtocolError, match="the role 'king'"):
        Identity.fresh("anna", "king")  # type: ignore[arg-type]


# ── parties ──


def test_a_party_has_no_identity_but_its_own() -> None:
    with pytest.raises(h.errors.PlanError, match="anna is given the identity of ben, a client"):
        h.Client("anna", PLAN, None, identity=Identity.fresh("ben", "client"))
    with pytest.raises(h.errors.PlanError, match="helper 1 is given the identity of helper 1, a client"):
        Helper("helper 1", PLAN, identity=Identity.fresh("helper 1", "client"))


def test_a_runtime_brings_parties_together_where_there_are_helpers() -> None:
    clients = honest(PLAN)
    runtime = h.InProcess(clients, secret=h.Key.of(1))
    assert set(runtime.members) == {"client-0", "client-1", "client-2", "helper 1"}
    assert [runtime.members[one.who].role for one in clients] == ["client"] * 3
    again = h.InProcess(honest(PLAN), secret=h.Key.of(1))
    assert dict(again.members) == dict(runtime.members)
    own = Identity.fresh("client-0", "client")
    clients = honest(PLAN)
    clients[0].identity = own
    assert h.InProcess(clients).members["client-0"] == own.member
    plain = plan_of(h.Sum())
    alone = honest(plain)
    assert not h.InProcess(alone).members and not [one for one in alone if one.identity]


@pytest.mark.parametrize("make", [h.InProcess, h.Processes])
def test_a_million_clients_are_known_without_a_list(make: Callable[..., Any]) -> None:
    """Of whom four are asked."""
    plan = plan_of(sample=h.Uniform(4, quorum=2))
    data = honest(plan)[0].data
    population = h.Population(plan, 1_000_000, lambda i: data)
    runtime = make(population)
    try:
        (state,) = h.synchronous(plan, runtime)
        assert len(state.participants) == 4 and not state.excluded
        who = state.participants[0]
        assert len(runtime.members) == 1_000_001 and runtime.members[who].role == "client"
        assert runtime.members["helper 1"].role == "helper"
        assert runtime.members.get("nobody") is None
        assert next(iter(runtime.members)) == "client-000000"
    finally:
        if hasattr(runtime, "close"):
            runtime.close()


def test_a_plan_without_helpers_needs_no_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    plan = plan_of(h.Sum())
    (state,) = h.synchronous(plan, h.InProcess(honest(plan)))
    assert len(state.participants) == 3 and np.isfinite(state.x).all()
    with pytest.raises(ImportError):
        h.InProcess(honest(PLAN))
