"""Ciphertexts add up, open to the sum of what is in them, and are made as their docstrings say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from hansa.crypto import field, lattice
from hansa.crypto.field import Elements, Field64
from hansa.crypto.lattice import (
    LARGEST,
    SECRET,
    SIGMA,
    Key,
    add,
    binomial,
    decrypt,
    fits,
    is_short,
    product,
    ready,
    remove,
    rows,
    transform,
)
from hansa.crypto.packing import DEGREE, ETA, Packing, error_of, packing
from hansa.crypto.shamir import uniform
from hansa.errors import PlanError, ProtocolError
from hansa.spec import Vector, word

P = Field64.p
ROOT = Path(__file__).resolve().parents[2]
BINDING = bytes(range(32))
rng = np.random.default_rng(11)


@contextmanager
def numpy_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where numba is not installed."""
    with monkeypatch.context() as patch:
        patch.setattr(lattice, "ring", lambda: None)
        patch.setattr(field, "kernels", lambda: None)
        yield


def schoolbook(a: list[int], b: list[int]) -> list[int]:
    """a · b mod (X⁴⁰⁹⁶ + 1, p), by Python's integers: of all of Σ aᵢbⱼXⁱ⁺ʲ at once, as one large product."""
    size = 160  # bits for each coefficient of the product: 2·64 + 12 + some
    large = sum(x << (size * i) for i, x in enumerate(a)) * sum(x << (size * i) for i, x in enumerate(b))
    mask = (1 << size) - 1
    wide = [(large >> (size * i)) & mask for i in range(2 * DEGREE)]
    return [(wide[i] - wide[i + DEGREE]) % P for i in range(DEGREE)]


# ── the ring ──


def elements_at_ends() -> list[Elements]:
    """Uniform ones, the largest, and single powers of X."""
    top = np.full(DEGREE, P - 1, np.uint64)
    last = np.zeros(DEGREE, np.uint64)
    last[-1] = 1
    return [uniform(DEGREE), uniform(DEGREE), top, last]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_product_is_the_schoolbook_s(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also X⁴⁰⁹⁵ · X⁴⁰⁹⁵ = −X⁴⁰⁹⁴: the ring is that of X⁴⁰⁹⁶ = −1."""
    for a in elements_at_ends():
        for b in elements_at_ends()[1:]:
            if compiled:
                found = product(transform(a), ready(b))
            else:
                with numpy_alone(monkeypatch):
                    found = product(transform(a), ready(b))
            assert found.tolist() == schoolbook(a.tolist(), b.tolist())


def test_a_product_by_hand() -> None:
    """The large product above is that of two sums, term by term."""
    a = [3, P - 1] + [0] * (DEGREE - 2)
    b = [0] * (DEGREE - 1) + [5]
    assert schoolbook(a, b) == [5] + [0] * (DEGREE - 2) + [15]


def test_rows_are_uniform_elements_of_their_session() -> None:
    """None repeats, none is another session's, and each of 256 highest bytes is as likely."""
    first = list(rows(BINDING, 20 * DEGREE))
    again = list(rows(BINDING, 2 * DEGREE))
    other = list(rows(bytes(32), 20 * DEGREE))
    assert len(first) == 20 and len(again) == 2
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    drawn = np.concatenate([one.reshape(-1) for one in (*first, *other)])
    assert (drawn < P).all() and len(np.unique(drawn)) == drawn.size
    assert uniform_bytes(drawn) > 1e-4


def uniform_bytes(drawn: Elements) -> float:
    """The chance that uniform elements are as uneven in their highest bytes."""
    counts = np.bincount((drawn.reshape(-1) >> np.uint64(56)).astype(int), minlength=256)
    expected = drawn.size / 256
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))


# ── errors and keys ──


def chances() -> dict[int, Fraction]:
    """P[count of 21 bits − count of 21 bits = k], exactly: C(42, 21 + k) / 2⁴²."""
    return {k: Fraction(math.comb(2 * ETA, ETA + k), 2 ** (2 * ETA)) for k in range(-ETA, ETA + 1)}


def test_the_chances_are_a_distribution_of_that_variance() -> None:
    assert sum(chances().values()) == 1
    assert sum(k * k * p for k, p in chances().items()) == Fraction(ETA, 2)
    assert math.isclose(SIGMA, math.sqrt(ETA / 2))


