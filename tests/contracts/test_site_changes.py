"""What changes while a run goes on between sites: who takes part, and how much time is left."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.attending import SECRET, Sites
from tests.contracts.test_site_runtime import DATA, Dying, clients, plan
from tests.operating import Federation

import hansa as h
from hansa.app.load import load
from hansa.kits.authority import Authority
from hansa.loops.journal import Journal
from hansa.loops.opening import Moment, Opening
from hansa.loops.synchronous import one_round
from hansa.runtimes.sites import SiteRuntime
from hansa.state import State


def together(p: h.Plan, state: State, names: list[str]) -> State:
    """The state after a round of these clients in one process."""
    runtime = h.InProcess(clients(p, {who: DATA[who] for who in names}), secret=SECRET)
    return one_round(p, runtime, state, SECRET)


@pytest.mark.promise("P561")
def test_a_newer_roster_is_taken_between_rounds(tmp_path: Path) -> None:
    """Two come, one goes, and a round that a restart interrupts ends among those with whom it began."""
    first, second, third, fourth = sorted(DATA)
    p = plan(rounds=4, sample=h.Everyone(deadline=60))
    with Sites(tmp_path, p, DATA) as sites:
        authority = Authority.load(tmp_path / "pki")
        whole = dict(authority.roster)
        few = authority.publish({who: one for who, one in whole.items() if who not in (third, fourth)})
        sites.gateway.with_roster(few.roster)
        journal = Journal(tmp_path / "journal")
        states = h.synchronous(p, sites.runtime(), None, SECRET, journal)
        found = [next(states)]
        more = few.publish(whole)
        sites.gateway.with_roster(more.roster)
        come_again(sites, third, fourth)
        found.append(next(states))
        with pytest.raises(KeyboardInterrupt):
            next(h.synchronous(p, Dying(sites.gateway, p), found[1], SECRET, journal))
        gone = more.revoke(next(who for who in DATA if who not in heard(journal, found[1])))
        sites.kits["server"] = sites.kits["server"].with_roster(gone.roster)
        sites.serve_again()
        states = h.synchronous(p, sites.runtime(), found[1], SECRET, journal)
        found += [next(states), next(states)]
        journal.close()
    left = sorted(set(DATA) & gone.roster.keys())
    assert [list(one.participants) for one in found] == [[first, second], sorted(DATA), left, left]
    assert list(found[2].excluded.values()) == ["absent"] and not found[3].excluded
    state = p.start()
    for one in found:
        state = together(p, state, list(one.participants))
        assert state.x.tobytes() == one.x.tobytes()


def come_again(sites: Sites, *who: str) -> None:
    """Let these attend who were refused when they were on no roster."""
    for one in who:
        sites.attendants[one].stop()
        sites.attend(one)
    sites.wait(*who)


def heard(journal: Journal, state: State) -> set[str]:
    """Who was heard in the round after a state."""
    session = h.loops.channel.session_of(SECRET, number=state.round)
    return {who for reply in journal.heard(session) for who in reply.who}


@pytest.mark.promise("P561")
def test_a_buffered_run_asks_who_has_come(tmp_path: Path) -> None:
    p = plan(rounds=30, sample=h.Everyone(deadline=60))
    with Sites(tmp_path, p, DATA) as sites:
        authority = Authority.load(tmp_path / "pki")
        whole = dict(authority.roster)
        late = sorted(DATA)[3]
        few = authority.revoke(late)
        sites.gateway.with_roster(few.roster)
        states = h.buffered(p, sites.runtime(), secret=SECRET, size=2, busy=3)
        assert late not in next(states).participants
        sites.gateway.with_roster(few.publish(whole).roster)
        come_again(sites, late)
        assert any(late in one.participants for one in states)


@pytest.mark.promise("P562")
def test_time_goes_on_as_the_machine_counts_it() -> None:
    """Whatever is done to its clock; after a start of the machine by the clock, and never for longer than at first."""
    now = Moment.now()

    def left(**changed: Any) -> float:
        return Opening(("a",), replace(now, **changed)).left(3600)

    assert now.start and 3590 < left() <= 3600
    assert 3490 < left(running=now.running - 100) <= 3500
    assert 3490 < left(running=now.running - 100, clock=now.clock - 1e6) <= 3500
    assert 3490 < left(running=now.running - 100, clock=now.clock + 1e6) <= 3500
    assert 3490 < left(start="another", running=0.0, clock=now.clock - 100) <= 3500
    assert left(start="another", clock=now.clock + 1e6) == 3600
    assert left(running=now.running - 3601) == 0


class Noting(SiteRuntime):
    """Notes how long each question is open."""

    seconds: list[float]

    def send(self, message: Any) -> None:
        if isinstance(message, h.messages.Request):
            self.seconds.append(message.deadline)
        super().send(message)


@pytest.mark.promise("P562")
@pytest.mark.parametrize("loop", [h.synchronous, h.buffered])
def test_after_a_restart_a_session_has_what_was_left_of_its_time(loop: Any, tmp_path: Path) -> None:
    more: Any = {"size": 3, "busy": 4} if loop is h.buffered else {}
    p = plan(rounds=2, sample=h.Everyone(quorum=3, deadline=600))
    with Sites(tmp_path, p, DATA) as sites:
        journal = Journal(tmp_path / "journal")
        with pytest.raises(KeyboardInterrupt):
            list(loop(p, Dying(sites.gateway, p), None, SECRET, journal=journal, **more))
        journal._file.execute("UPDATE sessions SET running = running - 500")  # so long it was ended
        sites.serve_again()
        runtime = Noting(sites.gateway, p)
        runtime.seconds = []
        before = time.monotonic()
        first, second = loop(p, runtime, None, SECRET, journal=journal, **more)
        took = time.monotonic() - before
        journal.close()
    assert len(first.participants) >= 3 and len(second.participants) >= 3
    again = min(runtime.seconds)
    assert 99 - took < again <= 100 and max(runtime.seconds) > 590 - took


class Heard(Dying):
    """Notes in which order sessions are heard, and dies after so many, or never."""

    order: list[Any]

    def receive(self) -> Any:
        reply = super().receive()
        self.order.append(reply.session)
        return reply


class InOrder(h.InProcess):
    """One process in which replies come in the order of a list."""

    order: list[Any]

    def send(self, message: Any) -> None:
        super().send(message)
        if isinstance(message, h.messages.Request):
            self.replies = {**vars(self).get("replies", {}), message.session: super().receive()}

    def receive(self) -> Any:
        return self.replies.pop(self.order.pop(0))


@pytest.mark.promise("P565")
def test_a_buffered_run_between_sites_has_the_bytes_of_its_order(tmp_path: Path) -> None:
    """A server dies when it has heard two of a step, and the next goes on: one process that hears all in the same
    order makes the same steps, and remembers the same.
    """
    p = plan(algorithm=h.Scaffold(), sample=h.Everyone(deadline=60), rounds=5)
    more: Any = {"size": 3, "busy": 4}
    order: list[Any] = []
    with Sites(tmp_path, p, DATA) as sites:
        journal = Journal(tmp_path / "journal")
        first = Heard(sites.gateway, p)
        first.order, first.left = order, 5
        states = h.buffered(p, first, None, SECRET, journal=journal, **more)
        found = [next(states)]
        with pytest.raises(KeyboardInterrupt):
            next(states)
        sites.serve_again()
        second = Heard(sites.gateway, p)
        second.order, second.left = order, 10**6
        found += h.buffered(p, second, found[0], SECRET, journal=journal, **more)
        journal.close()
    same = InOrder(clients(p), secret=SECRET)
    same.order = order
    wanted = list(h.buffered(p, same, None, SECRET, **more))
    assert [one.x.tobytes() for one in found] == [one.x.tobytes() for one in wanted]
    assert not any(one.excluded for one in found)


def later(folder: Path, wire: str) -> dict[str, str]:
    """What a process has to know to be of a later release: a copy of the sources with another version of messages."""
    source = Path(h.__file__).parent
    shutil.copytree(source, folder / "hansa")
    control = folder / "hansa" / "runtimes" / "sites" / "control.py"
    text = control.read_text()
    assert text.count("WIRE = (1, 0)") == 1
    control.write_text(text.replace("WIRE = (1, 0)", f"WIRE = {wire}"))
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.promise("P564")
def test_a_server_is_upgraded_between_two_rounds(tmp_path: Path) -> None:
    """Sites of the earlier release go on to the same bytes; one of a later major version is told both numbers."""
    minor, major = later(tmp_path / "minor", "(1, 1)"), later(tmp_path / "major", "(2, 0)")
    (tmp_path / "sites").mkdir()
    with Federation(tmp_path / "sites", rounds=40, more="secret=hansa.Key.of(7)") as sites:
        *_, wanted = load(tmp_path / "sites" / "app.py").run()
        parties = sites.join_all("--repeats")
        server = sites.serve()
        server.wait_for("round  3/40")
        server.signal()
        assert server.code() == 0
        done = len(sites.run.history())
        parties["north"].signal()
        assert parties["north"].code() == 0
        server = sites.serve("--go-on", env=minor)
        strange = sites.join("north", "--repeats", env=major)
        assert strange.code() == 3 and server.child.poll() is None
        told = "speaks version 1.1 of the messages", "this is version 2.0"
        assert all(one in strange.said for one in told)
        server.wait_for("north speaks version 2.0 of the messages, and this is 1.1")
        sites.join("north", "--repeats")
        assert server.code() == 0 and 3 <= done < 40
        assert [one.code() for one in (parties["east"], parties["west"])] == [0, 0]
        assert sites.run.state().x.tobytes() == wanted.x.tobytes()
