"""What a run of an app has given away so far: of its clients, and of their single examples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from ..data import Examples
from ..errors import AppError
from ..parties.population import Population
from ..privacy import add_round, examples, spent_privacy, understates
from ..privacy.ledger import Budget, Ledger, default_delta
from ..rounds import Round, Spent, Unit
from ..state import State
from .checks import strange
from .federation import Federation, delta_of
from .first import given_away


class Account:
    """ε of a run: of its survey, of the rounds before, and of each that is added.

    past: the rounds that the run holds. state: that from which it goes on, if any. AppError where a
    budget rests on rounds that are not known.
    """

    def __init__(self, app: Federation, past: Sequence[Round], state: State | None):
        plan = app.known_plan
        clients = len(app.data)
        self._app = app
        self._asked = Counter(who for one in past for who in one.asked)
        self.before = given_away(app.first, app.answer, clients)
        ledger = self.before.merge(spent_privacy(plan, past, clients))
        self._unknown = strange(app.loop) or unknown_past(past, state, ledger, app.budget)
        if self._unknown:
            ledger = ledger.without(self._unknown)
        self._ledger = ledger

    def add(self, happened: State) -> dict[Unit, Spent]:
        """One more round: ε and δ by now, for a client and, where that may be told, an example."""
        app = self._app
        self._ledger = add_round(self._ledger, app.known_plan, happened, len(app.data))
        self._asked.update(happened.asked)
        return self._ledger.guarantee(delta_of(app)).spent | self._of_examples()

    def _of_examples(self) -> dict[Unit, Spent]:
        """ε of the example that has been told most of; it tells how many examples a client has."""
        sizes = self._sizes
        if not sizes or not self._asked:
            return {}
        plan = self._app.known_plan
        delta = default_delta(max(sizes.values()))
        clients = {(sizes[who], times) for who, times in self._asked.items()}
        found = [examples(plan, n, times).guarantee(delta) for n, times in clients]
        return max(found, key=lambda one: math.inf if one.epsilon is None else one.epsilon).spent

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """How many examples each client has, where single ones are hidden and that may be told.

        It is not told beside a survey, of a population, or where it is not known what rounds give
        away; and noise that hides clients hides how many examples they have, too.
        """
        app = self._app
        plan = app.known_plan
        if self._unknown or app.first is not None or isinstance(app.data, Population):
            return {}
        if not plan.training.private or plan.sum_spec.noise.multiplier:
            return {}
        return {who: len(Examples.of(data)) for who, data in app.sources.items()}


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
