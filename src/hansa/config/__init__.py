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
import re
import tomllib
from collections.abc import Iterator, Mapping
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
from .parse import parse

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
    takes = {f.name: _declared(f.type) for f in fields(plan)}
    given = {
        key: build(_as_table(value, takes.get(key, ""), getattr(plan, key, None)), names)
        for key, value in entries.items()
        if key != "use"
    }
    if unknown := [key for key in given if key not in takes]:
        raise AppError(
            f"A plan has no {_quoted(unknown)}.",
            f"It has {', '.join(takes)}.",
            did_you_mean(unknown[0], list(takes)),
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
        found = parse(f"value = {text}")
    except tomllib.TOMLDecodeError:
        found = {}
    except ValueError as error:
        raise AppError(
            f"A value of {len(text)} characters cannot be read.",
            f"{str(error).capitalize()}.",
            "Write a shorter one.",
        ) from None
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


def set_(plan: Piece, settings: Mapping[str, Any], names: Mapping[str, Any] | None = None) -> Piece:
    """The plan with other values at dotted paths: fields by name, entries of a tuple by number,
    from 0. Or the app, of which only what lies below `stop` has such a path.

    The plan itself is not changed; the new one is checked like any, once it has all the values. A
    value is as TOML has it: a table with `use` becomes a piece, and so does a text,
    FedProx(mu=0.1), where a piece is declared. Where one path lies below another, the later one of
    the two wins.
    AppError for a path that leads nowhere, and a value of another type than is declared there.
    """
    given = [(path.split("."), value) for path, value in settings.items()]
    new: Piece = _put(plan, "", given, "", names)
    return new


def _as_table(value: Any, declared: str, old: Any) -> Any:
    """The table of a piece for a text in the place of one; else the value itself. Of a list in the
    place of pieces, each.
    """
    if isinstance(value, list):
        return [_as_table(one, _entry(declared), None) for one in value]
    if isinstance(value, str) and _takes_piece(declared, old):
        return table_of(value)
    return value


def _takes_piece(declared: str, old: Any) -> bool:
    """Does a piece belong where this type is declared: is it a class, and no text? Where it says
    nothing, what stands there now is one.
    """
    words = set(re.findall(r"[A-Za-z_]\w*", declared)) - {"None"}
    if words <= {"Any"}:
        return is_dataclass(old)
    return not (words <= WORDS.keys() or words & {"str", "Literal"})


def _put(
    old: Any,
    declared: str,
    given: list[tuple[list[str], Any]],
    at: str,
    names: Mapping[str, Any] | None,
) -> Any:
    """What stands at the path `at`, with other values below it, or in place of it where no path is
    left; each piece on the way is built anew, once.
    """
    if whole := [i for i, (path, _) in enumerate(given) if not path]:
        value = build(_as_table(given[whole[-1]][1], declared, old), names)
        old = _fitting(declared, old, value, at)
        given = given[whole[-1] + 1 :]
    below: dict[str, list[tuple[list[str], Any]]] = {}
    for path, value in given:
        below.setdefault(path[0], []).append((path[1:], value))
    there = _children(old, declared)
    new = {}
    for name, inner in below.items():
        so_far = f"{at}.{name}".lstrip(".")
        if name not in there:
            raise _nowhere(old, there, at or "the plan", name, so_far)
        was, kind = there[name]
        new[name] = _put(was, kind, inner, so_far, names)
    return _with(old, new, at)


def _with(old: Any, new: Mapping[str, Any], at: str) -> Any:
    """A piece or a tuple with other values directly below it; AppError where it cannot have them.

    at: its path.
    """
    if not new:
        return old
    if isinstance(old, tuple):
        return tuple(new.get(str(i), kept) for i, kept in enumerate(old))
    try:
        return replace(old, **new)
    # what pieces do with a value that they never expect
    except (TypeError, ValueError, AttributeError) as error:
        found = [f"{at}.{name} cannot be {value!r}".lstrip(".") for name, value in new.items()]
        now = [repr(getattr(old, name)) for name in new]
        raise AppError(
            f"{', '.join(found)}.", f"{error}.", f"It is {', '.join(now)} now."
        ) from None


def _nowhere(
    here: Any, there: Mapping[str, tuple[Any, str]], where: str, name: str, so_far: str
) -> AppError:
    """A path has left the plan: `name` does not lie below `here`, which stands at `where`."""
    found = f"There is no {so_far!r} in this plan."
    if not there:
        why = f"{where} is {here!r}, and nothing lies below it."
        return AppError(found, why, f"Write {where}=… to replace it.")
    why = f"In {where} there is {_listed(here, there)}."
    return AppError(found, why, did_you_mean(name, list(there)))


def _children(value: Any, declared: str) -> dict[str, tuple[Any, str]]:
    """What lies directly below a value: name → (value, its declared type).

    Nothing lies below a number, a text, a function or an object that is no dataclass.
    """
    if isinstance(value, tuple):
        return {str(i): (v, _entry(declared)) for i, v in enumerate(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: (getattr(value, f.name), _declared(f.type)) for f in fields(value) if f.init
        }
    return {}


def _declared(kind: Any) -> str:
    """The declared type of a field as it is written, whether annotations are evaluated or not."""
    if isinstance(kind, type):
        return kind.__name__
    return str(kind)


def _entry(declared: str) -> str:
    """The type of a tuple's entries: Transform of tuple[Transform, ...]; "" where it says none."""
    found = re.search(r"tuple\[(.+), \.\.\.\]", declared)
    return found.group(1) if found else ""


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
