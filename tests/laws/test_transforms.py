"""The law of every transform, decode(Σ encode(vᵢ)) = Σ vᵢ, and what each of them adds to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa import AdaptiveClip, Clip, Finite, GaussianNoise, Key, LaplaceNoise, Quantize, Rotate, TopK, Weigh
from hansa.errors import DataError, PlanError, RoundError
from hansa.spec import Noise, Spec
from hansa.testing import check_transform
from hansa.transforms import Context, Pipe, Session, Transform
from hansa.transforms.compress import CHUNK

LOOSE = Spec({"delta": 5, "control": 3}).with_side("loss").with_side("tau", 9.0)
BOUNDED = LOOSE.replace(bounds={"delta": 2.0, "control": 0.25, "loss": 10.0, "tau": 9.0})


def encoded(pipe: Pipe, v: Any, who: str = "a", examples: Any = 1, memo: Any = None) -> Any:
    known = pipe.start() if memo is None else memo
    at = Context(Session(0), Key.of(1).child(who), pipe.specs[0], who, examples, memo=known)
    return pipe.encode(v, at)[0]


def decoded(pipe: Pipe, total: Any, n: int, memo: Any = None) -> tuple[Any, tuple[Any, ...]]:
    known = pipe.start() if memo is None else memo
    return pipe.decode(total, Context(Session(0), Key.of(1).child("server"), pipe.specs[0], n=n, memo=known))


# ── the law ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P48")
@pytest.mark.parametrize(
    "transform",
    [
        Clip(1.0), Clip(0.01), Clip(1e6), Clip(1.0, side=3.0),
        AdaptiveClip(), AdaptiveClip(0.9, first=5.0, rate=1.0), AdaptiveClip(side=2.0),
        Weigh("one"), Weigh("examples"), Weigh("examples", cap=4), Weigh("examples", cap=2.5),
        Finite(),
        Quantize(2), Quantize(8), Quantize(), Quantize(48),
        Quantize(8, of="sum", clients=5), Quantize(16, of="sum", clients=1000), Rotate(),
        GaussianNoise(1.0), GaussianNoise(0.3, by="all", least=5), GaussianNoise(0.1, by="each"),
        LaplaceNoise(1.0), LaplaceNoise(0.3, by="all", least=5), LaplaceNoise(0.1, by="each"),
    ],
    ids=repr,
)  # fmt: skip
def test_every_transform_obeys_the_law(transform: Transform) -> None:
    check_transform(transform)


@pytest.mark.parametrize(
    "transform, spec",
    [
        (Clip(0.5), BOUNDED),
        (AdaptiveClip(first=3.0), BOUNDED),
        (Weigh("one"), BOUNDED),
        (Weigh("examples", cap=7), BOUNDED),
        (Finite(), BOUNDED.replace(weighed=True)),
        (Quantize(12), BOUNDED),
        (Quantize(12), BOUNDED.replace(weighed=True, noise=Noise(1.0, 3, dict.fromkeys(BOUNDED.blocks, 4.0)))),
        (GaussianNoise(2.0), BOUNDED.replace(weighed=True)),
        (Clip(1.0), Spec({"delta": 1})),
        (Quantize(30), Spec({"delta": 1}, {"delta": 1e6})),
        (
            Quantize(12, of="sum", clients=9),
            BOUNDED.replace(kinds={**BOUNDED.kinds, "delta": "spread", "control": "spread"}),
        ),
        (Rotate(), BOUNDED),
        (Rotate(), Spec({"delta": 1})),
        (Rotate(), Spec({"delta": 1000, "control": 64}).with_side("loss")),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_and_does_so_on_other_specs(transform: Transform, spec: Spec) -> None:
    check_transform(transform, spec)


@pytest.mark.parametrize("transform", [TopK(0.01), TopK(0.7), TopK(0.01, True), TopK(0.7, True)], ids=repr)
def test_what_is_left_out_is_an_error_that_is_declared(transform: Transform) -> None:
    """‖v − said‖₂ ≤ ‖v‖₂, which is ½ at most where the law is tried."""
    check_transform(transform, error=0.5)


def test_a_transform_scaled_far_down_obeys_it_for_short_vectors() -> None:
    check_transform(AdaptiveClip(first=0.01), length=0.004)


@given(
    st.lists(st.lists(st.floats(-100, 100), min_size=8, max_size=8), min_size=1, max_size=6),
    st.sampled_from([Weigh("one"), Weigh("examples"), Weigh("examples", cap=3)]),
    st.randoms(use_true_random=False),
)
def test_weights_make_a_weighted_mean(rows: list[list[float]], weigh: Weigh, rng: Any) -> None:
    spec, V = Spec({"delta": 7}).with_side("loss"), np.array(rows)
    pipe, examples = Pipe.of((weigh,), spec), np.array([rng.randint(1, 9) for _ in rows])
    total = sum(encoded(pipe, v, examples=int(m)) for v, m in zip(V, examples, strict=True))
    weights = np.ones(len(V)) if weigh.by == "one" else np.minimum(examples, weigh.cap or np.inf)
    mean, _ = decoded(pipe, total, len(V))
    np.testing.assert_allclose(mean, np.average(V, axis=0, weights=weights), rtol=1e-12, atol=1e-11)


@given(
    st.lists(st.lists(st.floats(-0.5, 0.5), min_size=9, max_size=9), min_size=1, max_size=6),
    st.integers(16, 40),
    st.booleans(),
)
def test_whole_pipes_obey_it_too(rows: list[list[float]], bits: int, adaptive: bool) -> None:
    """Vectors short enough come back as their mean, within one step of the quantiser for each of them."""
    spec, V = (
        LOOSE.replace(blocks={"delta": 5, "control": 3, "loss": 1}, kinds={"loss": "side"}, bounds={}),
        np.array(rows),
    )
    clip = AdaptiveClip(first=2.0, side=1.0) if adaptive else Clip(2.0, side=1.0)
    pipe = Pipe.of((Finite(), clip, Weigh("examples", cap=8), Quantize(bits)), spec)
    total = np.zeros(pipe.specs[-1].size, np.uint64)
    for i, v in enumerate(V):
        total += encoded(pipe, v, str(i), examples=8)
    mean, _ = decoded(pipe, total, len(V))
    step = 2.0 * 8 / (2.0 ** (bits - 1) - 1) / 8
    np.testing.assert_allclose(mean, V.mean(0), atol=3 * step)


# ── what each adds ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P44")
def test_clip_cuts_each_block_by_itself() -> None:
    """‖(3, 4)‖ = 5 becomes 1; ‖(0.3, 0.4)‖ = 0.5 stays; a side value stays too, or is cut to ±side."""
    spec = Spec({"delta": 2, "control": 2}).with_side("loss").with_side("tau", 9.0)
    v = np.array([3.0, 4.0, 0.3, 0.4, -7.0, 8.0])
    np.testing.assert_allclose(encoded(Pipe.of((Clip(1.0),), spec), v), [0.6, 0.8, 0.3, 0.4, -7.0, 8.0])
    np.testing.assert_allclose(encoded(Pipe.of((Clip(1.0, side=5.0),), spec), v), [0.6, 0.8, 0.3, 0.4, -5.0, 8.0])
    np.testing.assert_array_equal(encoded(Pipe.of((Clip(1.0),), spec), np.zeros(6)), np.zeros(6))


@pytest.mark.promise("P44")
def test_adaptive_clip_cuts_the_whole_update_and_tells_one_bit() -> None:
    """C = 2: (3, 4) has norm 5 > 2, is said as v/5 with bit −½, and comes back as 2·v/5; (0.6, 0.8) as v/2 with +½."""
    pipe = Pipe.of((AdaptiveClip(first=2.0),), Spec({"delta": 1, "control": 1}).with_side("loss"))
    np.testing.assert_allclose(encoded(pipe, np.array([3.0, 4.0, 9.0])), [0.6, 0.8, 9.0, -0.5])
    np.testing.assert_allclose(encoded(pipe, np.array([0.6, 0.8, 9.0])), [0.3, 0.4, 9.0, 0.5])
    np.testing.assert_allclose(decoded(pipe, np.array([0.6, 0.8, 9.0, -0.5]), 1)[0], [1.2, 1.6, 9.0])


@pytest.mark.parametrize(
    "bits, share", [([0.5, 0.5, 0.5, 0.5], 1.0), ([0.5, -0.5, -0.5, -0.5], 0.25), ([-0.5] * 4, 0.0)]
)
def test_adaptive_clip_learns_by_the_papers_rule(bits: list[float], share: float) -> None:
    """C ← C · exp(−η (b̄ − γ))   (Andrew et al. 2021, Alg. 1), with C = 3, η = 0.2, γ = 0.5."""
    pipe = Pipe.of((AdaptiveClip(first=3.0), Weigh("one")), Spec({"delta": 2}))
    total = np.array([0.0, 0.0, sum(bits)])
    assert decoded(pipe, total, 4)[1][0] == pytest.approx(3.0 * math.exp(-0.2 * (share - 0.5)), rel=1e-12)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_adaptive_clip_finds_the_quantile(quantile: float) -> None:
    norms = np.linspace(1.0, 2.0, 101)
    pipe = Pipe.of((AdaptiveClip(quantile, first=20.0), Weigh("one")), Spec({"delta": 2}))
    memo = pipe.start()
    for _ in range(200):
        V = encoded(pipe, norms[:, None] * np.array([[0.6, 0.8]]), examples=np.ones(101), memo=memo)
        memo = decoded(pipe, V.sum(0), 101, memo)[1]
    assert memo[0] == pytest.approx(np.quantile(norms, quantile), abs=0.03)


@pytest.mark.promise("P45")
def test_quantize_is_unbiased_and_its_integers_add_up_exactly() -> None:
    pipe = Pipe.of((Quantize(4),), Spec({"delta": 1}, {"delta": 7.0}))
    v = np.full((4000, 1), 2.3)  # 4 bits and a bound of 7: steps of 1, so 2 or 3
    reply = encoded(pipe, v)
    assert set(reply.ravel().tolist()) == {2, 3}
    assert reply.astype(float).mean() == pytest.approx(2.3, abs=5 * math.sqrt(0.21 / 4000))
    minus = encoded(pipe, -v)
    assert decoded(pipe, (reply + minus).sum(0), 8000)[0][0] == reply.sum() + minus.view(np.int64).sum()


@pytest.mark.parametrize("bits", [9, 16, 20, 40])
@pytest.mark.parametrize("key", [Key.of(5), Key.fresh()], ids=["public", "secret"])
def test_a_long_vector_is_rounded_as_it_is_defined(key: Key, bits: int) -> None:
    """⌊v/γ + u⌋ mod 2ᵇ, with one u after another: also where it is worked on in pieces, and blocks end between them."""
    spec = Spec({"delta": 2 * CHUNK + 3, "control": CHUNK, "loss": 1}, {"delta": 2.0, "control": 0.5, "loss": 9.0})
    q = Quantize(bits, of="sum", clients=3)
    at = Context(Session(0), key, spec, "a")
    v = np.random.default_rng(bits).normal(scale=1e-3, size=spec.size)
    step = np.repeat([q._step(spec, name) for name in spec.blocks], list(spec.blocks.values()))
    whole = np.floor(v * (1 / step) + key.uniform(v.shape)).astype(np.int64)
    found = q.encode(v, at)
    assert found.dtype == {9: np.uint16, 16: np.uint16, 20: np.uint32, 40: np.uint64}[bits]
    assert np.array_equal(found, (whole % 2**bits).astype(found.dtype))


@pytest.mark.parametrize("transform", [Finite(), Quantize(8)], ids=repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_client_with_nan_stays_out_by_its_own_words(transform: Transform, bad: float) -> None:
    pipe = Pipe.of((transform,), Spec({"delta": 2}, {"delta": 1.0}))
    with pytest.raises(DataError, match=r"anna.*NaN or infinity"):
        encoded(pipe, np.array([0.1, bad]), "anna")


def test_finite_refuses_a_sum_that_is_not() -> None:
    with pytest.raises(RoundError, match="NaN or infinity"):
        decoded(Pipe.of((Finite(), Weigh("one")), Spec({"delta": 2})), np.array([0.0, math.inf]), 3)


@pytest.mark.parametrize("weight", [0.0, -3.0, math.nan])
def test_weights_that_noise_has_eaten_give_no_mean(weight: float) -> None:
    pipe = Pipe.of((Weigh("examples"),), Spec({"delta": 1}))
    with pytest.raises(RoundError, match="add up to nothing"):
        decoded(pipe, np.array([1.0, weight]), 3)


@pytest.mark.parametrize("weight", [0.0, -3.0, math.nan, 0.9, 5.1])
def test_a_weight_that_no_client_has_makes_no_vector(weight: float) -> None:
    """Of one alone, as a robust rule decodes it; a sum of many may have noise in it that no transform knows of."""
    pipe = Pipe.of((Weigh("examples", cap=5),), Spec({"delta": 1}))
    with pytest.raises(RoundError, match="A client weighs"):
        decoded(pipe, np.array([1.0, weight]), 1)
    for right, n in ((1.0, 1), (5.0, 1), (0.5, 3), (16.0, 3)):
        assert decoded(pipe, np.array([1.0, right]), n)[0] == pytest.approx(1 / right)


def test_noise_is_sized_for_what_comes_after_it() -> None:
    """Rounding lengthens a vector, here to √(C² + step²·d/4 + step·(C + step·√d/2)); noise before must cover it."""
    spec = Spec({"delta": 4}, {"delta": 1.0}, weighed=True)
    fine, coarse = (Pipe.of((GaussianNoise(1.0), Quantize(bits)), spec) for bits in (40, 3))
    draws = [[decoded(p, np.zeros(4, np.uint64), 1)[0] for _ in range(1)] for p in (fine, coarse)]
    ratio = np.linalg.norm(draws[1]) / np.linalg.norm(draws[0])  # of equal draws: both have the same key
    assert ratio == pytest.approx(math.sqrt(1 + 1 / 9 + (1 + 1 / 3) / 3), rel=1e-6)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(PlanError, match="called 'weight'"):
        Pipe.of((Weigh("examples"),), Spec({"delta": 2, "weight": 1}))


# ── the check catches what breaks the law ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Forgets(Transform):
    """Halve, and never double again."""

    def encode(self, v: Any, at: Context) -> Any:
        return v / 2


@dataclass(frozen=True)
class Scribbles(Transform):
    """Double in place."""

    def encode(self, v: Any, at: Context) -> Any:
        v *= 2
        return v

    def decode(self, total: Any, at: Context) -> Any:
        return total / 2


@dataclass(frozen=True)
class ScribblesLate(Transform):
    """Add in place, on the server."""

    def decode(self, total: Any, at: Context) -> Any:
        total += 0.0
        total[0] -= 1.0
        total[0] += 1.0
        total[1] = 0.0
        return total


@dataclass(frozen=True)
class Nearest(Transform):
    """Round to the nearest hundredth, always the same way."""

    def encode(self, v: Any, at: Context) -> Any:
        return np.floor(v * 100) / 100


@dataclass(frozen=True)
class WholeMatrix(Transform):
    """Clip by the norm of all clients together."""

    def encode(self, v: Any, at: Context) -> Any:
        return v * min(1.0, 5.0 / (1e-9 + float(np.linalg.norm(v))))


@dataclass(frozen=True)
class Boasts(Transform):
    """Declare a bound, and do nothing for it."""

    def plan(self, spec: Spec) -> Spec:
        return spec.replace(bounds={**spec.bounds, "delta": 1.0})


@dataclass(frozen=True)
class Silent(Transform):
    """Declare noise, and draw none."""

    def plan(self, spec: Spec) -> Spec:
        return spec.replace(noise=Noise(1.0))


@dataclass(frozen=True)
class OwnDice(Transform):
    """Draw from nowhere."""

    def encode(self, v: Any, at: Context) -> Any:
        return v + np.random.default_rng().normal(size=v.shape)


@dataclass(frozen=True)
class Narrow(Transform):
    """Say float32."""

    def encode(self, v: Any, at: Context) -> Any:
        return v.astype(np.float32)


@dataclass(frozen=True)
class Longer(Transform):
    """Say one number more than declared."""

    def encode(self, v: Any, at: Context) -> Any:
        return np.concatenate([v, v[..., :1]], axis=-1)


class Moody(Transform):
    """A plan that changes its mind."""

    calls = 0

    def __repr__(self) -> str:
        return "Moody()"

    def plan(self, spec: Spec) -> Spec:
        self.calls += 1
        return spec.replace(weighed=self.calls > 1)


class Nameless(Transform):
    """A class without a repr of its own."""


@dataclass(frozen=True)
class Hoards(Transform):
    """Learn what no checkpoint can hold."""

    def learn(self, total: Any, at: Context) -> Any:
        return {1, 2}


@dataclass(frozen=True)
class Halves(Transform):
    """Say half of it, and still that nothing is below what it was."""

    def encode(self, v: Any, at: Context) -> Any:
        return v / 2

    def decode(self, total: Any, at: Context) -> Any:
        return total * 2


@dataclass(frozen=True)
class Owes(Transform):
    """Half now, half later."""

    def encode(self, v: Any, at: Context) -> Any:
        return v / 2 if at.remembered is None else v / 2 + at.remembered

    def decode(self, total: Any, at: Context) -> Any:
        return 2 * total

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return v / 2


@dataclass(frozen=True)
class Lengthens(Transform):
    """Add the last vector, and leave bounds as they are, which hold for the first alone."""

    def encode(self, v: Any, at: Context) -> Any:
        return v if at.remembered is None else v + at.remembered

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return v


@dataclass(frozen=True)
class Grows(Transform):
    """Remember all that was ever said."""

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return [*(at.remembered or []), float(v[0])]


@dataclass(frozen=True)
class Elsewhere(Transform):
    """Remember by oneself."""

    seen: set[Key] = field(default_factory=set, repr=False, compare=False)

    def encode(self, v: Any, at: Context) -> Any:
        self.seen.add(at.key)
        return v + 1e-12 * len(self.seen)

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return None


@dataclass(frozen=True)
class Rewrites(Transform):
    """Remember in the same array."""

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        if at.remembered is None:
            return v.copy()
        at.remembered[:] = v
        return at.remembered


@dataclass(frozen=True)
class Touches(Transform):
    """Touch what is said."""

    def encode(self, v: Any, at: Context) -> Any:
        return v.copy()

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        encoded *= 1 + 1e-15


@dataclass(frozen=True)
class Keepsake(Transform):
    """Remember what no store can hold."""

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return {1, 2}


@dataclass(frozen=True)
class Blurs(Transform):
    """Remember what is no number."""

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return {"last": [v, np.full_like(v, math.nan)]}


@dataclass(frozen=True)
class Gambles(Transform):
    """Remember anything."""

    def remember(self, v: Any, encoded: Any, at: Context) -> Any:
        return float(np.random.default_rng().normal())


@dataclass(frozen=True)
class Refuses(Transform):
    """Accept nothing."""

    def plan(self, spec: Spec) -> Spec:
        raise PlanError("No.", "Never.", "Give up.")


@pytest.mark.promise("P48")
@pytest.mark.parametrize(
    "transform, sentence",
    [
        (Forgets(), "is off by"),
        (Scribbles(), "modifies its input"),
        (ScribblesLate(), "modifies its input"),
        (Nearest(), "is off by"),
        (WholeMatrix(), "matrix differs"),
        (Boasts(), "declares a bound"),
        (Silent(), "none is drawn"),
        (OwnDice(), "at.key"),
        (Narrow(), "float32"),
        (Longer(), "declares 14 numbers"),
        (Moody(), "called again"),
        (Nameless(), "repr"),
        (Hoards(), "learn"),
        (Halves(), r"'loss' of 0.25; plan\(\) declares 0.5 or more"),
        (Lengthens(), "declares a bound"),
        (Grows(), "grows with every round"),
        (Elsewhere(), "who was encoded before"),
        (Rewrites(), "modifies what it is given"),
        (Touches(), "modifies what it is given"),
        (Keepsake(), r"remember\(\) must give"),
        (Blurs(), "NaN or infinity"),
        (Gambles(), r"remember\(\) is not a function"),
        (Refuses(), "accepts none"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_check_tells_what_is_broken(transform: Transform, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_transform(transform)


def test_what_is_remembered_may_be_said_where_nothing_bounds_it() -> None:
    check_transform(Owes(), LOOSE)


def test_a_declared_error_is_allowed() -> None:
    """Without bounds, which this transform would have to widen."""
    check_transform(Nearest(), LOOSE, error=0.01 * math.sqrt(6))
