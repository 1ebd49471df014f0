"""What a verified sum does not hide: each thing that it says to rest on is needed, for here it is taken away.

A server that enrols clients of its own, clients that collude, and one client out of two learn an update; and what is
said of who sees what names that. A server that speaks for clients whom others have enrolled learns none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_verified import HELPER, Server, honest, plan_of, states
from tests.contracts.asking import asked, contribution

import hansa as h
from hansa.aggregators.verified.server import joined
from hansa.app.running import rounds_of
from hansa.crypto.identity import Identity, Roster
from hansa.crypto.keys import SigningKey
from hansa.messages import SessionId
from hansa.plan import server
from hansa.store import Store
from hansa.testing.algorithm import federation

PLAN = plan_of(training=h.Training(batch=0, learning_rate=0.5))
WHOLE = replace(PLAN, sample=h.Everyone(quorum=5))
FIVE = tuple(f"client-{i}" for i in range(5))
STEP = 6e-8  # of a bound of 1, up to which a client's own rounding is all that is left to guess


def update(plan: h.Plan, state: h.State, client: h.Client) -> h.Vector:
    """What a client's training adds to the model of a state, as it alone knows it."""
    train, held, examples = client.parts
    more: Any = {"secret": h.Key.fresh(), "examples": examples, "memo": state.transforms}
    at = plan.context(state.round, SessionId(number=state.round), client.who, **more)
    reply, _ = contribution(plan, server.broadcast(plan, state)[0], {}, train, held, at)
    return reply[plan.encoded_spec.slice("delta")]


def summed(server: Server, reports: dict[str, Any]) -> h.Vector | None:
    """The sum that the server and an honest helper make of these reports; None where the helper says none."""
    share, helped = server.share, server.pass_on(reports)
    if helped is None:
        return None
    own = share.prepare([(who, r["nonce"], r["public"], r["leader"]) for who, r in reports.items()])
    verdicts, _ = share.decide(list(reports), [own, helped])
    agreed = share.finish(verdicts)
    assert server.ask({"verdicts": verdicts}) == agreed
    share.count(agreed)
    end = server.ask({"close": agreed})
    if end is None:
        return None
    each = zip(share.parts, zip(share.totals({}), end["totals"], strict=True), strict=True)
    return joined(server.plan.encoded_spec, share.parts, [part.read(both, len(agreed), 0.0) for part, both in each])


def nothing(server: Server, who: str, identity: Identity | None = None) -> Any:
    """A report of zeros in the name of a client, signed with a key that the server has."""
    plan, head = server.plan, server.channel.head
    more: Any = {"secret": h.Key.fresh(), "task": head.task}
    at = plan.context(head.round, head.session, who, **more)
    at = at.enrolled(server.runtime.members, replace(identity or Identity.fresh(who, "client"), who=who))
    zeros = plan.aggregator.client(asked(lambda: np.zeros(plan.encoded_spec.size)), replace(at, spec=plan.encoded_spec))
    next(zeros)
    return zeros.send(server.opening)


def opened(clients: list[h.Client]) -> Server:
    """A session in which no sum is over fewer than five."""
    server = Server(WHOLE, clients)
    assert server.open() is True
    return server


def shows(total: h.Vector | None, client: h.Client) -> bool:
    """Is this sum what the client alone has said?"""
    if total is None:
        return False
    own = update(PLAN, PLAN.start(), client)
    assert np.abs(own).max() > 1e-2
    return bool(np.abs(total[PLAN.encoded_spec.slice("delta")] - own).max() < STEP)


# ── a server that speaks for clients ──


@pytest.mark.promise("P120")
@pytest.mark.guards("a helper checks who signed", "a signature is checked")
def test_a_server_that_speaks_for_four_of_five_clients_sees_no_update() -> None:
    """It signs what it invents with keys of its own."""
    clients = honest(WHOLE, 5)
    server = opened(clients)
    reports = server.hear(["client-4"]) | {who: nothing(server, who) for who in FIVE[:4]}
    assert not shows(summed(server, reports), clients[4])
    assert "It says none over fewer than 5" in server.why()


