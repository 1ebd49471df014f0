"""What a client claims of its vector, block by block: how it becomes whole numbers, and the sum
that proves the claim.

a block of the update    ‖x‖₂ ≤ B steps       Pine
a list of counts         x ≥ 0, Σ x ≤ B       Prio3
all other side values    a ≤ x ≤ b steps      Prio3, x − a in 0 … b − a, for those of the same b − a
together
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...crypto import pine, prio3, vdaf
from ...crypto.pine import Pine
from ...crypto.prio3 import Prio3
from ...errors import DataError, PlanError, RoundError
from ...rand import Key
from ...spec import Spec, Vector

Integers = NDArray[np.int64]

FINE = 2**24  # steps in a bound
NOISY = 2**20  # the same under noise, which hides smaller ones
# steps from end to end of a side value, whose noise is a few times as large
SIDE = 2**21
NOISY_SIDE = 2**17
TRIES = 100  # of a rounding that fits with probability ≥ 1 − e^−½


@dataclass(frozen=True)
class Claim:
    """Blocks that are proven together: `size` whole numbers, of which `bound` and a subclass say
    what holds.

    steps: what one integer of each block stands for. real: are vectors rounded here? context: what
    proofs are bound to.
    """

    names: tuple[str, ...]
    size: int
    bound: int  # in steps; of all numbers together, or of each side value, from end to end
    steps: tuple[float, ...]
    real: bool
    aggregators: int
    context: bytes = b""

    @property
    def sum(self) -> Pine | Prio3:
        """The verified sum of such numbers."""
        raise TypeError(f"{type(self).__name__} does not say what proves it")

    def round(self, v: Vector, key: Key) -> Integers:
        """A client's blocks in steps, without bias; DataError where they cannot be within the
        bound.
        """
        raise TypeError(f"{type(self).__name__} does not say how it rounds")

    def measurement(self, x: Integers) -> Integers:
        """The integers as `sum` takes them."""
        return x

    def most(self, i: int) -> float:
        """How far a client who is there or not can change the sum of its i-th block, in steps."""
        return float(self.bound)

    def read(self, totals: Sequence[bytes], n: int, margin: float) -> Integers:
        """The sum of n clients' integers.

        RoundError where with noise up to `margin` it may have wrapped around p, or is farther out
        than that.
        """
        field = self.sum.field
        total = vdaf.add_encoded(field, totals, self.aggregators, self.size)
        largest = n * self.bound + margin
        if largest >= field.p / 2:
            raise RoundError(
                f"A sum may reach {largest:.3g} steps, and from {field.p / 2:.3g} on it would wrap "
                "around.",
                "Sample fewer clients.",
            )
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

    Real numbers are rounded again until they are within it (Kairouz et al. 2021, §4.2):  a vector
    of norm r is, with probability ≥ 1 − e^−½, when  bound² = r² + d/4 + r + √d/2.  Integers are
    left as they are.
    """

    @cached_property
    def sum(self) -> Pine:
        """PINE, in about √size/4 rows."""
        rows = max(16, 2 ** math.ceil(math.log2(math.sqrt(self.size) / 4 + 1)))
        chunk = -(-self.size // (rows - 1))
        return Pine(
            pine.PRODUCT, self.size, self.bound, 0, 128, chunk, self.aggregators, self.context
        )

    def round(self, v: Vector, key: Key) -> Integers:
        """x, or DataError."""
        if not self.real:
            x = v.view(np.int64)
            if not self._fits(x):
                raise self._too_long(x)
            return x
        scaled = v / self.steps[0]
        if not np.linalg.norm(scaled) <= radius(self.bound, self.size) * (1 + 1e-9):
            raise self._too_long(scaled)
        for i in range(TRIES):
            x = np.floor(scaled + key.child(i).uniform(v.shape)).astype(np.int64)
            if self._fits(x):
                return x
        raise self._too_long(scaled)

    def _fits(self, x: Integers) -> bool:
        """‖x‖₂ ≤ bound, exactly."""
        # far above the bound the exact square could overflow
        length = float(np.linalg.norm(x.astype(np.float64)))
        return length <= 1.01 * self.bound and int(np.dot(x, x)) <= self.bound**2

    def _too_long(self, x: Vector) -> DataError:
        """What is raised for x, in steps."""
        length = float(np.linalg.norm(x.astype(np.float64))) * self.steps[0]
        return DataError(
            f"The {self.names[0]} has norm {length:.6g}.",
            f"What the sum takes, and has proven, is {self.bound * self.steps[0]:.6g}; nobody "
            "would accept this one.",
            "Put Clip(norm=…) into the pipe, and Finite() before it.",
        )


@dataclass(frozen=True)
class Range(Claim):
    """a ≤ x ≤ a + bound for the numbers of side values, each with its own a."""

    lows: tuple[int, ...] = ()  # a of each number, in steps

    @cached_property
    def sum(self) -> Prio3:
        """Prio3 SumVec, of x − a in 0 … bound."""
        chunk = math.isqrt(self.size * self.bound.bit_length()) + 1
        return prio3.prio3_sum_vec(self.size, self.bound, chunk, self.aggregators, self.context)

    def round(self, v: Vector, key: Key) -> Integers:
        """x, or DataError."""
        # the block of each number
        of = np.repeat(np.arange(len(self.names)), self.size // len(self.names))
        low = np.array(self.lows)
        steps = np.array(self.steps)[of]
        exact = v.view(np.int64)
        slack: Any = 0
        if self.real:
            exact = v / steps
            slack = 1e-9 * np.maximum(np.abs(low), self.bound)  # of the division
        bad = ~((exact >= low - slack) & (exact <= low + self.bound + slack))  # NaN too
        if bad.any():
            i = int(bad.argmax())
            least = low[i] * steps[i]
            most = (low[i] + self.bound) * steps[i]
            raise DataError(
                f"The {self.names[of[i]]} is {exact[i] * steps[i]:.6g}.",
                f"The plan says that it lies in {least:.6g} … {most:.6g}.",
                "Clip(…, side=…) cuts what a client reports.",
            )
        if self.real:
            exact = np.floor(exact + key.uniform(v.shape))
        return np.clip(exact, low, low + self.bound).astype(np.int64)

    def measurement(self, x: Integers) -> Integers:
        """x − a."""
        return x - np.array(self.lows, np.int64)

    def most(self, i: int) -> float:
        """max(|a|, |a + bound|), not the bound: who is not there adds 0."""
        low = self.lows[i * (self.size // len(self.names))]
        return float(max(abs(low), abs(low + self.bound)))

    def read(self, totals: Sequence[bytes], n: int, margin: float) -> Integers:
        """Σ x = Σ (x − a) + n·a."""
        return super().read(totals, n, margin) + n * np.array(self.lows, np.int64)


@dataclass(frozen=True)
class Tally(Claim):
    """Whole numbers ≥ 0 that add up to at most `bound`."""

    @cached_property
    def sum(self) -> Prio3:
        """Prio3 L1BoundSum."""
        chunk = math.isqrt((self.size + 1) * self.bound.bit_length()) + 1
        return prio3.prio3_l1_bound_sum(
            self.size, self.bound, chunk, self.aggregators, self.context
        )

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


def claims(
    spec: Spec, aggregators: int, bound: float | None, noisy: bool, context: bytes = b""
) -> tuple[Claim, ...]:
    """What a client claims of a vector of `spec`; PlanError where that cannot be proven."""
    real = spec.space == "real"
    steps = dict(spec.noise.step)
    found: list[Claim] = []
    for name in spec.update:
        size = spec.blocks[name]
        C = bound or spec.bounds[name]
        if name in spec.statistics:
            C = spec.bounds[name]  # `bound` is a length of the weights
        B = NOISY if noisy else FINE
        if real:
            steps[name] = C / radius(B, size)
        else:
            B = math.ceil(C / steps[name] * (1 - 1e-12))
            _check_steps(spec, bound, name, B)
        found.append(
            Norm((name,), size, B, (steps[name],), real, aggregators, context + name.encode())
        )
    counts = sorted(spec.counts) if real else []
    for name in counts:
        most = int(spec.bounds[name])
        found.append(
            Tally(
                (name,), spec.blocks[name], most, (1.0,), real, aggregators, context + name.encode()
            )
        )
    widths: dict[tuple[int, int], dict[str, int]] = {}  # (b − a, numbers) → name → a
    for name in (name for name in spec.blocks if name in spec.side and name not in counts):
        if real:
            steps[name] = _step(spec.low(name), spec.bounds[name], NOISY_SIDE if noisy else SIDE)
        low, high = _ends(spec, name, steps[name])
        widths.setdefault((high - low, spec.blocks[name]), {})[name] = low
    for (width, size), lows in widths.items():
        each = tuple(steps[name] for name in lows)
        n = size * len(lows)
        more = context + f"{width} {size}".encode()
        least = tuple(np.repeat(list(lows.values()), size).tolist())
        found.append(Range(tuple(lows), n, width, each, real, aggregators, more, least))
    for claim in found:
        _ = claim.sum  # or PlanError
    return tuple(found)


def _step(low: float, high: float, steps: int) -> float:
    """γ, of which about so many go from low to high, and a whole number into low: then no client is
    rounded below.
    """
    if low < 0:
        return 2 * high / steps
    if low == 0:
        return high / steps
    return low / math.ceil(low / (high / steps))


def _ends(spec: Spec, name: str, step: float) -> tuple[int, int]:
    """a and b of a side value, in steps: what is rounded from within its bounds lies between them.

    Of integers, those within the bounds; a hair's breadth is what floats may be off.
    """
    low = spec.low(name) / step
    high = spec.bounds[name] / step
    hair = 1e-14
    if spec.space == "integer":
        return math.ceil(low - hair * abs(low)), math.floor(high + hair * abs(high))
    return math.floor(low + hair * abs(low)), math.ceil(high - hair * abs(high))


def _check_steps(spec: Spec, bound: float | None, name: str, B: int) -> None:
    """PlanError where a block has more steps than can be proven."""
    most = pine.PRODUCT.largest
    if most >= B:
        return
    bits = min(fitting(spec, bound, each) for each in spec.update)
    less = "Write VerifiedSum() without bound=…"
    if bits > 1:
        less = f"Write Quantize({bits})"
    raise PlanError(
        f"The {name} has a norm of up to {B} steps.",
        f"Only up to {most} steps is it proven that a vector that wraps around the modulus is "
        "found out.",
        f"{less}, or leave Quantize out of the pipe: VerifiedSum rounds by itself.",
    )


def fitting(spec: Spec, bound: float | None, name: str) -> int:
    """The most bits b of Quantize with which a block's bound has no more steps than can be proven.

    With γ = C/(2^(b−1) − 1) the block has c = C/γ steps before it is rounded, and is longer
    afterwards; see `radius`.
    """
    most = pine.PRODUCT.largest
    size = spec.blocks[name]
    step = spec.noise.step[name]
    before = radius(spec.bounds[name] / step, size)
    if bound is None or name in spec.statistics:
        c = radius(most, size)
    else:
        c = most * step * before / bound
    return int(math.log2(c + 1)) + 1


def radius(bound: float, size: int) -> float:
    """The largest norm r that rounding leaves within `bound`, all in steps; see `Norm`, and
    Quantize.
    """
    square = bound**2 - size / 4 - math.sqrt(size) / 2
    return (math.sqrt(1 + 4 * square) - 1) / 2
