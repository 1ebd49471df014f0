"""Vectors whose sum of squares has wrapped around p: longer than any bound, and short mod p; and how they fare."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tests.vdaf.attackers import Attacker

from hansa.crypto import vdaf
from hansa.crypto.field import Field64
from hansa.crypto.norms import Encoding, Wraparound
from hansa.crypto.pine import PRODUCT, Pine, fitted
from hansa.crypto.xof import XofHmacSha256Aes128
from hansa.errors import PlanError, ProtocolError

P = Field64.p
RANDOM = 300  # coordinates of a vector that is spread


def largest() -> int:
    """The largest bound that hansa's own profile takes, whatever it says of it."""
    low, high = 1, 2**33
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(middle) else (low, middle)
    return low


def takes(bound: int) -> bool:
    """Is it a bound that may be proven?"""
    try:
        fitted(4, bound)
    except PlanError:
        return False
    return True


def width(bound: int) -> int:
    """w of a bound."""
    return fitted(4, bound).encoding.range


# ── shapes ──


def closed(x: Sequence[int]) -> list[int]:
    """x, and one coordinate of at most √p + 1 more, by which Σ xⱼ² mod p is at most 2√p + 1."""
    rest = -sum(v * v for v in x) % P
    return [*x, math.isqrt(max(rest, 1) - 1) + 1]


def scaled(shape: Sequence[float], times: int = 1) -> list[int]:
    """Integers in these proportions, whose squares add up to times·p, all but exactly; the last is small."""
    scale = math.sqrt(times * P / sum(v * v for v in shape))
    return closed([int(scale * v * (1 - 1e-12)) for v in shape])


def filled(v: int) -> list[int]:
    """As many coordinates v as p has room for, one at least."""
    return closed([v] * max(1, P // v**2))


def shapes(w: int) -> dict[str, list[int]]:
    """Vectors that are spread, constant, of few coordinates, of multiples of w, near p/2, and mixed; ‖x‖² ≥ p."""
    draw = np.random.Generator(np.random.PCG64(3))
    normal, uniform, signs = draw.normal(size=RANDOM), draw.uniform(size=RANDOM), draw.choice([-1, 1], RANDOM)
    some = {
        "one": [2**40 - 2**24 - 2**8],  # whose square is 2 mod p
        "spread": scaled(normal.tolist()),
        "spread, four times p": scaled(normal.tolist(), 4),
        "uniform": scaled(uniform.tolist()),
        "constant": scaled([1.0] * RANDOM),
        "constant, of both signs": scaled(signs.tolist()),
        "constant, fifty times p": scaled([1.0] * RANDOM, 50),
        "falling": scaled([1 / (i + 1) for i in range(RANDOM)]),
        "geometric": scaled([0.8**i for i in range(60)]),
        "half of it in one": scaled([RANDOM**0.5, *[1.0] * RANDOM]),
        "half of it in two": scaled([RANDOM**0.5 / 2, RANDOM**0.5 / -2, *uniform.tolist()]),
        "one of 2w, and a constant": closed([2 * w, *(v // 2 for v in scaled([1.0] * RANDOM))]),
        "of w": filled(w),
        "of 3w/2": filled(3 * w // 2),
        "of 2w − 1": filled(2 * w - 1),
        "of 2w": filled(2 * w),
        "of 3w": filled(3 * w),
        "of w, 2w and 3w": closed([w, -2 * w, 3 * w] * max(1, P // (14 * w**2))),
        "of multiples of 2w": closed([2 * w * i for i in range(1, 9)]),
        "near p/2": closed([P // 2]),
        "two near p/2": closed([P // 2, P // 2 - w]),
        "thirds of p": closed([P // 3] * 3),
        "eighths of p": closed([P // 8] * 8),
    }
    return {**some, **{f"{k} alike": scaled([1.0] * k) for k in range(2, 9)}}


# ── how they fare ──


def rate(x: Sequence[int], w: int) -> float:
    """The probability that one check holds, exactly: each zⱼ doubles the ways to a sum twice; for few coordinates."""
    ways = {0: 1}
    for v in x:
        more: dict[int, int] = {}
        for total, n in ways.items():
            for moved, times in ((total, 2), (total + v, 1), (total - v, 1)):
                more[moved % P] = more.get(moved % P, 0) + times * n
        ways = more
    return sum(n for total, n in ways.items() if (total + w - 1) % P < 2 * w) / 4 ** len(x)


def search(w: int, tries: int) -> tuple[float, list[int]]:
    """The largest `rate` of so many vectors of few coordinates, half of them near the best so far; and that vector."""
    draw, best = np.random.Generator(np.random.PCG64(6)), (0.0, [0])
    for i in range(tries):
        x = few(draw, w) if 2 * i < tries else moved(draw, best[1], w)
        best = max(best, (rate(x, w), x))
    return best


def few(draw: np.random.Generator, w: int) -> list[int]:
    """One to five coordinates near fractions of p, w and √p, and one that closes them."""
    scales = [w, 2 * w, math.isqrt(P), P // 2, P // 3, P // 8]
    return closed([scales[draw.integers(6)] // int(draw.integers(1, 5)) for _ in range(draw.integers(1, 6))])


def moved(draw: np.random.Generator, x: list[int], w: int) -> list[int]:
    """One like it."""
    near = [v + int(draw.integers(-w, w + 1)) if draw.random() < 0.5 else v for v in x[:-1]]
    return closed([min(max(v, -(P // 2)), P // 2) for v in near])


def measured(
    x: Sequence[int], bound: int, checks: int, seed: bytes, wraparound: Wraparound = PRODUCT.wraparound
) -> float:
    """The share of so many checks, as clients draw them, that hold."""
    e = Encoding(Field64, len(x), bound, replace(wraparound, checks=checks, successes=1))
    dots = e.dots(Field64.array(x), XofHmacSha256Aes128(seed, b"wrapped"))
    return float(np.mean((dots.astype(object) + e.range - 1) % P < 2 * e.range))


def accepted(x: Sequence[int], bound: int, tries: int, wraparound: Wraparound = PRODUCT.wraparound) -> int:
    """How many of so many reports of x, with right proofs of all that is right, two aggregators accept."""
    profile = replace(PRODUCT, wraparound=wraparound)
    one = Pine(profile, len(x), bound, 0, 128, len(x) // 15 + 1, context=b"task")
    attacker = Attacker(profile, len(x), bound, 0, 128, len(x) // 15 + 1, context=b"task")
    return sum(accepts(one, attacker, list(x)) for _ in range(tries))


def accepts(one: Pine, attacker: Attacker, x: list[int]) -> bool:
    """Do two aggregators take an attacker's report?"""
    key, nonce = secrets.token_bytes(one.verify_key_size), vdaf.nonce()
    public, shares = attacker.shard(x, nonce)  # type: ignore[arg-type]
    reply = [one.prepare(key, who, nonce, public, share) for who, share in enumerate(shares)]
    try:
        message = one.decide([verifier for _, verifier in reply])
    except ProtocolError:
        return False
    for state, _ in reply:
        one.finish(state, message)
    return True
