"""Aggregators: how n client vectors become one, and who gets to see what on the way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ..algorithms.reports import medians
from ..asks import Work
from ..codec import Frame
from ..errors import Kind, PlanError, RoundError
from ..messages import largest
from ..spec import Spec, Vector
from ..sums import Total
from ..transforms import Context, Decoder, Mean
from ..transforms.curves import Mechanism
from .arrivals import Arrivals
from .reveals import UNSTATED, Reveals, revealed, unchanged

__all__ = ["Aggregator", "Channel", "Draw", "Reveals", "RobustRule", "Sum", "revealed"]

# Yields what it says, receives what it hears. Where the server's first message is not None, a
# conversation begins with a yield whose value nobody gets, and receives that message there.
Conversation = Generator[Any, Any, Any]


class Contribute(Protocol):
    """A client's vector of one session, which is there once:  v = yield from contribute()"""

    def __call__(self) -> Work[Vector]:
        """Train, and encode."""
        ...

    def train(self) -> Work[None]:
        """Train alone, where it is not known yet when the vector is due; then comes `encode`."""
        ...

    def encode(self, staleness: int) -> Vector:
        """The vector of what was trained, so many rounds after its model came."""
        ...


@dataclass(frozen=True)
class Draw:
    """What a party's side of a conversation yields to draw its secrets, once for a session:

        secret = yield Draw(make)           what make() gave, bytes

    It stands in the party's book with the answer that comes next, until the session is settled; a
    conversation that is driven again, after a restart, is given the same.
    """

    make: Callable[[], bytes]


NO_VECTOR: Kind = "invalid"  # why a client is left out that says no vector of the plan
# why one is left out for the rest of a run, as anybody can verify
PROVEN = "it has dealt rubbish for a share, which is proven"


class Channel(Protocol):
    """The server's letterbox for one round; who does not answer is noted, with the reason."""

    @property
    def before(self) -> Mapping[str, str]:
        """Who was left out of the round before, and why."""
        ...

    @property
    def arrivals(self) -> Arrivals | None:
        """Who is ready, where these make up a cell; None where a cohort is asked."""
        ...

    def gather(self, bodies: Mapping[str, Any]) -> dict[str, Any]:
        """Say something to each of many, and hear who answered what, in the order of their
        names.
        """
        ...

    def sum(self, cohort: Sequence[str]) -> tuple[Total, list[str]]:
        """Ask each for its vector, and hear their sum alone, and who is in it."""
        ...

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Say something to each of many, and hear who answered what, as it comes; others may be
        asked meanwhile.
        """
        ...

    def exclude(self, who: str, why: str) -> None:
        """Leave out one who answered, for a reason."""
        ...

    def note(self, entry: Mapping[str, Any]) -> None:
        """Let something stand in the run's record: what clients have signed, as JSON."""
        ...

    def keep(self, data: Frame) -> None:
        """Let the record's bytes be kept beside it, under their SHA-256, where the run is to."""
        ...


class Aggregator:
    """A client says its vector, and the server hears it; a subclass says what the server makes of
    it.
    """

    grows: ClassVar[bool] = False  # is what comes out appended to a model that grows?

    @property
    def parties(self) -> tuple[str, ...]:
        """Helpers: who takes part beside the server and the clients, by name."""
        return ()

    @property
    def identified(self) -> bool:
        """Do its parties know each other by keys, which a roster says, and answer once a round?"""
        return bool(self.parties)

    @property
    def sums(self) -> bool:
        """Is it the plain sum of what each client says, so that a loop may also add by itself?"""
        return False

    def reveals(self) -> Reveals:
        """What each party sees of clients' vectors, as its author states it; ask `revealed`."""
        return UNSTATED

    def plan(self, spec: Spec) -> Spec:
        """What is known of the sum; PlanError where such vectors cannot be aggregated this way."""
        return spec

    def privacy(self, spec: Spec, n: int) -> Mechanism | None:
        """What noise of its own in a sum of n vectors gives away; None where it states nothing."""
        return None

    def describe(self) -> str:
        """Of its noise: what is drawn, and by whom."""
        return f"drawn as {type(self).__name__} does"

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """Bytes of a client's answer, at most, as `Reply.encode` writes it: here one encoded
        vector.

        A transport takes no more of what it does not know yet.
        """
        return largest(np.zeros(spec.size, spec.word))

    def min_clients(self, asked: int = 0) -> int:
        """How many clients must be in a sum where so many are asked; 0 where that is not known."""
        return 1

    def added(self, n: int) -> int:
        """How many vectors are in one sum at most, where n are asked at most; 0 where that is not
        known.
        """
        return n

    def shortfall(self, n: int) -> str:
        """Why n clients are too few for what the aggregator promises, or nothing."""
        return ""

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """One client's side of the protocol."""
        yield (yield from contribute())  # without a name, which would keep it for the session

    def helper(self, quorum: int, at: Context) -> Conversation:
        """One helper's side, of a sum over `quorum` clients or more, which it returns."""
        raise TypeError(f"{type(self).__name__} has no helpers")

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """The server's side: the decoded mean (None where nobody is in it), and who is in it."""
        raise TypeError(f"{type(self).__name__} does not say what the server does")

    def moved(self, spec: Spec, others: float, attackers: int = 1) -> dict[str, float]:
        """How far so many attackers move the mean of each block; nothing where nothing that they
        say is proven.
        """
        return {}

    def form(self, spec: Spec) -> str:
        """What a client's vector is on the wire, in words: as it is encoded."""
        if spec.space == "integer":
            return f"integers of {spec.sum_facts.modulus} bits"
        return "real numbers"

    def exposure(self) -> str:
        """What a reader must know of a server that sees single vectors; where it sees none,
        nothing.
        """
        return ""

    def in_numbers(self, spec: Spec, asked: int) -> str:
        """Where so many clients are asked: how many may vanish, collude or lie; nothing where that
        is not known.
        """
        return ""

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """Who sees what, under which assumption, in words: here those of `revealed`."""
        return revealed(self).visibility(self.parties)


