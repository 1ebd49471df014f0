"""Codec: nested values as JSON and named arrays, and both as bytes; nothing is ever executed.

    None, True, "a", 7, 2.5, [a, b]    themselves
    (a, b)                             {"tuple": [a, b]}
    {"a": b}                           {"dict": {"a": b}}
    NaN, ±∞                            {"float": its 8 bytes, in hex}
    an integer of 64 bits and more     {"int": in hex}
    a NumPy array                      {"array": its name}, named after the path to it
    a NumPy scalar                     {"scalar": its name}
    bytes                              {"bytes": the name of an array that holds them}

The bytes are a safetensors file: its length and its head in JSON, which has the text above as
metadata, and then the arrays. An array of a type that safetensors lacks (complex, big-endian, long
double) travels as bytes, and the JSON holds "type" and "shape" beside its name. All values come
back as they were, bit for bit; any other value is refused.

A value has one form, and what is read must be in it: so equal bytes mean equal values and the other
way round, and a hash of the one speaks for the other.
"""
# P57

from __future__ import annotations

import hashlib
import json
import math
import mmap
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ProtocolError

Array = NDArray[Any]
Frame = bytes | memoryview
Buffer = bytes | bytearray | mmap.mmap

DEPTH = 32  # values within values
TEXT = 2**26  # characters of JSON
HEAD = 10**8  # bytes before the arrays; safetensors reads no more
SIZE = 2**34  # bytes of a message, unless its reader expects less

# What safetensors holds, in the order in which it writes them: the latest first.
TYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
NAMES = {code: name for name, code in TYPES.items()}
RANK = {code: rank for rank, code in enumerate(NAMES)}
PLAIN = (bool, int, float, str)
NUMERIC = re.compile(r"[<>|][biufc][0-9]{1,2}")
VALUES = (
    "dict with text keys, tuple, list, None, bool, int, float, str, bytes and numeric NumPy array"
)


def frames(value: Any) -> list[Frame]:
    """The bytes of a value in parts: a head, and the memory of its arrays, which is not copied.

    Together they are a safetensors file with the arrays, and the JSON in its metadata.
    ProtocolError where a value holds what cannot be written, or is too large beside its arrays.
    """
    text, arrays = encode(value)
    order = _order({name: a.dtype.str for name, a in arrays.items()})
    head = _head(text, {name: (arrays[name].dtype.str, arrays[name].shape) for name in order})
    return [head, *(arrays[name].reshape(-1).view(np.uint8).data for name in order)]


def dumps(value: Any) -> bytes:
    """The bytes of a value."""
    return b"".join(frames(value))


def write(file: IO[bytes], value: Any) -> None:
    """Put the bytes of a value at the end of a file that is open, without a copy of its arrays."""
    for frame in frames(value):
        file.write(frame)


def length(value: Any) -> int:
    """How many bytes a value has, which are not written for that."""
    return sum(len(frame) for frame in frames(value))


def fingerprint(value: Any) -> bytes:
    """SHA-256 of the bytes of a value."""
    digest = hashlib.sha256()
    for frame in frames(value):
        digest.update(frame)
    return digest.digest()


def loads(data: bytes, size: int = SIZE) -> Any:
    """The value of such bytes, of which there may be `size`; ProtocolError where they are none."""
    _check_size(len(data), size)
    return read(bytearray(data), size)


def read(source: Path | Buffer, size: int = SIZE, head: int = HEAD) -> Any:
    """The value in a file or a buffer; ProtocolError where there is none.

    There may be `size` bytes of it, `head` of them before the arrays. Arrays are views of what is
    read, and a file is mapped: what is written to its arrays stays in this process.
    """
    if isinstance(source, Path):
        source = _mapped(source)
    _check_size(len(source), size)
    try:
        text, layout, start = _layout(source, head)
        arrays = dict[str, Array]()
        for name, (code, shape) in layout.items():
            arrays[name] = np.ndarray(shape, code, source, start)
            start += arrays[name].nbytes
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(
            "The bytes are no safetensors file of hansa.", f"{type(error).__name__}: {error}"
        ) from None
    return decode(text, arrays)


def _mapped(path: Path) -> Buffer:
    """A file as memory, read when it is looked at; what is written to it stays in this process."""
    with open(path, "rb") as file:
        if not path.stat().st_size:
            return b""  # nothing cannot be mapped
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _check_size(found: int, size: int) -> None:
    """ProtocolError where a message is longer than who reads it expects."""
    if found > size:
        why = f"No more than {size:,} are expected here."
        raise ProtocolError(f"A message of {found:,} bytes came.", why)


