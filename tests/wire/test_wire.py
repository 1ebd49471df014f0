"""Values come back from JSON and arrays as they were, bit for bit; everything else is refused, on both sides."""

from __future__ import annotations

import json
import math
import struct
from collections import OrderedDict
from contextlib import suppress
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hansa.codec import DEPTH, TEXT, decode, dumps, encode, loads
from hansa.errors import ProtocolError

QUIET, LOUD = struct.unpack(">2d", bytes.fromhex("7ff8000000000abcfff8000000000001"))  # two NaNs of many

numeric = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
)
arrays = numeric.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
scalars = numeric.flatmap(hnp.from_dtype).filter(lambda value: isinstance(value, np.generic))
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | arrays | scalars
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal in type, order and every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.promise("P57")
@given(values)
def test_every_value_comes_back(value: Any) -> None:
    assert same(decode(*encode(value)), value)
    assert same(loads(dumps(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        {"x": np.arange(6.0).reshape(2, 3)[:, ::2], "T": np.arange(6).reshape(2, 3).T},
        np.array(3.5, ">f4"),
        np.array(["1.1", "-inf"], np.longdouble),
        np.zeros((0, 3), "c16"),
        [math.nan, QUIET, LOUD, math.inf, -math.inf, -0.0, 5e-324, 1e308, 0.1],
        {"a.b": np.ones(1), "a": {"b": np.zeros(2)}, "a.b'": np.ones(3), "__metadata__": np.ones(4)},
        {"__metadata__": np.ones(2)},
        {"": {"": np.ones(1)}, "dict": [], "tuple": {}, "\ud800\x00é": "\udfff"},
        [2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 7**9000],
        [True, 1, 1.0, np.True_, np.int64(1), np.float64(1), np.float32(1), np.uint64(2**64 - 1)],
        ((), [], {}, [()], ([],), None),
        {"empty": b"", "bytes": [b"\x00\xff", b"bytes"]},
    ],
    ids=lambda value: "",
)
def test_hard_values_come_back(value: Any) -> None:
    assert same(loads(dumps(value)), value)


def test_a_long_double_comes_back() -> None:
    value = loads(dumps(np.longdouble("1.1")))
    assert value == np.longdouble("1.1")
    assert type(value) is np.longdouble


def test_arrays_are_named_after_the_path_to_them() -> None:
    _, found = encode({"x": np.ones(2), "memo": {"opt": {"m": np.ones(2)}}, "transforms": (None, np.float64(1))})
    assert list(found) == ["x", "memo.opt.m", "transforms.1"]


def test_equal_values_have_equal_bytes() -> None:
    value = {name: np.full(3, i) for i, name in enumerate("qwertzuiopasdfghjkl")}
    assert dumps(value) == dumps(dict(value))


def test_what_comes_back_may_be_worked_on() -> None:
    a = loads(dumps({"a": np.ones(3), "b": np.ones(3, ">f8")}))
    a["a"] += 1
    a["b"] += 1
    assert a["a"].sum() == a["b"].sum() == 6


@pytest.mark.promise("P57")
@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"memo": {"when": date(2026, 1, 1)}}, ["memo.when", "datetime.date"]),
        ({"memo": [bytearray(b"bytes")]}, ["memo.0", "bytearray"]),
        ({1: 2}, ["The value", "keys"]),
        ({"f": len}, ["f is a builtin_function_or_method"]),
        ({"a": np.array(["text"])}, ["a is a NumPy array of <U4"]),
        ({"a": np.array([{}])}, ["a is a NumPy array of object"]),
        ({"a": np.array([1], "M8[s]")}, ["a is a NumPy array of datetime64[s]"]),
        ({"a": np.zeros(1, [("f", "f8")])}, ["a is a NumPy array of"]),
        (np.ma.array([1.0], mask=[True]), ["MaskedArray"]),
        (OrderedDict(a=1), ["OrderedDict"]),
        ({1, 2}, ["set"]),
    ],
    ids=lambda value: "",
)
def test_other_values_are_refused(value: Any, names: list[str]) -> None:
    with pytest.raises(ProtocolError) as error:
        encode(value)
    assert all(name in error.value.found for name in names), error.value.found
    assert error.value.instead


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


