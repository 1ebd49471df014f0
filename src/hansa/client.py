"""The parties beside the server: clients, which hold data, and helpers, which hold shares of what clients say."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from . import data as local
from . import privacy
from .accounting import Guarantee, Unit
from .aggregators import Conversation
from .crypto.keys import PrivateKey
from .errors import (
    KINDS,
    DataError,
    HansaError,
    Kind,
    PlanError,
    PolicyError,
    ProtocolError,
    RestartedError,
    number,
    tell,
)
from .known import own
from .models import Foretold, Job, TrainResult, Undone
from .models.measures import counted
from .optim import Memo
from .plan import Plan
from .rand import Key
from .spec import Vector
from .transforms import Context
from .wire import dumps


@dataclass(frozen=True)
class Request:
    """What the server says to some clients: which plan, which round, the model, and a message for each.

    With `fold`, who carries the replies may add up the vectors and hand over their exact sum.
    """

    plan: str  # digest
    round: int
    session: int  # one conversation with each of the clients
    down: Any = field(repr=False)
    bodies: Mapping[str, Any] = field(repr=False)  # who → message; None opens the conversation
    deadline: float = math.inf  # seconds
    turn: int = 0  # how many messages of its session came before
    fold: bool = False
    run: str = ""  # which run of the plan, by a name that no other has

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of what all are told; computed once for all who are asked in one process."""
        return hashlib.sha256(dumps(self.down)).digest()


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


