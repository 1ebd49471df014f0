"""What is done with many stored runs: list them, name them, compare some, take one out.

runs        reads the store          a line for each run; --as json and --as csv for programs
label       writes one row           name, tags and a note of a run
compare     reads some of its runs   what differs, last scores, one plot; --html FILE.html
rm          deletes one              rows and files
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, printable
from .options import As, Called, Id, Place, command
from .target import settings_of

if TYPE_CHECKING:
    from ..store import Summary
    from ..ui.tables import Best


@dataclass(frozen=True)
class Chosen:
    """Which runs, and in which order; options of `runs`.

    A run is listed where all that is given fits. A setting is what the run sets otherwise than its
    app: what the app itself says is not looked at.
    """

    app: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Those of apps with this in their path.")
    ] = None
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Those with this in their name.")
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Those that have it; each that is named."),
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=VALUE", help="Those that set this otherwise than their app."),
    ] = None
    status: Annotated[
        str | None, typer.Option(metavar="WORD", help="Those that are done, running, stopped, …")
    ] = None
    last: Annotated[int | None, typer.Option(min=1, help="The last so many of them.")] = None
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="By a column of --as csv: rounds, val_loss, best_val_loss, …"
        ),
    ] = None
    descending: Annotated[
        bool, typer.Option("--descending", help="With --sort: the largest first.")
    ] = False

    def among(self, found: Sequence[Summary]) -> list[Summary]:
        """Those of them that all of these options name, in their order."""
        return [one for one in found if self._fits(one)]

    def _fits(self, one: Summary) -> bool:
        """Is it one of those that are wanted?"""
        from ..ui.tables import set_at

        words = ((self.app, one.app), (self.name, one.label.name))
        if not all(wanted is None or wanted in text for wanted, text in words):
            return False
        if self.status is not None and one.status != self.status:
            return False
        wanted = settings_of(self.setting).items()
        same = all(set_at(one.settings, path) == value for path, value in wanted)
        return same and set(self.tag or ()) <= set(one.label.tags)


@command
def runs(place: Place, chosen: Chosen = Chosen(), how: As = "text") -> None:
    """List all runs, the latest last; or some of them.

    Rows of --as csv and --as json hold what the last round of each has reported, its settings, and
    ε where it is known; a number that is not defined is empty, or null. --sort best_val_loss, of
    any score whose better way is known, adds its best value in each run, and in which round.

    Examples: hansa runs --tag paper --sort best_val_accuracy, or hansa runs --status done --as csv
    """
    from ..ui.listing import listed
    from ..ui.tables import BEST, as_csv, as_json, best_of, of_run
    from ..ui.terminal import out

    store = place.open()
    found = chosen.among(store.runs())
    score = (chosen.sort or "").removeprefix(BEST)
    best: dict[str, Best] | None = None
    if chosen.sort not in (None, score, f"{BEST}round"):
        values = {one.id: best_of(score, store.open(one.id).history()) for one in found}
        best = {id: value for id, value in values.items() if value is not None}
    rows = {one.id: of_run(one, (best or {}).get(one.id)) for one in found}
    if chosen.sort is not None:
        found = _sorted(found, rows, chosen.sort, chosen.descending)
    found = found[-(chosen.last or len(found)) :]
    if how == "text":
        out().print(listed(found, best))
        return
    told = (rows[one.id] for one in found)
    typer.echo((as_json if how == "json" else as_csv)(told).rstrip("\n"))


def _sorted(
    found: Sequence[Summary], rows: Mapping[str, Mapping[str, Any]], column: str, descending: bool
) -> list[Summary]:
    """By a column of their rows; what lacks it comes behind what has it, or in front of it where
    the least is first.
    """
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

    return sorted(found, key=place, reverse=descending)


@command
def label(run: Id, place: Place, called: Called = Called()) -> None:
    """Call a run by a name, tag it, or write a note beside it; what is not given stays.

    --tag takes the place of all tags that it had. It changes nothing of what is computed.

    Example: hansa label 20260102-1 --name baseline --tag paper
    """
    from ..ui.terminal import out

    found = place.open().open(run)
    found.relabel(called.over(found.label))
    words = [found.id, found.label.name, *(f"#{tag}" for tag in found.label.tags), found.label.note]
    out().print(printable("  ".join(filter(None, words))), soft_wrap=True)


@command
def compare(
    ids: Annotated[
        list[str], typer.Argument(metavar="RUN RUN …", help="Runs, by their ids or names.")
    ],
    place: Place,
    score: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which; the loss, where nothing is said.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the course of the score here.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write all of it as one page.")
    ] = None,
) -> None:
    """Show runs beside each other: what is set otherwise, their last scores, and how one went, of
    all runs on one pair of axes.

    Example: hansa compare baseline 20260102-2 --score accuracy --html compared.html
    """
    from ..ui.overlay import Compared, drawn, known_scores, overlaid, page, table
    from ..ui.terminal import out

    store = place.open()
    compared = [Compared.of(store.open(id)) for id in ids]
    if len({one.id for one in compared}) < 2:
        raise AppError(
            "Two runs at least are compared, and one is named.",
            "It shows runs beside each other.",
            "Write hansa compare RUN RUN; `hansa runs` lists them, and `hansa show RUN` shows one.",
        )
    known = known_scores(compared)
    _check_ending(plot, ".png")
    _check_ending(html, ".html")
    if known or score or plot or html:
        score = _known(score, known)
    console = out()
    console.print(table(compared))
    if score is not None:
        console.print(overlaid(compared, score, min(console.width, 100)))
    if plot is not None and score is not None:
        plot.write_bytes(drawn(compared, score))
        console.print(f"{plot}: the course of {score}.", soft_wrap=True)
    if html is not None and score is not None:
        html.write_text(page(compared, score), encoding="utf-8")
        console.print(f"{html}: the table, and the course of {score}.", soft_wrap=True)


def _check_ending(path: Path | None, ending: str) -> None:
    """AppError for a file that is named as another kind, or has no folder."""
    if path is None:
        return
    if path.suffix != ending:
        raise AppError(
            f"{path.name} is no {ending[1:].upper()}.",
            "That is what is written.",
            f"Name it for example losses{ending}.",
        )
    if not path.absolute().parent.is_dir():
        raise AppError(
            f"There is no folder {path.parent}.",
            "The file goes there.",
            "Make it, or name another.",
        )


def _known(wanted: str | None, known: Sequence[str]) -> str:
    """The score that is drawn; AppError where no run has it."""
    if not known:
        raise AppError(
            "None of these runs has a score yet.",
            "A plot shows the course of one.",
            "Leave it out, or compare runs that have finished a round.",
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
