"""Prio3: honest measurements add up, everything else is refused. A test here fails if any one check is deleted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto import vdaf
from hansa.crypto.circuits import Count, Histogram, L1BoundSum, MultihotCountVec, Statement, Sum, SumVec
from hansa.crypto.field import Elements, Field64, Field128
from hansa.crypto.flp import Proof
from hansa.crypto.prio3 import (
    Prio3,
    prio3_count,
    prio3_histogram,
    prio3_l1_bound_sum,
    prio3_multihot,
    prio3_sum,
    prio3_sum_vec,
    prio3_sum_vec_multiproof,
)
from hansa.errors import DataError, PlanError, ProtocolError

KEY = secrets.token_bytes(32)
LIST = st.lists(st.integers(0, 5), min_size=3, max_size=3)


def run(prio: Prio3, measurements: list[Any], others: dict[str, Prio3] | None = None) -> Any:
    """Shard, prepare, decide, finish, aggregate, unshard."""
    outs: list[list[Elements]] = [[] for _ in range(prio.shares)]
    for measurement in measurements:
        nonce = vdaf.nonce()
        for out, share in zip(outs, prepared(prio, nonce, *prio.shard(measurement, nonce)), strict=True):
            out.append(share)
    return prio.unshard([prio.aggregate(out) for out in outs])


def prepared(prio: Prio3, nonce: bytes, public: bytes, shares: list[bytes]) -> list[Elements]:
    """The output shares of a report; ProtocolError where it is refused."""
    reply = [prio.prepare(KEY, who, nonce, public, share) for who, share in enumerate(shares)]
    message = prio.decide([verifier for _, verifier in reply])
    return [prio.finish(state, message) for state, _ in reply]


def columns(lists: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*lists, strict=True)]


CASES: dict[str, tuple[Callable[[int], Prio3], st.SearchStrategy[Any], Callable[[list[Any]], Any]]] = {
    "count": (lambda n: prio3_count(n, b"task"), st.booleans(), sum),
    "sum": (lambda n: prio3_sum(100, n, b"task"), st.integers(0, 100), sum),
    "sum_vec": (lambda n: prio3_sum_vec(3, 5, 2, n, b"task"), LIST, columns),
    "multiproof": (lambda n: prio3_sum_vec_multiproof(3, 5, 4, n, b"task"), LIST, columns),
    "histogram": (
        lambda n: prio3_histogram(4, 3, n, b"task"),
        st.integers(0, 3),
        lambda all: [all.count(i) for i in range(4)],
    ),
    "multihot": (
        lambda n: prio3_multihot(5, 3, 2, n, b"task"),
        st.lists(st.booleans(), min_size=5, max_size=5).filter(lambda v: sum(v) <= 3),
        columns,
    ),
    "l1": (lambda n: prio3_l1_bound_sum(3, 9, 4, n, b"task"), LIST.filter(lambda v: sum(v) <= 9), columns),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shares", [2, 3])
@settings(max_examples=5)
@given(data=st.data())
def test_what_comes_out_is_the_sum(name: str, shares: int, data: st.DataObject) -> None:
    make, measurement, total = CASES[name]
    measurements = data.draw(st.lists(measurement, min_size=1, max_size=3))
    assert run(make(shares), measurements) == total(measurements)


@pytest.mark.promise("P15")
@pytest.mark.parametrize(
    "prio, wrong",
    [
        (prio3_count(), [2, -1, 0.5, "1", None]),
        (prio3_sum(100), [101, -1, 1.0, True, "7"]),
        (prio3_sum_vec(3, 5, 2), [[1, 2], [1, 2, 3, 4], [6, 0, 0], [-1, 0, 0]]),
        (prio3_histogram(4, 2), [4, -1, 1.0, True]),
        (prio3_multihot(4, 2, 2), [[1, 1, 1, 0], [2, 0, 0, 0], [1, 0]]),
        (prio3_l1_bound_sum(3, 9, 4), [[4, 4, 4], [10, 0, 0], [1]]),
    ],
    ids=lambda value: type(value.statement).__name__ if isinstance(value, Prio3) else "",
)
def test_a_measurement_that_is_not_allowed_is_never_sent(prio: Prio3, wrong: list[Any]) -> None:
    for measurement in wrong:
        with pytest.raises(DataError):
            prio.shard(measurement, vdaf.nonce())


# --- proofs ---


def accepted(circuit: Statement, x: Elements, change: Callable[[Elements], None] = lambda proof: None) -> bool:
    """Do two verifiers accept x, with an honest proof that was then changed?"""
    field, proof = circuit.shape.field, Proof(circuit, "values")
    draw = lambda n: field.array(secrets.randbelow(field.p) for _ in range(n))  # noqa: E731
    joint, query = draw(circuit.shape.joint), draw(proof.query_length)
    π = proof.prove(x, draw(circuit.shape.gadget.arity), joint)
    change(π)
    mask, blind, half = draw(len(x)), draw(len(π)), field.inverse(2)
    one = proof.query(mask, blind, query, joint, half)
    other = proof.query(field.sub(x, mask), field.sub(π, blind), query, joint, half)
    return proof.decide(field.add(one, other))


# Two entries a, b with a² − a = −(b² − b) ≠ 0: they pass where bits are checked by a plain sum.
A, B = 2 * Field64.inverse(5), -Field64.inverse(5)
A2, B2 = 2 * Field128.inverse(5), -Field128.inverse(5)

INVALID: list[tuple[Statement, list[list[int]]]] = [
    (Count(), [[2], [-1]]),
    (Sum(Field64, 7), [[2, 0, 0], [1, 1, -1], [0, A, B]]),
    (SumVec(Field128, 2, 3, 3), [[2, 0, 0, 0], [0, 0, 0, -1], [2, 2, 2, 2], [A2, B2, 0, 0]]),
    (Histogram(Field128, 4, 2), [[1, 1, 0, 0], [0, 0, 0, 0], [2, -1, 0, 0], [0, 0, 0, 2]]),
    (MultihotCountVec(Field128, 3, 2, 2), [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [2, 0, 0, 0, 1], [1, 1, 1, 3, 0]]),
    (L1BoundSum(Field128, 2, 3, 3), [[1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 6, 0], [2, 0, 0, 0, 0, 1]]),
]


@pytest.mark.guards(
    "the output is zero",
    "a histogram has one bucket",
    "a multihot counts its ones",
    "a tally adds up",
    "side values are bits",
    "each bit has a weight",
)
@pytest.mark.promise("P13")
@pytest.mark.parametrize("circuit, wrong", INVALID, ids=lambda v: type(v).__name__ if not isinstance(v, list) else "")
def test_an_honest_proof_of_a_false_statement_is_refused(circuit: Statement, wrong: list[list[int]]) -> None:
    for x in wrong:
        assert not accepted(circuit, circuit.shape.field.array(x)), x


VALID: list[tuple[Statement, Any]] = [
    (Count(), 1),
    (Sum(Field64, 7), 5),
    (SumVec(Field128, 2, 3, 3), [3, 2]),
    (Histogram(Field128, 4, 2), 2),
    (MultihotCountVec(Field128, 3, 2, 2), [1, 0, 1]),
    (L1BoundSum(Field128, 2, 3, 3), [1, 2]),
]


@pytest.mark.guards("the gadget is right")
@pytest.mark.promise("P13")
@pytest.mark.parametrize("circuit, measurement", VALID, ids=lambda v: type(v).__name__)
def test_a_changed_proof_is_refused(circuit: Statement, measurement: Any) -> None:
    field, x = circuit.shape.field, circuit.encode(measurement)
    assert accepted(circuit, x)
    for i in range(Proof(circuit, "values").length):

        def change(proof: Elements, i: int = i) -> None:
            proof[i] = field.add(proof[i : i + 1], 1)[0]

        assert not accepted(circuit, x, change), i


@pytest.mark.guards("the gadget is right")
def test_a_proof_that_only_makes_the_output_zero_is_refused() -> None:
    """x = 2 is no bit; the gadget's output is sent as if it were 2, not 2² = 4."""
    arity = Count().shape.gadget.arity

    def change(proof: Elements) -> None:
        assert proof[arity + 2] == 4
        proof[arity + 2] = 2

    assert not accepted(Count(), Field64.array([2]), change)


