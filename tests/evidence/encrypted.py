"""A hundred million coefficients at the limits of what is said to fit: none opens to another sum, and no error passes.

    PYTHONPATH=src python -m tests.evidence.encrypted        writes benchmarks/results/encrypted_limits.json

Most clients for three numbers of 16 bits, most bits for three clients, and what lies between; the low byte is cut off,
sums are as large as they can be or random. Beside the largest error: how errors lie within their bound, in twentieths
of it, and their standard deviation over that of η = 21 and of what is cut off.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hansa.crypto.field import Field64
from hansa.crypto.lattice import Key, add, decrypt, product, ready, rows
from hansa.crypto.packing import DEGREE, ETA, Packing, packing
from hansa.spec import word

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from common import save  # noqa: E402

COEFFICIENTS = 10**8  # that are encrypted in each case
CASES = ((16, 218), (16, 100), (16, 10), (54, 3), (49, 100), (45, 1000))
TURN = 40 * DEGREE  # coefficients at a time
BINS = 20


def vectors(way: Packing, turn: int) -> Any:
    """One client's after another's: the largest, the least, or random ones, and all these as they come."""
    most = (2 ** (way.bits - 1) - 1) // way.clients
    draw = np.random.Generator(np.random.PCG64(turn))
    for _ in range(way.clients):
        if turn % 3:
            drawn = np.full(way.size, most if turn % 3 == 1 else -most)
        else:
            drawn = draw.integers(-most, most, way.size, endpoint=True)
        yield (drawn.view(np.uint64) & np.uint64(2**way.bits - 1)).astype(word(way.bits))


def errors(total: Any, s: Any, binding: bytes, way: Packing, sums: Any) -> Any:
    """What is left of a sum without what is in it: Σ e, and what was cut off and rounded."""
    masks = np.concatenate([product(row, ready(s)) for row in rows(binding, way.coefficients)])
    y = Field64.signed(Field64.sub(total, masks[: way.coefficients]))
    places = np.arange(way.each)[:, None] * way.width
    m = (sums.reshape(-1, way.each, DEGREE) << places).sum(axis=1).reshape(-1) << way.shift
    exact = m - (m >> 32)  # m·2⁶⁴⁻ᴷ·p/2⁶⁴, but for less than 1
    return y - exact


def case(bits: int, clients: int) -> dict[str, Any]:
    """All of one case."""
    way = packing(bits, clients, 1)
    way = packing(bits, clients, TURN * way.each)
    wrong = largest = turns = 0
    counts = np.zeros(BINS + 1, np.int64)
    squares = 0.0
    while turns * way.coefficients * clients < COEFFICIENTS or turns < 3:
        total, s = np.zeros(way.coefficients, np.uint64), np.zeros(DEGREE, np.uint64)
        sums = np.zeros(way.size, np.int64)
        binding = turns.to_bytes(32, "little")
        for v in vectors(way, turns):
            key = Key.fresh()
            add(total, key.encrypt(v, binding, way))
            s = Field64.add(s, key.s)
            unused = 64 - bits
            sums += (v.astype(np.int64) << unused) >> unused
        found, error = decrypt(total, s, binding, way)
        wrong += int((found != (sums.view(np.uint64) & np.uint64(2**bits - 1)).astype(found.dtype)).sum())
        largest = max(largest, error)
        left = errors(total, s, binding, way, sums)
        counts += np.bincount((np.abs(left) * BINS // way.error), minlength=BINS + 1)
        squares += float((left.astype(float) ** 2).sum())
        turns += 1
    seen = turns * way.coefficients
    expected = math.sqrt(clients * (ETA / 2 + 2**16 / 12))
    return {
        "bits": bits,
        "clients": clients,
        "each": way.each,
        "width": way.width,
        "encrypted": seen * clients,
        "opened": seen,
        "numbers": seen * way.each,
        "wrong": wrong,
        "bound": way.error,
        "half_step": way.half_step,
        "largest": largest,
        "deviation": math.sqrt(squares / seen) / expected,
        "in_twentieths_of_the_bound": counts.tolist(),
    }


if __name__ == "__main__":
    found = []
    for bits, clients in CASES:
        found.append(case(bits, clients))
        print(found[-1], flush=True)
        assert not found[-1]["wrong"] and found[-1]["largest"] <= found[-1]["bound"]
    save("encrypted_limits", found)
