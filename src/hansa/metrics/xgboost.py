"""XGBoost's own metrics, of margins and targets alone, and its matrices of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import xgboost as xgb

from ..spec import Vector
from . import Mean, Whole
from .objectives import OF_ONE, Objective, queries

OF_MARGINS = OF_ONE | {"objective", "num_class", "base_score", "nthread"}  # not of trees


def matrix(columns: tuple[str, ...], A: Vector, y: Vector, threads: int = 1) -> Any:
    """An xgboost.DMatrix of inputs [n, features] and targets: of `columns`, where they have
    several.

    A time that was not observed to its end is negative, as survival:cox has it.
    """
    examples = xgb.DMatrix(A, nthread=threads)
    if columns == ("lower", "upper"):
        examples.set_info(label_lower_bound=y[:, 0], label_upper_bound=y[:, 1])
    elif columns == ("time", "event"):
        examples.set_label(np.where(y[:, 1] == 1, y[:, 0], -y[:, 0]))
    elif columns == ("relevance", "query"):
        examples.set_label(y[:, 0])
        examples.set_group([of.stop - of.start for of in queries(y)])
    else:
        examples.set_label(y)
    return examples


@dataclass(frozen=True)
class Measure:
    """XGBoost's metric of a name, such as ndcg@5; NaN where it is not defined.

    params   XGBoost's, of the model that is measured
    """

    name: str
    params: Mapping[str, Any] = field(hash=False)
    columns: tuple[str, ...] = ()

    def __call__(self, margins: Vector, y: Vector) -> float:
        """Of margins [n] or [n, classes] and targets."""
        examples = matrix(self.columns, np.zeros((len(y), 1), np.float32), y)
        examples.set_base_margin(margins)
        return float(self._booster.eval(examples).rsplit(":", 1)[1])

    @cached_property
    def _booster(self) -> Any:
        """A booster without trees, whose prediction is the margin that it is given."""
        alone = {name: value for name, value in self.params.items() if name in OF_MARGINS}
        alone |= {"eval_metric": self.name, "verbosity": 0}
        nothing = xgb.DMatrix(np.zeros((1, 1), np.float32), label=np.zeros(1))
        return xgb.train(alone, nothing, 0)


def loss_of(objective: Objective, params: Mapping[str, Any]) -> Whole:
    """How far a model is from its targets.

    Ours in NumPy, or XGBoost's metric of that name; a mean over examples, but where it is of ranks.
    """
    found = objective.loss
    if isinstance(found, str):
        found = Measure(found, params, objective.targets.columns)
    kind = Whole if objective.whole else Mean
    return kind(found, objective.bound)


def measured_by(objective: Objective, params: Mapping[str, Any]) -> dict[str, Whole]:
    """What `eval_metric` names."""
    columns = objective.targets.columns
    return {
        name: Whole(Measure(name, params, columns), objective.metrics[plain(name)])
        for name in named(params)
    }


def named(params: Mapping[str, Any]) -> list[str]:
    """The names in `eval_metric`: one, several or none."""
    found = params.get("eval_metric", ())
    if isinstance(found, str):
        return [found]
    return list(found)


def plain(name: str) -> str:
    """The name of a metric without what stands behind @: where it cuts, or a threshold."""
    return str(name).split("@")[0]
