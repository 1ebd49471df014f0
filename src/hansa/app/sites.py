"""An app at real sites, as its server runs it: its clients are elsewhere, names of a roster, and a
gateway leads to them. How a party takes part is said in `hansa.runtimes.sites.agent`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..crypto.identity import clients_of
from ..data.sites import Source
from ..errors import DataError
from ..plan import Plan
from ..plan.outline import check_own
from ..rand import Key
from .federation import Federation
from .scoring import sets_of

if TYPE_CHECKING:
    from ..runtimes.sites import Gateway, SiteRuntime

Served = TypeVar("Served", bound=Federation)


def served(app: Served, gateway: Gateway) -> Served:
    """The app as its server runs it: each client of the gateway's roster has its data at its place,
    and its policy.

    PlanError where its plan or its survey cannot be carried out between sites.
    """
    from ..runtimes.sites import check_sites

    for plan in (app.first, app.plan):
        if isinstance(plan, Plan):
            check_sites(plan, gateway.roster)
            check_own(plan)
    return replace(
        app,
        data={who: Source(partial(_away, who)) for who in clients_of(gateway.roster)},
        test=_tests(app),
        policies={},
        workers=0,
        network=None,
        runtime=partial(_runtime, gateway),
    )


def _tests(app: Federation) -> Any:
    """What the app is tested on; paths are read as clients' data is, at the server."""
    found = sets_of(app.test, app.data)
    if found.named:
        return dict(found.sets)
    return next(iter(found.sets.values()), None)


def _away(who: str) -> Any:
    """What is raised where a client's data is looked for at the server."""
    raise DataError(
        f"{who}'s data is not here.",
        "It stays where that client is, and what is trained on it is trained there.",
        "Leave out what needs all data in one place: --no-compare.",
    )


def _runtime(gateway: Gateway, app: Federation, secret: Key, book: object) -> SiteRuntime:
    """The clients at their sites; what they remember and have said, they keep themselves."""
    from ..runtimes.sites import SiteRuntime

    found = None
    if app.answer is not None:
        found = app.answer.x
    return SiteRuntime(gateway, app.known_plan, found)
