"""The parties beside the server: clients, which hold data, and helpers, which hold shares of what clients say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np

from . import data as local
from . import privacy
from .accounting import Guarantee, Unit
from .aggregators import Conversation
from .crypto.keys import PrivateKey
from .errors import DataError, HansaError, PlanError, PolicyError, ProtocolError, number
from .models import Foretold, Job, TrainResult, Undone
from .optim import Memo
from .plan import Plan
from .rand import Key
from .spec import Vector
from .transforms import Context


@dataclass(frozen=True)
class Request:
    """What the server says to some clients: which plan, which round, the model, and a message for each.

    With `fold`, who carries the replies may add up the vectors and hand over their exact sum.
    """

    plan: str  # digest
    round: int
    session: int  # one conversation with each of the clients
    down: Any
    bodies: Mapping[str, Any]  # who → message; None opens the conversation
    deadline: float = math.inf  # seconds
    turn: int = 0  # how many messages of its session came before
    fold: bool = False


@dataclass(frozen=True)
class Reply:
    """What came back from `who`: a message, a `Total` over all of them, or None and the reason why not."""

    session: int
    round: int
    who: tuple[str, ...]
    body: Any
    why: str = ""


@dataclass(frozen=True)
class Policy:
    """What a data owner allows; a plan that asks for more is refused by the client itself, whatever the server says.

    It reads the plan. That a server keeps to it (sums over the quorum, draws its noise) no client can see: where that
    matters, allow only aggregators that enforce it.
    """

    min_cohort: int = 1  # no plan whose rounds may end with fewer clients
    max_rounds: float = math.inf
    aggregators: frozenset[str] | None = None  # names, such as {"VerifiedSum"}; None allows all
    min_noise: float = 0.0  # noise multiplier z
    reports: bool = True  # may losses and scores be told?
    epsilon: float = math.inf  # no plan whose rounds together could give away more, or nobody knows how much
    delta: float = 1e-6
    unit: Unit = "client"  # what ε is about: the whole client, or one "example" of it

    def __post_init__(self) -> None:
        limits = {"min_cohort": self.min_cohort, "max_rounds": self.max_rounds, "min_noise": self.min_noise}
        limits["epsilon"] = self.epsilon
        wrong = [name for name, value in limits.items() if not number(value) or not value >= 0]
        wrong += ["delta"] if not number(self.delta) or not 0 < self.delta < 1 else []
        wrong += ["unit"] if self.unit not in ("client", "example") else []
        wrong += ["aggregators"] if not isinstance(self.aggregators, set | frozenset | None) else []
        if wrong:
            raise PlanError(
                f"Policy({wrong[0]}={getattr(self, wrong[0])!r}) allows and forbids nothing.",
                "Limits are numbers ≥ 0, δ a probability, the unit client or example, and aggregators a set of names.",
                "Write for example Policy(min_cohort=4, aggregators=frozenset({'VerifiedSum'})).",
            )

    def check(self, plan: Plan, who: str, examples: int | None = None) -> None:
        """Raise PolicyError where the plan asks for more than this of who has so many examples, if that is known."""
        name, promise = type(plan.aggregator).__name__, self._promise(plan, examples)
        wrong = [
            (plan.sample.quorum < self.min_cohort, f"a quorum of {plan.sample.quorum}", f"at least {self.min_cohort}"),
            (plan.rounds > self.max_rounds, f"{plan.rounds} rounds", f"at most {self.max_rounds:g}"),
            (
                self.aggregators is not None and name not in self.aggregators,
                f"aggregator {name}",
                "one of " + ", ".join(sorted(self.aggregators or ())),
            ),
            (
                plan.summed.noise.multiplier < self.min_noise,
                f"a noise multiplier of {plan.summed.noise.multiplier:g}",
                f"at least {self.min_noise:g}",
            ),
            (bool(plan.reported) and not self.reports, f"reports of {', '.join(plan.reported)}", "no reports"),
            (
                promise is not None and (promise.epsilon is None or promise.epsilon > self.epsilon),
                f"{promise}, after {plan.rounds} rounds",
                f"at most ε = {self.epsilon:g} at δ = {self.delta:g} for each {self.unit}",
            ),
        ]
        for bad, found, allowed in wrong:
            if bad:
                raise PolicyError(
                    f"{who} does not take part: the plan has {found}.",
                    f"Its owner allows {allowed}.",
                    "Change the plan, or ask the owner to change the policy.",
                )

    def _promise(self, plan: Plan, examples: int | None) -> Guarantee | None:
        """What the plan promises; None where no promise is asked for, or examples must be counted first."""
        if math.isinf(self.epsilon):
            return None
        if self.unit == "client":
            return privacy.planned(plan).guarantee(self.delta)
        if examples is None and plan.training.private:
            return None
        return privacy.examples(plan, examples or 0).guarantee(self.delta)


@dataclass
class Party:
    """Who is asked: a name, a copy of the plan, and the conversation that is under way.

    A conversation is a generator, driven one exchange at a time; the first message of a session ends the one before.
    """

    who: str
    plan: Plan
    _conversation: tuple[int, Conversation] | None = field(default=None, repr=False, kw_only=True)

    def answer(self, request: Request) -> Any:
        """The reply to `request.bodies[who]`."""
        if request.plan != self.plan.digest:
            raise ProtocolError(
                f"{self.who} was asked to take part in plan {request.plan[:8]}… and holds {self.plan.digest[:8]}….",
                "Server and clients must hold the same plan, or they would not mean the same by a vector.",
                "Give both the same app, of the same version.",
            )
        body, now = request.bodies[self.who], self._conversation
        if request.turn == 0:
            now = self._conversation = request.session, self._converse(request)
            said = next(now[1])
            return said if body is None else now[1].send(body)
        if now is None or now[0] != request.session:
            raise ProtocolError(
                f"{self.who} was asked to go on with session {request.session}, and knows nothing of it.",
                "It was asked for another in between, or started anew.",
            )
        try:
            return now[1].send(body)
        except StopIteration:
            raise ProtocolError(f"{self.who} has said all that session {request.session} asks of it.") from None

    def _heard(self, request: Request) -> tuple[dict[str, Vector], tuple[Any, ...]]:
        """The server's vectors, and what the transforms have learnt; ProtocolError for what this plan does not say."""
        match request.down:
            case (dict(vectors), tuple(memo)) if len(memo) == len(self.plan.pipe):
                shapes = {name: v.shape for name, v in vectors.items() if isinstance(v, np.ndarray)}
                if self.plan.tells(shapes) and 0 <= request.round < self.plan.rounds:
                    return vectors, memo
        raise ProtocolError(
            f"{self.who} was asked for round {request.round} with what this plan does not tell its clients.",
            f"It has {self.plan.rounds} rounds, and tells {self.plan.told} and a memo for each transform.",
            "Look at the server: a client answers what its plan says, and nothing else.",
        )

    def _converse(self, request: Request) -> Conversation:
        raise TypeError(f"{type(self).__name__} does not say what it answers")


