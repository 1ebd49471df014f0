"""Files for their owner's eyes alone: written whole or not at all, refused where others can read
them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import StoreError

LARGEST = 2**16  # bytes of a file that holds a secret
DUMPABLE = 4  # PR_SET_DUMPABLE, of prctl(2)


def harden() -> None:
    """Keep what this process writes and holds from other users: what it creates is for its owner
    alone (umask 077), and no core dump has its keys; on Linux no debugger of the same user reads
    them either, and /proc/PID belongs to root.

    StoreError where the operating system refuses.
    """
    os.umask(0o077)
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(DUMPABLE, 0, 0, 0, 0):
            raise StoreError(
                "This process cannot be kept from being dumped.",
                f"{os.strerror(ctypes.get_errno())}. Its keys would be in a core dump.",
                "See what limits it: prctl(2) is filtered.",
            )


OWNERS = 0o600  # its mode


def write(path: Path, data: bytes) -> None:
    """Put a secret at `path`, in mode 0600; a crash leaves all of it, or what was there before.

    It is on the disk, and so is its name, when this returns. StoreError where it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNERS), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        settle(path.parent)
    except OSError as error:
        raise _unkept(path, error) from error


def append(path: Path, data: bytes) -> None:
    """Put this behind what is at `path`, which is made in mode 0600; nothing there changes.

    It is on the disk when this returns. StoreError where it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(path, flags, OWNERS), "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        settle(path.parent)
    except OSError as error:
        raise _unkept(path, error) from error


def read(path: Path, most: int = LARGEST) -> bytes:
    """The first `most` bytes of the secret at `path`; StoreError where others can read it.

    Owner and mode are those of the file that was opened, not of what has the name by then; a link
    is not followed.
    """
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            about = os.fstat(file.fileno())
            data = file.read(most)
    except OSError as error:
        raise _unkept(path, error) from error
    if os.name == "posix" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):
        raise StoreError(
            f"{path} can be read by others.",
            "Who has a run's secret takes the noise off its models; who has a party's keys speaks "
            "for it.",
            "If others may have, delete it: take other noise, or enrol the party anew. Else: chmod "
            "600.",
        )
    return data


def settle(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk: on POSIX a file may be, and its name
    not.
    """
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unkept(path: Path, error: OSError) -> StoreError:
    """What is raised where such a file cannot be written or read."""
    return StoreError(
        f"{path} cannot be kept.",
        f"{error.strerror}. It is for its owner's eyes alone.",
        "See who may write there, or name another folder.",
    )
