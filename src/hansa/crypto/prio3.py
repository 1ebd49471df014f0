"""Prio3: verified counts, sums, histograms and short vectors, for two or more aggregators.

(Corrigan-Gibbs and Boneh 2017; draft-irtf-cfrg-vdaf-18, section 7)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import PlanError
from . import circuits, vdaf
from .circuits import Statement
from .field import Elements, Field, Field64, Field128
from .flp import Proof
from .vdaf import State
from .xof import Bytes, XofTurboShake128, elements

VERSION = 18
SEED = XofTurboShake128.seed_size
# What a seed is expanded for (section 7.2)
MEASUREMENT, PROOF, JOINT, PROVE, QUERY, JOINT_SEED, JOINT_PART = range(1, 8)


@dataclass(frozen=True)
class Streams:
    """What seeds are expanded to: each use of a seed has a stream of its own, and each a binder.

    dst = version ‖ class 0 ‖ algorithm ‖ usage ‖ context   (section 6.2.3)
    """

    statement: Statement
    number: int
    proofs: int
    context: bytes

    @property
    def blind(self) -> int:
        """Bytes of a blind, which hides an aggregator's share from who knows its part."""
        return SEED if self.statement.shape.joint else 0

    def measurement(self, seed: bytes, j: int) -> Elements:
        """The share of the measurement of aggregator j."""
        return self._elements(seed, MEASUREMENT, [bytes([j])], self.statement.shape.inputs)

    def proof(self, seed: bytes, j: int, length: int) -> Elements:
        """The share of the proofs of aggregator j, each of so many elements."""
        return self._elements(seed, PROOF, [bytes([self.proofs, j])], self.proofs * length)

    def prover(self, seed: bytes) -> Elements:
        """What the prover draws for all proofs."""
        n = self.proofs * self.statement.shape.gadget.arity
        return self._elements(seed, PROVE, [bytes([self.proofs])], n)

    def query(self, key: bytes, nonce: bytes, length: int) -> Elements:
        """What all aggregators, and no client, know of where proofs are asked."""
        binder = [bytes([self.proofs]), nonce]
        return self._elements(key, QUERY, binder, self.proofs * length)

    def part(self, j: int, blind: bytes, x: Elements, nonce: bytes) -> bytes:
        """The part of aggregator j in the joint randomness: a hash of its share."""
        binder = [bytes([j]), nonce, self.statement.shape.field.encode(x)]
        return self._stream(blind, JOINT_PART, binder).read(SEED)

    def joint_seed(self, parts: Sequence[bytes]) -> bytes:
        """The seed of the joint randomness, from the parts of all; empty where there is none."""
        if not self.statement.shape.joint:
            return b""
        return self._stream(bytes(SEED), JOINT_SEED, parts).read(SEED)

    def joint(self, seed: bytes) -> Elements:
        """The joint randomness of all proofs."""
        if not self.statement.shape.joint:
            return self.statement.shape.field.zeros(0)
        n = self.proofs * self.statement.shape.joint
        return self._elements(seed, JOINT, [bytes([self.proofs])], n)

    def _elements(self, seed: bytes, usage: int, binder: Sequence[Bytes], n: int) -> Elements:
        """n elements of the field, from a seed that is used for this."""
        return elements(self._stream(seed, usage, binder), self.statement.shape.field, n)

    def _stream(self, seed: bytes, usage: int, binder: Sequence[Bytes]) -> XofTurboShake128:
        """What a seed that is used for this expands to, without end."""
        dst = (
            bytes([VERSION, 0])
            + self.number.to_bytes(4, "big")
            + usage.to_bytes(2, "big")
            + self.context
        )
        return XofTurboShake128(seed, dst, binder)


