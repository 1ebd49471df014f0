"""Messages: what the server asks of some clients, what comes back, and when it counts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from .codec import dumps
from .errors import KINDS, Kind, ProtocolError


class SessionId(NamedTuple):
    """The name of one conversation of the server with some parties; a later one of a run is greater."""

    run: str = ""  # which run of the plan, by a name that no other has
    epoch: int = 0  # which start of a loop that counts anew when it starts
    number: int = 0


@dataclass(frozen=True)
class Request:
    """What the server says to some clients: which plan, which round, the model, and a message for each.

    With `fold`, who carries the replies may add up the vectors and hand over their exact sum.
    """

    plan: str  # digest
    round: int
    session: SessionId
    broadcast: Any = field(repr=False)  # in a session's first message to a party, and None later
    bodies: Mapping[str, Any] = field(repr=False)  # who → message; None opens the conversation
    deadline: float = math.inf  # seconds, for all of the session
    turn: int = 0  # a later message of a session has a greater one
    fold: bool = False

    @cached_property
    def task(self) -> bytes:
        """SHA-256 of plan, round, session and what all are told; computed once for all who are asked in one process."""
        broadcast = hashlib.sha256(dumps(self.broadcast)).digest()
        return hashlib.sha256(dumps((self.plan, self.round, *self.session, broadcast))).digest()

    def question(self, who: str) -> bytes:
        """SHA-256 of all that one party is asked."""
        body = self.bodies[who]
        if self.turn == 0 and body is None:
            return self.task
        task = self.task if self.turn == 0 else b""  # what all are told was said before
        return hashlib.sha256(dumps((task, self.plan, self.round, *self.session, self.turn, body))).digest()


@dataclass(frozen=True)
class Reply:
    """What came back from `who`: a message, a `Total` over all of them, or None and of what kind the reason is."""

    session: SessionId
    round: int
    who: tuple[str, ...]
    body: Any = field(repr=False)
    why: Kind | Literal[""] = ""
    turn: int = 0  # that of the request

    def __post_init__(self) -> None:
        if self.why not in ("", *KINDS):
            raise ProtocolError(
                f"A reply of {', '.join(self.who)} gives a reason in words.",
                "Words of a client may quote its records; they stay where it lives.",
                f"Give its kind: {', '.join(KINDS)}.",
            )

    @classmethod
    def to(cls, request: Request, who: tuple[str, ...], body: Any, why: Kind | Literal[""] = "") -> Reply:
        """The reply to a request."""
        return cls(request.session, request.round, who, body, why, request.turn)


@dataclass(frozen=True)
class Begin:
    """A run begins: nobody remembers anything of it."""

    run: str


@dataclass(frozen=True)
class Settle:
    """A session is over, and its round is committed: what those who are `counted` learnt in it counts, and no more."""

    session: SessionId
    counted: tuple[str, ...]


Message = Request | Begin | Settle
