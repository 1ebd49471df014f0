"""Real nodes without a server: the bytes of a simulation over TLS, after kills, and after who was away comes back."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.approving import hansa
from tests.meeting import ONE, Village
from tests.noding import Nodes
from tests.operating import NO_SANDBOX

import hansa as h
from hansa.parties.database import Database
from hansa.runtimes.peers import node
from hansa.runtimes.sites import away


@pytest.mark.promise("P620")
@pytest.mark.parametrize(
    ("graph", "given"),
    [(h.Ring(), {"algorithm": h.Scaffold()}), (h.OnePeer(), {}), (h.Complete(), {"aggregator": h.TrimmedGossip(1)})],
    ids=str,
)
def test_nodes_end_with_the_bytes_of_a_simulation(tmp_path: Path, graph: Any, given: Any) -> None:
    there = Village(tmp_path, graph, **given)
    asyncio.run(there.all())
    assert there.models() == there.simulated()
    assert len(set(there.models().values())) > 1 or graph == h.Complete() or graph == h.OnePeer()


@pytest.mark.promise("P621", "P627")
def test_processes_of_which_one_is_killed_end_with_the_same_bytes(tmp_path: Path) -> None:
    with Nodes(tmp_path, rounds=12) as nodes:
        for who in nodes.names:
            nodes.start(who)
        nodes.running["west"].wait_for("round 3: trained")
        nodes.kill("west")
        nodes.start("west")
        for who in nodes.names:
            assert nodes.running[who].code() == 0, nodes.running[who].said
        expected = nodes.simulated()
        for who in nodes.names:
            assert np.array_equal(nodes.model(who), expected[who])
        kit = ("--kit", nodes.kit("east"), "--repeats", *NO_SANDBOX)
        told = hansa("explain", tmp_path / "app.py", *kit).output
        assert "Your neighbours" in told and "the model that east says" in told
        scored = hansa("score", tmp_path / "app.py", *kit, "--data", tmp_path / "data/east.npz")
        assert "24 examples" in scored.output and "after round 12" in scored.output


@pytest.mark.promise("P624")
def test_a_node_that_was_away_goes_on_where_the_others_are(tmp_path: Path, caplog: Any) -> None:
    """Without it they go on after the deadline; it takes no part in what it has missed, and comes near them again."""
    caplog.set_level(logging.INFO, "hansa.sites")
    there = Village(tmp_path, h.Complete(), pipe=ONE, deadline=0.4, rounds=16)

    async def live() -> None:
        for who in there.names:
            there.start(who)
        await there.until("west", 2)
        await there.end("west")
        await there.until("east", 7)
        await asyncio.gather(there.start("west"), *(there.tasks[who] for who in there.names if who != "west"))

    asyncio.run(live())
    said = [one.getMessage() for one in caplog.records]
    assert any("mixed without new words of west" in one for one in said)
    assert any("the others have gone on" in one for one in said)
    assert [there.runs(who) for who in ("east", "north", "south")] == [16, 16, 16]
    assert 4 <= there.runs("west") < 14
    models = np.stack([there.model(who) for who in there.names])
    assert np.linalg.norm(models - models.mean(0), axis=1).max() < 0.2


class Dead(BaseException):
    """A process ends here, as at a kill."""


@pytest.mark.promise("P621")
def test_a_node_that_ends_at_any_write_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    """Before each transaction of one node it ends, and starts again; and behind each once more."""
    there = Village(tmp_path, h.Ring(), rounds=3)
    place = there.kit("west").folder / "mail"
    write = Database.write
    lives = [0]  # of which one ends before its first write, the next behind it, and so on

    def dying(self: Database, rows: Any) -> None:
        if self.path != place:
            return write(self, rows)
        lives[0] += 1
        if lives[0] % 2 == 0:
            write(self, rows)
        raise Dead

    async def live() -> int:
        others = [there.start(who) for who in there.names if who != "west"]
        ends = 0
        while True:
            try:
                await there.start("west")
                break
            except Dead:
                ends += 1
        await asyncio.gather(*others)
        return ends

    monkeypatch.setattr(Database, "write", dying)
    monkeypatch.setattr(away, "SOON", 0.05)
    monkeypatch.setattr(node, "LINGER", 0.5)
    monkeypatch.setattr(away, "FIRST", 0.05)
    assert asyncio.run(live()) > 12
    assert there.models() == there.simulated()
