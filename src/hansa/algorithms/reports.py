"""What clients report beside the update: how well the global model does on their held-out examples,
and the model that each uses itself.

    loss          of training
    val_NAME      a score of the global model
    personal_NAME the same of the client's own, where it has one

An algorithm that gives each client a model of its own has one function more than the others:

    personal_model(broadcast, client_state) -> Vector | None

It names that model [size], from what the server tells and what the client remembers; None where it
is the global one, as it must be for who remembers nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data import Examples
from ..models import NO_LOCAL, Local, Model, Score
from ..models.asks import Work
from ..spec import Bound, Interval, Vector, ends
from ..training import Training

GLOBAL = "val_"
PERSONAL = "personal_"
# ‖v − x‖ / (1 + ‖x‖) of a client's own model v: further off, float32 cannot tell v from v + x
FURTHEST = 2.0**24


def personal(model: Model, algorithm: Any) -> bool:
    """Does each client have a model of its own: by the algorithm, or by parts that it keeps?"""
    return hasattr(algorithm, "personal_model") or model.personal


def personal_model(
    algorithm: Any, broadcast: Mapping[str, Vector], client_state: Mapping[str, Any]
) -> tuple[Vector, Local]:
    """The model [size] that a client uses itself, and what it keeps of it."""
    own = None
    if hasattr(algorithm, "personal_model"):
        own = algorithm.personal_model(broadcast, client_state)
    x = broadcast["x"]
    if own is not None and np.shape(own) != np.shape(x):
        raise TypeError(
            f"{type(algorithm).__name__}.personal_model() gives numbers of the shape "
            f"{np.shape(own)}; the model's is {np.shape(x)}"
        )
    return x if own is None else own, client_state.get("model", NO_LOCAL)


def bounds(model: Model, algorithm: Any, training: Training) -> dict[str, Bound]:
    """What is reported: name → bound. A loss is ≥ 0 where the model says that its own is."""
    if not training.report:
        return {}
    positive = ends(model.metrics.get("loss", math.inf))[0] >= 0
    found: dict[str, Bound] = {"loss": Interval(0.0) if positive else math.inf}
    if training.validation:
        found |= _named(GLOBAL, model.metrics)
    if training.validation and personal(model, algorithm):
        found |= _named(PERSONAL, model.metrics)
    return found


def scored(
    model: Model,
    algorithm: Any,
    broadcast: Mapping[str, Vector],
    client_state: Mapping[str, Any],
    held: Examples,
) -> Work[dict[str, float]]:
    """How the models that a client begins its round with do on its held-out examples."""
    own, local = personal_model(algorithm, broadcast, client_state)
    shared = NO_LOCAL if model.personal else local  # else they are statistics, and all there are
    scores = _named(GLOBAL, (yield Score(broadcast["x"], held, shared)))
    if personal(model, algorithm):
        scores |= _named(PERSONAL, (yield Score(own, held, local)))
    return scores


def diverged(
    model: Model, algorithm: Any, broadcast: Mapping[str, Vector], client_state: Mapping[str, Any]
) -> str:
    """Why a client cannot go on with its own model, or nothing."""
    if not hasattr(algorithm, "personal_model"):
        return ""
    own, _ = personal_model(algorithm, broadcast, client_state)
    x = broadcast["x"][: model.trainable]
    with np.errstate(over="ignore", invalid="ignore"):
        far = np.linalg.norm(own[: model.trainable] - x) / (1 + np.linalg.norm(x))
    if far <= FURTHEST and np.isfinite(own).all():
        return ""
    return (
        f"its own model has left the range of numbers: it lies {far:.2g} times as far from the "
        "global one as that is long.\n"
        "  What it remembers is forgotten, and its own model starts again from the global one.\n"
        "  A smaller learning rate, or a weaker pull, keeps it in range."
    )


def means(
    mean: Mapping[str, Vector], reported: Mapping[str, Bound], noisy: bool
) -> dict[str, float]:
    """The means that clients report; where noise carries one out of its range, its nearest end,
    which costs no ε.
    """
    found = {name: float(mean[name].flat[0]) for name in reported}
    if not noisy:
        return found
    return {name: float(np.clip(value, *ends(reported[name]))) for name, value in found.items()}


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}
