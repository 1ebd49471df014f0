"""Rounds of masked sums among clients of this process, and what they take: seconds of the processor, and bytes.

Conversations are real ones: identities, a signed roster, a fresh secret of each party to draw from, and each message in
the bytes of a request or a reply, written by who says it and read by who hears it; the model, which goes to all, is
left out, and that bytes are moved takes nobody's time.
"""

from __future__ import annotations

import gc
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

import hansa as h
from hansa.aggregators import Draw
from hansa.aggregators.hidden.terms import Scheme, needed
from hansa.aggregators.masked import Masks
from hansa.crypto.identity import Identity, Roster
from hansa.crypto.keys import SigningKey
from hansa.messages import Reply, Request, SessionId
from hansa.spec import Spec, SumFacts
from hansa.transforms import Context, Decoder, Pipe, Session

TOGETHER = 2 * 10**8  # words that answers have while they wait for the server
PLAN, SESSION = "0" * 64, SessionId("0" * 64)


class Bare(Masks):
    """No masks: for clients whose vectors are random words anyway."""

    def hide(self, v: Any, *_: Any) -> Any:
        return v


class MadeUp(h.MaskedSum):
    """What such a client takes part in; to all others it is the same sum."""

    scheme: ClassVar[Scheme] = Bare()

    def __repr__(self) -> str:
        return repr(h.MaskedSum(self.threshold))


@dataclass
class Watch:
    """What a round has taken so far: seconds of clients by turn, of encoding and decoding; bytes said and heard."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    up: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    down: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    away: float = 0.0  # from the server: that clients take, and messages on their way
    encoding: float = 0.0
    decoding: float = 0.0


class Wire:
    """The server's channel to clients of this process, of whom `gone` vanish after their first answer."""

    before: ClassVar[Mapping[str, str]] = {}  # nobody was left out of the round before

    def __init__(self, clients: Mapping[str, Any], gone: Sequence[str], together: int, watch: Watch):
        self.clients, self.gone, self.together, self.watch = clients, gone, together, watch
        self.turn = 0
        for client in clients.values():
            next(client)  # what its first yield gives, nobody gets

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """What they answer, each; some at a time, as many as there is memory for."""
        turn, self.turn = self.turn, self.turn + 1
        asked = [who for who in bodies if not turn or who not in self.gone]
        for start in range(0, len(asked), self.together):
            here = asked[start : start + self.together]
            requests = [Request(PLAN, 0, SESSION, None, {who: bodies[who]}, turn=turn) for who in here]
            said = [self._answer(*pair) for pair in zip(here, requests, strict=True)]
            while said:
                up = said.pop(0)
                yield here[-1 - len(said)], Reply.decode(up, len(up)).body

    def exclude(self, who: str, why: str) -> None:
        """All are honest."""
        raise AssertionError(f"{who} is left out: {why}")

    def note(self, entry: Any) -> None:
        """The record is kept by a run."""

    def keep(self, data: Any) -> None:
        """Nothing is kept."""

    def answer(self, who: str, body: Any) -> Any:
        """What a client answers to this."""
        said = self.clients[who].send(body)
        if isinstance(said, Draw):
            said = self.clients[who].send(said.make())
        return said

    def _answer(self, who: str, request: Request) -> bytes:
        """The same in bytes, which are counted, on the client's watch; that they are moved, on nobody's."""
        parts = request.encode()
        begin = time.process_time()
        down = b"".join(parts)
        heard, before = time.process_time(), self.watch.encoding
        question = Request.decode(down)
        parts = Reply.to(question, (who,), self.answer(who, question.bodies[who])).encode()
        self.watch.seconds[who].append(time.process_time() - heard - (self.watch.encoding - before))
        up = b"".join(parts)
        del parts, question  # what a client gives back is not on the server's watch
        self.watch.down[who] += len(down)
        self.watch.up[who].append(len(up))
        self.watch.away += time.process_time() - begin
        return up


@dataclass(frozen=True)
class Timed(Decoder):
    """A decoder, on the watch."""

    watch: Watch = field(default_factory=Watch)

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        begin = time.process_time()
        found = super().__call__(*arguments, **more)
        self.watch.decoding += time.process_time() - begin
        return found


