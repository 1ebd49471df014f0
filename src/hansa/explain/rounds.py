"""Who is asked, for how long, and what else happens in a round.

The last section of an explanation: what a client needs to know to be there when it is asked, and
the fingerprint by which it sees that server and clients mean one and the same plan. All of it is
read from the plan, and nothing from data.
"""

from __future__ import annotations

import math

from ..aggregators.arrivals import arriving
from ..plan import Plan
from ..plan.layout import reported
from ..sample import Sample
from .vector import meaning
from .words import Section, count, whose

ROUNDS = "Rounds"


def rounds(plan: Plan) -> Section:
    """The sample, its quorum and deadline, what is reported, and the seed."""
    sample = plan.sample
    said = ", ".join(f"{name} ({meaning(name)})" for name in reported(plan)) or "nothing"
    # P50
    quorum = f"{count(sample.quorum, 'client', 'clients')}; with fewer the model stays as it was"
    rows = (
        ("rounds", f"{plan.rounds}"),
        ("who is asked", _asked(plan)),
        ("who must answer", quorum),
        ("deadline", _deadline(sample)),
        ("reported beside the update", said),
        (
            "seed",
            f"{plan.seed}: first weights, shuffles and all else that is public; no noise grows "
            "from it",
        ),
    )
    # P3
    text = (
        f"The plan's fingerprint is {plan.digest}; server and clients compare it, and a client "
        "refuses another plan."
    )
    return Section(ROUNDS, text, ("", ""), rows)


def _asked(plan: Plan) -> str:
    """Whom a round asks; or whom it adds up, where these are asked as they are free."""
    if most := arriving(plan.aggregator):
        # P580
        return f"whoever is free; a round is of {most} clients that are ready"
    return plan.sample.describe() + whose(plan.sample)


def _deadline(sample: Sample) -> str:
    """How long a client has to answer, in seconds, and what becomes of one that is late."""
    if math.isinf(sample.deadline):
        return "none"
    # P50
    return f"{sample.deadline:g} seconds; who is later is left out"
