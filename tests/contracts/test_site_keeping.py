"""What a site keeps of a run, and what goes with the run's end, also where the site was away then."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.attending import SECRET, Attendant, Sites
from tests.contracts.test_site_runtime import DATA, alike, clients, plan

import hansa as h
from hansa.parties import database
from hansa.parties.book import TABLES
from hansa.parties.policy import ALL
from hansa.runtimes.sites import away, desk, link
from hansa.runtimes.sites.runs import Runs
from hansa.runtimes.sites.site import learnt_in


def waited(true: Callable[[], object]) -> bool:
    """Does this come to be?"""
    until = time.monotonic() + 30
    while not true() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(true())


def booked(folder: Path) -> tuple[int, int]:
    """Replies and questions that a book holds, and what was learnt and waits."""
    with closing(database.Database(folder / "book", TABLES)) as book:
        ((replies,),) = book.execute("SELECT COUNT(reply) + COUNT(question) FROM asked")
        ((pending,),) = book.execute("SELECT COUNT(*) FROM pending")
    return replies, pending


@pytest.mark.promise("P575")
def test_what_is_learnt_lies_in_a_file_where_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a row it could have a gigabyte at most; the file of before goes, and all with the run that is left."""
    monkeypatch.setattr(database, "LARGE", 32)
    p = plan(algorithm=h.Scaffold())
    wanted = list(h.synchronous(p, h.InProcess(clients(p), secret=SECRET), secret=SECRET))
    who = sorted(DATA)[0]
    with Sites(tmp_path, p, DATA) as sites:
        folder = sites.kits[who].folder
        states = h.synchronous(p, sites.runtime(), secret=SECRET)
        found = [next(states)]
        sites.attendants[who].stop()
        sites.attend(who)  # what it goes on with is read off the file
        found += states
        sites.wait(*DATA)
        assert alike(found, wanted)
        assert waited(lambda: len(list(folder.glob("runs-" + database.DIGITS))) == 1)
    with closing(Runs(folder / "runs")) as runs:
        (run,) = runs
        assert learnt_in(runs.file, run.run)
        runs.ended(run.run, 1, left=True)
    assert not list(folder.glob("runs-" + database.DIGITS))


@pytest.mark.promise("P576")
def test_who_was_away_when_its_run_ended_hears_it_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the server of a later run of the same store, at which it stays."""
    monkeypatch.setattr(desk, "GRACE", 0.5)
    p = plan(algorithm=h.Scaffold())
    who = sorted(DATA)[0]
    sites = Sites(tmp_path, p, DATA)
    with sites:
        sites.wait(*DATA)
        states = h.synchronous(p, sites.runtime(), secret=SECRET)
        next(states)
        sites.attendants[who].stop()
        list(states)
        sites.gateway.end()
    folder = sites.kits[who].folder
    with closing(Runs(folder / "runs")) as runs:
        assert [one.ended for one in runs] == [None]
    assert sum(booked(folder)) > 0  # the end of its last session is not settled there
    (sites.folder / "server").rename(sites.folder / "earlier")
    sites.gateway = sites.serve(sites.gateway.port)
    sites.gateway.adopt(sites.folder / "earlier")
    back: Attendant = sites.attend(who)
    with closing(Runs(folder / "runs")) as runs:
        assert waited(lambda: all(one.ended for one in runs))
        (told,) = runs.listed(ALL)
        assert "1 of 3 rounds answered" in told
    sites.wait(who)
    back.stop()
    sites.gateway.close()
    assert booked(folder) == (0, 0)


@pytest.mark.promise("P577")
def test_a_server_that_was_there_a_moment_ago_is_dialled_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was killed starts again within seconds; one that stays away is not dialled without end."""
    bounds: list[float] = []

    def drawn(low: float, high: float) -> float:
        bounds.append(high)
        return 0.0

    monkeypatch.setattr(link.random, "uniform", drawn)
    sites = Sites(tmp_path, plan(), DATA)
    who = sorted(DATA)[0]
    one = sites.attend(who)
    sites.wait(who)
    sites.gateway.close()
    assert waited(lambda: len(bounds) > 20)
    one.stop()
    assert bounds[:3] == [away.FIRST, 2 * away.FIRST, 4 * away.FIRST] and max(bounds) == away.SOON
    assert away.longer(2 * away.SOON, away.RECENT) == 4 * away.SOON
    assert away.longer(away.LONGEST, away.RECENT) == away.LONGEST
