"""Removal: a run taken out of a store, with its rows and its files."""

from __future__ import annotations

import shutil

from sqlalchemy import Connection, Table, delete

from . import Store, heard
from . import database as db
from .run import Run


def remove(store: Store, id: str) -> str:
    """Delete the run whose name begins with `id`; its name.

    The rows go first, in one transaction, so that a run which is named is whole. StoreError where
    there is none of that name, more than one, or a process has it.
    """
    run = store.open(id)
    run.folder.mkdir(exist_ok=True)  # one that lost its folder is held by the same lock
    _take_out(run)
    return run.id


def fail(run: Run) -> bool:
    """Say that a run has failed; one in which nothing has happened yet is taken out.

    So a mistake in an app leaves no line behind. What has a round stays, and so does one whose
    survey has an answer, or whose clients have signed something.
    """
    if run.history() or run.survey()[1] is not None or run.record.path.exists():
        run.finish("failed")
        return False
    _take_out(run)
    return True


def _take_out(run: Run) -> None:
    """Delete the rows of a run, then its files."""
    run.hold()
    with run.database.write() as c:
        forget(c, run.id)
    run.finish("deleted")  # lets go of its lock
    shutil.rmtree(run.folder, ignore_errors=True)


def forget(target: Connection, run: str) -> None:
    """Delete all rows of a run."""
    heard.clear(target, run)
    for table in reversed(db.tables.sorted_tables):
        target.execute(delete(table).where(table.c[key(table)] == run))


def key(table: Table) -> str:
    """The column that says of which run a row is: the name of the run itself in the table of all
    runs, and a reference to it in all others.
    """
    return "id" if table is db.runs else "run"
