"""Proofs that a client has dealt rubbish: who says that it holds no share of another shows why.

    holder → server     whose shares it does not hold, with its vector
    server → holder     the first message of each of these, as its dealer has signed it
    holder → server     what opens all that the dealer has sealed for it, and a proof of that

Anybody with the roster sees from it that no share is in the box, so it bans the dealer. The holder
looks at the signature first: a server that had changed the box could else have an honest dealer's
share shown. The seal has signed the same message: or the holder would show what it has agreed on
with a third, or, to who has stolen the dealer's signing key, with the dealer itself. What it shows
opens boxes from this dealer to this holder, under this seal: no mask, no MAC, no box of
another. Who says that it holds nothing, and does not prove it, is the one that lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...crypto.field import Elements, Field64
from ...crypto.identity import Member
from ...crypto.keys import SIGNATURE, verify
from ...crypto.sealing import MAC, SEALED_WITH, Channel, sealed, shown
from ...errors import ProtocolError
from .terms import Octets, Set, prepared_of

DEALT = 2 * SIGNATURE  # bytes of the two signatures on a first message


@dataclass(frozen=True)
class Dealt:
    """The first message of a client, in a session that is bound so, as it has signed it."""

    binding: bytes
    dealer: str
    member: Member
    public: bytes
    boxes: Octets  # [n, …]
    signature: bytes  # by its key, and by the seal of the boxes: of these very ones

    @property
    def signed(self) -> bool:
        """Is it the dealer's, and are the boxes of who has their seal?"""
        own, seals = self.signature[:SIGNATURE], self.signature[SIGNATURE:]
        if not verify(self.member.signing, self.about, own):
            return False
        return sealed(self.seal, self.about, seals)

    @property
    def seal(self) -> bytes:
        """What its boxes are sealed with."""
        return self.public[-SEALED_WITH:]

    @property
    def about(self) -> bytes:
        """What a proof is of: this message, and no other."""
        return prepared_of(self.binding, self.dealer, self.public, self.boxes)

    @property
    def sealed_about(self) -> bytes:
        """What its boxes are about."""
        return self.binding + self.public

    def box(self, place: int) -> bytes:
        """What it has sealed for the member of this place."""
        return bytes(self.boxes[place, MAC:])

    def holds(self, place: int, channel: Channel | None) -> bool:
        """Is there a share for the member of this place, in the channel that the two have?"""
        share = opened(channel, self.box(place), self.sealed_about)
        return share is not None and bool(are_shares(share[None])[0])

    def is_rubbish(self, place: int, holder: str, member: Member, proof: bytes) -> bool:
        """Does this prove that the dealer has dealt no share to a holder?

        The holder has to show what opens the box that it says is rubbish.
        """
        if not self.signed:
            return False
        me = (holder, member.agreement)
        channel = shown(me, self.dealer, self.seal, proof, self.about)
        return channel is not None and not self.holds(place, channel)


@dataclass(frozen=True)
class Proof:
    """What a holder shows of a dealer's first message: that no share is in it for this one."""

    dealt: Dealt
    holder: str
    shown: bytes


def opened(channel: Channel | None, box: bytes, about: bytes) -> Elements | None:
    """What is in a box; None where it does not open, or holds no elements."""
    if channel is None:
        return None
    try:
        data = channel.open_once(box, about)
    except ProtocolError:
        return None
    return np.frombuffer(data, "<u8") if len(data) % 8 == 0 else None


def are_shares(rows: Elements) -> Set:
    """Which of these are shares: of elements, which lie below p, and not all of them zero."""
    return np.asarray((rows < Field64.p).all(axis=1) & rows.any(axis=1))


def is_octets(found: Any, shape: tuple[int, ...]) -> bool:
    """Are these bytes of this shape?"""
    return isinstance(found, np.ndarray) and found.dtype == np.uint8 and found.shape == shape


def proof_entry(proof: Proof) -> dict[str, str]:
    """A proof as a line of the record holds it."""
    dealt = proof.dealt
    return {
        "dealer": dealt.dealer,
        "public": dealt.public.hex(),
        "boxes": dealt.boxes.tobytes().hex(),
        "signature": dealt.signature.hex(),
        "holder": proof.holder,
        "proof": proof.shown.hex(),
    }


def is_proven(
    entry: Mapping[str, str], names: list[str], members: Mapping[str, Member], binding: bytes
) -> bool:
    """Does this part of a line prove what it says, of two of its members?"""
    dealer, holder = entry["dealer"], entry["holder"]
    if dealer not in names or holder not in names:
        return False
    boxes = np.frombuffer(bytes.fromhex(entry["boxes"]), np.uint8).reshape(len(names), -1)
    public, signature, proof = (
        bytes.fromhex(entry[name]) for name in ("public", "signature", "proof")
    )
    dealt = Dealt(binding, dealer, members[dealer], public, boxes, signature)
    return dealt.is_rubbish(names.index(holder), holder, members[holder], proof)
