"""Config: a TOML table is a constructor call, `--set` is a path into the plan. No second
vocabulary.

{use = "Clip", norm = 1.0}      Clip(norm=1.0)
Clip(norm=1.0)                  the same, as a text where a piece stands
pipe.0.norm=2                   the same plan with Clip(norm=2.0)

So whatever a class takes can be written, its own checks are those of a config too, and a class that
an app defines is known by its name like hansa's own. Where a name, a path or a type is wrong,
AppError lists what there is, and what was probably meant. A config runs no code but its app's.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from ..aggregators import Aggregator
from ..errors import AppError
from ..graphs import Graph
from ..models import Model
from ..plan import Plan
from ..sample import Sample
from ..schedules import Schedule
from ..training import PerExample, Training
from ..transforms import Transform
from .calls import is_call, table_of

if TYPE_CHECKING:
    from tomlkit.items import Item

PIECES = (Model, Transform, Aggregator, Training, PerExample, Schedule, Sample, Graph, Plan)
WORDS = {
    "bool": "true or false",
    "dict": "a table",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "str": "a text",
}
Piece = TypeVar("Piece")
# where hansa's own pieces lie, each of whose names is one; and where some are
ROOMS = ("aggregators", "graphs", "models", "transforms")
MIXED = ("algorithms", "optim", "plan", "sample", "schedules", "training")


class Pieces(Mapping[str, Any]):
    """All that a plan can be put together from, by name: hansa's own, and those that `more`
    names.

    Of both only classes and functions that can stand in a plan: models, transforms, aggregators,
    samples, algorithms, training; `more` goes before. A library is imported when its piece is
    asked for.
    """

    def __init__(self, more: Mapping[str, Any] | None = None):
        self._hansa = import_module(__package__.partition(".")[0])
        self._more = more or {}

    def __getitem__(self, name: str) -> Any:
        if name not in set(self):
            raise KeyError(name)
        if name in self._more:
            return self._more[name]
        return getattr(self._hansa, name)

    def __iter__(self) -> Iterator[str]:
        places: Mapping[str, str] = self._hansa.LAZY
        yield from (name for name, place in places.items() if place.startswith(ROOMS))
        mixed = [name for name, place in places.items() if place.startswith(MIXED)]
        others = {name: getattr(self._hansa, name) for name in mixed}
        yield from (name for name, value in {**others, **self._more}.items() if _is_piece(value))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_piece(value: Any) -> bool:
    """Can it stand in a plan? An algorithm is known by its `step`: any dataclass may be one."""
    if inspect.isfunction(value):  # Uniform, FedProx
        return value.__name__[:1].isupper()
    return (
        inspect.isclass(value)
        and is_dataclass(value)
        and (issubclass(value, PIECES) or hasattr(value, "step"))
    )


# ── tables and values ─────────────────────────────────────────────────────────────────────────────


def build(value: Any, names: Mapping[str, Any] | None = None) -> Any:
    """{"use": "Clip", "norm": 1.0} → Clip(norm=1.0), all the way down; `names` are the pieces, by
    default hansa's.

    Lists become tuples, other values stay as they are. Raises AppError for a table without `use`,
    a name or an argument that is not known, and what a constructor cannot take; PlanError where a
    piece refuses its values.
    """
    if names is None:
        names = Pieces()
    if isinstance(value, list | tuple):
        return tuple(build(v, names) for v in value)
    if not isinstance(value, Mapping):
        return value
    if "use" not in value:
        raise AppError(
            f"A table stands where a piece should: {inline(value)}.",
            "A table is a constructor call, and `use` says of what.",
            'Write for example {use = "Clip", norm = 1.0}.',
        )
    name = value["use"]
    if name not in names:
        near = get_close_matches(str(name), list(names), 1)
        raise AppError(
            f"No piece is called {name!r}.",
            f"There are {', '.join(sorted(names))}.",
            f"Did you mean {near[0]!r}?" if near else "Take one of them.",
        )
    return _call(names[name], {key: build(v, names) for key, v in value.items() if key != "use"})


def _call(kind: Any, arguments: Mapping[str, Any]) -> Any:
    """kind(**arguments), or AppError with the names that it takes."""
    takes = list(inspect.signature(kind).parameters)
    if unknown := [key for key in arguments if key not in takes]:
        raise AppError(
            f"{kind.__name__} has no {_quoted(unknown)}.",
            f"It takes {', '.join(takes) or 'nothing'}.",
            did_you_mean(unknown[0], takes),
        )
    try:
        return kind(**arguments)
    # a number where a text should be, or nothing where something must be
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise AppError(
            f"{kind.__name__}({given}) cannot be built.",
            f"{error}.",
            f"It takes {', '.join(takes)}: write for example {_example(kind)}.",
        ) from None


def _example(kind: Any) -> str:
    """A call with the arguments that must be there: FedProx(mu=…)."""
    parameters = inspect.signature(kind).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty] or [
        one.name for one in parameters
    ][:1]
    return f"{kind.__name__}({', '.join(f'{name}=…' for name in needed)})"


def table(value: Any) -> Any:
    """The inverse of `build`: pieces become tables, all the way down; what is None is left out.

    Raises AppError for what TOML cannot hold: code, arrays.
    """
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [table(v) for v in value]
    if isinstance(value, Mapping):
        return {name: table(v) for name, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        entries = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        return {"use": type(value).__name__} | {
            name: table(v) for name, v in entries.items() if v is not None
        }
    raise AppError(
        f"A {type(value).__name__} cannot be written as TOML.",
        "TOML holds numbers, texts, lists and tables; it holds no code and no arrays.",
        "Let the app file build it, and leave it out of the config.",
    )


def overlay(plan: Plan, entries: Mapping[str, Any], names: Mapping[str, Any] | None = None) -> Plan:
    """The plan with other pieces: those that a [plan] table names.

    entries: name of a field of `Plan` → the piece, as a table or a call. AppError for a field that
    it lacks.
    """
    takes = [f.name for f in fields(plan)]
    given = {
        key: build(_as_table(value, getattr(plan, key, None)), names)
        for key, value in entries.items()
        if key != "use"
    }
    if unknown := [key for key in given if key not in takes]:
        raise AppError(
            f"A plan has no {_quoted(unknown)}.",
            f"It has {', '.join(takes)}.",
            did_you_mean(unknown[0], takes),
        )
    return replace(plan, **given)


# ── TOML ──────────────────────────────────────────────────────────────────────────────────────────


def toml(entries: Mapping[str, Any]) -> str:
    """A TOML document: values first, then each table under its [name]; a table with `use` stays on
    its line.
    """
    import tomlkit

    tables = {key: v for key, v in entries.items() if isinstance(v, Mapping) and "use" not in v}
    document = tomlkit.document()
    for key, value in entries.items():
        if key not in tables:
            document.append(key, _item(value))
    for key, inner in tables.items():
        below = tomlkit.table()
        for name, value in inner.items():
            below.append(name, _item(value))
        document.append(key, below)
    return tomlkit.dumps(document)


def inline(value: Any) -> str:
    """One TOML value, as it stands behind a name; AppError for what TOML has no value for."""
    return _item(value).as_string()


def _item(value: Any) -> Item:
    """A value as TOML has it, on one line."""
    import tomlkit
    from tomlkit.exceptions import ConvertError

    if isinstance(value, Mapping):
        pairs = tomlkit.inline_table()
        for name, one in value.items():
            pairs.append(name, _item(one))
        return pairs
    if isinstance(value, list | tuple):
        row = tomlkit.array()
        for one in value:
            row.append(_item(one))
        return row
    try:
        found: Item = tomlkit.item(value)
    except ConvertError:
        raise AppError(
            f"A {type(value).__name__} cannot be written as TOML.", "TOML has no such value."
        ) from None
    return found


def value_of(text: str) -> Any:
    """The TOML value that `text` stands for; a word alone is a text, so that in a shell no quotes
    are needed within quotes. AppError for what is neither.
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        found = {}
    if len(found) == 1:
        return found["value"]
    word = text and all(c.isalnum() or c in "-_." for c in text)
    if word or is_call(text):
        return text
    raise AppError(
        f"{text!r} is no value.",
        "It is read as TOML, which knows numbers, true and false, texts, lists and tables.",
        "Write for example 2, 0.5, true, adam, or 'Clip(norm=1.0)' in the shell's quotes.",
    )


