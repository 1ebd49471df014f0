"""Right numbers from whatever data a user brings: each test states the value that its owner would compute by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import datasets
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
import torch
import xgboost as xgb
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor

import hansa as h
from hansa import data
from hansa.asks import AskedModel
from hansa.data import Examples
from hansa.errors import DataError, PlanError
from hansa.models.sklearn import SklearnModel
from hansa.models.xgboost import XgboostModel

KEY, STILL = h.Key.of(1), h.models.Drift()
N = 40
RNG = np.random.default_rng(0)
X = RNG.normal(1000, 50, (N, 3))
Y = (X[:, 0] > 1000).astype(int)
Z = ((X - 1000) / 50).astype(np.float32)


def whole(given: Any) -> Any:
    """All examples in one batch."""
    (batch,) = Examples.of(given).whole()
    return batch


def by_name(given: Any) -> dict[str, Any]:
    batch: dict[str, Any] = whole(given)
    return batch


# ── what the owner sees ──────────────────────────────────────────────────────────────────────────────────────────────

# float64 that float32 cannot hold, a column that a model cannot read, and one that is another for each row
TABLE = datasets.Dataset.from_dict({"x": X.tolist(), "price": (2.0**24 + np.arange(N)).tolist(), "label": Y.tolist()})
WORDS = TABLE.add_column("text", ["a"] * N)


def scaled(rows: dict[str, Any]) -> dict[str, Any]:
    """One of its own outputs looks at all rows of a batch, as padding does."""
    x = [(np.asarray(one, np.float32) - 1000) / 50 for one in rows["x"]]
    return {"x": x, "rows": [float(len(x))] * len(x), "label": rows["label"]}


def set_in_place() -> Any:
    mine = TABLE.select(range(N))
    mine.set_transform(scaled)
    return mine


VIEWS: dict[str, Callable[[], Any]] = {
    "plain": lambda: TABLE,
    "with_transform": lambda: TABLE.with_transform(scaled),
    "set_transform": set_in_place,
    "numpy": lambda: TABLE.with_format("numpy"),
    "torch": lambda: WORDS.with_format("torch", columns=["x", "label"]),
    "some columns": lambda: WORDS.with_format(None, columns=["price", "label"]),
    "arrow": lambda: WORDS.with_format("arrow", columns=["x", "price", "label"]),
    "of a part": lambda: data.clients(TABLE.with_transform(scaled), [np.arange(N)])["client-0"],
    "of a subset": lambda: torch.utils.data.Subset(TABLE.with_transform(scaled), range(N)),
}


@pytest.mark.promise("P300")
@pytest.mark.guards("a transform is its owner's view")
@pytest.mark.parametrize("view", VIEWS)
def test_a_model_sees_what_dataset_i_gives(view: str) -> None:
    """Columns and values of a batch are those of dataset[i], one by one (datasets: "transforms are applied on-the-fly
    when __getitem__ is called"); floats to the precision that they have there."""
    given = VIEWS[view]()
    batch = by_name(given)
    rows = [given[i].to_pylist()[0] if view == "arrow" else given[i] for i in range(N)]
    assert {"y" if name == "label" else name for name in rows[0]} == batch.keys()
    for name, column in batch.items():
        one_by_one = np.stack([np.asarray(row["label" if name == "y" else name]) for row in rows])
        np.testing.assert_array_equal(column, one_by_one)


class Pairs(torch.utils.data.Dataset):  # type: ignore[misc, name-defined, unused-ignore]
    """Its fast way gives other numbers than [i]."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return (torch.tensor(Z[i]), torch.tensor(2 * Z[i])), int(Y[i])

    def __getitems__(self, rows: list[int]) -> Any:
        return [((torch.zeros(3), torch.zeros(3)), 0) for _ in rows]


@pytest.mark.promise("P300")
@pytest.mark.parametrize("named", [False, True])
def test_parts_of_an_item_stay_parts(named: bool) -> None:
    """((a, b), y) has two inputs, as torch's default_collate makes of it; also in a dict, a Subset, a ConcatDataset."""
    every: Any = torch.utils.data.ConcatDataset([torch.utils.data.Subset(Pairs(), [i]) for i in range(N)])
    if named:
        every = [({"a": a, "b": b}, y) for (a, b), y in every]
    a, b, y = whole(every).values() if named else whole(every)
    np.testing.assert_array_equal(a, Z)
    np.testing.assert_array_equal(b, 2 * Z)
    np.testing.assert_array_equal(y, Y)


def of_torch() -> Any:
    torch.manual_seed(0)
    return h.TorchModel(torch.nn.Linear(3, 2), torch.nn.functional.cross_entropy)


def of_keras() -> Any:
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    net.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return h.KerasModel(net)


def of_jax() -> Any:
    def loss(z: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()

    return h.JaxModel({"w": jnp.ones((3, 2), jnp.float32)}, lambda params, x: x @ params["w"], loss)


FRAME = pd.DataFrame(Z, columns=["a", "b", "c"])
SAME: dict[str, Any] = {
    "transform": TABLE.with_transform(lambda rows: {"x": scaled(rows)["x"], "y": rows["label"]}),
    "list": [(torch.tensor(x), int(y)) for x, y in zip(Z, Y, strict=True)],
    "frame": (FRAME.convert_dtypes(), pd.Series(Y == 1).astype("boolean")),
    "arrow": (pa.table({name: FRAME[name] for name in FRAME}), pa.chunked_array([Y])),
}


@pytest.mark.parametrize("make", [of_torch, of_keras, of_jax])
def test_all_libraries_train_on_it_as_on_arrays(make: Callable[[], Any]) -> None:
    """The same 40 examples in another form: the same model after an epoch of 5 steps, to the precision of float32."""
    model, training = make(), h.Training(batch=8)
    x = model.start(KEY)
    wanted = model.train(x, (Z, Y), training, STILL, KEY)
    for form, given in SAME.items():
        found = model.train(x, given, training, STILL, KEY)
        assert found.steps == wanted.steps == 5, form
        np.testing.assert_allclose(found.x, wanted.x, atol=1e-6, err_msg=form)


# ── lists, and what is neither a list of examples nor a stream of batches ────────────────────────────────────────────


@pytest.mark.parametrize("named", [False, True])
def test_a_list_of_pairs_is_a_dataset(named: bool) -> None:
    """40 examples of 3 numbers with vectors as targets: 40 count, in 5 batches of 8; torch takes a list so as well."""
    given: list[Any] = [({"x": z, "y": 2 * z} if named else (z, 2 * z)) for z in torch.tensor(Z)]
    assert data.check(given, "ward") == N
    assert [len(data.pair(batch)[1]) for batch in Examples.of(given).batches(h.Training(batch=8), KEY)] == [8] * 5
    two = [{"x": Z[0], "label": 0}, {"x": Z[1], "label": 1}]
    assert data.check(two, "ward") == 2


SLICES = tf.data.Dataset.from_tensor_slices((Z, Z))


class Endless(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined, unused-ignore]
    def __iter__(self) -> Iterator[Any]:
        return zip(Z, Z, strict=True)


class Autoencoded(Pairs):
    def __getitem__(self, i: int) -> Any:
        return Z[i], Z[i]


class Batches(keras.utils.PyDataset):  # type: ignore[misc, name-defined, unused-ignore]
    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> Any:
        return Z[8 * i : 8 * i + 8], Z[8 * i : 8 * i + 8]


UNCLEAR: dict[str, tuple[Any, str]] = {
    "batches in a list": ([(Z, Z)] * 5, "lambda: batches"),
    "lists in a list": ([[Z[0], Z[0]]] * 5, "lambda: batches"),
    "lists in a tuple": ((Z.tolist(), Y.tolist()), "np.stack"),
    "two inputs, two targets": (((Z, Z), (Y, Y)), "np.stack"),
    "slices": (SLICES.shuffle(9).prefetch(1), r"batch\(32\)"),
    "unbatched": (SLICES.batch(8).unbatch(), r"batch\(32\)"),
    "an IterableDataset": (Endless(), "DataLoader"),
    "a PyDataset": (Batches(), "for i in range"),
    "a loader without batches": (torch.utils.data.DataLoader(Autoencoded(), batch_size=None), "batch_size=32"),
}


@pytest.mark.promise("P63")
@pytest.mark.guards("an example is no batch")
@pytest.mark.parametrize("kind", UNCLEAR)
def test_what_may_be_one_example_or_a_batch_is_refused(kind: str) -> None:
    """Taken for a batch, an example of 3 numbers would count as 3, and Training(batch=…) for nothing."""
    given, instead = UNCLEAR[kind]
    with pytest.raises(DataError, match=f"(?s)^ward: .*{instead}"):
        data.check(given, "ward")
    assert data.check(SLICES.batch(8).prefetch(1), "ward") == data.check(lambda: [(Z, Z)], "ward") == N


# ── data frames ──────────────────────────────────────────────────────────────────────────────────────────────────────

MIXED = pd.DataFrame({"age": [40, 50, 61, 38], "bmi": [22.0, 31.5, 27.2, 24.9], "ill": [True, False, True, True]})
NUMBERS = [[40, 22.0, 1], [50, 31.5, 0], [61, 27.2, 1], [38, 24.9, 1]]
GAPS = MIXED.convert_dtypes().astype({"bmi": "Float64"})
GAPS.loc[1, "age"] = GAPS.loc[2, "ill"] = pd.NA
KINDS = pytest.mark.parametrize("kind", [lambda frame: frame, pa.Table.from_pandas], ids=["pandas", "pyarrow"])


@KINDS
def test_columns_of_numbers_are_numbers(kind: Callable[[Any], Any]) -> None:
    """int64, float64, bool; Int64, Float64, boolean; pandas' own one-hot columns: as frame.astype(float) has them."""
    for frame in (MIXED, MIXED.convert_dtypes()):
        np.testing.assert_array_equal(whole((kind(frame), pd.Series([0, 1, 1, 0])))[0], NUMBERS)
    hot = pd.get_dummies(pd.Series(list("abab")))
    np.testing.assert_array_equal(whole((kind(hot), np.arange(4)))[0], [[1, 0], [0, 1]] * 2)
    assert whole((MIXED.astype("float32"), np.arange(4)))[0].dtype == np.float32
    assert whole((MIXED[["age"]], MIXED.ill.astype("boolean")))[1].tolist() == [1, 0, 1, 1]


@pytest.mark.promise("P63")
@KINDS
def test_missing_values_are_refused_with_their_columns(kind: Callable[[Any], Any]) -> None:
    """Two of four rows, in age and in ill, and none in bmi."""
    with pytest.raises(DataError, match=r"north: 2 of 4 rows of inputs hold NaN .* row 1, in 'age', 'ill'\.") as error:
        data.check((kind(GAPS), np.arange(4)), "north")
    assert "bmi" not in str(error.value)
    assert data.check((kind(GAPS), np.arange(4)), "north", missing=True) == 4


ODD: dict[str, Any] = {
    "category": pd.Categorical([1, 2, 1, 1]),
    "object": np.array([1, 2.5, None, 3], object),
    "datetime64": pd.to_datetime(["2020-01-01"] * 4),
    "timedelta64": pd.to_timedelta([1, 2, 3, 4], "s"),
    "str": list("abca"),
}


@pytest.mark.promise("P63")
@pytest.mark.guards("a column is a number")
@pytest.mark.parametrize("kind", ODD)
def test_columns_of_anything_else_are_refused_by_name(kind: str) -> None:
    """NumPy would read the category 1 as the number 1, and a day as nanoseconds; the words say what to write."""
    frame = MIXED.assign(ward=ODD[kind])
    for given in ((frame, np.arange(4)), (MIXED, frame["ward"])):
        with pytest.raises(DataError, match=f"(?s)^north: .*'ward' .{kind}.*float32"):
            data.check(given, "north")
    if kind != "object":  # which pyarrow reads as numbers, one of them missing
        with pytest.raises(DataError, match=r"(?s)^north: .*column 'ward' .*\.cast"):
            data.check((pa.Table.from_pandas(frame), np.arange(4)), "north")


# ── missing values ───────────────────────────────────────────────────────────────────────────────────────────────────

A = RNG.normal(size=(120, 4)).astype(np.float32)
B = (A[:, 0] + A[:, 1] > 0).astype(int)
A[RNG.random(A.shape) < 0.1] = np.nan
PARAMS = {"objective": "binary:logistic", "max_depth": 3}
TREES = h.Plan(
    XgboostModel(PARAMS, features=4),
    h.Boosting(),
    aggregator=h.Ensemble(),
    training=h.Training(batch=0, learning_rate=0.3),
    rounds=3,
)


@pytest.mark.promise("P303")
def test_xgboost_learns_where_missing_values_go() -> None:
    """One client with gaps, in each form: the trees that xgboost.train gives, scored on test sets with gaps."""
    given = {**PARAMS, "eta": 0.3, "base_score": 0.5, "nthread": 1}
    plain = xgb.train(given, xgb.DMatrix(A, label=B), 3).predict(xgb.DMatrix(A))
    for one in (A, pd.DataFrame(A).convert_dtypes(), pa.table({f"{i}": A[:, i] for i in range(4)})):
        app = h.App(TREES, {"north": (one, B)}, test={"north": (one, B), "south": (A[:50], B[:50])})
        assert not list(app.problems())
        *_, state = app.run()
        np.testing.assert_array_equal(TREES.model.booster(state.x).predict(xgb.DMatrix(A)), plain)  # type: ignore[attr-defined]
        right = np.mean(np.r_[(plain > 0.5) == B, (plain[:50] > 0.5) == B[:50]])
        assert state.scores["accuracy"] == pytest.approx(right)
    kept = replace(TREES, training=replace(TREES.training, validation=0.25))
    *_, state = h.App(kept, {"north": (A, B)}).run()
    assert state.metrics["val_accuracy"] > 0.5


@pytest.mark.promise("P63")
def test_what_is_missing_is_data_for_no_other_model() -> None:
    """A gap in a target, infinity, and a number that is infinite in 32 bits are refused by XGBoost itself; a gap by all
    models that do not say `missing = True`."""
    huge = np.where(np.isnan(A), 1e300, A.astype(np.float64))
    for given, words in (
        ((A, np.where(B, np.nan, 0.0)), "rows of targets hold NaN"),
        ((np.where(np.isnan(A), np.inf, A), B), "rows of inputs hold infinity"),
        ((huge, B), "above 3e38"),
    ):
        (problem,) = h.App(TREES, {"north": given}).problems()
        assert words in str(problem)
    softmax = h.Plan(h.Softmax(4, 2), sample=h.Everyone())
    assert [str(one)[:5] for one in h.App(softmax, {"north": (A, B)}, test=(A, B)).problems()] == ["north", "test:"]
    assert AskedModel(TREES.model).takes.missing and not AskedModel(softmax.model).takes.missing


# ── who has too few examples to hold any out ─────────────────────────────────────────────────────────────────────────


def points(n: int) -> Any:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, 4))
    return x, (x[:, 0] > 0).astype(int)


