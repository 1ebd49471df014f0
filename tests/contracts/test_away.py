"""A store in PostgreSQL that goes away while rounds are made: nothing is lost, and nothing counts twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from sqlalchemy import func, select
from tests.conftest import Postgres
from tests.operating import CLIENTS, Federation, wait_until

from hansa import App, Key, Plan, Scaffold, Softmax, Store, Training, buffered
from hansa.app.load import load
from hansa.errors import StoreError
from hansa.store import heard
from hansa.store.away import AwayError, Waiting
from hansa.store.run import Run

Result = TypeVar("Result")
PLAN = Plan(Softmax(3, 2), Scaffold(), training=Training(batch=5), rounds=6)


class Unheard(Waiting):
    """A database that carries everything out, and goes away each time before it says so."""

    times = 0

    def insist(self, work: Callable[[], Result]) -> Result:
        def first() -> Result:
            if self.times % 2 == 0:
                self.times += 1
                work()
                raise AwayError("It is away.")
            self.times += 1
            return work()

        return super().insist(first)


def records(n: int, seed: int) -> Any:
    rng = Key.of(seed).rng()
    X = rng.normal(size=(n, 3))
    return X, (X @ [1.0, -2.0, 0.5] > 0).astype(np.int64)


def rows(run: Run) -> dict[str, int]:
    """How many rows a journal has."""
    with run.database.read() as c:
        return {one.name: c.scalar(select(func.count()).select_from(one)) or 0 for one in heard.tables.sorted_tables}


@pytest.mark.promise("P560")
def test_what_counted_before_a_database_went_away_counts_once(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction is done twice, in a run of overlapping rounds that goes on in another life after each."""
    monkeypatch.setattr("hansa.store.away.FIRST", 0.001)
    data = {f"site {i}": records(20 + i, i) for i in range(7)}
    loop: Any = partial(buffered, size=3, busy=5)
    app = App(PLAN, data, loop=loop, secret=Key.of(7))
    *_, wanted = app.run(Store(tmp_path / "plain").new("", app.known_plan.digest, "", {}))
    store = Store(tmp_path / "runs", postgres.new())
    run, other = (store.new("", app.known_plan.digest, "", {}) for _ in range(2))
    next(app.run(other))  # of the same secret: its rows are its own
    store.database.waiting = waiting = Unheard()
    waiting.over.clear()
    for _ in range(PLAN.rounds):
        state = next(app.run(run))
    assert state.x.tobytes() == wanted.x.tobytes() and waiting.times > 50
    assert [one.round for one in run.history()] == [1, 2, 3, 4, 5, 6]
    assert rows(run)["heard"] >= rows(other)["heard"] >= 3
    run.finish("done")
    assert not (run.folder / heard.FOLDER).exists() and rows(other)["heard"] >= 3
    other.finish("done")
    assert not any(rows(run).values())


@pytest.mark.promise("P560")
def test_a_database_that_is_started_again_costs_a_run_nothing(tmp_path: Path, postgres: Postgres) -> None:
    """Its server is killed when it has heard two, starts again, and hears the third while its database is away."""
    url = postgres.new()
    with Federation(tmp_path, rounds=3, more="secret=hansa.Key.of(7)") as sites:
        *_, wanted = load(tmp_path / "app.py").run()
        (tmp_path / "data" / "north.slow").write_text("600")
        parties = sites.join_all("--verbose", "--repeats")
        server = sites.serve("--store", url, "--verbose")
        server.wait_for("east sent", "west sent")
        store = Store(tmp_path / "runs", url)
        (run,) = (store.open(one.id) for one in store.runs())
        wait_until(lambda: rows(run)["heard"] == 2)
        for one in (server, *parties.values()):
            one.signal(signal.SIGHUP)  # which ends none of them
        server.signal(signal.SIGKILL)
        assert server.code() == -signal.SIGKILL
        with store.database.read() as c:
            said = list(c.scalars(select(func.octet_length(heard.heard.c.reply))))
        assert said == [32, 32]  # of what was said it has the SHA-256
        server = sites.serve("--go-on", "--store", url, "--verbose")
        server.wait_for("east attends", "north attends", "west attends", times=2)
        wait_until(lambda: any((run.folder / "sites" / "outgoing").iterdir()))  # north is asked
        postgres.stop()
        try:
            (tmp_path / "data" / "north.slow").unlink()
            server.wait_for("north sent", "It is waited for")
            with pytest.raises(StoreError, match="cannot be used"):
                run.history()
        finally:
            postgres.start()
        assert server.code() == 0 and "the store is back" in server.said
        assert [one.code() for one in parties.values()] == [0] * 3
        assert all(parties[who].said.count("round 1: sent") == 1 for who in ("east", "west"))
        # a second time when the server was killed, and no third
        assert all(one.said.count("  attends") == 2 for one in parties.values())
        assert run.state().x.tobytes() == wanted.x.tobytes()
        assert [set(one.participants) for one in run.history()] == [set(CLIENTS)] * 3
        assert not any(rows(run).values())


def test_a_database_that_is_not_waited_for_ends_with_words(tmp_path: Path, postgres: Postgres) -> None:
    """As in `hansa run`: what is committed is safe, and the run goes on later."""
    app = App(PLAN, {"a": records(20, 1), "b": records(20, 2)}, secret=Key.of(7))
    store = Store(tmp_path / "runs", postgres.new())
    run = store.new("", app.known_plan.digest, "", {})
    states = app.run(run)
    next(states)
    postgres.stop()
    try:
        with pytest.raises(StoreError, match="committed rounds are safe"):
            next(states)
    finally:
        postgres.start()
    assert len(list(app.run(run))) == PLAN.rounds - 1
