"""The noise on a sum is what the ledger counts: of every kind, by every hand, weighed, rotated, in few bits.

σ is z·Δ/√s (Laplace: √2·z·√d·Δ/s), times √(n/least) by all n who stayed, √n by each. Clients say zero, and rounding
adds its own ¼ step² for each of them at most.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hansa import (
    Clip,
    DiscreteGaussianNoise,
    GaussianNoise,
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
from hansa.privacy import planned_privacy, spent_privacy
from hansa.rand import Key
from hansa.sums import Total
from hansa.transforms import Pipe
from hansa.transforms.noise import SIDE_SHARE

KEY = Key.of(0)  # a secret that repeats

MODEL = Softmax(63, 4)  # 256 numbers
ASKED, STAYED, ROUNDS = 12, 8, 30
REAL, WHOLE = (GaussianNoise, LaplaceNoise), (SkellamNoise, DiscreteGaussianNoise)
BY: dict[str, dict[str, Any]] = {"server": {}, "all": {"by": "all", "least": 6}, "each": {"by": "each"}}
PIPES: dict[str, Any] = {
    "plain": lambda noise: (noise,),
    "rotated": lambda noise: (Rotate(), noise),
    "rounded": lambda noise: (noise, Quantize(24)),
    "in integers": lambda noise: (Quantize(20), noise),
    "rotated, in integers": lambda noise: (Rotate(), Quantize(18), noise),
    "rotated, in 16 bits": lambda noise: (Rotate(), Quantize(16, of="sum"), noise),
}
CASES = [(kind, name) for kind in REAL for name in ("plain", "rotated", "rounded")]
CASES += [(kind, name) for kind in WHOLE for name in ("in integers", "rotated, in integers", "rotated, in 16 bits")]


def plan(kind: Any, name: str, by: str, weigh: Any) -> Plan:
    pipe = (Clip(2.0), weigh, *PIPES[name](kind(0.9, **BY[by])))
    sample = Uniform(ASKED, quorum=STAYED)
    return Plan(MODEL, pipe=pipe, sample=sample, training=Training(report=False))


@pytest.mark.promise("P27")
@pytest.mark.parametrize("weigh", [Weigh("one"), Weigh("examples", cap=5)], ids=["one", "examples"])
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind, name", CASES, ids=lambda value: getattr(value, "__name__", value))
def test_the_noise_on_the_sum(kind: Any, name: str, by: str, weigh: Any) -> None:
    """Twelve are asked, and four of them drop out."""
    p = plan(kind, name, by, weigh)
    after = Pipe(p.pipe[2:], p.pipeline.specs[2:])
    zero, memo, sums = np.zeros(after.specs[0].size), after.start(), []
    for r in range(ROUNDS):
        total = Total()
        for i in range(STAYED):
            total.add(after.encode(zero, p.context(r, SessionId(number=r), f"c{i}", memo=memo, secret=KEY))[0])
        sums.append(
            after.decode(
                total.value(), p.context(r, SessionId(number=r), n=STAYED, population=50, memo=memo, secret=KEY)
            )[0]
        )
    draws = np.array(sums)[:, :256]
    share, bound = 1.0 if weigh.by == "one" else 1 - SIDE_SHARE, p.encoded_spec.bounds["delta"]
    sigma = 0.9 * bound / math.sqrt(share)
    if kind is LaplaceNoise:
        sigma = math.sqrt(2) * 0.9 * math.sqrt(256) * bound / share
    assert bound == pytest.approx(2.0 * (weigh.cap or 1), rel=0.01)
    hands = {"server": 1.0, "all": STAYED / 6, "each": STAYED}[by]
    rounding = 0.25 * STAYED * p.encoded_spec.noise.step.get("delta", 0.0) ** 2
    slack = (12 if kind is LaplaceNoise else 5) / math.sqrt(2 * draws.size)
    low, high = math.sqrt(hands) * sigma * (1 - slack), math.sqrt(hands * sigma**2 + rounding) * (1 + slack)
    assert low < draws.std() < high
    assert abs(draws.mean()) < 5 * high / math.sqrt(draws.size)
    if kind is not LaplaceNoise:
        assert np.mean((draws / draws.std()) ** 4) == pytest.approx(3.0, abs=5 * math.sqrt(24 / draws.size))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("kind, name", CASES, ids=lambda value: getattr(value, "__name__", value))
def test_the_ledger_counts_those_who_stayed(kind: Any, name: str, by: str) -> None:
    """By all, eight of whom six make the noise whole; a server's sample is amplified for Gaussian noise alone."""
    p = plan(kind, name, by, Weigh("one"))
    start = p.start()
    state = type(start)(
        1,
        start.x,
        start.memo,
        participants=tuple(f"c{i}" for i in range(STAYED)),
        excluded={f"c{i}": "late" for i in range(8, 12)},
    )
    found, wanted = (ledger.epsilon(1e-6) for ledger in (spent_privacy(p, [state], 500), planned_privacy(p, 500, 1)))
    if (name, by) == ("rounded", "all"):  # each rounds its own share of real noise, and no bound is known for that
        assert found is None and wanted is None and "SkellamNoise" in planned_privacy(p, 500).guarantee(1e-6).why
        return
    assert found is not None and wanted is not None
    if (kind, by) == (GaussianNoise, "all"):
        assert found < wanted  # two more shares than were needed
    else:
        assert found == pytest.approx(wanted)


def test_draws_of_gaussian_noise_are_independent() -> None:
    p = plan(GaussianNoise, "plain", "each", Weigh("one"))
    zero = np.zeros(p.spec.size)

    def said(r: int, who: str) -> Any:
        at = p.context(r, SessionId(number=r), who, memo=p.pipeline.start(), secret=KEY)
        return p.pipeline.encode(zero, at)[0]

    np.testing.assert_array_equal(said(0, "anna"), said(0, "anna"))
    for draws in (np.stack([said(0, f"c{i}") for i in range(60)]), np.stack([said(r, "anna") for r in range(60)])):
        assert np.mean((draws / draws.std()) ** 4) == pytest.approx(3.0, abs=5 * math.sqrt(24 / draws.size))
        for matrix in (draws, draws[:, :60].T, draws**2):
            apart = np.corrcoef(matrix)[np.triu_indices(len(matrix), 1)]
            assert np.abs(apart).max() < 6 / math.sqrt(matrix.shape[1])
            assert abs(apart.mean()) < 5 / math.sqrt(len(apart) * matrix.shape[1])
