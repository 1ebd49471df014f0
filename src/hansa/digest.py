"""A digest of values and of the code that they hold: what server and clients compare.

    what                         by what it is told apart
    number, string, None, Enum   type and value
    tuple, list, set, mapping    type and parts, a mapping's in the order of its keys
    array                        type, shape and all bytes
    dataclass                    class and fields, but those that are neither given nor compared
    with a `fingerprint()`       class and what that returns
    function, class              name, where hansa or an installed package defines it; else its code
    any other                    class, and what pickle would keep of it

Code is bytecode with its constants, defaults, closures and attributes, a class's parents and
methods, and what it names in its module, all the way down; no file, line or comment counts. Inside
code values and code count as above, and any other object by its class.
"""

from __future__ import annotations

import copyreg
import dis
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, cached_property, partial, partialmethod
from hashlib import blake2b
from operator import itemgetter
from types import CellType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from .errors import PlanError
from .known import HEAP, named, packaged

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))
BUILT = (tuple, list, set, frozenset, dict, MappingProxyType)  # they hold nothing but their parts
LIVE = (WeakKeyDictionary, WeakValueDictionary, type(os.environ))  # of the process, not of a plan
ARRAY = ("__array__", "__dlpack__", "dtype", "shape")
METHODS = (classmethod, staticmethod, property, partialmethod)
MISSING = "nothing has this name"
KEPT = ("__doc__", "__firstlineno__", "__static_attributes__")  # what Python notes in a class
JUMPS = {*dis.hasjrel, *dis.hasjabs}


def digest_of(value: Any) -> str:
    """32 hexadecimal digits, the same in every process that holds the same value and code.

        BLAKE2b(its digest ‖ the digests of the code below it, in the order in which it is met)

    PlanError where the value holds what cannot be told from another, or values hundreds deep.
    """
    try:
        return _Walk().whole(value)[:16].hex()
    except RecursionError:
        raise PlanError(
            f"A {type(value).__qualname__} holds values within values, hundreds deep.",
            "Server and clients compare a digest of all that it holds, and Python goes no deeper.",
            "Keep what is so deep in a list that is flat, or give its class a method "
            "fingerprint().",
        ) from None


