"""A party says the same to the same question, and to another in its place nothing, whatever the server does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts.test_aggregators import FourTurns

import hansa as h
from hansa.loops.channel import ServerChannel
from hansa.messages import Begin, Reply, Request, SessionId, Settle
from hansa.parties.book import Book
from hansa.plan import server
from hansa.plan.server import decoder
from hansa.runtimes.inprocess import Network
from hansa.testing.algorithm import federation

MODEL = h.Softmax(3, 2)
BOUND = (h.Clip(1.0), h.Weigh("one"))
QUIET = h.Training(batch=0, report=False)
DATA = {who: (x[:, :3], y % 2) for who, (x, y) in federation().items()}
WHO = "client-0"


def plan_of(**more: Any) -> h.Plan:
    return h.Plan(MODEL, **{"pipe": BOUND, "training": QUIET, "rounds": 3, **more})


def runtime_of(plan: h.Plan, book: Book | None = None, secret: h.Key | None = None) -> h.InProcess:
    secret = secret or h.Key.fresh()
    return h.InProcess([h.Client(who, plan, one, secret=secret) for who, one in DATA.items()], secret=secret, book=book)


def request_of(plan: h.Plan, number: int = 0, shift: float = 0.0, **more: Any) -> Request:
    vectors, memo = server.broadcast(plan, plan.start())
    told = {**vectors, "x": vectors["x"] + shift}, memo
    return Request(plan.digest, 0, SessionId(number=number), told, {WHO: None}, **more)


def asked(runtime: h.InProcess, request: Request) -> Reply:
    runtime.send(request)
    return runtime.receive()


@pytest.mark.guards("another question has no answer")
@pytest.mark.promise("P114")
def test_who_is_told_two_models_in_one_session_answers_the_first() -> None:
    """The difference of two answers would be that of two models, without what noise and rounding hide."""
    plan = plan_of()
    runtime = runtime_of(plan)
    first, second = asked(runtime, request_of(plan)), asked(runtime, request_of(plan, shift=0.5))
    assert first.body is not None and second.body is None and second.why == "refused"


@pytest.mark.guards("the same question has the same answer")
@pytest.mark.promise("P114")
def test_who_is_asked_again_says_the_very_same() -> None:
    """Shares of a verified sum are random: two reports of one vector would be two different ones."""
    plan = plan_of(aggregator=h.VerifiedSum(), sample=h.Everyone(quorum=2))
    runtime = runtime_of(plan)
    channel = ServerChannel(plan, runtime, plan.start(), SessionId())
    at = plan.context(
        0, SessionId(), secret=h.Key.fresh(), task=channel.head.task, memo=plan.pipeline.start()
    ).enrolled(runtime.members)
    recorded = list[Reply]()
    receive, send = runtime.receive, runtime.send
    questions = list[Request]()

    def heard() -> Reply:
        recorded.append(receive())
        return recorded[-1]

    def said(message: Any) -> None:
        questions.extend([message] if isinstance(message, Request) else [])
        send(message)

    runtime.receive, runtime.send = heard, said  # type: ignore[method-assign]
    mean, participants = plan.aggregator.server(channel, sorted(DATA), decoder(plan, at))
    assert mean is not None and len(participants) == len(DATA)
    answers = {(reply.who, reply.turn): reply.body for reply in recorded}
    for question in questions:
        send(question)
        for _ in question.bodies:
            again = receive()
            assert h.codec.dumps(again.body) == h.codec.dumps(answers[again.who, again.turn])


@pytest.mark.guards("a settled session is over")
@pytest.mark.promise("P114")
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "another has begun"])
def test_a_session_that_is_over_is_not_answered(settled: bool) -> None:
    plan = plan_of()
    runtime = runtime_of(plan)
    assert asked(runtime, request_of(plan, 3)).body is not None
    if settled:
        runtime.send(Settle(SessionId(number=3), (WHO,)))
    else:
        assert asked(runtime, request_of(plan, 4)).body is not None
    assert asked(runtime, request_of(plan, 3)).why == "refused"


@pytest.mark.guards("what has not counted is forgotten")
@pytest.mark.promise("P60")
def test_who_does_not_count_forgets_what_it_has_learnt() -> None:
    plan = plan_of(algorithm=h.Scaffold())
    runtime = runtime_of(plan)
    asked(runtime, request_of(plan))
    runtime.send(Settle(SessionId(), ("client-1",)))
    assert runtime.memory.of(DATA) == {}


@pytest.mark.guards("data that have changed answer nothing")
@pytest.mark.promise("P90")
def test_the_same_question_about_other_data_is_refused() -> None:
    """One record is withdrawn between two askings of one question: the difference would be that record's."""
    noisy = (*BOUND, h.GaussianNoise(1.0, by="each"))
    plan, reads = plan_of(pipe=noisy), []

    def data(i: int) -> Any:
        reads.append(i)
        x, y = DATA[f"client-{i}"]
        return (x, y) if len(reads) == 1 else (x[1:], y[1:])

    runtime = h.InProcess(h.Population(plan, 3, data))
    request = replace(request_of(plan), fold=True)
    first, second = asked(runtime, request), asked(runtime, request)
    assert first.body is not None
    assert second.body is None or len(second.who) == 0


