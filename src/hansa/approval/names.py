"""Names of files in a bundle: they lie below its folder on every disk, and are told apart there.

    data/words.txt       is taken
    ../a, /a, a//b       not: a part that is empty, or begins with a point
    a., "a ", a:b        not: a part that ends in a point or a space, or holds one of FORBIDDEN
    a and A              not both: they are alike but for case, or for forms of letters (NFKC)

A part has 255 bytes in UTF-8 at most, can be printed, and is in the form NFC; a name has 16 parts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import pairwise

from ..errors import ApprovalError

LONGEST = 255  # bytes of a part of a name
DEEPEST = 16  # folders
FORBIDDEN = frozenset('\\:*?"<>|')  # which some disks read as something else


def check_names(names: Iterable[str]) -> None:
    """ApprovalError unless each name leads to a file below the folder, and no two to one file."""
    known = list(names)
    for name in known:
        if not _is_below(name):
            raise ApprovalError(
                f"A file of the bundle is called {name!r:.220}.",
                "Its files lie below one folder: a name has parts with / between them, none of "
                "which begins with a point or holds what a disk or a terminal would obey.",
                "Name it otherwise, for example data/words.txt.",
            )
    for one, other in pairwise(sorted(known, key=lambda name: _plain(name).split("/"))):
        if _plain(one) == _plain(other) or _plain(other).startswith(_plain(one) + "/"):
            raise ApprovalError(
                f"Two files of the bundle are called {one!r} and {other!r}.",
                "On some disks the one would lie in the place of the other.",
                "Name one of them otherwise.",
            )


def _is_below(name: str) -> bool:
    """Does it lead to a file below the folder, wherever that is?"""
    parts = name.split("/")
    return len(parts) <= DEEPEST and all(map(_is_part, parts))


def _is_part(part: str) -> bool:
    """Is it what a file or a folder may be called on every disk?"""
    plain = part.isprintable() and FORBIDDEN.isdisjoint(part)
    whole = part.strip() == part and not part.startswith(".") and not part.endswith(".")
    short = 0 < len(part.encode(errors="replace")) <= LONGEST
    return plain and whole and short and unicodedata.normalize("NFC", part) == part


def _plain(name: str) -> str:
    """The name as a disk has it that knows neither case nor forms of letters."""
    return unicodedata.normalize("NFKC", name).casefold()
