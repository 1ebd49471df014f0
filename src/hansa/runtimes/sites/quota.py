"""Quota: how many bytes a worker may have in its folder, as its agent counts them.

The kernel bounds each file of a process, and not their number; and the memory that it has for
itself, and not what it calls shared. So both are added up again and again; past its end the worker
is ended, and its folder goes with it.

    in the folder                     blocks of each file, as the disk has them
    deleted, and open                 the same of what /proc says of the process
    shared memory                     what it has mapped of it, as /proc says

Of a file that is deleted, mapped and not open, nobody is told how large it is; nor is one found
whose path is longer than a path may be. Both are taken for hiding.

Who keeps its agent from looking has passed the end as well; so has who keeps it busy, with more
names than it looks at.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...errors import printable
from .events import log, size

LOOK = 0.25  # seconds between two looks
BLOCK = 512  # bytes, in which st_blocks counts
NAMES = 50_000  # that a folder may have in it: one look takes less than a second
BLIND = 40  # looks in a row that may fail for reasons of the machine's own
NAME = 60  # letters of a file's name that are said
DELETED = b" (deleted)"  # behind a path, as /proc has it
HIDING = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
GONE = (FileNotFoundError, NotADirectoryError, ProcessLookupError)  # meanwhile


@dataclass(frozen=True)
class Limits:
    """Bytes of memory that a worker may have, and bytes in its folder; 0 for no limit."""

    memory: int = 0
    written: int = 0


class Quota:
    """Bytes that one worker may have written, and may share; 0 for no limit.

    passed: how it was ended, as a clause; "" while it has kept to that.
    """

    def __init__(self, most: Limits):
        self.most = most
        self.passed = ""

    def watch(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Look at what a process has in a folder until it ends, and end it where that is more."""
        self.passed = ""
        if self.most.written or self.most.memory:
            threading.Thread(target=self._watch, args=(process, folder), daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        blind = 0
        while not _ends(process):
            try:
                self.passed = self._look(process.pid, folder)
                blind = 0
            except Exception as error:  # where nobody looks any more, a worker has no end
                if _ends(process):  # /proc of one that is ending is root's
                    return
                blind += 1
                self.passed = _why_blind(error, blind)
            if self.passed:
                process.kill()
                return

    def _look(self, pid: int, folder: Path) -> str:
        """Which end a process has passed, as a clause, or nothing."""
        most = self.most
        held, mapped = holds(pid, folder)
        if len(held) > NAMES:
            return f"has more than {NAMES} files and folders, and was ended"
        found = BLOCK * sum({(one.st_dev, one.st_ino): one.st_blocks for one in held}.values())
        if most.written and found > most.written:
            return f"has written {size(found)}, of {size(most.written)}, and was ended"
        if hidden := mapped.keys() - {one.st_ino for one in held}:
            name = printable(mapped[min(hidden)].decode(errors="replace"))[:NAME]
            return (
                f"has mapped {name}, which it has deleted and closed, so that nobody sees how "
                "large it is, and was ended"
            )
        found = shared(pid)
        if most.memory and found > most.memory:
            return f"has {size(found)} of shared memory, of {size(most.memory)}, and was ended"
        return ""


def _ends(process: subprocess.Popen[bytes]) -> bool:
    """Does a process end before the next look?"""
    try:
        process.wait(LOOK)
    except subprocess.TimeoutExpired:
        return False
    return True


def _why_blind(error: Exception, times: int) -> str:
    """How a worker is ended whose agent does not see what it has, as a clause; nothing where it is
    to look again. times: how often it has not seen that, in a row.
    """
    if isinstance(error, OSError) and error.errno in HIDING:
        return "shows nobody what it has written, and was ended"
    if isinstance(error, OSError) and times < BLIND:  # as of files that the agent may have open
        return ""
    log.warning("what a worker has written is not seen: %s", printable(str(error)))
    return "has written nobody knows how much, and was ended"


def holds(pid: int, folder: Path) -> tuple[list[os.stat_result], dict[int, bytes]]:
    """What a process has in a folder, or has deleted there and has open, NAMES + 1 at most; and the
    names of what it has deleted there and has mapped, by their inodes.

    OSError, as one of HIDING, where a folder or the process does not let itself be looked at.
    """
    folder = folder.resolve()  # as the kernel names it
    held = list(islice(_there(folder), NAMES + 1))
    mapped = _mapped(pid, folder)  # before what is open: what is closed in between is not hidden
    return held + list(_open(pid)), mapped


def shared(pid: int) -> int:
    """Bytes of memory that a process has and calls shared, which its own limit does not count."""
    with suppress(*GONE):
        for line in Path(f"/proc/{pid}/status").read_bytes().split(b"\n"):
            name, _, value = line.partition(b":")
            if name == b"RssShmem":
                return 1024 * int(value.split()[0])
    return 0


def _there(folder: Path) -> Iterator[os.stat_result]:
    """What lies in a folder, however deep; links are not followed."""
    left = [str(folder)]
    while left:
        with suppress(*GONE), os.scandir(left.pop()) as entries:
            for one in entries:
                with suppress(*GONE):
                    found = os.lstat(one.path)
                    yield found
                    if stat.S_ISDIR(found.st_mode):
                        left.append(one.path)


def _open(pid: int) -> Iterator[os.stat_result]:
    """Files without a name that a process has open."""
    with suppress(*GONE):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(*GONE):
                one = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(one.st_mode) and not one.st_nlink:
                    yield one


def _mapped(pid: int, folder: Path) -> dict[int, bytes]:
    """Names of files that were deleted in a folder and that a process has mapped, by inode."""
    found = dict[int, bytes]()
    inside = os.fsencode(folder).replace(b"\n", b"\\012") + b"/"
    with suppress(*GONE):
        for line in Path(f"/proc/{pid}/maps").read_bytes().split(b"\n"):
            *_, inode, path = line.split(maxsplit=5) if b"/" in line else (b"0", b"")
            if path.startswith(inside) and path.endswith(DELETED):
                found[int(inode)] = path.removeprefix(inside).removesuffix(DELETED)
    return found
