"""Commits: what the rows of a run become when a round counts, in one transaction.

A transaction of PostgreSQL may have counted though nobody heard so. Done again, each of these finds
what it has written, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from ..errors import StoreError
from . import database as db


def commit(
    c: Connection,
    row: Mapping[str, Any],
    written: Sequence[Mapping[str, Any]],
    who: Sequence[str],
    best: int | None,
    last: int | None,
) -> list[str]:
    """Let a round count; gives the files that count no more.

    row: the round's. written: of its files, the state's first, then that of the memories of `who`.
    best: the round whose model is the best, 0 for none, None where nobody says so. last: up to this
    round no states are kept; None where all are.
    """
    run = row["run"]
    if _counts(c, written[0]):
        return []
    c.execute(insert(db.rounds).values(row))
    c.execute(insert(db.files), list(written))
    if best is not None:
        _mark(c, run, best)
    stale = []
    if last is not None:
        stale = _old_states(c, run, last)
    if who:
        stale += _replaced(c, run, who, written[1]["name"])
    for name in stale:
        c.execute(delete(db.files).where(db.files.c.run == run, db.files.c.name == name))
    return stale


def name_file(c: Connection, file: Mapping[str, Any]) -> None:
    """Let one file count."""
    if not _counts(c, file):
        c.execute(insert(db.files), [file])


def set_status(c: Connection, run: str, status: str) -> None:
    """Say how a run is."""
    c.execute(update(db.runs).where(db.runs.c.id == run).values(status=status))


def done(c: Connection, run: str) -> int:
    """How many rounds of a run are committed."""
    of = db.rounds.c
    last = select(of.round).where(of.run == run).order_by(of.round.desc()).limit(1)
    return c.scalar(last) or 0


def check_next(c: Connection, run: str, round: int) -> None:
    """StoreError where a round is not the next one."""
    last = done(c, run)
    if round != last + 1:
        raise StoreError(
            f"Round {round} cannot be committed: run {run} has {last} rounds.",
            "Rounds are committed one after the other, each once.",
            f"Go on from `run.state()`, which is that of round {last}."
            if last
            else "Start with round 1.",
        )


def _counts(c: Connection, file: Mapping[str, Any]) -> bool:
    """Does a file count already?"""
    of = db.files.c
    here = and_(of.run == file["run"], of.name == file["name"])
    return c.scalar(select(of.sha256).where(here)) is not None


def _mark(c: Connection, run: str, best: int) -> None:
    """Let the checkpoint of this round, if it is there, be that of the best, and no other."""
    of = db.files.c
    was = and_(of.run == run, of.kind == "best")
    now = and_(of.run == run, of.kind == "state", of.round == best)
    c.execute(update(db.files).where(was).values(kind="state"))
    c.execute(update(db.files).where(now).values(kind="best"))


def _old_states(c: Connection, run: str, last: int) -> list[str]:
    """The checkpoints of rounds up to `last`, but for the best: they are kept no longer."""
    of = db.files.c
    return list(
        c.scalars(select(of.name).where(of.run == run, of.kind == "state", of.round <= last))
    )


def _replaced(c: Connection, run: str, who: Sequence[str], name: str) -> list[str]:
    """Let the memories of `who` lie in file `name`; gives the files in which no client's latest
    memory is left.
    """
    of = db.memories.c
    before = set[str]()
    for i in range(0, len(who), 500):
        some = and_(of.run == run, of.who.in_(who[i : i + 500]))
        before |= set(c.scalars(select(of.file).where(some).distinct()))
        c.execute(delete(db.memories).where(some))
    c.execute(insert(db.memories), [{"run": run, "who": one, "file": name} for one in who])
    needed = [
        c.scalar(select(of.file).where(of.run == run, of.file == file).limit(1)) for file in before
    ]
    return sorted(before.difference(needed))
