"""Hidden sums in whole runs: one set and one sum in a round, whatever is asked again or restarted, and no run's end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_hidden import KEY
from tests.contracts.restarting import born

import hansa as h
from hansa.aggregators.grouped import Grouped
from hansa.aggregators.hidden.cell import Cell
from hansa.aggregators.hidden.client import Prepared
from hansa.aggregators.hidden.server import collect
from hansa.loops.channel import ServerChannel
from hansa.messages import Request, SessionId, Settle
from hansa.parties.book import Book
from hansa.plan.server import broadcast, public_cohort
from hansa.testing.algorithm import MODEL, federation
from hansa.transforms import Context, Transform

PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20))
TRAINING = h.Training(batch=0, learning_rate=0.05)


def plan_of(*more_pipe: Transform, **more: Any) -> h.Plan:
    """Rounds of softmax regression whose sum is hidden."""
    pieces = {"training": TRAINING, "sample": h.Everyone(quorum=4), "rounds": 3, **more}
    return h.Plan(MODEL, pipe=(*PIPE, *more_pipe), aggregator=h.MaskedSum(), **pieces)


def clients(plan: h.Plan, n: int = 5) -> list[h.Client]:
    return [h.Client(who, plan, data, secret=h.Key.fresh()) for who, data in federation(n).items()]


@dataclass(frozen=True)
class Noted(Transform):
    """Notes what enters the sum, in this process."""

    def encode(self, v: Any, at: Context) -> Any:
        NOTES[at.who] = v.copy()
        return v


NOTES: dict[str, Any] = {}


class Asking:
    """A server that asks real clients, with their books, whatever it likes."""

    before: Mapping[str, str] = MappingProxyType({})

    def __init__(self, plan: h.Plan, book: Path | None = None):
        self.plan = plan
        self.clients = clients(plan)
        self.names = [one.who for one in self.clients]
        self.path = book
        self.awake()
        self.session(0)

    def awake(self) -> None:
        """All parties, as they start."""
        book = Book(self.path) if self.path else None
        self.runtime = h.InProcess(self.clients, book=book)

    def restart(self) -> None:
        """All parties lose what is not in their books."""
        self.runtime.memory.book.close()
        known = [(one.identity, one.roster) for one in self.clients]
        self.clients = [born(one) for one in self.clients]
        self.awake()
        for one, (identity, roster) in zip(self.clients, known, strict=True):
            one.identity, one.roster = identity, roster

    def session(self, number: int, round: int = 0) -> None:
        """Begin a session of a round."""
        begun = replace(self.plan.start(), round=round)
        self.head = ServerChannel(self.plan, self.runtime, begun, SessionId(number=number)).head
        at = self.plan.context(round, self.head.session, secret=KEY, task=self.head.task)
        self.at = at.enrolled(self.runtime.members)

    def ask(self, turn: int, bodies: dict[str, Any]) -> dict[str, Any]:
        """What these answer; None where one refuses."""
        told = broadcast(self.plan, self.plan.start()) if turn == 0 else None
        self.runtime.send(replace(self.head, bodies=bodies, turn=turn, broadcast=told))
        replies = [self.runtime.receive() for _ in bodies]
        return {reply.who[0]: reply.body for reply in sorted(replies, key=lambda reply: reply.who)}

    def vectors(self, names: list[str]) -> dict[str, Any]:
        """Two honest turns with these as the cohort."""
        first = self.ask(0, {key: {"cohort": names} for key in names})
        if not all(first.values()):
            return first
        publics = np.stack([np.frombuffer(first[who]["public"], np.uint8) for who in names])
        boxes = np.stack([first[who]["boxes"] for who in names])
        self.view = {"prepared": np.ones(len(names), np.uint8), "publics": publics}
        return self.ask(1, {who: {**self.view, "boxes": boxes[:, i].copy()} for i, who in enumerate(names)})

    def agree(self, names: list[str], inside: list[int]) -> dict[str, Any]:
        """What these say to a set."""
        return self.ask(2, {key: {"inside": np.array(inside, np.uint8)} for key in names})

    def open(self, gone: Collection[str] = (), before: Mapping[int, Callable[[], None]] | None = None) -> Any:
        """The sum of all but these, whom it does not ask, as an honest server opens it; None where that is none.

        before: what happens before a turn.
        """
        self.gone, self.hooks, self.turn = gone, before or {}, 0
        aggregator = self.plan.aggregator
        assert isinstance(aggregator, h.MaskedSum)
        (terms,) = aggregator.cells(self.names, self.plan.encoded_spec, self.at.session)
        ((_, total),) = collect(self, self.names, [Cell.of(terms)])  # type: ignore[arg-type]
        return total

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """One turn of that."""
        self.hooks.get(self.turn, lambda: None)()
        answers = self.ask(self.turn, {who: body for who, body in bodies.items() if who not in self.gone})
        self.turn += 1
        return ((who, answer) for who, answer in answers.items() if answer is not None)

    def exclude(self, who: str, why: str) -> None:
        """Nobody needs to know."""


# ── who is asked ──


@pytest.mark.promise("P405")
@pytest.mark.promise("P405")
@pytest.mark.guards("a server draws no other cohort by the number of a session")
@pytest.mark.parametrize("aggregator", [h.MaskedSum(), Grouped(h.MaskedSum(), size=4, outer=h.Median())], ids=repr)
def test_a_server_draws_no_other_cohort_by_the_number_of_a_session(aggregator: Any) -> None:
    """Nor another deal into cells: it would try numbers until a victim is among those who collude with it."""
    pieces = {"training": TRAINING, "sample": h.Uniform(12, quorum=9), "rounds": 3}
    plan = h.Plan(MODEL, pipe=PIPE, aggregator=aggregator, **pieces)
    runtime = h.InProcess([h.Client(who, plan, data) for who, data in federation(20).items()])
    found = set[Any]()
    for number in range(20):
        at = plan.context(0, SessionId(number=number), secret=KEY).enrolled(runtime.members)
        cohort = sorted(public_cohort(plan, runtime.roster(), at))
        found.add(tuple(cell.names for cell in aggregator.cells(cohort, plan.encoded_spec, at.session)))
    assert len(found) == 1
    other = plan.context(1, SessionId(number=1), secret=KEY).enrolled(runtime.members)
    assert set(public_cohort(plan, runtime.roster(), other)) != set().union(*next(iter(found)))


# ── twice ──


@pytest.mark.guards("a hidden sum is one in a round")
def test_a_second_sum_of_one_round_is_not_opened() -> None:
    """The sums of all, and of all but one, differ by the vector of that one."""
    server = Asking(plan_of(Noted()))
    whole = server.open()
    assert np.array_equal(whole, np.sum(list(NOTES.values()), axis=0, dtype=whole.dtype))
    server.session(1)
    rest = server.open(gone=server.names[:1])
    assert rest is None


@pytest.mark.promise("P408")
@pytest.mark.promise("P408")
@pytest.mark.guards("another question has no answer")
@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_question_opens_no_other_set(tmp_path: Path, restarted: bool) -> None:
    """Two sets, each helped with by all: of who is in one alone, both secrets."""
    server = Asking(plan_of(), tmp_path / "book")
    names = server.names
    assert all(server.vectors(names).values())
    first = server.agree(names, [1, 1, 1, 1, 1])
    assert all(first.values())
    if restarted:
        server.restart()
    second = server.agree(names[:4], [1, 1, 1, 1, 0])
    assert not any(second.values())


@pytest.mark.promise("P408")
@pytest.mark.promise("P408")
@pytest.mark.guards("what is drawn stands in the book")
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_after_a_restart_a_client_goes_on_with_what_it_has_drawn(tmp_path: Path, turn: int) -> None:
    server = Asking(plan_of(Noted()), tmp_path / "book")
    total = server.open(before={turn: server.restart})
    assert total is not None
    assert np.array_equal(total, np.sum([NOTES[who] for who in server.names], axis=0, dtype=total.dtype))


@pytest.mark.promise("P408")
@pytest.mark.promise("P408")
@pytest.mark.guards("what is drawn is let go when its session is over")
def test_a_book_holds_no_secret_of_a_session_that_is_over(tmp_path: Path) -> None:
    """Whoever finds the disk has else what opens all vectors that were overheard."""
    server = Asking(plan_of(), tmp_path / "book")
    assert server.open() is not None
    book = server.runtime.memory.book
    secrets = [Prepared.decode(book.drawn(who)).secret for who in server.names]
    assert all(secret in on_disk(tmp_path) for secret in secrets)
    server.runtime.send(Settle(server.head.session, tuple(server.names)))
    assert not any(secret in on_disk(tmp_path) for secret in secrets)
    assert not any(map(book.drawn, server.names))


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


# ── no run's end ──


@dataclass
class Crafted(h.Client):
    """Says what `craft` makes of each of its honest answers."""

    craft: Callable[[h.Client, Request, Any], Any] = lambda client, request, answer: answer

    def reply(self, request: Request, given: Any) -> Any:
        return self.craft(self, request, (yield from super().reply(request, given)))


def signed(client: h.Client, request: Request, **first: Any) -> dict[str, Any]:
    """A first message, signed by this client."""
    plan = client.plan
    assert isinstance(plan.aggregator, h.MaskedSum) and client.identity is not None
    session = client._at(request, client.secret).session
    (terms,) = plan.aggregator.cells(request.bodies[client.who]["cohort"], plan.encoded_spec, session)
    message = terms.prepared(client.who, first["public"], first["boxes"])
    return {**first, "signature": client.identity.signing.sign(message) + client.identity.seal.sign(message)}


def spoilt(client: h.Client, request: Request, answer: Any) -> Any:
    """Boxes that nobody can open, and later what is no vector."""
    if request.turn:
        return "no vector"
    return signed(client, request, public=answer["public"], boxes=np.zeros_like(answer["boxes"]))


def weak(client: h.Client, request: Request, answer: Any) -> Any:
    """A key with which everybody agrees on the same, and later what is no vector."""
    if request.turn:
        return "no vector"
    return signed(client, request, public=bytes(32) + answer["public"][32:], boxes=answer["boxes"])


def nonsense(client: h.Client, request: Request, answer: Any) -> Any:
    """In each turn something else that is no answer."""
    return ["no", 7, np.zeros(3), {"vector": 1}][request.turn]


def mad(client: h.Client, request: Request, answer: Any) -> Any:
    """Help that opens nothing."""
    return np.full_like(answer, 2**63) if request.turn == 3 else answer


@pytest.mark.guards("no run ends for what one client makes others refuse")
@pytest.mark.parametrize("craft", [spoilt, weak, nonsense, mad])
def test_one_client_ends_no_run(craft: Any) -> None:
    """Of three all are needed: each round changes nothing, and the next comes."""
    plan = plan_of(sample=h.Everyone(quorum=3))
    X, y = federation(1)["client-0"]
    runtime = h.InProcess([*clients(plan, 2), Crafted("mallory", plan, (X, y), craft=craft)])
    states = list(h.synchronous(plan, runtime))
    assert [bool(state.skipped) for state in states] == [True] * 3
    assert states[-1].x.tobytes() == plan.start().x.tobytes()


@pytest.mark.control("five lose one liar, of whatever kind, and nobody else")
@pytest.mark.parametrize("craft", [weak, nonsense, mad])
def test_one_client_of_six_changes_nothing(craft: Any) -> None:
    plan = plan_of(Noted(), sample=h.Everyone(quorum=5))
    X, y = federation(1)["client-0"]
    runtime = h.InProcess([*clients(plan), Crafted("mallory", plan, (X, y), craft=craft)])
    for state in h.synchronous(plan, runtime):
        assert not state.skipped and set(state.participants) >= {f"client-{i}" for i in range(5)}


@pytest.mark.control("an aggregator of real data: what all refuse of their own is still the end")
def test_a_mistake_of_all_is_told_at_once() -> None:
    plan = plan_of()
    X, y = federation(1)["client-0"]
    runtime = h.InProcess([h.Client(f"client-{i}", plan, (X[:, :2], y)) for i in range(5)])
    with pytest.raises(h.errors.RoundError, match="could take part"):
        list(h.synchronous(plan, runtime))
