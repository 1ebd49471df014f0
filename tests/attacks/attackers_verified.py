"""Parties of a VerifiedSum that lie: clients that prove what is false, helpers and servers that do as they like."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from tests.vdaf.attackers import Attacker, squares

import hansa as h
from hansa.aggregators.verified.claims import FINE, Claim
from hansa.aggregators.verified.opening import SECRET, promised
from hansa.aggregators.verified.reports import Reports
from hansa.aggregators.verified.share import Share
from hansa.crypto.circuits import SumVec
from hansa.crypto.field import Elements, Field64
from hansa.crypto.identity import Identity
from hansa.crypto.pine import Pine
from hansa.crypto.prio3 import Prio3
from hansa.errors import LeftOut
from hansa.loops.channel import ServerChannel
from hansa.messages import Request, SessionId
from hansa.parties.helper import Helper
from hansa.plan.client import contribute
from hansa.testing.algorithm import MODEL, federation

KEY = h.Key.of(0)  # a secret, so that two runs can be compared
B, P, D = FINE, Field64.p, MODEL.size  # the bound in steps, the modulus, the length of an update
HELPER = "helper 1"


def plan_of(aggregator: h.aggregators.Aggregator | None = None, **more: Any) -> h.Plan:
    """Rounds of softmax regression, one full-batch step each, every client counts once; or as `more` says."""
    pieces = {
        "pipe": (h.Clip(1.0, side=10.0), h.Weigh("one")),
        "training": h.Training(batch=0, learning_rate=0.05),
        "sample": h.Everyone(quorum=2),
        "rounds": 1,
        **more,
    }
    return h.Plan(MODEL, aggregator=aggregator or h.VerifiedSum(), **pieces)


def honest(plan: h.Plan, n: int = 3) -> list[h.Client]:
    """n clients that follow the plan."""
    return [h.Client(who, plan, data, secret=KEY) for who, data in federation(n).items()]


def attacker(make: Callable[..., h.Client], plan: h.Plan, **more: Any) -> h.Client:
    """One that does not, called attacker."""
    return make("mallory", plan, federation(1)["client-0"], **more)


def states(
    plan: h.Plan, clients: Iterable[h.Client], network: h.Network | None = None, **crafted: Any
) -> list[h.State]:
    """The states of a run; a helper with `crafted` arguments does not keep to the protocol."""
    runtime = h.InProcess(clients, network, secret=KEY)
    if crafted:
        true = runtime.helpers[HELPER]
        runtime.helpers[HELPER] = Deceiver(HELPER, plan, identity=true.identity, roster=true.roster, **crafted)
    return list(h.synchronous(plan, runtime, secret=KEY))


# ── clients ──


@dataclass
class Crafted(h.Client):
    """Says what `craft` makes of its honest report, and signs that."""

    craft: Callable[[Any], Any] = lambda report: report

    def reply(self, request: Request, given: Any) -> Any:
        crafted = self.craft((yield from super().reply(request, given)))
        try:
            return signed(self, request, crafted)
        except (AttributeError, IndexError, KeyError, TypeError, h.errors.ProtocolError):  # nobody could sign this
            return crafted


def signed(client: h.Client, request: Request, report: Any) -> Any:
    """The report, signed by this client for the session of the request."""
    aggregator = client.plan.aggregator
    assert isinstance(aggregator, h.VerifiedSum) and client.identity is not None
    at = client._at(request, client.secret)
    reports = Reports.of(at.session, request.bodies[client.who], aggregator.parties)
    return reports.signed(report, client.identity)


@dataclass
class Forger(h.Client):
    """Skips every check of its own, and proves of the integers `x`, in steps, what `kind` claims of them.

    Without x, of its own update, `times` as long.
    """

    x: Sequence[int] = ()
    kind: type[Pine] | type[SumVec] = Attacker
    times: float = 1.0

    def _converse(self, request: Request, given: Any) -> Any:
        broadcast, memo = self._heard(request)
        train, held, examples = self.parts
        at = self._context(request, given.state, examples, memo)
        own = {each.name: getattr(self.plan.aggregator, each.name) for each in fields(h.VerifiedSum)}
        lying = Lying(**own, x=tuple(self.x), kind=self.kind, times=self.times)

        def vector() -> Any:
            v, _ = yield from contribute(self.plan, broadcast, {}, train, held, at)
            return v

        return lying.client(vector, replace(at, spec=self.plan.encoded_spec))


@dataclass(frozen=True)
class Lying(h.VerifiedSum):
    """The client's half, with a lie about the update, or about the side values."""

    x: tuple[int, ...] = ()
    kind: Any = Attacker
    times: float = 1.0

    def _claims(self, spec: h.spec.Spec, binding: bytes) -> tuple[Claim, ...]:
        update, side = super()._claims(spec, binding)
        if issubclass(self.kind, Pine):
            return Lie(update, self.x, self.kind(**facts(update.sum)), self.times), side
        assert isinstance(side.sum, Prio3)
        return update, Lie(side, self.x, replace(side.sum, statement=self.kind(**facts(side.sum.statement))))


