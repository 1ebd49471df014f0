"""PINE: honest vectors add up, and every lie is refused. A test here fails if any one check is deleted."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vdaf.attackers import Attacker, squares

from hansa.crypto import vdaf
from hansa.crypto.field import Elements, Field32, Field64
from hansa.crypto.norms import Encoding, Wraparound
from hansa.crypto.pine import DRAFT02, PRODUCT, Pine, Profile, fitted
from hansa.errors import DataError, PlanError, ProtocolError

KEY = secrets.token_bytes(32)
D, B = 16, 2**10
PROFILES = {"product": PRODUCT, **DRAFT02}
SMALL = replace(PRODUCT, wraparound=Wraparound(40, 40))  # fewer checks, so that tests are quick


def pine(profile: Profile = SMALL, kind: type[Pine] = Pine, **change: Any) -> Pine:
    context = b"task, round, model, roster" if profile.bound else b""
    sizes = {"dimension": D, "bound": B, "fraction": 0, "chunk": 32, "norm_chunk": 4, "context": context}
    return kind(profile, **{**sizes, **change})


def prepared(one: Pine, nonce: bytes, public: bytes, shares: list[bytes]) -> list[Elements]:
    """The output shares of a report; ProtocolError where it is refused."""
    key = KEY[: one.verify_key_size]
    reply = [one.prepare(key, who, nonce, public, share) for who, share in enumerate(shares)]
    message = one.decide([verifier for _, verifier in reply])
    return [one.finish(state, message) for state, _ in reply]


def total(one: Pine, measurements: list[Any]) -> list[int]:
    reports = []
    for measurement in measurements:
        nonce = vdaf.nonce()
        reports.append(prepared(one, nonce, *one.shard(np.asarray(measurement), nonce)))
    return one.total([one.aggregate(shares) for shares in zip(*reports, strict=True)]).tolist()


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("shares", [2, 3])
@settings(max_examples=2)
@given(data=st.data())
def test_what_comes_out_is_the_sum(name: str, shares: int, data: st.DataObject) -> None:
    vector = st.lists(st.integers(-B // 4, B // 4), min_size=D, max_size=D)  # ‖x‖ ≤ B/4 · √16
    vectors = data.draw(st.lists(vector, min_size=1, max_size=2))
    assert total(pine(PROFILES[name], shares=shares), vectors) == np.sum(vectors, axis=0).tolist()


@pytest.mark.parametrize("d, norm_chunk, chunk", [(1, 1, 1), (3, 4, 1000), (37, 5, 7), (300, 300, 16), (9, 600, 32)])
def test_any_dimension_and_chunk(d: int, norm_chunk: int, chunk: int) -> None:
    x = [(-1) ** i * (i % 30) for i in range(d)]
    assert total(pine(dimension=d, norm_chunk=norm_chunk, chunk=chunk), [x, x]) == [2 * v for v in x]


def test_reals_are_rounded_to_even_steps() -> None:
    one, nonce = pine(fraction=2), vdaf.nonce()
    x = np.array([0.125, 0.375, -0.125, -0.375, 1.0, -1.1] + [0.0] * 10)
    shares = prepared(one, nonce, *one.shard(x, nonce))
    result = one.unshard([one.aggregate([share]) for share in shares])
    assert result.tolist() == [0.0, 0.5, 0.0, -0.5, 1.0, -1.0] + [0.0] * 10


@pytest.mark.promise("P15")
def test_the_bound_itself_is_in_and_one_more_is_out() -> None:
    at = np.zeros(D, int)
    at[3] = -B
    assert total(pine(), [at]) == at.tolist()
    above = at.copy()
    above[5] = 1
    with pytest.raises(DataError, match="above the bound"):
        pine().shard(above, vdaf.nonce())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 5e-324, 1e300, 2.0**33, 3037000500.0])
def test_a_measurement_that_is_not_allowed_is_never_sent(value: float) -> None:
    x = np.zeros(D)
    x[2] = value
    with pytest.raises(DataError, match="above the bound" if 1 < abs(value) < math.inf else "NaN, infinite or sub"):
        pine().shard(x, vdaf.nonce())


@pytest.mark.parametrize("x", [np.zeros(D + 1), np.zeros((1, D)), np.zeros(D, complex), np.array(["0"] * D)])
def test_a_measurement_of_another_shape_is_never_sent(x: Any) -> None:
    with pytest.raises(DataError, match="shape"):
        pine().shard(x, vdaf.nonce())


# --- clients that lie ---


HONEST = [(-1) ** i * 7 * i for i in range(D)]
DOUBLE = [B, B] + [0] * (D - 2)


def refused(kind: type[Attacker], x: list[int], **change: Any) -> bool:
    nonce, one = vdaf.nonce(), pine(kind=kind, **change)
    try:
        prepared(pine(**change), nonce, *one.shard(x, nonce))  # type: ignore[arg-type]
    except ProtocolError as error:
        assert "proof does not hold" in str(error)
        return True
    return False


WRAPPED = squares(Field64.p + 12345) + [0] * (D - 4)  # ‖x‖² ≡ 12345, far below B²


def test_a_liar_who_does_not_lie_is_accepted() -> None:
    assert not refused(Attacker, HONEST)
    assert not refused(Attacker, [B] + [0] * (D - 1))


@pytest.mark.guards("v + u = B²", "proofs are decided")
@pytest.mark.promise("P13")
def test_a_norm_above_the_bound_is_refused() -> None:
    assert refused(Attacker, DOUBLE)
    assert refused(Attacker, [B, 1] + [0] * (D - 2))
    assert refused(Attacker, [Field64.p // 2] + [0] * (D - 1))
    assert not refused(Attacker, [Field64.p - 1] * D)  # −1, which is small


@pytest.mark.guards("the norm is proven")
@pytest.mark.promise("P13")
def test_a_false_claim_about_the_norm_is_refused() -> None:
    """v + u = B² holds, all are bits, and all dots are small: only Σ xⱼ² = v is false."""

    class Claims(Attacker):
        def norm_claim(self, v: int) -> Elements:
            return super().norm_claim(self.bound**2)

    assert refused(Claims, DOUBLE)


@pytest.mark.guards("v + u = B²")
@pytest.mark.promise("P13")
def test_bits_of_the_norm_must_add_up_to_the_bound() -> None:
    """v is the true square, in bits: only v + u = B² is false."""

    class Claims(Attacker):
        def norm_claim(self, v: int) -> Elements:
            return self.encoding.bits([v, 0], self.encoding.norm_bits)

    assert refused(Claims, [B, 100] + [0] * (D - 2))


@pytest.mark.guards("all are bits")
@pytest.mark.promise("P13")
@pytest.mark.parametrize("u", [0, 1, 2, 3])
def test_what_is_no_bit_is_refused(u: int) -> None:
    """The two lowest bits of B² − ‖x‖² ≡ u (mod 4) are written as u + 2 and −1: the number is right."""

    class Claims(Attacker):
        def norm_claim(self, v: int) -> Elements:
            claim, n = super().norm_claim(v), self.encoding.norm_bits
            low = int(claim[n] + claim[n + 1] * np.uint64(2))
            assert low == u
            claim[n : n + 2] = self.field.array([low + 2, -1])
            return claim

    assert refused(Claims, [B // 2, *([1] * (-u % 4)), *([0] * (D - 1 - -u % 4))])


@pytest.mark.guards("bits are weighed apart")
@pytest.mark.promise("P13")
def test_what_is_no_bit_cannot_be_balanced_by_others() -> None:
    """u = 0 is written as a + 2b + 4c = 0 with a² − a + b² − b + c² − c = 0: each bit has a weight of its own."""

    class Claims(Attacker):
        def norm_claim(self, v: int) -> Elements:
            claim, n, part = super().norm_claim(v), self.encoding.norm_bits, self.field.inverse(19)
            a, b, c = 12 * part, -2 * part, -2 * part
            assert (a + 2 * b + 4 * c) % self.field.p == sum(i * i - i for i in (a, b, c)) % self.field.p == 0
            claim[n : n + 3] = self.field.array([a, b, c])
            return claim

    assert refused(Claims, [B] + [0] * (D - 1))


@pytest.mark.guards("dots are weighed apart")
@pytest.mark.promise("P13")
def test_a_false_dot_cannot_be_balanced_by_another() -> None:
    class Claims(Attacker):
        def _claim(self, dots: Elements) -> Elements:
            moved = self.field.add(dots, self.field.array([1, -1] + [0] * (len(dots) - 2)))
            return super()._claim(moved)

    assert refused(Claims, HONEST)


@pytest.mark.guards("enough checks succeed")
@pytest.mark.promise("P13")
def test_a_wrapped_norm_is_refused() -> None:
    """‖x‖² = p + 12345: honest about every check, so that only their number is too small."""
    assert sum(v * v for v in WRAPPED) == Field64.p + 12345
    assert refused(Attacker, WRAPPED)


@pytest.mark.guards("dots are as claimed")
@pytest.mark.parametrize("claimed", ["zero", "cut"])
def test_a_wrapped_norm_that_claims_success_is_refused(claimed: str) -> None:
    """All is right but the values of those dots that are claimed to be small."""

    class Claims(Attacker):
        def dot_claim(self, v: int, holds: bool) -> int:
            kept = v if holds else 0 if claimed == "zero" else v % (2 * self.encoding.range)
            return kept | 1 << self.encoding.dot_bits

    assert refused(Claims, WRAPPED)


@pytest.mark.guards("enough checks succeed")
@pytest.mark.promise("P13")
def test_one_success_too_few_or_too_many_is_refused() -> None:
    class Fewer(Attacker):
        def _claim(self, dots: Elements) -> Elements:
            claim = super()._claim(dots)
            claim[self.encoding.dot_bits] = 0
            return claim

    assert refused(Fewer, HONEST)
    assert refused(Attacker, HONEST, profile=replace(SMALL, wraparound=Wraparound(40, 39)))  # it claims 40


@pytest.mark.guards("all are bits")
@pytest.mark.promise("P13")
@pytest.mark.parametrize("halves", [(4, 0), (1, 3)])
def test_success_is_a_bit(halves: tuple[int, int]) -> None:
    """g₁ = 2 and g₂ = 0, or ½ and 3/2, are two successes, and both dots are small."""

    class Claims(Attacker):
        def _claim(self, dots: Elements) -> Elements:
            claim, n, half = super()._claim(dots), self.encoding.dot_bits, self.field.inverse(2)
            claim[n], claim[2 * n + 1] = self.field.array([half * g for g in halves])
            return claim

    assert refused(Claims, HONEST)


def test_too_few_successes_are_noticed_by_the_client() -> None:
    e = Encoding(Field64, D, B, Wraparound(3, 2))
    small, large = 5, e.range + 1
    claims = e.test(Field64.array([small, large, -small])).reshape(3, -1)
    assert claims[:, -1].tolist() == [1, 0, 1]
    assert claims[1].tolist() == [0] * (e.dot_bits + 1)
    assert e.test(Field64.array([small] * 3)).reshape(3, -1)[:, -1].tolist() == [1, 1, 0]
    assert e.test(Field64.array([e.range, 1 - e.range, large])).reshape(3, -1)[:, -1].tolist() == [1, 1, 0]
    with pytest.raises(DataError, match="Shard the measurement again"):
        e.test(Field64.array([small, large, -large]))


class Given:
    """A stream of bytes that are known."""

    def __init__(self, data: bytes):
        self.data = data

    def read(self, n: int) -> bytes:
        head, self.data = self.data[:n], self.data[n:]
        return head


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("d", [1, 6, 8200])
def test_dots_are_those_of_the_draft(name: str, d: int) -> None:
    field, r = PROFILES[name].field, 3
    e, data = Encoding(field, d, B, Wraparound(r, r, proven=False)), secrets.token_bytes(r * -(-d // 4))
    x = field.array([secrets.randbelow(field.p) for _ in range(d)])
    width, expected = len(data) // r, []
    for k in range(r):
        row = data[k * width : (k + 1) * width]
        z = [(-1, 0, 0, 1)[row[j // 4] >> 2 * (j % 4) & 3] for j in range(d)]
        expected.append(sum(a * int(b) for a, b in zip(z, x, strict=True)) % field.p)
    assert e.dots(x, Given(data)).tolist() == expected


# --- shares and messages ---


@pytest.fixture(scope="module")
def report() -> tuple[bytes, bytes, list[bytes]]:
    nonce = vdaf.nonce()
    public, shares = pine(shares=3).shard(np.array(HONEST), nonce)
    return nonce, public, shares


def flip(data: bytes, i: int) -> bytes:
    return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]


def test_any_changed_byte_is_refused(report: tuple[bytes, bytes, list[bytes]]) -> None:
    (nonce, public, shares), one = report, pine(shares=3)
    prepared(one, nonce, public, shares)
    for i in range(0, len(public), 32):
        with pytest.raises(ProtocolError):
            prepared(one, nonce, flip(public, i), shares)
    for who, share in enumerate(shares):
        for i in {*range(0, len(share), 1 + len(share) // 12), *range(len(share) - 64, len(share), 32)}:
            with pytest.raises(ProtocolError):
                prepared(one, nonce, public, [*shares[:who], flip(share, i), *shares[who + 1 :]])
    with pytest.raises(ProtocolError):
        prepared(one, nonce, public, [shares[0], shares[2], shares[1]])


@pytest.mark.guards("lengths are compared")
def test_what_is_too_short_or_too_long_is_refused(report: tuple[bytes, bytes, list[bytes]]) -> None:
    (nonce, public, shares), one = report, pine(shares=3)
    for who, share in enumerate(shares):
        for wrong in (share + b"\0", b"", share[:-1], share[:-8], share[:-32], share + bytes(32)):
            with pytest.raises(ProtocolError, match="share of"):
                one.prepare(KEY, who, nonce, public, wrong)
    for wrong in (b"", public[:-1], public[:-32], public + bytes(32)):
        with pytest.raises(ProtocolError, match="public share"):
            one.prepare(KEY, 0, nonce, wrong, shares[0])
    for key, other in ((KEY[:-1], nonce), (KEY, nonce[:-1])):
        with pytest.raises(ProtocolError, match="must have"):
            one.prepare(key, 0, other, public, shares[0])
    for who in (-1, 3):
        with pytest.raises(ProtocolError, match="Aggregator"):
            one.prepare(KEY, who, nonce, public, shares[1])
    verifiers = [one.prepare(KEY, who, nonce, public, share)[1] for who, share in enumerate(shares)]
    one.decide(verifiers)
    for wrongs in (verifiers[:-1], [*verifiers, verifiers[0]], [verifiers[0][:-1], *verifiers[1:]]):
        with pytest.raises(ProtocolError):
            one.decide(wrongs)
    with pytest.raises(ProtocolError):
        one.shard(np.array(HONEST), nonce[:-1])
    with pytest.raises(ProtocolError):
        one.unshard([bytes(D * 8)] * 2)
    for wrong in (bytes(D * 8 - 1), bytes(D * 8 - 8), bytes(D * 8 + 8)):
        with pytest.raises(ProtocolError, match="A share of"):
            one.unshard([bytes(D * 8), bytes(D * 8), wrong])


@pytest.mark.guards("elements are below the modulus")
def test_an_element_above_the_modulus_is_refused(report: tuple[bytes, bytes, list[bytes]]) -> None:
    (nonce, public, shares), one = report, pine(shares=3)
    for start in (0, 8 * (one.encoding.length + 3)):
        forged = shares[0][:start] + Field64.p.to_bytes(8, "little") + shares[0][start + 8 :]
        with pytest.raises(ProtocolError, match="not below the modulus"):
            one.prepare(KEY, 0, nonce, public, forged)
    verifiers = [one.prepare(KEY, who, nonce, public, share)[1] for who, share in enumerate(shares)]
    with pytest.raises(ProtocolError, match="not below the modulus"):
        one.decide([b"\xff" * 8 + verifiers[0][8:], *verifiers[1:]])


@pytest.mark.guards("the output is zero", "the gadget is right")
def test_any_changed_element_of_a_verifier_share_is_refused(report: tuple[bytes, bytes, list[bytes]]) -> None:
    """Among them v, the wires and the gadget of every proof: each proof must hold."""
    (nonce, public, shares), one = report, pine(shares=3)
    reply = [one.prepare(KEY, who, nonce, public, share)[1] for who, share in enumerate(shares)]
    size = len(reply[1]) - 64
    first = [0, 8, 8 * (one.norm.verifier_length - 1)]
    claims = [8 * (one.norm.verifier_length + k * one.claims.verifier_length) for k in range(3)]
    for i in (*first, *claims, *(i + 8 for i in claims), size - 8):
        with pytest.raises(ProtocolError, match="proof does not hold"):
            one.decide([reply[0], flip(reply[1], i), reply[2]])


@pytest.mark.guards("joint randomness is compared")
@pytest.mark.promise("P19")
def test_both_seeds_must_be_those_that_were_used(report: tuple[bytes, bytes, list[bytes]]) -> None:
    (nonce, public, shares), one = report, pine(shares=3)
    reply = [one.prepare(KEY, who, nonce, public, share) for who, share in enumerate(shares)]
    message = one.decide([verifier for _, verifier in reply])
    one.finish(reply[0][0], message)
    for wrong in (flip(message, 0), flip(message, 63), message[:-1], message + b"\0", message[32:] + message[:32]):
        with pytest.raises(ProtocolError):
            one.finish(reply[0][0], wrong)
    ends = [verifier[:-1] + bytes([verifier[-1] ^ 1]) for _, verifier in reply]
    with pytest.raises(ProtocolError, match="joint randomness"):
        one.finish(reply[0][0], one.decide([ends[0], *(verifier for _, verifier in reply[1:])]))


@pytest.mark.guards("PINE binds the nonce", "PINE binds the context", "PINE binds the sizes")
@pytest.mark.promise("P16")
def test_a_report_belongs_to_one_nonce_context_and_set_of_parameters(report: tuple[bytes, bytes, list[bytes]]) -> None:
    """So it cannot be replayed in another round, nor be read with another bound."""
    (nonce, public, shares), one = report, pine(shares=3)
    with pytest.raises(ProtocolError):
        prepared(one, vdaf.nonce(), public, shares)
    others = [
        {"context": b"task, next round, model, roster"},
        {"fraction": 1},
        {"bound": B + 1},
        {"profile": replace(SMALL, number=1)},
        {"profile": replace(SMALL, wraparound=Wraparound(40, 40, 8.6))},
    ]
    for change in others:
        other = replace(one, **change)
        assert other.encoding.length == one.encoding.length
        with pytest.raises(ProtocolError):
            prepared(other, nonce, public, shares)
        with pytest.raises(ProtocolError):
            mixed = [one.prepare(KEY, 0, nonce, public, shares[0])]
            mixed += [other.prepare(KEY, who, nonce, public, shares[who]) for who in (1, 2)]
            message = one.decide([verifier for _, verifier in mixed])
            [one.finish(state, message) for state, _ in mixed]


@pytest.mark.guards("PINE binds the context", "PINE binds the sizes")
@pytest.mark.promise("P16")
def test_every_parameter_is_bound() -> None:
    """No two sets of parameters share a domain."""
    w = SMALL.wraparound
    changes: list[dict[str, Any]] = [
        {},
        {"context": b"other"},
        {"dimension": D + 1},
        {"bound": B + 1},
        {"fraction": 1},
        {"chunk": 33},
        {"norm_chunk": 5},
        {"shares": 3},
        {"profile": replace(SMALL, number=1)},
        {"profile": replace(SMALL, proofs=4)},
        {"profile": replace(SMALL, norm_proofs=2)},
        {"profile": replace(SMALL, wraparound=replace(w, checks=41))},
        {"profile": replace(SMALL, wraparound=replace(w, successes=39))},
        {"profile": replace(SMALL, wraparound=replace(w, alpha=8.8))},
    ]
    assert len({replace(pine(), **change).domain for change in changes}) == len(changes)


def test_an_aggregator_with_another_key_spoils_the_report(report: tuple[bytes, bytes, list[bytes]]) -> None:
    (nonce, public, shares), one = report, pine(shares=3)
    reply = [one.prepare(KEY if who else bytes(32), who, nonce, public, share)[1] for who, share in enumerate(shares)]
    with pytest.raises(ProtocolError):
        one.decide(reply)


@pytest.mark.guards("randomness is fresh", "a share is not printed")
@pytest.mark.promise("P10")
def test_reports_have_fresh_randomness_and_states_do_not_print_shares() -> None:
    nonce, one = vdaf.nonce(), pine()
    reports = [one.shard(np.array(HONEST), nonce) for _ in range(2)]
    pieces = [{d[i : i + 16] for d in (p, *s) for i in range(0, len(d), 16)} for p, s in reports]
    assert not pieces[0] & pieces[1]
    state, _ = one.prepare(KEY, 0, nonce, reports[0][0], reports[0][1][0])
    assert str(state.share[0]) not in repr(state)


GOLDEN = "3c26da8f81a01e7a0de789a2a46c65a3ce6f385ce6dae611c61c7e5b54d6bb18"


def test_the_bytes_of_our_own_profile_do_not_change() -> None:
    """Reports of one version are verified by the next; a change of bytes needs a new number."""
    one = pine(PRODUCT, shares=3)
    nonce, rand = bytes(range(16)), bytes(i % 251 for i in range(one.rand_size))
    public, shares = one.shard(np.array(HONEST), nonce, rand)
    reply = [one.prepare(bytes(range(32)), who, nonce, public, share) for who, share in enumerate(shares)]
    message = one.decide([verifier for _, verifier in reply])
    everything = hashlib.sha256(b"".join([public, *shares, *(verifier for _, verifier in reply), message]))
    assert everything.hexdigest() == GOLDEN


def test_a_report_is_hardly_larger_than_its_vector() -> None:
    """At d = 10⁶ at most 8.2 bytes for each coordinate to the leader, and 128 to a helper."""
    one = fitted(10**6, 2**24)
    elements = one.encoding.length + one.norm.length + 3 * one.claims.length
    assert (one.profile.norm_proofs, one.profile.proofs, one.field.size) == (1, 3, 8)
    assert 8 * elements + 64 < 8.2 * 10**6
    _, shares = pine().shard(np.array(HONEST), vdaf.nonce())
    small = pine()
    assert len(shares[0]) == 8 * (small.encoding.length + small.norm.length + 3 * small.claims.length) + 64
    assert len(shares[1]) == 128


@pytest.mark.parametrize("d", [1, 64, 1000])
def test_chunks_that_fit(d: int) -> None:
    one, nonce, x = fitted(d, B, context=b"task"), vdaf.nonce(), np.arange(d) % 7
    assert one.norm.points <= 64
    shares = prepared(one, nonce, *one.shard(x, nonce))
    assert one.total([one.aggregate([share]) for share in shares]).tolist() == x.tolist()


def test_the_product_profile_is_as_strong_as_it_says() -> None:
    assert (PRODUCT.field, PRODUCT.proofs, PRODUCT.xof.seed_size) == (Field64, 3, 32)
    assert PRODUCT.wraparound == Wraparound(128, 128, 8.7)
    assert PRODUCT.bound and PRODUCT.wraparound.proven
    numbers = {PRODUCT.number, *(profile.number for profile in DRAFT02.values())}
    assert len(numbers) == 1 + 4  # two of the draft share one


@pytest.mark.parametrize(
    "change",
    [
        {"shares": 1},
        {"dimension": 0},
        {"dimension": 2**30},
        {"bound": 0},
        {"bound": 1.5},
        {"bound": 2**32},
        {"chunk": 0},
        {"norm_chunk": 0},
        {"fraction": -1},
        {"bound": PRODUCT.largest + 1},
        {"bound": 2**31},
        {"profile": replace(PRODUCT, field=Field32), "bound": Wraparound().largest(Field32) + 1},
        {"profile": DRAFT02["Pine32HmacSha256Aes128"], "bound": 2**16},
        {"profile": replace(SMALL, wraparound=Wraparound(10, 11))},
        {"profile": replace(SMALL, wraparound=Wraparound(0, 0))},
        {"profile": replace(PRODUCT, field=Field32, wraparound=Wraparound(10, 10, 60.0))},
        {"profile": replace(SMALL, wraparound=Wraparound(10, 10, 150.0, proven=False)), "bound": 2**31},
        {"profile": replace(SMALL, wraparound=Wraparound(10, 10, 150.0)), "bound": 2**31},
        {"profile": DRAFT02["Pine64"], "context": b"x"},
    ],
)
def test_parameters_that_cannot_be_are_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        pine(**change)


@pytest.mark.parametrize(
    "change", [{"bound": PRODUCT.largest}, {"profile": DRAFT02["Pine64"], "bound": 2**31}, {"shares": 255}]
)
def test_the_largest_parameters_are_allowed(change: dict[str, Any]) -> None:
    pine(**change)


def test_the_example_of_the_reference_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "crypto.md"
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = (one for one in examples if "pine.fitted" in one)
    exec(compile(example, page.name, "exec"), {})  # noqa: S102
