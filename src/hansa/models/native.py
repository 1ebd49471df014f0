"""Native programs: made by this machine's own compiler, once, and kept on disk."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

COMPILERS = ("g++", "clang++", "c++")


def compiler() -> str:
    """The C++ compiler's path; "" where none is installed, and on Windows."""
    if os.name != "posix":
        return ""
    named = os.environ.get("CXX", "").split()[:1]
    return next((path for one in (*named, *COMPILERS) if (path := shutil.which(one))), "")


@cache
def processor() -> str:
    """What a native program is made for: the system, and what its processors can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return repr((platform.platform(), names))


def folder() -> Path:
    """Where programs are kept: beside Inductor's own, where it is told a folder; else in hansa's cache."""
    told, home = os.environ.get("TORCHINDUCTOR_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    place = Path(told) / "hansa" if told else Path(home or Path.home() / ".cache") / "hansa" / "programs"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def kept(name: str, make: Callable[[Path], str]) -> Path | str:
    """The program of this name, or why there is none; what make(file) said once holds for all that ask later.

    `make` writes the file and says nothing, or says what went wrong. Of several processes one makes it.
    """
    file = folder() / f"{name}.so"
    failed = file.with_suffix(".failed")
    with _locked(file.with_suffix(".lock")):
        if not file.exists() and not failed.exists() and (why := make(file)):
            failed.write_text(why, encoding="utf-8")
    if failed.exists():
        return f"the compiler said: {failed.read_text(encoding='utf-8')} (delete {failed} to try again)."
    return file


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Alone, among the processes of this machine."""
    import fcntl  # not on Windows, where `kept` is never asked

    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
