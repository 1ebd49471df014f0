"""How much memory something takes: of Python's own and of NumPy's arrays, not of files that are mapped."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def peak(work: Callable[[], T]) -> tuple[T, int]:
    """What a piece of work gives, and by how many bytes it was above the start at its highest."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found = work()
        return found, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
