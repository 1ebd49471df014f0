"""Sums that do not depend on the order or the grouping of what is added.

Floating-point addition is not associative, so a sum taken by two workers differs from a sum taken
by four. Here every vector is first cut into two parts whose own sums are exact:

    v = h + l + e,    h ∈ 2⁻¹⁶·ℤ,    l ∈ 2⁻⁵⁶·ℤ, |l| ≤ 2⁻¹⁷,    |e| ≤ 2⁻⁵⁷

Adding multiples of a quantum q is exact while |sum| ≤ 2⁵³·q: here |Σv| < 2³⁷, and 2¹⁴ vectors
between two carries. The cut is (v + M) − M with M = 1.5·2⁵²·q.   (Demmel and Nguyen 2015,
"Parallel reproducible summation")

In NumPy that is eight passes over arrays that no cache holds; where there is a C++ compiler, long
vectors are added in one, by sums.cpp, to the same bytes (but for the sign of what is not a number).
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from .errors import ProtocolError
from .spec import BLOCK, Spec, Vector, blocks

WORDS = tuple(map(np.dtype, (np.uint16, np.uint32, np.uint64)))

REAL = np.dtype(np.float64)

COARSE = 1.5 * 2.0 ** (52 - 16)
FINE = 1.5 * 2.0 ** (52 - 56)
CARRY = 2**13  # half of what stays exact, so that two totals may be merged before a carry
MOST = 2**53  # vectors in a sum
LONG = 2**16  # numbers in a vector that is worth asking the compiler

log = logging.getLogger("hansa")


class Total:
    """A running sum: of reals, equal bytes for any order and grouping; of words of b bits, mod 2ᵇ.

    Words are uint16, uint32 or uint64. What is added has one length, and words have one width.
    Of reals two vectors are held, Σ h and Σ l, whose sum is rounded once, when it is read; of words
    one. Workers send what `parts` gives, and `of` reads it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._coarse: Vector | None = None
        self._fine: Vector | None = None
        self._since = 0  # vectors added since the last carry

    def add(self, v: Vector) -> None:
        """Add one vector, of reals or of words; ValueError where it is unlike the others."""
        kind = REAL
        if v.dtype in WORDS:
            kind = v.dtype
        if self._coarse is None:
            self._coarse = np.zeros(v.shape, kind)
            if kind == REAL:
                self._fine = np.zeros(v.shape)
        _alike(self._coarse, v.shape, kind)
        if self._fine is None:
            self._coarse += v
        else:
            _add_real(v, self._coarse, self._fine)
        self.count += 1
        self._carry(1)

    def merge(self, other: Self) -> None:
        """Add what another total holds; ValueError where that does not belong to the others."""
        if other._coarse is None:
            return
        if self._coarse is None:
            self._coarse = other._coarse.copy()
            if other._fine is not None:
                self._fine = other._fine.copy()
        else:
            _alike(self._coarse, other._coarse.shape, other._coarse.dtype)
            self._coarse += other._coarse
            if self._fine is not None:
                self._fine += other._fine
        self.count += other.count
        self._carry(other._since)

    def value(self) -> Vector:
        """The sum, correctly rounded; ValueError where nothing was added."""
        coarse = self._held()
        if self._fine is None:
            return coarse
        return coarse + self._fine

    def release(self) -> Vector:
        """The sum, correctly rounded, in the memory that held it: nothing is left in the total."""
        total = self._held()
        if self._fine is not None:
            total += self._fine
        self.count = self._since = 0
        self._coarse = self._fine = None
        return total

    def fits(self, spec: Spec) -> bool:
        """Is it a sum of vectors of this spec? Of reals the coarse half tells shape and type.

        It is asked of what another process has sent, before that is merged.
        """
        return spec.fits(self._coarse)

    def parts(self) -> dict[str, Any]:
        """All that it holds, as plain values: what a worker sends of the clients that it added."""
        halves = {"coarse": self._held(), "fine": self._fine}
        return {"count": self.count, "since": self._since, **halves}

    @classmethod
    def of(cls, parts: Any) -> Self:
        """The total that holds these parts; ProtocolError where none does."""
        match parts:
            case {"count": count, "since": since, "coarse": coarse, "fine": fine, **more} if (
                not more
            ):
                counts = type(count) is type(since) is int and 0 < since <= count < MOST
                if counts and since < CARRY and _are_halves(coarse, fine):
                    total = cls()
                    total.count = count
                    total._since = since
                    total._coarse = coarse
                    total._fine = fine
                    return total
        raise ProtocolError(
            "A message holds no sum.", "", "Look at the version of who has added it up."
        )

    def _held(self) -> Vector:
        """The coarse half; ValueError where nothing was added."""
        if self._coarse is None:
            raise ValueError("nothing was added to this total, so it has no value (and no length)")
        return self._coarse

    def _carry(self, since: int) -> None:
        """Move what the fine parts add up to into the coarse ones, before it is no longer exact."""
        self._since += since
        if self._since < CARRY:
            return
        self._since = 1
        if self._fine is not None and self._coarse is not None:
            for place in blocks(len(self._fine)):
                h = (self._fine[place] + COARSE) - COARSE
                self._coarse[place] += h
                self._fine[place] -= h