@dataclass(frozen=True)
class Sum(Aggregator):
    """The plain sum; the server could see every vector.

    It is exact (see `hansa.sums`), so workers may add their own clients' vectors and send one.
    """

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """decode(Σ vᵢ)."""
        total, participants = channel.sum(cohort)
        if total.count:
            return decode(total.release(), len(participants), overwrite=True), participants
        encoded = decode.pipe.specs[-1]
        nothing = np.zeros(encoded.size, encoded.word)
        # where noise hides the sample, also an empty one
        mean = decode(nothing, 0) if encoded.hidden else None
        return mean, participants

    @property
    def sums(self) -> bool:
        """Also of a subclass that changes nothing of it."""
        return unchanged(self, Sum)

    def reveals(self) -> Reveals:
        """The server could look at each vector before it adds it."""
        return Reveals(server="each")

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """As with every sum in the clear; and what attackers can do."""
        lies = "nothing: a sum shows nobody's lie; the plan's bounds hold for those who follow it"
        return (
            *super().visibility(),
            # P9
            ("Byzantine clients", "the model; one of them moves it as far as it likes", lies),
        )


class RobustRule(Aggregator):
    """A function of the n decoded vectors, not of their sum, so that a few attackers cannot move it
    far.

    The rule sees what is trained and, apart, running statistics; of each side value the median
    counts, of a score that of the clients who have one. A client counts once, whatever its weight.
    Who says what is no vector of the plan, what cannot be decoded, or what holds NaN or infinity is
    left out first.
    """

    def rule(self, V: Vector) -> Vector:
        """The n updates [n, d] become one [d]."""
        raise TypeError(f"{type(self).__name__} does not say its rule")

    def without(self, n: int, answered: int) -> RobustRule:
        """The rule for the n vectors that those who answered have said; RoundError where they are
        too few.

        Who said none may be honest, with a training that diverged: there need not be fewer
        attackers among the others.
        """
        enough(self, n)
        return self

    def tolerance(self) -> str:
        """Up to which share of attackers the rule holds, as a clause."""
        return "the rule states no share of attackers that it withstands"

    def reveals(self) -> Reveals:
        """A rule looks at each vector."""
        return Reveals(server="each")

    def exposure(self) -> str:
        """A rule looks at each vector."""
        # P9
        return (
            "A robust rule looks at each update by itself, so the server sees every one of them, "
            "by name."
        )

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """As with every sum in the clear; and what attackers can do."""
        return (
            *super().visibility(),
            # P66
            ("Byzantine clients", "the model; they move it, but not far", self.tolerance()),
        )

    def plan(self, spec: Spec) -> Spec:
        """Noise and what transforms learn are made for sums."""
        name = type(self).__name__
        if spec.noise.multiplier:
            raise PlanError(
                f"{name} with noise has no guarantee.",
                f"The noise is sized for a sum, and {name} is not a sum: one client can move it "
                "otherwise.",
                "Leave the noise out, or take Sum().",
            )
        if spec.learns:
            raise PlanError(
                f"{name} with AdaptiveClip cannot learn.",
                f"The clip is learnt from the sum of all bits, and {name} takes no sum.",
                "Take Clip(norm=…).",
            )
        return spec

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """rule(decode(v₁), …, decode(vₙ))."""
        answers = channel.gather(dict.fromkeys(cohort))
        received = dict[str, Vector]()
        for who, reply in answers.items():
            v, why = decoded(reply, decode)
            if why:
                channel.exclude(who, why)
            else:
                received[who] = v
        if not received:
            return None, []
        v = self.combined(np.stack(list(received.values())), len(answers), decode.spec)
        return (v, decode.at.memo), list(received)

    def combined(self, V: Vector, heard: int, spec: Spec) -> Vector:
        """The rule of decoded vectors [n, size], of which so many were heard; of the side values
        behind the update, medians.
        """
        enough(self, heard)
        rest = self.without(len(V), heard)
        size = sum(spec.blocks[name] for name in spec.update)
        return np.concatenate([rest.apart(V[:, :size], spec), medians(V[:, size:], spec)])

    def apart(self, V: Vector, spec: Spec) -> Vector:
        """The rule of what is trained and, apart, of statistics, which have other units [d].

        Honest variances may differ so much that who says the usual ones is near to all, with any
        weights.
        """
        carried = spec.spread(dict.fromkeys(spec.statistics, 1.0), 0.0)[: V.shape[1]] > 0
        if not carried.any():
            return self.rule(V)
        v = np.empty(V.shape[1])
        for part in (carried, ~carried):
            v[part] = self.rule(V[:, part])
        return v


def enough(rule: RobustRule, n: int) -> None:
    """Raise RoundError where n vectors are too few for what the rule promises."""
    if why := rule.shortfall(n):
        raise RoundError(
            f"{rule!r} heard {n} clients.", why, "Sample more, or expect fewer attackers."
        )


def decoded(reply: Any, decode: Decoder, n: int = 1) -> tuple[Vector, str]:
    """One client's vector, or the mean of n, or why it has none: whatever an attacker says, the
    round goes on without it.
    """
    none = np.empty(0)
    if not decode.pipe.specs[-1].fits(reply):
        return none, NO_VECTOR
    try:
        with np.errstate(all="ignore"):
            v, _ = decode(reply, n)
    except RoundError:  # whose words are about this one vector
        return none, "its vector cannot be decoded"
    return (v, "") if np.isfinite(v).all() else (none, "its vector holds NaN or infinity")
