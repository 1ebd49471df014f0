"""Provers that cheat at the largest bound: 1,000 reports of each shape of wrapped vector, and how often a check holds.

    PYTHONPATH=src:. python tests/evidence/wraparound.py        writes benchmarks/results/wraparound.json

Every report is made and checked as clients and two aggregators do it; all its proofs are right but for what is false.
`rate` is the measured share of single checks that hold, `proven` what is proven of it. Then a search for shapes that do
better; and, as a control, the draft's own condition, under which such vectors are accepted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
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
CONTROL = 20  # reports
UNPROVEN = replace(PRODUCT.wraparound, proven=False)


def reports() -> Iterator[dict[str, Any]]:
    """One row for each shape, at the largest bound."""
    bound = largest()
    w = width(bound)
    for shape, x in shapes(w).items():
        yield {"what": "reports", "shape": shape, "coordinates": len(x), "bound": bound, "w": w} | {
            "tries": TRIES,
            "accepted": accepted(x, bound, TRIES),
            "checks": CHECKS,
            "rate": measured(x, bound, CHECKS, bytes(32)),
            "proven": passes(Field64, w),
        }
    best, x = search(w, SEARCHED)
    yield {"what": "search", "tries": SEARCHED, "bound": bound, "w": w, "rate": best, "vector": x}


def control() -> Iterator[dict[str, Any]]:
    """Larger bounds, as the draft allows them."""
    for bits in (26, 27, 28, 29, 30, 31):
        bound = 2**bits
        w = UNPROVEN.range(bound)
        for shape in ("one", "spread", "constant", "8 alike"):
            x = shapes(w)[shape]
            yield {"what": "the draft's condition", "shape": shape, "coordinates": len(x), "bound": bound, "w": w} | {
                "tries": CONTROL,
                "accepted": accepted(x, bound, CONTROL, UNPROVEN),
                "checks": CHECKS,
                "rate": measured(x, bound, CHECKS, bytes(32), UNPROVEN),
                "proven": passes(Field64, w),
            }


def main() -> None:
    """Try, print, save."""
    rows = []
    for row in chain(reports(), control()):
        rows.append(row)
        print(row, flush=True)
    save("wraparound", rows)


if __name__ == "__main__":
    main()
