"""What a client claims of its vector, block by block: how it becomes whole numbers, and the sum that proves the claim.

a block of the update    ‖x‖₂ ≤ B steps       Pine
a list of counts         x ≥ 0, Σ x ≤ B       Prio3
all other side values    |x| ≤ B steps        Prio3, x + B in 0 … 2B
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..crypto import pine, prio3, vdaf
from ..crypto.pine import Pine
from ..crypto.prio3 import Prio3
from ..errors import DataError, PlanError, RoundError
from ..rand import Key
from ..spec import Spec, Vector

Integers = NDArray[np.int64]

FINE, NOISY = 2**24, 2**20  # steps in a bound: alone, and under noise, which hides smaller ones
SIDE, NOISY_SIDE = 2**20, 2**16  # steps in the bound of a side value, whose noise is a few times as large
TRIES = 100  # of a rounding that fits with probability ≥ 1 − e^−½


@dataclass(frozen=True)
class Claim:
    """Blocks that are proven together: `size` whole numbers, of which `bound` and a subclass say what holds.

    steps: what one integer of each block stands for. real: are vectors rounded here? context: what proofs are bound to.
    """

    names: tuple[str, ...]
    size: int
    bound: int  # in steps; of all numbers together, or of each side value
    steps: tuple[float, ...]
    real: bool
    aggregators: int
    context: bytes = b""

    shift: ClassVar[bool] = False  # is `bound` added to every number, so that none is negative?

    @property
    def sum(self) -> Pine | Prio3:
        """The verified sum of such numbers."""
        raise TypeError(f"{type(self).__name__} does not say what proves it")

    def round(self, v: Vector, key: Key) -> Integers:
        """A client's blocks in steps, without bias; DataError where they cannot be within the bound."""
        raise TypeError(f"{type(self).__name__} does not say how it rounds")

    def measurement(self, x: Integers) -> Integers:
        """The integers as `sum` takes them."""
        return x + self.bound if self.shift else x

    def read(self, totals: Sequence[bytes], n: int, margin: float) -> Integers:
        """The sum of n clients' integers.

        RoundError where with noise up to `margin` it may have wrapped around p, or is farther out than that.
        """
        field = self.sum.field
        total, largest = vdaf.add_encoded(field, totals, self.aggregators, self.size), n * self.bound + margin
        if largest >= field.p / 2:
            raise RoundError(
                f"A sum may reach {largest:.3g} steps, and from {field.p / 2:.3g} on it would wrap around.",
                "Sample fewer clients.",
            )
        if self.shift:
            total = field.sub(total, field.array([n * self.bound] * self.size))
        if ((total > math.ceil(largest)) & (total < field.p - math.ceil(largest))).any():
            raise RoundError(
                "The sum is farther out than clients and noise can bring it.",
                "What an aggregator says is not its share of this sum.",
                "Look at the helpers, and run the round again.",
            )
        return field.signed(total)


