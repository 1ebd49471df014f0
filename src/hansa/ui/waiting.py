"""While something takes time: what is being done, where somebody looks on.

On a terminal a line that lives; elsewhere, in a log say, a plain line at least every PAUSE seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from ..errors import printable
from ..progress import Watch, every, watching

PAUSE = 30.0  # seconds without a word, at most


@contextmanager
def waiting(console: Console, title: str) -> Iterator[Watch]:
    """Show a title and what is being done under it, until it is over.

    Gives the watch that what is done below is told to: `hansa.progress.tell` does.
    """
    with watching() as watch:
        if not console.is_terminal:
            with lines(console, lambda: said(title, watch)):
                yield watch
            return
        status = console.status(Text(title))
        with status, every(0.25, lambda: status.update(Text(said(title, watch)))):
            yield watch


@contextmanager
def lines(console: Console, words: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Print these words where nothing was printed for PAUSE seconds.

    words: asked for when they are due. Gives a function to call when something else was printed,
    which begins the pause anew.
    """
    last = time.monotonic()

    def printed() -> None:
        nonlocal last
        last = time.monotonic()

    def look() -> None:
        if time.monotonic() - last >= PAUSE:
            printed()
            console.print(Text(words()), soft_wrap=True)

    with every(min(1.0, PAUSE / 4), look):
        yield printed


def said(title: str, watch: Watch) -> str:
    """The title, and what is being done; names of clients command no terminal."""
    doing = printable(str(watch))
    return f"{title}: {doing}" if doing else title
