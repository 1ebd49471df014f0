"""Killed at any instant and restarted, server, helpers and clients end with the bytes of a run that nobody killed.

Some seeds of what `python -m tests.evidence.restarts` does at length.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.contracts import restarting
from tests.contracts.restarting import CLIENTS, FATE, PLANS, SECRET, ended, killed_again_and_again, life

import hansa as h
from hansa.loops.journal import Journal
from hansa.messages import Message, Reply, Request

LONG = "HANSA_KILLS" in os.environ
SEEDS = 3 if LONG else 1


@pytest.mark.promise("P55")
@pytest.mark.parametrize("name", PLANS)
def test_killed_at_any_instant(name: str, tmp_path: Path) -> None:
    FATE.left = -1
    life(tmp_path / "whole", name)
    for seed in range(SEEDS):
        killed_again_and_again(tmp_path / f"{seed}", name, seed)
        assert ended(tmp_path / f"{seed}") == ended(tmp_path / "whole"), seed


class Watched(restarting.Wire):
    """Notes, at each message of a turn, how many instants have passed."""

    def send(self, message: Message) -> None:
        if isinstance(message, Request):
            STARTS.setdefault((message.session.number, message.turn), len(FATE.passed))
        super().send(message)


STARTS: dict[tuple[int, int], int] = {}


@pytest.mark.promise("P55")
@pytest.mark.parametrize("name", ["masked", "encrypted"] if LONG else ["masked"])
def test_killed_in_each_turn_of_a_masked_sum(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its first message, in its middle, and at its last reply: with books, all goes on with what was drawn."""
    monkeypatch.setattr(restarting, "Wire", Watched)
    STARTS.clear()
    FATE.passed.clear()
    FATE.left = -1
    life(tmp_path / "whole", name)
    want = ended(tmp_path / "whole")
    for turn in range(4):
        start = STARTS[1, turn]
        end = STARTS[1, turn + 1] if turn < 3 else STARTS[2, 0]
        for instant in (start + 1, (start + end) // 2, end):
            folder = tmp_path / f"{turn} {instant}"
            FATE.left = instant
            with pytest.raises(restarting.Killed):
                life(folder, name)
            restarting.JOURNALS[folder].close()
            restarting.LIVE[folder].memory.book.close()
            FATE.left = -1
            life(folder, name)
            assert ended(folder) == want, (turn, instant)


class Dies(h.InProcess):
    """Ends at so many replies of a turn."""

    at: tuple[int, int, int] = (0, 0, 0)  # session, turn, replies
    heard = 0

    def receive(self) -> Reply:
        reply = super().receive()
        session, turn, replies = self.at
        if (reply.session.number, reply.turn) == (session, turn):
            self.heard += 1
            if self.heard == replies:
                raise restarting.Killed
        return reply


@pytest.mark.parametrize("replies", [1, 5])
@pytest.mark.parametrize("turn", range(4))
def test_without_books_a_round_of_masks_that_was_cut_changes_nothing(tmp_path: Path, turn: int, replies: int) -> None:
    """Who has lost what it had drawn says so; the round has no sum, and the next one has.

    But where nobody was heard yet, or enough have helped already.
    """
    plan = restarting.plan_of("masked")

    def clients() -> list[h.Client]:
        return [h.Client(f"site {i}", plan, restarting.data_of(i), secret=SECRET) for i in range(CLIENTS)]

    first = Dies(clients(), secret=SECRET)
    first.at = 1, turn, replies
    journal = Journal(tmp_path / "journal")
    rounds = h.synchronous(plan, first, secret=SECRET, journal=journal)
    before = next(rounds)
    with pytest.raises(restarting.Killed):
        next(rounds)
    after = list(h.synchronous(plan, h.InProcess(clients(), secret=SECRET), before, SECRET, journal=journal))
    assert [state.round for state in after] == [2, 3, 4]
    assert bool(after[0].skipped) == ((turn, replies) not in {(0, 1), (3, 5)})
    assert not after[0].skipped or after[0].x.tobytes() == before.x.tobytes()
    assert not any(state.skipped for state in after[1:])
    journal.close()
