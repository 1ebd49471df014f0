"""One claim of each paper, where it can be seen: on quadratics whose minima lie apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.asking import client_of
from tests.papers.quadratic import Quadratic, bowl, optimum, run
from torch import nn

from hansa import (
    Adagrad,
    Adam,
    Client,
    Ditto,
    FedALA,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    FedRep,
    FedSAM,
    InProcess,
    Momentum,
    Network,
    PerFedAvg,
    Personal,
    PFedMe,
    Plan,
    Scaffold,
    State,
    TorchModel,
    Training,
    Uniform,
    Weigh,
    Yogi,
    buffered,
    synchronous,
)
from hansa.data import Examples
from hansa.messages import SessionId
from hansa.rand import Key

KEY = Key.of(0)  # a secret that repeats

D = 3
APART = {  # curvatures from 0.2 to 2, minima far apart
    "anna": bowl([0.2, 1.0, 2.0], [-5.0, 0.0, 3.0]),
    "bert": bowl([1.0, 0.4, 0.5], [4.0, 8.0, -2.0]),
    "carl": bowl([2.0, 2.0, 0.3], [1.0, -3.0, 9.0]),
    "dora": bowl([0.5, 0.2, 1.0], [7.0, 2.0, 0.0]),
}
BEST = optimum(APART)
TEN_STEPS = Training(steps=10, batch=0, learning_rate=0.2)
ONE_STEP = replace(TEN_STEPS, steps=1)


def last(algorithm: Any, rounds: int, parties: Any = APART, weigh: str = "one", **more: Any) -> State:
    first = more.pop("first", (0.0,) * D)
    plan = Plan(Quadratic(first), algorithm, (Weigh(weigh),), rounds=rounds, **{"training": TEN_STEPS, **more})
    return run(plan, parties)[0][-1]


def off(state: State, best: Any = BEST) -> float:
    """How far the model is from the best one."""
    return float(np.linalg.norm(state.x - best))


def test_fedavg_with_one_step_is_gradient_descent() -> None:
    """McMahan et al. 2017, §2: with one full-batch step FedAvg is FedSGD, and that finds the optimum."""
    one = Training(steps=1, batch=0, learning_rate=0.2)
    assert off(last(FedAvg(), 300, training=one)) < 1e-9


def test_fedavg_with_many_steps_drifts_to_a_wrong_point() -> None:
    """Karimireddy et al. 2020, §3 (Theorem II): client drift; more rounds do not help, and more steps make it worse."""
    early, late = off(last(FedAvg(), 60)), off(last(FedAvg(), 120))
    assert early == pytest.approx(late, rel=1e-6) and late > 0.3
    more = off(last(FedAvg(), 60, training=Training(steps=40, batch=0, learning_rate=0.2)))
    assert more > 1.2 * late


def test_fedavg_with_a_known_wrong_point() -> None:
    """Client k of K steps says (1 − (1 − ηa)ᴷ)(b − x): its fixed point weighs bₖ by that, and not by aₖ."""
    A, B = (np.stack([part[0] for part in parts]) for parts in zip(*APART.values(), strict=True))
    pull = 1 - (1 - 0.2 * A) ** 10
    assert off(last(FedAvg(), 120), (pull * B).sum(0) / pull.sum(0)) < 1e-9


def test_scaffold_finds_the_optimum_whatever_the_drift() -> None:
    """Karimireddy et al. 2020, Theorem III: no dependence on how far the clients' minima lie apart."""
    assert off(last(Scaffold(), 300)) < 1e-9
    assert off(last(Scaffold(), 600, sample=Uniform(2))) < 1e-3  # also where half of them take part


def test_feddyn_finds_the_optimum_whatever_the_drift() -> None:
    """Acar et al. 2021, §3: its fixed points are stationary points of the global loss."""
    assert off(last(FedDyn(alpha=0.5), 300)) < 1e-8
    assert off(last(FedDyn(alpha=0.5), 600, sample=Uniform(2))) < 1e-3


def test_feddyn_and_scaffold_minimise_the_weighted_loss_when_told_to() -> None:
    parties = {who: bowl(a[0], b[0], examples=n) for n, (who, (a, b)) in enumerate(APART.items(), start=1)}
    best = optimum(parties, weights=[1, 2, 3, 4])
    assert off(State(0, BEST, {}), best) > 0.3
    for algorithm in (FedDyn(alpha=0.5), Scaffold()):
        assert off(last(algorithm, 400, parties, "examples"), best) < 1e-8


UNEVEN = Training(epochs=5, batch=1, learning_rate=0.02)  # a client with n examples takes 5n steps