PARTIES = {"clinic": points(50), "practice": points(1), "surgery": points(20), "truck": lambda: [points(9)]}
MODEL = h.Softmax(4, 2)
HELD = h.Training(validation=0.2)
AVERAGED: dict[str, dict[str, Any]] = {
    "one": {"pipe": (h.Weigh("one"),)},
    "examples": {"pipe": (h.Weigh("examples"),)},
    "median": {"pipe": (h.Weigh("one"),), "aggregator": h.Median()},
    "integers": {"pipe": (h.Clip(9.0, side=9.0), h.Weigh("examples", cap=64), h.Quantize(24))},
    "proven": {"pipe": (h.Clip(9.0, side=9.0), h.Weigh("one")), "aggregator": h.VerifiedSum(helpers=1)},
}


@pytest.mark.promise("P301")
@pytest.mark.guards("no score is in no mean")
@pytest.mark.parametrize("how", AVERAGED)
def test_who_holds_nothing_out_trains_and_is_in_no_mean_of_scores(how: str) -> None:
    """Of four clients two can: one has a single example, and one a single batch. The means of the two, by hand, with
    their share of the weight beside them."""
    plan = h.Plan(MODEL, training=HELD, sample=h.Everyone(quorum=4), rounds=2, **AVERAGED[how])
    x = plan.start().x
    for state in h.App(plan, PARTIES).run():
        assert state.participants == tuple(PARTIES) and not state.excluded
        parts = [Examples.of(PARTIES[who]).split(0.2, plan.key.child("split", who)) for who in ("clinic", "surgery")]
        found = [MODEL.score(x, held) for _, held in parts]
        weights = [len(train) for train, _ in parts] if how in ("examples", "integers") else [1, 1]
        for name in MODEL.metrics:
            wanted = np.average([one[name] for one in found], weights=weights)
            assert state.metrics[f"val_{name}"] == pytest.approx(wanted, abs=1e-4), name
        total = sum(weights) + (10 if how in ("examples", "integers") else 2)
        assert state.metrics["val_defined"] == pytest.approx(sum(weights) / total, abs=1e-4)
        x = state.x


