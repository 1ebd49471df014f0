"""Between: the small messages of a server and its gateways, in one WebSocket for each gateway.

    Came, Left    a party attends at the gateway, or not any more     to the server
    From          what it says
    Folded        what several say, added up
    For           what a party is told, and what its answer may be    to the gateway
    Elsewhere     a party attends somewhere else by now, or was revoked

A link begins with Hello and Welcome, as that of a party does. What a gateway says of its parties
the server believes, as it believes itself: a gateway's certificate has that role on the roster.
Blobs travel as those of parties do, with the party's name in the header PARTY.

    Fold     Σ vᵢ over the parties of one `Folded`, exact, so that no grouping can be seen in it
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

import numpy as np
from msgspec import DecodeError, Meta, Struct, ValidationError, json

from ...errors import ProtocolError
from ...messages import HEAD
from ...spec import Spec
from .control import Name, Number, Said, Settled, Size, ToParty

MOST = 2**22  # bytes of one message
MANY = 2**10  # parties in one sum
PARTY = "Hansa-Party"  # the header that says for whom a gateway speaks

Many = Annotated[list[Name], Meta(min_length=2, max_length=MANY)]
Word = Literal["", "uint16", "uint32", "uint64"]


class Folding(Struct, frozen=True, forbid_unknown_fields=True):
    """What the vectors are that may be added up: of so many numbers; words, or reals for ""."""

    size: Size
    word: Word = ""

    @classmethod
    def of(cls, spec: Spec) -> Folding:
        """Those of a spec."""
        if spec.space == "integer":
            return cls(spec.size, str(spec.word))  # type: ignore[arg-type]
        return cls(spec.size)

    @property
    def most(self) -> int:
        """Bytes of a sum of them, as a reply: two numbers of eight bytes for each coordinate."""
        return HEAD + 16 * self.size

    def fits(self, v: Any) -> bool:
        """Is it one of them? `Spec.fits` says the same where the whole spec is known."""
        if not isinstance(v, np.ndarray) or v.shape != (self.size,):
            return False
        if self.word:
            return bool(v.dtype == self.word)
        return bool(v.dtype.kind == "f")


class Came(Struct, frozen=True, forbid_unknown_fields=True, tag="came"):
    """A party attends at this gateway; the newest place counts."""

    who: Name


class Left(Struct, frozen=True, forbid_unknown_fields=True, tag="left"):
    """It does so no more."""

    who: Name


class From(Struct, frozen=True, forbid_unknown_fields=True, tag="from"):
    """What a party says; an answer is announced when all of it is at the gateway."""

    who: Name
    message: Said | Settled


class Folded(Struct, frozen=True, forbid_unknown_fields=True, tag="folded"):
    """The sum of what these say, announced as the answer of the first."""

    who: Many
    said: Said


class For(Struct, frozen=True, forbid_unknown_fields=True, tag="for"):
    """What a party is told. most: bytes that its answer may have; fold: what may be added up."""

    who: Name
    message: ToParty
    most: Number = 0
    fold: Folding | None = None


class Elsewhere(Struct, frozen=True, forbid_unknown_fields=True, tag="elsewhere"):
    """A party attends at another place now, or was revoked: what it was told here is void."""

    who: Name


ToGateway = For | Elsewhere
OfGateway = Came | Left | From | Folded

_ENCODER = json.Encoder()
_OF_GATEWAY = json.Decoder(OfGateway)
_TO_GATEWAY = json.Decoder(ToGateway)


def encode(message: ToGateway | OfGateway) -> str:
    """The message as JSON."""
    return _ENCODER.encode(message).decode()


def of_gateway(data: str) -> OfGateway:
    """What a gateway has sent; ProtocolError for anything else."""
    return _decoded(_OF_GATEWAY, data)  # type: ignore[return-value]


def to_gateway(data: str) -> ToGateway:
    """What the server has sent to a gateway; ProtocolError for anything else."""
    return _decoded(_TO_GATEWAY, data)  # type: ignore[return-value]


def _decoded(decoder: json.Decoder, data: str) -> object:  # type: ignore[type-arg]
    """The message; an error repeats nothing of what came."""
    try:
        return decoder.decode(data)
    except (DecodeError, ValidationError, RecursionError, UnicodeError):
        raise ProtocolError(
            f"{len(data):,} characters came that no gateway or server of this version says.",
            "A server and its gateways are of one release.",
            "Install the same at both.",
        ) from None


def headers(who: str) -> dict[str, str]:
    """For whom a gateway asks or sends a blob, as a header may hold it."""
    return {PARTY: quote(who, safe="")}


def named(header: str) -> str:
    """The party of such a header."""
    return unquote(header)
