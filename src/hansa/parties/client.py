"""Client: a party that holds data, trains on it, and says one vector in a round."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any

from .. import data as local
from ..aggregators import Conversation
from ..algorithms import ClientState
from ..codec import dumps
from ..data.batches import examples_at_a_glance
from ..errors import DataError, HansaError, ProtocolError
from ..messages import Request
from ..models import ClientModel, Job, TrainResult, Undone
from ..plan import Plan
from ..rand import Key
from ..spec import Vector
from ..transforms import Context
from . import Party
from .policy import Policy


@dataclass(repr=False)
class Client(Party):
    """One owner of data: its name, its copy of the plan, its data, its policy, and what it
    remembers.

    `keys` are the public keys of helpers, by name, and come to it by another way than through the
    server. Data that is a `Source` is read when it is first needed: after the owner's policy has
    allowed the plan.
    """

    data: Any = field(repr=False)  # nor in that of a subclass
    allow: Policy = field(default_factory=Policy)
    client_state: ClientState = field(default_factory=dict, repr=False)
    keys: Mapping[str, bytes] = field(default_factory=dict)
    before: Plan | None = field(default=None, kw_only=True)  # what it was asked first: its ε counts as well
    _done = MappingProxyType[Key, TrainResult]({})  # trainings that the next answer asks for

    def __post_init__(self) -> None:
        super().__post_init__()
        self._before: tuple[int, ClientState] | None = None  # a session, and what was remembered before it

    def __repr__(self) -> str:
        """Who it is, and how many examples it has."""
        there = examples_at_a_glance([self.data])
        return f"<{type(self).__name__} {self.who}{': ' if there else ''}{there}>"

    @cached_property
    def parts(self) -> tuple[Any, Any, int]:
        """Examples to train on, examples held out (or None), and how many the first are."""
        _ = self._seen
        share = self.plan.training.validation
        train, held = (
            local.split(self.examples, share, self.plan.key.child("split", self.who))
            if share
            else (self.examples, None)
        )
        return train, held, local.count(train)

    @property
    def examples(self) -> Any:
        """Its data, read if it has not been; DataError where its reader fails."""
        try:
            return local.loaded(self.data)
        except DataError as error:
            if self.who in error.found:
                raise
            raise DataError(f"{self.who}: {error.found}", error.why, error.instead) from error
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"{self.who}'s data cannot be read: {type(error).__name__}: {error}",
            "Its own reader failed before any training.",
            "Look at the files and the code that this client reads its data with.",
        )

    @cached_property
    def _seen(self) -> int:
        """How many examples there are; all are looked at, once."""
        self.allow.check(self.plan, self.who, before=self.before)
        examples = self.examples
        try:
            n = local.check(examples, self.who)
            if self.plan.training.private:
                local.samplable(examples, self.who)
        except HansaError:
            raise
        except Exception as error:
            raise self._unreadable(error) from error
        self.allow.check(self.plan, self.who, n, self.before)
        self.plan.model.check(examples, self.who)
        return n

    def check(self) -> None:
        """Raise DataError or PolicyError where this client could not take part."""
        _ = self.parts

    def load(self, memo: ClientState) -> None:
        """Remember this, and nothing else."""
        self.client_state, self._before = memo, None
        self.__dict__.pop("_seen_data", None)
        self._begin_anew()

    def evict(self) -> ClientState:
        """What it remembers, which is kept elsewhere from now on; a conversation goes on."""
        client_state, self.client_state, self._before = self.client_state, {}, None
        return client_state

    def release(self) -> None:
        """Let go of what can be had again, or is kept elsewhere; a conversation ends."""
        self.client_state, self._before, self._conversation = {}, None, None
        self.__dict__.pop("parts", None)
        self.__dict__.pop("_seen_data", None)

    def rollback(self, session: int) -> None:
        """Remember what was remembered before the session, for it did not count."""
        if self._before is not None and self._before[0] == session:
            self.client_state, self._before, self._conversation = (
                self._before[1],
                None,
                None,
            )  # what was told stays told

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
            at = self._context(request, examples, memo)
            model = ClientModel(plan.model, self.client_state.get("model", {}), self._done, now=False)
            plan.algorithm.client(model, vectors, self.client_state, train, plan.training, plan.training_context(at))
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
        remembered = hashlib.sha256(dumps(sorted(self.client_state.items())))
        return self.secret.child("data", self._seen_data).child("memory", remembered.hexdigest())

    @cached_property
    def _seen_data(self) -> str:
        """SHA-256 of the data."""
        parts = [hashlib.sha256(dumps(batch)).digest() for batch in local.whole(self.examples)]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def _converse(self, request: Request) -> Conversation:
        train, held, examples = self.parts
        (vectors, memo), session, run = self._heard(request), request.session, request.run
        at = self._context(request, examples, memo)

        def contribute() -> Vector:
            nonlocal vectors
            if self.plan.clients_draw:
                self._once(run, at.round)
            broadcast, vectors = vectors, {}  # a conversation may rest for many rounds; the model of its round need not
            try:
                v, client_state = self.plan.contribute(broadcast, self.client_state, train, held, at, self._done)
            except Exception as error:
                error.add_note(f"This happened when {self.who} trained in round {at.round}.")
                raise
            finally:
                self._done = Client._done
            self._before, self.client_state = (session, self.client_state), client_state
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