@pytest.mark.promise("P301")
def test_where_nobody_holds_anything_out_there_is_no_score() -> None:
    """Not 0, which would be the best of losses; by a sum and by a rule."""
    for aggregator in (h.Sum(), h.Median()):
        plan = h.Plan(MODEL, training=HELD, aggregator=aggregator, sample=h.Everyone(quorum=3), rounds=1)
        (state,) = h.App(plan, {who: points(1) for who in "abc"}).run()
        assert state.metrics.keys() == {"loss", "val_defined"} and state.metrics["val_defined"] == 0


# ── going on from a fitted estimator ─────────────────────────────────────────────────────────────────────────────────

FITS = {
    "two classes": (SGDClassifier(loss="log_loss", random_state=0), Y, 2),
    "three classes": (Perceptron(random_state=0), np.arange(N) % 3, 3),
    "a number": (SGDRegressor(random_state=0), Z @ [1.0, 2.0, 3.0], None),
}


@pytest.mark.parametrize("kind", FITS)
def test_a_fitted_estimator_is_where_the_federation_starts(kind: str) -> None:
    """[coef_ row by row, intercept_], as the other libraries start from what they are given; unfitted, at 0."""
    estimator, y, classes = FITS[kind]
    cold = SklearnModel(estimator, 3, classes)
    fitted = estimator.fit(Z, y)
    model = SklearnModel(fitted, 3, classes)
    wanted = np.r_[fitted.coef_.ravel(), fitted.intercept_]
    for same in (model, replace(model), replace(model, estimator=model.estimator)):
        np.testing.assert_array_equal(same.start(KEY), wanted)
    np.testing.assert_allclose(model.fitted(model.start(KEY)).predict(Z), fitted.predict(Z), rtol=1e-5)
    assert not cold.start(KEY).any()
    assert h.Plan(model).digest != h.Plan(cold).digest
    fitted.coef_ += 1  # of the owner's alone
    np.testing.assert_array_equal(model.start(KEY), wanted)


