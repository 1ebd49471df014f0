"""Prio3: verified counts, sums, histograms and short vectors, for two or more aggregators.

(Corrigan-Gibbs and Boneh 2017; draft-irtf-cfrg-vdaf-18, section 7)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
# What a seed is expanded for (draft-irtf-cfrg-vdaf-18, section 7.2)
MEASUREMENT, PROOF, JOINT, PROVE, QUERY, JOINT_SEED, JOINT_PART = range(1, 8)


@dataclass(frozen=True)
class Prio3:
    """Sums of measurements of which a statement holds. It is one of `vdaf.Vdaf`, with messages of
    bytes.

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
        """Bytes of randomness of a report: two seeds for each aggregator, or one where there is no
        joint randomness.
        """
        return self.shares * SEED * (2 if self.statement.shape.joint else 1)

    @property
    def field(self) -> Field:
        """Where it computes."""
        return self.statement.shape.field

    @property
    def proof(self) -> Proof:
        """How the statement is proven."""
        return Proof(self.statement, "values")

    @property
    def sizes(self) -> vdaf.Sizes:
        """How large a report is."""
        shape = self.statement.shape
        blind = SEED if self.statement.shape.joint else 0
        leader = (shape.inputs + self.proofs * self.proof.length) * shape.field.size
        return vdaf.Sizes(blind * self.shares, leader + blind, SEED + blind)

    def shard(
        self, measurement: Any, nonce: bytes, rand: bytes | None = None
    ) -> tuple[bytes, list[bytes]]:
        """A public share, and an input share for each aggregator.   (draft-irtf-cfrg-vdaf-18,
        section 7.2.1)

        The leader gets vectors, the others a seed from which they expand theirs. DataError refuses
        the measurement. rand is for test vectors only; without it, the operating system's generator
        is asked.
        """
        vdaf.expect(nonce, vdaf.NONCE, "A nonce")
        s = self.statement
        field = self.statement.shape.field
        *helpers, prover = vdaf.cut(vdaf.randomness(rand, self.rand_size), SEED)
        seeds, blinds = (
            (helpers[:-1:2], [helpers[-1], *helpers[1::2]]) if s.shape.joint else (helpers, [])
        )
        x = leader = s.encode(measurement)
        parts = []
        for j, seed in enumerate(seeds, 1):
            share = self._measurement(seed, j)
            leader = field.sub(leader, share)
            parts += [self._part(j, blinds[j], share, nonce)] if blinds else []
        parts[:0] = [self._part(0, blinds[0], leader, nonce)] if blinds else []
        proof = self._prove(x, prover, self._joint_seed(parts))
        for j, seed in enumerate(seeds, 1):
            proof = field.sub(proof, self._proofs(seed, j))
        first = field.encode(leader) + field.encode(proof) + b"".join(blinds[:1])
        return b"".join(parts), [
            first,
            *(a + b for a, b in zip(seeds, blinds[1:] or [b""] * len(seeds), strict=True)),
        ]

    def prepare(
        self, key: bytes, who: int, nonce: bytes, public: bytes, share: bytes
    ) -> tuple[State, bytes]:
        """Aggregator `who` checks its shares: what it keeps, and its verifier share.   (section
        7.2.2)

        key: known to all aggregators, to no client. ProtocolError refuses the report.
        """
        vdaf.check_party(who, self.shares, nonce)
        s = self.statement
        field = self.statement.shape.field
        count = bytes([self.proofs])
        x, proofs, blind = self._open(who, share)
        vdaf.expect(public, self.sizes.public, "A public share")
        parts = vdaf.cut(public, SEED)
        part = b""
        seed = b""
        if s.shape.joint:
            part = parts[who] = self._part(who, blind, x, nonce)
            seed = self._joint_seed(parts)
        joint = self._joint(seed)
        query = self._elements(key, QUERY, [count, nonce], self.proofs * self.proof.query_length)
        one = field.inverse(self.shares)
        answers = [
            self.proof.query(x, π, t, r, one) for π, t, r in self._each(proofs, query, joint)
        ]
        return State(s.truncate(x), seed), field.encode(np.concatenate(answers)) + part

    def decide(self, verifier_shares: Sequence[bytes]) -> bytes:
        """The message that a report is valid, from the verifier shares of all aggregators; else
        ProtocolError.
        """
        n = self.proof.verifier_length
        size = self.proofs * self.proof.verifier_length * self.statement.shape.field.size
        total = vdaf.add_encoded(
            self.statement.shape.field,
            [v[:size] for v in verifier_shares],
            self.shares,
            self.proofs * n,
        )
        if not all(self.proof.decide(total[k * n : (k + 1) * n]) for k in range(self.proofs)):
            raise vdaf.refuse(
                "A proof does not hold.", "The measurement is not valid, or a share was changed."
            )
        parts = [v[size:] for v in verifier_shares]
        for part in parts:
            vdaf.expect(
                part, SEED if self.statement.shape.joint else 0, "The end of a verifier share"
            )
        return self._joint_seed(parts)

    def finish(self, state: State, message: bytes) -> Elements:
        """The output share of a valid report; ProtocolError unless all used the same joint
        randomness.
        """
        vdaf.check_seed(state.seed, message)
        return state.share

    def aggregate(self, out_shares: Sequence[Elements]) -> bytes:
        """The sum of output shares of one aggregator."""
        field = self.statement.shape.field
        return field.encode(vdaf.add_all(field, out_shares, self.statement.shape.length))

    def unshard(self, totals: Sequence[bytes]) -> Any:
        """The sum of all measurements, from the totals of all aggregators."""
        s = self.statement
        return s.decode(
            vdaf.add_encoded(s.shape.field, totals, self.shares, s.shape.length).tolist()
        )

    # --- randomness ---

    def _stream(self, seed: bytes, usage: int, binder: Sequence[Bytes]) -> XofTurboShake128:
        """dst = version ‖ class 0 ‖ algorithm ‖ usage ‖ context.   (section 6.2.3)"""
        dst = (
            bytes([VERSION, 0])
            + self.number.to_bytes(4, "big")
            + usage.to_bytes(2, "big")
            + self.context
        )
        return XofTurboShake128(seed, dst, binder)

    def _elements(self, seed: bytes, usage: int, binder: Sequence[Bytes], n: int) -> Elements:
        return elements(self._stream(seed, usage, binder), self.statement.shape.field, n)

    def _measurement(self, seed: bytes, j: int) -> Elements:
        return self._elements(seed, MEASUREMENT, [bytes([j])], self.statement.shape.inputs)

    def _proofs(self, seed: bytes, j: int) -> Elements:
        return self._elements(
            seed, PROOF, [bytes([self.proofs, j])], self.proofs * self.proof.length
        )

    def _part(self, j: int, blind: bytes, x: Elements, nonce: bytes) -> bytes:
        return self._stream(
            blind, JOINT_PART, [bytes([j]), nonce, self.statement.shape.field.encode(x)]
        ).read(SEED)

    def _joint_seed(self, parts: Sequence[bytes]) -> bytes:
        return (
            self._stream(bytes(SEED), JOINT_SEED, parts).read(SEED)
            if self.statement.shape.joint
            else b""
        )

    def _joint(self, seed: bytes) -> Elements:
        if not self.statement.shape.joint:
            return self.statement.shape.field.zeros(0)
        return self._elements(
            seed, JOINT, [bytes([self.proofs])], self.proofs * self.statement.shape.joint
        )

    # --- proofs ---

    def _prove(self, x: Elements, prover: bytes, seed: bytes) -> Elements:
        wires = self._elements(
            prover, PROVE, [bytes([self.proofs])], self.proofs * self.statement.shape.gadget.arity
        )
        return np.concatenate(
            [self.proof.prove(x, w, r) for w, r in self._each(wires, self._joint(seed))]
        )

    def _open(self, who: int, share: bytes) -> tuple[Elements, Elements, bytes]:
        """The share of x, that of the proofs, and the blind, from an input share."""
        s = self.statement
        blind = SEED if self.statement.shape.joint else 0
        if who == 0:
            vdaf.expect(share, self.sizes.leader, "The leader's share")
            size = self.sizes.leader - blind
            v = s.shape.field.decode(share[:size])
            return v[: s.shape.inputs], v[s.shape.inputs :], share[size:]
        vdaf.expect(share, self.sizes.helper, "A helper's share")
        seed = share[:SEED]
        return self._measurement(seed, who), self._proofs(seed, who), share[SEED:]

    def _each(self, *vectors: Elements) -> list[tuple[Elements, ...]]:
        """The vectors, cut into as many parts as there are proofs."""
        return list(zip(*(v.reshape(self.proofs, -1) for v in vectors), strict=True))


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
    """The sum of vectors of `length` whole numbers in 0 … most. A chunk of about √(length · bits)
    is best.
    """
    return Prio3(circuits.SumVec(Field128, length, chunk, most), 3, shares, context=context)


def prio3_histogram(length: int, chunk: int, shares: int = 2, context: bytes = b"") -> Prio3:
    """How many measurements fall into each of `length` buckets. A chunk of about √length is
    best.
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
