"""Running statistics that travel are a block of their own: said, bounded, noised and told apart from the weights."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from tests.attacks.carrying import CARRIED, SMALL, Carrying
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.algorithms import FedAvg
from hansa.errors import PlanError
from hansa.explain import explain
from hansa.messages import SessionId
from hansa.models import Drift
from hansa.models.statistics import lower_ends
from hansa.models.torch import TorchModel
from hansa.plan.server import absorb, decoder
from hansa.privacy import planned_privacy
from hansa.spec import Spec
from hansa.testing.algorithm import MODEL, federation
from hansa.transforms import Context, Pipe, Session
from hansa.transforms.noise import shares

KEY = h.Key.of(3)
QUIET = h.Training(report=False)


def encoded(plan: h.Plan, v: Any) -> dict[str, Any]:
    """The blocks that a client says in place of v."""
    at = plan.context(0, SessionId(), "anna", secret=KEY, memo=plan.pipeline.start())
    return plan.encoded_spec.unpack(plan.pipeline.encode(v, at)[0])


# ── blocks ──


def test_the_update_is_said_in_two_blocks_and_other_blocks_keep_their_size() -> None:
    d = SMALL.size
    assert dict(h.Plan(SMALL, training=QUIET).spec.blocks) == {"delta": d - CARRIED, "statistics": CARRIED}
    scaffold = h.Plan(SMALL, h.Scaffold(), training=QUIET)
    assert list(scaffold.spec.blocks.items()) == [("delta", d - CARRIED), ("statistics", CARRIED), ("control", d)]
    assert scaffold.spec.update == ("delta", "statistics", "control") and scaffold.spec.trained == ("delta", "control")
    assert dict(h.Plan(MODEL, training=QUIET).spec.blocks) == {"delta": d}


@pytest.mark.parametrize(
    "algorithm", [h.FedAvg(h.Adam(0.1)), h.Scaffold(), h.FedNova(), h.FedDyn(), h.Ditto(), h.MimeLite(), h.APFL()]
)
def test_algorithms_get_the_whole_update(algorithm: Any) -> None:
    """The server's step has the mean of the whole vector; statistics are the plain weighted mean, to the last byte."""
    seen = list[Any]()

    class Watched(type(algorithm)):  # type: ignore[misc]
        def client(self, *given: Any) -> Any:
            parts, client_state = yield from super().client(*given)
            parts["delta"][-CARRIED:] = given[4].learning_rate * np.array([-1.0, 2.0, 3.0]) / len(given[3])
            seen.append((len(given[3]), parts["delta"]))
            return parts, client_state

    own = {one.name: getattr(algorithm, one.name) for one in fields(algorithm)}
    plan = h.Plan(SMALL, Watched(**own), rounds=1)
    (state,) = h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in federation(3).items()]))
    n = sum(count for count, _ in seen)
    mean = sum(count * delta[-CARRIED:] for count, delta in seen) / n
    np.testing.assert_allclose((state.x - plan.start().x)[-CARRIED:], mean, rtol=1e-14)


def test_a_block_of_that_name_is_taken() -> None:
    class Named(FedAvg):
        def blocks(self, d: int) -> Any:
            return {"delta": d, "statistics": 2}

    with pytest.raises(PlanError, match="has a block 'statistics'"):
        h.Plan(SMALL, Named())
    assert h.Plan(MODEL, Named()).spec.blocks["statistics"] == 2


def test_a_slow_clients_statistics_count_as_little_as_its_weights() -> None:
    from hansa.transforms.staleness import slowed as slow

    spec, d = h.Plan(SMALL, h.Scaffold()).spec, SMALL.size
    told = np.ones(spec.size)
    slowed = slow(told, spec, 3)
    assert (slowed[:d] == 0.5).all() and (slowed[d:] == 1.0).all() and (told == 1.0).all()


# ── bounds ──


def with_norm() -> TorchModel:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return TorchModel(net, F.cross_entropy)


