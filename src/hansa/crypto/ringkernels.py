"""Arithmetic in R = Z_p[X]/(X⁴⁰⁹⁶ + 1), p = 2⁶⁴ − 2³² + 1, compiled by numba: the loops behind
`lattice`.

They run on one core, without the interpreter's lock, and on several numbers at once: products are
those of halves, which processors have for vectors. A secret decides on
nothing but which of two words is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from .kernels import HALF, LOW, U64, ZERO, inline, kernel, matrix, octet, result, vector, word

P = U64(2**64 - 2**32 + 1)
SIDE = 64  # an element of R is a square of so many coefficients
ETA = U64(21)
ONES = U64(2**21 - 1)
NEAREST = U64(2**7)
OCTET = U64(8)

squares = types.Array(word, 3, "C", readonly=True)
ciphertext = types.Array(octet, 2, "C", readonly=True)


@intrinsic  # type: ignore[untyped-decorator]
def ones(_context: Any, _x: Any) -> Any:
    """How many bits are one."""

    def generate(_context: Any, builder: Any, _signature: Any, operands: Any) -> Any:
        return builder.ctpop(operands[0])

    return word(word), generate


@intrinsic  # type: ignore[untyped-decorator]
def extended(_context: Any, _x: Any, _unused: Any) -> Any:
    """x without its highest `unused` bits, and its sign in them."""

    def generate(_context: Any, builder: Any, _signature: Any, operands: Any) -> Any:
        x, unused = operands
        return builder.ashr(builder.shl(x, unused), unused)

    return word(word, word), generate


@inline()
def plus(a: Any, b: Any) -> Any:
    """a + b mod p."""
    s = a + b
    over = s < a or s >= P
    return s - P if over else s


@inline()
def minus(a: Any, b: Any) -> Any:
    """a − b mod p."""
    d = a - b
    return d + P if a < b else d


@inline()
def times(a: Any, b: Any) -> Any:
    """a · b mod p, of 32-bit halves.

    ab = lo + 2⁶⁴·mid + 2⁹⁶·top,  where 2⁶⁴ = 2³² − 1 and 2⁹⁶ = −1.
    """
    a0 = a & LOW
    a1 = a >> HALF
    b0 = b & LOW
    b1 = b >> HALF
    low = a0 * b0
    cross0 = a0 * b1
    cross1 = a1 * b0
    carry = (low >> HALF) + (cross0 & LOW) + (cross1 & LOW)
    lo = (low & LOW) | (carry << HALF)
    hi = a1 * b1 + (cross0 >> HALF) + (cross1 >> HALF) + (carry >> HALF)
    top = hi >> HALF
    mid = hi & LOW
    r = lo - top
    r = r - LOW if lo < top else r
    s = r + ((mid << HALF) - mid)
    s = s + LOW if s < r else s
    return s - P if s >= P else s


@kernel(matrix, matrix, squares, vector, word[:, ::1], word[:, ::1])
def product(a: Any, b: Any, early: Any, late: Any, square: Any, out: Any, p: Any, m: Any) -> None:
    """a · b in R, both transformed [64, 64], and one of them divided by 4096.

    Six steps between the rows of a square, with the factors `early` [6, 32, 64]; and, of its
    transpose, six between its pieces, with those of `late`, which also twist by X⁴⁰⁹⁶ = −1.
    (Gentleman and Sande 1966; Longa and Naehrig 2016, alg. 2)
    """
    for i in range(SIDE):
        x = a[i]
        y = b[i]
        z = square[i]
        for c in range(SIDE):
            z[c] = times(x[c], y[c])
    h = 1
    for step in range(6):
        for k in range(SIDE // (2 * h)):
            w = early[step, k]
            for i in range(2 * h * k, 2 * h * k + h):
                x = square[i]
                y = square[i + h]
                for c in range(SIDE):
                    u = x[c]
                    v = y[c]
                    x[c] = plus(u, v)
                    y[c] = times(minus(u, v), w[c])
        h *= 2
    for i in range(SIDE):
        for c in range(SIDE):
            out[c, i] = square[i, c]
    h = 1
    while h < SIDE:
        for k in range(SIDE // (2 * h)):
            f = late[SIDE // (2 * h) + k]
            for i in range(2 * h * k, 2 * h * k + h):
                x = out[i]
                y = out[i + h]
                for c in range(SIDE):
                    u = x[c]
                    v = y[c]
                    x[c] = plus(u, v)
                    y[c] = times(minus(u, v), f)
        h *= 2


@kernel(result, vector, matrix, vector, result)
def seal(c: Any, words: Any, numbers: Any, way: Any, out: Any, p: Any, m: Any) -> None:
    """c + e + ⌊m·p/2ᴷ⌉ of a row, of eight coefficients their 56 highest bits in seven words: see
    `lattice.Key.encrypt`.
    """
    unused = U64(64) - way[0]
    v = np.zeros(c.size, np.uint64)
    for j in range(numbers.shape[0]):
        row = numbers[j]
        place = U64(j) * way[2] + way[3]
        for i in range(row.size):
            v[i] += extended(row[i], unused) << place
    for i in range(c.size):
        x = plus(c[i], ones(words[i] & ONES))
        x = minus(x, ones((words[i] >> ETA) & ONES))
        c[i] = (plus(x, v[i] - (v[i] >> HALF)) + NEAREST) >> OCTET
    for i in range(c.size // 8):
        eight = c[8 * i : 8 * i + 8]
        seven = out[7 * i : 7 * i + 7]
        for j in range(7):
            seven[j] = (eight[j] >> U64(8 * j)) | (eight[j + 1] << U64(56 - 8 * j))


@kernel(ciphertext, result)
def add(octets: Any, total: Any, p: Any, m: Any) -> None:
    """total + c, of the coefficients of a ciphertext."""
    for i in range(total.size):
        x = ZERO
        for j in range(7):
            x |= U64(octets[i, j]) << (OCTET * U64(j + 1))
        total[i] = plus(total[i], x)


@kernel(ciphertext, result)
def count_elements(octets: Any, found: Any, p: Any, m: Any) -> None:
    """How many coefficients of a ciphertext are elements, below p."""
    count = ZERO
    for i in range(octets.shape[0]):
        high = octets[i, 3] & octets[i, 4] & octets[i, 5] & octets[i, 6]
        low = octets[i, 0] | octets[i, 1] | octets[i, 2]
        count += U64((high != 255) | (low == 0))
    found[0] = count


@kernel(vector, vector, vector, word[:, ::1], result)
def unseal(c: Any, total: Any, way: Any, numbers: Any, largest: Any, p: Any, m: Any) -> None:
    """Numbers of a sum [each, coefficients], and the largest error: see `lattice.decrypt`."""
    unused = U64(64) - way[2]
    shift = way[3]
    half = (U64(1) << shift) >> U64(1)
    mask = (U64(1) << way[0]) - U64(1)
    worst = largest[0]
    v = np.empty(total.size, np.uint64)
    for i in range(total.size):
        y = minus(total[i], c[i])
        z = y + (y >> HALF)
        v[i] = (z + half) >> shift
        error = z - (v[i] << shift)
        worst = max(worst, min(error, ZERO - error))
    for j in range(numbers.shape[0]):
        row = numbers[j]
        for i in range(v.size):
            x = extended(v[i], unused)
            row[i] = x & mask
            v[i] = (v[i] - x) >> way[2]
    largest[0] = worst
