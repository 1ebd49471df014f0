"""Trackers: readers of a run's rounds, which write them where a researcher looks.

    csv           rounds.csv in the folder of the run
    tensorboard   tensorboard/ in the folder of the run
    mlflow        where MLFLOW_TRACKING_URI says, else mlflow.db and mlruns/ where the program runs
    wandb         wandb/ in the folder of the run, offline; elsewhere where WANDB_MODE says so

Each has one method, and whatever has that method is one:

    class Printed:
        def track(self, run, rounds):
            for one in rounds:
                print(run.id, one.round, one.witnessed)

A tracker is told what the store of the run holds of its plan and rounds: no record of a client, no
secret, and not who took part where ε rests on that. It works on a thread of its own, so that
neither its errors nor its waiting stop the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from ...errors import AppError
from ...plan import Plan
from ...rounds import Round
from ...store import Label

# name → its class, in a module of that name
NAMES = {"csv": "Csv", "mlflow": "Mlflow", "tensorboard": "TensorBoard", "wandb": "Wandb"}
LONGEST = 16  # values of a list that become parameters of their own


@dataclass(frozen=True)
class Tracked:
    """What a tracker is told of a run before its first round: what the run's store holds of it.

    parameters: what the plan is set to, by path, such as training.learning_rate.
    """

    id: str
    app: str  # the name of its file
    label: Label
    plan: str  # the expression that builds it
    digest: str
    planned: int  # rounds
    started: datetime
    folder: Path  # of the run; where its tracker may write
    parameters: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called, or else its id."""
        return self.label.name or self.id

    @property
    def report(self) -> Path | None:
        """The report of the run, once its rounds have ended; None where there is none."""
        path = self.folder / "report.html"
        if path.exists():
            return path
        return None


class Rounds:
    """The rounds of a run from its first, each as soon as it is committed; they end with the run.

    ended: how, when they have: "done", "stopped" or "failed".
    """

    def __init__(self) -> None:
        self.ended = ""
        self._queue: SimpleQueue[Round | None] = SimpleQueue()

    def __iter__(self) -> Iterator[Round]:
        while (one := self._queue.get()) is not None:
            yield one

    def put(self, one: Round) -> None:
        """One more is committed."""
        self._queue.put(one)

    def end(self, how: str) -> None:
        """There are no more."""
        self.ended = how
        self._queue.put(None)


class Tracker(Protocol):
    """Whatever reads the rounds of a run."""

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Read the rounds, until they end; an error is told once, and the run goes on."""


def checked(given: Iterable[str | Tracker]) -> list[tuple[str, Tracker]]:
    """Trackers by name, ready to begin; of ours one for each place to which they write. AppError
    where one is none, or needs what is not here.
    """
    found = list[tuple[str, Tracker]]()
    for one in given:
        name = type(one).__name__
        tracker: Any = one
        if isinstance(one, str):
            check_names([one])
            name = one
            tracker = getattr(import_module(f".{one}", __name__), NAMES[one])()
        if not callable(getattr(tracker, "track", None)):
            raise AppError(
                f"App(track=…) holds a {name}, which tracks nothing.",
                "A tracker has a method track(run, rounds).",
                f"Write one of {', '.join(map(repr, NAMES))}, or an object with that method.",
            )
        _check_installed(tracker)
        ours = type(tracker).__module__.startswith(f"{__name__}.")
        if not (ours and any(tracker == other for _, other in found)):  # it would write all twice
            found.append((name, tracker))
    return found


def check_names(given: Any) -> None:
    """AppError for what lists no trackers, and for the name of none; no library is looked for."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise AppError(
            f"App(track={given!r}) lists no trackers.",
            "Several may follow a run.",
            "Write track=['tensorboard'], say.",
        )
    for name in given:
        if isinstance(name, str) and name not in NAMES:
            raise AppError(
                f"There is no tracker {name!r}.",
                f"There is {', '.join(NAMES)}.",
                "Write one of them, with commas between several; or App(track=[…]) with your own.",
            )


def _check_installed(tracker: Tracker) -> None:
    """AppError where the library of one of ours is not here."""
    module = type(tracker).__module__
    library = module.rpartition(".")[2]
    if module.startswith(f"{__name__}.") and find_spec(library) is None:
        raise AppError(
            f"The tracker {library} needs {library}, which is not installed here.",
            "A run begins when all that follow it can.",
            f"Run: pip install 'hansa[{library}]', or leave it out.",
        )


def figures(one: Round) -> dict[str, float]:
    """The numbers of a round, by name: scores, ε and δ, how many took part, seconds."""
    return {
        name: float(value)
        for name, value in one.row.items()
        if name != "round" and isinstance(value, int | float)
    }


def parameters(plan: Plan) -> dict[str, str | float]:
    """What a plan is set to, by path: numbers and words; of all else, what it is.

    Bytes, and what a piece does not show in its own expression, are left out.
    """
    return {path: value for path, value in _leaves(plan, "", ()) if path}


def _leaves(value: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, str | float]]:
    """Each value of a piece, and of the pieces in it.

    above: the ids of what it is in, so that a piece which holds itself comes to an end.
    """
    if id(value) in above or isinstance(value, bytes | bytearray | memoryview):
        return
    within = (*above, id(value))
    if is_dataclass(value) and not isinstance(value, type):
        yield path, type(value).__name__
        for one in fields(value):
            if one.repr and hasattr(value, one.name):
                below = f"{path}.{one.name}".lstrip(".")
                yield from _leaves(getattr(value, one.name), below, within)
    elif isinstance(value, str):
        yield path, value
    elif isinstance(value, bool):
        yield path, str(value)
    elif isinstance(value, int | float):
        yield path, value if math.isfinite(value) else str(value)
    elif isinstance(value, Sequence) and len(value) <= LONGEST:
        for i, one in enumerate(value):
            yield from _leaves(one, f"{path}.{i}", within)
    elif value is not None:
        yield path, getattr(value, "__name__", type(value).__name__)
