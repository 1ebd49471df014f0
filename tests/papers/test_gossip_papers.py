"""Gossip on quadratics with different optima, where everything is known in closed form.

Sixteen peers on a ring, fᵢ(y) = ½ aᵢ (y − bᵢ)², exact gradients, one local step. The fixed point of D-PSGD solves a
linear system, which is solved here and compared; that of gradient tracking is the optimum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.papers.quadratic import Quadratic, bowl, optimum

import hansa as h
from hansa.loops.gossip import post_office
from hansa.plan import peers

NAMES = [f"peer-{i:02d}" for i in range(16)]
RNG = np.random.default_rng(5)
A = RNG.uniform(0.6, 1.4, 16)
B = RNG.normal(0, 10, 16)
PARTIES = {who: bowl(a, b) for who, a, b in zip(NAMES, A, B, strict=True)}
BEST = float(optimum(PARTIES)[0])


def ended(algorithm: Any, step: float, rounds: int, steps: int = 1, graph: Any = h.Ring()) -> Any:
    """The peers' own models after so many rounds."""
    training = h.Training(steps=steps, batch=0, learning_rate=step)
    p = h.Plan(Quadratic((0.0,)), algorithm, (h.Weigh("one"),), training=training, rounds=rounds)
    runtime = h.InProcess([h.Client(who, p, data) for who, data in PARTIES.items()])
    *_, last = h.gossip(p, runtime, graph=graph)
    memory = runtime.memory.after(last.counted)
    office = post_office(p, graph, NAMES)
    return np.array([office.model_of(last, who, memory[who][peers.PEER])[0] for who in NAMES])


def fixed(step: float) -> Any:
    """Where x = W (x − η a (x − b)) stays."""
    w = h.Ring().among(NAMES).matrix()
    return np.linalg.solve(np.eye(16) - w @ np.diag(1 - step * A), step * w @ (A * B))


@pytest.mark.promise("P606")
def test_plain_gossip_ends_off_the_optimum_by_what_the_step_says() -> None:
    off = []
    for step, rounds in ((0.6, 20), (0.15, 60)):
        models = ended(h.FedAvg(), step, rounds)
        assert np.allclose(models, fixed(step), rtol=0, atol=0.01)
        off.append(np.linalg.norm(models - BEST))
    assert off[0] > 1.4 * off[1] > 3.0
    small = np.linalg.norm(fixed(1e-5) - BEST)
    assert small < 0.01


@pytest.mark.promise("P606")
def test_gradient_tracking_ends_on_the_optimum() -> None:
    """SCAFFOLD without a server: one block more on the wire, and the peers' optima may differ."""
    far = [abs(ended(h.Scaffold(), 0.3, rounds, 2, graph=h.Torus()) - BEST).max() for rounds in (40, 80)]
    assert far[1] < 1e-5 and far[1] < far[0] / 100


def test_scaffold_among_peers_is_gradient_tracking_with_local_steps() -> None:
    """K-GT (Liu et al. 2024): cᵢ ← cᵢ − zᵢ + Σⱼ W zⱼ, xᵢ ← Σⱼ W (xⱼ − K η zⱼ), zᵢ = (x − y)/(K η); written out."""
    steps, eta = 3, 0.1
    w = h.Ring().among(NAMES).matrix()
    x, c = np.zeros(16), np.zeros(16)
    for _ in range(9):
        y = x.copy()
        for _ in range(steps):
            y = y - eta * (A * (y - B) + c)
        z = (x - y) / (steps * eta)
        c = c - z + w @ z
        x = w @ (x - steps * eta * z)
    assert np.allclose(ended(h.Scaffold(), eta, 9, steps), x, rtol=0, atol=1e-11)


def test_local_steps_between_mixings_are_those_of_the_paper() -> None:
    """Koloskova et al. 2020, Alg. 1: xᵢ ← Σⱼ W (xⱼ after K steps of its own)."""
    w = h.Base(1).among(NAMES)
    x = np.zeros(16)
    for t in range(9):
        y = x
        for _ in range(2):
            y = y - 0.1 * A * (y - B)
        x = w.matrix(t) @ y
    assert np.allclose(ended(h.FedAvg(), 0.1, 9, 2, graph=h.Base(1)), x, rtol=0, atol=1e-12)
