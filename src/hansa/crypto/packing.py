"""Packing: how many numbers of a vector a coefficient of a ciphertext holds, beside all errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import PlanError, number
from .field import Elements

DEGREE = 4096  # of the ring: coefficients that are encrypted at a time
ETA = 21  # the largest coefficient of a key or an error
CUT = 8  # bits of a coefficient that lie below the errors, and do not travel
BYTES = 7  # of a coefficient that do
U64 = np.uint64


@dataclass(frozen=True)
class Packing:
    """Where the numbers of a vector lie: `each` of them in a coefficient, `width` bits apart.

        mᵢ = Σⱼ x[j·4096 + i] · 2^(j·width),  i < 4096,    of each row of 4096 coefficients
        K = each · width,    |errors of a sum| ≤ `error` < 2⁶³⁻ᴷ

    bits: those of a number of the sum, signed, in which vectors are added mod 2^bits. clients: in a
    sum, at most. size: numbers of a vector. A sum is exact where each of its numbers has `width`
    bits; of one that has more, the next one is off by what it carries.

    Zeros fill up the last row, and have to be zeros in the sum, but for what is carried: so a wrong
    sum of keys opens no short vector either.

    An instance is a proof: one that could open to another sum raises PlanError.
    """

    bits: int
    clients: int
    size: int
    each: int
    width: int

    def __post_init__(self) -> None:
        fits = self.each >= 1 and self.bits <= self.width
        if not fits or self.error >= self.half_step:
            raise PlanError(
                f"{self!r} has no room for the errors of {self.clients} clients.",
                "A sum whose errors reach half a step opens to another one.",
                "Take the packing that `packing` finds.",
            )

    @property
    def error(self) -> int:
        """How far a coefficient of a sum can lie from where its numbers say, for certain.

        Of each client: η of its error, half of what is cut off, and less than 1 of rounding m·p/2ᴷ;
        less than 2 of opening, for fewer than 2²⁰ clients.
        """
        return error_of(self.clients)

    @property
    def shift(self) -> int:
        """64 − K: a step is 2^shift."""
        return 64 - self.each * self.width

    @property
    def half_step(self) -> int:
        """The least error with which a sum may open to another one; 0 where K is too large."""
        return (1 << max(0, self.shift)) >> 1

    @property
    def coefficients(self) -> int:
        """Of a ciphertext, in whole rows."""
        return -(-self.size // (self.each * DEGREE)) * DEGREE

    @property
    def places(self) -> Elements:
        """What kernels are told of it."""
        return np.array([self.bits, self.each, self.width, self.shift], U64)

    @property
    def octets(self) -> int:
        """Bytes of a ciphertext."""
        return BYTES * self.coefficients


def error_of(clients: int) -> int:
    """See `Packing.error`."""
    return clients * (ETA + (1 << CUT) // 2 + 1) + 2


def packing(bits: int, clients: int, size: int, spare: int = 0) -> Packing:
    """As many numbers in a coefficient as fit, and as wide as they fit then.

    spare: bits that a number of a sum may have beyond `bits`, where noise may carry it there.
    PlanError where no number fits, with those that would.
    """
    whole = all(number(x, whole=True) for x in (bits, clients, size, spare))
    if not whole or min(bits, clients, size) < 1 or spare < 0 or clients >= 2**20:
        raise PlanError(
            f"Sums of {clients} vectors of {size} numbers of {bits} bits.",
            "At least one of each, and fewer than 2²⁰ clients.",
            "Write for example packing(16, 100, 1_000_000).",
        )
    room = 63 - error_of(clients).bit_length()
    each = room // (bits + spare)
    if not each:
        beside = f" and {spare} to spare" if spare else ""
        raise PlanError(
            f"Sums of {bits} bits{beside} of {clients} clients do not fit into a coefficient.",
            f"Beside the errors of {clients} clients there is room for {room}.",
            _what_fits(bits, room - spare, spare),
        )
    return Packing(bits, clients, size, each, room // each)


def _what_fits(bits: int, most: int, spare: int) -> str:
    """Fewer bits, or so few clients that these fit."""
    clients = (2 ** max(0, 63 - bits - spare) - 3) // (error_of(1) - 2)
    fewer = f", or sample {clients} clients at most" if clients >= 3 else ""
    return f"Write Quantize({min(most, 48)}, of='sum'){fewer}."
