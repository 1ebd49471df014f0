"""Data frames of polars are a client's data as arrays are: the same models, and words for what is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import datasets
import numpy as np
import polars as pl
import pytest
import xgboost as xgb
from tests.contracts.test_reports_data import (
    KEY,
    MIXED,
    NUMBERS,
    PARAMS,
    STILL,
    TREES,
    A,
    B,
    N,
    Y,
    Z,
    of_jax,
    of_keras,
    of_torch,
    whole,
)

import hansa as h
from hansa import data
from hansa.data import Examples
from hansa.errors import DataError

FRAME = pl.DataFrame(MIXED.to_dict("list"))
LABELS = np.arange(4)


def test_columns_of_numbers_are_numbers() -> None:
    """As frame.to_numpy() has them after a cast to float; a frame in several chunks too."""
    for frame in (FRAME, pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)):
        np.testing.assert_array_equal(whole((frame, LABELS))[0], NUMBERS)
    np.testing.assert_array_equal(whole((FRAME.cast(pl.Float32), LABELS))[0].dtype, np.float32)
    hot = pl.Series("ward", list("abab")).to_dummies()
    np.testing.assert_array_equal(whole((hot, LABELS))[0], [[1, 0], [0, 1]] * 2)


KINDS = (pl.Int8, pl.Int64, pl.UInt8, pl.UInt32, pl.Float32, pl.Float64, pl.Boolean, pl.Decimal(9, 2))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_of_every_type_are_inputs_and_targets(kind: Any) -> None:
    """Whole ones stay whole."""
    column = pl.Series("n", [1, 0, 1, 0]).cast(kind)
    inputs, targets = whole((column.to_frame(), column))
    np.testing.assert_array_equal(inputs, [[1], [0], [1], [0]])
    np.testing.assert_array_equal(targets, [1, 0, 1, 0])
    assert (targets.dtype.kind in "iu") == (kind.is_integer() or kind == pl.Boolean)


@pytest.mark.parametrize("make", [of_torch, of_keras, of_jax])
def test_all_libraries_train_on_it_as_on_arrays(make: Callable[[], Any]) -> None:
    """A frame and a column, a dict of them, an array column, and a Hugging Face dataset in polars' format."""
    model, training = make(), h.Training(batch=8)
    x = model.start(KEY)
    wanted = model.train(x, (Z, Y), training, STILL, KEY)
    frame = pl.DataFrame(Z, schema=["a", "b", "c"])
    rows = pl.Series("x", Z, dtype=pl.Array(pl.Float32, 3))
    table = datasets.Dataset.from_dict({"x": Z.tolist(), "label": Y.tolist()}).with_format("polars")
    for given in ((frame, pl.Series(Y)), {"x": frame, "y": pl.Series(Y == 1)}, (rows, pl.Series(Y)), table):
        assert data.check(given, "north") == N
        found = model.train(x, given, training, STILL, KEY)
        assert found.steps == wanted.steps == 5
        np.testing.assert_allclose(found.x, wanted.x, atol=1e-6)


def test_clients_train_in_other_processes_on_it() -> None:
    """The frames travel to the workers; the bytes are those of arrays."""
    plan = h.Plan(h.Softmax(3, 2), training=h.Training(batch=8), rounds=2)
    frames = {who: (pl.DataFrame(Z + i), pl.Series(Y)) for i, who in enumerate("ab")}
    arrays = {who: (Z + i, Y) for i, who in enumerate("ab")}
    (*_, one), (*_, two) = h.App(plan, frames, workers=1).run(), h.App(plan, arrays).run()
    assert one.x.tobytes() == two.x.tobytes()


@pytest.mark.promise("P303")
def test_a_missing_value_is_xgboosts() -> None:
    """A null is NaN: the trees that xgboost.train gives."""
    given = {**PARAMS, "eta": 0.3, "base_score": 0.5, "nthread": 1}
    plain = xgb.train(given, xgb.DMatrix(A, label=B), 3).predict(xgb.DMatrix(A))
    frame = pl.DataFrame(A).fill_nan(None)
    assert frame.null_count().sum_horizontal().item() == np.isnan(A).sum() > 0
    *_, state = h.App(TREES, {"north": (frame, pl.Series(B))}).run()
    np.testing.assert_array_equal(TREES.model.booster(state.x).predict(xgb.DMatrix(A)), plain)  # type: ignore[attr-defined]


@pytest.mark.promise("P63")
def test_missing_values_are_refused_with_their_columns() -> None:
    gaps = FRAME.with_columns(
        age=pl.Series([40, None, 61, 38]), ill=pl.Series([True, False, None, True])
    )  # nulls in columns of whole numbers and of booleans
    with pytest.raises(DataError, match=r"north: 2 of 4 rows of inputs hold NaN .* row 1, in 'age', 'ill'\."):
        data.check((gaps, LABELS), "north")
    with pytest.raises(DataError, match="1 of 4 rows of targets hold NaN"):
        data.check((FRAME, gaps["age"]), "north", missing=True)
    assert data.check((gaps, LABELS), "north", missing=True) == 4


ODD: dict[str, Any] = {
    "Categorical": pl.Series(list("abca"), dtype=pl.Categorical),
    "Enum": pl.Series(list("abca"), dtype=pl.Enum(["a", "b", "c"])),
    "String": pl.Series(list("1231")),
    "Date": pl.Series([date(2020, 1, 1)] * 4),
    "Datetime": pl.Series([datetime(2020, 1, 1)] * 4),
    "Duration": pl.Series([timedelta(1)] * 4),
    "Time": pl.Series([time(1)] * 4),
    "Binary": pl.Series([b"1"] * 4),
    "Null": pl.Series([None] * 4),
    "Struct": pl.Series([{"a": 1}] * 4),
    "Int128": pl.Series([1, 2, 3, 4], dtype=pl.Int128),
}


@pytest.mark.promise("P63")
@pytest.mark.guards("a column is a number")
@pytest.mark.parametrize("kind", ODD)
def test_columns_of_anything_else_are_refused_by_name(kind: str) -> None:
    """Which NumPy would read as numbers, in part: a day, a category, text of digits."""
    frame = FRAME.with_columns(ward=ODD[kind])
    for given in ((frame, LABELS), (FRAME, frame["ward"])):
        with pytest.raises(DataError, match=rf"(?s)^north: .*'ward' .{kind}.*\.cast"):
            data.check(given, "north")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FRAME, "Training needs to know which part of it is the target"),
        ((FRAME.lazy(), LABELS), r"x\.collect\(\)"),
        ((FRAME, FRAME["age"][:2]), "Lengths differ"),
        ((FRAME.with_columns(x=pl.Series([[1, 2]] * 4)), LABELS), "'x' .List"),
        ((pl.Series([[1], [2, 3], [4], [5]]), LABELS), "lists of unequal lengths padded"),
    ],
    ids=["no target", "lazy", "lengths", "a column of lists", "unequal lists"],
)
def test_what_cannot_be_data_is_refused(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        data.check(given, "north")


def test_a_batch_is_a_copy() -> None:
    """Whoever writes to a batch writes to no frame."""
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    (batch,) = Examples.of((frame, LABELS)).whole()
    inputs, _ = data.pair(batch)
    inputs[:] = 0.0
    assert frame["a"].to_list() == [1.0, 2.0, 3.0, 4.0]
