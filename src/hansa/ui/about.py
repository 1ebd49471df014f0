"""What is known of a run when it begins, and only then: its plan in words, its budget, its workers.

    runs/RUN/about.json

A run in a store has the expression that builds its plan, and words need the plan itself: code of
an app, which no reader of runs loads. So who runs it writes them down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..app import App
from ..errors import HansaError, StoreError, printable
from ..explain import Explanation, Section
from ..privacy.ledger import Budget

NAME = "about.json"
LARGEST = 2**22  # bytes; what is larger was not written here
MOST_WORKERS = 2**16
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(OverflowError, HansaError),
)


@dataclass(frozen=True)
class About:
    """A run's plan in words, its budget if it has one, and how many processes train; where nobody
    has written that down, nothing.
    """

    explained: Explanation | None = None
    budget: Budget | None = None
    workers: int = 0


def keep(app: App, folder: Path) -> None:
    """Write it into the folder of a run; StoreError where that cannot be written."""
    found = About(app.explain(), app.budget, app.workers)
    try:
        (folder / NAME).write_text(json.dumps(asdict(found)), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{folder / NAME} cannot be written.",
            f"{error.strerror}.",
            "See who may write there, and whether the disk is full.",
        ) from error


def read(folder: Path) -> About:
    """What was written; nothing where nothing was, or what is there is no such file."""
    try:
        with open(folder / NAME, encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            return About()
        return _about(json.loads(text))
    except UNREADABLE:
        return About()


def _about(found: Mapping[str, Any]) -> About:
    """The value that JSON has, in words that command no screen; one of UNREADABLE where it is
    none.
    """
    told = found["explained"]
    budget = found["budget"]
    sections = tuple(
        Section(
            printable(str(one["title"])),
            printable(str(one["text"])),
            _words(one["head"]),
            tuple(map(_words, one["rows"])),
        )
        for one in told["sections"]
    )
    for one in sections:
        if one.head and any(len(row) > len(one.head) for row in one.rows):
            raise ValueError(f"{one.title} has cells without a head")
    explained = Explanation(sections, _words(told["warnings"]), _words(told["stated"]))
    kept = None
    if budget is not None:
        kept = Budget(float(budget["epsilon"]), float(budget["delta"]))
    workers = int(found["workers"])
    if not 0 <= workers <= MOST_WORKERS:
        raise ValueError(f"{workers} processes train nothing")
    return About(explained, kept, workers)


def _words(found: Sequence[Any]) -> tuple[str, ...]:
    """Texts of a list."""
    return tuple(printable(str(one)) for one in found)
