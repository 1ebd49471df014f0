"""Where the journal of a run lies."""

from __future__ import annotations

from ..loops.journal import Journal
from .heard import Rows, named
from .run import Run


def journal_of(run: Run) -> Journal:
    """What a server writes down of a run that it holds: in a file of its own, or in the database
    where that is none.
    """
    run.hold()
    if not run.database.shared:
        return Journal(run.journal)
    of = named(run.id)
    return Journal(Rows(run.database, of, run.folder), of)