# ── settings ──────────────────────────────────────────────────────────────────────────────────────


def set_(plan: Piece, path: str, value: Any, names: Mapping[str, Any] | None = None) -> Piece:
    """The plan with another value at a dotted path: fields by name, entries of a tuple by number,
    from 0. Or the app, of which only what lies below `stop` has such a path.

    The plan itself is not changed; the new one is checked like any. `value` is as TOML has it: a
    table with `use` becomes a piece, and so does a text, FedProx(mu=0.1), where a piece stands.
    AppError for a path that leads nowhere, and a value of another type than is declared there.
    """
    new: Piece = _put(plan, path.split("."), 0, lambda old: build(_as_table(value, old), names))
    return new


def _as_table(value: Any, old: Any) -> Any:
    """The table of a piece for a text in the place of one, or a call in the place of nothing; else
    the value itself. Of a list in the place of pieces, each.
    """
    if isinstance(value, list) and isinstance(old, tuple) and old and all(map(is_dataclass, old)):
        return [_as_table(one, old[0]) for one in value]
    if not isinstance(value, str):
        return value
    if is_dataclass(old) or (old is None and (is_call(value) or value[:1].isupper())):
        return table_of(value)
    return value


def _put(here: Any, path: list[str], depth: int, made: Callable[[Any], Any]) -> Any:
    """`here` with another value at path[depth:], made for what stands there; each piece on the way
    is built anew.
    """
    there = _children(here)
    name = path[depth]
    so_far = ".".join(path[: depth + 1])
    if name not in there:
        raise _nowhere(here, ".".join(path[:depth]) or "the plan", name, so_far)
    old, declared = there[name]
    if depth == len(path) - 1:
        new = _fitting(declared, old, made(old), so_far)
    else:
        new = _put(old, path, depth + 1, made)
    if isinstance(here, tuple):
        return tuple(new if str(i) == name else kept for i, kept in enumerate(here))
    try:
        return replace(here, **{name: new})
    # what pieces do with a value that they never expect
    except (TypeError, ValueError, AttributeError) as error:
        raise AppError(f"{so_far} cannot be {new!r}.", f"{error}.", f"It is {old!r} now.") from None