@pytest.mark.guards("a query shows no input")
def test_a_query_at_a_root_of_unity_is_refused() -> None:
    proof, x = Proof(Count(), "values"), Field64.array([1])
    π = Field64.zeros(proof.length)
    for t in (1, Field64.p - 1):
        with pytest.raises(ProtocolError, match="root of unity"):
            proof.query(x, π, Field64.array([t]), Field64.zeros(0), 1)
    proof.query(x, π, Field64.array([Field64.root(4)]), Field64.zeros(0), 1)  # a point of g alone shows no input


# --- shares and messages ---

HISTOGRAM = prio3_histogram(4, 2, 3, b"task")
COUNT = prio3_count(2, b"task")


@pytest.mark.parametrize("prio, measurement", [(HISTOGRAM, 2), (COUNT, 1)], ids=["histogram", "count"])
def test_any_changed_byte_is_refused(prio: Prio3, measurement: int) -> None:
    nonce = vdaf.nonce()
    public, shares = prio.shard(measurement, nonce)
    prepared(prio, nonce, public, shares)
    flip = lambda data, i: data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]  # noqa: E731
    for i in range(0, len(public), 16):
        with pytest.raises(ProtocolError):
            prepared(prio, nonce, flip(public, i), shares)
    for who, share in enumerate(shares):
        for i in range(0, len(share), 16):
            with pytest.raises(ProtocolError):
                prepared(prio, nonce, public, [*shares[:who], flip(share, i), *shares[who + 1 :]])


