"""The terminal: a live view of a run, and tables.

`Progress` redraws itself where somebody looks on, and writes a line for each round where the output
goes to a file. Everything else is a function from values to something that rich can print: tables
of a comparison and of an explanation. Stored runs are told by `hansa.ui.listing`.

Names and reasons come from clients and apps: none of them is read as markup, or commands the
terminal.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..app.compare import OUTSIDE, Row
from ..errors import printable
from ..explain import Explanation
from ..progress import Watch, watching
from ..rounds import Round
from ..state import State
from . import (
    HIDDEN,
    OWN,
    SIDES,
    all_scores,
    figure,
    own_scores,
    passes,
    private,
    scores,
    shown,
    witness,
)
from .axis import Axis
from .waiting import lines, said

BARS = "▁▂▃▄▅▆▇█"
MOST_CLIENTS = 12  # of more, only the number is shown
WIDEST = 40  # rounds in a strip or a sparkline


class Plain(Console):
    """A console whose texts are as they are: none is markup, or commands the terminal."""

    def print(self, *objects: Any, **more: Any) -> None:
        """As rich prints it, but texts with their escapes written out."""
        shown = [printable(one) if isinstance(one, str) else one for one in objects]
        super().print(*shown, **more)


def out() -> Console:
    """Where results go; as they are, for a name may look like markup."""
    return Plain(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)


def _nothing() -> None:
    """Nobody is told."""


class Progress:
    """A live view of the rounds: a bar, scores with their course, who took part; plain lines where
    nobody looks on.

    rounds: planned. past: those that a resumed run has had; time and what is left are counted
    without them. hidden: is it a secret who takes part? Then nothing is shown within a round.
    """

    def __init__(
        self,
        console: Console,
        rounds: int,
        clients: Sequence[str],
        past: Sequence[Round] = (),
        hidden: bool = False,
    ):
        self.console = console
        self.rounds = rounds
        self.clients = clients
        self.past = [shown(one) for one in past]
        self.began = time.monotonic()
        self.first = len(self.past)
        self.hidden = hidden
        self.watch = Watch()
        self.printed: Callable[[], None] = _nothing
        self._open = ExitStack()
        self.live: Live | None = None
        if console.is_terminal:
            self.live = Live(get_renderable=self.view, console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self.watch = self._open.enter_context(watching())
        if self.live:
            self.live.start()
        else:
            self.printed = self._open.enter_context(lines(self.console, self.within))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()
        self._open.close()

    def record(self, state: State) -> None:
        """One more round is done, and the view has it."""
        self.past.append(shown(state.happened))
        self.watch.clear()

    def show(self, state: State) -> None:
        """One more round is done, and is shown."""
        self.record(state)
        if self.live is None:
            self.console.print(self.line(), soft_wrap=True)
            self.printed()

    def within(self) -> str:
        """What is being done in the round under way, and since when the run goes on."""
        title = f"round {len(self.past) + 1}/{self.rounds} is under way"
        if not self.hidden:
            title = said(title, self.watch)
        return f"{title}  {time.monotonic() - self.began:.1f} s"

    def line(self) -> Text:
        """The last round in one line: scores, ε, who took part, who did not and why, seconds."""
        last = self.past[-1]
        values = "  ".join(
            f"{name} {figure(name, value)}" for name, value in all_scores(last.witnessed).items()
        )
        parts = [
            f"round {last.round:>{len(str(self.rounds))}}/{self.rounds}",
            values,
            private(last),
            "" if last.hidden else f"took part: {_there(last)}",
            _missing(last),
        ]
        if last.skipped:
            parts.append(f"no step: {first_line(last.skipped)}")
        parts.append(f"{time.monotonic() - self.began:.1f} s")
        return Text("  ".join(part for part in parts if part))

    def view(self) -> RenderableType:
        """All of it, as it stands now: bar and times, scores, a strip for each client.

        What is left is told by the mean time of the rounds that were run here.
        """
        done = len(self.past)
        spent = time.monotonic() - self.began
        here = done - self.first
        left = ""
        if here > 0 and done < self.rounds:
            left = f"{_clock(spent / here * (self.rounds - done))} left"
        head = Table.grid(padding=(0, 2))
        title = f"round {done} of {self.rounds}"
        beside = len(title) + len(_clock(spent)) + len(left) + 6
        width = max(1, min(WIDEST, self.console.width - beside))
        head.add_row(
            Text(title, style="bold"),
            ProgressBar(
                self.rounds, done, width=width, complete_style="cyan", finished_style="green"
            ),
            Text(_clock(spent)),
            Text(left, style="dim"),
        )
        parts: list[RenderableType] = [head]
        if self.past:
            parts.append(self._scores())
        if str(self.watch) and not self.hidden:
            parts.append(Text(printable(str(self.watch)), style="dim", no_wrap=True))
        return Group(*parts, self._strip(), *self._notes())

    def _scores(self) -> RenderableType:
        """The last scores, each with its course; on what they were taken; ε so far."""
        grid = Table.grid(padding=(0, 2))
        last = next((one.witnessed for one in reversed(self.past) if one.witnessed), {})
        every = [all_scores(one.witnessed) for one in self.past]
        for name, value in all_scores(last).items():
            course = [found[name] for found in every if name in found]
            grid.add_row(
                Text(f"  {name}", style="dim"),
                Text(figure(name, value), style="bold"),
                Text(sparkline(course), style="cyan"),
            )
        lines: list[RenderableType] = [grid]
        if last:
            own = f"; own: {SIDES[OWN]}" if own_scores(last) else ""
            lines.append(Text(f"  on {witness(last)}{own}", style="dim"))
        if words := private(self.past[-1]):
            lines.append(Text(f"  {words}"))
        return Group(*lines)

    def _strip(self) -> RenderableType:
        """What each client did in the last rounds, a letter for each; of many, their number alone;
        nothing where it is a secret.
        """
        last = next(reversed(self.past), Round(0))
        if last.hidden:
            return Text(f"  {HIDDEN}", style="dim")
        if len(self.clients) > MOST_CLIENTS:
            there = f"{len(last.participants)} of {len(self.clients)} clients took part"
            return Text(f"  {there}, {len(last.excluded)} are not in the sum", style="dim")
        grid = Table.grid(padding=(0, 2))
        for who in self.clients:
            strip = Text()
            for one in self.past[-WIDEST:]:
                strip.append(*_mark(who, one))
            why = next((one.excluded[who] for one in self.past[-1:] if who in one.excluded), "")
            grid.add_row(
                Text(f"  {who}"),
                strip,
                Text(first_line(why), style="red", overflow="ellipsis", no_wrap=True),
            )
        return grid

    def _notes(self) -> Iterator[RenderableType]:
        """Why the last round changed nothing, if so."""
        if self.past and self.past[-1].skipped:
            yield Text(
                f"  no step in this round: {first_line(self.past[-1].skipped)}", style="yellow"
            )


def _there(one: Round) -> str:
    """Who is in the sum; of many, how many."""
    if len(one.participants) > MOST_CLIENTS:
        return f"{len(one.participants)} clients"
    return ", ".join(one.participants)


def _missing(one: Round) -> str:
    """Who was asked and is not in the sum, and why; of many, how many."""
    if not one.excluded:
        return ""
    if len(one.excluded) > MOST_CLIENTS:
        return f"not in the sum: {len(one.excluded)}"
    reasons = ", ".join(f"{who} ({first_line(why)})" for who, why in one.excluded.items())
    return f"not in the sum: {reasons}"


def _mark(who: str, one: Round) -> tuple[str, str]:
    """What a client did in a round, as a letter and its colour."""
    if who in one.participants:
        return "■", "green"
    if who in one.excluded:
        return "×", "red"
    return "·", "dim"


def sparkline(values: Sequence[float], width: int = WIDEST) -> str:
    """The course of some numbers in one line of text, from their least to their largest.

    Of more than `width` every so many is shown; what is not finite is a gap.
    """
    shown = list(values)
    if len(values) > width:
        shown = [values[i * len(values) // width] for i in range(width)]
    known = [value for value in shown if math.isfinite(value)]
    low = min(known, default=0.0)
    high = max(known, default=0.0)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(
        BARS[round((value - low) / step)] if math.isfinite(value) else " " for value in shown
    )


def comparison(rows: Sequence[Row]) -> RenderableType:
    """Alone, federated, pooled: one line each, with its place between the lowest and the
    highest.

    The place is by the first score that is no loss, as accuracy; the loss where there is no other.
    """
    columns = list(scores(rows[0].scores))
    by = next((name for name in columns if name != "loss"), columns[0])
    place = [scores(row.scores)[by] for row in rows]
    finite = list(filter(math.isfinite, place))
    low = min(finite, default=0.0)
    wide = (max(finite, default=0.0) - low) or 1.0
    title = "On the central test" + (f". {OUTSIDE}" if rows[0].outside else "")
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold"
    )
    counts = ("examples", "passes")
    _head(table, ("trained on", *counts, *columns, ""), numbers=(*counts, *columns))
    for row, value in zip(rows, place, strict=True):
        found = scores(row.scores)
        own = "bold cyan" if row.name == "federated" else ""
        axis: RenderableType = ""
        if math.isfinite(value):
            axis = Axis((value - low) / wide, own or "none")
        cells = [row.name, f"{row.examples}", passes(row.passes)]
        cells += [figure(name, found[name]) for name in columns]
        table.add_row(*(Text(cell, style=own) for cell in cells), axis)
    return table


def tested_sets(rows: Sequence[Row]) -> RenderableType:
    """The model on test sets that have names: on the worst, in the median, on average, and on all
    together.

    Names of test sets come from the app's data, and are printed without what a terminal obeys.
    """
    return _scored("On each test set", "tested on", rows)


def own_models(rows: Sequence[Row]) -> RenderableType:
    """The clients' own models on their own examples: 10, 50 and 90 % of them, and the worst."""
    title = "The clients' own models, each on its own examples"
    if rows[0].outside:
        title += f". {OUTSIDE}"
    return _scored(title, "clients", rows)


