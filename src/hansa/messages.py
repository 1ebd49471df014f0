"""Messages: what the server asks of some clients, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .codec import fingerprint
from .errors import KINDS, Kind, ProtocolError


@dataclass(frozen=True)
class Request:
    """What the server says to some clients: which plan, which round, the model, and a message for each.

    With `fold`, who carries the replies may add up the vectors and hand over their exact sum.
    """

    plan: str  # digest
    round: int
    session: int  # one conversation with each of the clients
    broadcast: Any = field(repr=False)
    bodies: Mapping[str, Any] = field(repr=False)  # who → message; None opens the conversation
    deadline: float = math.inf  # seconds
    turn: int = 0  # how many messages of its session came before
    fold: bool = False
    run: str = ""  # which run of the plan, by a name that no other has

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of what all are told; computed once for all who are asked in one process."""
        return fingerprint(self.broadcast)


@dataclass(frozen=True)
class Reply:
    """What came back from `who`: a message, a `Total` over all of them, or None and of what kind the reason is."""

    session: int
    round: int
    who: tuple[str, ...]
    body: Any = field(repr=False)
    why: Kind | Literal[""] = ""

    def __post_init__(self) -> None:
        if self.why not in ("", *KINDS):
            raise ProtocolError(
                f"A reply of {', '.join(self.who)} gives a reason in words.",
                "Words of a client may quote its records; they stay where it lives.",
                f"Give its kind: {', '.join(KINDS)}.",
            )
