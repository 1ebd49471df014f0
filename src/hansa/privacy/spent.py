"""What rounds have given away about a client, and when a run has to end.

The ledger is filled from the history of a run (`hansa.rounds`), round by round, so that a resumed
run, a report and a budget find the same ε. A round counts as soon as its clients were asked: also
when it failed, and changed nothing. Whoever was not asked has lost nothing by it, as long as who
was asked is no secret.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..errors import PlanError
from ..plan import Plan
from ..rounds import Round, Spent, Unit
from ..state import FAILED, State
from ..transforms.correlated import Participation
from .ledger import Budget, Ledger
from .mechanisms import Release
from .planned import amplified, apart, begun, mechanism, planned_privacy, release


def trainings(who: str, rounds: Iterable[Round]) -> int:
    """In how many of these rounds a client was asked, and may have trained; also those that changed
    nothing.

    A round whose history does not hold who took part counts.
    """
    return sum(_asked(who, happened) for happened in rounds)


def _asked(who: str, happened: Round) -> bool:
    """May this client have been asked in the round?"""
    return who in happened.asked or (happened.hidden and not happened.asked)


def spent_privacy(plan: Plan, rounds: Iterable[Round], population: int | None = None) -> Ledger:
    """What these rounds of the plan have given away about the client that they have told most
    of.
    """
    ledger = begun(plan, population)
    for happened in rounds:
        ledger = add_round(ledger, plan, happened, population)
    return ledger


def add_round(ledger: Ledger, plan: Plan, happened: Round, population: int | None = None) -> Ledger:
    """The ledger after one more round, also one that changed nothing: whoever sees its sum may have
    learnt from it.

    Secret sampling protects all clients alike. Without it a round counts for those who were asked.
    Noise by all is that of the n that took part, as its class states it.
    """
    if ledger.why:
        return ledger
    if happened.named:
        ledger = replace(ledger, named=True)
    planned = release(plan, population)
    if isinstance(planned.mechanism, Participation):
        taken = planned.mechanism.during(happened.round - 1)
        return ledger.plus(Release(taken), who=happened.asked)
    if planned.relation != "all" or happened.hidden:
        return ledger.plus(planned)
    n = len(set(happened.participants)) or sum(why == FAILED for why in happened.excluded.values())
    if not n:
        return ledger.plus(planned, who=happened.asked)
    drawn = mechanism(plan, n)
    if drawn is None:
        return ledger.without(
            f"in a round {n} clients drew noise, and less than {plan.sum_spec.noise.least} make it "
            "whole"
        )
    return ledger.plus(amplified(plan, drawn, population), who=happened.asked)


def understates(ledger: Ledger, spent: Mapping[Unit, Spent]) -> bool:
    """Was more given away about each client than the ledger knows?

    An accountant of another version may differ by one in a hundred.
    """
    if "client" not in spent:
        return False
    epsilon, delta = spent["client"]
    found = ledger.epsilon(delta)
    return found is None or found < 0.99 * epsilon


def stop_at_budget(
    states: Iterator[State],
    plan: Plan,
    budget: Budget,
    population: int | None = None,
    past: Iterable[Round] = (),
    before: Ledger | None = None,
) -> Iterator[State]:
    """The states of a loop, as long as the next round cannot pass the budget; a round that could is
    never begun.

        states = synchronous(plan, runtime)
        for state in stop_at_budget(states, plan, Budget(4.0, 1e-6), len(clients)): …

    `past` are the rounds before, and `before` is what was given away beside them, as by a survey. A
    round that fewer joined than its noise by all needs counts with the noise it had. PlanError
    where nothing bounds what a round gives away.
    """
    past = list(past)
    before = before or Ledger()
    done = max((happened.round for happened in past), default=0)
    ledger = before.merge(spent_privacy(plan, past, population))
    if why := ledger.why or planned_privacy(plan, population).guarantee(budget.delta).why:
        raise PlanError(
            f"A budget of ε = {budget.epsilon:g} cannot be kept.",
            f"There is no ε for this plan: {why}.",
            "Mend that, or leave the budget out.",
        )
    if not budget.allows(first := _next(before, plan, budget, done, population)):
        alone = "One round alone"
        if before != Ledger():
            alone = "One round, after what was asked before it,"
        raise PlanError(
            f"Not one round fits into a budget of ε = {budget.epsilon:g}.",
            f"{alone} gives {first.guarantee(budget.delta)}.",
            "Add noise (`hansa calibrate` says how much), or allow a larger ε.",
        )
    while budget.allows(_next(ledger, plan, budget, done, population)):
        state = next(states, None)
        if state is None:
            return
        ledger = add_round(ledger, plan, state, population)
        done = state.round
        yield state


def _next(ledger: Ledger, plan: Plan, budget: Budget, done: int, population: int | None) -> Ledger:
    """The ledger after one more round, for all who may be in it.

    done: rounds that are over. Of noise that hangs together over rounds, those may be in it whose
    last part lies far enough back, and one client that has been in none.
    """
    if ledger.why:
        return ledger
    planned = release(plan, population)
    if not isinstance(planned.mechanism, Participation):
        return Ledger(ledger.worst(budget.delta)).plus(planned)
    if done >= plan.rounds:
        return ledger
    last = {who: max(map(_last, own), default=-math.inf) for who, own in ledger.clients.items()}
    latest = done - apart(plan, population)
    may = [who for who, r in last.items() if r <= latest]
    return ledger.plus(Release(planned.mechanism.during(done)), who=[*may, "somebody new"])


def _last(one: Release) -> float:
    """The last round of a part in a release over many rounds."""
    if not isinstance(one.mechanism, Participation):
        return -math.inf
    return max(one.mechanism.taken, default=-math.inf)
