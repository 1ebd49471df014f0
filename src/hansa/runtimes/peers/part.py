"""Part: in which runs a node may take part, and how its owner ends that.

    over      is a run over? AppError where a second answer could be said in it
    leave     nothing more is said in a run: what was said counts, and what is kept of it goes

Noise hides data as long as each round is answered once. So a run is not begun again whose mail is
lost, that began before the kit was put back from a backup, or that its owner has left.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from ...errors import AppError
from ..sites.models import Models
from ..sites.runs import Runs, Taken
from .mail import Begun, Mail


def over(runs: Runs, mail: Mail, run: str, known: Begun | None) -> bool:
    """Is a run of this node over? AppError for one that it may not go on with.

    known: what its mail has of the run.
    """
    taken = runs.get(run)
    if taken is not None and taken.gone:
        raise AppError(
            f"The run {run[:8]}… was left at {taken.gone}.",
            "Its owner takes no part in it any more, and what it would go on with is deleted.",
            "Who leaves does not come back; another run may be begun: --number",
        )
    if taken is not None and known is None:
        raise AppError(
            f"The run {run[:8]}… began here, and its mail is not in the kit.",
            "Nobody knows what was said in it: a second answer would tell, by its difference from "
            "the first, what noise hides.",
            "Put the kit's file `mail` back where it is now; or begin another run: --number",
        )
    if known is None:
        return False
    if known.over:
        return True
    if taken is not None and taken.ended:
        mail.end(run)  # it was, when the process ended
        return True
    if runs.void(run):
        raise AppError(
            f"The run {run[:8]}… began before this kit was put back from a backup.",
            "The backup does not hold all that was said since: a second answer would tell, by its "
            "difference from the first, what noise hides.",
            "Begin another run: --number",
        )
    return False


def check_new(runs: Runs, mail: Mail, plan: str, number: int) -> None:
    """AppError for a new run that a backup may have forgotten: each that was put back, one."""
    restored = runs.restored()
    least = mail.last(plan) + restored + 1
    if restored and number < least:
        raise AppError(
            f"The run of number {number} may have begun here, and be forgotten.",
            f"This kit was put back from a backup, {restored} times.",
            f"Begin another one, at all peers: --number {least}",
        )


def leave(folder: Path, begin: str) -> str:
    """Take no part in a run any more, whose name begins so; gives its name.

    StoreError while the node runs.
    """
    with ExitStack() as held:
        mail = held.enter_context(closing(Mail(folder)))
        runs = held.enter_context(closing(Runs(folder / "runs")))
        found = runs.named(begin)
        Models(folder).drop(found.run)
        runs.ended(found.run, _answers(mail, found), left=True)
        mail.leave(found.run)
    return found.run


def _answers(mail: Mail, found: Taken) -> int:
    """In how many rounds the node spoke; in all where nobody knows."""
    spoken = mail.answers(found.run)
    return found.rounds if spoken is None else spoken
