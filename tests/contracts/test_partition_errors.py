"""Partitioners: an argument of another kind is told in words, before anything is dealt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hansa import Key
from hansa.data import partition
from hansa.errors import DataError

KEY, LABELS = Key.of(0), np.arange(20) % 3
DATA = np.ones((20, 2)), LABELS

COUNTS: dict[str, Callable[[Any], Any]] = {
    "iid, n": lambda v: partition.iid(v, 3, KEY),
    "iid, clients": lambda v: partition.iid(20, v, KEY),
    "dirichlet, clients": lambda v: partition.dirichlet(LABELS, v, 0.5, KEY),
    "dirichlet, least": lambda v: partition.dirichlet(LABELS, 3, 0.5, KEY, v),
    "shards, clients": lambda v: partition.shards(LABELS, v, 2, KEY),
    "shards, per_client": lambda v: partition.shards(LABELS, 3, v, KEY),
    "quantity, n": lambda v: partition.quantity(v, 3, 0.5, KEY),
    "quantity, clients": lambda v: partition.quantity(20, v, 0.5, KEY),
    "shifted, clients": lambda v: partition.shifted(DATA, v, KEY),
}
NUMBERS: dict[str, Callable[[Any], Any]] = {
    "dirichlet, alpha": lambda v: partition.dirichlet(LABELS, 3, v, KEY),
    "quantity, alpha": lambda v: partition.quantity(20, 3, v, KEY),
    "shifted, gain": lambda v: partition.shifted(DATA, 3, KEY, gain=v),
    "shifted, offset": lambda v: partition.shifted(DATA, 3, KEY, offset=v),
}
NONE = (None, "3", [2], (2,), np.array([2]), np.array([0.1, 0.2]), float("nan"), float("inf"), True, 1j, {})


@pytest.mark.parametrize("value", [*NONE, 2.5, -1], ids=repr)
@pytest.mark.parametrize("deal", COUNTS.values(), ids=COUNTS)
def test_what_is_counted_is_a_whole_number(deal: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(DataError) as error:
        deal(value)
    assert error.value.found and error.value.why and error.value.instead


@pytest.mark.parametrize("value", NONE, ids=repr)
@pytest.mark.parametrize("deal", NUMBERS.values(), ids=NUMBERS)
def test_what_is_measured_is_one_finite_number(deal: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(DataError) as error:
        deal(value)
    assert error.value.found and error.value.why and error.value.instead


@pytest.mark.parametrize("data", [None, 7, "data", np.ones((4, 2))], ids=repr)
def test_data_that_cannot_be_shifted_is_told(data: Any) -> None:
    with pytest.raises(DataError):
        partition.shifted(data, 3, KEY)


def test_numbers_of_numpy_are_numbers() -> None:
    assert len(partition.dirichlet(LABELS, np.int64(3), np.float32(0.5), KEY, np.int32(0))) == 3
