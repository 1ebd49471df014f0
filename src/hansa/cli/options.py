"""What commands share: their options, and where runs are stored.

`@command` makes a function a command: a dataclass among its arguments is a group of options, and an
error inside it becomes one paragraph and an exit code (`cli.mistakes`).

Place      where runs are stored
Way        how a run goes, whatever its plan
Target …   arguments and options that several commands have
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from ..errors import AppError
from .mistakes import Commands, told

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..store import Label, Store

commands = typer.Typer(
    name="hansa",
    cls=Commands,
    help="Federated learning, simulated on machines of one owner: sums that hide and prove what is "
    "in them, and noise.",
    epilog="Begin with: hansa new hospitals my-app, then hansa run my-app/hospitals.py",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # in panels long words are cut off, and brackets are markup
    context_settings={"help_option_names": ["-h", "--help"]},
)


Stated = Annotated[
    Path,
    typer.Argument(
        metavar="APP.py|CONFIG.toml|X.bundle",
        help="An app file, a run's config, or with a kit a bundle.",
        show_default=False,
    ),
]
AtSite = Annotated[
    Path | None, typer.Option("--kit", metavar="DIR", help="The kit of a site.", show_default=False)
]
Target = Annotated[
    Path | None,
    typer.Argument(
        metavar="APP.py|CONFIG.toml",
        help="An app file, or a run's config; may be left out with --resume.",
    ),
]
Audited = Annotated[
    str,
    typer.Argument(
        metavar="APP.py|CONFIG.toml|RUN",
        help="An app file, a run's config, or a run.",
        show_default=False,
    ),
]
Id = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, as `hansa runs` lists it.", show_default=False)
]
Seed = Annotated[
    int | None, typer.Option(help="The seed, instead of the plan's.", show_default=False)
]
Attacks = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Which attacks, with commas between them: canary, membership, inversion, and of peers "
        "linear; by default all.",
        show_default=False,
    ),
]
Ask = Annotated[
    bool,
    typer.Option(
        "--ask", help="Ask the app's survey first, of the data that is here: what it finds is told."
    ),
]
As = Annotated[
    Literal["text", "json", "csv"], typer.Option("--as", help="For people, or for programs.")
]
Which = Annotated[
    str | None,
    typer.Option(
        "--round",
        metavar="N|best",
        help="The model of another round than the last, where it is kept.",
        show_default=False,
    ),
]
Whose = Annotated[
    str | None,
    typer.Option("--client", metavar="NAME", help="This client's own model.", show_default=False),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change the plan: pipe.0.norm=2, training.optimizer=adam, …; or when it ends early: "
        "stop.patience=5.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Place:
    """Where runs are stored; two options that several commands share.

    A database in `store` holds the rounds of all runs; reports and plots stay in `folder`.
    """

    folder: Annotated[Path, typer.Option(help="The folder of all runs.", envvar="HANSA_FOLDER")] = (
        Path("runs")
    )
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A database instead of SQLite in the folder: postgresql://…",
            envvar="HANSA_STORE",
        ),
    ] = None

    def open(self, new: bool = False) -> Store:
        """The store there; a `new` one is made where there is none, else that is an AppError."""
        from ..store import Store

        if not (new or self.store or (self.folder / "hansa.sqlite").is_file()):
            raise AppError(
                f"There are no runs in {self.folder.resolve()}.",
                "Runs are looked for in a folder `runs` of where you are.",
                "Name another with --folder, or start a run with: hansa run APP.py",
            )
        return Store(self.folder, self.store, new)

    def words(self) -> str:
        """The options that lead here, for a command to copy; nothing for the defaults."""
        folder = ""
        if self.folder != Path("runs"):
            folder = f" --folder {quote(str(self.folder))}"
        if not self.store:
            return folder
        from sqlalchemy.engine import make_url

        # without the password: a report holds these words
        shown = make_url(self.store).render_as_string()
        return f"{folder} --store {quote(shown)}"


@dataclass(frozen=True)
class Called:
    """What a person calls a run; options that several commands share."""

    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it.", show_default=False)
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="A tag; may be given again.", show_default=False),
    ] = None
    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A note beside it.", show_default=False)
    ] = None

    def over(self, label: Label) -> Label:
        """The label with what is said here in the place of what it has; AppError for what is no
        name and no tag.
        """
        given: dict[str, Any] = {
            "name": self.name,
            "tags": self.tag and tuple(self.tag),
            "note": self.note,
        }
        return replace(label, **{name: words for name, words in given.items() if words is not None})


@dataclass(frozen=True)
class Way:
    """How a run goes, whatever its plan; options of `run`.

    None of them changes the model that comes out, but that a budget may end the run earlier. Who
    can read the folder of --ciphertexts can compute each round's sum, so it is for its owner's eyes
    and those of whom they are given to.
    """

    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Train in so many processes; 0 is this one.", show_default=False),
    ] = None
    compare: Annotated[
        bool | None,
        typer.Option(
            "--compare/--no-compare",
            help="Train each client alone, and all data pooled; by default for up to 20 clients, "
            "and no noise.",
        ),
    ] = None
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="EPSILON[@DELTA]",
            help="End before a round that could give away more.",
            show_default=False,
        ),
    ] = None
    track: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Who follows the rounds: csv, tensorboard, mlflow, wandb; with commas.",
            show_default=False,
        ),
    ] = None
    profile: Annotated[
        bool, typer.Option("--profile", help="Say at the end where a round's time goes.")
    ] = False

    ciphertexts: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep each round's ciphertexts there, so that anybody can compute its sum again.",
            file_okay=False,
            show_default=False,
        ),
    ] = None

    def words(self) -> str:
        """The options that a resumed run needs again, for a command to copy."""
        budget = f" --budget {self.budget}" if self.budget else ""
        kept = f" --ciphertexts {quote(str(self.ciphertexts))}" if self.ciphertexts else ""
        track = f" --track {quote(self.track)}" if self.track else ""
        return budget + kept + track


def command(body: Callable[..., None], of: typer.Typer = commands) -> Callable[..., None]:
    """A command: a dataclass among its arguments stands for options, its errors are told in one
    paragraph.

    Its name on the command line is that of the function, its help the docstring, of which the list
    of all commands has the first paragraph; `of` is the command above it.
    """
    hints = get_type_hints(body, include_extras=True)
    groups = dict[str, Any]()
    parameters = list[inspect.Parameter]()
    for one in inspect.signature(body).parameters.values():
        if not is_dataclass(kind := hints[one.name]):
            parameters.append(one.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[one.name], inner = kind, get_type_hints(kind, include_extras=True)
        for f in fields(kind):
            parameters.append(
                inspect.Parameter(
                    f.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=f.default,
                    annotation=inner[f.name],
                )
            )

    @wraps(body)
    def call(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{f.name: given.pop(f.name) for f in fields(kind)})
        with told():
            body(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    del call.__wrapped__
    brief = " ".join(inspect.cleandoc(body.__doc__ or "").split("\n\n")[0].split())
    return of.command(name=body.__name__.rstrip("_"), short_help=brief)(call)


def which_round(given: str | None) -> int | Literal["best"] | None:
    """What --round names: the number of a round, or the one that the run has marked as its best;
    None for the last.

    AppError for what is neither. Whether its model is kept is known to the run alone, which says
    which ones are.
    """
    if given is None:
        return None
    if given == "best":
        return "best"
    if not given.isdecimal():
        raise AppError(
            f"--round {given} names no round.",
            "A round is named by its number; the best one has a name.",
            "Write for example --round 3, or --round best.",
        )
    return int(given)
