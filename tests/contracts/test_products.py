"""The products of products.hpp, by each compiler, on memory that lies anywhere."""

import ctypes
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from hansa import native
from hansa.models.dense import HEADER

PROGRAM = f"""
#include "{HEADER}"
extern "C" int lanes() {{ return LANES; }}
extern "C" void dot(const float* x, const float* w, const float* b, float* z, int64_t rows, int64_t columns,
                    int64_t width) {{
    dotted(x, w, b, z, rows, columns, width, columns);
}}
extern "C" void sum(const float* a, const float* b, float* z, int64_t rows, int64_t n, int64_t width) {{
    summed(a, n, 1, b, width, n, rows, [=](int64_t r, int64_t c, Vec one) {{ put(z + r * width + c, one); }});
}}
"""


@pytest.fixture(params=["g++", "clang++"])
def products(
    request: pytest.FixtureRequest, absent: Callable[[str], NoReturn], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ctypes.CDLL:
    if not shutil.which(request.param):
        absent(f"{request.param} is not installed")
    monkeypatch.setenv("CXX", request.param)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (source := tmp_path / "products.cpp").write_text(PROGRAM)
    library = native.loaded(source, HEADER)
    assert isinstance(library, ctypes.CDLL), library
    return library


def test_the_products_are_exact_wherever_their_numbers_lie(products: ctypes.CDLL) -> None:
    """Whole numbers, so sums have no rounding; at places of which most are no multiple of a vector's size."""
    lanes, rng = products.lanes(), np.random.default_rng(0)

    def placed(shape: tuple[int, int], begin: int) -> np.ndarray:
        memory = rng.integers(-9, 10, begin + shape[0] * shape[1]).astype(np.float32)
        return memory[begin:].reshape(shape)

    for begin, rows, n, vectors in itertools.product((0, 1, 3), (1, 5, 6, 10, 13), (1, 7), (1, 4, 25)):
        a, b = placed((rows, n), begin), placed((n, width := vectors * lanes), begin)
        x, w, bias = placed((rows, width), begin), placed((n, width), begin), placed((1, n), begin)
        sums, dots = placed((rows, width), begin), placed((rows, n), begin)
        products.sum(*(_place(one) for one in (a, b, sums)), *map(ctypes.c_int64, (rows, n, width)))
        products.dot(*(_place(one) for one in (x, w, bias, dots)), *map(ctypes.c_int64, (rows, n, width)))
        assert (sums == a @ b).all() and (dots == x @ w.T + bias).all()


def _place(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
