"""XgboostModel's objectives and eval_metric: the trees and the numbers of XGBoost itself; words for what is none."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from tests.contracts.test_xgboost import ETA, planned_for, run, training, trees

import hansa as h
from hansa.analytics import Mean
from hansa.app.compare import pooled
from hansa.metrics import AUC, CIndex
from hansa.models.xgboost import XgboostModel

N, QUERIES = 80, 16
# objective → what it is given beside, and its metrics
OBJECTIVES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "reg:squarederror": ({}, ["rmse", "mae", "mape"]),
    "reg:squaredlogerror": ({}, ["rmsle", "rmse"]),
    "reg:logistic": ({}, ["rmse", "mae"]),
    "reg:pseudohubererror": ({"huber_slope": 0.7}, ["mphe", "mae"]),
    "reg:absoluteerror": ({}, ["mae", "rmse"]),
    "reg:quantileerror": ({"quantile_alpha": 0.8}, ["quantile", "mae"]),
    "reg:gamma": ({}, ["gamma-deviance", "gamma-nloglik"]),
    "reg:tweedie": ({"tweedie_variance_power": 1.3}, ["tweedie-nloglik@1.3", "rmse"]),
    "count:poisson": ({}, ["poisson-nloglik", "rmse"]),
    "binary:logistic": ({}, ["logloss", "error", "error@0.3", "auc", "aucpr"]),
    "binary:logitraw": ({}, ["auc", "aucpr"]),
    "binary:hinge": ({}, ["error"]),
    "multi:softmax": ({"num_class": 3}, ["merror", "mlogloss", "auc"]),
    "multi:softprob": ({"num_class": 3}, ["merror", "mlogloss", "auc"]),
    "rank:pairwise": ({}, ["ndcg", "ndcg@2", "ndcg@2-"]),
    "rank:ndcg": ({"ndcg_exp_gain": False, "lambdarank_num_pair_per_sample": 4}, ["ndcg@3", "ndcg@3-", "auc"]),
    "rank:map": ({}, ["map", "pre@2"]),
    "survival:cox": ({}, ["cox-nloglik"]),
    "survival:aft": (
        {"aft_loss_distribution": "logistic", "aft_loss_distribution_scale": 1.5},
        ["aft-nloglik", "interval-regression-accuracy"],
    ),
}
# whose mean loss is XGBoost's own metric, and how it is found from that
LOSSES: dict[str, tuple[str, Any]] = {
    "reg:squarederror": ("rmse", np.square),
    "reg:squaredlogerror": ("rmsle", np.square),
    "reg:pseudohubererror": ("mphe", float),
    "reg:absoluteerror": ("mae", float),
    "reg:quantileerror": ("quantile", float),
    "reg:gamma": ("gamma-deviance", float),
    "reg:tweedie": ("tweedie-nloglik@1.3", float),
    "count:poisson": ("poisson-nloglik", float),
    "binary:logistic": ("logloss", float),
    "multi:softmax": ("mlogloss", float),
    "multi:softprob": ("mlogloss", float),
    "survival:cox": ("cox-nloglik", float),
    "survival:aft": ("aft-nloglik", float),
}
EVERY = pytest.mark.parametrize("objective", OBJECTIVES)


def params_of(objective: str, **more: Any) -> dict[str, Any]:
    return {"objective": objective, "max_depth": 3, **OBJECTIVES[objective][0], **more}


def examples(objective: str, seed: int = 0, n: int = N) -> tuple[Any, Any]:
    """Inputs [n, 5], and targets as the objective takes them."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, 5)).astype(np.float32)
    z = A[:, 0] * A[:, 1] + A[:, 2] + 0.3 * rng.normal(size=n)
    time = np.exp(z)
    two = (z > 0).astype(int)
    query = np.arange(n) * QUERIES // n
    return A, {
        "reg:squaredlogerror": time,
        "reg:logistic": 1 / (1 + time),
        "reg:gamma": time,
        "reg:tweedie": np.maximum(0, z),
        "count:poisson": np.floor(time),
        "binary:logistic": two,
        "binary:logitraw": two,
        "binary:hinge": two,
        "multi:softmax": np.digitize(z, [-0.5, 0.5]),
        "multi:softprob": np.digitize(z, [-0.5, 0.5]),
        "rank:pairwise": np.stack([np.digitize(z, [-0.5, 0.5]), query], 1),
        "rank:ndcg": np.stack([np.digitize(z, [-0.5, 0.5]), query], 1),
        "rank:map": np.stack([two, query], 1),
        "survival:cox": np.stack([time, rng.random(n) < 0.7], 1),
        "survival:aft": np.stack([time, np.where(rng.random(n) < 0.7, time, np.inf)], 1),
    }.get(objective, z)


