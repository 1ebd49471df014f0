"""What an app tells of ε: of its survey, of rounds before, and of single examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .. import privacy
from ..errors import AppError
from ..plan import Plan
from ..privacy import planned_privacy, spent_privacy, understates
from ..privacy.ledger import Budget, Guarantee, Ledger, default_delta
from ..rounds import Round, Spent, Unit
from ..state import State


def said(first: Plan | None, state: State | None, clients: int | None) -> Ledger:
    """What the survey has given away about each client; without a state, what it will.

    first: the survey, if there is one. clients: how many there are, where that is known.
    """
    if first is None:
        return Ledger()
    if state is None:
        return planned_privacy(first, clients)
    return spent_privacy(first, [state], clients)


def unknown_past(
    past: Sequence[Round], state: State | None, ledger: Ledger, budget: Budget | None
) -> str:
    """Why the rounds before are not what the ledger says, if so; AppError where a budget rests on
    it.

    past: the rounds that a run holds. state: that from which it goes on. ledger: what they gave
    away by the plan of now.
    """
    why = ""
    if state is not None and state.round > len(past):
        why = "the rounds before the first are not known"
    if past and understates(ledger, past[-1].spent):
        why = (
            "the rounds before were told to have given away more: they had another plan, or other "
            "clients"
        )
    if why and budget:
        raise AppError(
            f"A budget of ε = {budget.epsilon:g} cannot be kept in the rounds that are left.",
            f"{why[0].upper()}{why[1:]}.",
            "Resume the run that holds them with the app that it began with, or leave the budget "
            "out.",
        )
    return why


def hides_examples(plan: Plan) -> bool:
    """Are single examples hidden, and may it be told how many a client has? Noise that hides
    clients hides that too.
    """
    return bool(plan.training.private) and not plan.sum_spec.noise.multiplier


def of_examples(
    plan: Plan, sizes: Mapping[str, int], asked: Mapping[str, int]
) -> dict[Unit, Spent]:
    """ε of the example that has been told most of; it tells how many examples a client has.

    sizes: how many each client has, {} where that is not to be told. asked: how often each client
    was.
    """
    if not sizes:
        return {}
    delta = default_delta(max(sizes.values()))
    clients = {(sizes[who], times) for who, times in asked.items()}
    found = [privacy.examples(plan, n, times).guarantee(delta) for n, times in clients]
    if not found:
        return {}
    return max(found, key=_loss).spent


def _loss(guarantee: Guarantee) -> float:
    """ε, or ∞ where there is none."""
    if guarantee.epsilon is None:
        return math.inf
    return guarantee.epsilon
