"""Backup of a store: its rows as they were at one moment, and the files that these name.

    hansa.sqlite     the rows of all runs, from SQLite or PostgreSQL alike
    RUN/…            checkpoints and memories, with the SHA-256 of their rows; record; secret

So a backup is a store itself, which `hansa runs --folder` reads. It is made while runs go on. What
was heard of a round that is not committed (book, journal, spools) is not in it: parties say that
again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from sqlalchemy import Connection, select, text

from .. import private
from ..backups import copy, making, opened, words
from ..errors import StoreError
from . import Store, files, heard
from . import database as db
from .removal import forget, key
from .run import SECRET

RECORD = "record"
PIN = ".pin"
TRIES = 20  # a run that goes on deletes checkpoints while they are copied


def backup(store: Store, folder: Path) -> list[str]:
    """Write all runs of a store into a new folder; their names.

    StoreError where a file is not what its row says: what is damaged is no backup.
    """
    with making(folder, "store") as part:
        for _ in range(TRIES):
            names, missing = _snapshot(store, part)
            if not missing:
                break
            time.sleep(0.1)
        else:
            raise StoreError(
                f"{missing[0]} is not there.",
                "The database names it: it was deleted, or the run commits rounds faster than they "
                "are copied.",
                "End the run with SIGTERM first, and resume it then; else put the file back.",
            )
        return names


def restore(folder: Path, store: Store, replace: bool = False) -> list[str]:
    """Put the runs of a backup into a store, `replace`: also in the place of those that have their
    names; the names.

    Nothing is written where a file of the backup was changed, a run is held by a process, or one is
    there and not to be replaced; that is a StoreError.
    """
    opened(folder, "store")
    with tempfile.TemporaryDirectory() as made, ExitStack() as held, words(store.folder):
        # to open it may upgrade it, and a backup stays as it is
        copy(folder / "hansa.sqlite", Path(made) / "hansa.sqlite")
        saved = Store(made)
        names = [one.id for one in saved.runs()]
        with saved.database.read() as c:
            listed = {name: _named(c, name) for name in names}
        _check_files(folder, listed)
        there = {one.id for one in store.runs()}
        for name in names:
            _check_free(store, name, name in there and not replace)
        for name in names:
            (store.folder / name).mkdir(mode=0o700, exist_ok=True)
            lock = files.hold(store.folder / name / "lock")
            if lock is None:
                raise _held(name)
            held.enter_context(closing(lock))
        for name in names:
            _put_back(folder, store, name, listed[name])
            with saved.database.read() as source, store.database.write() as target:
                forget(target, name)
                _copy_rows(source, target, name)
            _sweep(store.folder / name, listed[name])
    return names


def _snapshot(store: Store, part: Path) -> tuple[list[str], list[Path]]:
    """Write the rows of one moment, and copy what they name; the names of the runs, and the files
    that are not there any more.
    """
    (part / "hansa.sqlite").unlink(missing_ok=True)
    saved = Store(part)
    listed = dict[str, dict[str, str]]()
    with store.database.read() as source, saved.database.write() as target:
        if source.dialect.name == "postgresql":
            words = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            source.exec_driver_sql(words)
        for name in source.scalars(select(db.runs.c.id)).all():
            listed[name] = _named(source, name)
            _pin(store.folder / name, part / name, listed[name])
        for name in listed:
            _copy_rows(source, target, name)
    missing = list[Path]()
    for name, wanted in listed.items():
        missing += _copy_files(store.folder / name, part / name, wanted)
    saved.runs()  # they can be read
    saved.database.close()
    return sorted(listed), missing


def _pin(source: Path, target: Path, wanted: dict[str, str]) -> None:
    """Keep the files of a run from being deleted before they are copied: by a second name, which is
    made at once, where the disk is the same.
    """
    target.mkdir(mode=0o700, exist_ok=True)
    for name in wanted:
        if not (target / name).exists():
            with suppress(OSError):
                os.link(source / name, target / (name + PIN))


def _copy_rows(source: Connection, target: Connection, run: str) -> None:
    """All rows of a run, as they stand."""
    for table in db.tables.sorted_tables:
        columns = [column.name for column in table.columns]
        of = key(table)
        found = source.execute(
            text(f"SELECT {', '.join(columns)} FROM {table.name} WHERE {of} = :run"), {"run": run}
        )
        places = ", ".join(f":{name}" for name in columns)
        put = text(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})")
        rows = [dict(row) for row in found.mappings()]
        if rows:
            target.execute(put, rows)


def _named(c: Connection, run: str) -> dict[str, str]:
    """The files of a run that count, each with its SHA-256, as its row has it."""
    rows = c.execute(select(db.files.c.name, db.files.c.sha256).where(db.files.c.run == run))
    return {row.name: row.sha256 for row in rows}


def _copy_files(source: Path, target: Path, wanted: dict[str, str]) -> list[Path]:
    """Copy the files of a run that are not copied yet, and let go what is not wanted any more;
    those that are not there.
    """
    files.sweep(target, wanted)
    missing = list[Path]()
    for name, sha256 in wanted.items():
        if (target / name).exists():
            continue
        pin = target / (name + PIN)
        try:
            found = copy(pin if pin.exists() else source / name, target / name)
        except FileNotFoundError:
            missing.append(source / name)
            continue
        if found != sha256:
            raise _changed(source / name)
    for pin in target.glob(f"*{PIN}"):
        pin.unlink()
    with suppress(FileNotFoundError):
        copy(source / RECORD, target / RECORD)
    if (source / SECRET).exists():
        private.write(target / SECRET, private.read(source / SECRET))
    return missing


def _check_files(folder: Path, listed: dict[str, dict[str, str]]) -> None:
    """StoreError where rows of a backup name what is not in it, or what has another SHA-256 than
    the row: then list and rows are not of one backup.
    """
    for run, named in listed.items():
        for name, sha256 in named.items():
            files.read(folder / run / name, sha256, "Take another backup.")


def _check_free(store: Store, run: str, there: bool) -> None:
    """StoreError where a process has the run, or it is there and not to be replaced."""
    if files.held(store.folder / run / "lock"):
        raise _held(run)
    if there:
        raise StoreError(
            f"The run {run} is in {store.database.name} already.",
            "What it has since the backup would be lost.",
            "Restore into another --folder; or if you mean that: --replace.",
        )


def _put_back(folder: Path, store: Store, run: str, named: dict[str, str]) -> None:
    """Copy the files of a run, and its record.

    Its secret is that of the backup; where that has none, one that is there goes, for it is of
    other rounds.
    """
    place = store.folder / run
    for name in named:
        copy(folder / run / name, place / name)
    if (folder / run / RECORD).exists():
        copy(folder / run / RECORD, place / RECORD)
    files.forget(place / SECRET)
    if (folder / run / SECRET).exists():
        private.write(place / SECRET, private.read(folder / run / SECRET))
    private.settle(place)


def _sweep(place: Path, named: dict[str, str]) -> None:
    """Delete what was there of other rounds: checkpoints, and what was heard and not committed."""
    files.sweep(place, named)
    for left in (*place.glob("book*"), *place.glob("journal*")):
        left.unlink(missing_ok=True)
    for name in ("sites", heard.FOLDER):
        shutil.rmtree(place / name, ignore_errors=True)


def _held(run: str) -> StoreError:
    """What is raised where a process goes on with a run."""
    return StoreError(
        f"The run {run} is being run by a process.",
        "It would go on with rounds that are not there any more.",
        "End it first: SIGTERM lets it finish its round.",
    )


def _changed(path: Path) -> StoreError:
    """What is raised where a file is not what its row says."""
    return StoreError(
        f"{path} is not the file that was written.",
        "Its SHA-256 is another than the database has recorded; a backup would be as damaged.",
        "Take it from an earlier backup.",
    )
