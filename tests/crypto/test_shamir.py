"""Shared secrets: any t open, t − pack learn nothing, and shares add up. Checked with Python's integers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.field import Elements, Field64
from hansa.crypto.shamir import Sharing, lagrange, shortest_recurrence, to_bytes, to_elements, uniform
from hansa.errors import PlanError, ProtocolError

P = 2**64 - 2**32 + 1

SMALL = [(n, t, pack) for n, t, pack in product(range(2, 6), repeat=3) if 1 <= pack < t <= n]
SMALL += [(n, t, 1) for n, t in product(range(2, 6), repeat=2) if 1 < t <= n]


def value_at(points: Sequence[int], values: Sequence[int], z: int) -> int:
    """What the polynomial through these points is at z, by Lagrange's formula and Python's integers."""
    total = 0
    for i, (x, y) in enumerate(zip(points, values, strict=True)):
        above, below = 1, 1
        for j, other in enumerate(points):
            if j != i:
                above = above * (z - other) % P
                below = below * (x - other) % P
        total += y * above * pow(below, P - 2, P)
    return total % P


def rows(shares: Elements, holders: Sequence[int]) -> Elements:
    return shares[[i - 1 for i in holders]]


# ── opening ──


@pytest.mark.parametrize("n, t, pack", SMALL)
def test_every_subset_of_t_and_more_opens(n: int, t: int, pack: int) -> None:
    sharing = Sharing(n, t, pack)
    a = np.concatenate([uniform(5), np.array([0, 1, P - 1], np.uint64)])
    shares = sharing.share(a)
    assert shares.shape == (n, sharing.columns(8)) and shares.dtype == np.uint64
    for k in range(t, n + 1):
        for holders in combinations(range(1, n + 1), k):
            assert sharing.open(holders, rows(shares, holders), 8).tolist() == a.tolist()
            assert sharing.wrong(holders, rows(shares, holders)) == ()


@pytest.mark.parametrize("n, t, pack", SMALL)
def test_a_secret_is_where_the_polynomial_is_said_to_have_it(n: int, t: int, pack: int) -> None:
    a = uniform(3 * pack)
    shares = Sharing(n, t, pack).share(a)
    for column, j in product(range(3), range(pack)):
        for holders in combinations(range(1, n + 1), t):
            values = [int(shares[i - 1, column]) for i in holders]
            assert value_at(holders, values, -j) == int(a[column * pack + j])


def test_holders_are_taken_in_any_order() -> None:
    sharing = Sharing(7, 4, 2)
    a = uniform(9)
    shares = sharing.share(a)
    for holders in ((7, 1, 4, 3), (2, 6, 5, 1, 7, 3)):
        assert sharing.open(holders, rows(shares, holders), 9).tolist() == a.tolist()


def test_many_holders_and_long_vectors() -> None:
    sharing = Sharing(100, 67, 30)
    a = uniform(40_000)
    shares = sharing.share(a)
    holders = [int(i) for i in np.random.default_rng(0).permutation(100)[:67] + 1]
    assert np.array_equal(sharing.open(holders, rows(shares, holders), len(a)), a)


@given(st.lists(st.integers(-(2**70), 2**70), min_size=2, max_size=9, unique_by=lambda x: x % P))
def test_weights_are_lagranges(points: list[int]) -> None:
    sources, target = tuple(points[1:]), points[0]
    values = [pow(3, k, P) for k in range(len(sources))]
    found = Field64.dot(lagrange(sources, (target,))[0], Field64.array(values))
    assert found == value_at(sources, values, target)


# ── linearity ──


@pytest.mark.parametrize("pack", [1, 2, 3])
def test_shares_of_a_and_of_b_open_their_sum(pack: int) -> None:
    sharing = Sharing(9, 5, pack)
    a, b = uniform(20), uniform(20)
    both = Field64.add(sharing.share(a), sharing.share(b))
    scaled = Field64.mul(both, 12345678901234567)
    holders = (9, 2, 3, 8, 1, 5)
    assert sharing.open(holders, rows(both, holders), 20).tolist() == Field64.add(a, b).tolist()
    expected = [(int(x) + int(y)) * 12345678901234567 % P for x, y in zip(a, b, strict=True)]
    assert sharing.open(holders, rows(scaled, holders), 20).tolist() == expected


# ── secrecy ──


def chi_square(cells: Elements, n: int) -> float:
    """How far counts in n cells are from equal, in standard deviations of what chance gives."""
    counts = np.bincount(cells.astype(np.int64), minlength=n)
    expected = len(cells) / n
    return float((((counts - expected) ** 2 / expected).sum() - (n - 1)) / np.sqrt(2 * (n - 1)))


@pytest.mark.parametrize("n, t, pack", [(5, 3, 1), (5, 4, 2), (5, 3, 2), (4, 4, 3)])
@pytest.mark.parametrize("secret", [0, P - 1])
def test_t_minus_pack_shares_are_uniform_whatever_the_secret(n: int, t: int, pack: int, secret: int) -> None:
    shares = Sharing(n, t, pack).share(np.full(40_000 * pack, secret, np.uint64))
    for holders in combinations(range(n), t - pack):
        for low in (0, 60):  # the first and the last four bits, of all these holders together
            cells = np.zeros(40_000, np.uint64)
            for i in holders:
                cells = cells * np.uint64(16) + (shares[i] >> np.uint64(low)) % np.uint64(16)
            assert abs(chi_square(cells, 16 ** (t - pack))) < 10


def test_what_is_shared_twice_has_other_shares() -> None:
    sharing, a = Sharing(5, 3), uniform(50)
    first, second = sharing.share(a), sharing.share(a)
    assert not (first == second).any()


# ── whose share is wrong ──


@pytest.mark.parametrize("n, t, pack", [(5, 3, 1), (10, 4, 2), (30, 11, 5), (100, 67, 1)])
def test_wrong_shares_are_named(n: int, t: int, pack: int) -> None:
    sharing, rng = Sharing(n, t, pack), np.random.default_rng(n)
    a = uniform(4 * pack)
    for e in {1, (n - t) // 2}:
        shares = sharing.share(a)
        holders = [int(i) for i in rng.permutation(n)[: t + 2 * e] + 1]
        liars = holders[:e]
        for i in liars:
            column = rng.integers(shares.shape[1])
            shares[i - 1, column] = (int(shares[i - 1, column]) + int(rng.integers(1, P, dtype=np.uint64))) % P
        with pytest.raises(ProtocolError, match="one polynomial"):
            sharing.open(holders, rows(shares, holders), len(a))
        assert set(sharing.wrong(holders, rows(shares, holders))) == set(liars)
        rest = [i for i in holders if i not in liars]
        assert sharing.open(rest, rows(shares, rest), len(a)).tolist() == a.tolist()


def test_more_wrong_shares_than_can_be_named_are_said_to_be_so() -> None:
    sharing = Sharing(10, 4)
    for e in range(4, 11):
        shares = sharing.share(uniform(3))
        shares[:e] = uniform(3 * e).reshape(e, 3)
        with pytest.raises(ProtocolError, match="too many are wrong to say which"):
            sharing.wrong(range(1, 11), shares)


def test_with_one_share_to_spare_nobody_is_named() -> None:
    sharing = Sharing(5, 4)
    shares = sharing.share(uniform(2))
    shares[2, 0] ^= np.uint64(1)
    with pytest.raises(ProtocolError, match="0 can be named where 4 open"):
        sharing.wrong(range(1, 6), shares)


@given(st.lists(st.integers(0, P - 1), min_size=1, max_size=4), st.integers(0, 5))
def test_a_recurrence_is_found(c: list[int], more: int) -> None:
    s = [1] * len(c)
    for _ in range(len(c) + more):
        s.append(sum(x * y for x, y in zip(c, reversed(s), strict=False)) % P)
    found = shortest_recurrence(s)
    assert found[0] == 1 and len(found) - 1 <= len(c)
    for j in range(len(found) - 1, len(s)):
        assert sum(x * s[j - k] for k, x in enumerate(found)) % P == 0


# ── bytes ──


@given(st.integers(1, 40), st.integers(1, 5))
def test_secrets_come_back_byte_for_byte(size: int, count: int) -> None:
    for values in ([os.urandom(size) for _ in range(count)], [b"\xff" * size] * count, [bytes(size)] * count):
        a = to_elements(values)
        assert len(a) == count * -(-size // 7) and (a < 2**56).all()
        assert to_bytes(a, size) == values


def test_a_seed_is_five_elements() -> None:
    seed = bytes(range(32))
    expected = [int.from_bytes(seed[i : i + 7], "little") for i in range(0, 32, 7)]
    assert to_elements([seed]).tolist() == expected


def test_secrets_of_different_lengths_are_not_mixed() -> None:
    with pytest.raises(ProtocolError, match="different lengths"):
        to_elements([bytes(31), bytes(33)])


def test_what_is_no_whole_number_of_secrets_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no secrets of 32 bytes"):
        to_bytes(np.zeros(9, np.uint64), 32)


# ── what is refused ──


@pytest.mark.parametrize("n, t, pack", [(3, 4, 1), (3, 2, 2), (3, 2, 0), (3, 1, 1), (3.5, 2, 1), (3, True, 1)])
def test_a_sharing_that_hides_nothing_is_refused(n: int, t: int, pack: int) -> None:
    with pytest.raises(PlanError, match="hides nothing"):
        Sharing(n, t, pack)


@pytest.mark.parametrize("a", [np.array([P], np.uint64), np.array([-1]), np.array([0.5])])
def test_what_is_no_element_is_not_shared(a: Elements) -> None:
    with pytest.raises(ProtocolError, match="is to be shared"):
        Sharing(3, 2).share(a)


@pytest.mark.parametrize("holders", [(1, 2, 2), (0, 1, 2), (1, 2, 6), (1, 2, -1), (1, 2, "3"), (1, 2, True)])
def test_holders_are_known_and_distinct(holders: Sequence[int]) -> None:
    shares = np.ones((3, 2), np.uint64)
    for ask in (lambda: Sharing(5, 3).open(holders, shares, 2), lambda: Sharing(5, 3).wrong(holders, shares)):
        with pytest.raises(ProtocolError, match="do not exist"):
            ask()


@pytest.mark.parametrize(
    "shares",
    [
        np.ones((3, 1), np.uint64),
        np.ones((2, 2), np.uint64),
        np.ones((3, 2), np.int64),
        np.ones(6, np.uint64),
        np.ones((3, 2, 1), np.uint64),
    ],
)
def test_shares_of_another_form_are_refused(shares: Elements) -> None:
    with pytest.raises(ProtocolError, match="Shares are"):
        Sharing(5, 3).open((1, 2, 3), shares, 2)
