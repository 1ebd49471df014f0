"""XgboostModel, Boosting, Ensemble, InTurn: XGBoost's own trees, bit for bit, and no trust in what a client says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

import hansa as h
from hansa.app.compare import pooled
from hansa.explain import explain
from hansa.messages import SessionId
from hansa.models.xgboost import XgboostModel
from hansa.privacy import planned_privacy

BINARY = {"objective": "binary:logistic", "max_depth": 3}
SEVERAL = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2}
REAL = {"objective": "reg:squarederror", "max_depth": 4, "lambda": 2.0}
KINDS = pytest.mark.parametrize("params", [BINARY, SEVERAL, REAL], ids=lambda params: params["objective"])
ETA = 0.3
KEY = h.Key.of(1)


def points(params: Any, n: int = 80, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 5] and what `params` are to tell of them."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, 5)).astype(np.float32)
    z = A[:, 0] * A[:, 1] + A[:, 2] + 0.3 * rng.normal(size=n)
    return A, {BINARY["objective"]: (z > 0).astype(int), SEVERAL["objective"]: np.digitize(z, [-0.5, 0.5])}.get(
        params["objective"], z
    )


def training(iterations: int = 1, **more: Any) -> h.Training:
    return h.Training(epochs=iterations, batch=0, learning_rate=ETA, **more)


def planned_for(params: Any, rounds: int = 4, iterations: int = 1, **more: Any) -> h.Plan:
    model = XgboostModel(params, 5, iterations)
    more = {"algorithm": h.Boosting(), "aggregator": h.Ensemble(), "training": training(iterations)} | more
    return h.Plan(model, rounds=rounds, **more)


def run(plan: h.Plan, data: dict[str, Any], kind: type = h.Client) -> h.State:
    *_, state = h.synchronous(plan, h.InProcess([kind(who, plan, part) for who, part in data.items()]))
    return state


def plain(params: Any, data: Any, rounds: int, start: Any = None) -> Any:
    """xgboost.train, as its users call it."""
    given = {"base_score": 0.5, "nthread": 1, **params, "eta": ETA}
    return xgb.train(given, xgb.DMatrix(data[0], label=data[1]), rounds, xgb_model=start)


def trees(booster: Any) -> list[Any]:
    """All that decides a prediction."""
    names = ("left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left")
    found = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]
    return [[tree[name] for name in names] for tree in found["trees"]] + [found["tree_info"], found["iteration_indptr"]]


def margins(booster: Any, A: Any) -> Any:
    return booster.predict(xgb.DMatrix(A), output_margin=True)


# --- XGBoost's own trees ---


@pytest.mark.promise("P51")
@KINDS
@pytest.mark.parametrize("sample", [h.Everyone(), h.InTurn()], ids=["bagging", "cyclic"])
@pytest.mark.parametrize("weigh", [h.Weigh("one"), h.Weigh("examples"), h.Weigh("examples", cap=33.3)], ids=repr)
def test_one_client_is_plain_xgboost(params: Any, sample: h.Sample, weigh: h.Weigh) -> None:
    data = points(params)
    plan = planned_for(params, sample=sample, pipe=(weigh,))
    booster, own = plan.model.booster(run(plan, {"alone": data}).x), plain(params, data, 4)
    assert trees(booster) == trees(own)
    np.testing.assert_array_equal(margins(booster, data[0]), margins(own, data[0]))


@KINDS
def test_two_iterations_in_a_round_are_two_rounds(params: Any) -> None:
    data = points(params)
    twice = planned_for(params, rounds=2, iterations=2)
    assert trees(twice.model.booster(run(twice, {"alone": data}).x)) == trees(plain(params, data, 4))


@KINDS
def test_cyclic_boosting_hands_the_model_on(params: Any) -> None:
    """Client after client, in the order of their names, each from the trees of all before it."""
    data = {who: points(params, 60 + 10 * i, i) for i, who in enumerate("abc")}
    plan = planned_for(params, rounds=4, sample=h.InTurn())
    own = None
    for who in "abca":
        own = plain(params, data[who], 1, own)
    assert trees(plan.model.booster(run(plan, data).x)) == trees(own)


@KINDS
@pytest.mark.parametrize("by", ["one", "examples"])
def test_bagging_is_the_mean_of_functions(params: Any, by: Any) -> None:
    """F + Σ (nₖ/n) Tₖ, where plain XGBoost grows every Tₖ from F."""
    data = {who: points(params, 50 + 30 * i, i) for i, who in enumerate("abc")}
    plan, test = planned_for(params, rounds=2, pipe=(h.Weigh(by),)), points(params, seed=9)[0]
    first, second = h.synchronous(plan, h.InProcess([h.Client(who, plan, part) for who, part in data.items()]))
    total = sum(len(y) for _, y in data.values())
    before = None
    for state in (first, second):
        base = margins(before or plain(params, data["a"], 0), test).astype(float)
        wanted = base.copy()
        for _, y in data.values():
            share = len(y) / total if by == "examples" else 1 / 3
            wanted += share * (margins(plain(params, (_, y), 1, before), test) - base)
        booster = plan.model.booster(state.x)
        np.testing.assert_allclose(margins(booster, test), wanted, atol=2e-6)
        before = booster
    assert len(second.x) == 2 * len(first.x) == 6 * plan.model.size


def test_every_float_survives() -> None:
    """Thresholds and leaves come back from XGBoost bit for bit: extremes, subnormals, shortest decimals."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    odd = np.array([0.0, -0.0, 1e-45, 3.4028235e38, -3.4028235e38, 1.17549435e-38, 0.1, 1 / 3, 16777216.0], np.float32)
    values = np.concatenate([bits[np.isfinite(bits)], odd])
    model, one = XgboostModel({**REAL, "max_depth": 1}, 5), np.ones(len(values))
    *found, _, _ = trees(model.booster(np.stack([one, 2 * one, values, one, values, -values], axis=1).ravel()))
    for tree in found:
        assert tree[:4] == [[1, -1, -1], [2, -1, -1], [2**31 - 1, 0, 0], [2, 0, 0]] and tree[5] == [1, 0, 0]
    back = np.float32([tree[4] for tree in found])
    np.testing.assert_array_equal(back.view(np.uint32), np.stack([values, values, -values], axis=1).view(np.uint32))


