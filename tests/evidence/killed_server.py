"""From kill -9 of a server to its next commit: how many seconds a run stands still.

python -m tests.evidence.killed_server [TIMES]      writes benchmarks/results/killed_server.json

Server and three sites are processes on this machine, over TLS. At a random moment of a round the server is killed, and
at once started again with `hansa serve --resume`. A row has the seconds from the
kill until the round is committed; those that a new process takes until it listens; and the median seconds of a round
without a kill, for comparison.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import save
from tests.operating import CLIENTS, Federation

from hansa.store import Store


def done(folder: Path) -> int:
    """How many rounds are committed: read as it is, for a look by way of the store takes a part of a round."""
    place = folder / "runs" / "hansa.sqlite"
    if not place.exists() or not place.stat().st_size:
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True, timeout=60)) as file:
        ((rounds,),) = file.execute("SELECT COUNT(*) FROM rounds")
    return int(rounds)


def waited(folder: Path, rounds: int) -> float:
    """The moment at which so many rounds are committed."""
    until = time.monotonic() + 120
    while done(folder) < rounds:
        assert time.monotonic() < until
        time.sleep(0.02)
    return time.monotonic()


def once(number: int) -> dict[str, Any]:
    """One kill in a run of its own."""
    with tempfile.TemporaryDirectory() as made, Federation(Path(made)) as study:
        options = ("--log", "json", "--verbose")
        server = study.serve(*options)
        study.join_all()
        waited(study.folder, 5)
        start = time.monotonic()
        usual = (waited(study.folder, 15) - start) / 10
        time.sleep(random.uniform(0, usual))
        server.signal(signal.SIGKILL)
        killed = time.monotonic()
        server.code()
        before = done(study.folder)
        run = Store(study.folder / "runs").runs()[-1].id
        again = study.serve("--resume", run, *options)
        before_it = sum(one["event"] == "came" for one in again.events)
        while sum(one["event"] == "came" for one in again.events) == before_it:
            time.sleep(0.02)
        came = time.monotonic()
        committed = waited(study.folder, before + 1)
        return {
            "kill": number,
            "sites": len(CLIENTS),
            "seconds_to_the_next_commit": round(committed - killed, 2),
            "seconds_until_a_site_is_back": round(came - killed, 2),
            "seconds_of_a_round": round(usual, 3),
            "load": round(os.getloadavg()[0], 1),
        }


def main(times: int = 7) -> int:
    """Several kills, and their median."""
    rows = []
    for number in range(1, times + 1):
        rows.append(once(number))
        print(rows[-1], flush=True)
    seconds = [row["seconds_to_the_next_commit"] for row in rows]
    rows.append({"median_seconds_to_the_next_commit": statistics.median(seconds), "kills": times})
    print(rows[-1])
    save("killed_server", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
