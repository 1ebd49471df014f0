"""Sites over TLS on the loopback: the bytes of InProcess, whatever breaks on the way."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attending import SECRET, Sites, cutting

import hansa as h
from hansa.errors import PlanError, RoundError
from hansa.loops.journal import Journal
from hansa.runtimes.sites import SiteRuntime, away, desk, moving
from hansa.testing.algorithm import federation

DATA = dict(list(federation().items())[:4])
BOUNDED = (h.Finite(), h.Clip(1.0, side=10.0), h.Weigh("examples", cap=64))
WHOLE = (*BOUNDED, h.Quantize(16, of="sum", clients=20))


def plan(**more: Any) -> h.Plan:
    """Three rounds of the smallest model, which wait for nobody for long."""
    told = {"training": h.Training(batch=8), "rounds": 3, "sample": h.Everyone(quorum=3, deadline=60)}
    return h.Plan(h.Softmax(4, 3), **{**told, **more})


def clients(p: h.Plan, data: Any = DATA) -> list[h.Client]:
    """The same parties, in this process."""
    return [h.Client(who, p, one, secret=SECRET) for who, one in data.items()]


def alike(found: list[Any], wanted: list[Any]) -> bool:
    """Are these the same states, to the last byte of the model?"""
    same = [
        (a.x.tobytes(), a.participants, a.skipped) == (b.x.tobytes(), b.participants, b.skipped)
        for a, b in zip(found, wanted, strict=True)
    ]
    return all(same)


PLANS = {
    "sum": plan(),
    "scaffold": plan(algorithm=h.Scaffold()),
    "median": plan(aggregator=h.Median()),
    "noise by each": plan(pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.GaussianNoise(0.1, by="each"))),
    "verified": plan(pipe=BOUNDED, aggregator=h.VerifiedSum(helpers=("auditor",))),
    "masked": plan(pipe=WHOLE, aggregator=h.MaskedSum()),
    "encrypted": plan(pipe=WHOLE, aggregator=h.EncryptedSum()),
    "arriving": plan(pipe=WHOLE, aggregator=h.Arriving(h.MaskedSum(), size=4)),
}
LOOPS: dict[str, Any] = {"arriving": partial(h.buffered, busy=4)}  # all of whom are in each cell


@pytest.mark.promise("P500")
@pytest.mark.parametrize("name", PLANS)
def test_the_bytes_are_those_of_one_process(name: str, tmp_path: Path) -> None:
    p = PLANS[name]
    loop = LOOPS.get(name, h.synchronous)
    wanted = list(loop(p, h.InProcess(clients(p), secret=SECRET), secret=SECRET))
    with Sites(tmp_path, p, DATA) as sites, sites.runtime() as runtime:
        assert list(runtime.roster()) == sorted(DATA)
        assert alike(list(loop(p, runtime, secret=SECRET)), wanted)


@pytest.mark.promise("P501")
def test_a_link_that_breaks_goes_on_where_it_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten links are cut in the middle of an upload of 5 MB; less than twice the bytes cross in all."""
    monkeypatch.setattr(away, "FIRST", 0.01)
    monkeypatch.setattr(moving, "PART", 2**20)
    rng = np.random.default_rng(0)
    data = {who: (rng.normal(size=(8, 40_000)).astype(np.float32), rng.integers(0, 16, 8)) for who in ("a", "b")}
    p = h.Plan(h.Softmax(40_000, 16), training=h.Training(batch=8), rounds=1, sample=h.Everyone(deadline=60))
    (wanted,) = h.synchronous(p, h.InProcess(clients(p, data)), secret=SECRET)
    sites = Sites(tmp_path, p, data)
    with cutting(sites.gateway.port, 1_500_000, 6) as (port, carried):
        sites.address = f"127.0.0.1:{port}"
        with sites, sites.runtime() as runtime:
            (found,) = h.synchronous(p, runtime, secret=SECRET)
    vector = 4 * found.x.size
    assert alike([found], [wanted]) and len(carried) >= 6 + 2
    assert 2 * vector < sum(carried) < 2 * vector + 6 * 2 * 2**20  # a part is lost with each cut, at most


