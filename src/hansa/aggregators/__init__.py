"""Aggregators: how n client vectors become one, and who gets to see what on the way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ..algorithms.reports import medians
from ..asks import Work
from ..errors import Kind, PlanError, RoundError
from ..messages import largest
from ..spec import Spec, Vector
from ..sums import Total
from ..transforms import Context, Decoder, Mean
from ..transforms.curves import Mechanism
from .reveals import UNSTATED, Reveals, revealed, unchanged

__all__ = ["Aggregator", "Channel", "Reveals", "RobustRule", "Sum", "revealed"]

# Yields what it says, receives what it hears. Where the server's first message is not None, a
# conversation begins with a yield whose value nobody gets, and receives that message there.
Conversation = Generator[Any, Any, Any]
# Train and encode, once, when the vector is due:  v = yield from contribute()
Contribute = Callable[[], Work[Vector]]

NO_VECTOR: Kind = "invalid"  # why a client is left out that says no vector of the plan


class Channel(Protocol):
    """The server's letterbox for one round; who does not answer is noted, with the reason."""

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


class Aggregator:
    """A client says its vector, and the server hears it; a subclass says what the server makes of
    it.
    """

    min_clients: ClassVar[int] = 1  # a round with fewer clients must not end in a sum
    grows: ClassVar[bool] = False  # is what comes out appended to a model that grows?

    @property
    def parties(self) -> tuple[str, ...]:
        """Helpers: who takes part beside the server and the clients, by name."""
        return ()

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

    def shortfall(self, n: int) -> str:
        """Why n clients are too few for what the aggregator promises, or nothing."""
        return ""

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """One client's side of the protocol."""
        v = yield from contribute()
        yield v

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
        enough(self, len(answers))
        rest = self.without(len(received), len(answers))
        V = np.stack(list(received.values()))
        memo = decode.at.memo
        # the side values follow the update
        size = sum(decode.spec.blocks[name] for name in decode.spec.update)
        update = rest.apart(V[:, :size], decode.spec)
        side = medians(V[:, size:], decode.spec)
        return (np.concatenate([update, side]), memo), list(received)

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


def decoded(reply: Any, decode: Decoder) -> tuple[Vector, str]:
    """One client's vector, or why it has none: whatever an attacker says, the round goes on without
    it.
    """
    none = np.empty(0)
    if not decode.pipe.specs[-1].fits(reply):
        return none, NO_VECTOR
    try:
        with np.errstate(all="ignore"):
            v, _ = decode(reply, 1)
    except RoundError:  # whose words are about this one vector
        return none, "its vector cannot be decoded"
    return (v, "") if np.isfinite(v).all() else (none, "its vector holds NaN or infinity")
