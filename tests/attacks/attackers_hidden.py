"""Hidden sums without a network: real conversations of clients, in memory, and who breaks them.

A `Circle` has n clients with identities, who know each other; `Talk` is one client's conversation. A server is what a
test makes of them: the real one over `Line`, or one that says what it likes, turn by turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

import hansa as h
from hansa.aggregators import PROVEN, Draw
from hansa.aggregators.hidden import HiddenSum
from hansa.aggregators.hidden.cell import Cell
from hansa.aggregators.hidden.client import SAID, Me, Prepared
from hansa.aggregators.hidden.server import collect
from hansa.aggregators.hidden.terms import Terms, View, as_set, member_box_of
from hansa.aggregators.masked import HALF
from hansa.crypto.identity import Identity, Member
from hansa.crypto.keys import PRIVATE, PUBLIC, PrivateKey
from hansa.crypto.masks import add_masks, own_seed, pair_seeds, sign
from hansa.crypto.sealing import MAC
from hansa.errors import HansaError
from hansa.spec import Spec, SumFacts, Vector
from hansa.transforms import Context, Session

KEY = h.Key.of(0)
NEVER = 9  # a turn that does not come
TURNS = 4


def spec_of(size: int = 8, **facts: Any) -> Spec:
    """Of a vector of so many words of 16 bits, or as the facts say."""
    return Spec({"delta": size}, space="integer", sum_facts=SumFacts(**{"modulus": 16, **facts}))


@dataclass
class Circle:
    """n clients of one session, what each says if it is honest, and what all of them know."""

    n: int = 5
    aggregator: h.MaskedSum = field(default_factory=h.MaskedSum)
    spec: Spec = field(default_factory=spec_of)
    task: bytes = b"a session"

    def __post_init__(self) -> None:
        self.names = [f"client-{i:02d}" for i in range(self.n)]
        self.identities = {who: Identity.of(who, "client", KEY) for who in self.names}
        self.roster: dict[str, Member] = {who: one.member for who, one in self.identities.items()}
        bits = self.spec.sum_facts.modulus
        draw = np.random.Generator(np.random.PCG64(self.n))
        self.vectors = {who: draw.integers(0, 2**bits, self.spec.size, self.spec.word.type) for who in self.names}
        self.talks: dict[str, Talk] = {}

    def next_session(self, task: bytes) -> Circle:
        """The same people in another session."""
        return replace(self, task=task)

    def at(self, who: str, **session: Any) -> Context:
        """What a client is given; `session` is where it knows other things than the others."""
        own = {"identity": self.identities[who], "cohort": tuple(self.names)}
        known = {"task": self.task, "roster": self.roster, **own, **session}
        return Context(Session(0, **known), KEY, self.spec, who)

    def terms(self, names: list[str] | None = None) -> Terms:
        """Those of the server."""
        session = Session(0, task=self.task, roster=self.roster)
        return Terms.of(self.names if names is None else names, self.aggregator, self.spec, session)

    def talk(self, who: str, drawn: bytes = b"", **session: Any) -> Talk:
        """A new conversation with a client."""
        self.talks[who] = Talk(self.aggregator, self.vectors[who], self.at(who, **session), drawn)
        return self.talks[who]

    def sum(self, inside: list[str]) -> Vector:
        """Σ vᵢ mod 2ᵇ."""
        total = np.sum([self.vectors[who] for who in inside], axis=0, dtype=self.spec.word)
        return np.asarray(total & self.spec.word.type(2**self.spec.sum_facts.modulus - 1))


@dataclass
class Talk:
    """A client's side of a session, driven turn by turn; None where it refuses, and `error` says why."""

    aggregator: HiddenSum
    v: Vector
    at: Context
    drawn: bytes = b""  # what it has drawn in an earlier life
    error: HansaError | None = None

    def __post_init__(self) -> None:
        self.conversation = self.aggregator.client(self.contribute, self.at)
        next(self.conversation)

    def contribute(self) -> Iterator[Any]:
        """Its vector; nothing has to be trained."""
        return self.v.copy()
        yield

    def hear(self, body: Any) -> Any:
        """What it says to this."""
        try:
            reply = self.conversation.send(body)
            while isinstance(reply, Draw):
                self.drawn = self.drawn or reply.make()
                reply = self.conversation.send(self.drawn)
        except HansaError as error:
            self.error = error
            return None
        except StopIteration:
            return None
        return reply

    @cached_property
    def prepared(self) -> Prepared:
        """What it has drawn."""
        return Prepared.decode(self.drawn)