@pytest.mark.guards("a message is not too deep")
@pytest.mark.promise("P57")
def test_depth_has_a_limit_on_both_sides() -> None:
    assert same(loads(dumps(deep(DEPTH))), deep(DEPTH))
    with pytest.raises(ProtocolError, match="levels deep"):
        encode(deep(DEPTH + 1))
    with pytest.raises(ProtocolError, match="levels deep"):
        decode("[" * (DEPTH + 2) + "]" * (DEPTH + 2), {})
    with pytest.raises(ProtocolError):
        decode("[" * 10**6 + "]" * 10**6, {})  # deeper than the parser itself can go


@pytest.mark.guards("a message is not too long")
@pytest.mark.promise("P57")
def test_size_has_a_limit_on_both_sides() -> None:
    with pytest.raises(ProtocolError, match="characters"):
        encode("a" * TEXT)
    with pytest.raises(ProtocolError, match="characters"):
        decode('"' + "a" * TEXT + '"', {})
    data = dumps(np.zeros(1000))
    with pytest.raises(ProtocolError, match="bytes"):
        loads(data, size=len(data) - 1)
    assert loads(data, size=len(data)).shape == (1000,)


@pytest.mark.guards("every array is named")
@pytest.mark.promise("P57")
@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "NaN", "[Infinity]", "null null", "9" * 5000,
        '{"pickle": "gASV"}', '{"tuple": 3}', '{"tuple": "ab"}', '{"dict": []}', '{"tuple": [], "dict": {}}',
        '{"float": "7ff8"}', '{"float": 1}', '{"float": "zz"}', '{"int": 3}', '{"int": "0xg"}',
        '{"scalar": "a"}', '{"array": "b"}', '{"array": ["a"]}', '[{"array": "a"}, {"array": "a"}]', "null",
        '{"array": "a", "type": "O", "shape": [1]}', '{"array": "a", "type": "<c16"}',
        '{"array": "a", "type": "<c16", "shape": [2]}', '{"array": "a", "type": "<c16", "shape": [-1]}',
        '{"array": "a", "type": "<c16", "shape": [1.0]}', '{"array": "a", "type": "<c16", "shape": [[1]]}',
        '{"array": "a", "type": "<f9", "shape": [1]}', '{"array": "a", "type": "<c16", "shape": "1"}',
        '{"array": "a", "more": 1}', '{"array": "a", "type": "<f8,<f8", "shape": [1]}',
    ],
)  # fmt: skip
def test_json_of_a_stranger_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode(text, {"a": np.zeros(16, np.uint8)})


@pytest.mark.promise("P56")
def test_bytes_of_a_stranger_are_refused() -> None:
    from safetensors.numpy import save

    good = dumps({"x": np.ones(3)})
    wrong = [b"", b"x", bytes(100), good[:-1], good + b"x", good[:8] + b"[" * 10**5, save({"x": np.ones(3)})]
    wrong += [save({"x": np.ones(3)}, {"hansa": json.dumps({"dict": {}})})]
    wrong += [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(8)]
    for data in wrong:
        with pytest.raises(ProtocolError):
            loads(data)


@pytest.mark.promise("P56")
@given(st.binary(max_size=200), st.integers(0, 10**6))
def test_no_byte_brings_the_reader_down(noise: bytes, where: int) -> None:
    good = dumps({"x": np.ones(3), "y": (1, 2.5, np.ones(2, ">c16"))})
    at = where % len(good)
    with suppress(ProtocolError):
        loads(good[:at] + noise + good[at + len(noise) :])