Layout = dict[str, tuple[str, tuple[int, ...]]]  # name → type and shape, in the order of the arrays


def _order(codes: Mapping[str, str]) -> list[str]:
    """Names in the order of safetensors: wide types first, which aligns them; then by name."""
    return sorted(codes, key=lambda name: (-RANK[codes[name]], name))


def _head(text: str, layout: Layout) -> bytes:
    """What stands before the arrays: its length, and as JSON the text and where each array lies.

        n: 8 bytes, little-endian ‖ {"__metadata__": …, name: {dtype, shape, data_offsets}, …}

    Spaces fill it up to a multiple of 8 bytes, so that arrays lie where a processor reads them at
    once.
    """
    entries: dict[str, Any] = {"__metadata__": {"hansa": text}}
    end = 0
    for name, (code, shape) in layout.items():
        start = end
        end += np.dtype(code).itemsize * math.prod(shape)
        entries[name] = {"dtype": NAMES[code], "shape": shape, "data_offsets": [start, end]}
    words = HEADS.encode(entries).encode()
    words += b" " * (-len(words) % 8)
    if len(words) > HEAD:
        found = f"The value has {len(words):,} bytes beside its arrays."
        raise ProtocolError(found, f"There may be {HEAD:,}.", "Put numbers into arrays.")
    return len(words).to_bytes(8, "little") + words