@pytest.mark.promise("P502")
@pytest.mark.parametrize("name", ["scaffold", "verified", "masked"])
def test_who_is_started_again_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    """After each round the server, with its journal; and in the middle of the next one client, with its book."""
    p = PLANS[name]
    wanted = list(h.synchronous(p, h.InProcess(clients(p), secret=SECRET), secret=SECRET))
    found: list[Any] = []
    with Sites(tmp_path, p, DATA) as sites:
        for i in range(p.rounds):
            journal = Journal(tmp_path / "journal")
            states = h.synchronous(p, sites.runtime(), found[-1] if found else None, SECRET, journal)
            found.append(next(states))
            journal.close()
            sites.attendants[sorted(DATA)[i]].stop()
            sites.serve_again()  # it has not settled the round
            sites.attend(sorted(DATA)[i])
    assert alike(found, wanted)


class Dying(SiteRuntime):
    """A server that dies when it has heard two answers of a round, which are in its journal."""

    left = 2

    def receive(self) -> Any:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().receive()


@pytest.mark.promise("P502")
def test_who_was_heard_by_a_server_that_died_learns_that_it_counts(tmp_path: Path) -> None:
    """The next process asks the others alone; all remember their control variates."""
    p = plan(algorithm=h.Scaffold(), rounds=5)
    wanted = list(h.synchronous(p, h.InProcess(clients(p), secret=SECRET), secret=SECRET))
    with Sites(tmp_path, p, DATA) as sites:
        journal = Journal(tmp_path / "journal")
        found = [next(h.synchronous(p, sites.runtime(), None, SECRET, journal))]
        with pytest.raises(KeyboardInterrupt):
            next(h.synchronous(p, Dying(sites.gateway, p), found[0], SECRET, journal))
        sites.serve_again()
        found += h.synchronous(p, sites.runtime(), found[0], SECRET, journal)
        journal.close()
    assert alike(found, wanted)


@pytest.mark.promise("P503")
def test_who_is_away_is_absent_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round waits so long for a dead link, and no longer; that what it said last time counted, it hears then."""
    monkeypatch.setattr(desk, "GRACE", 0.5)
    p = plan(algorithm=h.Scaffold(), rounds=3)
    gone = sorted(DATA)[0]
    with Sites(tmp_path, p, DATA) as sites, sites.runtime() as runtime:
        states = h.synchronous(p, runtime, secret=SECRET)
        first = next(states)
        sites.attendants[gone].stop()
        before = time.monotonic()
        second = next(states)
        assert time.monotonic() - before < 20
        sites.attend(gone)
        sites.wait(gone)
        third = next(states)
        assert sites.attendants[gone].site.party is not None
        learnt = sites.attendants[gone].site._memory.of([gone])
        next(states, None)
    assert gone in first.participants and gone in third.participants and learnt
    assert second.excluded == {gone: "absent"} and len(second.participants) == len(DATA) - 1


@pytest.mark.promise("P504")
def test_what_cannot_be_carried_between_sites_is_refused(tmp_path: Path) -> None:
    endless = plan(sample=h.Everyone())
    with Sites(tmp_path, plan(), DATA) as sites:
        with pytest.raises(PlanError, match="without end"):
            SiteRuntime(sites.gateway, endless)
        with pytest.raises(PlanError, match="auditor as helper"):
            SiteRuntime(sites.gateway, PLANS["verified"])


@pytest.mark.promise("P505")
def test_a_further_run_of_a_plan_is_accepted_by_its_owner_or_not_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs of one plan give away adds up; whoever owns the server cannot begin them as it likes."""
    p = plan(rounds=1)
    other = h.Key.of(8)
    with Sites(tmp_path, p, DATA) as sites, sites.runtime() as runtime:
        (first,) = h.synchronous(p, runtime, secret=SECRET)
        with (
            caplog.at_level(logging.WARNING, "hansa.sites"),
            pytest.raises(RoundError, match=r"client-0 \(refused\), client-1"),
        ):
            list(h.synchronous(p, runtime, secret=other))
        assert len(first.participants) == len(DATA) and "another run of the plan" in caplog.text
    with Sites(tmp_path / "more", p, DATA) as sites, sites.runtime() as runtime:
        for one in sites.attendants.values():
            one.site._accept = 2
        for secret in (SECRET, other):
            (state,) = h.synchronous(p, runtime, secret=secret)
            assert len(state.participants) == len(DATA)


def test_connections_that_are_closing_do_not_end_the_look_at_the_others(tmp_path: Path) -> None:
    """Who closes one twice, as aiohttp does where it ends, leaves a connection that has no certificate any more."""
    with Sites(tmp_path, plan(), DATA) as sites:
        sites.wait(*DATA)

        async def look() -> None:
            server = sites.gateway._runner.server
            assert server is not None and server.connections
            for one in server.connections:
                assert one.transport is not None
                one.transport.close()
                one.transport.close()
            sites.gateway._look()

        sites.gateway.do(look())
