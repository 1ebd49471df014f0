"""Whose a piece is: hansa's own, whose properties are known, or a stranger's, of which none are.

A name is no evidence: a stranger's class may be called Sum, and stand in a module called hansa.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any

HEAP = 1 << 9  # the flag of a class that was made at run time; the others are of C
PACKAGES = frozenset({"site-packages", "dist-packages"})  # where packages are installed
STANDARD = os.path.dirname(os.__file__) + os.sep


def own(piece: Any) -> bool:
    """Is this an object of one of hansa's own classes, or one of its functions?

    The class itself is looked at: a subclass may do anything, whatever its name, and wherever it
    says it comes from.
    """
    kind: Any = type(piece)
    if isinstance(piece, FunctionType):
        kind = piece
    return ours(kind)


@lru_cache(maxsize=1024)  # for it is asked several times per client
def ours(kind: Any) -> bool:
    """Is this one of hansa's classes or functions itself?"""
    if kind.__module__.split(".")[0] != __package__:
        return False
    home = sys.modules.get(kind.__module__)
    return getattr(home, kind.__qualname__, None) is kind


def named(piece: Any) -> bool:
    """Does a name say it all: is it where hansa, Python or an installed package says it is?"""
    name = getattr(piece, "__qualname__", None)
    module = getattr(piece, "__module__", None)
    if isinstance(piece, type) and not piece.__flags__ & HEAP:
        return True
    if not isinstance(name, str) or not isinstance(module, str):
        return False
    found: Any = sys.modules.get(module)
    if found is None or not packaged(found):
        return False
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is piece


def packaged(module: ModuleType) -> bool:
    """Is this a module of hansa, of Python, or of a package that is installed?"""
    root = module.__name__.split(".")[0]
    if root in (__package__, *sys.builtin_module_names):
        return True
    file = getattr(module, "__file__", None) or getattr(sys.modules.get(root), "__file__", None)
    if root == "__main__" or file is None:
        return False
    return not PACKAGES.isdisjoint(PurePath(file).parts) or file.startswith(STANDARD)