@dataclass(frozen=True)
class Norm(Claim):
    """‖x‖₂ ≤ bound, for one block.

    Real numbers are rounded again until they are within it (Kairouz et al. 2021, §4.2):  a vector of norm r is, with
    probability ≥ 1 − e^−½, when  bound² = r² + d/4 + r + √d/2.  Integers are left as they are.
    """

    @cached_property
    def sum(self) -> Pine:
        """PINE, in about √size/4 rows."""
        rows = max(16, 2 ** math.ceil(math.log2(math.sqrt(self.size) / 4 + 1)))
        chunk = -(-self.size // (rows - 1))
        return Pine(pine.PRODUCT, self.size, self.bound, 0, 128, chunk, self.aggregators, self.context)

    def round(self, v: Vector, key: Key) -> Integers:
        """x, or DataError."""
        if not self.real:
            x = v.view(np.int64)
            return x if self._fits(x) else self._refuse(x)
        scaled = v / self.steps[0]
        if not np.linalg.norm(scaled) <= radius(self.bound, self.size) * (1 + 1e-9):
            self._refuse(scaled)
        for i in range(TRIES):
            x = np.floor(scaled + key.child(i).uniform(v.shape)).astype(np.int64)
            if self._fits(x):
                return x
        return self._refuse(scaled)

    def _fits(self, x: Integers) -> bool:
        length = float(np.linalg.norm(x.astype(np.float64)))  # far above the bound the exact square could overflow
        return length <= 1.01 * self.bound and int(np.dot(x, x)) <= self.bound**2

    def _refuse(self, x: Vector) -> Integers:
        length = float(np.linalg.norm(x.astype(np.float64))) * self.steps[0]
        raise DataError(
            f"The {self.names[0]} has norm {length:.6g}.",
            f"What the sum takes, and has proven, is {self.bound * self.steps[0]:.6g}; nobody would accept this one.",
            "Put Clip(norm=…) into the pipe, and Finite() before it.",
        )


@dataclass(frozen=True)
class Range(Claim):
    """|x| ≤ bound for each side value."""

    shift: ClassVar[bool] = True

    @cached_property
    def sum(self) -> Prio3:
        """Prio3 SumVec, of x + bound in 0 … 2·bound."""
        chunk = math.isqrt(self.size * (2 * self.bound).bit_length()) + 1
        return prio3.prio3_sum_vec(self.size, 2 * self.bound, chunk, self.aggregators, self.context)

    def round(self, v: Vector, key: Key) -> Integers:
        """x, or DataError."""
        x = np.floor(v / self.steps + key.uniform(v.shape)) if self.real else v.view(np.int64)
        if (bad := ~(np.abs(x) <= self.bound)).any():  # NaN too
            i = int(bad.argmax())
            raise DataError(
                f"The {self.names[i]} is {x[i] * self.steps[i]:.6g}.",
                f"The plan says that it is at most {self.bound * self.steps[i]:.6g}.",
                "Clip(…, side=…) cuts what a client reports.",
            )
        return x.astype(np.int64)


@dataclass(frozen=True)
class Tally(Claim):
    """Whole numbers ≥ 0 that add up to at most `bound`."""

    @cached_property
    def sum(self) -> Prio3:
        """Prio3 L1BoundSum."""
        chunk = math.isqrt((self.size + 1) * self.bound.bit_length()) + 1
        return prio3.prio3_l1_bound_sum(self.size, self.bound, chunk, self.aggregators, self.context)

    def round(self, v: Vector, key: Key) -> Integers:
        """The numbers as they are, or DataError."""
        x = np.rint(v).astype(np.int64)
        if (x != v).any() or (x < 0).any() or x.sum() > self.bound:
            raise DataError(
                f"The {self.names[0]} are no counts of at most {self.bound} records.",
                "They are whole, not negative, and add up to that at most.",
                "Look at what computes them.",
            )
        return x


def claims(spec: Spec, aggregators: int, bound: float | None, noisy: bool, context: bytes = b"") -> tuple[Claim, ...]:
    """What a client claims of a vector of `spec`; PlanError where that cannot be proven."""
    real, steps = spec.space == "real", dict(spec.noise.step)
    found: list[Claim] = []
    for name in spec.update:
        size, C = spec.blocks[name], bound or spec.bounds[name]
        B = NOISY if noisy else FINE
        if real:
            steps[name] = C / radius(B, size)
        else:
            B = math.ceil(C / steps[name] * (1 - 1e-12))
            _check_steps(spec, bound, name, B)
        found.append(Norm((name,), size, B, (steps[name],), real, aggregators, context + name.encode()))
    counts = sorted(spec.counts) if real else []
    for name in counts:
        most = int(spec.bounds[name])
        found.append(Tally((name,), spec.blocks[name], most, (1.0,), real, aggregators, context + name.encode()))
    side = tuple(name for name in spec.blocks if name in spec.side and name not in counts)
    fine = NOISY_SIDE if noisy else SIDE
    if side:
        if real:
            steps |= {name: spec.bounds[name] / fine for name in side}
        B = max(fine if real else math.ceil(spec.bounds[name] / steps[name]) for name in side)
        found.append(Range(side, len(side), B, tuple(steps[name] for name in side), real, aggregators, context))
    for claim in found:
        _ = claim.sum  # or PlanError
    return tuple(found)


def _check_steps(spec: Spec, bound: float | None, name: str, B: int) -> None:
    """PlanError where a block has more steps than can be proven."""
    most = pine.PRODUCT.largest
    if most >= B:
        return
    bits = min(fitting(spec, bound, each) for each in spec.update)
    less = f"Write Quantize({bits})" if bits > 1 else "Write VerifiedSum() without bound=…"
    raise PlanError(
        f"The {name} has a norm of up to {B} steps.",
        f"Only up to {most} steps is it proven that a vector that wraps around the modulus is found out.",
        f"{less}, or leave Quantize out of the pipe: VerifiedSum rounds by itself.",
    )


def fitting(spec: Spec, bound: float | None, name: str) -> int:
    """The most bits b of Quantize with which a block's bound has no more steps than can be proven.

    With γ = C/(2^(b−1) − 1) the block has c = C/γ steps before it is rounded, and is longer afterwards; see `radius`.
    """
    most, size, step = pine.PRODUCT.largest, spec.blocks[name], spec.noise.step[name]
    before = radius(spec.bounds[name] / step, size)
    c = radius(most, size) if bound is None else most * step * before / bound
    return int(math.log2(c + 1)) + 1


def radius(bound: float, size: int) -> float:
    """The largest norm r that rounding leaves within `bound`, all in steps; see `Norm`, and Quantize."""
    square = bound**2 - size / 4 - math.sqrt(size) / 2
    return (math.sqrt(1 + 4 * square) - 1) / 2
