"""Rotations that lengths and sums survive, rounding that never lengthens more than it says, and sums of few bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hansa import (
    Client,
    Clip,
    DiscreteGaussianNoise,
    Everyone,
    GaussianNoise,
    InProcess,
    Key,
    Plan,
    Poisson,
    Quantize,
    Rotate,
    SkellamNoise,
    Softmax,
    Training,
    Uniform,
    VerifiedSum,
    Weigh,
    synchronous,
)
from hansa.errors import DataError, PlanError, RoundError
from hansa.messages import SessionId
from hansa.plan.server import decoder
from hansa.privacy import planned_privacy
from hansa.spec import Spec
from hansa.sums import Total
from hansa.transforms import Context, Pipe
from hansa.transforms.compress import _longest, _room
from hansa.transforms.rotate import hadamard

KEY = Key.of(0)  # a secret that repeats

QUIET = Training(report=False)
MODEL = Softmax(249, 4)  # 1000 numbers, padded to 1024
BARE = Plan(MODEL).context(0, SessionId(), secret=KEY)


def plan(*pipe: Any, **more: Any) -> Plan:
    return Plan(MODEL, pipe=pipe, **{"training": QUIET, **more})


def at(p: Plan, round: int, who: str | None = None, n: int = 1) -> Context:
    return p.context(round, SessionId(number=round), who, n=n, population=n, memo=p.pipeline.start(), secret=KEY)


# ── Rotate ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("m", range(11))
def test_it_is_the_matrix_of_hadamard(m: int) -> None:
    """Hᵢⱼ = (−1)^(bits that i and j share) / √d: symmetric, orthonormal, its own inverse."""
    d = 2**m
    signs = np.array([[(-1) ** (i & j).bit_count() for j in range(d)] for i in range(d)])
    np.testing.assert_allclose(hadamard(np.eye(d)), signs / math.sqrt(d), atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 1024, 2**17])
def test_it_is_orthonormal_and_its_own_inverse(d: int) -> None:
    V = Key.of(1).normal((3, d))
    x = hadamard(V)
    np.testing.assert_allclose(x @ x.T, V @ V.T, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(hadamard(x), V, atol=1e-13)
    np.testing.assert_array_equal(np.stack([hadamard(v) for v in V]), x)  # one by one as all together


def test_all_parties_of_a_session_turn_alike_and_another_session_otherwise() -> None:
    p = plan(Clip(1.0), Rotate(), Weigh("one"))
    v = Key.of(2).normal((p.spec.size,))
    v /= np.linalg.norm(v)
    anna, bert, later = (p.pipeline.encode(v, at(p, r, who))[0] for r, who in ((0, "anna"), (0, "bert"), (1, "anna")))
    np.testing.assert_array_equal(anna, bert)
    assert anna.shape == (1024,) and abs(float(anna @ later)) < 0.2
    assert np.linalg.norm(anna) == pytest.approx(1.0)
    np.testing.assert_allclose(decoder(p, at(p, 0, n=2))(anna + bert, 2)[0], v, atol=1e-14)


def test_what_stands_in_one_number_is_spread_over_all() -> None:
    p = plan(Clip(1.0), Rotate(), Weigh("one"))
    v = np.zeros(p.spec.size)
    v[17] = 1.0
    np.testing.assert_allclose(np.abs(p.pipeline.encode(v, at(p, 0, "anna"))[0]), 1 / 32)
    rough = np.where(np.arange(1000) % 2, 1.0, -1.0) / math.sqrt(1000)
    spread = p.pipeline.encode(rough, at(p, 0, "anna"))[0]
    assert np.abs(spread).max() < 6 / 32 and np.mean((spread * 32) ** 4) == pytest.approx(3.0, abs=0.8)


# ── conditional rounding ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P45")
@pytest.mark.guards("a rounded block keeps its norm")
@pytest.mark.parametrize("kind", ["halves", "anything", "one number", "the bound in every number"])
def test_rounding_never_passes_its_bound(kind: str) -> None:
    """10⁵ trials at full length, where plain rounding passes the bound now and then."""
    rng, d, bits = np.random.default_rng(3), 16, 4
    spec = Spec({"delta": d}, {"delta": 1.0})
    q = Quantize(bits)
    step = 1.0 / (2 ** (bits - 1) - 1)
    v = {
        "halves": np.full(d, 1.5 * step),
        "anything": rng.normal(size=d),
        "one number": np.eye(d)[3] * 0.999,
        "the bound in every number": np.full(d, 1 / math.sqrt(d)),
    }[kind]
    v *= min(1.0, 1 / float(np.linalg.norm(v)))
    V = np.tile(v, (100_000, 1))
    out = q.plan(spec)
    reply = q.encode(V, replace(BARE, key=Key.of(4), spec=spec)).view(np.int64) * step
    assert np.linalg.norm(reply, axis=1).max() <= out.bounds["delta"] * (1 + 1e-12)
    assert out.bounds["delta"] < 1.0 + math.sqrt(d) * step
    assert np.abs(reply - v).max() <= step * (1 + 1e-9)
    plain = np.linalg.norm(np.floor(V / step + rng.random(V.shape)) * step, axis=1)
    passes = np.mean(plain > out.bounds["delta"] * (1 + 1e-12))
    assert passes < 1 - math.exp(-0.5)
    if kind in ("anything", "the bound in every number"):
        assert passes > 0  # so a second rounding was needed
    bias = float(np.linalg.norm(reply.mean(0) - v))
    assert bias < step + 5 * step * math.sqrt(d / len(V))


@pytest.mark.guards("a rounded block keeps its norm")
def test_what_is_longer_than_its_bound_is_no_vector_of_the_plan() -> None:
    q, spec = Quantize(16), Spec({"delta": 100}, {"delta": 1.0})
    with pytest.raises(DataError, match="longer than 1"):
        q.encode(np.full(100, 0.2), replace(BARE, spec=spec, who="anna"))


def test_noise_by_clients_is_not_rounded_anew() -> None:
    """It lengthens a vector as it likes; the bound grows by √d·γ instead."""
    p = plan(Clip(1.0), Weigh("one"), GaussianNoise(1.0, by="each"), Quantize(20))
    step = p.encoded_spec.noise.step["delta"]
    assert p.encoded_spec.bounds["delta"] == pytest.approx(1.0 + math.sqrt(1000) * step)
    reply = p.pipeline.encode(np.zeros(p.spec.size), at(p, 0, "anna"))[0].view(np.int64) * step
    assert np.linalg.norm(reply) > 20 * p.encoded_spec.bounds["delta"]


# ── sums of few bits ─────────────────────────────────────────────────────────────────────────────────────────────────

KINDS = (SkellamNoise, DiscreteGaussianNoise)
ROTATED = (Clip(1.0), Weigh("one"), Rotate())


def test_sixteen_bits_hardly_lengthen_a_vector() -> None:
    """Δ/C ≤ 1.005 for n ≤ 1000 clients, 10⁴ … 10⁷ numbers and z ≥ ½, as long as n² + z²d < 2.5·10⁶."""
    held = 0
    for n in (1, 10, 100, 1000):
        for d in (10**4, 10**5, 10**6, 10**7):
            for z in (0.5, 1.0, 2.0, 4.0):
                grown = _longest(1.0, d, _room(1.0, d, 0.0, z, n, 16, True))
                assert (grown <= 1.005) or n**2 + z**2 * d > 2.5e6
                held += grown <= 1.005
    assert held > 41
    assert _longest(1.0, 10**6, _room(1.0, 10**6, 0.0, 0.5, 100, 12, True)) > 1.01  # twelve do


def test_the_step_solves_its_equation() -> None:
    """2^(b−1)·γ = 4 √(C²n²/d + nγ²/4 + σ²), with σ = z·Δ(γ)."""
    n, d, z, C = 200, 4096, 1.5, 2.0
    step = _room(C, d, 0.0, z, n, 14, True)
    sigma = z * _longest(C, d, step)
    assert (2**13 - 1) * step == pytest.approx(4 * math.sqrt((C * n) ** 2 / d + n * step**2 / 4 + sigma**2), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", [{}, {"by": "all", "least": 10}, {"by": "all", "least": 40}, {"by": "each"}])
def test_forty_clients_who_say_the_same_fit_into_sixteen_bits(kind: Any, who: dict[str, Any]) -> None:
    """The hardest sum, at full length: it comes back with rounding and noise on it, and next to nothing wraps."""
    n, rounds = 40, 6
    p = plan(*ROTATED, Quantize(16, of="sum"), kind(1.0, **who), sample=Uniform(n, quorum=n))
    v = Key.of(6).normal((p.spec.size,))
    v /= np.linalg.norm(v)
    step, sigma = p.encoded_spec.noise.step["delta"], p.encoded_spec.noise.parts[0][2]
    hands = {"all": n / who.get("least", 1), "each": n}.get(who.get("by", ""), 1)
    errors = []
    for r in range(rounds):
        total = Total()
        for i in range(n):
            reply = p.pipeline.encode(v, at(p, r, f"c{i}"))[0]
            assert reply.dtype == np.uint16
            total.add(reply)
        errors.append(decoder(p, at(p, r, n=n))(total.value(), n)[0] * n - n * v)
    errors = np.array(errors)
    wanted = step * math.sqrt(hands * sigma**2 + n / 6)
    wrapped = np.abs(errors) > 2**15 * step
    assert np.mean(wrapped) <= 1e-3
    assert errors[~wrapped].std() == pytest.approx(wanted, rel=0.06)


def test_without_rotation_it_holds_for_certain() -> None:
    """n clients, all with their whole length in one number, of either sign, and not one bit is lost."""
    for n, bits in ((3, 6), (50, 10), (1000, 16)):
        spec = Spec({"delta": 5}, {"delta": 2.0})
        pipe = Pipe.of((Quantize(bits, of="sum", clients=n),), spec)
        for sign in (1.0, -1.0):
            v, total, here = sign * 2.0 * np.eye(5)[2], Total(), replace(BARE, n=n, memo=pipe.start())
            for i in range(n):
                total.add(pipe.encode(v, replace(here, key=Key.of(7).child(i)))[0])
            back, _ = pipe.decode(total.value(), here)
            step = pipe.specs[-1].noise.step["delta"]
            assert abs(back[2] - n * v[2]) <= n * step and np.abs(back[[0, 1, 3, 4]]).max() == 0


def test_more_clients_than_there_is_room_for_make_no_sum() -> None:
    pipe = Pipe.of((Quantize(8, of="sum", clients=4),), Spec({"delta": 3}, {"delta": 1.0}))
    here = replace(BARE, n=5, memo=pipe.start())
    with pytest.raises(RoundError, match="4 of them"):
        pipe.decode(np.zeros(3, np.uint64), here)
    pipe.decode(np.zeros(3, np.uint64), replace(here, n=4))


@pytest.mark.parametrize("kind", KINDS)
def test_the_ledger_knows_of_all_of_it(kind: Any) -> None:
    """ε is that of the same z without rounding, but for the little that numbers in whole steps cost."""
    real = plan(Clip(1.0), Weigh("one"), GaussianNoise(3.0))
    p = plan(*ROTATED, Quantize(16, of="sum"), kind(3.0, by="all", least=30), sample=Uniform(40, quorum=30))
    size, bound, sigma = p.encoded_spec.noise.parts[0]
    assert size == 1024 and sigma == pytest.approx(3.0 * bound)
    assert bound * p.encoded_spec.noise.step["delta"] == pytest.approx(p.encoded_spec.bounds["delta"])
    assert bound == pytest.approx(
        _longest(1.0, 1024, p.encoded_spec.noise.step["delta"]) / p.encoded_spec.noise.step["delta"]
    )
    found, ideal = planned_privacy(p).epsilon(1e-6), planned_privacy(real).epsilon(1e-6)
    assert found is not None and ideal is not None and 0.995 * ideal < found < 1.02 * ideal


@pytest.mark.parametrize("noise", [(), (SkellamNoise(0.5, by="all", least=10),)], ids=["quiet", "noisy"])
def test_a_federation_learns_with_it(noise: Any) -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=4)
    data = {f"c{i}": (X, (X @ w > 0).astype(int)) for i, X in enumerate(rng.normal(size=(20, 30, 4)))}
    pipe = (Clip(1.0), Weigh("examples", cap=30), Rotate(), Quantize(16, of="sum"), *noise)
    p = Plan(
        Softmax(4, 2), pipe=pipe, sample=Uniform(20, quorum=10), training=Training(learning_rate=1.0, report=False)
    )
    *_, last = synchronous(p, InProcess([Client(who, p, own) for who, own in data.items()]))
    X = rng.normal(size=(500, 4))
    assert p.model.score(last.x, (X, (X @ w > 0).astype(int)))["accuracy"] > 0.8 and not last.skipped


WRONG: dict[str, Callable[[], Any]] = {
    "Rotate after Quantize": lambda: plan(Clip(1.0), Weigh("one"), Quantize(16), Rotate()),
    "two Rotates": lambda: plan(Clip(1.0), Weigh("one"), Rotate(), Rotate()),
    "a sum of nobody knows how many": lambda: plan(*ROTATED, Quantize(16, of="sum")),
    "a Poisson sample of nobody knows how many": lambda: plan(*ROTATED, Quantize(16, of="sum"), sample=Poisson(0.1)),
    "room for fewer than are sampled": lambda: plan(*ROTATED, Quantize(16, of="sum", clients=9), sample=Uniform(10)),
    "room in bits of a vector": lambda: plan(*ROTATED, Quantize(16, clients=9)),
    "bits of nothing": lambda: plan(*ROTATED, Quantize(16, of="round")),  # type: ignore[arg-type]
    "half a client": lambda: plan(*ROTATED, Quantize(16, of="sum", clients=2.5)),  # type: ignore[arg-type]
    "no room": lambda: plan(Clip(1.0), Weigh("one"), Quantize(8, of="sum"), sample=Uniform(1000)),
    "no room for noise": lambda: plan(*ROTATED, Quantize(3, of="sum"), SkellamNoise(5.0), sample=Uniform(10)),
    "a proof of norms that have wrapped around": lambda: plan(
        *ROTATED, Quantize(16, of="sum"), aggregator=VerifiedSum(), sample=Uniform(10, quorum=2)
    ),
    "integer noise before Rotate": lambda: plan(Clip(1.0), Weigh("one"), SkellamNoise(1.0), Rotate(), Quantize(16)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_plans_fail_when_they_are_built(wrong: Callable[[], Any]) -> None:
    with pytest.raises(PlanError) as caught:
        wrong()
    assert caught.value.found and caught.value.why and caught.value.instead


def test_room_for_clients_whose_number_the_plan_does_not_say() -> None:
    for sample in (Everyone(), Poisson(0.5)):
        assert plan(*ROTATED, Quantize(16, of="sum", clients=50), sample=sample).encoded_spec.sum_facts.modulus == 16
    assert plan(*ROTATED, Quantize(16)).encoded_spec.sum_facts.modulus == 64


@pytest.mark.parametrize("bits, word", [(16, np.uint16), (17, np.uint32), (32, np.uint32), (33, np.uint64)])
def test_integers_travel_in_the_narrowest_words_that_hold_them(bits: int, word: type) -> None:
    p = plan(*ROTATED, Quantize(bits, of="sum", clients=50))
    v = Key.of(1).normal((p.spec.size,))
    reply = p.pipeline.encode(v, at(p, 0, "c"))[0]
    assert p.encoded_spec.word == reply.dtype == word
    assert p.encoded_spec.fits(reply) and int(reply.max()) < 2**bits
    others = {np.uint16, np.uint32, np.uint64, np.int64, np.float64} - {word}
    assert not any(p.encoded_spec.fits(reply.astype(other)) for other in others)
    assert plan(*ROTATED, Quantize(16)).encoded_spec.word == np.uint64
