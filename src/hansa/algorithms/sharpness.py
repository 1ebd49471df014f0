"""FedSAM: clients step along gradients of the worst point nearby."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..asks import Work
from ..data import Examples
from ..errors import PlanError, number
from ..models import Gradient, Model, Score
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, ClientState, FedAvg
from .finetuning import check_whole


@dataclass(frozen=True)
class FedSAM(FedAvg):
    """FedSAM: local steps of sharpness-aware minimisation   (Qu et al. 2022).

        ỹ ← y + ρ g/‖g‖,      g = ∇f(y; B)
        y ← y − η ∇f(ỹ; B)                              each batch
        x ← mean y

    A step takes two gradients of one batch. Where g = 0 it is that of FedAvg.
    """

    rho: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.rho) and 0 < self.rho < math.inf):
            raise PlanError(
                f"FedSAM(rho={self.rho}) looks nowhere but at the model itself.",
                "ρ is the distance at which the worst point is looked for.",
                "Write a positive number, such as FedSAM(rho=0.05); or take FedAvg().",
            )

    def plan(self, training: Training, model: Model) -> None:
        """Steps are SGD's, of a vector that gradients move as a whole."""
        check_whole(self, training, model)

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Step along gradients at the worst point nearby; say the change."""
        x = broadcast["x"]
        y = x
        for i, rows in enumerate(data.batches(training, at.key)):
            batch = Examples.of(rows)
            key = at.key.child("step", i)  # both gradients: of the same draws
            g = yield Gradient(y, batch, key)
            length = np.linalg.norm(g) or 1.0
            g = yield Gradient(y + self.rho * g / length, batch, key)
            y = y - training.learning_rate * g
        scores = yield Score(y, data)
        return {"delta": y - x, "loss": scores["loss"]}, client_state
