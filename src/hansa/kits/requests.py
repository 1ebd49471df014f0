"""Requests to be enrolled: names and public keys, with a proof that the private ones are there.

message = DOMAIN ‖ JSON of name, role, public keys, and the certificate that is renewed
proofs  = Ed25519(message), XEdDSA(message), ECDSA(message), by the three private keys
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..crypto.identity import UNREADABLE, Identity, Member
from ..crypto.keys import verify
from ..errors import ProtocolError
from .armour import armoured, canonical, opened, unreadable
from .names import check_name, host_and_port
from .possession import prove, proven

LABEL = "REQUEST"
DOMAIN = b"hansa request 1\n"  # what is signed under it is signed as a request, and as nothing else


@dataclass(frozen=True, eq=False)
class Request:
    """What a party asks to be enrolled as.

    Its words are of what is signed, and so of all but the proofs: who changes a proof changes
    nothing, and who changes more has other words.

    tls: public key of its certificate, on P-256, in DER. renews: SHA-256 of the certificate that it
    has, or b"" where it has none yet.
    """

    who: str
    member: Member
    tls: bytes = field(repr=False)
    renews: bytes = field(default=b"", repr=False)
    proofs: tuple[bytes, bytes, bytes] = field(default=(b"", b"", b""), repr=False)

    @classmethod
    def signed(cls, identity: Identity, key: Any, renews: bytes = b"", address: str = "") -> Self:
        """The request of a party, with the private key on P-256 for its certificate, and of a peer
        where it listens.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        member = replace(identity.member, certificates=(), address=address)
        unsigned = cls(identity.who, member, public_of(key.public_key()), renews)
        message = unsigned.message
        own = identity.signing.sign(message)
        proof = prove(identity.agreement, message)
        return replace(unsigned, proofs=(own, proof, key.sign(message, ECDSA(SHA256()))))

    @property
    def message(self) -> bytes:
        """What is signed, and what the words that are read by telephone are of."""
        return DOMAIN + canonical(self._value)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the message, by which an answer names it."""
        return hashlib.sha256(self.message).digest()

    def verify(self) -> None:
        """ProtocolError unless each of the three private keys has signed this very request."""
        check_name(self.who)
        if self.member.role == "peer":
            host_and_port(self.member.address)
        signing, agreement, tls = self.proofs
        message = self.message
        held = (
            ("to sign with", verify(self.member.signing, message, signing)),
            ("to agree with", proven(self.member.agreement, message, agreement)),
            ("of its certificate", _signed_by(self.tls, message, tls)),
        )
        for which, proof in held:
            if not proof:
                raise ProtocolError(
                    f"The request of {self.who} does not prove that it has the key {which}.",
                    "Somebody else's key could be in it.",
                    "Have it made anew at the party, with: hansa enroll",
                )

    def check_role(self, role: str) -> None:
        """ProtocolError where the party asks for another role than its operator means."""
        if self.member.role != role:
            raise ProtocolError(
                f"{self.who} asks to be a {self.member.role}, and not a {role}.",
                "A server hears what clients say, and a helper holds shares of it.",
                f"If you mean that: --role {self.member.role}",
            )

    def encode(self) -> bytes:
        """The text to be sent."""
        return armoured(LABEL, {**self._value, "proofs": [one.hex() for one in self.proofs]})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The request that `encode` has written, verified; ProtocolError for anything else."""
        value = opened(LABEL, data)
        try:
            signing, agreement = bytes.fromhex(value["signing"]), bytes.fromhex(value["agreement"])
            first, second, third = (bytes.fromhex(one) for one in value["proofs"])
            found = cls(
                value["who"],
                Member(value["role"], signing, agreement, address=value.get("address", "")),
                bytes.fromhex(value["tls"]),
                bytes.fromhex(value["renews"]),
                (first, second, third),
            )
            whole = armoured(LABEL, value) == found.encode()
        except UNREADABLE:
            whole = False
        if not whole:
            raise unreadable(LABEL, len(data))
        found.verify()
        return found

    @property
    def _value(self) -> Mapping[str, Any]:
        address = {"address": self.member.address} if self.member.address else {}
        return {
            "who": self.who,
            "role": self.member.role,
            "signing": self.member.signing.hex(),
            "agreement": self.member.agreement.hex(),
            "tls": self.tls.hex(),
            "renews": self.renews.hex(),
            **address,
        }


def public_of(key: Any) -> bytes:
    """A public key in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def public_key(der: bytes) -> Any:
    """The public key on P-256 in these bytes of DER; ValueError where there is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(der)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("a key on another curve than P-256")
    return key


def _signed_by(der: bytes, message: bytes, signature: bytes) -> bool:
    """Has the holder of this key signed the message?"""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        public_key(der).verify(signature, message, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
