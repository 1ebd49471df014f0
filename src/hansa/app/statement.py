"""What an app asks of one client, or of any: the statement for whoever answers for its data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AppError, PolicyError
from ..explain import Explanation
from ..explain.kept import Keeping, kept
from ..explain.owner import Owner, PastRun
from ..explain.statement import Statement, promise_table
from ..explain.words import count
from ..loops.buffered import buffered
from ..parties.policy import ALL, Policy
from ..parties.population import Population
from ..plan import Plan
from ..privacy import planned_privacy, stated_by
from .checks import unwrapped
from .federation import Federation, delta_of
from .first import given_away
from .peers import graph_of

if TYPE_CHECKING:
    from ..store import Summary

STORED = (
    "Runs that are stored here of an app file of this name, or of this plan, whether the client "
    "was in their rounds or not. Their ε and δ are added up (basic composition), as if all were on "
    "the same data. Whose word on noise they rest on is told by the app as it is now. Runs that "
    "are stored elsewhere are not counted."
)


def stated(app: Federation, explained: Explanation, who: str, sites: bool) -> Statement:
    """The statement of an app for one client; "" for any.

    explained: the app's explanation. sites: do clients live at sites of their own? AppError where
    there is no such client; at a site nobody knows the others, and every name is taken.
    """
    if who and not sites:
        check_there(app, who)
    sections = list(explained.sections)
    plan = app.plan
    survey = ""
    if app.first is not None:
        survey = app.first.digest
    found = given_away(app.first, app.answer, app.population)
    rounds = None
    digest = ""
    if isinstance(plan, Plan):
        how = Keeping(
            surveyed=bool(survey),
            every=app.keep == "all",
            overlapping=unwrapped(app.loop) is buffered,
            sites=sites,
            peers=graph_of(app.loop) is not None,
        )
        sections.append(kept(plan, how))
        found = found.merge(planned_privacy(plan, app.population))
        rounds = plan.rounds
        digest = plan.digest
    promise = promise_table(found.guarantee(delta_of(app)), rounds)
    if not isinstance(plan, Plan):
        why = "the plan hangs on what the survey finds, and its ε with it"
        promise |= {"epsilon": None, "why": why}
    promise["named"] = promise["named"] or (app.secret is not None and not app.secret.hides)
    whole = replace(explained, sections=tuple(sections))
    return Statement(whole, client=who, plan=digest, survey=survey, promise=promise)


def check_there(app: Federation, who: str) -> None:
    """AppError where the app has no such client."""
    if who in app.data:
        return
    names = [str(one) for one in _some(app)]
    near = get_close_matches(who, names, 1)
    instead = f"Name one of them: {', '.join(names[:6])}{', …' * (len(names) > 6)}."
    if near:
        instead = f"Did you mean {near[0]}?"
    raise AppError(
        f"The app has no client {who!r:.100}.",
        f"It has {len(app.data)} clients, and what one is asked is told of one of them.",
        instead,
    )


def owner_of(app: Federation, who: str, runs: Iterable[Summary] | None, file: str = "") -> Owner:
    """What a client's owner allows in a simulation, and the runs of the app in a store.

    runs: all of the store; None where there is none. file: the name of the app's file.
    """
    policy = _policy(app, who)
    refusal = ""
    try:
        if app.first is not None:
            policy.check(app.first, who)
        if isinstance(app.plan, Plan):
            policy.check(app.plan, who, before=app.first)
    except PolicyError as error:
        refusal = f"{error.found} {error.why}"
    found = Owner(policy, refusal)
    if runs is not None:
        found = _with_runs(found, app, file, list(runs))
    if refusal:
        return found
    return replace(found, open=_unknown(app, found))


def _with_runs(found: Owner, app: Federation, file: str, runs: list[Summary]) -> Owner:
    """The same with the runs of this app: those of a file of its name, wherever that was, and those
    of its plan.
    """
    digest = ""
    stated = tuple[str, ...]()
    if isinstance(app.plan, Plan):
        digest = app.plan.digest
        stated = stated_by(app.plan)
    of_app = [
        one
        for one in runs
        if (file and Path(one.app).name == file) or (digest and one.digest == digest)
    ]
    past = tuple(_past(one, stated) for one in of_app)
    others = len(runs) - len(past)
    counted = STORED
    if others:
        more = count(others, "other run", "other runs")
        counted = f"{STORED} Nor counted: {more} of this store, by other names and of other plans."
    total = added_up(past)
    if others and not past:
        total |= {"epsilon": None, "why": "no run of this store was counted, and it has some"}
    return replace(found, runs=past, total=total, counted=counted, others=others)


def added_up(runs: tuple[PastRun, ...]) -> dict[str, Any]:
    """ε of several runs on one client's data, each ε_i at δ_i:

        ε = Σ ε_i   at   δ = Σ δ_i                           (Dwork and Roth 2014, Thm 3.16)

    Where one has none there is none for all.
    """
    total: dict[str, Any] = {
        "unit": "client",
        "epsilon": sum(one.epsilon or 0.0 for one in runs),
        "delta": sum(one.delta or 0.0 for one in runs),
        "why": None,
        "named": any(one.named for one in runs),
        "stated": list(dict.fromkeys(name for one in runs for name in one.stated)),
    }
    unknown = next((one for one in runs if one.epsilon is None), None)
    if unknown is not None:
        return total | {"epsilon": None, "why": f"of run {unknown.run}: {unknown.why}"}
    return total


def _past(one: Summary, stated: tuple[str, ...]) -> PastRun:
    """A stored run of a simulation; stated: whose word on their noise its app believes.

    A run without a round may have asked a survey, whose ε is in no round.
    """
    went = f"{one.done} of {one.planned or '?'} rounds, {one.status}"
    began = f"{one.started:%Y-%m-%dT%H:%M:%SZ}"
    run = PastRun(one.id, one.digest, began, went, why="none was counted", stated=stated)
    if one.last is None:
        return replace(run, why="no round is over, and what was said before is not counted")
    run = replace(run, named=one.last.named)
    spent = one.last.spent.get("client")
    if spent is None:
        return run
    return replace(run, epsilon=spent.epsilon, delta=spent.delta, why="")


def _policy(app: Federation, who: str) -> Policy:
    """What the owner of this client allows."""
    if isinstance(app.data, Population):
        return app.data.allow or ALL
    if isinstance(app.policies, Policy):
        return app.policies
    return app.policies.get(who, ALL)


def _unknown(app: Federation, found: Owner) -> str:
    """Why it cannot be known before data is read whether the plan keeps to the policy."""
    policy = found.policy
    if not isinstance(app.plan, Plan):
        return "the plan hangs on what the survey finds"
    if isinf(policy.epsilon):
        return ""
    if policy.unit == "example":
        return "ε of an example hangs on how many the client has, and no data is read here"
    if found.runs is None:
        return "alone it does; but ε is of all runs, and no store of them was given"
    if found.others:
        return "alone it does; but ε is of all runs, and the store has some that are not counted"
    if not found.runs:
        return ""
    return _over_all(app, app.plan, found)


def _over_all(app: Federation, plan: Plan, found: Owner) -> str:
    """Why stored runs and this plan together may pass the policy, if so.

        Σ ε_i + ε(δ − Σ δ_i) ≤ ε of the policy, at its δ     (Dwork and Roth 2014, Thm 3.16)

    It is an upper bound, and that the runs were on this client's data is not known.
    """
    policy = found.policy
    before = found.total
    if before["epsilon"] is None:
        return f"alone it does; but there is no ε for all runs: {before['why']}"
    left = policy.delta - before["delta"]
    if left <= 0:
        return (
            f"alone it does; but δ of the stored runs adds up to {before['delta']:.2g}, and "
            f"{policy.delta:.2g} is allowed for all runs"
        )
    planned = given_away(app.first, None, None).merge(planned_privacy(plan))
    alone = planned.guarantee(left).epsilon
    assert alone is not None  # else the policy has refused it
    epsilon = before["epsilon"] + alone
    if epsilon <= policy.epsilon:
        return ""
    return (
        f"alone it does; but with the stored runs it may be ε = {epsilon:.4g} at δ = "
        f"{policy.delta:.2g}, and {policy.epsilon:g} is allowed for all runs"
    )


def _some(app: Federation) -> list[Any]:
    """The names of the clients; of very many the first."""
    return [name for _, name in zip(range(1000), app.data, strict=False)]