@pytest.mark.guards("a fitted estimator fits")
def test_one_that_was_fitted_on_something_else_is_refused() -> None:
    """Other inputs, other classes, other labels: its rows would be taken for those of other classes."""
    for labels, features, classes, words in (
        (Y, 4, 2, r"coef_ \(1, 3\)"),
        (Y, 3, 3, r"coef_ \(1, 3\)"),
        (1 + np.arange(N) % 3, 3, 3, r"labels \[1, 2, 3\]"),
        (np.where(Y, "ill", "well"), 3, 2, "labels .*'ill'"),
    ):
        fitted = SGDClassifier(random_state=0).fit(Z, labels)
        with pytest.raises(PlanError, match=f"SGDClassifier has been fitted.*{words}") as error:
            SklearnModel(fitted, features, classes)
        assert error.value.why and error.value.instead


# ── dealing out ──────────────────────────────────────────────────────────────────────────────────────────────────────

MEASURED = np.random.default_rng(0).normal(size=2000)
LABELS, TEST = np.random.default_rng(1).integers(0, 10, 6000), np.random.default_rng(2).integers(0, 10, 1000)


@pytest.mark.guards("a measurement is no label")
@pytest.mark.parametrize("deal", [data.dirichlet, data.pathological])
def test_a_measured_target_has_no_classes(deal: Callable[..., Any]) -> None:
    """Each value would be a class of its own, and all clients alike; bins of it are classes."""
    how = {"alpha": 0.05} if deal is data.dirichlet else {"classes": 2}
    for labels in (
        MEASURED,
        np.round(MEASURED, 1),
        MEASURED.astype(object),
        np.arange(2000),
        [f"{i}" for i in range(50)],
    ):
        with pytest.raises(DataError, match="bins=10"):
            deal(labels, 10, key=KEY, **how)
    for missing in ([*"ab" * 9, None], [0.0, np.nan, 1.0], pd.array([1, None, 2, 1], "Int64")):
        with pytest.raises(DataError, match="labels are missing"):
            deal(missing, 2, key=KEY, **how)


