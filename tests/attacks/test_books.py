"""One answer to one question: from many workers, of many runs, and by whatever lies on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.test_book import BOUND, DATA, MODEL, WHO, asked, plan_of, request_of, runtime_of
from tests.contracts.test_aggregators import FourTurns

import hansa as h
from hansa.errors import StoreError
from hansa.loops.journal import Journal
from hansa.messages import Begin, SessionId, Settle
from hansa.parties import Given, Said
from hansa.parties.book import Book

NOISY = (*BOUND, h.GaussianNoise(1.0, by="each"))


def changing(path: Path) -> Callable[[int], Any]:
    """Data of which one more row is gone at each reading, in whatever process."""

    def data(i: int) -> Any:
        with path.open("a") as file:
            file.write(".")
        gone = path.stat().st_size
        x, y = DATA[f"client-{i}"]
        return x[gone:], y[gone:]

    return data


@pytest.mark.guards("nobody answers twice at once")
@pytest.mark.promise("P90")
@pytest.mark.parametrize("workers", [1, 3])
def test_who_is_asked_six_times_at_once_answers_once(tmp_path: Path, workers: int) -> None:
    """Each reading would give another vector, with noise of its own: the mean of six has 0.4 of the noise."""
    plan = plan_of(pipe=NOISY)
    request = replace(request_of(plan), fold=True)
    answers = list[bool]()
    with h.Processes(h.Population(plan, 3, changing(tmp_path / "readings")), workers) as runtime:
        for _ in range(6):
            runtime.send(request)
        while len(answers) < 6:
            reply = runtime.receive()
            answers += [reply.body is not None for _ in reply.who]
    assert answers.count(True) == 1


@pytest.mark.guards("nobody answers twice at once")
@pytest.mark.promise("P114")
def test_a_message_that_comes_twice_at_once_changes_nothing() -> None:
    plan = plan_of(aggregator=FourTurns(), pipe=(h.Weigh("one"),))
    first = request_of(plan)
    clients = [h.Client(who, plan, one) for who, one in DATA.items()]
    with h.Processes(clients, workers=2) as runtime:
        for turn, body in enumerate([None, "your vector", [WHO], "goodbye"]):
            request = replace(first, bodies={WHO: body}, turn=turn)
            runtime.send(request)
            runtime.send(request)
            one, again = runtime.receive(), runtime.receive()
            assert one.body is not None and h.codec.dumps(one.body) == h.codec.dumps(again.body)


@pytest.mark.guards("what comes after the end is not remembered")
@pytest.mark.promise("P60")
def test_who_answers_after_its_session_is_over_has_learnt_nothing() -> None:
    """A round may end while its clients still train; their control variates would count, and be in no mean."""
    plan = plan_of(algorithm=h.Scaffold())
    memory = runtime_of(plan).memory
    request = request_of(plan)
    memory.ask(WHO, request)
    memory.hear(Settle(request.session, ()))
    memory.keep(WHO, request, Said(MODEL.start(plan.key), learnt={"c": MODEL.start(plan.key)}))
    given = memory.ask(WHO, replace(request_of(plan, 1), round=1))
    assert isinstance(given, Given) and not given.state
    assert not memory.book.pending


@pytest.mark.guards("a run that was renamed is one run")
@pytest.mark.promise("P38")
def test_a_server_gains_no_round_by_names_of_runs() -> None:
    """It goes to and fro between names, none of which has begun but the first."""
    plan = plan_of(pipe=NOISY, rounds=6)
    runtime = runtime_of(plan)
    runtime.send(Begin("a"))
    answers = set[tuple[str, int]]()
    each = [(run, round) for round in range(1, plan.rounds) for run in "abc"]
    for run, round in [("a", 0), ("b", 1), ("c", 2), *each]:
        request = replace(request_of(plan), round=round, session=SessionId(run, 0, round))
        if asked(runtime, request).body is not None:
            answers.add((run, round))
    assert sorted(round for _, round in answers) == list(range(plan.rounds))


# ── what a book holds ────────────────────────────────────────────────────────────────────────────────────────────────


WIDE = h.Softmax(2_500, 4)  # whose vectors are too large to be kept in memory


def wide() -> dict[str, Any]:
    rng = h.Key.of(1).rng()
    return {f"client-{i}": (rng.normal(size=(4, 2_500)), rng.integers(0, 4, 4)) for i in range(4)}


@pytest.mark.guards("what will not be asked again is let go")
def test_a_book_of_a_buffered_run_holds_the_answers_of_those_at_work_alone() -> None:
    """A fast client is asked again before its first session is settled."""
    plan = h.Plan(WIDE, training=h.Training(batch=0, report=False), rounds=12)
    runtime = h.InProcess([h.Client(who, plan, one) for who, one in wide().items()], h.Network(latency=1.0))
    sizes = list[int]()
    for _ in h.buffered(plan, runtime, size=4, busy=4):
        shelf = runtime.memory.book._shelf
        assert shelf._file is not None
        sizes.append(os.fstat(shelf._file.fileno()).st_size)
    assert max(sizes) <= sizes[0] * 2


@pytest.mark.guards("what an earlier run has said is let go")
def test_a_book_holds_nothing_of_runs_that_were_cut_short() -> None:
    plan = h.Plan(WIDE, aggregator=h.Median(), training=h.Training(batch=0, report=False), rounds=2)
    runtime = h.InProcess([h.Client(who, plan, one) for who, one in wide().items()])
    for _ in range(3):
        next(h.synchronous(plan, runtime))
    assert runtime.memory.book._shelf._places == 4


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.guards("a book is one process's")
@pytest.mark.promise("P114")
@pytest.mark.parametrize("open", [Book, Journal])
def test_two_runtimes_have_no_book_in_common(tmp_path: Path, open: Any) -> None:
    """Each would answer, for neither knows what the other has said since it began to read."""
    first = open(tmp_path / "file")
    with pytest.raises(StoreError, match="file cannot be used: database is locked"):
        open(tmp_path / "file")
    first.close()
    open(tmp_path / "file").close()


def no_folder(path: Path) -> Path:
    return path / "none" / "book"


def folder(path: Path) -> Path:
    return path


def another(path: Path) -> Path:
    path = path / "letter"
    path.write_text("Dear Anna, " * 500)
    return path


def journal(path: Path) -> Path:
    Journal(path / "journal").close()
    return path / "journal"


def cut(path: Path) -> Path:
    """A quarter of a book that was closed in order."""
    book = Book(path / "book")
    plan = plan_of(pipe=NOISY)
    asked(runtime_of(plan, book), request_of(plan))
    book.close()
    data = (path / "book").read_bytes()
    (path / "book").write_bytes(data[: len(data) // 4])
    return path / "book"


@pytest.mark.control("no defence to take away: what is wrong with a file is said in words")
@pytest.mark.parametrize("make", [no_folder, folder, another, journal, cut])
def test_what_is_no_book_is_refused_with_words(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(StoreError) as caught:
        Book(make(tmp_path))
    assert caught.value.why and caught.value.instead


@pytest.mark.guards("what is not on the disk is not said")
@pytest.mark.promise("P114")
def test_on_a_full_disk_nothing_is_said_and_nothing_is_known(tmp_path: Path) -> None:
    """And once there is room, the same question is answered."""
    book = Book(tmp_path / "book")
    plan = plan_of(pipe=NOISY)
    runtime = runtime_of(plan, book)
    assert book._file is not None
    book._file.execute("PRAGMA max_page_count = 1")
    question = replace(request_of(plan), bodies=dict.fromkeys(DATA))
    runtime.send(question)
    with pytest.raises(StoreError, match="database or disk is full"):
        for _ in DATA:
            runtime.receive()
    book._file.execute("PRAGMA max_page_count = 10000")
    (unsaid,) = (who for who, page in book.pages.items() if not page.turns[0].said)
    runtime.send(replace(question, bodies={unsaid: None}))
    assert runtime.receive().body is not None
