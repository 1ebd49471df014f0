"""Who gets to see what.

A table of parties: the server, its helpers, the clients, who reads the model; beside each what it
sees of clients' vectors, and the assumption that this rests on (a threat model). hansa states it of
its own aggregators. A stranger's words are told as its own, and where nobody has stated anything
the table has all that could be (`hansa.aggregators.revealed`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..aggregators import Aggregator, revealed
from ..aggregators.arrivals import arriving
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


AT_GATEWAY = (  # what it sees, and what that rests on
    "all that the server sees, and single vectors before they are added up",
    "that whoever runs it is trusted as the server is: what the parties that attend there have not "
    "signed, it can replace or make up",
)


WORDS = {  # who has stated what the table says
    "hansa": "",
    # P94
    "stranger": " It is not hansa's own: the table is what it says of itself.",
    # P161
    "nobody": " Nobody has stated what it reveals, so the table has all that it could.",
}


def sight(plan: Plan, population: int | None = None) -> Section:
    """Each party, what it sees, and what this rests on; with who is in a sample, where ε rests on
    that being secret.

    population: of how many clients it is told in numbers, where the sample does not say how many
    are asked.
    """
    text = f"The aggregator is {plan.aggregator!r}.{WORDS[revealed(plan.aggregator).by]}"
    if asked := plan.sample.most or population or arriving(plan.aggregator):
        text = f"{text} {plan.aggregator.in_numbers(plan.encoded_spec, asked)}".rstrip()
    hidden = HIDDEN if plan.encoded_spec.hidden else ()
    rows = (*visible(plan.aggregator), *hidden)
    return Section("Who sees what", text, ("who", "sees", "what this rests on"), rows)


def before_server(gateways: Sequence[str]) -> tuple[Section, ...]:
    """What gateways see that stand before the server; no section where there are none.

    gateways: their names, as a roster has them, which is no part of a plan.
    """
    text = (
        "A party may attend at one of these instead of at the server. They are on the roster that "
        "is here; a later one may have others."
    )
    rows = tuple((f"gateway {who}", *AT_GATEWAY) for who in gateways)
    if not rows:
        return ()
    return (Section("Gateways", text, ("who", "sees", "what this rests on"), rows),)


def visible(aggregator: Aggregator) -> tuple[tuple[str, str, str], ...]:
    """Who sees what, as rows of (who, sees, rests on), in an aggregator's own words; where nobody
    has stated it, all that it could be.
    """
    found = revealed(aggregator)
    if found.by == "nobody":
        return found.visibility(aggregator.parties)
    return tuple(aggregator.visibility())