@pytest.mark.parametrize("weigh", ["one", "examples"])
def test_fednova_removes_the_inconsistency_of_uneven_work(weigh: str) -> None:
    """Wang et al. 2020, §3: who takes more steps counts for more in FedAvg; normalised, all count by their weight."""
    sizes = [1, 2, 4, 16]
    parties = {who: bowl(a[0], b[0], examples=n) for n, (who, (a, b)) in zip(sizes, APART.items(), strict=True)}
    best = optimum(parties, weights=sizes if weigh == "examples" else None)
    fedavg, fednova = (
        off(last(algorithm, 300, parties, weigh, training=UNEVEN), best) for algorithm in (FedAvg(), FedNova())
    )
    assert fednova < 0.6 * fedavg


def test_fednova_is_exact_where_steps_are_small() -> None:
    """With η → 0 drift vanishes and inconsistency does not: FedAvg stays off, FedNova does not (ibid., §3)."""
    sizes, small = [1, 2, 4, 16], Training(epochs=1, batch=1, learning_rate=4e-3)
    parties = {who: bowl(a[0], b[0], examples=n) for n, (who, (a, b)) in zip(sizes, APART.items(), strict=True)}
    start = tuple(BEST + 0.1)
    fedavg, fednova = (
        off(last(algorithm, 600, parties, training=small, first=start)) for algorithm in (FedAvg(), FedNova())
    )
    assert fedavg > 1.0 and fednova < 0.05


def test_fedprox_shrinks_drift_and_dissimilarity() -> None:
    """Li et al. 2020, §3.2: the larger μ, the nearer clients stay to the model and each other, and to the optimum."""

    def spread(mu: float) -> tuple[float, float]:
        plan = Plan(Quadratic((0.0,) * D), FedProx(mu), (Weigh("one"),), training=TEN_STEPS)
        broadcast, at = {"x": BEST}, plan.context(0, SessionId(), secret=KEY)
        reply = [client_of(plan, broadcast, {}, data, at)[0]["delta"] for data in APART.values()]
        return float(np.mean([np.linalg.norm(v) for v in reply])), float(np.linalg.norm(np.std(reply, axis=0)))

    lengths, spreads = zip(*(spread(mu) for mu in (0.0, 0.5, 1.0, 4.0)), strict=True)
    assert all(a > 1.2 * b for a, b in pairwise(lengths))
    assert all(a > 1.2 * b for a, b in pairwise(spreads))
    biases = [off(last(FedProx(mu), 120)) for mu in (0.0, 0.5, 1.0, 4.0)]
    assert biases == sorted(biases, reverse=True) and biases[-1] < 0.5 * biases[0]


@pytest.mark.parametrize("server", [Adagrad(0.5), Adam(0.3), Yogi(0.3)], ids=lambda server: type(server).__name__)
def test_adaptive_servers_are_faster_where_gradients_are_sparse_or_badly_scaled(server: Any) -> None:
    """Reddi et al. 2021, §5: coordinates that few clients touch, or that are flat, move as fast as the others."""
    common = {f"client-{i}": bowl([1.0, 0.0, 0.0], [3.0, 0.0, 0.0]) for i in range(18)}
    rare = {"rare-0": bowl([1.0, 0.3, 0.0], [3.0, 3.0, 0.0]), "rare-1": bowl([1.0, 0.0, 0.01], [3.0, 0.0, 3.0])}
    parties, training = common | rare, Training(steps=2, batch=0, learning_rate=0.3)
    best = np.full(D, 3.0)
    plain, adaptive = (off(last(FedAvg(s), 60, parties, training=training), best) for s in (FedAvg().server, server))
    assert plain > 3.0 and adaptive < 0.3 * plain


def test_momentum_on_the_server_is_faster_along_flat_directions() -> None:
    """Hsu et al. 2019, §4.3: the server's momentum carries past updates along (Polyak: √κ rounds instead of κ)."""
    flat = {who: bowl(a[0] * 0.02, b[0]) for who, (a, b) in APART.items()}
    best, training = optimum(flat), Training(steps=1, batch=0, learning_rate=0.5)
    plain, carried = (
        off(last(FedAvg(server), 150, flat, training=training), best)
        for server in (FedAvg().server, Momentum(1.0, 0.9))
    )
    assert carried < 0.1 * plain


def test_momentum_on_the_server_damps_the_change_of_cohorts() -> None:
    """Ibid.: with small cohorts of unlike clients the model jumps in every round; a mean over rounds jumps less."""

    def jumps(server: Any) -> float:
        plan = Plan(
            Quadratic(tuple(BEST)), FedAvg(server), (Weigh("one"),), training=TEN_STEPS, sample=Uniform(1), rounds=200
        )
        X = np.stack([state.x for state in run(plan, APART)[0]])
        return float(np.linalg.norm(np.diff(X[50:], axis=0), axis=1).mean())

    assert jumps(Momentum(0.1, 0.9)) < 0.5 * jumps(FedAvg().server)