@pytest.mark.promise("P8")
def test_what_only_a_client_knows_stays_with_it() -> None:
    """Gains and covers tell how many examples reached a node; they are zero in what travels."""
    plan = planned_for(BINARY)
    booster = plan.model.booster(run(plan, {"alone": points(BINARY)}).x)
    assert set(booster.get_score(importance_type="weight").values()) != {0.0}
    assert set(booster.get_score(importance_type="total_cover").values()) == {0.0}
    assert set(booster.get_score(importance_type="total_gain").values()) == {0.0}


def test_scores_are_xgboosts_own() -> None:
    for params, names in ((BINARY, ("logloss", "error")), (SEVERAL, ("mlogloss", "merror")), (REAL, ("rmse",))):
        data, plan = points(params), planned_for(params)
        x, scores = run(plan, {"alone": data}).x, []
        booster = plan.model.booster(x)
        for name in names:
            booster.set_param({"eval_metric": name})
            scores.append(float(booster.eval(xgb.DMatrix(data[0], label=data[1])).split(f"{name}:")[1].split()[0]))
        own = plan.model.score(x, data)
        assert own["loss"] == pytest.approx(scores[0] ** 2 if params is REAL else scores[0], rel=1e-4)
        if params is not REAL:
            assert own["accuracy"] == pytest.approx(1 - scores[1], abs=1e-4)


def test_row_sampling_differs_between_rounds_and_clients_and_repeats() -> None:
    params = {**BINARY, "subsample": 0.5}
    plan, data = planned_for(params, rounds=3), points(BINARY)
    one, again = (run(plan, {"a": data, "b": data}).x for _ in range(2))
    np.testing.assert_array_equal(one, again)
    rows = one.reshape(-1, plan.model.size)
    assert len({row.tobytes() for row in rows}) == len(rows) == 6


