"""Boosting: trees that many clients grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..algorithms import Answer, ClientState
from ..asks import Work
from ..data import Examples
from ..models import Drift, Model, Train
from ..optim import ServerState
from ..rand import Key
from ..spec import Bound, Vector
from ..training import Training
from ..transforms import Context


@dataclass(frozen=True)
class Boosting:
    """Each client boosts the model on its own data and says the new trees; the server appends them
    all.

        x ← [x, share₁, T₁, share₂, T₂, …],      shareₖ = nₖ/n, or 1/K with Weigh('one')

    K clients are in the round. The model is one that grows, such as `XgboostModel`, and the
    aggregator is `Ensemble`.
    """

    def plan(self, training: Training, model: Model) -> None:
        """The model says which training will do."""

    def blocks(self, d: int) -> dict[str, int]:
        """The new trees, and how much they count: one as the client says it."""
        return {"share": 1, "trees": d - 1}

    def side(self) -> Mapping[str, Bound]:
        """Nothing."""
        return {}

    def start(self, x: Vector, key: Key) -> ServerState:
        """Nothing."""
        return {}

    def broadcast(self, x: Vector, memo: ServerState) -> dict[str, Vector]:
        """The trees so far."""
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
        """Grow trees; say what stands behind x afterwards."""
        fit = yield Train(broadcast["x"], data, training, Drift(), at.key)
        share, trees = np.split(fit.x[len(broadcast["x"]) :], [1])
        return {"share": share, "trees": trees, "loss": fit.loss}, client_state

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """Append the shares and trees of all clients, which come as rows."""
        rows = np.concatenate([mean["share"], mean["trees"]], axis=-1)
        return np.concatenate([x, rows.ravel()]), memo
