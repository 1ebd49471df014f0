"""Rows: how a round, a state and the numbers in them are written, and read again.

State  →  row_of, of the database: what a history shows of a round
       →  entries, of a file: all that the next round needs
row    →  round_of;    file  →  state_of
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ..errors import StoreError
from ..rounds import Round, Spent
from ..state import State


def keepable(state: State) -> State:
    """What may be kept of a state: not who took part, where ε rests on nobody knowing that."""
    if not state.hidden:
        return state
    return replace(state, participants=(), excluded={})


def entries(state: State) -> dict[str, Any]:
    """A state as a file holds it, in values that the codec knows: arrays, numbers, texts."""
    entries = {one.name: getattr(state, one.name) for one in fields(State) if one.name != "record"}
    return {**entries, "spent": {unit: tuple(one) for unit, one in state.spent.items()}}


def row_of(state: State) -> dict[str, Any]:
    """The row of a round, but for its run and the seconds that it took; StoreError for scores that
    are no numbers.
    """
    return {
        "round": state.round,
        "metrics": numbers_text(state.metrics),
        "scores": numbers_text(state.scores),
        "spent": json.dumps(dict(state.spent)),
        "participants": json.dumps(None if state.hidden else state.participants),
        "excluded": json.dumps(dict(state.excluded)),
        "skipped": state.skipped,
        "named": state.named,
    }


def state_of(name: str, found: Mapping[str, Any]) -> State:
    """The state that a file held; StoreError where it is one of another version."""
    try:
        spent = {unit: Spent(*one) for unit, one in found["spent"].items()}
        return State(**{**found, "spent": spent})
    except (AttributeError, KeyError, TypeError) as error:
        why = f"{error}: another version of hansa wrote it."
        raise StoreError(
            f"{name} holds another kind of state.", why, "Go on with that version."
        ) from None


def round_of(row: Any) -> Round:
    """A round as its row has it."""
    return Round(
        row.round,
        metrics=row.metrics,
        scores=row.scores,
        spent=row.spent,
        participants=row.participants or (),
        excluded=row.excluded,
        skipped=row.skipped,
        seconds=row.seconds,
        named=row.named,
        hidden=row.participants is None,
    )


def level(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows that all have the same names, in the order in which they come first: None where a row
    has not.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def numbers_text(numbers: Mapping[str, float]) -> str:
    """Named numbers as JSON; NaN and infinity, which JSON lacks, as text.

    StoreError for what is no mapping of names to numbers.
    """
    try:
        values = {name: float(value) for name, value in numbers.items()}
    except (TypeError, ValueError, AttributeError):
        raise StoreError(
            f"The scores {numbers!r} cannot be kept.",
            "They are numbers by name.",
            'Write {"accuracy": 0.9}.',
        ) from None
    return json.dumps({name: v if math.isfinite(v) else str(v) for name, v in values.items()})


def either(names: Iterable[str]) -> str:
    """A or B."""
    return " or ".join(names)