@pytest.mark.promise("P112")
@pytest.mark.parametrize("statistics", [None, 0.05])
def test_the_norm_of_a_clip_is_spent_on_the_weights_alone(statistics: float | None) -> None:
    """The weights of a net with BatchNorm are what a clip of the weights alone makes of them, to the last byte."""
    model, norm = with_norm(), 0.05
    X, y = federation(1)["client-0"]
    x = model.start(KEY)
    delta = model.train(x, (3 * X.astype(np.float32), y), h.Training(), Drift(), KEY).x - x
    weights, moved = np.split(delta, [model.trainable])
    assert np.linalg.norm(moved) > 3 * np.linalg.norm(weights) > 6 * norm
    plan = h.Plan(model, pipe=(h.Clip(norm, statistics=statistics), h.Weigh("one")), training=QUIET)
    said = encoded(plan, delta)
    alone = Pipe.of((h.Clip(norm),), Spec({"delta": model.trainable}))
    at = Context(Session(0), KEY, alone.specs[0], memo=(None,))
    assert (said["delta"] == alone.encode(weights, at)[0]).all()
    if statistics is None:
        assert (said["statistics"] == moved).all()
    else:
        assert np.linalg.norm(said["statistics"]) == pytest.approx(statistics)


def test_an_adaptive_clip_learns_the_norm_of_the_weights_alone() -> None:
    """And gives statistics back as they are, whatever it has learnt."""
    plan = h.Plan(SMALL, pipe=(h.AdaptiveClip(first=2.0, statistics=7.0), h.Weigh("one")), training=QUIET)
    d = SMALL.trainable
    v = np.concatenate([np.full(d, 1.9 / math.sqrt(d)), [5.0, 3.0, 1.0]])
    said = encoded(plan, v)
    assert said["under"] == 0.5 and np.linalg.norm(said["delta"]) == pytest.approx(1.9 / 2.0)
    assert said["statistics"].tolist() == [5.0, 3.0, 1.0]
    at = plan.context(0, SessionId(), secret=KEY, memo=plan.pipeline.start(), n=1)
    mean, _ = decoder(plan, at)(plan.encoded_spec.pack(said), 1)
    np.testing.assert_allclose(mean, v)


def test_rotated_statistics_keep_their_bound() -> None:
    """Also where the clip stands behind, and integers of the sum have room for them."""
    pipe = (h.Rotate(), h.Clip(1.0, statistics=0.1), h.Weigh("one"), h.Quantize(16, of="sum", clients=4))
    plan = h.Plan(SMALL, pipe=pipe, training=QUIET)
    assert plan.encoded_spec.rotated == {"delta", "statistics"} and plan.encoded_spec.statistics == {"statistics"}
    assert 0.1 < plan.encoded_spec.bounds["statistics"] < 0.11 and 1.0 < plan.encoded_spec.bounds["delta"] < 1.01


NEEDY = {
    "Gaussian": {"pipe": (h.GaussianNoise(1.0),)},
    "Laplace": {"pipe": (h.LaplaceNoise(1.0),)},
    "correlated": {"pipe": (h.CorrelatedNoise(1.0),)},
    "Quantize": {"pipe": (h.Quantize(16),)},
    "whole numbers": {"pipe": (h.Quantize(16), h.DiscreteGaussianNoise(1.0))},
    "VerifiedSum": {"aggregator": h.VerifiedSum(), "sample": h.Everyone(quorum=2)},
}


@pytest.mark.promise("P42", "P112")
@pytest.mark.parametrize(
    "needy, clip",  # correlated noise takes no clip that is learnt
    [*((needy, h.Clip) for needy in NEEDY), *((needy, h.AdaptiveClip) for needy in NEEDY if needy != "correlated")],
)
def test_what_needs_bounds_names_the_ways_to_bound_statistics(needy: str, clip: Any) -> None:
    more = {**NEEDY[needy], "training": QUIET}
    after = more.pop("pipe", ())
    norm = {"norm": 1.0} if clip is h.Clip else {"first": 1.0}
    with pytest.raises(PlanError) as caught:
        h.Plan(SMALL, pipe=(clip(**norm), h.Weigh("one"), *after), **more)
    assert caught.value.found.endswith("needs a bound on: statistics.")
    for way in ("Clip(…, statistics=…)", "buffers='local'", "GroupNorm"):
        assert way in caught.value.instead
    assert "norm=" not in caught.value.instead  # which it has
    h.Plan(SMALL, pipe=(clip(**norm, statistics=1.0), h.Weigh("one"), *after), **more)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, "1"])
def test_a_norm_of_statistics_is_a_length(norm: Any) -> None:
    for clip in (h.Clip(1.0, statistics=norm), h.AdaptiveClip(statistics=norm)):
        with pytest.raises(PlanError, match="is not a length"):
            h.Plan(SMALL, pipe=(clip, h.Weigh("one")))


# ── privacy ──


