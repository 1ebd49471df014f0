"""Bundle: an app file, and the modules and data files of its folder that it names, as one file.

    hansa bundle 1                                          the form, and a line feed
    {"app":"heart.py","files":[["heart.py",812],…]}         JSON in ASCII, and a line feed
    …                                                       all bytes, one file behind the other

The JSON has no spaces between its parts, and less than 1 MiB: the name of the app, and of each file
its name and its length in bytes, sorted by name. The bytes follow in the same order, with nothing
between them.

    sha256 = SHA-256(all of it, the first line too)

The same files give the same bytes: there are no times, owners or modes in it, nothing is packed
tighter than it is, and no link has a form. What was approved is its SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from ..errors import ApprovalError, StoreError
from .names import check_names

SUFFIX = ".bundle"
MAGIC = b"hansa bundle 1\n"
LARGEST = 2**26  # bytes of all files
INDEX = 2**20  # bytes of the JSON
MOST = 4096  # files
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True)
class Bundle:
    """The files of an app: name, with / between its parts → bytes. `app` is the file to run.

    ApprovalError for a name that leads out of the folder, two that some disk takes for one, and
    more than 64 MiB in all.
    """

    app: str
    files: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        check_names(self.files)
        size = sum(map(len, self.files.values()))
        if size > LARGEST or len(self.files) > MOST:
            raise too_large(f"{len(self.files):,} files and {size:,} bytes")
        if self.app not in self.files or "/" in self.app or not self.app.endswith(".py"):
            raise ApprovalError(
                f"A bundle without its app {self.app!r:.220}.",
                "It is the Python file in its folder that a site runs.",
                "Make it with: hansa bundle APP.py --out APP.bundle",
            )

    @property
    def name(self) -> str:
        """What it is called: the name of its app file, without the ending.

        A server offers it by this name, and a kit compares it with the last one of the same name.
        """
        return self.app.removesuffix(".py")

    def encode(self) -> bytes:
        """The one file, as above; names beyond ASCII are written as \\u and four digits."""
        sizes = [[name, len(self.files[name])] for name in sorted(self.files)]
        index = json.dumps({"app": self.app, "files": sizes}, separators=(",", ":"))
        parts = [self.files[name] for name in sorted(self.files)]
        return b"".join([MAGIC, index.encode("ascii"), b"\n", *parts])

    @cached_property
    def sha256(self) -> str:
        """Of the one file, in hex: what is approved."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The bundle that `encode` has written; ApprovalError for anything else.

        It is written again and compared: another first line or order, a space in the JSON, a field
        more, or a byte behind the last file, and it is no bundle.
        """
        found = None
        with contextlib.suppress(*UNREADABLE):
            found = cls(*_parts(data))
        if found is None or found.encode() != data:  # in the one way in which it can be written
            raise _no_bundle(f"{len(data):,} bytes")
        return found

    @classmethod
    def read(cls, path: Path) -> Self:
        """The bundle at `path`, of which no more is read than a bundle may have.

        StoreError where it cannot be read; ApprovalError where it is none.
        """
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + INDEX + 1)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read.",
                f"{error.strerror}.",
                "Name a bundle; hansa fetch stores that of the server.",
            ) from error
        try:
            return cls.decode(data)
        except ApprovalError as error:
            raise ApprovalError(f"{path}: {error.found}", error.why, error.instead) from None


def _parts(data: bytes) -> tuple[str, dict[str, bytes]]:
    """App and files of a bundle; whether they are the whole of it is known when they are written
    again.
    """
    begin = len(MAGIC)
    end = data.index(b"\n", begin, begin + INDEX)
    index = json.loads(data[begin:end])
    files = dict[str, bytes]()
    at = end + 1
    for name, size in index["files"]:
        if not isinstance(size, int) or not 0 <= size <= len(data) - at:
            raise _no_bundle(f"A file of {size!r:.20} bytes")
        files[name] = data[at : at + size]
        at += size
    return index["app"], files


def too_large(found: str) -> ApprovalError:
    """What is raised where a bundle would be larger than anybody reads."""
    return ApprovalError(
        f"The bundle has {found}.",
        f"It has {MOST:,} files and {LARGEST:,} bytes at most: what is approved, somebody reads.",
        "Leave out what is data, and let each site read its own.",
    )


def _no_bundle(found: str) -> ApprovalError:
    """What is raised for bytes that `encode` has not written."""
    return ApprovalError(
        f"{found} that are no bundle.",
        "It was damaged, or something else has written it: names lead below one folder, and what "
        "it says of its files is so.",
        "Fetch it again: hansa fetch --kit kit/ NAME",
    )


@contextlib.contextmanager
def unpacked(bundle: Bundle, folder: Path) -> Iterator[Path]:
    """The path of the app, in a new folder below this one that goes when it is not used any more.

    It is made anew each time, so that what an app writes there is not run when it starts again.
    Files have mode 0400, and folders 0700.
    """
    with fresh(folder) as made:
        for name, data in bundle.files.items():
            path = made / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
                file.write(data)
        yield made / bundle.app


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A new folder below this one, in mode 0700, that goes when it is not used any more.

    Folders of processes that were killed go, too: a living one holds a lock on its own, and is left
    alone.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        with _held(folder, wait=True):
            for left in folder.iterdir():
                _clear(left)
            made = Path(tempfile.mkdtemp(dir=folder))
            held.callback(_delete, made)
            held.enter_context(_held(made, wait=False))
        yield made


def _clear(folder: Path) -> None:
    """Delete what a process has left that was killed."""
    with _held(folder, wait=False) as alone:
        if alone:
            _delete(folder)


def _delete(folder: Path) -> None:
    """Delete a folder, as far as that goes, however deep it is.

    Who has filled it may have dug for more folders than a function can call itself: each folder in
    it is moved up to its top, and emptied there.
    """
    if folder.is_symlink():
        return
    found = [folder]
    for place in found:
        with contextlib.suppress(OSError):
            for one in list(place.iterdir()):
                with contextlib.suppress(OSError):
                    _take_out(one, folder, found)
    for place in reversed(found):
        with contextlib.suppress(OSError):
            place.rmdir()


def _take_out(one: Path, top: Path, found: list[Path]) -> None:
    """Delete what is no folder; move up what is one, to be emptied with those that were found."""
    if one.is_symlink() or not one.is_dir():
        one.unlink()
        return
    one.chmod(0o700)
    up = top / secrets.token_hex(16)
    one.rename(up)
    found.append(up)


@contextlib.contextmanager
def _held(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold a folder while it is used; gives whether no other process does, which is not known
    everywhere.
    """
    if os.name != "posix":
        yield False
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        alone = True
    except OSError:
        alone = False
    try:
        yield alone
    finally:
        os.close(handle)
