"""Prime fields with roots of unity of order 2ᵏ, and arithmetic in them over whole arrays.

An element is an integer in [0, p). A vector of elements is a uint64 array, or an array of Python
integers where p has more than 64 bits. All fields are those of VDAF (draft-irtf-cfrg-vdaf, section
6.1) and PINE (draft-chen-cfrg-vdaf-pine, section 3): p − 1 = 2ᵏ · odd, so a polynomial can be
evaluated at all 2ʲ-th roots of unity, j ≤ k, in time O(2ʲ · j).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProtocolError

Elements = NDArray[Any]  # of field elements: uint64, or Python integers

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
COLUMNS = 256  # of a block: with 256 rows of 8 bytes it stays in the second-level cache


@cache
def kernels() -> ModuleType | None:
    """The compiled kernels, or None and a warning where numba is missing."""
    try:
        from . import kernels as compiled
    except ModuleNotFoundError as missing:
        if missing.name not in ("numba", "llvmlite"):
            raise
        warnings.warn(
            "numba is not installed, so proofs are made with NumPy, about 6 times slower. "
            "Install it: pip install 'hansa[verified]'.",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    return compiled


@dataclass(frozen=True)
class Field:
    """The field of integers mod a prime p, and the subgroup of 2ᵏ-th roots of unity in it.

    p: the modulus. size: bytes of an encoded element. k: 2ᵏ is the order of the subgroup. g: its
    generator. Arrays are arrays of elements of any shape; arithmetic is elementwise and broadcasts,
    and a Python integer is an element too. Nothing is changed in place.
    """

    p: int
    size: int
    k: int
    g: int

    @property
    def dtype(self) -> type:
        """The NumPy type of an array of elements."""
        return np.uint64 if self.p < 2**64 else object

    def array(self, values: Iterable[int]) -> Elements:
        """A vector of the given integers, which are reduced mod p."""
        return np.array([int(x) % self.p for x in values], self.dtype)

    def integers(self, x: NDArray[np.int64]) -> Elements:
        """The elements of integers of absolute value below p; −1 is p − 1."""
        if self.dtype is object:
            return np.asarray(x.astype(object) % self.p, object)
        return np.asarray(x.view(np.uint64) + (x < 0) * np.uint64(self.p))  # mod 2⁶⁴, −1 is 2⁶⁴ − 1

    def signed(self, a: Elements) -> NDArray[np.int64]:
        """The inverse of `integers`: elements above p/2 are negative; those of 2⁶³ and more do not
        fit.
        """
        if self.dtype is object:
            return np.array([x - self.p if x > self.p // 2 else x for x in a.tolist()], np.int64)
        return np.asarray((a - (a > np.uint64(self.p // 2)) * np.uint64(self.p)).view(np.int64))

    def zeros(self, shape: int | tuple[int, ...]) -> Elements:
        """An array of zeros."""
        return np.zeros(shape, self.dtype)

    # --- bytes ---

    def encode(self, a: Elements) -> bytes:
        """The elements one after the other, each in `size` bytes, little-endian."""
        if self.size == 8:
            return np.ascontiguousarray(a, "<u8").tobytes()
        if self.size == 4:
            return a.astype("<u4").tobytes()
        return b"".join(int(x).to_bytes(self.size, "little") for x in a)

    def read(self, data: bytes | memoryview) -> tuple[Elements, NDArray[np.bool_]]:
        """The integers in `data`, and which of them are elements."""
        if self.size in (4, 8):
            v = np.require(np.frombuffer(data, f"<u{self.size}"), np.uint64, ["C", "A"])
        else:
            n = self.size
            v = np.array(
                [int.from_bytes(data[i : i + n], "little") for i in range(0, len(data), n)],
                self.dtype,
            )
        return v, np.asarray(v < self.p, bool)

    def decode(self, data: bytes | memoryview) -> Elements:
        """The inverse of `encode`; ProtocolError unless every element is canonical, below p."""
        if len(data) % self.size:
            raise ProtocolError(
                f"A vector of {len(data)} bytes.",
                f"Each element takes {self.size} bytes.",
                "It was cut short.",
            )
        v, good = self.read(data)
        if not good.all():
            raise ProtocolError(
                f"Element {int(np.argmin(good))} of a vector is not below the modulus.",
                "An element has one encoding, else one report could be sent in many forms.",
                "Send every element reduced mod p.",
            )
        return v

    # --- arithmetic ---

    def add(self, a: Elements, b: Elements | int) -> Elements:
        """a + b."""
        return self._each("add", a, b)

    def sub(self, a: Elements, b: Elements | int) -> Elements:
        """a − b."""
        return self._each("sub", a, b)

    def mul(self, a: Elements, b: Elements | int) -> Elements:
        """a · b."""
        return self._each("mul", a, b)

    def inverse(self, x: int) -> int:
        """x⁻¹, for x ≠ 0."""
        return pow(x, -1, self.p)

    def inverses(self, values: Sequence[int]) -> Elements:
        """All x⁻¹, for x ≠ 0, by one inversion of their product, which is then taken apart
        (Montgomery 1987).
        """
        products = list(accumulate(values, lambda a, b: a * b % self.p, initial=1))
        rest, out = self.inverse(products.pop()), list[int]()
        for x, before in zip(reversed(values), reversed(products), strict=True):
            out.append(rest * before % self.p)
            rest = rest * x % self.p
        return self.array(reversed(out))

    def total(self, a: Elements) -> int:
        """Σᵢ aᵢ of a vector."""
        if self.dtype is object:
            return int(sum(a.tolist()) % self.p)
        # Sums of 32-bit halves cannot overflow below 2³² elements.
        return (int((a & LOW).sum()) + (int((a >> HALF).sum()) << 32)) % self.p

    def dot(self, a: Elements, b: Elements) -> int:
        """Σᵢ aᵢ·bᵢ of two vectors."""
        return self.total(self.mul(a, b))

    def product(self, a: Elements, b: Elements) -> Elements:
        """The matrix a·b, of [k, t] and [t, m]."""
        out = self.zeros((len(a), b.shape[1]))
        if fast := self._kernels():
            fast.product(np.ascontiguousarray(a), np.ascontiguousarray(b), out, *self._constants())
            return out
        for column, row in zip(a.T, b, strict=True):
            out = self.add(out, self.mul(column[:, None], row[None, :]))
        return out

    def combine(self, w: Elements, rows: Elements) -> Elements:
        """Σₖ wₖ·rowsₖ: a weighted sum of the rows of a matrix."""
        return np.asarray(self.product(w[None, :], rows)[0])

    def pair_sums(self, rows: Elements) -> Elements:
        """Σⱼ x₂ⱼ·x₂ⱼ₊₁ of each row x."""
        return self._row_sums("pair_sums", rows, rows[:, 0::2], rows[:, 1::2])

    def square_sums(self, rows: Elements) -> Elements:
        """Σⱼ xⱼ² of each row x."""
        return self._row_sums("square_sums", rows, rows, rows)

    def powers(self, x: int, n: int) -> Elements:
        """1, x, x², …, xⁿ⁻¹; in NumPy by doubling."""
        if fast := self._kernels():
            out = np.empty(n, np.uint64)
            fast.powers(np.uint64(x), out, *self._constants())
            return out
        out = self.array([1])
        while len(out) < n:
            out = np.concatenate([out, self.mul(out, pow(x, len(out), self.p))])
        return out[:n]

    # --- polynomials ---

    def root(self, n: int) -> int:
        """A primitive n-th root of unity, for n a power of two up to 2ᵏ."""
        return pow(self.g, 2**self.k // n, self.p)

    def ntt(self, a: Elements) -> Elements:
        """The values of a polynomial at all n-th roots:  âₖ = Σⱼ aⱼ ωʲᵏ,  over the first axis of
        length n.

        In step j the vector holds 2ʲ values each of n/2ʲ polynomials, of every (n/2ʲ)-th
        coefficient (Cooley and Tukey 1965, without their reordering).
        """
        return self._transform(a, self.root(len(a)))

    def inverse_ntt(self, a: Elements) -> Elements:
        """The polynomial of degree below n with given values at all n-th roots:  aⱼ = 1/n · Σₖ âₖ
        ω⁻ʲᵏ.
        """
        n = len(a)
        return self.mul(self._transform(a, self.inverse(self.root(n))), self.inverse(n))

    def between(self, a: Elements, n: int) -> Elements:
        """Values between known values: from column polynomials at n-th roots to their values at
        ζ·ωᵏ, ζ² = ω.

        a: [≤ n, m], zero below its last row. The 2n-th roots are the n-th roots and these, taken in
        turn.
        """
        ζ, ω = self.root(2 * n), self.root(n)
        if not (fast := self._kernels()):
            full = self.zeros((n, a.shape[1]))
            full[: len(a)] = a
            return self.ntt(self.mul(self.inverse_ntt(full), self.powers(ζ, n)[:, None]))
        full = np.empty((n, a.shape[1]), np.uint64)
        full[: len(a)] = a
        full[len(a) :] = 0
        fast.between(full, *_tables(self, n, ω, ζ), *self._constants())
        return full

    def weights(self, n: int, t: int) -> Elements:
        """Weights w with  f(t) = Σₖ wₖ f(ωᵏ)  for every polynomial f of degree below n.

        wₖ = ωᵏ (tⁿ − 1) / (n (t − ωᵏ))          (the barycentric formula; Berrut and Trefethen
        2004, eq. 4.2)
        """
        ω = _roots(self, self.root(n), n)
        differences = [(t - x) % self.p for x in ω.tolist()]
        if 0 in differences:
            return self.array(int(x == 0) for x in differences)
        z = (pow(t, n, self.p) - 1) * self.inverse(n) % self.p
        return self.mul(self.mul(ω, self.inverses(differences)), z)

    # --- which way it is computed ---

    def _kernels(self) -> ModuleType | None:
        return kernels() if self.size in (4, 8) else None

    def _constants(self) -> tuple[np.uint64, np.uint64]:
        """p, and ⌊2⁶⁴/p⌋ for a p below 2³² (see kernels.mul)."""
        return np.uint64(self.p), np.uint64(2**64 // self.p if self.size == 4 else 0)

    def _each(self, name: str, a: Elements, b: Elements | int) -> Elements:
        if not isinstance(b, np.ndarray):
            b = np.full(a.shape, b, self.dtype)
        if fast := self._kernels():
            if a.shape != b.shape:
                a, b = np.broadcast_arrays(a, b)
            out = np.empty(a.shape, np.uint64)
            flat = (
                np.ascontiguousarray(a).reshape(-1),
                np.ascontiguousarray(b).reshape(-1),
                out.reshape(-1),
            )
            getattr(fast, name)(*flat, *self._constants())
            return out
        if self.dtype is object:
            exact = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name](a, b)
            return np.asarray(exact % self.p, object)
        return {"add": _add, "sub": _sub, "mul": _mul}[name](a, b, np.uint64(self.p))

    def _row_sums(self, name: str, rows: Elements, left: Elements, right: Elements) -> Elements:
        if fast := self._kernels():
            out = self.zeros(len(rows))
            getattr(fast, name)(np.ascontiguousarray(rows), out, *self._constants())
            return out
        return self.array(self.total(row) for row in self.mul(left, right))

    def _transform(self, a: Elements, ω: int) -> Elements:
        n, rest = len(a), a.shape[1:]
        x = a.reshape(1, n, -1)
        while (m := x.shape[1] // 2) > 0:
            even, odd = (
                x[:, :m],
                self.mul(x[:, m:], _roots(self, pow(ω, m, self.p), len(x))[:, None, None]),
            )
            x = np.concatenate([self.add(even, odd), self.sub(even, odd)])
        return x.reshape(n, *rest)


@cache
def _roots(field: Field, ω: int, n: int) -> Elements:
    """The first n powers of a root of unity, kept since there are few; of secrets none is."""
    return field.powers(ω, n)


@cache
def _tables(field: Field, n: int, ω: int, ζ: int) -> tuple[Elements, Elements, Elements]:
    """For kernels.between: powers of 1/ω, the factors ζʲ/n in bit-reversed order, powers of ω."""
    order = np.zeros(1, np.int64)
    while len(order) < n:
        order = np.concatenate([2 * order, 2 * order + 1])
    factors = field.mul(field.powers(ζ, n), field.inverse(n))[order]
    return field.powers(field.inverse(ω), max(n // 2, 1)), factors, field.powers(ω, max(n // 2, 1))


# --- NumPy arithmetic mod p < 2⁶⁴ ---


def _add(a: Elements, b: Elements, p: np.uint64) -> Elements:
    s = a + b  # mod 2⁶⁴: where it has wrapped around, or passed p, taking away p makes it right
    return np.where((s < a) | (s >= p), s - p, s)


def _sub(a: Elements, b: Elements, p: np.uint64) -> Elements:
    return np.where(a >= b, a - b, a - b + p)


def _mul(a: Elements, b: Elements, p: np.uint64) -> Elements:
    if p <= LOW:
        return np.asarray(a * b % p)
    if p < 2**44:  # half of b at a time
        shift, low = np.uint64(20), np.uint64(2**20 - 1)
        return np.asarray(((a * (b >> shift) % p << shift) + a * (b & low) % p) % p)
    return _mul_64(a, b, p)


def _mul_64(a: Elements, b: Elements, p: np.uint64) -> Elements:
    """a·b mod p = 2⁶⁴ − 2³² + 1, where 2⁶⁴ = 2³² − 1 and 2⁹⁶ = −1:  the product is lo + 2⁶⁴·mid +
    2⁹⁶·top.
    """
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    low, cross0, cross1 = a0 * b0, a0 * b1, a1 * b0
    carry = (low >> HALF) + (cross0 & LOW) + (cross1 & LOW)
    lo, hi = (
        (low & LOW) | (carry << HALF),
        a1 * b1 + (cross0 >> HALF) + (cross1 >> HALF) + (carry >> HALF),
    )
    top, mid = hi >> HALF, hi & LOW
    r = np.where(lo < top, lo - top - LOW, lo - top)
    s = r + mid * LOW
    s = np.where(s < r, s + LOW, s)
    return np.asarray(np.where(s >= p, s - p, s))


Field32 = Field(4293918721, 4, 20, 3925978153)
Field40 = Field(2**20 * 1048555 + 1, 5, 20, pow(7, 1048555, 2**20 * 1048555 + 1))
Field64 = Field(2**64 - 2**32 + 1, 8, 32, pow(7, 2**32 - 1, 2**64 - 2**32 + 1))
Field128 = Field(
    2**66 * 4611686018427387897 + 1,
    16,
    66,
    pow(7, 4611686018427387897, 2**66 * 4611686018427387897 + 1),
)
