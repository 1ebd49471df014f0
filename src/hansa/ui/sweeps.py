"""What a sweep has found: a row for each setting, with mean and deviation over its seeds, and the
courses of a score on one pair of axes.

What a run has not, and what is not defined in it, is in no mean: how many are is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..app.stopping import MODES, mode_of
from ..app.sweep import Tried
from ..errors import AppError, printable
from ..rounds import NAMED, TEST
from . import SIDES, all_scores, curves, figure
from .plots import LIGHT, Theme, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 3.2  # inches
VAL = "val_"  # before the name of a score that clients take on what they keep from training


@dataclass(frozen=True)
class Setting:
    """All runs of a sweep that have one setting."""

    settings: Mapping[str, Any]
    runs: Sequence[Tried]

    @property
    def ended(self) -> list[Tried]:
        """Those that came to their end, with a round at least."""
        return [one for one in self.runs if one.rounds and not one.error]

    def values(self, score: str) -> list[float]:
        """The last of a score in each of its runs, where it is defined."""
        last = [_named(one).get(score, math.nan) for one in self.ended]
        return [value for value in last if math.isfinite(value)]


def by_setting(tried: Sequence[Tried]) -> list[Setting]:
    """The runs of each setting, in the order in which they were tried.

    Settings are the same where they are written the same.
    """
    found: dict[str, list[Tried]] = {}
    for one in tried:
        found.setdefault(repr(dict(one.settings)), []).append(one)
    return [Setting(runs[0].settings, runs) for runs in found.values()]


def scores_of(tried: Sequence[Tried]) -> list[str]:
    """The scores that the last round of some run has; of each its best witness, the loss first."""
    ended = [one.rounds[-1] for one in tried if one.rounds]
    return list(dict.fromkeys(name for one in ended for name in all_scores(one.witnessed)))


def chosen_by(tried: Sequence[Tried], score: str) -> str:
    """By what settings are chosen where somebody names a score: by the clients' validation, where
    some run has it there; else by what the name says.
    """
    held_out = f"{VAL}{score}"
    if any(held_out in _named(one) for one in tried):
        return held_out
    return score


def warned_of(tried: Sequence[Tried], score: str) -> str:
    """What is to be said where settings are chosen by the test data; nothing else."""
    bare = score.removeprefix(TEST)
    if not any(f"{TEST}{bare}" in _named(one) for one in tried) or score.startswith(VAL):
        return ""
    return (
        f"Sorted by {bare} on the central test: whoever chooses by it has no test left. With "
        f"Training(validation=0.2) it is --sort {VAL}{bare}."
    )


def _named(one: Tried) -> dict[str, float]:
    """The last scores of a run: each from its best witness, and val_…, test_… by their sides."""
    if not one.rounds:
        return {}
    last = one.rounds[-1].witnessed
    return {**last, **all_scores(last)}


def ordered(found: Sequence[Setting], score: str) -> list[Setting]:
    """The best first, by the mean of a score; behind them those of whose runs fewer have it.

    AppError for a score that no run has, or of which nobody knows which way is better.
    """
    check_order(score)
    known = dict.fromkeys(name for setting in found for one in setting.runs for name in _named(one))
    if score not in known:
        raise AppError(
            f"No run has the score {score!r}.",
            "Settings are sorted by what their last rounds have reported.",
            f"Write one of {', '.join(known)}.",
        )
    sign = {"max": -1, "min": 1}[mode_of(score)]

    def place(one: Setting) -> tuple[int, float]:
        values = one.values(score)
        return len(one.runs) - len(values), sign * fmean(values) if values else math.inf

    return sorted(found, key=place)


def check_order(score: str) -> None:
    """AppError for a score of which nobody knows which way is better."""
    better = mode_of(score)
    if not better:
        raise AppError(
            f"Whether more of {score!r} is better is not known.",
            f"It is of scores whose names end in {', '.join(MODES)}.",
            "Sort by one of them, or leave --sort out.",
        )


def table(found: Sequence[Setting], by: str | None = None) -> Table:
    """A row for each setting: how many of its runs ended, and mean ± standard deviation of each of
    their last scores (over n − 1; none of a single run).

    by: the score by which they are sorted, which has a column in any case.
    """
    runs = [one for setting in found for one in setting.runs]
    names = scores_of(runs)
    if by is not None and by not in names:
        names.insert(0, by)
    paths = list(dict.fromkeys(path for one in found for path in one.settings))
    head = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in (*paths, "runs", *names):
        head.add_column(name, overflow="fold")
    for one in found:
        cells = [printable(str(one.settings.get(path, ""))) for path in paths]
        ended = f"{len(one.ended)}"
        if len(one.ended) < len(one.runs):
            ended = f"{len(one.ended)} of {len(one.runs)}"
        told = [_spread(one, name) for name in names]
        head.add_row(*map(Text, (*cells, ended, *told)))
    return head


def given_away(tried: Sequence[Tried]) -> str:
    """What all runs together have given away: ε and δ of each add up (Dwork and Roth 2014, theorem
    3.16). Nothing where no run has an ε, and words where some have none.
    """
    spent = [one.rounds[-1].spent for one in tried if one.rounds]
    units = list(dict.fromkeys(unit for one in spent for unit in one))
    told = []
    for unit in units:
        if not all(unit in one for one in spent):
            told.append(f"not known for each {unit}, for some runs have no ε")
            continue
        epsilon = sum(one[unit].epsilon for one in spent)
        delta = sum(one[unit].delta for one in spent)
        told.append(f"ε {epsilon:.3g} at δ {delta:.2g} for each {unit}")
    if not told:
        return ""
    named = any(one.rounds[-1].named for one in tried if one.rounds)
    end = f" ({NAMED})" if named else ""
    return f"All {len(spent)} runs together have given away {'; '.join(told)}{end}."


def _spread(one: Setting, name: str) -> str:
    """Mean ± deviation; of how many, where it is not defined in all that ended.

    A dash where it is defined in none.
    """
    values = one.values(name)
    if not values:
        return "–"
    told = figure(name, fmean(values))
    if len(values) > 1:
        told += f" ± {figure(name, stdev(values))}"
    if len(values) < len(one.ended):
        told += f" ({len(values)} of {len(one.ended)})"
    return told


def line(one: Tried) -> str:
    """What is said of a run when it has ended: its setting and seed, and its last scores; or the
    first line of its error.
    """
    name = ", ".join(f"{path} = {value}" for path, value in one.settings.items())
    head = f"{name}, seed {one.seed}".removeprefix(", ")
    if one.error:
        return printable(f"{head}: {one.error.splitlines()[0]}")
    if not one.rounds:
        return printable(f"{head}: no round")
    last = all_scores(one.rounds[-1].witnessed)
    told = "  ".join(f"{name} {figure(name, value)}" for name, value in last.items())
    if one.before:
        told += f"  (done before, as {one.run})"
    return printable(f"{head}: {told}")


def drawn(found: Sequence[Setting], score: str, paper: Theme = LIGHT) -> bytes:
    """The course of a score for each setting, the mean of its runs and from the least to the most,
    as the bytes of a PNG.
    """
    return png(partial(_lines, found=found, score=score, paper=paper), HEIGHT, paper)


def _course(run: Tried, score: str) -> Sequence[tuple[int, float]]:
    """[(round, value)] of a score; of one that names a side, as that has seen it."""
    known = curves(run.rounds)
    if score in known:
        return next(iter(known[score].values()))
    side = next(side for side in SIDES if score.startswith(side))
    return known.get(score.removeprefix(side), {}).get(side, [])


def _lines(axes: Axes, found: Sequence[Setting], score: str, paper: Theme) -> None:
    """One line for each setting: its mean in every round that some of its runs had, and behind it
    the range from the least to the most.
    """
    for i, one in enumerate(found):
        values: dict[int, list[float]] = {}
        for run in one.ended:
            for number, value in _course(run, score):
                values.setdefault(number, []).append(value)
        places = sorted(values)
        color = paper.lines[i % len(paper.lines)]
        axes.plot(
            places,
            [fmean(values[at]) for at in places],
            label=", ".join(map(str, one.settings.values())) or "as it is",
            color=color,
            linestyle=("-", "--", ":", "-.")[i // len(paper.lines) % 4],
        )
        least = [min(values[at]) for at in places]
        most = [max(values[at]) for at in places]
        axes.fill_between(places, least, most, color=color, alpha=0.15, linewidth=0)
    axes.set_title(score)
    axes.set_xlabel("round")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y")
    axes.legend(fontsize=8)
