"""Identities: keys by which parties know each other, and the signed list of all."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

from ..errors import ProtocolError, number
from ..rand import Key
from .keys import PUBLIC, PrivateKey, SigningKey, verify

Role = Literal["client", "helper", "server"]

ROLES = ("client", "helper", "server")
DOMAIN = b"hansa roster 1\n"  # what is signed under it is signed as a roster, and as nothing else
LONGEST_NAME = 200  # characters
LARGEST = 2**24  # bytes of a roster: about 50,000 members


@dataclass(frozen=True)
class Member:
    """What others know of a party: its role, and its public keys (Ed25519, X25519; 32 bytes)."""

    role: Role
    signing: bytes = field(repr=False)
    agreement: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_role(self.role)
        for key in (self.signing, self.agreement):
            if type(key) is not bytes or len(key) != PUBLIC:
                raise ProtocolError(
                    f"A public key is a {type(key).__name__}, and not {PUBLIC} bytes.",
                    "Ed25519 and X25519 have no others.",
                    "Take the member of an Identity.",
                )


@dataclass(frozen=True, eq=False)
class Identity:
    """Who a party is: its name, its role, a key to sign with and one to open what is sealed for it.

    Both are private and do not print; `member` is the half that others are given.
    """

    who: str
    role: Role
    signing: SigningKey = field(repr=False)
    agreement: PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        _check_role(self.role)
        _check_name(self.who)

    @classmethod
    def fresh(cls, who: str, role: Role) -> Self:
        """New keys, from the operating system's generator."""
        return cls(who, role, SigningKey.fresh(), PrivateKey.fresh())

    @classmethod
    def of(cls, who: str, role: Role, secret: Key) -> Self:
        """Keys that grow from a party's secret, and are the same when it starts again."""
        key = secret.child("identity", role, who)
        signing = SigningKey(key.child("signing").secret)
        agreement = PrivateKey(key.child("agreement").secret)
        return cls(who, role, signing, agreement)

    @cached_property
    def member(self) -> Member:
        """The public half."""
        return Member(self.role, self.signing.public, self.agreement.public)

    def encode(self) -> bytes:
        """JSON with both private keys, for a file that its party alone can read."""
        value = {
            "who": self.who,
            "role": self.role,
            "signing": self.signing.secret.hex(),
            "agreement": self.agreement.secret.hex(),
        }
        return _text(value)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The identity that `encode` has written; ProtocolError for anything else."""
        try:
            value = json.loads(data[:LARGEST])
            signing = SigningKey(bytes.fromhex(value["signing"]))
            agreement = PrivateKey(bytes.fromhex(value["agreement"]))
            found = cls(value["who"], value["role"], signing, agreement)
            whole = hmac.compare_digest(found.encode(), data)
        except UNREADABLE:
            whole = False
        if not whole:
            raise ProtocolError(
                f"These {len(data):,} bytes are no identity of hansa.",
                "It holds a name, a role and two private keys, as hansa writes them.",
                "Put the file back from a backup, or enrol the party anew.",
            )
        return found


@dataclass(frozen=True, eq=False)
class Roster(Mapping[str, Member]):
    """Who takes part: members by name, signed by an enrolment key; later ones have higher serials.

    signature = Ed25519(enrolment key, DOMAIN ‖ JSON of serial and members)
    """

    members: Mapping[str, Member] = field(repr=False)
    serial: int
    signature: bytes = field(repr=False)

    @classmethod
    def signed(cls, members: Mapping[str, Member], serial: int, enrolment: SigningKey) -> Self:
        """The roster of these members; ProtocolError for a name, a key or a serial that is none."""
        unsigned = cls(dict(sorted(members.items())), serial, b"")
        unsigned._check()
        return cls(unsigned.members, serial, enrolment.sign(unsigned._message))

    def verify(self, enrolment: bytes, held: int = 0) -> None:
        """ProtocolError unless the enrolment key has signed it, and its serial is ≥ `held`."""
        self._check()
        if not verify(enrolment, self._message, self.signature):
            raise ProtocolError(
                f"A roster of {len(self)} members is not signed by the enrolment key.",
                "Whoever could change it could give a party a key of his own, and speak for it.",
                "Ask who enrols the parties for the roster, or for the key that it is signed with.",
            )
        if self.serial < held:
            raise ProtocolError(
                f"A roster has the serial {self.serial}, and {held} was held before.",
                "An old roster may hold members that have been removed since.",
                f"Take the newest, of serial {held} or above.",
            )

    def encode(self) -> bytes:
        """JSON, to be stored and handed on."""
        return _text({**self._value, "signature": self.signature.hex()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The roster that `encode` has written, not verified; ProtocolError for anything else."""
        try:
            value = json.loads(data if len(data) <= LARGEST else b"")
            members = {who: _member(one) for who, one in value["members"].items()}
            found = cls(members, value["serial"], bytes.fromhex(value["signature"]))
            found._check()
            whole = found.encode() == data  # in the one way in which it can be written
        except UNREADABLE:
            whole = False
        if not whole:
            raise ProtocolError(
                f"These {len(data):,} bytes are no roster of hansa.",
                "It holds a serial, members and a signature, as hansa writes them.",
                "Ask who enrols the parties for the roster.",
            )
        return found

    def _check(self) -> None:
        for who in self:
            _check_name(who)
        keys = [key for member in self.values() for key in (member.signing, member.agreement)]
        if len(set(keys)) < len(keys):
            raise ProtocolError(
                f"A roster of {len(self)} members has one key twice.",
                "A key tells one party from all others.",
                "Enrol each party with keys of its own.",
            )
        if not number(self.serial, whole=True) or self.serial < 1:
            found = f"A roster has the serial {self.serial!r}."
            raise ProtocolError(found, "Serials count rosters: 1, 2, 3, …", "Write serial=1.")

    @property
    def _value(self) -> dict[str, Any]:
        members = {
            who: {"role": one.role, "signing": one.signing.hex(), "agreement": one.agreement.hex()}
            for who, one in self.items()
        }
        return {"serial": self.serial, "members": members}

    @property
    def _message(self) -> bytes:
        return DOMAIN + _text(self._value)

    def __getitem__(self, who: str) -> Member:
        return self.members[who]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError, ProtocolError)


def _text(value: Mapping[str, Any]) -> bytes:
    """JSON in one way only: sorted, in ASCII, one entry a line."""
    return json.dumps(value, sort_keys=True, indent=1).encode("ascii") + b"\n"


def _member(value: Mapping[str, Any]) -> Member:
    return Member(value["role"], bytes.fromhex(value["signing"]), bytes.fromhex(value["agreement"]))


def _check_role(role: object) -> None:
    if role not in ROLES:
        why = "What a party may say depends on its role."
        raise ProtocolError(f"A party has the role {role!r}.", why, f"Write one of {ROLES}.")


def _check_name(who: object) -> None:
    line = isinstance(who, str) and who.strip() and who.isprintable()
    if not line or len(str(who)) > LONGEST_NAME:
        raise ProtocolError(
            f"A party is called {who!r:.220}.",
            f"Names are shown, and are one line of text, of {LONGEST_NAME} characters at most.",
            "Name it otherwise.",
        )
