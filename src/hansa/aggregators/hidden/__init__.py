"""HiddenSum: the frame of sums that clients open together, and in which the server sees nothing
else.

server → clients    the cohort
client → server     a public value, signed; shares of its secrets, sealed for each other client
server → clients    who has prepared; to each its shares
client → server     its vector, hidden; whose shares it holds
(server → client    what those have signed whose shares it says it does not hold
client → server     the proof that these are rubbish)
server → clients    who is in
client → server     its signature on that set, and for each other client a MAC of the same
server → clients    to each the MACs that are for it
client → server     its help to open the sum of exactly that set

What hides a vector, and what help takes it off, says a `Scheme` in a few functions of arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from ...crypto.disclosure import PROOF
from ...crypto.keys import SIGNATURE
from ...crypto.sealing import MAC
from ...errors import Fault, PlanError, ProtocolError, RoundError, number, refuse
from ...messages import largest
from ...spec import Spec, Vector
from ...transforms import Context, Decoder, Mean, Session
from .. import Aggregator, Channel, Contribute, Conversation
from ..reveals import Reveals
from .cell import Cell
from .client import speak
from .proving import DEALT
from .record import entry_of
from .server import collect
from .terms import (
    FEWEST,
    SHARE,
    Scheme,
    Terms,
    colluding,
    help_of,
    member_box_of,
    needed,
    sharing_of,
    value_of,
)

__all__ = ["HiddenSum"]

LARGEST = 2**30  # bytes of all shares of a cell
MOST = 1000  # clients in a cell: each says something to each


@dataclass(frozen=True, repr=False)
class HiddenSum(Aggregator):
    """Σ vᵢ over one cell, which t = ⌊threshold · n⌋ + 1 of its n clients open together.

    The server sees the sum, and who is in it, while fewer than 2t − n clients collude with it.
    Where fewer than t are left, the round changes nothing.
    """

    threshold: float = SHARE

    scheme: ClassVar[Scheme]

    def __post_init__(self) -> None:
        name = type(self).__name__
        share = self.threshold
        if number(share) and SHARE <= share < 1:
            return
        raise PlanError(
            f"{name}(threshold={share!r}) protects nobody from the server.",
            "More than two thirds of a cohort must open a sum together, or a server could have two "
            "sums opened, each by a half, and take the difference.",
            f"Write {name}(), or a threshold from 2/3 up to, and without, 1.",
        )

    def __repr__(self) -> str:
        """The expression that builds it, without what is as ever."""
        said = [(one.name, getattr(self, one.name), one.default) for one in fields(self)]
        given = [f"{name}={value!r}" for name, value, default in said if value != default]
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def identified(self) -> bool:
        """Clients know each other by their keys."""
        return True

    def cells(self, cohort: Sequence[str], spec: Spec, session: Session) -> list[Terms]:
        """Whose vectors are added together, as one party knows it: here those of all. ProtocolError
        for no cohort.
        """
        return [Terms.of(cohort, self, spec, session)]

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """Prepare, hide, agree, help."""
        return speak(self.cells, contribute, at)

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """Carry messages, add hidden vectors, and decode the sum that enough clients open;
        RoundError where they do not.
        """
        asked = sorted(cohort)
        try:
            cells = self.cells(asked, decode.pipe.specs[-1], decode.at.session)
        except ProtocolError as error:
            raise RoundError(error.found, error.why, error.instead) from error
        ((total, participants),) = self.opened(channel, asked, cells)
        return decode(total, len(participants), overwrite=True), participants

    def opened(
        self, channel: Channel, asked: list[str], terms: Sequence[Terms], told: Any = None
    ) -> list[tuple[Vector, list[str]]]:
        """The sum of each cell that is opened, and who is in it; RoundError where none is.

        told: what all hear first; else who is asked.
        """
        cells = [Cell.of(one, channel.keep) for one in terms]
        found = list[tuple[Vector, list[str]]]()
        for cell, total in collect(channel, asked, cells, told):
            channel.note(entry_of(cell, total))
            if total is not None:
                found.append((total, cell.terms.named(cell.inside)))
        if not found:
            failure = cells[0].failure
            raise RoundError(
                failure.why if failure else "", "No sum can be opened, and nothing of one was seen."
            )
        return found

    def plan(self, spec: Spec) -> Spec:
        """The same; PlanError where such vectors cannot be hidden, or honest clients not be
        enough.
        """
        self._check()
        refuse(self._faults(spec))
        return spec

    def _check(self) -> None:
        """PlanError where a library is missing."""
        if find_spec("cryptography") is None:
            raise PlanError(
                f"{type(self).__name__} needs a library that is not installed (cryptography).",
                "It brings ciphers and keys.",
                "Install it: pip install 'hansa[verified]'.",
            )

    def _faults(self, spec: Spec) -> Iterator[Fault]:
        """What keeps a vector of this spec, in such rounds, from being hidden."""
        name = type(self).__name__
        facts = spec.sum_facts
        most = facts.clients
        bits = f"Quantize(16, of='sum'{'' if most else ', clients=…'})"
        yield (
            spec.space != "integer",
            f"{name} adds integers, and the vector holds real numbers.",
            "Only in integers that wrap around a mask hides everything, and leaves nothing.",
            f"Put {bits} at the end of the pipe.",
        )
        yield (
            facts.hidden,
            f"{name} tells each client who else is asked, and ε rests on nobody knowing that.",
            "A client agrees with the others of its round on what hides them.",
            "Write a quorum in the sample: then ε takes the sample as known.",
        )
        yield (
            most > MOST,
            f"{name} has {most} clients in one sum.",
            f"Each says something to each, and {MOST} are the most.",
            "Sample fewer, or write EncryptedSum(holders=700).",
        )
        size = self._boxes(most) if FEWEST <= most <= MOST else 0
        yield (
            size > LARGEST,
            f"{name} of {most} clients has {size / 2**30:.1f} GiB of shares.",
            "Each client says something to each, and the server carries it.",
            "Sample fewer, or leave `threshold` out.",
        )
        yield (
            0 < most < FEWEST,
            f"{name} has {most} clients in a sum.",
            "Of two, each learns the other's vector from the sum.",
            f"Sample {FEWEST} or more.",
        )

    def _boxes(self, n: int) -> int:
        """Bytes of what n clients say to each other."""
        sharing = sharing_of(self.scheme, n, needed(self.threshold, n))
        return n * n * member_box_of(self.scheme, sharing)

    def min_clients(self, asked: int = 0) -> int:
        """t."""
        return max(FEWEST, needed(self.threshold, asked))

    def shortfall(self, n: int) -> str:
        """Why n clients are too few to hide each other, or nothing."""
        return f"{FEWEST} clients hide each other at least." if n < FEWEST else ""

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """How many bytes a client's answer has at most, in the largest cell."""
        most = spec.sum_facts.clients or MOST
        scheme = self.scheme
        cells = [sharing_of(scheme, n, needed(self.threshold, n)) for n in range(FEWEST, most + 1)]
        boxes = max(one.n * member_box_of(scheme, one) for one in cells)
        helps = max(math.prod(help_of(scheme, one)) for one in cells)
        bodies: list[Any] = [
            {
                "public": bytes(value_of(scheme)),
                "boxes": np.zeros((most, -(-boxes // most)), np.uint8),
                "signature": bytes(DEALT),
            },
            {
                "vector": scheme.largest(spec, most),
                "holds": np.zeros(most, np.uint8),
                "signature": bytes(SIGNATURE),
            },
        ]
        if turn < len(bodies):
            return largest(bodies[turn])
        later: list[Any] = [  # which of them a turn has depends on whether somebody denies
            np.zeros((most, PROOF), np.uint8),
            {"signature": bytes(SIGNATURE), "macs": np.zeros((most, MAC), np.uint8)},
            np.zeros((most, -(-helps // most)), np.uint64),
        ]
        return max(largest(body) for body in later)

    def reveals(self) -> Reveals:
        """The server sees the sum alone."""
        return Reveals(server="sum")

    def in_numbers(self, spec: Spec, asked: int) -> str:
        """How many open a sum, may vanish, and may collude with the server."""
        if asked < FEWEST:
            return ""
        facts = spec.sum_facts
        least = max(self.min_clients(asked), facts.quorum, facts.noise.least)
        most = colluding(self.threshold, asked)
        # P400
        return (
            f"Of {asked} clients that are asked, {self.min_clients(asked)} open a sum together, "
            f"and it is over {least} at least: {asked - least} may vanish, at any turn, and the "
            f"round still counts. Up to {most} of them may collude with the server, and each "
            f"vector stays hidden among those of {least - most} honest ones or more; one more, "
            "and a server that cheats could see a vector."
        )

    def form(self, spec: Spec) -> str:
        """Hidden integers."""
        # P400
        return f"{super().form(spec)}, hidden: to whoever reads them they are random numbers"

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """Who sees what, and who must be honest for it."""
        share = Fraction(self.threshold).limit_denominator(1000)
        most = (
            "that at most 2t − n − 1 of the n clients asked collude with the server, where t, "
            f"more than {share} of them, open a sum together; that the clients are real: each "
            "signs, and who is a client is said by whoever holds the enrolment key"
        )
        # P590
        once = (
            "; with a share that is rubbish it does so once, for to whom it was dealt proves it, "
            "and it is out for the run"
        )
        if getattr(self, "holders", 0):  # of a committee nothing is proven
            once = ""
        return (
            # P400
            ("server", "random numbers; the sum; who took part, and who vanished when", most),
            # P400
            (
                "other clients",
                "random numbers; who is asked, who took part; the new model after each round, and "
                "by its change the mean of all updates",
                "as for the server, which one of them may be in league with",
            ),
            # P400
            (
                "Byzantine clients",
                "nothing more; one of them moves the sum as far as it likes, or has the round fail"
                + once,
                "nothing: a vector that nobody sees nobody can judge; VerifiedSum proves bounds",
            ),
            # P400
            (
                "who compares rounds",
                "the difference of the sums of two rounds, over nearly the same clients",
                "nothing: who is in one sum and not in the next is told, and a server that says "
                "the same model twice, in two rounds or runs, learns from the difference; noise "
                "hides that",
            ),
        )
