"""The models of a site, for its owner: the global one, as the site was told it last, and its own.

    score     reads the kit, the approved app, data      prints how many examples, and each metric
    predict   of a kit reads the same                    writes FILE.csv or FILE.json
    export    of a kit reads the same without data       writes FILE.safetensors

    hansa score heart.bundle --kit kit/ --data heart.csv --own

The app's code runs in a worker here as well. They end with 1 where there is no model yet, and with
3 where the app is not approved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, WorkerError
from ..private import harden
from .options import Set, command
from .target import settings_of
from .there import KIT, approved_bundle, kit_of, print_plainly
from .working import Working

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    import numpy as np

    from ..runtimes.sites.models import Told
    from ..runtimes.sites.worker import Worker


PREDICTED = 2**31  # bytes of predictions, at most


@dataclass(frozen=True)
class Mine:
    """Which model of a site's; options that several commands share."""

    of_run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="With a kit: a run, or how its id begins; else its latest.",
            show_default=False,
        ),
    ] = None
    own: Annotated[bool, typer.Option("--own", help="With a kit: the site's own model.")] = False


@dataclass(frozen=True)
class Opened:
    """A model of a site's, and the worker that has its code."""

    worker: Worker
    who: str
    told: Told
    state: Any
    mine: Mine

    def ask(self, what: str, most: int = 0) -> Any:
        """What the worker makes of the model, in so many bytes more than its numbers."""
        from ..runtimes.sites.worker import numbers

        vectors = self.told.broadcast
        return self.worker.ask(
            what,
            most + numbers(sum(v.size for v in vectors.values())),
            plan=self.told.plan,
            found=self.told.found,
            read=b"",
            broadcast=vectors,
            state=self.state,
            own=self.mine.own,
        )

    def __str__(self) -> str:
        """Which model it is."""
        whose = "the global model"
        if self.mine.own:
            whose = f"the model of {self.who}"
        return f"{whose} after round {self.told.round} of run {self.told.run:.8}…"


@command
def score(
    target: Annotated[
        Path,
        typer.Argument(metavar="X.bundle|APP.py", help="The approved app.", show_default=False),
    ],
    kit: KIT,
    data: Annotated[Path, typer.Option(help="Data to score on.", show_default=False)],
    mine: Mine = Mine(),
    working: Working = Working(),
    set_: Set = None,
) -> None:
    """Score the global model, or this site's own, on data that is here; nothing leaves it.

    Example: hansa score heart.bundle --kit kit/ --data heart.csv
    """
    with opened(target, kit, data, mine, working, settings_of(set_)) as model:
        match model.ask("score"):
            case {"examples": int(n), "scores": dict(scores)} if _are_scores(scores):
                print_plainly([f"{model}: {n} examples", *_told(scores)])
            case _:
                raise _odd(model.who)


def predicted_at(
    target: Path, kit: Path, data: Path, mine: Mine, working: Working
) -> tuple[np.ndarray[Any, Any], str]:
    """What a site's model says of each example of what is at a path [n, …]; and which it is."""
    import numpy as np

    with opened(target, kit, data, mine, working, {}) as model:
        found = model.ask("predict", PREDICTED)
        if not isinstance(found, np.ndarray) or found.dtype != np.float64 or not found.ndim:
            raise _odd(model.who)
        return found, str(model)


def export_at(target: Path, file: Path, kit: Path, mine: Mine, working: Working) -> None:
    """Write the weights of a site's model, as safetensors or npz."""
    from ..store.weights import check_ending, write_tensors

    check_ending(file)
    with opened(target, kit, None, mine, working, {}) as model:
        match model.ask("export"):
            case {"weights": dict(found), "start": list(start)} if _are_weights(found, start):
                write_tensors(found, file)
                print_plainly([f"{file}: the weights of {model}.", *said_of_start(start)])
            case _:
                raise _odd(model.who)


@contextlib.contextmanager
def opened(
    target: Path,
    kit: Path,
    data: Path | None,
    mine: Mine,
    working: Working,
    settings: dict[str, Any],
) -> Iterator[Opened]:
    """A model of a site's, with a worker that lives as long as the block.

    AppError where there is none, and for the kit of another role.
    """
    from ..runtimes.sites.models import Models
    from ..runtimes.sites.runs import Runs
    from ..runtimes.sites.site import learnt_in

    own = kit_of(kit)
    if own.role not in ("client", "peer"):
        raise AppError(
            f"{kit} is the kit of {own.who}, a {own.role}.",
            "Models are told to clients, and peers have their own.",
            "Name the kit of a client or of a peer.",
        )
    harden()
    with contextlib.closing(Runs(own.folder / "runs")) as runs:
        run = _latest(runs, mine.of_run)
        state = learnt_in(runs.file, run)
    told = Models(own.folder).of(run)
    agent = working.agent(*approved_bundle(target, own.folder), own, settings, data)
    with contextlib.closing(agent.worker) as worker:
        agent.about()
        yield Opened(worker, own.who, told, state, mine)


def _latest(runs: Any, begin: str | None) -> str:
    """The id of a run, or of the latest; AppError where there has been none."""
    if begin is not None:
        return str(runs.named(begin).run)
    every = [one.run for one in runs]
    if not every:
        raise AppError(
            "This site has taken part in no run.",
            "It has a model once it was asked to train.",
            "Join one: hansa join X.bundle --kit kit/ --data PATH",
        )
    return str(every[-1])


def _told(scores: dict[str, float]) -> Iterator[str]:
    """A line for each metric."""
    for name in sorted(scores):
        yield f"  {name}  {scores[name]:.6g}"


def _are_scores(found: dict[Any, Any]) -> bool:
    """Are these numbers by name?"""
    return all(isinstance(k, str) and isinstance(v, float) for k, v in found.items())


def _are_weights(found: dict[Any, Any], start: list[Any]) -> bool:
    """Are these arrays by name, and words of which of them are no one's?"""
    import numpy as np

    arrays = all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in found.items())
    return arrays and all(isinstance(one, str) for one in start)


def said_of_start(start: list[str]) -> Iterator[str]:
    """What is said where a file of the global model's holds the start of what stays with clients.

    start: of what, in words.
    """
    if start:
        # P182
        named = ", ".join(start)
        yield f"{named} stay with each client: the file holds their start, which no one uses."


def _odd(who: str) -> WorkerError:
    """What is raised for an answer that is none."""
    return WorkerError(
        f"The worker of {who} has answered with what is no score, no weights and no prediction."
    )
