"""A vector whose sum of squares has wrapped around p is refused, whatever its shape, at the largest bound there is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.attacks.attackers_verified import HONEST, Forger, attacker, honest, plan_of, states
from tests.vdaf.attackers import Attacker
from tests.vdaf.wrapped import P, accepted, largest, measured, scaled, search, shapes, width

import hansa as h
from hansa.crypto.field import Field, Field64
from hansa.crypto.norms import passes
from hansa.crypto.pine import PRODUCT

B = largest()
W = width(B)
SHAPES = shapes(W)
PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"))


def takes(bits: int, **more: float) -> bool:
    """Does VerifiedSum prove a norm of so many bits?"""
    try:
        plan_of(h.VerifiedSum(**more), pipe=(*PIPE, h.Quantize(bits)))  # type: ignore[arg-type]
    except h.errors.PlanError:
        return False
    return True


BITS = max(bits for bits in range(2, 49) if takes(bits))


@pytest.mark.control("the shapes are as long as they are said to be")
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_long_and_looks_short(shape: str) -> None:
    """So that only the checks tell: ‖x‖² ≥ p, and ‖x‖² mod p ≤ B²."""
    x = SHAPES[shape]
    assert all(abs(v) <= P // 2 for v in x)
    assert sum(v * v for v in x) >= P
    assert sum(v * v for v in x) % P <= 2 * math.isqrt(P) + 1 <= B**2


@pytest.mark.promise("P81")
@pytest.mark.guards("the range of a check is small", "how often a false vector passes is bounded")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_wrapped_vector_is_refused_at_the_largest_bound(shape: str) -> None:
    assert accepted(SHAPES[shape], B, tries=3) == 0


@pytest.mark.promise("P81")
@pytest.mark.guards("how often a false vector passes is bounded")
@pytest.mark.parametrize("shape", SHAPES)
def test_one_check_holds_no_more_often_than_is_proven(shape: str) -> None:
    x, checks = SHAPES[shape], 4000
    bound = passes(Field64, W)
    assert measured(x, B, checks, bytes(32)) <= bound + 4.5 * (bound / checks) ** 0.5 / 2**0.5


@pytest.mark.promise("P81")
@pytest.mark.guards("how often a false vector passes is bounded")
@pytest.mark.parametrize("shape", ["spread", "constant", "one", "8 alike"])
def test_a_wrapped_vector_in_a_federation_is_refused_by_name(shape: str) -> None:
    """With Quantize of as many bits as VerifiedSum takes."""
    plan = plan_of(pipe=(*PIPE, h.Quantize(BITS)))
    size = plan.encoded_spec.blocks["delta"]
    x = short(size)[shape]
    x += [0] * (size - len(x))
    (state,) = states(plan, [*honest(plan), attacker(Forger, plan, x=x, kind=Attacker)])
    assert state.participants == HONEST and not state.skipped
    assert list(state.excluded) == ["mallory"] and "A proof does not hold" in state.excluded["mallory"]


@pytest.mark.promise("P81")
@pytest.mark.guards("a plan has no more steps than are proven")
def test_a_plan_with_more_steps_is_refused_with_the_bits_that_fit() -> None:
    with pytest.raises(h.errors.PlanError) as caught:
        plan_of(pipe=(*PIPE, h.Quantize(BITS + 1)))
    assert f"Write Quantize({BITS})" in caught.value.instead


def short(size: int) -> dict[str, list[int]]:
    """Those of at most `size` coordinates."""
    draw = np.random.Generator(np.random.PCG64(4)).normal(size=size - 1).tolist()
    spread = {"spread": scaled(draw), "constant": scaled([1.0] * (size - 1))}
    return {**{name: list(x) for name, x in SHAPES.items() if len(x) <= size}, **spread}


@pytest.mark.control("the vectors are strong: a wider range lets them pass")
def test_under_the_drafts_own_condition_it_is_accepted() -> None:
    """Which is the defence that this file guards."""
    unproven = replace(PRODUCT.wraparound, proven=False)
    for bound in (2**30, 2**31):
        assert accepted(SHAPES["spread"], bound, 3, unproven)


# ── the proof, in numbers ──


@pytest.mark.promise("P81")
@pytest.mark.guards("the range of a check is small", "how often a false vector passes is bounded")
def test_what_is_allowed_is_what_is_proven() -> None:
    assert PRODUCT.largest == B
    assert passes(Field64, W) == 0.5 < passes(Field64, 2 * W)
    assert W == 2**29 == round(P**0.5 / 8)


@pytest.mark.promise("P81")
@pytest.mark.guards("how often a false vector passes is bounded")
@pytest.mark.parametrize("p", [1009, 4099, 10007])
def test_no_interval_holds_more_of_a_long_vectors_sum_than_is_proven(p: int) -> None:
    """Exactly, by the Fourier transform on ℤ/p; wherever the interval lies, and however small w is beside √p."""
    draw = np.random.Generator(np.random.PCG64(5))
    for w in (1, *(int(p**0.5 / part) for part in (16, 8, 6, 3))):
        for kind in range(12):
            x = long_vector(draw, p, w, kind)
            assert int(np.dot(x, x)) >= p
            most = passes(Field(p, 4, 1, 1), w)
            assert concentration(x, p, 2 * w) <= most + 1e-9, (p, w, kind)


def long_vector(draw: np.random.Generator, p: int, w: int, kind: int) -> h.Vector:
    """Equal, spread, few, multiples of w, at the border between the two cases, or anything; ‖x‖² ≥ p."""
    d = int(draw.integers(1, 200))
    ways = [
        np.full(d, math.isqrt(p // d) + 1),
        np.ceil(np.abs(v := draw.normal(size=d)) * math.sqrt(p / (v @ v))),
        draw.integers(1, p // 2, d),
        w * draw.integers(1, 4, p // w**2 + 1),
        np.full(p // (2 * w - 1) ** 2 + 1, 2 * w - 1),
        np.array([math.isqrt(p) + 1, *draw.integers(0, w + 1, d)]),
    ]
    x = np.asarray(ways[kind % len(ways)], np.int64)
    return np.where(x > p // 2, p - x, x)


def concentration(x: h.Vector, p: int, width: int) -> float:
    """The largest probability of ⟨z, x⟩ mod p in an interval of `width` numbers."""
    k = np.arange(p)
    values, counts = np.unique(x, return_counts=True)
    transform = np.ones(p)
    for v, n in zip(values.tolist(), counts.tolist(), strict=True):
        transform *= np.cos(np.pi * (k * v % p) / p) ** (2 * n)
    chances = np.fft.ifft(transform).real
    sums = np.cumsum(np.concatenate([chances, chances[:width]]))
    return float((sums[width:] - sums[:-width]).max())


@pytest.mark.promise("P81")
@pytest.mark.guards("how often a false vector passes is bounded")
def test_a_search_finds_no_shape_that_passes_more_often() -> None:
    """Two to six coordinates near fractions of p, multiples of w and of √p, climbing from the best."""
    best, x = search(W, tries=300)
    assert 0.25 < best <= passes(Field64, W)
    assert sum(v * v for v in x) >= P
