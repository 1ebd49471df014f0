"""A proxy as hospitals have one: squid, which passes CONNECT on to a server whose name it alone knows."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
NAME = "server.study.invalid"  # no resolver knows a name that ends so (RFC 6761)
USER, PASSWORD = "north-ward", "tulip-9931"
SQUID = shutil.which("squid", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

# Who says user and password may CONNECT, and do nothing else.
SETTINGS = """
http_port {host}:{port}
hosts_file {folder}/hosts
auth_param basic program /bin/sh {folder}/known
auth_param basic children 1 startup=1 idle=1
acl known proxy_auth REQUIRED
acl tunnel method CONNECT
http_access allow tunnel known
http_access deny all
cache deny all
cache_mem 8 MB
access_log stdio:{folder}/access.log
logfile_rotate 0
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
shutdown_lifetime 1 seconds
"""
KNOWN = """
while read -r said; do
    if [ "$said" = "{user} {password}" ]; then echo OK; else echo ERR; fi
done
"""


@dataclass(frozen=True)
class Squid:
    """A proxy that runs: its port, and its folder."""

    port: int
    folder: Path

    def url(self, password: str = PASSWORD) -> str:
        """As a party is told of it."""
        return f"http://{USER}:{password}@{HOST}:{self.port}"

    @property
    def passed(self) -> list[tuple[str, str, str, int]]:
        """Of each tunnel that has ended: method, where to, TCP_TUNNEL/200 or why not, bytes downwards."""
        rows = [line.split() for line in (self.folder / "access.log").read_text().splitlines()]
        return [(row[5], row[6], row[3], int(row[4])) for row in rows]


@contextmanager
def squid() -> Iterator[Squid]:
    """The proxy in a folder of its own, under an account without rights where this is root."""
    assert SQUID is not None
    folder = Path(tempfile.mkdtemp(prefix="hansa-squid-"))
    with socket.create_server((HOST, 0)) as free:
        port = int(free.getsockname()[1])
    (folder / "hosts").write_text(f"{HOST} {NAME}\n")
    (folder / "known").write_text(KNOWN.format(user=USER, password=PASSWORD))
    (folder / "squid.conf").write_text(SETTINGS.format(host=HOST, port=port, folder=folder))
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):  # a party that a test has begun here may have hidden new files
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    with open(folder / "out", "wb") as out:
        command = [SQUID, "-N", "-f", folder / "squid.conf"]
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, **account)
    try:
        until = time.monotonic() + 60
        while not _listens(port):
            assert time.monotonic() < until and process.poll() is None, (folder / "out").read_text()
            time.sleep(0.05)
        yield Squid(port, folder)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _listens(port: int) -> bool:
    """Does somebody listen there?"""
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True
