"""TOML as a config may have it: no number that is larger than a real one, no table that lies deeper
than a plan.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

LARGEST = 2**1023  # no real number is larger
DEEPEST = 20  # tables and lists within each other


def parse(text: str) -> dict[str, Any]:
    """The entries of a TOML document; ValueError, with why, for what is none, or too large."""
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"lists or tables lie more than {DEEPEST} deep") from None
    check(found)
    return found


def check(value: Any, depth: int = 0) -> None:
    """ValueError for a number that is too large, and for what lies too deep."""
    if depth > DEEPEST:
        raise ValueError(f"lists or tables lie more than {DEEPEST} deep")
    inner = []
    if isinstance(value, Mapping):
        inner = list(value.values())
    if isinstance(value, list | tuple):
        inner = list(value)
    for one in inner:
        check(one, depth + 1)
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError("a number has more than 300 digits")
