"""Real data, naturally or deliberately partitioned.

It is found on disk, or fetched once from its public address, and never taken for what it is not:
each file must have the SHA-256 that the data had when results were published on it. Where a data
set that a `Found` holds can be had nowhere, other data stands in, and says so.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Aside, DataError
from ..errors import tell as warn
from ..progress import tell
from ..spec import Vector

TIMEOUT = 60.0  # seconds without a byte
Examples = tuple[Vector, Vector]  # inputs [n, …], targets [n, …]


class AbsentError(DataError):
    """Data that is neither on disk nor to be had."""


class StandIn(Aside):
    """That other data stands in for what cannot be had."""


@dataclass(frozen=True)
class Found:
    """Clients' examples, for training and held out, and what is known of where they come from.

    train, test: client → (inputs, targets). source: whose they are, in words. standing: is it other
    data than what was asked for? left_out: who or what is in neither → why.
    """

    train: Mapping[str, Examples]
    test: Mapping[str, Examples]
    source: str
    standing: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """How many clients, never what they hold."""
        return f"<Found: {self.told}>"

    @property
    def told(self) -> str:
        """What the data is and who is left out, in a line: the first that a program should print.

        517 homes of … (left out: 12 without any change for a day, 2 …)
        """
        line = f"{self.source}: {len(self.train)} clients"
        if self.left_out:
            counts = Counter(self.left_out.values())
            line += f"; left out {', '.join(f'{n} {why}' for why, n in counts.items())}"
        if self.standing:
            line += ". It stands in for data that is not here: no score is that of the pages"
        return f"{line}."


def stand_in(found: Found, absent: AbsentError) -> Found:
    """What stands in for data that is not here, after saying so where the program runs."""
    warn(f"{found.told}\n  {absent.found} {absent.instead}", StandIn)
    return found


def folder(name: str, files: Mapping[str, str], urls: Sequence[str]) -> Path:
    """The folder that holds `files` (name → SHA-256): $HANSA_DATA/name, or the cache.

    The cache is $XDG_CACHE_HOME/hansa, or ~/.cache/hansa; what it lacks is fetched from the first
    of `urls` that has it. A file ending in .gz is known by the hash of what is packed in it, as
    packers differ. DataError where a file is not what it should be, AbsentError where it cannot be
    had.
    """
    given: Path | None = None
    if home := os.environ.get("HANSA_DATA"):
        given = Path(home).expanduser() / name
    if given is not None and all((given / file).is_file() for file in files):
        return _verified(given, files)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hansa" / name
    for file, sha256 in files.items():
        if not (cache / file).is_file():
            _fetch(cache / file, sha256, [f"{url.rstrip('/')}/{file}" for url in urls], given)
    return _verified(cache, files)


def _verified(place: Path, files: Mapping[str, str]) -> Path:
    """The folder, whose files are the published ones; else DataError."""
    for file, sha256 in files.items():
        if _sha256(place / file) != sha256:
            raise DataError(
                f"{place / file} is not the published file: its SHA-256 is not {sha256}.",
                "Results on other data could not be compared.",
                "Delete it; it is fetched anew, or put the right one there.",
            )
    return place


def _sha256(path: Path) -> str:
    """Hash of a file's content; "" where it is packed and cannot be unpacked."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return ""


def _fetch(path: Path, sha256: str, addresses: Sequence[str], given: Path | None) -> None:
    """One file from the first address that has it; written aside, checked, then renamed."""
    # these two here, as they take longer to import than all of hansa
    from http.client import HTTPException
    from urllib.request import urlopen

    troubles = []
    for address in addresses:
        tell("stage", f"fetching {address}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as aside:
                part = Path(aside) / path.name
                with urlopen(address, timeout=TIMEOUT) as answer, open(part, "wb") as file:
                    shutil.copyfileobj(answer, file)
                if _sha256(part) == sha256:
                    part.replace(path)
                    return
            troubles.append(f"{address} gave another file")
        except (OSError, HTTPException) as reason:
            troubles.append(f"{address}: {reason}")
    raise AbsentError(
        f"{path.name} is neither in {given or '$HANSA_DATA (not set)'} nor in {path.parent}, and "
        "could not be fetched.",
        "; ".join(troubles or ["no address is known"]) + ".",
        f"Fetch it by hand into a folder {path.parent.name!r}, and set HANSA_DATA to the folder "
        "above that.",
    )