@pytest.mark.guards("lengths are compared")
@pytest.mark.parametrize("prio, measurement", [(HISTOGRAM, 2), (COUNT, 1)], ids=["histogram", "count"])
def test_what_is_too_short_or_too_long_is_refused(prio: Prio3, measurement: int) -> None:
    nonce = vdaf.nonce()
    public, shares = prio.shard(measurement, nonce)
    for who, share in enumerate(shares):
        for wrong in (share + b"\0", b"", share[:-1], share[: -prio.statement.shape.field.size]):
            with pytest.raises(ProtocolError, match="share of"):
                prio.prepare(KEY, who, nonce, public, wrong)
        for wrong in {public[:-1], public + b"\0", public + bytes(32)} - {public}:
            with pytest.raises(ProtocolError, match="public share"):
                prio.prepare(KEY, who, nonce, wrong, share)
        for key, other in ((KEY[:-1], nonce), (KEY, nonce + b"\0")):
            with pytest.raises(ProtocolError, match="must have"):
                prio.prepare(key, who, other, public, share)
    reply = [prio.prepare(KEY, who, nonce, public, share) for who, share in enumerate(shares)]
    verifiers = [verifier for _, verifier in reply]
    for wrongs in (verifiers[:-1], [*verifiers, verifiers[0]], [verifiers[0][:-1], *verifiers[1:]]):
        with pytest.raises(ProtocolError):
            prio.decide(wrongs)
    message = prio.decide(verifiers)
    for wrong in (message + b"\0", bytes(32)[: len(message)] + b"" * 2):
        if wrong != message:
            with pytest.raises(ProtocolError):
                prio.finish(reply[0][0], wrong)
    with pytest.raises(ProtocolError):
        prio.shard(measurement, nonce[:-1])
    for who in (-1, prio.shares):
        with pytest.raises(ProtocolError, match="Aggregator"):
            prio.prepare(KEY, who, nonce, public, shares[0])


@pytest.mark.guards("elements are below the modulus")
def test_an_element_above_the_modulus_is_refused() -> None:
    """0 and p are the same element, so a report could be sent in two forms."""
    nonce = vdaf.nonce()
    public, shares = COUNT.shard(1, nonce)
    for value, refused in ((0, False), (Field64.p - 1, False), (Field64.p, True), (2**64 - 1, True)):
        changed = value.to_bytes(8, "little") + shares[0][8:]
        if not refused:
            COUNT.prepare(KEY, 0, nonce, public, changed)
            continue
        with pytest.raises(ProtocolError, match="not below the modulus"):
            COUNT.prepare(KEY, 0, nonce, public, changed)


@pytest.mark.guards("Prio3 binds the nonce", "Prio3 binds the context")
@pytest.mark.promise("P16")
@pytest.mark.parametrize("prio, measurement", [(HISTOGRAM, 2), (COUNT, 1)], ids=["histogram", "count"])
def test_a_report_belongs_to_one_nonce_key_context_and_place(prio: Prio3, measurement: int) -> None:
    nonce = vdaf.nonce()
    public, shares = prio.shard(measurement, nonce)
    if prio.statement.shape.joint:
        with pytest.raises(ProtocolError):
            prepared(prio, vdaf.nonce(), public, shares)
    for other in (replace(prio, context=b"another task"), replace(prio, number=prio.number + 1)):
        with pytest.raises(ProtocolError):
            prepared(other, nonce, public, shares)
    reply = [prio.prepare(KEY, who, nonce, public, share)[1] for who, share in enumerate(shares)]
    reply[1] = prio.prepare(bytes(32), 1, nonce, public, shares[1])[1]
    with pytest.raises(ProtocolError):
        prio.decide(reply)
    with pytest.raises(ProtocolError):
        prepared(HISTOGRAM, nonce, public, [shares[0], *reversed(shares[1:])] if prio is HISTOGRAM else shares)


