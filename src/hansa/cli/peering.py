"""What the worker of a node does, beside that of a client: the peer's half of rounds.

    mesh      who hears whom among these names
    speak     a round: mix what came, train, and say
    own       the node's own model, when its mail is opened

They are the functions of the loop that a simulation runs, so both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..aggregators.mixing import inbox_of
from ..app.peers import graph_of
from ..asks import alone
from ..errors import AppError, ProtocolError
from ..loops.gossip import HELD, SAID, PostOffice, post_office
from ..parties.peer import half
from ..plan.peers import PEER
from ..runtimes.peers.mesh import told_of
from ..spec import Vector
from ..state import State
from .dealing import context, seeded

Work = Any  # of `worker`, which imports this
Asked = Mapping[str, Any]


def mesh(work: Work, asked: Asked) -> dict[str, Any]:
    """Who hears whom how much in each round, and how many numbers each says; PlanError where plan,
    graph and names do not fit.
    """
    office = office_of(work, asked)
    return {
        "graph": office.mixing.graph,
        "rounds": told_of(office.mixing),
        "length": office.rule.length(office.size),
    }


def speak(work: Work, asked: Asked) -> dict[str, Any]:
    """What the node says in a round to all who hear it, and what it remembers then."""
    office = office_of(work, asked)
    client = work.client(asked)
    mail = office.inbox(_state(asked, work.who), work.who, asked["silent"])
    inbox = inbox_of(work.who, mail, office.rule.length(office.size))
    if inbox is None:
        raise ProtocolError(f"{work.who} was given what is no inbox.")
    at, foreign = context(client, asked)
    round = half(client.plan, office.rule, inbox, asked["state"], client, at)
    outbox, learnt = alone(seeded(client, round, foreign), client.plan.perform)
    return {"words": outbox["says"], "learnt": learnt}


def own(work: Work, asked: Asked) -> Vector:
    """The node's own model [size] after so many rounds: where it would train from next."""
    office = office_of(work, asked)
    mine = asked["state"].get(PEER)
    return np.array(office.model_of(_state(asked, work.who), work.who, mine, asked["silent"]))


def office_of(work: Work, asked: Asked) -> PostOffice:
    """What the loop mixes by among these names; AppError where the app's loop is another."""
    graph = graph_of(work.app.loop)
    plan, _ = work.plan(asked)
    if graph is None:
        raise AppError(
            "This app has a server: its loop is not gossip.",
            "Nodes learn from their neighbours, and nobody is in the middle.",
            "Write App(…, loop=hansa.gossip(graph=Ring())); or use hansa serve and hansa join.",
        )
    return post_office(plan, graph, asked["names"])


def _state(asked: Asked, who: str) -> State:
    """What the loop's `inbox` looks at: how many rounds are done, and what was heard."""
    return State(asked["round"], np.zeros(0), {SAID: asked["said"], HELD: {}})
