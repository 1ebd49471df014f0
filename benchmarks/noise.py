"""What a client pays to say its update in few bits with noise on it: processor time for d numbers, on one core.

Each step is timed by itself, the best of several; noise in whole numbers at several standard deviations, in steps.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from common import save

from hansa import (
    Clip,
    DiscreteGaussianNoise,
    GaussianNoise,
    Key,
    LaplaceNoise,
    Plan,
    Quantize,
    Rotate,
    SkellamNoise,
    Softmax,
    Training,
    Uniform,
    Weigh,
)
from hansa.messages import SessionId

SIZE = 10**6
SIGMAS = (0.3, 1.0, 3.0, 30.0, 300.0, 1000.0, 3000.0)
REPEATS = 7


def main() -> None:
    """Time all, and keep it."""
    rows = [*transforms(), *samplers()]
    for row in rows:
        print(row)
    print(save("noise", rows))


def transforms() -> Iterator[dict[str, Any]]:
    """Each step of a pipe, at d = 2²⁰."""
    rounded = (Rotate(), Quantize(16, of="sum"))
    for ends in ((GaussianNoise(1.0, by="each"),), (LaplaceNoise(1.0, by="each"),), rounded):
        pipe = (Clip(1.0), Weigh("one"), *ends)
        model, quiet = Softmax(2**17 - 1, 8), Training(report=False)
        stages = (plan := Plan(model, pipe=pipe, training=quiet, sample=Uniform(100, quorum=50))).pipeline
        at = plan.context(0, SessionId(), "a client", memo=stages.start())
        v = Key.of(0).normal((plan.spec.size,))
        for i, step in enumerate(stages.transforms):
            here, out = stages._at(i, at), stages.transforms[i].encode(v, stages._at(i, at))
            if i >= 2:
                yield {
                    "step": repr(step),
                    "d": len(v),
                    "ms": _best(lambda step=step, v=v, here=here: step.encode(v, here)),
                }
            v = out


def samplers() -> Iterator[dict[str, Any]]:
    """Noise in whole numbers, at d = 10⁶; the first draw of a σ also makes its table."""
    for kind in (SkellamNoise, DiscreteGaussianNoise):
        for sigma in SIGMAS:
            key = Key.of(1)
            began = time.process_time()
            kind(1.0).draw(sigma, 1, key)
            first = 1e3 * (time.process_time() - began)
            ms = _best(lambda kind=kind, sigma=sigma, key=key: kind(1.0).draw(sigma, SIZE, key))
            yield {"step": kind.__name__, "sigma": sigma, "d": SIZE, "ms": ms, "first_ms": round(first, 1)}


def _best(run: Callable[[], Any]) -> float:
    took = []
    for _ in range(REPEATS):
        began = time.process_time()
        np.asarray(run())
        took.append(time.process_time() - began)
    return round(1e3 * min(took), 1)


if __name__ == "__main__":
    main()
