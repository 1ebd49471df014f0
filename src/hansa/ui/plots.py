"""Plots of a run, as PNG, on light and on dark paper.

name of a score      its course over rounds, one line for each side that has seen it
privacy              ε spent after each round, for each client; privacy-examples for each example
participation        who took part, was asked in vain or not asked; of many clients their number
comparison           each client alone, the federation, all data pooled

Each is a function of rounds or rows and a `Theme` that draws on one pair of axes. matplotlib is
imported when the first one is drawn, and without pyplot, so that no window opens. Text is never
read as mathematics: a client's name may hold a $.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ..app.compare import Row
from ..rounds import Round, Unit
from . import SIDES, curves, figure, scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 7.2  # inches
MOST_CLIENTS = 40  # of more, the number in each round is drawn instead of a strip for each
MOST_ROUNDS = 400
LONGEST = 32  # letters of a name
# file → whose ε it draws
PRIVACY: Mapping[str, Unit] = {"privacy": "client", "privacy-examples": "example"}


@dataclass(frozen=True)
class Theme:
    """The colours of a page, as matplotlib names them.

    faint: grids, and who was not asked. lines: one for each side that sees a score, the best first.
    """

    name: str
    ground: str
    ink: str
    faint: str
    lines: tuple[str, ...]
    there: str
    excluded: str


LIGHT = Theme(
    "light",
    "#ffffff",
    "#1d2733",
    "#c9d1d9",
    ("#0b6e99", "#d1762b", "#6a8f3c", "#8a94a0"),
    "#0b6e99",
    "#c8443c",
)
DARK = Theme(
    "dark",
    "#14181d",
    "#dfe6ee",
    "#3a434d",
    ("#5bb8e0", "#f0a35e", "#a5c878", "#8f9aa6"),
    "#5bb8e0",
    "#f0776c",
)


def plots(
    rounds: Sequence[Round], clients: Sequence[str], rows: Sequence[Row], paper: Theme = LIGHT
) -> dict[str, bytes]:
    """name → PNG: a curve for each score, who took part, and the comparison where there is one.

    Who took part is drawn only where no round keeps that secret; ε only where there is one.
    """
    drawn: dict[str, Callable[[Axes], None]] = {}
    sizes: dict[str, float] = {}
    for score, lines in curves(rounds).items():
        drawn[score] = partial(_curve, score=score, lines=lines, paper=paper)
        sizes[score] = 2.9
    for name, unit in PRIVACY.items():
        if spent := [(one.round, one.spent[unit].epsilon) for one in rounds if unit in one.spent]:
            drawn[name] = partial(_spent, points=spent, unit=unit, paper=paper)
            sizes[name] = 2.4
    if rounds and not any(one.hidden for one in rounds):
        draw = _numbers
        sizes["participation"] = 2.4
        if len(clients) <= MOST_CLIENTS and len(rounds) <= MOST_ROUNDS:
            draw = _strip
            sizes["participation"] = 0.9 + 0.24 * len(clients)
        drawn["participation"] = partial(draw, rounds=rounds, clients=clients, paper=paper)
    if rows:
        drawn["comparison"] = partial(_comparison, rows=rows, paper=paper)
        sizes["comparison"] = 0.9 + 0.32 * len(rows)
    return {name: png(one, sizes[name], paper) for name, one in drawn.items()}


def png(draw: Callable[[Any], None], height: float, paper: Theme) -> bytes:
    """A figure of so many inches' height, drawn on one pair of axes, as the bytes of a PNG.

    It is WIDTH inches wide at 180 dots per inch, and names no software: equal figures are equal
    bytes.
    """
    with _style(paper), warnings.catch_warnings():
        # the page beside it shows every letter
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        from matplotlib.figure import Figure  # no pyplot: no global state, no window

        page = Figure(figsize=(WIDTH, height), layout="constrained")
        buffer = BytesIO()
        draw(page.subplots())
        page.savefig(buffer, dpi=180, format="png", metadata={"Software": None})
        return buffer.getvalue()


@contextmanager
def _style(paper: Theme) -> Iterator[None]:
    """matplotlib's settings for a page, and those before when it is done."""
    import matplotlib

    style: Any = {
        "figure.facecolor": paper.ground,
        "axes.facecolor": paper.ground,
        "savefig.facecolor": paper.ground,
        "text.color": paper.ink,
        "axes.labelcolor": paper.ink,
        "xtick.color": paper.ink,
        "ytick.color": paper.ink,
        "axes.edgecolor": paper.faint,
        "grid.color": paper.faint,
        "grid.linewidth": 0.6,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "legend.frameon": False,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "lines.linewidth": 1.9,
        "font.family": ["DejaVu Sans"],
        "text.parse_math": False,
    }
    with matplotlib.rc_context(style):
        yield


