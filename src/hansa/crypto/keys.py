"""Keys of parties, and sealed boxes: bytes that one holder of a private key can open.

HPKE in its base mode, with X25519, HKDF-SHA256 and AES-256-GCM, from the library cryptography.   (RFC 9180)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from ..errors import ProtocolError

PUBLIC = 32  # bytes of a public key
SEALED = 32 + 16  # bytes that a sealed box has beyond its content: an ephemeral key, a tag


@dataclass(frozen=True)
class PrivateKey:
    """One half of a key pair; the other is `public`. It does not print."""

    _key: Any = field(repr=False)

    @classmethod
    def fresh(cls) -> Self:
        """A new pair, from the operating system's generator."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return cls(X25519PrivateKey.generate())

    @property
    def public(self) -> bytes:
        """The half to give away."""
        return bytes(self._key.public_key().public_bytes_raw())

    def open(self, box: bytes, info: bytes) -> bytes:
        """What was sealed for this key and this `info`; ProtocolError for anything else."""
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(_suite().decrypt(box, self._key, info))
        except (InvalidTag, ValueError):
            raise ProtocolError(
                "A sealed share does not open.",
                "It was sealed for another key, client, round or task, or was changed on its way.",
                "The report is refused. An honest client's report is not.",
            ) from None


def seal(data: bytes, public: bytes, info: bytes) -> bytes:
    """`data` for the holder of the other half alone; opens with the same `info` only."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    if len(public) != PUBLIC:
        raise ProtocolError(f"A public key of {len(public)} bytes.", f"X25519 has {PUBLIC}.", "Look who gave it.")
    return bytes(_suite().encrypt(data, X25519PublicKey.from_public_bytes(public), info))


@cache
def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