def _layout(data: Buffer, most: int) -> tuple[str, Layout, int]:
    """The JSON of a value, its arrays, and where they begin.

    ValueError, KeyError or TypeError unless the head is the one that `frames` writes for them.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    if start > 8 + most:
        raise ValueError(f"{start - 8:,} bytes come before its arrays, and there may be {most:,}")
    head = bytes(data[:start])
    entries = dict(json.loads(head[8:]))
    text = str(entries.pop("__metadata__")["hansa"])
    codes = {name: TYPES[one["dtype"]] for name, one in entries.items()}
    layout = {name: (codes[name], _shape(one["shape"])) for name, one in entries.items()}
    if list(layout) != _order(codes) or head != _head(text, layout):
        raise ValueError("its head is not as hansa writes it")
    found = len(data) - start
    told = sum(np.dtype(code).itemsize * math.prod(shape) for code, shape in layout.values())
    if found != told:
        raise ValueError(f"its arrays have {found:,} bytes, and its head tells of {told:,}")
    return text, layout, start


def _shape(found: Any) -> tuple[int, ...]:
    """A shape as JSON holds it; ValueError for what is none."""
    if not isinstance(found, list) or not all(type(n) is int and n >= 0 for n in found):
        raise ValueError(f"no array has the shape {str(found)[:80]}")
    return tuple(found)


def encode(value: Any) -> tuple[str, dict[str, Array]]:
    """The JSON of a value, and the arrays in it by name; ProtocolError for what it cannot hold.

    {"x": array, "n": 3} → '{"dict":{"x":{"array":"x"},"n":3}}', {"x": array}
    """
    arrays: dict[str, Array] = {}
    text = TEXTS.encode(_outline(value, (), arrays))
    if len(text) > TEXT:
        found = f"The value has {len(text):,} characters of JSON."
        raise ProtocolError(found, f"There may be {TEXT:,}.", "Put numbers into arrays.")
    return text, arrays


def _outline(value: Any, path: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    """A value at a path, as JSON can hold it; its arrays are put among the others.

    ProtocolError for what cannot be written, and for what lies too deep.
    """
    kind = type(value)  # exactly: a subclass would come back as something else than it was
    if len(path) > DEPTH:
        raise ProtocolError(
            f"{'.'.join(path[:3])}… lies more than {DEPTH} levels deep.",
            "",
            "Make the value flatter.",
        )
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is list:
        return [_outline(v, (*path, str(i)), arrays) for i, v in enumerate(value)]
    if kind is tuple:
        return {"tuple": [_outline(v, (*path, str(i)), arrays) for i, v in enumerate(value)]}
    if kind is dict and all(type(key) is str for key in value):
        return {"dict": {key: _outline(v, (*path, key), arrays) for key, v in value.items()}}
    if kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
        word = "scalar" if isinstance(value, np.generic) else "array"
        return _name(word, np.asarray(value, order="C"), path, arrays)
    if kind is bytes:
        return _name("bytes", np.frombuffer(value, np.uint8), path, arrays)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    keys = " whose keys are not all text" if kind is dict else ""
    raise _unwritable(path, f"{name}{keys}")


def _name(word: str, a: Array, path: tuple[str, ...], arrays: dict[str, Array]) -> dict[str, Any]:
    """What stands in the JSON for an array, which is named after its path, and put aside."""
    code = a.dtype.str
    if not NUMERIC.fullmatch(code):
        raise _unwritable(path, f"NumPy array of {a.dtype}")
    name = ".".join(path).encode(errors="backslashreplace").decode() or "value"
    while name in arrays or name == "__metadata__":  # {"a.b": v, "a": {"b": w}}
        name += "'"
    if code in NAMES:
        arrays[name] = a
        return {word: name}
    arrays[name] = a.reshape(-1).view(np.uint8)
    return {word: name, "type": code, "shape": list(a.shape)}


def _unwritable(path: tuple[str, ...], kind: str) -> ProtocolError:
    found = f"{'.'.join(path) or 'The value'} is a {kind}."
    return ProtocolError(found, f"What can be written is {VALUES}.", "Make it one of these.")


def decode(text: str, arrays: Mapping[str, Array]) -> Any:
    """The value of what `encode` gave; ProtocolError for anything else.

    Every array is named once by the JSON: what nothing names was not written by hansa.
    """
    if len(text) > TEXT:
        raise ProtocolError(
            f"A message with {len(text):,} characters of JSON came.", f"There may be {TEXT:,}."
        )
    left = dict(arrays)
    try:
        value = _value(READ.decode(text), left, 0)
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise ProtocolError(
            "The JSON of a message does not say what its values are.",
            f"{type(error).__name__}: {error}",
        ) from None
    if left:
        raise ProtocolError(
            f"The message holds arrays that its JSON does not name: {', '.join(sorted(left)[:5])}."
        )
    return value


def _value(outline: Any, left: dict[str, Array], depth: int) -> Any:
    """The value that JSON outlines; its arrays are taken from those that are left.

    ValueError or KeyError for an outline that no value has.
    """
    if depth > DEPTH:
        raise ProtocolError(f"A message holds values more than {DEPTH} levels deep.")
    kind = type(outline)  # of what JSON gives, none is a subclass
    if outline is None or kind in PLAIN:
        return outline
    if kind is list:
        return [_value(v, left, depth + 1) for v in outline]
    match outline:
        case {"tuple": list(body), **more} if not more:
            return tuple([_value(v, left, depth + 1) for v in body])
        case {"dict": dict(body), **more} if not more:
            return {key: _value(v, left, depth + 1) for key, v in body.items()}
        case {"float": str(body), **more} if not more:
            return struct.unpack(">d", bytes.fromhex(body))[0]
        case {"int": str(body), **more} if not more:
            return int(body, 16)
        case {"array": str(name), **form}:
            return _array(left.pop(name), form)
        case {"bytes": str(name), **more} if not more:
            return _bytes(left.pop(name))
        case {"scalar": str(name), **form}:
            return _array(left.pop(name), form).reshape(())[()]
    raise ValueError(f"no value is written {str(outline)[:80]}")


def _array(a: Array, form: dict[Any, Any]) -> Array:
    """An array as it was: of another type and shape, where safetensors lacks that type."""
    match form:
        case {"type": str(code), "shape": list(shape)} if (
            NUMERIC.fullmatch(code) and min(shape, default=0) >= 0
        ):
            return a.view(np.dtype(code)).reshape(shape)
        case _ if form:
            raise ValueError(f"no array has the form {form}")
    return a


def _bytes(a: Array) -> bytes:
    """Bytes, of the array that holds them; ValueError for any other."""
    if a.dtype != np.uint8 or a.ndim != 1:
        raise ValueError(f"bytes are no array of {a.dtype} and {a.ndim} dimensions")
    return a.tobytes()


def _constant(word: str) -> None:
    """Refuse NaN and Infinity, which Python would read and JSON does not know."""
    raise ValueError(f"{word} is no JSON")


# made once: for each message it takes as long as to write it
HEADS = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
TEXTS = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
READ = json.JSONDecoder(parse_constant=_constant)
