"""Backup of a party's kit: its keys, its secret and its book, together and of one moment.

A book that is put back is older than what was said: it would answer anew what it has answered, and
the difference of two answers takes off the noise. So who restores a kit takes part no more in any
run that began before, and its secret is a new one; a run that the old book does not know of counts
as begun, until its owner accepts one more.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ... import private
from ...backups import begun, copy, making, opened, words
from ...errors import StoreError
from ...kits import LENGTH, SECRET, Kit
from ...parties.database import Database
from .runs import TABLES

LEFT = ("coming",)  # what travels is sent again
SQLITE = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm", "-journal", ".part")
RUNS = "runs"


def backup(kit: Path, folder: Path) -> Kit:
    """Write a party's kit into a new folder; whose it is.

    StoreError where the party attends meanwhile: its book and its secret are of one moment, or of
    no use.
    """
    found = Kit.read(kit)
    with making(folder, "kit") as part, ExitStack() as stack:
        paths = sorted(_files(kit))
        books = {path for path in paths if _is_book(path)}
        held = {path: stack.enter_context(_holding(path)) for path in sorted(books)}
        for path in paths:
            target = part / path.relative_to(kit)
            if path in held:
                _copy_book(held[path], target)
            else:
                copy(path, target)
    return found


def restore(folder: Path, kit: Path) -> Kit:
    """Put a kit back into a folder that is not there; whose it is.

    Runs that began before are void, and the secret is a new one.
    """
    names = opened(folder, "kit")
    if kit.exists():
        raise StoreError(
            f"{kit} is there already.",
            "Two copies of one party would answer the same question twice, each in its own way.",
            "If the one that is there is whole, go on with it. Else move it away first.",
        )
    with words(kit):
        part = begun(kit)
        for name in names:
            copy(folder / name, part / name)
        found = Kit.read(part)
        if found.role != "server":
            _void(part / RUNS)
        private.write(part / SECRET, secrets.token_bytes(LENGTH))
        part.rename(kit)
        private.settle(kit.parent)
    return Kit.read(kit)


def _void(path: Path) -> None:
    """Let no run that began before be answered in; the one without a name is any that is not
    known.
    """
    with closing(Database(path, TABLES)) as file:
        now = "datetime('now')"
        file.write(
            [
                (f"INSERT INTO void SELECT run, {now} FROM runs", ()),
                (f"INSERT INTO void VALUES ('', {now})", ()),
            ]
        )


def _files(kit: Path) -> Iterator[Path]:
    """All that a kit holds, but for what is on its way."""
    for path in kit.rglob("*"):
        inner = path.relative_to(kit)
        if path.is_file() and inner.parts[0] not in LEFT and not path.name.endswith(BESIDE):
            yield path


def _is_book(path: Path) -> bool:
    """Is it a database?"""
    with open(path, "rb") as file:
        return file.read(len(SQLITE)) == SQLITE


@contextmanager
def _holding(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that nobody else has open; StoreError where somebody has."""
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as file:
        try:
            file.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;")
        except sqlite3.Error as error:
            raise StoreError(
                f"{path} cannot be held: {error}.",
                "A party that attends writes into its book: book and secret would be of two "
                "moments.",
                "End it first: SIGTERM lets it finish its answer. Start it again then.",
            ) from error
        yield file


def _copy_book(file: sqlite3.Connection, target: Path) -> None:
    """Copy a database page by page, and see that it is whole."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.touch(mode=0o600)
    with closing(sqlite3.connect(target)) as to:
        file.backup(to)
        to.execute("PRAGMA journal_mode = DELETE")
        found = to.execute("PRAGMA integrity_check").fetchall()
    if found != [("ok",)]:
        raise StoreError(
            f"The book {target.name} is damaged.",
            "SQLite finds it not to be whole, and so would who puts it back.",
            "Keep the backups that you have, and see that the disk is sound.",
        )
