"""Algorithms that give each client a model of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..algorithms import ClientState
from ..asks import Work
from ..data import Examples
from ..errors import PlanError, number
from ..models import Drift, Gradient, Model, Train
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, FedAvg, check_gradients, check_plain


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


@dataclass(frozen=True)
class APFL(FedAvg):
    """FedAvg, and for each client a mixture v̄ of the global model and its own v   (Deng et al.
    2020, Alg. 1).

        v̄ = α v + (1 − α) w
        v ← v − η α ∇f(v̄),      w ← w − η ∇f(w)           each batch
        x ← mean w

    α = 0 is the global model, α = 1 training alone. The client uses v̄, remembers v, and says
    neither.
    """

    alpha: float = 0.5

    remembers = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.alpha) and 0 <= self.alpha <= 1):
            raise PlanError(
                f"APFL(alpha={self.alpha}) mixes nothing.",
                "α is the share of a client's own model, beside that of the global one.",
                "Write a number from 0 (the global model) to 1 (alone), such as APFL(alpha=0.5).",
            )

    def plan(self, training: Training) -> None:
        """Both models take steps of plain SGD, and v along a gradient that has no noise."""
        check_plain("APFL", training, "Its own models step beside the global one by plain SGD.")
        check_gradients("APFL", training)

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Step v and w by turns; say the change of w."""
        x = broadcast["x"]
        w = x
        v = client_state.get("v", x)
        once = replace(training, epochs=1, batch=0, steps=1)
        losses = []
        for i, rows in enumerate(data.batches(training, at.key)):
            batch = Examples.of(rows)
            key = at.key.child("step", i)
            g = yield Gradient(w + self.alpha * (v - w), batch, key)
            fit = yield Train(w, batch, once, Drift(self.pull, centre=x), key)
            w = fit.x
            v = v - training.learning_rate * self.alpha * g
            v[model.trainable :] = w[model.trainable :]  # statistics, which no gradient moves
            losses.append(fit.loss)
        loss = sum(losses) / len(losses)
        return {"delta": w - x, "loss": loss}, {**client_state, "v": v}

    def personal_model(self, broadcast: dict[str, Vector], client_state: ClientState) -> Vector:
        """v̄ with the global model that comes down; before the first training, x."""
        x = broadcast["x"]
        own: Vector = client_state.get("v", x)
        return x + self.alpha * (own - x)
