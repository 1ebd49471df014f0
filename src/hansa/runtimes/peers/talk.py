"""Talk: the messages between two nodes, as JSON in one WebSocket, and the pieces of what is said.

    speaker ──▶ Hello                                 hearer ──▶ Welcome
            ──▶ In(run)                                      ──▶ In(run)
            ──▶ Words(round, blob)                           ──▶ Send(offset)
            ──▶ pieces, from that byte on                    ──▶ Held, once they are on the disk
                                                                 or Refused, and why in one word
            ──▶ Done

Hello and Welcome are those of sites (`sites.control`). Of two neighbours each dials the other, and
speaks on the link that it has dialled.
"""

from __future__ import annotations

from typing import Literal

from msgspec import DecodeError, Struct, ValidationError, json

from ...errors import ProtocolError
from ..sites.control import Blob, Name, Number

PIECE = 2**18  # bytes of one message
Fault = Literal["invalid", "late", "other", "large"]  # why words are refused
FAULTS = {  # and as people read it
    "invalid": "what is no vector of this plan",
    "late": "an earlier round than its last, or none of the run's",
    "other": "another thing than before of the same round",
    "large": "more than a vector of this plan has",
}


class In(Struct, frozen=True, forbid_unknown_fields=True, tag="in"):
    """The run that this node takes part in."""

    run: Name


class Words(Struct, frozen=True, forbid_unknown_fields=True, tag="words"):
    """What this node says in a round, as a blob."""

    round: Number
    blob: Blob


class Send(Struct, frozen=True, forbid_unknown_fields=True, tag="send"):
    """The hearer wants the bytes from here on: it has those before."""

    offset: Number


class Held(Struct, frozen=True, forbid_unknown_fields=True, tag="held"):
    """The hearer has the words of this round on its disk."""

    round: Number


class Refused(Struct, frozen=True, forbid_unknown_fields=True, tag="refused"):
    """The hearer does not take the words of this round."""

    round: Number
    why: Fault


class Done(Struct, frozen=True, forbid_unknown_fields=True, tag="done"):
    """The speaker has said all that it had to say in the run."""


Message = In | Words | Send | Held | Refused | Done
_ENCODER = json.Encoder()
_DECODER = json.Decoder(Message)


def encode(message: Message) -> str:
    """The message as JSON."""
    return _ENCODER.encode(message).decode()


def decoded(data: str) -> Message:
    """A message; ProtocolError for anything else, of which nothing is repeated."""
    try:
        return _DECODER.decode(data)
    except (DecodeError, ValidationError, RecursionError, UnicodeError):
        raise ProtocolError(
            f"{len(data):,} characters came that are no message between nodes.",
            "Each field has a type and a bound.",
            "Look at the version of who has sent it.",
        ) from None
