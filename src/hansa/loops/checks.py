"""What a loop refuses before its first round, and when it gives up."""

from __future__ import annotations

from collections.abc import Mapping

from ..aggregators.arrivals import arriving
from ..aggregators.mixing import PeerRule
from ..errors import Fault, PlanError, RoundError, refuse
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
    _check_server(plan)
    sample = plan.sample
    fewer = f"{type(sample).__name__}({clients})"
    never = "No round could ever be what the plan says."
    short = plan.aggregator.shortfall(clients)
    room = plan.encoded_spec.sum_facts.clients
    least = 1
    added = 0
    if sample.expected(clients) == clients:
        added = plan.aggregator.added(clients)
        least = plan.aggregator.min_clients(clients)
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
            sample.quorum < least,
            f"{plan.aggregator!r} asks {clients} clients, and a round may end with "
            f"{sample.quorum}.",
            f"Of {clients} it needs {least}.",
            f"Write quorum={least} in the sample, or more.",
        ),
        (
            0 < room < added,
            f"{clients} clients are asked, and a sum has room for {room}.",
            never,
            f"Write clients={added} in Quantize, or sample fewer.",
        ),
        (
            bool(short),
            f"{plan.aggregator!r} has {clients} clients.",
            short,
            "Bring clients, or expect fewer attackers.",
        ),
    ]
    refuse([_serverless(plan), *wrong])


def _serverless(plan: Plan) -> Fault:
    """Is this what peers do among themselves? Then no server adds anything up."""
    return (
        isinstance(plan.aggregator, PeerRule),
        f"{plan.aggregator!r} has no server.",
        "It says how peers mix what they hear from their neighbours.",
        "Use `gossip`, or take Sum().",
    )


def check_in_step(plan: Plan) -> None:
    """PlanError where the plan adds up those who are ready, in rounds in step."""
    if arriving(plan.aggregator):
        raise PlanError(
            f"`synchronous` cannot run {plan.aggregator!r}.",
            "It asks a cohort that the plan draws, and all of it train in step.",
            "Use `buffered`; or take the hidden sum itself.",
        )


def _check_server(plan: Plan) -> None:
    """PlanError for a plan whose aggregator has no server's side."""
    if isinstance(plan.aggregator, PeerRule):
        raise PlanError(
            f"{plan.aggregator!r} has no server.",
            "It says how peers mix what they hear from their neighbours.",
            "Use `gossip`, or take Sum().",
        )


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
