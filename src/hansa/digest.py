"""A digest of values and of the code that they hold: what server and clients compare.

    what                         by what it is told apart
    number, string, None, Enum   type and value
    tuple, list, set, mapping    type and parts, a mapping's in the order of its keys
    array                        type, shape and all bytes
    dataclass                    class and fields, but those that are neither given nor compared
    with a `fingerprint()`       class and what that returns
    function, class              name, where hansa or an installed package defines it; else its code
    any other                    class, and repr where it has attributes

Code is bytecode with its constants, defaults and closures, a class's parents and methods, and what
it names in its module, all the way down; no file, line or comment counts. Inside code values and
code count as above, and any other object by its class.
"""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, cached_property, partial, partialmethod
from hashlib import blake2b
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from .errors import PlanError
from .known import HEAP, named, packaged

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
ARRAY = ("__array__", "dtype", "shape")
UNTOLD = re.compile(r" at 0x[0-9a-fA-F]+|\.\.\.")  # in a repr: new in each process, or shortened
MISSING = "nothing has this name"
KEPT = ("__doc__", "__firstlineno__", "__static_attributes__")  # what Python notes in a class
JUMPS = {*dis.hasjrel, *dis.hasjabs}


def digest_of(value: Any) -> str:
    """32 hexadecimal digits; PlanError where the value holds what cannot be told from another."""
    return _Walk().of(value)[:16].hex()


