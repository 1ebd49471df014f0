"""Wire: nested values as JSON and named arrays, and both as bytes (safetensors); nothing in them is ever executed.

    None, True, "a", 7, 2.5, [a, b]    themselves
    (a, b)                             {"tuple": [a, b]}
    {"a": b}                           {"dict": {"a": b}}
    NaN, ±∞                            {"float": its 8 bytes, in hex}
    an integer of 64 bits and more     {"int": in hex}
    a NumPy array                      {"array": its name}, named after the path to it
    a NumPy scalar                     {"scalar": its name}
    bytes                              {"bytes": the name of an array that holds them}

An array of a type that safetensors lacks (complex, big-endian, long double) travels as bytes, and the JSON holds "type"
and "shape" beside its name. All values come back as they were, bit for bit; any other value is refused.
"""
# P57

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from .errors import ProtocolError

Array = NDArray[Any]

DEPTH = 32  # values within values
TEXT = 2**26  # characters of JSON
SIZE = 2**34  # bytes of a message, unless its reader expects less

PLAIN = re.compile(r"\|[biu]1|<[iu][248]|<f[248]")  # what safetensors holds
NUMERIC = re.compile(r"[<>|][biufc][0-9]{1,2}")
VALUES = "dict with text keys, tuple, list, None, bool, int, float, str, bytes and numeric NumPy array"


def dumps(value: Any) -> bytes:
    """The value as bytes: a safetensors file with the arrays, and the JSON in its metadata."""
    text, arrays = encode(value)
    return safetensors.save(arrays, {"hansa": text})


def loads(data: bytes, size: int = SIZE) -> Any:
    """The value of such bytes, of which there may be `size`; ProtocolError where they are none."""
    if len(data) > size:
        raise ProtocolError(f"A message of {len(data):,} bytes came.", f"No more than {size:,} are expected here.")
    try:
        arrays = safetensors.load(data)
        head = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + head])["__metadata__"]["hansa"]
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ProtocolError("The bytes are no safetensors file of hansa.", f"{type(error).__name__}: {error}") from None
    return decode(text, arrays)


def encode(value: Any) -> tuple[str, dict[str, Array]]:
    """The JSON of a value, and the arrays in it by name; ProtocolError for what it cannot hold."""
    arrays: dict[str, Array] = {}
    text = json.dumps(_outline(value, (), arrays), separators=(",", ":"), allow_nan=False)
    if len(text) > TEXT:
        found = f"The value has {len(text):,} characters of JSON."
        raise ProtocolError(found, f"There may be {TEXT:,}.", "Put numbers into arrays.")
    return text, arrays


def _outline(value: Any, path: tuple[str, ...], arrays: dict[str, Array]) -> Any:
    kind = type(value)  # exactly: a subclass would come back as something else than it was
    if len(path) > DEPTH:
        raise ProtocolError(f"{'.'.join(path[:3])}… lies more than {DEPTH} levels deep.", "", "Make the value flatter.")
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
    code = a.dtype.str
    if not NUMERIC.fullmatch(code):
        raise _unwritable(path, f"NumPy array of {a.dtype}")
    name = ".".join(path) or "value"
    while name in arrays or name == "__metadata__":  # {"a.b": v, "a": {"b": w}}
        name += "'"
    if PLAIN.fullmatch(code):
        arrays[name] = a
        return {word: name}
    arrays[name] = a.reshape(-1).view(np.uint8)
    return {word: name, "type": code, "shape": list(a.shape)}


def _unwritable(path: tuple[str, ...], kind: str) -> ProtocolError:
    found = f"{'.'.join(path) or 'The value'} is a {kind}."
    return ProtocolError(found, f"What can be written is {VALUES}.", "Make it one of these.")


def decode(text: str, arrays: Mapping[str, Array]) -> Any:
    """The value of what `encode` gave; ProtocolError for anything else."""
    if len(text) > TEXT:
        raise ProtocolError(f"A message with {len(text):,} characters of JSON came.", f"There may be {TEXT:,}.")
    left = dict(arrays)
    try:
        value = _value(json.loads(text, parse_constant=_constant), left, 0)
    except (KeyError, TypeError, ValueError, RecursionError, struct.error) as error:
        raise ProtocolError(
            "The JSON of a message does not say what its values are.", f"{type(error).__name__}: {error}"
        ) from None
    if left:
        raise ProtocolError(f"The message holds arrays that its JSON does not name: {', '.join(sorted(left)[:5])}.")
    return value


def _value(outline: Any, left: dict[str, Array], depth: int) -> Any:
    if depth > DEPTH:
        raise ProtocolError(f"A message holds values more than {DEPTH} levels deep.")
    match outline:
        case None | bool() | int() | float() | str():
            return outline
        case list():
            return [_value(v, left, depth + 1) for v in outline]
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
    match form:
        case {"type": str(code), "shape": list(shape)} if NUMERIC.fullmatch(code) and min(shape, default=0) >= 0:
            a = a.view(np.dtype(code)).reshape(shape)
        case _ if form:
            raise ValueError(f"no array has the form {form}")
    return a if a.flags.writeable else a.copy()  # what is read may be worked on, as what was written


def _bytes(a: Array) -> bytes:
    if a.dtype != np.uint8 or a.ndim != 1:
        raise ValueError(f"bytes are no array of {a.dtype} and {a.ndim} dimensions")
    return a.tobytes()


def _constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
