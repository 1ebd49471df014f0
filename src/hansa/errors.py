"""Errors: each says what was found, why it cannot work, and what to write instead.

HansaError
├── PlanError       the pieces of a plan do not fit together (when it is built, never in a run)
├── DataError       a client's data cannot be trained on
├── PolicyError     a client refuses a plan that its owner does not allow
├── ApprovalError   code that nobody has approved here
├── DeadlineError   nobody has answered in time
├── ProtocolError   a peer said something that the protocol does not allow
│   ├── RestartedError  a party was asked to go on with what it knows nothing of
│   └── RefusedError    the other side does not take this party
├── RoundError      a round cannot end; the state stays as it was
├── StoreError      a run store cannot be read or written
├── WorkerError     the process that runs an app has failed, or has ended
└── AppError        an app file, a setting or a command cannot be used

The words of an error may quote what was read, so those of a client stay where its data is. A server
hears a `Kind`.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Literal, TypeGuard

Kind = Literal["late", "absent", "restarted", "refused", "data", "invalid", "bug"]

# why a party is left out: all that a server hears, keeps and shows of it
KINDS: Mapping[str, str] = {
    "late": "its answer did not come in time",
    "absent": "it did not answer",
    "restarted": "it knows nothing of what it was asked to go on with",
    "refused": "it refuses what it was asked",
    "data": "its data cannot be trained on",
    "invalid": "what it says is no vector of this plan",
    "bug": "its own code failed",
}


class HansaError(Exception):
    """What was `found`, `why` it cannot work, and what to write `instead`."""

    kind: ClassVar[Kind] = "bug"  # all that a server hears of it
    code: ClassVar[int] = 2  # with which a command ends: wrong input, where nothing else is said

    def __init__(self, found: str, why: str = "", instead: str = ""):
        super().__init__(found, why, instead)
        self.found = found
        self.why = why
        self.instead = instead

    def __str__(self) -> str:
        return "\n  ".join(part for part in (self.found, self.why, self.instead) if part)


class PlanError(HansaError):
    """The pieces of a plan do not fit together."""


class DataError(HansaError):
    """A client's data cannot be trained on."""

    kind = "data"


class PolicyError(HansaError):
    """The plan asks for more than this client's owner permits."""

    kind = "refused"
    code = 3


class ApprovalError(HansaError):
    """Code that nobody has approved here."""

    kind = "refused"
    code = 3


class DeadlineError(HansaError):
    """Nobody has answered in time."""

    code = 4


class ProtocolError(HansaError):
    """A message arrived that the protocol does not allow here."""

    kind: ClassVar[Kind] = "refused"


class RestartedError(ProtocolError):
    """A party was asked to go on with a conversation that it knows nothing of."""

    kind = "restarted"


class RefusedError(ProtocolError):
    """The other side does not take this party, or one of both is on no roster that counts."""

    code = 3


class RoundError(HansaError):
    """A round cannot end; the state stays as it was."""

    code = 1


class StoreError(HansaError):
    """A run store cannot be read or written."""


class WorkerError(HansaError):
    """The process that runs an app has failed, or has ended."""

    code = 1


class AppError(HansaError):
    """An app file, a setting or a command cannot be used."""


Words = str | Callable[[], str]
# is it so? and then: what was found, why it cannot work, what to write instead
Fault = tuple[bool, Words, Words, Words]


def refuse(faults: Iterable[Fault], error: type[HansaError] = PlanError) -> None:
    """Raise the error of the first of these that is so.

    Words that cost something, or make sense only where it is so, may be functions of nothing.
    """
    for so, *words in faults:
        if so:
            raise error(*(one() if callable(one) else one for one in words))


def number(value: object, whole: bool = False) -> TypeGuard[float]:
    """Is `value` a real number, or a whole one? "3" and True are none: no bound applies to them."""
    if isinstance(value, bool):
        return False
    if whole:
        return isinstance(value, numbers.Integral)
    return isinstance(value, numbers.Real)


class Aside(UserWarning):
    """What a party says where it lives, in its own words: for who sits at its machine alone."""


class LeftOut(Aside):
    """Why a party is left out."""


class Diverged(Aside):
    """That a client's own model has left the range of numbers, and starts again."""


# else a second run in one process would be silent
warnings.filterwarnings("always", category=Aside, append=True)


def tell(words: str, kind: type[Aside] = LeftOut) -> None:
    """Say a party's own words where it lives; in a simulation that is the developer's terminal."""
    warnings.warn(kind(printable(words)), stacklevel=3)


def printable(text: str) -> str:
    """The text with what would command a terminal written out: an escape becomes \\x1b."""
    return "".join(map(_visible, text))


def _visible(c: str) -> str:
    """A character that shows itself, a line break or a tab as it is; any other as its escape."""
    if c.isprintable() or c in "\n\t\u00a0":
        return c
    return c.encode("unicode_escape").decode()


def message(error: BaseException) -> str:
    """What an error of anybody's says, as a sentence."""
    text = str(error).strip()
    if isinstance(error, SyntaxError):
        text = error.msg.strip()
    if not text:
        return "(no message)."
    if text.endswith((".", "!", "?")):
        return text
    return f"{text}."
