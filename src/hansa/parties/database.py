"""Database: a file of one process at a time, in which books and journals lie.

SQLite, with a log beside the file (WAL) that is flushed to the disk with every transaction: what
was said to be written survives a power cut. What is deleted is overwritten with zeros, for a reply
that nobody may hear again should not be read off the disk.

A row holds a gigabyte at most, and what is in it was copied twice on its way. So a value that is
given in frames, and is LARGE, lies in a file of its own beside this one, which is on the disk
before the row that names it; when no row names it any more it is deleted, and not overwritten.

    book, book-wal        rows, small values in them
    book-3f2a…90          a large value: 32 digits, drawn at random
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .. import private
from ..codec import Frame, loads, read
from ..errors import StoreError

Row = tuple[str, tuple[Any, ...]]  # a statement and its values; a list is bytes, in frames
LARGE = 2**20  # bytes of a value that is a file of its own
DIGITS = "[0-9a-f]" * 32
ALONE = "PRAGMA locking_mode = EXCLUSIVE;"
PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
"""


class Database:
    """A file for its owner alone, whose transactions survive a kill, and in which nothing deleted
    can be read.

    It is held until it is closed: two that wrote into one book would not know of each other's
    answers. What others may read meanwhile is not held `alone`. StoreError where it cannot be
    opened, read or written.
    """

    def __init__(self, path: str | Path, tables: str, alone: bool = True):
        self.path = Path(path)
        with self._words():
            # to open and close what is there would let go of its lock
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            if alone:
                self._file.execute(ALONE)
            self._file.executescript(PRAGMAS + tables)
            if alone:
                self._sweep()  # of what a process had written that has ended before its row
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
            return self._file.execute(text, self._bound(values)).fetchall()

    def value(self, cell: bytes | str) -> bytes | Path:
        """What was given in frames, as a row holds it: its bytes, or the file in which they lie."""
        if not isinstance(cell, str):
            return cell
        with self._words():
            return self.path.with_name(cell).resolve(strict=True)

    def load(self, cell: bytes | str) -> Any:
        """The codec's value of that; arrays of a file are mapped."""
        found = self.value(cell)
        return read(found) if isinstance(found, Path) else loads(found)

    def write(self, rows: Iterable[Row]) -> None:
        """Several statements, all of which count or none."""
        with self._words():
            bound = [(text, self._bound(values)) for text, values in rows]
            self._file.execute("BEGIN IMMEDIATE")
            try:
                for text, values in bound:
                    self._file.execute(text, values)
                self._file.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has ended it already
                    self._file.execute("ROLLBACK")
                raise

    def forget(self) -> None:
        """Leave what was deleted not even in the file that was written through, nor beside it."""
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._words():
            self._sweep()

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _bound(self, values: Iterable[Any]) -> tuple[Any, ...]:
        """Values as a row holds them."""
        return tuple(self._put(one) if isinstance(one, list) else one for one in values)

    def _put(self, frames: list[Frame]) -> bytes | str:
        """Frames as one value, or the name of the file into which they were written."""
        if sum(map(len, frames)) <= LARGE:
            return b"".join(frames)
        place = self.path.with_name(f"{self.path.name}-{secrets.token_hex(16)}")
        new = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, private.OWNERS)
        try:
            with open(new, "wb") as file:
                file.writelines(frames)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            place.unlink()
            raise
        private.settle(self.path.parent)
        return place.name

    def _sweep(self) -> None:
        """Delete the files that no row names."""
        there = {path.name for path in self.path.parent.glob(f"{self.path.name}-{DIGITS}")}
        if not there:
            return
        named = set[str]()
        for table, column in self._file.execute(OF_BLOBS).fetchall():
            texts = f"SELECT {column} FROM {table} WHERE typeof({column}) = 'text'"
            named.update(name for (name,) in self._file.execute(texts))
        for name in there - named:
            self.path.with_name(name).unlink()

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
                f"{self.path} cannot be opened, or written beside.",
                f"{error.strerror}.",
                "Name a file in a folder that is there, as one who may write there; make room.",
            ) from error
        except (sqlite3.Error, OverflowError) as error:
            raise StoreError(
                f"{self.path} cannot be used: {error}.",
                "What a party says counts when it is written down, in a file that no other process "
                "has open.",
                "End who else has it open, or make room; a damaged one begins another run, "
                "for an old copy would answer again what was answered.",
            ) from error


OF_BLOBS = (
    "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c "
    "WHERE m.type = 'table' AND c.type = 'BLOB'"
)
OF_TABLES = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql"


def _tables(tables: str) -> list[Any]:
    """What SQLite keeps of these."""
    file = sqlite3.connect(":memory:")
    file.executescript(tables)
    found = file.execute(OF_TABLES).fetchall()
    file.close()
    return found
