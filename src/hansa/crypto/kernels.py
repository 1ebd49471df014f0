"""Field arithmetic compiled by numba: the loops behind `field` and `norms`.

They are for p = 2⁶⁴ − 2³² + 1 and for p < 2³².

Every kernel takes p and ⌊2⁶⁴/p⌋, or 0 in place of the latter for p = 2⁶⁴ − 2³² + 1. They run on one
core, without the interpreter's lock. numba compiles them when this module is first imported, and
keeps the result beside it on disk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import njit, types
from numba.extending import intrinsic

Jit = Callable[[Callable[..., Any]], Callable[..., Any]]
U64 = np.uint64
LOW = U64(0xFFFFFFFF)
HALF = U64(32)
ZERO = U64(0)

word = types.uint64
octet = types.uint8
vector = types.Array(word, 1, "C", readonly=True)
matrix = types.Array(word, 2, "C", readonly=True)
table = types.Array(types.uint32, 1, "C", readonly=True)
octets = types.Array(octet, 2, "C", readonly=True)
result = word[::1]
results = word[:, ::1]

if not any((Path(__file__).parent / "__pycache__").glob("kernels.*.nbi")):
    sys.stderr.write(
        "hansa: numba compiles the arithmetic of proofs, once; this takes some seconds.\n"
    )


def inline() -> Jit:
    """A function that is written into its caller."""
    jit: Jit = njit(inline="always")
    return jit


def kernel(*arguments: Any) -> Jit:
    """A function that is compiled at once, for arguments of these types and the two constants."""
    signature = types.void(*arguments, word, word)
    jit: Jit = njit(signature, cache=True, nogil=True, error_model="numpy")
    return jit


@intrinsic  # type: ignore[untyped-decorator]
def high(_context: Any, _a: Any, _b: Any) -> Any:
    """⌊a·b / 2⁶⁴⌋."""

    def generate(_context: Any, builder: Any, _signature: Any, operands: Any) -> Any:
        wide = ir.IntType(128)
        a, b = (builder.zext(x, wide) for x in operands)
        return builder.trunc(builder.lshr(builder.mul(a, b), ir.Constant(wide, 64)), ir.IntType(64))

    return word(word, word), generate


@inline()
def plus(a: Any, b: Any, p: Any) -> Any:
    """a + b mod p; also where a + b passes 2⁶⁴."""
    s = a + b
    if s < a or s >= p:
        s -= p
    return s


@inline()
def minus(a: Any, b: Any, p: Any) -> Any:
    """a − b mod p."""
    return a - b if a >= b else a - b + p


@inline()
def times(a: Any, b: Any, p: Any, m: Any) -> Any:
    """a·b mod p.

    m = ⌊2⁶⁴/p⌋: with q = ⌊ab·m/2⁶⁴⌋ is 0 ≤ ab − qp < 2p   (Barrett 1986).
    m = 0, p = 2⁶⁴ − 2³² + 1: ab = lo + 2⁶⁴·mid + 2⁹⁶·top, and 2⁶⁴ = 2³² − 1, 2⁹⁶ = −1.
    """
    lo = a * b
    if m != ZERO:
        r = lo - high(lo, m) * p
        return r - p if r >= p else r
    hi = high(a, b)
    top = hi >> HALF
    mid = hi & LOW
    r = lo - top
    if lo < top:
        r -= LOW
    s = r + mid * LOW
    if s < r:
        s += LOW
    return s - p if s >= p else s


@kernel(vector, vector, result)
def add(a: Any, b: Any, out: Any, p: Any, m: Any) -> None:
    """a + b."""
    for i in range(out.size):
        out[i] = plus(a[i], b[i], p)


@kernel(vector, vector, result)
def sub(a: Any, b: Any, out: Any, p: Any, m: Any) -> None:
    """a − b."""
    for i in range(out.size):
        out[i] = minus(a[i], b[i], p)


@kernel(vector, vector, result)
def mul(a: Any, b: Any, out: Any, p: Any, m: Any) -> None:
    """a · b."""
    for i in range(out.size):
        out[i] = times(a[i], b[i], p, m)


@kernel(word, result)
def powers(x: Any, out: Any, p: Any, m: Any) -> None:
    """1, x, x², …"""
    s = U64(1)
    for i in range(out.size):
        out[i] = s
        s = times(s, x, p, m)


@kernel(matrix, matrix, results)
def product(a: Any, b: Any, out: Any, p: Any, m: Any) -> None:
    """outᵢⱼ += Σₖ aᵢₖ·bₖⱼ, for one block of columns after the other.

    Pieces of rows are views: what is written to one cannot change another, as the compiler sees
    then, and several columns are worked on at once.
    """
    n, columns = b.shape
    for start in range(0, columns, 512):
        end = min(columns, start + 512)
        for i in range(a.shape[0]):
            total = out[i, start:end]
            for k in range(n):
                factor = a[i, k]
                row = b[k, start:end]
                for j in range(end - start):
                    total[j] = plus(total[j], times(row[j], factor, p, m), p)


@kernel(matrix, result)
def pair_sums(rows: Any, out: Any, p: Any, m: Any) -> None:
    """outᵢ = Σⱼ rowsᵢ,₂ⱼ · rowsᵢ,₂ⱼ₊₁."""
    for i in range(rows.shape[0]):
        s = ZERO
        for j in range(0, rows.shape[1], 2):
            s = plus(s, times(rows[i, j], rows[i, j + 1], p, m), p)
        out[i] = s


@kernel(matrix, result)
def square_sums(rows: Any, out: Any, p: Any, m: Any) -> None:
    """outᵢ = Σⱼ rowsᵢⱼ²."""
    for i in range(rows.shape[0]):
        s = ZERO
        for j in range(rows.shape[1]):
            s = plus(s, times(rows[i, j], rows[i, j], p, m), p)
        out[i] = s


@kernel(results, vector, vector, vector)
def between(a: Any, backward: Any, factors: Any, forward: Any, p: Any, m: Any) -> None:
    """Column by column: an inverse transform, row i times factorsᵢ, and a transform; in place.

    See Field.between.

    The first leaves the rows in bit-reversed order, in which the second takes them, so none is ever
    moved. (Gentleman and Sande 1966; Cooley and Tukey 1965)
    """
    n, columns = a.shape
    h = n // 2
    while h >= 1:
        for start in range(0, n, 2 * h):
            for j in range(h):
                w = backward[j * (n // (2 * h))]
                for c in range(columns):
                    u = a[start + j, c]
                    v = a[start + j + h, c]
                    a[start + j, c] = plus(u, v, p)
                    a[start + j + h, c] = times(minus(u, v, p), w, p, m)
        h //= 2
    for i in range(n):
        for c in range(columns):
            a[i, c] = times(a[i, c], factors[i], p, m)
    h = 1
    while h < n:
        for start in range(0, n, 2 * h):
            for j in range(h):
                w = forward[j * (n // (2 * h))]
                for c in range(columns):
                    u = a[start + j, c]
                    v = times(a[start + j + h, c], w, p, m)
                    a[start + j, c] = plus(u, v, p)
                    a[start + j + h, c] = minus(u, v, p)
        h *= 2


@kernel(octets, vector, table, result, result)
def count_dots(symbols: Any, x: Any, counts_of: Any, low: Any, high: Any, p: Any, m: Any) -> None:
    """lowₖ, highₖ += Σⱼ cₖⱼ·xⱼ in 32-bit halves of x, with four counts c ∈ {0, 1, 2} in a symbol.

    counts_of: those of a symbol, one in each byte. No sum can overflow below 2³⁰ coordinates, so
    none is reduced. Blocks of 8192 coordinates meet all rows of symbols while they are in the
    first-level cache.
    """
    block = 2048
    counts = np.empty(4 * block, np.uint8)
    packed = counts.view(np.uint32)
    lo = np.empty(4 * block, np.uint32)
    hi = np.empty(4 * block, np.uint32)
    rows, width = symbols.shape
    for start in range(0, width, block):
        end = min(width, start + block)
        size = min(4 * end, x.size) - 4 * start
        for j in range(size):
            lo[j] = np.uint32(x[4 * start + j] & LOW)
            hi[j] = np.uint32(x[4 * start + j] >> HALF)
        for k in range(rows):
            for j in range(end - start):
                packed[j] = counts_of[symbols[k, start + j]]
            a = ZERO
            b = ZERO
            for j in range(size):
                c = U64(counts[j])
                a += c * U64(lo[j])
                b += c * U64(hi[j])
            low[k] += a
            high[k] += b
