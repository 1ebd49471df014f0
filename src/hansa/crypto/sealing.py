"""Messages from one party to another that only these two can read, or write.

    box = nonce ‖ AES-256-GCM(key of the pair, nonce, message, from ‖ to ‖ about)
    mac = HMAC-SHA256(HKDF(key of the pair, label), from ‖ to ‖ message), its first 16 bytes

Both have the key from their agreement keys, without a message (see keys.PrivateKey.agree). Nonces
are drawn: a party that seals the same place twice, as after a restart, gives nothing away. A mac
tells the other alone who has said what anybody may read: either of the two could have made it.
(NIST SP 800-38D; RFC 2104)

Where the receiver may have to show what it was sent, its sender seals with a `Seal`, a key for
nothing else: whoever is shown what the two have agreed on with it opens these boxes, from the one
to the other, and no box of the receiver's, nor can he make a mac.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import ProtocolError
from .disclosure import agreement_of, disclose, disclosed
from .keys import PRIVATE, PUBLIC, SIGNATURE, PrivateKey, SigningKey, agreed, hkdf, joined, verify

NONCE = 12  # bytes
OVERHEAD = NONCE + 16  # bytes that a box has beyond its message: a nonce, a tag
MAC = 16  # bytes

PAIR = b"hansa box of a pair 1"
VOUCH = b"hansa mac of a pair 1"
SEAL = b"hansa seal 1"
OWNED = b"hansa seal: owned 1"


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

    @property
    def _cipher(self) -> Any:
        """Made anew each time: it takes 3 KB, and of a party that speaks with many are many."""
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


@dataclass(frozen=True, eq=False)
class Seal:
    """A key of one party that seals boxes, and nothing else.

    It agrees with the number behind an Ed25519 key, with which it also signs whose key this is.
    `public` is both: a receiver that has checked it shows what it has agreed on with the sender,
    and not with a third whose key the sender has given out for its own.

    holder: the public key by which its party signs.
    """

    who: str
    holder: bytes
    key: SigningKey = field(repr=False)

    @cached_property
    def public(self) -> bytes:
        """96 bytes: what others know of it."""
        public = self.key.public
        return public + self.key.sign(joined(OWNED, self.holder, public))

    def channels(self, others: Mapping[str, bytes]) -> dict[str, Channel]:
        """To each of the others, by name, from their agreement keys."""
        own = PrivateKey(hashlib.sha512(self.key.secret).digest()[:PRIVATE])
        return channels(own, self.who, others, SEAL)


SEALED_WITH = PUBLIC + SIGNATURE  # bytes of the public half of a seal


def sealed_by(own: PrivateKey, me: str, who: str, seal: bytes) -> Channel:
    """The channel in which boxes of another open that it seals with this seal; ProtocolError where
    `PrivateKey.exchange` raises it.
    """
    (channel,) = channels(own, me, {who: agreement_of(seal[:PUBLIC])}, SEAL).values()
    return channel


def owned(holder: bytes, seal: bytes) -> bool:
    """Is the key of this seal that of who signs by the key `holder`?"""
    public = seal[:PUBLIC]
    return verify(public, joined(OWNED, holder, public), seal[PUBLIC:])


def show(own: PrivateKey, seal: bytes, about: bytes) -> bytes:
    """What opens all that its sender has sealed with this seal for the holder of a key, for all to
    see; b"" where nothing does.
    """
    return disclose(own, seal[:PUBLIC], about) or b""


def shown(
    me: tuple[str, bytes], peer: str, seal: bytes, proof: bytes, about: bytes
) -> Channel | None:
    """The channel of `sealed_by`, as its receiver has shown it; None where it has not.

    me: the receiver, and its agreement key.
    """
    secret = disclosed(me[1], seal[:PUBLIC], proof, about)
    if secret is None:
        return None
    label = joined(PAIR, SEAL)
    return Channel(me[0], peer, agreed(secret, label, me, (peer, agreement_of(seal[:PUBLIC]))))


def _sides(sender: str, receiver: str, about: bytes) -> bytes:
    return joined(sender.encode(), receiver.encode(), about)