@dataclass(frozen=True)
class Prio3:
    """Sums of measurements of which a statement holds: a `vdaf.Vdaf` whose messages are bytes.

    number: of the algorithm in the draft's registry. shares: aggregators, one leader and its
    helpers. proofs: of the statement; each alone has the soundness of the field. context: the
    application and the task; client and aggregators must agree on it, or nothing is accepted.
    """

    statement: Statement
    number: int
    shares: int = 2
    proofs: int = 1
    context: bytes = b""

    def __post_init__(self) -> None:
        vdaf.check_shares(self.shares)
        if not 1 <= self.proofs < 256:
            raise PlanError(
                f"proofs={self.proofs}", "One byte counts the proofs.", "Write proofs=1."
            )
        if len(self.context) > 2**16 - 9:
            raise PlanError(
                f"A context of {len(self.context)} bytes.",
                "Two bytes count them.",
                "Give its SHA-256.",
            )

    @property
    def verify_key_size(self) -> int:
        """Bytes of the key that only aggregators know."""
        return SEED

    @property
    def rand_size(self) -> int:
        """Bytes of randomness of a report: a seed for each aggregator, and a blind, if any."""
        return self.shares * (SEED + self.streams.blind)

    @property
    def field(self) -> Field:
        """Where it computes."""
        return self.statement.shape.field

    @property
    def proof(self) -> Proof:
        """How the statement is proven."""
        return Proof(self.statement, "values")

    @cached_property
    def streams(self) -> Streams:
        """What its seeds are expanded to."""
        return Streams(self.statement, self.number, self.proofs, self.context)

    @property
    def sizes(self) -> vdaf.Sizes:
        """How large a report is."""
        shape = self.statement.shape
        blind = self.streams.blind
        leader = (shape.inputs + self.proofs * self.proof.length) * shape.field.size
        return vdaf.Sizes(blind * self.shares, leader + blind, SEED + blind)

    def shard(
        self, measurement: Any, nonce: bytes, rand: bytes | None = None
    ) -> tuple[bytes, list[bytes]]:
        """A public share, and an input share for each aggregator.

            x = Σⱼ xⱼ,    π = Σⱼ πⱼ

        The leader gets vectors, the others a seed from which they expand theirs. DataError refuses
        the measurement. rand is for test vectors only; without it, the operating system's generator
        is asked.   (section 7.2.1)
        """
        vdaf.expect(nonce, vdaf.NONCE, "A nonce")
        s = self.statement
        field = self.statement.shape.field
        *helpers, prover = vdaf.cut(vdaf.randomness(rand, self.rand_size), SEED)
        seeds = helpers
        blinds = [b""] * self.shares
        if s.shape.joint:
            seeds = helpers[:-1:2]
            blinds = [helpers[-1], *helpers[1::2]]

        x = leader = s.encode(measurement)
        shares = [self.streams.measurement(seed, j) for j, seed in enumerate(seeds, 1)]
        for share in shares:
            leader = field.sub(leader, share)
        parts = list[bytes]()
        if s.shape.joint:
            each = enumerate(zip(blinds, [leader, *shares], strict=True))
            parts = [self.streams.part(j, blind, share, nonce) for j, (blind, share) in each]

        proof = self._prove(x, prover, self.streams.joint_seed(parts))
        for j, seed in enumerate(seeds, 1):
            proof = field.sub(proof, self.streams.proof(seed, j, self.proof.length))
        first = field.encode(leader) + field.encode(proof)
        sent = zip([first, *seeds], blinds, strict=True)
        return b"".join(parts), [share + blind for share, blind in sent]

    def prepare(
        self, key: bytes, who: int, nonce: bytes, public: bytes, share: bytes
    ) -> tuple[State, bytes]:
        """Aggregator `who` checks its shares: what it keeps, and its verifier share.

        (section 7.2.2)

        key: known to all aggregators, to no client. ProtocolError refuses the report.
        """
        vdaf.check_party(who, self.shares, nonce)
        s = self.statement
        field = self.statement.shape.field
        x, proofs, blind = self._open(who, share)
        vdaf.expect(public, self.sizes.public, "A public share")
        parts = vdaf.cut(public, SEED)
        part = b""
        seed = b""
        if s.shape.joint:
            part = parts[who] = self.streams.part(who, blind, x, nonce)
            seed = self.streams.joint_seed(parts)
        joint = self.streams.joint(seed)
        query = self.streams.query(key, nonce, self.proof.query_length)
        one = field.inverse(self.shares)
        each = _cut(self.proofs, proofs, query, joint)
        answers = [self.proof.query(x, π, t, r, one) for π, t, r in each]
        return State(s.truncate(x), seed), field.encode(np.concatenate(answers)) + part

    def decide(self, verifier_shares: Sequence[bytes]) -> bytes:
        """The message that a report is valid, from all verifier shares; else ProtocolError."""
        n = self.proof.verifier_length
        field = self.statement.shape.field
        size = self.proofs * n * field.size
        shares = [v[:size] for v in verifier_shares]
        total = vdaf.add_encoded(field, shares, self.shares, self.proofs * n)
        if not all(self.proof.decide(total[k * n : (k + 1) * n]) for k in range(self.proofs)):
            raise vdaf.refuse(
                "A proof does not hold.", "The measurement is not valid, or a share was changed."
            )
        parts = [v[size:] for v in verifier_shares]
        for part in parts:
            vdaf.expect(part, self.streams.blind, "The end of a verifier share")
        return self.streams.joint_seed(parts)

    def finish(self, state: State, message: bytes) -> Elements:
        """The output share of a valid report; ProtocolError where joint randomness differed."""
        vdaf.check_seed(state.seed, message)
        return state.share

    def aggregate(self, out_shares: Sequence[Elements]) -> bytes:
        """The sum of output shares of one aggregator."""
        field = self.statement.shape.field
        return field.encode(vdaf.add_all(field, out_shares, self.statement.shape.length))

    def unshard(self, totals: Sequence[bytes]) -> Any:
        """The sum of all measurements, from the totals of all aggregators."""
        s = self.statement
        total = vdaf.add_encoded(s.shape.field, totals, self.shares, s.shape.length)
        return s.decode(total.tolist())

    def _prove(self, x: Elements, prover: bytes, seed: bytes) -> Elements:
        """All proofs that the statement holds of x, one after another."""
        wires = self.streams.prover(prover)
        each = _cut(self.proofs, wires, self.streams.joint(seed))
        return np.concatenate([self.proof.prove(x, w, r) for w, r in each])

    def _open(self, who: int, share: bytes) -> tuple[Elements, Elements, bytes]:
        """The share of x, that of the proofs, and the blind, from an input share."""
        if who == 0:
            shape = self.statement.shape
            vdaf.expect(share, self.sizes.leader, "The leader's share")
            size = self.sizes.leader - self.streams.blind
            v = shape.field.decode(share[:size])
            return v[: shape.inputs], v[shape.inputs :], share[size:]
        vdaf.expect(share, self.sizes.helper, "A helper's share")
        seed = share[:SEED]
        proof = self.streams.proof(seed, who, self.proof.length)
        return self.streams.measurement(seed, who), proof, share[SEED:]


