"""Memory that a simulation keeps: its arrays come and go with each client, all of one size."""

from __future__ import annotations

import ctypes
import os
from functools import cache

TRIM = -1  # M_TRIM_THRESHOLD of glibc's malloc.h
MAPPED = -3  # M_MMAP_THRESHOLD
MOST = 2**28  # bytes that are kept
LARGEST = 2**25  # bytes of an array that may lie among them: the most that glibc allows


@cache
def keep() -> bool:
    """Let freed arrays' memory serve the next ones; whether it could.

    Else each new array costs more in fresh pages than in arithmetic. Only glibc is asked, and only
    where the environment (MALLOC_…, GLIBC_TUNABLES) has not said otherwise.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or os.name != "posix":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(TRIM, MOST)) and bool(mallopt(MAPPED, LARGEST))
