"""The peers of an app whose loop is gossip: their graph, and the model of each."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..algorithms import ClientState
from ..graphs import Graph
from ..graphs.known import Ring
from ..loops.gossip import PostOffice, gossip, post_office
from ..models import NO_LOCAL, Local
from ..plan import Plan
from ..plan.client import LOCAL
from ..plan.peers import PEER
from ..spec import Vector
from ..state import State
from .checks import names_of, unwrapped


def graph_of(loop: Any) -> Graph | None:
    """The graph of a loop that is gossip; None for any other."""
    if unwrapped(loop) is not gossip:
        return None
    given = {}
    if isinstance(loop, partial):
        given = loop.keywords
    graph: Graph = given.get("graph", Ring())
    return graph


def office_of(app: Any) -> PostOffice | None:
    """What carries messages between the peers of an app; None where its loop has a server, its plan
    hangs on a survey, or its clients are not known.

    PlanError where plan, graph and peers do not fit together.
    """
    graph = graph_of(app.loop)
    if graph is None or app.population is None or not isinstance(app.plan, Plan):
        return None
    return post_office(app.plan, graph, sorted(names_of(app.data)))


def peer_model(
    office: PostOffice, state: State, who: str, client_state: ClientState
) -> tuple[Vector, Local]:
    """The model [size] that a peer uses itself after a round, and what it keeps of it."""
    own = office.model_of(state, who, client_state.get(PEER))
    return own, client_state.get(LOCAL, NO_LOCAL)
