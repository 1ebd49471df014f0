"""Backups: a folder of files, with the SHA-256 of each in a list; whole, or not there.

    with making(saved, "store") as part:    files are put into `part`
        …                                   it is called `saved` when all of them are there
    opened(saved, "store")                  its files are those that were written, and no others

A backup of a store or a kit holds secrets, and is for its owner's eyes alone. The list tells damage
and not deceit: who can write there can write another list.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import private
from .errors import StoreError

LIST = "backup.json"
FORM = "hansa backup 1"
CHUNK = 2**20  # bytes that are read at a time


@contextmanager
def making(folder: Path, kind: str) -> Iterator[Path]:
    """A folder for the files of a new backup, which becomes `folder` at the end.

    Until then it is called folder.part, and one that was left so is made anew. The list of all
    files is written last, all names are on the disk before the new name is, and that is when this
    ends. kind: "store" or "kit". StoreError where that is there already, or cannot be written.
    """
    if folder.exists():
        raise StoreError(
            f"{folder} is there already.",
            "A backup that is written over is lost before the new one is whole.",
            "Name a new folder; delete old backups yourself.",
        )
    with words(folder):
        part = begun(folder)
        yield part
        listed = {name: digest_of(part / name) for name in _names(part)}
        about = {"form": FORM, "kind": kind, "files": listed}
        private.write(part / LIST, json.dumps(about, indent=1, sort_keys=True).encode())
        for inner in (*(one for one in part.rglob("*") if one.is_dir()), part):
            private.settle(inner)
        part.rename(folder)
        private.settle(folder.parent)


def begun(folder: Path) -> Path:
    """An empty folder beside `folder`, for what is to become it; what an earlier try left goes."""
    part = folder.with_name(folder.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(mode=0o700, parents=True)
    return part


def opened(folder: Path, kind: str) -> list[str]:
    """The names of the files of a backup, all of them checked.

    StoreError where it is none of this kind, a file was changed or is missing, or one is there that
    was not written.
    """
    try:
        found = json.loads((folder / LIST).read_bytes())
        listed = dict(found["files"])
        form = found["form"]
        of = found["kind"]
    except OSError as error:
        raise StoreError(
            f"{folder} is no backup.",
            f"{LIST} cannot be read: {error.strerror}.",
            "Name a folder that hansa backup has made; one that ends in .part is not whole.",
        ) from error
    except (ValueError, KeyError, TypeError):
        form = ""
        of = ""
        listed = {}
    if (form, of) != (FORM, kind):
        raise StoreError(
            f"{folder} is no backup of a {kind}.",
            f"Its list says {str(of)!r}.",
            "Restore a kit with --kit, and a store without it.",
        )
    for name in sorted({*listed, *_names(folder)} - {LIST}):
        path = folder / name
        if name not in listed or not path.is_file() or digest_of(path) != listed[name]:
            raise StoreError(
                f"{path} is not as the backup was written.",
                "It is missing, was changed, or came later.",
                "Take another backup.",
            )
    return sorted(listed)


def copy(source: Path, target: Path) -> str:
    """Copy a file, for its owner alone, until it is on the disk; SHA-256 of it, in hex."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # the source first: where there is none, nothing is made
    with open(source, "rb") as from_, open(os.open(target, flags, 0o600), "wb") as to:
        while data := from_.read(CHUNK):
            digest.update(data)
            to.write(data)
        to.flush()
        os.fsync(to.fileno())
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex; OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(folder: Path) -> list[str]:
    """All files below a folder, by paths with / between their parts, sorted.

    StoreError for what is neither file nor folder, such as a link.
    """
    found = list[str]()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(
                f"{path} is neither a file nor a folder.",
                "A link leads to what is not in the backup.",
                "Take it away.",
            )
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return found


@contextmanager
def words(folder: Path) -> Iterator[None]:
    """StoreError that says which folder cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written.",
            f"{error.strerror or error}.",
            "Make room there, or name another place.",
        ) from error