def _curve(
    axes: Axes, score: str, lines: Mapping[str, list[tuple[int, float]]], paper: Theme
) -> None:
    """The course of a score; lines: side → [(round, value)], as `curves` has them.

    Sides have their colours in every plot, also where not all of them have seen the score.
    """
    scale = _scale(score)
    for side, points in reversed(list(lines.items())):  # the best witness on top
        at, values = np.array(points).T
        colour = dict(zip(SIDES, paper.lines, strict=True))[side]
        axes.plot(at, scale * values, color=colour, label=SIDES[side], marker=_marker(points))
    axes.set_title(score)
    axes.set_xlabel("round")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    axes.locator_params(axis="x", integer=True)
    if scale == 100:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    _legend(axes, reverse=True)


def _spent(axes: Axes, points: Sequence[tuple[int, float]], unit: str, paper: Theme) -> None:
    """ε after each round; points: [(round, ε)]. It begins at 0, for ε has no other scale."""
    axes.plot(*np.array(points).T, color=paper.lines[0], marker=_marker(points))
    axes.set_title(f"ε spent, for each {unit}")
    axes.set_xlabel("round")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)


def _scale(score: str) -> int:
    """What a score is multiplied by: accuracies are drawn in percent."""
    if score.endswith("accuracy"):
        return 100
    return 1


def _marker(points: Sequence[tuple[int, float]]) -> str | None:
    """A dot where there is one point, for a line through it would not be seen."""
    if len(points) == 1:
        return "o"
    return None


def _short(name: str) -> str:
    """A name that fits beside the axes; of a long one begin and end, which mostly tell it apart."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}…{name[-8:]}"


def _legend(axes: Axes, **more: Any) -> None:
    """A legend outside, above the plot at its right."""
    axes.legend(
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
        handlelength=1.2,
        **more,
    )


def _strip(axes: Axes, rounds: Sequence[Round], clients: Sequence[str], paper: Theme) -> None:
    """A row for each client, a field for each round: what it did there."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    grid = np.array([[_did(who, one) for one in rounds] for who in clients])
    paints = {"not asked": paper.faint, "took part": paper.there, "not in the sum": paper.excluded}
    across = np.arange(len(rounds) + 1) + rounds[0].round - 0.5
    broadcast = np.arange(len(clients) + 1) - 0.5
    colours = ListedColormap(list(paints.values()))
    gap = 0.0
    if len(rounds) <= 120:  # of more, gaps would be all that is seen
        gap = 0.8
    axes.pcolormesh(
        across, broadcast, grid, cmap=colours, vmin=0, vmax=2, edgecolor=paper.ground, linewidth=gap
    )
    axes.set_yticks(range(len(clients)), [_short(who) for who in clients])
    axes.invert_yaxis()
    axes.set_xlabel("round")
    axes.locator_params(axis="x", integer=True)
    axes.spines[:].set_visible(False)
    there = [name for i, name in enumerate(paints) if (grid == i).any()]
    _legend(axes, handles=[Patch(color=paints[name], label=name) for name in there])
    axes.set_title("who took part")


def _did(who: str, one: Round) -> int:
    """What a client did in a round: 0 where it was not asked, 1 where it is in the sum, else 2."""
    if who in one.participants:
        return 1
    if who in one.excluded:
        return 2
    return 0


def _numbers(axes: Axes, rounds: Sequence[Round], clients: Sequence[str], paper: Theme) -> None:
    """How many clients took part in each round, and above them how many are not in the sum.

    For what has too many clients or rounds for a field each.
    """
    at = [one.round for one in rounds]
    there = [len(one.participants) for one in rounds]
    excluded = [len(one.excluded) for one in rounds]
    axes.stackplot(
        at,
        there,
        excluded,
        labels=["took part", "not in the sum"],
        colors=[paper.there, paper.excluded],
        linewidth=0,
    )
    axes.set_title(f"who took part, of {len(clients)} clients")
    axes.set_xlabel("round")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    _legend(axes)


def _comparison(axes: Axes, rows: Sequence[Row], paper: Theme) -> None:
    """A dot for each model on one axis, by the first score that is no loss; the federation's own
    stands out.
    """
    names = list(scores(rows[0].scores))
    by = next((name for name in names if name != "loss"), names[0])
    values = [scores(row.scores)[by] for row in rows]
    scale = _scale(by)
    for i, (row, value) in enumerate(zip(rows, values, strict=True)):
        colour = paper.lines[-1]
        size = 7
        weight = "normal"
        if row.name == "federated":
            colour = paper.there
            size = 9
            weight = "bold"
        axes.plot(scale * value, i, "o", color=colour, markersize=size)
        look: dict[str, Any] = {"fontweight": weight, "va": "center"}
        look["bbox"] = {"fc": paper.ground, "ec": "none", "pad": 1.5}
        axes.annotate(
            figure(by, value), (scale * value, i), (8, 0), textcoords="offset points", **look
        )
    axes.set_yticks(range(len(rows)), [_short(row.name) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        if row.name == "federated":
            label.set_fontweight("bold")
    axes.invert_yaxis()
    axes.margins(x=0.16, y=0.08)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    if scale == 100:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    title = f"{by} on the central test"
    if rows[0].outside:
        title += ", outside ε"
    axes.set_title(title)
