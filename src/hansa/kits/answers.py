"""Answers to requests: all that makes a party's keys a kit, signed by the enrolment key.

What a newcomer has to know before it can check a signature is the key; so that comes in the answer
too, and words that are read by telephone say whether it is the federation's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..crypto.identity import UNREADABLE, Roster
from ..crypto.keys import SigningKey, verify
from ..errors import ProtocolError
from .armour import armoured, canonical, opened, unreadable
from .names import check_name, check_server

LABEL = "ANSWER"
DOMAIN = b"hansa answer 1\n"  # what is signed under it is signed as an answer, and as nothing else


@dataclass(frozen=True)
class Federation:
    """What all parties of one federation know of it.

    address: of its server, or nothing where it has none. enrolment: the public Ed25519 key that
    signs rosters and answers. authority: the certificate of who issues all others, in PEM.
    """

    name: str
    address: str
    enrolment: bytes = field(repr=False)
    authority: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_name(self.name, "A federation")
        check_server(self.address)

    @property
    def message(self) -> bytes:
        """Name and keys, of which the words are that an operator reads to a newcomer."""
        keys = {"enrolment": self.enrolment.hex(), "authority": self.authority.decode("ascii")}
        return b"hansa federation 1\n" + canonical({"name": self.name, **keys})


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to the request of this digest: a certificate in PEM, and a roster it is on.

    signature = Ed25519(enrolment key, DOMAIN ‖ JSON of all the rest)
    """

    federation: Federation
    request: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    roster: Roster
    signature: bytes = field(default=b"", repr=False)

    def signed(self, enrolment: SigningKey) -> Self:
        """The same with its signature."""
        return replace(self, signature=enrolment.sign(self._message))

    def verify(self) -> None:
        """ProtocolError unless the enrolment key that it names has signed all of it.

        Whether that is the federation's key is known by the kit, or by words that were heard.
        """
        if not verify(self.federation.enrolment, self._message, self.signature):
            raise ProtocolError(
                "The answer is not signed by the enrolment key that it names.",
                "Somebody has changed it on its way: address, authority or roster may be his.",
                "Have it sent again, by another way.",
            )

    def encode(self) -> bytes:
        """The text to be sent."""
        return armoured(LABEL, {**self._value, "signature": self.signature.hex()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The answer that `encode` has written, verified; ProtocolError for anything else."""
        value = opened(LABEL, data)
        try:
            federation = Federation(
                value["federation"],
                value["address"],
                bytes.fromhex(value["enrolment"]),
                value["authority"].encode("ascii"),
            )
            found = cls(
                federation,
                bytes.fromhex(value["request"]),
                value["certificate"].encode("ascii"),
                Roster.decode(base64.b64decode(value["roster"])),
                bytes.fromhex(value["signature"]),
            )
            whole = armoured(LABEL, value) == found.encode()
        except UNREADABLE:
            whole = False
        if not whole:
            raise unreadable(LABEL, len(data))
        found.verify()
        return found

    @property
    def _value(self) -> Mapping[str, Any]:
        return {
            "federation": self.federation.name,
            "address": self.federation.address,
            "enrolment": self.federation.enrolment.hex(),
            "authority": self.federation.authority.decode("ascii"),
            "request": self.request.hex(),
            "certificate": self.certificate.decode("ascii"),
            "roster": base64.b64encode(self.roster.encode()).decode(),
        }

    @property
    def _message(self) -> bytes:
        return DOMAIN + canonical(self._value)
