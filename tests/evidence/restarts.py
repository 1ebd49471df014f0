"""Kills of server, helpers and clients at any instant: each run ends with the bytes of one that was left alone.

    python -m tests.evidence.restarts        writes benchmarks/results/restarts.json

Seven plans. First in one process, where a kill drops every object and leaves what is in files: at random messages and
replies, inside trainings, before, inside and after writes. Then real processes, killed with SIGKILL at random times.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common import save
from tests.contracts.restarting import FATE, PLANS, ended, killed_again_and_again, life

RUNS, KILLS = 84, 3  # of each plan
REAL, SHOTS = 8, 3  # runs of each plan in processes of their own, and how often each is killed


def alone(folder: Path, name: str) -> tuple[Any, float]:
    """What a run ends with that nobody kills, and how many seconds it takes."""
    FATE.left, began = -1, time.perf_counter()
    life(folder, name)
    return ended(folder), time.perf_counter() - began


def dropped(folder: Path, name: str, want: Any) -> dict[str, Any]:
    """Runs in this process."""
    where, wrong = Counter[str](), list[int]()
    for seed in range(RUNS):
        where.update(killed_again_and_again(folder / f"{name} {seed}", name, seed, KILLS))
        if ended(folder / f"{name} {seed}") != want:
            wrong.append(seed)
    return {"what": "dropped", "plan": name, "runs": RUNS, "kills": where.total(), "where": dict(where), "wrong": wrong}


def shot(folder: Path, name: str, want: Any, seconds: float) -> dict[str, Any]:
    """Runs in processes of their own: a fork each, of a program that has imported everything and opened nothing."""
    draw, kills, wrong = random.Random(name), 0, list[int]()
    for i in range(REAL):
        place, here = folder / f"{name} shot {i}", 0
        while True:
            child = os.fork()
            if child == 0:
                FATE.left = -1
                life(place, name)
                os._exit(0)
            if here < SHOTS:
                time.sleep(draw.uniform(0.0, seconds / 2))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0, f"{place} failed"
                break
            here += 1
        kills += here
        if ended(place) != want:
            wrong.append(i)
    return {"what": "SIGKILL", "plan": name, "runs": REAL, "kills": kills, "wrong": wrong}


def main() -> None:
    """Both, for every plan."""
    warnings.simplefilter("ignore")
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for name in PLANS:
            want, seconds = alone(Path(folder) / name, name)
            for row in (dropped(Path(folder), name, want), shot(Path(folder), name, want, seconds)):
                print(row, flush=True)
                rows.append(row)
    save("restarts", rows)
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