def unlikely(drawn: Any) -> float:
    """The chance that binomial numbers lie as far from their exact probabilities: chi-square, tails together."""
    counts = np.bincount(np.asarray(drawn) + ETA, minlength=2 * ETA + 1)
    expected = np.array([float(p) for p in chances().values()]) * len(drawn)
    inner = expected >= 5
    seen = np.append(counts[inner], counts[~inner].sum())
    due = np.append(expected[inner], expected[~inner].sum())
    return float(chi2.sf(((seen - due) ** 2 / due).sum(), len(seen) - 1))


def test_errors_have_their_exact_distribution() -> None:
    drawn = binomial(np.frombuffer(np.random.default_rng(3).bytes(8_000_000), np.uint64))
    assert unlikely(drawn) > 1e-4
    assert abs(drawn.mean()) < 5 * SIGMA / 1000
    assert abs(drawn.var() - ETA / 2) < 5 * (ETA / 2) * math.sqrt(2 / 1e6)


def test_another_distribution_is_noticed() -> None:
    words = np.frombuffer(np.random.default_rng(3).bytes(8_000_000), np.uint64)
    halved = binomial(words & np.uint64(2**20 - 1 << ETA | 2**20 - 1))
    assert unlikely(halved) < 1e-10


def test_the_ends_of_an_error() -> None:
    ones = 2**ETA - 1
    words = np.array([0, ones, ones << ETA, ones << ETA | ones, 2**64 - 2**42], np.uint64)
    assert binomial(words).tolist() == [0, ETA, -ETA, 0, 0]


