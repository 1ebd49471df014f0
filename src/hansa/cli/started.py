"""A run to work on: a new one, or one that was stopped.

    (place, way, file, settings)  →  (app, run, path of the app)

Both are ready to be followed: the app has its plan, its budget and its number of rounds, and the
run is open in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AppError
from .options import Called, Place, Way
from .target import app_of, budgeted, config_of, resumed, same_plan, tracked

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..app import App
    from ..plan import Plan
    from ..store import Run


def check_named(command: str, resume: str | None, target: Path | None) -> None:
    """AppError where neither an app nor a run to go on with is named.

    command: its name, which stands in what to write instead.
    """
    if resume is None and target is None:
        raise AppError(
            "Neither an app nor a run is named.",
            "A run has an app, or goes on with the one that it had.",
            f"Write hansa {command} APP.py, or hansa {command} --resume RUN.",
        )


def new_run(
    place: Place,
    way: Way,
    target: Path | None,
    settings: Mapping[str, Any],
    called: Called = Called(),
) -> tuple[App, Run, Path]:
    """A new run: the app, where its rounds are stored, and the file that it comes from.

    The run keeps the expression of its plan, and the settings of the command line beside the app's
    file. A plan that hangs on a survey is not known yet; it is kept as soon as it is.
    """
    from ..explain import expression
    from ..plan import Plan
    from ..store import Label
    from ..ui.trackers import NAMES, checked
    from ..ui.trackers.following import OPEN

    assert target is not None
    config = config_of(target)
    app = tracked(budgeted(app_of(config, settings), way.budget), way.track, config)
    following = [name for name, _ in checked(app.track) if name in NAMES]
    path = Path(config.app).resolve()
    how = replace(config, set={**config.set, **settings}).kept()
    plan = app.plan
    label = called.over(Label(config.name, tuple(config.tags), config.note))
    store = place.open(new=True)
    text = "not known before the survey is asked"
    if isinstance(plan, Plan):
        text = expression(plan)
        run = store.new(text, plan.digest, str(path), how, plan.rounds, label)
    else:
        run = store.new(text, "", str(path), how, label=label)
    run.keep_tracked(dict.fromkeys(following, OPEN))  # so that --resume knows them
    return app, run, path


def resumed_run(
    place: Place, way: Way, resume: str, target: Path | None, settings: Mapping[str, Any]
) -> tuple[App, Run, Path]:
    """A run that was stopped, with the plan that it began with; only the number of rounds may be
    another.

    The app's file is the one that the run has stored, or `target`, where it lies elsewhere now.
    AppError where the plan is another, and for settings beside --rounds; StoreError where the run
    is not there, or is damaged. The trackers that followed it by name do so again, where --track
    names no others. A run that was stopped before its survey had an answer has no plan
    yet, and gets it as a new one does.
    """
    from ..app.settings import with_plan
    from ..config.run import Config
    from ..plan import Plan
    from ..ui.trackers import NAMES

    store = place.open()
    stored = store.open(resume)
    config = config_of(target) if target else Config(stored.app)
    if set(settings) - {"rounds"}:
        raise AppError(
            f"Run {stored.id} cannot go on with another "
            f"{' and '.join(sorted(set(settings) - {'rounds'}))}.",
            "A run has one plan; only the number of rounds can be another.",
            "Leave it out, or start a new run.",
        )
    app = budgeted(app_of(resumed(config, stored)), way.budget).answered(stored)
    kept = [name for name in stored.tracked if name in NAMES]  # by which they were asked for
    app = tracked(app, way.track, replace(config, track=(*config.track, *kept)))
    if not stored.digest or not isinstance(app.plan, Plan):  # it ended before its plan was known
        more = settings.get("rounds")
        app = with_plan(app, lambda plan: replace(plan, rounds=more or plan.rounds))
        return app, store.resume(stored.id), Path(config.app)
    same_plan(app, stored, config.app)
    rounds = _rounds(app.plan, stored, settings.get("rounds"))
    app = replace(app, plan=replace(app.plan, rounds=rounds))
    return app, store.resume(stored.id, rounds), Path(config.app)


def _rounds(plan: Plan, stored: Run, wanted: int | None) -> int:
    """How many rounds a run goes on to: as wanted, or as planned.

    AppError where it has more already, and where its noise was sized for another number.
    """
    done = len(stored.history())
    planned = stored.planned or plan.rounds
    rounds = wanted or max(done, planned)
    if rounds < done:
        raise AppError(
            f"Run {stored.id} has {done} rounds, and cannot go on to {rounds}.",
            "--rounds counts from the first round of the run.",
            f"Write {done + 10}, say, or leave it out.",
        )
    if plan.encoded_spec.noise.lasting and rounds != planned:
        raise AppError(
            f"Run {stored.id} cannot go on to {rounds} rounds.",
            "Its noise is one release over all its rounds, and was sized for as many as were "
            "planned.",
            "Leave --rounds out, or start a new run.",
        )
    _check_rates(plan, stored, done, rounds)
    return rounds


def _check_rates(plan: Plan, stored: Run, done: int, rounds: int) -> None:
    """Raise AppError where the learning rate of a round hangs on how many there are, as Cosine's
    does, and a round that is done would have had another one.

    What came out would be neither the run that was planned nor the one of so many rounds.
    """
    planned = stored.planned or plan.rounds
    before = [plan.training.at(t, planned) for t in range(done)]
    now = [plan.training.at(t, rounds) for t in range(done)]
    if before != now:
        raise AppError(
            f"Run {stored.id} cannot go on to {rounds} rounds.",
            f"{plan.training.schedule!r} spreads over all rounds: those that are done had the "
            f"learning rates of a run of {planned}.",
            "Leave --rounds out, or start a new run.",
        )
