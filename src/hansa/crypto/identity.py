"""Identities: keys by which parties know each other, and the signed list of all."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

from ..errors import ProtocolError, number
from ..rand import Key
from .certificates import named
from .keys import PUBLIC, PrivateKey, SigningKey, agreeable, verify
from .sealing import Channel, Seal, channels, sealed_by

Role = Literal["client", "helper", "server", "gateway", "peer"]

ROLES = ("client", "helper", "server", "gateway", "peer")
DOMAIN = b"hansa roster 1\n"  # what is signed under it is signed as a roster, and as nothing else
MEMBERS = b"hansa members 1"  # what channels between members are bound to, beside names and keys
LONGEST_NAME = 200  # characters
LONGEST_ADDRESS = 300
LARGEST = 2**24  # bytes of a roster: about 40,000 members
MOST = 2  # certificates of a member: the older one, and the one that it is renewed by


@dataclass(frozen=True)
class Member:
    """What others know of a party: its role, and its public keys (Ed25519, X25519; 32 bytes).

    certificates: SHA-256 of the X.509 certificates by which the network knows it, the newest last;
    two while one is renewed. address: where a peer listens, as "host:port"; nobody else has one.
    Members are equal by role and keys, which stay when those change.
    """

    role: Role
    signing: bytes = field(repr=False)
    agreement: bytes = field(repr=False)
    certificates: tuple[bytes, ...] = field(default=(), repr=False, compare=False)
    address: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _check_role(self.role)
        _check_certificates(self.certificates)
        _check_address(self.role, self.address)
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

    def channels(self, others: Mapping[str, bytes]) -> dict[str, Channel]:
        """A channel to each of the others, by name, from their public keys.

        It is kept, and the same in all sessions: `about` says of which one a box is.
        """
        new = {who: key for who, key in others.items() if (who, key) not in self._channels}
        made = channels(self.agreement, self.who, new, MEMBERS)
        self._channels.update({(who, others[who]): channel for who, channel in made.items()})
        return {who: self._channels[who, key] for who, key in others.items()}

    @cached_property
    def _channels(self) -> dict[tuple[str, bytes], Channel]:
        return {}

    @cached_property
    def seal(self) -> Seal:
        """What it seals with where a receiver may have to show it: drawn when the party starts."""
        return Seal(self.who, SigningKey.fresh())

    def sealed_for(self, others: Mapping[str, bytes]) -> dict[str, Channel]:
        """A channel to each of the others, by name, in which it seals with its seal; kept."""
        new = {who: key for who, key in others.items() if (who, key) not in self._sealed_for}
        made = self.seal.channels(new)
        self._sealed_for.update({(who, others[who]): channel for who, channel in made.items()})
        return {who: self._sealed_for[who, key] for who, key in others.items()}

    def sealed_by(self, seals: Mapping[str, bytes]) -> dict[str, Channel]:
        """The channels in which boxes of others open, by name, that they seal with these seals;
        without those with which nobody can agree. The last one of each is kept.
        """
        new = {who: seal for who, seal in seals.items() if self._seals.get(who) != seal}
        for who in new:
            self._sealed_by.pop(who, None)
        self._sealed_by.update(sealed_by(self.agreement, self.who, new))
        self._seals.update(new)
        return {who: self._sealed_by[who] for who in seals if who in self._sealed_by}

    @cached_property
    def _sealed_for(self) -> dict[tuple[str, bytes], Channel]:
        return {}

    @cached_property
    def _seals(self) -> dict[str, bytes]:
        return {}

    @cached_property
    def _sealed_by(self) -> dict[str, Channel]:
        return {}

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

    signature = Ed25519(enrolment key, DOMAIN ‖ JSON of serial, until and members)

    until: when it expires, in seconds since 1970; None, as in simulations, is never.
    """

    members: Mapping[str, Member] = field(repr=False)
    serial: int
    signature: bytes = field(repr=False)
    until: int | None = None

    @classmethod
    def signed(
        cls,
        members: Mapping[str, Member],
        serial: int,
        enrolment: SigningKey,
        until: int | None = None,
    ) -> Self:
        """The roster of these members; ProtocolError for a name, a key or a serial that is none."""
        unsigned = cls(dict(sorted(members.items())), serial, b"", until)
        unsigned._check()
        return replace(unsigned, signature=enrolment.sign(unsigned._message))

    def who(self, der: bytes, now: float | None = None) -> str:
        """The member whose X.509 certificate this is, which a handshake has verified.

        It is known by its SHA-256, and its name and role must be the member's. ProtocolError where
        nobody's is, or it was revoked, or the roster has expired; `now` is as in `verify`.
        """
        self._check_time(now)
        who = self._holders.get(hashlib.sha256(der).digest())
        if who is None:
            raise ProtocolError(
                f"A certificate is on no line of the roster of serial {self.serial}.",
                "Its party was never admitted, or was revoked.",
                "Enrol the party, or take the newest roster.",
            )
        if named(der) != (who, self[who].role):
            raise ProtocolError(
                f"A certificate of {who} on the roster has another name or role in it.",
                "Who looks at the certificate alone would take its party for another.",
                "Revoke it, and enrol the party anew.",
            )
        return who

    def verify(self, enrolment: bytes, held: int = 0, now: float | None = None) -> None:
        """ProtocolError unless the enrolment key has signed it, its serial is ≥ `held`, and it has
        not expired.

        now: in seconds since 1970; by default this machine's clock.
        """
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
        self._check_time(now)

    def encode(self) -> bytes:
        """JSON, to be stored and handed on."""
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The roster that `encode` has written, not verified; ProtocolError for anything else."""
        try:
            value = json.loads(data if len(data) <= LARGEST else b"")
            members = {who: _member(one) for who, one in value["members"].items()}
            signature = bytes.fromhex(value["signature"])
            found = cls(members, value["serial"], signature, value["until"])
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
        if len(self._holders) < sum(len(one.certificates) for one in self.values()):
            raise ProtocolError(
                f"A roster of {len(self)} members has one certificate twice.",
                "A certificate tells one party from all others.",
                "Give each party one of its own.",
            )
        low = [who for who, member in self.items() if not agreeable(member.agreement)]
        if low:
            raise ProtocolError(
                f"A roster has {low[0]} with a key that nobody can agree with.",
                "It is of low order, so that all others refuse to speak with it.",
                "Enrol each party with keys of its own: Identity.fresh(who, role).",
            )
        if not number(self.serial, whole=True) or self.serial < 1:
            found = f"A roster has the serial {self.serial!r}."
            raise ProtocolError(found, "Serials count rosters: 1, 2, 3, …", "Write serial=1.")
        if self.until is not None and (not number(self.until, whole=True) or self.until < 1):
            raise ProtocolError(
                f"A roster counts until {self.until!r}.",
                "That is a whole number of seconds since 1970, or None.",
                "Write for example until=int(time.time()) + 90 * 86400.",
            )

    def _check_time(self, now: float | None) -> None:
        if self.until is None:
            return
        if (time.time() if now is None else now) >= self.until:
            raise ProtocolError(
                f"The roster of serial {self.serial} has expired.",
                "Whoever keeps newer ones back could keep a member that was revoked.",
                "Take the newest; who enrols the parties makes one with: hansa roster renew.",
            )

    @cached_property
    def _holders(self) -> Mapping[bytes, str]:
        """SHA-256 of a certificate → whose it is."""
        return {digest: who for who, one in self.items() for digest in one.certificates}

    @property
    def _value(self) -> dict[str, Any]:
        members = {who: _fields(one) for who, one in self.items()}
        return {"serial": self.serial, "until": self.until, "members": members}

    # of many members, once: a kit asks for each of the two several times

    @cached_property
    def _encoded(self) -> bytes:
        return _text({**self._value, "signature": self.signature.hex()})

    @cached_property
    def _message(self) -> bytes:
        return DOMAIN + _text(self._value)

    def __getitem__(self, who: str) -> Member:
        return self.members[who]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def clients_of(roster: Mapping[str, Member]) -> Sequence[str]:
    """Names of the clients of a roster, in its order."""
    if (known := getattr(roster, "clients", None)) is not None:  # of a million, without their keys
        return known  # type: ignore[no-any-return]
    return [who for who, one in roster.items() if one.role == "client"]


def gateways_of(roster: Mapping[str, Member]) -> list[str]:
    """Names of the gateways of a roster, in its order."""
    return [who for who, one in roster.items() if one.role == "gateway"]


def peers_of(roster: Mapping[str, Member]) -> list[str]:
    """Names of the peers of a roster that listen somewhere, sorted: the order of their graph."""
    return sorted(who for who, one in roster.items() if one.role == "peer" and one.address)


UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError, ProtocolError)


def _text(value: Mapping[str, Any]) -> bytes:
    """JSON in one way only: sorted, in ASCII, one entry a line."""
    # with `indent=`, Python 3.11 leaves its encoder in C, and takes many times as long
    return json.dumps(value, sort_keys=True, separators=(",\n", ": ")).encode("ascii") + b"\n"


def _fields(one: Member) -> dict[str, Any]:
    """A member as a roster writes it; the address of a peer alone."""
    address = {"address": one.address} if one.address else {}
    return {
        "role": one.role,
        "signing": one.signing.hex(),
        "agreement": one.agreement.hex(),
        "certificates": [digest.hex() for digest in one.certificates],
        **address,
    }


def _member(value: Mapping[str, Any]) -> Member:
    signing = bytes.fromhex(value["signing"])
    agreement = bytes.fromhex(value["agreement"])
    certificates = tuple(bytes.fromhex(digest) for digest in value["certificates"])
    return Member(value["role"], signing, agreement, certificates, value.get("address", ""))


def _check_certificates(digests: Sequence[object]) -> None:
    known = isinstance(digests, tuple) and len(set(digests)) == len(digests) <= MOST
    if not known or any(type(one) is not bytes or len(one) != 32 for one in digests):
        raise ProtocolError(
            f"A party has the certificates {digests!r:.220}.",
            f"They are a tuple of SHA-256, 32 bytes each, {MOST} at most.",
            "Write certificates=(hashlib.sha256(der).digest(),).",
        )


def _check_address(role: str, address: object) -> None:
    short = isinstance(address, str) and len(address) <= LONGEST_ADDRESS and address.isprintable()
    if not short or (address and role != "peer"):
        raise ProtocolError(
            f"A {role} has the address {address!r:.220}.",
            "A peer says where it listens; all others dial, or are dialled where their kit says.",
            "Leave it out, or enrol a peer.",
        )


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
