"""Who is asked, for how long, and what else happens in a round."""

from __future__ import annotations

import math

from ..plan import Plan
from .vector import meaning
from .words import Section, count, whose


def rounds(plan: Plan) -> Section:
    """The sample, its quorum and deadline, what is reported, and the seed."""
    sample = plan.sample
    reported = ", ".join(f"{name} ({meaning(name)})" for name in plan.reported) or "nothing"
    # P50
    deadline = (
        "none"
        if math.isinf(sample.deadline)
        else f"{sample.deadline:g} seconds; who is later is left out"
    )
    rows = (
        ("rounds", f"{plan.rounds}"),
        ("who is asked", sample.describe() + whose(sample)),
        # P50
        (
            "who must answer",
            f"{count(sample.quorum, 'client', 'clients')}; with fewer the model stays as it was",
        ),
        ("deadline", deadline),
        ("reported beside the update", reported),
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
    return Section("Rounds", text, ("", ""), rows)
