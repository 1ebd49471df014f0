"""A statement: all that an app asks of one client, for whoever answers for its data.

    explained   the sections of the plan's explanation, in the order in which they are read
    owner       what the client's owner allows, and what all of its runs have given away
    digest      SHA-256 of all of it, for who signs it

It is a value of words and numbers, without the app: a page, a PDF, a terminal and a program show
the same. Equal ones have equal digests, so two people that explain one app see that they read the
same; no date is in it, and no path.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import __version__, notebook
from ..errors import printable
from ..privacy.ledger import Guarantee, proviso
from . import Explanation
from .kept import KEPT
from .owner import Owner
from .words import Section

FORMAT = 1  # of the table that `table` makes; a later one has another number
ORDER = (  # by the beginnings of their titles; what is not here comes after
    "What cannot be known yet",
    "What is learnt",
    "What a client sends",
    "Who sees what",
    "The graph of peers",
    "Gateways",
    KEPT,
    "What is asked before",
    "Differential privacy",
    "What its owner allows",
    "Runs on this client",
    "Rounds",
)


@dataclass(frozen=True)
class Statement:
    """What an app asks of one client, or of any.

    client: its name; "" for any. app: the name of its file. sha256: of its bundle, which is what an
    owner approves; "" where it cannot be packed. plan, survey: their fingerprints; "" where there
    is none, or it hangs on what the survey finds. promise: ε of one run.
    """

    explained: Explanation
    app: str = ""
    client: str = ""
    sha256: str = ""
    plan: str = ""
    survey: str = ""
    promise: Mapping[str, Any] = field(default_factory=dict)
    owner: Owner = Owner()

    @property
    def sections(self) -> tuple[Section, ...]:
        """Those of the explanation and of the owner, as they are read: what leaves and who sees it
        first, how a vector is made last.
        """
        found = [*self.explained.sections, *self.owner.sections]
        return tuple(sorted(found, key=lambda one: _place(one.title)))

    @property
    def shown(self) -> Explanation:
        """All sections and warnings, for a page or a terminal: without what would command it."""
        sections = tuple(_printable(one) for one in self.sections)
        return Explanation(sections, tuple(map(printable, self.explained.warnings)))

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What stands at the top: (what it is, in words)."""
        return (
            ("client", self.client or "any"),
            ("app", self.app),
            # P697
            ("SHA-256 of the app", self.sha256 or "not known: the app cannot be packed"),
            ("fingerprint of the plan", self.plan or "not known before the survey has its answers"),
            ("fingerprint of the survey", self.survey or "no survey is asked"),
            ("ε of one run", epsilon_in_words(self.promise)),
            ("its owner's policy", self.owner.verdict),
            ("hansa", __version__),
        )

    @property
    def table(self) -> dict[str, Any]:
        """All of it as JSON can hold it: `docs/how-to/answer-for-data.md` says what each is."""
        sections = [{**asdict(one), "rows": list(map(list, one.rows))} for one in self.sections]
        for one in sections:
            one["head"] = list(one["head"])
        return {
            "format": FORMAT,
            "hansa": __version__,
            "client": self.client or None,
            "app": {"name": self.app, "sha256": self.sha256 or None},
            "plan": self.plan or None,
            "survey": self.survey or None,
            "privacy": dict(self.promise),
            "policy": self.owner.policy_table,
            "runs": self.owner.runs_table,
            "sections": sections,
            "warnings": list(self.explained.warnings),
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the facts, then all sections and warnings."""
        return notebook.table(self.facts) + self.shown._repr_html_()

    def json(self) -> str:
        """The table as text, which ends with a line feed.

        Entries are in the order of the table, so that equal statements are equal bytes.
        """
        return json.dumps(self.table, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of `json()` in UTF-8: of the file that `hansa explain --json` writes."""
        return hashlib.sha256(self.json().encode()).hexdigest()

    def with_owner(self, owner: Owner) -> Statement:
        """The same of this owner's client."""
        return replace(self, owner=owner)


def promise_table(found: Guarantee, after: int | None) -> dict[str, Any]:
    """A promise as a table: ε at δ after so many rounds, or why there is none."""
    known = found.epsilon is not None and math.isfinite(found.epsilon)
    return {
        "unit": found.unit,
        "epsilon": found.epsilon if known else None,
        "delta": found.delta,
        "rounds": after,
        "why": found.why or None,
        "named": found.named,
        "stated": list(found.stated),
    }


def epsilon_in_words(promise: Mapping[str, Any]) -> str:
    """ε of a table with what is to be said beside it, or that there is none and why."""
    if promise.get("epsilon") is None:
        whose = {"client": " for a client", "example": " for an example"}
        why = promise.get("why") or "nobody knows it"
        return f"none{whose.get(promise.get('unit', ''), '')}: {why}"
    but = proviso(promise["named"], promise.get("stated", ()))
    at = f"{promise['epsilon']:.4g} at δ = {promise['delta']:.2g}"
    return f"{at} for each {promise['unit']}{but}"


def _printable(one: Section) -> Section:
    """A section whose words command nothing."""
    rows = tuple(tuple(map(printable, row)) for row in one.rows)
    head = tuple(map(printable, one.head))
    return Section(printable(one.title), printable(one.text), head, rows)


def _place(title: str) -> int:
    """Where a section is read; those that nobody has placed come last, as they were."""
    places = (i for i, begin in enumerate(ORDER) if title.startswith(begin))
    return next(places, len(ORDER))
