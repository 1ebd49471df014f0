"""Revoking: who is taken off the roster is cut off while the server runs, and who comes is let in.

    hansa roster revoke  ──▶  roster.json of the kit  ──(looked at each second)──▶  the gateway

Connections of who is on it no more end with that look, and its questions with them; a newcomer is
asked from the next draw on (`SiteRuntime.roster`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ...crypto.identity import Roster
from ...errors import HansaError, StoreError

LOOK = 1.0  # seconds between two looks at the file

log = logging.getLogger("hansa.sites")


class Admitting(Protocol):
    """Who lets parties in by a roster: a gateway, or a node."""

    roster: Roster

    def with_roster(self, newer: Roster) -> None:
        """Let a newer one count; ProtocolError where it does not."""
        ...


@contextmanager
def following(gateway: Admitting, path: Path) -> Iterator[None]:
    """Give a gateway the roster at `path` whenever that has changed; one that does not count is
    named in the log, and the one before counts on.
    """
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(gateway, path, over), name="roster")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _follow(gateway: Admitting, path: Path, over: threading.Event) -> None:
    """Look until it is over; the same bytes are looked at once, also where they do not count."""
    seen = gateway.roster.encode()
    while not over.wait(LOOK):
        try:
            found = _contents(path)
            if found == seen:
                continue
            seen = found
            gateway.with_roster(Roster.decode(found))
        except HansaError as error:
            log.warning("%s", error)


def _contents(path: Path) -> bytes:
    """What is at a path; StoreError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read.", f"{error.strerror}.") from error
