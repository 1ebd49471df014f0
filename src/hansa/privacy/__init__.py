"""Privacy: what a plan will give away about a client, what a run has given away, and when it has to
end.
"""

from __future__ import annotations

from collections.abc import Mapping

from .advice import advice, advice_of_examples
from .ledger import Guarantee, Ledger
from .planned import examples, planned_privacy, stated_by, unstated
from .spent import Happened, add_round, spent_privacy, stop_at_budget, trainings

__all__ = [
    "EXAMPLES",
    "SPENT",
    "Happened",
    "add_round",
    "advice",
    "advice_of_examples",
    "examples",
    "planned_privacy",
    "spent_privacy",
    "stated_by",
    "stop_at_budget",
    "told",
    "trainings",
    "understates",
    "unstated",
]

# what ε of a client is called among the metrics of a round; its δ follows
SPENT = "epsilon at delta "
EXAMPLES = "epsilon of an example at delta "  # and that of an example


def told(guarantee: Guarantee) -> dict[str, float]:
    """ε as a metric, named after its unit and its δ; nothing where there is none."""
    name = SPENT if guarantee.unit == "client" else EXAMPLES
    return {} if guarantee.epsilon is None else {f"{name}{guarantee.delta:.2g}": guarantee.epsilon}


def understates(ledger: Ledger, metrics: Mapping[str, float]) -> bool:
    """Did these metrics tell of a larger ε, by more than the two digits of their δ, than the ledger
    knows?
    """
    for name, epsilon in metrics.items():
        if name.startswith(SPENT):
            found = ledger.epsilon(float(name.removeprefix(SPENT)))
            if found is None or found < 0.99 * epsilon:
                return True
    return False
