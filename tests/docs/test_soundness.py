"""The probabilities of docs/verified/for-cryptographers.md are those of the code's parameters."""

from __future__ import annotations

from itertools import product
from math import comb, log, log2
from pathlib import Path

import pytest

from hansa.aggregators.claims import COARSE, FINE, SIDE, Norm, Profile, Range
from hansa.crypto.flp import Proof
from hansa.crypto.pine import Pine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verified" / "for-cryptographers.md"
QUERIES = 2.0**64  # hashes that a cheating client may compute
EXPONENTS = {"10⁵": 5, "10⁶": 6, "10⁷": 7}


def pine(profile: Profile, d: int) -> Pine:
    bound = {"product": FINE, "compact": COARSE}[profile]
    return Norm(("delta",), d, bound, (1.0,), True, 2, b"", profile).sum


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
    """All checks must hold."""
    return QUERIES * 2.0**-p.profile.wraparound.checks


def shown(p: Pine) -> float:
    """log₂ of what the outcome of the checks says of an honest vector: r · 2 exp(−(w/B)²)."""
    e = p.encoding
    return log2(2 * e.wraparound.checks) - (e.range / p.bound) ** 2 / log(2)


def bits(probability: float) -> str:
    return f"2^−{-log2(probability):.0f}"


def table(mark: str) -> dict[tuple[str, ...], list[str]]:
    lines = PAGE.read_text().split(f"<!-- {mark} -->")[1].split("\n\n")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    return {(row[0], row[1]): row[2:] for row in rows}


@pytest.mark.promise("P14")
@pytest.mark.parametrize(("profile", "d"), list(product(("product", "compact"), EXPONENTS)))
def test_what_is_said_of_a_false_norm(profile: Profile, d: str) -> None:
    p = pine(profile, 10 ** EXPONENTS[d])
    said = [bits(x) for x in (norm(p), claims(p), wrapped(p))] + [f"2^−{-shown(p):.0f}"]
    assert table("false norms")[f"`{profile}`", d] == [str(p.norm.points), *said]


@pytest.mark.promise("P14")
def test_wraparound_checks_are_all_needed_and_rest_on_a_power_of_two() -> None:
    for profile in ("product", "compact"):
        p = pine(profile, 10**5)
        assert p.profile.wraparound.successes == p.profile.wraparound.checks == 128
        assert p.encoding.range == 16 * p.bound
        assert p.encoding.range >= p.profile.wraparound.alpha * p.bound


@pytest.mark.promise("P14")
def test_what_is_said_of_a_false_side_value() -> None:
    for (count, calls), (said,) in table("false side values").items():
        names = tuple(f"side {i}" for i in range(int(count)))
        s = Range(names, len(names), SIDE, (1.0,) * len(names), True, 2).sum
        shape = s.statement.shape
        joint = shape.gadget.arity / 2 / shape.field.p  # a polynomial of degree ≤ chunk for each call
        assert [str(shape.calls), bits(survives(s.proofs, joint, point(s.proof)))] == [calls, said]


@pytest.mark.promise("P14")
def test_the_plain_page_promises_no_more() -> None:
    assert "less than once in 10¹⁵" in (PAGE.parent / "for-data-protection.md").read_text()
    assert all(norm(pine("product", 10**e)) < 1e-15 for e in EXPONENTS.values())
