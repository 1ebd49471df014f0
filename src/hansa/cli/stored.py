"""What is done with one stored run: show it, verify its record, write its weights.

    show      reads one run                               prints its plan, rounds and files
    verify    reads its record, and ciphertexts if named  prints how many rounds hold
    export    reads a round's weights                     writes FILE as its ending says

    hansa export 20260102 model.safetensors --round best

They end with 2 where there is no such run or round; verify ends with 1 where a line of the record
does not hold.
None of them changes a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import AppError, StoreError
from .options import As, AtSite, Id, Place, Whose, command, which_round
from .options import Which as Round
from .owned import Mine, export_at, said_of_start
from .target import app_of, resumed
from .working import Working

if TYPE_CHECKING:
    from ..state import State
    from ..store.run import Run


@command
def show(run: Id, place: Place, how: As = "text") -> None:
    """Show a run: its plan, its last rounds, its files; for programs, all its rounds.

    Example: hansa show 20260102, or hansa show 20260102 --as csv
    """
    from ..ui.listing import details
    from ..ui.tables import as_csv, as_json, of_round
    from ..ui.terminal import out

    store = place.open()
    found = store.open(run)
    if how != "text":
        rows = map(of_round, found.history())
        typer.echo((as_json if how == "json" else as_csv)(rows).rstrip("\n"))
        return
    status = next(one.status for one in store.runs() if one.id == found.id)
    for part in details(found, status):
        out().print(part)


@command
def verify(
    run: Id,
    place: Place,
    roster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The roster of its clients.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    ciphertexts: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Compute each sum again from what `hansa run --ciphertexts DIR` has kept.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
) -> None:
    """See that what the clients of a run have signed is what its record says: who is in each sum.

    The first line of the record that does not hold is named, and the first file of --ciphertexts
    that is missing, or is not what its client has signed. Without --roster, who the clients are
    is as the record itself says.

    Example: hansa verify 20260102, with --ciphertexts kept where a run has kept them
    """
    from ..crypto.identity import Roster
    from ..store import verify as verified
    from ..ui.errors import complain
    from ..ui.terminal import out

    found = place.open().open(run)
    members = None if roster is None else Roster.decode(roster.read_bytes())
    try:
        rounds = verified(found, members, ciphertexts)
    except StoreError as error:  # no wrong input: it was looked at, and does not hold
        complain(error)
        raise typer.Exit(1) from None
    whose = "of the roster" if roster else "that it names itself"
    out().print(
        f"{rounds} rounds hold: each was signed by enough of the clients {whose}.", soft_wrap=True
    )
    if ciphertexts:
        out().print("Each of their sums was computed again, from the ciphertexts.", soft_wrap=True)


@dataclass(frozen=True)
class Which:
    """Which weights of a stored run, and in which form; options of `export`."""

    raw: Annotated[
        bool, typer.Option("--raw", help="One flat vector x, without loading the app.")
    ] = False
    client: Whose = None
    round_: Round = None


@command
def export(
    run: Id,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Where to: FILE.safetensors, FILE.npz, FILE.pt, …",
            show_default=False,
        ),
    ],
    place: Place,
    which: Which = Which(),
    kit: AtSite = None,
    mine: Mine = Mine(),
    working: Working = Working(),
) -> None:
    """Write the weights of a run, as the ending of FILE says: .safetensors, .npz or .pt for any
    model, .keras for one of Keras.

    Those of a PyTorch model are the entries of its state_dict.

    With the kit of a site, and the app that was approved there in the place of RUN, they are those
    of the global model as the site was told it last, or with --own its own.

    They are those after its last round; --round names another whose model is kept, or the best.
    What clients remember, and so their own models, is there for the last round alone.

    Examples: hansa export 20260102 model.safetensors, with --round best or --round 12; or with
    --client north, whose own model stays with it else; at a site hansa export heart.bundle
    model.safetensors --kit kit/
    """
    if kit is not None:
        export_at(Path(run), file, kit, mine, working)
    else:
        _export(place.open().open(run), file, which)


def _export(stored: Run, file: Path, which: Which) -> None:
    """Write the weights of a stored run, and say what they are, and of whom."""
    from ..app.compare import OUTSIDE
    from ..app.personal import stored_model
    from ..config.run import Config
    from ..models import NO_LOCAL
    from ..store import export
    from ..ui.errors import say
    from ..ui.terminal import out

    state = state_of(stored, which_round(which.round_))
    client = which.client
    x = state.x
    local = NO_LOCAL
    model = None
    whose = "weights"
    if client is not None or not which.raw:
        app = app_of(resumed(Config(stored.app), stored)).answered(stored)
        plan = app.known_plan
        model = None if which.raw else plan.model
    if client is not None:
        x, local = stored_model(app, stored, state, client)
        whose = f"weights of {client}'s own model"
    export(x, file, model, local)
    out().print(f"{file}: the {whose} of run {stored.id} after round {state.round}.")
    if client is not None and plan.hides:
        say(OUTSIDE)
    if client is None:
        _say_what_stays(model)


def state_of(stored: Run, which: int | Literal["best"] | None) -> State:
    """The state after a round, or the last; AppError where there has been none."""
    state = stored.state(which)
    if state is None:
        raise AppError(
            f"Run {stored.id} has no round yet.",
            "Weights are stored with each round.",
            "Let it run for a round.",
        )
    return state


def _say_what_stays(model: object) -> None:
    """Say that parts of a model, or its statistics, are the clients' own, where they are.

    model: that of the plan; None where it was not loaded, and then nothing is said.
    """
    from ..models.predictions import staying
    from ..ui.terminal import out

    if model is not None:
        for line in said_of_start(staying(model)):
            out().print(line)
