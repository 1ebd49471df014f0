"""Files of a run: written whole or not at all, read only as they were written, and held by one
process at a time.

    runs/RUN/000012-state-3f9a0c2b41de.safetensors    a state after round 12, by its SHA-256
    runs/RUN/000012-memory-….safetensors              what clients learnt in round 12
    runs/RUN/secret                                   32 bytes, mode 0600, until the run is done
    runs/RUN/lock                                     held while a process goes on with the run

A file gets its name when all of it is on the disk, and the folder is flushed before the database
names it. What it does not name is a leftover of a process that died, and is swept away. Files that
their owner alone may read are written and read by `private`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import sys
import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .. import private
from ..codec import Frame
from ..errors import StoreError

NAME = "{round:06d}-{kind}-{sha256:.12}.safetensors"  # never the same for two contents
PART = "{round:06d}-{kind}.part"  # while its SHA-256 is not known yet
LENGTH = 32  # bytes of a secret
CHANGED = "It has another SHA-256 than the database has recorded: damaged, or changed by hand."
OURS = re.compile(r"\d{6,}-(state|memory|survey)(-[0-9a-f]{12}\.safetensors|\.part)")

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str], shared: bool = False) -> None:
        file.seek(2**30)  # not where the text is: there, a lock would keep others from reading it
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str], shared: bool = False) -> None:
        kind = fcntl.LOCK_EX
        if shared:
            kind = fcntl.LOCK_SH
        fcntl.flock(file, kind | fcntl.LOCK_NB)


def write(path: Path, frames: Iterable[Frame]) -> None:
    """Put bytes at `path`; a crash leaves all of them there, or what was there before.

    The folder is not flushed: call `private.settle` where the name has to be there after a power
    cut.
    StoreError where it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with _whole(part):
        _put(part, frames)
        os.replace(part, path)


def add(folder: Path, round: int, kind: str, frames: Iterable[Frame]) -> tuple[str, str]:
    """Put bytes into a new file of a run, hashed on their way; its name, and their SHA-256 in hex.

    Two contents never have one name, so what another process writes of the same round does not
    replace this. StoreError where it cannot be written.
    """
    part = folder / PART.format(round=round, kind=kind)
    with _whole(part):
        sha256 = _put(part, frames)
        name = NAME.format(round=round, kind=kind, sha256=sha256)
        os.replace(part, folder / name)
    return name, sha256


def _put(part: Path, frames: Iterable[Frame]) -> str:
    """Write a file until it is on the disk; SHA-256 of it, in hex."""
    digest = hashlib.sha256()
    with open(part, "wb") as file:
        for frame in frames:
            file.write(frame)
            digest.update(frame)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


@contextmanager
def _whole(part: Path) -> Iterator[None]:
    """StoreError, and nothing left of the part, where it cannot be written."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StoreError(
            f"{part} cannot be written.",
            f"{error.strerror or error}.",
            "Make room, or see who may write there; rounds that are committed are safe.",
        ) from error


def secret(path: Path) -> bytes:
    """32 bytes of the operating system's at `path`, drawn where there are none yet; for the owner's
    eyes alone.

    StoreError where it holds another number of bytes, or others can read it.
    """
    if not path.exists():
        private.write(path, secrets.token_bytes(LENGTH))
    drawn = private.read(path)
    if len(drawn) != LENGTH:
        raise StoreError(
            f"{path} holds {len(drawn)} bytes.",
            f"The secret of a run has {LENGTH}: this one is damaged.",
            "Put it back from a backup, or delete it: the rounds to come then have other noise, as "
            "private as before.",
        )
    return drawn


def forget(path: Path) -> None:
    """Delete a secret that is over; StoreError where it stays."""
    try:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".part").unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be deleted.",
            f"{error.strerror}. Who has it takes the noise off the models of this run.",
            "Delete it by hand, and finish the run again.",
        ) from error


def read(path: Path, sha256: str, instead: str) -> bytearray:
    """The bytes at `path`; StoreError, which says what to do `instead`, where they are not those
    that were written.
    """
    try:
        with open(path, "rb") as file:
            # in a map it could change once it is hashed
            data = bytearray(os.fstat(file.fileno()).st_size)
            file.readinto(data)
    except OSError as error:
        found = f"{path} cannot be read."
        why = f"{error.strerror}."
    else:
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        found = f"{path} is not the file that was written."
        why = (
            f"Its {len(data):,} bytes have another SHA-256 than the database has recorded: "
            "damaged, or changed by hand."
        )
    raise StoreError(found, why, instead)


def check(path: Path, sha256: str, instead: str) -> None:
    """StoreError, which says what to do `instead`, where a file is not what was written."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path} cannot be read.", f"{error.strerror}.", instead) from None
    if found != sha256:
        raise StoreError(f"{path} is not the file that was written.", CHANGED, instead)


def sweep(folder: Path, named: Collection[str]) -> None:
    """Delete what a process that died left behind: our files that the database does not name."""
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name not in named:
            discard(path)


def discard(path: Path) -> None:
    """Delete a file that does not count any more; what cannot be deleted now is swept away
    later.
    """
    with suppress(OSError):
        path.unlink(missing_ok=True)


def hold(path: Path) -> IO[str] | None:
    """The file at `path`, held until it is closed or this process dies; None where another process
    holds it.
    """
    for _ in range(20):  # one who only looks (see `held`) is gone in a moment
        file = _try(path)
        if file is not None:
            _keep_from_children(file)
            return file
        time.sleep(0.02)
    return None


def held(path: Path) -> bool:
    """Does a process hold the file at `path`?

    It is tried for a moment: whoever wants to hold it meanwhile tries again (see `hold`). Several
    may look at a time.
    """
    if not path.exists():
        return False
    file = _try(path, shared=True)
    if file is not None:
        file.close()
    return file is None


def _keep_from_children(file: IO[str]) -> None:
    """A forked process, such as a data loader's, would go on holding what its parent held."""
    left = weakref.ref(file)

    def close() -> None:
        if inherited := left():
            inherited.close()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=close)


def _try(path: Path, shared: bool = False) -> IO[str] | None:
    """The file at `path`, held; None where another process holds it. Windows shares none."""
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened.",
            f"{error.strerror}.",
            "A run goes on where its files are: name the folder that holds them, as one who may "
            "write there.",
        ) from error
    try:
        _lock(file, shared)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    return file


def sign(file: IO[str]) -> None:
    """Say in a held file who holds it: what others are told who find it held."""
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