# --- a run like any other ---


def app(rounds: int = 5, workers: int = 0, **more: Any) -> h.App:
    data = {who: points(BINARY, 50 + 30 * i, i) for i, who in enumerate("abc")}
    return h.App(planned_for(BINARY, rounds, **more), data, test=points(BINARY, 200, 9), workers=workers)


@pytest.mark.parametrize("sample", [h.Everyone(), h.InTurn()], ids=["bagging", "cyclic"])
def test_an_interrupted_run_goes_on_with_the_same_bytes(sample: h.Sample, tmp_path: Path) -> None:
    federation, plan = app(sample=sample), app(sample=sample).plan
    *_, whole = federation.run()
    store = h.Store(tmp_path)
    run = store.new(repr(plan), plan.digest, "trees", {}, plan.rounds)
    for state in federation.run(run):
        if state.round == 2:
            break
    run.finish("stopped")
    *_, state = federation.run(store.resume(run.id))
    np.testing.assert_array_equal(state.x, whole.x)
    assert store.open(run.id).history()[-1].metrics["loss"] == whole.metrics["loss"]


def test_workers_give_the_same_bytes() -> None:
    (*_, one), (*_, two) = app(3).run(), app(3, workers=2).run()
    np.testing.assert_array_equal(one.x, two.x)


def test_pooled_is_plain_xgboost_on_all_data() -> None:
    federation = app(4)
    *_, state = federation.run()
    *alone, federated, together = federation.compare(state)
    own = plain(BINARY, pooled([h.data.Examples.of(one) for one in federation.data.values()]).arrays, 4)
    A, y = federation.test
    assert together.scores["accuracy"] == pytest.approx(np.mean((margins(own, A) > 0) == y))
    assert federated.scores == federation.tests.score(federation.known_plan.model, state.x)
    assert [row.examples for row in alone] == [50, 80, 110] and federated.examples == together.examples == 240


def test_reports_are_means_weighed_as_the_trees_are() -> None:
    federation = app(1)
    (state,) = federation.run()
    assert state.metrics["loss"] == pytest.approx(np.log(2))
    plan = planned_for(BINARY, 1, training=training(validation=0.25))
    assert run(plan, dict(federation.data)).metrics.keys() == {"loss", "val_loss", "val_accuracy"}


def test_it_is_exported_as_arrays_and_as_xgboosts_own_file(tmp_path: Path) -> None:
    plan, data = planned_for(BINARY), points(BINARY)
    x = run(plan, {"a": data, "b": data}).x
    tensors = plan.model.tensors(x)
    assert {name: array.shape for name, array in tensors.items()} == {
        "share": (8,), "feature": (8, 7), "threshold": (8, 7), "missing": (8, 7), "leaf": (8, 8)}  # fmt: skip
    plan.model.booster(x).save_model(tmp_path / "trees.ubj")
    loaded = xgb.Booster(model_file=tmp_path / "trees.ubj")
    np.testing.assert_array_equal(margins(loaded, data[0]), margins(plan.model.booster(x), data[0]))


@pytest.mark.promise("P8")
def test_explain_says_that_trees_are_no_sum() -> None:
    text = str(explain(planned_for(BINARY, sample=h.InTurn())))
    for words in (
        "Trees are no sum of vectors",
        "sees each client's trees by name",
        "one client, each in its turn",
        "30 numbers more by each client of each round",
        "splits and leaves",
        "all examples at once",
    ):
        assert words in text


