"""Algorithms whose clients use the global model after some training on their own data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..asks import Work
from ..data import Examples
from ..errors import PlanError, number
from ..models import Drift, Gradient, Model, Score, Train
from ..spec import Vector
from ..training import Training
from ..transforms import Context
from . import Answer, ClientState, FedAvg, check_gradients, check_plain, full_gradient, own_model


@dataclass(frozen=True)
class FineTuned(FedAvg):
    """FedAvg; each client uses the global model as it has trained it further   (Wang et al. 2019).

        vₖ ← train(x, dataₖ)

    `tuning` is how; where it is None, as in a round, so that vₖ is what the client has trained
    anyway. With Training(only=('body.*',)) in the plan, and `tuning` of the head, it is FedBABU (Oh
    et al. 2022). The client remembers vₖ of the last round that it took part in, and never says it.
    """

    tuning: Training | None = None

    remembers = True

    def plan(self, training: Training, model: Model) -> None:
        """Noise for single examples is the same in both trainings."""
        if self.tuning is not None and self.tuning.private != training.private:
            raise PlanError(
                f"FineTuned(tuning={self.tuning!r}) has other noise than the plan's training.",
                "Both read the same examples, and the plan's ε counts its own noise alone.",
                f"Write private={training.private!r} in `tuning` as well.",
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
        """FedAvg's round; then the tuning, which starts from the x that came down."""
        x = broadcast["x"]
        fit = yield Train(x, data, training, Drift(self.pull), at.key)
        own = fit
        if self.tuning is not None:
            own = yield Train(x, data, self.tuning, Drift(), at.key.child("tuning"))
        parts = {"delta": fit.x - x, "loss": fit.loss}
        return parts, {**client_state, "personal": own.x}

    personal_model = own_model


@dataclass(frozen=True)
class PerFedAvg(FedAvg):
    """Per-FedAvg (FO): a global model that is good after one step   (Fallah et al. 2020, Alg. 1).

        ỹ ← y − α ∇f(y; B),      y ← y − η ∇f(ỹ; B′)           B, B′: one batch and the next
        vₖ ← x − α ∇fₖ(x)

    It is the first-order form, which leaves the Hessian out. An epoch has as many steps as batches;
    the last one's B′ is the first batch. The client uses vₖ, a step of all its examples.
    """

    alpha: float = 0.01

    remembers = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.alpha) and 0 < self.alpha < math.inf):
            raise PlanError(
                f"PerFedAvg(alpha={self.alpha}) adapts nothing.",
                "α is the learning rate of the step that a client takes from the global model.",
                "Write a positive number, such as PerFedAvg(alpha=0.01).",
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
        """Step along gradients after a step; then adapt the x that came down."""
        x = broadcast["x"]
        y = x
        batches = [Examples.of(rows) for rows in data.batches(training, at.key)]
        for i, batch in enumerate(batches):
            after = batches[(i + 1) % len(batches)]
            g = yield Gradient(y, batch, at.key.child("adapt", i))
            g = yield Gradient(y - self.alpha * g, after, at.key.child("step", i))
            y = y - training.learning_rate * g
        scores = yield Score(x, data)
        g = yield from full_gradient(x, data, training, at.key.child("gradient"))
        own = x - self.alpha * g
        return {"delta": y - x, "loss": scores["loss"]}, {**client_state, "personal": own}

    personal_model = own_model


def check_whole(algorithm: FedAvg, training: Training, model: Model) -> None:
    """Raise PlanError where an algorithm that steps along gradients at another point cannot: its
    steps are SGD's, of a vector that they move as a whole.
    """
    name = type(algorithm).__name__
    check_plain(name, training, "Its steps follow gradients at another point.")
    check_gradients(name, training)
    traits = model.traits
    stays = model.trainable < model.size or traits.personal or traits.statistics
    if training.rates or training.only or algorithm.pull or stays:
        raise PlanError(
            f"{name} cannot train {type(model).__name__} with pull={algorithm.pull}, "
            f"only={training.only!r}, rates={training.rates!r}.",
            "It steps along gradients of the whole vector, which move no running statistics "
            "(a client's own neither), no parts that stay with a client, and all others at one "
            "rate.",
            "Leave pull, only and rates out, take a model without BatchNorm's statistics; or "
            "take FineTuned() or Ditto().",
        )
