"""A party that is killed at each write of its files, and asked again: python -m tests.attacks.dying FOLDER."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tests.attacks.intruders import DATA, started

import hansa as h
from hansa.messages import Request, SessionId
from hansa.parties.database import Database
from hansa.runtimes.sites.site import Site

PLAN = h.Plan(
    h.Softmax(4, 3),
    rounds=3,
    training=h.Training(batch=8),
    pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.GaussianNoise(0.1, by="each")),
)
SECRET = h.Key(bytes(range(32)), hides=True)


def mortal(at: int) -> None:
    """Die at the so many-th instant: before or after a statement, or inside a transaction."""
    left = [at]

    def instant() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("execute", "write"):
        whole = getattr(Database, name)

        def cut(self: Database, *told: Any, whole: Any = whole) -> Any:
            instant()
            found = whole(self, *told)
            instant()
            return found

        setattr(Database, name, cut)

    whole_write = Database.write

    def within(self: Database, rows: Any) -> None:
        def told() -> Any:
            for row in rows:
                yield row
                instant()

        whole_write(self, told())

    Database.write = within  # type: ignore[method-assign]


def asked(number: int, shift: float) -> Request:
    x, memo = started(PLAN)
    return Request(PLAN.digest, number, SessionId("run", 0, number + 1), ({"x": x["x"] + shift}, memo), {"north": None})


def life(folder: Path, at: int, first: tuple[float, ...]) -> None:
    """Take part in three rounds, in each of which it is asked in these words."""
    mortal(at)
    site = Site(folder, lambda plan, found: h.Client("north", PLAN, DATA["north"], secret=SECRET))
    site.begin("run", PLAN.digest, None)
    said = os.open(folder / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in range(3):
        for shift in first:
            reply = site.answer(asked(number, shift))
            if reply.body is not None:
                line = f"{number} {shift} {hashlib.sha256(np.ascontiguousarray(reply.body)).hexdigest()}\n"
                os.write(said, line.encode())
        site.settle(SessionId("run", 0, number + 1), True)
    site.close()


def main(place: Path, every: int) -> None:
    """Killed at one instant of so many."""
    kills = 0
    twice = []
    for at in range(1, 200, every):
        folder = place / f"{at}"
        folder.mkdir()
        over = False
        for words, instant in (((0.0, 1.0), at), ((1.0, 0.0), at + 7), ((1.0, 0.0), -1)):
            child = os.fork()
            if child == 0:
                life(folder, instant, words)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            kills += os.WIFSIGNALED(status)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status):
                raise SystemExit(f"{at}: failed")
            over = over or (instant == at and os.WIFEXITED(status))
        lines = set((folder / "said").read_text().splitlines())
        rounds = [line.split()[0] for line in lines]
        if len(rounds) != len(set(rounds)):
            twice.append({"at": at, "said": sorted(lines)})
        if over:
            break
    sys.stdout.write(json.dumps({"kills": kills, "twice": twice}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