def personal(lam: float, rounds: int = 60) -> tuple[State, dict[str, Any]]:
    plan = Plan(Quadratic((0.0,) * D), Ditto(lam=lam), (Weigh("one"),), training=TEN_STEPS, rounds=rounds)
    states, runtime = run(plan, APART)
    return states[-1], {who: client_state["personal"] for who, client_state in runtime.memory.of(APART).items()}


def test_dittos_personal_models_fit_each_client_better() -> None:
    """Li et al. 2021, §3: personal models lie between the client's own minimum and the global model, by λ."""
    model = Quadratic((0.0,) * D)
    state, own = personal(lam=0.5)
    for who, data in APART.items():
        assert model.score(own[who], data)["loss"] < 0.8 * model.score(state.x, data)["loss"]
        a, b = data[0][0], data[1][0]
        np.testing.assert_allclose(own[who], (a * b + 0.5 * state.x) / (a + 0.5), atol=1e-6)  # argmin f + ¼‖v − x‖²
    np.testing.assert_array_equal(state.x, last(FedAvg(), 60).x)  # and the global one knows nothing of them


def test_dittos_limits_are_alone_and_global() -> None:
    """Ibid.: λ → 0 is each client alone, λ → ∞ the global model."""
    _, alone = personal(lam=0.0, rounds=60)
    for who, (_, b) in APART.items():
        np.testing.assert_allclose(alone[who], b[0], atol=1e-6)
    state, near = personal(lam=4.5)  # 1 − η (a + λ) must stay inside ±1, so λ < 8 here
    state_less, far = personal(lam=0.1)
    for who in APART:
        assert np.linalg.norm(near[who] - state.x) < 0.4 * np.linalg.norm(far[who] - state_less.x)


def personal_of(algorithm: Any, rounds: int) -> tuple[State, dict[str, Any]]:
    """The last state, and the model that each client uses."""
    plan = Plan(Quadratic((0.0,) * D), algorithm, (Weigh("one"),), training=ONE_STEP, rounds=rounds)
    states, runtime = run(plan, APART)
    return states[-1], {who: memory["personal"] for who, memory in runtime.memory.of(APART).items()}


def test_pfedme_descends_on_the_mean_of_moreau_envelopes() -> None:
    """Dinh et al. 2020, eq. 2 to 4: ∇Fₖ(w) = λ (w − θ̂ₖ(w)); of f = ½ a (y − b)², Fₖ = ½ aλ/(a + λ) (w − b)²."""
    lam = 2.0
    state, own = personal_of(PFedMe(lam=lam, rate=0.5, inner=30), 200)
    envelopes = {who: (a * lam / (a + lam), b) for who, (a, b) in APART.items()}
    np.testing.assert_allclose(state.x, optimum(envelopes), atol=1e-6)
    for who, (a, b) in APART.items():
        np.testing.assert_allclose(own[who], (a[0] * b[0] + lam * state.x) / (a[0] + lam), atol=1e-4)


def test_per_fedavg_finds_a_model_that_is_better_after_one_step() -> None:
    """Fallah et al. 2020, eq. 3 and §5: FO stops where Σ ∇fₖ(x − α ∇fₖ(x)) = 0, which is better there than FedAvg."""
    alpha = 0.4
    model = Quadratic((0.0,) * D)
    state, own = personal_of(PerFedAvg(alpha=alpha), 400)
    adapted = {who: (a * (1 - alpha * a), b) for who, (a, b) in APART.items()}
    np.testing.assert_allclose(state.x, optimum(adapted), atol=1e-6)
    other = {who: BEST - alpha * a[0] * (BEST - b[0]) for who, (a, b) in APART.items()}
    ours, theirs = (sum(model.score(v[who], Examples.of(APART[who]))["loss"] for who in APART) for v in (own, other))
    assert ours < 0.95 * theirs


def test_fedala_takes_of_the_global_model_what_helps() -> None:
    """Zhang et al. 2023, abstract: of each number of the global model a client takes what serves it."""
    sure, torn = [1.0, 2.0, 0.0], [1.0, -4.0, 0.0]  # all want the same of the first and the last number
    parties = {"anna": bowl([1.0] * D, sure), "bert": bowl([1.0] * D, torn)}
    short = replace(TEN_STEPS, steps=2, learning_rate=0.1)
    plan = Plan(Quadratic((5.0, 0.0, -5.0)), FedALA(rate=1.0), (Weigh("one"),), training=short, rounds=20)
    _, runtime = run(plan, parties)
    for who, memory in runtime.memory.of(parties).items():
        assert memory["w"][1] < 0.1, who
        assert np.linalg.norm(memory["personal"] - parties[who][1][0]) < 0.3
    for who, (_, b) in parties.items():
        tuned = last(FedAvg(), 20, parties, first=(5.0, 0.0, -5.0), training=short).x
        assert np.linalg.norm(tuned - b[0]) > 2.0, who