def dmatrix(objective: str, A: Any, y: Any) -> Any:
    """As a user of xgboost writes it."""
    if objective.startswith("rank:"):
        return xgb.DMatrix(A, label=y[:, 0], qid=y[:, 1])
    if objective == "survival:cox":
        return xgb.DMatrix(A, label=y[:, 0] * (2 * y[:, 1] - 1))
    if objective == "survival:aft":
        return xgb.DMatrix(A, label_lower_bound=y[:, 0], label_upper_bound=y[:, 1])
    return xgb.DMatrix(A, label=y)


def plain(params: Any, data: Any, rounds: int = 4) -> Any:
    given = {"base_score": 0.5, "nthread": 1, **params, "eta": ETA}
    return xgb.train(given, dmatrix(params["objective"], *data), rounds)


def said(booster: Any, examples: Any) -> dict[str, float]:
    """name → XGBoost's own metric of the booster."""
    words = booster.eval(examples, "own").split("\t")[1:]
    return {name.removeprefix("own-"): float(value) for name, value in (one.rsplit(":", 1) for one in words)}


@pytest.mark.promise("P51")
@EVERY
def test_one_client_is_plain_xgboost(objective: str) -> None:
    """Every tree, every prediction and every metric, to the last bit."""
    params = params_of(objective, eval_metric=OBJECTIVES[objective][1])
    data = examples(objective)
    plan = planned_for(params)
    x = run(plan, {"alone": data}).x
    booster, own = plan.model.booster(x), plain(params, data)
    assert trees(booster) == trees(own)
    A, y = held = examples(objective, seed=7)
    for margin in (False, True):
        inputs = xgb.DMatrix(A)
        np.testing.assert_array_equal(
            booster.predict(inputs, output_margin=margin), own.predict(inputs, output_margin=margin)
        )
    scores = plan.model.score(x, held)
    wanted = said(own, dmatrix(objective, A, y))
    assert list(scores) == ["loss", *OBJECTIVES[objective][1]]
    assert {name: scores[name] for name in wanted} == wanted


@EVERY
def test_the_loss_is_that_of_the_objective(objective: str) -> None:
    """XGBoost's own metric where it has one; else what the field calls it, in other words than the model's."""
    data = examples(objective)
    plan = planned_for(params_of(objective), rounds=3)
    state = run(plan, {"alone": data})
    found = plan.model.score(state.x, data)["loss"]
    if objective in LOSSES:
        name, of = LOSSES[objective]
        own = plain(params_of(objective, eval_metric=name), data, 3)
        wanted = of(said(own, dmatrix(objective, *data))[name])
    else:
        m = plan.model.booster(state.x).predict(xgb.DMatrix(data[0]), output_margin=True).astype(float)
        wanted = by_hand(objective, m, data[1])
    assert found == pytest.approx(wanted, rel=1e-5)
    assert 0 < found < run(plan, {"alone": data}).metrics["loss"]  # which was before this round's trees


def by_hand(objective: str, m: Any, y: Any) -> float:
    """Example by example, and pair by pair."""
    if objective.startswith("rank:"):
        rows = range(len(y))
        apart = [(i, j) for i in rows for j in rows if y[i, 1] == y[j, 1] and y[i, 0] > y[j, 0]]
        return float(np.mean([math.log1p(math.exp(m[j] - m[i])) for i, j in apart]))
    if objective == "binary:hinge":
        return float(np.mean([max(0, 1 - (1 if b else -1) * a) for a, b in zip(m, y, strict=True)]))
    p = 1 / (1 + np.exp(-m))
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


