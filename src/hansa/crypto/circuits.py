"""What Prio3 proves about a measurement: that it is a bit, a bounded number, one of several
buckets, and so on.

A statement says how a measurement becomes a vector, when such a vector is valid, and how sums are
read. (draft-irtf-cfrg-vdaf, section 7.4)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import DataError, PlanError, number
from .field import Elements, Field, Field64
from .flp import Bit, Circuit, Pairs, Shape


class Statement(Circuit, Protocol):
    """A circuit, and what stands before and after it."""

    def encode(self, measurement: Any) -> Elements:
        """The measurement as a vector x; DataError if it is not allowed."""

    def truncate(self, x: Elements) -> Elements:
        """The part of x that is summed, a linear function of x."""

    def decode(self, total: list[int]) -> Any:
        """The sum of the measurements, as it is reported."""


def positive(**sizes: int) -> None:
    """PlanError unless all sizes are whole and positive."""
    for name, value in sizes.items():
        if not (number(value, whole=True) and value > 0):
            raise PlanError(
                f"{name}={value!r}",
                "It counts something.",
                f"Write a positive whole number for {name}.",
            )


def weights(most: int) -> list[int]:
    """Weights of bits that can say 0 … most and no other number: 1, 2, 4, …, and most − (2ᵇ⁻¹ − 1).

    (draft-irtf-cfrg-vdaf, section 7.4.2)
    """
    b = most.bit_length()
    return [1 << i for i in range(b - 1)] + [most - (1 << (b - 1)) + 1]


def bits(value: object, most: int) -> list[int]:
    """The bits of a number in 0 … most, for these weights; DataError for any other."""
    if not (number(value, whole=True) and 0 <= value <= most):
        raise DataError(
            f"A measurement of {value!r}.",
            f"Whole numbers from 0 to {most} can be summed.",
            "Clip it.",
        )
    *_, last = weights(most)
    b, n = most.bit_length(), int(value)
    top = n >= 1 << (b - 1)
    n -= last if top else 0
    return [n >> i & 1 for i in range(b - 1)] + [int(top)]


def numbers(x: Elements, most: int, field: Field) -> Elements:
    """The numbers whose bits stand one after the other in x."""
    return field.combine(field.array(weights(most)), x.reshape(-1, most.bit_length()).T)


def entries(measurement: Sequence[int], length: int) -> list[int]:
    """The entries of a vector of the right length; DataError for another."""
    if len(measurement) != length:
        raise DataError(
            f"A measurement of {len(measurement)} entries.",
            f"Here it has {length}.",
            "Count them again.",
        )
    return list(measurement)


@dataclass(frozen=True)
class Count:
    """x is a bit:  x·x − x = 0.   (section 7.4.1)"""

    field: Field = Field64

    @property
    def shape(self) -> Shape:
        return Shape(self.field, Pairs(1), calls=1, inputs=1, length=1)

    def encode(self, measurement: Any) -> Elements:
        return self.field.array(
            bits(int(measurement) if isinstance(measurement, bool) else measurement, 1)
        )

    def wires(self, x: Elements, joint: Elements, one: int) -> Elements:
        w = self.field.zeros((2, 2))
        w[1] = x[0]
        return w

    def output(self, gates: Elements, x: Elements, joint: Elements, one: int) -> list[int]:
        return [int(gates[0]) - int(x[0])]

    def truncate(self, x: Elements) -> Elements:
        return x

    def decode(self, total: list[int]) -> int:
        return total[0]


@dataclass(frozen=True)
class Sum:
    """x holds the bits of a number in 0 … most:  xₖ² − xₖ = 0 for all k.   (section 7.4.2)"""

    field: Field
    most: int

    def __post_init__(self) -> None:
        positive(max_measurement=self.most)

    @property
    def shape(self) -> Shape:
        b = self.most.bit_length()
        return Shape(self.field, Bit(), calls=b, inputs=b, length=1, outputs=b)

    def encode(self, measurement: int) -> Elements:
        return self.field.array(bits(measurement, self.most))

    def wires(self, x: Elements, joint: Elements, one: int) -> Elements:
        w = self.field.zeros((1 + len(x), 1))
        w[1:, 0] = x
        return w

    def output(self, gates: Elements, x: Elements, joint: Elements, one: int) -> list[int]:
        return [int(g) for g in gates]

    def truncate(self, x: Elements) -> Elements:
        return numbers(x, self.most, self.field)

    def decode(self, total: list[int]) -> int:
        return total[0]


@dataclass(frozen=True)
class Bits:
    """All of x are bits; the statements below add more about them.

    Call k of the gadget takes the `chunk` entries y = x₍ₖ₋₁₎꜀ … and returns  Σᵢ rₖⁱ·yᵢ·(yᵢ − 1), i
    ≥ 1, where rₖ is
    joint randomness; their sum over k must be zero.   (section 7.4.3)
    """

    field: Field
    length: int
    chunk: int

    def __post_init__(self) -> None:
        positive(length=self.length, chunk_length=self.chunk)

    @property
    def inputs(self) -> int:
        """How many bits there are."""
        return self.length

    @property
    def shape(self) -> Shape:
        calls = -(-self.inputs // self.chunk)
        outputs = 1 + len(self.also(self.field.zeros(self.inputs), 0))
        return Shape(self.field, Pairs(self.chunk), calls, self.inputs, self.length, calls, outputs)

    def wires(self, x: Elements, joint: Elements, one: int) -> Elements:
        field, shape = self.field, (len(joint), self.chunk)
        y = field.zeros(len(joint) * self.chunk)
        y[: len(x)] = x
        r = field.zeros(shape)
        for k, rₖ in enumerate(joint.tolist()):
            r[k] = field.powers(rₖ, self.chunk + 1)[1:]
        w = field.zeros((1 + len(joint), 2 * self.chunk))
        w[1:, 0::2] = field.mul(r, y.reshape(shape))
        w[1:, 1::2] = field.sub(y.reshape(shape), one)
        return w

    def output(self, gates: Elements, x: Elements, joint: Elements, one: int) -> list[int]:
        return [self.field.total(gates), *self.also(x, one)]

    def also(self, x: Elements, one: int) -> list[int]:
        """What must be zero besides."""
        return []

    def truncate(self, x: Elements) -> Elements:
        """The part of x that is summed."""
        return x[: self.length]

    def decode(self, total: list[int]) -> Any:
        """The sum, as it is reported."""
        return total


@dataclass(frozen=True)
class Histogram(Bits):
    """x is one in one of `length` buckets, and zero in all others:  Σ x − 1 = 0.   (section
    7.4.4)
    """

    def encode(self, measurement: int) -> Elements:
        if not (number(measurement, whole=True) and 0 <= measurement < self.length):
            raise DataError(
                f"Bucket {measurement!r}.",
                f"The histogram has buckets 0 to {self.length - 1}.",
                "Name one of them.",
            )
        return self.field.array(int(i == measurement) for i in range(self.length))

    def also(self, x: Elements, one: int) -> list[int]:
        return [self.field.total(x) - one]


@dataclass(frozen=True)
class MultihotCountVec(Bits):
    """x is up to `most` ones in `length` places, then the bits of their number n:  Σ x − n = 0.
    (section 7.4.5)
    """

    most: int

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(max_weight=self.most)

    @property
    def inputs(self) -> int:
        return self.length + self.most.bit_length()

    def encode(self, measurement: Sequence[int]) -> Elements:
        ones = [
            bits(int(x) if isinstance(x, bool) else x, 1)[0]
            for x in entries(measurement, self.length)
        ]
        return self.field.array(ones + bits(sum(ones), self.most))

    def also(self, x: Elements, one: int) -> list[int]:
        n = numbers(x[self.length :], self.most, self.field)
        return [self.field.total(x[: self.length]) - int(n[0])]


@dataclass(frozen=True)
class SumVec(Bits):
    """x holds the bits of `length` numbers in 0 … most.   (section 7.4.3)"""

    most: int

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(max_measurement=self.most)

    @property
    def inputs(self) -> int:
        return self.length * self.most.bit_length()

    def encode(self, measurement: Sequence[int]) -> Elements:
        return self.field.array(
            b for value in entries(measurement, self.length) for b in bits(value, self.most)
        )

    def truncate(self, x: Elements) -> Elements:
        return numbers(x, self.most, self.field)[: self.length]


@dataclass(frozen=True)
class L1BoundSum(SumVec):
    """x holds the bits of `length` numbers, and those of their sum, all in 0 … most.

    (draft-thomson-ppm-l1-bound-sum, section 3)
    """

    @property
    def inputs(self) -> int:
        """Those of all numbers and of their sum."""
        return (self.length + 1) * self.most.bit_length()

    def encode(self, measurement: Sequence[int]) -> Elements:
        values = entries(measurement, self.length)
        return self.field.array(
            b for value in (*values, sum(values)) for b in bits(value, self.most)
        )

    def also(self, x: Elements, one: int) -> list[int]:
        *values, claimed = numbers(x, self.most, self.field).tolist()
        return [sum(values) - claimed]
