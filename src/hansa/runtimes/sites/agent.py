"""Agent: a party at its own place without the code of its app, which a worker runs.

    (digest of a plan, what a survey found)  →  the party that takes part in it

The agent holds the outline of a plan. With it policy, ε, book and the aggregator's conversation are
those of the plan itself; what is trained and encoded is asked of the worker, who is given the
examples' place, what the server tells all, what the client remembers, and for one session the keys
of what is drawn there:

    reading     secret ─ read ─ who              where what is drawn could hide something
    training    secret ─ run ─ round ─ training  where examples are hidden
    pipe i      secret ─ run ─ round ─ pipe ─ i
    foreign     secret ─ run ─ round ─ turn      where what is drawn could hide something

Each is a child of a key that stays here, and nothing leads back from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...algorithms import ClientState
from ...asks import Work
from ...crypto.identity import Identity, Member
from ...errors import AppError, ProtocolError, WorkerError
from ...messages import Request
from ...parties import Given, Party, Said
from ...parties.client import Client
from ...parties.contribution import Resting
from ...parties.helper import Helper
from ...parties.policy import Policy
from ...plan.noise import binds
from ...plan.outline import Outline
from ...rand import Key
from ...spec import Vector
from ...transforms import Context
from .worker import Worker, log, numbers


@dataclass(repr=False)
class AgentClient(Client):
    """A client whose data is read, and whose model is trained, by a worker."""

    worker: Worker = field(kw_only=True)
    found: Any = field(default=None, kw_only=True)  # by a survey

    def __post_init__(self) -> None:
        super().__post_init__()
        self._about: tuple[int, int, str] | None = None  # of which worker, how many, SHA-256
        self._request: Request | None = None  # the one that it answers

    @property
    def count(self) -> int:
        """How many examples it trains on; PolicyError where its owner does not allow the plan,
        before anything is read, and once they are counted.
        """
        return self._read_data()[0]

    @property
    def data_hash(self) -> str:
        """SHA-256 of the data; nothing where nothing rests on that."""
        return self._read_data()[1]

    def check(self) -> None:
        """DataError or PolicyError where this client could not take part."""
        _ = self.count

    def plain(self) -> bool:
        """Here no code runs but hansa's."""
        return True

    def release(self) -> None:
        """Let go of what can be had again."""
        self._conversation = None

    def work(self, request: Request, given: Given) -> Work[Said]:
        """What it says."""
        self._request = request
        return super().work(request, given)

    def _read_data(self) -> tuple[int, str]:
        """How many examples the present worker has read, and their SHA-256."""
        life = self.worker.life
        if self._about is None or self._about[0] != life or not self.worker.pid:
            self.allow.check(self.plan, self.who, before=self.before)
            told = self._asked("data", hash=self._binds)
            match told:
                case {"examples": int(n), "sha256": str(digest)} if n >= 0 and len(digest) <= 64:
                    self.allow.check(self.plan, self.who, n, self.before)
                    self._about = self.worker.life, n, digest
                case _:
                    raise _odd(self.who)
        return self._about[1:]

    def contributed(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context
    ) -> Work[tuple[Vector, ClientState]]:
        """Its vector, and what it remembers after it, as the worker trains and encodes."""
        yield from ()
        return self.vector_of(self._trains(broadcast, state, at, rests=False))

    def trained(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context
    ) -> Work[Resting]:
        """What comes of its training: it rests in the worker until it is encoded."""
        yield from ()
        self._trains(broadcast, state, at, rests=True)
        return RestsInWorker(self, self.worker.life)

    def encoded(self, staleness: int) -> tuple[Vector, ClientState]:
        """The vector of what rests in the worker, so many rounds later."""
        most = numbers(self.plan.encoded_spec.size)
        return self.vector_of(self._asked("encode", most=most, staleness=staleness))

    def vector_of(self, found: Any) -> tuple[Vector, ClientState]:
        """A worker's answer, as the vector and the memory that it has to be."""
        match found:
            case {"vector": np.ndarray() as v, "learnt": dict(learnt)} if (
                self.plan.encoded_spec.fits(v)
            ):
                return v, learnt
        raise _odd(self.who)

    def _trains(
        self, broadcast: dict[str, Vector], state: ClientState, at: Context, rests: bool
    ) -> Any:
        """What the worker answers when it is to train; rests: is it to be encoded later?"""
        request = self._request
        assert request is not None
        told = sum(v.size for v in broadcast.values())
        return self._asked(
            "train",
            most=numbers(max(self.plan.encoded_spec.size, told)),
            round=at.round,
            session=tuple(request.session),
            task=at.session.task,
            broadcast=broadcast,
            memo=at.memo,
            state=state,
            turn=request.turn,
            hides=at.key.hides,
            keys=self._dealt(request, at),
            rests=rests,
        )

    def _dealt(self, request: Request, at: Context) -> dict[str, bytes]:
        """The keys of what is drawn where it is trained and encoded, by what they are for."""
        keys = {f"pipe/{i}": at.key.child("pipe", i) for i in range(len(self.plan.pipe))}
        if self.plan.training.private:
            keys["training"] = at.key.child("training")
        if binds(self.plan):  # what strangers' code draws there from generators that all share
            keys["foreign"] = self._at(request, self.secret).key.child(request.turn)
        return {name: key.secret for name, key in keys.items()}

    def _asked(self, what: str, most: int = 0, **fields: Any) -> Any:
        """What the worker answers of this plan."""
        read = b""
        if binds(self.plan):
            read = self.secret.child("read", self.who).secret
        about = {"plan": self.plan.digest, "found": self.found, "read": read}
        return self.worker.ask(what, most or numbers(0), **about, **fields)


