"""Round: what is known of a round that is over, for all who store, show or count it.

The history of a run is a list of these: the store keeps it, report and terminal show it, and the
ledger counts ε from it. The model is not in it; `State` is a round with the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, NamedTuple

from .notebook import table

Unit = Literal["client", "example"]  # whom ε protects
TEST = "test_"  # before the name of a score on the test data
BEGUN = ("val_", "personal_")  # these score the models that a round begins with
# beside an ε, where `named` says so
NAMED = "not against who knows the secret that the simulation names: it takes the noise off again"


class Spent(NamedTuple):
    """ε at δ: what all rounds so far have given away about each client, or about each example."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class Round:
    """What is known of a round that is over, without the model.

    Whoever was asked is in `participants` or in `excluded`, and in one of them only.
    """

    round: int  # 1 for the first
    _: KW_ONLY
    metrics: Mapping[str, float] = field(default_factory=dict)  # means of what clients report
    scores: Mapping[str, float] = field(default_factory=dict)  # of its model, on the test data
    spent: Mapping[Unit, Spent] = field(default_factory=dict)  # by all rounds so far; where known
    participants: tuple[str, ...] = ()  # who is in the sum
    # who was asked and is not in it, or is out for the run → why, in no word of its own
    excluded: Mapping[str, str] = field(default_factory=dict)
    skipped: str = ""  # why the round changed nothing, if so
    seconds: float = math.nan  # since the commit before; NaN where no store has measured them
    named: bool = False  # did what hides grow from a secret that the simulation names?
    hidden: bool = False  # does ε rest on nobody but the server knowing who took part?

    @property
    def asked(self) -> set[str]:
        """Who was asked, as far as that is kept."""
        return {*self.participants, *self.excluded}

    @property
    def witnessed(self) -> dict[str, float]:
        """What clients report, and beside it the scores on the test data as test_…"""
        return {**self.metrics, **{f"{TEST}{name}": value for name, value in self.scores.items()}}

    def _repr_html_(self) -> str:
        """What a notebook shows: scores, ε, and who is in the sum, unless that is secret."""
        rows = [("round", f"{self.round}")]
        rows += [(name, f"{value:.4g}") for name, value in self.witnessed.items()]
        but = f" ({NAMED})" if self.named else ""
        for unit, one in self.spent.items():
            rows.append((f"ε of a {unit}", f"{one.epsilon:.4g} at δ = {one.delta:.2g}{but}"))
        if not self.hidden:
            rows.append(("in the sum", ", ".join(self.participants) or "nobody"))
            rows += [(f"{who} is not in it", why) for who, why in self.excluded.items()]
        if self.skipped:
            rows.append(("no step", self.skipped))
        return table(rows)

    @property
    def row(self) -> dict[str, float | str]:
        """One flat row of a table: `pandas.DataFrame([one.row for one in run.history()])`.

        Beside what is witnessed: how many are in the sum and how many are not, unless that is
        secret; ε and δ as epsilon_client and so on, where they are known, and beside them `named`:
        then ε does not hold against who knows the secret that the simulation names.
        """
        spent = dict[str, float]()
        for unit, one in self.spent.items():
            spent |= {f"epsilon_{unit}": one.epsilon, f"delta_{unit}": one.delta}
        if spent:
            spent["named"] = self.named
        told = dict[str, float]()
        if not self.hidden:
            told = {"participants": len(self.participants), "excluded": len(self.excluded)}
        begun = {"round": self.round, "seconds": self.seconds}
        return {**begun, **told, **self.witnessed, **spent, "skipped": self.skipped}
