"""Where a round's time goes. The mathematics holds no timer: pieces of a run are copied with some
methods timed.

plan.pipeline     encode, decode
plan              perform → train
plan.algorithm    step
aggregator        server → aggregate, with all that it waits for
runtime           send, receive → wait
app.tests         score
run               commit

A method that is timed is a `Timed` in the object's own dictionary, which goes before the class; so
the plan's digest, which is of its fields, stays the same, and a run with and without a profile are
one run. Processes append to one file, and at the end their lines are added up (wall-clock seconds).
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.table import Table

from ..app import App
from ..app.clients import runtime_of
from ..app.running import rounds_of
from ..state import State

if TYPE_CHECKING:
    from ..store import Run

Thing = TypeVar("Thing")

PARTS = {  # in the order of a round
    "send": "lay the model and the requests out for the clients",
    "train": "clients: validate the model, train",
    "encode": "clients: the transforms of the pipe",
    "wait": "for the clients; in one process, what they do besides",
    "aggregate": "add up, and what else the aggregator does itself",
    "decode": "the transforms of the pipe, on the sum",
    "step": "the algorithm's next model",
    "score": "the model on the test data",
    "commit": "write the round to disk",
    "rest": "sample, account for ε, and so on",
}
CLIENTS = ("train", "encode")


@dataclass(frozen=True)
class Clock:
    """Seconds that parts of a run took, noted in a file that all its processes append to.

    It travels to other processes as what it is, a path.
    """

    path: Path

    def note(self, part: str, seconds: float) -> None:
        """Note that a part took so many seconds."""
        with open(self.path, "a") as file:
            file.write(f"{part} {seconds:.9f}\n")  # so short a line is written in one piece

    def sums(self) -> defaultdict[str, float]:
        """All seconds of each part; none where nothing was noted."""
        found = defaultdict[str, float](float)
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                part, seconds = line.split()
                found[part] += float(seconds)
        return found


@dataclass(frozen=True)
class Timed:
    """A method of a thing, which notes how long it takes; also when it raises.

    A value and no closure, so that it can be sent to the processes that train.
    """

    clock: Clock
    part: str
    thing: Any
    name: str

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        begin = time.perf_counter()
        try:
            return getattr(type(self.thing), self.name)(self.thing, *arguments, **more)
        finally:
            self.clock.note(self.part, time.perf_counter() - begin)


def timed(thing: Thing, clock: Clock, **parts: str) -> Thing:
    """The same thing, whose methods named here note their time: method = what it is called in the
    table.

    It changes the object itself: whoever shares it must hand over a copy.
    """
    vars(thing).update({name: Timed(clock, part, thing, name) for name, part in parts.items()})
    return thing


def profiled(app: App, clock: Clock) -> App:
    """The same app, with a plan of the same digest, which notes the time of its parts wherever they
    are computed.
    """
    plan = copy.copy(app.known_plan)
    pipeline = timed(copy.copy(plan.pipeline), clock, encode="encode", decode="decode")
    vars(plan).update(
        pipeline=pipeline,
        aggregator=timed(copy.copy(plan.aggregator), clock, server="aggregate"),
        algorithm=timed(copy.copy(plan.algorithm), clock, step="step"),
    )
    new = copy.copy(app)
    vars(new).update(  # `replace` would check and build them anew
        plan=timed(plan, clock, perform="train"),
        tests=timed(copy.copy(app.tests), clock, score="score"),
    )
    return new


def rounds(app: App, run: Run, clock: Clock) -> Iterator[State]:
    """The rounds of an app, each of which notes its time, without what is done between rounds by
    whoever takes them.
    """
    clock.path.unlink(missing_ok=True)
    app = profiled(app, clock)
    states = rounds_of(
        app,
        timed(run, clock, commit="commit"),
        None,
        lambda *given: timed(runtime_of(*given), clock, send="send", receive="wait"),
    )
    begin = time.perf_counter()
    for state in states:
        clock.note("round", time.perf_counter() - begin)
        yield state
        begin = time.perf_counter()


def table(clock: Clock, done: int, workers: int) -> Table:
    """Milliseconds of each part in a round, as a mean over the rounds done here, and their share
    of it.

    done: rounds that were timed. With workers, the share of what clients do is of the time that
    all of them together had.
    """
    spent = seconds(clock, workers)
    whole = spent.pop("round", 0.0) or 1e-9
    title = f"{done} rounds, {1e3 * whole / max(1, done):.1f} ms each"
    if workers:
        title += f", {workers} workers"
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for name in ("part", "ms a round", "share", "what"):
        found.add_column(name, justify="left" if name in ("part", "what") else "right")
    for part, what in PARTS.items():
        took = spent.get(part, 0.0)
        share = took / whole
        if workers and part in CLIENTS:
            share /= workers
            what += "; of all workers' time"
        found.add_row(part, f"{1e3 * took / max(1, done):.1f}", f"{share:.1%}", what)
    return found


def seconds(clock: Clock, workers: int) -> dict[str, float]:
    """Seconds of each part, each second once: what was measured around other parts is left with its
    own share; and of all rounds, as "round".

    A server's conversation holds all sending and waiting, and in one process all training too. What
    is left of a round is its rest; differences of clocks never make a part negative.
    """
    spent = clock.sums()
    in_here = 0.0
    if not workers:
        in_here = spent["train"] + spent["encode"]
    spent["wait"] = max(0.0, spent["wait"] - in_here)
    inside = in_here + sum(spent[part] for part in ("send", "wait", "decode"))
    spent["aggregate"] = max(0.0, spent["aggregate"] - inside)
    known = inside + sum(spent[part] for part in ("aggregate", "step", "score", "commit"))
    spent["rest"] = max(0.0, spent["round"] - known)
    return spent
