"""Messages: what the server asks of some clients, what comes back, and when it counts.

    Begin      a run begins                         to all, nobody answers
    Request    train, or go on with this            to some of the clients, each with its message
    Reply      a message, a sum of many, or a kind of reason why there is none
    Settle     the session is over, these count     to all, nobody answers

Requests and replies have a form as bytes: that of a value of hansa.codec, a dict that names the
form of the message and each of its fields once. Every field has a bound, and what is no such
message is refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from . import codec
from .codec import Buffer, Frame
from .errors import KINDS, Kind, ProtocolError
from .sums import Total

REQUEST = "hansa request 1"  # the form that a message has; another number is another form
REPLY = "hansa reply 1"
NAME = 256  # characters of a party's name, of a digest, and of the name of a run
PARTIES = 2**20  # that one message names
LARGEST = 2**63 - 1  # number of a round, session or turn
HEAD = 2**22  # bytes of a reply before its arrays

Fields = dict[str, Callable[[Any], bool]]  # what each field of a message must be


class SessionId(NamedTuple):
    """The name of one conversation of the server with some parties.

    Of one run a later session is greater, as a tuple; so a party can tell what is over.
    """

    run: str = ""  # which run of the plan, by a name that no other has
    epoch: int = 0  # which start of a loop that counts anew when it starts
    number: int = 0


@dataclass(frozen=True)
class Request:
    """What the server says to some clients: plan, round, the model, and a message for each.

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
        """SHA-256 of plan, round, session and what all are told.

        Computed once for all who are asked in one process: what is broadcast may be large.
        """
        broadcast = codec.fingerprint(self.broadcast)
        return task_of(self.plan, self.round, self.session, broadcast)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The vectors that are broadcast, as name → shape.

        Looked at once for all who are asked in one process; what is broadcast otherwise, and what
        is no array, has no shape here.
        """
        match self.broadcast:
            case (dict(vectors), *_):
                return {name: v.shape for name, v in vectors.items() if isinstance(v, np.ndarray)}
        return {}

    def question(self, who: str) -> bytes:
        """SHA-256 of all that one party is asked: who is asked the same again says the same."""
        body = self.bodies[who]
        if self.turn == 0 and body is None:
            return self.task
        return codec.fingerprint([self._alike, self._digested(body)])

    @cached_property
    def _alike(self) -> str:
        """SHA-256 of what all are asked alike."""
        task = self.task if self.turn == 0 else b""  # what all are told was said before
        asked = (task, self.plan, self.round, *self.session, self.turn)
        return codec.fingerprint(asked).hex()

    @cached_property
    def _digests(self) -> dict[int, tuple[Any, list[str]]]:
        """Arrays of its bodies, by where they lie, each with its SHA-256."""
        return {}

    def _digested(self, body: Any) -> Any:
        """A body with SHA-256 in the place of each array: computed once, where many are told it."""
        if isinstance(body, dict):
            return {key: self._digested(value) for key, value in body.items()}
        if not isinstance(body, np.ndarray) or not body.flags.c_contiguous:
            return body
        array, known = self._digests.get(id(body), (None, None))
        if array is not body:
            digest = hashlib.sha256(body.data).hexdigest()
            known = ["array", body.dtype.str, repr(body.shape), digest]
            self._digests[id(body)] = (body, known)
        return known

    def encode(self) -> list[Frame]:
        """Its bytes in parts, for all of its parties; of what is broadcast no copy is made."""
        message = {
            "hansa": REQUEST,
            "plan": self.plan,
            "round": self.round,
            **self.session._asdict(),
            "broadcast": self.broadcast,
            "bodies": dict(self.bodies),
            "deadline": float(self.deadline),
            "turn": self.turn,
            "fold": self.fold,
        }
        return codec.frames(_checked(message, OF_REQUEST, "request"))

    @classmethod
    def decode(cls, data: Path | Buffer, most: int = codec.SIZE) -> Request:
        """The request in so many bytes at most, of a file or a buffer; else ProtocolError."""
        fields = _checked(codec.read(data, most), OF_REQUEST, "request")
        return cls(**_with_session(fields))


@dataclass(frozen=True)
class Reply:
    """What came back from `who`: a message, a `Total` over all of them, or None and why.

    Why is a kind of reason, never words: those could quote a record. ProtocolError for words.
    """

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
    def to(
        cls, request: Request, who: tuple[str, ...], body: Any, why: Kind | Literal[""] = ""
    ) -> Reply:
        """The reply to a request, of its session, round and turn."""
        return cls(request.session, request.round, who, body, why, request.turn)

    def encode(self) -> list[Frame]:
        """Its bytes in parts; of its arrays no copy is made."""
        self._check()
        folded = isinstance(self.body, Total)
        message = {
            "hansa": REPLY,
            **self.session._asdict(),
            "round": self.round,
            "who": self.who,
            "body": self.body.parts() if folded else self.body,
            "why": self.why,
            "turn": self.turn,
            "folded": folded,
        }
        head, *arrays = codec.frames(_checked(message, OF_REPLY, "reply"))
        if len(head) > HEAD:
            raise ProtocolError(
                f"A reply has {len(head):,} bytes beside its arrays.",
                f"There may be {HEAD:,}.",
                "Fold fewer clients, and put numbers into arrays.",
            )
        return [head, *arrays]

    @classmethod
    def decode(cls, data: Path | Buffer, most: int) -> Reply:
        """The reply in so many bytes at most, of a file or a buffer; else ProtocolError.

        `Aggregator.largest_reply` says how many an honest client's answer has.
        """
        fields = _checked(codec.read(data, most, HEAD), OF_REPLY, "reply")
        if fields.pop("folded"):
            fields["body"] = Total.of(fields["body"])
        reply = cls(**_with_session(fields))
        reply._check()
        return reply

    def _check(self) -> None:
        """ProtocolError where what it holds does not belong together."""
        if (self.body is None) == (self.why == ""):
            raise _refused("reply", "why", "It has a body, or the kind of reason why not.")
        said = self.body.count if isinstance(self.body, Total) else 1
        if self.body is not None and len(self.who) != said:
            why = "A message is that of one party, and a sum that of all who are named."
            raise _refused("reply", "who", why)


@dataclass(frozen=True)
class Begin:
    """A run begins: nobody remembers anything of it.

    A party that was told of this run before forgets what it has learnt in it.
    """

    run: str


@dataclass(frozen=True)
class Settle:
    """A session is over, and its round is committed.

    What those who are `counted` have learnt in it counts; what others have learnt is forgotten.
    """

    session: SessionId
    counted: tuple[str, ...]


Message = Request | Begin | Settle


def task_of(plan: str, round: int, session: SessionId, broadcast: bytes) -> bytes:
    """SHA-256 of what all are told in a session, of whose broadcast this is the fingerprint."""
    return codec.fingerprint((plan, round, *session, broadcast))


def largest(body: Any) -> int:
    """Bytes of one party's reply with such a body where its numbers and its name are longest."""
    longest = "\U0001f600" * NAME  # of the letters that take most bytes
    session = SessionId(longest, LARGEST, LARGEST)
    reply = Reply(session, LARGEST, (longest,), body, turn=LARGEST)
    return sum(map(len, reply.encode()))


