"""Pieces of a plan as values that travel: hansa's own by name and fields, a stranger's by name.

    Clip(norm=1.0)        {"of": "hansa.transforms.scale:Clip", "fields": {"norm": 1.0}}
    {"weight": 1.0}       {"of": "", "fields": {"weight": 1.0}}
    numbers, texts, tuples, arrays      themselves

What is read is built by its own class, whose checks are those of a plan; no code but hansa's is
imported for it, and of that only what a plan is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import HansaError, ProtocolError
from ..known import own

ROOMS = frozenset({"aggregators", "transforms", "sample", "training", "schedules", "spec"})
PLAIN = (type(None), bool, int, float, str, bytes, np.ndarray)


class Unwritten(TypeError):
    """This piece is not hansa's own, or holds what is not."""


def written(value: Any) -> Any:
    """A piece, or what stands in one, as a value of `hansa.codec`; Unwritten where it is none."""
    if type(value) in PLAIN or isinstance(value, np.generic):
        return value
    if type(value) in (tuple, list):
        return type(value)(map(written, value))
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"of": "", "fields": {name: written(one) for name, one in value.items()}}
    kind = type(value)
    if is_dataclass(value) and own(value) and _room(kind.__module__) in ROOMS:
        entries = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
        return {"of": f"{kind.__module__}:{kind.__qualname__}", "fields": _all(entries)}
    raise Unwritten(kind.__name__)


def read(value: Any) -> Any:
    """What `written` has made a value of; ProtocolError where that is nothing of a plan's."""
    if type(value) in PLAIN or isinstance(value, np.generic):
        return value
    if type(value) in (tuple, list):
        return type(value)(map(read, value))
    match value:
        case {"of": str(name), "fields": dict(entries), **more} if not more:
            found = {str(key): read(one) for key, one in entries.items()}
            if not name:
                return found
            return _built(name, found)
    raise _unread("what is no piece")


def _built(name: str, entries: Mapping[str, Any]) -> Any:
    """The piece of one of hansa's classes."""
    module, _, kind = name.partition(":")
    if _room(module) not in ROOMS or not kind.isidentifier():
        raise _unread("a piece that is not hansa's")
    try:
        made = getattr(import_module(module), kind)
        if not isinstance(made, type) or not is_dataclass(made) or made.__module__ != module:
            raise _unread(f"a {kind}")
        return made(**entries)
    except HansaError:
        raise
    except Exception as error:
        raise _unread(f"a {kind} that cannot be built") from error


def _all(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: written(one) for name, one in entries.items()}


def _room(module: str) -> str:
    """The room of hansa in which a module lies; nothing for others."""
    first, _, rest = module.partition(".")
    if first != __package__.partition(".")[0]:
        return ""
    return rest.partition(".")[0]


def _unread(what: str) -> ProtocolError:
    return ProtocolError(
        f"A plan was described by {what}.",
        "It is made of hansa's own pieces, and of the names of others.",
        "Look at the version of who has described it.",
    )
