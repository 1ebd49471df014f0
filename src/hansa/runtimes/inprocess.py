"""InProcess: all clients in this process, on a virtual clock.

A network is simulated by events: what will arrive, when, and why not. A client trains when its
reply would arrive, so nothing waits, and a simulated hour of latency costs nothing. Below it stands
what all runtimes share: how a party is given what it remembers, answers, is kept, and is summed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any, Literal, Self

from ..aggregators import NO_VECTOR
from ..aggregators.arrivals import arriving
from ..asks import together
from ..crypto.identity import Member
from ..errors import HansaError, Kind, PlanError, number
from ..messages import Begin, Message, Reply, Request, SessionId, Settle
from ..parties import Given, Party, Said, report
from ..parties.book import Book
from ..parties.client import Client
from ..parties.helper import Helper
from ..parties.memory import Memory
from ..parties.population import Clients, Population, gathered
from ..progress import tell
from ..rand import Key
from ..spec import Spec
from ..sums import Total
from .allocator import keep

Why = Kind | Literal[""]
Answer = tuple[str, Any, Why]  # who, its reply or None, why not


@dataclass(frozen=True)
class Network:
    """A simulated network: replies take Exp(`latency`) virtual seconds, a share `drop` is lost.

    A share of the clients of a session is gone for the rest of it from a random message on
    (`vanish`); half of them from the first, a quarter from the second, and so on. A fixed share,
    the `stragglers`, is slower by the factor `slowdown`. PlanError where that cannot be.
    """

    latency: float = 0.0
    drop: float = 0.0
    stragglers: float = 0.0
    slowdown: float = 10.0
    vanish: float = 0.0

    def __post_init__(self) -> None:
        numbers = all(
            map(number, (self.latency, self.drop, self.stragglers, self.slowdown, self.vanish))
        )
        shares = (
            numbers and 0 <= self.drop < 1 and 0 <= self.vanish < 1 and 0 <= self.stragglers <= 1
        )
        if not shares or not 0 <= self.latency < math.inf or not 1 <= self.slowdown < math.inf:
            raise PlanError(
                f"{self!r} cannot be simulated.",
                "A latency is not negative, shares lie between 0 and 1, and stragglers are slower, "
                "not faster.",
                "Write for example Network(latency=1.0, drop=0.05, stragglers=0.1).",
            )

    def fate(self, who: str, request: Request, key: Key) -> tuple[float, bool]:
        """How long the reply of `who` takes, and whether it is lost; equal for equal keys."""
        if not (self.latency or self.drop or self.vanish):
            return 0.0, False
        here = key.child(request.session.number, request.turn, who).rng()
        slow = self.stragglers and key.child("straggler", who).rng().random() < self.stragglers
        takes = here.exponential(self.latency) * (self.slowdown if slow else 1.0)
        dropped = here.random() < self.drop
        return takes, dropped or request.turn >= self._gone(who, request, key)

    def _gone(self, who: str, request: Request, key: Key) -> float:
        """The turn from which `who` says nothing any more."""
        if not self.vanish:
            return math.inf
        rng = key.child("vanish", request.session.number, who).rng()
        return rng.geometric(0.5) - 1 if rng.random() < self.vanish else math.inf


class InProcess:
    """All clients in this process; latency, dropouts and stragglers repeat for equal `seed`s.

    Simulated, too, are the helpers that the plan's aggregator asks for; they answer at once, and
    their noise grows from `secret`, or from a fresh one of each. With a `book` on disk, what
    clients have been asked and have answered outlives the process.
    """

    def __init__(
        self,
        clients: Iterable[Client] | Population,
        network: Network | None = None,
        seed: int = 0,
        secret: Key | None = None,
        book: Book | None = None,
    ):
        keep()
        self.clients = gathered(clients)
        self.helpers = helpers(self.clients, secret)
        self.named = self.clients.named or (secret is not None and not secret.hides)
        self.memory = Memory(self.clients.plan, self.named, book)
        self.network = network or Network()
        self.key = Key.of(seed).child("network")
        self.now = 0.0
        self._waits = bool(arriving(self.clients.plan.aggregator))
        self._deadlines = Deadlines(self._waits)
        self._events: list[tuple[float, bool, int, Request, tuple[str, ...], Why]] = []
        self._order = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def roster(self) -> Sequence[str]:
        """Names of all clients, sorted."""
        return self.clients.names

    @property
    def members(self) -> Mapping[str, Member]:
        """The public halves of all parties, by name, where helpers must know them."""
        return self.clients.roster

    def send(self, message: Message) -> None:
        """Decide at once, by the virtual clock, who will answer and when.

        when = now + Exp(latency), times the slowdown of a straggler; late after the deadline
        """
        if not isinstance(message, Request):
            self.memory.hear(message)
            self._deadlines.hear(message)
            if self._waits and isinstance(message, Settle):
                self.clients.evict(message.session)
            return
        if message.turn == 0 and not self._waits:
            self.clients.evict()
        end = self._deadlines.of(message, self.now)
        answering = []
        last = self.now
        for who in message.bodies:
            takes, dropped = (
                (0.0, False) if who in self.helpers else self.network.fate(who, message, self.key)
            )
            when = max(self.now, min(self.now + takes, end))
            late = self.now + takes > end
            if dropped or late:
                self._push(when, message, (who,), "absent" if dropped else "late")
            elif message.fold:
                answering.append(who)
                last = max(last, when)
            else:
                self._push(when, message, (who,), "")
        if answering:
            self._push(last, message, tuple(answering), "")

    def _push(self, when: float, request: Request, who: tuple[str, ...], why: Why) -> None:
        """An event: at this time these answer a request, or are known not to, and why."""
        after = who[0] not in self.helpers  # else many clients' replies would wait for one helper's
        heapq.heappush(self._events, (when, after, next(self._order), request, who, why))

    def receive(self) -> Reply:
        """Let the earliest reply arrive; its client trains now.

        Of a folded request that is the sum of all who answer, when the last of them has; those
        whose answer is no vector of the plan follow, one by one.
        """
        self.now, _, _, request, who, why = heapq.heappop(self._events)
        if why:
            return Reply.to(request, who, None, why)
        if request.fold:
            total, there, excluded = fold(
                self._answers(who, request), self.clients.plan.encoded_spec
            )
            for name, reason in excluded.items():
                self._push(self.now, request, (name,), reason)
            return Reply.to(request, there, total if there else None)
        ((_, body, why),) = self._answers(who, request)
        return Reply.to(request, who, body, why)

    def _answers(self, names: Sequence[str], request: Request) -> Iterator[Answer]:
        """What these say, those that train together at a time; each writes it down first."""
        refused = list[Answer]()

        def asked() -> Iterator[tuple[Party, Given]]:
            """Who is to answer, and with what; the others refuse, or have answered before."""
            for done, who in enumerate(names):
                if len(names) > 1:  # else the loop counts
                    tell("clients", done=done, total=len(names))
                tell("client", who)
                given, why = given_to(self.memory, who, request)
                if isinstance(given, Given):
                    yield self.helpers.get(who) or self.clients[who], given
                else:
                    refused.append((who, given, why))

        for party, said, why in answers(asked(), request):
            yield (
                party.who,
                None if said is None else self.memory.keep(party.who, request, said),
                why,
            )
        yield from refused

    def close(self) -> None:
        """Nothing is open."""


def given_to(memory: Memory, who: str, request: Request) -> tuple[Given | Any, Why]:
    """What a party is given with a request; or what it has said to it before; or None and why."""
    try:
        given = memory.ask(who, request)
    except HansaError as error:
        report(who, error)
        return None, error.kind
    return (given, "") if isinstance(given, Given) else (given.reply, "")


def helpers(clients: Clients, secret: Key | None) -> dict[str, Helper]:
    """The helpers that the clients' plan asks for, by name; they and the clients know each other.

    PlanError for a helper named like a client. The noise of all grows from `secret`.
    """
    found = {
        who: Helper(who, clients.plan, secret=secret or Key.fresh())
        for who in clients.plan.aggregator.parties
    }
    introduce(clients, {who: one.enrol() for who, one in found.items()})
    for helper in found.values():
        helper.roster = clients.roster
    return found


def introduce(clients: Clients, helpers: Mapping[str, Member]) -> None:
    """Let clients and helpers know each other; PlanError for a helper named like a client."""
    if twice := [name for name in helpers if name in clients.names]:
        raise PlanError(
            f"A client and a helper are called {twice[0]!r}.",
            "Replies are told apart by name.",
            "Rename one.",
        )
    if clients.plan.aggregator.identified:
        clients.introduce(helpers)


def all_given(
    memory: Memory, request: Request, busy: Collection[str]
) -> tuple[dict[str, Given], list[Reply], list[Request]]:
    """What each party is given; the replies of those that need not be asked, or may not; and what
    to ask later of those that are busy.
    """
    given = dict[str, Given]()
    known = list[Reply]()
    later = list[Request]()
    for who, body in request.bodies.items():
        if who in busy:
            later.append(replace(request, bodies={who: body}))
            continue
        one, why = given_to(memory, who, request)
        if isinstance(one, Given):
            given[who] = one
        else:
            known.append(Reply.to(request, (who,), one, why))
    return given, known, later


def kept(memory: Memory, reply: Reply, request: Request, said: Mapping[str, Said]) -> Reply:
    """A reply from elsewhere, once it is written down what each party said and has learnt."""
    if reply.body is None or not said:
        return reply
    memory.early |= {(reply.session, who) for who in reply.who}
    if request.fold:
        for who in reply.who:
            memory.keep(who, request, said[who])
        return reply
    (who,) = reply.who
    return replace(reply, body=memory.keep(who, request, replace(said[who], reply=reply.body)))


def heard(memory: Memory, reply: Reply) -> Reply:
    """The same, which the loop hears now; until here nothing shows of what was learnt with it."""
    memory.early -= {(reply.session, who) for who in reply.who}
    return reply


def answer(party: Party, request: Request, given: Given) -> tuple[Said | None, Why]:
    """What a party says, or None and the kind of why not, whose words stay here.

    Any error but hansa's own is a bug of its code, and ends all. In a simulation the developer sees
    where it came from.
    """
    try:
        return party.answer(request, given), ""
    except HansaError as error:
        return None, party.report(error)


def answers(
    asked: Iterable[tuple[Party, Given]], request: Request
) -> Iterator[tuple[Party, Said | None, Why]]:
    """The same for many parties in their order; where their model trains many at once, these train
    side by side, and each says what it would say alone.
    """
    coming = iter(asked)
    for first, given in coming:
        cohort = first.plan.model.cohort
        if cohort == 1:
            yield first, *answer(first, request, given)
            continue
        some = [(first, given), *islice(coming, cohort - 1)]
        works = [party.work(request, given) for party, given in some]
        for (party, _), made in zip(some, together(works, first.plan.perform), strict=True):
            if isinstance(made, Said):
                yield party, made, ""
            elif isinstance(made, HansaError):
                yield party, None, party.report(made)
            else:
                raise made


def fold(
    answers: Iterable[Answer], encoded: Spec
) -> tuple[Total, tuple[str, ...], dict[str, Kind]]:
    """The exact sum of what clients say, who is in it, and who is not and why.

    Only one sum is held, and one vector at a time, however many clients there are.
    """
    total = Total()
    there = list[str]()
    excluded = dict[str, Kind]()
    for who, body, why in answers:
        if body is None or not encoded.fits(body):
            excluded[who] = why or NO_VECTOR
        else:
            total.add(body)
            there.append(who)
    return total, tuple(there), excluded


class Deadlines:
    """Until when each session goes on: from its first message on, by the clock of the runtime.

    waits: does a client wait for others after its first answer? Then its time begins again with
    its second message.
    """

    def __init__(self, waits: bool = False) -> None:
        self._waits = waits
        self._ends: dict[tuple[SessionId, bool], float] = {}

    def of(self, request: Request, now: float) -> float:
        """The end of the request's session."""
        part = self._waits and request.turn > 0
        return self._ends.setdefault((request.session, part), now + request.deadline)

    def hear(self, message: Begin | Settle) -> None:
        """Forget a session that is over, and all where a run begins."""
        if isinstance(message, Begin):
            self._ends = {}
        else:
            self._ends.pop((message.session, False), None)
            self._ends.pop((message.session, True), None)
