"""Progress: what is being done right now, for whoever looks on.

    with watching() as watch:                   in the process that shows it
        …                                       str(watch): "2 of 4 clients, north: step 310 of 520"
    tell("step", done=310, total=520)           wherever something takes time

Where nobody looks on, as in a worker or a library's user, telling costs one look-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Literal, NamedTuple, TypeVar

Level = Literal["stage", "clients", "client", "step"]
LEVELS: tuple[Level, ...] = ("stage", "clients", "client", "step")  # each within the one before
Item = TypeVar("Item")
Done = int | Callable[[], int]
FIRST = 64  # steps that are done in a row before it is known how long they take
SPAN = 0.25  # seconds between two words


class Doing(NamedTuple):
    """How far something is: `done` of `total`, which is 0 where nobody knows it.

    done: a number, or what gives it when somebody looks, where telling each would take time.
    """

    word: str
    done: Done
    total: int

    def __str__(self) -> str:
        return " ".join(part for part in (self.word, self.far) if part)

    @property
    def far(self) -> str:
        """310 of 520; nothing where nothing is counted."""
        done = self.done() if callable(self.done) else self.done
        if self.total:
            return f"{done} of {self.total}"
        if done:
            return str(done)
        return ""


@dataclass(slots=True)
class Watch:
    """What is being done, from the outermost to the innermost."""

    doing: dict[Level, Doing] = field(default_factory=dict)

    def tell(self, level: Level, one: Doing) -> None:
        """Something begins, or goes on; what was within it is over."""
        kept = LEVELS[: LEVELS.index(level)]
        outer = {name: self.doing[name] for name in kept if name in self.doing}
        self.doing = {**outer, level: one}  # a new dict, for a thread may be reading the old one

    def clear(self) -> None:
        """Nothing is done."""
        self.doing = {}

    def __str__(self) -> str:
        """Two of four clients, north: step 310 of 520."""
        doing = self.doing
        parts = [str(doing[level]) for level in ("stage", "client") if level in doing]
        if "clients" in doing:
            parts.insert("stage" in doing, f"{doing['clients'].far} clients")
        said = ", ".join(parts)
        if "step" in doing:
            said = ": ".join(part for part in (said, f"step {doing['step'].far}") if part)
        return said


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching() -> Iterator[Watch]:
    """Look on at what is done meanwhile."""
    watch = Watch()
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)


def looked_on() -> bool:
    """Does anybody look on?"""
    return _watch.get() is not None


@contextmanager
def every(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Call something again and again meanwhile, on a thread of its own.

    seconds: between one call and the next. The thread is over when the block is.
    """
    over = Event()

    def run() -> None:
        while not over.wait(seconds):
            call()

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def tell(level: Level, word: str = "", done: Done = 0, total: int = 0) -> None:
    """Say what is being done, where somebody looks on."""
    watch = _watch.get()
    if watch is not None:
        watch.tell(level, Doing(word, done, total))


def counted(level: Level, word: str, items: Iterator[Item], total: int = 0) -> Iterator[Item]:
    """The items one by one, each told as it is begun."""
    if not looked_on():
        return items
    return _counted(level, word, items, total)


def _counted(level: Level, word: str, items: Iterator[Item], total: int) -> Iterator[Item]:
    for done, item in enumerate(items, 1):
        tell(level, word, done, total)
        yield item


@dataclass
class Pace:
    """How many steps take about SPAN seconds, as it was seen last; it changes no result."""

    steps: int = FIRST

    def parts(self, steps: int, before: int, total: int) -> Iterator[tuple[int, int]]:
        """Where each part of `steps` begins and ends, of which `before` are done, of `total`: all
        at once, or where somebody looks on in parts of about SPAN seconds, each told as it is
        begun.
        """
        if not looked_on():
            yield 0, steps
            return
        start = 0
        while start < steps:
            tell("step", done=before + start, total=total)
            end = min(start + self.steps, steps)
            began = time.monotonic()
            yield start, end
            took = max(time.monotonic() - began, 1e-6)
            self.steps = max(1, round((end - start) * SPAN / took))
            start = end
