"""Native programs: made by this machine's own compiler, once, and kept on disk.

What is loaded runs with all that this user may do, so nobody else may have written it, its folder,
or any folder above. Where a program cannot be made, whoever asked for it hears why, and goes on
without: there is a NumPy way for all that is compiled.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from pathlib import Path

from ..progress import tell

COMPILERS = ("g++", "clang++", "c++")
FLAGS = ("-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")

log = logging.getLogger("hansa")


def compiler() -> list[str]:
    """The words that call the C++ compiler; none where none is installed, and on Windows.

    Of CXX without its options: -ffast-math and its like make sums inexact, and by some compilers
    the whole process flush subnormal numbers to zero.
    """
    if os.name != "posix":
        return []
    told = takewhile(lambda word: not word.startswith("-"), shlex.split(os.environ.get("CXX", "")))
    named = [list(told), *([one] for one in COMPILERS)]
    return next((words for words in named if words and shutil.which(words[0])), [])


@cache
def processor() -> str:
    """What a native program is made for: the system, and what its processors can do.

    A program tuned for another processor may end the process at its first instruction.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return repr((platform.platform(), names))


def folder() -> Path:
    """Where programs are kept: hansa's cache; where others can write to that, a private folder.

    $XDG_CACHE_HOME/hansa/programs, or ~/.cache/hansa/programs
    """
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hansa" / "programs"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = place.resolve()
    if _own(place) and all(map(_safe, place.parents)):
        return place
    return _private(place)


@cache
def _private(place: Path) -> Path:
    """A folder for this process alone, in the place of one that others can write to."""
    log.warning(
        "Others than you can write to %s: native programs are compiled anew, in a private folder.",
        place,
    )
    made = Path(tempfile.mkdtemp(prefix="hansa-"))
    maker = os.getpid()

    def remove() -> None:
        if os.getpid() == maker:  # no forked child
            shutil.rmtree(made, ignore_errors=True)

    atexit.register(remove)
    return made


def _own(path: Path) -> bool:
    """Can nobody but this user write to it?"""
    found = path.lstat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _safe(folder: Path) -> bool:
    """Can nobody but this user and root exchange a folder that lies in this one?"""
    found = folder.lstat()
    written = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    return found.st_uid in (0, os.geteuid()) and not written


def _ours(file: Path) -> bool:
    """Has nobody but this user written this file? One of which that is not sure is taken away."""
    if not os.path.lexists(file):
        return False
    if own := stat.S_ISREG(file.lstat().st_mode) and _own(file):
        return own
    file.unlink()
    return False


def kept(name: str, make: Callable[[Path], str]) -> Path | str:
    """The program of this name, or why there is none, which holds for all who ask later.

    `make(file)` writes the file and returns "", or returns what went wrong. Of several processes
    that ask at once one makes it, and the others wait.
    """
    file = folder() / f"{name}.so"
    failed = file.with_suffix(".failed")
    with _locked(file.with_suffix(".lock")):
        if not _ours(file) and not _ours(failed):
            made = file
            if why := make(file):
                failed.write_text(why, encoding="utf-8")
                made = failed
            made.chmod(0o700)  # whatever the umask
        if _ours(failed):
            why = failed.read_text(encoding="utf-8")
            return f"the compiler said: {why} (delete {failed} to try again)."
    return file


def loaded(source: Path, *headers: Path) -> ctypes.CDLL | str:
    """The program that a C++ file of ours makes for this very processor; or why there is none.

    It is named after all that it is made of: the file and its headers, the flags, the processor.
    """
    made = [path.read_bytes() for path in (source, *headers)], FLAGS, processor()
    name = f"{source.stem}-{hashlib.blake2b(repr(made).encode(), digest_size=16).hexdigest()}"
    try:
        if not (found := compiler()):
            return f"no C++ compiler is installed ({', '.join(COMPILERS)})."
        file = kept(name, lambda file: _compiled([*found, *FLAGS, str(source)], file))
        if isinstance(file, str):
            return file
        return ctypes.CDLL(str(file))
    except (OSError, RuntimeError, ValueError) as error:
        return f"{error}."  # no folder to write or run programs in; no words in CXX


def _compiled(command: list[str], file: Path) -> str:
    """Compile to the file, written aside and then renamed; why it failed, or nothing."""
    log.info("Compiling %s.", file)
    tell("stage", f"compiling {file.stem.split('-')[0]}.cpp")
    with tempfile.TemporaryDirectory(dir=file.parent) as aside:
        part = Path(aside) / file.name
        for tuned in ("-march=native", "-mcpu=native"):  # x86, and ARM by some compilers
            done = subprocess.run(
                [*command, tuned, "-o", str(part)], capture_output=True, text=True, check=False
            )
            if not done.returncode:
                part.replace(file)
                return ""
    return " ".join(done.stderr.split())[:300]


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Alone, among the processes of this machine."""
    import fcntl  # not on Windows, where `kept` is never asked

    _ours(file)
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
