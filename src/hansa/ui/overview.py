"""Clients' data beside each other, for a person: words that all pictures share, and the terminal.

    terminal            a row for each client, a bar of its labels
    terminal       here
    a page         `ui.mixes`
    a figure       `ui.partition`

Of more clients than fit the largest are shown, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..data.overview import Overview
from ..errors import printable

MOST_ROWS = 30  # clients in a table or a picture of bars
MOST_COLOURS = 8  # labels that are told apart; the others are one colour
WIDE = 20  # letters of a bar: with a long name the table is 80 wide
LONGEST = 22  # letters of a name
STYLES = (  # of a label in a bar: letter and colour
    ("█", "cyan"),
    ("▓", "yellow"),
    ("▒", "green"),
    ("░", "magenta"),
    ("▞", "red"),
    ("▦", "blue"),
    ("▥", "bright_cyan"),
    ("▤", "bright_yellow"),
)


def shown(found: Overview) -> list[str]:
    """The clients of tables and bars: all, or those with the most examples, in their order."""
    names = list(found.clients)
    if len(names) <= MOST_ROWS:
        return names
    kept = set(sorted(names, key=lambda who: -found.clients[who].examples)[:MOST_ROWS])
    return [who for who in names if who in kept]


def notes(found: Overview) -> list[str]:
    """What a reader has to know, and which clients and labels a picture leaves out.

    A picture that shows some of many says so: else who is not in it would not be missed.
    """
    told = [printable(one) for one in found.notes]
    if len(found.clients) > MOST_ROWS:
        told.append(
            f"Shown are the {MOST_ROWS} of {len(found.clients)} clients with the most examples."
        )
    if len(found.labels) > MOST_COLOURS:
        told.append(
            f"The {MOST_COLOURS} most frequent of {len(found.labels)} labels have a colour of "
            "their own."
        )
    return told


def summary(found: Overview) -> str:
    """How many clients and examples there are, in a sentence."""
    sizes = [one.examples for one in found.clients.values()]
    targets = {
        "labels": f"{len(found.labels)} labels",
        "values": "measured targets",
        "none": "targets that are neither labels nor single numbers",
    }[found.kind]
    spread = f"{min(sizes):,} to {max(sizes):,} each"
    return f"{len(sizes)} clients with {sum(sizes):,} examples, {spread}; {targets}."


def terminal(found: Overview) -> Iterator[RenderableType]:
    """A summary, a row for each client, and the notes.

    A label has a letter and a colour of its own, so that a bar can be read where there are no
    colours. Names command nothing.
    """
    yield Text(summary(found), style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns(found):
        table.add_column(name, justify="left" if name in ("client", "labels") else "right")
    colours = dict(zip(frequent(found), STYLES, strict=False))
    for who in shown(found):
        table.add_row(*cells(found, who), *[_bar(found, who, colours)] * (found.kind == "labels"))
    yield table
    if found.kind == "labels":
        key = Text("labels  ", "dim")
        for i, (letter, style) in colours.items():
            key.append(f"{letter} ", style)
            key.append(f"{printable(found.labels[i])[:LONGEST]}  ")
        yield key
    yield Text(f"distance  {found.distance}; here from all clients together", "dim")
    for note in notes(found):
        yield Text(note)


def columns(found: Overview) -> tuple[str, ...]:
    """The head of the table, by what kind of targets there are."""
    more = {"labels": ("labels",), "values": ("least", "median", "largest"), "none": ()}
    return ("client", "examples", "missing", "distance", *more[found.kind])


def cells(found: Overview, who: str) -> list[Text]:
    """The cells of a client, without its bar."""
    one = found.clients[who]
    cells = [name(who), f"{one.examples:,}", f"{one.missing:,}", figure(one.far)]
    if found.kind == "values":
        cells += [figure(one.quarters[i]) if one.quarters else "–" for i in (0, 2, 4)]
    return list(map(Text, cells))


def _bar(found: Overview, who: str, colours: dict[int, tuple[str, str]]) -> Text:
    """The mix of labels of a client, a letter for each twentieth.

    Ends of labels are rounded, and not their lengths, so that all letters together are WIDE. What
    has no letter of its own is a dot.
    """
    counts = found.clients[who].counts
    bar = Text()
    if not sum(counts):
        return bar
    ends = np.rint(np.cumsum([counts[i] for i in colours]) / sum(counts) * WIDE).astype(int)
    before = 0
    for end, (letter, style) in zip(ends, colours.values(), strict=True):
        bar.append(letter * (end - before), style)
        before = end
    bar.append("·" * (WIDE - before), "dim")
    return bar


def frequent(found: Overview) -> list[int]:
    """The most frequent labels, by number, in their order."""
    total = np.array([one.counts for one in found.clients.values() if one.counts]).sum(axis=0)
    return sorted(np.argsort(-total, kind="stable")[:MOST_COLOURS].tolist())


def name(who: str) -> str:
    """A name that fits; of a long one begin and end."""
    line = printable(who).replace("\n", " ")
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST - 9]}…{line[-8:]}"


def figure(value: float) -> str:
    """A number with three figures; a dash for what is not known."""
    if math.isnan(value):
        return "–"
    return f"{value:.3g}"
