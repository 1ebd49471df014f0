"""Follow a run to its end: live progress, the comparison, the report.

The loop is the app's; here its states are shown one by one. Whatever ends it, the store learns how
(done, stopped, failed), and a person the command that goes on with it: every round that was shown
is stored already.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ..app import App
from ..app.checks import names_of
from ..app.compare import OUTSIDE, Row
from ..app.looking import overview_of
from ..app.personal import own_rows
from ..app.running import how_it_ended
from ..data.overview import Overview
from ..errors import HansaError, StoreError, printable
from ..explain import expression
from ..parties.population import Population
from ..rounds import Round
from ..store.removal import fail
from . import about
from .errors import complain, say
from .profile import Clock, rounds, table
from .report import ReportData, write
from .terminal import Progress, comparison, out, own_models, tested_sets
from .trackers import checked
from .trackers.following import Following
from .waiting import waiting

if TYPE_CHECKING:
    from ..state import State
    from ..store import Run

MOST_LOOKED_AT = 100  # clients whose data a report shows
MOST_ALONE = 20  # clients that are trained alone for the comparison, where nobody asks for it


def follow(
    app: App, run: Run, title: str, compare: bool | None, again: str, profile: bool = False
) -> int:
    """Ask what is asked first, run what is left of a run, and give the exit code; `again` goes on
    with it.

    title: the heading of the report. compare: by default where a few clients hide nothing. profile:
    time the parts of a round. Returns 0, or 130 after Ctrl-C; errors are raised, with a note that
    says how many rounds are stored.
    """
    trackers = app.track
    app = replace(app, track=())  # they hear of the report, too, which is written at the end
    try:
        checked(trackers)
        with waiting(out(), "Asking what is asked before the first round"):
            app = app.asked(run)
        about.keep(app, run.folder)
    except KeyboardInterrupt:
        run.finish("stopped")
        say(f"Stopped before the survey had an answer. Go on with: {again}")
        return 130
    except BaseException:
        with suppress(StoreError):
            _fail(app, run)
        raise
    following = Following(trackers, app.known_plan, run)
    how = "failed"
    try:
        code = _follow(app, run, title, compare, again, following, profile)
        how = "stopped" if code else "done"
        return code
    finally:
        following.end(how)


def _follow(
    app: App,
    run: Run,
    title: str,
    compare: bool | None,
    again: str,
    following: Following,
    profile: bool,
) -> int:
    """The same, once the plan is known.

    Comparison and report come after the last round: if they fail, going on does them again.
    """
    console = out()
    plan = app.known_plan
    planned = plan.rounds
    clients = _clients(app)
    progress = Progress(console, planned, clients, run.history(), plan.encoded_spec.hidden)
    clock = Clock(run.folder / "profile.txt")
    counted = f"  run {run.id}  {len(clients)} clients, {planned} rounds"
    console.print(Text.assemble((printable(title), "bold"), counted))
    try:
        with progress:
            for state in rounds(app, run, clock) if profile else app.run(run):
                following.add(state)
                progress.show(state)
        run.finish("done")
        if words := how_it_ended(app, progress.past):
            console.print(words)
        if profile:
            console.print(f"\n{OUTSIDE}\n" if plan.hides else "")
            console.print(table(clock, len(progress.past) - progress.first, app.workers))
        rows = _rows(app, run, compare, console)
        sets = _sets(app, run.state())
        own = _own(app, run, compare)
        for found, shown in ((rows, comparison), (sets, tested_sets), (own, own_models)):
            if found:
                console.print()
                console.print(shown(found))
        tables = (tuple(rows), tuple(sets), tuple(own))
        report_data = _story(app, run, title, progress.past, tables, again)
        console.print(f"report  {write(report_data, run.folder)}", soft_wrap=True)
        return 0
    except KeyboardInterrupt:
        done = _ended(run, "stopped", app, progress)
        say(f"Stopped after {done} of {planned} rounds, all of them stored. Go on with: {again}")
        return 130
    except BaseException as error:
        if done := _ended(run, "failed", app, progress):
            error.add_note(
                f"{done} of {planned} rounds are stored. When the cause is gone, go on with: "
                f"{again}"
            )
        raise


def _ended(run: Run, how: str, app: App, progress: Progress) -> int:
    """Say how a run ended before its end, and how many rounds are stored: the last may not have
    been shown.

    A store that is gone hides no error: then it is the number of those that were shown.
    """
    done = len(progress.past)
    run.database.waiting.stop()
    with suppress(StoreError):
        past = run.history()
        done = len(past)
        if done >= app.known_plan.rounds or (app.stop is not None and app.stop.over(past)):
            how = "done"
        if how == "failed":
            _fail(app, run)
        else:
            run.finish(how)
    return done


def _fail(app: App, run: Run) -> None:
    """Say that a run has failed: one that has not begun leaves nothing, but where sites were
    asked, which may go on with it.
    """
    if app.runtime is None:
        fail(run)
    else:
        run.finish("failed")


def _clients(app: App) -> Sequence[str]:
    """The names of all clients; of a population as it has them, for a million are not listed."""
    names = names_of(app.data)
    if isinstance(names, Sequence):
        return names
    return sorted(names)


def _sets(app: App, state: State | None) -> list[Row]:
    """How the model does on test sets that have names; nothing before the first round."""
    if state is None:
        return []
    return app.tests.rows(app.known_plan.model, state.x)


def _story(
    app: App,
    run: Run,
    title: str,
    rounds: Sequence[Round],
    tables: tuple[tuple[Row, ...], ...],
    again: str,
) -> ReportData:
    """What the report tells.

    rounds: as they may be shown. tables: the comparison, the test sets that have names, and the
    clients' own models; each may be empty.
    """
    settings = {
        "app": run.app,
        "run": str(run.folder),
        "started": f"{run.started:%Y-%m-%d %H:%M:%S} UTC",
        "go on with": again,
        "plan": expression(app.known_plan),
        "name": run.label.name,
        "tags": ", ".join(run.label.tags),
        "note": run.label.note,
        "best model": f"round {best}" if (best := run.best()) else "",
    }
    settings = {name: value for name, value in settings.items() if value}
    compared, sets, own = tables
    return ReportData(
        title,
        run.id,
        tuple(rounds),
        app.known_plan.rounds,
        _clients(app),
        app.explain(),
        compared,
        sets,
        own,
        settings,
        how_it_ended(app, rounds),
        _looked(app),
    )


def _looked(app: App) -> Overview | None:
    """A look at the clients' data; nobody who hides what clients hold gets it unasked, and of many
    or of those elsewhere nothing is read for it.
    """
    here = app.runtime is None and not isinstance(app.data, Population)
    if not here or app.known_plan.hides or len(app.data) > MOST_LOOKED_AT:
        return None
    return overview_of(app)


def _own(app: App, run: Run, compare: bool | None) -> list[Row]:
    """How the clients' own models do; where examples are hidden, nobody gets it unasked.

    compare: asked for, or refused; None where nobody has said.
    """
    if compare is None:
        compare = not app.known_plan.hides
    state = run.state()
    if state is None or not compare:
        return []
    return own_rows(app, state, run.memory())


def _rows(app: App, run: Run, compare: bool | None, console: Console) -> list[Row]:
    """The rows of the comparison; a model that cannot be trained alone spoils the comparison, not
    the run.

    Nobody who hides what clients hold gets it unasked.
    """
    if compare is None:
        compare = app.test is not None and len(app.data) <= MOST_ALONE and not app.known_plan.hides
    state = run.state()
    if state is None or not compare:
        return []
    try:
        with waiting(console, "Comparing: each client alone, and all data pooled"):
            return list(app.compare(state, run.memory()))
    except HansaError as error:
        complain(error)
        say("So there is no comparison; the run itself is done.")
        return []
