"""The noise on the sum has the standard deviation that the plan says, whoever draws it and whoever drops out.

    σₖ = z·Cₖ / √sₖ,   Σ sₖ = 1,   so that Σ (Cₖ/σₖ)² = 1/z²

Cₖ is what one client can change in block k of the sum. Each test draws N numbers of a block; the standard deviation of
N normal draws is within 5/√(2N) of σ, relatively, in all but one of 10⁶ cases.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hansa import (
    AdaptiveClip,
    Clip,
    Everyone,
    FedNova,
    GaussianNoise,
    Plan,
    Quantize,
    Scaffold,
    Softmax,
    Training,
    Weigh,
)
from hansa.messages import SessionId
from hansa.plan.server import decoder
from hansa.privacy import planned_privacy
from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.rand import Key
from hansa.sums import Total
from hansa.transforms import Pipe, Transform
from hansa.transforms.curves import Gaussian
from hansa.transforms.noise import SIDE_SHARE, shares

KEY = Key.of(0)  # a secret that repeats

MODEL = Softmax(49, 4)  # 200 numbers
ROUNDS = 40
UPDATE, SIDE = 1 - SIDE_SHARE, SIDE_SHARE


def plan(noise: GaussianNoise, *after: Transform, clip: Any = None, weigh: Any = None, **more: Any) -> Plan:
    pipe = (clip or Clip(2.0, side=5.0), weigh or Weigh("one"), noise, *after)
    return Plan(MODEL, pipe=pipe, sample=Everyone(quorum=noise.least), **more)


def before_weigh(p: Plan) -> int:
    return next(i for i, transform in enumerate(p.pipe) if isinstance(transform, Weigh))


def noisy_sums(p: Plan, n: int) -> tuple[Any, Any]:
    """[ROUNDS, size] noise on the sum of n encoded vectors, as it enters Weigh.decode; and the spec of that sum.

    Everything after Weigh is applied to vectors that are zero, so that what is left is noise and rounding.
    """
    first = before_weigh(p) + 1
    spec = p.pipeline.specs[first]
    pipe = Pipe(p.pipe[first:], p.pipeline.specs[first:])
    sums = []
    for round in range(ROUNDS):
        total = Total()
        for i in range(n):
            at = p.context(round, SessionId(number=round), f"client-{i}", memo=pipe.start(), secret=KEY)
            total.add(pipe.encode(np.zeros(spec.size), at)[0])
        value = total.value()
        assert value is not None
        sums.append(
            pipe.decode(value, p.context(round, SessionId(number=round), n=n, memo=pipe.start(), secret=KEY))[0]
        )
    return np.array(sums), spec


def close(draws: Any, sigma: float) -> bool:
    return bool(abs(draws.std() / sigma - 1) < 5 / math.sqrt(2 * draws.size)) and bool(
        abs(draws.mean()) < 5 * sigma / math.sqrt(draws.size)
    )


WHO = [  # by, least, clients → standard deviation of the sum over z·C/√s
    (GaussianNoise(1.5), 1, 1.0),
    (GaussianNoise(1.5), 12, 1.0),
    (GaussianNoise(1.5, by="all", least=10), 10, 1.0),
    (GaussianNoise(1.5, by="all", least=10), 20, math.sqrt(2.0)),  # more than needed came: more noise, not less
    (GaussianNoise(1.5, by="each"), 1, 1.0),
    (GaussianNoise(1.5, by="each"), 16, 4.0),
]


@pytest.mark.promise("P27")
@pytest.mark.parametrize("noise, n, times", WHO, ids=lambda value: str(value))
def test_standard_deviation_of_the_sum(noise: GaussianNoise, n: int, times: float) -> None:
    """delta is clipped to 2, loss to 5; delta alone has 95 % of the privacy, the one side value 5 %."""
    sums, spec = noisy_sums(plan(noise), n)
    assert dict(spec.blocks) == {"delta": 200, "loss": 1}
    assert close(sums[:, :200], times * 1.5 * 2.0 / math.sqrt(UPDATE))
    assert close(sums[:, 200:], times * 1.5 * 5.0 / math.sqrt(SIDE))


@pytest.mark.promise("P35")
@pytest.mark.parametrize("noise, n, times", WHO, ids=lambda value: str(value))
def test_weights_multiply_it_by_their_cap(noise: GaussianNoise, n: int, times: float) -> None:
    """A client of 8 examples or more changes the sum by 8·2 in delta, by 8·5 in loss, by 8 in weight."""
    sums, spec = noisy_sums(plan(noise, weigh=Weigh("examples", cap=8)), n)
    assert dict(spec.blocks) == {"delta": 200, "loss": 1, "weight": 1}
    assert close(sums[:, :200], times * 1.5 * 16.0 / math.sqrt(UPDATE))
    assert close(sums[:, 200:201], times * 1.5 * 40.0 / math.sqrt(SIDE / 2))
    assert close(sums[:, 201:], times * 1.5 * 8.0 / math.sqrt(SIDE / 2))


@pytest.mark.promise("P27", "P62")
@pytest.mark.parametrize("noise, n, times", WHO, ids=lambda value: str(value))
@pytest.mark.parametrize("bits", [8, 24])
def test_rounding_afterwards_is_covered(noise: GaussianNoise, n: int, times: float, bits: int) -> None:
    """The noise is z·Δ/√s, and Δ is what rounding lets one client change; rounding adds its own."""
    p = plan(noise, Quantize(bits))
    sums, spec = noisy_sums(p, n)
    reach = p.pipeline.specs[-1].noise.reach
    for name, C in (("delta", 2.0), ("loss", 5.0)):
        d = spec.blocks[name]
        step = (C + reach.get(name, 0.0)) / (2.0 ** (bits - 1) - 1)
        longest = C + math.sqrt(d) * step
        if noise.by == "server":
            longest = min(longest, math.sqrt(C**2 + d / 4 * step**2 + step * (C + math.sqrt(d) / 2 * step)))
        sigma = times * 1.5 * longest / math.sqrt(UPDATE if name == "delta" else SIDE)
        draws = sums[:, spec.slice(name)]
        if noise.by == "server":  # zeros round to zero, without noise of their own
            assert close(draws, sigma)
        else:  # each client's rounding adds p(1−p)·step², ¼ at most
            low, high = sigma, math.sqrt(sigma**2 + n * step**2 / 4)
            slack = 5 / math.sqrt(2 * draws.size)
            assert low * (1 - slack) < draws.std() < high * (1 + slack)


@pytest.mark.promise("P28")
def test_dropouts_leave_the_noise_whole_down_to_least() -> None:
    """Shares are sized for `least` clients: with exactly as many σ is whole, and a plan wants as many."""
    noise = GaussianNoise(1.0, by="all", least=5)
    p = plan(noise)
    stds = [noisy_sums(p, n)[0][:, :200].std() for n in (5, 8, 20)]
    whole = 2.0 / math.sqrt(UPDATE)
    for std, n in zip(stds, (5, 8, 20), strict=True):
        assert std == pytest.approx(whole * math.sqrt(n / 5), rel=0.04) and std > 0.96 * whole
    assert p.sample.quorum == 5


def test_noise_after_adaptive_clip_grows_with_the_clip() -> None:
    """On the wire the bound is 1; decode multiplies by C, and the noise with it."""
    for C in (0.1, 10.0):
        p = plan(GaussianNoise(0.5), clip=AdaptiveClip(first=C, side=5.0))
        zero = np.zeros(p.pipeline.specs[-1].size)
        out = [
            decoder(p, p.context(r, SessionId(number=r), memo=p.pipeline.start(), secret=KEY))(zero, 4)[0][:200]
            for r in range(ROUNDS)
        ]
        assert close(np.array(out), C * 0.5 * 1.0 / math.sqrt(UPDATE) / 4)


@pytest.mark.parametrize("by, least", [("server", 1), ("all", 8), ("each", 1)])
def test_the_bit_of_adaptive_clip_is_noised_and_counted(by: Any, least: int) -> None:
    """z_Δ = (z⁻² − (2σ_b)⁻²)^(−1/2): of noise z in all, what is left for the update (Andrew et al. 2021, Thm 1)."""
    z, n = 1.2, 8
    p = plan(GaussianNoise(z, by=by, least=least), clip=AdaptiveClip(), training=Training(report=False), rounds=25)
    sums, spec = noisy_sums(p, n)
    assert dict(spec.blocks) == {"delta": 200, "under": 1} and p.encoded_spec.bounds == {"delta": 1.0, "under": 0.5}
    all_at_once = math.sqrt(n) if by == "each" else 1.0
    z_update = z / math.sqrt(UPDATE)
    sigma_bit = 0.5 * z / math.sqrt(SIDE)
    assert close(sums[:, :200], all_at_once * z_update) and close(sums[:, 200:], all_at_once * sigma_bit)
    assert z_update == pytest.approx((z**-2 - (2 * sigma_bit) ** -2) ** -0.5)
    one_by_one = Ledger().plus(Release(Gaussian(z_update)), p.rounds).plus(Release(Gaussian(2 * sigma_bit)), p.rounds)
    assert planned_privacy(p).epsilon(1e-6) == pytest.approx(one_by_one.epsilon(1e-6) or 0.0, abs=1e-9)


def test_what_adaptive_clip_learns_it_learns_from_the_noisy_bit() -> None:
    """Nobody is below, all are, … : whatever the bits, the clip moves with the noise on their sum."""
    p = plan(GaussianNoise(1.0), clip=AdaptiveClip(0.5, rate=0.2), training=Training(report=False))
    total, n, shares_seen = np.zeros(p.encoded_spec.size), 200, []
    for r in range(400):
        _, memo = decoder(p, p.context(r, SessionId(number=r), memo=p.pipeline.start(), secret=KEY))(total, n)
        shares_seen.append(0.5 - math.log(memo[0]) / 0.2)
    assert close(np.array(shares_seen) - 0.5, 0.5 * 1.0 / math.sqrt(SIDE) / n)


# ── the sensitivity ──────────────────────────────────────────────────────────────────────────────────────────────────

PLANS: dict[str, Plan] = {
    "one block": plan(GaussianNoise(0.8), training=Training(report=False)),
    "with a loss": plan(GaussianNoise(0.8)),
    "weighed": plan(GaussianNoise(0.8), weigh=Weigh("examples", cap=32)),
    "rounded": plan(GaussianNoise(0.8), Quantize(6), weigh=Weigh("examples", cap=32)),
    "two blocks": plan(GaussianNoise(0.8), algorithm=Scaffold()),
    "steps": plan(GaussianNoise(0.8), algorithm=FedNova(most=50)),
    "adaptive": plan(GaussianNoise(0.8), clip=AdaptiveClip(side=3.0)),
    "held out": plan(GaussianNoise(0.8), training=Training(validation=0.2)),
    "in shares": plan(GaussianNoise(0.8, by="all", least=7), Quantize(20)),
}


@pytest.mark.promise("P27")
@pytest.mark.parametrize("p", PLANS.values(), ids=PLANS)
def test_all_blocks_together_spend_what_z_says(p: Plan) -> None:
    """Σ (Cₖ/σₖ)² = 1/z², with σ measured and C from the bounds on the wire; so the whole is one Gaussian mechanism."""
    noise = next(transform for transform in p.pipe if isinstance(transform, GaussianNoise))
    spec, C = p.pipeline.specs[p.pipe.index(noise)], p.encoded_spec.bounds
    s = shares(spec)
    assert sum(s.values()) == pytest.approx(1.0) and s.keys() == spec.blocks.keys() == C.keys()
    sigma = {name: noise.noise * C[name] / math.sqrt(s[name]) for name in s}
    assert sum((C[name] / sigma[name]) ** 2 for name in s) == pytest.approx(1 / noise.noise**2)
    sums, entering = noisy_sums(p, noise.least)
    for name in spec.blocks:
        draws = sums[:, entering.slice(name)]
        rounding = math.sqrt(noise.least) * C[name] / 2**19 if noise.by == "all" else 0.0
        assert abs(draws.std() - sigma[name]) < 5 / math.sqrt(2 * draws.size) * sigma[name] + rounding


@pytest.mark.promise("P2")
@pytest.mark.parametrize("p", PLANS.values(), ids=PLANS)
def test_no_client_changes_more_than_the_noise_is_sized_for(p: Plan) -> None:
    """Whatever a client says, its encoded vector is within the bounds on the wire, block by block."""
    rng, stages = np.random.default_rng(0), p.pipeline
    quiet = [i for i, transform in enumerate(p.pipe) if not isinstance(transform, GaussianNoise)]
    pipe = Pipe(tuple(p.pipe[i] for i in quiet), (*(stages.specs[i] for i in quiet), p.encoded_spec))
    for scale in (1e-3, 1.0, 1e3):
        for i in range(20):
            v = scale * rng.standard_cauchy(p.spec.size)
            for name in set(p.spec.side) & set(
                p.algorithm.side()
            ):  # an algorithm keeps the bounds of its own side values
                v[p.spec.slice(name)] = p.spec.bounds[name]
            if p.training.validation:
                v[p.spec.slice("val_accuracy")] = 1.0
            at = p.context(0, SessionId(number=i), "anna", examples=1000, memo=pipe.start(), secret=KEY)
            reply = pipe.encode(v, at)[0]
            if p.encoded_spec.space == "integer":
                reply = pipe.transforms[-1].decode(reply, at_of(pipe, at))
            for name, part in p.encoded_spec.unpack(reply).items():
                assert np.linalg.norm(part) <= p.encoded_spec.bounds[name] * (1 + 1e-9), name


def at_of(pipe: Pipe, at: Any) -> Any:
    """The context of the last transform."""
    return pipe._at(len(pipe.transforms) - 1, at)


def test_equal_contexts_draw_equal_noise_and_others_draw_another() -> None:
    p = plan(GaussianNoise(1.0, by="each"))
    zero, memo = np.zeros(p.spec.size), p.pipeline.start()

    def draw(round: int, who: str) -> Any:
        at = p.context(round, SessionId(number=round), who, memo=memo, secret=KEY)
        return p.pipeline.encode(zero, at)[0]

    np.testing.assert_array_equal(draw(0, "anna"), draw(0, "anna"))
    draws = np.stack([draw(0, "anna"), draw(0, "bert"), draw(1, "anna")])[:, :200]
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.3
