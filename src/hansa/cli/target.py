"""From the command line to an app: what a target says, and what --set changes.

A plan is built in this order, and what comes later wins: the app file, the run's config (TOML), and
--set, --rounds and --seed. A resumed run has kept them all but the app file, which must still build
the same plan: its digest is compared.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AppError, PlanError, StoreError

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..app import App
    from ..config import Pieces
    from ..config.run import Config
    from ..plan import Plan
    from ..store import Run


def config_of(target: Path) -> Config:
    """What a target says: an app file says nothing but itself.

    A missing file is a mistake on the command line, told with the apps that lie near it; so is a
    name that no store can keep.
    """
    from ..config.run import Config, read

    if any("\ud800" <= c <= "\udfff" for c in str(target.resolve())):
        raise AppError(
            f"The name of {target.resolve()} is no text.",
            "A run keeps the path of its app as a text, in UTF-8.",
            "Rename the file, or the folder.",
        )
    if not target.is_file():
        raise _missing(target)
    if target.suffix == ".toml":
        return read(target)
    return Config(str(target))


def _missing(path: Path) -> AppError:
    """The error for what is no file, with up to five apps and configs of the same folder.

    Returned and not raised, so that the caller says whose mistake it is.
    """
    if path.is_dir():
        return AppError(
            f"{path} is a folder.",
            "An app is a Python file, a run's config a TOML file.",
            "Name a file in it.",
        )
    folder = path.parent
    near = sorted(str(other) for kind in ("*.py", "*.toml") for other in folder.glob(kind))[:5]
    there = f"There is no app in {folder.resolve()}."
    if near:
        there = f"In {folder.resolve()} there is {', '.join(near)}."
    return AppError(
        f"There is no file {path}.", there, "Name an app file; `hansa new hospitals DIR` makes one."
    )


def app_of(config: Config, settings: Mapping[str, Any] | None = None) -> App:
    """The app of a config, with the plan and the early end as the config has them, and then as the
    command line's `settings` have them.

    The app file is run, as Python. Its own classes are pieces for both, by their names.
    """
    from ..app.load import load
    from ..app.settings import plan_with, with_plan, with_stop
    from ..config.run import STOP

    app = load(config.app)
    own = own_pieces(config)
    app = with_plan(app, lambda plan: config.apply(plan, own))
    if config.stop:
        app = with_stop(app, {STOP: config.stop})
    app = with_stop(app, config.set)

    def changed(plan: Plan) -> Plan:
        return plan_with(plan, settings or {}, own)

    app = with_plan(app, changed)
    return with_stop(app, settings or {})


def own_pieces(config: Config) -> Pieces:
    """What a plan can be put together from, once its app file was run: hansa's pieces and its
    own.
    """
    from ..app.clients import MODULE
    from ..config import Pieces

    return Pieces(vars(sys.modules[MODULE + Path(config.app).stem]))


def settings_of(given: list[str] | None) -> dict[str, Any]:
    """path → value, of --set PATH=VALUE; the value is read as TOML, and a word alone as a text."""
    from ..config import value_of

    found = {}
    for setting in given or []:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise AppError(
                f"--set {setting} sets nothing.",
                "It takes a path and a value.",
                "Write for example --set pipe.0.norm=2.",
            )
        found[path.strip()] = value_of(text.strip())
    return found


def budgeted(app: App, budget: str | None) -> App:
    """The app with a budget of ε or ε@δ; without δ it is that of the app.

    AppError for what is no budget.
    """
    if budget is None:
        return app
    from ..app.federation import delta_of
    from ..privacy.ledger import Budget

    epsilon, at, delta = budget.partition("@")
    try:
        return replace(app, budget=Budget(float(epsilon), float(delta) if at else delta_of(app)))
    except ValueError:
        raise AppError(
            f"--budget {budget} is no budget.",
            "It takes ε, or ε@δ.",
            "Write for example --budget 4@1e-6.",
        ) from None
    except PlanError as error:
        raise AppError(error.found, error.why, "Write for example --budget 4@1e-6.") from None


def tracked(app: App, given: str | None, config: Config) -> App:
    """The app with the trackers that the command line names, or else the run's config; those that
    the app names itself stay. AppError for a name that is none.
    """
    words = list(config.track) if given is None else given.split(",")
    named = [str(word).strip() for word in words]
    more = [one for one in dict.fromkeys(named) if one not in app.track]
    return replace(app, track=[*app.track, *more])


def resumed(config: Config, stored: Run) -> Config:
    """The config with the settings that a run has kept; StoreError where it cannot have kept
    them.

    What stands in the database is not believed: it may be of another version, or damaged.
    """
    found = stored.settings
    if strangers := sorted(found.keys() - config.kept().keys()):
        raise StoreError(
            f"Run {stored.id} has kept the setting {strangers[0]!r}.",
            f"A run keeps {', '.join(config.kept())}: another version of hansa wrote it, or the "
            "database is damaged.",
            "Go on with that version, or put the database back from a backup.",
        )
    if not all(isinstance(found.get(name, {}), dict) for name in ("set", "plan", "stop")):
        raise StoreError(
            f"Run {stored.id} has kept {found!r}.",
            "`set`, `plan` and `stop` are tables: the database is damaged.",
            "Put it back from a backup.",
        )
    return replace(config, **found)


def same_plan(app: App, stored: Run, path: str) -> None:
    """Raise AppError where the plan of the app at `path` is not the one that the run began with.

    Digests are compared; the expressions say in the error what is other.
    """
    from ..explain import difference, expression

    plan = app.known_plan
    if plan.digest != stored.digest:
        raise AppError(
            f"The plan of {path} is not the one that run {stored.id} began with.",
            difference(stored.plan, expression(plan)),
            "Put the file back as it was, or start a new run.",
        )
