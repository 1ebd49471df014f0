"""The sum of vectors is one number per coordinate, whatever the order and the grouping."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa import native, sums
from hansa.sums import Total

# of every magnitude up to 10⁹, of which 100 stay below the 2³⁷ that a sum may reach
numbers = st.one_of(
    st.floats(-1e9, 1e9, allow_nan=False),
    st.floats(-1.0, 1.0),
    st.builds(math.ldexp, st.floats(-1, 1), st.integers(-80, 29)),
    st.sampled_from([0.0, -0.0, 1e9, -1e9, 2.0**-16, 2.0**-17, 2.0**-56, 2.0**-57, 5e-324, 0.1]),
)
lists = st.lists(numbers, min_size=1, max_size=100)


def total(values: list[float]) -> Total:
    t = Total()
    for value in values:
        t.add(np.array([value]))
    return t


def merged(groups: list[list[float]]) -> Total:
    t = Total()
    for group in groups:
        t.merge(total(group))
    return t


def bits(t: Total) -> bytes:
    value = t.value()
    assert value is not None
    return value.tobytes()


@pytest.mark.promise("P46")
@given(lists, st.randoms(use_true_random=False), st.integers(1, 9))
def test_any_order_and_any_grouping_give_the_same_bits(values: list[float], rng: random.Random, groups: int) -> None:
    shuffled = rng.sample(values, len(values))
    dealt = [[v for i, v in enumerate(shuffled) if i % groups == g] for g in range(groups)]
    rng.shuffle(dealt)
    assert bits(total(values)) == bits(total(shuffled)) == bits(merged(dealt))
    assert merged(dealt).count == len(values)


@given(lists, st.randoms(use_true_random=False), st.integers(2, 7))
def test_carries_at_different_moments_change_no_bit(values: list[float], rng: random.Random, carry: int) -> None:
    want, before = bits(total(values)), sums.CARRY
    try:
        sums.CARRY = carry
        shuffled = rng.sample(values, len(values))
        cut = rng.randint(0, len(values))
        assert bits(total(values)) == bits(total(shuffled)) == want
        assert bits(merged([shuffled[:cut], shuffled[cut:]])) == want
        assert bits(merged([[v] for v in shuffled])) == want
    finally:
        sums.CARRY = before


def test_the_real_carry_boundary_is_crossed_without_loss() -> None:
    """30,000 vectors pass three carries; each one's low part is as large as it can be, and all have the same sign."""
    v = np.array([1e6 + 2.0**-17, 0.1, -(2.0**-17) + 3 * 2.0**-56, 2.0**-17 - 2.0**-56])
    forth, halves = Total(), (Total(), Total())
    for i in range(30_000):
        forth.add(v)
        halves[i % 3 == 0].add(v)
    halves[0].merge(halves[1])
    value = forth.value()
    assert value is not None and bits(forth) == bits(halves[0])
    exact = [math.fsum([x] * 30_000) for x in v]
    assert value[[0, 2, 3]].tolist() == [exact[0], exact[2], exact[3]]
    assert value[1] == pytest.approx(exact[1], abs=30_000 * 2.0**-57, rel=1e-16)


@given(st.lists(st.integers(-(2**82), 2**82).map(lambda k: math.ldexp(k, -56)), min_size=1, max_size=100))
def test_multiples_of_the_fine_quantum_add_up_exactly(values: list[float]) -> None:
    """Numbers that 2⁻⁵⁶ divides are not rounded at all, so the sum is fsum's to the last bit."""
    value = total(values).value()
    assert value is not None and value[0] == math.fsum(values)


@given(lists)
def test_every_term_is_kept_to_its_documented_resolution(values: list[float]) -> None:
    value, exact = total(values).value(), math.fsum(values)
    assert value is not None
    assert abs(value[0] - exact) <= len(values) * 2.0**-57 + math.ulp(exact)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_spoils_its_own_coordinate_alone(bad: float) -> None:
    for place in range(3):
        t = Total()
        for i in range(3):
            with np.errstate(invalid="ignore"):
                t.add(np.array([bad if i == place else 1.0, 2.0]))
        value = t.value()
        assert value is not None and np.isnan(value[0]) and value[1] == 6.0


@pytest.mark.parametrize("bits", [16, 32, 64])
@given(
    rows=st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2), min_size=1, max_size=30),
    groups=st.integers(1, 5),
)
def test_integers_add_up_modulo_2_to_their_bits(bits: int, rows: list[list[int]], groups: int) -> None:
    parts = []
    for g in range(groups):
        t = Total()
        for row in rows[g::groups]:
            t.add(np.array(row, np.uint64).astype(f"u{bits // 8}"))
        parts.append(t)
    t = Total()
    for part in parts:
        t.merge(part)
    assert t.value().dtype == f"u{bits // 8}" and t.count == len(rows)
    assert t.value().tolist() == [sum(row[i] for row in rows) % 2**bits for i in range(2)]


