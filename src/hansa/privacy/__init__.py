"""Privacy: what a plan will give away about a client, what a run has given away, and when it has to
end.
"""

from __future__ import annotations

from .advice import advice, advice_of_examples
from .planned import examples, planned_privacy, stated_by, unstated
from .spent import add_round, spent_privacy, stop_at_budget, trainings, understates

__all__ = [
    "add_round",
    "advice",
    "advice_of_examples",
    "examples",
    "planned_privacy",
    "spent_privacy",
    "stated_by",
    "stop_at_budget",
    "trainings",
    "understates",
    "unstated",
]