@dataclass
class Client(Party):
    """One owner of data: its name, its copy of the plan, its data, its policy, and what it remembers.

    `keys` are the public keys of helpers, by name, and come to it by another way than through the server.
    """

    data: Any
    allow: Policy = field(default_factory=Policy)
    mine: Memo = field(default_factory=dict)
    keys: Mapping[str, bytes] = field(default_factory=dict)
    _before: tuple[int, Memo] | None = field(default=None, repr=False)  # a session, and what was remembered before it
    _trained = -1  # the last round that it trained in
    _done = MappingProxyType[Key, TrainResult]({})  # trainings that the next answer asks for

    @cached_property
    def parts(self) -> tuple[Any, Any, int]:
        """Examples to train on, examples held out (or None), and how many the first are."""
        _ = self._seen
        share = self.plan.training.validation
        train, held = (
            local.split(self.data, share, self.plan.key.child("split", self.who)) if share else (self.data, None)
        )
        return train, held, local.count(train)

    @cached_property
    def _seen(self) -> int:
        """How many examples there are; all are looked at, once."""
        self.allow.check(self.plan, self.who)
        try:
            n = local.check(self.data, self.who)
            if self.plan.training.private:
                local.samplable(self.data, self.who)
        except HansaError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.who}'s data cannot be read: {type(error).__name__}: {error}",
                "Its own reader failed before any training.",
                "Look at the files and the code that this client reads its data with.",
            ) from error
        self.allow.check(self.plan, self.who, n)
        self.plan.model.check(self.data, self.who)
        return n

    def check(self) -> None:
        """Raise DataError or PolicyError where this client could not take part."""
        _ = self.parts

    def remember(self, memo: Memo) -> None:
        """Remember this, and nothing else."""
        self.mine, self._before, self._conversation, self._trained = memo, None, None, -1

    def hand_over(self) -> Memo:
        """What it remembers, which is kept elsewhere from now on; a conversation goes on."""
        mine, self.mine, self._before = self.mine, {}, None
        return mine

    def rest(self) -> None:
        """Let go of what can be had again, or is kept elsewhere; a conversation ends."""
        self.mine, self._before, self._conversation = {}, None, None
        self.__dict__.pop("parts", None)

    def forget(self, session: int) -> None:
        """Remember what was remembered before the session, for it did not count."""
        if self._before is not None and self._before[0] == session:
            self.mine, self._before, self._conversation = self._before[1], None, None  # what was told stays told

    def _once(self, round: int) -> None:
        """Raise ProtocolError where ε, stated for noise of its own in one training of each round, would be passed."""
        if round <= self._trained:
            raise ProtocolError(
                f"{self.who} was asked to train in round {round}, and has trained in round {self._trained}.",
                "The noise that it draws itself is sized for one training in each round, one after another.",
                "Look at the server; or start the run again from its beginning.",
            )
        self._trained = round

    def job(self, request: Request) -> Job | None:
        """What its model will have to train for this request, and has not yet; None for nothing, and for a refusal."""
        plan = self.plan
        try:
            train, _, examples = self.parts
            vectors, memo = self._heard(request)
            at, model = self._context(request, examples, memo), Foretold(plan.model, self._done, now=False)
            plan.algorithm.client(model, vectors, self.mine, train, plan.training, at)
        except Undone as asked:
            return asked.job
        except HansaError:  # it will be said where the client answers
            pass
        return None

    def foretell(self, key: Key, result: TrainResult) -> None:
        """Take up the result of a training that the next answer will ask for."""
        self._done = MappingProxyType({**self._done, key: result})

    def _context(self, request: Request, examples: int, memo: tuple[Any, ...]) -> Context:
        down = request.down if self.plan.aggregator.parties else None
        return self.plan.context(
            request.round, request.session, self.who, down, self.keys, examples=examples, memo=memo
        )

    def _converse(self, request: Request) -> Conversation:
        train, held, examples = self.parts
        (vectors, memo), session = self._heard(request), request.session
        at = self._context(request, examples, memo)

        def contribute() -> Vector:
            nonlocal vectors
            if self.plan.training.private or self.plan.wire.noise.by in ("all", "each"):
                self._once(at.round)
            down, vectors = vectors, {}  # a conversation may rest for many rounds; the model of its round need not
            try:
                v, mine = self.plan.contribute(down, self.mine, train, held, at, self._done)
            except Exception as error:
                error.add_note(f"This happened when {self.who} trained in round {at.round}.")
                raise
            finally:
                self._done = Client._done
            self._before, self.mine = (session, self.mine), mine
            return v

        return self.plan.aggregator.client(contribute, replace(at, spec=self.plan.wire))


