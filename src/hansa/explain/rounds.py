"""Who is asked, for how long, and what else happens in a round.

The last section of an explanation: what a client needs to know to be there when it is asked, and
the fingerprint by which it sees that server and clients mean one and the same plan.
"""

from __future__ import annotations

import math

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
        ("who is asked", sample.describe() + whose(sample)),
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


def _deadline(sample: Sample) -> str:
    """How long a client has to answer, in seconds, and what becomes of one that is late."""
    if math.isinf(sample.deadline):
        return "none"
    # P50
    return f"{sample.deadline:g} seconds; who is later is left out"
