"""Spool: where ciphertexts lie until it is known who is in the sum."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from ...errors import StoreError
from .terms import Octets


class Spool:
    """A file without a name, which all cells of a session share, and which goes with the last."""

    def __init__(self) -> None:
        with _putting_aside():
            self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long
        weakref.finalize(self, self._file.close)  # also where there is no sum

    @classmethod
    def of(cls, task: bytes) -> Spool:
        """That of a session; StoreError where no file can be made."""
        found = SPOOLS.get(task)
        if found is None:
            found = SPOOLS[task] = cls()
        return found

    def write(self, data: Octets) -> int:
        """Where it lies from now on; StoreError where there is no room."""
        with _putting_aside():
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(np.ascontiguousarray(data).data)
            self._file.flush()
        return place

    def read(self, place: int, size: int) -> Octets:
        """What lies there."""
        self._file.seek(place)
        return np.frombuffer(self._file.read(size), np.uint8)


@contextmanager
def _putting_aside() -> Iterator[None]:
    """StoreError for what the operating system says."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            "A ciphertext cannot be put aside.",
            f"{error.strerror}; those of a round lie in a file of the folder for temporary ones "
            "until it is known who is in the sum.",
            "Make room there, or name another folder in TMPDIR.",
        ) from error


SPOOLS = weakref.WeakValueDictionary[bytes, Spool]()  # of the sessions that are under way
