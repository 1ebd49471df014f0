"""Which processes of a runtime are running, as Linux tells."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def forkserver(runtime: Any) -> int:
    """The process that has started the workers, and leads their group."""
    return int(runtime._forkserver._process.pid)


def pids(runtime: Any) -> list[int]:
    """The workers, in their order."""
    parent = forkserver(runtime)
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def group(leader: int) -> list[int]:
    """Who is alive in a group of processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its, *_ = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its) == leader and state != "Z":
            found.append(int(file.parent.name))
    return found


def shared(who: Iterable[int]) -> set[str]:
    """Files of shared memory by name that these processes have open or mapped; other programs have theirs."""
    found = set[str]()
    for pid in who:
        found |= {line.split(maxsplit=5)[-1].strip() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()}
        for file in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed in the meantime
                found.add(os.readlink(f"/proc/{pid}/fd/{file}"))
    return {path for path in found if re.fullmatch("/dev/shm/[^#/][^/]*", path)}  # temporary files have no name


def gone(leader: int, seconds: float = 30.0) -> bool:
    """Does a group come to its end?"""
    until = time.monotonic() + seconds
    while group(leader):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
