"""Keys of parties: boxes that only one holder can open, and signatures that only one can make.

HPKE in its base mode, with X25519, HKDF-SHA256 and AES-256-GCM (RFC 9180), and Ed25519 (RFC 8032);
both from the library cryptography.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from ..errors import ProtocolError

PRIVATE = 32  # bytes of a private key
PUBLIC = 32  # bytes of a public key
SEALED = 32 + 16  # bytes that a sealed box has beyond its content: an ephemeral key, a tag
SIGNATURE = 64  # bytes of a signature

P = 2**255 - 19
Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7  # of the points of order 8
SMALL = {0, 1, P - 1, Y, P - Y}  # y of the eight points whose order divides 8


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


@cache
def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
