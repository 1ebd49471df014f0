"""Algorithms: what a client computes, and what the server does with the mean of what clients say.

Each says some blocks of the model's length (`blocks`) and some side values (`side`, with their
bounds). Masks, encryption, proofs, clipping and noise apply to all of them unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from ..asks import Work
from ..data import Examples
from ..data.batches import length, mass
from ..errors import PlanError, number
from ..models import Drift, Gradient, Model, Train
from ..models.parts import paces
from ..optim import Optimizer, ServerState, Sgd, stepped
from ..rand import Key
from ..spec import Bound, Interval, Vector
from ..training import MOMENTUM, Training
from ..transforms import Context

Parts = dict[str, Any]  # block name → vector or number; "loss" is always among them
ClientState = dict[str, Any]  # what a client remembers between rounds
PIPE = "pipe"  # where in it the plan keeps what transforms remember, which no algorithm sees
Answer = tuple[Parts, ClientState]  # what a client says, and what it remembers


class Algorithm(Protocol):
    """A federated algorithm: six functions between values, and no state of its own."""

    def plan(self, training: Training, model: Model) -> None:
        """Raise PlanError where the algorithm's mathematics does not hold for this training, or for
        this model.
        """
        ...

    def blocks(self, d: int) -> dict[str, int]:
        """What a client says of a model of size d: name → length."""
        ...

    def side(self) -> Mapping[str, Bound]:
        """What it says beside them: name → bound, infinite where there is none; scalars, but for
        `Counts`.
        """
        ...

    def start(self, x: Vector, key: Key) -> ServerState:
        """What the server remembers before the first round; it may draw from `key`, which is
        public.
        """
        ...

    def broadcast(self, x: Vector, memo: ServerState) -> dict[str, Vector]:
        """What the server tells every client."""
        ...

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer] | Answer:
        """One client's round: what it says, and what it remembers itself.

        A generator, which asks for what is done on the client: `fit = yield Train(…)`,
        `g = yield Gradient(…)`, `scores = yield Score(…)`. A plain function may give both where
        there is nothing to ask.
        """
        ...

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """The next model from the mean of `at.n` clients out of `at.population`.

        Where `at.overwrite`, it may be made in the memory of the mean.
        """
        ...


@dataclass(frozen=True)
class FedAvg:
    """Say Δ = y − x; step with the mean:  x ← x + Σ (nₖ/n) Δₖ   (McMahan et al. 2017, Alg. 1).

    `server` steps otherwise than by plain addition (FedAvgM, FedAdam, FedYogi, FedAdagrad: Reddi et
    al. 2021). `pull` = μ > 0 adds μ/2 ‖y − x‖² to every client's loss, which makes it FedProx (Li
    et al. 2020, Alg. 2).
    """

    server: Optimizer = field(default_factory=Sgd)
    pull: float = 0.0

    remembers: ClassVar[bool] = False  # do clients remember something from round to round?

    def __post_init__(self) -> None:
        if isinstance(self.server, type) or not (
            hasattr(self.server, "start") and hasattr(self.server, "step")
        ):
            raise PlanError(
                f"{type(self).__name__}(server={self.server!r}) cannot step.",
                "The server steps with an optimizer: a value with `start` and `step`.",
                "Write Sgd(), Momentum(), Adam(), Yogi() or Adagrad().",
            )
        if not (number(self.pull) and 0 <= self.pull < math.inf):
            raise PlanError(
                f"{type(self).__name__}(pull={self.pull}) pushes clients away from the model.",
                "μ ≥ 0 weighs ‖y − x‖² in the local loss.",
                "Write 0 for FedAvg, or a small positive number such as 0.01 for FedProx.",
            )

    def plan(self, training: Training, model: Model) -> None:
        """Any training will do."""

    def blocks(self, d: int) -> dict[str, int]:
        """The update."""
        return {"delta": d}

    def side(self) -> Mapping[str, Bound]:
        """Nothing."""
        return {}

    def start(self, x: Vector, key: Key) -> ServerState:
        """The server optimizer's memory."""
        return {"opt": self.server.start(x)}

    def broadcast(self, x: Vector, memo: ServerState) -> dict[str, Vector]:
        """The model."""
        return {"x": x}

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Train from x, with the pull; say the change."""
        fit = yield Train(broadcast["x"], data, training, Drift(self.pull), at.key)
        return {"delta": fit.x - broadcast["x"], "loss": fit.loss}, client_state

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """The server optimizer's step along the mean update."""
        x, opt = stepped(self.server, x, mean["delta"], memo["opt"], at.overwrite)
        return x, {**memo, "opt": opt}


