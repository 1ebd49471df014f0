"""The command line: `hansa run`, `explain`, `check`, `audit`, `calibrate`, `runs`, `show`,
`export`, `new`.

Each command turns its words into an app (`cli.target`) and calls what the library has for it: a
command decides nothing that a program could not. Options that several share are in `cli.options`,
and what is printed is laid out in `hansa.ui`.

Exit codes: 0 done; 1 failed (bad data, a plan that cannot mean anything, no such run); 2 wrong
usage; 130 Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__
from ..errors import AppError
from ..plan import Plan
from .options import (
    Ask,
    Audited,
    File,
    Id,
    Place,
    Seed,
    Set,
    Target,
    Way,
    Which,
    command,
    commands,
    usage,
    which_round,
)
from .started import new_run, resumed_run
from .target import app_of, config_of, resumed, same_plan, settings_of

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..app import App


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
) -> None:
    """Train the app's model over all its clients, round by round, and write a report.

    Each round is stored before it is shown; a run that was stopped or killed goes on with --resume.

    Examples: hansa run hospitals.py --rounds 50 --set pipe.1.norm=2, then hansa run --resume
    20260102
    """
    settings = settings_of(set_) | _given(rounds=rounds, seed=seed)
    if resume is None and target is None:
        raise typer.BadParameter("name an app file, or a run to --resume", param_hint="APP.py")
    if resume:
        app, stored, path = resumed_run(place, way, resume, target, settings)
    else:
        app, stored, path = new_run(place, way, target, settings)
    if way.workers is not None:
        app = replace(app, workers=way.workers)
    from ..ui.live import follow

    again = f"hansa run --resume {stored.id}{place.words()}{way.words()}"
    raise typer.Exit(follow(app, stored, path.stem, way.compare, again, way.profile))


def _given(**options: int | None) -> dict[str, int]:
    """The options that were given, by name."""
    return {name: value for name, value in options.items() if value is not None}


@command
def explain(target: File, set_: Set = None, ask: Ask = False) -> None:
    """Say in words what the app's survey and plan ask of a client, and who sees what; no data is
    read.

    Where the plan hangs on what the survey finds, that is said, and --ask asks the survey, of the
    data that is here.

    Example: hansa explain hospitals.py --set 'pipe.1={use = "Clip", norm = 1.0}'
    """
    from ..ui.terminal import explanation, out

    console = out()
    app = app_of(config_of(target), settings_of(set_))
    if ask:
        app = app.asked()
    for part in explanation(app.explain()):
        console.print(part)


@command
def check(target: File, set_: Set = None, ask: Ask = False) -> None:
    """Build the plan, and look at every client's data and policy, without training; every problem
    is told.

    What hangs on a survey's answers is looked at with --ask, which asks it, of the data that is
    here.

    Example: hansa check hospitals.py
    """
    from ..app.compare import OUTSIDE
    from ..explain import asked
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
        raise typer.Exit(1)
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
    attacks: Annotated[
        str, typer.Option(metavar="NAMES", help="Which attacks, with commas between them.")
    ] = "canary,membership,inversion",
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

    Example: hansa audit hospitals.py --attacks canary,inversion
    """
    from ..audit import audit as attack
    from ..ui.terminal import explanation
    from ..ui.terminal import out as console
    from ..ui.waiting import waiting

    settings = settings_of(set_) | _given(seed=seed)
    app, title, folder = _audited(place, target, settings)
    chosen = [name.strip() for name in attacks.split(",")]
    with waiting(console(), title):
        found = attack(app, chosen, canaries, rounds, title)
    written = found.write(out or folder)
    for part in explanation(found.told()):
        console().print(part)
    console().print(
        f"audit  {written[0].parent}: {', '.join(path.name for path in written)}", soft_wrap=True
    )
    raise typer.Exit(int(found.broken))


def _audited(place: Place, target: str, settings: Mapping[str, Any]) -> tuple[App, str, Path]:
    """The app of a file or of a stored run, what to call it, and where its audit belongs.

    A stored run is audited as it ran: AppError where its file has another plan now. `settings` of
    the command line change it only then.
    """
    from ..config import Config

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
def runs(place: Place) -> None:
    """List all runs, the latest last.

    Example: hansa runs
    """
    from ..ui.terminal import listed, out

    out().print(listed(place.open().runs()))


@command
def show(run: Id, place: Place) -> None:
    """Show a run: its plan, its last rounds, its files.

    Example: hansa show 20260102
    """
    from ..ui.terminal import details, out

    store = place.open()
    found = store.open(run)
    status = next(one.status for one in store.runs() if one.id == found.id)
    for part in details(found, status):
        out().print(part)


@command
def export(
    run: Id,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.safetensors", help="Where to write the weights.", show_default=False
        ),
    ],
    place: Place,
    raw: Annotated[
        bool, typer.Option("--raw", help="One flat vector x, without loading the app.")
    ] = False,
    client: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="This client's own model.", show_default=False),
    ] = None,
    round_: Which = None,
) -> None:
    """Write the weights of a run as safetensors: those of a PyTorch model as its state_dict.

    They are those after its last round; --round names another whose model is kept, or the best.
    What clients remember, and so their own models, is there for the last round alone.

    Examples: hansa export 20260102 model.safetensors, with --round best or --round 12; or with
    --client north, whose own model stays with it else
    """
    from ..app.compare import OUTSIDE
    from ..app.personal import stored_model
    from ..config import Config
    from ..models import NO_LOCAL
    from ..models.parts import Personal
    from ..store import export
    from ..ui.errors import say
    from ..ui.terminal import out

    stored = place.open().open(run)
    state = stored.state(which_round(round_))
    if state is None:
        raise AppError(
            f"Run {stored.id} has no round yet.",
            "Weights are stored with each round.",
            "Let it run for a round.",
        )
    x = state.x
    local = NO_LOCAL
    model = None
    whose = "weights"
    if client is not None or not raw:
        app = app_of(resumed(Config(stored.app), stored)).answered(stored)
        plan = app.known_plan
        model = None if raw else plan.model
    if client is not None:
        x, local = stored_model(app, stored, state, client)
        whose = f"weights of {client}'s own model"
    export(x, file, model, local)
    out().print(f"{file}: the {whose} of run {stored.id} after round {state.round}.")
    if client is not None and plan.hides:
        say(OUTSIDE)
    if isinstance(model, Personal) and client is None:
        # P182
        kept = ", ".join(model.kept)
        out().print(f"{kept} stay with each client: the file holds their start, which no one uses.")


@command
def new(
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Which app: hospitals.", show_default=False)
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder for it.", show_default=False)
    ],
) -> None:
    """Make a folder with an app that runs, to put your own data into.

    Example: hansa new hospitals my-app
    """
    from ..app.templates import create_from_template
    from ..ui.terminal import out

    with usage():
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
