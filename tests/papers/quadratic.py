"""Quadratic losses with exact gradients: what papers' claims and cases by hand are computed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hansa import Client, InProcess, Key, Plan, State, Training, synchronous
from hansa import data as local
from hansa.models import Drift, Model, TrainResult
from hansa.training import MOMENTUM


@dataclass(frozen=True)
class Quadratic(Model):
    """f(y) = mean over examples of ½ Σⱼ aⱼ (yⱼ − bⱼ)²; an example is (a, b), each [d]; training starts at `first`."""

    first: tuple[float, ...] = (0.0,)

    @property
    def size(self) -> int:
        return len(self.first)

    def start(self, key: Key) -> Any:
        return np.array(self.first)

    def train(self, x: Any, data: Any, training: Training, drift: Drift, key: Key, *own: Any) -> TrainResult:
        """y ← y − η m,  m ← β m + mean a (y − b) + pull·(y − x₀) + shift,  with β = 0 for plain SGD."""
        y, m, losses = np.array(x), np.zeros(self.size), []
        centre = x if drift.centre is None else drift.centre
        beta = MOMENTUM if training.optimizer == "momentum" else 0.0
        for batch in data.batches(training, key):
            a, b = local.pair(batch)
            losses.append(float((a * (y - b) ** 2).sum() / 2 / len(a)))
            g = (a * (y - b)).mean(0) + drift.pull * (y - centre)
            m = beta * m + g + (0.0 if drift.shift is None else drift.shift)
            y = y - training.learning_rate * m
        return TrainResult(y, len(losses), float(np.mean(losses)))

    def score(self, x: Any, data: Any, *own: Any) -> dict[str, float]:
        a, b = data.arrays
        return {"loss": float((a * (x - b) ** 2).sum() / 2 / len(a))}


def bowl(a: Any, b: Any, examples: int = 1) -> tuple[Any, Any]:
    """A client's data: the same quadratic, as often as it has examples."""
    return tuple(np.repeat(np.atleast_2d(np.asarray(value, float)), examples, axis=0) for value in (a, b))


def optimum(parties: dict[str, tuple[Any, Any]], weights: Any = None) -> Any:
    """argmin Σ wₖ fₖ = Σ wₖ aₖ bₖ / Σ wₖ aₖ."""
    A, B = (np.stack([part.mean(0) for part in parts]) for parts in zip(*parties.values(), strict=True))
    w = np.ones(len(A))[:, None] if weights is None else np.asarray(weights, float)[:, None]
    return (w * A * B).sum(0) / (w * A).sum(0)


def run(plan: Plan, parties: dict[str, Any], loop: Any = synchronous, **network: Any) -> tuple[list[State], InProcess]:
    """All states of a run, and the runtime, for what its clients remember."""
    runtime = InProcess([Client(who, plan, data) for who, data in parties.items()], **network)
    return list(loop(plan, runtime)), runtime
