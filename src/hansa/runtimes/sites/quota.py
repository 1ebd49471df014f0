"""Quota: how many bytes a worker may have in its folder, as its agent counts them.

The kernel bounds each file of a process, and not their number; and the memory that it has for
itself, and not what it calls shared. So both are added up again and again; past its end the worker
is ended, and its folder goes with it.

    in the folder                     blocks of each file, as the disk has them
    deleted, and open                 the same of what /proc says of the process
    shared memory                     what it has mapped of it, as /proc says

Of a file that is deleted, mapped and not open, nobody is told how large it is; nor is one found
whose path is longer than a path may be. Both are taken for hiding.

Who keeps its agent from looking has passed the end as well.
"""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .events import size

LOOK = 0.25  # seconds between two looks
BLOCK = 512  # bytes, in which st_blocks counts


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
        while not _ends(process):
            try:
                self.passed = self._look(process.pid, folder)
            except PermissionError:
                if _ends(process):  # /proc of one that is ending is root's
                    return
                self.passed = "shows nobody what it has written, and was ended"
            if self.passed:
                process.kill()
                return

    def _look(self, pid: int, folder: Path) -> str:
        """Which end a process has passed, as a clause, or nothing."""
        most = self.most
        found = written(pid, folder)
        if most.written and found > most.written:
            return f"has written {size(found)}, of {size(most.written)}, and was ended"
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


def written(pid: int, folder: Path) -> int:
    """Bytes on the disk that a process has in a folder, or has deleted there and holds.

    PermissionError where a folder, or the process, does not let itself be looked at.
    """
    found = {(one.st_dev, one.st_ino): one.st_blocks for one in (*_there(folder), *_open(pid))}
    _check_mapped(pid, folder, {inode for _, inode in found})
    return BLOCK * sum(found.values())


def shared(pid: int) -> int:
    """Bytes of memory that a process has and calls shared, which its own limit does not count."""
    with _while_there():
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == "RssShmem":
                return 1024 * int(value.split()[0])
    return 0


@contextmanager
def _while_there() -> Iterator[None]:
    """What goes meanwhile is not there; what is there and is not shown is a PermissionError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return
    except OSError as error:
        raise PermissionError(*error.args) from error


def _there(folder: Path) -> Iterator[os.stat_result]:
    """What lies in a folder, however deep; links are not followed."""
    left = [str(folder)]
    while left:
        with _while_there(), os.scandir(left.pop()) as entries:
            for one in entries:
                with _while_there():
                    found = os.lstat(one.path)
                    yield found
                    if stat.S_ISDIR(found.st_mode):
                        left.append(one.path)


def _open(pid: int) -> Iterator[os.stat_result]:
    """Files without a name that a process has open."""
    with _while_there():
        for name in os.listdir(f"/proc/{pid}/fd"):
            with _while_there():
                one = os.stat(f"/proc/{pid}/fd/{name}")
                if stat.S_ISREG(one.st_mode) and not one.st_nlink:
                    yield one


def _check_mapped(pid: int, folder: Path, known: Collection[int]) -> None:
    """PermissionError where a process has mapped a file that was deleted there, and has not open.

    known: the numbers (inodes) of those that are counted.
    """
    with _while_there():
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            *_, inode, path = line.split(maxsplit=5) if "/" in line else ("0", "")
            hidden = path.startswith(f"{folder}/") and path.endswith(" (deleted)")
            if hidden and int(inode) not in known:
                raise PermissionError(path)
