"""The probabilities of docs/verified/for-cryptographers.md are those of the code's parameters."""

from __future__ import annotations

import json
from math import comb, erf, log, log2, pi, sqrt
from pathlib import Path

import pytest
from tests.vdaf.wrapped import shapes

from hansa.aggregators.verified.claims import FINE, SIDE, Norm, Range
from hansa.crypto.flp import Proof
from hansa.crypto.norms import passes
from hansa.crypto.pine import PRODUCT, Pine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verified" / "for-cryptographers.md"
QUERIES = 2.0**64  # hashes that a cheating client may compute
EXPONENTS = {"10⁵": 5, "10⁶": 6, "10⁷": 7}


def pine(d: int, bound: int = FINE) -> Pine:
    return Norm(("delta",), d, bound, (1.0,), True, 2).sum


def point(proof: Proof) -> float:
    """A polynomial of degree ≤ 2P − 2 that is not zero is zero at a random point of the field."""
    return (2 * proof.points - 2) / proof.shape.field.p


def survives(proofs: int, joint: float, online: float) -> float:
    """m proofs of a false claim: k by joint randomness that was searched for, the others by the point of the query."""
    each = (min(1.0, QUERIES * comb(proofs, k) * joint**k) * online ** (proofs - k) for k in range(proofs + 1))
    return sum(each)


def norm(p: Pine) -> float:
    return point(p.norm) ** p.profile.norm_proofs


def claims(p: Pine) -> float:
    """Over r: degree ≤ claims − 1; over t: ≤ checks − 1; over s: ≤ 3."""
    e = p.encoding
    joint = (max(e.claims, e.wraparound.checks) - 1 + 3) / p.field.p
    return survives(p.profile.proofs, joint, point(p.claims))


def wrapped(p: Pine) -> float:
    """All checks must hold, each with the probability that is proven."""
    return QUERIES * passes(p.field, p.encoding.range) ** p.profile.wraparound.checks


def shown(p: Pine) -> float:
    """log₂ of what the outcome of the checks says of an honest vector: r · 2 exp(−(w/B)²)."""
    e = p.encoding
    return log2(2 * e.wraparound.checks) - (e.range / p.bound) ** 2 / log(2)


def bits(probability: float) -> str:
    return f"2^−{-log2(probability):.0f}"


def table(mark: str) -> dict[tuple[str, ...], list[str]]:
    lines = PAGE.read_text().split(f"<!-- {mark} -->")[1].split("\n\n")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.promise("P14")
@pytest.mark.parametrize("d", EXPONENTS)
def test_what_is_said_of_a_false_norm(d: str) -> None:
    p = pine(10 ** EXPONENTS[d])
    reply = [bits(x) for x in (norm(p), claims(p), wrapped(p))]
    assert table("false norms")[d] == [str(p.norm.points), *reply, f"2^−{-shown(p):.0f}"]
    largest = pine(10 ** EXPONENTS[d], PRODUCT.largest)
    assert [bits(x) for x in (norm(largest), claims(largest), wrapped(largest))] == reply
    assert shown(largest) < -101


@pytest.mark.promise("P14")
def test_wraparound_checks_are_all_needed_and_rest_on_a_power_of_two() -> None:
    p = pine(10**5)
    assert p.profile.wraparound.successes == p.profile.wraparound.checks == 128
    assert p.encoding.range == 16 * p.bound
    assert p.encoding.range >= p.profile.wraparound.alpha * p.bound


def second(w: int) -> float:
    """What the theorem says of vectors without a large coordinate."""
    p = PRODUCT.field.p
    return pi**2 / 8 * (1 + sqrt(p / pi)) / (p // (2 * (2 * w - 1)))


def test_what_is_said_of_a_sum_that_has_wrapped_around() -> None:
    reply, p = " ".join(PAGE.read_text().split()), PRODUCT.field.p
    assert pine(10**5).encoding.range == 2**28
    assert [pine(10**5, PRODUCT.largest).encoding.range, PRODUCT.wraparound.range(PRODUCT.largest + 1)] == [
        2**29,
        2**30,
    ]
    assert f"is {second(2**28):.2f} for B = 2²⁴, w = 2²⁸, and {second(2**29):.2f} for w = 2²⁹" in reply
    assert f"For w = 2³⁰ it would be {second(2**30):.2f}" in reply
    assert passes(PRODUCT.field, 2**29) == 0.5 and passes(PRODUCT.field, 2**30) == second(2**30)
    assert reply.count(f"{PRODUCT.largest:,}") == 2
    assert (2**40 - 2**24 - 2**8) ** 2 % p == 2
    often = erf(2.0)  # a normal number of variance p/2 within w = 2√p
    assert f"{often:.3f}" in reply and round(1 / often**128) == 2


def test_provers_have_cheated_at_the_largest_bound_with_every_shape() -> None:
    """And none was accepted, in 1,000 reports of each; tests/evidence/wraparound.py has written it down."""
    rows = json.loads((PAGE.parents[2] / "benchmarks" / "results" / "wraparound.json").read_text())["rows"]
    reports = {row["shape"]: row for row in rows if row["what"] == "reports"}
    assert reports.keys() == shapes(2**29).keys() and len(reports) == 30
    for row in reports.values():
        assert (row["bound"], row["w"], row["accepted"]) == (PRODUCT.largest, 2**29, 0) and row["tries"] >= 1000
        assert row["rate"] <= row["proven"] + 4.5 * (row["proven"] / row["checks"] / 2) ** 0.5
        assert row["proven"] == passes(PRODUCT.field, row["w"])


@pytest.mark.promise("P14")
def test_what_is_said_of_a_false_side_value() -> None:
    for count, (calls, reply) in table("false side values").items():
        names = tuple(f"side {i}" for i in range(int(count)))
        s = Range(names, len(names), SIDE, (1.0,) * len(names), True, 2).sum
        shape = s.statement.shape
        joint = shape.gadget.arity / 2 / shape.field.p  # a polynomial of degree ≤ chunk for each call
        assert [str(shape.calls), bits(survives(s.proofs, joint, point(s.proof)))] == [calls, reply]


@pytest.mark.promise("P14")
def test_the_plain_page_promises_no_more() -> None:
    assert "less than once in 10¹⁵" in (PAGE.parent / "for-data-protection.md").read_text()
    assert all(norm(pine(10**e)) < 1e-15 for e in EXPONENTS.values())
