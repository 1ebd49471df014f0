"""What the owner of a client's data allows, and what all runs on it have given away.

A policy is told entry by entry, with whether the plan keeps to it. Runs are told one by one, with ε
of each and of all together; where nobody knows either of it, the reason stands in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..approval.policies import ABOUT
from ..parties.policy import ALL, Policy
from ..privacy.ledger import proviso
from .words import Section

ALLOWS = "What its owner allows"
RUNS = "Runs on this client's data"
NONE = "none: whatever a plan asks for is allowed"


@dataclass(frozen=True)
class PastRun:
    """A run that the client has taken part in, or may have.

    epsilon: what it has given away at δ; None where nobody knows, and `why`. went: how far it came,
    in words. named: did a simulation name what its noise grew from? stated: whose word ε rests on.
    """

    run: str
    plan: str = ""
    began: str = ""
    went: str = ""
    epsilon: float | None = None
    delta: float | None = None
    why: str = ""
    named: bool = False
    stated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Owner:
    """A client's owner: the policy, and whether a plan keeps to it; the runs, and ε of all.

    refusal: why the policy refuses the plan, if so. open: why that is not known, if so. runs: None
    where no book of them was given. total: ε of all of them. counted: which are counted, and how.
    others: how many there are beside them that are not counted.
    """

    policy: Policy = ALL
    refusal: str = ""
    open: str = ""
    runs: tuple[PastRun, ...] | None = None
    total: Mapping[str, Any] = field(default_factory=dict)
    counted: str = "No kit and no store was given, so what earlier runs have given away is unknown."
    others: int = 0

    @property
    def keeps(self) -> bool | None:
        """Does the plan keep to the policy? None where that is not known."""
        if self.open:
            return None
        return not self.refusal

    @property
    def verdict(self) -> str:
        """That in words."""
        if self.policy == ALL:
            return NONE
        if self.refusal:
            return f"refuses this plan: {self.refusal}"
        if self.open:
            return f"not known whether this plan keeps to it: {self.open}"
        return "this plan keeps to it"

    @property
    def sections(self) -> tuple[Section, ...]:
        """What is allowed, entry by entry, and the runs one by one, with ε of all of them."""
        allowed = [(ABOUT[name], _word(value)) for name, value in asdict(self.policy).items()]
        # P698
        text = f"The policy of the client's owner: {self.verdict}."
        if self.policy == ALL:
            text = (
                "The owner of this client has set no policy: whatever a plan asks for is allowed."
            )
            allowed = []
        head = ("run", "plan", "began", "how far", "gives away")
        rows = tuple(_row(one) for one in self.runs or ())
        first = Section(ALLOWS, text, ("", ""), tuple(allowed))
        if not rows:
            return first, Section(RUNS, f"{self.counted} {self._none}".rstrip())
        return first, Section(
            RUNS, f"{self.counted} All of them: {_gives(self.total)}.", head, rows
        )

    @property
    def _none(self) -> str:
        """That there are no runs, where a book of them was given and all of it was counted."""
        if self.runs is None or self.others:
            return ""
        return "There are none yet."

    @property
    def policy_table(self) -> dict[str, Any]:
        """The policy for JSON; a limit that bounds nothing is null."""
        allows = {name: _finite(value) for name, value in asdict(self.policy).items()}
        return {"allows": allows, "kept": self.keeps, "why": self.refusal or self.open or None}

    @property
    def runs_table(self) -> dict[str, Any]:
        """The runs for JSON; null where no book of them was given."""
        listed = None
        if self.runs is not None:
            listed = [asdict(one) for one in self.runs]
        return {
            "listed": listed,
            "all": dict(self.total),
            "counted": self.counted,
            "others": self.others,
        }


def _row(one: PastRun) -> tuple[str, ...]:
    """A run as a row of a table."""
    return one.run, one.plan, one.began, one.went, _gives(asdict(one))


def _gives(found: Mapping[str, Any]) -> str:
    """What is given away, with what is to be said beside it; or why nobody knows.

    found: of one run, or of all together: epsilon, delta, why, named and stated.
    """
    if found["epsilon"] is None or found["delta"] is None:
        return f"no ε: {found['why']}"
    but = proviso(found["named"], found["stated"])
    return f"ε = {found['epsilon']:.4g} at δ = {found['delta']:.2g}{but}"


def _word(value: Any) -> str:
    """What an entry of a policy says; what bounds nothing is no limit, and not a number."""
    if value is None:
        return "anything"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isinf(value):
        return "no limit"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _finite(value: Any) -> Any:
    """None for what bounds nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
