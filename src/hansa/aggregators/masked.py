"""MaskedSum: a sum of vectors under masks that cancel in it, and whose rest t of n clients take
off.

    y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) − Σ_{v<u} PRG(s_uv)   mod 2ᵇ
    Σ_{u∈U} x_u = Σ_{u∈U} y_u − Σ_{u∈U} PRG(b_u) ± Σ_{u∈U, v∉U} PRG(s_uv)

    s_uv    from X25519 keys that u and v draw anew each time
    b_u     drawn by u, as new

Of a client in the sum its own mask is taken off, from shares of b_u; of one that has prepared, and
is not in it, those that the others have added against it, from shares of its key. Never both of
one client: a vector that comes late stays hidden.   (Bonawitz et al. 2017, §4 and Fig. 4)
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..crypto.field import Elements
from ..crypto.keys import PRIVATE, PUBLIC, PrivateKey, agreeable
from ..crypto.masks import SECRET, add_masks, own_seed, pair_seeds, sign
from ..crypto.shamir import to_bytes, to_elements
from ..errors import ProtocolError
from ..spec import Vector
from .hidden import HiddenSum
from .hidden.terms import Scheme, Set, Terms, View

HALF = len(to_elements([bytes(PRIVATE)]))  # elements of a key, and as many of a self-mask's secret
COMMITMENT = b"hansa self-mask 2"


class Masks(Scheme):
    """Masks of pairs, which cancel, and one of each client's own."""

    width: ClassVar[int] = PUBLIC + hashlib.sha256().digest_size
    parts: ClassVar[int] = 2
    helped: ClassVar[int] = HALF

    def draw(self) -> bytes:
        """A key for the masks of pairs, and the secret of its own mask."""
        return PrivateKey.fresh().secret + secrets.token_bytes(SECRET)

    def public(self, secret: bytes) -> bytes:
        """The public half of the key, and SHA-256 of the other secret."""
        return PrivateKey(secret[:PRIVATE]).public + _commitment(secret[PRIVATE:])

    def sound(self, public: bytes) -> bool:
        """Not of low order, against which nobody can mask a vector."""
        return agreeable(public[:PUBLIC])

    def elements(self, secret: bytes) -> Elements:
        """Both, one after the other."""
        return to_elements([secret[:PRIVATE], secret[PRIVATE:]]).reshape(2, HALF)

    def hide(
        self, v: Vector, secret: bytes, who: str, publics: Mapping[str, bytes], terms: Terms
    ) -> Vector:
        """v + PRG(b) ± Σ PRG(s), in place."""
        keys = {other: public[:PUBLIC] for other, public in publics.items()}
        key = PrivateKey(secret[:PRIVATE])
        alone = secret[PRIVATE:]
        seeds = pair_seeds(key, who, keys, terms.binding)
        masks = [(seed, sign(who, other)) for other, seed in seeds.items()]
        own = own_seed(alone, who, terms.binding)
        bits = terms.spec.sum_facts.modulus
        add_masks(v, [(own, 1), *masks], bits)
        return v

    def help(self, shares: Elements, prepared: Set, inside: Set) -> Elements:
        """Of who is in the sum its share of b, of who is not that of the key; never both."""
        half = shares.shape[1] // 2
        found = np.zeros((len(shares), half), np.uint64)
        found[inside] = shares[inside, half:]
        gone = prepared & ~inside
        found[gone] = shares[gone, :half]
        return found

    def checked(self, elements: Elements, public: bytes, inside: bool) -> bytes | None:
        """b or the key, as the public value says."""
        try:
            (secret,) = to_bytes(elements, PRIVATE)
        except ProtocolError:
            return None
        if inside:
            right = hmac.compare_digest(_commitment(secret), public[PUBLIC:])
        else:
            right = hmac.compare_digest(PrivateKey(secret).public, public[:PUBLIC])
        return secret if right else None

    def open(
        self, total: Vector, terms: Terms, view: View, inside: Set, secrets: Mapping[int, bytes]
    ) -> Vector:
        """Take off the own masks of who is in the sum, and those against who is not, in place."""
        names = terms.names
        bits = terms.spec.sum_facts.modulus
        own = [
            (own_seed(secret, names[i], terms.binding), -1)
            for i, secret in secrets.items()
            if inside[i]
        ]
        add_masks(total, own, bits)
        there = np.flatnonzero(inside).tolist()
        keys = {names[i]: view.public(i)[:PUBLIC] for i in there}
        for i, secret in secrets.items():
            if not inside[i]:
                gone = names[i]
                key = PrivateKey(secret)
                seeds = pair_seeds(key, gone, keys, terms.binding)
                masks = [(seed, -sign(other, gone)) for other, seed in seeds.items()]
                add_masks(total, masks, bits)
        return total


@dataclass(frozen=True, repr=False)
class MaskedSum(HiddenSum):
    """Σ vᵢ mod 2ᵇ, of which the server sees nothing else while fewer than 2t − n of n clients
    collude with it; t = ⌊threshold · n⌋ + 1 open it together.

    The vector ends in integers: Quantize(16, of="sum"). Weight, loss, control variates and clipping
    bits are part of it, and as hidden. Keys and masks are drawn anew in each round. A client whose
    vector is a lie is not found out: VerifiedSum does that.   (Bonawitz et al. 2017)
    """

    scheme: ClassVar[Scheme] = Masks()


def _commitment(secret: bytes) -> bytes:
    return hashlib.sha256(COMMITMENT + secret).digest()
