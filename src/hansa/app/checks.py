"""What an app refuses when it is built: what does not fit, and what owners or budget forbid.

So nothing begins that would fail in round 40, and nobody is asked in vain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from ..errors import AppError, Fault, refuse
from ..known import own
from ..parties.policy import Policy
from ..parties.population import Population
from ..plan import Plan
from ..privacy import planned_privacy
from ..privacy.ledger import Budget, Ledger
from ..training import amounts_by_name

Wrong = tuple[bool, str, str, str]  # is it, what was found, why it cannot run, and what to write


def check(wrong: Iterable[Wrong]) -> None:
    """AppError for the first of these that is, in sentences."""
    faults = (
        (
            bad,
            f"{found} cannot run.",
            f"{why[0].upper()}{why[1:]}.",
            f"Write for example {instead}.",
        )
        for bad, found, why, instead in wrong
    )
    refuse(faults, AppError)


def names_of(data: Mapping[str, Any]) -> Collection[str]:
    """The names of all clients, as text; of a population they are not listed."""
    if isinstance(data, Population):
        return data.names
    return dict.fromkeys(map(str, data))


def check_names(
    plan: Any, first: Plan | None, data: Mapping[str, Any], policies: Mapping[str, Policy] | Policy
) -> None:
    """AppError where the clients fit neither the plan and the survey nor the policies.

    There is at least one, and as many as a round asks; their names are told apart as text, and can
    be shown; and whoever has a policy, or trains for a time of its own, is one of them. Of a
    population the names are not looked at, for it has made them itself.
    """
    check([*_wrong_names(data), *_too_few(plan, first, len(data))])
    there = names_of(data)
    shown = next(iter(there), "north")
    if not isinstance(data, Population):
        shown = ", ".join(there)
    strangers = [who for who in policies_of(policies, ()) if who not in there]
    patterns: Iterable[str] = ()
    if isinstance(plan, Plan):
        patterns = amounts_by_name(plan.training)
    idle = [one for one in patterns if not any(fnmatchcase(who, one) for who in there)]
    check(
        [
            (
                bool(strangers),
                f"A policy for {', '.join(strangers)}",
                "no client has that name",
                f"names among {shown}",
            ),
            (
                bool(idle),
                f"Training(by_client=…) for {', '.join(idle)}",
                "no client has such a name",
                f"names among {shown}",
            ),
        ]
    )


def _wrong_names(data: Mapping[str, Any]) -> list[Wrong]:
    """Clients that are none, or whose names are not told apart or cannot be shown."""
    names = []
    if not isinstance(data, Population):
        names = [str(who) for who in data]
    odd = [name for name in names if not name.strip() or not name.isprintable()]
    return [
        (
            not data,
            "App(data={})",
            "a federation is a sum over clients",
            "data={'north': (X, y), …}",
        ),
        (
            len(set(names)) < len(names),
            "App(data=…) with two clients of one name",
            "clients are told apart by their names as text",
            "data={'1': (X, y), '2': (X, y)}",
        ),
        (
            bool(odd),
            f"App(data=…) with a client called {odd[:1]}",
            "a name is one line of text that can be shown",
            "data={'north': (X, y), …}",
        ),
    ]


def _too_few(plan: Any, first: Plan | None, many: int) -> list[Wrong]:
    """So many clients, of which the plan or the survey asks more."""
    found = f"App(data=…) with {many} clients"
    wrong = []
    if isinstance(plan, Plan):
        wrong += [
            (
                many < plan.sample.quorum,
                found,
                "every round of its plan needs more: its quorum",
                f"sample=Everyone(quorum={many})",
            ),
            (
                many < plan.sample.most,
                found,
                "its plan samples more in every round",
                f"a sample of size {many}",
            ),
        ]
    if first is not None:
        quorum = first.sample.quorum
        why = "its survey needs the answers of more: its quorum"
        wrong.append((many < quorum, found, why, f"first=survey(…, quorum={many})"))
    return wrong


def policies_of(policies: Mapping[str, Policy] | Policy, names: Iterable[str]) -> dict[str, Policy]:
    """The policy of each owner who has one, by the client's name; a single one is that of all."""
    if isinstance(policies, Policy):
        return dict.fromkeys(names, policies)
    return {str(who): policy for who, policy in policies.items()}


def check_survey(
    first: Plan, data: Mapping[str, Any], policies: Mapping[str, Policy] | Policy
) -> None:
    """PolicyError where one owner forbids the survey: then nobody is asked."""
    given = policies
    if isinstance(data, Population):
        given = data.allow
    for who, policy in policies_of(given, ["Each client"]).items():
        policy.check(first, who)


def check_budget(budget: Budget, plan: Any, before: Ledger, clients: int | None, loop: Any) -> None:
    """AppError where survey, or plan if it is known, has no ε, and so both have none; and where the
    survey alone passes the budget.

    before: what the survey gives away. clients: how many there are, where that is known.
    """
    ledger = Ledger()
    if isinstance(plan, Plan):
        ledger = planned_privacy(plan, clients)
    missing = ledger.why or strange(loop)
    faults: list[Fault] = [
        (
            bool(before.why),
            f"App(budget={budget!r}) cannot be kept.",
            f"There is no ε for its survey: {before.why}.",
            "Write survey(…, aggregator=VerifiedSum(noise=…)), or leave the budget out.",
        ),
        (
            bool(missing),
            f"App(budget={budget!r}) cannot be kept.",
            f"There is no ε for this plan: {missing}.",
            "Put Clip(norm=…) and GaussianNoise(…) into its pipe, or leave the budget out.",
        ),
        (
            not budget.allows(before),
            f"App(budget={budget!r}) cannot be kept.",
            lambda: f"Its survey alone gives {before.guarantee(budget.delta)}.",
            "Add noise to the survey, or allow a larger ε.",
        ),
    ]
    refuse(faults, AppError)


def unwrapped(loop: Any) -> Any:
    """The loop itself, of which some arguments may be given already: functools.partial(loop, …)."""
    if isinstance(loop, partial):
        return loop.func
    return loop


def strange(loop: Any) -> str:
    """Why nobody knows what the rounds give away, if so: they are those of a loop that is not
    hansa's own.
    """
    inner = unwrapped(loop)
    if own(inner):
        return ""
    return f"nobody has stated what the loop {getattr(inner, '__name__', inner)!s} gives away"


def unasked(what: str) -> AppError:
    """What hangs on a survey that nobody has been asked is not known."""
    return AppError(
        f"{what} not known yet.",
        "It hangs on what the survey finds, and that has not been asked.",
        "Write app = app.asked(), which asks it; `hansa run` does, and `hansa explain --ask`.",
    )
