"""Arriving: a hidden sum of clients as they are ready, for `buffered`.

server → client     the model; it trains, and says that it is ready
server → clients    who is in the cell, in which round each was asked, and which model it got
…                   from here on as the hidden sum: prepare, vector, agree, open

A client slows its own update by s(τ), before it is rounded and hidden. Whom it is added with the
server alone chooses, so what the plan would say of a cohort is said of a cell, and checked by each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..asks import Work
from ..errors import Fault, PlanError, ProtocolError, RoundError, number, refuse
from ..messages import largest
from ..spec import Spec, Vector
from ..transforms import Context, Decoder, Mean
from . import Aggregator, Channel, Contribute, Conversation
from .arrivals import Arrivals
from .hidden import HiddenSum
from .hidden.client import member
from .hidden.terms import FEWEST, Terms, colluding, needed
from .ideal import Ideal
from .reveals import Reveals

READY = "ready"  # what a client says that has trained


@dataclass(frozen=True)
class Arriving(Aggregator):
    """Σ s(τᵢ)·vᵢ over each `size` clients that are ready, hidden by `inner`:  s(τ) = 1/√(1 + τ).

        Arriving(MaskedSum(), size=10)

    τᵢ is how many rounds ago client i got its model, and only its update is slowed, not what rides
    along. stale: τ is no more than that; who is slower trains again. alike: so many of a cell have
    trained the same model, at least. For `buffered` alone.   (Nguyen et al. 2022, Alg. 1)
    """

    inner: HiddenSum | Ideal
    size: int = 10
    stale: int = 10
    alike: int = 1

    def __post_init__(self) -> None:
        refuse(_faults(self))

    @property
    def arriving(self) -> int:
        """`size`."""
        return self.size

    @property
    def identified(self) -> bool:
        """Clients know each other by their keys."""
        return True

    @property
    def hidden(self) -> HiddenSum:
        """The sum that hides; or that would, of an ideal one."""
        if isinstance(self.inner, Ideal):
            return self.inner.of
        return self.inner

    def added(self, n: int) -> int:
        """`size`."""
        return self.size

    def min_clients(self, asked: int = 0) -> int:
        """t of a cell."""
        return self.hidden.min_clients(self.size)

    def shortfall(self, n: int) -> str:
        """Why of n clients no cell is made, or nothing."""
        return f"A cell has {self.size} clients." if n < self.size else ""

    def plan(self, spec: Spec) -> Spec:
        """The same; PlanError where its cells hide nobody, or are never full."""
        quorum = spec.sum_facts.quorum
        if quorum > self.size:
            raise PlanError(
                f"A cell of {self.size} clients never reaches the quorum of {quorum}.",
                "Who is in it is all that a round has.",
                f"Write size={quorum}, or a lower quorum.",
            )
        return self.inner.plan(spec)

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """Train, and be ready; then, in a cell, as the hidden sum."""
        yield from contribute.train()
        arrivals = Arrivals.read((yield READY))
        _check(self, arrivals, at)
        session = replace(at.session, task=arrivals.task)
        terms = Terms.of(arrivals.names, self.hidden, at.spec, session)

        def vector() -> Work[Vector]:
            yield from ()
            return contribute.encode(arrivals.round - at.round)

        if isinstance(self.inner, Ideal):
            yield (yield from vector())
        else:
            yield from member(terms, vector, replace(at, session=session))

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """The decoded mean of a cell; RoundError where its sum is not opened."""
        assert channel.arrivals is not None
        try:
            spec = decode.pipe.specs[-1]
            terms = Terms.of(cohort, self.hidden, spec, decode.at.session)
        except ProtocolError as error:
            raise RoundError(error.found, error.why, error.instead) from error
        told = channel.arrivals.body()
        ((total, participants),) = self.inner.opened(channel, list(cohort), [terms], told)
        return decode(total, len(participants), overwrite=True), participants

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """Of the first turn a word; then as of the hidden sum."""
        if turn == 0:
            return largest(READY)
        return self.inner.largest_reply(spec, turn - 1)

    def reveals(self) -> Reveals:
        """The server sees the sum of each cell alone."""
        return replace(self.inner.reveals())

    def form(self, spec: Spec) -> str:
        """As of the hidden sum."""
        return self.inner.form(spec)

    def in_numbers(self, spec: Spec, asked: int) -> str:
        """How many open the sum of a cell, may vanish, and may collude with the server."""
        if isinstance(self.inner, Ideal):
            return ""
        facts = spec.sum_facts
        n = self.size
        t = needed(self.hidden.threshold, n)
        least = max(t, facts.quorum, facts.noise.least)
        most = colluding(self.hidden.threshold, n)
        # P580
        return (
            f"A cell is of {n} clients that are ready, and the server alone sees who they are: all "
            f"who collude with it may be in one. {t} open its sum together, over {least} at least: "
            f"{n - least} may vanish, at any turn, and the round still counts. Up to {most} of the "
            "whole roster may collude with the server, and each vector stays hidden among those of "
            f"{least - most} honest ones or more. An update counts 1/√(1 + τ), where its model is "
            f"τ rounds old, which no cell has of more than {self.stale}: "
            f"{(1 + self.stale) ** -0.5:.2f} at least."
        )

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """As of the hidden sum, cell by cell; and what a server may do that makes up models."""
        server, *others = self.inner.visibility()
        if isinstance(self.inner, Ideal):
            return (server, *others)
        seen = "random numbers; the sum of each cell; who is ready when, and who is in which cell"
        most = (
            f"that at most {colluding(self.hidden.threshold, self.size)} of the whole roster "
            "collude with the server, since it chooses who is in a cell; that the clients are "
            "real: each signs, and who is a client is said by whoever holds the enrolment key"
        )
        many = "one client alone" if self.alike == 1 else f"{self.alike} clients or more"
        # P580
        told = ((server[0], seen, most), *others)
        # P584
        made_up = (
            "a server that makes up models",
            f"the sum over those of a cell who have trained one model, that is, {many}: it may "
            "give the others one from which nothing is learnt",
            "that it makes up no models; with Arriving(…, alike=…) more have trained the same one, "
            "and who is alone with its own trains again",
        )
        return (*told, made_up)


def chosen(models: Sequence[bytes], size: int, alike: int) -> list[int]:
    """Which of those who are ready, in order, make up the next cell; nobody, where none can.

    models: SHA-256 of the one that each has trained. Whose is first goes first; the last ones
    may need a place of theirs, to be as many as are alike.
    """
    of = dict[bytes, list[int]]()
    for i, model in enumerate(models):
        of.setdefault(model, []).append(i)
    counts = dict[bytes, int]()
    for model, some in of.items():
        room = size - sum(counts.values())
        lacking = max(0, alike - room)
        spare = sum(count - alike for count in counts.values())
        if not room or len(some) < alike or lacking > spare:
            continue
        for other in counts:
            given = min(lacking, counts[other] - alike)
            counts[other] -= given
            lacking -= given
        counts[model] = min(len(some), max(room, alike))
    if sum(counts.values()) < size:
        return []
    return sorted(i for model, count in counts.items() for i in of[model][:count])


def _check(one: Arriving, arrivals: Arrivals, at: Context) -> None:
    """ProtocolError for a cell that is not one of the plan, or where this client is said to
    have been asked something else.
    """
    who = at.who
    rounds = arrivals.rounds()
    models = [arrivals.models[round] for round in rounds]
    alike = models.count(arrivals.models.get(at.round, b""))
    wrong = ""
    if who not in arrivals.names or arrivals.task_of(who) != at.session.task:
        wrong = f"{who} was asked otherwise than all are told"
    elif len(arrivals.names) != one.size:
        wrong = f"it has {len(rounds)} clients, and the plan says {one.size}"
    elif not arrivals.round < at.spec.sum_facts.rounds:
        wrong = f"the plan has {at.spec.sum_facts.rounds} rounds"
    elif arrivals.round - min(rounds) > one.stale:
        wrong = f"a model is {arrivals.round - min(rounds)} rounds old, and {one.stale} may be"
    elif alike < one.alike:
        wrong = f"{alike} of it have the model of {who}, and {one.alike} must"
    if wrong:
        raise ProtocolError(
            f"{who} was told of a cell for round {arrivals.round} that is none: {wrong}.",
            "A server that chose otherwise could tell a client's update from the others'.",
            "Look at the server.",
        )


def _faults(one: Arriving) -> Iterator[Fault]:
    """What keeps its cells from hiding anybody."""
    instead = "Write Arriving(MaskedSum(), size=10)."
    ideal = isinstance(one.inner, Ideal) and isinstance(one.inner.of, HiddenSum)
    yield (
        not isinstance(one.inner, HiddenSum) and not ideal,
        f"Arriving(inner={one.inner!r}).",
        "A cell is a hidden sum of those who are ready.",
        instead,
    )
    yield (
        bool(getattr(one.hidden, "holders", 0)),
        f"Arriving(inner={one.inner!r}).",
        "In a cell of a few all hold shares.",
        "Write Arriving(EncryptedSum(), size=10).",
    )
    yield (
        not number(one.size, whole=True) or one.size < FEWEST,
        f"Arriving(size={one.size!r}).",
        f"{FEWEST} clients hide each other at least.",
        instead,
    )
    yield (
        not number(one.stale, whole=True) or one.stale < 0,
        f"Arriving(stale={one.stale!r}).",
        "It counts rounds between a model and the cell.",
        instead,
    )
    yield (
        not number(one.alike, whole=True) or not 1 <= one.alike <= one.size,
        f"Arriving(alike={one.alike!r}).",
        "It counts those of a cell who have trained the same model.",
        f"Write a number up to {one.size}.",
    )
