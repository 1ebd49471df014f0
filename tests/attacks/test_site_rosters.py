"""Rosters that change while a run goes on, where its ε rests on how many take part."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.attacks.intruders import Attacked
from tests.attending import HOST, Sites
from tests.contracts.test_site_runtime import DATA, plan

import hansa as h
from hansa.errors import RefusedError
from hansa.kits.authority import Authority
from hansa.runtimes.sites import Gateway

NOISE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.GaussianNoise(1.0))


@pytest.mark.promise("P563")
@pytest.mark.guards("a sample by number is drawn from those with whom its run began")
@pytest.mark.parametrize("sample", [h.Uniform(2, deadline=60), h.InTurn(2, deadline=60)], ids=["uniform", "in turn"])
def test_an_operator_cannot_make_a_sample_larger_by_a_shorter_roster(
    sample: h.Sample, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of four are asked with half the probability; of two, both would be in every round."""
    p = plan(pipe=NOISE, sample=sample)
    sites = Sites(tmp_path, p, DATA)
    try:
        runtime = sites.runtime()
        authority = Authority.load(tmp_path / "pki")
        before = list(runtime.roster())
        for gone in before[:2]:
            authority = authority.revoke(gone)
        with caplog.at_level(logging.WARNING, "hansa.sites"):
            sites.gateway.with_roster(authority.roster)
            assert list(runtime.roster()) == before and list(runtime.roster()) == before
        assert caplog.text.count("the clients of the run stay") == 1
    finally:
        sites.gateway.close()


@pytest.mark.promise("P563")
@pytest.mark.guards("a sum has room for who comes")
def test_who_comes_is_not_asked_where_a_sum_has_no_room(tmp_path: Path) -> None:
    """A fourth would make integers wrap around: the model would be another, and no one would see it."""
    whole = (h.Clip(1.0, side=10.0), h.Weigh("examples", cap=64), h.Quantize(16, of="sum", clients=3))
    sites = Sites(tmp_path, plan(pipe=whole), DATA)
    try:
        authority = Authority.load(tmp_path / "pki")
        members = dict(authority.roster)
        few = authority.revoke(sorted(DATA)[0])
        sites.gateway.with_roster(few.roster)
        runtime = sites.runtime()
        sites.gateway.with_roster(few.publish(members).roster)
        assert len(runtime.roster()) == 3
    finally:
        sites.gateway.close()


def away(folder: Path) -> Attacked:
    """A run in a federation of its own, whose end north has not heard."""
    one = Attacked(folder)
    session = one.ask("north")
    one.end(session)
    one.gateway.end()
    one.gateway.close()
    return one


@pytest.mark.promise("P576")
@pytest.mark.guards("of another federation's run a server tells nothing")
def test_of_another_federations_run_a_server_tells_nothing(tmp_path: Path) -> None:
    """Both have a north, and one store: who tells the wrong one has nothing left to tell the right one."""
    one = away(tmp_path / "one").sites
    earlier = (one.folder / "server").rename(one.folder / "earlier")
    other = Attacked(tmp_path / "other")
    other.gateway.adopt(earlier)
    other.gateway.end()
    assert not other.post("north").unsettled
    other.gateway.close()
    same = one.serve()
    same.adopt(earlier)
    same.end()
    assert same.desk.posts["north"].unsettled
    same.close()


@pytest.mark.promise("P576")
@pytest.mark.guards("a run goes on in its own federation")
def test_a_run_goes_on_in_its_own_federation(tmp_path: Path) -> None:
    folder = away(tmp_path / "one").sites.folder / "server"
    other = Attacked(tmp_path / "other")
    other.gateway.close()
    own = other.sites.kits["server"]
    with pytest.raises(RefusedError, match="another federation"):
        Gateway(own.roster, own.server_context(), (HOST, 0), folder, own.federation, own.enrolment)
