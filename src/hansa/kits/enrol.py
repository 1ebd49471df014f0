"""Enrolment at a party: keys and a request, and later the answer that makes them a kit."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from .. import private
from ..crypto.identity import Identity, Role, Roster
from ..errors import ProtocolError
from . import (
    ABOUT,
    IDENTITY,
    LENGTH,
    ROSTER,
    SECRET,
    Kit,
    about_of,
    about_text,
    check_folder,
    check_listed,
    tls,
)
from .answers import Answer
from .authority import fresh_key, make_folder, pem_of
from .files import contents, read_identity, read_roster, write_identity, write_roster
from .names import check_name
from .requests import Request
from .words import check_words

REQUEST = "request.pem"
NEXT = "next.key"  # the private key of a certificate that is asked for, while another one counts


def enrol(folder: Path, who: str, role: Role, address: str = "") -> Request:
    """Make a party's keys in a new folder, and its request; no private key leaves the folder.

    address: where a peer listens.

    The identity is the last that is written but the request: a folder without it was cut short, and
    holds nothing that anybody knows. StoreError where the folder is there.
    """
    check_name(who)
    identity = Identity.fresh(who, role)
    key = fresh_key()
    request = Request.signed(identity, key, address=address)
    request.verify()
    make_folder(folder)
    private.write(folder / tls.KEY, pem_of(key))
    private.write(folder / SECRET, secrets.token_bytes(LENGTH))
    write_identity(folder / IDENTITY, identity)
    private.write(folder / REQUEST, request.encode())
    return request


def renew(folder: Path, address: str = "") -> Request:
    """Make a new key for the certificate of a kit, and a request that its old keys have signed.

    A key that waits for its answer already is asked for again. The old one counts on until the
    answer is added. address: where a peer listens from then on; else where it did.
    """
    kit = Kit.read(folder)
    if not (folder / NEXT).exists():
        private.write(folder / NEXT, pem_of(fresh_key()))
    key = tls.private_key(folder / NEXT)
    if kit.who in kit.roster:
        address = address or kit.roster[kit.who].address
    request = Request.signed(kit.identity, key, hashlib.sha256(kit.certificate).digest(), address)
    request.verify()
    private.write(folder / REQUEST, request.encode())
    return request


def add(folder: Path, answer: Answer, heard: str = "", now: float | None = None) -> Kit:
    """Put the answer to a party's own request into its folder, which is a kit then.

    heard: the words of the federation, as its operator has read them; not needed where the folder
    is a kit already, which knows the keys. ProtocolError where the answer is to another request, of
    another federation or changed, or its certificate does not count; nothing is written then. Of
    two rosters the newer one is kept. Adding an answer again ends what a crash has begun.
    """
    check_folder(folder)
    answer.verify()
    _check_federation(folder, answer, heard)
    identity = read_identity(folder / IDENTITY)
    request = Request.decode(contents(folder / REQUEST, "Make one with: hansa enroll"))
    certificate = tls.certificate_of(answer.certificate, "The answer")
    key = _key_of(folder, certificate)
    if answer.request != request.digest or request.member != identity.member or key is None:
        raise ProtocolError(
            f"The answer is not to the request of {identity.who} in {folder}.",
            "It was made for other keys.",
            "Add the answer to this request, or send the request again.",
        )
    authority = tls.certificate_of(answer.federation.authority, "The answer")
    tls.check_certificate(certificate, authority, identity.who, identity.role, now)
    roster = _newest(folder, answer)
    roster.verify(answer.federation.enrolment, now=now)
    check_listed(identity, roster)
    roster.who(tls.der_of(certificate), now)
    federation = answer.federation
    private.write(folder / tls.AUTHORITY, federation.authority)
    private.write(folder / tls.CERTIFICATE, answer.certificate)
    write_roster(folder / ROSTER, roster)
    if key == folder / NEXT:
        os.replace(key, folder / tls.KEY)
    about = about_text(federation.name, federation.address, federation.enrolment)
    private.write(folder / ABOUT, about)
    return Kit.load(folder, now)


def _check_federation(folder: Path, answer: Answer, heard: str) -> None:
    """ProtocolError where the answer is not of the kit's federation, or of that whose words were
    heard.
    """
    said = answer.federation
    if not (folder / ABOUT).exists():
        check_words(heard, said.message, f"the federation {said.name}")
        return
    name, _, enrolment = about_of(folder / ABOUT)
    authority = contents(folder / tls.AUTHORITY, "Put it back from a backup.")
    if (said.name, said.enrolment, said.authority) != (name, enrolment, authority):
        raise ProtocolError(
            f"The answer is of a federation with other keys than {folder} is a kit of.",
            "Whoever made it could name himself the server, and the helpers.",
            "If the federation has new keys indeed, enrol the party anew: hansa enroll.",
        )


def _key_of(folder: Path, certificate: Any) -> Path | None:
    """The file of the private key that a certificate is for; None where there is none.

    While a certificate is renewed there are two.
    """
    for path in (folder / NEXT, folder / tls.KEY):
        if path.exists() and tls.private_key(path).public_key() == certificate.public_key():
            return path
    return None


def _newest(folder: Path, answer: Answer) -> Roster:
    """The roster of an answer, or the one that is held where that has a higher serial."""
    if not (folder / ROSTER).exists():
        return answer.roster
    held = read_roster(folder / ROSTER, answer.federation.enrolment, now=0)
    return max(answer.roster, held, key=lambda one: one.serial)
