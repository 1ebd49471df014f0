"""TLS of a party: version 1.3 alone, and certificates of the federation's authority alone.

    authority, on P-256   issues certificates, and none that issues others
    client, helper        a certificate to dial with, and no other use
    server                a certificate to be dialled at the federation's address
    gateway               one for both: parties dial it there, and it dials the server

A handshake proves that a peer holds the key of such a certificate. Whose that is, and whether it
still counts, says the roster (`crypto.identity.Roster.who`).
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from .. import private
from ..crypto.certificates import named
from ..errors import ProtocolError, StoreError
from .files import contents

KEY = "tls.key"
CERTIFICATE = "certificate.pem"
AUTHORITY = "authority.pem"


def server_context(folder: Path) -> ssl.SSLContext:
    """What a server listens with: who has no certificate of a client or helper gets no further."""
    found = _context(folder, ssl.PROTOCOL_TLS_SERVER)
    found.num_tickets = 0  # in a ticket, a certificate that has ended since would go on
    return found


def client_context(folder: Path) -> ssl.SSLContext:
    """What a party dials with: the server has a certificate for the name that was dialled."""
    return _context(folder, ssl.PROTOCOL_TLS_CLIENT)


def _context(folder: Path, way: int) -> ssl.SSLContext:
    """What both ways have in common: one authority, and a certificate on each side.

    Certificates must be as RFC 5280 has them; of authorities that the machine knows none counts.
    """
    found = ssl.SSLContext(way)
    found.minimum_version = ssl.TLSVersion.TLSv1_3
    found.verify_mode = ssl.CERT_REQUIRED
    found.verify_flags |= ssl.VERIFY_X509_STRICT
    found.load_verify_locations(folder / AUTHORITY)
    found.load_cert_chain(folder / CERTIFICATE, folder / KEY, password=_no_password)
    return found


def _no_password() -> str:
    """For a key that is encrypted, of which OpenSSL would ask the terminal for the password."""
    return ""


def certificate(path: Path) -> Any:
    """The X.509 certificate in PEM at `path`; StoreError where there is none."""
    return certificate_of(contents(path, "Put it back from a backup."), str(path))


def certificate_of(pem: bytes, where: str) -> Any:
    """The X.509 certificate in these bytes of PEM; StoreError where there is none."""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(pem)
    except ValueError as error:
        raise StoreError(
            f"{where} holds no certificate.",
            f"{error}.",
            "Put it back from a backup, or have the party enrolled anew.",
        ) from None


def der_of(found: Any) -> bytes:
    """A certificate in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return bytes(found.public_bytes(Encoding.DER))


def private_key(path: Path) -> Any:
    """The private key in PEM at `path`; StoreError where others can read it, or it is none."""
    return private_key_of(private.read(path), str(path))


def private_key_of(pem: bytes, where: str) -> Any:
    """The private key on P-256 in these bytes of PEM, without a password; StoreError where there is
    none. `where` is said then.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
        known = isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)
    except (ValueError, TypeError):  # the latter where a password is needed
        known = False
    if not known:
        raise StoreError(
            f"{where} holds no private key on P-256.",
            "It was damaged, or hansa has not made it.",
            "Put it back from a backup, or renew the certificate: hansa enroll --renew.",
        )
    return key


def check_certificate(
    found: Any, authority: Any, who: str, role: str, now: float | None = None
) -> None:
    """ProtocolError unless the authority has issued a certificate to this party and it counts."""
    if named(der_of(found)) != (who, role):
        raise ProtocolError(
            f"The certificate of {who}, a {role}, is of another party.",
            "Others would take it for that one, or refuse it.",
            "Take the answer to this party's own request.",
        )
    if not issued(found, authority):
        raise ProtocolError(
            f"The certificate of {who} is of another authority than its kit names.",
            "Nobody else in the federation knows that one.",
            "Take certificate and authority of one answer.",
        )
    moment = time.time() if now is None else now
    begin = found.not_valid_before_utc.timestamp()
    end = found.not_valid_after_utc.timestamp()
    if not begin <= moment < end:
        raise ProtocolError(
            f"The certificate of {who} counts from {found.not_valid_before_utc:%Y-%m-%d} to "
            f"{found.not_valid_after_utc:%Y-%m-%d}, and not now.",
            "Every other party refuses it.",
            "Look at this machine's clock, or renew it: hansa enroll --renew.",
        )


def issued(found: Any, authority: Any) -> bool:
    """Has this authority signed that certificate?"""
    from cryptography.exceptions import InvalidSignature

    try:
        found.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
