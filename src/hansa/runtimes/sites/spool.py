"""Spool: bytes that travel in parts, each named by its SHA-256, in a folder.

What is to be sent is written once, whoever is to have it; what arrives lies there part by part,
survives a link that breaks and a process that ends, and is used when its hash is right.

    folder/               mode 0700
      3f2a…90             whole: its name is SHA-256 of its bytes, 64 digits
      81bc…07.part        what has come of it so far, from byte 0 on and without a gap
      tmp…                what `put` has begun; it has its name once all is written

    n bytes travel as  [o, o + PART) [o + PART, o + 2·PART) … n    from o = `there` on

The hash is taken as bytes come; after a new start it is read off the file. Nothing in here waits
for the disk: what a spool loses is asked for again, and what was said stands in a book.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...codec import Frame
from ...errors import ProtocolError, StoreError
from .control import Blob

PART = 2**23  # bytes that are asked for, or sent, in one request


class Spool:
    """A folder of blobs for its owner alone; what is not whole yet ends in `.part`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._digests = dict[str, tuple[int, Any]]()  # of what is coming: up to which byte
        with _words(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in folder.iterdir():  # by a process that has ended, perhaps with the power
                if not left.suffix:
                    left.replace(left.with_name(f"{left.name}.part"))  # its hash is looked at anew

    def put(self, frames: Iterable[Frame]) -> Blob:
        """Write a blob; the same bytes are written once.

        frames: its bytes, in pieces. StoreError where there is no room for it.
        """
        frames = list(frames)
        blob = self.named(frames)
        if self.path(blob).exists():
            return blob
        self.check_room(blob)
        with _words(self.folder):
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                place = Path(file.name)
                try:
                    file.writelines(frames)
                    file.flush()
                except OSError:
                    place.unlink()
                    raise
            os.replace(place, self.path(blob))
        return blob

    @staticmethod
    def named(frames: Iterable[Frame]) -> Blob:
        """What a blob of these bytes is called, which are not written for that."""
        digest = hashlib.sha256()
        size = 0
        for frame in frames:
            digest.update(frame)
            size += len(frame)
        return Blob(digest.hexdigest(), size)

    def check_room(self, blob: Blob) -> None:
        """StoreError where the disk has no room for what is missing of a blob."""
        missing = blob.size - self.there(blob)
        with _words(self.folder):
            free = shutil.disk_usage(self.folder).free
        if missing > free:
            raise StoreError(
                f"{self.folder} has room for {free:,} bytes, and {missing:,} more are to come.",
                "What is large lies there until its session is settled.",
                "Make room there, and start again: what was said stays said.",
            )

    def path(self, blob: Blob) -> Path:
        """Where a blob lies when it is whole."""
        return self.folder / blob.sha256

    def part(self, blob: Blob) -> Path:
        """Where it lies until then."""
        return self.folder / f"{blob.sha256}.part"

    def there(self, blob: Blob) -> int:
        """How many of its bytes are there: up to which one it is whole, from 0 to its size."""
        for path in (self.path(blob), self.part(blob)):
            if path.exists():
                return path.stat().st_size
        return 0

    @contextmanager
    def appending(self, blob: Blob, offset: int) -> Iterator[Callable[[bytes], object]]:
        """What puts the next bytes of a blob behind those that are there; ProtocolError where
        `offset` is not where they end, and StoreError where the disk is full.
        """
        with _words(self.folder):
            file = open(self.part(blob), "ab", buffering=0)  # noqa: SIM115
        with file:  # what fails in here besides is the network's
            if offset != (there := file.tell()):
                raise ProtocolError(
                    f"Bytes from {offset:,} on of a blob came, of which {there:,} are there.",
                    "They follow on one another.",
                    "Go on behind those that are there.",
                )
            digest = self._hashed(blob, there)

            def append(data: bytes) -> None:
                with _words(self.folder):
                    if file.write(data) < len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                digest.update(data)

            yield append
            self._digests[blob.sha256] = file.tell(), digest

    def whole(self, blob: Blob) -> Path:
        """The path of a blob whose last byte has come; ProtocolError where it is another, which is
        deleted then.
        """
        part = self.part(blob)
        with _words(self.folder):
            if self.path(blob).exists():
                return self.path(blob)
            size = self.there(blob)
            if size == blob.size:
                with suppress(FileNotFoundError):  # it was dropped while it was read
                    found = self._hashed(blob, size).hexdigest()
                    if hmac.compare_digest(found, blob.sha256):
                        return part.replace(self.path(blob))
            part.unlink(missing_ok=True)
        raise ProtocolError(
            f"{blob.size:,} bytes came that are not those that were announced.",
            "Their SHA-256 is another.",
            "They are asked for again; look at the network, or at who has sent them.",
        )

    def _hashed(self, blob: Blob, there: int) -> Any:
        """SHA-256 of the bytes that are there: as they came, or read anew."""
        at, digest = self._digests.pop(blob.sha256, (0, None))
        if digest is not None and at == there:
            return digest
        with open(self.part(blob), "rb") as file:
            return hashlib.file_digest(file, "sha256")

    def drop(self, blob: Blob) -> None:
        """Delete a blob."""
        self._digests.pop(blob.sha256, None)
        self.path(blob).unlink(missing_ok=True)
        self.part(blob).unlink(missing_ok=True)

    def bytes(self) -> int:
        """How many bytes lie here, of blobs that are whole and of those that are not."""
        found = 0
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # it was let go meanwhile
                found += path.stat().st_size
        return found

    def clear(self, but: Iterable[Blob] = ()) -> None:
        """Delete all blobs, but for these."""
        kept = set[Path]()
        for blob in but:
            kept |= {self.path(blob), self.part(blob)}
        self._digests.clear()
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink(missing_ok=True)


@contextmanager
def _words(folder: Path) -> Iterator[None]:
    """Say which folder cannot be written to, and why."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written to.",
            f"{error.strerror}.",
            "Make room there, or name a folder that this user may write to.",
        ) from error
