"""What is known about a vector before any vector exists.

A `Spec` flows through a plan once, when the plan is built, as a shape flows through a neural
network. Each transform reads it, refuses it or refines it. Sensitivity is inferred, never typed in
twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError

Vector = NDArray[Any]

BLOCK = 2**18  # numbers that are worked on at a time, where a second vector should not be made


def blocks(size: int, first: int = 0) -> Iterator[slice]:
    """The places first … first + size − 1 of a vector, in pieces of BLOCK, one after another."""
    end = first + size
    return (slice(start, min(start + BLOCK, end)) for start in range(first, end, BLOCK))


def word(modulus: int) -> np.dtype[Any]:
    """The narrowest of uint16, uint32 and uint64 in which integers mod 2ᵇ can be added."""
    if modulus <= 16:
        return np.dtype(np.uint16)
    if modulus <= 32:
        return np.dtype(np.uint32)
    return np.dtype(np.uint64)


@dataclass(frozen=True)
class Noise:
    """What is known of noise in a vector or on a sum: none, where nothing says otherwise.

        σ = z·C,    z: `multiplier`,    C: the norm of what one client adds to the sum, at most

    From these no ε follows: what it gives away a noise says itself.
    """

    multiplier: float = 0.0  # z: standard deviation over what one client can change
    least: int = 1  # as many clients must be in the sum for it to be whole
    # name → a client's share may add this to a coordinate
    reach: Mapping[str, float] = field(default_factory=dict)
    server: bool = False  # does the server draw it, which sees the sum without?
    clients: bool = False  # do clients, before anybody sees their vectors?
    alone: bool = False  # does each client draw all of it, so that it hides one vector alone?
    lasting: bool = False  # is it one release over all rounds of a plan?
    # of all clients, in the sum on average, where that is a secret; 0 where it is not, or is fixed
    share: float = 0.0
    # name → its scale over what one client can change in that block
    scales: Mapping[str, float] = field(default_factory=dict)
    # of noise in integers: each block's size, bound and σ, in steps
    parts: tuple[tuple[int, float, float], ...] = ()
    step: Mapping[str, float] = field(default_factory=dict)  # name → what one integer stands for

    def hands(self, n: int) -> float:
        """How many whole noises are in a sum of n vectors, at least one."""
        return max(n / self.least, 1.0) if self.clients else 1.0


@dataclass(frozen=True)
class SumFacts:
    """What is known of where vectors are summed: facts of the plan, and of the end of its pipe."""

    # after all transforms; what noise is sized for
    bounds: Mapping[str, float] = field(default_factory=dict)
    noise: Noise = Noise()  # of the whole pipe, also what later transforms add
    modulus: int = 64  # bits; integers are added mod 2ᵇ
    learns: bool = False  # does a transform learn from the sum?
    clients: int = 0  # in a sum, at most; 0 where the plan does not say
    quorum: int = 1  # in a sum, at least
    rounds: int = 0  # of the plan; 0 where there is none
    # does ε rest on nobody but the server knowing who is in the sum, and so how many are?
    hidden: bool = False


# side: rides along (weight, loss, clip bit); counts: a side value that is `Counts`; statistics: the
# part of the update that no optimizer moves; spread: a part of the update that Rotate has spread
# evenly over its coordinates
Kind = Literal["side", "counts", "statistics", "spread", "spread statistics"]


@dataclass(frozen=True)
class Counts:
    """The bound of a side value of `size` whole numbers ≥ 0 that add up to `most` at most."""

    size: int
    most: int


@dataclass(frozen=True)
class Interval:
    """The bound of a side value x:  low ≤ x ≤ high.

    |low| ≤ high, for high is what noise is sized for; else PlanError.
    """

    low: float
    high: float = math.inf

    def __post_init__(self) -> None:
        if not (-self.high <= self.low < self.high) or math.isinf(self.low):
            raise PlanError(
                f"{self!r} bounds nothing.",
                "A value lies between two different numbers, and `high` bounds how large it is, "
                "with either sign.",
                "Write for example Interval(0.0, 1.0), Interval(-5.0, 5.0), or Interval(0.0) for "
                "what has no end.",
            )


# of a side value; a number b alone stands for −b … b, and is infinite where there is no bound
Bound = float | Interval | Counts


def ends(bound: Bound) -> tuple[float, float]:
    """The least and the largest number that a bound allows."""
    if isinstance(bound, Counts):
        return 0.0, float(bound.most)
    if isinstance(bound, Interval):
        return bound.low, bound.high
    return -float(bound), float(bound)


@dataclass(frozen=True)
class Layout:
    """What a vector consists of: named blocks one after another, and what each of them is.

        v = delta ‖ control ‖ weight ‖ loss …,    v ∈ ℝˢⁱᶻᵉ

    A block belongs to the update, or rides along as a side value.
    """

    blocks: Mapping[str, int]  # name → length, in order
    # name → what it is, other than a part of the update
    kinds: Mapping[str, Kind] = field(default_factory=dict, kw_only=True)

    @cached_property
    def size(self) -> int:
        """Length of the whole vector."""
        return sum(self.blocks.values())

    @cached_property
    def side(self) -> frozenset[str]:
        """Names of what rides along."""
        return self._of("side", "counts")

    @cached_property
    def counts(self) -> frozenset[str]:
        """Names of the side values that are `Counts`."""
        return self._of("counts")

    @cached_property
    def rotated(self) -> frozenset[str]:
        """Names of the blocks that Rotate has spread."""
        return self._of("spread", "spread statistics")

    @cached_property
    def statistics(self) -> frozenset[str]:
        """Names of the running statistics, which are bounded apart from what is trained."""
        return self._of("statistics", "spread statistics")

    @cached_property
    def update(self) -> tuple[str, ...]:
        """Names of the blocks that make the update: all but the side values."""
        return tuple(name for name in self.blocks if name not in self.side)

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Names of the blocks of the update but the statistics."""
        return tuple(name for name in self.update if name not in self.statistics)

    @cached_property
    def _places(self) -> dict[str, slice]:
        """name → where the block lies."""
        ends = np.cumsum([0, *self.blocks.values()]).tolist()
        return {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.blocks)}

    def slice(self, name: str) -> slice:
        """Where block `name` lies in the vector; KeyError where there is none."""
        if name not in self._places:
            raise KeyError(f"no block {name!r}; this vector has {', '.join(self.blocks)}")
        return self._places[name]

    def pack(self, parts: Mapping[str, Any]) -> Vector:
        """One float64 vector from named parts; parts that the layout does not name are left out."""
        flat = [np.asarray(parts[name]).reshape(-1) for name in self.blocks]
        return np.concatenate(flat, dtype=np.float64)

    def unpack(self, v: Vector) -> dict[str, Vector]:
        """Named views of the last axis of `v`."""
        return {name: v[..., self.slice(name)] for name in self.blocks}

    def spread(self, values: Mapping[str, float], default: float = math.inf) -> NDArray[np.float64]:
        """One number per block, spread over its coordinates: float64 [size]."""
        numbers = [values.get(name, default) for name in self.blocks]
        return np.repeat(numbers, list(self.blocks.values()))

    def _of(self, *kinds: Kind) -> frozenset[str]:
        """Names of the blocks of these kinds."""
        return frozenset(name for name in self.blocks if self.kinds.get(name) in kinds)