# of several classes XGBoost estimates several numbers, and params take one
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if "num_class" not in params_of(name)])
def test_its_own_first_estimate_may_be_given(objective: str) -> None:
    """What XGBoost takes from one client's data as base_score gives the same trees when it is written down."""
    params, data = params_of(objective), examples(objective)
    own = xgb.train({"nthread": 1, **params, "eta": ETA}, dmatrix(objective, *data), 4)
    config = json.loads(own.save_config())["learner"]["learner_model_param"]
    (base,) = json.loads(config["base_score"])
    plan = planned_for({**params, "base_score": base})
    booster = plan.model.booster(run(plan, {"alone": data}).x)
    inputs = xgb.DMatrix(data[0])
    np.testing.assert_allclose(booster.predict(inputs), own.predict(inputs), rtol=1e-6, atol=1e-6)


def test_the_first_estimate_may_be_that_of_all_clients() -> None:
    """The mean of all counts, by a survey that shows nobody's; it is where plain XGBoost begins on pooled data."""
    data = {who: examples("count:poisson", i, 60 + 20 * i) for i, who in enumerate("abc")}
    first = h.survey({"mean": Mean(0, 60, column="y")}, most=200, columns=5)

    def planned(found: Any) -> h.Plan:
        return planned_for(params_of("count:poisson", base_score=float(found["mean"])), rounds=3)

    app = h.App(planned, data, first=first).asked()
    y = np.concatenate([y for _, y in data.values()])
    base = app.known_plan.model.params["base_score"]  # type: ignore[attr-defined]
    assert base == pytest.approx(y.mean(), rel=1e-4)
    (start, *_), (usual, *_) = app.run(), h.App(planned_for(params_of("count:poisson")), data).run()
    assert start.metrics["loss"] < usual.metrics["loss"]


@EVERY
def test_many_clients_learn_together(objective: str) -> None:
    """On examples that nobody has seen."""
    metrics = OBJECTIVES[objective][1]
    plan = planned_for(params_of(objective, eval_metric=metrics), rounds=6)
    data = {who: examples(objective, i) for i, who in enumerate("abc")}
    (first, *_, last) = h.App(plan, data, test=examples(objective, 9, 200)).run()
    assert last.scores.keys() == {"loss", *metrics}
    assert last.scores["loss"] < first.scores["loss"]


@pytest.mark.parametrize("objective", ["rank:ndcg", "survival:aft", "count:poisson"])
def test_workers_give_the_same_bytes(objective: str) -> None:
    plan = planned_for(params_of(objective, eval_metric=OBJECTIVES[objective][1]), rounds=2)
    data = {who: examples(objective, i) for i, who in enumerate("abc")}
    (*_, one), (*_, two) = h.App(plan, data).run(), h.App(plan, data, workers=2).run()
    np.testing.assert_array_equal(one.x, two.x)


def test_what_a_client_reports_has_xgboosts_names() -> None:
    """As val_…, with whether it is defined: an AUC of one class is not."""
    params = params_of("binary:logistic", eval_metric=["auc", "logloss"])
    plan = planned_for(params, rounds=1, training=training(validation=0.25))
    A, y = examples("binary:logistic")
    metrics = run(plan, {"a": (A, y), "b": (A, np.zeros_like(y))}).metrics
    assert metrics.keys() == {"loss", "val_loss", "val_auc", "val_logloss", "val_auc_defined"}
    assert metrics["val_auc_defined"] == 0.5


def test_metrics_of_both_kinds_stand_beside_each_other() -> None:
    params = params_of("survival:cox", eval_metric="cox-nloglik")
    data = examples("survival:cox")
    model = XgboostModel(params, 5, metrics={"c": CIndex()})
    plan = h.Plan(model, h.Boosting(), aggregator=h.Ensemble(), training=training(), rounds=4)
    scores = model.score(run(plan, {"a": data}).x, data)
    assert scores.keys() == {"loss", "c", "cox-nloglik"} and scores["c"] > 0.8
    assert plan.digest != planned_for(params, rounds=4).digest
    assert planned_for(params).digest != planned_for(params_of("survival:cox")).digest
    with pytest.raises(h.errors.PlanError, match="auc is named in metrics and in eval_metric"):
        XgboostModel(params_of("binary:logistic", eval_metric="auc"), 5, metrics={"auc": AUC()})


