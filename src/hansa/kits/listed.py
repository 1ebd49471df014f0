"""Listed: who dials sees whether the certificate that it is shown counts on its own roster.

    handshake     the authority has issued it, for the name that was dialled
    the roster    it is that of a server, or of a gateway, which has not been revoked

Both are looked at in the handshake of each connection, before a byte is said. So a list of the
certificates that were revoked (RFC 5280, §5) is not needed: the roster has those that count, is
signed, has an end, and a newer one in the kit's folder counts at once.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..crypto.identity import Roster
from ..errors import ProtocolError, StoreError
from .files import read_roster

Check = Callable[[bytes], None]  # of a peer's certificate in DER

NO_CODE = 1  # of OpenSSL's errors, for one that is not its own


class UnlistedError(ssl.SSLCertVerificationError):
    """A certificate that does not count on the roster in the kit, which may be older than it."""


class Newest:
    """The roster in a kit's folder, as it is now; none that is older than one seen before here.

    A process that starts takes the one that it finds.
    """

    def __init__(self, path: Path, enrolment: bytes):
        self._path = path
        self._enrolment = enrolment
        self._seen: tuple[int, ...] = ()
        self._held: Roster | None = None

    def __call__(self) -> Roster:
        """It is read when it has changed; StoreError and ProtocolError as `read_roster` has them,
        but for its end, which is looked at when it is used.
        """
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read.", f"{error.strerror}.") from error
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._held is None or seen != self._seen:
            serial = 0 if self._held is None else self._held.serial
            self._held = read_roster(self._path, self._enrolment, serial, now=0)
            self._seen = seen
        return self._held


class Looking(ssl.SSLObject):
    """An end of TLS that looks at its peer's certificate: in the handshake, and at each `look`."""

    check: Check

    def do_handshake(self) -> None:
        """SSLCertVerificationError where the certificate does not count."""
        super().do_handshake()
        self.look()

    def look(self) -> None:
        """The same, of a connection that is there."""
        type(self).check(self.getpeercert(True) or b"")


def looking(context: ssl.SSLContext, newest: Newest, roles: Collection[str]) -> ssl.SSLContext:
    """The context, with which asyncio reaches those alone who have one of these roles on the
    newest roster.
    """

    def check(certificate: bytes) -> None:
        try:
            roster = newest()
            role = roster[roster.who(certificate)].role
        except (ProtocolError, StoreError) as error:
            raise UnlistedError(NO_CODE, error.found) from None
        if role not in roles:
            why = f"It is that of a {role}, and not of a {' or '.join(roles)}."
            raise UnlistedError(NO_CODE, why)

    more: dict[str, Any] = {"check": staticmethod(check)}
    context.sslobject_class = type("Listed", (Looking,), more)
    return context
