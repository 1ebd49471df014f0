"""`hansa predict`: what a model says of each example, into a file that is here.

    of a stored run   reads the run, its app, data          writes FILE.csv or FILE.json
    at a site         reads the kit, the approved app, data  the same; the app runs in a worker

    hansa predict 20260102 new.csv --data records.csv
    hansa predict heart.bundle new.csv --kit kit/ --data records.csv --own

Data is read as the app reads a client's. Its targets are read, too, and change nothing. Of its
file a CSV has a row for each example, in their order, and a column for each number; a JSON is a
list of the same. It ends with 2 for a model that does not know how to.
"""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, Fault, refuse
from .options import AtSite, Id, Place, Whose, command, which_round
from .options import Which as Round
from .owned import Mine, predicted_at
from .target import app_of, resumed
from .working import Working

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    import numpy as np

FORMS = (".csv", ".json")


@dataclass(frozen=True)
class OfRun:
    """Which model of a stored run; options of `predict`."""

    round_: Round = None
    client: Whose = None


@command
def predict(
    run: Id,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv|FILE.json", help="Where to write.", show_default=False),
    ],
    data: Annotated[Path, typer.Option(help="Data, as a client's.", show_default=False)],
    place: Place,
    which: OfRun = OfRun(),
    kit: AtSite = None,
    mine: Mine = Mine(),
    working: Working = Working(),
) -> None:
    """Write what a model says of each example of some data.

    The model is that of a stored run, after its last round or another, or with --client one that is
    a client's own; with the kit of a site, and the app that was approved there in the place of RUN,
    the global model as it was told last, or with --own the site's own. The file is written here,
    and nothing leaves this machine.

    Example: hansa predict heart.bundle new.csv --kit kit/ --data records.csv
    """
    from .. import private
    from ..ui.terminal import out

    _check_file(file, data)
    if kit is not None:
        _check_here(which)
        found, name = predicted_at(Path(run), kit, data, mine, working)
    else:
        found, name = _stored(place, run, data, which_round(which.round_), which.client)
    private.write(file, as_text(found, file).encode())
    out().print(f"{file}: {len(found)} predictions of {name}.")


def _check_file(file: Path, data: Path) -> None:
    """AppError for a file of another form, one that is there, or one in the data, before anything
    is computed.
    """
    faults: list[Fault] = [
        (
            file.suffix not in FORMS,
            f"{file} is neither CSV nor JSON.",
            "Predictions are numbers, a row for each example.",
            f"Name a file that ends in {' or '.join(FORMS)}.",
        ),
        (
            file.resolve().is_relative_to(data.resolve()),
            f"{file} lies in the data.",
            "Predictions would be read as examples, or stand in their place.",
            "Name a file elsewhere.",
        ),
        (
            os.path.lexists(file),
            f"{file} is there already.",
            "Predictions stand in the place of nothing.",
            "Name another file, or take this one away first.",
        ),
    ]
    refuse(faults, AppError)


def _check_here(which: OfRun) -> None:
    """AppError where options of stored runs are given with a kit."""
    if which == OfRun():
        return
    raise AppError(
        "--round and --client are of stored runs, and a kit is named.",
        "A site has the global model as it was told last, and its own, and no others.",
        "Leave them out; write --own for the site's own model.",
    )


def _stored(
    place: Place, run: str, data: Path, which: Any, client: str | None
) -> tuple[np.ndarray[Any, Any], str]:
    """What the model of a stored run, or a client's own, says of what is at a path [n, …]; and
    which it is.
    """
    from ..app.compare import OUTSIDE
    from ..app.federation import found_by
    from ..app.personal import stored_model
    from ..config.run import Config
    from ..data import Sites
    from ..data.sites import prepared
    from ..models import NO_LOCAL
    from ..models.predictions import check_kept, predicted
    from ..parties.client import Client
    from ..ui.errors import say
    from .stored import state_of

    stored = place.open().open(run)
    state = state_of(stored, which)
    app = app_of(resumed(Config(stored.app), stored)).answered(stored)
    if not isinstance(app.data, Sites):
        raise AppError(
            "The data of this app lies in its file.",
            "Other data is read from a path, as the app reads that of a client.",
            "Write App(data=Sites(read, 'data/*.csv')), where read(path) gives the examples.",
        )
    plan = app.known_plan
    x = state.x
    local = NO_LOCAL
    whose = "the model"
    if client is not None:
        x, local = stored_model(app, stored, state, client)
        whose = f"{client}'s own model"
    check_kept(plan.model, local)
    source = app.data.at(data)
    if app.prepare is not None:
        source = prepared(source, app.prepare, found_by(app))
    examples = Client(data.stem, plan, source).examples
    found = predicted(plan.model, x, examples, local, data.stem)
    if client is not None and plan.hides:
        say(OUTSIDE)
    return found, f"{whose} of run {stored.id} after round {state.round}"


def as_text(found: np.ndarray[Any, Any], file: Path) -> str:
    """Predictions [n, …] as CSV or JSON, by the ending of the file's name; AppError for a CSV of
    more than one row of numbers for each example, and for a JSON of NaN or infinity.
    """
    if file.suffix == ".json":
        _check_finite(found)
        return json.dumps(found.tolist(), allow_nan=False) + "\n"
    if found.ndim > 2:
        raise AppError(
            f"Each prediction has the shape {list(found.shape[1:])}.",
            "A CSV has one row of numbers for each.",
            "Name a file that ends in .json.",
        )
    columns = found.reshape(len(found), -1)
    names = ["prediction"]
    if columns.shape[1] != 1:
        names = [f"prediction_{i}" for i in range(columns.shape[1])]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(names)
    rows.writerows(columns.tolist())
    return text.getvalue()


def _check_finite(found: np.ndarray[Any, Any]) -> None:
    """AppError where predictions [n, …] hold what JSON cannot say."""
    import numpy as np

    odd = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    if not odd.any():
        return
    raise AppError(
        f"{odd.sum()} of {len(found)} predictions are NaN or infinite, the first of row "
        f"{odd.argmax()}.",
        "JSON has no word for these.",
        "See whether the model has left the range of numbers; a file that ends in .csv takes them.",
    )