def facts(value: Any) -> dict[str, Any]:
    """The arguments that build a dataclass."""
    return {each.name: getattr(value, each.name) for each in fields(value)}


@dataclass(frozen=True)
class Lie:
    """A claim that says `x`, whatever the vector; or without x, the vector, `times` as long."""

    claim: Claim
    x: tuple[int, ...]
    sum: Any
    times: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        return self.claim.names

    @property
    def bound(self) -> int:
        return self.claim.bound

    @property
    def steps(self) -> tuple[float, ...]:
        return self.claim.steps

    def round(self, v: h.Vector, key: h.Key) -> Any:
        return list(self.x) or [int(self.times * x) for x in v / self.steps[0]]

    def measurement(self, x: Any) -> Any:
        return x


class FalseSquare(Attacker):
    """Only Σ xⱼ² = v is false."""

    def norm_claim(self, v: int) -> Elements:
        return super().norm_claim(self.bound**2)


class FalseRest(Attacker):
    """Only v + u = B² is false."""

    def norm_claim(self, v: int) -> Elements:
        return self.encoding.bits([v, 0], self.encoding.norm_bits)


class NoBit(Attacker):
    """Only that all are bits is false: the two lowest of u are written as u + 2 and −1."""

    def norm_claim(self, v: int) -> Elements:
        claim, n = super().norm_claim(v), self.encoding.norm_bits
        claim[n : n + 2] = self.field.array([int(claim[n]) + 2 * int(claim[n + 1]) + 2, -1])
        return claim


class Zero(Attacker):
    """Claims success of every check: where a dot is large, it says that it is the smallest."""

    def dot_claim(self, v: int, holds: bool) -> int:
        return (v if holds else 0) | 1 << self.encoding.dot_bits


class Cut(Attacker):
    """Claims success of every check: where a dot is large, it says its lowest bits."""

    def dot_claim(self, v: int, holds: bool) -> int:
        return v % (2 * self.encoding.range) | 1 << self.encoding.dot_bits


class Fewer(Attacker):
    """Claims one success too few."""

    def _claim(self, dots: Elements) -> Elements:
        claim = super()._claim(dots)
        claim[self.encoding.dot_bits] = 0
        return claim


class Loud(SumVec):
    """Writes any number into the place of its lowest bit."""

    def encode(self, measurement: Any) -> Elements:
        bits = super().encode([0] * len(measurement))
        bits[0] = measurement[0] % self.shape.field.p
        return bits


def vector(*first: int) -> list[int]:
    """These coordinates, and zeros."""
    return [*first, *[0] * (D - len(first))]