Craft = Callable[[int, Any], Any]  # (turn, honest answer) → what a client says


class Line:
    """Between the real server and these conversations: an aggregator's channel.

    gone: client → the turn from which it says nothing. crafts: what liars say instead. backwards: the last by name
    answers first.
    """

    def __init__(
        self,
        talks: Mapping[str, Talk],
        gone: Mapping[str, int] | None = None,
        crafts: Mapping[str, Craft] | None = None,
        backwards: bool = False,
    ):
        self.talks = talks
        self.gone = gone or {}
        self.crafts = crafts or {}
        self.backwards = backwards
        self.excluded = dict[str, str]()
        self.before: Mapping[str, str] = {}
        self.said = list[dict[str, Any]]()  # turn → who → its answer
        self.told = list[dict[str, Any]]()

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Who answers what."""
        turn = len(self.told)
        self.told.append(dict(bodies))
        self.said.append({})
        for who in sorted(bodies, reverse=self.backwards):
            if self.gone.get(who, NEVER) <= turn:
                continue
            answer = self.talks[who].hear(bodies[who])
            if who in self.crafts:
                answer = self.crafts[who](turn, answer)
            if answer is not None:
                self.said[turn][who] = answer
                yield who, answer

    def exclude(self, who: str, why: str) -> None:
        """Who is left out; for the run, if it is proven to deal rubbish."""
        if self.excluded.get(who) != PROVEN:
            self.excluded[who] = why


def served(circle: Circle, line: Line | None = None, **line_of: Any) -> tuple[Vector | None, list[str], Cell, Line]:
    """A session with the real server: the opened sum, who is in it, and what the server and the line know."""
    line = line or Line({who: circle.talk(who) for who in circle.names}, **line_of)
    ((cell, total),) = collect(line, circle.names, [Cell.of(circle.terms())])  # type: ignore[arg-type]
    if total is None:
        return None, [], cell, line
    return total, cell.terms.named(cell.inside), cell, line


def why(cell: Cell) -> str:
    """Why there is no sum."""
    return cell.failure.why if cell.failure else ""


# ── a server that says what it likes ──


@dataclass
class Cheat:
    """What a server knows after the first turn, with which it may say anything in the next ones."""

    circle: Circle
    names: list[str] | None = None

    def __post_init__(self) -> None:
        self.names = self.names or self.circle.names
        self.terms = self.circle.terms()
        self.talks = {who: self.circle.talk(who) for who in self.names}
        self.first = {who: talk.hear({"cohort": self.names}) for who, talk in self.talks.items()}
        n = self.terms.n
        self.publics = np.stack([np.frombuffer(one["public"], np.uint8) for one in self.first.values()])
        self.boxes = np.stack([one["boxes"] for one in self.first.values()])
        self.all = np.ones(n, np.uint8)

    def view(self, to: str, **changed: Any) -> dict[str, Any]:
        """The honest second message to a client, but for what is changed."""
        i = self.terms.number(to)
        honest = {"prepared": self.all, "publics": self.publics, "boxes": self.boxes[:, i].copy()}
        return {**honest, **changed}

    def vector(self, to: str, **changed: Any) -> Any:
        """What a client says to that."""
        return self.talks[to].hear(self.view(to, **changed))

    def sign(self, who: str, inside: Any, publics: Any = None, prepared: Any = None) -> dict[str, Any]:
        """A colluding client's signature on any set, and its MACs of it."""
        view = View(
            np.asarray(self.all if prepared is None else prepared, bool), self.publics if publics is None else publics
        )
        agreed = self.terms.agreed(view, np.asarray(inside, bool))
        return {
            "signature": self.circle.identities[who].signing.sign(agreed),
            "macs": me_of(self.circle, who).macs(agreed),
        }

    def column(self, to: str, said: Mapping[str, Any]) -> Any:
        """The MACs that are for one client, of those that were said."""
        found = np.zeros((self.terms.n, MAC), np.uint8)
        for who, one in said.items():
            found[self.terms.number(who)] = one["macs"][self.terms.number(to)]
        return found

    def help(self, to: str, said: Mapping[str, Any]) -> Any:
        """What a client helps with where it is told of these."""
        return self.talks[to].hear({"macs": self.column(to, said)})

    def opened(self, helps: Mapping[str, Any], of: str) -> bytes:
        """The secret that the help of these opens of one client; any bytes where they open none."""
        holders = [self.terms.number(who) for who in list(helps)[: self.terms.t]]
        row = self.terms.number(of)
        shares = np.stack([helps[self.circle.names[i]][row] for i in holders])
        elements = self.terms.sharing.open([i + 1 for i in holders], shares, HALF)
        return np.ascontiguousarray(elements, "<u8").view(np.uint8).reshape(-1, 8)[:, :7].tobytes()[:PRIVATE]

    def bare(self, y: Vector, who: str, own: bytes, keys: Mapping[str, PrivateKey]) -> Vector:
        """A hidden vector without its own mask, and those with whom the server has the other's key."""
        terms = self.terms
        bits = self.circle.spec.sum_facts.modulus
        theirs = {who: bytes(self.publics[terms.number(who)][:PUBLIC])}
        v = y.copy()
        add_masks(v, [(own_seed(own, who, terms.binding), -1)], bits)
        for other, key in keys.items():
            (seed,) = pair_seeds(key, other, theirs, terms.binding).values()
            add_masks(v, [(seed, -sign(who, other))], bits)
        return v


