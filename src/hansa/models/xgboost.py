"""XGBoost: gradient boosted trees; the model is a vector that grows by the trees of every
client.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..data import pair
from ..data.examples import Examples
from ..errors import DataError, PlanError, ProtocolError, number, refuse
from ..metrics import LOSS, RATE, Gathered, Mean, Measured, check_ready, undefined
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import NO_LOCAL, Drift, Local, Model, TrainResult
from .checks import check_some
from .trees import packed, split, unpacked

try:
    import xgboost as xgb
except ModuleNotFoundError as missing:
    raise PlanError(
        "XGBoost is not installed.",
        "XgboostModel trains with it.",
        "Install it: pip install 'hansa[xgboost]'.",
    ) from missing

# of margins [n] or [n, classes] and targets: one number for each example
Loss = Callable[[Vector, Vector], Vector]

DEEPEST = 12  # a tree of depth D takes 2ᴰ⁺² − 3 numbers, whatever it holds
LOSSES: Mapping[str, Loss] = {
    "binary:logistic": lambda m, y: np.logaddexp(0, np.where(y > 0.5, -m, m)),
    "multi:softprob": lambda m, y: (
        np.logaddexp.reduce(m, axis=1) - m[np.arange(len(y)), y.astype(int)]
    ),
    "reg:squarederror": lambda m, y: (m - y) ** 2,
}
SETTINGS = {  # of xgboost.train, those that leave trees as the federation writes them
    "objective",
    "num_class",
    "base_score",
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


def _right(margin: Vector, y: Vector) -> Vector:
    told = margin > 0 if margin.ndim == 1 else margin.argmax(1)
    return np.asarray(told == y)


@dataclass(frozen=True)
class XgboostModel(Model):
    """Gradient boosted trees, trained by XGBoost itself (Chen and Guestrin 2016) from the trees of
    all rounds before.

    `params` are those of xgboost.train, but for the learning rate, which is that of `Training`, and
    for the seed; where they name no max_depth it is XGBoost's 6, and base_score is 0.5: one
    client's data must not choose it for all. Inputs are [n, `features`]; labels 0 and 1, or 0 …
    num_class − 1, or real numbers. In a round a client boosts for `iterations` iterations, of one
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

    `metrics`: name → a metric of hansa.metrics, or (function, bound), besides the loss; where it is
    not given a classifier has its accuracy. They get XGBoost's margins, which are logits: [n], or
    [n, num_class].
    """

    params: Mapping[str, Any]
    features: int
    iterations: int = 1
    metrics: Any = field(default=None, hash=False, repr=False)

    grows = True
    missing = True

    def __post_init__(self) -> None:
        given = self.params if isinstance(self.params, Mapping) else {}
        unknown = sorted(set(given) - SETTINGS)
        classes = given.get("num_class", 0)
        several = given.get("objective") == "multi:softprob"
        limit = given.get("max_delta_step", 0)
        wrong = [
            (
                not given,
                "XGBoost's own parameters are needed, as a dict.",
                'params={"objective": "binary:logistic"}',
            ),
            (
                bool({"eta", "learning_rate"} & set(unknown)),
                "The learning rate is that of the plan's training.",
                "Training(batch=0, learning_rate=0.3)",
            ),
            (
                bool({"seed", "random_state"} & set(unknown)),
                "All randomness is the plan's.",
                "Plan(seed=…)",
            ),
            (
                bool(unknown),
                f"It does not know {', '.join(map(str, unknown))}; a tree of the "
                "federation has splits on "
                "numbers, and one number in a leaf.",
                f"some of {', '.join(sorted(SETTINGS))}",
            ),
            (
                given.get("objective") not in LOSSES,
                "The objective must be one that it can score.",
                f"one of {', '.join(LOSSES)}",
            ),
            (
                several != (number(classes, True) and classes >= 2),
                "Of several classes it must know how many there are.",
                '"num_class": 3 with multi:softprob, and with nothing else',
            ),
            (
                not (number(self._depth, True) and 1 <= self._depth <= DEEPEST),
                "A tree has room for a fixed number of splits, so its depth lies in 1 … "
                f"{DEEPEST}.",
                '"max_depth": 6',
            ),
            (
                not (number(limit) and limit >= 0),
                "max_delta_step bounds a leaf.",
                '"max_delta_step": 1.0',
            ),
            (
                not (number(self.features, True) and self.features >= 1),
                "There is nothing to split on.",
                "features=30",
            ),
            (
                not (number(self.iterations, True) and self.iterations >= 1),
                "No tree would grow.",
                "iterations=1",
            ),
        ]
        refuse(
            (bad, lambda: f"{self!r} cannot boost.", why, f"Write for example {instead}.")
            for bad, why, instead in wrong
        )
        usual = {"accuracy": Mean(_right, RATE)} if self._classifies else {}
        measured = Measured.of(Mean(self._losses, LOSS), usual, self.metrics)
        object.__setattr__(self, "metrics", measured)
        object.__setattr__(self, "undefined", undefined(measured.metrics))

    @property
    def _classifies(self) -> bool:
        return not self.params["objective"].startswith("reg:")

    @property
    def _depth(self) -> Any:
        return self.params.get("max_depth", 6) if isinstance(self.params, Mapping) else 6

    @property
    def _groups(self) -> int:
        return int(self.params.get("num_class", 1))

    @property
    def size(self) -> int:  # type: ignore[override]
        """Numbers that a client adds in a round: its share, and `iterations` trees for each
        class.
        """
        return 1 + self.iterations * self._groups * int(2 ** (self._depth + 2) - 3)

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
            (training.learning_rate > 1, "η = 1 takes each tree as it is.", "learning_rate=0.3"),
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
        """x, a share of 1, and the trees of `iterations` iterations."""
        self.plan(training)
        A, y = self._arrays(data)
        examples = self._matrix(A, y)
        booster = self._held(x)
        losses = list[float]()
        before = booster.num_boosted_rounds()
        for i in range(self.iterations):
            losses.append(
                float(self._losses(booster.predict(examples, output_margin=True), y).mean())
            )
            chosen = {"eta": training.learning_rate, "seed": key.child(i).seed() % 2**31}
            booster = xgb.train({**self._params, **chosen}, examples, 1, xgb_model=booster)
        grown = json.loads(bytes(booster[before:].save_raw("json")))["learner"]["gradient_booster"][
            "model"
        ]["trees"]
        trees = [packed(tree, self._depth) for tree in grown]
        return TrainResult(
            np.concatenate([x, [1.0], *trees]), self.iterations, sum(losses) / len(losses)
        )

    @property
    def _params(self) -> dict[str, Any]:
        return {"base_score": 0.5, "nthread": 1, "max_depth": self._depth, **self.params}

    def _matrix(self, A: Vector, y: Vector) -> Any:
        return xgb.DMatrix(A, label=y, nthread=int(self._params["nthread"]))

    def _arrays(self, data: Examples) -> tuple[Vector, Vector]:
        pairs = [pair(batch) for batch in data.whole()]
        A, y = (np.concatenate(column) for column in zip(*pairs, strict=True))
        return np.asarray(A, np.float32), y

    @cached_property
    def _empty(self) -> str:
        """A booster without trees, as JSON."""
        nothing = self._matrix(np.zeros((1, self.features), np.float32), np.zeros(1))
        return bytes(xgb.train(self._params, nothing, 0).save_raw("json")).decode()

    def _held(self, x: Vector) -> Any:
        """`booster(x)`, kept until another is asked for: all clients of a round begin with the
        same.
        """
        held = self.__dict__.get("_last")
        if held is None or not np.array_equal(held[0], x):
            held = self.__dict__["_last"] = np.array(x), self.booster(x)
        return held[1]

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
        if why := self._odd(rows[:, :1], rows[:, 1:]):
            raise ProtocolError(f"What came as trees of {self!r} is none: {why}.")
        found = json.loads(self._empty)
        model = found["learner"]["gradient_booster"]["model"]
        shares = np.repeat(rows[:, 0], self.iterations * self._groups).astype(np.float32)
        parts = split(rows[:, 1:], self._depth)
        n = len(shares)
        common = {"num_deleted": "0", "num_feature": str(self.features), "size_leaf_vector": "1"}
        for i in range(n):
            tree = unpacked([part[i] for part in parts.values()], shares[i])
            model["trees"].append(
                {**tree, "id": i, "tree_param": {**common, "num_nodes": str(len(tree["parents"]))}}
            )
        model["tree_info"] = [i % self._groups for i in range(n)]
        model["iteration_indptr"] = list(range(0, n + 1, self._groups))
        model["gbtree_model_param"]["num_trees"] = str(n)
        booster = xgb.Booster({"nthread": self._params["nthread"]})
        booster.load_model(bytearray(json.dumps(found).encode()))
        return booster

    def fault(self, parts: dict[str, Vector]) -> str:
        """Why a client cannot have grown such trees, or nothing."""
        return (
            "its share is not one"
            if parts["share"] != 1
            else self._odd(parts["share"], parts["trees"])
        )

    def _odd(self, share: Vector, trees: Vector) -> str:
        """Why these are no trees of this model, or nothing."""
        with np.errstate(over="ignore", invalid="ignore"):
            if not (np.isfinite(np.float32(trees)).all() and np.all((share > 0) & (share <= 1))):
                return "it holds numbers that no tree has"
        part = split(trees, self._depth)
        most = self.params.get("max_delta_step", 0) or np.inf
        wrong = {
            f"it splits on features that are none of {self.features}": (part["feature"] < -1)
            | (part["feature"] >= self.features)
            | (part["feature"] % 1 != 0),
            "it sends missing values nowhere": (part["missing"] != 0) & (part["missing"] != 1),
            f"its leaves pass max_delta_step = {most:g}": np.abs(part["leaf"]) > most * (1 + 1e-6),
        }
        return next((why for why, bad in wrong.items() if bad.any()), "")

    # ── scoring ──

    def _losses(self, margin: Vector, y: Vector) -> Vector:
        return LOSSES[self.params["objective"]](margin.astype(np.float64), np.asarray(y))

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """The mean loss, and the metrics."""
        booster = self._held(x)
        found: Gathered = self.metrics.gathered()
        for batch in data.whole():
            A, y = pair(batch)
            examples = self._matrix(np.asarray(A, np.float32), y)
            found.add(booster.predict(examples, output_margin=True), np.asarray(y))
        check_some(found.rows)
        return found.values()

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Shapes and labels of all examples."""
        for A, y in map(pair, data.whole()):
            if not isinstance(A, np.ndarray) or A.ndim != 2 or A.shape[1] != self.features:
                found = f"shape {A.shape}" if isinstance(A, np.ndarray) else f"{len(A)} arrays"
                raise DataError(
                    f"{who}'s inputs have {found}.",
                    f"XgboostModel takes one array with {self.features} columns.",
                    f"Give it inputs of shape (n, {self.features}), or write features=…",
                )
            with np.errstate(over="ignore"):
                large = np.isinf(np.asarray(A, np.float32)).any(axis=1)
            if large.any():
                raise DataError(
                    f"{large.sum()} rows of {who}'s inputs hold infinity, or numbers above 3e38.",
                    "XGBoost computes with 32 bits, and takes NaN for missing, but not infinity.",
                    "Write NaN where a value is missing, or give the column in a larger unit.",
                )
            if y.ndim != 1:
                raise DataError(
                    f"{who}'s targets have shape {y.shape}.",
                    "XgboostModel takes one number for each example.",
                    "Give it a column of them: y.ravel() or y[:, 0].",
                )
            classes = max(2, self._groups)
            if self._classifies and (np.any(y % 1 != 0) or y.min() < 0 or y.max() >= classes):
                raise DataError(
                    f"{who}'s labels lie in {y.min()} … "
                    f"{y.max()}{', with fractions' * bool(np.any(y % 1))}.",
                    f"The objective takes the whole numbers 0 to {classes - 1}.",
                    "Number the classes from 0, or give params another num_class.",
                )
            z = np.zeros((len(y), self._groups))
            check_ready(self.metrics.ready, z, y)

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The shares, and the parts of all trees; for XGBoost's own files see
        `booster(x).save_model`.
        """
        rows = np.reshape(x, (-1, self.size))
        return {"share": rows[:, 0], **split(rows[:, 1:], self._depth)}
