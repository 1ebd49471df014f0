"""Values come back from JSON and arrays as they were, bit for bit; everything else is refused, on both sides."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections import OrderedDict
from contextlib import suppress
from datetime import date
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import numpy as safetensors
from tests.memory import peak

from hansa import codec
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


@given(values)
def test_the_bytes_are_those_that_safetensors_writes(value: Any) -> None:
    text, found = encode(value)
    assert dumps(value) == safetensors.save(found, {"hansa": text})
    assert codec.length(value) == len(dumps(value))
    assert codec.fingerprint(value) == hashlib.sha256(dumps(value)).digest()


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
        {"\ud800": np.ones(1), "\\ud800": np.zeros(1), 'a"\n': np.ones(2)},
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


def test_a_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    path, d = tmp_path / "value", 10**6
    with open(path, "wb") as file:
        _, written = peak(lambda: codec.write(file, {"a": np.arange(float(d)), "b": np.ones(3, ">f8")}))
    found, mapped = peak(lambda: codec.read(path))
    assert written < 9 * d and mapped < d
    assert found["a"][-1] == d - 1 and not found["a"].flags.owndata
    found["a"] += 1  # which stays here
    found["b"] += 1
    assert found["b"].sum() == 6
    assert codec.read(path)["a"][-1] == d - 1
    with open(path, "rb") as file, pytest.raises(ValueError, match="read-only"):
        codec.read(mmap(file.fileno(), 0, access=ACCESS_READ))["a"] += 1


def test_bytes_are_copied_once() -> None:
    value = {"a": np.ones(10**6)}
    data, made = peak(lambda: dumps(value))
    _, read = peak(lambda: loads(data))
    _, hashed = peak(lambda: codec.fingerprint(value))
    assert made < 1.1 * len(data)
    assert read < 1.1 * len(data)
    assert hashed < 0.1 * len(data)


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
    good = dumps({"x": np.ones(3)})
    wrong = [b"", b"x", bytes(100), good[:-1], good + b"x", good[:8] + b"[" * 10**5]
    wrong += [safetensors.save({"x": np.ones(3)}), safetensors.save({"x": np.ones(3)}, {"hansa": '{"dict":{}}'})]
    wrong += [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(8)]
    for data in wrong:
        with pytest.raises(ProtocolError):
            loads(data)


def entry(**more: Any) -> dict[str, Any]:
    """An array's entry in a head, as it should be or not."""
    return {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]} | more


METADATA = {"__metadata__": {"hansa": '{"dict":{"x":{"array":"x"}}}'}}


@pytest.mark.guards("a head is as hansa writes it")
@pytest.mark.promise("P56")
@pytest.mark.parametrize(
    "head",
    [
        METADATA, {"x": entry()}, {"x": entry(), **METADATA}, {**METADATA, "x": entry(), "more": 1},
        {**METADATA, "x": entry(more=1)}, {"__metadata__": {"hansa": "null", "more": ""}, "x": entry()},
        {**METADATA, "x": entry(dtype="F8_E4M3")}, {**METADATA, "x": entry(dtype="O")},
        {**METADATA, "x": entry(dtype=["F64"])}, {**METADATA, "x": entry(dtype="F32")},
        {**METADATA, "x": entry(shape=[4])}, {**METADATA, "x": entry(shape=[-3])},
        {**METADATA, "x": entry(shape=[3.0])}, {**METADATA, "x": entry(shape=[True, 3])},
        {**METADATA, "x": entry(shape="3")}, {**METADATA, "x": entry(shape=[3, 2**70])},
        {**METADATA, "x": entry(shape=[3] + [1] * 80)}, {**METADATA, "x": entry(shape=[0, 2**70], data_offsets=[0, 0])},
        {**METADATA, "x": entry(data_offsets=[8, 32])}, {**METADATA, "x": entry(data_offsets=[0, 16])},
        {**METADATA, "x": entry(data_offsets=[0, 24.0])}, {"__metadata__": {"hansa": None}, "x": entry()},
        {"__metadata__": {"hansa": {}}, "x": entry()}, {"__metadata__": "hansa", "x": entry()}, [], 5, None, "x",
        [["__metadata__", {"hansa": "null"}]],
    ],
)  # fmt: skip
def test_a_head_of_a_stranger_is_refused(head: Any) -> None:
    words = json.dumps(head, separators=(",", ":")).encode()
    for data in (bytes(24), b""):
        with pytest.raises(ProtocolError):
            loads(framed(words, data))


def framed(words: bytes, data: bytes) -> bytes:
    """A safetensors file of a head and what follows."""
    words += b" " * (-len(words) % 8)
    return len(words).to_bytes(8, "little") + words + data


@pytest.mark.guards("a head is as hansa writes it")
def test_a_value_has_no_second_spelling() -> None:
    """Of the same head: other spaces, a name twice, another order, letters as numbers."""
    good = dumps({"x": np.ones(3), "é": np.ones(3)})
    size = int.from_bytes(good[:8], "little")
    words, data = good[8 : 8 + size].rstrip(b" "), good[8 + size :]
    assert same(loads(framed(words, data)), loads(good))
    head = json.loads(words)
    first = json.dumps({"x": head["x"]}, separators=(",", ":")).encode()
    spelt = [
        words + b" " * 8,
        words.replace(b",", b", "),
        words.replace(b'{"__metadata__"', first[:-1] + b',"__metadata__"'),
        json.dumps({name: head[name] for name in ("__metadata__", "é", "x")}, separators=(",", ":")).encode(),
        json.dumps(head, separators=(",", ":")).encode(),
    ]
    for other in spelt:
        with pytest.raises(ProtocolError):
            loads(framed(other, data))


@pytest.mark.promise("P56")
@given(st.binary(max_size=200), st.integers(0, 10**6))
def test_no_byte_brings_the_reader_down(noise: bytes, where: int) -> None:
    good = dumps({"x": np.ones(3), "y": (1, 2.5, np.ones(2, ">c16"))})
    at = where % len(good)
    with suppress(ProtocolError):
        loads(good[:at] + noise + good[at + len(noise) :])
