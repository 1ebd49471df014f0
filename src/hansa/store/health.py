"""Health of a run: how far it is, whether it can be read, and whether its store can be written."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select, update

from ..errors import StoreError
from ..rounds import Round
from . import Store, Summary, files
from . import database as db
from .away import AwayError
from .label import Label
from .rows import round_of
from .run import Run


def last_round(run: Run) -> Round | None:
    """The last committed round; None before the first."""
    of = db.rounds.c
    latest = select(db.rounds).where(of.run == run.id).order_by(of.round.desc()).limit(1)
    with run.database.read() as c:
        row = c.execute(latest).one_or_none()
    if row is None:
        return None
    return round_of(row)


def readable(store: Store) -> list[Summary]:
    """All runs, the latest last; one whose rows are damaged has that as its status, and no round.

    For a list that a person looks at: `Store.runs` is for sums, in which no run may be missing.
    """
    try:
        return store.runs()
    except AwayError:
        raise
    except StoreError:
        with store.database.read() as c:
            ids = list(c.scalars(select(db.runs.c.id).order_by(db.runs.c.id)))
        return [_readable(store, id) for id in ids]


def _readable(store: Store, id: str) -> Summary:
    """A run, or what its name tells of it: when it began."""
    try:
        return store.summary(id)
    except AwayError:
        raise
    except StoreError as error:
        try:
            began = datetime.strptime(id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            raise error from None
        return Summary(id, "", began, None, "damaged", None, {}, Label(), None)


def touch(run: Run) -> None:
    """Write the run's row as it is, and a byte into its folder; StoreError where the store cannot
    be written.
    """
    of = db.runs.c
    with run.database.write() as c:
        c.execute(update(db.runs).where(of.id == run.id).values(app=of.app))
    files.write(run.folder / "touched", [b"."])