class _Walk:
    """One way through a value: code counts by its number, and its digest follows behind.

    So functions that call each other, and values that hold themselves, come to an end. What is met
    is held until the walk is over, for Python gives the id of what is gone to another object.
    """

    def __init__(self) -> None:
        self.loose = False  # inside code, where any other object counts by its class
        self.met: dict[int, tuple[int, Any]] = {}  # code → its number; held, or its id is free
        self.left = deque[Any]()  # code that was met and not yet looked at
        self.done: dict[tuple[int, bool], tuple[bytes, Any]] = {}  # value, looseness → digest

    def whole(self, value: Any) -> bytes:
        """The digest of a value and of all code below it."""
        held = [self.of(value)]
        self.loose = True
        while self.left:
            code = self.left.popleft()
            if isinstance(code, type):
                held.append(self._class(code))
            else:
                held.append(self._function(code))
        return _hash("whole", *held)

    def of(self, value: Any) -> bytes:
        """The digest of any value, beside that of the code below it.

        A value that is met again has the digest of the first time; so has one that holds itself,
        while it is being looked at.
        """
        kind = type(value)
        if kind is int:
            return _hash("int", hex(value))  # of any length
        if kind in PLAIN:
            return _hash(kind.__name__, repr(value))
        if named(value):
            return _hash("named", value.__module__, value.__qualname__)
        if isinstance(value, FunctionType | type):
            return self._code(value)
        place = id(value), self.loose
        if place not in self.done:
            self.done[place] = _hash("open", str(len(self.done))), value  # for what holds itself
            self.done[place] = self._value(value), value
        return self.done[place][0]

    def _value(self, value: Any) -> bytes:
        """The digest of a value that is neither plain nor code, by the first way that fits it."""
        kind = type(value)
        if isinstance(value, Enum):
            return _hash("enum", self.of(kind), str(value.name), self.of(value.value))
        if callable(getattr(kind, "fingerprint", None)) and not self.loose:
            return self._fingerprint(value)
        if is_dataclass(kind):
            return self._record(value)
        foreign = self.loose and isinstance(value, Mapping) and not isinstance(value, dict)
        if kind in BUILT or isinstance(value, set | frozenset) or foreign:
            return self._parts(value)
        if kind is np.ndarray or isinstance(value, np.generic) or _is_array(kind):
            return self._array(value)
        if (parts := _code_parts(value)) is not None:
            return _hash("code", self.of(kind), *map(self.of, parts))
        if self.loose and not isinstance(value, (*BUILT, np.ndarray)):
            return _hash("object", self.of(kind))
        return self._pickled(value)

    # ── values ──

    def _fingerprint(self, value: Any) -> bytes:
        """By what its class says of it.

        A subclass with arguments of its own must say it anew: what it inherits knows nothing of
        them, and two that differ would look alike.
        """
        kind = type(value)
        for one in kind.__mro__:
            if "fingerprint" in vars(one):
                break
            if "__init__" in vars(one):
                raise _told(kind, "it inherits fingerprint(), which ignores its own __init__")
        return _hash("fingerprint", self.of(kind), self.of(value.fingerprint()))

    def _record(self, value: Any) -> bytes:
        """By the fields of a dataclass, and by what a subclass that is none has beside them."""
        kind = type(value)
        held = [self.of(kind)]
        for one in fields(value):
            if one.init or one.compare:
                held += [_hash(one.name), self.of(getattr(value, one.name, MISSING))]
        if "__dataclass_fields__" not in vars(kind):  # its attributes may be no fields
            named_so = {one.name for one in fields(value)}
            more = {name: one for name, one in _state(value).items() if name not in named_so}
            held.append(self.of(more))
        return _hash("record", *held)

    def _parts(self, value: Any) -> bytes:
        """By the parts of a collection; of a set or a mapping in the order of their digests.

        A collection of the process, such as its environment, counts by its class.
        """
        kind = type(value)
        held = [self.of(kind)]
        if isinstance(value, LIVE):
            return _hash("object", *held)
        if isinstance(value, set | frozenset):
            held += sorted(map(self._apart, value))
        elif isinstance(value, Mapping):
            parts = [(self._apart(key), part) for key, part in value.items()]
            for key, part in sorted(parts, key=itemgetter(0)):
                held += [key, self.of(part)]
        else:
            held += map(self.of, value)
        return _hash("parts", *held)

    def _apart(self, value: Any) -> bytes:
        """The digest of one of many whose order means nothing: what is met in it stays unmet.

        Else the digest of the next would depend on which of them came first.
        """
        if type(value) in PLAIN:
            return self.of(value)
        met = len(self.met)
        done = len(self.done)
        left = self.left
        loose = self.loose
        self.left = deque()
        found = self.whole(value)
        self.left = left
        self.loose = loose
        while len(self.met) > met:
            self.met.popitem()
        while len(self.done) > done:
            self.done.popitem()
        return found

    def _array(self, value: Any) -> bytes:
        """By type, shape and numbers, wherever PyTorch holds them."""
        kind = type(value)
        try:
            if hasattr(value, "detach"):
                array = np.asarray(value.detach().cpu())
            else:
                array = np.asarray(value)
        except (RuntimeError, TypeError, ValueError):
            if self.loose:
                return _hash("object", self.of(kind))
            raise _told(kind, "NumPy cannot read its numbers") from None
        apart = array.dtype.hasobject or array.dtype.names  # between fields bytes mean nothing
        numbers = self.of(array.tolist()) if apart else array.tobytes()
        return _hash("array", self.of(kind), str(array.dtype), str(array.shape), numbers)

    def _pickled(self, value: Any) -> bytes:
        """By what pickle would keep of it: how it is made, its state and its parts."""
        kind = type(value)
        try:
            made = _reduced(value)
        except Exception:  # whatever a class of somebody else's may raise
            if self.loose:
                return _hash("object", self.of(kind))
            raise _told(kind, "it cannot be pickled, so nobody knows all that it holds") from None
        if isinstance(made, str):
            return _hash("global", self.of(kind), made)
        how, arguments, state, items, pairs = (*made, None, None, None)[:5]
        if isinstance(state, dict):
            state = _lasting(kind, state)
        held = [self.of(how), self.of(arguments), self.of(state), self.of(list(items or ()))]
        ordered: Any = dict(pairs or ())
        if isinstance(value, OrderedDict):
            ordered = list(ordered.items())
        return _hash("other", self.of(kind), *held, self.of(ordered))

    # ── code ──

    def _code(self, value: Any) -> bytes:
        """By its number on this way; it is looked at later, unless it was met before."""
        if id(value) not in self.met:
            self.met[id(value)] = len(self.met), value
            self.left.append(value)
        return _hash("met", str(self.met[id(value)][0]))

    def _class(self, kind: type) -> bytes:
        """Its parents and all that stands in it, but for what Python itself notes there."""
        held = [*map(self.of, kind.__bases__), self.of(type(kind))]
        for name, value in sorted(vars(kind).items()):
            code = callable(value) and not isinstance(value, type)
            if code or isinstance(value, METHODS) or not name.startswith("__"):
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
        attributes = {name: one for name, one in vars(function).items() if name[:2] != "__"}
        held.append(self.of(attributes))
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
    """What bytecode does: its instructions with their constants, and the globals that it reads.

    Bytecode is what runs; source may have changed since, or be on another machine. So parties whose
    plans hold code of their own need one minor version of Python.
    """
    steps = [one for one in dis.get_instructions(code) if one.opname not in ("EXTENDED_ARG", "NOP")]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    flags = code.co_flags & 0xFFFF  # without those of __future__ and of docstrings
    head = (code.co_name, counts, arguments, code.co_freevars, flags)
    held = [_hash(repr(head), code.co_exceptiontable)]
    names = _globals(steps)
    for one in steps:
        what = one.argval
        if one.opcode in JUMPS:
            what = one.arg
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
    """The globals that code reads and does not write, as paths.

    np.linalg.norm(x) → ("np", "linalg", "norm")
    """
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
    read = [path for path in paths if path and not (path[0][:2] == path[0][-2:] == "__")]
    return frozenset(path for path in read if path[0] not in written)


