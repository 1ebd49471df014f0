"""Identities and rosters as files: the former are for their party's eyes alone.

An identity holds the private keys with which a party signs, and opens what is sealed for it. A
roster holds the public keys of all; it may be read by anybody, and counts as its enrolment key has
signed it, wherever the file comes from.
"""

from __future__ import annotations

from pathlib import Path

from .. import private
from ..crypto.identity import LARGEST, Identity, Roster
from ..errors import StoreError


def write_identity(path: Path, identity: Identity) -> None:
    """Put a party's private keys at `path`, in mode 0600; StoreError where there is a file."""
    if path.exists():
        raise StoreError(
            f"{path} is there already.",
            "Keys that are written over are lost, and with them what was sealed for their party.",
            "Delete it if its party is enrolled anew, or name another file.",
        )
    private.write(path, identity.encode())


def read_identity(path: Path) -> Identity:
    """The identity at `path`; StoreError where others can read it, ProtocolError for none."""
    return Identity.decode(private.read(path))


def write_roster(path: Path, roster: Roster) -> None:
    """Put a roster at `path`, whole or not at all."""
    private.write(path, roster.encode())


def read_roster(path: Path, enrolment: bytes, held: int = 0, now: float | None = None) -> Roster:
    """The roster at `path`, signed by the enrolment key and with a serial of `held` at least; it
    has not expired `now`, by default by this machine's clock.

    StoreError where the file cannot be read, ProtocolError where it is no such roster.
    """
    roster = Roster.decode(contents(path, "Ask who enrols the parties for the roster."))
    roster.verify(enrolment, held, now)
    return roster


def contents(path: Path, instead: str) -> bytes:
    """The bytes at `path`, of which more than the largest roster has are not read; StoreError,
    which says what to do `instead`, where there are none.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise StoreError(f"{path} cannot be read.", f"{error.strerror}.", instead) from error
