"""Kits: what a party of a federation is given and keeps, in one folder for its owner's eyes alone.

    kit/kit.toml           federation, address of its server, key that signs rosters
    kit/identity.json      name, role, and two private keys (`crypto.identity`)
    kit/secret             32 bytes of the operating system, from which all grows that hides
    kit/tls.key            the private key of the certificate
    kit/certificate.pem    who this is, by word of the authority
    kit/authority.pem      the certificate of the federation's authority, and of no other
    kit/roster.json        who takes part, signed

The first three and `tls.key` are made at the party, and its private keys leave it never; the others
come in the answer to its request (`kits.enrol`).
"""

from __future__ import annotations

import os
import ssl
import tomllib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from .. import private
from ..crypto.identity import Identity, Role, Roster
from ..crypto.keys import PUBLIC
from ..errors import AppError, ProtocolError, StoreError
from ..rand import Key
from . import tls
from .files import contents, read_identity, read_roster, write_roster
from .listed import Newest, looking
from .names import check_name, check_server, host_and_port

try:
    import cryptography  # noqa: F401
except ModuleNotFoundError as missing:
    raise AppError(
        "cryptography is not installed.",
        "Keys and certificates of real sites are made with it.",
        "Install it: pip install 'hansa[sites]'.",
    ) from missing

ABOUT = "kit.toml"
IDENTITY = "identity.json"
SECRET = "secret"
ROSTER = "roster.json"
FILES = (ABOUT, IDENTITY, SECRET, tls.KEY, tls.CERTIFICATE, tls.AUTHORITY, ROSTER)
LENGTH = 32  # bytes of a secret


@dataclass(frozen=True, eq=False)
class Kit:
    """Who a party is in a federation, by whom it is known there, and whom it knows.

    address: of the server, as "fl.example.org:7443"; nothing where there is none. enrolment: the
    public Ed25519 key that signs rosters. secret: all that hides grows from it. roster: as this
    folder has it, verified.
    """

    folder: Path
    federation: str
    address: str
    enrolment: bytes = field(repr=False)
    identity: Identity
    secret: Key = field(repr=False)
    roster: Roster

    @classmethod
    def load(cls, folder: str | Path, now: float | None = None) -> Self:
        """The kit in a folder, with all of it checked; `now` is by default this machine's clock.

        StoreError where a file is missing, or no such file, or others can read what is secret;
        ProtocolError where files do not fit each other, have expired, or speak of a party that is
        not, or no more, on the roster.
        """
        found = cls.read(Path(folder))
        found.check(now)
        return found

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The same, whatever the time is and whoever is on the roster: to be
        looked at, and brought up to date.
        """
        check_folder(folder)
        missing = [name for name in FILES if not (folder / name).exists()]
        if missing:
            raise StoreError(
                f"{folder} lacks {', '.join(missing)}.",
                "A kit is whole, or its party is nobody.",
                "Add the operator's answer with: hansa kit add. What was lost comes from a backup.",
            )
        federation, address, enrolment = about_of(folder / ABOUT)
        return cls(
            folder,
            federation,
            address,
            enrolment,
            read_identity(folder / IDENTITY),
            secret_at(folder / SECRET),
            read_roster(folder / ROSTER, enrolment, now=0),
        )

    @property
    def who(self) -> str:
        """The party's name."""
        return self.identity.who

    @property
    def role(self) -> Role:
        """What it may say."""
        return self.identity.role

    @property
    def listens(self) -> tuple[str, int]:
        """Where a peer is dialled, by word of the roster; ProtocolError for who is dialled
        nowhere.
        """
        return host_and_port(self.roster[self.who].address)

    @property
    def certificate(self) -> bytes:
        """The party's own, in DER."""
        return tls.der_of(self._certificate)

    @property
    def until(self) -> float:
        """When the certificate ends, in seconds since 1970."""
        return float(self._certificate.not_valid_after_utc.timestamp())

    @cached_property
    def _certificate(self) -> Any:
        return tls.certificate(self.folder / tls.CERTIFICATE)

    def check(self, now: float | None = None) -> None:
        """ProtocolError unless certificate, keys, authority and roster fit each other, and count
        `now`.
        """
        authority = tls.certificate(self.folder / tls.AUTHORITY)
        tls.check_certificate(self._certificate, authority, self.who, self.role, now)
        key = tls.private_key(self.folder / tls.KEY)
        if key.public_key() != self._certificate.public_key():
            raise ProtocolError(
                f"The certificate of {self.who} is of another key than {tls.KEY}.",
                "Nobody can prove with this key to be its party.",
                "Add the answer again, which finds the key that it is for: hansa kit add.",
            )
        self.roster.verify(self.enrolment, now=now)
        check_listed(self.identity, self.roster)
        self.roster.who(self.certificate, now)

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.3 for who listens; each peer must have a certificate of the federation."""
        return tls.server_context(self.folder)

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.3 for who dials; the server must have the federation's certificate for its host."""
        return tls.client_context(self.folder)

    def server_listed(self) -> ssl.SSLContext:
        """The same, with asyncio, to a server or a gateway that counts on the newest roster in the
        kit's folder; a gateway's, to a server alone.
        """
        roles = ("server",) if self.role == "gateway" else ("server", "gateway")
        return looking(self.client_context(), Newest(self.folder / ROSTER, self.enrolment), roles)

    def with_roster(self, newer: Roster, now: float | None = None) -> Self:
        """The kit with a newer roster, which is in its folder from here on.

        ProtocolError where the enrolment key has not signed it, it has expired, its serial is lower
        than that in the folder, or this party is not on it.
        """
        held = read_roster(self.folder / ROSTER, self.enrolment, now=0)
        newer.verify(self.enrolment, held.serial, now)
        check_listed(self.identity, newer)
        if newer.serial == held.serial and newer.encode() != held.encode():
            raise ProtocolError(
                f"There are two rosters of serial {held.serial}.",
                "Who enrols the parties tells one of them otherwise than the other.",
                "Ask which of them counts, and have it made anew: hansa roster renew.",
            )
        write_roster(self.folder / ROSTER, newer)
        return replace(self, roster=newer)