@pytest.mark.promise("P27")
@pytest.mark.parametrize("weigh", [h.Weigh("one"), h.Weigh("examples", cap=20)])
@pytest.mark.parametrize("norm", [0.01, 1.0, 30.0])
def test_all_blocks_together_spend_what_z_says(norm: float, weigh: Any) -> None:
    """Σ (Cₖ/σₖ)² = 1/z² with the statistics among them, so ε is that of a model without any."""
    z = 1.3
    pipe = (h.Clip(1.0, side=5.0, statistics=norm), weigh, h.GaussianNoise(z))
    plan, without = (h.Plan(model, pipe=pipe, rounds=20) for model in (SMALL, MODEL))
    noise, spec = plan.pipe[-1], plan.pipeline.specs[2]
    sigma, cap = noise.scales(spec, spec.bounds), 20.0 if weigh.by == "examples" else 1.0
    assert spec.bounds["statistics"] == pytest.approx(norm * cap) and sigma.keys() == spec.blocks.keys()
    assert sum((spec.bounds[name] / sigma[name]) ** 2 for name in sigma) == pytest.approx(z**-2)
    assert planned_privacy(plan).epsilon(1e-6) == planned_privacy(without).epsilon(1e-6)
    zeros = np.zeros(spec.size)
    drawn = [
        noise.decode(zeros, Context(Session(i), KEY.child(i), plan.pipeline.specs[2]))[spec.slice("statistics")]
        for i in range(2000)
    ]
    assert np.std(drawn) == pytest.approx(z * norm * cap / math.sqrt(shares(spec)["statistics"]), rel=0.04)


@pytest.mark.promise("P27")
def test_discrete_noise_counts_statistics_too() -> None:
    pipe = (h.Clip(1.0, statistics=0.3), h.Weigh("one"), h.Quantize(16), h.DiscreteGaussianNoise(1.1))
    noise = h.Plan(SMALL, pipe=pipe, training=QUIET).sum_spec.noise
    assert [size for size, *_ in noise.parts] == [SMALL.trainable, CARRIED]
    assert sum((bound / sigma) ** 2 for _, bound, sigma in noise.parts) == pytest.approx(1.1**-2)


# ── the domain ──


def test_names_of_variances_have_a_lower_end() -> None:
    names = ["1.running_var", "1.running_mean", "state.batch_stats.BatchNorm_0.var", "net/~/var_ema.average", "variant"]
    assert lower_ends((name, 2) for name in names).tolist() == [
        *[0.0] * 2,
        *[-math.inf] * 2,
        *[0.0] * 4,
        *[-math.inf] * 2,
    ]
    assert lower_ends([]).shape == (0,)


def test_a_torch_models_variances_have_a_lower_end() -> None:
    model = with_norm()
    assert model.domain.tolist() == [-math.inf] * 8 + [0.0] * 8
    assert TorchModel(model.net, F.cross_entropy, buffers="local").domain.size == 0 == MODEL.domain.size


class Unknown(Carrying):
    """Says nothing of its statistics."""

    @property
    def domain(self) -> Any:
        return h.models.Model.domain.fget(self)  # type: ignore[attr-defined]


def test_what_a_model_says_nothing_of_is_not_moved() -> None:
    plan = h.Plan(Unknown(MODEL.features, MODEL.classes))
    mean = np.zeros(plan.spec.size)
    mean[plan.spec.slice("statistics")] = -5.0
    at = plan.context(0, SessionId(), secret=KEY, n=1, population=1)
    after = absorb(plan, plan.start(), (mean, ()), ["anna"], at)
    assert ((after.x - plan.start().x)[-CARRIED:] == -5.0).all()


# ── in words ──


@pytest.mark.promise("P111", "P112")
def test_a_plan_in_words_tells_of_statistics() -> None:
    told = str(explain(h.Plan(with_norm(), pipe=(h.Clip(1.0, statistics=0.5), h.Weigh("one")))))
    assert "of which 16 are running statistics that are averaged and not trained" in told
    assert "8 of them are variances, and kept ≥ 0" in told
    assert "statistics | 16 | how far running statistics moved" in told and "norm\u00a0≤\u00a00.5" in told
    assert "cuts delta to norm 1, the statistics to norm 0.5" in told
    loose = str(explain(h.Plan(with_norm(), pipe=(h.Clip(1.0), h.Weigh("one")))))
    assert "the statistics stay as they are" in loose and "Nothing bounds statistics" in loose
    assert "variances" not in str(explain(h.Plan(MODEL)))
