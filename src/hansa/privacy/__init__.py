"""Privacy: what a plan will give away about a client, what a run has given away, and when it has to
end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from operator import gt
from typing import Any

from ..errors import AppError, PlanError
from ..known import own
from ..plan import Plan
from ..rounds import Round, Spent, Unit
from ..state import FAILED, State
from ..training import Training
from ..transforms.correlated import CorrelatedNoise
from ..transforms.scale import AdaptiveClip, Clip
from .calibrate import calibrate
from .ledger import Budget, Ledger, default_delta
from .mechanisms import Participation, Release


def planned_privacy(plan: Plan, population: int | None = None, rounds: int | None = None) -> Ledger:
    """What the plan's rounds give away about a client that is in all of them, among `population`
    clients.
    """
    ledger = Ledger(why=_unknown(plan, population))
    rounds = plan.rounds if rounds is None else rounds
    if ledger.why or not rounds:
        return ledger
    if noise := _correlated(plan):
        return ledger.plus(_taken(noise, plan, *range(0, rounds, _apart(plan, population))))
    return ledger.plus(_release(plan, population), rounds)


def unstated(plan: Plan, unit: Unit = "client") -> str:
    """Why nobody knows what the plan gives away, if so: ε rests on a piece that is not hansa's own.

    What stands before a clip is believed, for the clip bounds whatever comes; as long as it leaves
    the facts alone that noise is sized by. What stands behind it may lengthen a vector, and what a
    server's piece does there nobody knows. ε of an example rests on what trains, and on nothing
    that sees but the trained model.
    """
    pieces = _trained(plan) if unit == "example" else _summed(plan)
    strange = next((piece for piece in pieces if not own(piece)), None)
    if strange is not None:
        return f"nobody has stated what {type(strange).__name__} gives away"
    nameless = unit == "client" and plan.sum_spec.noise.kind == "unknown"
    return "nobody has stated what its noise gives away" if nameless else ""


def _trained(plan: Plan) -> Iterator[Any]:
    yield from (
        plan,
        plan.algorithm,
        plan.model,
        plan.training,
        *filter(None, [plan.training.private]),
    )


def _summed(plan: Plan) -> Iterator[Any]:
    yield from (plan, plan.sample, plan.aggregator)
    clips = [i for i, step in enumerate(plan.pipe) if type(step) in (Clip, AdaptiveClip)]
    last = max(clips, default=0)
    specs = plan.pipeline.specs
    for step, before in zip(plan.pipe[:last], specs, strict=False):
        if not own(step) and (
            step.plan(before) != before or before.sum_facts.rounds != plan.rounds
        ):
            yield step
    yield from plan.pipe[last:]
    if not clips or specs[last].counts:  # nothing cuts what they say to what they declare
        yield from (plan.algorithm, plan.model, *getattr(plan.model, "questions", {}).values())


def examples(plan: Plan, n: int, rounds: int | None = None) -> Ledger:
    """What the plan's rounds, or so many, give away about one of the n examples of a client that
    trains in each once.

    It counts the noise of Training(private=PerExample(…)), which the client draws itself: every
    step of every training is one release, with each example in it with probability b/n. What the
    server's noise and its sample of clients add to the protection is not counted.
    """
    ledger = Ledger(unit="example")
    training = plan.training
    if training.private is None:
        return ledger.without("local training adds no noise")
    if why := unstated(plan, "example"):
        return ledger.without(why)
    if n < 1:
        return ledger.without("how many examples the client has is not known")
    (b, steps), times = training.schedule(n), plan.rounds if rounds is None else rounds
    return (
        ledger.plus(Release(training.private.noise, "poisson", b / n), steps * times)
        if times
        else ledger
    )


def trainings(who: str, rounds: Iterable[Round]) -> int:
    """In how many of these rounds a client was asked, and may have trained; also those that changed
    nothing.

    A round whose history does not hold who took part counts.
    """
    return sum(_asked(who, happened) for happened in rounds)


def _asked(who: str, happened: Round) -> bool:
    return who in happened.asked or (happened.hidden and not happened.asked)


def spent_privacy(plan: Plan, rounds: Iterable[Round], population: int | None = None) -> Ledger:
    """What these rounds of the plan have given away about the client that they have told most
    of.
    """
    ledger = Ledger(why=_unknown(plan, population))
    for happened in rounds:
        ledger = add_round(ledger, plan, happened, population)
    return ledger


def add_round(ledger: Ledger, plan: Plan, happened: Round, population: int | None = None) -> Ledger:
    """The ledger after one more round, also one that changed nothing: whoever sees its sum may have
    learnt from it.

    Secret sampling protects all clients alike. Without it a round counts for those who were asked.
    Noise by all is z·√(n / least) for the n that took part; of noise in whole numbers what is
    beyond `least` is not counted.
    """
    if ledger.why:
        return ledger
    if happened.named:
        ledger = replace(ledger, named=True)
    if correlated := _correlated(plan):
        return ledger.plus(_taken(correlated, plan, happened.round - 1), who=happened.asked)
    release = _release(plan, population)
    if release.relation != "all" or happened.hidden:
        return ledger.plus(release)
    n = len(set(happened.participants)) or sum(why == FAILED for why in happened.excluded.values())
    noise = plan.sum_spec.noise
    if noise.kind == "laplace" and noise.by == "all" and 0 < n < noise.least:
        return ledger.without(
            f"in a round {n} clients drew Laplace noise, and less than {noise.least} make it whole"
        )
    return ledger.plus(_release(plan, population, n) if n else release, who=happened.asked)


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

        for state in within(synchronous(plan, runtime), plan, Budget(4.0, 1e-6), len(clients)): …

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
        alone = (
            "One round alone"
            if before == Ledger()
            else "One round, after what was asked before it,"
        )
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


def advice(
    epsilon: float,
    delta: float | None,
    rounds: int,
    clients: tuple[int, int],
    uniform: bool = False,
) -> str:
    """In words, how much noise keeps so many rounds within ε at δ; `clients` are those in all, and
    in a round.
    """
    population, cohort = clients
    if cohort > population:
        raise AppError(
            f"A cohort of {cohort} cannot be drawn from {population} clients.",
            "A client is in a round once.",
            f"Write --cohort {population} or fewer.",
        )
    budget = Budget(epsilon, default_delta(population) if delta is None else delta)
    sample = "Everyone()"
    release = Release(1.0)
    if cohort < population and uniform:
        sample = f"Uniform({cohort})"
        release = Release(1.0, "uniform", cohort, population)
    elif cohort < population:
        sample = f"Poisson({cohort / population:.6g})"
        release = Release(1.0, "poisson", cohort / population)
    z = calibrate(budget, release, rounds)
    found = Ledger().plus(replace(release, noise=z), rounds).guarantee(budget.delta)
    return (
        f"GaussianNoise({z:g}) with sample={sample}: {found} after {rounds} rounds. A mean over "
        f"{cohort} clients then "
        f"carries noise of {z / cohort:.3g} times what one client can change in the sum."
    )


def advice_of_examples(
    epsilon: float, delta: float | None, rounds: int, n: int, training: Training
) -> str:
    """In words, how much noise in local training keeps so many rounds within ε at δ, for each of n
    examples.
    """
    b, steps = training.schedule(n)
    budget = Budget(epsilon, default_delta(n) if delta is None else delta)
    release = Release(1.0, "poisson", b / n)
    z = calibrate(budget, release, rounds * steps)
    found = (
        Ledger(unit="example")
        .plus(replace(release, noise=z), rounds * steps)
        .guarantee(budget.delta)
    )
    return (
        f"PerExample(clip, {z:g}) in a client of {n} examples: {found} after {rounds} rounds of "
        f"{steps} steps each, on "
        f"batches of {b} on average. The mean gradient of a step then carries noise of {z / b:.3g} "
        "times the clip."
    )


def _release(plan: Plan, population: int | None, n: int | None = None) -> Release:
    """One round of the plan, with `n` clients in it, or as few as it allows.

    Noise by clients is there because the server is not trusted, and the server samples.
    """
    noise = plan.sum_spec.noise
    sample = plan.sample
    n = (noise.least if n is None else n) if noise.by == "all" else noise.least
    assert noise.kind != "unknown"  # _unknown says so otherwise
    if noise.kind == "laplace":
        return Release(noise.multiplier, kind="laplace")
    if noise.kind != "gaussian":
        draws = min(n, noise.least)
        parts = tuple((size, bound, sigma / noise.least**0.5) for size, bound, sigma in noise.parts)
        return Release(
            noise.multiplier * (draws / noise.least) ** 0.5,
            kind=noise.kind,
            parts=parts,
            draws=draws,
        )
    if sample.by == "poisson" and noise.share:
        return Release(noise.multiplier, "poisson", sample.size)
    if sample.by != "uniform" or not plan.encoded_spec.hidden:
        return Release(noise.multiplier * (n / noise.least) ** 0.5)
    assert population is not None  # _unknown says so otherwise
    return Release(noise.multiplier, "uniform", min(sample.size, population), population)


def _next(ledger: Ledger, plan: Plan, budget: Budget, done: int, population: int | None) -> Ledger:
    """The ledger after one more round, for all who may be in it."""
    if (noise := _correlated(plan)) and done < plan.rounds:
        latest = done - _apart(plan, population)
        last = {
            who: max((r for one in own if one.rounds for r in one.rounds.taken), default=-math.inf)
            for who, own in ledger.clients.items()
        }
        may = [who for who, r in last.items() if r <= latest]
        return ledger.plus(_taken(noise, plan, done), who=[*may, "somebody new"])
    return (
        ledger
        if noise
        else Ledger(ledger.worst(budget.delta), why=ledger.why).plus(_release(plan, population))
    )


def _correlated(plan: Plan) -> CorrelatedNoise | None:
    """The noise that is one release over all rounds, where the plan has such."""
    return next((step for step in plan.pipe if isinstance(step, CorrelatedNoise)), None)


def _apart(plan: Plan, population: int | None) -> int:
    """How many rounds lie between a client's parts, at least."""
    return (
        max(population // int(plan.sample.size), 1)
        if plan.sample.by == "turns" and population
        else 1
    )


def _taken(noise: CorrelatedNoise, plan: Plan, *rounds: int) -> Release:
    """A client's part in these rounds (0 for the first) of that one release."""
    taken = Participation(noise.matrix(plan.rounds), rounds)
    return Release(noise.whole(plan.rounds), kind="correlated", rounds=taken)


def _unknown(plan: Plan, population: int | None) -> str:
    """Why nothing bounds what a round of the plan gives away, if so."""
    encoded = plan.sum_spec
    if not encoded.noise.multiplier:
        return "the plan adds no noise"
    if why := unstated(plan):
        return why
    if encoded.unbounded:
        return f"nothing bounds {', '.join(encoded.unbounded)}"
    if encoded.noise.kind in ("skellam", "discrete gaussian"):
        bounds = [
            encoded.bounds[name] / encoded.noise.step.get(name, math.inf) for name in encoded.blocks
        ]
        sized = [bound * (1 + 1e-9) for _, bound, _ in encoded.noise.parts]
        if len(sized) != len(bounds) or any(map(gt, bounds, sized)):
            return "a transform after the noise lets a client change more than it is sized for"
        return ""
    if encoded.noise.by == "all" and encoded.space == "integer":
        return (
            "each client rounds its share of the noise, for which no bound is known; SkellamNoise "
            "has one"
        )
    if plan.sample.by == "uniform" and encoded.hidden and population is None:
        return "how many clients the cohorts are drawn from is not known"
    return ""