class _Walk:
    """One way through a value; code that was met before counts by its place, so circles end."""

    def __init__(self, loose: bool = False):
        self.loose = loose  # inside code, where any other object counts by its class
        self.met: dict[int, tuple[int, Any]] = {}

    def of(self, value: Any) -> bytes:
        """The digest of any value."""
        kind = type(value)
        if kind in PLAIN:
            return _hash(kind.__name__, repr(value))
        if isinstance(value, Enum):
            return _hash("enum", kind.__qualname__, str(value.name), self.of(value.value))
        if named(value):
            return _hash("named", value.__module__, value.__qualname__)
        if isinstance(value, FunctionType | type):
            return self._code(value)
        if callable(getattr(kind, "fingerprint", None)) and not self.loose:
            return _hash("fingerprint", self.of(kind), self.of(value.fingerprint()))
        if is_dataclass(kind):
            return self._record(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._parts(value)
        if isinstance(value, np.ndarray | np.generic) or all(hasattr(kind, name) for name in ARRAY):
            return self._array(value)
        if (parts := _code_parts(value)) is not None:
            return _hash("code", self.of(kind), *map(self.of, parts))
        return self._other(value)

    # ── values ──

    def _record(self, value: Any) -> bytes:
        kind = type(value)
        if self.loose and not kind.__dataclass_params__.frozen:  # a state, not a value
            return self._other(value)
        held = [self.of(kind)]
        for one in fields(value):
            if one.init or one.compare:
                held += [_hash(one.name), self.of(getattr(value, one.name, MISSING))]
        return _hash("record", *held)

    def _parts(self, value: Any) -> bytes:
        held = [self.of(type(value))]
        if isinstance(value, set | frozenset):
            held += sorted(_Walk(self.loose).of(one) for one in value)
        elif isinstance(value, Mapping):
            parts = {_Walk(self.loose).of(key): part for key, part in value.items()}
            for key in sorted(parts):
                held += [key, self.of(parts[key])]
        else:
            held += map(self.of, value)
        return _hash("parts", *held)

    def _array(self, value: Any) -> bytes:
        try:
            array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        except (RuntimeError, TypeError, ValueError):
            return self._other(value, "NumPy cannot read its numbers")
        numbers = self.of(array.tolist()) if array.dtype.hasobject else array.tobytes()
        kind = self.of(type(value))
        return _hash("array", kind, str(array.dtype), str(array.shape), numbers)

    def _other(self, value: Any, why: str = "") -> bytes:
        kind = type(value)
        if self.loose:
            return _hash("object", self.of(kind))
        text = repr(value)
        bare = hasattr(value, "__dict__") and value.__getstate__() is None
        if bare and text == object.__repr__(value):  # without attributes, nor any that C holds
            return _hash("object", self.of(kind))
        if UNTOLD.search(text):
            why = "its repr holds an address in memory, or is shortened"
        if why:
            raise PlanError(
                f"Nobody can tell {text[:100]} from another {kind.__qualname__}.",
                f"Server and clients compare a digest of all that a plan holds, and {why}.",
                "Make its class a frozen dataclass, or give it a method fingerprint() that returns "
                "what makes it what it is: a tuple of numbers, strings, arrays and functions.",
            )
        return _hash("other", self.of(kind), text)

    # ── code ──

    def _code(self, value: Any) -> bytes:
        if id(value) in self.met:
            return _hash("met", str(self.met[id(value)][0]))
        self.met[id(value)] = (len(self.met), value)
        before = self.loose
        self.loose = True
        found = self._class(value) if isinstance(value, type) else self._function(value)
        self.loose = before
        return found

    def _class(self, kind: type) -> bytes:
        """Its parents and all that stands in it, but for what Python itself notes there."""
        held = [*map(self.of, kind.__bases__), self.of(type(kind))]
        for name, value in sorted(vars(kind).items()):
            code = isinstance(value, FunctionType | classmethod | staticmethod | property)
            if code or not name.startswith("__"):
                held += [_hash(name), self.of(value)]
        return _hash("class", kind.__qualname__, *held)

    def _function(self, function: FunctionType) -> bytes:
        """Its code, what it holds and what it names; a package's, by its name and what it holds."""
        code = function.__code__
        space = function.__globals__
        held = [self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        held += [self.of(_content(cell)) for cell in function.__closure__ or ()]
        home = sys.modules.get(space.get("__name__", ""))  # whatever `wraps` says
        if home and packaged(home) and code.co_name != "<lambda>":
            return _hash("inner", home.__name__, code.co_qualname, *held)
        compiled = _compiled(code)
        for path in sorted(compiled.names):
            held += [_hash(*path), self.of(_found(space, path))]
        return _hash("function", compiled.digest, *held)


class _Compiled(NamedTuple):
    """The digest of a code object, and the globals that it reads, each with what it reads of it."""

    digest: bytes
    names: frozenset[tuple[str, ...]]


@cache
def _compiled(code: CodeType) -> _Compiled:
    """Bytecode is what runs; source may have changed since, or be on another machine.

    So parties whose plans hold code of their own need one minor version of Python.
    """
    steps = [one for one in dis.get_instructions(code) if one.opname not in ("EXTENDED_ARG", "NOP")]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    flags = code.co_flags & 0xFFFF  # without those of __future__ and of docstrings
    head = (code.co_name, counts, arguments, code.co_freevars, flags)
    held = [_hash(repr(head), code.co_exceptiontable)]
    names = _globals(steps)
    for one in steps:
        what = one.arg if one.opcode in JUMPS else one.argval
        if isinstance(what, CodeType):
            inner = _compiled(what)
            names |= inner.names
            what = inner.digest
        if one.opname == "STORE_NAME" and what in KEPT:
            held.pop()  # the value that would be stored
        else:
            held.append(_hash(one.opname, _Walk().of(what)))
    return _Compiled(_hash(*held), names)


def _globals(steps: Sequence[dis.Instruction]) -> frozenset[tuple[str, ...]]:
    """The globals that code reads and does not write, as paths: np.linalg.norm is one of three."""
    paths = list[tuple[str, ...]]()
    path: tuple[str, ...] = ()
    for one in steps:
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            path = (one.argval,)
        elif path and one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            path = (*path, one.argval)
        else:
            path = ()
        paths.append(path)
    written = {one.argval for one in steps if one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")}
    read = [path for path in paths if path and path[0][:2] != "__"]
    return frozenset(path for path in read if path[0] not in written)


def _found(space: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What a path leads to, through modules that are no package's and no further."""
    value = space.get(path[0], MISSING)
    for name in path[1:]:
        if isinstance(value, ModuleType) and not packaged(value):
            value = vars(value).get(name, MISSING)
    return value


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return MISSING


def _code_parts(value: Any) -> tuple[Any, ...] | None:
    """What code is made of that is neither function nor class; None for what is no code."""
    if isinstance(value, MethodType):
        return value.__self__, value.__func__
    if isinstance(value, partial | partialmethod):
        return value.func, value.args, value.keywords
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel
    if isinstance(value, cached_property):
        return (value.func,)
    if isinstance(value, ModuleType):
        return (value.__name__,)
    if hasattr(value, "__wrapped__") and named(type(value)):  # by functools, JAX, …
        state = {name: one for name, one in vars(value).items() if name[:2] != "__"}
        return value.__wrapped__, state
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str) or type(value).__flags__ & HEAP:
        return None
    owner = getattr(value, "__self__", None)  # of a function in C
    return name, None if isinstance(owner, ModuleType) else owner


def _hash(*parts: str | bytes) -> bytes:
    """BLAKE2b of the parts, each behind its length."""
    found = blake2b(digest_size=32)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.digest()
