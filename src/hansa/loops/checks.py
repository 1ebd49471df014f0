"""What a loop refuses before its first round, and when it gives up."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import RoundError, refuse
from ..plan import Plan

SHOWN = 5  # clients that an error names
LOOK = (
    "Each has said why where its data is: on this terminal if that is here; `hansa check APP` says "
    "it again."
)
PATIENCE = 100  # requests for each client that a buffer may lose in a row
# what networks and machines do; every other reason is somebody's mistake
FAULTS = ("absent", "late", "restarted")


def check_roster(plan: Plan, clients: int) -> None:
    """PlanError where so many clients can never do what the plan says.

    They may be fewer than its sample takes or its quorum wants, or too few for what its aggregator
    promises against attackers.
    """
    sample = plan.sample
    fewer = f"{type(sample).__name__}({clients})"
    never = "No round could ever be what the plan says."
    short = plan.aggregator.shortfall(clients)
    wrong = [
        (
            sample.most > clients,
            f"The plan samples {sample.most} of {clients} clients.",
            never,
            f"Write {fewer}, or bring clients.",
        ),
        (
            sample.quorum > clients,
            f"The plan wants {sample.quorum} answers from {clients} clients.",
            never,
            "Write a lower quorum, or bring clients.",
        ),
        (
            bool(short),
            f"{plan.aggregator!r} has {clients} clients.",
            short,
            "Bring clients, or expect fewer attackers.",
        ),
    ]
    refuse(wrong)


def check_mistakes(asked: int, excluded: Mapping[str, str]) -> None:
    """RoundError where all who were asked made a mistake: the next round would be no better.

    A lost message, a late answer and a restart are no mistakes: those may go better next time.
    """
    mistakes = {who: why for who, why in excluded.items() if why not in FAULTS}
    if mistakes and len(mistakes) == asked:
        raise RoundError(
            f"None of the {asked} clients asked could take part.", _named(mistakes), LOOK
        )


def _named(excluded: Mapping[str, str]) -> str:
    """Who was lost and of what kind the reason is; of many, the first."""
    some = [f"{who} ({why})" for who, why in excluded.items()]
    first = ", ".join(some[:SHOWN])
    if len(some) > SHOWN:
        return f"{first} and {len(some) - SHOWN} more."
    return f"{first}."
