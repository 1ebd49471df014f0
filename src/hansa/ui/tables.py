"""Tables for programs: rows of runs and of rounds, as JSON or CSV.

A number that is not finite is null in JSON, which has no such numbers. In CSV infinity is inf, and
what is not defined is empty; so is what a row does not have. Of the best value of a score it is
known which way is better by its name.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..app.stopping import MODES, mode_of
from ..errors import AppError, printable
from ..rounds import BEGUN, Round
from ..store import Summary
from . import figure

Row = Mapping[str, Any]
BEST = "best_"  # before the name of a score: a column of its best value


class Best(NamedTuple):
    """The best value of a score in a run, and the round whose model has it."""

    score: str
    value: float
    round: int

    def __str__(self) -> str:
        return f"best {figure(self.score, self.value)}, round {self.round}"


def best_of(score: str, rounds: Sequence[Round]) -> Best | None:
    """The best value of a score as `Round.witnessed` names it; None where no round has it.

    Clients score the model that a round begins with: a best val_… is that of the round before, and
    0 are the first weights. AppError for a score of which nobody knows which way is better.
    """
    better = mode_of(score)
    if not better:
        raise AppError(
            f"Whether more of {score!r} is better is not known.",
            f"It is of scores whose names end in {', '.join(MODES)}.",
            f"Sort by one of them, or by the last value: --sort {score}.",
        )
    found = [
        Best(score, value, one.round - score.startswith(BEGUN))
        for one in rounds
        if math.isfinite(value := one.witnessed.get(score, math.nan))
    ]
    choose = {"min": min, "max": max}[better]
    return choose(found, key=lambda one: one.value, default=None)


def set_otherwise(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """What a run sets otherwise than its app, by path: {"set": {"seed": 3}} → {"seed": 3}.

    settings: as a run keeps them. A piece that is a table is one value.
    """
    found = dict[str, Any]()
    for name, value in settings.items():
        if isinstance(value, Mapping) and "use" not in value:
            found |= set_otherwise(value, f"{before}{name}.")
        elif value is not None:
            found[f"{before}{name}".removeprefix("set.")] = value
    return found


def otherwise(settings: Mapping[str, Any], known: Collection[str]) -> str:
    """Settings in words, a line each, by the last word of each path where no other has it.

    settings: path → value, as `set_otherwise` has them. known: the paths of all rows of a table, in
    which one word means one path.
    """
    ends = Counter(path.rpartition(".")[2] for path in known)
    found = list[str]()
    for path, value in settings.items():
        short = path.rpartition(".")[2]
        whole = ends[short] > 1 or short == "use" or short.isdigit()
        found.append(f"{path if whole else short} {value}")
    return printable("\n".join(found))


def set_at(settings: Mapping[str, Any], path: str) -> Any:
    """What a run sets at a path, also within a piece that it sets as a table; None where it sets
    nothing there.

    settings: as a run keeps them; of them `set` comes before `plan`, whose pieces it changes.
    """
    found = set_otherwise(settings)
    for whole in (path, f"plan.{path}"):
        words = whole.split(".")
        for i in range(len(words), 0, -1):
            above = ".".join(words[:i])
            if above in found:
                return _within(found[above], words[i:])
    return None


def _within(value: Any, words: Sequence[str]) -> Any:
    """What is in a table or a list at a path; None where nothing is."""
    for word in words:
        if isinstance(value, Mapping):
            value = value.get(word)
        elif isinstance(value, list) and word.isdigit() and int(word) < len(value):
            value = value[int(word)]
        else:
            return None
    return value


def of_run(one: Summary, best: Best | None = None) -> dict[str, Any]:
    """A run in one flat row: what it is, how far it came, how it was set, and its last round.

    best: the best value of a score, which becomes a column of its own.
    """
    found: dict[str, Any] = {
        "run": one.id,
        "name": one.label.name,
        "tags": ",".join(one.label.tags),
        "note": one.label.note,
        "app": one.app,
        "started": one.started.isoformat(),
        "status": one.status,
        "rounds": one.done,
        "planned": one.planned,
        "best_round": one.best or None,
    }
    for path, value in set_otherwise(one.settings).items():
        found.setdefault(path, _cell(value))
    if best is not None:
        found[BEST + best.score] = best.value
        found[f"{BEST}{best.score}_round"] = best.round
    if one.last is not None:
        last = of_round(one.last)
        found |= {name: value for name, value in last.items() if name not in ("round", "seconds")}
    return found


def of_round(one: Round) -> dict[str, Any]:
    """A round in one flat row."""
    return dict(one.row)


def _cell(value: Any) -> Any:
    """A setting as one cell: a number or a word as it is, all else as JSON."""
    if isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, ensure_ascii=False)


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
    writer.writerows({name: _cell_of(value) for name, value in row.items()} for row in listed)
    return text.getvalue()


def _cell_of(value: Any) -> Any:
    """None for a number that is not defined; an ε that nothing bounds is inf."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _plain(value: Any) -> Any:
    """None for a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