def FedProx(mu: float, server: Optimizer | None = None) -> FedAvg:
    """FedAvg whose clients minimise F_k(y) + μ/2 ‖y − x‖²   (Li et al. 2020, eq. 2)."""
    return FedAvg(server or Sgd(), pull=mu)


@dataclass(frozen=True)
class Scaffold(FedAvg):
    """SCAFFOLD, option II   (Karimireddy et al. 2020, Alg. 1).

        y  ← y − η (g(y) + c − cᵢ)                     K times
        cᵢ⁺ = cᵢ − c + (x − y) / (K η)
        x  ← x + η_g · mean (y − x),      c ← c + (S/N) · mean (cᵢ⁺ − cᵢ)

    S clients of N take part. The client remembers cᵢ. Where parts have learning rates of their own,
    η is that of each number; a part whose rate is 0 has no control.
    """

    remembers = True

    def plan(self, training: Training, model: Model) -> None:
        """Option II divides by K·η, which is right for plain SGD alone."""
        check_plain(
            "Scaffold",
            training,
            "It reads a client's mean gradient off the distance it moved, (x − y)/(K·η): right for "
            "plain SGD alone.",
        )

    def blocks(self, d: int) -> dict[str, int]:
        """The update and the change of the control variate."""
        return {"delta": d, "control": d}

    def start(self, x: Vector, key: Key) -> ServerState:
        """c = 0."""
        return {**super().start(x, key), "c": np.zeros_like(x)}

    def broadcast(self, x: Vector, memo: ServerState) -> dict[str, Vector]:
        """The model and c."""
        return {"x": x, "c": memo["c"]}

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Train with drift c − cᵢ; renew cᵢ."""
        x = broadcast["x"]
        c = broadcast["c"]
        ci = client_state.get("c", np.zeros_like(c))
        fit = yield Train(x, data, training, Drift(self.pull, shift=c - ci), at.key)
        g = (x - fit.x) / (fit.steps * training.learning_rate)
        if training.rates:
            pace = paces(model, training)
            g = np.divide(g, pace, out=np.zeros_like(g), where=pace > 0)
        new = ci - c + g
        new[model.trainable :] = 0.0  # what no gradient moves needs no control
        return {"delta": fit.x - x, "control": new - ci, "loss": fit.loss}, {
            **client_state,
            "c": new,
        }

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """Step x, and move c by the share of the clients that took part."""
        x, memo = super().step(x, memo, mean, at)
        share = at.spec.noise.share or at.n / at.population
        c = np.multiply(mean["control"], share, out=mean["control"] if at.overwrite else None)
        c += memo["c"]
        return x, {**memo, "c": c}


@dataclass(frozen=True)
class FedNova(FedAvg):
    """Normalised averaging:  x ← x + (Σ pᵢ τᵢ) · Σ pᵢ Δᵢ/τᵢ   (Wang et al. 2020, eq. 6).

    τᵢ = ‖aᵢ‖₁ weighs client i's gradients: the number of steps K for SGD, Σₛ (1 − βˢ)/(1 − β), s =
    1 … K, for local momentum β = 0.9 (ibid., §4). `most` bounds τᵢ, which noise and integers need.
    """

    most: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.most) and self.most > 1):
            raise PlanError(
                f"FedNova(most={self.most}) leaves no step.",
                "It bounds τ, the number of local steps: with one alone there is nothing to "
                "normalise.",
                "Write for example FedNova(most=100), or leave it out.",
            )

    def plan(self, training: Training, model: Model) -> None:
        """τᵢ is known for SGD, with and without momentum."""
        if training.optimizer not in ("sgd", "momentum") or training.weight_decay or self.pull:
            raise PlanError(
                f"FedNova cannot normalise optimizer={training.optimizer!r}, "
                f"weight_decay={training.weight_decay:g}, "
                f"pull={self.pull:g}.",
                "It divides by how much the local optimizer adds up its gradients, known here for "
                "SGD and momentum.",
                "Write Training(optimizer='sgd' or 'momentum', weight_decay=0.0) and no pull, or "
                "take FedAvg.",
            )

    def side(self) -> Mapping[str, Bound]:
        """τᵢ, of one step at least."""
        return {"tau": Interval(1.0, self.most)}

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Say Δ/τ and τ."""
        fit = yield Train(broadcast["x"], data, training, Drift(), at.key)
        tau = min(steps_weight(fit.steps, training), self.most)
        delta = fit.x - broadcast["x"]
        delta[: model.trainable] /= tau
        return {"delta": delta, "tau": tau, "loss": fit.loss}, client_state

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """The mean τ times the mean normalised update."""
        delta = np.multiply(mean["delta"], mean["tau"], out=mean["delta"] if at.overwrite else None)
        return super().step(x, memo, {**mean, "delta": delta}, at)


