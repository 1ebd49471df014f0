"""Health of a run: how far it is, and whether its store can be written."""

from __future__ import annotations

from sqlalchemy import select, update

from ..rounds import Round
from . import database as db
from . import files
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


def touch(run: Run) -> None:
    """Write the run's row as it is, and a byte into its folder; StoreError where the store cannot
    be written.
    """
    of = db.runs.c
    with run.database.write() as c:
        c.execute(update(db.runs).where(of.id == run.id).values(app=of.app))
    files.write(run.folder / "touched", [b"."])
