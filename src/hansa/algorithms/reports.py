"""What clients report beside the update: how well the global model does on their held-out examples,
and the model that each uses itself.

    loss              of training
    val_NAME          a score of the global model
    personal_NAME     the same of the client's own, where it has one
    val_defined       1 where anything is held out, and all scores are numbers
    val_NAME_defined  1 where this one is a number, of those that some data leave undefined

What is undefined is said as 0 with 0 beside it, and is in no mean:  Σ w·d·v / Σ w·d  over clients
of weight w that say v and d. So a client counts in the model whatever becomes of its scores.

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

from ..asks import Work
from ..data import Examples
from ..metrics import DEFINED, RATE
from ..models import NO_LOCAL, Local, Model, Score
from ..spec import Bound, Interval, Spec, Vector, ends
from ..training import Training

GLOBAL = "val_"
PERSONAL = "personal_"
ALL = 0.999  # of all clients, as far as quantised numbers tell
NONE = 1e-9
# ‖v − x‖ / (1 + ‖x‖) of a client's own model v: further off, float32 cannot tell v from v + x
FURTHEST = 2.0**24


def personal(model: Model, algorithm: Any) -> bool:
    """Does each client have a model of its own: by the algorithm, or by parts that it keeps?"""
    return hasattr(algorithm, "personal_model") or model.traits.personal


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
    if not training.validation:
        return found
    found |= {f"{GLOBAL}{DEFINED}": RATE} | _bounds(GLOBAL, model)
    if personal(model, algorithm):
        found |= _bounds(PERSONAL, model)
    return found


def _bounds(prefix: str, model: Model) -> dict[str, Bound]:
    """Of the scores of one model, which may be 0 as well, and of what tells which are defined."""
    scores = {name: _with_zero(bound) for name, bound in model.metrics.items()}
    flags = {f"{name}_{DEFINED}": RATE for name in sorted(model.undefined)}
    return _named(prefix, scores | flags)


def _with_zero(bound: Bound) -> Bound:
    """The bound, and 0 within it."""
    low, high = ends(bound)
    return Interval(0.0, high) if low > 0 else bound


def scored(
    model: Model,
    algorithm: Any,
    broadcast: Mapping[str, Vector],
    client_state: Mapping[str, Any],
    held: Examples | None,
) -> Work[dict[str, float]]:
    """How the models that a client begins its round with do on its held-out examples, and which of
    the scores are defined.
    """
    theirs = personal(model, algorithm)
    if held is None:
        return _said(model, {}, {} if theirs else None)
    own, local = personal_model(algorithm, broadcast, client_state)
    shared = local  # statistics, and all there are
    if model.traits.personal:
        shared = NO_LOCAL
    scores = yield Score(broadcast["x"], held, shared)
    if not theirs:
        return _said(model, scores, None)
    return _said(model, scores, (yield Score(own, held, local)))


def _said(
    model: Model, scores: Mapping[str, float], own: Mapping[str, float] | None
) -> dict[str, float]:
    """What a client says of its scores: of nothing held out, all is undefined."""
    found = {GLOBAL: scores} if own is None else {GLOBAL: scores, PERSONAL: own}
    always = [name for name in model.metrics if name not in model.undefined]
    whole = all(math.isfinite(of.get(name, math.nan)) for of in found.values() for name in always)
    said = {f"{GLOBAL}{DEFINED}": float(whole)}
    for prefix, of in found.items():
        for name in model.metrics:
            value = of.get(name, math.nan)
            there = whole and math.isfinite(value)
            said[f"{prefix}{name}"] = value if there else 0.0
            if name in model.undefined:
                said[f"{prefix}{name}_{DEFINED}"] = float(there)
    return said


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
    """The means that clients report, over those where they are defined; what is defined nowhere is
    left out. Where noise carries one out of its range it is the nearest end, which costs no ε.

    The share for which one is defined stands beside it, unless it is all.
    """
    said = {name: float(mean[name].flat[0]) for name in reported}
    if noisy:
        said = _cut(said, reported)
    found = dict[str, float]()
    for name, value in said.items():
        if name.endswith(DEFINED):
            if value < ALL or noisy:
                found[name] = value
            continue
        share = said.get(_flag(name, said), 1.0)
        if share > NONE:
            found[name] = value / share
    return _cut(found, reported) if noisy else found


def medians(side: Vector, spec: Spec) -> Vector:
    """What counts of the side values [n, …] of a spec, where each client counts once: the median.

    Of a score it is that of the clients for whom it is defined, times their share, which stands
    where the mean of their flags does: `means` divides by it.
    """
    first = spec.size - side.shape[1]
    places = {name: spec.slice(name).start - first for name in spec.side}
    middle = np.asarray(np.median(side, axis=0))
    for name, place in places.items():
        flag = _flag(name, places)
        if flag not in places:
            continue
        if name.endswith(DEFINED):
            middle[place] = (side[:, place] > 0.5).mean()
            continue
        there = side[:, places[flag]] > 0.5
        middle[place] = 0.0
        if there.any():
            middle[place] = there.mean() * np.median(side[there, place])
    return middle


def _cut(said: Mapping[str, float], reported: Mapping[str, Bound]) -> dict[str, float]:
    """Each to the nearest end of its range."""
    return {name: float(np.clip(one, *ends(reported[name]))) for name, one in said.items()}


def _flag(name: str, said: Mapping[str, float]) -> str:
    """What tells whether a report is defined; nothing for the loss of training."""
    if f"{name}_{DEFINED}" in said:
        return f"{name}_{DEFINED}"
    return f"{GLOBAL}{DEFINED}" if name.startswith((GLOBAL, PERSONAL)) else ""


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}
