"""Plots as PNG, for what is no page: `hansa compare --plot`, `hansa sweep --plot`, and an audit.

matplotlib is imported when the first one is drawn, and without pyplot, so that no window opens.
Text is never read as mathematics: a client's name may hold a $. Pages draw with `svg`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

WIDTH = 7.2  # inches


@dataclass(frozen=True)
class Theme:
    """The colours of a plot, as matplotlib names them.

    faint: grids. lines: one for each line, the first the most important. there: what stands out.
    """

    name: str
    ground: str
    ink: str
    faint: str
    lines: tuple[str, ...]
    there: str


DARK = Theme(
    "dark", "#14181d", "#dfe6ee", "#3a434d", ("#56b4e9", "#e69f00", "#45e0b3", "#8f9aa6"), "#56b4e9"
)
LIGHT = Theme(
    "light",
    "#ffffff",
    "#1d2733",
    "#c9d1d9",
    ("#0072b2", "#d55e00", "#008a64", "#8a94a0"),
    "#0072b2",
)


def png(draw: Callable[[Any], None], height: float, paper: Theme) -> bytes:
    """A figure of so many inches' height, drawn on one pair of axes, as the bytes of a PNG.

    It is WIDTH inches wide at 180 dots per inch, and names no software: equal figures are equal
    bytes.
    """
    with _style(paper), warnings.catch_warnings():
        # a name in letters that the font lacks is boxes
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