def test_taking_turns_hides_nobody() -> None:
    """Who is asked is no secret, so noise counts as if everyone were asked; and one client is all that answers."""
    pipe = (h.Clip(1.0, side=1.0), h.Weigh("one"), h.GaussianNoise(2.0))
    turns, all_ = (
        planned_privacy(h.Plan(h.Softmax(3, 2), pipe=pipe, sample=s), 10) for s in (h.InTurn(), h.Everyone())
    )
    assert turns.guarantee(1e-5) == all_.guarantee(1e-5)
    assert [h.InTurn().draw("abc", KEY, i) for i in range(4)] == [["a"], ["b"], ["c"], ["a"]]
    with pytest.raises(h.errors.PlanError, match="More must answer"):
        h.InTurn(1, quorum=2)
    plan = h.Plan(h.Softmax(3, 2), sample=h.InTurn())
    with pytest.raises(h.errors.PlanError, match="whoever is free"):
        next(h.buffered(plan, h.InProcess([h.Client("a", plan, (np.zeros((4, 3)), np.zeros(4, int)))]), size=1, busy=1))


# --- what cannot be ---


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"aggregator": h.Sum()}, "no secret sum"),
        ({"aggregator": h.Median()}, "no robust rule"),
        ({"aggregator": h.VerifiedSum()}, "no secret sum"),
        ({"algorithm": h.FedAvg()}, "Boosting"),
        ({"algorithm": h.Scaffold(), "aggregator": h.Sum()}, "Boosting"),
        ({"pipe": (h.Clip(1.0), h.Weigh("one"))}, r"Clip\(norm=1.0.* cannot be done to trees"),
        ({"pipe": (h.Weigh("one"), h.GaussianNoise(1.0))}, "no ε would hold"),
        ({"pipe": (h.Weigh("one"), h.Quantize(8))}, "cannot be done to trees"),
        ({"pipe": ()}, "sum, not a mean"),
        ({"model": h.Softmax(5, 2)}, "appends trees"),
        ({"model": h.Softmax(5, 2), "algorithm": h.FedAvg()}, "no trees to collect"),
        ({"training": h.Training(learning_rate=0.3)}, "batch=0"),
        ({"training": h.Training(batch=0, epochs=2)}, "epochs=1"),
        ({"training": h.Training(batch=0, optimizer="adam")}, "Boosting is its own descent"),
        ({"training": h.Training(batch=0, learning_rate=2.0)}, "learning_rate=0.3"),
    ],
)
def test_a_plan_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    plan = planned_for(BINARY)
    given = {"model": plan.model, "algorithm": plan.algorithm, "aggregator": plan.aggregator, "training": plan.training}
    with pytest.raises(h.errors.PlanError, match=words):
        h.Plan(**{**given, **wrong})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "as a dict"),
        (None, "as a dict"),
        ({**BINARY, "eta": 0.1}, "learning_rate=0.3"),
        ({**BINARY, "seed": 1}, "Plan\\(seed"),
        ({**BINARY, "booster": "dart"}, "booster"),
        ({**BINARY, "num_parallel_tree": 3}, "num_parallel_tree"),
        ({"objective": "binary:logitrow"}, "one that it can score"),
        ({"objective": "multi:softprob"}, "how many there are"),
        ({**BINARY, "num_class": 2}, "how many there are"),
        ({**BINARY, "max_depth": 0}, "depth lies in"),
        ({**BINARY, "max_depth": 13}, "depth lies in"),
        ({**BINARY, "max_delta_step": -1}, "bounds a leaf"),
    ],
)
def test_params_that_cannot_be(params: Any, words: str) -> None:
    with pytest.raises(h.errors.PlanError, match=words):
        XgboostModel(params, 5)


def test_bad_data_is_refused() -> None:
    model, (A, y) = XgboostModel(BINARY, 5), points(BINARY)
    for data, words in (
        ((A[:, :4], y), "5 columns"),
        ({"a": A, "b": A, "y": y}, "2 arrays"),
        ((A, y[:, None]), "one number for each"),
        ((A, y + 1), "whole numbers 0 to 1"),
        ((A, y - 0.5), "with fractions"),
    ):
        with pytest.raises(h.errors.DataError, match=words):
            model.check(data, "north")


# --- attackers ---

Lie = Callable[[Any, h.Plan], Any]