@dataclass(frozen=True)
class RestsInWorker:
    """What came of a training, in the worker that has trained."""

    client: AgentClient
    life: int  # which worker

    def encoded(self, staleness: int) -> tuple[Vector, ClientState]:
        """The vector, so many rounds later; WorkerError where that worker has ended."""
        worker = self.client.worker
        if worker.life != self.life or not worker.pid:
            raise WorkerError(
                f"The worker of {self.client.who} that has trained is gone.",
                "What came of its training rested with it, and is not encoded.",
                "Nothing is lost but this update; the next one is trained anew.",
            )
        return self.client.encoded(staleness)


@dataclass(frozen=True)
class Agent:
    """What makes the party that takes part in a plan of an approved app.

    identity, roster, secret: as the party's kit has them. policy: what the owner of the data
    allows. repeats: is the secret that the app names taken, so that a demonstration repeats?
    """

    worker: Worker
    identity: Identity
    roster: Mapping[str, Member]
    secret: Key = field(repr=False)
    policy: Policy = Policy()
    repeats: bool = False
    takes: type[AgentClient] = AgentClient  # what a party with data is here

    def about(self) -> Mapping[str, Any]:
        """The digests of the app's survey and plan, as `first` and `plan`, "" where there is none,
        and where the plan hangs on what the survey finds; and whether data is prepared by that.

        AppError where the app cannot be used at a site.
        """
        told = self._told()
        self._secret(told["secret"])
        return told

    def __call__(self, digest: str, found: Any = None) -> Party:
        """The party that holds the plan with this digest; ProtocolError where the app has no such
        plan.
        """
        try:
            return self.of(digest, found)
        except WorkerError as error:  # another one may do better
            log.warning("%s", error)
            return self.of(digest, found)

    def of(self, digest: str, found: Any = None) -> Party:
        """The same, asked once."""
        told = self._told()
        secret = self._secret(told["secret"])
        plan = self._outline(digest, found)
        if digest == told["first"]:
            secret = secret.child("survey")  # as a simulation has it
        who = self.identity.who
        more: dict[str, Any] = {"identity": self.identity, "roster": self.roster, "secret": secret}
        if self.identity.role == "helper":
            return Helper(who, plan, **more)
        before = None
        if told["first"] and digest != told["first"]:
            before = self._outline(told["first"], None)
        more |= {"before": before, "worker": self.worker, "found": found}
        return self.takes(who, plan, None, self.policy, **more)

    def _told(self) -> dict[str, Any]:
        """What the worker says of its app."""
        match self.worker.ask("about"):
            case {"first": str(), "plan": str(), "secret": bytes(), "prepares": bool()} as told:
                return dict(told)
        raise _odd(self.identity.who)

    def _outline(self, digest: str, found: Any) -> Outline:
        """The plan with this digest, as far as it is known here."""
        plan = Outline.of(self.worker.ask("outline", plan=digest, found=found))
        if plan.digest != digest:
            raise ProtocolError(f"{self.identity.who}'s app has told of another plan than asked.")
        return plan

    def _secret(self, named: bytes) -> Key:
        """What hides grows from: the kit's secret; or one that the app names, where that is
        wanted.
        """
        if not named:
            return self.secret
        if not self.repeats:
            raise AppError(
                "The app names a secret, from which all that hides would grow.",
                "Who has read the app then takes every noise off, and so no ε holds.",
                "Leave secret=… out of App(…); or for a demonstration that repeats, write "
                "--repeats.",
            )
        return Key(named)


def _odd(who: str) -> WorkerError:
    """What is raised for an answer that is none."""
    return WorkerError(
        f"The worker of {who} has answered with what its plan does not say.",
        "A vector has the plan's size and type, and what it remembers has names.",
        "Look at the app's own classes.",
    )