def _checked(message: Any, fields: Fields, kind: str) -> dict[str, Any]:
    """A message that has these fields, each within its bounds; ProtocolError for any other."""
    if not isinstance(message, dict) or message.keys() != fields.keys():
        raise _refused(kind, "fields", f"It has {', '.join(fields)}, and no others.")
    for name, fits in fields.items():
        if not fits(message[name]):
            raise _refused(kind, name, "Every field has a type and a bound.")
    return message


def _with_session(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as the message has them: without its form, and with its session in one."""
    session = SessionId(*(fields.pop(name) for name in SessionId._fields))
    return {name: value for name, value in fields.items() if name != "hansa"} | {"session": session}


def _refused(kind: str, name: str, why: str) -> ProtocolError:
    """The error for a message that is none; it repeats nothing of it."""
    found = f"A message is no {kind} of this version of hansa: its {name} cannot be."
    return ProtocolError(found, why, "Look at the version of who has sent it.")


def _is(form: str) -> Callable[[Any], bool]:
    """Tells whether a field is this very text."""
    return lambda found: isinstance(found, str) and found == form


def _is_name(found: Any) -> bool:
    """A text that is not empty, fits on a line, and commands no terminal."""
    return isinstance(found, str) and 0 < len(found) <= NAME and found.isprintable()


def _is_number(found: Any) -> bool:
    return type(found) is int and 0 <= found <= LARGEST


def _is_word(found: Any) -> bool:
    """A name, or none."""
    return _is("")(found) or _is_name(found)


def _are_parties(found: Any) -> bool:
    """Names of one party or more, each once."""
    names = isinstance(found, tuple) and 0 < len(found) <= PARTIES and all(map(_is_name, found))
    return names and len(set(found)) == len(found)


def _are_bodies(found: Any) -> bool:
    return isinstance(found, dict) and _are_parties(tuple(found))


def _is_duration(found: Any) -> bool:
    return type(found) is float and found > 0


def _is_flag(found: Any) -> bool:
    return type(found) is bool


def _is_reason(found: Any) -> bool:
    return isinstance(found, str) and found in ("", *KINDS)


def _is_anything(found: Any) -> bool:
    """Any value of the codec: whom it is for knows what it must be."""
    return True


OF_SESSION: Fields = {"run": _is_word, "epoch": _is_number, "number": _is_number}
OF_REQUEST: Fields = {
    "hansa": _is(REQUEST),
    "plan": _is_name,
    "round": _is_number,
    **OF_SESSION,
    "broadcast": _is_anything,
    "bodies": _are_bodies,
    "deadline": _is_duration,
    "turn": _is_number,
    "fold": _is_flag,
}
OF_REPLY: Fields = {
    "hansa": _is(REPLY),
    **OF_SESSION,
    "round": _is_number,
    "who": _are_parties,
    "body": _is_anything,
    "why": _is_reason,
    "turn": _is_number,
    "folded": _is_flag,
}