def test_two_reports_cannot_be_mixed() -> None:
    nonce = vdaf.nonce()
    (_, first), (public, second) = HISTOGRAM.shard(1, nonce), HISTOGRAM.shard(1, nonce)
    with pytest.raises(ProtocolError):
        prepared(HISTOGRAM, nonce, public, [first[0], *second[1:]])


@pytest.mark.guards("joint randomness is compared")
@pytest.mark.promise("P19")
def test_a_message_of_another_report_is_refused() -> None:
    reply = []
    for _ in range(2):
        nonce = vdaf.nonce()
        public, shares = HISTOGRAM.shard(1, nonce)
        reply.append([HISTOGRAM.prepare(KEY, who, nonce, public, share) for who, share in enumerate(shares)])
    message = HISTOGRAM.decide([verifier for _, verifier in reply[0]])
    HISTOGRAM.finish(reply[0][0][0], message)
    with pytest.raises(ProtocolError, match="joint randomness"):
        HISTOGRAM.finish(reply[1][0][0], message)


@pytest.mark.guards("randomness is fresh")
@pytest.mark.promise("P10")
def test_shares_alone_say_nothing_that_repeats() -> None:
    """Two reports of one measurement have nothing in common: fresh randomness for each."""
    nonce = vdaf.nonce()
    first, second = HISTOGRAM.shard(1, nonce), HISTOGRAM.shard(1, nonce)
    pieces = [
        {data[i : i + 16] for data in (public, *shares) for i in range(0, len(data), 16)}
        for public, shares in (first, second)
    ]
    assert not pieces[0] & pieces[1]


@pytest.mark.guards("a share is not printed")
def test_a_state_does_not_print_its_share() -> None:
    nonce = vdaf.nonce()
    public, shares = COUNT.shard(1, nonce)
    state, _ = COUNT.prepare(KEY, 0, nonce, public, shares[0])
    assert str(state.share[0]) not in repr(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda: prio3_count(1),
        lambda: prio3_count(256),
        lambda: prio3_sum(0),
        lambda: prio3_sum_vec(0, 1, 1),
        lambda: prio3_sum_vec(1, 0, 1),
        lambda: prio3_histogram(4, 0),
        lambda: prio3_multihot(4, 0, 2),
        lambda: Prio3(Count(), 1, proofs=0),
        lambda: prio3_count(2, bytes(2**16)),
    ],
)
def test_sizes_that_cannot_be_are_refused_at_once(make: Callable[[], Prio3]) -> None:
    with pytest.raises(PlanError):
        make()


@pytest.mark.parametrize("totals", [[], [bytes(8)], [bytes(8)] * 3, [bytes(8), b""], [bytes(8), bytes(16)]])
def test_totals_that_cannot_be_are_refused(totals: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        COUNT.unshard(totals)


def test_the_bytes_do_not_change() -> None:
    """Those of the published vectors, in an instance of our own."""
    nonce, rand = bytes(range(16)), bytes(i % 251 for i in range(HISTOGRAM.rand_size))
    public, shares = HISTOGRAM.shard(2, nonce, rand)
    reply = [HISTOGRAM.prepare(bytes(range(32)), who, nonce, public, share)[1] for who, share in enumerate(shares)]
    everything = hashlib.sha256(b"".join([public, *shares, *reply, HISTOGRAM.decide(reply)]))
    assert everything.hexdigest() == "3e882d4aac433bcb246954fccd0844b214b54b88afdd70bf8d9675c8fc514e4f"


@pytest.mark.guards("each proof is decided")
def test_each_of_several_proofs_must_hold() -> None:
    prio, nonce = prio3_sum_vec_multiproof(3, 5, 4, 2, b"task"), vdaf.nonce()
    public, shares = prio.shard([1, 2, 3], nonce)
    reply = [prio.prepare(KEY, who, nonce, public, share)[1] for who, share in enumerate(shares)]
    prio.decide(reply)
    for k in range(3):
        for i in (0, 8, 8 * (prio.proof.verifier_length - 1)):
            start = 8 * prio.proof.verifier_length * k + i
            changed = reply[0][:start] + bytes([reply[0][start] ^ 1]) + reply[0][start + 1 :]
            with pytest.raises(ProtocolError, match="proof does not hold"):
                prio.decide([changed, reply[1]])