def test_what_binds_trees_binds_no_metric() -> None:
    """Constraints name features, which margins have none of."""
    bound = {"monotone_constraints": (1, 0, 0, -1, 0), "interaction_constraints": "[[0, 1], [2, 3, 4]]"}
    params = params_of("reg:pseudohubererror", eval_metric="mphe", **bound)
    data = examples("reg:pseudohubererror")
    plan = planned_for(params)
    x, own = run(plan, {"alone": data}).x, plain(params, data)
    assert trees(plan.model.booster(x)) == trees(own) != trees(plain(params_of("reg:pseudohubererror"), data))
    assert plan.model.score(x, data)["mphe"] == said(own, dmatrix("reg:pseudohubererror", *data))["mphe"]


def test_queries_of_several_clients_are_not_one() -> None:
    """Each client numbers its own; where all data is pooled their documents stand apart."""
    parts = [examples("rank:ndcg", i) for i in range(2)]
    whole = pooled([h.data.Examples.of(part) for part in parts])
    model = XgboostModel(params_of("rank:ndcg", eval_metric="ndcg"), 5)
    x = run(planned_for(params_of("rank:ndcg")), {"a": parts[0]}).x
    each = [model.score(x, part)["ndcg"] for part in parts]
    assert model.score(x, whole)["ndcg"] == pytest.approx(np.mean(each), abs=1e-9)


def test_a_query_longer_than_a_piece_is_one_query() -> None:
    """Data is scored in pieces of 4096 rows, and a query may be cut by them."""
    A, y = examples("rank:pairwise", n=5000)
    y = np.stack([y[:, 0], np.zeros(5000)], 1)
    model = XgboostModel(params_of("rank:pairwise", eval_metric="ndcg@10"), 5)
    x = run(planned_for(params_of("rank:pairwise"), rounds=1), {"a": examples("rank:pairwise")}).x
    own = plain(params_of("rank:pairwise", eval_metric="ndcg@10"), examples("rank:pairwise"), 1)
    assert model.score(x, h.data.Examples.of((A, y)))["ndcg@10"] == said(own, dmatrix("rank:pairwise", A, y))["ndcg@10"]


def test_queries_are_not_cut_by_validation() -> None:
    with pytest.raises(h.errors.PlanError, match="a query would be in both parts"):
        planned_for(params_of("rank:ndcg"), training=training(validation=0.2))


@pytest.mark.promise("P63")
@pytest.mark.parametrize(
    ("objective", "value", "words"),
    [
        ("count:poisson", -1.0, "numbers from 0"),
        ("reg:tweedie", -0.1, "numbers from 0"),
        ("reg:gamma", 0.0, "numbers above 0"),
        ("reg:squaredlogerror", -1.0, "numbers above −1"),
        ("reg:logistic", 1.5, "numbers from 0 to 1"),
        ("binary:hinge", 2, "whole numbers 0 to 1"),
        ("multi:softmax", 3, "whole numbers 0 to 2"),
        ("rank:ndcg", (32, 0), "whole numbers 0 to 31"),
        ("rank:map", (2, 0), "whole numbers 0 to 1"),
        ("rank:pairwise", (0.5, 0), "whole numbers 0 to 31"),
        ("rank:pairwise", (1, QUERIES), "not in rising order"),
        ("survival:cox", (0.0, 1), "times above 0"),
        ("survival:cox", (1.0, 2), "1 for an event"),
        ("survival:aft", (2.0, 1.0), "lower ≤ upper"),
        ("survival:aft", (-1.0, 1.0), "lower ≤ upper"),
        ("survival:aft", (np.inf, np.inf), "lower ≤ upper"),
    ],
)
def test_targets_that_cannot_be(objective: str, value: Any, words: str) -> None:
    A, y = examples(objective)
    y = np.array(y, float)
    y[3] = value
    with pytest.raises(h.errors.DataError, match=words):
        XgboostModel(params_of(objective), 5).check(h.data.Examples.of((A, y)), "north")


