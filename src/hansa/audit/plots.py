"""Plots of an audit, as PNG: the canaries' scores, the membership curve, records computed back."""

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
    """Two histograms: the scores of canaries that took part, and of those that did not.

    The farther apart they lie, the more the plan shows. The title compares the ε that is shown with
    the one that is promised.
    """

    def draw(axes: Axes) -> None:
        edges = np.linspace(found.scores.min(), found.scores.max(), BINS + 1).tolist()
        for inside, name, colour in (
            (False, "stayed out", LIGHT.lines[-1]),
            (True, "took part", LIGHT.there),
        ):
            axes.hist(
                found.scores[found.truth == inside], edges, color=colour, alpha=0.65, label=name
            )
        promise = "no ε"
        if found.promise.epsilon is not None:
            promise = f"ε ≤ {found.promise.epsilon:.3g}"
        axes.set_title(f"canaries: shown ε ≥ {found.epsilon:.3g}, promised {promise}")
        axes.set_xlabel("score of a canary")
        axes.legend(loc="upper right")

    return png(draw, 2.9, LIGHT)


def membership_plot(found: Membership) -> bytes:
    """True against false positives, on logarithmic axes.

    What counts is the left end, where few false alarms are allowed: an attack that is right on
    average, and never sure, harms nobody.   (Carlini et al. 2022)
    """

    def draw(axes: Axes) -> None:
        false, true = found.curve
        least = 1 / max(1, int((~found.truth).sum()))
        coin = np.geomspace(least, 1, 50)
        axes.loglog(coin, coin, color=LIGHT.faint, label="a coin")
        axes.loglog(false.clip(least), true.clip(least), color=LIGHT.lines[0], label="the attack")
        axes.axvline(LIMIT, color=LIGHT.faint, linestyle=":")
        rates = f"{100 * found.rate:.1f} % found at {100 * LIMIT:g} % false alarms"
        axes.set_title(f"membership: AUC {found.area:.3f}, {rates}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_xlabel("records taken for members that are none")
        axes.set_ylabel("members found")
        axes.legend(loc="lower right")

    return png(draw, 3.6, LIGHT)


def inversion_plot(found: Inversion) -> bytes:
    """The record, and what is computed back of it by who sees what; as pictures where it is one.

    Beside each name stands the likeness, the correlation with the record.
    """
    panels = [("the record", found.record), *((view.name, view.record) for view in found.views)]
    names = [panels[0][0], *(f"{view.name} ({view.likeness:.2f})" for view in found.views)]
    rows = math.ceil(len(panels) / ACROSS)

    def draw(axes: Axes) -> None:
        axes.axis("off")
        for i, (name, (_, record)) in enumerate(zip(names, panels, strict=True)):
            row, column = divmod(i, ACROSS)
            corner = (column / ACROSS + 0.02, 1 - (row + 0.78) / rows)
            inset = axes.inset_axes((*corner, 1 / ACROSS - 0.04, 0.74 / rows))
            _panel(inset, record, found)
            inset.set_xlabel(fill(name, 30), fontsize=6.5)

    return png(draw, 1.9 * rows, LIGHT)


def _panel(axes: Axes, record: Vector, found: Inversion) -> None:
    """One record, as a picture; or as a line beside the true one, where it is no picture."""
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
    """A record as a picture [height, width] or [height, width, 3], where it can be one.

    Channels may come first, and a vector of a square number of pixels, 64 or more, is a square.
    """
    side = math.isqrt(record.size)
    match record.shape:
        case (n,) if side >= 8 and side * side == n:
            return record.reshape(side, side)
        case (1, _, _):
            return np.asarray(record[0])
        case (3, _, _):
            return np.moveaxis(record, 0, -1)
        case (_, _) | (_, _, 3):
            return record
    return None
