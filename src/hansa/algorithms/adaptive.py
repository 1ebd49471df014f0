"""FedALA: clients begin a round between their own model and the global one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..asks import Work
from ..data import Examples
from ..errors import PlanError, number
from ..models import Drift, Gradient, Model, Train
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, ClientState, FedAvg, check_gradients, own_model


@dataclass(frozen=True)
class FedALA(FedAvg):
    """FedALA: how much of each number of the global model a client takes, it learns   (Zhang et al.
    2023).

        θ ← vₖ + (x − vₖ) ⊙ w
        w ← clip(w − rate · ∇f(θ; B) ⊙ (x − vₖ), 0, 1)         each batch of an epoch
        vₖ ← train(θ),      x ← mean vₖ

    w is 1 at first, which takes all. The client remembers w and vₖ, uses vₖ, and says neither. All
    its examples and all numbers take part: what the paper calls s = 100 %, and p all layers. One
    epoch a round learns w, also in the first rounds, where the paper goes on until w stays.
    """

    rate: float = 1.0

    remembers = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.rate) and 0 < self.rate < math.inf):
            raise PlanError(
                f"FedALA(rate={self.rate}) learns no weights.",
                "It is the learning rate of w, the share of the global model that a client takes.",
                "Write a positive number, such as FedALA(rate=1.0).",
            )

    def plan(self, training: Training, model: Model) -> None:
        """w follows gradients, which have no noise."""
        check_gradients("FedALA", training)

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Learn what to take of x, then train from there; say the change from x."""
        x = broadcast["x"]
        own = client_state.get("personal", x)
        w = client_state.get("w", np.ones_like(x))
        start = own + (x - own) * w
        once = replace(training, epochs=1, steps=None)
        for i, rows in enumerate(data.batches(once, at.key.child("weights"))):
            g = yield Gradient(start, Examples.of(rows), at.key.child("weights", i))
            g[model.trainable :] = 0.0  # statistics come from x as a whole
            w = np.clip(w - self.rate * g * (x - own), 0.0, 1.0)
            start = own + (x - own) * w
        fit = yield Train(start, data, training, Drift(self.pull, centre=x), at.key)
        kept = {**client_state, "personal": fit.x, "w": w}
        return {"delta": fit.x - x, "loss": fit.loss}, kept

    personal_model = own_model
