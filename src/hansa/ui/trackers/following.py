"""Following: the trackers of one run, each on a thread of its own, and what became of them.

    commit  →  add  →  Rounds of each  →  its thread: track(run, rounds)
                look: has one failed?  →  a warning, once, and a word in the row of the run

The run never waits for a tracker while its rounds go on, and a minute at most when they have ended.
A thread that is left behind ends with the process.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from ...errors import Aside, StoreError, message, printable
from ...explain import expression
from ...plan import Plan
from ...store import Label
from ...store.rows import keepable
from . import Rounds, Tracked, Tracker, checked, parameters

if TYPE_CHECKING:
    from ...rounds import Round
    from ...state import State
    from ...store import Run

WAIT = 60.0  # seconds after the end of a run, in which trackers finish
WORDS = 300  # letters of an error that are told
OPEN = "has not ended"  # what the row of a run says of a tracker at work


class Untracked(Aside):
    """That a tracker has failed, and what it said."""


@dataclass
class Follower:
    """One tracker at work on its thread.

    error: why it stopped, if it did, which the thread writes and the run reads. lost: what the row
    of the run says of that, which holds no word of the error, for it may quote an address with a
    password.
    """

    name: str
    rounds: Rounds = field(default_factory=Rounds)
    heard: int = 0  # the last round that it was given
    error: BaseException | None = None
    lost: str = ""  # what the record says of that
    thread: Thread = field(default_factory=Thread)

    def begin(self, tracker: Tracker, run: Tracked) -> None:
        """Let it read on a thread of its own, until its rounds end."""

        def read() -> None:
            try:
                tracker.track(replace(run, parameters=dict(run.parameters)), self.rounds)
            except BaseException as error:
                self.error = error

        self.thread = Thread(target=read, name=f"tracker {self.name}", daemon=True)
        self.thread.start()

    def look(self) -> str:
        """What is to be said, once: that it has failed, and how."""
        if self.error is None or self.lost:
            return ""
        kind = type(self.error).__name__
        self.lost = f"failed by round {self.heard} ({kind})"
        try:
            said = message(self.error).splitlines()[0][:WORDS]
        except Exception:  # of an error that cannot say what it is
            said = "(no message)."
        return f"The tracker {self.name} has failed, and the run goes on without it. {kind}: {said}"


class Following:
    """All trackers of one run, which begin with its first round.

        following = Following(app.track, plan, run)      # AppError where one cannot begin
        for state in states:
            following.add(state)
        following.end("done")

    Without a run that is stored, they write to a folder of `tracked`.
    """

    def __init__(self, trackers: Iterable[str | Tracker], plan: Plan, run: Run | None):
        given = checked(trackers)
        self.plan = plan
        self.run = run
        self.told = 0  # the last round
        self.trackers = [tracker for _, tracker in given]
        self.followers = [Follower(name) for name in _distinct(name for name, _ in given)]

    def add(self, state: State) -> None:
        """A round is committed: what the store holds of it is told."""
        if self.followers:
            self._tell(self._committed(state))

    def end(self, how: str) -> None:
        """The run has ended; wait until the trackers have, and keep what became of each."""
        if not self.followers:
            return
        with suppress(StoreError):
            self._tell(self._committed(None))
        if not self.told:  # none has begun
            return
        for one in self.followers:
            one.rounds.end(how)
        until = time.monotonic() + WAIT
        for one in self.followers:
            one.thread.join(max(0.0, until - time.monotonic()))
            if one.thread.is_alive():
                one.lost = f"had not finished {WAIT:.0f} s after the run"
                _say(f"The tracker {one.name} {one.lost}; what it has not written is lost.")
        self._look()
        self._keep()

    def _committed(self, state: State | None) -> list[Round]:
        """The rounds that the store holds and that nobody was told; or that of the state."""
        if self.run is not None:
            return self.run.history(after=self.told)
        return [] if state is None else [keepable(state).happened]

    def _tell(self, rounds: list[Round]) -> None:
        """Hand rounds on to all that have not failed; the first lets them begin, so that a run
        which fails before it leaves nothing anywhere.
        """
        if rounds and not self.told:
            about = _about(self.plan, self.run)
            for follower, tracker in zip(self.followers, self.trackers, strict=True):
                follower.begin(tracker, about)
            self._keep(OPEN)
        for one in rounds:
            self.told = one.round
            for follower in self.followers:
                if follower.error is None:
                    follower.heard = one.round
                    follower.rounds.put(_copy(one))
        if self._look():
            self._keep(OPEN)

    def _look(self) -> bool:
        """Say which have failed since; has any?"""
        words = list(filter(None, (one.look() for one in self.followers)))
        for one in words:
            _say(one)
        return bool(words)

    def _keep(self, so_far: str = "") -> None:
        """Keep with the run what became of each, beside those that have followed it before; a store
        that is gone ends nothing here.
        """
        if self.run is not None:
            told = {one.name: one.lost or so_far for one in self.followers}
            with suppress(StoreError):
                self.run.keep_tracked({**self.run.tracked, **told})


def followed(
    states: Iterator[State], trackers: Iterable[str | Tracker], plan: Plan, run: Run | None
) -> Iterator[State]:
    """The states, each of which the trackers hear of before it is yielded.

    Whoever takes no more of them has stopped the run: it may be gone on with.
    """
    following = Following(trackers, plan, run)
    how = "failed"
    try:
        for state in states:
            following.add(state)
            yield state
        how = "done"
    except (GeneratorExit, KeyboardInterrupt):
        how = "stopped"
        raise
    finally:
        following.end(how)


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """The names, of which a later one that is there already is numbered."""
    seen = Counter[str]()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}"


def _copy(one: Round) -> Round:
    """A round for one tracker, which may change what it is given: the run goes on with its own."""
    return replace(
        one,
        metrics=dict(one.metrics),
        scores=dict(one.scores),
        spent=dict(one.spent),
        excluded=dict(one.excluded),
    )


def _parameters(plan: Plan) -> Mapping[str, str | float]:
    """What the plan is set to; nothing, and that is said, where a piece of somebody's cannot be
    looked at.
    """
    try:
        return parameters(plan)
    except Exception as error:
        kind = type(error).__name__
        _say(f"What the plan is set to cannot be looked at ({kind}): no tracker is told of it.")
        return {}


def _about(plan: Plan, run: Run | None) -> Tracked:
    """What is told of a run before its first round."""
    found = _parameters(plan)
    told = (expression(plan), plan.digest, plan.rounds)
    if run is None:
        now = datetime.now(UTC)
        id = f"{now:%Y%m%d-%H%M%S-%f}"
        return Tracked(id, "", Label(), *told, now, Path("tracked") / id, found)
    app = Path(run.app).name
    return Tracked(run.id, app, run.label, *told, run.started, run.folder, found)


def _say(words: str) -> None:
    """Say it to who sits at this machine."""
    warnings.warn(Untracked(printable(words)), stacklevel=2)
