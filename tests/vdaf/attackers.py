"""Clients that prove what is false, as well as it can be done: their proofs are right, for claims that are not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hansa.crypto.field import Elements
from hansa.crypto.pine import Pine


class Attacker(Pine):
    """Sends any integers, and claims about their norm and their dots what it likes; the proofs are of its claims."""

    def _encode(self, measurement: Any) -> Elements:
        x = [int(v) for v in measurement]
        v = sum(i * i for i in x) % self.field.p
        return np.concatenate([self.field.array(x), self.norm_claim(v)])

    def norm_claim(self, v: int) -> Elements:
        n = 2**self.encoding.norm_bits
        return self.encoding.bits([v % n, (self.bound**2 - v) % n], self.encoding.norm_bits)

    def _claim(self, dots: Elements) -> Elements:
        e, p = self.encoding, self.field.p
        shifted = [(dot + e.range - 1) % p for dot in dots.tolist()]
        return e.bits([self.dot_claim(v, v < 2 * e.range) for v in shifted], e.dot_bits + 1)

    def dot_claim(self, v: int, holds: bool) -> int:
        return v | 1 << self.encoding.dot_bits if holds else 0


def squares(n: int) -> list[int]:
    """Four whole numbers whose squares add up to n."""
    draw = np.random.Generator(np.random.PCG64(1))
    while True:
        a, b = (int(math.isqrt(n) * draw.random() * 0.7) for _ in range(2))
        rest = n - a * a - b * b
        for c in range(math.isqrt(rest), math.isqrt(rest) - 50, -1):
            if math.isqrt(rest - c * c) ** 2 == rest - c * c:
                return [a, b, c, math.isqrt(rest - c * c)]
