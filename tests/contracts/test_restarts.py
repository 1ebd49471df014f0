"""Killed at any instant and restarted, server, helpers and clients end with the bytes of a run that nobody killed.

Some seeds of what `python -m tests.evidence.restarts` does at length.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contracts.restarting import FATE, PLANS, ended, killed_again_and_again, life

SEEDS = 3


@pytest.mark.promise("P55")
@pytest.mark.parametrize("name", PLANS)
def test_killed_at_any_instant(name: str, tmp_path: Path) -> None:
    FATE.left = -1
    life(tmp_path / "whole", name)
    for seed in range(SEEDS):
        killed_again_and_again(tmp_path / f"{seed}", name, seed)
        assert ended(tmp_path / f"{seed}") == ended(tmp_path / "whole"), seed
