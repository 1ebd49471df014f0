"""Clients' data beside each other as a matplotlib figure, for a notebook or a paper.

matplotlib is imported when a figure is drawn, and without pyplot, so that no window opens. Text is
never read as mathematics: a client's name may hold a $.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.overview import Overview, overview
from .mixes import COLOURS, HEAT, OTHER
from .overview import MOST_COLOURS, frequent, name, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEGEND: dict[str, Any] = {"loc": "outside lower left", "ncols": 9, "fontsize": 7, "frameon": False}


def plot_partition(data: Any) -> Figure:
    """A matplotlib figure of clients' data by name: stacked bars of labels, and distances.

    data: as `hansa.overview` takes it, or what that gave. Where targets are values, their quartiles
    are drawn. Save it with `.savefig(…)`; a notebook shows it.

        plot_partition(clients((X, y), dirichlet(y, 10, 0.1, key))).savefig("parts.pdf")

    It is as high as it has clients, of which the largest are drawn where there are many. DataError
    where there is no client, or the data is not here.
    """
    from matplotlib.figure import Figure

    found = data if isinstance(data, Overview) else overview(data)
    names = shown(found)
    wide = 1 + (len(found.drawn) > 1)
    page = Figure(figsize=(5.6 * wide, 1.4 + 0.24 * max(len(names), 6)), layout="constrained")
    axes = page.subplots(1, wide, squeeze=False)[0]
    _draw_clients(axes[0], found, names)
    if wide == 2:
        _draw_distances(axes[1], found)
    return page


def _draw_clients(axes: Any, found: Overview, names: Sequence[str]) -> None:
    """Bars of labels, or the quartiles of values, a row for each client.

    Of values a thin line goes from the least to the largest, a thick one from the first quartile to
    the third, with a mark at the median.
    """
    rows = np.arange(len(names))
    clients = [found.clients[who] for who in names]
    if found.kind == "values":
        known = [
            (row, one.quarters) for row, one in zip(rows, clients, strict=True) if one.quarters
        ]
        for row, (low, first, middle, third, high) in known:
            axes.plot([low, high], [row, row], color=OTHER, linewidth=1)
            axes.plot([first, third], [row, row], color=HEAT, linewidth=6, solid_capstyle="butt")
            axes.plot([middle], [row], "|", color="white", markersize=8)
        axes.set_xlabel("target: range, quartiles, median")
    else:
        start = np.zeros(len(names))
        for label, counts, colour in _stacks(found, clients):
            axes.barh(rows, counts, left=start, color=colour, label=label)
            start = start + counts
        axes.set_xlabel("examples")
    axes.set_yticks(rows, [name(who) for who in names], parse_math=False)
    axes.invert_yaxis()
    if found.kind == "labels":
        legend = axes.figure.legend(*axes.get_legend_handles_labels(), **LEGEND)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _stacks(found: Overview, clients: Sequence[Any]) -> Iterator[tuple[str, Any, str]]:
    """(label, examples of each client, colour); without labels all are of one colour."""
    if found.kind != "labels":
        yield "examples", np.array([one.examples for one in clients]), HEAT
        return
    every = len(found.labels)
    table = np.array([one.counts or (0,) * every for one in clients])
    colours = dict(zip(frequent(found), COLOURS, strict=False))
    for i, colour in colours.items():
        yield name(found.labels[i]), table[:, i], colour
    if every > MOST_COLOURS:
        yield "other", table.sum(axis=1) - table[:, list(colours)].sum(axis=1), OTHER


def _draw_distances(axes: Any, found: Overview) -> None:
    """The distance between each two clients, as a field of colour with its scale; which distance
    it is stands above.
    """
    image = axes.imshow(found.near, cmap="Blues", vmin=0)
    ticks = np.arange(len(found.drawn))
    axes.set_yticks(ticks, [name(who) for who in found.drawn], parse_math=False)
    axes.set_xticks([])
    axes.set_title(found.distance.split(":")[0], fontsize=9)
    axes.figure.colorbar(image, ax=axes, shrink=0.7)
