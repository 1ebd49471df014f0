"""Tables for programs: rows of runs and of rounds, as JSON or CSV.

A number that is not finite is null in JSON, which has no such numbers, and empty in CSV; so is what
a row does not have.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..rounds import Round
from ..store import Summary

Row = Mapping[str, Any]


def of_run(one: Summary) -> dict[str, Any]:
    """A run in one flat row: what it is, how far it came, and its last round."""
    found: dict[str, Any] = {
        "run": one.id,
        "app": one.app,
        "started": one.started.isoformat(),
        "status": one.status,
        "rounds": one.done,
        "planned": one.planned,
    }
    if one.last is not None:
        last = of_round(one.last)
        found |= {name: value for name, value in last.items() if name not in ("round", "seconds")}
    return found


def of_round(one: Round) -> dict[str, Any]:
    """A round in one flat row."""
    return dict(one.row)


def as_json(rows: Iterable[Row]) -> str:
    """A list of objects, one a row."""
    return json.dumps([{k: _plain(v) for k, v in row.items()} for row in rows], indent=1)


def as_csv(rows: Iterable[Row]) -> str:
    """A line of names, then one a row; every name that some row has."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in listed)
    return text.getvalue()


def _plain(value: Any) -> Any:
    """None for a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
