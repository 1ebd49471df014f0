"""`hansa data`: look at each client's data before training; of clients elsewhere nobody does.

    hansa data hospitals.py                      a row for each client
    hansa data hospitals.py --html data.html     bars of labels, distances between clients
    hansa data hospitals.py --json               for programs

What it tells is computed without noise, and is outside ε. Exit code 1 where no client's data can be
read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AppError
from .options import Set, command
from .target import app_of, config_of, settings_of

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..app import App
    from ..data.overview import Overview


@command
def data(
    target: Annotated[
        Path, typer.Argument(metavar="APP.py|CONFIG.toml", help="An app file.", show_default=False)
    ],
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page that needs nothing else.", show_default=False
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
    set_: Set = None,
) -> None:
    """Look at clients' data before training: sizes, labels or targets, missing values, and how far
    clients are apart.

    All data that is here is read, and what is told is outside ε. Where the data is at its sites the
    command refuses: a survey asks there.

    Example: hansa data hospitals.py --html data.html
    """
    from ..app.compare import OUTSIDE
    from ..app.looking import overview_of
    from ..ui import overview as words
    from ..ui.errors import say
    from ..ui.terminal import out

    if target.suffix == ".bundle":
        raise AppError(
            f"{target} is a bundle, which a site has approved.",
            "Its data is at the sites, and nobody looks at it from here.",
            "Ask a survey of all of them: hansa.survey({…}) in App(first=…), with its ε.",
        )
    app = app_of(config_of(target), settings_of(set_))
    found = overview_of(app)
    aside = ""
    if _hides(app):
        aside = OUTSIDE
        say(aside)
    if html is not None:
        _write(found, html, target.name, aside)
        say(f"wrote {html}")
    if json_:
        told = found.table | {"outside": aside or None}
        typer.echo(json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False))
    elif html is None:
        for part in words.terminal(found):
            out().print(part)
    if all(one.why for one in found.clients.values()):
        raise typer.Exit(1)


def _hides(app: App) -> bool:
    """May survey or rounds have an ε? A plan that is a function of the survey may have one."""
    from ..plan import Plan

    plans = [one for one in (app.first, app.plan) if one is not None]
    return any(not isinstance(one, Plan) or one.hides for one in plans)


def _write(found: Overview, path: Path, name: str, aside: str) -> None:
    """The page of an overview."""
    from ..ui import mixes
    from ..ui.statement import put

    put(path, mixes.html(found, f"The data of {name}", aside).encode())