def _scored(title: str, what: str, rows: Sequence[Row]) -> RenderableType:
    """A line of scores for each row; what: the head of the first column."""
    columns = list(scores(rows[0].scores))
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold"
    )
    _head(table, (what, "examples", *columns), numbers=("examples", *columns))
    for row in rows:
        found = scores(row.scores)
        table.add_row(
            Text(printable(row.name)),
            f"{row.examples}",
            *(figure(name, found[name]) for name in columns),
        )
    return table


def _head(table: Table, names: Sequence[str], numbers: Sequence[str], **look: Any) -> None:
    """The columns of a table; those of numbers are aligned at their right."""
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", **look)


def explanation(what: Explanation) -> Iterator[RenderableType]:
    """The sections of an explanation with their tables, then its warnings.

    A table without names of columns has no head, and its first column is in bold.
    """
    for section in what.sections:
        yield Text(section.title, style="bold cyan")
        yield Padding(Text(section.text), (0, 0, 0, 2))
        table = Table(
            box=box.SIMPLE_HEAD if any(section.head) else None,
            show_header=any(section.head),
            padding=(0, 1),
        )
        for i, name in enumerate(section.head):
            table.add_column(
                name, style="bold" if i == 0 and section.head[0] == "" else "", overflow="fold"
            )
        for row in section.rows:
            table.add_row(*map(Text, row))
        yield Padding(table, (0, 0, 1, 1))
    yield Text("Warnings", style="bold yellow")
    warnings = Table.grid(padding=(0, 1))
    for warning in what.warnings:
        warnings.add_row("  •", Text(warning))
    yield warnings


def first_line(text: str) -> str:
    """The first line of a text: what was found, of an error in three parts."""
    return text.split("\n")[0]


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
