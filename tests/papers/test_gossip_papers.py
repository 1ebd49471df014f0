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
    assert np.linalg.norm(ended(h.Scaffold(), 0.25, 110, graph=h.Torus()) - BEST) < 1e-10


def tracked(step: float, rounds: int, steps: int, graph: Any) -> Any:
    """K-GT (Liu et al. 2024): cᵢ ← cᵢ − zᵢ + Σⱼ W zⱼ, xᵢ ← Σⱼ W (xⱼ − K η zⱼ), zᵢ = (x − y)/(K η); written out."""
    w = graph.among(NAMES).matrix()
    x, c = np.zeros(16), np.zeros(16)
    for _ in range(rounds):
        y = x.copy()
        for _ in range(steps):
            y = y - step * (A * (y - B) + c)
        z = (x - y) / (steps * step)
        c = c - z + w @ z
        x = w @ (x - steps * step * z)
    return x


@pytest.mark.promise("P606")
def test_how_fast_gradient_tracking_gets_there_hangs_on_graph_and_step() -> None:
    """On a ring of sixteen, λ = 0.949, a small step gets there in 1,000 rounds, and a large one is 3,000 from it."""
    far = {step: np.linalg.norm(tracked(step, 1000, 1, h.Ring()) - BEST) for step in (0.03, 0.3)}
    assert far[0.03] < 1e-10 and 1e-3 < far[0.3] < 0.1
    assert np.linalg.norm(tracked(0.03, 2000, 1, h.Ring()) - BEST) < 1e-12
    assert np.allclose(ended(h.Scaffold(), 0.03, 40), tracked(0.03, 40, 1, h.Ring()), rtol=0, atol=1e-11)


def test_scaffold_among_peers_is_gradient_tracking_with_local_steps() -> None:
    assert np.allclose(ended(h.Scaffold(), 0.1, 9, 3), tracked(0.1, 9, 3, h.Ring()), rtol=0, atol=1e-11)


def test_gradient_tracking_of_one_step_is_that_of_the_books() -> None:
    """x ← W (x − η y), y ← W y + ∇f(x⁺) − ∇f(x), from y = ∇f(x): the same models, to the last digits."""
    w = h.Torus().among(NAMES).matrix()
    x = np.zeros(16)
    y = A * (x - B)
    for _ in range(30):
        new = w @ (x - 0.2 * y)
        y = w @ y + A * (new - B) - A * (x - B)
        x = new
    assert np.allclose(tracked(0.2, 30, 1, h.Torus()), x, rtol=0, atol=1e-12)


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
