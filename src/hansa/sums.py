"""Sums that do not depend on the order or the grouping of what is added.

Floating-point addition is not associative, so a sum taken by two workers differs from a sum taken by four. Here every
vector is first cut into two parts whose own sums are exact:

    v = h + l + e,    h ∈ 2⁻¹⁶·ℤ,    l ∈ 2⁻⁵⁶·ℤ, |l| ≤ 2⁻¹⁷,    |e| ≤ 2⁻⁵⁷

Adding multiples of a quantum q is exact while |sum| ≤ 2⁵³·q: here |Σv| < 2³⁷, and 2¹⁴ vectors between two carries.
The cut is (v + M) − M with M = 1.5·2⁵²·q   (Demmel and Nguyen 2015, "Parallel reproducible summation").

In NumPy that is eight passes over arrays that no cache holds; where there is a C++ compiler, long vectors are added in
one, by sums.cpp, to the same bytes (but for the sign of what is not a number).
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from .spec import Vector

COARSE = 1.5 * 2.0 ** (52 - 16)
FINE = 1.5 * 2.0 ** (52 - 56)
CARRY = 2**13  # half of what stays exact, so that two totals may be merged before a carry
LONG = 2**16  # numbers in a vector that is worth asking the compiler

log = logging.getLogger("hansa")


class Total:
    """A running sum: of reals, equal bytes for any order and grouping; of integers, mod 2⁶⁴."""

    def __init__(self) -> None:
        self.count = 0
        self._coarse: Vector | None = None
        self._fine: Vector | None = None
        self._since = 0  # vectors added since the last carry

    def add(self, v: Vector) -> None:
        """Add one vector: of reals, or uint64 for a sum mod 2⁶⁴."""
        self.count += 1
        if v.dtype == np.uint64:
            self._coarse = v.copy() if self._coarse is None else np.add(self._coarse, v, out=self._coarse)
            return
        if self._coarse is None or self._fine is None:
            self._coarse, self._fine = np.zeros(v.shape), np.zeros(v.shape)
        plain = v.dtype == np.float64 and v.flags.c_contiguous and v.flags.aligned and v.shape == self._coarse.shape
        written = self._coarse.flags.writeable and self._fine.flags.writeable
        if v.size >= LONG and plain and written and (library := loaded()) is not None:
            places = (array.ctypes.data for array in (v, self._coarse, self._fine))
            library.add(*places, v.size, COARSE, FINE)
        else:  # also for what cannot be added, about which NumPy says why
            part = np.add(v, COARSE, dtype=np.float64)  # one array for h, then l: what is summed should stay in cache
            part -= COARSE
            self._coarse += part
            np.subtract(v, part, out=part)
            part += FINE
            part -= FINE
            self._fine += part
        self._carry(1)

    def merge(self, other: Self) -> None:
        """Add what another total holds."""
        self.count += other.count
        if other._coarse is None:
            return
        if self._coarse is None:
            self._coarse = other._coarse.copy()
            self._fine = None if other._fine is None else other._fine.copy()
        else:
            self._coarse += other._coarse
            if self._fine is not None:
                self._fine += other._fine
        self._carry(other._since)

    def value(self) -> Vector:
        """The sum, correctly rounded; ValueError where nothing was added."""
        if self._coarse is None:
            raise ValueError("nothing was added to this total, so it has no value (and no length)")
        return self._coarse if self._fine is None else self._coarse + self._fine

    def parts(self) -> dict[str, Any]:
        """All that it holds, to be sent or kept: `Total.of` makes it again."""
        return {"count": self.count, "coarse": self._coarse, "fine": self._fine, "since": self._since}

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> Self:
        """The total that has these parts."""
        total = cls()
        total.count, total._since = parts["count"], parts["since"]
        total._coarse, total._fine = parts["coarse"], parts["fine"]
        return total

    def _carry(self, since: int) -> None:
        """Move what the fine parts add up to into the coarse ones, before they grow too large to be exact."""
        self._since += since
        if self._since >= CARRY and self._fine is not None and self._coarse is not None:
            h = (self._fine + COARSE) - COARSE
            self._coarse += h
            self._fine -= h
            self._since = 1


@cache
def loaded() -> ctypes.CDLL | None:
    """sums.cpp as this machine's own program; None where it cannot be made, and the log says why."""
    from . import native  # subprocess and the like are no part of `import hansa`

    library = native.loaded(Path(native.__file__).with_name("sums.cpp"))
    if isinstance(library, str):
        log.info("Sums are taken in NumPy: %s", library)
        return None
    library.add.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_int64, *[ctypes.c_double] * 2]
    library.add.restype = None
    return library
