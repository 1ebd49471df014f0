"""Messages from one party to another that only these two can read, or write.

    box = nonce ‖ AES-256-GCM(key of the pair, nonce, message, from ‖ to ‖ about)
    mac = HMAC-SHA256(HKDF(key of the pair, label), from ‖ to ‖ message), its first 16 bytes

Both have the key from their agreement keys, without a message (see keys.PrivateKey.agree). Nonces
are drawn: a party that seals the same place twice, as after a restart, gives nothing away. A mac
tells the other alone who has said what anybody may read: either of the two could have made it.
(NIST SP 800-38D; RFC 2104)
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import ProtocolError
from .keys import PrivateKey, hkdf, joined

NONCE = 12  # bytes
OVERHEAD = NONCE + 16  # bytes that a box has beyond its message: a nonce, a tag
MAC = 16  # bytes

PAIR = b"hansa box of a pair 1"
VOUCH = b"hansa mac of a pair 1"


@dataclass(frozen=True, eq=False)
class Channel:
    """What two parties say to each other, as one of them: `me` seals for `peer`, and opens."""

    me: str
    peer: str
    key: bytes = field(repr=False)

    def seal(self, message: bytes, about: bytes = b"") -> bytes:
        """A box that opens for the peer alone, as from `me`, and with the same `about`."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + bytes(
            self._cipher.encrypt(nonce, message, _sides(self.me, self.peer, about))
        )

    def open(self, box: bytes, about: bytes = b"") -> bytes:
        """What the peer has sealed for `me`; ProtocolError for anything else."""
        from cryptography.exceptions import InvalidTag

        try:
            sides = _sides(self.peer, self.me, about)
            return bytes(self._cipher.decrypt(box[:NONCE], box[NONCE:], sides))
        except (InvalidTag, ValueError):  # the latter for what is too short
            raise ProtocolError(
                f"A box of {self.peer} for {self.me} does not open.",
                "It was sealed by or for somebody else, in another session, or has been changed.",
                "Leave out who has sent it.",
            ) from None

    def mac(self, message: bytes) -> bytes:
        """16 bytes by which the peer alone knows that `me` says this message to it."""
        return self._mac(_sides(self.me, self.peer, message))

    def said(self, message: bytes, mac: bytes) -> bool:
        """Has the peer said this message to `me`?"""
        return hmac.compare_digest(self._mac(_sides(self.peer, self.me, message)), mac)

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._vouching, data, "sha256")[:MAC]

    @cached_property
    def _vouching(self) -> bytes:
        """Another key than boxes have."""
        return hkdf(self.key, VOUCH)

    @cached_property
    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.key)


def channels(
    own: PrivateKey, me: str, others: Mapping[str, bytes], binding: bytes
) -> dict[str, Channel]:
    """A channel to each of the others, by name, from their public keys.

    binding: what both must agree on to understand each other, such as run and roster. Channels may
    serve for a whole run; what is of one session is then said in `about`. ProtocolError where
    `PrivateKey.agree` raises it.
    """
    keys = own.agree(me, others, joined(PAIR, binding))
    return {who: Channel(me, who, key) for who, key in keys.items()}


def _sides(sender: str, receiver: str, about: bytes) -> bytes:
    return joined(sender.encode(), receiver.encode(), about)
