"""X.509 certificates of parties: the name and the role that are in one (RFC 5280)."""

from __future__ import annotations

from ..errors import ProtocolError


def named(der: bytes) -> tuple[str, str]:
    """(name, role) of a certificate in DER: its CN and its OU, of which there is one each.

    Who has signed it is not looked at: that is a handshake's business. ProtocolError for bytes that
    are no such certificate.
    """
    from cryptography.x509 import NameOID, load_der_x509_certificate

    try:
        subject = load_der_x509_certificate(der).subject
        (name,) = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        (role,) = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        return str(name.value), str(role.value)
    except ValueError as error:
        raise ProtocolError(
            f"{len(der):,} bytes are no certificate of a party.",
            f"It names one party and its role in X.509: {error}.",
            "Take the certificate that hansa has made for it.",
        ) from None
