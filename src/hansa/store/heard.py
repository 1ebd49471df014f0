"""Heard: a journal's rows in the database of a store, beside its runs.

    heard, asked, broadcasts, sessions      rows, in PostgreSQL
    RUN/heard/3f9a…                         what a row holds in bytes, by its SHA-256

A file is written before the row that names it, and deleted after it. So the database holds no word
of a client: a backup or a log of it keeps nothing that is deleted when its session is settled.

    a reply comes ──▶ file, fsync ──▶ row, commit ──▶ heard by the loop
    its session is settled ──▶ row deleted, commit ──▶ file deleted

A process that dies between two of these leaves a file that no row names, which goes with the next
start. Rows of two runs are told apart by the run's name in the store, for a simulation may give
both one secret, and so one name between the parties.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    select,
)

from .. import private
from ..codec import Frame, read
from ..loops.journal import Row
from . import files
from .database import Database

FOLDER = "heard"
tables = MetaData()
heard = Table(
    "heard",
    tables,
    Column("run", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("state", BigInteger, nullable=False),
    Column("reply", LargeBinary, nullable=False),
)
asked = Table(
    "asked",
    tables,
    Column("run", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("round", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("open", BigInteger, nullable=False),
    Column("ended", BigInteger),
)
broadcasts = Table(
    "broadcasts",
    tables,
    Column("run", Text, primary_key=True),
    Column("round", BigInteger, primary_key=True),
    Column("request", LargeBinary, nullable=False),
)
sessions = Table(
    "sessions",
    tables,
    Column("run", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("clients", Text, nullable=False),
    Column("start", Text, nullable=False),
    Column("running", Double, nullable=False),
    Column("clock", Double, nullable=False),
)
BYTES = (heard.c.reply, broadcasts.c.request)
AGAIN = "Put the folder of the run back as it was; else begin another run."


class Rows:
    """Rows of one run, as a journal wants them; bytes in them lie in a folder of the run.

    StoreError for what cannot be written or read, and for a file that is not what was written.
    """

    def __init__(self, database: Database, of: str, folder: Path):
        self.of = of
        self._database = database
        self._folder = folder / FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.forget()

    def execute(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        """What one statement gives."""
        given = self._put(values)

        def ask(c: Connection) -> list[Any]:
            found = c.exec_driver_sql(_marked(statement), given)
            return [tuple(row) for row in found] if found.returns_rows else []

        return self._database.insist(ask)

    def write(self, rows: Iterable[Row]) -> None:
        """Several statements, all of which count or none."""
        statements = [(_marked(statement), self._put(values)) for statement, values in rows]

        def put(c: Connection) -> None:
            for statement, values in statements:
                c.exec_driver_sql(statement, values)

        self._database.insist(put)

    def forget(self) -> None:
        """Delete the files that no row names any more."""
        wanted = self._database.insist(lambda c: _in_rows(c, self.of))
        for path in self._folder.iterdir():
            if path.name not in wanted:
                files.discard(path)

    def close(self) -> None:
        """The database is its store's."""

    def value(self, cell: bytes) -> Path:
        """The file in which bytes lie that were given in frames."""
        sha256 = bytes(cell).hex()
        path = self._folder / sha256
        files.check(path, sha256, AGAIN)
        return path

    def load(self, cell: bytes) -> Any:
        """The codec's value of that; its arrays are mapped."""
        return read(self.value(cell))

    def _put(self, values: Iterable[Any]) -> tuple[Any, ...]:
        """The values, where frames are in files and their SHA-256 stands for them."""
        return tuple(self._file(one) if isinstance(one, list) else one for one in values)

    def _file(self, frames: list[Frame]) -> bytes:
        """SHA-256 of frames that are in a file now."""
        digest = hashlib.sha256()
        for frame in frames:
            digest.update(frame)
        files.write(self._folder / digest.hexdigest(), frames)
        private.settle(self._folder)
        return digest.digest()


def named(run: str) -> str:
    """How the names of a run's sessions begin in its rows: two runs may have one secret."""
    return f"{run} "


def clear(c: Connection, run: str) -> None:
    """Delete the rows of a run; a store in SQLite has none."""
    if c.dialect.name == "postgresql":
        for table in tables.sorted_tables:
            c.execute(delete(table).where(func.starts_with(table.c.run, named(run))))


def _in_rows(c: Connection, of: str) -> set[str]:
    """The names of all files that rows name of sessions whose names begin so."""
    found = set[str]()
    for column in BYTES:
        rows = select(column).where(func.starts_with(column.table.c.run, of))
        found |= {digest.hex() for digest in c.scalars(rows)}
    return found


def _marked(statement: str) -> str:
    """The statement as the driver of PostgreSQL marks its values."""
    return statement.replace("?", "%s")
