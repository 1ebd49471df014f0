"""Algorithms that give each client a model of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from glob import escape

from ..algorithms import ClientState
from ..asks import Work
from ..data import Examples
from ..errors import PlanError, number
from ..models import Drift, Gradient, Model, Train
from ..models.parts import moves, paces
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, FedAvg, check_gradients, check_plain, own_model


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

    personal_model = own_model


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

    def plan(self, training: Training, model: Model) -> None:
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
        rate: float | Vector = training.learning_rate
        if training.rates:
            rate = rate * paces(model, training)
        losses = []
        for i, rows in enumerate(data.batches(training, at.key)):
            batch = Examples.of(rows)
            key = at.key.child("step", i)
            g = yield Gradient(w + self.alpha * (v - w), batch, key)
            fit = yield Train(w, batch, once, Drift(self.pull, centre=x), key)
            w = fit.x
            v = v - rate * self.alpha * g
            v[model.trainable :] = w[model.trainable :]  # statistics, which no gradient moves
            losses.append(fit.loss)
        loss = sum(losses) / len(losses)
        return {"delta": w - x, "loss": loss}, {**client_state, "v": v}

    def personal_model(self, broadcast: dict[str, Vector], client_state: ClientState) -> Vector:
        """v̄ with the global model that comes down; before the first training, x."""
        x = broadcast["x"]
        own: Vector = client_state.get("v", x)
        return x + self.alpha * (own - x)


@dataclass(frozen=True)
class PFedMe(FedAvg):
    """pFedMe: personal models θₖ in the Moreau envelope of a global one   (Dinh et al. 2020, Alg.
    1).

        θ ≈ argmin f(θ; B) + λ/2 ‖θ − w‖²              `inner` steps of SGD
        w ← w − rate · λ (w − θ)                       each batch
        x ← mean w

    θ goes on from batch to batch, and begins a round at x; the client uses the last one, and never
    says it. With `server=Sgd(β)` it is the paper's x ← (1 − β) x + β · mean w.
    """

    lam: float = 15.0
    rate: float = 0.05
    inner: int = 5

    remembers = True

    def __post_init__(self) -> None:
        super().__post_init__()
        right = number(self.lam) and number(self.rate) and number(self.inner, whole=True)
        if not (right and self.lam > 0 and 0 < self.rate * self.lam <= 1 and self.inner >= 1):
            raise PlanError(
                f"PFedMe(lam={self.lam}, rate={self.rate}, inner={self.inner}) finds no θ.",
                "λ > 0 weighs ‖θ − w‖²; w moves by the share rate·λ of the way to θ, which is at "
                "most 1; and `inner` counts steps.",
                "Write for example PFedMe(lam=15.0, rate=0.05, inner=5).",
            )

    def plan(self, training: Training, model: Model) -> None:
        """w and θ are whole vectors, beside each other."""
        check_plain("PFedMe", training, "θ is found by plain SGD.")
        if self.pull or model.traits.personal:
            raise PlanError(
                f"PFedMe cannot train {type(model).__name__} with pull={self.pull}.",
                "Its pull is λ, and all parts of θ are a client's own already.",
                "Leave `pull` out, and take the model without Personal(…).",
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
        """Find θ on each batch, and let w follow it; say the change of w."""
        x = broadcast["x"]
        w = x
        theta = x
        steps = replace(training, batch=0, steps=self.inner)
        losses = []
        for i, rows in enumerate(data.batches(training, at.key)):
            batch = Examples.of(rows)
            drift = Drift(self.lam, centre=w)
            fit = yield Train(theta, batch, steps, drift, at.key.child("step", i))
            theta = fit.x
            w = w - self.rate * self.lam * (w - theta)
            losses.append(fit.loss)
        loss = sum(losses) / len(losses)
        return {"delta": w - x, "loss": loss}, {**client_state, "personal": theta}

    personal_model = own_model


@dataclass(frozen=True)
class FedRep(FedAvg):
    """A shared body below heads of the clients' own, which are trained first   (Collins et al.
    2021, Alg. 1).

        hₖ ← train(hₖ; body x)             `head_epochs` epochs, of the head alone
        y  ← train(x; head hₖ)             as the plan says, of the body alone

    The head is what `Personal(model, keep=('head.*',))` keeps at home; where both are trained at
    once, by FedAvg(), it is FedPer.
    """

    head_epochs: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.head_epochs, whole=True) and self.head_epochs >= 1):
            raise PlanError(
                f"FedRep(head_epochs={self.head_epochs}) trains no head.",
                "It counts passes over a client's examples.",
                "Write a whole number from 1, such as FedRep(head_epochs=5).",
            )

    def plan(self, training: Training, model: Model) -> None:
        """There is a head that stays with each client, and a body that travels."""
        if not _heads(model, training) or not _bodies(model, training):
            raise PlanError(
                f"FedRep cannot train {type(model).__name__} with only={training.only!r}.",
                "It trains the parts that stay with a client, then those that travel, and one of "
                "both is missing.",
                "Say which parts stay, Personal(model, keep=('head.*',)), and leave `only` out.",
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
        """Train the head, then the body; say the change of the body."""
        x = broadcast["x"]
        head = replace(training, epochs=self.head_epochs, steps=None, only=_heads(model, training))
        body = replace(training, only=_bodies(model, training))
        yield Train(x, data, head, Drift(), at.key.child("head"))
        fit = yield Train(x, data, body, Drift(self.pull), at.key)
        return {"delta": fit.x - x, "loss": fit.loss}, client_state


def _heads(model: Model, training: Training) -> tuple[str, ...]:
    """The parts that a training moves and that stay with each client, as patterns."""
    return _moved(model, training, kept=True)


def _bodies(model: Model, training: Training) -> tuple[str, ...]:
    """The parts that a training moves and that travel, as patterns."""
    return _moved(model, training, kept=False)


def _moved(model: Model, training: Training, kept: bool) -> tuple[str, ...]:
    home = getattr(model, "kept", {})
    moved = (name for name, moves_it in moves(model, training).items() if moves_it)
    return tuple(escape(name) for name in moved if (name in home) == kept)