@dataclass(frozen=True)
class Spec(Layout):
    """Names, sizes and proven facts of the vector that one client sends."""

    # name → ‖block‖₂ at most this, before noise
    bounds: Mapping[str, float] = field(default_factory=dict)
    # name → the least a side value can be, where not −bound
    lows: Mapping[str, float] = field(default_factory=dict)
    space: Literal["real", "integer"] = "real"
    weighed: bool = False  # is a sum already on its way to a mean?
    noise: Noise = Noise()
    sum_facts: SumFacts = SumFacts()

    @property
    def word(self) -> np.dtype[Any]:
        """The type of its numbers: float64, or the words in which integers are added mod 2ᵇ."""
        if self.space == "real":
            return np.dtype(np.float64)
        return word(self.sum_facts.modulus)

    @property
    def learns(self) -> bool:
        """Does a transform of the pipe learn from the sum?"""
        return self.sum_facts.learns

    @property
    def hidden(self) -> bool:
        """Does ε rest on nobody but the server knowing who is in the sum?"""
        return self.sum_facts.hidden

    @cached_property
    def unbounded(self) -> tuple[str, ...]:
        """Names of the blocks without a bound."""
        bounded = {name for name, bound in self.bounds.items() if math.isfinite(bound)}
        return tuple(name for name in self.blocks if name not in bounded)

    def low(self, name: str) -> float:
        """The least that a side value can be: −bound, where nothing says otherwise."""
        return self.lows.get(name, -self.bounds.get(name, math.inf))

    def fits(self, reply: Any) -> bool:
        """Is what a peer says one vector of this spec?

        One of a single number would be spread over all coordinates of a sum.
        """
        if not isinstance(reply, np.ndarray) or reply.shape != (self.size,):
            return False
        if self.space == "integer":
            return bool(reply.dtype == self.word)
        return bool(reply.dtype.kind == "f")

    def replace(self, **facts: Any) -> Self:
        """This spec with other facts."""
        return replace(self, **facts)

    def with_side(self, name: str, bound: Bound = math.inf) -> Self:
        """This spec with one more side value at its end; PlanError where the name is taken."""
        if name in self.blocks:
            raise PlanError(
                f"Two parts of the vector are called {name!r}.",
                "A part is found by its name, so one of them would be lost.",
                "Rename the algorithm's block or side value of that name.",
            )
        kind: Kind = "side"
        size = 1
        if isinstance(bound, Counts):
            kind = "counts"
            size = bound.size
        low, high = ends(bound)
        bounds = dict(self.bounds)
        if math.isfinite(high):
            bounds[name] = high
        lows = dict(self.lows)
        if low > -high:
            lows[name] = low
        blocks = {**self.blocks, name: size}
        kinds = {**self.kinds, name: kind}
        return replace(self, blocks=blocks, kinds=kinds, bounds=bounds, lows=lows)