@dataclass(frozen=True)
class Cohort:
    """n clients who know each other, and the pipe of their vectors."""

    identities: Mapping[str, Identity]
    roster: Roster
    pipe: Pipe

    @classmethod
    def of(cls, n: int, d: int, *transforms: h.transforms.Transform) -> Cohort:
        """Clients with new keys, on a signed roster; without transforms, vectors of words mod 2¹⁶."""
        identities = {who: Identity.fresh(who, "client") for who in (f"client {i:03}" for i in range(n))}
        enrolment = SigningKey.fresh()
        roster = Roster.signed({who: one.member for who, one in identities.items()}, 1, enrolment)
        roster.verify(enrolment.public)
        facts = SumFacts(modulus=16, clients=n, quorum=needed(h.MaskedSum().threshold, n))
        space: Any = "real" if transforms else "integer"
        return cls(identities, roster, Pipe.of(transforms, Spec({"delta": d}, space=space, sum_facts=facts)))

    @property
    def d(self) -> int:
        """Numbers of a vector."""
        return self.pipe.specs[0].size

    def at(self, who: str, task: bytes, spec: Spec) -> Context:
        """Where a party is, in a session of this name."""
        own = self.identities.get(who)
        session = Session(0, task=task, roster=self.roster, identity=own, cohort=tuple(self.identities))
        return Context(session, h.Key.fresh(), spec, who, memo=self.pipe.start())

    def client(self, who: str, task: bytes, vector: Any, aggregator: h.MaskedSum, watch: Watch) -> Any:
        """A client's side; its vector is encoded off its watch."""
        first, last = self.pipe.specs[0], self.pipe.specs[-1]

        def contribute() -> Iterator[Any]:
            yield from ()
            begin = time.process_time()
            words, _ = self.pipe.encode(vector(), self.at(who, task, first))
            watch.encoding += time.process_time() - begin
            return words

        return aggregator.client(contribute, self.at(who, task, last))

    def server(self, wire: Any, task: bytes, watch: Watch) -> tuple[Any, list[str]]:
        """The server's side: the sum, and who is in it."""
        decode = Timed(self.pipe, self.at("server", task, self.pipe.specs[0]), watch=watch)
        mean, inside = h.MaskedSum().server(wire, list(self.identities), decode)
        assert mean is not None
        return mean[0], inside


@dataclass(frozen=True)
class Took:
    """What a round took: seconds of the server, and of clients by turn; what was written down besides."""

    server: float
    clients: Mapping[str, Sequence[float]]
    watch: Watch

    @property
    def whole(self) -> float:
        """Of all clients and the server."""
        return self.server + sum(map(sum, self.watch.seconds.values()))

    @property
    def encoding(self) -> float:
        """Of all pipes."""
        return self.watch.encoding + self.watch.decoding


def round_of(cohort: Cohort, gone: Sequence[str], real: Sequence[str]) -> Took:
    """A round in which `real` clients mask their vectors; where that are all, its sum is checked."""
    task, rng, watch = secrets.token_bytes(32), np.random.default_rng(0), Watch()
    words = cohort.pipe.specs[0].space == "integer"
    some = rng.integers(0, 2**16, cohort.d, np.uint16)
    expected = np.zeros(cohort.d, some.dtype if words else float)
    clients = {}
    for who in cohort.identities:
        if who in real:
            v = rng.integers(0, 2**16, cohort.d, np.uint16) if words else rng.normal(scale=1e-4, size=cohort.d)
            expected += 0 if who in gone else v
            clients[who] = cohort.client(who, task, [v].pop, h.MaskedSum(), watch)
            del v
        else:
            clients[who] = cohort.client(who, task, lambda: some, MadeUp(), watch)
    wire = Wire(clients, gone, max(1, TOGETHER // cohort.d), watch)
    gc.collect()
    begin = time.process_time()
    total, inside = cohort.server(wire, task, watch)
    took = time.process_time() - begin - watch.away - watch.decoding
    assert inside == sorted(clients.keys() - set(gone))
    if len(real) == len(clients):
        assert np.array_equal(total, expected) if words else np.abs(total - expected).max() < len(real) ** 2 / 2**15
    return Took(took, {who: watch.seconds[who] for who in real if who not in gone}, watch)
