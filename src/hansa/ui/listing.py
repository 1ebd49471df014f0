"""Stored runs in the terminal: all of them in a table, and one with its rounds.

Names, tags and notes come from who began a run, names of clients and reasons from clients: none of
them is read as markup, or commands the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..rounds import Round
from . import all_scores, figure, names, private, shown
from .tables import Best, otherwise, set_otherwise
from .terminal import first_line

if TYPE_CHECKING:
    from ..store import Label, Run, Summary

STATUS = {"done": "green", "running": "cyan", "failed": "red"}
LAST = 10  # rounds that `show` lists


def listed(runs: Sequence[Summary], best: Mapping[str, Best] | None = None) -> RenderableType:
    """Runs in a table: what each is called, how it was set, how far it came, its last scores.

    What stands in one cell has a line each, so that the table fits 80 letters.
    best: by run, the best value of the score by which they are sorted, if it is one.
    """
    if not runs:
        return "No runs yet."
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "rounds", "set otherwise", "last scores"):
        table.add_column(name, overflow="fold", no_wrap=name in ("run", "rounds"))
    known = {path for one in runs for path in set_otherwise(one.settings)}
    for one in runs:
        told = [_told(one.last, "\n")]
        if best is not None and one.id in best:
            told.append(f"{best[one.id]}")
        table.add_row(
            Text("\n".join([one.id, *_label(one.label), printable(Path(one.app).name)])),
            _rounds(one),
            Text(otherwise(set_otherwise(one.settings), known)),
            Text("\n".join(filter(None, told))),
        )
    return table


def details(run: Run, status: str) -> Iterator[RenderableType]:
    """A run: what it is, its plan, its last rounds, its files.

    The round whose model is the best is marked, if the run keeps one as that; it may be an earlier
    one than those that are listed, and so stands in the head too.
    Files of the store itself are left out: checkpoints, the lock, the secret that noise grows from.
    """
    rounds = [shown(one) for one in run.history()]
    best = run.best()
    head = Table.grid(padding=(0, 2))
    for name, value in _facts(run, status, len(rounds), best).items():
        head.add_row(Text(name, "dim"), Text(value, overflow="fold"))
    yield head
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("round", "scores", "took part", "not in the sum"):
        table.add_column(name, justify="right" if name == "round" else "left", overflow="fold")
    for one in rounds[-LAST:]:
        excluded = ", ".join(f"{who} ({first_line(why)})" for who, why in one.excluded.items())
        took_part = "(secret)" if one.hidden else names(one.participants, 3)
        mark = "best " * (one.round == best)
        table.add_row(f"{mark}{one.round}", _told(one), Text(took_part), Text(excluded))
    if rounds:
        yield table
    files = sorted(path.name for path in run.folder.glob("[!0-9.]*"))
    shown_files = ", ".join(name for name in files if name not in ("lock", "secret"))
    yield Text(f"files  {run.folder}: {shown_files}")


def _facts(run: Run, status: str, done: int, best: int | None) -> dict[str, str]:
    """What a run is, by the names under which it is told; what it has not is left out."""
    found = set_otherwise(run.settings)
    facts = {
        "run": run.id,
        "name": run.label.name,
        "tags": ", ".join(run.label.tags),
        "note": run.label.note,
        "status": status,
        "app": run.app,
        "started": f"{run.started.astimezone():%Y-%m-%d %H:%M:%S}",
        "rounds": f"{done} of {run.planned or '?'}",
        "set otherwise": ", ".join(f"{name} = {value}" for name, value in found.items()),
        "plan": run.plan,
        "fingerprint": run.digest,
        "trackers": "; ".join(f"{name}: {why or 'told'}" for name, why in run.tracked.items()),
    }
    if best:
        facts["best model"] = f"round {best}"
    return {name: printable(value) for name, value in facts.items() if value}


def _label(label: Label) -> list[str]:
    """The name of a run, and its tags, on a line each."""
    return [line for line in (label.name, " ".join(f"#{tag}" for tag in label.tags)) if line]


def _rounds(one: Summary) -> Text:
    """How far a run came, how it is, and which round was the best."""
    told = Text(f"{one.done}/{one.planned or '?'} ")
    told.append(one.status, STATUS.get(one.status, ""))
    if one.best:
        told.append(f"\nbest {one.best}")
    return told


def _told(one: Round | None, between: str = "  ") -> str:
    """The scores of a round, and ε so far; nothing where there is no round yet."""
    if one is None:
        return ""
    told = [f"{name} {figure(name, value)}" for name, value in all_scores(one.witnessed).items()]
    return between.join(filter(None, [*told, private(one)]))
