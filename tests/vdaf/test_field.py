"""Field arithmetic agrees with Python's integers: compiled, and in NumPy where numba is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.field import Field, Field32, Field40, Field64, Field128
from hansa.crypto.xof import XofHmacSha256Aes128, elements
from hansa.errors import ProtocolError

FIELDS = {"Field32": Field32, "Field40": Field40, "Field64": Field64, "Field128": Field128}
each_field = pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)


def some(field: Field, n: int, label: int = 0) -> list[int]:
    """Elements, with those at the edges among them."""
    edges = [0, 1, 2, field.p - 1, field.p - 2, field.p // 2, min(2**32, field.p) - 1, min(2**32, field.p - 1)]
    drawn = elements(XofHmacSha256Aes128(label.to_bytes(32, "big"), b"test"), field, n)
    return (edges + [int(x) for x in drawn])[:n]


@each_field
def test_arithmetic(field: Field) -> None:
    a = some(field, 40)
    x = field.array(a)
    for b in a:
        y = field.array([b] * len(a))
        assert field.add(x, y).tolist() == [(c + b) % field.p for c in a]
        assert field.sub(x, y).tolist() == [(c - b) % field.p for c in a]
        assert field.mul(x, b).tolist() == [c * b % field.p for c in a]
    assert field.total(x) == sum(a) % field.p
    assert field.dot(x, x) == sum(c * c for c in a) % field.p
    assert all(c * field.inverse(c) % field.p == 1 for c in a if c)
    assert field.inverses([c for c in a if c]).tolist() == [field.inverse(c) for c in a if c]
    assert field.powers(a[9], 21).tolist() == [pow(a[9], i, field.p) for i in range(21)]
    assert field.array([-1]).tolist() == [field.p - 1]


@each_field
def test_matrices(field: Field) -> None:
    rows = np.stack([field.array(some(field, 38, k)) for k in range(5)])
    w = field.array(some(field, 13)[8:])
    p, lists = field.p, rows.tolist()
    assert field.combine(w, rows).tolist() == [
        sum(int(x) * r[j] for x, r in zip(w, lists, strict=True)) % p for j in range(38)
    ]
    left = field.array(some(field, 35, 7)).reshape(7, 5)
    assert field.product(left, rows).tolist() == [
        [sum(int(x) * r[j] for x, r in zip(row, lists, strict=True)) % p for j in range(38)] for row in left
    ]
    assert field.pair_sums(rows).tolist() == [sum(r[j] * r[j + 1] for j in range(0, 38, 2)) % p for r in lists]
    assert field.square_sums(rows).tolist() == [sum(x * x for x in r) % p for r in lists]


@each_field
@pytest.mark.parametrize("n", [1, 2, 16])
def test_transforms_are_values_of_polynomials(field: Field, n: int) -> None:
    def value(t: int) -> int:
        return sum(c * pow(t, i, field.p) for i, c in enumerate(coefficients)) % field.p

    coefficients, ω, ζ = some(field, n), field.root(n), field.root(2 * n)
    assert pow(ζ, n, field.p) == field.p - 1
    values = field.ntt(field.array(coefficients))
    assert values.tolist() == [value(pow(ω, k, field.p)) for k in range(n)]
    assert field.inverse_ntt(values).tolist() == coefficients
    between = field.between(np.stack([values, values], axis=1), n)
    assert between.tolist() == [[value(ζ * pow(ω, k, field.p))] * 2 for k in range(n)]
    for t in (12345, pow(ω, n - 1, field.p)):
        assert field.dot(field.weights(n, t), values) == value(t)


@each_field
def test_between_takes_missing_rows_as_zero(field: Field) -> None:
    known, full = field.zeros((5, 3)), field.zeros((8, 3))
    known[:] = full[:5] = field.array(some(field, 15)).reshape(5, 3)
    assert field.between(known, 8).tolist() == field.between(full, 8).tolist()


@each_field
def test_bytes(field: Field) -> None:
    v = field.array(some(field, 30))
    data = field.encode(v)
    assert len(data) == 30 * field.size
    assert data[: field.size] == (0).to_bytes(field.size, "little")
    assert data[3 * field.size : 4 * field.size] == (field.p - 1).to_bytes(field.size, "little")
    assert field.decode(data).tolist() == v.tolist()
    for wrong in (field.p, field.p + 1, 2 ** (8 * field.size) - 1):
        with pytest.raises(ProtocolError, match=r"Element 30 .* not below the modulus"):
            field.decode(data + wrong.to_bytes(field.size, "little"))
    with pytest.raises(ProtocolError, match="bytes"):
        field.decode(data[:-1])


class Given:
    """A stream of bytes that are known."""

    def __init__(self, data: bytes):
        self.data = data

    def read(self, n: int) -> bytes:
        head, self.data = self.data[:n], self.data[n:]
        return head


@each_field
@given(skip=st.lists(st.booleans(), min_size=1, max_size=30))
def test_sampling_leaves_out_what_is_no_element(field: Field, skip: list[bool]) -> None:
    drawn = [field.p + i if out else i for i, out in enumerate(skip)]
    stream = Given(b"".join(x.to_bytes(field.size, "little") for x in drawn))
    kept = [x for x in drawn if x < field.p]
    assert elements(stream, field, len(kept)).tolist() == kept


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_seed_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="seed"):
        XofHmacSha256Aes128(bytes(size), b"")


def test_without_numba_a_warning_says_so_and_numbers_are_the_same() -> None:
    """This very file passes in an interpreter that cannot import numba."""
    program = f"""if True:
        import sys, warnings
        sys.modules["numba"] = None
        import pytest
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            from hansa.crypto.field import Field64, kernels
            Field64.add(Field64.array([1]), 1)
        assert kernels() is None and any("numba is not installed" in str(w.message) for w in heard)
        tests = "arithmetic or matrices or transforms or between"
        sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", {__file__!r}, "-k", tests]))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_modules_imports_no_numba() -> None:
    program = "import sys, hansa.crypto.prio3; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
