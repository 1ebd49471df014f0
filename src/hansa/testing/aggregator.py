"""What an aggregator promises.

    equal clients   where all say the same, that is the mean: also when some drop out, are gone
                    from a later message on, or cannot take part
    any order       the order of clients and of arrival changes no byte
    answered for    whoever is asked is in the sum once, or excluded with a reason, and not both
    in words        its repr builds it, and visibility() tells who sees what
    bounded         no client's answer has more bytes than largest_reply() says for its turn
    hidden          where nobody is to see single vectors, none is said, nor anything in its place
                    that two runs have in common

Each is looked at in every round of whole runs, in one process, of the smallest model there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..aggregators import Aggregator, Sum, revealed
from ..codec import fingerprint
from ..errors import PlanError
from ..loops.channel import UNSAID
from ..loops.checks import FAULTS
from ..loops.synchronous import synchronous
from ..messages import Message, Reply, Request, largest
from ..parties.client import Client
from ..plan import Plan
from ..rand import Key
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
TURNS = 4  # of a conversation that some leave


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
    says for its turn. AssertionError names the first promise that is broken.

    pipe      around it; else Weigh('one') alone, with Clip where plan() wants bounds, and with
              Quantize for integers

    What `reveals` states is tried as well: where nobody is to see single vectors, none is said.
    clients   of whom a quarter is lost, or as many as min_clients() lets go; as many as it needs
              for its promise
    close     how far a coordinate of the model may be off after three rounds
    """
    name = repr(aggregator)
    check_repr(aggregator)
    require(
        aggregator.min_clients(clients) < clients,
        f"{name}: of {clients} clients it can lose none, so it cannot be tried; give more.",
    )
    plan = _plan(aggregator, pipe, clients)
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


def _plan(aggregator: Aggregator, pipe: Iterable[Transform] | None, clients: int) -> Plan:
    """A plan of three rounds around it, with the first pipe that it accepts."""
    pipes = [REAL, BOUNDED, INTEGER]
    if pipe is not None:
        pipes = [tuple(pipe)]
    for tried in pipes:
        try:
            quorum = Everyone(quorum=aggregator.min_clients(clients))
            return Plan(
                MODEL, pipe=tried, aggregator=aggregator, training=TRAINING, sample=quorum, rounds=3
            )
        except PlanError as error:
            refused = error
    raise AssertionError(
        f"{aggregator!r}: plan() refuses what is tried; give a pipe.\n  {refused}"
    ) from refused


@dataclass(frozen=True)
class Losing(Network):
    """A network on which some clients of each session, drawn anew, are gone from a turn on.

    So many, and no more: an aggregator may promise nothing where too many are lost, and a share
    that is lost of each message adds up over the turns of a conversation.
    """

    names: tuple[str, ...] = ()
    lost: int = 0
    later: bool = False  # may that be a later turn than the first?

    def fate(self, who: str, request: Request, key: Key) -> tuple[float, bool]:
        """Latency as ever; and is it gone by now?"""
        takes, _ = super().fate(who, request, key)
        rng = key.child("losing", request.session.number).rng()
        gone = dict[str, int]()
        for name in rng.permutation(self.names)[: self.lost].tolist():
            turn = 0
            if self.later:
                turn = int(rng.integers(TURNS))
            gone[name] = turn
        return takes, request.turn >= gone.get(who, math.inf)


class Measured(InProcess):
    """All clients in this process; what their answers are, in bytes and in looks.

    What has the form of an encoded vector may be one that is hidden; so it is kept as a
    fingerprint, to be compared with what is said in its place in another run.
    """

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        self.most: dict[int, int] = {}  # turn → bytes of its largest answer
        self.clear = False  # has a client said its vector as it is encoded?
        self.vectors = set[bytes]()  # fingerprints of all that looks like one

    def send(self, message: Message) -> None:
        """Ask that each answer for itself, so that its answer can be measured."""
        if isinstance(message, Request):
            message = replace(message, fold=False)
        super().send(message)

    def receive(self) -> Reply:
        """The next reply; that of a client is measured."""
        reply = super().receive()
        if reply.body is not None and reply.who[0] not in self.helpers:
            encoded = self.clients.plan.encoded_spec
            self.most[reply.turn] = max(self.most.get(reply.turn, 0), largest(reply.body))
            self.clear |= encoded.fits(reply.body)
            for one in _arrays(reply.body):
                if encoded.fits(one):
                    self.vectors.add(fingerprint(one))
        return reply


def _arrays(body: Any) -> Iterator[Any]:
    """All arrays in an answer."""
    if isinstance(body, np.ndarray):
        yield body
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from _arrays(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _arrays(value)


def _run(
    plan: Plan, parties: dict[str, Any], network: Network | None = None, backwards: bool = False
) -> State:
    """The last state of a run; see `_measured`."""
    state, _ = _measured(plan, parties, network, backwards)
    return state


def _measured(
    plan: Plan, parties: dict[str, Any], network: Network | None = None, backwards: bool = False
) -> tuple[State, Measured]:
    """The last state of a run, and what was measured; in each state it is looked at who is in the
    sum and who is not.

    backwards: are the clients listed the other way round?
    """
    clients = [Client(who, plan, data, secret=KEY) for who, data in parties.items()]
    if backwards:
        clients.reverse()
    runtime = Measured(clients, network, secret=KEY)
    state = plan.start()
    aggregator = plan.aggregator
    for state in synchronous(plan, runtime, secret=KEY):
        _answered_for(aggregator, parties, state)
        for turn, found in runtime.most.items():
            most = aggregator.largest_reply(plan.encoded_spec, turn)
            require(
                found <= most,
                f"{aggregator!r}: a client's answer may have {found} bytes; largest_reply() "
                f"says {most} at most for turn {turn}.",
            )
        require(
            not runtime.clear or bool(revealed(aggregator).beyond("sum")),
            f"{aggregator!r}: reveals() states that nobody sees a client's vector, and a client "
            "has said it to the server as it is.",
        )
    return state, runtime


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
    spare = clients - plan.aggregator.min_clients(clients)
    quarter = max(clients // 4, 1)
    lost = min(quarter, spare)
    losing = Losing(1.0, names=tuple(parties), lost=lost)
    check(_run(plan, parties, losing), " and some drop out")
    state = _run(plan, parties, replace(losing, later=True))
    check(state, " and some are gone from a later message on")
    blind = X.copy()
    blind[0, 0] = np.nan
    narrow = X[:, :2]
    unfit = {"client-01": (blind, y), "client-02": (narrow, y)}
    for who, data in unfit.items():
        state = _run(plan, {**parties, who: data})
        check(state, " and one cannot take part")
        told = state.excluded.get(who, "")
        require(
            bool(told) and told not in FAULTS,
            f"{name}: a client said what is wrong with its data, and what came through is "
            f"{told!r}.",
        )


def _any_order(plan: Plan, clients: int) -> None:
    """Clients that differ, listed and answering in different orders, give the same bytes.

    So the result hangs neither on who is first in a file, nor on the speed of a machine.
    """
    parties = federation(clients)
    first, said = _measured(plan, parties)
    _, again = _measured(plan, parties)
    common = said.vectors & again.vectors
    beyond = revealed(plan.aggregator).beyond("sum")
    require(
        not common or bool(beyond),
        f"{plan.aggregator!r}: reveals() states that nobody sees a client's vector, and what a "
        "client says in its place is the same in two runs, so nothing that is drawn hides it.",
    )
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
