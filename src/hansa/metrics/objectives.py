"""XGBoost's objectives: what each is told of an example, how far a model is from that, and what it
may be measured by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, number, refuse
from ..spec import Bound, Vector
from . import LOSS, RATE

# of margins [n] or [n, classes] and targets: one number for each example, or (sum, denominator)
Loss = Callable[[Vector, Vector], Any]
Wrong = NDArray[np.bool_]

ANY = math.inf
MOST_RELEVANT = 31  # from which 2^relevance, the gain of XGBoost's NDCG, no longer fits


@dataclass(frozen=True)
class Targets:
    """What is told of an example.

    takes     in words
    wrong     targets [n] or [n, columns] → which of them are none [n]
    columns   what is told, where that is more than one number
    """

    takes: str
    wrong: Callable[[Vector], Wrong]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Objective:
    """One of XGBoost's objectives.

    loss      a function of margins and targets, or the name of XGBoost's own metric; `whole` where
              it is none of single examples
    metrics   what `eval_metric` may name: name, without what stands behind @ → its bound
    base      where base_score lies, the prediction without trees: between these, both left out
    more      parameters that only this objective has
    """

    targets: Targets
    loss: Loss | str
    metrics: Mapping[str, Bound]
    base: tuple[float, float] = (-math.inf, math.inf)
    bound: Bound = LOSS
    whole: bool = False
    more: tuple[str, ...] = ()


# ── losses that XGBoost has no metric for, or only a root of them ─────────────────────────────────


def logistic(m: Vector, y: Vector) -> Vector:
    """−log of the probability of y, which is 0, 1 or a share between: log(1 + eᵐ) − y·m."""
    return np.asarray(y * np.logaddexp(0, -m) + (1 - y) * np.logaddexp(0, m))


def softmax(m: Vector, y: Vector) -> Vector:
    """−log of the probability of class y: log Σ exp(mⱼ) − m_y.

    m is [n, classes], y the labels [n].
    """
    return np.asarray(np.logaddexp.reduce(m, axis=1) - m[np.arange(len(y)), y.astype(int)])


def hinge(m: Vector, y: Vector) -> Vector:
    """How far a margin is from the right side of 1: max(0, 1 − (2y − 1)·m)."""
    return np.asarray(np.maximum(0.0, 1 - (2 * y - 1) * m))


def square(m: Vector, y: Vector) -> Vector:
    """(m − y)²."""
    return np.asarray((m - y) ** 2)


def square_of_logs(m: Vector, y: Vector) -> Vector:
    """(log(1 + m) − log(1 + y))²; of m from −1 on, as XGBoost takes it."""
    return np.asarray((np.log1p(np.maximum(m, -1 + 1e-6)) - np.log1p(y)) ** 2)


def pairs(m: Vector, y: Vector) -> tuple[float, float]:
    """(Σ log(1 + exp(mⱼ − mᵢ)), how many), over pairs of one query in which i is more relevant than
    j (Burges et al. 2005).

        log(1 + exp(mⱼ − mᵢ))     for each i, j of one query with relevanceᵢ > relevanceⱼ

    targets [n, 2] are relevance and query, m [n] the margins.
    """
    total = 0.0
    count = 0
    for of in queries(y):
        apart = y[of, 0][:, None] > y[of, 0]
        total += np.logaddexp(0, m[of] - m[of][:, None])[apart].sum()
        count += int(apart.sum())
    return float(total), float(count)


def queries(y: Vector) -> list[slice]:
    """The rows of each query, which stand together: targets [n, 2] → slices.

    Of a query that comes twice, apart, both times count as one of their own; `check_queries`
    refuses it.
    """
    ends = [*np.flatnonzero(np.diff(y[:, 1])) + 1, len(y)]
    starts = [0, *ends[:-1]]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True)]


# ── what is told of an example ────────────────────────────────────────────────────────────────────


def labels(classes: int) -> Targets:
    """The number of a class."""
    return Targets(
        f"the whole numbers 0 to {classes - 1}", lambda y: (y % 1 != 0) | (y < 0) | (y >= classes)
    )


def relevance(most: int) -> Targets:
    """How well a document answers a query, and which query that is."""

    grades = labels(most + 1)
    return Targets(grades.takes, lambda y: grades.wrong(y[:, 0]), ("relevance", "query"))


def _no_time(y: Vector) -> Wrong:
    """No time above 0, or no event that is 0 or 1: targets [n, 2] → [n]."""
    time, event = y.T
    return np.asarray((time <= 0) | ~np.isin(event, (0, 1)))


def _no_span(y: Vector) -> Wrong:
    """No span: ends below 0, a lower one that is infinite, or above the upper one: targets [n, 2] →
    [n].
    """
    lower, upper = y.T
    return np.asarray((lower < 0) | np.isinf(lower) | (upper <= 0) | (lower > upper))


NUMBERS = Targets("real numbers", lambda y: np.zeros(len(y), bool))
ABOVE_MINUS_ONE = Targets("numbers above −1", lambda y: y <= -1)
SHARES = Targets("numbers from 0 to 1", lambda y: (y < 0) | (y > 1))
POSITIVE = Targets("numbers above 0", lambda y: y <= 0)
FROM_ZERO = Targets("numbers from 0", lambda y: y < 0)
TIME = Targets("times above 0, and 1 for an event or 0 for none", _no_time, ("time", "event"))
SPAN = Targets(
    "0 ≤ lower ≤ upper, where an upper end of infinity is none and a lower one of 0 is none",
    _no_span,
    ("lower", "upper"),
)

# ── what it may be measured by ────────────────────────────────────────────────────────────────────

OF_NUMBERS: Mapping[str, Bound] = {
    **dict.fromkeys(("rmse", "mae", "mape", "rmsle", "mphe"), LOSS),
    **dict.fromkeys(("gamma-deviance", "poisson-nloglik", "tweedie-nloglik", "quantile"), LOSS),
    "gamma-nloglik": ANY,
}
OF_TWO: Mapping[str, Bound] = {
    **dict.fromkeys(("error", "auc", "aucpr"), RATE),
    **dict.fromkeys(("logloss", "rmse", "mae"), LOSS),
}
OF_SEVERAL: Mapping[str, Bound] = {"merror": RATE, "auc": RATE, "mlogloss": LOSS}
OF_RANKS: Mapping[str, Bound] = dict.fromkeys(("ndcg", "auc"), RATE)
OF_HITS: Mapping[str, Bound] = {**OF_RANKS, "map": RATE, "pre": RATE}  # where relevance is 0 or 1
OF_COX: Mapping[str, Bound] = {"cox-nloglik": LOSS}
OF_SPANS: Mapping[str, Bound] = {"aft-nloglik": ANY, "interval-regression-accuracy": RATE}

ABOVE_ZERO = (0.0, math.inf)
BETWEEN = (0.0, 1.0)
AFT = ("aft_loss_distribution", "aft_loss_distribution_scale")
RANKING = ("lambdarank_num_pair_per_sample", "lambdarank_normalization", "ndcg_exp_gain")


def objectives(params: Mapping[str, Any]) -> dict[str, Objective]:
    """All that a model can be trained for, by name; with the number of classes, and with the power
    of a Tweedie distribution, that `params` say.
    """
    classes = params.get("num_class", 2)
    several = Objective(labels(classes), softmax, OF_SEVERAL)
    two = labels(2)
    graded = relevance(MOST_RELEVANT)
    power = params.get("tweedie_variance_power", 1.5)
    return {
        "binary:logistic": Objective(two, logistic, OF_TWO, BETWEEN),
        "binary:logitraw": Objective(two, logistic, OF_TWO),
        "binary:hinge": Objective(two, hinge, OF_TWO),
        "multi:softprob": several,
        "multi:softmax": several,
        "reg:squarederror": Objective(NUMBERS, square, OF_NUMBERS),
        "reg:squaredlogerror": Objective(ABOVE_MINUS_ONE, square_of_logs, OF_NUMBERS),
        "reg:logistic": Objective(SHARES, logistic, OF_NUMBERS, BETWEEN),
        "reg:pseudohubererror": Objective(NUMBERS, "mphe", OF_NUMBERS, more=("huber_slope",)),
        "reg:absoluteerror": Objective(NUMBERS, "mae", OF_NUMBERS),
        "reg:quantileerror": Objective(NUMBERS, "quantile", OF_NUMBERS, more=("quantile_alpha",)),
        "reg:gamma": Objective(POSITIVE, "gamma-deviance", OF_NUMBERS, ABOVE_ZERO),
        "reg:tweedie": Objective(
            FROM_ZERO,
            f"tweedie-nloglik@{power}",
            OF_NUMBERS,
            ABOVE_ZERO,
            more=("tweedie_variance_power",),
        ),
        "count:poisson": Objective(FROM_ZERO, "poisson-nloglik", OF_NUMBERS, ABOVE_ZERO),
        "rank:pairwise": Objective(graded, pairs, OF_RANKS, whole=True, more=RANKING),
        "rank:ndcg": Objective(graded, pairs, OF_RANKS, whole=True, more=RANKING),
        "rank:map": Objective(relevance(1), pairs, OF_HITS, whole=True, more=RANKING),
        "survival:cox": Objective(TIME, "cox-nloglik", OF_COX, ABOVE_ZERO, whole=True),
        "survival:aft": Objective(SPAN, "aft-nloglik", OF_SPANS, ABOVE_ZERO, ANY, more=AFT),
    }


# ── what is refused ───────────────────────────────────────────────────────────────────────────────

SETTINGS = {  # of xgboost.train, those that leave trees as the federation writes them
    "objective",
    "num_class",
    "base_score",
    "eval_metric",
    "scale_pos_weight",
    "max_depth",
    "max_leaves",
    "grow_policy",
    "tree_method",
    "max_bin",
    "min_child_weight",
    "gamma",
    "min_split_loss",
    "max_delta_step",
    "lambda",
    "reg_lambda",
    "alpha",
    "reg_alpha",
    "subsample",
    "sampling_method",
    "colsample_bytree",
    "colsample_bylevel",
    "colsample_bynode",
    "monotone_constraints",
    "interaction_constraints",
    "nthread",
    "verbosity",
}
OBJECTIVES = objectives({})
CLASSES = ("binary:", "multi:")  # how the names of those begin that tell classes apart
OF_ONE = {name for one in OBJECTIVES.values() for name in one.more}
NAME = re.compile(r"[a-z0-9-]+(@[0-9.]+-?)?")


def check_params(given: Any) -> Iterator[tuple[bool, str, str]]:
    """What is wrong with the parameters of xgboost.train, why, and what to write instead."""
    whole = isinstance(given, Mapping) and bool(given)
    example = 'params={"objective": "binary:logistic"}'
    yield not whole, "XGBoost's own parameters are needed, as a dict.", example
    unknown = sorted(set(given) - SETTINGS - OF_ONE)
    rate = bool({"eta", "learning_rate"} & set(unknown))
    why = "The learning rate is that of the plan's training."
    yield rate, why, "Training(batch=0, learning_rate=0.3)"
    seed = bool({"seed", "random_state"} & set(unknown))
    yield seed, "All randomness is the plan's.", "Plan(seed=…)"
    why = (
        f"It does not know {', '.join(map(str, unknown))}; a tree of the federation has splits on "
        "numbers, and one number in a leaf."
    )
    yield bool(unknown), why, f"some of {', '.join(sorted(SETTINGS | OF_ONE))}"
    name = given.get("objective")
    why = "The objective must be one that it can score."
    yield name not in OBJECTIVES, why, f"one of {', '.join(OBJECTIVES)}"
    classes = given.get("num_class", 0)
    several = name.startswith("multi:")
    yield (
        several != (number(classes, True) and classes >= 2),
        "Of several classes it must know how many there are.",
        '"num_class": 3 with multi:softprob or multi:softmax, and with nothing else',
    )
    limit = given.get("max_delta_step", 0)
    good = number(limit) and limit >= 0
    yield not good, "max_delta_step bounds a leaf.", '"max_delta_step": 1.0'
    yield from _check_objective(name, given)


def _check_objective(name: str, given: Mapping[str, Any]) -> Iterator[tuple[bool, str, str]]:
    """What does not fit the objective."""
    objective = OBJECTIVES[name]
    strange = sorted((OF_ONE & set(given)) - set(objective.more))
    why = f"{', '.join(strange)} says nothing to {name}."
    yield bool(strange), why, f'"objective": "{name}" without it'
    low, high = objective.base
    base = given.get("base_score", 0.5)
    good = number(base) and low < base < high
    why = f"base_score is what {name} predicts without trees: between {low:g} and {high:g}."
    yield not good, why, '"base_score": 0.5'
    alpha = given.get("quantile_alpha", None if "quantile_alpha" in objective.more else 0.5)
    good = number(alpha) and 0 < alpha < 1
    why = "A leaf holds one number, so it is one quantile that is learnt."
    yield not good, why, '"quantile_alpha": 0.9'
    named = given.get("eval_metric", ())
    named = [named] if isinstance(named, str) else named
    listed = isinstance(named, list | tuple) and all(isinstance(one, str) for one in named)
    why = f"{name} is measured by {', '.join(objective.metrics)}, some of them at a number."
    instead = f'"eval_metric": "{next(iter(objective.metrics))}"'
    yield not listed, why, instead
    odd = [n for n in named if not NAME.fullmatch(n) or n.split("@")[0] not in objective.metrics]
    yield bool(odd), why, instead


def check_targets(objective: Objective, name: str, y: Vector, who: str) -> None:
    """DataError where targets are not what the objective takes."""
    targets = objective.targets
    columns = targets.columns
    shaped = y.shape[1:] == ((len(columns),) if columns else ())
    instead = "Give it a column of them: y.ravel() or y[:, 0]."
    why = f"{name} takes one number for each example."
    if columns:
        why = f"{name} takes {' and '.join(columns)} of each example."
        instead = f"Write np.stack([{', '.join(columns)}], 1)."
    refuse([(not shaped, f"{who}'s targets have shape {y.shape}.", why, instead)], DataError)
    wrong = np.flatnonzero(targets.wrong(y))
    if not len(wrong):
        return
    if columns:
        found = f"{len(wrong)} of {len(y)} targets of {who} are none, the first in row {wrong[0]}."
    else:
        fractions = ", with fractions" * bool(np.any(y % 1))
        found = f"{who}'s targets lie in {y.min()} … {y.max()}{fractions}."
    instead = "Number the classes from 0, or give params another num_class."
    if not name.startswith(CLASSES):
        instead = "Leave such examples out, or take another objective."
    raise DataError(found, f"{name} takes {targets.takes}.", instead)


def check_queries(y: Vector, who: str, trained: bool) -> None:
    """DataError where queries are not in rising order, or no document is better than another of its
    query, from which nothing could be learnt.

    `trained` says whether they are trained on; where they are only scored a query may be all alike.
    """
    refuse(
        [
            (
                bool((np.diff(y[:, 1]) < 0).any()),
                f"{who}'s queries are not in rising order.",
                "The documents of a query stand together, in the order of its number.",
                "Sort the rows by query: order = np.argsort(query, kind='stable').",
            ),
            (
                trained and not pairs(np.zeros(len(y)), y)[1],
                f"{who} has no query of which one document is better than another.",
                "A ranking is learnt from such pairs.",
                "Leave this client out.",
            ),
        ],
        DataError,
    )
