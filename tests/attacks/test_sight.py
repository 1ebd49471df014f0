"""What a verified sum does not hide: each thing that it says to rest on is needed, for here it is taken away.

A server that speaks for clients, clients that collude, and one client out of two learn an update; and what is said of
who sees what names that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_verified import HELPER, Server, honest, plan_of, states

import hansa as h
from hansa.aggregators.verified import _vector
from hansa.messages import SessionId
from hansa.store import Store
from hansa.testing.algorithm import federation

PLAN = plan_of(training=h.Training(batch=0, learning_rate=0.5))
FIVE = tuple(f"client-{i}" for i in range(5))
STEP = 6e-8  # of a bound of 1, up to which a client's own rounding is all that is left to guess


def update(plan: h.Plan, state: h.State, client: h.Client) -> h.Vector:
    """What a client's training adds to the model of a state, as it alone knows it."""
    train, held, examples = client.parts
    more: Any = {"secret": h.Key.fresh(), "examples": examples, "memo": state.transforms}
    at = plan.context(state.round, SessionId(number=state.round), client.who, **more)
    reply, _ = plan.contribute(plan.broadcast(state)[0], {}, train, held, at)
    return reply[plan.encoded_spec.slice("delta")]


def summed(server: Server, reports: dict[str, Any]) -> h.Vector:
    """The sum that the server and an honest helper make of these reports."""
    share, helped = server.share, server.pass_on(reports)
    own = share.prepare([(who, r["nonce"], r["public"], r["leader"]) for who, r in reports.items()])
    verdicts, why = share.decide(list(reports), [own, helped])
    agreed = share.finish(verdicts)
    assert not why and server.ask({"verdicts": verdicts}) == agreed == sorted(reports)
    share.count(agreed)
    end = server.ask({"close": agreed})
    each = zip(share.parts, zip(share.totals({}), end["totals"], strict=True), strict=True)
    return _vector(server.plan.encoded_spec, share.parts, [part.read(both, len(agreed), 0.0) for part, both in each])


def nothing(server: Server, who: str) -> Any:
    """A report of zeros under the name of a client, which anybody can make who knows the helper's public key."""
    plan, head = server.plan, server.channel.head
    keys = {HELPER: server.runtime.helpers[HELPER].key.public}
    more: Any = {"secret": h.Key.fresh(), "task": head.task, "keys": keys}
    at = plan.context(head.round, head.session, who, **more)
    zeros = plan.aggregator.client(lambda: np.zeros(plan.encoded_spec.size), replace(at, spec=plan.encoded_spec))
    next(zeros)
    return zeros.send(server.opening)


@pytest.mark.promise("P11")
@pytest.mark.control("no defence: who may speak for a client is assumed, and said")
def test_a_server_that_speaks_for_four_of_five_clients_sees_the_fifths_update() -> None:
    """With an honest helper. That reports are those of the clients named is assumed, and said."""
    clients = honest(PLAN, 5)
    server = Server(PLAN, clients)
    server.open()
    reports = server.hear(["client-4"]) | {who: nothing(server, who) for who in FIVE[:4]}
    participants, own = (
        summed(server, reports)[PLAN.encoded_spec.slice("delta")],
        update(PLAN, PLAN.start(), clients[4]),
    )
    assert np.abs(participants - own).max() < STEP < 1e-2 < np.abs(own).max()


@pytest.mark.promise("P11")
@pytest.mark.control("no defence: that enough are honest is assumed, and said")
def test_of_a_sum_with_one_honest_client_the_others_know_that_client() -> None:
    """Four that tell each other, and whoever sees the sum."""
    clients = honest(PLAN, 5)
    (state,) = states(PLAN, clients)
    known = sum(update(PLAN, PLAN.start(), one) for one in clients[:4])
    participants, own = 5 * (state.x - PLAN.start().x) - known, update(PLAN, PLAN.start(), clients[4])
    assert np.abs(participants - own).max() < 1e-6 < 1e-2 < np.abs(own).max()


@pytest.mark.promise("P82")
@pytest.mark.control("no defence: a model tells its mean, which is said")
@pytest.mark.parametrize("n", [2, 5])
def test_two_models_in_a_row_tell_a_hospital_the_sum_of_all_others(n: int) -> None:
    """It subtracts its own part of the mean; of two hospitals, each sees the other's update."""
    plan = replace(PLAN, rounds=3)
    clients = honest(plan, n)
    before = plan.start()
    for state in states(plan, clients):
        own, *others = (update(plan, before, one) for one in clients)
        participants = n * (state.x - before.x) - own
        assert np.abs(participants - sum(others)).max() < 1e-6 < 1e-3 < np.abs(sum(others)).max()
        before = state


@dataclass(repr=False)
class Wiretapped(h.Client):
    """All that it says is heard."""

    heard: list[bytes] = field(default_factory=list)

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        reply = super().reply(request, given)
        self.heard += [reply["nonce"], *reply["public"], *reply["leader"], *reply["sealed"][0]]
        return reply


@dataclass(frozen=True, repr=False)
class Wired(h.App):
    """Its clients are wiretapped."""

    heard: list[bytes] = field(default_factory=list)

    def clients(self, secret: h.Key | None = None) -> list[h.Client]:
        return [Wiretapped(who, self.plan, data, heard=self.heard) for who, data in self.data.items()]


@pytest.mark.promise("P105")
@pytest.mark.control("no defence: nothing stores a report, and none could be taken away")
def test_no_file_of_a_run_holds_a_share(tmp_path: Path) -> None:
    app = Wired(PLAN, federation(3))
    run = Store(tmp_path).new(repr(PLAN), PLAN.digest, "app/__init__.py", {}, PLAN.rounds)
    *_, state = app.run(run)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"client-2" in files and state.x.tobytes() in files
    parts = [part[:16] for part in app.heard if part]
    assert len(parts) > 3 * PLAN.rounds and not [part for part in parts if part in files]


@pytest.mark.promise("P11", "P82")
@pytest.mark.guards(
    "who sees a sum rests on who is in it", "the other clients see the mean", "two clients see each other"
)
def test_who_sees_what_names_these_assumptions() -> None:
    rows = {who: (sees, rests) for who, sees, rests in h.VerifiedSum().visibility()}
    for reply in ("keeps its shares to itself", "those of the clients named", "not authenticated", "enough honest"):
        assert reply in rows["server"][1]
    assert "the mean of all updates" in rows["other clients"][0]
    assert "of two clients, each learns the other's" in rows["other clients"][1]
