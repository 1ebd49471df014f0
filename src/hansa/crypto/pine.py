"""PINE: verified sums of long vectors of bounded Euclidean norm, for two or more aggregators.

A client splits its vector between aggregators, and proves on the shares that ‖x‖₂ ≤ B. It costs a
few percent more than to send the vector. (Rothblum, Omri, Chen, Talwar 2023, "PINE: Efficient
verification of a Euclidean norm bound of a secret-shared vector"; draft-chen-cfrg-vdaf-pine-02)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from . import vdaf
from .circuits import positive
from .field import Elements, Field, Field32, Field40, Field64, Field128
from .flp import Proof
from .norms import Claims, Encoding, Norm, Wraparound
from .vdaf import State
from .xof import Bytes, Xof, XofHmacSha256Aes128, XofTurboShake128Draft11, elements

VERSION = 1
# What a seed is expanded for (draft-chen-cfrg-vdaf-pine-02, section 5.1)
(
    MEASUREMENT,
    PROOF,
    JOINT,
    PROVE,
    QUERY,
    JOINT_SEED,
    JOINT_PART,
    CHECKS,
    CHECKS_SEED,
    CHECKS_PART,
) = range(1, 11)


@dataclass(frozen=True)
class Profile:
    """What does not depend on the vector: a field, a function that expands seeds, and how often
    things are proven.

    number: of the algorithm. proofs: of the claims; norm_proofs: of the norm; a false one survives
    all of them with the product of their probabilities. bound: are the parameters and a context
    bound into every use of randomness?
    """

    number: int
    field: Field
    xof: type[XofHmacSha256Aes128] | type[XofTurboShake128Draft11]
    proofs: int
    norm_proofs: int = 1
    wraparound: Wraparound = Wraparound()
    bound: bool = False

    @property
    def largest(self) -> int:
        """The largest bound that can be proven, in steps."""
        return self.wraparound.largest(self.field)


# The draft's own condition on the bound, which is not sound: beyond a small bound, false vectors
# pass all checks.
UNPROVEN = Wraparound(proven=False)
# The variants of the draft, which its test vectors name. None binds its parameters: for comparison,
# not for use.
DRAFT02 = {
    "Pine64": Profile(0xFFFFFFFF, Field64, XofTurboShake128Draft11, 2, wraparound=UNPROVEN),
    "Pine128": Profile(0xFFFFFFFF, Field128, XofTurboShake128Draft11, 1, wraparound=UNPROVEN),
    "Pine64HmacSha256Aes128": Profile(
        0xFFFF1004, Field64, XofHmacSha256Aes128, 2, wraparound=UNPROVEN
    ),
    "Pine32HmacSha256Aes128": Profile(
        0xFFFF1005, Field32, XofHmacSha256Aes128, 5, wraparound=UNPROVEN
    ),
    "Pine40HmacSha256Aes128": Profile(
        0xFFFF1006, Field40, XofHmacSha256Aes128, 4, wraparound=UNPROVEN
    ),
}
# hansa's own: 8 bytes for each coordinate, three proofs as draft-irtf-cfrg-vdaf-20 asks for with
# this field.
PRODUCT = Profile(0xFFFF4801, Field64, XofHmacSha256Aes128, 3, 1, Wraparound(128, 128), True)


@dataclass(frozen=True)
class Pine:
    """Sums of vectors x ∈ ℝᵈ, in steps of 2^−fraction, of which ‖x‖₂ ≤ bound · 2^−fraction is
    proven.

    It is one of `vdaf.Vdaf`, with messages of bytes. bound: in steps, after rounding. chunk,
    norm_chunk: how many multiplications, or squares, a gadget does at once. shares: aggregators,
    one leader and its helpers. context: task, round, model and roster, on which all must agree, or
    nothing is accepted.
    """

    profile: Profile
    dimension: int
    bound: int
    fraction: int
    chunk: int
    norm_chunk: int
    shares: int = 2
    context: bytes = b""

    def __post_init__(self) -> None:
        vdaf.check_shares(self.shares)
        positive(chunk=self.chunk, norm_chunk=self.norm_chunk)
        if not 0 <= self.fraction <= 1000:
            raise PlanError(
                f"fraction={self.fraction}",
                "It counts fractional bits.",
                "Write for example fraction=16.",
            )
        if self.context and not self.profile.bound:
            raise PlanError(
                "A profile of the draft, and a context.",
                "The draft knows no context.",
                "Write profile=PRODUCT.",
            )
        # or PlanError
        Encoding(self.profile.field, self.dimension, self.bound, self.profile.wraparound)

    @cached_property
    def encoding(self) -> Encoding:
        """How a vector becomes field elements."""
        return Encoding(self.profile.field, self.dimension, self.bound, self.profile.wraparound)

    @cached_property
    def norm(self) -> Proof:
        """How ‖x‖² is proven."""
        return Proof(Norm(self.encoding, self.norm_chunk), "coefficients")

    @cached_property
    def claims(self) -> Proof:
        """How all else is proven."""
        return Proof(Claims(self.encoding, self.chunk), "coefficients")

    @property
    def field(self) -> Field:
        """Where it computes."""
        return self.profile.field

    @property
    def seed_size(self) -> int:
        """Bytes of a seed."""
        return self.profile.xof.seed_size

    @property
    def verify_key_size(self) -> int:
        """Bytes of the key that only aggregators know."""
        return self.seed_size

    @property
    def rand_size(self) -> int:
        """Bytes of randomness of a report: four seeds for each helper, two for the leader, one for
        the proofs.
        """
        return (4 * (self.shares - 1) + 3) * self.seed_size

    @cached_property
    def sizes(self) -> vdaf.Sizes:
        """How large a report is."""
        n = self.seed_size
        count = self.encoding.length + sum(proof.length for proof in self._all)
        return vdaf.Sizes(2 * self.shares * n, count * self.field.size + 2 * n, 4 * n)

    @cached_property
    def domain(self) -> bytes:
        """SHA-256 of all parameters and the context; empty in the draft's own profiles."""
        if not self.profile.bound:
            return b""
        profile, w = self.profile, self.profile.wraparound
        numbers = (
            profile.number,
            self.field.p,
            profile.proofs,
            profile.norm_proofs,
            w.checks,
            w.successes,
            w.alpha,
        )
        sizes = (
            self.dimension,
            self.bound,
            self.fraction,
            self.chunk,
            self.norm_chunk,
            self.shares,
        )
        return hashlib.sha256(
            f"hansa PINE 1 {numbers} {sizes}".encode() + b"\0" + self.context
        ).digest()

    def shard(
        self,
        measurement: NDArray[np.floating] | NDArray[np.integer],
        nonce: bytes,
        rand: bytes | None = None,
    ) -> tuple[bytes, list[bytes]]:
        """A public share, and an input share for each aggregator.   (draft-chen-cfrg-vdaf-pine-02,
        section 5.2)

        measurement: real numbers, or integers in steps of 2^−fraction. The leader gets vectors,
        each helper four seeds. DataError refuses the measurement. rand is for test vectors only;
        without it, the operating system's generator is asked.
        """
        vdaf.expect(nonce, vdaf.NONCE, "A nonce")
        field, cut = self.field, self.encoding.committed
        *seeds, first, second, prover = vdaf.cut(
            vdaf.randomness(rand, self.rand_size), self.seed_size
        )
        # measurement, proofs, and two blinds
        helpers = [seeds[i : i + 4] for i in range(0, len(seeds), 4)]
        blinds = [[first, *(h[2] for h in helpers)], [second, *(h[3] for h in helpers)]]
        shares = [self._measurement(h[0], j) for j, h in enumerate(helpers, 1)]
        x = self._encode(measurement)
        leader = self._take(x, [share[:cut] for share in shares])
        committed = self._parts(
            CHECKS_PART, blinds[0], [leader, *(share[:cut] for share in shares)], nonce
        )
        dots = self._dots(x, self._seed(CHECKS_SEED, committed))
        claims = self._claim(dots)
        leader = np.concatenate([leader, self._take(claims, [share[cut:] for share in shares])])
        parts = self._parts(JOINT_PART, blinds[1], [leader, *shares], nonce)
        y = np.concatenate([x[self.dimension :], claims, dots])
        proofs = self._prove(x, y, prover, self._seed(JOINT_SEED, parts))
        proofs = self._take(proofs, [self._proofs(h[1], j) for j, h in enumerate(helpers, 1)])
        opened = field.encode(leader) + field.encode(proofs) + first + second
        return b"".join(committed + parts), [opened, *(b"".join(h) for h in helpers)]

    def prepare(
        self, key: bytes, who: int, nonce: bytes, public: bytes, share: bytes
    ) -> tuple[State, bytes]:
        """Aggregator `who` checks its shares: what it keeps, and its verifier share.   (section
        5.3)

        key: known to all aggregators, to no client. ProtocolError refuses the report.
        """
        vdaf.check_party(who, self.shares, nonce)
        vdaf.expect(public, self.sizes.public, "A public share")
        e, d, seeds = self.encoding, self.dimension, vdaf.cut(public, self.seed_size)
        committed, parts = seeds[: self.shares], seeds[self.shares :]
        x, proofs, blinds = self._open(who, share)
        committed[who] = self._part(CHECKS_PART, who, blinds[0], x[: e.committed], nonce)
        parts[who] = self._part(JOINT_PART, who, blinds[1], x, nonce)
        checked, joined = self._seed(CHECKS_SEED, committed), self._seed(JOINT_SEED, parts)
        y = np.concatenate([x[d:], self._dots(x, checked)])
        verifier = self._query(x, y, proofs, self._joint(joined), self._points(key, nonce))
        reply = self.field.encode(verifier) + committed[who] + parts[who]
        return State(x[:d], checked + joined), reply

    def decide(self, verifier_shares: Sequence[bytes]) -> bytes:
        """The message that a report is valid, from the verifier shares of all aggregators; else
        ProtocolError.
        """
        sizes = [proof.verifier_length for proof in self._all]
        end = sum(sizes) * self.field.size
        total = vdaf.add_encoded(
            self.field, [v[:end] for v in verifier_shares], self.shares, sum(sizes)
        )
        for proof, verifier in zip(self._all, np.split(total, np.cumsum(sizes)[:-1]), strict=True):
            if not proof.decide(verifier):
                raise vdaf.refuse(
                    "A proof does not hold.", "The norm is above the bound, or a share was changed."
                )
        ends = [v[end:] for v in verifier_shares]
        for data in ends:
            vdaf.expect(data, 2 * self.seed_size, "The end of a verifier share")
        n = self.seed_size
        return self._seed(CHECKS_SEED, [d[:n] for d in ends]) + self._seed(
            JOINT_SEED, [d[n:] for d in ends]
        )

    def finish(self, state: State, message: bytes) -> Elements:
        """The output share of a valid report; ProtocolError unless all used the same joint
        randomness.
        """
        vdaf.check_seed(state.seed, message)
        return state.share

    def aggregate(self, out_shares: Sequence[Elements]) -> bytes:
        """The sum of output shares of one aggregator."""
        return self.field.encode(vdaf.add_all(self.field, out_shares, self.dimension))

    def total(self, totals: Sequence[bytes]) -> NDArray[np.int64]:
        """The sum of all measurements in steps of 2^−fraction, from the totals of all aggregators.

        Elements above p/2 are negative, so n measurements need n · bound < p/2.
        """
        return self.field.signed(vdaf.add_encoded(self.field, totals, self.shares, self.dimension))

    def unshard(self, totals: Sequence[bytes]) -> NDArray[np.float64]:
        """The sum of all measurements, from the totals of all aggregators."""
        return np.asarray(self.total(totals) / 2.0**self.fraction, np.float64)

    # --- randomness ---

    def _stream(self, seed: bytes, usage: int, binder: Sequence[Bytes] = ()) -> Xof:
        """dst = version ‖ algorithm ‖ usage ‖ domain."""
        dst = (
            bytes([VERSION])
            + self.profile.number.to_bytes(4, "big")
            + usage.to_bytes(2, "big")
            + self.domain
        )
        return self.profile.xof(seed, dst, binder)

    @property
    def _counts(self) -> bytes:
        return bytes([self.profile.norm_proofs, self.profile.proofs])

    def _measurement(self, seed: bytes, j: int) -> Elements:
        return elements(
            self._stream(seed, MEASUREMENT, [bytes([j])]), self.field, self.encoding.length
        )

    def _proofs(self, seed: bytes, j: int) -> Elements:
        n = sum(proof.length for proof in self._all)
        return elements(self._stream(seed, PROOF, [self._counts + bytes([j])]), self.field, n)

    def _part(self, usage: int, j: int, blind: bytes, x: Elements, nonce: bytes) -> bytes:
        data: Bytes = (
            memoryview(x.data).cast("B")
            if self.field.size == 8 and x.flags.c_contiguous
            else self.field.encode(x)
        )
        return self._stream(blind, usage, [bytes([j]), nonce, data]).read(self.seed_size)

    def _parts(
        self, usage: int, blinds: Sequence[bytes], shares: Sequence[Elements], nonce: bytes
    ) -> list[bytes]:
        pairs = zip(blinds, shares, strict=True)
        return [self._part(usage, j, blind, x, nonce) for j, (blind, x) in enumerate(pairs)]

    def _seed(self, usage: int, parts: Sequence[bytes]) -> bytes:
        return self._stream(bytes(self.seed_size), usage, parts).read(self.seed_size)

    def _joint(self, seed: bytes) -> Elements:
        """Three elements for each proof of the claims."""
        n = self.profile.proofs
        return elements(self._stream(seed, JOINT, [bytes([n])]), self.field, 3 * n).reshape(n, 3)

    def _points(self, key: bytes, nonce: bytes) -> Elements:
        """One element for each proof, at which its polynomials are compared."""
        return elements(
            self._stream(key, QUERY, [self._counts, nonce]), self.field, len(self._all)
        )[:, None]

    # --- vectors ---

    def _encode(self, measurement: NDArray[np.floating] | NDArray[np.integer]) -> Elements:
        return self.encoding.encode(self.encoding.integers(measurement, self.fraction))

    def _claim(self, dots: Elements) -> Elements:
        return self.encoding.test(dots)

    def _dots(self, x: Elements, seed: bytes) -> Elements:
        return self.encoding.dots(x[: self.dimension], self._stream(seed, CHECKS))

    def _take(self, v: Elements, shares: Sequence[Elements]) -> Elements:
        for share in shares:
            v = self.field.sub(v, share)
        return v

    def _open(self, who: int, share: bytes) -> tuple[Elements, Elements, list[bytes]]:
        """The share of x, that of the proofs, and both blinds, from an input share."""
        n = self.seed_size
        if who:
            vdaf.expect(share, self.sizes.helper, "A helper's share")
            measurement, proofs, *blinds = vdaf.cut(share, n)
            return self._measurement(measurement, who), self._proofs(proofs, who), blinds
        vdaf.expect(share, self.sizes.leader, "The leader's share")
        x, end = self.encoding.length, self.sizes.leader - 2 * n
        v = self.field.decode(memoryview(share)[:end])
        return v[:x], v[x:], vdaf.cut(share[end:], n)

    # --- proofs ---

    @cached_property
    def _all(self) -> list[Proof]:
        return [self.norm] * self.profile.norm_proofs + [self.claims] * self.profile.proofs

    def _vectors(
        self, x: Elements, y: Elements, joint: Elements
    ) -> list[tuple[Elements, Elements]]:
        """What each proof is about, and its joint randomness."""
        return [(x, self.field.zeros(0))] * self.profile.norm_proofs + [(y, r) for r in joint]

    def _prove(self, x: Elements, y: Elements, prover: bytes, seed: bytes) -> Elements:
        arities = [proof.shape.gadget.arity for proof in self._all]
        drawn = elements(self._stream(prover, PROVE, [self._counts]), self.field, sum(arities))
        seeds = np.split(drawn, np.cumsum(arities)[:-1])
        each = zip(self._all, self._vectors(x, y, self._joint(seed)), seeds, strict=True)
        return np.concatenate([proof.prove(v, s, r) for proof, (v, r), s in each])

    def _query(
        self, x: Elements, y: Elements, proofs: Elements, joint: Elements, points: Elements
    ) -> Elements:
        one = self.field.inverse(self.shares)
        pieces = np.split(proofs, np.cumsum([proof.length for proof in self._all])[:-1])
        each = zip(self._all, self._vectors(x, y, joint), pieces, points, strict=True)
        return np.concatenate([proof.query(v, π, t, r, one) for proof, (v, r), π, t in each])


def fitted(
    dimension: int,
    bound: int,
    fraction: int = 0,
    shares: int = 2,
    context: bytes = b"",
    profile: Profile = PRODUCT,
) -> Pine:
    """PINE with chunks that fit the dimension: proofs of a few percent of the vector, or less.

    The norm is proven with P − 1 calls of a gadget; a larger P costs the client time, d·log₂P, and
    saves the verifiers bytes, d/P elements.
    """
    points = 64 if dimension <= 10**5 else 256 if dimension <= 4 * 10**6 else 1024
    norm_chunk = max(1, -(-dimension // (points - 1)))
    return Pine(profile, dimension, bound, fraction, 128, norm_chunk, shares, context)
