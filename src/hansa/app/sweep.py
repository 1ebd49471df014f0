"""A sweep: the same app with other settings and seeds, a run each, one after another.

    (app, path → values, seeds)  →  trials, all built before one runs  →  a `Tried` for each

What makes two trials the same is the digest of their plan, which holds the seed, and the settings
by which they came to be: so a store knows what is done already.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import table
from ..config.run import Config
from ..errors import AppError, Fault, HansaError, number, refuse
from ..explain import expression
from ..plan import Plan
from ..rounds import Round
from ..store import Label
from ..store.removal import fail
from . import App
from .settings import with_settings

if TYPE_CHECKING:
    from ..store import Store, Summary


@dataclass(frozen=True)
class Tried:
    """One run of a sweep: its settings and seed, and its rounds; or why it did not end.

    before: was it done before this sweep began, and is not done again?
    """

    settings: Mapping[str, Any]  # path → value
    seed: int
    rounds: tuple[Round, ...] = ()
    error: str = ""
    run: str = ""  # its name in the store, if there is one
    before: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """One flat row of a table: `pandas.DataFrame([one.row for one in tried])`.

        Beside settings, seed and error it holds what the last round has reported.
        """
        told: dict[str, Any] = {**self.settings, "seed": self.seed, "run": self.run}
        if self.rounds:
            told |= self.rounds[-1].row
        return told | {"error": self.error}


@dataclass(frozen=True)
class Trial:
    """What is to be tried: an app that has these settings already, and its seed."""

    app: App = field(repr=False)
    settings: Mapping[str, Any]
    seed: int

    @property
    def written(self) -> dict[str, Any]:
        """Settings and seed as a run keeps them: pieces as tables; AppError for what TOML has no
        value for.
        """
        told = {path: table(value) for path, value in self.settings.items() if value is not None}
        return {**told, "seed": self.seed}


def sweep(
    app: App,
    settings: Mapping[str, Sequence[Any]],
    seeds: int = 1,
    tries: int | None = None,
    store: Store | None = None,
    config: Config = Config(""),
    names: Mapping[str, Any] | None = None,
) -> Iterator[Tried]:
    """Runs of an app with each combination of settings, and with each of so many seeds; each is
    yielded when it has ended.

        for one in sweep(app, {"training.learning_rate": (0.01, 0.1)}, seeds=3):
            print(one.settings, one.seed, one.rounds[-1].witnessed)

    settings   path → values, each as `--set` or Python writes it: 0.1, "FedProx(mu=0.1)", FedProx()
    seeds      the plan's, the one after it, and so on
    tries      so many combinations, drawn from the plan's seed, instead of all
    store      where the runs are kept
    config     the app's file, and what it says beside: what the store has of that file, begun after
               it was changed, is not done again, and what was stopped goes on
    names      pieces of that file's own

    AppError and PlanError for what cannot be, before anything runs. A run that fails with an error
    of hansa's ends alone, and the sweep goes on; a bug ends the sweep.
    """
    trials = planned(app, settings, seeds, tries, names)
    if store is not None:
        for one in trials:
            _ = one.written
    for one in trials:
        yield _tried(one, store, config)


def planned(
    app: App,
    settings: Mapping[str, Sequence[Any]],
    seeds: int = 1,
    tries: int | None = None,
    names: Mapping[str, Any] | None = None,
) -> list[Trial]:
    """All that a sweep is to run, each of it an app that holds together; nothing runs yet.

    Settings vary slowest, in the order in which they are given, and seeds fastest. AppError where
    the plan hangs on a survey, and for what is no list of values; PlanError for a plan that cannot
    mean anything.
    """
    if not isinstance(app.plan, Plan):
        raise AppError(
            "The plan of this app hangs on a survey, and a sweep asks none.",
            "Each of its runs would ask all clients again.",
            "Ask once, app = app.asked(), and sweep that.",
        )
    refuse(_faults(settings, seeds, tries), AppError)
    first = app.plan.seed
    combined = [dict(zip(settings, one, strict=True)) for one in product(*settings.values())]
    if tries is not None and tries < len(combined):
        chosen = random.Random(first).sample(range(len(combined)), tries)  # the same in each life
        combined = [combined[i] for i in sorted(chosen)]
    found = [
        Trial(with_settings(app, {**one, "seed": first + i}, names), one, first + i)
        for one in combined
        for i in range(seeds)
    ]
    _check_each_is_another(found)
    return found


def _check_each_is_another(found: Sequence[Trial]) -> None:
    """AppError where two trials are the same run: it would count twice, in means and in ε."""
    seen: dict[tuple[str, str], Trial] = {}
    for one in found:
        key = (one.app.known_plan.digest, repr(one.app.stop))
        if key in seen:
            raise AppError(
                f"{dict(seen[key].settings)} and {dict(one.settings)} make the same run.",
                "It would count twice.",
                "Leave one of them out.",
            )
        seen[key] = one


def _faults(settings: Mapping[str, Sequence[Any]], seeds: Any, tries: Any) -> Iterator[Fault]:
    """What is wrong with what is to be tried: whether it is so, and the words."""
    yield (
        not (number(seeds, whole=True) and seeds >= 1),
        f"seeds={seeds!r} is no number of seeds.",
        "Each run has one.",
        "Write seeds=1, or more.",
    )
    yield (
        not (tries is None or (number(tries, whole=True) and tries >= 1)),
        f"tries={tries!r} is no number of combinations.",
        "So many of them are drawn.",
        "Write tries=10, say, or leave it out for all.",
    )
    yield (
        "seed" in settings,
        "`seed` is among the settings.",
        "A sweep counts seeds from the plan's.",
        "Write seeds=3, say, and leave it out.",
    )
    for path, values in settings.items():
        yield (
            isinstance(values, str) or len(values) == 0,
            f"{path} has {values!r} to try.",
            "It takes a list of values.",
            f"Write {{{path!r}: [{values!r}]}}, say.",
        )


def _tried(trial: Trial, store: Store | None, config: Config) -> Tried:
    """Run it, or what is left of it; without a store from the beginning.

    Whatever ends it, the store learns how. Only an error of hansa's own is told and not raised.
    """
    done = Tried(trial.settings, trial.seed)
    if store is None:
        return _without_store(trial, done)
    how = replace(config, set={**config.set, **trial.written}).kept()
    found = _stored(trial, store, config.app, how)
    if found is not None and found.status == "done":
        rounds = tuple(store.open(found.id).history())
        return replace(done, run=found.id, rounds=rounds, before=True)
    plan = trial.app.known_plan
    try:
        if found is None:
            label = Label(config.name, tuple(config.tags), config.note)
            run = store.new(expression(plan), plan.digest, config.app, how, plan.rounds, label)
        else:
            run = store.resume(found.id)
    except HansaError as error:  # another process has it
        return replace(done, error=str(error))
    done = replace(done, run=run.id)
    try:
        for _ in trial.app.run(run):
            pass
        run.finish("done")
    except HansaError as error:
        done = replace(done, error=str(error), rounds=tuple(run.history()))
        if fail(run):
            done = replace(done, run="")
        return done
    except KeyboardInterrupt:
        run.finish("stopped")
        raise
    except BaseException:
        fail(run)
        raise
    return replace(done, rounds=tuple(run.history()))


def _without_store(trial: Trial, done: Tried) -> Tried:
    """Run it, and keep what its rounds report, up to where it may have failed."""
    rounds = list[Round]()
    try:
        rounds.extend(state.happened for state in trial.app.run())
    except HansaError as error:
        done = replace(done, error=str(error))
    return replace(done, rounds=tuple(rounds))


def _stored(trial: Trial, store: Store, file: str, how: Mapping[str, Any]) -> Summary | None:
    """The last run of this trial that the store has; None where it has none.

    A digest is of the plan, and not of data: so what began before the app's file was changed does
    not count, nor what a program without a file has left. how: the settings as a run keeps them,
    compared as JSON has them.
    """
    if not Path(file).is_file():
        return None
    changed = datetime.fromtimestamp(Path(file).stat().st_mtime, UTC)
    how = json.loads(json.dumps(how))
    for one in reversed(store.runs()):
        if one.app != file or one.started < changed:
            continue
        run = store.open(one.id)
        if run.digest == trial.app.known_plan.digest and run.settings == how:
            return one
    return None
