"""Columns: what a row holds is looked at where it is read, so that damage is told and not trained
on.

SQLite keeps any value in any column, and a database can be edited by hand. Each column here says
what was written to it, and raises Damaged for anything else, which `Database.read` tells as a
StoreError. A name of a file is one in the run's own folder: a row leads nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import Dialect, Double, Integer, Text
from sqlalchemy.types import TypeDecorator

from ..rounds import Spent, Unit
from .label import fits_line

FILE = re.compile(r"\w[\w.-]*")  # lies in its folder, and in no other


class Damaged(ValueError):
    """A row holds what was never written to it; its words say what stands where."""


class Words(TypeDecorator[Any]):
    """Text; a subclass says in `read` what it means."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The text; Damaged for another kind of value."""
        if not isinstance(value, str):
            raise Damaged(f"{value!r} stands where a text was written")
        return self.read(value)

    def read(self, text: str) -> Any:
        """What the text says."""
        return text


class Whole(TypeDecorator[Any]):
    """A whole number from 0, or None where it may be missing."""

    impl = Integer
    cache_ok = True

    def __init__(self, missing: bool = False):
        super().__init__()
        self.missing = missing

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The number; Damaged for another kind of value."""
        if not (isinstance(value, int) and value >= 0) and not (value is None and self.missing):
            raise Damaged(f"{value!r} stands where a whole number was written")
        return value


class Flag(TypeDecorator[Any]):
    """Yes or no, as 1 or 0."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int:
        """1 or 0."""
        return int(bool(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> bool:
        """Yes or no; Damaged for another value."""
        if not isinstance(value, int) or value not in (0, 1):
            raise Damaged(f"{value!r} stands where yes or no was written")
        return bool(value)


class Real(TypeDecorator[Any]):
    """A real number."""

    impl = Double
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The number; Damaged for another kind of value."""
        if not isinstance(value, float | int):
            raise Damaged(f"{value!r} stands where a number was written")
        return float(value)


class Name(Words):
    """The name of a run or of one of its files, which is one of the file system too."""

    cache_ok = True

    def read(self, text: str) -> str:
        """The name; Damaged where it could lead to another folder."""
        if not FILE.fullmatch(text):
            raise Damaged(f"{text!r} stands where a name was written")
        return text


class Line(Words):
    """What a person calls a run: it stands on one line."""

    cache_ok = True

    def read(self, text: str) -> str:
        """The text; Damaged where it does not fit."""
        if not fits_line(text):
            raise Damaged(f"{text[:80]!r} stands where the name of a run was written")
        return text


class Moment(Words):
    """A time, in ISO 8601 with its zone."""

    cache_ok = True

    def read(self, text: str) -> datetime:
        """The time."""
        try:
            found = datetime.fromisoformat(text)
            found.astimezone()  # a year that no clock knows
        except (ValueError, OverflowError, OSError):
            raise Damaged(f"{text!r} stands where a time was written") from None
        return found


class Json(Words):
    """JSON, and what `meaning` makes of it: a function that raises ValueError, TypeError or
    AttributeError for what is no such value.
    """

    cache_ok = True

    def __init__(self, meaning: Callable[[Any], Any]):
        super().__init__()
        self.meaning = meaning

    def read(self, text: str) -> Any:
        """The value."""
        try:
            found = json.loads(text)
            json.dumps(found, ensure_ascii=False).encode()  # half a character cannot be shown
            return self.meaning(found)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            raise Damaged(
                f"{text[:80]!r} stands where a {self.meaning.__name__} was written"
            ) from None


def table(found: Any) -> dict[str, Any]:
    """Values by name."""
    return dict(found.items())


def numbers(found: Any) -> dict[str, float]:
    """Numbers by name; those that JSON lacks were written as text."""
    return {name: float(value) for name, value in found.items()}


def spent(found: Any) -> dict[Unit, Spent]:
    """ε and δ, by whom they protect."""
    if not found.keys() <= set(get_args(Unit)):
        raise ValueError
    return {unit: Spent(float(epsilon), float(delta)) for unit, (epsilon, delta) in found.items()}


def reasons(found: Any) -> dict[str, str]:
    """Texts by name."""
    return dict(zip(found, names(list(found.values())), strict=True))


def participants(found: Any) -> tuple[str, ...] | None:
    """Texts in their order, or None where they are not kept."""
    return None if found is None else names(found)


def tags(found: Any) -> tuple[str, ...]:
    """Tags in their order."""
    listed = names(found)
    if not all(tag and fits_line(tag, ",") for tag in listed):
        raise ValueError
    return listed


def names(found: Any) -> tuple[str, ...]:
    """Texts in their order."""
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError
    return tuple(found)