def together(parties: Iterable[Party], request: Request) -> Iterator[Party]:
    """The parties in their order; where their model trains many at once, each is ready to say what it made of its own.

    So many at a time as the model takes. What each says is the same as if it were asked alone.
    """
    coming = iter(parties)
    for first in coming:
        model, training = first.plan.model, first.plan.training
        some = [first, *islice(coming, model.cohort - 1)]
        clients = [one for one in some if isinstance(one, Client)] if model.cohort > 1 and request.turn == 0 else []
        while jobs := [(client, job) for client in clients if (job := client.job(request)) is not None]:
            try:
                results = model.train_all([job for _, job in jobs], training)
            except DataError:  # whose data it is shows when each trains alone
                break
            for (client, job), result in zip(jobs, results, strict=True):
                client.foretell(job.key, result)
        yield from some


@dataclass
class Helper(Party):
    """One more aggregator beside the server: it holds shares of what clients say, which alone are random numbers.

    It says one sum in a round, whatever the server asks: two over other clients would differ by what single ones say,
    and noise is sized for one.

    Its key pair is made anew each time it starts; clients must learn the public one by another way than through the
    server, which could else put its own in its place.
    """

    key: PrivateKey = field(default_factory=PrivateKey.fresh, repr=False)
    _summed = -1  # the last round that it said a sum of

    def remember(self, memo: Memo) -> None:
        """Start anew, for a run that does; what clients remember is not for it."""
        self._conversation, self._summed = None, -1

    def _converse(self, request: Request) -> Conversation:
        self._heard(request)
        at = self.plan.context(request.round, request.session, self.who, request.down)
        work = self.plan.aggregator.helper(self.plan.sample.quorum, self.key, replace(at, spec=self.plan.wire))
        total = yield from work
        if at.round <= self._summed:
            raise ProtocolError(
                f"{self.who} was asked for a sum in round {at.round}, and has said that of round {self._summed}.",
                "Sums of one round over other clients differ by what single clients say, and noise is sized for one.",
                "Look at the server; or start the run again from its beginning.",
            )
        self._summed = at.round
        yield total
