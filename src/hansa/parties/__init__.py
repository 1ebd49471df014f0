"""Parties: who is asked beside the server, and holds a secret of its own.

    (request, what it is given) → what it says, with what it has learnt

A party keeps no history: `Memory` and `Book` do that for it, in a simulation for all of them, at a
site for the one that lives there. So a conversation that is lost can be driven again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..aggregators import Conversation, Draw
from ..algorithms import ClientState
from ..asks import ASKS, Work, alone
from ..crypto.identity import Identity, Member, Role
from ..errors import HansaError, Kind, PlanError, ProtocolError, RestartedError, tell
from ..messages import Request, SessionId
from ..plan import Plan
from ..plan.layout import accepts
from ..rand import Key
from ..spec import Vector
from ..transforms import Context


@dataclass(frozen=True)
class Given:
    """What a party is given with a request, by whoever keeps its memory and its book.

    With it the answer is a function of the request, so that it may be given by any process that has
    the party's data and secret.
    """

    state: ClientState = field(default_factory=dict, repr=False)  # what it remembers
    data: str = ""  # SHA-256 of what it has answered of in the session, if it has
    # what it heard in the session in an earlier life
    earlier: tuple[Request, ...] = field(default=(), repr=False)
    drawn: bytes = field(default=b"", repr=False)  # its secrets of the session, from there


NOTHING = Given()
WANTS = (*ASKS, Draw)  # what a conversation yields on its way to a reply


@dataclass(frozen=True)
class Said:
    """What a party says, SHA-256 of the data and memory that it says it of, and what it has learnt,
    if anything.
    """

    reply: Any = field(repr=False)
    data: str = ""
    learnt: ClientState | None = field(default=None, repr=False)
    drawn: bytes = field(default=b"", repr=False)  # its secrets of the session


@dataclass(repr=False)
class Party:
    """Who is asked: a name, a copy of the plan, a secret; a function (request, what it is given) →
    what it says.

    A conversation is a generator, driven one exchange at a time; the first message of a session
    ends the one before. What hides grows from the secret: noise, rounding, and the draws of noisy
    training. It is a fresh one, unless a simulation wants noise that repeats, and names one:
    secret=Key.of(7). Then ε does not hold against who knows it.

    Where the plan's aggregator has helpers, parties know each other by keys: each has an
    `identity`, and the `roster` has the public halves of all, by name. It comes by another way than
    through the server, which could else put keys of its own in theirs. In a simulation the runtime
    brings it, and identities grow from secrets.
    """

    who: str
    plan: Plan
    secret: Key = field(default_factory=Key.fresh, repr=False, kw_only=True)
    identity: Identity | None = field(default=None, repr=False, kw_only=True)
    roster: Mapping[str, Member] = field(default_factory=dict, repr=False, kw_only=True)

    role: ClassVar[Role] = "client"

    _reported = ""  # its last words on why it does not take part, which are said once

    def __post_init__(self) -> None:
        one = self.identity
        if one is not None and (one.who, one.role) != (self.who, self.role):
            raise PlanError(
                f"{self.who} is given the identity of {one.who}, a {one.role}.",
                f"What it signs would not be taken for that of the {self.role} {self.who}.",
                f"Give it its own: Identity.fresh({self.who!r}, {self.role!r}).",
            )
        self._conversation: Conversation | None = None
        self._heard_last: tuple[SessionId, int] | None = None  # of the conversation, and the turn
        self._learnt: ClientState | None = None  # by the answer under way
        self._drawn = b""  # for it

    def __repr__(self) -> str:
        """Who it is; what it holds is nobody's business."""
        return f"<{type(self).__name__} {self.who}>"

    @property
    def latest(self) -> SessionId | None:
        """The session in which it was asked last."""
        return self._heard_last and self._heard_last[0]

    def enrol(self) -> Member:
        """The public half of its identity, which grows from its secret if it has none yet."""
        self.identity = self.identity or Identity.of(self.who, self.role, self.secret)
        return self.identity.member

    def report(self, error: HansaError) -> Kind:
        """Say here why it does not take part, and give the kind of it, which is all that a server
        hears: the words may quote what was read.
        """
        if str(error) != self._reported:
            self._reported = str(error)
            report(self.who, error)
        return error.kind

    def answer(self, request: Request, given: Given = NOTHING) -> Said:
        """What it says, and has learnt; what the model has to do is done here, at once.

        ProtocolError for another plan, or for what this plan does not say; RestartedError where it
        is asked to go on with what it knows nothing of; PolicyError and DataError as a client's
        owner and data have it.
        """
        return alone(self.work(request, given), self.plan.perform)

    def work(self, request: Request, given: Given) -> Work[Said]:
        """The same, but for what the model has to do, which is asked for; an earlier part of the
        conversation that it has lost is driven again first.
        """
        if request.plan != self.plan.digest:
            raise ProtocolError(
                f"{self.who} was asked to take part in plan {request.plan[:8]}… and holds "
                f"{self.plan.digest[:8]}….",
                "Server and clients must hold the same plan, or they would not mean the same by a "
                "vector.",
                "Give both the same app, of the same version, and the same minor version of "
                "Python.",
            )
        if self._heard_last is None or not (request.session, 0) <= self._heard_last < (
            request.session,
            request.turn,
        ):
            # it has lost the conversation, or is ahead of what it has said
            for question in given.earlier:
                yield from self.reply(question, given)
        reply = yield from self.reply(request, given)
        return self._said(reply, given)

    def reply(self, request: Request, given: Given) -> Work[Any]:
        """One exchange of the conversation: what it says to `request.bodies[who]`.

        The first message of a session begins a new conversation; a later one goes on with it, and
        is a RestartedError where there is none.
        """
        body = request.bodies[self.who]
        before = self._heard_last
        self._heard_last = request.session, request.turn
        if request.turn == 0:
            self._conversation = self._converse(request, given)
            self._drawn = given.drawn
            reply = yield from self._exchange(self._conversation, request, None)
            if body is None:
                return reply
        elif (
            self._conversation is None
            or before is None
            or not (request.session, 0) <= before < self._heard_last
        ):
            self._conversation = None
            raise RestartedError(
                f"{self.who} was asked to go on with session {request.session.number}, and knows "
                "nothing of it.",
                "It was asked for another in between, or started anew.",
            )
        return (yield from self._exchange(self._conversation, request, body))

    def _exchange(self, conversation: Conversation, request: Request, body: Any) -> Work[Any]:
        """What the conversation says next; what it asks of the model on the way is asked here."""
        try:
            reply = conversation.send(body)
            while isinstance(reply, WANTS):
                if isinstance(reply, Draw):
                    self._drawn = self._drawn or reply.make()
                    reply = conversation.send(self._drawn)
                    continue
                try:
                    answer = yield reply
                except Exception as error:
                    reply = conversation.throw(error)
                else:
                    reply = conversation.send(answer)
        except StopIteration:
            raise ProtocolError(
                f"{self.who} has said all that session {request.session.number} asks of it."
            ) from None
        if isinstance(reply, Generator):
            raise TypeError(
                f"{type(self.plan.aggregator).__name__}.client() says the work that its vector "
                "takes; it gets the vector by `v = yield from contribute()`"
            )
        return reply

    def _said(self, reply: Any, given: Given) -> Said:
        """The reply, with what the conversation has learnt on its way."""
        learnt = self._learnt
        self._learnt = None
        drawn = self._drawn
        self._drawn = b""
        return Said(reply, learnt=learnt, drawn=drawn)

    def _heard(self, request: Request) -> tuple[dict[str, Vector], tuple[Any, ...]]:
        """The server's vectors, and what the transforms have learnt; ProtocolError for what this
        plan does not say.
        """
        match request.broadcast:
            case (dict(vectors), tuple(memo)) if len(memo) == len(self.plan.pipe):
                known = accepts(self.plan, request.shapes)
                if known and 0 <= request.round < self.plan.rounds:
                    return vectors, memo
        raise ProtocolError(
            f"{self.who} was asked for round {request.round} with what this plan does not tell its "
            "clients.",
            f"It has {self.plan.rounds} rounds, and tells {self.plan.broadcast_shapes} and a memo "
            "for each transform.",
            "Look at the server: a client answers what its plan says, and nothing else.",
        )

    def _at(self, request: Request, secret: Key, **more: Any) -> Context:
        """Where in a run the party answers, with what it alone knows."""
        at = self.plan.context(
            request.round, request.session, self.who, secret=secret, task=request.task, **more
        )
        return at.enrolled(self.roster, self.identity)

    def _converse(self, request: Request, given: Given) -> Conversation:
        """Its side of a session, from the first message on."""
        raise TypeError(f"{type(self).__name__} does not say what it answers")


def report(who: str, error: HansaError) -> None:
    """Say here why a party does not take part."""
    if who in error.found:
        words = str(error)
    else:
        words = f"{who}: {error}"
    tell(words)
