"""Kept: ciphertexts of a run and what opened their sums, so that anybody can compute them again.

    DIR/000012/SHA-256    of round 12: the ciphertext of one client, or the sum of keys

Each file is named by what is in it, which its client has signed, and the record says whose it is.
Who can read the folder can compute the sum of each round, without noise that a server adds to it;
so it is for its owner's eyes, who gives the files to whoever is to verify.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from .. import private
from ..codec import Frame
from ..errors import Aside, StoreError
from . import files


class Room(Aside):
    """How many bytes a run is to keep.

    It is said once, before its first round.
    """


@dataclass(frozen=True)
class Kept:
    """The folder of one run's ciphertexts.

    It is made where there is none, and others than its owner cannot read it. Files of rounds that
    failed may be left in it, which no record names.
    """

    folder: Path

    def check_room(self, each: int, rounds: int) -> None:
        """Say how many bytes a round takes; StoreError where there is no room for one."""
        self._make(self.folder)
        free = shutil.disk_usage(self.folder).free
        if each > free:
            raise StoreError(
                f"A round keeps {each:,} bytes of ciphertexts, and {self.folder} has room for "
                f"{free:,}.",
                "The run would end in the middle of a round.",
                "Name another folder, or leave the ciphertexts out.",
            )
        warnings.warn(
            f"Each round keeps up to {each:,} bytes of ciphertexts in {self.folder}, all "
            f"{rounds} rounds {rounds * each:,}; there is room for {free:,}.",
            Room,
            stacklevel=2,
        )

    def add(self, round: int, data: Frame) -> None:
        """Keep bytes of a round; StoreError where they cannot be."""
        path = self._path(round, hashlib.sha256(data).hexdigest())
        self._make(path.parent)
        files.write(path, [data])
        private.settle(path.parent)

    def read(self, round: int, whose: str, sha256: str) -> bytes:
        """The bytes of this SHA-256; StoreError where they are not there, or others are."""
        path = self._path(round, sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"{path} of round {round} ({whose}) cannot be read.",
                f"{error.strerror}.",
                "Its sum cannot be computed again without it.",
            ) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(
                f"{path} of round {round} ({whose}) is not what was signed.",
                f"Its {len(data):,} bytes have another SHA-256: damaged, or changed by hand.",
                "Do not trust what is computed from it.",
            )
        return data

    def _path(self, round: int, sha256: str) -> Path:
        return self.folder / f"{round:06d}" / sha256

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{str(folder)!r} cannot be made a folder.", f"{error.strerror}.", "Name another."
            ) from error
