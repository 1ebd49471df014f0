"""What several tests share: where public data lies, and a PostgreSQL server of their own."""

from __future__ import annotations

import glob
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

# Same examples each time, and no limit on an example's time: a busy machine is not a bug.
settings.register_profile("hansa", deadline=None, derandomize=True)
settings.load_profile("hansa")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets: $HANSA_DATA, or ../shared/data beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HANSA_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no public data: HANSA_DATA is not set and {beside.parent.name}/{beside.name} is absent")
    return folder


@pytest.fixture(scope="session")
def absent() -> Callable[[str], NoReturn]:
    """Says what is not installed: a reason to skip; in CI, which installs it, to fail."""
    return pytest.fail if os.environ.get("CI") else pytest.skip


@pytest.fixture(scope="session")
def postgres_url(absent: Callable[[str], NoReturn]) -> Iterator[str]:
    """The URL of an empty database on a private server, which listens on a socket in a temporary folder only."""
    binaries = _postgres_binaries()
    if binaries is None:
        absent("no PostgreSQL server: initdb and pg_ctl are neither on PATH nor in /usr/lib/postgresql/*/bin")
    if importlib.util.find_spec("psycopg") is None:
        absent("no PostgreSQL driver: psycopg is not installed (extra: postgres)")
    folder = Path(tempfile.mkdtemp(prefix="hansa-pg-"))  # short: a socket's path has at most 107 bytes
    data, account = folder / "data", _postgres_account(folder)

    def call(program: str, *arguments: str) -> None:
        command = [binaries / program, "-D", data, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **account)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    try:
        call("initdb", "-U", "hansa", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://hansa@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


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