@pytest.mark.promise("P120")
@pytest.mark.guards("a signature is that of the client named")
def test_a_client_that_helps_the_server_speaks_for_itself_alone() -> None:
    clients = honest(WHOLE, 5)
    server = opened(clients)
    invented = {who: nothing(server, who, clients[0].identity) for who in FIVE[:4]}
    assert not shows(summed(server, server.hear(["client-4"]) | invented), clients[4])


@pytest.mark.promise("P120")
@pytest.mark.guards("a signature covers all of a report")
def test_a_server_puts_nothing_under_a_signature_that_a_client_has_made() -> None:
    """All five have signed a report, and four are exchanged."""
    clients = honest(WHOLE, 5)
    server = opened(clients)
    reports = server.hear(list(FIVE))
    for who in FIVE[:4]:
        reports[who] = {**nothing(server, who), "signature": reports[who]["signature"]}
    assert not shows(summed(server, reports), clients[4])


@pytest.mark.promise("P120")
@pytest.mark.guards("only clients sign reports")
def test_a_server_on_the_roster_is_no_client() -> None:
    """Under its own name, with its own key, beside one client."""
    clients = honest(PLAN, 5)
    server = Server(PLAN, clients)
    own = Identity.fresh("server", "server")
    roster = Roster.signed({**server.runtime.members, "server": own.member}, 2, SigningKey.fresh())
    server.runtime.helpers[HELPER].roster = server.runtime.clients.roster = roster
    server.cohort = ["client-4", "server"]
    server.open()
    reports = server.hear(["client-4"]) | {"server": nothing(server, "server", own)}
    assert not shows(summed(server, reports), clients[4])


@pytest.mark.promise("P11")
@pytest.mark.control("no defence: who enrols clients is assumed, and said")
def test_a_server_that_enrols_four_of_five_clients_sees_the_fifths_update() -> None:
    """With an honest helper. That the enrolment key is not the server's is assumed, and said."""
    clients = honest(PLAN, 5)
    server = Server(PLAN, clients)
    invented = {who: Identity.fresh(who, "client") for who in FIVE[:4]}
    members = {**server.runtime.members, **{who: one.member for who, one in invented.items()}}
    server.runtime.helpers[HELPER].roster = Roster.signed(members, 2, SigningKey.fresh())
    server.open()
    reports = server.hear(["client-4"]) | {who: nothing(server, who, invented[who]) for who in FIVE[:4]}
    assert shows(summed(server, reports), clients[4])


# ── clients that collude ──


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
        reply = yield from super().reply(request, given)
        self.heard += [reply["nonce"], *reply["public"], *reply["leader"], *reply["sealed"][0], reply["signature"]]
        return reply


@pytest.mark.promise("P105")
@pytest.mark.control("no defence: nothing stores a report, and none could be taken away")
def test_no_file_of_a_run_holds_a_share(tmp_path: Path) -> None:
    heard = list[bytes]()

    def wiretapped(app: h.App, secret: h.Key, book: Any) -> h.InProcess:
        clients = [Wiretapped(who, PLAN, data, heard=heard) for who, data in app.data.items()]
        return h.InProcess(clients, secret=secret, book=book)

    run = Store(tmp_path).new(repr(PLAN), PLAN.digest, "app/__init__.py", {}, PLAN.rounds)
    *_, state = rounds_of(h.App(PLAN, federation(3)), run, None, wiretapped)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"client-2" in files and state.x.tobytes() in files
    parts = [part[:16] for part in heard if part]
    assert len(parts) > 3 * PLAN.rounds and not [part for part in parts if part in files]


@pytest.mark.promise("P11", "P82")
@pytest.mark.guards(
    "who sees a sum rests on who is in it", "the other clients see the mean", "two clients see each other"
)
def test_who_sees_what_names_these_assumptions() -> None:
    rows = {who: (sees, rests) for who, sees, rests in h.VerifiedSum().visibility()}
    for reply in (
        "keeps its shares to itself",
        "each signs its reports",
        "whoever holds the enrolment key",
        "enough honest",
    ):
        assert reply in rows["server"][1]
    assert "the mean of all updates" in rows["other clients"][0]
    assert "of two clients, each learns the other's" in rows["other clients"][1]
