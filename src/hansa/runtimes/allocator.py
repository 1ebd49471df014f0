"""Memory that a simulation keeps: its arrays come and go with each client, and all are of one
size.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
# bytes that are kept; of an array that may lie among them, the most that glibc allows
MOST, LARGEST = (2**28, 2**25)


@cache
def keep() -> bool:
    """Let freed arrays' memory serve the next ones; else each new array costs more in fresh pages
    than in arithmetic.

    Whether it could: only glibc is asked, and only where the environment (MALLOC_…) has not said
    otherwise.
    """
    if os.name != "posix" or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM, MOST)) and bool(mallopt(MAPPED, LARGEST))