def _cut(n: int, *vectors: Elements) -> list[tuple[Elements, ...]]:
    """The vectors, each cut into n parts: the first of all, the second of all, and so on."""
    return list(zip(*(v.reshape(n, -1) for v in vectors), strict=True))


# --- the instances of the draft (section 7.4, table of algorithm identifiers in section 10) ---


def prio3_count(shares: int = 2, context: bytes = b"") -> Prio3:
    """How many measurements are 1 (or True); the others are 0."""
    return Prio3(circuits.Count(), 1, shares, context=context)


def prio3_sum(most: int, shares: int = 2, context: bytes = b"") -> Prio3:
    """The sum of whole numbers in 0 … most."""
    return Prio3(circuits.Sum(Field64, most), 2, shares, context=context)


def prio3_sum_vec(
    length: int, most: int, chunk: int, shares: int = 2, context: bytes = b""
) -> Prio3:
    """The sum of vectors of `length` whole numbers in 0 … most.

    Proofs are smallest with a chunk of about √(length · bits).
    """
    return Prio3(circuits.SumVec(Field128, length, chunk, most), 3, shares, context=context)


def prio3_histogram(length: int, chunk: int, shares: int = 2, context: bytes = b"") -> Prio3:
    """How many measurements fall into each of `length` buckets.

    Proofs are smallest with a chunk of about √length.
    """
    return Prio3(circuits.Histogram(Field128, length, chunk), 4, shares, context=context)


def prio3_multihot(
    length: int, most: int, chunk: int, shares: int = 2, context: bytes = b""
) -> Prio3:
    """The sum of vectors of zeros and at most `most` ones."""
    return Prio3(
        circuits.MultihotCountVec(Field128, length, chunk, most), 5, shares, context=context
    )


def prio3_l1_bound_sum(
    length: int, most: int, chunk: int, shares: int = 2, context: bytes = b""
) -> Prio3:
    """The sum of vectors of whole numbers ≥ 0 that add up to at most `most`."""
    return Prio3(circuits.L1BoundSum(Field128, length, chunk, most), 7, shares, context=context)


def prio3_sum_vec_multiproof(
    length: int, most: int, chunk: int, shares: int = 2, context: bytes = b""
) -> Prio3:
    """As `prio3_sum_vec`, in a field of half the size with three proofs."""
    return Prio3(circuits.SumVec(Field64, length, chunk, most), 0xFFFFFFFF, shares, 3, context)