def check_listed(identity: Identity, roster: Roster) -> None:
    """ProtocolError unless this party is on the roster, with its own keys."""
    if roster.get(identity.who) != identity.member:
        raise ProtocolError(
            f"{identity.who} is not on the roster of serial {roster.serial} with the keys that it "
            "has.",
            "It was revoked, or enrolled anew with other keys: all others refuse it.",
            "Ask who enrols the parties.",
        )


def check_folder(folder: Path) -> None:
    """StoreError where there is no such folder, or it is open to others."""
    if not folder.is_dir():
        raise StoreError(
            f"There is no folder {folder}.",
            "A kit, or the authority of a federation, is a folder of a party's own.",
            "Make a kit with: hansa enroll --name NAME --role client --out kit/, or an authority "
            "with: hansa provision FEDERATION.toml --out pki/",
        )
    about = folder.stat()
    if os.name == "posix" and (about.st_uid != os.geteuid() or about.st_mode & 0o077):
        raise StoreError(
            f"{folder} is open to others.",
            "Who may write there gives its party another authority, and so other friends.",
            f"Close it with: chmod 700 {folder}",
        )


def secret_at(path: Path) -> Key:
    """The secret at `path`; StoreError where others can read it, or it has another length."""
    secret = private.read(path)
    if len(secret) != LENGTH:
        raise StoreError(
            f"{path} holds {len(secret)} bytes.",
            f"A party's secret has {LENGTH}: this one is damaged.",
            "Put it back from a backup, or enrol the party anew.",
        )
    return Key(secret, hides=True)


def about_text(federation: str, address: str, enrolment: bytes) -> bytes:
    """What `kit.toml` holds."""
    lines = (
        f'federation = "{federation}"',
        f'address = "{address}"',
        f'enrolment = "{enrolment.hex()}"',
    )
    return ("\n".join(lines) + "\n").encode()


def about_of(path: Path) -> tuple[str, str, bytes]:
    """Federation, address and enrolment key of a `kit.toml`; StoreError where it is none."""
    data = contents(path, "Add the operator's answer with: hansa kit add")
    try:
        found = tomllib.loads(data.decode())
        federation, address = found["federation"], found["address"]
        enrolment = bytes.fromhex(found["enrolment"])
        check_name(federation, "A federation")
        check_server(address)
        whole = len(found) == 3 and len(enrolment) == PUBLIC
    except (KeyError, TypeError, ValueError, ProtocolError):
        whole = False
    if not whole:
        raise StoreError(
            f"{path} is not as hansa has written it.",
            "It names a federation, the address of its server, and the key that signs rosters.",
            "Add the operator's answer again: hansa kit add",
        )
    return federation, address, enrolment
