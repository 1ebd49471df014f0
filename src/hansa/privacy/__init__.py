"""Privacy: what a plan will give away about a client, what a run has given away, and when it has to
end.

mechanisms   Release: a sum with noise over a sampled cohort, and its Rényi divergence
ledger       Ledger: releases and how often, which add up to ε at δ; Budget
planned      the ledger of a plan, before it runs
spent        the ledger of rounds that are over, and the loop that ends within a budget
calibrate    the least noise for a budget
advice       the same in words, for the command line

The mathematics of adding up is dp-accounting's; what is counted, and for whom, is decided here.
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
