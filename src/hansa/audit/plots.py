"""Plots of an audit, as PNG: the canaries' scores, the membership curve, the records computed
back.
"""

from __future__ import annotations

import math
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from ..spec import Vector
from ..ui.plots import LIGHT, png
from .canary import Canaries
from .inversion import Inversion
from .membership import LIMIT, Membership

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 4  # records in a row
BINS = 40


def canary_plot(found: Canaries) -> bytes:
    """Two histograms: the scores of canaries that took part, and of those that did not."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(found.scores.min(), found.scores.max(), BINS + 1).tolist()
        for inside, name, colour in (
            (False, "stayed out", LIGHT.lines[2]),
            (True, "took part", LIGHT.there),
        ):
            axes.hist(
                found.scores[found.truth == inside], edges, color=colour, alpha=0.65, label=name
            )
        promise = "no ε" if found.promise.epsilon is None else f"ε ≤ {found.promise.epsilon:.3g}"
        axes.set_title(f"canaries: shown ε ≥ {found.epsilon:.3g}, promised {promise}")
        axes.set_xlabel("score of a canary")
        axes.legend(loc="upper right")

    return png(draw, 2.9, LIGHT)


def membership_plot(found: Membership) -> bytes:
    """True against false positives, on logarithmic axes, where few false alarms are allowed."""

    def draw(axes: Axes) -> None:
        false, true = found.curve
        least = 1 / max(1, int((~found.truth).sum()))
        coin = np.geomspace(least, 1, 50)
        axes.loglog(coin, coin, color=LIGHT.faint, label="a coin")
        axes.loglog(false.clip(least), true.clip(least), color=LIGHT.lines[0], label="the attack")
        axes.axvline(LIMIT, color=LIGHT.faint, linestyle=":")
        axes.set_title(
            f"membership: AUC {found.area:.3f}, {100 * found.rate:.1f} % found at {100 * LIMIT:g} "
            "% false alarms"
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_xlabel("records taken for members that are none")
        axes.set_ylabel("members found")
        axes.legend(loc="lower right")

    return png(draw, 3.6, LIGHT)


def inversion_plot(found: Inversion) -> bytes:
    """The record, and what is computed back of it by who sees what; as pictures where it is one."""
    panels = [("the record", found.record), *((view.name, view.record) for view in found.views)]
    names = [panels[0][0], *(f"{view.name} ({view.likeness:.2f})" for view in found.views)]
    rows = math.ceil(len(panels) / ACROSS)

    def draw(axes: Axes) -> None:
        axes.axis("off")
        for i, (name, (_, record)) in enumerate(zip(names, panels, strict=True)):
            row, column = divmod(i, ACROSS)
            place = (
                column / ACROSS + 0.02,
                1 - (row + 0.78) / rows,
                1 / ACROSS - 0.04,
                0.74 / rows,
            )
            inset = axes.inset_axes(place)
            _panel(inset, record, found)
            inset.set_xlabel(fill(name, 30), fontsize=6.5)

    return png(draw, 1.9 * rows, LIGHT)


def _panel(axes: Axes, record: Vector, found: Inversion) -> None:
    low = float(found.record.min())
    high = float(found.record.max())
    axes.set_xticks([])
    axes.set_yticks([])
    image = picture(record)
    if image is not None:
        axes.spines[:].set_visible(False)
        axes.imshow(
            ((image - low) / ((high - low) or 1.0)).clip(0, 1), cmap="gray_r", vmin=0, vmax=1
        )
        return
    at = np.arange(record.size)
    axes.step(at, found.record.ravel(), color=LIGHT.faint, where="mid", linewidth=1.2)
    axes.step(at, record.ravel(), color=LIGHT.there, where="mid", linewidth=1.0)
    axes.set_ylim(low - 0.05 * found.span, high + 0.05 * found.span)


def picture(record: Vector) -> Vector | None:
    """A record as a picture [height, width] or [height, width, 3], where it can be one."""
    side = math.isqrt(record.size)
    if record.ndim == 1:
        return record.reshape(side, side) if side >= 8 and side * side == record.size else None
    if record.ndim == 2:
        return record
    if record.ndim == 3 and record.shape[0] in (1, 3):
        return record[0] if record.shape[0] == 1 else np.moveaxis(record, 0, -1)
    return record if record.ndim == 3 and record.shape[-1] == 3 else None
