"""The runs of a store as they are now: what was read of a run once is not read again.

A store is written by other processes, may not be there yet, and may be put back from a backup while
the page is open. Nothing here writes to it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from ...errors import HansaError, StoreError
from ...rounds import Round
from ...store import Run, Store, Summary
from ...store.health import readable
from .. import about, shown

MOST_RUNS = 8  # whose rounds are kept in memory
REPORT = "report.html"
# what came there meanwhile is not followed, and not waited for; Windows has no such words
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass
class Followed:
    """A run, and its rounds so far, as they may be shown.

    clients: who was asked, as far as that is kept, by name. words: one object for equal names, for
    a thousand clients are named in ten thousand rounds.
    """

    run: Run
    summary: Summary
    rounds: list[Round] = field(default_factory=list)
    clients: set[str] = field(default_factory=set)
    words: dict[str, str] = field(default_factory=dict)

    def add(self, rounds: Sequence[Round]) -> None:
        """Rounds that were committed since."""
        for one in map(shown, rounds):
            there = tuple(self.words.setdefault(who, who) for who in one.participants)
            out = {self.words.setdefault(who, who): why for who, why in one.excluded.items()}
            self.rounds.append(replace(one, participants=there, excluded=out))
            self.clients |= {*there, *out}


class Reading:
    """Reads a store that `open` opens: HansaError, where it is not there.

    file: its database, where it is a file; another one there is another store. Several threads may
    read at a time: one waits for the other.
    """

    def __init__(self, open: Callable[[], Store], file: Path | None):
        self._open = open
        self._file = file
        self._lock = Lock()
        self._store: Store | None = None
        self._opened: tuple[int, int] | None = None
        self._runs = dict[str, Followed]()

    def runs(self) -> list[Summary]:
        """All runs, the latest first; HansaError where the store cannot be read."""
        with self._lock:
            return readable(self._now())[::-1]

    def summary(self, id: str) -> Summary:
        """How far one run is."""
        with self._lock:
            return self._now().summary(id)

    def run(self, id: str) -> Followed:
        """One run with all its rounds; StoreError where there is none of that name.

        Rounds that were read before are kept, unless the store has fewer now: then it was put back.
        """
        with self._lock:
            store = self._now()
            summary = store.summary(id)
            found = self._runs.pop(id, None)
            if found is None or len(found.rounds) > summary.done:
                found = Followed(store.open(id), summary)
            found.summary = summary
            found.add(found.run.history(len(found.rounds)))
            self._runs[id] = found  # the latest last
            for old in list(self._runs)[:-MOST_RUNS]:
                del self._runs[old]
            return found

    def version(self, summary: Summary) -> str:
        """That of what a run's page shows."""
        with self._lock:
            return version([summary], self._now().folder / summary.id)

    def open(self, id: str) -> Run:
        """One run, to be read in another way."""
        with self._lock:
            return self._now().open(id)

    def _now(self) -> Store:
        """The store; opened anew where its file is another one now, or was gone."""
        there = self._there()
        if self._store is None or there != self._opened:
            self._forget()
            self._store = self._open()
            self._opened = self._there()
        return self._store

    def _there(self) -> tuple[int, int] | None:
        """Which file the database is."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            self._forget()
            raise StoreError(
                f"There are no runs in {self._file.parent.resolve()}.",
                "No run has begun there yet, or its folder was moved.",
                "Start one there: hansa run APP.py",
            ) from None
        return found.st_dev, found.st_ino

    def _forget(self) -> None:
        """Let a store go that is not there any more."""
        if self._store is not None:
            self._store.database.close()
        self._store = None
        self._runs.clear()


def version(summaries: Sequence[Summary], folder: Path | None = None) -> str:
    """What changes when something of these runs does: a hash, of 16 letters.

    It is the same in every process, so that a server that begins anew knows what a page has.
    folder: that of a run, whose report and plan in words count too.
    """
    told = [(one.id, one.status, one.planned, one.done, one.label) for one in summaries]
    written = [_written(folder / name) for name in (REPORT, about.NAME) if folder]
    facts = repr((told, written))
    return hashlib.blake2b(facts.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _written(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 where there is none."""
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def is_report(path: Path) -> bool:
    """Is a file there, and no link to one?"""
    return path.is_file() and not path.is_symlink()


def report(folder: Path) -> str:
    """The report of a run; OSError or ValueError where there is none, or a link stands there."""
    if not is_report(folder / REPORT):
        raise FileNotFoundError(folder / REPORT)
    there = os.open(folder / REPORT, os.O_RDONLY | NO_LINK)
    with open(there, encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(there).st_mode):
            raise FileNotFoundError(folder / REPORT)
        return file.read()


def why(error: HansaError) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())
