"""What several tests share: where public data lies, and a PostgreSQL server of their own."""

from __future__ import annotations

import glob
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

# Same examples each time, and no limit on an example's time: a busy machine is not a bug.
settings.register_profile("hansa", deadline=None, derandomize=True)
settings.load_profile("hansa")


ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent / "shared" / "data"
PUBLIC = ("heart",)  # examples whose data is a download
DRIVEN = "highway"  # an example that makes its data, in a simulator, for minutes


def public_data() -> Path | None:
    """The folder of public data sets, if there is one: $HANSA_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("HANSA_DATA", BESIDE))
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets."""
    folder = public_data()
    if folder is None:
        pytest.skip(f"no public data: HANSA_DATA is not set and {BESIDE.parent.name}/{BESIDE.name} is absent")
    return folder


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The example programs, without those whose public data is not here, and the one that drives first."""
    found = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem != DRIVEN)
    folder = public_data()
    if folder is None:
        return [path for path in found if path.stem not in PUBLIC]
    monkeypatch.setenv("HANSA_DATA", str(folder))
    return found


@pytest.fixture(scope="session")
def absent() -> Callable[[str], NoReturn]:
    """Says what is not installed: a reason to skip; in CI, which installs it, to fail."""
    return pytest.fail if os.environ.get("CI") else pytest.skip


@dataclass
class Postgres:
    """A PostgreSQL server of one's own, which listens on a socket in a temporary folder only."""

    folder: Path
    binaries: Path
    account: dict[str, object]

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"postgresql+psycopg://hansa@/postgres?host={self.folder}"

    def new(self) -> str:
        """The URL of a new database, as a person would write it."""
        server = make_url(self.url)
        name = f"test_{secrets.token_hex(6)}"
        engine = create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self.call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """End it at once, as a machine does that is switched off."""
        self.call("pg_ctl", "-w", "-m", "immediate", "stop")

    def call(self, program: str, *arguments: str) -> None:
        command: list[Any] = [self.binaries / program, "-D", self.folder / "data", *arguments]
        done: Any = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **self.account)  # type: ignore[call-overload]
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def postgres(absent: Callable[[str], NoReturn]) -> Iterator[Postgres]:
    """A running server of these tests."""
    binaries = _postgres_binaries()
    if binaries is None:
        absent("no PostgreSQL server: initdb and pg_ctl are neither on PATH nor in /usr/lib/postgresql/*/bin")
    if importlib.util.find_spec("psycopg") is None:
        absent("no PostgreSQL driver: psycopg is not installed (extra: postgres)")
    folder = Path(tempfile.mkdtemp(prefix="hansa-pg-"))  # short: a socket's path has at most 107 bytes
    server = Postgres(folder, binaries, _postgres_account(folder))
    try:
        server.call("initdb", "-U", "hansa", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The URL of an empty database on a private server."""
    return postgres.url


def _postgres_binaries() -> Path | None:
    places = os.environ.get("PATH", "").split(os.pathsep) + sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    complete = (Path(place) for place in places if all(shutil.which(name, path=place) for name in ("initdb", "pg_ctl")))
    return next(complete, None)


def _postgres_account(folder: Path) -> dict[str, object]:
    """PostgreSQL refuses to run as root: root lends the folder to an account without rights."""
    if os.geteuid() != 0:
        return {}
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = accounts.get("postgres") or accounts.get("nobody")
    if entry is None:
        pytest.skip("no account for PostgreSQL: this is root, and there is neither postgres nor nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
