"""What an app asks of one client, or of any: the statement for whoever answers for its data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from math import isinf
from typing import TYPE_CHECKING, Any

from ..errors import AppError, PolicyError
from ..explain import Explanation
from ..explain.kept import Keeping, kept
from ..explain.owner import Owner, PastRun
from ..explain.statement import Statement, promise_table
from ..loops.buffered import buffered
from ..parties.policy import ALL, Policy
from ..parties.population import Population
from ..plan import Plan
from ..privacy import planned_privacy
from .checks import unwrapped
from .federation import Federation, delta_of
from .first import given_away
from .peers import graph_of

if TYPE_CHECKING:
    from ..store import Summary

STORED = (
    "Runs of this app that are stored here, whether the client was in their rounds or not. Their "
    "ε and δ are added up (basic composition), as if all were on the same data. Runs that are "
    "stored elsewhere are not counted."
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


def owner_of(app: Federation, who: str, runs: Iterable[Summary] | None) -> Owner:
    """What a client's owner allows in a simulation, and the runs of the app in a store.

    runs: None where there is no store.
    """
    policy = _policy(app, who)
    refusal = ""
    open = _unknown(app, policy)
    try:
        if app.first is not None:
            policy.check(app.first, who)
        if isinstance(app.plan, Plan):
            policy.check(app.plan, who, before=app.first)
    except PolicyError as error:
        refusal = f"{error.found} {error.why}"
        open = ""
    found = Owner(policy, refusal, open)
    if runs is None:
        return found
    past = tuple(map(_past, runs))
    return replace(found, runs=past, total=added_up(past), counted=STORED)


def added_up(runs: tuple[PastRun, ...]) -> dict[str, Any]:
    """ε of several runs on one client's data, each ε_i at δ_i:

        ε = Σ ε_i   at   δ = Σ δ_i                           (Dwork and Roth 2014, Thm 3.16)

    Where one has none there is none for all.
    """
    epsilon = sum(one.epsilon or 0.0 for one in runs)
    delta = sum(one.delta or 0.0 for one in runs)
    total: dict[str, Any] = {"unit": "client", "epsilon": epsilon, "delta": delta, "why": None}
    unknown = next((one for one in runs if one.epsilon is None), None)
    if unknown is not None:
        return total | {"epsilon": None, "why": f"of run {unknown.run}: {unknown.why}"}
    return total


def _past(one: Summary) -> PastRun:
    """A stored run of a simulation."""
    spent = None
    if one.last is not None:
        spent = one.last.spent.get("client")
    went = f"{one.done} of {one.planned or '?'} rounds, {one.status}"
    began = f"{one.started:%Y-%m-%dT%H:%M:%SZ}"
    if spent is None:
        return PastRun(one.id, "", began, went, why="none was counted")
    return PastRun(one.id, "", began, went, spent.epsilon, spent.delta)


def _policy(app: Federation, who: str) -> Policy:
    """What the owner of this client allows."""
    if isinstance(app.data, Population):
        return app.data.allow or ALL
    if isinstance(app.policies, Policy):
        return app.policies
    return app.policies.get(who, ALL)


def _unknown(app: Federation, policy: Policy) -> str:
    """Why it cannot be known before data is read whether the plan keeps to the policy."""
    if not isinstance(app.plan, Plan):
        return "the plan hangs on what the survey finds"
    if policy.unit == "example" and not isinf(policy.epsilon):
        return "ε of an example hangs on how many the client has, and no data is read here"
    return ""


def _some(app: Federation) -> list[Any]:
    """The names of the clients; of very many the first."""
    return [name for _, name in zip(range(1000), app.data, strict=False)]