def test_bins_of_a_measured_target_are_skewed() -> None:
    """With ten classes of equal size each client's mean lies about a standard deviation from the others'; random parts
    of 200 differ by σ/√200 = 0.07. Bins may be counted, or told by their edges."""
    for bins in (10, np.quantile(MEASURED, np.arange(0.1, 1, 0.1)).tolist()):
        parts = data.dirichlet(MEASURED, 10, 0.05, KEY, bins=bins)
        assert np.std([MEASURED[rows].mean() for rows in parts]) > 0.4
        assert sorted(np.concatenate(parts)) == list(range(2000))
    for wrong in (1, 2.5, "ten", [], [[1.0]]):
        with pytest.raises(DataError, match="bins="):
            data.dirichlet(MEASURED, 10, 0.05, KEY, bins=wrong)
    with pytest.raises(DataError, match="bins=3 of labels of type <U1"):
        data.dirichlet(["a", "b"] * 20, 2, 0.05, KEY, bins=3)


@pytest.mark.promise("P302")
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_client_has_one_mix_in_training_and_test(alpha: float) -> None:
    """p_k of a class hangs on the key alone: with equal keys the shares of the classes differ by rounding, and by what
    the two sets differ themselves (0.07 at most here, and 0.02 on average); labels may be 3, 3.0 or "3"."""
    apart = []
    for seed in range(5):
        parts = data.dirichlet(LABELS, 10, alpha, h.Key.of(seed))
        for test in (TEST, TEST.astype(float), TEST.astype(str)):
            others = data.dirichlet(test, 10, alpha, h.Key.of(seed))
            for rows, other in zip(parts, others, strict=True):
                mixes = [np.bincount(y, minlength=10) / len(y) for y in (LABELS[rows], TEST[other])]
                apart += [np.abs(mixes[0] - mixes[1]).max()] if len(other) >= 30 else []
    assert len(apart) > 120 and max(apart) < 0.1 and np.mean(apart) < 0.03


