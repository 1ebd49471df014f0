"""Real data, naturally or deliberately partitioned.

It is found on disk, or fetched once from its public address, and never taken for what it is not:
each file must have the SHA-256 that the data had when results were published on it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from ..progress import tell

TIMEOUT = 60.0  # seconds without a byte


def folder(name: str, files: Mapping[str, str], urls: Sequence[str]) -> Path:
    """The folder that holds `files` (name → SHA-256): $HANSA_DATA/name, or the cache.

    The cache is $XDG_CACHE_HOME/hansa, or ~/.cache/hansa; what it lacks is fetched from the first
    of `urls` that has it. A file ending in .gz is known by the hash of what is packed in it, as
    packers differ. DataError where a file is not what it should be, or cannot be had.
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
    raise DataError(
        f"{path.name} is neither in {given or '$HANSA_DATA (not set)'} nor in {path.parent}, and "
        "could not be fetched.",
        "; ".join(troubles or ["no address is known"]) + ".",
        f"Fetch it by hand into a folder {path.parent.name!r}, and set HANSA_DATA to the folder "
        "above that.",
    )
