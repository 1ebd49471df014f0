"""Control: the small messages between a server and a party that attends, as JSON in one WebSocket.

    Hello     the party is there, and speaks this version         to the server
    Welcome   so does the server                                   to the party
    Begin     a run begins: of which plan, and what was found before it
    Ask       a question: where its parts lie, and for how long it is open
    Said      what the party says: where it lies, or why there is nothing
    Send      the server wants it, from some byte on
    Held      the server has it
    Settle    the session is over: does what was said count?
    Settled   that was heard
    Ended     the run is over

One round of one party, on one link:

    party ──▶ Hello                              server ──▶ Welcome
                                                 server ──▶ Begin      at once if one has begun
                                                 server ──▶ Settle …   not acknowledged before
                                                 server ──▶ Ask        fetched: GET, its parts
    party ──▶ Said(blob)                         server ──▶ Send(offset)
              PUT, part by part                  server ──▶ Held
                                                 server ──▶ Settle
    party ──▶ Settled
                                                 server ──▶ Ended      at the end of the run

Said without a blob is answered by Held alone. A new link begins at Hello, and what was not held or
acknowledged on the last one comes again.

What is large travels beside them, as blobs (`hansa.runtimes.sites.spool`). Every field has a type
and a bound, and what has any other field is refused; but in Hello and Welcome, which say also to an
earlier version that it is not spoken with.

    WIRE = (major, minor)       a server of (M, m) and a party of (M, k) speak where k ≤ m

A minor version adds what an older party is not told, and need not say. A server is upgraded first.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import DecodeError, Meta, Struct, ValidationError, json

from ...errors import Kind, ProtocolError, RefusedError
from ...messages import LARGEST, NAME, SessionId

WIRE = (1, 0)  # the version of these messages
MOST = 2**17  # bytes of one message

Name = Annotated[str, Meta(max_length=NAME)]
Number = Annotated[int, Meta(ge=0, le=LARGEST)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Size = Annotated[int, Meta(ge=1, le=LARGEST)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Wire = tuple[Number, Number]


class Blob(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that travel beside the message: their SHA-256 in hex, and how many they are."""

    sha256: Hash
    size: Size


class Session(Struct, frozen=True, forbid_unknown_fields=True):
    """The name of a session."""

    run: Name
    epoch: Number
    number: Number

    @classmethod
    def of(cls, session: SessionId) -> Session:
        """The form in which it travels."""
        return cls(*session)

    @property
    def id(self) -> SessionId:
        """The form in which it is used."""
        return SessionId(self.run, self.epoch, self.number)


class Hello(Struct, frozen=True, tag="hello"):
    """A party is there. Who it is says its certificate."""

    wire: Wire
    version: Name  # of hansa


class Welcome(Struct, frozen=True, tag="welcome"):
    """The server has seen who it is."""

    wire: Wire
    version: Name  # of hansa
    federation: Name


class Begin(Struct, frozen=True, forbid_unknown_fields=True, tag="begin"):
    """A run begins, or goes on: of the plan with this digest, with what a survey found before."""

    run: Name
    plan: Name
    found: Blob | None = None


class Ask(Struct, frozen=True, forbid_unknown_fields=True, tag="ask"):
    """A question of a session. Its parts are blobs: what all are told, and what this party is."""

    session: Session
    plan: Name
    round: Number
    turn: Number
    seconds: Seconds  # that are left of the session
    broadcast: Blob | None = None
    body: Blob | None = None


class Said(Struct, frozen=True, forbid_unknown_fields=True, tag="said"):
    """The answer to a question: a blob, which is a reply, or the kind of reason why there is none.

    Never words: they could quote a record.
    """

    session: Session
    turn: Number
    blob: Blob | None = None
    why: Kind | Literal[""] = ""


class Send(Struct, frozen=True, forbid_unknown_fields=True, tag="send"):
    """The server wants the bytes of this answer, from here on: it has those before."""

    session: Session
    turn: Number
    offset: Number


class Held(Struct, frozen=True, forbid_unknown_fields=True, tag="held"):
    """The server has the answer to this question, or wants it no more."""

    session: Session
    turn: Number


class Settle(Struct, frozen=True, forbid_unknown_fields=True, tag="settle"):
    """The session is over. Of others that it counts or not, a party is not told."""

    session: Session
    counted: bool


class Ended(Struct, frozen=True, forbid_unknown_fields=True, tag="ended"):
    """The run is over: nothing more is asked in it."""

    run: Name


class Settled(Struct, frozen=True, forbid_unknown_fields=True, tag="settled"):
    """That a session is over was heard, and written down."""

    session: Session


ToParty = Welcome | Begin | Ask | Send | Held | Settle | Ended
ToServer = Hello | Said | Settled

_ENCODER = json.Encoder()
_OF_PARTY = json.Decoder(ToServer)
_OF_SERVER = json.Decoder(ToParty)


def encode(message: ToParty | ToServer) -> str:
    """The message as JSON."""
    return _ENCODER.encode(message).decode()


def from_party(data: str) -> ToServer:
    """What a party has sent; ProtocolError for anything that is no such message."""
    return _decoded(_OF_PARTY, data)  # type: ignore[return-value]


def from_server(data: str) -> ToParty:
    """What the server has sent; ProtocolError for anything that is no such message."""
    return _decoded(_OF_SERVER, data)  # type: ignore[return-value]


def _decoded(decoder: json.Decoder, data: str) -> object:  # type: ignore[type-arg]
    """The message; an error repeats nothing of what came."""
    try:
        return decoder.decode(data)
    except (DecodeError, ValidationError, RecursionError, UnicodeError):
        raise ProtocolError(
            f"{len(data):,} characters came that are no message of this version of hansa.",
            "Each field of a message has a type and a bound, and there are no others.",
            "Look at the version of who has sent it.",
        ) from None


def understand(server: Wire, party: Wire) -> bool:
    """Do a server and a party of these versions understand each other?"""
    return server[0] == party[0] and party[1] <= server[1]


def numbered(wire: Wire) -> str:
    """A version as people write it."""
    return ".".join(map(str, wire))


def check_welcome(welcome: Welcome) -> None:
    """RefusedError where the server speaks a version that this party does not understand."""
    if not understand(welcome.wire, WIRE):
        raise RefusedError(
            f"The server speaks version {numbered(welcome.wire)} of the messages (hansa "
            f"{welcome.version!r:.22}), and this is version {numbered(WIRE)}.",
            "A server takes parties of its own version, and of those before with the same first "
            "number.",
            "Install the release that the server has; or ask for a newer one there.",
        )