class Valleys(nn.Module):
    """A number, whose loss has a narrow valley at 0 and a wide one, less deep, at 2."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.05]))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.w.expand(len(X))


def valleys(w: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (-1.2 * torch.exp(-((w / 0.15) ** 2)) - torch.exp(-((w - 2.0) ** 2) / 2)).mean()


def test_fedsam_leaves_a_sharp_valley() -> None:
    """Qu et al. 2022, abstract: what minimises the mean loss falls into sharp valleys. FedSAM minimises the worst loss
    within ρ.
    """
    rho = 0.4
    parties = {who: (np.zeros((4, 1), np.float32), np.zeros(4, np.float32)) for who in ("anna", "bert")}
    training = Training(epochs=5, batch=0, learning_rate=0.01)

    def worst(algorithm: Any) -> float:
        plan = Plan(TorchModel(Valleys(), valleys, metrics={}), algorithm, training=training, rounds=60)
        w = float(run(plan, parties)[0][-1].x[0])
        nearby = torch.linspace(w - rho, w + rho, 101)
        return max(float(valleys(one, one)) for one in nearby)

    assert worst(FedSAM(rho=rho)) < worst(FedAvg()) - 0.15


def test_fedrep_finds_what_clients_share_where_no_global_model_fits() -> None:
    """Collins et al. 2021, §3: clients share a representation, and each has a head of its own."""
    rng = np.random.default_rng(3)
    body = rng.normal(size=(8, 2))
    parties = {}
    for i in range(8):
        X = rng.normal(size=(60, 8)).astype(np.float32)
        parties[f"client {i}"] = (X, (X @ body @ [np.cos(0.8 * i), np.sin(0.8 * i)] > 0).astype(int))
    torch.manual_seed(0)
    net = TorchModel(nn.Sequential(nn.Linear(8, 2, bias=False), nn.Linear(2, 2)), nn.functional.cross_entropy)
    training = Training(epochs=2, batch=20, learning_rate=0.3, validation=0.3)
    whole = Plan(net, training=training, rounds=30)
    ours = replace(whole, model=Personal(net, keep=("1.*",)), algorithm=FedRep(head_epochs=5))
    assert run(whole, parties)[0][-1].metrics["val_accuracy"] < 0.7
    assert run(ours, parties)[0][-1].metrics["personal_accuracy"] > 0.85


def test_a_buffer_is_faster_than_waiting_for_stragglers() -> None:
    """Nguyen et al. 2022: FedBuff is as good in a fraction of the time, for nobody waits for the slow."""
    rng = np.random.default_rng(0)
    parties = {f"client-{i:02d}": bowl([1.0] * D, 3.0 + rng.normal(size=D)) for i in range(30)}
    best, network = optimum(parties), Network(latency=1.0, stragglers=0.2, slowdown=20.0)
    training = Training(steps=2, batch=0, learning_rate=0.1)

    def time(loop: Any, **more: Any) -> float:
        plan = Plan(Quadratic((0.0,) * D), FedAvg(), (Weigh("one"),), training=training, sample=Uniform(10), rounds=400)
        runtime = InProcess([Client(who, plan, data) for who, data in parties.items()], network)
        for state in loop(plan, runtime, **more):
            if off(state, best) < 0.5:
                return runtime.now
        raise AssertionError("never arrived")

    assert time(buffered, size=10, busy=20) < 0.5 * time(synchronous)


def test_a_buffer_weighs_down_what_is_stale() -> None:
    """Ibid., §5: an update τ rounds old counts 1/√(1 + τ).

    Two clients work at a time, each vector is a step of its own, and all say Δ = ½ (1 − x) of the model they got:
    anna starts from x₀, bert too, anna again from x₁, bert from x₂. So all but the first are one round old.
    """
    parties = {who: bowl([1.0], [1.0]) for who in ("anna", "bert")}
    plan = Plan(Quadratic((0.0,)), FedAvg(), (Weigh("one"),), training=Training(steps=1, learning_rate=0.5), rounds=4)
    X = [float(state.x[0]) for state in run(plan, parties, lambda p, r: buffered(p, r, size=1, busy=2))[0]]
    want = [0.5]  # fresh: ½ (1 − 0)
    want.append(want[-1] + 0.5 * (1 - 0.0) / 2**0.5)  # the other one's, from x = 0
    want.append(want[-1] + 0.5 * (1 - want[0]) / 2**0.5)
    want.append(want[-1] + 0.5 * (1 - want[1]) / 2**0.5)
    assert pytest.approx(want, rel=1e-12) == X
