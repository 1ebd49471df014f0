"""The clients of an app, and where they live."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ..data import loaded
from ..parties.book import Book
from ..parties.client import Client
from ..parties.policy import Policy
from ..parties.population import Population
from ..rand import Key
from ..runtimes.inprocess import InProcess
from .checks import policies_of
from .federation import Federation, found_by

# what the modules of loaded app files are called, with the file's name after it
MODULE = "hansa-app:"


def clients_of(app: Federation, secret: Key | None = None) -> list[Client]:
    """One client for each owner of data; what they hide grows from `secret`, each on a branch of
    its own.

    secret: else the app's, else a fresh one. AppError for a population, and where the survey has
    not been asked on which plan or data hang.
    """
    sources = app.sources
    plan = app.known_plan
    allowed = policies_of(app.policies, sources)
    secret = secret or app.secret or Key.fresh()
    more: dict[str, Any] = {"before": app.first, "secret": secret}
    return [
        Client(who, plan, data, allowed.get(who, Policy()), **more) for who, data in sources.items()
    ]


def parties_of(app: Federation, secret: Key) -> list[Client] | Population:
    """All clients: a list, or a population of which each is made when it is asked."""
    if not isinstance(app.data, Population):
        return clients_of(app, secret)
    data = app.data.data
    if app.prepare is not None:
        data = partial(prepared_one, data, app.prepare, found_by(app))
    return Population(app.known_plan, len(app.data), data, app.data.allow, secret, app.first)


def prepared_one(
    data: Callable[[int], Any], prepare: Callable[[Any, Any], Any], found: Any, i: int
) -> Any:
    """What client i of a population trains on; a function of a module, as workers are sent it."""
    return prepare(loaded(data(i)), found)


def runtime_of(app: Federation, secret: Key, book: Book | None = None) -> Any:
    """Where the clients live: in this process, or in `workers` others.

    book: what parties have answered, kept for a run whose loop has more under way than one round.
    """
    parties = parties_of(app, secret)
    if not app.workers:
        return InProcess(parties, app.network, app.known_plan.seed, secret, book)
    import cloudpickle

    from ..runtimes.processes import Processes

    for name, module in list(sys.modules.items()):
        # a worker cannot import it, so its classes travel with the clients
        if name.startswith(MODULE):
            cloudpickle.register_pickle_by_value(module)
    return Processes(parties, app.workers, secret, book)