def _alike(held: Vector, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """ValueError where vectors of another shape or kind would be added."""
    if held.shape != shape or held.dtype != kind:
        into = f"a sum of {held.dtype}{list(held.shape)}"
        raise ValueError(f"{kind}{list(shape)} cannot be broadcast into {into}")


def _are_halves(coarse: Any, fine: Any) -> bool:
    """Are these the two vectors of a sum of reals, or the one of a sum of words?"""
    if not isinstance(coarse, np.ndarray) or coarse.ndim != 1:
        return False
    if fine is None:
        return coarse.dtype in WORDS
    real = isinstance(fine, np.ndarray) and coarse.dtype == fine.dtype == np.float64
    return real and coarse.shape == fine.shape


def _plain(v: Vector, coarse: Vector, fine: Vector) -> bool:
    """Can sums.cpp read the one, and write the others?"""
    read = v.dtype == np.float64 and v.flags.c_contiguous and v.flags.aligned
    return bool(read and coarse.flags.writeable and fine.flags.writeable)


def _add_real(v: Vector, coarse: Vector, fine: Vector) -> None:
    """h and l of a vector, into the sums of each.

    coarse ← coarse + h,    fine ← fine + l,    in pieces that a cache holds
    """
    if v.size >= LONG and _plain(v, coarse, fine) and (library := loaded()) is not None:
        places = (array.ctypes.data for array in (v, coarse, fine))
        library.add(*places, v.size, COARSE, FINE)
        return
    if v.ndim and len(v) > BLOCK:
        for place in blocks(len(v)):
            _add_block(v[place], coarse[place], fine[place])
    else:  # also what cannot be added, about which NumPy says why
        _add_block(v, coarse, fine)


def _add_block(v: Vector, coarse: Vector, fine: Vector) -> None:
    """The same, of so few numbers that a cache holds them."""
    part = np.add(v, COARSE, dtype=np.float64)  # h, and then l in the same memory
    part -= COARSE
    coarse += part
    np.subtract(v, part, out=part)
    part += FINE
    part -= FINE
    fine += part


@cache
def loaded() -> ctypes.CDLL | None:
    """sums.cpp as this machine's own program; None, and why in the log, where there is none."""
    from . import native  # subprocess and the like are no part of `import hansa`

    library = native.loaded(Path(native.__file__).with_name("sums.cpp"))
    if isinstance(library, str):
        log.info("Sums are taken in NumPy: %s", library)
        return None
    library.add.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_int64, *[ctypes.c_double] * 2]
    library.add.restype = None
    return library
