"""Rounds that somebody looks on while they come: `app.run(progress=True)`.

In a terminal that is the live view of `hansa run`. In a notebook it is the same view as one output
under the cell, which each round writes anew; elsewhere a line for each round.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from io import StringIO
from typing import Any

from rich.console import Console

from ..errors import printable
from ..plan import Plan
from ..rounds import Round
from ..state import State
from .terminal import Progress, out

WIDTH = 100  # letters of a line in a notebook
FORM = "<pre style='line-height:1.3'>{code}</pre>"


def watched(
    states: Iterator[State], plan: Plan, clients: Collection[str], past: Sequence[Round]
) -> Iterator[State]:
    """The same states, each shown before it is yielded.

    past: the rounds that a resumed run has had.
    """
    console = out()
    names = clients if isinstance(clients, Sequence) else sorted(clients)
    progress = Progress(console, plan.rounds, names, past, plan.encoded_spec.hidden)
    if console.is_jupyter:
        yield from _in_notebook(states, progress)
        return
    with progress:
        for state in states:
            progress.show(state)
            yield state


def _in_notebook(states: Iterator[State], progress: Progress) -> Iterator[State]:
    """The states, with one output that shows how far they are.

    It is written anew after each round, and stays under the cell when the last is done.
    """
    from IPython.display import HTML, display

    def page() -> Any:
        return HTML(as_html(progress))

    handle = display(page(), display_id=True)
    for state in states:
        progress.record(state)
        handle.update(page())
        yield state


def as_html(progress: Progress) -> str:
    """The live view as HTML, in which every word is text."""
    look: dict[str, Any] = {"force_terminal": True, "force_jupyter": False, "width": WIDTH}
    console = Console(file=StringIO(), record=True, **look)
    console.print(progress.view())
    return printable(console.export_html(inline_styles=True, code_format=FORM))
