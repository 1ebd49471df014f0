"""Database: the tables of a store, their versions, and transactions that end in StoreError where
they fail.

    runs       one row for each run: its plan, app, settings, status, and what a person calls it
    rounds     one row for each committed round: what `Round` holds, but for the model
    files      the files that count, each with its SHA-256
    memories   in which file each client's latest memory lies

In PostgreSQL also what servers have heard in sessions that are not settled (`hansa.store.journal`).

SQLite in the folder of the runs, or PostgreSQL at a URL; both by SQLAlchemy. A database of an older
version is upgraded by Alembic when it is opened, one of a newer version is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from ..errors import StoreError
from .away import AwayError, Waiting, is_away
from .columns import (
    Damaged,
    Flag,
    Json,
    Line,
    Moment,
    Name,
    Real,
    Whole,
    Words,
    numbers,
    participants,
    reasons,
    spent,
    table,
    tags,
)

SCHEMA = "0006"  # the newest file in migrations/versions
MIGRATIONS = Path(__file__).parent / "migrations"
# versions that are read no more → the release that reads them
BEFORE = {"0001": "0.1", "0002": "0.1", "0003": "0.2 before its release"}
UPGRADE = 0x68616E7361  # PostgreSQL's name for the lock under which one process upgrades: "hansa"
ANSWER = 10  # seconds in which PostgreSQL answers, where the URL names no connect_timeout
SILENT = 30_000  # milliseconds without a sign of PostgreSQL, after which the connection is broken
PATIENCE = 60.0  # seconds to wait while another process writes to SQLite

Result = TypeVar("Result")

tables = MetaData()
runs = Table(
    "runs",
    tables,
    Column("id", Name(), primary_key=True),
    Column("app", Words(), nullable=False),
    Column("plan", Words(), nullable=False),  # the expression that builds it
    Column("digest", Words(), nullable=False),
    Column("settings", Json(table), nullable=False),
    Column("planned", Whole(missing=True)),  # rounds
    Column("started", Moment(), nullable=False),  # UTC
    Column("status", Words(), nullable=False),
    Column("name", Line(), nullable=False),  # what a person calls it
    Column("tags", Json(tags), nullable=False),
    Column("note", Words(), nullable=False),
    Column("tracked", Json(reasons), nullable=False),  # tracker → why it stopped, or nothing
)
rounds = Table(
    "rounds",
    tables,
    Column("run", Name(), ForeignKey("runs.id"), primary_key=True),
    Column("round", Whole(), primary_key=True),
    Column("metrics", Json(numbers), nullable=False),
    Column("scores", Json(numbers), nullable=False),
    Column("spent", Json(spent), nullable=False),  # ε and δ, by whom they protect
    Column("participants", Json(participants), nullable=False),
    Column("excluded", Json(reasons), nullable=False),
    Column("skipped", Words(), nullable=False),
    Column("seconds", Real(), nullable=False),
    # did noise grow from a secret that a simulation names?
    Column("named", Flag(), nullable=False),
)
files = Table(  # the files that count; all others in a run's folder are leftovers
    "files",
    tables,
    Column("run", Name(), ForeignKey("runs.id"), primary_key=True),
    Column("name", Name(), primary_key=True),
    Column("kind", Words(), nullable=False),  # "state", "best" of these, "memory" or "survey"
    Column("round", Whole(), nullable=False),
    Column("sha256", Words(), nullable=False),
)
memories = Table(  # where each client's latest memory lies
    "memories",
    tables,
    Column("run", Name(), ForeignKey("runs.id"), primary_key=True),
    Column("who", Words(), primary_key=True),
    Column("file", Name(), nullable=False),
    Index("memories_file", "run", "file"),
)


def address(folder: Path, url: str | None) -> URL:
    """Where the database is: in the folder, or at `url`; StoreError for what is neither SQLite nor
    PostgreSQL.
    """
    if url is None:
        return URL.create("sqlite", database=str(folder / "hansa.sqlite"))
    try:
        found = make_url(url)
    except ArgumentError:
        found = URL.create("nothing")
    if found.drivername in ("postgres", "postgresql"):
        found = found.set(drivername="postgresql+psycopg")
    if found.get_backend_name() not in ("postgresql", "sqlite"):
        raise StoreError(
            f"No run store is at a URL that begins with {url.partition(':')[0]!r}.",
            "Runs are kept in SQLite or PostgreSQL.",
            "Write postgresql://user:password@host/database, or leave the URL out.",
        )
    return found


class Database:
    """A database whose tables are those of this version; one of an older version is upgraded.

    StoreError where it cannot be reached or is of a newer version. `name` is its URL without the
    password, so that it may be shown. `waiting` says whether what is insisted on waits for it.
    Tables are made where there are none, unless `new` is False: that is a StoreError then.
    """

    def __init__(self, url: URL, new: bool = True):
        self.name = url.render_as_string(hide_password=True)
        self.waiting = Waiting()
        sqlite = url.get_backend_name() == "sqlite"
        self.shared = not sqlite  # by processes of several machines
        try:
            wait = {"connect_timeout": ANSWER, "tcp_user_timeout": SILENT}
            if sqlite:
                wait = {"timeout": int(PATIENCE)}
            wait = {name: seconds for name, seconds in wait.items() if name not in url.query}
            self._engine = create_engine(url, pool_pre_ping=not sqlite, connect_args=wait)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"{self.name} needs the driver {error.name}.",
                "It is not installed here.",
                "Run: pip install 'hansa[postgres]'.",
            ) from None
        if sqlite:
            event.listen(self._engine, "connect", _by_hand)
            event.listen(self._engine, "begin", _begin)
        self._upgrade(new)

    @contextmanager
    def read(self, write: bool = False) -> Iterator[Connection]:
        """A transaction that changes nothing.

        StoreError where the database cannot be used, a row is damaged, or what is written is there
        already; then nothing was written. AwayError where it is not reached: then nobody knows.
        """
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(write=write)
                with connection.begin():
                    yield connection
        except Damaged as error:
            raise StoreError(
                f"The run store {self.name} is damaged.",
                f"{error}.",
                "Put it back from a backup, or start new runs in another folder.",
            ) from None
        except IntegrityError as error:
            raise StoreError(
                f"{self.name} already holds what was to be recorded.",
                _first(error),
                "Another process has gone on with this run: let it, or resume the run when it has "
                "ended.",
            ) from error
        except (SQLAlchemyError, OverflowError, UnicodeError) as error:
            kind = AwayError if is_away(error) else StoreError
            raise kind(
                f"The run store {self.name} cannot be used.",
                _first(error),
                "See that it is up and can be written; committed rounds are safe, so resume the "
                "run then.",
            ) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is recorded as a whole or not at all; on SQLite it waits for another
        process's before it begins, not half-way.
        """
        with self.read(write=True) as connection:
            yield connection

    def insist(self, work: Callable[[Connection], Result], write: bool = True) -> Result:
        """What `work` gives in a transaction; where the database is away and waited for, when it
        is back. Then it may have been recorded before, so one that writes looks first.
        """

        def once() -> Result:
            with self.read(write) as connection:
                return work(connection)

        return self.waiting.insist(once)

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()

    def _upgrade(self, new: bool) -> None:
        """Bring the tables to this version, one process at a time."""
        with self.read() as connection:
            found = _version(connection)
        if found == SCHEMA:
            return
        if found is None and not new:
            self.close()
            raise StoreError(
                f"{self.name} holds no runs.",
                "It has no tables: no run has begun there yet, or it is just being put back.",
                "Start one there: hansa run APP.py",
            )
        with self.write() as connection:  # on SQLite, nobody else has one now
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(UPGRADE)))
            _migrate(connection, self.name)


