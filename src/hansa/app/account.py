"""What a run of an app has given away so far, round by round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from ..data import Examples
from ..parties.population import Population
from ..privacy import add_round, spent_privacy
from ..rounds import Round, Spent, Unit
from ..state import State
from .checks import strange
from .epsilon import hides_examples, of_examples, said, unknown_past
from .federation import Federation


class Account:
    """ε of a run: its survey, the rounds before, and each that is added.

    past: the rounds that the run holds. state: that from which it goes on, if any. AppError where a
    budget rests on rounds that are not known.
    """

    def __init__(self, app: Federation, past: Sequence[Round], state: State | None):
        plan = app.known_plan
        self._app = app
        self._clients = len(app.data)
        self.before = said(app.first, app.answer, self._clients)
        ledger = self.before.merge(spent_privacy(plan, past, self._clients))
        reasons = []
        if why := strange(app.loop):
            reasons.append(why)
            ledger = ledger.without(why)
        if why := unknown_past(past, state, ledger, app.budget):
            reasons.append(why)
            ledger = ledger.without(why)
        self._unknown = bool(reasons)
        self._ledger = ledger
        self._asked = Counter(who for one in past for who in one.asked)

    def add(self, happened: State) -> dict[Unit, Spent]:
        """One more round: ε and δ by now, for a client and, where that may be told, an example."""
        plan = self._app.known_plan
        self._ledger = add_round(self._ledger, plan, happened, self._clients)
        self._asked.update(happened.asked)
        spent = self._ledger.guarantee(self._app.delta).spent
        return spent | of_examples(plan, self._sizes, self._asked)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """How many examples each client has, where ε of single ones is told: not beside a survey,
        of a population, or where it is not known what rounds give away.
        """
        app = self._app
        if self._unknown or app.first is not None or isinstance(app.data, Population):
            return {}
        if not hides_examples(app.known_plan):
            return {}
        return {who: len(Examples.of(data)) for who, data in app.sources.items()}
