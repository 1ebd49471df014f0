"""Provers that cheat at the largest bound: 1,000 reports of each shape of wrapped vector, and how often a check holds.

    PYTHONPATH=src python tests/evidence/wraparound.py        writes benchmarks/results/wraparound.json

Every report is made and checked as clients and two aggregators do it; all its proofs are right but for what is false.
`rate` is the measured share of single checks that hold, `proven` what is proven of it. Then a search for shapes that do
better; and, as a control, the draft's own condition, under which such vectors are accepted.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")  # in each of several processes

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hansa.crypto.field import Field64
from hansa.crypto.norms import passes
from hansa.crypto.pine import PRODUCT

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from common import save  # noqa: E402
from tests.vdaf.wrapped import accepted, largest, measured, search, shapes, width  # noqa: E402

TRIES, CHECKS, SEARCHED = 1000, 200_000, 20_000
CONTROLS = 20  # reports
UNPROVEN = replace(PRODUCT.wraparound, proven=False)
PROCESSES = 4


def reports(shape: str, bound: int) -> dict[str, Any]:
    """Reports of one shape, at the largest bound."""
    w = width(bound)
    x = shapes(w)[shape]
    return {"what": "reports", "shape": shape, "coordinates": len(x), "bound": bound, "w": w} | {
        "tries": TRIES,
        "accepted": accepted(x, bound, TRIES),
        "checks": CHECKS,
        "rate": measured(x, bound, CHECKS, bytes(32)),
        "proven": passes(Field64, w),
    }


def searched(bound: int) -> dict[str, Any]:
    """What a search finds."""
    best, x = search(width(bound), SEARCHED)
    return {"what": "search", "tries": SEARCHED, "bound": bound, "w": width(bound), "rate": best, "vector": x}


def control(shape: str, bound: int) -> dict[str, Any]:
    """Reports of one shape at a larger bound, as the draft allows it."""
    w = UNPROVEN.range(bound)
    x = shapes(w)[shape]
    return {"what": "control", "shape": shape, "coordinates": len(x), "bound": bound, "w": w} | {
        "tries": CONTROLS,
        "accepted": accepted(x, bound, CONTROLS, UNPROVEN),
        "checks": CHECKS,
        "rate": measured(x, bound, CHECKS, bytes(32), UNPROVEN),
        "proven": passes(Field64, w),
    }


def main() -> None:
    """Try, print, save."""
    bound, rows = largest(), []
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        begun = [pool.submit(searched, bound)]
        begun += [pool.submit(reports, shape, bound) for shape in shapes(width(bound))]
        for bits in range(26, 32):
            begun += [pool.submit(control, shape, 2**bits) for shape in ("one", "spread", "constant", "8 alike")]
        for job in begun:
            rows.append(job.result())
            print(rows[-1], flush=True)
    save("wraparound", rows)


if __name__ == "__main__":
    main()
