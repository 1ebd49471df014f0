"""The authority of one federation: who issues certificates and signs rosters, in a folder offline.

    pki/federation.toml    name, address of the server, days that a roster counts
    pki/authority.key      a private key on P-256, which signs certificates
    pki/authority.pem      its own certificate
    pki/enrolment.key      32 bytes of an Ed25519 key, which signs rosters and answers
    pki/roster.json        the newest roster

Whoever has the two keys can invent parties. They need no network: requests come in, answers and
rosters go out, on whatever carries files.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from .. import private
from ..crypto.identity import Member, Roster
from ..crypto.keys import SigningKey
from ..errors import ProtocolError, StoreError, number
from . import check_folder, tls
from .answers import Answer, Federation
from .files import contents, read_roster, write_roster
from .names import check_name, check_new, check_server, host_and_port, is_ip
from .requests import Request, public_key

ABOUT = "federation.toml"
KEY = "authority.key"
ENROLMENT = "enrolment.key"
ROSTER = "roster.json"
YEARS = timedelta(days=3652)  # of the authority's own certificate
YEAR = timedelta(days=365)  # of a party's
EARLIER = timedelta(hours=1)
DAYS = 90  # that a roster counts, where nobody has said otherwise
MOST_DAYS = 3650


@dataclass(frozen=True, eq=False)
class Authority:
    """Who admits parties to one federation: its two private keys, and the newest roster.

    days: how long a roster counts.
    """

    folder: Path
    federation: Federation
    days: int
    roster: Roster
    key: Any = field(repr=False)
    enrolment: SigningKey = field(repr=False)

    @classmethod
    def new(cls, folder: Path, name: str, address: str, days: int = DAYS) -> Self:
        """A new authority with keys of its own, and a roster of nobody; StoreError where the folder
        is there.
        """
        check_name(name, "A federation")
        check_server(address)
        check_days(days)
        key = fresh_key()
        enrolment = SigningKey.fresh()
        authority = self_signed(name, key)
        make_folder(folder)
        about = f'name = "{name}"\naddress = "{address}"\ndays = {days}\n'
        private.write(folder / KEY, pem_of(key))
        private.write(folder / ENROLMENT, enrolment.secret)
        private.write(folder / tls.AUTHORITY, authority)
        write_roster(folder / ROSTER, Roster.signed({}, 1, enrolment, _until(days)))
        private.write(folder / ABOUT, about.encode())
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The authority in a folder; StoreError where it is damaged, or others can read its
        keys.
        """
        check_folder(folder)
        name, address, days = _about(folder / ABOUT)
        enrolment = SigningKey(private.read(folder / ENROLMENT))
        authority = contents(folder / tls.AUTHORITY, "Put it back from a backup.")
        key = tls.private_key(folder / KEY)
        if tls.certificate_of(authority, tls.AUTHORITY).public_key() != key.public_key():
            raise StoreError(
                f"{folder / tls.AUTHORITY} is of another key than {KEY}.",
                "No party would know a certificate that this key has signed.",
                "Put both back from one backup.",
            )
        roster = read_roster(folder / ROSTER, enrolment.public, now=0)
        federation = Federation(name, address, enrolment.public, authority)
        return cls(folder, federation, days, roster, key, enrolment)

    def admit(
        self, requests: Sequence[Request], now: float | None = None
    ) -> tuple[Self, list[Answer]]:
        """Issue a certificate for each request, and one roster with all of them, which is written;
        the authority with it, and the answers.

        A name that is on the roster is renewed: its keys must be those there, and the certificate
        that it renews the newest. ProtocolError where one is not to be answered; none is then.
        """
        members = dict(self.roster)
        certificates = list[bytes]()
        for request in requests:
            request.verify()
            before = _before(request, members)
            role, address = request.member.role, request.member.address
            pem = self.issue(request.who, role, public_key(request.tls), now, address)
            digest = hashlib.sha256(tls.der_of(tls.certificate_of(pem, request.who))).digest()
            members[request.who] = replace(request.member, certificates=(*before, digest))
            certificates.append(pem)
        found = self.publish(members, now)
        return found, [
            Answer(found.federation, request.digest, pem, found.roster).signed(self.enrolment)
            for request, pem in zip(requests, certificates, strict=True)
        ]

    def issue(
        self, who: str, role: str, public: Any, now: float | None = None, address: str = ""
    ) -> bytes:
        """A certificate in PEM, for a year: of a client or helper to dial with, of a server to be
        dialled at the federation's address; of a gateway for both, and of a peer at its own.
        """
        from cryptography import x509
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        check_name(who)
        host, _ = host_and_port(address or self.federation.address)
        issuer = tls.certificate_of(self.federation.authority, tls.AUTHORITY)
        found = _begun(_subject(who, role), issuer.subject, public, YEAR, now)
        found = found.add_extension(x509.BasicConstraints(False, None), critical=True)
        found = found.add_extension(_usage(signs=False), critical=True)
        both = [Usage.SERVER_AUTH, Usage.CLIENT_AUTH]
        uses = {"server": [Usage.SERVER_AUTH], "gateway": both, "peer": both}
        usage = x509.ExtendedKeyUsage(uses.get(role, [Usage.CLIENT_AUTH]))
        found = found.add_extension(usage, critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        found = found.add_extension(above, critical=False)
        if role in uses:
            found = found.add_extension(x509.SubjectAlternativeName([_host(host)]), critical=False)
        return _pem(found, self.key)

    def revoke(self, who: str, now: float | None = None) -> Self:
        """The authority with a roster that this party is no more on; it is written."""
        if who not in self.roster:
            raise ProtocolError(
                f"{who!r:.220} is not on the roster of serial {self.roster.serial}.",
                f"There are {', '.join(self.roster) or 'no parties'}.",
                "Name one of them.",
            )
        return self.publish({name: one for name, one in self.roster.items() if name != who}, now)

    def publish(self, members: Mapping[str, Member], now: float | None = None) -> Self:
        """The authority with the next roster, of these members; it is written.

        ProtocolError where another roster was published since this authority was read.
        """
        held = read_roster(self.folder / ROSTER, self.enrolment.public, now=0)
        if held.serial != self.roster.serial:
            raise ProtocolError(
                f"The authority has published a roster of serial {held.serial} meanwhile.",
                "The next one would leave out what is new on it.",
                "Do it again, with the authority as it is now.",
            )
        roster = Roster.signed(
            members, self.roster.serial + 1, self.enrolment, _until(self.days, now)
        )
        write_roster(self.folder / ROSTER, roster)
        return replace(self, roster=roster)


def _before(request: Request, members: Mapping[str, Member]) -> tuple[bytes, ...]:
    """The certificate that goes on to count beside a new one; ProtocolError where the request is
    neither of a newcomer nor of the party that it names.
    """
    held = members.get(request.who)
    if held is None:
        check_new(request.who, members)
        newest = b""
    else:
        newest = held.certificates[-1]
    if held is not None and held != request.member:
        raise ProtocolError(
            f"{request.who} is on the roster already, with another role or other keys.",
            "Somebody else may ask in its name.",
            "If its keys are lost: hansa roster revoke, and then answer this request.",
        )
    if request.renews != newest:
        raise ProtocolError(
            f"The request of {request.who} does not renew its newest certificate.",
            "It was answered before, or its party was revoked since.",
            "Send the answer that there was, or have a request made anew: hansa enroll --renew.",
        )
    return tuple(one for one in (newest,) if one)


def check_days(days: object) -> None:
    """ProtocolError for what is no number of days that a roster may count."""
    if not number(days, whole=True) or not 1 <= days <= MOST_DAYS:
        raise ProtocolError(
            f"A roster counts for days = {days!r:.220}.",
            "So long a party that was revoked may go on, where a newer roster is kept from others.",
            f"Write a whole number up to {MOST_DAYS}, for example days = {DAYS}.",
        )


def make_folder(folder: Path) -> None:
    """A new folder for its owner alone; StoreError where there is something."""
    try:
        folder.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)
        private.settle(folder.parent)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be made.",
            f"{error.strerror}. Keys that are written over are lost.",
            "Name a folder that is not there yet.",
        ) from error