def test_keys_are_binomial_and_no_two_alike() -> None:
    keys = [Key.fresh() for _ in range(50)]
    drawn = np.concatenate([Field64.signed(key.s) for key in keys])
    assert unlikely(drawn) > 1e-9
    assert len({key.s.tobytes() for key in keys}) == 50


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_added_to_a_key_s_product_is_its_error(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """c − a·s of zeros is e, but for what is cut off; e is not the key's own stream, and not that of another row."""
    way = Packing(16, 3, 24 * DEGREE, 3, 16)
    key = Key.fresh()
    zeros = np.zeros(way.size, np.uint16)
    if compiled:
        c = key.encrypt(zeros, BINDING, way)
    else:
        with numpy_alone(monkeypatch):
            c = key.encrypt(zeros, BINDING, way)
    error = Field64.signed(noise_of(c, key, way))
    assert np.abs(error).max() <= ETA + 128
    assert abs(error.mean()) < 5 * 74 / math.sqrt(len(error))
    assert abs(error.var() / (ETA / 2 + 256**2 / 12) - 1) < 0.05  # the sum of an error and of a uniform rest
    assert len({error[k : k + DEGREE].tobytes() for k in range(0, len(error), DEGREE)}) == 8


def noise_of(c: Any, key: Key, way: Packing) -> Elements:
    """c − a·s."""
    total = np.zeros(way.coefficients, np.uint64)
    add(total, c)
    masks = [product(row, ready(key.s)) for row in rows(BINDING, way.coefficients)]
    return Field64.sub(total, np.concatenate(masks)[: way.coefficients])


# ── what fits ──


@settings(max_examples=300)
@given(st.integers(2, 54), st.integers(3, 1000), st.integers(1, 10**9))
def test_what_the_chooser_finds_is_proven_and_one_more_is_not(bits: int, clients: int, size: int) -> None:
    room = 63 - error_of(clients).bit_length()
    if bits > room:
        with pytest.raises(PlanError, match=r"room for"):
            packing(bits, clients, size)
        return
    way = packing(bits, clients, size)
    assert way.error < way.half_step and way.width >= bits
    assert way.error == clients * (21 + 128 + 1) + 2
    assert way.each == room // bits and way.each * (way.width + 1) > room
    assert (way.coefficients - DEGREE) * way.each < size <= way.coefficients * way.each
    assert way.coefficients % DEGREE == 0
    with pytest.raises(PlanError):
        Packing(bits, clients, size, way.each + 1, bits)
    with pytest.raises(PlanError):
        Packing(bits, clients, size, way.each, 63 // way.each + 1)


@pytest.mark.parametrize(
    ("clients", "each", "width"), [(3, 3, 18), (10, 3, 17), (100, 3, 16), (218, 3, 16), (219, 2, 23)]
)
def test_sixteen_bits(clients: int, each: int, width: int) -> None:
    """Three in a coefficient of seven bytes up to 218 clients."""
    way = packing(16, clients, 10**6)
    assert (way.each, way.width) == (each, width)
    assert way.octets <= 2.36e6 * 3 / each


@pytest.mark.parametrize("clients", [3, 4, 10, 100, 1000])
def test_what_is_said_to_fit_fits(clients: int) -> None:
    """One bit beyond what fits is refused, in words that name numbers which do."""
    room = 63 - error_of(clients).bit_length()
    packing(room, clients, 5)
    with pytest.raises(PlanError) as refused:
        packing(room + 1, clients, 5)
    words = str(refused.value)
    assert f"room for {room}" in words and f"Quantize({min(room, 48)}, of='sum')" in words
    if "sample" in words:
        fewer = int(words.rpartition("sample ")[2].split()[0])
        packing(room + 1, fewer, 5)
        with pytest.raises(PlanError):
            packing(room + 1, fewer + 1, 5)


@pytest.mark.parametrize(
    "wrong", [(0, 3, 5, 0), (16, 0, 5, 0), (16, 3, 0, 0), (16, 2**20, 5, 0), (16.0, 3, 5, 0), (16, 3, 5, -1)]
)
def test_what_is_no_sum_is_refused(wrong: Any) -> None:
    with pytest.raises(PlanError):
        packing(*wrong)


# ── sums ──


def numbers(way: Packing, kind: str) -> Iterator[Vector]:
    """Vectors of `clients` whose sums are within `bits`: random, or all as large as they can be."""
    most = (2 ** (way.bits - 1) - 1) // way.clients
    for _ in range(way.clients):
        if kind == "random":
            drawn = rng.integers(-most, most, way.size, endpoint=True)
        elif kind == "ends":
            drawn = np.where(np.arange(way.size) % 3 == 1, -most, most)
        else:
            drawn = np.full(way.size, -most)
        yield (drawn.view(np.uint64) & np.uint64(2**way.bits - 1)).astype(word(way.bits))


def opened(way: Packing, kind: str) -> tuple[bool, int, Elements]:
    """Is a sum right, its largest error, and Σ c − a·Σ s."""
    total = np.zeros(way.coefficients, np.uint64)
    s = np.zeros(DEGREE, np.uint64)
    expected = np.zeros(way.size, np.uint64)
    for v in numbers(way, kind):
        key = Key.fresh()
        c = key.encrypt(v, BINDING, way)
        assert fits(c, way)
        add(total, c)
        s = Field64.add(s, key.s)
        expected += v
    assert is_short(s, way.clients)
    found, error = decrypt(total, s, BINDING, way)
    right = np.array_equal(found, (expected & np.uint64(2**way.bits - 1)).astype(found.dtype))
    return right, error, total


CASES = [
    (16, 3, 0),
    (16, 10, 0),
    (16, 100, 0),
    (54, 3, 0),
    (2, 5, 0),
    (8, 30, 1),
    (20, 17, 0),
    (48, 100, 0),
    (32, 64, 1),
]


@pytest.mark.parametrize("kind", ["random", "ends", "least"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_sum_is_exact(case: Any, kind: str) -> None:
    bits, clients, spare = case
    for size in (1, 3 * DEGREE + 5):
        way = packing(bits, clients, size, spare)
        right, error, _ = opened(way, kind)
        assert right and error <= way.error


def test_at_the_limits_a_million_coefficients_are_right() -> None:
    """Most clients for three numbers of 16 bits in a coefficient, and the largest sums; the low byte is cut off."""
    way = packing(16, 218, 3 * 5000)
    coefficients = 0
    for kind in ("ends", "random", "least"):
        right, error, _ = opened(way, kind)
        assert right and error < way.error
        coefficients += way.coefficients * way.clients
    assert coefficients > 10**6
    assert way.error > 0.99 * way.half_step  # there is no room for one more


def test_numpy_alone_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without numba is understood by those that have it."""
    way = packing(16, 10, 2 * DEGREE * 3 + 7)
    v = next(numbers(way, "random"))
    key = Key(bytes(range(SECRET)))
    c = key.encrypt(v, BINDING, way)
    total = np.zeros(way.coefficients, np.uint64)
    add(total, c)
    found, error = decrypt(total, key.s, BINDING, way)
    with numpy_alone(monkeypatch):
        assert np.array_equal(key.encrypt(v, BINDING, way), c)
        assert fits(c, way)
        again = np.zeros(way.coefficients, np.uint64)
        add(again, c)
        assert np.array_equal(total, again)
        slow, same = decrypt(total, key.s, BINDING, way)
    assert np.array_equal(found, v) and np.array_equal(slow, v) and same == error


def test_what_was_added_can_be_taken_off() -> None:
    way = packing(16, 10, 1000)
    total = uniform(way.coefficients).copy()
    before = total.copy()
    c = Key.fresh().encrypt(next(numbers(way, "random")), BINDING, way)
    add(total, c)
    assert not np.array_equal(total, before)
    remove(total, c)
    assert np.array_equal(total, before)


def test_a_sum_with_more_bits_moves_the_next_number_by_its_carry() -> None:
    """As `Packing` says; with a bit to spare it moves none."""
    for spare, moved in ((0, 1), (1, 0)):
        way = Packing(16, 3, 2 * DEGREE, 2, 16 + spare)
        total = np.zeros(way.coefficients, np.uint64)
        s = np.zeros(DEGREE, np.uint64)
        for _ in range(2):
            key = Key.fresh()
            add(total, key.encrypt(np.full(way.size, 2**14, np.uint16), BINDING, way))
            s = Field64.add(s, key.s)
        found, error = decrypt(total, s, BINDING, way)
        assert error <= way.error
        assert (found[:DEGREE] == 2**15).all() and (found[DEGREE:] == 2**15 + moved).all()


@pytest.mark.guards("numbers behind the last are zeros")
@pytest.mark.parametrize("spare", [0, 2])
def test_what_is_no_zero_behind_the_last_number_opens_nothing(spare: int) -> None:
    """But what honest numbers carry there, which wrap, does."""
    way = Packing(16, 3, DEGREE, 2, 16 + spare)
    wide = Packing(16, 3, 2 * DEGREE, 2, 16 + spare)
    for last, right in ((0, True), (3, True), (2**16 - 3, True), (4, False), (2**16 - 4, False), (2**15, False)):
        v = np.full(wide.size, 2**15, np.uint16)
        v[DEGREE:] = 0
        v[-1] = last
        key = Key.fresh()
        total = np.zeros(way.coefficients, np.uint64)
        add(total, key.encrypt(v, BINDING, wide))
        found, error = decrypt(total, key.s, BINDING, way)
        assert (error <= way.error) is right
        assert np.array_equal(found, v[:DEGREE])


def test_a_key_encrypts_the_same_vector_to_the_same_bytes() -> None:
    """So a conversation that is driven again says nothing more; and of another session all is other."""
    way = packing(16, 10, 5000)
    v = next(numbers(way, "random"))
    secret = bytes(range(SECRET))
    c = Key(secret).encrypt(v, BINDING, way)
    assert np.array_equal(Key(secret).encrypt(v, BINDING, way), c)
    assert (Key(secret).encrypt(v, bytes(32), way) == c).mean() < 0.02
    assert (Key.fresh().encrypt(v, BINDING, way) == c).mean() < 0.02
    assert "\\x01" not in repr(Key(secret))


def test_ciphertexts_are_as_random_numbers() -> None:
    """Of zeros as of the largest numbers: each byte of 256 is as likely, in each place."""
    way = packing(16, 10, 200_000)
    for value in (0, 2**15 - 1):
        c = Key.fresh().encrypt(np.full(way.size, value, np.uint16), BINDING, way).reshape(-1, 7)
        for place in range(7):
            counts = np.bincount(c[:, place], minlength=256)
            expected = len(c) / 256
            assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 255) > 1e-9


# ── a sum that opens to another one ──

LIMITS = json.loads((ROOT / "benchmarks" / "results" / "encrypted_limits.json").read_text(encoding="utf-8"))["rows"]


@pytest.mark.promise("P423")
@pytest.mark.parametrize("row", LIMITS, ids=lambda row: f"{row['bits']} bits of {row['clients']}")
def test_at_the_limits_no_sum_of_a_hundred_million_coefficients_was_another(row: Any) -> None:
    """As measured; and these are the limits that the chooser has today."""
    way = packing(row["bits"], row["clients"], 1)
    assert (way.each, way.width, way.error, way.half_step) == (
        row["each"],
        row["width"],
        row["bound"],
        row["half_step"],
    )
    assert row["encrypted"] >= 10**8 and row["wrong"] == 0
    assert row["largest"] <= row["bound"] < row["half_step"]
    with pytest.raises(PlanError):
        Packing(row["bits"], row["clients"], 1, row["each"] + 1, row["bits"])


@pytest.mark.promise("P423")
@pytest.mark.parametrize("row", LIMITS, ids=lambda row: f"{row['bits']} bits of {row['clients']}")
def test_with_the_largest_errors_that_there_can_be_a_sum_at_its_largest_opens(row: Any) -> None:
    """Every coefficient is off by all that honest clients can add up to, up or down."""
    way = packing(row["bits"], row["clients"], 5000)
    most = 2 ** (row["bits"] - 1) - 1
    for value in (most, -most - 1, 0):
        for side in (1, -1):
            v = np.full(way.size, value, np.int64).view(np.uint64) & np.uint64(2**way.bits - 1)
            words = v.astype(word(way.bits))
            total = np.zeros(way.coefficients, np.uint64)
            for k in range(way.coefficients // DEGREE):
                each = DEGREE * way.each
                numbers_of = np.empty((way.each, DEGREE), np.uint64)
                lattice._fill(numbers_of, words[k * each : (k + 1) * each])
                total[k * DEGREE : (k + 1) * DEGREE] = lattice._scaled(numbers_of, way)
            total = Field64.add(total, (side * (way.error - 2)) % P)
            found, error = decrypt(total, np.zeros(DEGREE, np.uint64), BINDING, way)
            assert np.array_equal(found, words) and error <= way.error


@pytest.mark.promise("P423")
def test_a_liar_that_makes_a_sum_wrap_moves_no_more_than_its_own_vector_could() -> None:
    """A number beyond its bits is that number mod 2^bits, and 1 in its neighbour: both of which it could have said."""
    way = Packing(16, 3, 2 * DEGREE, 2, 16)
    honest = np.full(way.size, 1000, np.uint16)
    wraps = np.full(way.size, 2**15 - 1, np.uint16)
    wraps[DEGREE:] = 0
    total = np.zeros(way.coefficients, np.uint64)
    s = np.zeros(DEGREE, np.uint64)
    for v in (honest, wraps):
        key = Key.fresh()
        add(total, key.encrypt(v, BINDING, way))
        s = Field64.add(s, key.s)
    found, error = decrypt(total, s, BINDING, way)
    assert error <= way.error
    said = wraps.copy()
    said[DEGREE:] = 1
    assert np.array_equal(found, honest + said)


# ── what is none ──


def test_what_is_no_ciphertext_does_not_fit() -> None:
    way = packing(16, 10, 100)
    c = Key.fresh().encrypt(np.zeros(100, np.uint16), BINDING, way)
    top = np.frombuffer(LARGEST.to_bytes(7, "little"), np.uint8)
    beyond = np.frombuffer((LARGEST + 1).to_bytes(7, "little"), np.uint8)
    for place in (0, way.coefficients - 1):
        rows_of = c.reshape(-1, 7).copy()
        rows_of[place] = top
        assert fits(rows_of.reshape(-1), way)
        rows_of[place] = beyond
        assert not fits(rows_of.reshape(-1), way)
        rows_of[place] = 255
        assert not fits(rows_of.reshape(-1), way)
    for wrong in (c[:-7], np.append(c, c[:7]), c.astype(np.uint16), c.reshape(-1, 7), c.tobytes(), None, 7):
        assert not fits(wrong, way)


def test_canonical_elements_with_numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    way = packing(16, 10, 3)
    with numpy_alone(monkeypatch):
        for value, right in ((LARGEST, True), (LARGEST + 1, False), (2**56 - 1, False), (0, True)):
            c = np.tile(np.frombuffer(value.to_bytes(7, "little"), np.uint8), DEGREE)
            assert fits(c, way) is right


@pytest.mark.parametrize(
    "v", [np.zeros(99, np.uint16), np.zeros(100, np.uint32), np.zeros(100), np.zeros((10, 10), np.uint16)], ids=str
)
def test_a_vector_of_another_kind_is_not_encrypted(v: Any) -> None:
    with pytest.raises(ProtocolError):
        Key.fresh().encrypt(v, BINDING, packing(16, 10, 100))


def test_a_key_of_another_length_is_none() -> None:
    for secret in (b"", bytes(32), bytes(65)):
        with pytest.raises(ProtocolError):
            Key(secret)


def test_short() -> None:
    for value in (0, 1, 3 * ETA, P - 1, P - 3 * ETA):
        assert is_short(np.array([0, value], np.uint64), 3)
    for value in (3 * ETA + 1, P - 3 * ETA - 1, P // 2, 2**63):
        assert not is_short(np.array([0, value], np.uint64), 3)
