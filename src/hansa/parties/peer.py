"""The peer's half of a round without a server: mix, train, step, and say.

    inbox, what it remembers, its examples  →  outbox, what it remembers

It is a function, as a client's half is; who carries outboxes to inboxes is a post office in a
simulation, and each peer itself where it is a node.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..aggregators import Conversation
from ..aggregators.mixing import Inbox, Rule, inbox_of, rule_of
from ..algorithms import ClientState
from ..asks import Work
from ..errors import PlanError, ProtocolError
from ..plan import Plan, peers, server
from ..plan.layout import reported
from ..spec import Vector
from ..transforms import Context
from . import Party
from .contribution import Contributor

# "says": to all who hear it; "reports": side values; "model": its own, where it does not say that
Outbox = dict[str, Any]


def conversation(
    party: Party, trains: Contributor, state: ClientState, at: Context
) -> Conversation:
    """A peer's side of a session: an inbox is heard, and an outbox said.

    ProtocolError where its plan needs a server, or for what is no inbox: whoever carries messages
    gets nothing from a client that has not agreed to such a plan.
    """
    plan = party.plan
    body = yield
    try:
        peers.check_peers(plan)
    except PlanError as error:
        found = f"{party.who} was asked as a peer."
        raise ProtocolError(found, error.found, error.why) from error
    rule = rule_of(plan.aggregator)
    inbox = inbox_of(party.who, body, rule.length(peers.size(plan)))
    if inbox is None or not 0 <= at.round < plan.rounds:
        raise ProtocolError(
            f"{party.who} was asked in round {at.round} with what is no inbox.",
            "A peer hears the shares of its neighbours and what each has said.",
            "Look at who carries the messages.",
        )
    work = partial(half, plan, rule, inbox, state, trains, at)
    if rule.hides:
        among: Any = rule
        length = peers.size(plan) + len(reported(plan))
        yield from among.exchange(partial(_vector, party, work), length, at)
    outbox, party._learnt = yield from work()
    yield outbox


def _vector(party: Party, work: Any) -> Work[Vector]:
    """What a peer adds to hidden sums: its model, and what it reports."""
    outbox, party._learnt = yield from work()
    return np.concatenate([outbox["says"], outbox["reports"]])


def half(
    plan: Plan, rule: Rule, inbox: Inbox, state: ClientState, trains: Contributor, at: Context
) -> Work[tuple[Outbox, ClientState]]:
    """One peer's round: what it says, and what it remembers.

        point = mix(inbox),   v = decode(encode(train(point) − point)),   model = step(point, v)

    The update goes through the pipe as it would on its way to a sum of one, so it is clipped and
    has its noise before anybody hears of it. `at`: where in a run, with the peer's own secrets.
    """
    mine = state.get(peers.PEER)
    if mine is None:
        mine = rule.start(peers.first(plan))
    point, mine = rule.mix(mine, inbox)
    told = peers.unpacked(plan, point)
    rest = {name: one for name, one in state.items() if name != peers.PEER}
    encoded, learnt = yield from trains.contributed(told, rest, at)
    alone = replace(at, n=1, population=1)
    vector, _ = plan.pipeline.decode(encoded, alone)
    memo = peers.memo_of(plan, told, at.session.repeats)
    x, memo = server.stepped(plan, told["x"], memo, vector, alone)
    model = peers.packed(plan.algorithm.broadcast(x, memo))
    says, mine = rule.say(model, dict(mine), inbox)
    mean = plan.spec.unpack(vector)
    outbox: Outbox = {
        "says": says,
        "reports": np.array([float(mean[name].flat[0]) for name in reported(plan)]),
    }
    if rule.adds:
        outbox["model"] = rule.model(model, says)
    return outbox, {**learnt, peers.PEER: mine}
