"""The command line: `hansa run`, `sweep`, `explain`, `check`, `audit`, `calibrate`, `new`,
`doctor`; of stored runs `ui`, `runs`, `label`, `compare`, `rm`, `show`, `verify`, `export`,
`predict`, `backup`, `restore`; of real sites `enroll`, `provision`, `kit`, `roster`, `bundle`,
`fetch`, `inspect`, `approve`, `policy`, `serve`, `join`, `helper`, `gateway`, `leave`.

Each command turns its words into an app (`cli.target`) and calls what the library has for it: a
command decides nothing that a program could not. Options that several share are in `cli.options`,
and what is printed is laid out in `hansa.ui`.

Exit codes: 0 done; 1 failed, or audit or verify refute; 2 wrong input, wherever it stands (on the
command line, in an app, a config, data, a store or a kit); 3 refused, by the other side, or here by
approval, policy or roster; 4 gave up at a deadline; 130 Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__
from ..errors import AppError
from .options import (
    Ask,
    AtSite,
    Attacks,
    Audited,
    Called,
    Place,
    Seed,
    Set,
    Stated,
    Target,
    Way,
    command,
    commands,
)
from .started import check_named, new_run, resumed_run
from .target import app_of, config_of, resumed, same_plan, settings_of
from .working import Working, check_at

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..app import App
    from ..audit.report import AuditReport


def main() -> None:
    """The console entry `hansa`."""
    commands(prog_name="hansa")


@command
def run(
    place: Place,
    way: Way,
    target: Target = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, max=10**9, help="Rounds in all, instead of the plan's.", show_default=False
        ),
    ] = None,
    seed: Seed = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with this run.", show_default=False)
    ] = None,
    set_: Set = None,
    called: Called = Called(),
) -> None:
    """Train the app's model over all its clients, round by round, and write a report.

    Each round is stored before it is shown; a run that was stopped or killed goes on with --resume.

    Examples: hansa run hospitals.py --set pipe.1.norm=2 --name baseline, and hansa run --resume
    baseline --rounds 50
    """
    settings = settings_of(set_) | _given(rounds=rounds, seed=seed)
    check_named("run", resume, target)
    if resume:
        app, stored, path = resumed_run(place, way, resume, target, settings)
        if called != Called():
            stored.relabel(called.over(stored.label))
    else:
        app, stored, path = new_run(place, way, target, settings, called)
    if way.workers is not None:
        app = replace(app, workers=way.workers)
    stored.ciphertexts = way.ciphertexts
    from ..ui.live import follow

    again = f"hansa run --resume {stored.id}{place.words()}{way.words()}"
    raise typer.Exit(follow(app, stored, path.stem, way.compare, again, way.profile))


def _given(**options: int | None) -> dict[str, int]:
    """The options that were given, by name."""
    return {name: value for name, value in options.items() if value is not None}


@command
def check(
    target: Stated,
    set_: Set = None,
    ask: Ask = False,
    kit: AtSite = None,
    data: Annotated[
        Path | None, typer.Option(help="With a kit: this client's data.", show_default=False)
    ] = None,
    working: Working = Working(),
) -> None:
    """Build the plan, and look at every client's data and policy, without training; every problem
    is told.

    What hangs on a survey's answers is looked at with --ask, which asks it, of the data that is
    here. With a kit, it is looked at whether this site could take part, in the app that was
    approved there.

    Examples: hansa check hospitals.py, or hansa check heart.bundle --kit kit/ --data heart.csv
    """
    if (kit is None) != (data is None):
        raise AppError(
            "One of --kit and --data is missing.",
            "A site is looked at with its kit and its client's data; a simulation has both in its "
            "app.",
            "Write both, or neither.",
        )
    if kit is not None and data is not None:
        check_at(target, kit, data, settings_of(set_), working)
        return
    from ..app.compare import OUTSIDE
    from ..explain import asked
    from ..plan import Plan
    from ..ui.errors import complain, say
    from ..ui.terminal import out

    app = app_of(config_of(target), settings_of(set_))
    if ask:
        app = app.asked()
    problems = list(app.problems())
    if problems and isinstance(app.plan, Plan) and app.plan.hides:
        say(OUTSIDE)
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(max(problem.code for problem in problems))
    out().print(f"{target}: {_checked(app)}")
    if app.first is not None:
        of = f"{app.first.aggregator!r}: {'; '.join(asked(app.first))}"
        out().print(f"Before its first round it asks a survey, by {of}.")


def _checked(app: App) -> str:
    """What was looked at, and what was not, in a sentence: of a large population some clients, and
    before a survey has its answer no plan that hangs on it.
    """
    from ..app.looking import looked_at
    from ..parties.population import Population
    from ..plan import Plan

    clients = f"all {len(app.data)} clients"
    if isinstance(app.data, Population):
        clients = f"the {looked_at(len(app.data))} clients that were looked at, of {len(app.data)},"
    if app.first is None or app.answer is not None:
        return f"the plan holds together, and {clients} can take part."
    left = "what clients train on, as it is prepared,"
    if not isinstance(app.plan, Plan):
        return (
            f"{clients} can be asked its survey. The plan, and {left} hang on what it finds: --ask "
            "looks at them."
        )
    if app.prepare is None:
        return (
            f"the plan holds together, and {clients} can be asked its survey. --ask looks at the "
            "rest."
        )
    return (
        f"the plan holds together, and {clients} can be asked its survey. Not {left} which --ask "
        "looks at."
    )


@command
def audit(
    place: Place,
    target: Audited,
    attacks: Attacks = None,
    canaries: Annotated[
        int | None,
        typer.Option(
            min=10,
            help="Canary clients; by default 1000, if the model has room.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Only the first rounds.", show_default=False)
    ] = None,
    seed: Seed = None,
    set_: Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where to write; by default the run's folder, or `audit`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Attack the app's plan, and say what came of it.

    Everything happens on this machine, in runs of the audit's own. Exit code 1 where an attack
    refutes the promised ε.

    Of an app without a server it tells, too, whose first values a curious peer, or two together,
    can solve for on its graph: that reads no data, and follows from the weights alone.

    Example: hansa audit hospitals.py --attacks canary,inversion
    """
    from ..audit import audit as attack
    from ..ui.terminal import out as console
    from ..ui.waiting import waiting

    settings = settings_of(set_) | _given(seed=seed)
    app, title, folder = _audited(place, target, settings)
    chosen = None
    if attacks is not None:
        chosen = [name.strip() for name in attacks.split(",")]
    with waiting(console(), title):
        found = attack(app, chosen, canaries, rounds, title)
    _tell_audit(found, out or folder)
    raise typer.Exit(int(found.broken))


