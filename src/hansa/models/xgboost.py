"""XGBoost: gradient boosted trees; the model is a vector that grows by the trees of every
client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from ..data import pair
from ..data.batches import joined, relative, weighed
from ..data.examples import Examples
from ..errors import DataError, PlanError, ProtocolError, number, refuse
from ..metrics import RATE, Gathered, Mean, Measured, Whole, check_ready, check_weights, undefined
from ..metrics import number as number_of
from ..metrics.objectives import (
    CLASSES,
    Objective,
    check_params,
    check_queries,
    check_targets,
    objectives,
)
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import NO_LOCAL, Drift, Local, Model, Takes, TrainResult, Traits
from .checks import check_some
from .trees import Forest, packed, split

try:
    import xgboost as xgb
except ModuleNotFoundError as missing:
    raise PlanError(
        "XGBoost is not installed.",
        "XgboostModel trains with it.",
        "Install it: pip install 'hansa[xgboost]'.",
    ) from missing

from ..metrics.xgboost import loss_of, matrix, measured_by

DEEPEST = 12  # a tree of depth D takes 2ᴰ⁺² − 3 numbers, whatever it holds


def _right(margin: Vector, y: Vector) -> Vector:
    """Does each example get its label? [n]; the largest margin is the class, or the sign of one."""
    if margin.ndim == 1:
        return np.asarray((margin > 0) == y)
    return np.asarray(margin.argmax(1) == y)


@dataclass(frozen=True)
class XgboostModel(Model):
    """Gradient boosted trees, trained by XGBoost itself (Chen and Guestrin 2016) from the trees of
    all rounds before.

    `params` are those of xgboost.train, but for the learning rate, which is that of `Training`, and
    for the seed; where they name no max_depth it is XGBoost's 6, and base_score is 0.5: one
    client's data must not choose it for all. Inputs are [n, `features`]; targets [n] what the
    objective takes, or [n, 2]: relevance and query of rank:…, time and event of survival:cox, lower
    and upper end of survival:aft. In a round a client boosts for `iterations` iterations, of one
    tree for each class, or one in all.

    x has a row for each client of each round: how much its trees count, and the trees. A tree of
    depth D = max_depth is

        feature [2ᴰ − 1]    what a place splits on; −1 where it does not split, and then its left
        child counts
        threshold, missing  smaller goes left; 1 where a missing value does
        leaf [2ᴰ]           what the last places give, η included

    Place p has the children 2p + 1 and 2p + 2. Every vector of such numbers is a tree, and nothing
    in it is executed. How many examples reached a node, and what a split gained, stays with the
    client; `booster` has zeros there.

    What `eval_metric` in params names is measured by XGBoost itself, besides the loss, and so is
    `metrics`: name → a metric of hansa.metrics, or (function, bound). Where neither is given a
    classifier has its accuracy. They get XGBoost's margins, which are logits: [n], or
    [n, num_class].
    """

    params: Mapping[str, Any]
    features: int
    iterations: int = 1
    metrics: Any = field(default=None, hash=False, repr=False)

    traits = Traits(grows=True)

    def __post_init__(self) -> None:
        found = f"{self!r} cannot boost."
        wrong = chain(check_params(self.params), _no_trees(self))
        refuse((bad, found, why, f"Write for example {instead}.") for bad, why, instead in wrong)
        evaluated = measured_by(self._objective, self._params)
        _check_names(self.metrics or {}, evaluated)
        usual = dict[str, Whole]()
        if str(self.params["objective"]).startswith(CLASSES) and not evaluated:
            usual = {"accuracy": Mean(_right, RATE)}
        measured = Measured.of(loss_of(self._objective, self._params), usual, self.metrics)
        measured.metrics = {**measured.metrics, **evaluated}
        object.__setattr__(self, "metrics", measured)
        object.__setattr__(self, "undefined", undefined(measured.metrics))
        try:
            self.booster(np.zeros(0))
        except (xgb.core.XGBoostError, ValueError) as error:
            words = str(error).split("Stack trace")[0].split(": ", 1)[-1]
            raise PlanError(
                f"{self!r} cannot boost.",
                f"XGBoost says: {' '.join(words.split())}",
                "Give it params that xgboost.train takes.",
            ) from None

    @cached_property
    def _objective(self) -> Objective:
        """What the trees are trained for."""
        return objectives(self.params)[self.params["objective"]]

    @property
    def takes(self) -> Takes:  # type: ignore[override]
        """NaN for what is missing; a target may be infinite that is the upper end of a span."""
        return Takes(missing=True, endless="upper" in self._objective.targets.columns)

    @cached_property
    def _forest(self) -> Forest:
        """The trees of a client in a round."""
        groups = int(self.params.get("num_class", 1))
        most = self.params.get("max_delta_step", 0) or np.inf
        return Forest(_depth(self.params), self.features, groups, self.iterations, most)

    @property
    def size(self) -> int:  # type: ignore[override]
        """Numbers that a client adds in a round: its share, and `iterations` trees for each
        class.
        """
        return self._forest.size

    def plan(self, training: Training) -> None:
        """An iteration of boosting sees all examples at once."""
        wrong = [
            (
                training.batch != 0 or training.steps is not None,
                "A tree is grown on all examples at once.",
                "batch=0",
            ),
            (
                training.epochs != self.iterations,
                f"A round has iterations={self.iterations} of "
                "boosting, and each is "
                "one pass over the examples.",
                f"epochs={self.iterations}",
            ),
            (
                training.optimizer != "sgd" or training.weight_decay != 0,
                "Boosting is its own "
                "descent, with "
                "penalties of its own: `lambda` and `alpha` in "
                "params.",
                "optimizer='sgd', weight_decay=0.0",
            ),
            (bool(training.by_client), "All clients add as many trees.", "by_client=()"),
            (training.learning_rate > 1, "η = 1 takes each tree as it is.", "learning_rate=0.3"),
            (
                "query" in self._objective.targets.columns and training.validation > 0,
                "Examples are held out one by one, so a query would be in both parts.",
                "validation=0.0",
            ),
        ]
        found = f"XgboostModel cannot train with {training!r}."
        refuse((bad, found, why, f"Write Training({instead}, …).") for bad, why, instead in wrong)

    def start(self, key: Key) -> Vector:
        """No trees."""
        return np.zeros(0)

    # ── training ──

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
    ) -> TrainResult:
        """x, a share of 1, and the trees of `iterations` iterations.

            y = [x, 1, tree, tree, …]      iterations · groups trees, η in their leaves

        The loss told is the mean of those before each iteration. The drift is not looked at: no
        number of x is moved.
        """
        self.plan(training)
        A, y, w = _arrays(data)
        examples = matrix(self._objective.targets.columns, A, y, int(self._params["nthread"]))
        if w is not None:
            examples.set_weight(w)
        booster = _held(self, x)
        losses = list[float]()
        before = booster.num_boosted_rounds()
        for i in range(self.iterations):
            margin = booster.predict(examples, output_margin=True).astype(np.float64)
            losses.append(_lost(self.metrics, margin, y, w))
            chosen = {"eta": training.learning_rate, "seed": key.child(i).seed() % 2**31}
            booster = xgb.train({**self._params, **chosen}, examples, 1, xgb_model=booster)
        grown = json.loads(bytes(booster[before:].save_raw("json")))
        trees = grown["learner"]["gradient_booster"]["model"]["trees"]
        told = [packed(tree, self._forest.depth) for tree in trees]
        y = np.concatenate([x, [1.0], *told])
        return TrainResult(y, self.iterations, sum(losses) / len(losses))

    @property
    def _params(self) -> dict[str, Any]:
        """What XGBoost gets, but for the learning rate and the seed."""
        return {"base_score": 0.5, "nthread": 1, "max_depth": _depth(self.params), **self.params}

    @cached_property
    def _empty(self) -> str:
        """A booster without trees, as JSON."""
        nothing = xgb.DMatrix(np.zeros((1, self.features), np.float32), label=np.zeros(1))
        return bytes(xgb.train(self._params, nothing, 0).save_raw("json")).decode()

    def booster(self, x: Vector) -> Any:
        """The xgboost.Booster that x describes, ready to predict and to save; ProtocolError where x
        holds no trees.
        """
        if np.ndim(x) != 1 or len(x) % self.size:
            raise ProtocolError(
                f"{np.shape(x)} numbers came for {self!r}.",
                f"Each client adds {self.size} to a round.",
            )
        rows = np.asarray(x, np.float64).reshape(-1, self.size)
        if why := self._forest.odd(rows[:, :1], rows[:, 1:]):
            raise ProtocolError(f"What came as trees of {self!r} is none: {why}.")
        found = json.loads(self._empty)
        self._forest.plant(found["learner"]["gradient_booster"]["model"], rows)
        booster = xgb.Booster({"nthread": self._params["nthread"]})
        booster.load_model(bytearray(json.dumps(found).encode()))
        return booster

    def fault(self, parts: dict[str, Vector]) -> str:
        """Why a client cannot have grown such trees, or nothing.

        A share of one and finite trees that split on features there are; what the numbers mean
        nobody can check.
        """
        if parts["share"] != 1:
            return "its share is not one"
        return self._forest.odd(parts["share"], parts["trees"])

    # ── scoring ──

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The mean loss, and the metrics."""
        booster = _held(self, x)
        found: Gathered = self.metrics.gathered()
        for batch in data.whole():
            batch, w = weighed(batch)
            A, y = pair(batch)
            examples = xgb.DMatrix(np.asarray(A, np.float32), nthread=self._params["nthread"])
            margin = booster.predict(examples, output_margin=True)
            found.add(margin.astype(np.float64), np.asarray(y), w)
        check_some(found.rows)
        return found.values()

    def predict(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Vector:
        """As `Booster.predict`: [n], or [n, classes]."""
        examples = xgb.DMatrix(_arrays(data)[0], nthread=self._params["nthread"])
        return np.asarray(_held(self, x).predict(examples))

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Shapes and labels of all examples."""
        columns = self._objective.targets.columns
        for batch in data.whole():
            batch, w = weighed(batch)
            if check_weights(self.metrics.metrics, w) and "query" in columns:
                raise DataError(
                    f"{who}'s examples have weights, and are ranked within queries.",
                    "XGBoost weighs whole queries, and no single documents.",
                    "Leave the weights out.",
                )
            A, y = pair(batch)
            _check_inputs(A, self.features, who)
            check_targets(self._objective, self.params["objective"], y, who)
        if columns or self.metrics.ready:
            y = _arrays(data)[1]
            if "query" in columns:
                check_queries(y, who, training is not None)
            z = np.zeros((len(y), self._forest.groups))
            check_ready(self.metrics.ready, z, y)

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The shares, and the parts of all trees; for XGBoost's own files see
        `booster(x).save_model`.
        """
        rows = np.reshape(x, (-1, self.size))
        return {"share": rows[:, 0], **split(rows[:, 1:], self._forest.depth)}


def _held(model: XgboostModel, x: Vector) -> Any:
    """`model.booster(x)`, kept until another is asked for: all clients of a round begin with the
    same.
    """
    held = model.__dict__.get("_last")
    if held is None or not np.array_equal(held[0], x):
        held = model.__dict__["_last"] = np.array(x), model.booster(x)
    return held[1]


def _depth(params: Any) -> Any:
    """max_depth, which is 6 where nobody says."""
    if not isinstance(params, Mapping):
        return 6
    return params.get("max_depth", 6)


def _arrays(data: Examples) -> tuple[Vector, Vector, Vector | None]:
    """All examples: inputs [n, features] of float32, targets [n, …], and weights [n] of mean 1."""
    whole, w = weighed(joined(list(data.whole())))
    A, y = pair(whole)
    return np.asarray(A, np.float32), y, relative(w)


def _lost(measured: Measured, margin: Vector, y: Vector, w: Vector | None) -> float:
    """The loss of all examples, as their weights [n] have it."""
    if w is None:
        return number_of(measured.metrics["loss"](margin, y))
    found = measured.gathered()
    found.add(margin, y, w)
    return float(found.values()["loss"])


def _no_trees(model: XgboostModel) -> Iterator[tuple[bool, str, str]]:
    """Why no tree could be grown, and what to write instead."""
    depth = _depth(model.params)
    yield (
        not (number(depth, True) and 1 <= depth <= DEEPEST),
        f"A tree has room for a fixed number of splits, so its depth lies in 1 … {DEEPEST}.",
        '"max_depth": 6',
    )
    features = number(model.features, True) and model.features >= 1
    yield not features, "There is nothing to split on.", "features=30"
    iterations = number(model.iterations, True) and model.iterations >= 1
    yield not iterations, "No tree would grow.", "iterations=1"


def _check_names(chosen: Mapping[str, Any], evaluated: Mapping[str, Whole]) -> None:
    """Raise PlanError where two metrics have one name."""
    twice = sorted({"loss", *chosen} & evaluated.keys())
    if twice:
        raise PlanError(
            f"{', '.join(twice)} is named in metrics and in eval_metric.",
            "One name is one number in what is reported.",
            "Give yours another name.",
        )


def _check_inputs(A: Any, features: int, who: str) -> None:
    """Raise DataError for inputs of another shape than [n, features], or that 32 bits do not
    hold.
    """
    found = f"{len(A)} arrays"
    if isinstance(A, np.ndarray):
        found = f"shape {A.shape}"
    if not isinstance(A, np.ndarray) or A.ndim != 2 or A.shape[1] != features:
        raise DataError(
            f"{who}'s inputs have {found}.",
            f"XgboostModel takes one array with {features} columns.",
            f"Give it inputs of shape (n, {features}), or write features=…",
        )
    with np.errstate(over="ignore"):
        large = np.isinf(np.asarray(A, np.float32)).any(axis=1)
    if large.any():
        raise DataError(
            f"{large.sum()} rows of {who}'s inputs hold infinity, or numbers above 3e38.",
            "XGBoost computes with 32 bits, and takes NaN for missing, but not infinity.",
            "Write NaN where a value is missing, or give the column in a larger unit.",
        )
