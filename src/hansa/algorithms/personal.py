"""Algorithms that give each client a model of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..algorithms import ClientState
from ..data import Examples
from ..errors import PlanError, number
from ..models import Drift, Model, Train
from ..models.asks import Work
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, FedAvg


@dataclass(frozen=True)
class Ditto(FedAvg):
    """FedAvg, and beside it one personal model vₖ for each client   (Li et al. 2021, Alg. 1).

        vₖ ← vₖ − η (∇Fₖ(vₖ) + λ (vₖ − x))

    λ → 0 is training alone, λ → ∞ the global model. The client remembers vₖ and never says it.
    """

    lam: float = 0.1

    remembers = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.lam) and 0 <= self.lam < math.inf):
            raise PlanError(
                f"Ditto(lam={self.lam}) pushes personal models away from the global one.",
                "λ ≥ 0 weighs ‖v − x‖² in the personal loss.",
                "Write a number from 0 (alone) upwards, for example Ditto(lam=0.1).",
            )

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """FedAvg's round, then the personal model's, pulled to the x that came down."""
        parts, client_state = yield from super().client(
            model, broadcast, client_state, data, training, at
        )
        x = broadcast["x"]
        key = at.key.child("personal")
        own = self.personal_model(broadcast, client_state)
        fit = yield Train(own, data, training, Drift(self.lam, centre=x), key)
        return parts, {**client_state, "personal": fit.x}

    def personal_model(self, broadcast: dict[str, Vector], client_state: ClientState) -> Vector:
        """vₖ after its last training; before the first, x."""
        return client_state.get("personal", broadcast["x"])  # type: ignore[no-any-return]