def put(name: str, i: int, value: float) -> Lie:
    """Other numbers in a part of a tree: `name` is that of the tree's part, or share or weight."""

    def lie(v: Any, plan: h.Plan) -> Any:
        v = v.copy()
        w = v[-1]
        if name in ("share", "weight"):
            v[0 if name == "share" else -1] = value * (w if name == "share" else 1)
        else:
            v[1 + {"feature": 0, "threshold": 7, "missing": 14, "leaf": 21}[name] + i] = value * w
        return v

    return lie


LIES: list[tuple[Lie, str]] = [
    (put("feature", 0, 5), "none of 5"),
    (put("feature", 0, 2**31), "none of 5"),
    (put("feature", 0, 0.5), "none of 5"),
    (put("feature", 3, -2), "none of 5"),
    (put("missing", 0, 0.5), "nowhere"),
    (put("leaf", 0, 1e39), "no tree has"),
    (put("leaf", 0, 8.0), "max_delta_step"),
    (put("threshold", 0, np.nan), "NaN"),
    (put("share", 0, 5.0), "share is not one"),
    (put("weight", 0, -3.0), "cannot be decoded"),
    (put("weight", 0, 1e-9), "cannot be decoded"),
    (put("weight", 0, np.inf), ""),
    (lambda v, plan: v * 2.0**60, "more than 9.0072e+15 examples"),
    (lambda v, plan: v[:-1], "invalid"),
    (lambda v, plan: np.concatenate([v, v]), "invalid"),
    (lambda v, plan: "trees", "invalid"),
    (lambda v, plan: v.astype(object), "invalid"),
]


@pytest.mark.promise("P56")
@pytest.mark.parametrize(("lie", "words"), LIES)
def test_a_liar_is_left_out_by_name(lie: Lie, words: str) -> None:
    """What is no tree never comes to XGBoost; the round goes on without it, as if the client were not there."""

    class Liar(h.Client):
        def reply(self, request: h.messages.Request, given: Any) -> Any:
            v = yield from super().reply(request, given)
            return lie(v, self.plan) if self.who == "mallory" else v

    plan = planned_for({**BINARY, "max_delta_step": 7.0}, rounds=2)
    honest = {who: points(BINARY, seed=i) for i, who in enumerate("ab")}
    state = run(plan, {**honest, "mallory": points(BINARY, seed=5)}, Liar)
    assert state.participants == ("a", "b") and words in state.excluded["mallory"]
    np.testing.assert_array_equal(state.x, run(plan, honest).x)


def test_nobody_counts_for_more_than_the_cap() -> None:
    class Liar(h.Client):
        def reply(self, request: h.messages.Request, given: Any) -> Any:
            return (yield from super().reply(request, given)) * (
                2.0 if self.who == "mallory" else 1.0
            )  # as if it had twice the examples

    data = {who: points(BINARY, seed=i) for i, who in enumerate(("a", "b", "mallory"))}
    assert run(planned_for(BINARY), data, Liar).participants == ("a", "b", "mallory")
    state = run(planned_for(BINARY, pipe=(h.Weigh("examples", cap=100),)), data, Liar)
    assert state.participants == ("a", "b") and state.excluded["mallory"] == "its vector cannot be decoded"


def test_trees_of_a_server_are_looked_at_as_well() -> None:
    plan, data = planned_for(BINARY), points(BINARY)
    x = run(plan, {"a": data}).x
    for place, value in ((1, 7.0), (0, 2.0), (0, 0.0), (15, 0.5), (20, np.inf)):
        bad = x.copy()
        bad[place] = value
        with pytest.raises(h.errors.ProtocolError, match="is none"):
            plan.model.booster(bad)
    with pytest.raises(h.errors.ProtocolError, match="adds 30"):
        plan.model.booster(x[:-1])
    client = h.Client("a", plan, data)
    for broadcast in ({"x": x[:-1]}, {"x": x.reshape(4, -1)}, {"x": x, "y": x}, {}):
        with pytest.raises(h.errors.ProtocolError, match="does not tell"):
            client.answer(h.messages.Request(plan.digest, 0, SessionId(), (broadcast, (None,)), {"a": None}))