def steps_weight(steps: int, training: Training) -> float:
    """‖a‖₁ of K local steps: K for SGD, Σₛ (1 − βˢ)/(1 − β) for momentum β   (Wang et al. 2020,
    §4).
    """
    if training.optimizer != "momentum":
        return float(steps)
    beta = MOMENTUM
    return (steps - beta * (1 - beta**steps) / (1 - beta)) / (1 - beta)


@dataclass(frozen=True)
class FedDyn(FedAvg):
    """Dynamic regularisation   (Acar et al. 2021, Alg. 1).

        yₖ ≈ argmin_y Lₖ(y) − ⟨gₖ, y⟩ + α/2 ‖y − x‖²,      gₖ ← gₖ − α (yₖ − x)
        h  ← h − α (S/N) · mean (yₖ − x),                  x ← x + mean (yₖ − x) − h/α

    S clients of N take part; the client remembers gₖ. With Weigh('one') the mean is the paper's;
    with Weigh('examples') it minimises Σ (nₖ/n) Lₖ instead of Σ Lₖ/N.
    """

    alpha: float = 0.01

    remembers = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (number(self.alpha) and 0 < self.alpha < math.inf):
            raise PlanError(
                f"FedDyn(alpha={self.alpha}) cannot regularise.",
                "α weighs ‖y − x‖² and divides h, so it must be positive.",
                "Write for example FedDyn(alpha=0.01).",
            )
        if self.pull or not isinstance(self.server, Sgd) or self.server.lr != 1:
            raise PlanError(
                f"{self!r} is not FedDyn.",
                "Its pull is α, and its server adds the mean and −h/α as they are.",
                "Leave `server` and `pull` out: FedDyn(alpha=…).",
            )

    def start(self, x: Vector, key: Key) -> ServerState:
        """h = 0."""
        return {**super().start(x, key), "h": np.zeros_like(x)}

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> Work[Answer]:
        """Train with drift α(y − x) − gₖ; renew gₖ."""
        x = broadcast["x"]
        g = client_state.get("g", np.zeros_like(x))
        fit = yield Train(x, data, training, Drift(self.alpha, shift=-g), at.key)
        return {"delta": fit.x - x, "loss": fit.loss}, {
            **client_state,
            "g": g - self.alpha * (fit.x - x),
        }

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """Move h, then x."""
        h = memo["h"] - self.alpha * (at.spec.noise.share or at.n / at.population) * mean["delta"]
        x = np.add(x, mean["delta"], out=mean["delta"] if at.overwrite else None)
        x -= h / self.alpha
        return x, {**memo, "h": h}


def own_model(algorithm: FedAvg, broadcast: dict[str, Vector], client_state: ClientState) -> Vector:
    """`personal_model` of algorithms whose clients remember one as "personal": what it was after
    the last round that the client took part in; before the first, x.
    """
    return client_state.get("personal", broadcast["x"])  # type: ignore[no-any-return]


def check_plain(name: str, training: Training, why: str) -> None:
    """Raise PlanError for local steps other than plain SGD's."""
    if training.optimizer != "sgd" or training.weight_decay:
        raise PlanError(
            f"{name} cannot use optimizer={training.optimizer!r}, "
            f"weight_decay={training.weight_decay:g}.",
            why,
            "Write Training(optimizer='sgd', weight_decay=0.0), or take FedAvg.",
        )


def check_gradients(name: str, training: Training) -> None:
    """Raise PlanError where no gradient may be asked for: it has no noise for single examples, and
    is not clipped.
    """
    if training.clip is not None:
        raise PlanError(
            f"{name} cannot train with clip={training.clip}.",
            "It asks for gradients beside its trainings, and these are not clipped.",
            "Take FedAvg or Scaffold, or leave `clip` out of the Training.",
        )
    if training.private:
        raise PlanError(
            f"{name} cannot train with {training.private!r}.",
            "It asks for gradients beside its trainings, and no noise hides an example in these.",
            "Take FedAvg or Scaffold, or leave `private` out of the Training.",
        )


def full_gradient(x: Vector, data: Examples, training: Training, key: Key) -> Work[Vector]:
    """∇f(x) over all examples, as the mean of those of batches: in the memory of a training."""
    once = replace(training, epochs=1, steps=None)
    if once.last == "drop":
        once = replace(once, last="merge")  # so that all examples count
    total = np.zeros_like(x)
    n = 0
    whole = 0.0
    for batch in data.batches(once, key):
        g = yield Gradient(x, Examples.of(batch), key.child("batch", n))
        total += mass(batch) * g
        n += length(batch)
        whole += mass(batch)
    return total / whole