def test_each_client_may_have_an_alpha_of_its_own() -> None:
    """E p_ki = αᵢ/Σα: of 10 classes of 600 a client with α = 8 of 8 + 4·2 gets half on average, σ = 0.5/√(17·10)."""
    shares = [len(data.dirichlet(LABELS, 5, [8, 2, 2, 2, 2], h.Key.of(seed))[0]) / 6000 for seed in range(10)]
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(17 * 100))
    equal = data.dirichlet(LABELS, 5, np.full(5, 0.5), KEY)
    assert all(map(np.array_equal, equal, data.dirichlet(LABELS, 5, 0.5, KEY)))
    for wrong in ([0.1] * 4, [0.1, 0.1, 0.1, 0.1, 0.0], [1, 1, 1, 1, np.inf], ["a"] * 5, [[1.0] * 5]):
        with pytest.raises(DataError, match=r"alpha=.* for 5 clients"):
            data.dirichlet(LABELS, 5, wrong, KEY)


@pytest.mark.promise("P64", "P302")
@pytest.mark.parametrize(("clients", "classes"), [(10, 2), (7, 3), (100, 2), (5, 10), (12, 1)])
def test_a_pathological_split_has_exactly_so_many_classes(clients: int, classes: int) -> None:
    """Neither one nor three, as shards may have; each class at ⌊m·c/K⌋ or ⌈m·c/K⌉ clients; the same in a test set."""
    parts = data.pathological(LABELS, clients, classes, KEY)
    known = [set(LABELS[rows]) for rows in parts]
    assert {len(one) for one in known} == {classes}
    assert sorted(np.concatenate(parts)) == list(range(6000))
    owners = [sum(k in one for one in known) for k in range(10)]
    assert max(owners) - min(owners) <= 1
    assert [set(TEST[rows]) for rows in data.pathological(TEST, clients, classes, KEY)] == known
    for clients_, classes_, words in ((10, 11, "of 10 that"), (10, 0, "of 10 that"), (4, 2, "4 clients with 2 of 10")):
        with pytest.raises(DataError, match=words):
            data.pathological(LABELS, clients_, classes_, KEY)
    with pytest.raises(DataError, match="Class 1 has 1 examples for 2 clients"):
        data.pathological([0] * 9 + [1], 2, 2, KEY)
