"""A look at each client's data before the first round: what keeps it from taking part, and what
there is.

Only who may see the data may look: what is found is outside of all that a sum hides.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence

from ..data.overview import Overview, overview
from ..errors import DataError, HansaError, message
from ..parties.client import Client
from ..parties.population import Population
from .federation import Federation

LOOKED_AT = 100  # clients of a population whose data is checked


def unfit(parties: Sequence[Client] | Population) -> Iterator[HansaError]:
    """Why clients cannot take part, an error for each that cannot; of a population, 100 are looked
    at.
    """
    for client in some_of(parties):
        try:
            client.check()
        except HansaError as error:
            yield error
        # whatever the code stumbles over that reads this client's data
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            yield DataError(
                f"{client.who}: {type(error).__name__}: {message(error)}",
                f"It was raised while the data was read, in {at.filename}, line {at.lineno}.",
                "Mend what reads this client's data, or leave the client out.",
            )


def overview_of(app: Federation) -> Overview:
    """What each client of an app has, as its owner gave it; of a population, 100 are looked at.

    DataError where the data is at its sites.
    """
    if not isinstance(app.data, Population):
        return overview(app.data)
    parties = some_of(app.data)
    return overview({client.who: client.data for client in parties}, len(app.data))


def some_of(parties: Sequence[Client] | Population) -> Iterator[Client]:
    """All clients, or so many of a population, from its first to its last."""
    if not isinstance(parties, Population):
        yield from parties
        return
    many = looked_at(len(parties))
    for i in range(many):
        yield parties[parties.names[i * len(parties) // many]]
        parties.evict()


def looked_at(clients: int) -> int:
    """Of how many clients of a population the data is checked."""
    return min(clients, LOOKED_AT)
