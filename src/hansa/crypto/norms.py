"""What PINE proves: that a vector of integers, shared mod p, has a Euclidean norm of at most B.

Let x ∈ ℤᵈ be small. The statement is in two parts, since Σ xⱼ² ≡ v ≤ B² (mod p) would also hold for
large x whose sum of squares has wrapped around p:

    the norm        Σⱼ xⱼ² = v  and  v + u = B²,  where v and u are given in bits
    no wraparound   for random z ∈ {−1, 0, 1}ᵈ, ⟨z, x⟩ is small, in −w+1 … w, in enough of r
    independent checks

Entries of z are 0 with probability ½. If ‖x‖ ≤ B, a check fails with probability ≤ 2 exp(−α²), with
w ≥ αB. If ‖x‖² ≥ p it fails with probability ≥ ½, while w is small beside √p: up to about √p/8; see
`passes`. (Rothblum, Omri, Chen, Talwar 2023, §4; draft-chen-cfrg-vdaf-pine-02)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, PlanError, number
from .field import Elements, Field, kernels
from .flp import Pairs, Shape, Squares
from .xof import Xof

TINY = np.finfo(np.float64).tiny  # the least normal number
# are drawn at a time, whatever is more: few enough for the cache and the memory
SYMBOL_BYTES, SYMBOL_ROWS = 2**22, 16

# Byte b holds four symbols of two bits, the first in the lowest; each counts its ones. Counts are
# in bytes, too.
SYMBOLS: NDArray[np.uint32] = np.array(
    [sum(((b >> 2 * k & 1) + (b >> 2 * k + 1 & 1)) << 8 * k for k in range(4)) for b in range(256)],
    np.uint32,
)


@dataclass(frozen=True)
class Wraparound:
    """How often it is checked that no sum has wrapped around p.

    checks: r. successes: how many of them must hold, all if a false vector shall pass with
    probability 2⁻ʳ. alpha: α, by which a correct vector fails a check with probability ≤ 2
    exp(−α²). proven: is w so small that a false vector is proven to fail one with probability ≥ ½?
    Else the draft's own condition is asked for, w² ≤ 4000 p, under which false vectors may pass
    nearly always: it is there for the draft's test vectors, and for nothing else.
    """

    checks: int = 100
    successes: int = 100
    alpha: float = 8.7
    proven: bool = True

    def range(self, bound: int) -> int:
        """w, the least power of two above αB."""
        return 1 << math.ceil(self.alpha * bound).bit_length()

    def largest(self, field: Field) -> int:
        """The largest bound B, of which it is proven that a false vector fails a check with
        probability ≥ ½.
        """
        w = 1
        while passes(field, 2 * w) <= 0.5:
            w *= 2
        return int((w - 1) / self.alpha)


def passes(field: Field, w: int) -> float:
    """A bound on the probability that one check holds for an x with ‖x‖² ≥ p, whatever x is.

        max(½, π²/8 · (1 + √(p/π)) / N),    N = ⌊p / (2·(2w − 1))⌋

    The first is for an x with one |xⱼ| ≥ 2w, the second for all others. Proven in
    docs/verified/for-cryptographers.md.
    """
    n = field.p // (2 * (2 * w - 1))
    return max(0.5, math.pi**2 / 8 * (1 + math.sqrt(field.p / math.pi)) / n) if n else 1.0


@dataclass(frozen=True)
class Encoding:
    """How a vector of norm ≤ `bound` becomes field elements, and which claims about it are added,
    bit by bit.

        x₁ … x_d │ v │ u ‖ v₁ g₁ │ v₂ g₂ │ … │ vᵣ gᵣ

    v = ‖x‖², u = B² − v; vₖ = ⟨zₖ, x⟩ + w − 1, and gₖ = 1 where it lies in 0 … 2w − 1. What stands
    before ‖ decides
    the zₖ, by a hash.   (draft-chen-cfrg-vdaf-pine-02, section 4.1)
    """

    field: Field
    dimension: int
    bound: int
    wraparound: Wraparound

    def __post_init__(self) -> None:
        p, w, r = self.field.p, self.wraparound, self.wraparound.checks
        counts = {
            "dimension": self.dimension,
            "bound": self.bound,
            "checks": r,
            "successes": w.successes,
        }
        wrong = [
            f"{name}={n!r}" for name, n in counts.items() if not (number(n, whole=True) and n > 0)
        ]
        if wrong or w.successes > r or self.dimension >= 2**30:
            raise PlanError(
                ", ".join(wrong) or f"{w.successes} of {r} checks, {self.dimension} coordinates",
                "A vector has 1 to 2³⁰ − 1 coordinates, a positive whole bound, and no more "
                "successes than checks.",
                "Write for example bound=2**24.",
            )
        if w.proven and passes(self.field, self.range) > 0.5:
            raise PlanError(
                f"bound={self.bound} in a field of {self.field.size} bytes.",
                "Vectors whose squares have wrapped around the modulus would pass the checks that "
                "are to find them.",
                f"Write a bound of at most {w.largest(self.field)}, with fewer fractional bits.",
            )
        # v + u < 4B², so that v + u = B² holds mod p only if it holds.
        if (
            3 * self.bound**2 >= p - 2
            or p < 2600 * self.range
            or self.range**2 > 4000 * p
            or 2 * r > p
        ):
            raise PlanError(
                f"bound={self.bound} in a field of {self.field.size} bytes.",
                "Squares of norms up to the bound must not wrap around the modulus.",
                "Write a lower bound, with fewer fractional bits.",
            )

    @cached_property
    def norm_bits(self) -> int:
        """Bits of v, and of u."""
        return (self.bound**2).bit_length()

    @cached_property
    def range(self) -> int:
        """w."""
        return self.wraparound.range(self.bound)

    @cached_property
    def dot_bits(self) -> int:
        """Bits of vₖ."""
        return (2 * self.range - 1).bit_length()

    @cached_property
    def committed(self) -> int:
        """How many elements decide the zₖ."""
        return self.dimension + 2 * self.norm_bits

    @cached_property
    def claims(self) -> int:
        """How many bits there are, of v, u and all vₖ and gₖ."""
        return 2 * self.norm_bits + (self.dot_bits + 1) * self.wraparound.checks

    @cached_property
    def length(self) -> int:
        """How many elements there are in all."""
        return self.dimension + self.claims

    def integers(
        self, measurement: NDArray[np.floating] | NDArray[np.integer], fraction: int
    ) -> NDArray[np.int64]:
        """Real numbers times 2^fraction, rounded to even; integers as they are. DataError unless
        ‖x‖ ≤ B.
        """
        values = np.asarray(measurement)
        if values.shape != (self.dimension,) or values.dtype.kind not in "fiu":
            raise DataError(
                f"A measurement of shape {values.shape} and type {values.dtype}.",
                f"Here it is a vector of {self.dimension} real numbers, or integers.",
                "Pack it into one vector.",
            )
        if values.dtype.kind == "f":
            size = np.abs(values)
            if not np.isfinite(size).all() or ((size > 0) & (size < TINY)).any():
                raise DataError(
                    "A measurement with NaN, infinite or subnormal entries.",
                    "They have no place in a sum.",
                    "Use Finite.",
                )
            values = np.rint(np.asarray(values, np.float64) * 2.0**fraction)
        real = np.asarray(values, np.float64)
        with np.errstate(over="ignore"):
            length = math.sqrt(np.einsum("i,i->", real, real))
        # Far above the bound the exact square could overflow; up to here it cannot.
        if length > 1.01 * self.bound or self.square(values.astype(np.int64)) < 0:
            raise DataError(
                "A measurement whose rounded norm is above the bound.",
                f"‖x‖ ≤ {self.bound}·2^−{fraction} is what is proven, so nobody would accept it.",
                "Clip it to a little less, so that it holds after rounding too.",
            )
        return values.astype(np.int64)

    def square(self, x: NDArray[np.int64]) -> int:
        """B² − ‖x‖², exactly."""
        return self.bound**2 - int(np.dot(x, x))

    def encode(self, x: NDArray[np.int64]) -> Elements:
        """x ‖ v ‖ u, for integers x of norm ≤ B."""
        u, field = self.square(x), self.field
        out = field.zeros(self.committed)
        out[: self.dimension] = field.integers(x)
        out[self.dimension :] = self.bits([self.bound**2 - u, u], self.norm_bits)
        return out

    def bits(self, values: list[int], size: int) -> Elements:
        """Whole numbers below 2^size, one after the other, the lowest bit first."""
        return self.field.array(v >> i & 1 for v in values for i in range(size))

    def test(self, dots: Elements) -> Elements:
        """vₖ and gₖ in bits, from all ⟨zₖ, x⟩. No more successes are claimed than are needed.

        DataError where there are fewer; for a vector of norm ≤ B that is very unlikely.
        """
        field, left, claims = self.field, self.wraparound.successes, []
        for dot in dots.tolist():
            v = (dot + self.range - 1) % field.p
            holds = v < 2 * self.range
            g = int(holds and left > 0)
            left -= g
            claims.append((v if holds else 0) | g << self.dot_bits)
        if left:
            raise DataError(
                "Too many wraparound checks fail.",
                "This is bad luck.",
                "Shard the measurement again.",
            )
        return self.bits(claims, self.dot_bits + 1)

    def dots(self, x: Elements, stream: Xof) -> Elements:
        """⟨zₖ, x⟩ for k = 1 … r, with zₖ drawn from the stream: two bits for each entry, 00 is −1,
        11 is 1, others 0.

        Each zₖ starts with a new byte. With cₖ = zₖ + 1 ∈ {0, 1, 2}, the count of ones,  ⟨z, x⟩ =
        ⟨c, x⟩ − Σⱼ xⱼ.
        (draft-chen-cfrg-vdaf-pine-02, section 4.2)
        """
        field, width = self.field, -(-self.dimension // 4)
        total, out, left = field.total(x), list[int](), self.wraparound.checks
        x = np.ascontiguousarray(x)
        while left:
            rows = min(left, max(SYMBOL_ROWS, SYMBOL_BYTES // width))
            symbols = np.frombuffer(stream.read(rows * width), np.uint8).reshape(rows, width)
            out += [c - total for c in self._count_dots(symbols, x)]
            left -= rows
        return field.array(out)

    def _count_dots(self, symbols: NDArray[np.uint8], x: Elements) -> list[int]:
        if self.field.dtype is object:
            return [int(np.dot(self._counts(row).astype(object), x)) for row in symbols]
        if fast := kernels():
            low, high = np.zeros(len(symbols), np.uint64), np.zeros(len(symbols), np.uint64)
            fast.count_dots(symbols, x, SYMBOLS, low, high, np.uint64(0), np.uint64(0))
        else:
            halves = np.stack([x & np.uint64(0xFFFFFFFF), x >> np.uint64(32)], axis=1)
            low, high = np.stack(
                [self._counts(row).astype(np.uint64) @ halves for row in symbols], axis=1
            )
        return [a + (b << 32) for a, b in zip(low.tolist(), high.tolist(), strict=True)]

    def _counts(self, row: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return SYMBOLS[row].astype("<u4").view(np.uint8)[: self.dimension]


@dataclass(frozen=True)
class Norm:
    """Σⱼ xⱼ² = v, for the vector  x ‖ v ‖ u.   (draft-chen-cfrg-vdaf-pine-02, section 4.3)

    Call k of the gadget squares and adds `chunk` coordinates. No joint randomness: the claim is one
    equation.
    """

    encoding: Encoding
    chunk: int

    @property
    def shape(self) -> Shape:
        e = self.encoding
        return Shape(
            e.field, Squares(self.chunk), -(-e.dimension // self.chunk), e.committed, e.dimension
        )

    def wires(self, x: Elements, joint: Elements, one: int) -> Elements:
        d = self.encoding.dimension
        w: Elements = np.empty((1 + self.shape.calls, self.chunk), self.encoding.field.dtype)
        w.reshape(-1)[self.chunk : self.chunk + d] = x[:d]
        w.reshape(-1)[self.chunk + d :] = 0
        return w

    def output(self, gates: Elements, x: Elements, joint: Elements, one: int) -> list[int]:
        e = self.encoding
        v = e.field.dot(x[e.dimension : e.dimension + e.norm_bits], e.field.powers(2, e.norm_bits))
        return [v - e.field.total(gates)]


@dataclass(frozen=True)
class Claims:
    """All claims are bits and true, for the vector of the bits b₁ … bₙ of v, u, vₖ, gₖ, followed by
    all dots ⟨zₖ, x⟩.

        Σᵢ rᵢ·bᵢ·(bᵢ − 1) + s·(v + u − B²) + s²·Σₖ tᵏ·gₖ·(⟨zₖ, x⟩ − vₖ + w − 1) + s³·(Σₖ gₖ −
        successes) = 0

    where rᵢ = rⁱ, and r, t, s are joint random elements, so that the four parts are zero one by
    one. (draft-chen-cfrg-vdaf-pine-02, section 4.4)
    """

    encoding: Encoding
    chunk: int

    @property
    def shape(self) -> Shape:
        e, r = self.encoding, self.encoding.wraparound.checks
        return Shape(
            e.field,
            Pairs(self.chunk),
            self._calls(e.claims) + self._calls(r),
            e.claims + r,
            0,
            joint=3,
        )

    def wires(self, x: Elements, joint: Elements, one: int) -> Elements:
        e, field, (r, t, _) = self.encoding, self.encoding.field, joint.tolist()
        b, dots = x[: e.claims], x[e.claims :]
        v, g = self._checks(b)
        difference = field.add(field.sub(dots, v), (e.range - 1) * one % field.p)
        w = field.zeros((1 + self.shape.calls, 2 * self.chunk))
        bits, checks = np.split(w[1:], [self._calls(e.claims)])
        self._place(bits, field.mul(b, field.powers(r, len(b))), field.sub(b, one))
        self._place(checks, field.mul(difference, field.powers(t, len(g))), g)
        return w

    def output(self, gates: Elements, x: Elements, joint: Elements, one: int) -> list[int]:
        e, field, s = self.encoding, self.encoding.field, int(joint[2])
        bits, checks = np.split(gates, [self._calls(e.claims)])
        _, g = self._checks(x[: e.claims])
        weights = field.powers(2, e.norm_bits)
        v, u = (field.dot(half, weights) for half in x[: 2 * e.norm_bits].reshape(2, -1))
        norm = v + u - e.bound**2 * one
        count = field.total(g) - e.wraparound.successes * one
        return [field.total(bits) + s * norm + s**2 * field.total(checks) + s**3 * count]

    def _calls(self, n: int) -> int:
        return -(-n // self.chunk)

    def _checks(self, b: Elements) -> tuple[Elements, Elements]:
        """All vₖ, and all gₖ."""
        e = self.encoding
        table = b[2 * e.norm_bits :].reshape(-1, e.dot_bits + 1)
        return e.field.combine(e.field.powers(2, e.dot_bits), table[:, :-1].T), table[:, -1]

    def _place(self, rows: Elements, left: Elements, right: Elements) -> None:
        """Fill rows with pairs; what is left of the last row stays zero."""
        pairs = rows.reshape(-1, 2)
        pairs[: len(left), 0], pairs[: len(left), 1] = left, right