@dataclass(frozen=True)
class Policy:
    """What a data owner allows; a plan that asks for more is refused by the client itself, whatever the server says.

    It reads the plan. That a server keeps to it (sums over the quorum, draws its noise) no client can see: where that
    matters, allow only aggregators that enforce it.
    """

    min_cohort: int = 1  # no plan whose rounds may end with fewer clients
    max_rounds: float = math.inf
    aggregators: frozenset[str] | None = None  # names of hansa's own, such as {"VerifiedSum"}; None allows all
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
        strange = "" if own(plan.aggregator) else ", which is not hansa's own"
        why = privacy.unstated(plan) if self.min_noise else ""
        wrong = [
            (plan.sample.quorum < self.min_cohort, f"a quorum of {plan.sample.quorum}", f"at least {self.min_cohort}"),
            (plan.rounds > self.max_rounds, f"{plan.rounds} rounds", f"at most {self.max_rounds:g}"),
            (
                self.aggregators is not None and (name not in self.aggregators or bool(strange)),
                f"aggregator {name}{strange}",
                "one of " + ", ".join(sorted(self.aggregators or ())),
            ),
            (
                plan.summed.noise.multiplier < self.min_noise or bool(why),
                f"a noise multiplier of {plan.summed.noise.multiplier:g}" + (f", but {why}" if why else ""),
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


@dataclass(repr=False)
class Party:
    """Who is asked: a name, a copy of the plan, a secret, and the conversation that is under way.

    A conversation is a generator, driven one exchange at a time; the first message of a session ends the one before.
    What hides grows from the secret: noise, rounding, and the draws of noisy training. It is a fresh one, unless a
    simulation wants noise that repeats, and names one: secret=Key.of(7). Then ε does not hold against who knows it.
    """

    who: str
    plan: Plan
    secret: Key = field(default_factory=Key.fresh, repr=False, kw_only=True)

    _told = ""  # its last words on why it does not take part, which are said once

    def __post_init__(self) -> None:
        self._conversation: tuple[int, Conversation] | None = None
        self._run: str | None = None  # that is under way
        self._latest = dict[str, int]()  # run → the last round in which it drew noise

    def _drew(self, run: str) -> int:
        """The last round in which it drew noise: in this run, or in all, if this one has a new name and never began."""
        self._run = run if self._run is None else self._run
        return self._latest.get(run, -1) if run == self._run else max(self._latest.values(), default=-1)

    def _begin_anew(self) -> None:
        """What was drawn stays drawn, whoever says that a run begins; but a simulation may repeat what it has named."""
        self._conversation, self._run = None, None
        if not self.secret.hides:
            self._latest = {}

    def __repr__(self) -> str:
        """Who it is; what it holds is nobody's business."""
        return f"<{type(self).__name__} {self.who}>"

    def told(self, error: HansaError) -> Kind:
        """Say here why it does not take part, and give the kind of it, which is all that a server hears."""
        if str(error) != self._told:
            self._told = str(error)
            tell(str(error) if self.who in error.found else f"{self.who}: {error}")
        return error.kind

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
            raise RestartedError(
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

    def _at(self, request: Request, secret: Key, **more: Any) -> Context:
        fingerprint = request.fingerprint if self.plan.binds else b""
        return self.plan.context(
            request.round, request.session, self.who, secret=secret, run=request.run, fingerprint=fingerprint, **more
        )

    def _converse(self, request: Request) -> Conversation:
        raise TypeError(f"{type(self).__name__} does not say what it answers")


@dataclass(repr=False)
class Client(Party):
    """One owner of data: its name, its copy of the plan, its data, its policy, and what it remembers.

    `keys` are the public keys of helpers, by name, and come to it by another way than through the server.
    """

    data: Any = field(repr=False)  # nor in that of a subclass
    allow: Policy = field(default_factory=Policy)
    mine: Memo = field(default_factory=dict, repr=False)
    keys: Mapping[str, bytes] = field(default_factory=dict)
    _done = MappingProxyType[Key, TrainResult]({})  # trainings that the next answer asks for

    def __post_init__(self) -> None:
        super().__post_init__()
        self._before: tuple[int, Memo] | None = None  # a session, and what was remembered before it

    def __repr__(self) -> str:
        """Who it is, and how many examples it has."""
        there = counted([self.data])
        return f"<{type(self).__name__} {self.who}{': ' if there else ''}{there}>"

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
        self.mine, self._before = memo, None
        self.__dict__.pop("_seen_data", None)
        self._begin_anew()

    def hand_over(self) -> Memo:
        """What it remembers, which is kept elsewhere from now on; a conversation goes on."""
        mine, self.mine, self._before = self.mine, {}, None
        return mine

    def rest(self) -> None:
        """Let go of what can be had again, or is kept elsewhere; a conversation ends."""
        self.mine, self._before, self._conversation = {}, None, None
        self.__dict__.pop("parts", None)
        self.__dict__.pop("_seen_data", None)

    def forget(self, session: int) -> None:
        """Remember what was remembered before the session, for it did not count."""
        if self._before is not None and self._before[0] == session:
            self.mine, self._before, self._conversation = self._before[1], None, None  # what was told stays told

    def _once(self, run: str, round: int) -> None:
        """Raise ProtocolError where ε, stated for noise of its own in one training of each round, would be passed."""
        latest = self._drew(run)
        if round <= latest:
            raise ProtocolError(
                f"{self.who} was asked to train in round {round}, and has trained in round {latest}.",
                "The noise that it draws itself is sized for one training in each round, one after another.",
                "Look at the server; or start another run.",
            )
        self._latest[run] = round

    def job(self, request: Request) -> Job | None:
        """What its model will have to train for this request, and has not yet; None for nothing, and for a refusal."""
        plan = self.plan
        try:
            train, _, examples = self.parts
            vectors, memo = self._heard(request)
            at, model = self._context(request, examples, memo), Foretold(plan.model, self._done, now=False)
            plan.algorithm.client(model, vectors, self.mine, train, plan.training, plan.training_context(at))
        except Undone as asked:
            return asked.job
        except HansaError:  # it will be said where the client answers
            pass
        return None

    def foretell(self, key: Key, result: TrainResult) -> None:
        """Take up the result of a training that the next answer will ask for."""
        self._done = MappingProxyType({**self._done, key: result})

    def _context(self, request: Request, examples: int, memo: tuple[Any, ...]) -> Context:
        return self._at(request, self._secret, keys=self.keys, examples=examples, memo=memo)

    @property
    def _secret(self) -> Key:
        """Where training is noisy, another secret for other data, and for other things remembered."""
        if not self.plan.training.private:
            return self.secret
        remembered = hashlib.sha256(dumps(sorted(self.mine.items())))
        return self.secret.child("data", self._seen_data).child("memory", remembered.hexdigest())

    @cached_property
    def _seen_data(self) -> str:
        """SHA-256 of the data."""
        parts = [hashlib.sha256(dumps(batch)).digest() for batch in local.whole(self.data)]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def _converse(self, request: Request) -> Conversation:
        train, held, examples = self.parts
        (vectors, memo), session, run = self._heard(request), request.session, request.run
        at = self._context(request, examples, memo)

        def contribute() -> Vector:
            nonlocal vectors
            if self.plan.clients_draw:
                self._once(run, at.round)
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

        return self.plan.aggregator.client(contribute, self.plan.aggregator_context(at))


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


@dataclass(repr=False)
class Helper(Party):
    """One more aggregator beside the server: it holds shares of what clients say, which alone are random numbers.

    It says one sum in a round of a run, whatever the server asks, and whoever says that the run begins: two over other
    clients would differ by what single ones say, and noise is sized for one.

    Its key pair is made anew each time it starts; clients must learn the public one by another way than through the
    server, which could else put its own in its place.
    """

    key: PrivateKey = field(default_factory=PrivateKey.fresh, repr=False)

    def remember(self, memo: Memo) -> None:
        """Start anew, for a run that does; what clients remember is not for it."""
        self._begin_anew()

    def _converse(self, request: Request) -> Conversation:
        self._heard(request)
        at = self._at(request, self.secret)
        there = self.plan.aggregator_context(at)
        total = yield from self.plan.aggregator.helper(self.plan.sample.quorum, self.key, there)
        latest = self._drew(request.run)
        if at.round <= latest:
            raise ProtocolError(
                f"{self.who} was asked for a sum in round {at.round}, and has said that of round {latest}.",
                "Sums of one round over other clients differ by what single clients say, and noise is sized for one.",
                "Look at the server; or start another run.",
            )
        self._latest[request.run] = at.round
        yield total