def made_up(cheat: Cheat, real: list[str]) -> tuple[Any, dict[str, PrivateKey]]:
    """Public values of which all but those of `real` are the server's own, and their keys."""
    publics = cheat.publics.copy()
    keys = {who: PrivateKey.fresh() for who in cheat.circle.names if who not in real}
    for who, key in keys.items():
        publics[cheat.terms.number(who), :PUBLIC] = np.frombuffer(key.public, np.uint8)
    return publics, keys


def members(circle: Circle, *out: int) -> Any:
    """A set that has all but these."""
    found = np.ones(circle.n, bool)
    found[list(out)] = False
    return as_set(found)


def me_of(circle: Circle, who: str) -> Me:
    """What a client knows of itself, for one that cheats."""
    return Me(circle.terms(), circle.at(who))


def resigned(circle: Circle, who: str, answer: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """A first message that is changed, and signed again by its client and its seal."""
    new = {**answer, **changed}
    return {**new, "signature": me_of(circle, who).signed(new["public"], new["boxes"])}


def sealed(me: Me, public: bytes, shares: Any) -> Any:
    """Boxes that hold these shares [n, columns], well sealed."""
    boxes = np.zeros((me.terms.n, member_box_of(me.terms.scheme, me.terms.sharing)), np.uint8)
    about = me.terms.binding + public
    for name, channel in me.sealed_for.items():
        i = me.terms.number(name)
        box = me.channels[name].mac(SAID + about) + channel.seal_once(shares[i].tobytes(), about)
        boxes[i] = np.frombuffer(box, np.uint8)
    return boxes


def dealt(circle: Circle, who: str, answer: Mapping[str, Any], shares: Any, **changed: Any) -> dict[str, Any]:
    """A first message whose boxes hold these shares [n, columns], well sealed."""
    public = changed.get("public", answer["public"])
    boxes = sealed(me_of(circle, who), public, shares)
    return resigned(circle, who, answer, boxes=boxes, **changed)
