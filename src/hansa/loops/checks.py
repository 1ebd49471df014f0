"""What a loop refuses before its first round, and when it gives up."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import PlanError, RoundError
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
    """A plan that these clients can never fulfil fails before the first round."""
    sample = plan.sample
    fewer = f"{type(sample).__name__}({clients})"
    wrong = [
        (sample.most > clients, f"The plan samples {sample.most} of {clients} clients.", fewer),
        (
            sample.quorum > clients,
            f"The plan wants {sample.quorum} answers from {clients} clients.",
            "a lower quorum",
        ),
    ]
    for bad, found, instead in wrong:
        if bad:
            raise PlanError(
                found,
                "No round could ever be what the plan says.",
                f"Write {instead}, or bring clients.",
            )
    if why := plan.aggregator.shortfall(clients):
        raise PlanError(
            f"{plan.aggregator!r} has {clients} clients.",
            why,
            "Bring clients, or expect fewer attackers.",
        )


def check_mistakes(asked: int, excluded: Mapping[str, str]) -> None:
    """When nobody took part and not by the network's fault, the next round will be no better:
    stop.
    """
    mistakes = {who: why for who, why in excluded.items() if why not in FAULTS}
    if mistakes and len(mistakes) == asked:
        raise RoundError(
            f"None of the {asked} clients asked could take part.", _named(mistakes), LOOK
        )


def _named(excluded: Mapping[str, str]) -> str:
    """Who was lost and of what kind the reason is; of many, the first."""
    some = [f"{who} ({why})" for who, why in excluded.items()]
    return (
        f"{', '.join(some[:SHOWN])}{f' and {len(some) - SHOWN} more' if len(some) > SHOWN else ''}."
    )
