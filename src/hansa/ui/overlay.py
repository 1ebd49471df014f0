"""Runs beside each other: a table of what differs, and their curves on one pair of axes; in the
terminal, as a PNG, and as one HTML file.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..rounds import Round
from . import all_scores, curves, figure, private, shown, template, witness
from .plots import DARK, LIGHT, Theme, png
from .tables import otherwise, set_otherwise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..store import Run

HEIGHT = 3.2  # inches
DOWN = 12  # lines of a plot in the terminal
ACROSS = 78  # letters of one
LARGEST = 1e300  # of either sign, in a PNG: matplotlib cannot draw from -1e308 to 1e308
MARKS = "●▲■◆○△□◇"
STYLES = ("cyan", "yellow", "green", "magenta", "red", "blue")


@dataclass(frozen=True)
class Compared:
    """One of the runs that are compared: how it was set, and its rounds.

    Names of clients and reasons in its rounds command no terminal, and a secret sample is nobody's.
    """

    id: str
    name: str  # what a person calls it
    settings: Mapping[str, str]  # name → as it is written
    rounds: Sequence[Round]

    @classmethod
    def of(cls, run: Run) -> Compared:
        """What is shown of a stored run."""
        found = set_otherwise(run.settings).items()
        settings = {name: json.dumps(value, ensure_ascii=False) for name, value in found}
        settings |= {"app": run.app, "plan": run.plan}
        return cls(run.id, run.label.name, settings, [shown(one) for one in run.history()])

    @property
    def title(self) -> str:
        """Its id, and what a person calls it."""
        return f"{self.id} {printable(self.name)}".rstrip()

    @property
    def seconds(self) -> float:
        """How long its rounds took."""
        return sum(one.seconds for one in self.rounds)

    @property
    def scores(self) -> dict[str, float]:
        """Those of its last round."""
        return all_scores(self.rounds[-1].witnessed) if self.rounds else {}


def table(runs: Sequence[Compared]) -> RenderableType:
    """A row for each run: what is set otherwise, how long it went, its last scores, ε."""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("run", "set otherwise", "rounds", "seconds", "last scores"):
        right = name in ("rounds", "seconds")
        found.add_column(name, justify="right" if right else "left", overflow="fold")
    other = differing(runs)
    known = {name for one in other for name in one}
    for run, values in zip(runs, other, strict=True):
        told = [f"{name} {figure(name, value)}" for name, value in run.scores.items()]
        told += [private(one) for one in run.rounds[-1:]]
        counts = (f"{len(run.rounds)}", f"{run.seconds:.1f}")
        row = (run.title, otherwise(values, known), *counts, "\n".join(filter(None, told)))
        found.add_row(*map(Text, row))
    return found


def cells(runs: Sequence[Compared]) -> tuple[list[str], list[list[str]]]:
    """The head of that table, and its rows, as words."""
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    other = differing(runs)
    columns = list(dict.fromkeys(name for one in other for name in one))
    rows = list[list[str]]()
    for run, differs in zip(runs, other, strict=True):
        told = [figure(name, run.scores[name]) if name in run.scores else "" for name in names]
        spent = private(run.rounds[-1]) if run.rounds else ""
        values = [printable(differs.get(name, "")) for name in columns]
        rows.append([run.title, *values, f"{len(run.rounds)}", f"{run.seconds:.1f}", *told, spent])
    return ["run", *columns, "rounds", "seconds", *names, "privacy"], rows


def overlaid(runs: Sequence[Compared], score: str, across: int = ACROSS) -> RenderableType:
    """The course of a score in all runs, drawn with letters on one pair of axes.

    across: how many stand in a line. Each run has its own mark, so that no colour is needed; where
    two are at one place, the later one is seen.
    """
    courses = [course(run, score) for run in runs]
    at = [float(number) for points in courses for number, _ in points]
    values = [value for points in courses for _, value in points]
    if not values:
        return Text("")
    low, high = min(values), max(values)
    labels = [figure(score, high), figure(score, low)]
    margin = max(map(len, labels))
    places = np.linspace(min(at), max(at), max(across - margin - 2, 2))
    paper = [[(" ", "")] * len(places) for _ in range(DOWN)]
    for i, points in enumerate(courses):
        if points:
            _draw(paper, places, points, (low, high), look(i))
    found = Text(f"{score}, on {_witnesses(runs)}\n", "bold")
    for i, line in enumerate(paper):
        label = {0: labels[0], DOWN - 1: labels[1]}.get(i, "")
        found.append(f"{label:>{margin}} ", "dim")
        found.append_text(Text("│", "dim"))
        for mark, style in line:
            found.append(mark, style)
        found.append("\n")
    found.append(f"{'':>{margin}} └{'─' * len(places)}\n", "dim")
    ends = f"round {min(at):g}"
    found.append(f"{'':>{margin}}  {ends}{max(at):>{len(places) - len(ends)}g}\n", "dim")
    for i, run in enumerate(runs):
        mark, style = look(i)
        found.append(f"{'':>{margin}}  {mark} {run.title}\n", style)
    found.rstrip()
    return found


def look(i: int) -> tuple[str, str]:
    """The mark and the colour of a run, by its place."""
    return MARKS[i % len(MARKS)], STYLES[i % len(STYLES)]


def _draw(
    paper: list[list[tuple[str, str]]],
    places: Any,
    points: Sequence[tuple[int, float]],
    between: tuple[float, float],
    mark: tuple[str, str],
) -> None:
    """One line, straight between its points, and nothing where it has none.

    places: the round at which each column stands. points: [(round, value)]. between: the least and
    the largest value of all runs, at the lowest and at the highest line.
    """
    low, high = (value / 2 for value in between)  # for their difference may be no number
    rounds = [number for number, _ in points]
    downs = [(high - value / 2) / ((high - low) or 1.0) for _, value in points]
    across = np.interp(places, rounds, downs, np.nan, np.nan)
    nearest = int(np.abs(places - rounds[0]).argmin())
    across[nearest] = downs[0]  # also of a run with one round
    for column, down in enumerate(across):
        if math.isfinite(down):
            paper[round((DOWN - 1) * down)][column] = mark


def _witnesses(runs: Sequence[Compared]) -> str:
    """On what the scores were taken."""
    seen = dict.fromkeys(witness(run.rounds[-1].witnessed) for run in runs if run.rounds)
    return ", ".join(seen)


def course(run: Compared, score: str) -> Sequence[tuple[int, float]]:
    """[(round, value)] of a score, from its best witness in this run."""
    sides = curves(run.rounds).get(score, {})
    return next(iter(sides.values()), [])


def differing(runs: Sequence[Compared]) -> list[dict[str, str]]:
    """Of each run, what is not the same in all of them: settings, the app, and of its plan the
    lines that are not in all.
    """
    known = dict.fromkeys(name for run in runs for name in run.settings)
    names = [name for name in known if len({run.settings.get(name) for run in runs}) > 1]
    found = [{name: run.settings[name] for name in names if name in run.settings} for run in runs]
    if "plan" in names:
        for one, lines in zip(found, _own_lines([one["plan"] for one in found]), strict=True):
            one["plan"] = lines
    return found


def _own_lines(plans: Sequence[str]) -> list[str]:
    """Of each plan the lines that are not in all; all lines, where these do not tell plans apart,
    as with pieces in another order.
    """
    same = set.intersection(*(set(plan.splitlines()) for plan in plans))
    own = ["\n".join(line.strip() for line in p.splitlines() if line not in same) for p in plans]
    if len(set(own)) < len(set(plans)):
        return list(plans)
    return own


def page(runs: Sequence[Compared], score: str) -> str:
    """The table and the plot as one HTML file that needs nothing else; every text is escaped.

    The plot is part of it twice, for light and for dark screens.
    """
    head, rows = cells(runs)
    images = {paper.name: b64encode(drawn(runs, score, paper)).decode() for paper in (LIGHT, DARK)}
    found: str = template("compare.html.j2").render(
        head=head, rows=rows, images=images, score=score, on=_witnesses(runs)
    )
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
        points = course(run, score)
        dashes = ("-", "--", ":", "-.")[i // len(paper.lines) % 4]
        axes.plot(
            [one for one, _ in points],
            np.clip([value for _, value in points], -LARGEST, LARGEST),
            label=run.title,
            color=paper.lines[i % len(paper.lines)],
            linestyle=dashes,
        )
    axes.set_title(score)
    axes.set_xlabel("round")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y")
    axes.legend(fontsize=8)