def _found(space: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What a path leads to, through modules that are no package's and no further.

    What lies below a package's module is that package's own business.
    """
    value = space.get(path[0], MISSING)
    for name in path[1:]:
        if isinstance(value, ModuleType) and not packaged(value):
            value = vars(value).get(name, MISSING)
    return value


def _is_array(kind: type) -> bool:
    """A library's array, with nothing beside its numbers, such as an index or a mask.

    It is known by what it can do, so that no library need be imported here.
    """
    return all(hasattr(kind, name) for name in ARRAY) and not issubclass(kind, np.ndarray)


def _state(value: Any) -> dict[str, Any]:
    """The lasting attributes of a value; none where it has no room for any."""
    return _lasting(type(value), getattr(value, "__dict__", {}))


def _reduced(value: Any) -> Any:
    """How pickle would make a value again: a name, or a function with its arguments, and so on."""
    if reduce := copyreg.dispatch_table.get(type(value)):
        return reduce(value)
    return value.__reduce_ex__(4)


def _lasting(kind: type, state: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes but those that a cached property has computed from the others.

    Whether one was asked for already makes no other value.
    """
    cached = {name for name in state if isinstance(getattr(kind, name, None), cached_property)}
    return {name: one for name, one in state.items() if name not in cached}


def _told(kind: type, why: str) -> PlanError:
    """The error for a value that cannot be told from another of its class."""
    return PlanError(
        f"Nobody can tell one {kind.__qualname__} from another.",
        f"Server and clients compare a digest of all that a plan holds, and {why}.",
        "Make its class a frozen dataclass, or give it a method fingerprint() that returns "
        "what makes it what it is: a tuple of numbers, strings, arrays and functions.",
    )


def _content(cell: CellType) -> Any:
    """What a closure holds; MISSING before it holds anything."""
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
    if hasattr(value, "__wrapped__") and named(type(value)):  # by functools, JAX, Numba, …
        # not what compiling and calling leave behind
        public = {name: one for name, one in vars(value).items() if name[0] != "_"}
        state = {name: one for name, one in public.items() if callable(one) or type(one) in PLAIN}
        return value.__wrapped__, state
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str) or not callable(value) or type(value).__flags__ & HEAP:
        return None
    owner = getattr(value, "__self__", None)  # of a function in C
    if isinstance(owner, ModuleType):
        owner = None
    return name, owner


def _hash(*parts: str | bytes) -> bytes:
    """BLAKE2b of the parts, each behind its length of 8 bytes: no two lists look alike."""
    found = blake2b(digest_size=32)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.digest()