def test_targets_of_another_shape() -> None:
    A, y = examples("survival:aft")
    with pytest.raises(h.errors.DataError, match="takes lower and upper of each example"):
        XgboostModel(params_of("survival:aft"), 5).check(h.data.Examples.of((A, y[:, 0])), "north")
    with pytest.raises(h.errors.DataError, match="takes one number for each example"):
        XgboostModel(params_of("count:poisson"), 5).check(h.data.Examples.of((A, y)), "north")
    _, y = examples("rank:ndcg")
    alike = np.stack([np.ones(N), y[:, 1]], 1)
    model = XgboostModel(params_of("rank:ndcg"), 5)
    with pytest.raises(h.errors.DataError, match="no query of which one document is better"):
        model.check(h.data.Examples.of((A, alike)), "north", training())
    model.check(h.data.Examples.of((A, alike)), "the test set")  # of which it is only not defined
    assert math.isnan(model.score(np.zeros(0), h.data.Examples.of((A, alike)))["loss"])


def test_infinity_is_an_upper_end_and_nothing_else() -> None:
    """Where nobody saw the event; a NaN is none, and in other targets infinity is none either."""
    A, y = examples("survival:aft")
    assert np.isinf(y).any()
    assert problems("survival:aft", A, y) == ""
    y[3, 1] = np.nan
    assert "rows of targets hold NaN," in problems("survival:aft", A, y)
    z = np.where(np.arange(N) == 3, np.inf, 1.0)
    assert "hold NaN or infinity" in problems("reg:gamma", A, z)


def problems(objective: str, A: Any, y: Any) -> str:
    """What keeps a client with this data from taking part."""
    return " ".join(map(str, h.App(planned_for(params_of(objective)), {"north": (A, y)}).problems()))


@pytest.mark.parametrize(
    ("objective", "more", "words"),
    [
        ("binary:logistic", {"base_score": 0.0}, "between 0 and 1"),
        ("count:poisson", {"base_score": 0.0}, "between 0 and inf"),
        ("survival:aft", {"base_score": -1.0}, "between 0 and inf"),
        ("reg:squarederror", {"base_score": "0.5"}, "predicts without trees"),
        ("reg:quantileerror", {"quantile_alpha": [0.1, 0.9]}, "one quantile"),
        ("reg:quantileerror", {"quantile_alpha": 1.0}, "one quantile"),
        ("reg:squarederror", {"huber_slope": 1.0}, "says nothing to reg:squarederror"),
        ("binary:logistic", {"aft_loss_distribution": "normal"}, "says nothing to"),
        ("rank:ndcg", {"lambdarank_unbiased": True}, "It does not know lambdarank_unbiased"),
        ("rank:ndcg", {"lambdarank_pair_method": "mean"}, "It does not know lambdarank_pair_method"),
        ("reg:tweedie", {"tweedie_variance_power": 2.5}, "XGBoost says"),
        ("survival:aft", {"aft_loss_distribution": "cauchy"}, "XGBoost says"),
        ("count:poisson", {"interaction_constraints": [["a", "b"]]}, "XGBoost says: Constrained features"),
        ("binary:logistic", {"eval_metric": "merror"}, "is measured by error"),
        ("binary:logistic", {"eval_metric": ["auc", 3]}, "is measured by"),
        ("binary:logistic", {"eval_metric": "error@x"}, "is measured by"),
        ("survival:cox", {"eval_metric": "rmse"}, "is measured by cox-nloglik"),
        ("multi:softmax", {"num_class": None}, "how many there are"),
    ],
)
def test_params_that_cannot_be(objective: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(h.errors.PlanError, match=words):
        XgboostModel(params_of(objective, **more), 5)


def test_quantiles_must_be_said() -> None:
    with pytest.raises(h.errors.PlanError, match="one quantile"):
        XgboostModel({"objective": "reg:quantileerror"}, 5)
