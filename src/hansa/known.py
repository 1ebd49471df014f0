"""Whose a piece is: hansa's own, of which it is known what it gives away; or a stranger's, of which nobody said it."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any


def own(piece: Any) -> bool:
    """Is this an object of one of hansa's own classes, or one of its functions?

    The class itself is looked at: a subclass may do anything, whatever its name, and wherever it says it comes from.
    """
    kind = piece if isinstance(piece, FunctionType) else type(piece)
    home = sys.modules.get(kind.__module__) if kind.__module__.split(".")[0] == __package__ else None
    return getattr(home, kind.__qualname__, None) is kind
