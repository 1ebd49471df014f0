"""Running statistics that travel: neither noise nor an attacker makes them what they cannot be, or moves them far."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.attacks.attackers_verified import KEY, Lie, facts, states
from tests.attacks.carrying import CARRIED, SMALL
from tests.contracts.asking import asked
from tests.vdaf.attackers import Attacker
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.messages import SessionId
from hansa.models.torch import TorchModel
from hansa.testing.algorithm import federation

C, S = 1.0, 0.1  # norms of the weights and of the statistics


# ── noise, and who lies about a variance ──


class Boundless(TorchModel):
    """As it was: nothing is known of its statistics."""

    @property
    def domain(self) -> Any:
        return np.full(self.size - self.trainable, -np.inf)


def noisy(kind: type[TorchModel], secret: h.Key = KEY) -> list[tuple[h.State, float]]:
    """Eight rounds of a net with BatchNorm under noise that is larger than its variances, each with its loss."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    pipe = (h.Clip(C, statistics=C), h.Weigh("one"), h.GaussianNoise(4.0))
    plan = h.Plan(kind(net, F.cross_entropy), pipe=pipe, training=h.Training(batch=10, report=False), rounds=8)
    data = {who: (X.astype(np.float32), y) for who, (X, y) in federation(6).items()}
    clients = [h.Client(who, plan, one, secret=secret) for who, one in data.items()]
    states = h.synchronous(plan, h.InProcess(clients, secret=secret), secret=secret)
    return [(state, plan.model.score(state.x, data["client-0"])["loss"]) for state in states]


@pytest.mark.promise("P111")
@pytest.mark.guards("statistics stay in their domain")
def test_noise_makes_no_variance_negative() -> None:
    """Nor the loss NaN, which the root of a negative variance is."""
    found = noisy(TorchModel)
    assert len(found) == 8
    for state, loss in found:
        assert not state.skipped and np.isfinite(state.x).all()
        assert (state.x[-8:] >= 0).all() and np.isfinite(loss)


@pytest.mark.control("what noise does to a net of whose statistics nothing is known")
def test_without_a_domain_noise_makes_the_loss_nan() -> None:
    losses = [loss for seed in range(3) for _, loss in noisy(Boundless, h.Key.of(seed))]
    assert np.isnan(losses).sum() >= 3


@dataclass(frozen=True)
class Shrinks(h.FedAvg):
    """Takes 50 from every statistic."""

    def client(self, model: Any, *given: Any) -> Any:
        parts, client_state = yield from super().client(model, *given)
        parts["delta"][model.trainable :] = -50.0
        return parts, client_state


@pytest.mark.promise("P111")
@pytest.mark.guards("statistics stay in their domain")
@pytest.mark.parametrize("loop", [h.synchronous, lambda *given: h.buffered(*given, size=2, busy=3)])
def test_an_attacker_makes_no_variance_negative(loop: Any) -> None:
    plan = h.Plan(SMALL, Shrinks(), rounds=2)
    runtime = h.InProcess([h.Client(who, plan, one) for who, one in federation(4).items()])
    for state in loop(plan, runtime):
        mean, *variances = state.x[-CARRIED:]
        assert mean < -10 and variances == [0.0, 0.0]


# ── who hides weights behind statistics ──


@dataclass(frozen=True)
class Scattered(h.FedAvg):
    """Honest statistics differ by so much; the attacker's are the usual ones, and its weights are far away."""

    by: float = 0.0

    def client(self, model: Any, broadcast: Any, *given: Any) -> Any:
        parts, client_state = yield from super().client(model, broadcast, *given)
        honest = given[-1].who != "client-0"
        rng = given[-1].session.repeats.rng()
        parts["delta"][model.trainable :] = honest * self.by * rng.normal(size=CARRIED)
        parts["delta"][: model.trainable] += 0.0 if honest else 30.0
        return parts, client_state


@pytest.mark.promise("P66")
@pytest.mark.guards("a rule judges statistics apart")
@pytest.mark.parametrize("rule", [h.Krum(1), h.GeometricMedian(), h.CentredClipping(1.0), h.Bulyan(1)])
def test_weights_are_judged_by_weights_alone(rule: Any) -> None:
    """Whatever statistics are beside them; else whoever says the usual statistics says any weights."""
    weights = list[Any]()
    for by in (0.0, 1e6):
        plan = h.Plan(SMALL, Scattered(by=by), aggregator=rule, rounds=1)
        (state,) = h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in federation(7).items()]))
        weights.append(state.x[:-CARRIED])
    assert (weights[0] == weights[1]).all() and np.abs(weights[1] - plan.start().x[:-CARRIED]).max() < 10


