"""Predictions: what a model says of each example, for models that know how to.

    predict(x, data, local)  →  [n, …]     a method of the model, which a model need not have

A probability for each class where the library's own model gives such; else what the net or the
estimator gives, as its loss takes it. Targets are read with the examples, and change nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Examples
from ..errors import PlanError
from ..spec import Vector
from .parts import KEPT, Personal, without_kept
from .values import NO_LOCAL, Local


def predicted(model: Any, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Vector:
    """What a model says of each example [n, …]; with a client's own statistics and parts.

    PlanError where it does not know how to, or says several things of each, and where parts of it
    stay with each client and `local` has none of them.
    """
    check_kept(model, local)
    if isinstance(model, Personal):
        return predicted(model.model, model.whole(x, local), data, without_kept(local))
    if not hasattr(model, "predict"):
        raise PlanError(
            f"{model!r} does not predict.",
            "A model trains and scores; what it says of one example is a method of its own.",
            "Give its class a method predict(x, data, local) → array [n, …]; or write the weights "
            "with hansa export, and predict with the library itself.",
        )
    found = model.predict(x, data, local)
    if not isinstance(found, np.ndarray):
        raise PlanError(
            f"{model!r} gives {type(found).__name__} for examples, and no array.",
            "A prediction is one array with a row for each example.",
            "Let the net give one tensor; or write the weights with hansa export.",
        )
    return found


def check_kept(model: Any, local: Local) -> None:
    """PlanError where parts of a model stay with each client, and these are not given: the start,
    which is untrained, stands in no prediction.
    """
    if not isinstance(model, Personal) or model.kept.keys() == local.get(KEPT, {}).keys():
        return
    raise PlanError(
        f"The global model has no {', '.join(model.kept)}: they stay with each client.",
        "Only their start is known here, which no one has trained, and no one uses.",
        "Predict with a client's own model: of a stored run --client NAME, at a site --own.",
    )
