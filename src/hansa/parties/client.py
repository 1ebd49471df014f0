"""Client: a party that holds data, trains on it, and says one vector in a round.

The order of things: its owner's policy looks at the plan; only then data is read, and looked at
once; the policy looks again, now that examples are counted; then the client trains. What fails in
an owner's own reader is a DataError here, and its words stay here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .. import data as local
from ..aggregators import Conversation
from ..aggregators.mixing import is_inbox
from ..algorithms import ClientState
from ..asks import Work
from ..codec import fingerprint
from ..data import Examples
from ..data.examples import at_a_glance
from ..errors import DataError, HansaError, ProtocolError
from ..messages import Request
from ..plan import Plan
from ..plan.client import aggregator_context, contribute, train
from ..plan.noise import binds, ours
from ..rand import Key
from ..spec import Vector
from ..training import kept_of
from ..transforms import Context
from . import Given, Party, Said
from .contribution import Contribution, Resting
from .foreign import is_plain, reading, seeding
from .peer import conversation
from .policy import Policy


@dataclass(repr=False)
class Client(Party):
    """One owner of data: its name, its copy of the plan, its data, and its policy.

    Data that is a `Source` is read when it is first needed: after the owner's policy has allowed
    the plan.
    """

    data: Any = field(repr=False)  # nor in that of a subclass
    allow: Policy = field(default_factory=Policy)
    # what it was asked first: its ε counts as well
    before: Plan | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._contribution: Contribution | None = None  # of the conversation
        self._ours = ours(self.plan)
        if isinstance(self.data, Examples):  # as its owner has it, for what shares it with workers
            self.data = self.data.given

    def __repr__(self) -> str:
        """Who it is, and how many examples it has."""
        there = at_a_glance([self.data])
        if not there:
            return super().__repr__()
        return f"<{type(self).__name__} {self.who}: {there}>"

    @cached_property
    def parts(self) -> tuple[Examples, Examples | None, int]:
        """Examples to train on, examples held out (or None), and how many the first are.

        Which are held out is drawn once for a run, from the plan's seed and the client's name. Who
        has too few to hold any out trains on all, and scores nothing.
        """
        with reading(self.data, self.plan, self.who, self.secret):
            _ = self._seen
            train = self.examples
            held = None
            if share := self.plan.training.validation:
                train, held = train.held_out(share, self.plan.key.child("split", self.who))
            return train, held, len(train)

    @property
    def count(self) -> int:
        """How many examples it trains on."""
        return self.parts[2]

    @cached_property
    def examples(self) -> Examples:
        """Its data, read and parsed if it has not been; DataError where its reader fails."""
        data = _read(self.data, self.who)
        try:
            return Examples.of(data, self.who)
        except DataError:
            raise
        except Exception as error:
            raise _unreadable(self.who, error) from error

    @cached_property
    def _seen(self) -> int:
        """How many examples there are; all are looked at, once."""
        self.allow.check(self.plan, self.who, before=self.before)
        examples = self.examples
        try:
            model = self.plan.model
            n = local.check(examples, self.who, model.takes.missing, model.takes.endless)
            if self.plan.training.private:
                examples.samplable(self.who)
        except HansaError:
            raise
        except Exception as error:
            raise _unreadable(self.who, error) from error
        self.allow.check(self.plan, self.who, n, self.before)
        training = self.plan.training.of(self.who, kept_of(self.plan.training, n))
        self.plan.model.check(examples, self.who, training)
        return n

    def check(self) -> None:
        """Raise DataError or PolicyError where this client could not take part; reads its data."""
        _ = self.parts

    def release(self) -> None:
        """Let go of what can be had again; a conversation ends.

        Of a client that waits for its next round only its name, plan, policy and source are left.
        """
        self._conversation = None
        self._contribution = None
        self.__dict__.pop("parts", None)
        self.__dict__.pop("examples", None)
        self.__dict__.pop("data_hash", None)

    def _context(
        self, request: Request, state: ClientState, examples: int, memo: tuple[Any, ...]
    ) -> Context:
        """Where in a run it trains: on so many examples, with what it remembers."""
        return self._at(request, _drawn_from(self, state), examples=examples, memo=memo)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of the data."""
        with reading(self.data, self.plan, self.who, self.secret):
            parts = [fingerprint(batch) for batch in self.examples.whole()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @cached_property
    def _binds(self) -> bool:
        """Must it say nothing else in the place of what it has said?"""
        return binds(self.plan)

    def _said(self, reply: Any, given: Given) -> Said:
        """The reply, and where noise hides something, SHA-256 of what it is said of."""
        if self._contribution is not None:
            self._learnt = self._contribution.take()
        said = super()._said(reply, given)
        if not self._binds:
            return said
        return replace(said, data=_said_of(self, given.state))

    def work(self, request: Request, given: Given) -> Work[Said]:
        """What it says; what foreign code draws on the way follows from a key, as where it
        reads.
        """
        work = super().work(request, given)
        if self.plain():
            return (yield from work)
        at = self._at(request, self.secret)
        key = at.key if binds(self.plan) else at.session.repeats
        return (yield from seeding(work, self.plain, key.child(request.turn)))

    def plain(self) -> bool:
        """Does nothing but hansa's own code run beside the model, now that its data is read?"""
        return self._ours and is_plain(vars(self).get("examples", self.data))

    def _converse(self, request: Request, given: Given) -> Conversation:
        """Its side of a session; ProtocolError where it would say something else than before."""
        examples = self.count
        if given.data and given.data != _said_of(self, given.state):
            raise ProtocolError(
                f"{self.who} was asked again in session {request.session.number}, and its data or "
                "what it remembers have changed.",
                "What it said before and what it would say now would be two answers, with noise "
                "for one.",
                "Wait for the next round.",
            )
        if request.turn == 0 and is_inbox(request.bodies[self.who]):
            self._contribution = None
            at = self._context(request, given.state, examples, self.plan.pipeline.start())
            return conversation(self, self, given.state, at)
        vectors, memo = self._heard(request)
        at = self._context(request, given.state, examples, memo)
        self._contribution = Contribution(self, vectors, given.state, at)
        return self.plan.aggregator.client(self._contribution, aggregator_context(self.plan, at))

    def contributed(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context
    ) -> Work[tuple[Vector, ClientState]]:
        """Its vector, and what it remembers after it."""
        data, held, _ = self.parts
        return contribute(self.plan, broadcast, state, data, held, at)

    def trained(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context
    ) -> Work[Resting]:
        """What comes of its training, to be encoded later."""
        data, held, _ = self.parts
        return train(self.plan, broadcast, state, data, held, at)


def _drawn_from(client: Client, state: ClientState) -> Key:
    """Where training is noisy, another secret for other data, and for other things remembered."""
    if not client.plan.training.private:
        return client.secret
    remembered = fingerprint(sorted(state.items())).hex()
    return client.secret.child("data", client.data_hash).child("memory", remembered)


def _said_of(client: Client, state: ClientState) -> str:
    """SHA-256 of a client's data, and of what it remembers."""
    return fingerprint((client.data_hash, sorted(state.items()))).hex()


def _read(data: Any, who: str) -> Any:
    """The data as its owner has it; DataError that names the client."""
    try:
        return local.loaded(data)
    except DataError as error:
        if who in error.found:
            raise
        raise DataError(f"{who}: {error.found}", error.why, error.instead) from error
    except Exception as error:
        raise _unreadable(who, error) from error


def _unreadable(who: str, error: Exception) -> DataError:
    """What is raised where the owner's own code fails on its data."""
    return DataError(
        f"{who}'s data cannot be read: {type(error).__name__}: {error}",
        "Its own reader failed before any training.",
        "Look at the files and the code that this client reads its data with.",
    )
