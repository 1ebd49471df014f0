"""How a sum of ciphertexts is opened with the sum of their keys: by a server, and again by anybody.

Σ vᵢ = ⌊(Σ cᵢ − a · Σ sᵢ) · 2ᴷ/p⌉
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...crypto.field import Elements
from ...crypto.lattice import add, decrypt, fits, is_short
from ...crypto.packing import DEGREE, Packing, packing
from ...errors import ProtocolError, RoundError
from ...spec import Vector

SPARE = 1  # bits of a number beside those of the plan, where noise may carry a sum beyond them


def opened(total: Elements, key: bytes, clients: int, binding: bytes, way: Packing) -> Vector:
    """Σ vᵢ of so many clients; RoundError where Σ sᵢ is no sum of keys, or an error is larger than
    errors of honest clients add up to.
    """
    s = np.frombuffer(key, np.uint64)
    if not is_short(s, clients):
        raise RoundError(
            "The sum of keys is not short.",
            "Somebody has shared what is no key, or who helps lies.",
            "The round changes nothing.",
        )
    found, error = decrypt(total, s, binding, way)
    if error > way.error:
        raise RoundError(
            f"The sum lies {error} beside what honest ciphertexts add up to.",
            f"Their errors add up to {way.error} at most: somebody in it has encrypted under "
            "another key than it has shared, or says what is no ciphertext.",
            "The round changes nothing.",
        )
    return found


def reopened(
    form: Sequence[int], binding: bytes, ciphertexts: Iterable[bytes], key: bytes
) -> Vector:
    """Σ vᵢ again, from what is kept of a round; RoundError where it does not open, ProtocolError
    for what is no ciphertext.
    """
    clients, bits, size, wraps = form
    way = packing(bits, clients, size, SPARE * bool(wraps))
    total: Elements | None = None
    inside = 0
    for data in ciphertexts:
        c = np.frombuffer(data, np.uint8)
        if not fits(c, way):
            raise ProtocolError(
                f"A ciphertext has {len(data)} bytes that are none.",
                f"It has {way.octets}, seven for each coefficient.",
                "Look at who has signed it.",
            )
        if total is None:
            total = np.zeros(way.coefficients, np.uint64)
        add(total, c)
        inside += 1
    if total is None or len(key) != 8 * DEGREE:
        raise ProtocolError(
            f"A sum of {inside} ciphertexts, and a key of {len(key)} bytes.",
            f"A sum is over clients, and a key has {8 * DEGREE} bytes.",
            "Look at who keeps them.",
        )
    return opened(total, key, inside, binding, way)