def wrapped(t: int) -> list[int]:
    """All coordinates large, of about the same size, and Σ xⱼ² = p + t: small mod p."""
    draw, size = np.random.Generator(np.random.PCG64(2)), int((P / D) ** 0.5)
    x = [size - int(draw.integers(size // 100)) for _ in range(D - 4)]
    return [*x, *squares(P + t - sum(v * v for v in x))]


# ── what they say ──

PLAN = plan_of()
HONEST = ("client-0", "client-1", "client-2")

LIES: dict[str, tuple[Any, list[int]]] = {
    "twice the bound": (Attacker, vector(B, B)),
    "the bound and one": (Attacker, vector(B, 1)),
    "v and u shifted": (Attacker, vector(B, B, B, B)),
    "half of p": (Attacker, vector(P // 2, P - 3)),
    "false square": (FalseSquare, vector(B, B)),
    "false rest": (FalseRest, vector(B, 100)),
    "no bit": (NoBit, vector(B // 2)),
    "one success too few": (Fewer, vector(B)),
    "wrapped, four": (Attacker, vector(*squares(P + 12345))),
    "wrapped, all": (Attacker, wrapped(12345)),
    "wrapped, zero": (Zero, vector(*squares(P + 12345))),
    "wrapped, cut": (Cut, wrapped(B**2)),
    "a side value": (Loud, [5]),
    "a negative side value": (Loud, [-1]),
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["nonce", "public", "leader", "sealed"]) | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


def flip(data: bytes, i: int = 0) -> bytes:
    """With one bit changed."""
    return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]


# ── helpers and servers ──


@dataclass
class Deceiver(Helper):
    """Says what `craft` makes of what it is asked and of its honest answer."""

    craft: Callable[[Any, Any], Any] = lambda asked, reply: reply

    def reply(self, request: Request, given: Any) -> Any:
        return self.craft(request.bodies[self.who], (yield from super().reply(request, given)))


@dataclass
class Server:
    """A server that says what it likes to real clients and a real helper, one session at a time."""

    plan: h.Plan
    clients: list[h.Client]
    runtime: Any = None
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET))
    opening: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cohort = sorted(one.who for one in self.clients)
        self.runtime = self.runtime or h.InProcess(self.clients)
        self.session(0)

    def session(self, session: int, round: int = 0) -> None:
        """Begin another session."""
        begun = replace(self.plan.start(), round=round)
        self.channel = ServerChannel(self.plan, self.runtime, begun, SessionId(number=session))

    def ask(self, body: Any) -> Any:
        """What the helper answers; None where it refuses."""
        with warnings.catch_warnings(record=True) as received:
            answer = self.channel.gather({HELPER: body}).get(HELPER)
        self.words = [str(one.message) for one in received if one.category is LeftOut] or self.words
        return answer

    def open(self, cohort: list[str] | None = None, key: bytes | None = None) -> Any:
        """Tell the helper this cohort and key, and then what all clients are told."""
        challenge = self.ask({"key": key or self.secret, "cohort": self.cohort if cohort is None else cohort})
        self.opening = promised(self.secret, [challenge], self.cohort)
        return self.ask(self.opening)

    def hear(self, who: list[str]) -> dict[str, Any]:
        """The reports of clients."""
        head = self.channel.head
        at = self.plan.context(head.round, head.session, secret=h.Key.fresh(), task=head.task)
        assert isinstance(self.plan.aggregator, h.VerifiedSum)
        session = at.enrolled(self.runtime.members).session
        self.reports = Reports.of(session, self.opening, self.plan.aggregator.parties)
        claims = self.plan.aggregator._claims(self.plan.encoded_spec, self.reports.binding)
        self.share = Share(claims, 0, self.secret)
        return self.channel.gather(dict.fromkeys(who, self.opening))

    def pass_on(self, reports: dict[str, Any], count: Sequence[str] = ()) -> Any:
        """What the helper says of reports."""
        rows = [self.reports.row(who, report, HELPER) for who, report in reports.items()]
        return self.ask({"reports": rows, "count": list(count)})

    def sign(self, who: str, report: dict[str, Any], identity: Identity | None = None) -> dict[str, Any]:
        """The report as `who` says it, signed by it, or by another in its name."""
        identity = replace(identity or self.runtime.clients[who].identity, who=who)
        return self.reports.signed(report, identity)

    def check(self, reports: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Verify with the helper, as an honest server would: who is in, and why others are not."""
        own = self.share.prepare([(who, r["nonce"], r["public"], r["leader"]) for who, r in reports.items()])
        verdicts, why = self.share.decide(list(reports), [own, self.pass_on(reports)])
        return self.ask({"verdicts": verdicts}), why

    def why(self) -> str:
        """Why the helper has refused, in its own words, which this server would not hear."""
        assert self.channel.excluded.get(HELPER) == "refused"
        return self.words[-1]


def verified_one() -> tuple[Server, dict[str, Any]]:
    """A session in which all three clients have said their reports."""
    server = Server(PLAN, honest(PLAN))
    assert server.open() is True
    return server, server.hear(server.cohort)