def fresh_key() -> Any:
    """A private key on P-256, from the operating system's generator."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    return generate_private_key(SECP256R1())


def pem_of(key: Any) -> bytes:
    """A private key in PEM, for a file that its party alone can read."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def self_signed(name: str, key: Any, now: float | None = None) -> bytes:
    """The authority's own certificate in PEM, for ten years.

    It may issue certificates of parties, and of no other authority: its path has the length 0.
    """
    from cryptography import x509

    subject = _subject(name, "authority")
    found = _begun(subject, subject, key.public_key(), YEARS, now)
    found = found.add_extension(x509.BasicConstraints(True, 0), critical=True)
    found = found.add_extension(_usage(signs=True), critical=True)
    return _pem(found, key)


def _begun(subject: Any, issuer: Any, public: Any, length: timedelta, now: float | None) -> Any:
    """A certificate that is not signed yet, from an hour ago on; its serial is drawn.

    The hour is for parties whose clock is behind.
    """
    from cryptography import x509

    moment = datetime.fromtimestamp(int(time.time() if now is None else now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - EARLIER)
        .not_valid_after(moment + length)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _pem(unsigned: Any, key: Any) -> bytes:
    """A certificate, signed, in PEM."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    return bytes(unsigned.sign(key, SHA256()).public_bytes(Encoding.PEM))


def _subject(name: str, role: str) -> Any:
    """CN = name, OU = role, which `crypto.certificates.named` reads again."""
    from cryptography.x509 import Name, NameAttribute, NameOID

    return Name(
        [
            NameAttribute(NameOID.COMMON_NAME, name),
            NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        ]
    )


def _usage(signs: bool) -> Any:
    """What a key is for: of the authority to sign certificates, of a party to sign handshakes."""
    from cryptography.x509 import KeyUsage

    other = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    return KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
        **other,
    )


def _host(host: str) -> Any:
    """For which host a server's certificate is."""
    from cryptography.x509 import DNSName, IPAddress

    if is_ip(host):
        return IPAddress(ipaddress.ip_address(host))
    return DNSName(host)


def _until(days: int, now: float | None = None) -> int:
    """When a roster that is signed now expires, in seconds since 1970."""
    return int(time.time() if now is None else now) + days * 86400


def _about(path: Path) -> tuple[str, str, int]:
    """Name, address and days of an authority's `federation.toml`; StoreError where it is none."""
    data = contents(path, "Name the folder of an authority, as hansa provision has made it.")
    try:
        found = tomllib.loads(data.decode())
        name, address, days = found["name"], found["address"], found["days"]
        check_name(name, "A federation")
        check_server(address)
        check_days(days)
        whole = len(found) == 3
    except (KeyError, TypeError, ValueError, ProtocolError):
        whole = False
    if not whole:
        raise StoreError(
            f"{path} is not as hansa has written it.",
            "It holds the name of a federation, its server's address, and days.",
            "Put it back from a backup.",
        )
    return name, address, days
