"""Who gets to see what."""

from __future__ import annotations

from ..known import own
from ..plan import Plan
from .words import Section

HIDDEN = (  # who is in a secret sample
    (
        "server",
        "who took part in a round, by name",
        "none: ε counts on the sample being a secret, and not from it",
    ),
    ("each client", "whether it was asked itself", "that clients do not tell each other"),
    (
        "who reads history, report or terminal",
        "neither who took part nor how many",
        "that the server keeps it secret",
    ),
)


def sight(plan: Plan) -> Section:
    """Each party, what it sees, and what this rests on."""
    text = f"The aggregator is {plan.aggregator!r}."
    if not own(plan.aggregator):
        text += " It is not hansa's own: the table is what it says of itself."
    rows = (
        (*plan.aggregator.visibility(), *HIDDEN)
        if plan.encoded_spec.hidden
        else tuple(plan.aggregator.visibility())
    )
    return Section("Who sees what", text, ("who", "sees", "what this rests on"), rows)
