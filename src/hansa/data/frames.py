"""Data frames of pandas, polars and pyarrow, and single columns of them; none is imported.

What is a number is told by the name of a column's type, which the three spell much alike: Int64,
uint8, float, boolean, decimal128(9, 2) are numbers, and category, str, object, date32 are none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..spec import Vector

# those of 128 bits NumPy has not
NUMBER = re.compile(r"(?i)(sparse\[)?(u?int(8|16|32|64)\b|float|double|halffloat|bool|decimal)")
NESTED = re.compile(r"(?i)(fixed_size_|large_)?(list|array)\b")  # many numbers in each row


def columns(value: Any) -> list[tuple[str, Any]]:
    """Name and values of each column of a data frame, in order; nothing of what is none."""
    found: Any = ()
    if len(getattr(value, "shape", ())) != 2:
        return []
    if hasattr(value, "iloc"):  # pandas, in which two columns may have one name
        found = value.items()
    elif hasattr(value, "get_columns"):  # polars
        found = [(column.name, column) for column in value.get_columns()]
    elif hasattr(value, "itercolumns"):  # pyarrow
        found = zip(value.column_names, value.itercolumns(), strict=True)
    return [(str(name), column) for name, column in found]


def as_numbers(value: Any, what: str) -> Vector | None:
    """A data frame [n, columns], or one column [n], as numbers; None of what is neither.

    Columns of whole numbers stay whole; beside others, or with missing values, which are NaN, they
    are floating. True is 1, and in a frame of nothing else 1.0. DataError that names the columns
    which are no numbers.
    """
    named = columns(value)
    if named:
        _check_types(named, what)
        whole = np.asarray(value)
        if whole.dtype.kind in "iuf":
            return whole
        parts = [_numbers(column) for _, column in named]
        if all(part.dtype.kind == "b" for part in parts):
            return np.column_stack(parts).astype(np.float32)
        return np.column_stack(parts)
    if isinstance(value, np.ndarray) or not hasattr(value, "to_numpy"):
        return None
    if NESTED.match(_type(value)):
        return None
    _check_types([(getattr(value, "name", None) or what, value)], what)
    found = _numbers(value)
    if found.dtype.kind == "b":
        return found.astype(np.int64)
    return found


def _numbers(column: Any) -> Vector:
    """The numbers of a column; NaN where one is missing."""
    found = np.asarray(column)
    if found.dtype.kind in "biuf":
        return found
    if hasattr(column, "isna"):  # pandas
        return np.asarray(column.to_numpy("float64", na_value=np.nan))
    if hasattr(column, "type"):  # pyarrow
        return np.asarray(column.cast("float64"))
    return np.asarray(column.cast(float))


def _type(column: Any) -> str:
    """What the library calls the column's type."""
    return str(getattr(column, "dtype", None) or getattr(column, "type", ""))


def _check_types(named: Sequence[tuple[Any, Any]], what: str) -> None:
    """DataError that names the columns which are no numbers, with what their types are called."""
    odd = [f"{name!r} ({_type(column)})" for name, column in named if not _is_number(column)]
    if not odd:
        return
    raise DataError(
        f"{what}: column {' and '.join(odd)} of a data frame.",
        "A model computes with real numbers, and this is a type of something else.",
        "Write classes as numbers from 0, categories one-hot with columns that all clients share "
        "(pandas.get_dummies), times as seconds, numbers of another type with .astype('float32'), "
        "in polars and pyarrow .cast(…); or leave the column out.",
    )


def _is_number(column: Any) -> bool:
    """Is its type one of numbers, as its library spells it?"""
    return bool(NUMBER.match(_type(column)))