def _nowhere(here: Any, where: str, name: str, so_far: str) -> AppError:
    """A path has left the plan: `name` does not lie below `here`, which stands at `where`."""
    there = _children(here)
    found = f"There is no {so_far!r} in this plan."
    if not there:
        why = f"{where} is {here!r}, and nothing lies below it."
        return AppError(found, why, f"Write {where}=… to replace it.")
    why = f"In {where} there is {_listed(here, there)}."
    return AppError(found, why, did_you_mean(name, list(there)))


def _children(value: Any) -> dict[str, tuple[Any, str]]:
    """What lies directly below a value: name → (value, its declared type).

    Nothing lies below a number, a text, a function or an object that is no dataclass.
    """
    if isinstance(value, tuple):
        return {str(i): (v, "") for i, v in enumerate(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: (getattr(value, f.name), _declared(f.type)) for f in fields(value) if f.init
        }
    return {}


def _declared(kind: Any) -> str:
    """The declared type of a field as it is written, whether annotations are evaluated or not."""
    if isinstance(kind, str):
        return kind
    return getattr(kind, "__name__", str(kind))


def _listed(here: Any, there: Mapping[str, tuple[Any, str]]) -> str:
    """What lies below, by name; of a tuple with the class beside it, for a number says little."""
    if isinstance(here, tuple):
        return ", ".join(f"{name} ({type(v).__name__})" for name, (v, _) in there.items())
    return ", ".join(there)


def _fitting(declared: str, old: Any, new: Any, path: str) -> Any:
    """`new` as the declared type has it: 2 becomes 2.0 where a real number stands; a text there is
    refused.
    """
    kinds = {word.strip() for word in declared.split("|")} - {"None"}
    if not kinds or not kinds <= WORDS.keys() or type(new).__name__ in kinds:
        return new
    if "float" in kinds and type(new) is int:
        return float(new)
    takes = " or ".join(WORDS[kind] for kind in sorted(kinds))
    raise AppError(
        f"{path} cannot be {new!r}.",
        f"It takes {takes}.",
        f"It is {old!r} now; write another such value.",
    )


def _quoted(names: list[str]) -> str:
    """Names as they are written in code: 'a', 'b'."""
    return ", ".join(map(repr, names))


def did_you_mean(name: str, there: list[str]) -> str:
    """What to write instead of a name that is not there: the nearest, if one is near."""
    if near := get_close_matches(name, there, 1):
        return f"Did you mean {near[0]!r}?"
    return "Take one of these."
