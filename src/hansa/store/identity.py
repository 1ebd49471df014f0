"""Identities and rosters as files: the former are for their party's eyes alone.

An identity holds the private keys with which a party signs, and opens what is sealed for it. A
roster holds the public keys of all; it may be read by anybody, and counts as its enrolment key has
signed it, wherever the file comes from.
"""

from __future__ import annotations

from pathlib import Path

from ..crypto.identity import LARGEST, Identity, Roster
from ..errors import StoreError
from . import files


def write_identity(path: Path, identity: Identity) -> None:
    """Put a party's private keys at `path`, in mode 0600; StoreError where there is a file."""
    if path.exists():
        raise StoreError(
            f"{path} is there already.",
            "Keys that are written over are lost, and with them what was sealed for their party.",
            "Delete it if its party is enrolled anew, or name another file.",
        )
    files.write_private(path, identity.encode())


def read_identity(path: Path) -> Identity:
    """The identity at `path`; StoreError where others can read it, ProtocolError for none."""
    return Identity.decode(files.read_private(path))


def write_roster(path: Path, roster: Roster) -> None:
    """Put a roster at `path`, whole or not at all."""
    files.write(path, [roster.encode()])


def read_roster(path: Path, enrolment: bytes, held: int = 0) -> Roster:
    """The roster at `path`, signed by the enrolment key and with a serial of `held` at least.

    StoreError where the file cannot be read, ProtocolError where it is no such roster.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        instead = "Ask who enrols the parties for the roster."
        raise StoreError(f"{path} cannot be read.", f"{error.strerror}.", instead) from error
    roster = Roster.decode(data)
    roster.verify(enrolment, held)
    return roster
