"""Messages from one party to another that only these two can read, or write.

    box = nonce ‖ AES-256-GCM(key of the pair, nonce, message, from ‖ to ‖ about)
    one = AES-256-GCM(HMAC-SHA256(key of the pair, label ‖ from ‖ to ‖ about), 0, message)
    mac = HMAC-SHA256(HKDF(key of the pair, label), from ‖ to ‖ message), its first 16 bytes

Both have the key from their agreement keys, without a message (see keys.PrivateKey.agree). Nonces
are drawn: a party that seals the same place twice, as after a restart, gives nothing away. A mac
tells the other alone who has said what anybody may read: either of the two could have made it.
(NIST SP 800-38D; RFC 2104)

The one box of what it is about has no nonce, but a key of its own.

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
from functools import cache, cached_property
from typing import Any

from ..errors import ProtocolError
from .disclosure import agreement_of, disclose, disclosed
from .keys import PRIVATE, PUBLIC, PrivateKey, SigningKey, agreeable, agreed, hkdf, joined, verify

NONCE = 12  # bytes
TAG = 16  # bytes
OVERHEAD = NONCE + TAG  # bytes that a box has beyond its message
MAC = 16  # bytes

PAIR = b"hansa box of a pair 1"
VOUCH = b"hansa mac of a pair 1"
ONCE = b"hansa one box of a pair 1"
SEAL = b"hansa seal 1"


@dataclass(frozen=True, eq=False)
class Channel:
    """What two parties say to each other, as one of them: `me` seals for `peer`, and opens."""

    me: str
    peer: str
    key: bytes = field(repr=False)

    def seal(self, message: bytes, about: bytes = b"") -> bytes:
        """A box that opens for the peer alone, as from `me`, and with the same `about`."""
        nonce = secrets.token_bytes(NONCE)
        return nonce + bytes(_cipher(self.key).encrypt(nonce, message, self._to + _last(about)))

    def open(self, box: bytes, about: bytes = b"") -> bytes:
        """What the peer has sealed for `me`; ProtocolError for anything else."""
        sides = self._from + _last(about)
        return self._opened(self.key, box[:NONCE], box[NONCE:], sides)

    def seal_once(self, message: bytes, about: bytes) -> bytes:
        """The one box of this `about`, without a nonce: a second would tell of both."""
        key = self._once(self._to + _last(about))
        return bytes(_cipher(key).encrypt(bytes(NONCE), message, None))

    def open_once(self, box: bytes, about: bytes) -> bytes:
        """What the peer has sealed so for `me`; ProtocolError for anything else."""
        key = self._once(self._from + _last(about))
        return self._opened(key, bytes(NONCE), box, None)

    def mac(self, message: bytes) -> bytes:
        """16 bytes by which the peer alone knows that `me` says this message to it."""
        return self._mac(self._to + _last(message))

    def said(self, message: bytes, mac: bytes) -> bool:
        """Has the peer said this message to `me`?"""
        return hmac.compare_digest(self._mac(self._from + _last(message)), mac)

    def _opened(self, key: bytes, nonce: bytes, box: bytes, sides: bytes | None) -> bytes:
        try:
            return bytes(_cipher(key).decrypt(nonce, box, sides))
        except (_library()[1], ValueError):  # the latter for what is too short
            raise ProtocolError(
                f"A box of {self.peer} for {self.me} does not open.",
                "It was sealed by or for somebody else, in another session, or has been changed.",
                "Leave out who has sent it.",
            ) from None

    def _once(self, sides: bytes) -> bytes:
        return hmac.digest(self.key, ONCE + sides, "sha256")

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._vouching, data, "sha256")[:MAC]

    @cached_property
    def _to(self) -> bytes:
        """Before what `me` says to the peer."""
        return joined(self.me.encode(), self.peer.encode())

    @cached_property
    def _from(self) -> bytes:
        """Before what the peer says to `me`."""
        return joined(self.peer.encode(), self.me.encode())

    @cached_property
    def _vouching(self) -> bytes:
        """Another key than boxes have."""
        return hkdf(self.key, VOUCH)


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

    It agrees by the number behind an Ed25519 key, with which it also signs each message in which
    its boxes are. `public` is that key, and the X25519 key of the same number: a receiver that has
    checked the signature shows what it has agreed on with who has sealed this very message, and not
    with a third whose key the sender, or who has stolen the sender's name, gives out for its own.
    """

    who: str
    key: SigningKey = field(repr=False)

    @cached_property
    def public(self) -> bytes:
        """64 bytes: what others know of it."""
        return self.key.public + self._agreement.public

    def sign(self, message: bytes) -> bytes:
        """A signature on a message in which its boxes are."""
        return self.key.sign(message)

    def channels(self, others: Mapping[str, bytes]) -> dict[str, Channel]:
        """To each of the others, by name, from their agreement keys."""
        return channels(self._agreement, self.who, others, SEAL)

    @property
    def _agreement(self) -> PrivateKey:
        return PrivateKey(hashlib.sha512(self.key.secret).digest()[:PRIVATE])  # RFC 8032, §5.1.5


SEALED_WITH = 2 * PUBLIC  # bytes of the public half of a seal


def sealed_by(own: PrivateKey, me: str, seals: Mapping[str, bytes]) -> dict[str, Channel]:
    """The channels in which boxes of others open, by name, that they seal with these seals;
    without those with which nobody can agree.
    """
    keys = {who: seal[PUBLIC:] for who, seal in seals.items()}
    some = {who: key for who, key in keys.items() if agreeable(key)}
    return channels(own, me, some, SEAL)


def sealed(seal: bytes, message: bytes, signature: bytes) -> bool:
    """Are the keys of this seal one, and has who has it signed this message?"""
    signing = seal[:PUBLIC]
    return agreement_of(signing) == seal[PUBLIC:] and verify(signing, message, signature)


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
    return Channel(me[0], peer, agreed(secret, label, me, (peer, seal[PUBLIC:])))


def _cipher(key: bytes) -> Any:
    """Made anew each time: it takes 3 KB, and a party that speaks with many would have many."""
    return _library()[0](key)


@cache
def _library() -> tuple[Any, type[Exception]]:
    """AES-GCM, and what it raises where a tag is wrong; imported once, for a box takes 2 µs."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag


def _last(about: bytes) -> bytes:
    """The last of what is `joined`."""
    return len(about).to_bytes(8, "little") + about
