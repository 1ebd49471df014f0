"""Away: a database that is started again, or is out of reach, while a run goes on.

Who has not begun a transaction when it goes, or has not heard whether one counts, does it again
once the database is back: so what is done again must change nothing where it has counted.

    a commit ──▶ the database goes, before or after it counted ──▶ it is back ──▶ the commit again

A file is never away: what is wrong with it does not pass by itself. What keeps PostgreSQL from
taking a connection, a changed password too, is waited for as well: it does not say which it is in
a form that a program could read, and an operator finds its words in the log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

from ..errors import StoreError

FIRST = 0.1  # seconds before the second try
LONGEST = 10.0  # seconds between two tries, at most
# of PostgreSQL: its process ends, it starts, or it has no place for one more
PASSING = {"57P01", "57P02", "57P03", "53300", "25006"}
CONNECTION = "08"  # how the states begin of a connection that has broken

Result = TypeVar("Result")
log = logging.getLogger("hansa.sites")


class AwayError(StoreError):
    """A database is not reached; what was asked of it may be asked again."""


@dataclass
class Waiting:
    """Whether a database is waited for, and until when."""

    over: threading.Event = field(default_factory=threading.Event)  # set: it is not, from then on

    def __post_init__(self) -> None:
        self.over.set()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self.over = threading.Event()
        self.over.set()

    @contextmanager
    def until(self, over: threading.Event) -> Iterator[None]:
        """Wait for the database in this block, until `over` is set."""
        before = self.over
        self.over = over
        try:
            yield
        finally:
            self.over = before

    def insist(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, which is tried again while its database is away; AwayError where that
        is not waited for any more.

        That it is away, and that it is back, is told once each.
        """
        pause = FIRST
        while True:
            try:
                found = work()
            except AwayError as error:
                if self.over.is_set():
                    raise
                if pause == FIRST:
                    log.warning("%s It is waited for. %s", error.found, error.why)
                self.over.wait(pause)
                pause = min(LONGEST, 2 * pause)
                continue
            if pause > FIRST:
                log.warning("the store is back")
            return found


def is_away(error: Exception) -> bool:
    """Does this say that PostgreSQL is not reached now, and nothing about what was asked of it?"""
    if not isinstance(error, DBAPIError):
        return False
    if type(error.orig).__module__.partition(".")[0] != "psycopg":
        return False
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:  # no answer came
        return error.connection_invalidated or isinstance(error, OperationalError)
    return state in PASSING or state.startswith(CONNECTION)
