"""Predictions: what a model says of each example, for models that know how to.

    predict(x, data, local)  →  [n, …]     a method of the model, which a model need not have

A probability for each class where the library's own model gives such; else what the net or the
estimator gives, as its loss takes it. Targets are read with the examples, and change nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Examples, check
from ..errors import Fault, PlanError, refuse
from ..spec import Vector
from .parts import KEPT, Personal, without_kept
from .values import NO_LOCAL, Local


def predicted(
    model: Any, x: Vector, data: Examples, local: Local = NO_LOCAL, who: str = "data"
) -> Vector:
    """What a model says of each example [n, …], in float64; with a client's own statistics and
    parts.

    who: whose the examples are, for messages. DataError where they could not be trained on.
    PlanError where the model does not know how to, or says several things of each, or no real
    number, and where parts or statistics of it stay with each client and `local` has none of them.
    """
    check_kept(model, local)
    takes = model.takes
    n = check(data, who, takes.missing, takes.endless)
    model.check(data, who)
    found = _said(model, x, data, local)
    faults: list[Fault] = [
        (
            not np.can_cast(found.dtype, np.float64, "same_kind"),
            f"{model!r} predicts in the type {found.dtype}.",
            "A prediction is of real numbers.",
            "Let predict() give classes as whole numbers, and complex numbers as two of each.",
        ),
        (
            found.shape[:1] != (n,),
            f"{model!r} gives the shape {list(found.shape)} for {n} examples.",
            "A prediction has a row for each example.",
            f"Let it give an array of the shape [{n}, …].",
        ),
    ]
    refuse(faults)
    return found.astype(np.float64)


def _said(model: Any, x: Vector, data: Examples, local: Local) -> Vector:
    """What its method gives, which is an array; PlanError where it has none, or gives none."""
    if isinstance(model, Personal):
        return _said(model.model, model.whole(x, local), data, without_kept(local))
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


def staying(model: Any) -> list[str]:
    """What of a model stays with each client, in words: parts by name, and its statistics."""
    found = list(model.kept) if isinstance(model, Personal) else []
    if model.traits.statistics:
        found.append("buffers, such as running statistics")
    return found


def check_kept(model: Any, local: Local) -> None:
    """PlanError where parts of a model, or its statistics, stay with each client, and these are not
    given: the start, which is untrained, stands in no score and no prediction.
    """
    kept = model.kept if isinstance(model, Personal) else {}
    lacks = kept.keys() != local.get(KEPT, {}).keys()
    if model.traits.statistics and not without_kept(local):
        lacks = True
    if not lacks:
        return
    raise PlanError(
        f"The global model has no {', '.join(staying(model))}: they stay with each client.",
        "Only their start is known here, which no one has trained, and no one uses.",
        "Take a client's own model: of a stored run --client NAME, at a site --own. A buffer of a "
        "torch net that is constant is none of these with register_buffer(…, persistent=False).",
    )
