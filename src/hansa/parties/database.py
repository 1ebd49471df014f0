"""Database: a file of one process at a time, in which books and journals lie.

SQLite, with a log beside the file (WAL) that is flushed to the disk with every transaction: what
was said to be written survives a power cut. What is deleted is overwritten with zeros, for a reply
that nobody may hear again should not be read off the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import StoreError

Row = tuple[str, tuple[Any, ...]]  # a statement and its values
PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
"""


class Database:
    """A file for its owner alone, whose transactions survive a kill, and in which nothing deleted
    can be read.

    It is held until it is closed: two that wrote into one book would not know of each other's
    answers. StoreError where it cannot be opened, read or written.
    """

    def __init__(self, path: str | Path, tables: str):
        self.path = Path(path)
        with self._words():
            # to open and close what is there would let go of its lock
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._file.executescript(PRAGMAS + tables)
        if self._tables() != _tables(tables):
            raise StoreError(
                f"{self.path} holds other tables than this version of hansa writes into it.",
                "It is the file of something else, or of another version.",
                "Name a new file; a run that began with this one goes on with the version that it "
                "began with.",
            )

    def execute(self, text: str, values: Iterable[Any] = ()) -> list[Any]:
        """What one statement gives."""
        with self._words():
            return self._file.execute(text, tuple(values)).fetchall()

    def write(self, rows: Iterable[Row]) -> None:
        """Several statements, all of which count or none."""
        with self._words():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                for text, values in rows:
                    self._file.execute(text, values)
                self._file.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has ended it already
                    self._file.execute("ROLLBACK")
                raise

    def forget(self) -> None:
        """Leave what was deleted not even in the file that was written through."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _tables(self) -> list[Any]:
        """The tables that are there, as the statements that made them."""
        return self.execute(OF_TABLES)

    @contextmanager
    def _words(self) -> Iterator[None]:
        """Say what was wrong with the file."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be opened.",
                f"{error.strerror}.",
                "Name a file in a folder that is there, as one who may write there.",
            ) from error
        except (sqlite3.Error, OverflowError) as error:
            raise StoreError(
                f"{self.path} cannot be used: {error}.",
                "What a party says counts when it is written down, in a file that no other process "
                "has open.",
                "End who else has it open, or make room; a damaged one begins another run, "
                "for an old copy would answer again what was answered.",
            ) from error


OF_TABLES = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql"


def _tables(tables: str) -> list[Any]:
    """What SQLite keeps of these."""
    file = sqlite3.connect(":memory:")
    file.executescript(tables)
    found = file.execute(OF_TABLES).fetchall()
    file.close()
    return found