def _tell_audit(found: AuditReport, folder: Path) -> None:
    """Print what came of an audit, and write it into a folder."""
    from ..ui.terminal import explanation, out

    written = found.write(folder)
    for part in explanation(found.told()):
        out().print(part)
    out().print(
        f"audit  {written[0].parent}: {', '.join(path.name for path in written)}", soft_wrap=True
    )


def _audited(place: Place, target: str, settings: Mapping[str, Any]) -> tuple[App, str, Path]:
    """The app of a file or of a stored run, what to call it, and where its audit belongs.

    A stored run is audited as it ran: AppError where its file has another plan now. `settings` of
    the command line change it only then.
    """
    from ..config.run import Config

    path = Path(target)
    if path.suffix in (".py", ".toml") or path.exists():
        return app_of(config_of(path), settings), f"Audit of {path.name}", Path("audit")
    stored = place.open().open(target)
    same_plan(app_of(resumed(Config(stored.app), stored)).answered(stored), stored, stored.app)
    app = app_of(resumed(Config(stored.app), stored), settings).answered(stored)
    return app, f"Audit of run {stored.id}", stored.folder


@command
def calibrate(
    epsilon: Annotated[float, typer.Option(help="What all rounds together may give away: ε.")],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in all.")],
    population: Annotated[
        int | None, typer.Option(min=1, help="Clients in all, each of which is hidden.")
    ] = None,
    cohort: Annotated[
        int | None, typer.Option(min=1, help="Clients in a round; all, if left out.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="δ; by default 1/N^1.1, at most 1e-5.")
    ] = None,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Draw exactly so many, not so many on average.")
    ] = False,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Examples of a client, each of which is hidden.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=0, help="Examples in a local batch on average, with --examples.")
    ] = 32,
) -> None:
    """Say how much noise keeps a run within ε at δ, for each client; with --examples, for each
    example of a client.

    Example: hansa calibrate --epsilon 4 --delta 1e-6 --rounds 200 --population 10000 --cohort 100
    """
    from ..privacy import advice, advice_of_examples
    from ..training import Training
    from ..ui.terminal import out

    if (population is None) == (examples is None):
        raise AppError(
            "Noise hides clients, or examples, and one of the two must be named.",
            "They are hidden by different noise, and their ε is not the same.",
            "Write --population N for clients, or --examples N for those of one client, in one "
            "pass a round.",
        )
    if examples is not None:
        told = advice_of_examples(epsilon, delta, rounds, examples, Training(batch=batch))
        out().print(told, soft_wrap=True)
        return
    assert population is not None
    out().print(
        advice(epsilon, delta, rounds, (population, cohort or population), uniform), soft_wrap=True
    )


@command
def new(
    template: Annotated[
        str | None,
        typer.Argument(
            metavar="TEMPLATE",
            help="Which app; without one, all there are are listed.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="A new folder for it, or an empty one.", show_default=False
        ),
    ] = None,
) -> None:
    """Make a folder with an app that runs, to put your own data into; or list what there is.

    Example: hansa new hospitals my-app, or hansa new
    """
    from rich.padding import Padding
    from rich.text import Text

    from ..app.templates import create_from_template, templates
    from ..ui.terminal import out

    if template is None:
        for name, about in templates().items():
            out().print(Text(name, style="bold"))
            out().print(Padding(about, (0, 0, 0, 2)))
        out().print("Begin with one: hansa new hospitals my-app")
        return
    if folder is None:
        raise AppError(
            f"It is not said where the app {template} is to be.",
            "Its files are written into a new folder, or an empty one.",
            f"Write hansa new {template} my-app, or hansa new {template} . for this folder.",
        )
    made = create_from_template(template, folder)
    out().print(f"{folder}: {', '.join(path.name for path in made)}. Run it: hansa run {made[0]}")


def _version(asked: bool) -> None:
    """Say the version and end, as soon as the option is read."""
    if asked:
        typer.echo(f"hansa {__version__}")
        raise typer.Exit


@commands.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Federated learning, simulated on machines of one owner: sums that hide and prove what is in
    them, and noise.
    """


from . import approve as approve  # noqa: E402
from . import backups as backups  # noqa: E402
from . import data as data  # noqa: E402
from . import doctor as doctor  # noqa: E402
from . import explaining as explaining  # noqa: E402
from . import kits as kits  # noqa: E402
from . import owned as owned  # noqa: E402
from . import peers as peers  # noqa: E402
from . import predict as predict  # noqa: E402
from . import rosters as rosters  # noqa: E402
from . import runs as runs  # noqa: E402
from . import sites as sites  # noqa: E402
from . import stored as stored  # noqa: E402  # listed behind those that begin a run
from . import sweep as sweep  # noqa: E402
from . import ui as ui  # noqa: E402