def _by_hand(connection: Any, _: Any) -> None:
    """Let transactions begin where `_begin` says so.

    Python's driver would begin too late: not before a CREATE or a SELECT.
    """
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    """Begin a transaction of SQLite: a writer waits at once, not half-way."""
    if connection.get_execution_options().get("write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _version(connection: Connection) -> str | None:
    """The version of the tables; None where there are none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _migrate(connection: Connection, name: str) -> None:
    """Make the tables, or upgrade them; StoreError for a version that is read no more, or not
    yet.
    """
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(MIGRATIONS))
    version = _version(connection)
    if version in BEFORE:
        raise StoreError(
            f"{name} has schema version {version}.",
            f"hansa {BEFORE[version]} has written it, and what a round holds has other names "
            "since.",
            f"Read it with hansa {BEFORE[version]}, or name another folder for new runs.",
        )
    if version is not None and version not in {
        script.revision for script in scripts.walk_revisions()
    }:
        raise StoreError(
            f"{name} has schema version {version}.",
            f"This version of hansa knows versions up to {SCHEMA}: a newer hansa has upgraded the "
            "database.",
            "Run: pip install --upgrade hansa.",
        )
    steps = MigrationContext.configure(
        connection, opts={"fn": lambda at, _: scripts._upgrade_revs("head", at)}
    )
    with Operations.context(steps):
        steps.run_migrations()


def _first(error: Exception) -> str:
    """What the database itself says, in one sentence."""
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0].rstrip(".") + "."
