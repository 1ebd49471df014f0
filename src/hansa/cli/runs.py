"""What is done with many stored runs: list them, compare some, take one out.

runs        reads the store          a line for each run; --json and --csv for programs
compare     reads some of its runs   what differs, last scores, courses; --plot FILE.png
rm          deletes one              rows and files
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AppError
from .options import As, Id, Place, command

if TYPE_CHECKING:
    from ..store import Summary


@command
def runs(
    place: Place,
    app: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Those of apps with this in their path.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="WORD", help="Those that are done, running, stopped, …")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="By a column of --as csv: val_loss, rounds, …"),
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, help="The last so many of them.")] = None,
    how: As = "text",
) -> None:
    """List all runs, the latest last; or some of them.

    Rows of --as csv and --as json hold what the last round of each has reported, and ε where it is
    known; a number that is not defined is empty, or null.

    Example: hansa runs --status done --sort val_loss --as csv
    """
    from ..ui.tables import as_csv, as_json, of_run
    from ..ui.terminal import listed, out

    found = [
        one
        for one in place.open().runs()
        if (app is None or app in one.app) and (status is None or one.status == status)
    ]
    if sort is not None:
        found = _sorted(found, sort)
    found = found[-(last or len(found)) :]
    if how == "text":
        out().print(listed(found))
        return
    rows = map(of_run, found)
    typer.echo((as_json if how == "json" else as_csv)(rows).rstrip("\n"))


def _sorted(found: Sequence[Summary], column: str) -> list[Summary]:
    """By a column of their rows, the least first; what lacks it comes first of all."""
    from ..ui.tables import of_run

    rows = {one.id: of_run(one) for one in found}
    known = sorted({name for row in rows.values() for name in row})
    if found and column not in known:
        raise AppError(
            f"No run has a column {column!r}.",
            "Runs are sorted by what their rows hold.",
            f"Write one of {', '.join(known)}.",
        )

    def place(one: Summary) -> tuple[bool, float, str]:
        value = rows[one.id].get(column)
        if isinstance(value, int | float):
            return value == value, float(value if value == value else 0), ""
        return value is not None, 0.0, str(value)

    return sorted(found, key=place)


@command
def compare(
    ids: Annotated[
        list[str], typer.Argument(metavar="RUN RUN …", help="Runs, as `hansa runs` lists them.")
    ],
    place: Place,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the course of a score here.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which; the loss, where nothing is said.")
    ] = None,
) -> None:
    """Show runs beside each other: what is set otherwise, their last scores, and how they went.

    Example: hansa compare 20260102-1 20260102-2 --plot losses.png
    """
    from ..ui.overlay import Compared, drawn, known_scores, table
    from ..ui.terminal import out

    store = place.open()
    compared = [Compared.of(store.open(id)) for id in ids]
    if len({one.id for one in compared}) < 2:
        raise AppError(
            "Two runs at least are compared, and one is named.",
            "It shows runs beside each other.",
            "Write hansa compare RUN RUN; `hansa runs` lists them, and `hansa show RUN` shows one.",
        )
    drawn_score = None if plot is None else _drawn_score(plot, score, known_scores(compared))
    for part in table(compared):
        out().print(part)
    if plot is not None and drawn_score is not None:
        plot.write_bytes(drawn(compared, drawn_score))
        out().print(f"{plot}: the course of {drawn_score}.", soft_wrap=True)


def _drawn_score(plot: Path, wanted: str | None, known: Sequence[str]) -> str:
    """The score that a plot shows; AppError where no run has it, the file is no PNG, or there is no
    folder for it.

    wanted: its name, or None for the first of `known`, which is the loss mostly.
    """
    if plot.suffix != ".png":
        raise AppError(
            f"{plot.name} is no PNG.", "That is what is drawn.", "Name it for example losses.png."
        )
    if not plot.absolute().parent.is_dir():
        raise AppError(
            f"There is no folder {plot.parent}.",
            "The plot is written into it.",
            "Make it, or name another.",
        )
    if not known:
        raise AppError(
            "None of these runs has a score yet.",
            "A plot shows the course of one.",
            "Leave --plot out, or compare runs that have finished a round.",
        )
    if wanted not in (None, *known):
        raise AppError(
            f"No run has the score {wanted!r}.",
            "A plot shows the course of one score.",
            f"Write one of {', '.join(known)}.",
        )
    return wanted or known[0]


@command
def rm(
    run: Id,
    place: Place,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
) -> None:
    """Delete a run, with its models, reports and history: for good.

    Example: hansa rm 20260102-1 --yes
    """
    from ..store.removal import remove
    from ..ui.terminal import out

    store = place.open()
    found = store.open(run)
    if not yes:
        done = len(found.history())
        typer.confirm(f"Delete run {found.id}, {done} rounds of {found.app}?", abort=True)
    out().print(f"{remove(store, found.id)} is gone.", soft_wrap=True)