# ── who says statistics that are too long ──


@dataclass(frozen=True)
class Lies(h.VerifiedSum):
    """The client's half, which proves of its statistics whatever it can."""

    def _claims(self, spec: h.spec.Spec, binding: bytes) -> tuple[Any, ...]:
        parts = super()._claims(spec, binding)
        return tuple(
            Lie(part, (), Attacker(**facts(part.sum))) if part.names == ("statistics",) else part for part in parts
        )


@dataclass
class Says(h.Client):
    """Says statistics of this norm, past every check of its own."""

    norm: float = 0.0

    def _converse(self, request: Any, given: Any) -> Any:
        _, memo = self._heard(request)
        at = self._context(request, given.state, 1, memo)
        encoded = self.plan.encoded_spec
        parts = {name: np.zeros(n) for name, n in encoded.blocks.items()}
        parts["statistics"] += self.norm / CARRIED**0.5
        own = {each.name: getattr(self.plan.aggregator, each.name) for each in fields(h.VerifiedSum)}
        return Lies(**own).client(asked(lambda: encoded.pack(parts)), replace(at, spec=encoded))


def verified(*norms: float, bound: float | None = 4.0, others: int = 3) -> tuple[h.Plan, h.State]:
    """One round in which attackers say statistics so long; weights may be proven to be longer than the pipe says."""
    plan = h.Plan(
        SMALL,
        pipe=(h.Clip(C, statistics=S), h.Weigh("one")),
        aggregator=h.VerifiedSum(bound=bound),
        training=h.Training(batch=0, report=False),
        sample=h.Everyone(quorum=2),
        rounds=1,
    )
    data = federation(others)
    clients = [h.Client(who, plan, one, secret=KEY) for who, one in data.items()]
    clients += [Says(f"attacker-{i}", plan, data["client-0"], norm=norm) for i, norm in enumerate(norms)]
    (state,) = states(plan, clients)
    return plan, state


@pytest.mark.promise("P112")
@pytest.mark.guards("statistics have a norm of their own", "statistics are proven within their own norm")
@pytest.mark.parametrize("norm", [1.01 * S, 0.9 * C, 3.0])
def test_statistics_that_are_too_long_stay_out_of_a_verified_sum(norm: float) -> None:
    """Also where they are no longer than weights may be."""
    _, state = verified(norm)
    _, without = verified()
    assert set(state.excluded) == {"attacker-0"}
    assert (state.x == without.x).all()


@pytest.mark.promise("P112")
@pytest.mark.guards("statistics have a norm of their own")
def test_an_attacker_moves_statistics_as_far_as_is_told() -> None:
    """Beside three others, who say at most S: by 2·S/4 if they all say the opposite, and here by less."""
    plan, state = verified(S * (1 - 1e-6), bound=None)
    _, without = verified(bound=None)
    moved = float(np.linalg.norm((state.x - without.x)[-CARRIED:]))
    told = plan.aggregator.moved(plan.encoded_spec, 3.0)
    assert not state.excluded and told["statistics"] == pytest.approx(2 * S / 4, rel=1e-5)
    assert told["delta"] == pytest.approx(2 * C / 4, rel=1e-5)
    assert 0 < moved <= told["statistics"]


@pytest.mark.promise("P112")
@pytest.mark.guards("statistics have a norm of their own")
@pytest.mark.parametrize("clip", [h.Clip(C, statistics=S), h.AdaptiveClip(first=C, statistics=S)])
def test_no_client_says_longer_statistics_than_noise_is_sized_for(clip: Any) -> None:
    plan = h.Plan(SMALL, pipe=(clip, h.Weigh("one")), training=h.Training(report=False))
    assert plan.encoded_spec.bounds["statistics"] == S
    for scale in (1e-3, 1.0, 1e3):
        v = np.random.default_rng(0).normal(size=plan.spec.size) * scale
        at = plan.context(0, SessionId(), "anna", secret=KEY, memo=plan.pipeline.start())
        said = plan.encoded_spec.unpack(plan.pipeline.encode(v, at)[0])["statistics"]
        assert np.linalg.norm(said) <= S * (1 + 1e-12)
        if scale < S / 10:
            assert (said == plan.spec.unpack(v)["statistics"]).all()
