"""Runs beside each other: a table of what differs, and their curves on one pair of axes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..rounds import Round
from . import all_scores, curves, figure, private, shown, witness
from .plots import LIGHT, Theme, png
from .tables import set_otherwise
from .terminal import sparkline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..store import Run

HEIGHT = 3.2  # inches


@dataclass(frozen=True)
class Compared:
    """One of the runs that are compared: how it was set, and its rounds.

    Names of clients and reasons in its rounds command no terminal, and a secret sample is nobody's.
    """

    id: str
    app: str
    settings: Mapping[str, str]  # name → as it is written
    rounds: Sequence[Round]

    @classmethod
    def of(cls, run: Run) -> Compared:
        """What is shown of a stored run."""
        otherwise = set_otherwise(run.settings).items()
        settings = {name: json.dumps(value, ensure_ascii=False) for name, value in otherwise}
        settings["plan"] = run.plan
        return cls(run.id, Path(run.app).name, settings, [shown(one) for one in run.history()])

    @property
    def scores(self) -> dict[str, float]:
        """Those of its last round."""
        return all_scores(self.rounds[-1].witnessed) if self.rounds else {}


def table(runs: Sequence[Compared]) -> list[RenderableType]:
    """A row for each run: what is set otherwise, its last scores, ε, seconds; then the course of
    the first score.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    other = differing(runs)
    head = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", *other, "rounds", "seconds", *names, "privacy"):
        head.add_column(name, overflow="fold")
    for run in runs:
        seconds = sum(one.seconds for one in run.rounds)
        told = [figure(name, run.scores[name]) if name in run.scores else "" for name in names]
        spent = private(run.rounds[-1]) if run.rounds else ""
        values = [run.settings.get(name, "") for name in other]
        row = [run.id, *values, str(len(run.rounds)), f"{seconds:.1f}", *told, spent]
        head.add_row(*map(Text, row))
    return [head, *_courses(runs, names[:1])]


def _courses(runs: Sequence[Compared], names: Sequence[str]) -> list[RenderableType]:
    """A line for each run: how a score went."""
    found = list[RenderableType]()
    for name in names:
        seen = dict.fromkeys(witness(run.rounds[-1].witnessed) for run in runs if run.rounds)
        found.append(Text(f"{name}, on {', '.join(seen)}", "bold"))
        for run in runs:
            values = [all_scores(one.witnessed).get(name, float("nan")) for one in run.rounds]
            found.append(Text(f"  {run.id}  {sparkline(values)}"))
    return found


def differing(runs: Sequence[Compared]) -> list[str]:
    """The settings that are not the same in all of them; the plan alone where no setting tells."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != "plan")
    found = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    if not found and len({run.settings["plan"] for run in runs}) > 1:
        return ["plan"]
    return found


def drawn(runs: Sequence[Compared], score: str, paper: Theme = LIGHT) -> bytes:
    """The course of one score in all runs, as the bytes of a PNG.

    Each run is shown by its best witness: the central test, else the clients' validation, else what
    they trained on. More runs than colours are told apart by dashes.
    """
    return png(partial(_lines, runs=runs, score=score, paper=paper), HEIGHT, paper)


def known_scores(runs: Sequence[Compared]) -> list[str]:
    """The scores that some run has, the loss first."""
    return list(dict.fromkeys(name for run in runs for name in curves(run.rounds)))


def _lines(axes: Axes, runs: Sequence[Compared], score: str, paper: Theme) -> None:
    """One line for each run that has this score."""
    for i, run in enumerate(runs):
        sides = curves(run.rounds).get(score, {})
        points = next(iter(sides.values()), [])
        dashes = ("-", "--", ":", "-.")[i // len(paper.lines) % 4]
        axes.plot(
            [one for one, _ in points],
            [value for _, value in points],
            label=run.id,
            color=paper.lines[i % len(paper.lines)],
            linestyle=dashes,
        )
    axes.set_title(score)
    axes.set_xlabel("round")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y")
    axes.legend(fontsize=8)
