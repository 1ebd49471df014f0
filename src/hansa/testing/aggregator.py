"""What an aggregator promises.

    equal clients   where all say the same, that is the mean: also when some drop out, are gone
                    from a later message on, or cannot take part
    any order       the order of clients and of arrival changes no byte
    answered for    whoever is asked is in the sum once, or excluded with a reason, and not both
    in words        its repr builds it, and visibility() tells who sees what
    bounded         no client's answer has more bytes than largest_reply() says

Each is looked at in every round of whole runs, in one process, of the smallest model there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..aggregators import Aggregator, Sum, revealed
from ..errors import PlanError
from ..loops.channel import UNSAID
from ..loops.checks import FAULTS
from ..loops.synchronous import synchronous
from ..messages import Message, Reply, Request, largest
from ..parties.client import Client
from ..plan import Plan
from ..runtimes.inprocess import InProcess, Network
from ..sample import Everyone
from ..state import State
from ..training import Training
from ..transforms import Transform
from ..transforms.compress import Quantize
from ..transforms.scale import Clip
from ..transforms.weigh import Weigh
from .algorithm import MODEL, federation
from .asserts import KEY, check_repr, equal, require

REAL: tuple[Transform, ...] = (Weigh("one"),)
BOUNDED: tuple[Transform, ...] = (Clip(10.0, side=10.0), Weigh("one"))
INTEGER: tuple[Transform, ...] = (Clip(10.0, side=10.0), Weigh("one"), Quantize(32))
TRAINING = Training(batch=0, learning_rate=0.05)


def check_aggregator(
    aggregator: Aggregator,
    pipe: Iterable[Transform] | None = None,
    clients: int = 12,
    close: float = 1e-6,
) -> None:
    """Hold an aggregator to its promises, in whole rounds of softmax regression.

    Where all clients say the same, it gives the plain mean, to within `close`, also when some drop
    out or cannot take part; the order of clients and of arrival changes no byte; whoever is asked
    is in the sum, or lost with a reason; no client's answer has more bytes than largest_reply()
    says. AssertionError names the first promise that is broken.

    pipe      around it; else Weigh('one') alone, with Clip where plan() wants bounds, and with
              Quantize for integers

    What `reveals` states is tried as well: where nobody is to see single vectors, none is said.
    clients   of whom a quarter is lost; as many as it needs for its promise
    close     how far a coordinate of the model may be off after three rounds
    """
    name = repr(aggregator)
    check_repr(aggregator)
    plan = _plan(aggregator, pipe)
    sees = aggregator.visibility()
    require(
        sees
        and all(
            len(row) == 3 and all(isinstance(word, str) and word for word in row) for row in sees
        ),
        f"{name}: visibility() must tell who sees what under which assumption, in three words or "
        "phrases each.",
    )
    _equal_clients(plan, clients, close)
    _any_order(plan, clients)
    require(
        repr(aggregator) == name,
        f"{name}: it changed while it was used; give the server's state to its generator.",
    )


def _plan(aggregator: Aggregator, pipe: Iterable[Transform] | None) -> Plan:
    """A plan of three rounds around it, with the first pipe that it accepts."""
    pipes = [REAL, BOUNDED, INTEGER]
    if pipe is not None:
        pipes = [tuple(pipe)]
    for tried in pipes:
        try:
            quorum = Everyone(quorum=aggregator.min_clients)
            return Plan(
                MODEL, pipe=tried, aggregator=aggregator, training=TRAINING, sample=quorum, rounds=3
            )
        except PlanError as error:
            refused = error
    raise AssertionError(
        f"{aggregator!r}: plan() refuses what is tried; give a pipe.\n  {refused}"
    ) from refused


class Measured(InProcess):
    """All clients in this process, and how many bytes the largest answer of one could have."""

    most = 0
    clear = False  # has a client said its vector as it is encoded?

    def send(self, message: Message) -> None:
        """Ask that each answer for itself, so that its answer can be measured."""
        if isinstance(message, Request):
            message = replace(message, fold=False)
        super().send(message)

    def receive(self) -> Reply:
        """The next reply; that of a client is measured."""
        reply = super().receive()
        if reply.body is not None and reply.who[0] not in self.helpers:
            self.most = max(self.most, largest(reply.body))
            self.clear |= self.clients.plan.encoded_spec.fits(reply.body)
        return reply


def _run(
    plan: Plan, parties: dict[str, Any], network: Network | None = None, backwards: bool = False
) -> State:
    """The last state of a run; in each it is looked at who is in the sum and who is not.

    backwards: are the clients listed the other way round?
    """
    clients = [Client(who, plan, data, secret=KEY) for who, data in parties.items()]
    if backwards:
        clients.reverse()
    runtime = Measured(clients, network, secret=KEY)
    state = plan.start()
    aggregator = plan.aggregator
    most = aggregator.largest_reply(plan.encoded_spec, 0)
    for state in synchronous(plan, runtime, secret=KEY):
        _answered_for(aggregator, parties, state)
        require(
            runtime.most <= most,
            f"{aggregator!r}: a client's answer may have {runtime.most} bytes; largest_reply() "
            f"says {most} at most.",
        )
        require(
            not runtime.clear or bool(revealed(aggregator).beyond("sum")),
            f"{aggregator!r}: reveals() states that nobody sees a client's vector, and a client "
            "has said it to the server as it is.",
        )
    return state


def _answered_for(aggregator: Aggregator, parties: dict[str, Any], state: State) -> None:
    """Nobody is in the sum and excluded, in neither, twice in the sum, or lost without a reason.

    And the round has moved the model, for enough clients are left.
    """
    participants = state.participants
    excluded = state.excluded
    both = set(participants) & excluded.keys()
    require(not both, f"{aggregator!r}: {sorted(both)} are in the sum, and excluded as well.")
    told = {who for who, why in excluded.items() if why != UNSAID}
    gone = parties.keys() - set(participants) - told
    require(
        not gone,
        f"{aggregator!r}: {sorted(gone)} are neither in the sum nor excluded; call "
        "channel.exclude(who, why).",
    )
    require(
        len(set(participants)) == len(participants),
        f"{aggregator!r}: a client is twice in the sum: {participants}.",
    )
    silent = sorted(who for who, why in excluded.items() if not why)
    require(not silent, f"{aggregator!r}: {silent} are lost without a reason.")
    require(
        not state.skipped,
        f"{aggregator!r}: of {len(parties)} clients, {len(excluded)} lost, it fails: "
        f"{state.skipped}",
    )


def _equal_clients(plan: Plan, clients: int, close: float) -> None:
    """All say the same: the mean is what each of them says.

        Σ wᵢ·v / Σ wᵢ = v,    whoever is lost

    What is wanted is computed by one such client alone, with Sum().
    """
    X, y = federation()["client-5"]
    parties: dict[str, Any] = {f"client-{i:02d}": (X, y) for i in range(clients)}
    name = repr(plan.aggregator)
    alone = Plan(MODEL, pipe=REAL, aggregator=Sum(), training=TRAINING, rounds=3)
    want = _run(alone, {"client-00": (X, y)}).x

    def check(state: State, when: str) -> None:
        """Is the model of this state where the single client's is?"""
        off = float(np.abs(state.x - want).max())
        require(
            off <= close,
            f"{name}: where all clients say the same{when}, it is off from the mean by {off:.3g}.",
        )

    check(_run(plan, parties), "")
    state = _run(plan, parties, Network(latency=1.0, drop=0.15))
    check(state, " and some drop out")
    state = _run(plan, parties, Network(latency=1.0, vanish=0.3))
    check(state, " and some are gone from a later message on")
    blind = X.copy()
    blind[0, 0] = np.nan
    state = _run(plan, {**parties, "client-01": (blind, y), "client-02": (X[:, :2], y)})
    check(state, " and two cannot take part")
    told = [state.excluded.get(who, "") for who in ("client-01", "client-02")]
    require(
        all(told) and not set(told) & set(FAULTS),
        f"{name}: two clients said what is wrong with their data, and what came through is {told}.",
    )


def _any_order(plan: Plan, clients: int) -> None:
    """Clients that differ, listed and answering in different orders, give the same bytes.

    So the result hangs neither on who is first in a file, nor on the speed of a machine.
    """
    parties = federation(clients)
    first = _run(plan, parties)
    for other in (
        _run(plan, parties, backwards=True),
        _run(plan, parties, Network(latency=1.0)),
        _run(plan, parties, Network(latency=1.0, stragglers=0.5), backwards=True),
    ):
        require(
            equal(first.x, other.x) and first.participants == other.participants,
            f"{plan.aggregator!r}: the order of clients or arrival changes the result; sort by "
            "name, or sum exactly.",
        )
