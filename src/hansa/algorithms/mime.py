"""Mime: clients that step with a momentum which the server keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..asks import Work
from ..data import Examples
from ..errors import PlanError, number
from ..models import Drift, Model, Train
from ..optim import ServerState
from ..rand import Key
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, ClientState, FedAvg, check_gradients, check_plain, full_gradient


@dataclass(frozen=True)
class MimeLite(FedAvg):
    """MimeLite, of SGD with momentum   (Karimireddy et al. 2021, Alg. 1).

        y ← y − η ((1 − β) g(y) + β m)                      K times
        x ← x + mean (y − x),      m ← (1 − β) · mean ∇f(x) + β m

    m stays as it is while clients step, and grows from gradients at the global model alone, so it
    is no client's drift. β = 0 is FedAvg.
    """

    beta: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.beta) and 0 <= self.beta < 1):
            raise PlanError(
                f"MimeLite(beta={self.beta}) is no momentum.",
                "β is the share of the old momentum in a step, and 1 − β that of the gradient.",
                "Write a number from 0 to below 1, such as MimeLite(beta=0.9).",
            )

    def plan(self, training: Training, model: Model) -> None:
        """Local steps are the server's: plain SGD, along its momentum."""
        check_plain("MimeLite", training, "The one momentum of its steps is that of the server.")
        check_gradients("MimeLite", training)

    def blocks(self, d: int) -> dict[str, int]:
        """The update, and the gradient at x."""
        return {"delta": d, "gradient": d}

    def start(self, x: Vector, key: Key) -> ServerState:
        """m = 0."""
        return {**super().start(x, key), "m": np.zeros_like(x)}

    def broadcast(self, x: Vector, memo: ServerState) -> dict[str, Vector]:
        """The model and m."""
        return {"x": x, "m": memo["m"]}

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Train with drift β/(1 − β)·m at the rate (1 − β)·η; say the gradient at x too."""
        x = broadcast["x"]
        rest = 1 - self.beta
        steps = replace(training, learning_rate=rest * training.learning_rate)
        drift = Drift(self.pull, shift=self.beta / rest * broadcast["m"])
        g = yield from full_gradient(x, data, training, at.key.child("gradient"))
        fit = yield Train(x, data, steps, drift, at.key)
        return {"delta": fit.x - x, "gradient": g, "loss": fit.loss}, client_state

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """Step x, and renew m."""
        m = (1 - self.beta) * mean["gradient"] + self.beta * memo["m"]
        x, memo = super().step(x, memo, mean, at)
        return x, {**memo, "m": m}
