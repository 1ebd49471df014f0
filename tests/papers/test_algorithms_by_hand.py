"""Every algorithm against numbers worked out on paper.

Two clients, one number. f₁(y) = ½ y² and f₂(y) = ¼ (y − 8)², so ∇f₁ = y and ∇f₂ = ½ (y − 8). All start at x = 2 and
take two local steps with η = ½. One plain step takes client 1 from y to ½ y, client 2 from y to ¾ y + 2. Two steps:

    y₁ = ¼ x,   y₂ = 9/16 x + 3.5      Δ₁ = −¾ x,   Δ₂ = 3.5 − 7/16 x      mean Δ = 1.75 − 19/32 x        (∗)

    at x = 2:   y₁ = 0.5,   y₂ = 4.625,   Δ₁ = −1.5,   Δ₂ = 2.625,   mean Δ = 0.5625
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.papers.quadratic import Quadratic, bowl, run

from hansa import (
    Adagrad,
    Adam,
    Ditto,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    InProcess,
    Momentum,
    Plan,
    Scaffold,
    Sgd,
    State,
    Training,
    Uniform,
    Weigh,
    Yogi,
)

TWO_STEPS = Training(steps=2, batch=0, learning_rate=0.5)
ANNA, BERT = bowl(1.0, 0.0), bowl(0.5, 8.0)


def go(
    algorithm: Any, rounds: int, parties: dict[str, Any] | None = None, weigh: str = "one", **more: Any
) -> tuple[list[State], InProcess]:
    plan = Plan(Quadratic((2.0,)), algorithm, (Weigh(weigh),), rounds=rounds, **{"training": TWO_STEPS, **more})
    return run(plan, parties or {"anna": ANNA, "bert": BERT})


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-13)


def models(states: list[State]) -> list[float]:
    return [float(state.x[0]) for state in states]


def test_fedavg() -> None:
    # x₁ = 2 + 0.5625 = 2.5625
    # (∗) there: 1.75 − 19/32 · 2.5625 = 1.75 − 1.521484375 = 0.228515625, so x₂ = 2.791015625
    assert models(go(FedAvg(), 2)[0]) == [near(2.5625), near(2.791015625)]


def test_fedavg_weighs_by_examples() -> None:
    # n = 1 and 3:  ¼ · (−1.5) + ¾ · 2.625 = −0.375 + 1.96875 = 1.59375
    parties = {"anna": ANNA, "bert": bowl(0.5, 8.0, examples=3)}
    assert models(go(FedAvg(), 1, parties, "examples")[0]) == [near(3.59375)]


def test_fedavg_with_half_a_server_step() -> None:
    # 2 + ½ · 0.5625
    assert models(go(FedAvg(Sgd(0.5)), 1)[0]) == [near(2.28125)]


def test_reported_loss() -> None:
    # The mean over both steps, then over both clients.
    # anna: f₁(2) = 2, f₁(1) = 0.5, mean 1.25;   bert: f₂(2) = 9, f₂(3.5) = ¼ · 20.25 = 5.0625, mean 7.03125
    assert go(FedAvg(), 1)[0][0].metrics == {"loss": near(4.140625)}


def test_fedprox() -> None:
    # μ = 1 adds y − 2 to the gradient.
    # anna: 2 − ½ · 2 = 1;       then 1 − ½ (1 − 1) = 1                              Δ₁ = −1
    # bert: 2 − ½ · (−3) = 3.5;  then 3.5 − ½ (½ · (−4.5) + 1.5) = 3.5 + 0.375       Δ₂ = 1.875
    # x₁ = 2 + ½ (−1 + 1.875)
    assert models(go(FedProx(1.0), 1)[0]) == [near(2.4375)]


def test_fedavgm() -> None:
    # β = ½:  m₁ = 0.5625, x₁ = 2.5625;  (∗) gives 0.228515625, so m₂ = 0.28125 + 0.228515625 = 0.509765625
    assert models(go(FedAvg(Momentum(1.0, beta=0.5)), 2)[0]) == [near(2.5625), near(3.072265625)]


def adaptive(v1: float, v2: Any, b1: float) -> list[float]:
    """x₁ and x₂ with τ = ½, η = 1, from v₁ and v₂(v₁, Δ²); Δ by (∗)."""
    m1 = (1 - b1) * 0.5625
    x1 = 2 + m1 / (math.sqrt(v1) + 0.5)
    d2 = 1.75 - 19 / 32 * x1
    m2 = b1 * m1 + (1 - b1) * d2
    return [near(x1), near(x1 + m2 / (math.sqrt(v2(v1, d2 * d2)) + 0.5))]


def test_fedadagrad() -> None:
    # v₀ = τ² = 0.25;  v₁ = 0.25 + 0.5625² = 0.25 + 0.31640625
    want = adaptive(0.56640625, lambda v, dd: v + dd, b1=0.0)
    assert models(go(FedAvg(Adagrad(1.0, tau=0.5)), 2)[0]) == want


def test_fedadagrad_from_zero() -> None:
    # v₀ = 0, as Flower's FedAdagrad begins:  v₁ = 0.5625²
    want = adaptive(0.31640625, lambda v, dd: v + dd, b1=0.0)
    assert models(go(FedAvg(Adagrad(1.0, tau=0.5, v0=0.0)), 2)[0]) == want


def test_fedadam() -> None:
    # β₁ = ½, β₂ = ¾:  m₁ = ½ · 0.5625 = 0.28125;  v₁ = ¾ · 0.25 + ¼ · 0.31640625 = 0.2666015625
    want = adaptive(0.2666015625, lambda v, dd: 0.75 * v + 0.25 * dd, b1=0.5)
    assert models(go(FedAvg(Adam(1.0, b1=0.5, b2=0.75, tau=0.5)), 2)[0]) == want


def test_fedyogi() -> None:
    # Δ² = 0.31640625 > v₀ = 0.25, so v grows by ¼ Δ²: v₁ = 0.3291015625.
    # Then Δ is smaller: Δ² < v₁, so v shrinks by ¼ Δ² (not towards Δ², as Adam's would).
    want = adaptive(0.3291015625, lambda v, dd: v - 0.25 * dd, b1=0.5)
    assert models(go(FedAvg(Yogi(1.0, b1=0.5, b2=0.75, tau=0.5)), 2)[0]) == want


def test_scaffold() -> None:
    # Round 1, c = cᵢ = 0: FedAvg's. Kη = 1, so cᵢ⁺ = x − yᵢ: c₁ = 1.5, c₂ = −2.625, c = −0.5625.
    # Round 2 from 2.5625:
    # anna, shift −0.5625 − 1.5 = −2.0625:    2.5625 − ½ (2.5625 − 2.0625) = 2.3125;  − ½ (2.3125 − 2.0625) → 2.1875
    #   Δ₁ = −0.375,        c₁⁺ = 1.5 + 0.5625 + 0.375 = 2.4375
    # bert, shift −0.5625 + 2.625 = 2.0625:   2.5625 − ½ (−2.71875 + 2.0625) = 2.890625
    #                                         2.890625 − ½ (−2.5546875 + 2.0625) = 3.13671875
    #   Δ₂ = 0.57421875,    c₂⁺ = −2.625 + 0.5625 − 0.57421875 = −2.63671875
    # x₂ = 2.5625 + 0.099609375,   c = −0.5625 + ½ (0.9375 − 0.01171875) = −0.099609375 = ½ (c₁⁺ + c₂⁺)
    states, runtime = go(Scaffold(), 2)
    assert models(states) == [near(2.5625), near(2.662109375)]
    assert [float(state.memo["c"][0]) for state in states] == [near(-0.5625), near(-0.099609375)]
    memory = runtime.memory.of(["anna", "bert"])
    assert {who: float(client_state["c"][0]) for who, client_state in memory.items()} == {
        "anna": near(2.4375),
        "bert": near(-2.63671875),
    }


def test_scaffold_moves_c_by_the_share_that_took_part() -> None:
    # One of two: x₁ = y of the one, cᵢ⁺ = x − yᵢ, c = ½ · 1/1 · cᵢ⁺.
    (state,), _ = go(Scaffold(), 1, sample=Uniform(1))
    x1, c = {("anna",): (0.5, 0.75), ("bert",): (4.625, -1.3125)}[state.participants]
    assert (float(state.x[0]), float(state.memo["c"][0])) == (near(x1), near(c))


def test_fednova() -> None:
    # One epoch, one example in a batch: anna takes 1 step (2 → 1, Δ₁ = −1), bert with two examples 2 (Δ₂ = 2.625).
    # Each counts once:     mean τ = 1.5,             mean Δ/τ = ½ (−1 + 1.3125) = 0.15625,     x₁ = 2 + 0.234375
    # By examples, ⅓ ⅔:     mean τ = ⅓ + 4/3 = 5/3,   mean Δ/τ = −⅓ + ⅔ · 1.3125 = 13/24,       x₁ = 2 + 65/72
    parties, training = {"anna": ANNA, "bert": bowl(0.5, 8.0, examples=2)}, Training(batch=1, learning_rate=0.5)
    assert models(go(FedNova(), 1, parties, training=training)[0]) == [near(2.234375)]
    assert models(go(FedNova(), 1, parties, "examples", training=training)[0]) == [near(2 + 65 / 72)]


def test_fednova_with_momentum() -> None:
    # β = 0.9. anna as before: Δ₁ = −1, τ₁ = 1.
    # bert: m = −3, y = 3.5;  m = 0.9 · (−3) − 2.25 = −4.95, y = 3.5 + 2.475;  Δ₂ = 3.975
    # Its first gradient counts 1 + 0.9 times, its second once: τ₂ = 2.9.   mean τ = 1.95
    parties = {"anna": ANNA, "bert": bowl(0.5, 8.0, examples=2)}
    training = Training(batch=1, learning_rate=0.5, optimizer="momentum")
    want = 2 + 1.95 * (-1 + 3.975 / 2.9) / 2
    assert models(go(FedNova(), 1, parties, training=training)[0]) == [near(want)]


def test_feddyn() -> None:
    # Round 1 with α = 1 and gᵢ = 0: FedProx's local steps, y₁ = 1, y₂ = 3.875.
    # g₁ = 1, g₂ = −1.875;   h = −½ (−1 + 1.875) = −0.4375;   x₁ = 2 + 0.4375 + 0.4375
    # Round 2 from 2.875:
    # anna: 2.875 − ½ (2.875 − 1) = 1.9375;  1.9375 − ½ (1.9375 − 0.9375 − 1) = 1.9375         Δ₁ = −0.9375
    # bert: 2.875 − ½ (−2.5625 + 1.875) = 3.21875
    #       3.21875 − ½ (−2.390625 + 0.34375 + 1.875) = 3.3046875                              Δ₂ = 0.4296875
    # mean Δ = −0.25390625;   h = −0.4375 + 0.25390625 = −0.18359375;   x₂ = 2.875 − 0.25390625 + 0.18359375
    states, runtime = go(FedDyn(alpha=1.0), 2)
    assert models(states) == [near(2.875), near(2.8046875)]
    assert [float(state.memo["h"][0]) for state in states] == [near(-0.4375), near(-0.18359375)]
    memory = runtime.memory.of(["anna", "bert"])
    assert {who: float(client_state["g"][0]) for who, client_state in memory.items()} == {
        "anna": near(1.9375),
        "bert": near(-2.3046875),
    }


def test_feddyn_moves_h_by_the_share_that_took_part() -> None:
    # One of two: h = −½ Δ, x₁ = 2 + Δ + ½ Δ, with Δ = −1 or 1.875.
    (state,), _ = go(FedDyn(alpha=1.0), 1, sample=Uniform(1))
    delta = {("anna",): -1.0, ("bert",): 1.875}[state.participants]
    assert (float(state.x[0]), float(state.memo["h"][0])) == (near(2 + 1.5 * delta), near(-0.5 * delta))


def test_ditto() -> None:
    # The global model is FedAvg's. Personal models with λ = 1, in round 1 from x = 2: FedProx's, 1 and 3.875.
    # Round 2, pulled to x₁ = 2.5625:
    # anna: 1 − ½ (1 − 1.5625) = 1.28125;               1.28125 − ½ (1.28125 − 1.28125) = 1.28125
    # bert: 3.875 − ½ (−2.0625 + 1.3125) = 4.25;        4.25 − ½ (−1.875 + 1.6875) = 4.34375
    states, runtime = go(Ditto(lam=1.0), 2)
    assert models(states) == [near(2.5625), near(2.791015625)]
    memory = runtime.memory.of(["anna", "bert"])
    personal = {who: float(client_state["personal"][0]) for who, client_state in memory.items()}
    assert personal == {"anna": near(1.28125), "bert": near(4.34375)}
