"""`hansa sweep`: runs of one app with many settings, and a table of what they have in common.

The runs are in the store as any others. So a sweep that is begun again does what is left of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError
from .options import As, Called, Place, Stated, command
from .target import app_of, config_of, own_pieces, settings_of, tracked

if TYPE_CHECKING:
    from ..app.sweep import Tried

CLOSES = {")": "(", "]": "[", "}": "{"}
QUOTES = ("'", '"')


@dataclass(frozen=True)
class Tries:
    """What is tried; options of `sweep`.

    Each of the runs has as many rounds, and is followed by the same trackers.
    """

    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE,VALUE,…",
            help="What to try: training.learning_rate=0.01,0.1 or algorithm=FedAvg,Scaffold.",
            show_default=False,
        ),
    ] = None
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each setting.")] = 1
    random: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="N settings drawn, not all.", show_default=False),
    ] = None
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds of each run.", show_default=False)
    ] = None
    workers: Annotated[
        int | None, typer.Option(min=0, help="As for `hansa run`.", show_default=False)
    ] = None
    track: Annotated[
        str | None, typer.Option(metavar="NAMES", help="As for `hansa run`.", show_default=False)
    ] = None

    @property
    def settings(self) -> Mapping[str, list[Any]]:
        """path → values; AppError for what is wrong."""
        return tried_of(self.set_)


@dataclass(frozen=True)
class Shown:
    """How what was found is shown; options of `sweep`.

    None of them changes what is run, so a sweep that is done is shown otherwise by the same command
    with others.
    """

    sort: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="The best first, by this score: on the clients' validation, where it is taken.",
            show_default=False,
        ),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw their courses here.", show_default=False),
    ] = None
    how: As = "text"

    def check(self) -> None:
        """AppError for a plot that is no PNG or has no folder, and a score without an order; before
        hours of work.
        """
        from ..ui.sweeps import check_order

        if self.plot is not None and self.plot.suffix != ".png":
            raise AppError(
                f"{self.plot.name} is no PNG.",
                "That is what is drawn.",
                "Name it for example rates.png.",
            )
        if self.plot is not None and not self.plot.absolute().parent.is_dir():
            raise AppError(
                f"There is no folder {self.plot.parent}.",
                "The plot is written into it.",
                "Make it, or name another.",
            )
        if self.sort is not None:
            check_order(self.sort)

    def show(self, found: Sequence[Tried]) -> None:
        """Print the table, or rows for programs, and draw."""
        from ..ui.errors import say
        from ..ui.sweeps import (
            by_setting,
            chosen_by,
            drawn,
            given_away,
            ordered,
            scores_of,
            table,
            warned_of,
        )
        from ..ui.tables import as_csv, as_json
        from ..ui.terminal import out

        groups = by_setting(found)
        names = scores_of(found)
        if words := given_away(found):
            say(words)
        by = None
        if self.sort is not None:
            by = chosen_by(found, self.sort)
            groups = ordered(groups, by)
            if words := warned_of(found, by):
                say(words)
        if self.how == "text":
            out().print(table(groups, by))
        else:
            rows = (one.row for one in found)
            typer.echo((as_json if self.how == "json" else as_csv)(rows).rstrip("\n"))
        if self.plot is not None and names:
            score = by or names[0]
            self.plot.write_bytes(drawn(groups, score))
            say(f"{self.plot}: the course of {score}.")


@command
def sweep(
    place: Place, target: Stated, tries: Tries, shown: Shown, called: Called = Called()
) -> None:
    """Run the app with each combination of settings, one run after another; then show mean and
    deviation of their scores.

    Begun again after a stop, it does what is left. A run that fails is told, and the others go on.

    Example: hansa sweep hospitals.py --set training.learning_rate=0.01,0.1 --set
    algorithm=FedAvg,Scaffold --seeds 3 --sort val_loss
    """
    from ..app.sweep import planned
    from ..app.sweep import sweep as runs_of
    from ..store import Label
    from ..ui.errors import say
    from ..ui.sweeps import given_away, line

    shown.check()
    config = config_of(target)
    given = {} if tries.rounds is None else {"rounds": tries.rounds}
    app = app_of(config, given)
    if tries.workers is not None:
        app = replace(app, workers=tries.workers)
    app = tracked(app, tries.track, config)
    label = called.over(Label(config.name, tuple(config.tags), config.note))
    named: dict[str, Any] = {"name": label.name, "tags": label.tags, "note": label.note}
    config = replace(
        config, app=str(Path(config.app).resolve()), set={**config.set, **given}, **named
    )
    pieces = own_pieces(config)
    wanted = (app, tries.settings, tries.seeds, tries.random)
    total = len(planned(*wanted, pieces))
    found: list[Tried] = []
    try:
        for one in runs_of(*wanted, place.open(new=True), config, pieces):
            found.append(one)
            say(f"{len(found)} of {total}  {line(one)}")
            if one.before and (tries.track or called != Called()):
                say("  It stays as it was: --track, --name, --tag and --note are of new runs.")
    except KeyboardInterrupt:
        say(f"Stopped after {len(found)} of {total} runs. The same command does what is left.")
        if words := given_away(found):
            say(words)
        raise typer.Exit(130) from None
    shown.show(found)
    if any(one.error for one in found):
        raise typer.Exit(1)


def tried_of(given: list[str] | None) -> Mapping[str, list[Any]]:
    """path → values, of --set PATH=VALUE,VALUE."""
    found = dict[str, list[Any]]()
    for setting in given or []:
        path, equals, text = setting.partition("=")
        for one in parted(text):
            value = settings_of([f"{path}{equals}{one}"])
            found.setdefault(path.strip(), []).extend(value.values())
    return found


def parted(text: str) -> list[str]:
    """The values of a list with commas; what stands in brackets or quotes is one of them.

    0.1, [1, 2], FedProx(mu=0.1)  →  0.1 and [1, 2] and FedProx(mu=0.1)
    """
    found = [""]
    opened = list[str]()
    quoted = ""
    for sign in text:
        if quoted:
            quoted = "" if sign == quoted else quoted
        elif sign in QUOTES:
            quoted = sign
        elif sign in CLOSES.values():
            opened.append(sign)
        elif opened and CLOSES.get(sign) == opened[-1]:
            opened.pop()
        if sign == "," and not (opened or quoted):
            found.append("")
        else:
            found[-1] += sign
    return [one.strip() for one in found]