@pytest.mark.parametrize("other", [np.uint16, np.uint64, np.float64], ids=lambda kind: kind.__name__)
def test_words_of_another_width_are_refused(other: type) -> None:
    """What is added mod 2³² means nothing mod 2¹⁶, and as a real number nothing at all."""
    narrow, wide = Total(), Total()
    narrow.add(np.ones(2, np.uint32))
    with pytest.raises(ValueError, match="broadcast"):
        narrow.add(np.ones(2, other))
    wide.add(np.ones(2, other))
    with pytest.raises(ValueError, match="broadcast"):
        narrow.merge(wide)
    assert narrow.count == 1 and narrow.value().tolist() == [1, 1]


@pytest.mark.promise("P46")
@given(lists)
def test_a_sum_that_is_released_has_the_same_bits_and_nothing_is_left(values: list[float]) -> None:
    t = total(values)
    want = bits(t)
    assert t.release().tobytes() == want
    assert t.count == 0
    with pytest.raises(ValueError, match="nothing was added"):
        t.release()
    t.add(np.array([1.0]))
    assert t.value().tolist() == [1.0]


@pytest.mark.promise("P46")
@given(lists, lists)
def test_a_sum_that_travels_goes_on_as_if_it_had_not(values: list[float], others: list[float]) -> None:
    there = Total.of(total(values).parts())
    there.merge(total(others))
    assert bits(there) == bits(merged([values, others]))
    assert there.count == len(values) + len(others)


@pytest.mark.promise("P46")
def test_long_vectors_are_added_natively_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all magnitudes, on the grids and between them; and what cannot be read in place goes through NumPy."""
    rng, n = np.random.default_rng(0), 3 * sums.LONG + 5  # no whole number of the processor's vectors
    rows = np.ldexp(rng.uniform(-1, 1, (7, n)), rng.integers(-80, 30, (7, n)))
    rows[:, :8] = [0.0, -0.0, 5e-324, 2.0**-17, 2.0**-57, -(2.0**-56) - 2.0**-57, 1e9, 0.1]
    given = [*rows, np.asfortranarray(rows.T)[:, 3], rows[0].astype(np.float32), np.repeat(rows[1], 2)[::2]]
    assert sums.loaded() is not None and not given[-1].flags.c_contiguous
    before = [v.copy() for v in given]
    natively, plainly = Total(), Total()
    for v in given:
        natively.add(v)
    monkeypatch.setattr(sums, "LONG", n + 1)
    monkeypatch.setattr(sums, "loaded", None)
    for v in given[::-1]:
        plainly.add(v)
    assert bits(natively) == bits(plainly)
    assert all((v == old).all() for v, old in zip(given, before, strict=True))


@pytest.mark.parametrize("n", [2 * sums.LONG, sums.LONG + 8, sums.LONG - 8])
def test_vectors_of_another_length_are_refused(n: int) -> None:
    """Also of one that would be added natively."""
    t = total_of(np.ones(sums.LONG))
    with pytest.raises(ValueError, match="broadcast"):
        t.add(np.ones(n))


def test_a_compiler_told_to_be_fast_is_exact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What CXX says besides the compiler's name changes no bit; nor does a CXX that cannot be read, or no home."""
    v = np.random.default_rng(0).standard_normal(sums.LONG)
    want = bits(total_of(v))
    for words, made in (("g++ -ffast-math", True), ("g++ -funsafe-math-optimizations", True), ("g++ 'x", False)):
        monkeypatch.setenv("CXX", words)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / words))
        sums.loaded.cache_clear()
        try:
            assert bits(total_of(v)) == want and (sums.loaded() is not None) == made
            assert np.float64(5e-324) * 2 > 0  # and the process still has subnormal numbers
        finally:
            sums.loaded.cache_clear()


def test_where_there_is_no_compiler_numpy_adds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The same bytes, and the log says so once."""
    v = np.random.default_rng(0).standard_normal(sums.LONG)
    want = bits(total_of(v))
    monkeypatch.setattr(native, "compiler", list)
    sums.loaded.cache_clear()
    try:
        with caplog.at_level("INFO", "hansa"):
            assert bits(total_of(v)) == bits(total_of(v)) == want
    finally:
        sums.loaded.cache_clear()
    assert [record.message for record in caplog.records if "NumPy" in record.message] == [
        "Sums are taken in NumPy: no C++ compiler is installed (g++, clang++, c++)."
    ]


def test_nothing_added_is_nothing() -> None:
    t = Total()
    t.merge(Total())
    assert t.count == 0
    with pytest.raises(ValueError, match="nothing was added"):
        t.value()


def test_adding_leaves_the_vectors_and_the_other_total_as_they_were() -> None:
    for v in (np.array([0.1, 0.2]), np.array([1, 2], np.uint64)):
        first, second, before = Total(), Total(), v.copy()
        first.add(v)
        second.merge(first)
        second.add(v)
        assert bits(first) == bits(total_of(before)) and v.tolist() == before.tolist()
        value = second.value()
        assert value is not None and value.tolist() == (v + v).tolist()


def total_of(v: np.ndarray) -> Total:
    t = Total()
    t.add(v.copy())
    return t


def test_few_bits_are_added_in_many() -> None:
    """float32 has too few bits for the cut; the sum is taken in float64."""
    t = Total()
    for _ in range(10):
        t.add(np.array([0.1], np.float32))
    value = t.value()
    assert value is not None and value.dtype == np.float64 and value[0] == math.fsum([float(np.float32(0.1))] * 10)
