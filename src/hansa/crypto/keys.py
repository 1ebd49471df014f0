"""Keys of parties: boxes that only one holder can open, secrets that only two holders have, and
signatures that only one can make.

HPKE in its base mode, with X25519, HKDF-SHA256 and AES-256-GCM (RFC 9180), X25519 (RFC 7748) with
HKDF-SHA256 (RFC 5869) alone, and Ed25519 (RFC 8032); all from the library cryptography.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from ..errors import ProtocolError

PRIVATE = 32  # bytes of a private key
PUBLIC = 32  # bytes of a public key
SEALED = 32 + 16  # bytes that a sealed box has beyond its content: an ephemeral key, a tag
SIGNATURE = 64  # bytes of a signature
HASH = 32  # bytes of a SHA-256

P = 2**255 - 19
Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7  # of the points of order 8
SMALL = {0, 1, P - 1, Y, P - Y}  # y of the eight points whose order divides 8
U = 0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F
V = 0xB8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0
LOW = {  # u of the points whose order divides 8, on the curve or its twist
    0,
    1,
    P - 1,
    U,
    V,
}


@dataclass(frozen=True, eq=False)  # which would compare secrets, and in a time that tells of them
class _Secret:
    """The 32 bytes of which a private key is made, and which give it again. They do not print."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != PRIVATE:
            raise ProtocolError(
                f"A private key of {len(self.secret)} bytes.",
                f"X25519 and Ed25519 have {PRIVATE}.",
                "Take the file of a party as hansa has written it.",
            )

    @classmethod
    def fresh(cls) -> Self:
        """A new one, from the operating system's generator."""
        return cls(secrets.token_bytes(PRIVATE))

    @property
    def public(self) -> bytes:
        """The half to give away."""
        return bytes(self._key().public_key().public_bytes_raw())

    def _key(self) -> Any:
        raise TypeError(f"{type(self).__name__} does not say which curve it is on")


class PrivateKey(_Secret):
    """The half of an X25519 key pair that opens what was sealed with the other, `public`."""

    def _key(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return X25519PrivateKey.from_private_bytes(self.secret)

    def open(self, box: bytes, info: bytes) -> bytes:
        """What was sealed for this key and this `info`; ProtocolError for anything else."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(_suite().decrypt(box, self._key(), info))
        except (InvalidTag, ValueError):
            raise ProtocolError(
                "A sealed share does not open.",
                "It was sealed for another key, client, round or task, or was changed on its way.",
                "The report is refused. An honest client's report is not.",
            ) from None

    def exchange(self, others: Mapping[str, bytes]) -> dict[str, bytes]:
        """X25519 with the public keys of others, by name: 32 bytes that only both holders know.

        ProtocolError for what is no key, or one of the points with which everybody gets zeros.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        key = self._key()
        found = dict[str, bytes]()
        for who, public in others.items():
            try:
                found[who] = key.exchange(X25519PublicKey.from_public_bytes(public))
            except ValueError:
                raise ProtocolError(
                    f"The public key of {who} cannot be agreed with.",
                    f"X25519 has {PUBLIC} bytes, and no points with which anybody gets the secret.",
                    "Leave out who has sent it.",
                ) from None
        return found

    def agree(self, me: str, others: Mapping[str, bytes], label: bytes) -> dict[str, bytes]:
        """32 bytes with each of the others, by name: for one use, which `label` names.

            HKDF-SHA256(X25519(own, other), label ‖ name and public key of both, sorted by name)

        Both get the same, and nobody else does. ProtocolError where `exchange` raises it, and for
        a party that is to agree with itself.
        """
        if me in others:
            raise ProtocolError(
                f"{me} is to agree on a secret with itself.",
                "Both of a pair would be one, and nothing would be between them.",
                "Leave it out of the others.",
            )
        own = (me, self.public)
        found = dict[str, bytes]()
        for who, secret in self.exchange(others).items():
            found[who] = agreed(secret, label, own, (who, others[who]))
        return found


class SigningKey(_Secret):
    """The half of an Ed25519 key pair that signs what the other, `public`, verifies."""

    def sign(self, message: bytes) -> bytes:
        """64 bytes that only the holder of this key can make for this message."""
        return bytes(self._key().sign(message))

    def _key(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.secret)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Has the holder of the other half of `public` signed this message?

    Never for a key of small order, for which anybody can sign.   (Brendel et al. 2021, §5)
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if (int.from_bytes(public, "little") % 2**255) % P in SMALL:  # the topmost bit is the sign of x
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):  # the latter for what is no key
        return False
    return True


def agreed(secret: bytes, label: bytes, one: tuple[str, bytes], other: tuple[str, bytes]) -> bytes:
    """What two, by name and public key, make of their X25519 secret: see `PrivateKey.agree`."""
    (a, first), (b, second) = sorted((one, other))
    return hkdf(secret, joined(label, a.encode(), first, b.encode(), second))


def agreeable(public: bytes) -> bool:
    """Can a secret be agreed on with the holder of this X25519 key? Not where it is of low order,
    so that everybody gets zeros.   (Langley et al. 2016, §6.1)
    """
    u = int.from_bytes(public, "little") % 2**255
    return u % P not in LOW


def seal(data: bytes, public: bytes, info: bytes) -> bytes:
    """`data` for the holder of the other half alone; opens with the same `info` only."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    try:
        return bytes(_suite().encrypt(data, X25519PublicKey.from_public_bytes(public), info))
    except ValueError as error:
        raise ProtocolError(
            f"A public key of {len(public)} bytes cannot be sealed for: {error}",
            f"X25519 has {PUBLIC}, and no points with which a box would be open to anybody.",
            "Look who gave it.",
        ) from None


def hkdf(secret: bytes, info: bytes, size: int = 32) -> bytes:
    """HKDF-SHA256 without salt: a key of `size` bytes for the use that `info` names (RFC 5869)."""
    key = hmac.digest(bytes(HASH), secret, "sha256")
    found = block = b""
    for counter in range(1, 1 + -(-size // HASH)):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        found += block
    return found[:size]


def joined(*parts: bytes) -> bytes:
    """Parts one after another, each behind its length in 8 bytes: no others give the same."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


@cache
def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