@pytest.mark.guards("what one remembers is a part of the question")
@pytest.mark.promise("P90")
@pytest.mark.parametrize("message", [Settle(SessionId(), ()), Begin("")], ids=["settled", "begun again"])
def test_who_has_been_made_to_forget_does_not_answer_the_same_question_again(message: Settle | Begin) -> None:
    """Each answer would have noise of its own, and their mean half of what ε counts on."""
    noisy = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.GaussianNoise(1.0, by="each"))
    plan = plan_of(algorithm=h.Scaffold(), pipe=noisy)
    runtime, request = runtime_of(plan), replace(request_of(plan, 1, fold=True), round=1)
    assert asked(runtime, request_of(plan, fold=True)).body is not None
    if isinstance(message, Begin):
        runtime.send(Settle(SessionId(), (WHO,)))
    first = asked(runtime, request)
    runtime.send(message)
    second = asked(runtime, request)
    assert first.who == (WHO,) and second.who == ()


@pytest.mark.guards("a file keeps what was said")
@pytest.mark.promise("P114")
def test_a_book_at_a_path_outlives_its_party(tmp_path: Path) -> None:
    plan, secret = plan_of(algorithm=h.Scaffold()), h.Key.fresh()
    book = Book(tmp_path / "book")
    first = asked(runtime_of(plan, book, secret), request_of(plan))
    book.close()
    again = runtime_of(plan, Book(tmp_path / "book"), secret)
    assert asked(again, request_of(plan, shift=0.5)).why == "refused"
    said = asked(again, request_of(plan))
    assert np.array_equal(said.body, first.body)
    again.send(Settle(SessionId(), (WHO,)))
    assert again.memory.of([WHO])[WHO]["c"].any()
    again.memory.book.close()
    third = runtime_of(plan, Book(tmp_path / "book"), secret)
    assert asked(third, request_of(plan)).why == "refused" and third.memory.book.answers[WHO] == 1


@pytest.mark.guards("replies are deleted when settled")
def test_replies_are_deleted_when_settled_and_digests_stay(tmp_path: Path) -> None:
    plan = plan_of(algorithm=h.Scaffold())
    runtime = runtime_of(plan, Book(tmp_path / "book"))
    body = asked(runtime, request_of(plan)).body
    assert body[:8].tobytes() in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    runtime.send(Settle(SessionId(), (WHO,)))
    runtime.memory.book.close()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert body[:8].tobytes() not in left and request_of(plan).question(WHO) in left


@pytest.mark.guards("the server counts who is in the sum")
@pytest.mark.promise("P49")
def test_who_vanishes_after_its_vector_has_counted_is_in_the_sum_and_not_excluded() -> None:
    """And remembers what it has learnt, so that the server's mean and the clients' control variates stay in step."""
    plan = plan_of(algorithm=h.Scaffold(), aggregator=FourTurns(), pipe=(h.Weigh("one"),), rounds=8)
    clients = [h.Client(who, plan, one) for who, one in DATA.items()]
    runtime, late = h.InProcess(clients, Network(vanish=0.5)), 0
    for state in h.synchronous(plan, runtime):
        assert set(state.participants) | set(state.excluded) == set(DATA)
        assert not set(state.participants) & set(state.excluded)
        late += any(runtime.network._gone(who, request_at(state), runtime.key) < 4 for who in state.participants)
    memory = runtime.memory.of(DATA)
    mean = sum((one["c"] for one in memory.values()), np.zeros(MODEL.size)) / len(DATA)
    assert late and np.allclose(state.memo["c"], mean, atol=1e-12)


def request_at(state: h.State) -> Request:
    return Request("", 0, SessionId(number=state.round - 1), None, {})


@pytest.mark.guards("a run begins with nothing remembered")
def test_another_run_begins_with_nothing_remembered() -> None:
    plan = plan_of(algorithm=h.Scaffold())
    runtime = runtime_of(plan)
    asked(runtime, request_of(plan))
    runtime.send(Settle(SessionId(), (WHO,)))
    assert runtime.memory.of([WHO])
    runtime.send(Begin("another"))
    assert runtime.memory.of([WHO]) == {}


@pytest.mark.guards("a settled session is let go")
def test_books_grow_with_the_clients_asked_and_with_nothing_else() -> None:
    """Of a million clients and of many rounds, a book holds one page for each client that was asked, and no reply."""
    plan = plan_of(sample=h.Uniform(5), aggregator=h.Median(), rounds=30)
    x, y = DATA[WHO]
    runtime, asked = h.InProcess(h.Population(plan, 1_000_000, lambda i: (x, y))), set[str]()
    for state in h.synchronous(plan, runtime):
        asked |= {*state.participants, *state.excluded}
    book = runtime.memory.book
    assert book.pages.keys() == asked and not book.pending and not book._open
    entries = [entry for page in book.pages.values() for entry in page.turns.values()]
    assert len(entries) == len(asked) and not any(entry.kept or entry.reply is not None for entry in entries)
