"""Store: what survives a crash. Runs are in a database, their checkpoints in files, and each round
is one commit.

A commit writes the state, and the memories of the clients that changed, to new files (temporary
name, fsync, rename), then records both in one database transaction. The transaction is the commit:
a file that the database does not name does not count, and a file whose SHA-256 is not the recorded
one is refused. So after `kill -9` at any instant a resumed run ends with the bytes of one that was
never interrupted.

    run = store.new(repr(plan), plan.digest, "hospitals.py", {}, plan.rounds)      # or
    store.resume("20261019-0815")
    runtime.memory.load(run.memory())                                 # of clients with the secret
    run.secret()
    for state in synchronous(plan, runtime, run.state(), run.secret()):
        run.commit(state, runtime.memory.learnt(state.counted))
    run.finish("done")
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sqlalchemy import and_, func, insert, select, update

from .. import private
from ..crypto.identity import Member
from ..errors import StoreError
from ..record import digest_of
from ..rounds import Round
from . import database as db
from . import files
from .kept import Kept
from .label import Label
from .rows import either, round_of
from .run import KEEP, Run
from .weights import export

__all__ = ["KEEP", "Label", "Run", "Store", "Summary", "export"]

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none looks like another


@dataclass(frozen=True)
class Summary:
    """One run, in a row of a table: what a list of runs shows without opening one."""

    id: str
    app: str
    started: datetime
    planned: int | None  # rounds, where the plan says so
    status: str  # "running", "interrupted" (its process died), or what `Run.finish` was told
    last: Round | None  # the last that is committed
    settings: Mapping[str, Any]  # what the run sets otherwise than its app: as the run keeps them
    label: Label
    best: int | None  # the round whose model is the best, where the app says by which metric
    digest: str = ""  # of its plan

    @property
    def done(self) -> int:
        """How many rounds are committed."""
        if self.last is None:
            return 0
        return self.last.round


class Store:
    """Runs: their files in `folder`/RUN/, the rest in `folder`/hansa.sqlite or in the PostgreSQL
    database at `url`.

    The folder is made where it is not there, and the tables too; unless `new`, nothing is made, and
    a database without tables is refused. StoreError where the folder cannot be made, or the
    database cannot be opened. Several processes may use one store at the same time, each of its
    runs one of them.
    """

    def __init__(self, folder: str | Path = "runs", url: str | None = None, new: bool = True):
        self.folder = Path(folder)
        try:
            if new:
                self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a name that no file system has
            why = getattr(error, "strerror", None) or error
            raise StoreError(
                f"{str(folder)!r} cannot be made a folder.", f"{why}.", "Name another one."
            ) from error
        self.database = db.Database(db.address(self.folder, url), new)

    def new(
        self,
        plan_text: str,
        digest: str,
        app: str,
        settings: Mapping[str, Any],
        rounds: int | None = None,
        label: Label = Label(),
    ) -> Run:
        """A new run of `rounds` rounds, held by this process; settings are what JSON can hold.

        Its name is the time at which it began, and four letters, so that names sort as runs began.
        """
        try:
            text = json.dumps(dict(settings))
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"The settings {settings!r} cannot be kept.", f"{error}.", "Use what JSON can hold."
            ) from None
        now = datetime.now(UTC)
        while True:
            name = f"{now:%Y%m%d-%H%M%S}-{''.join(secrets.choice(LETTERS) for _ in range(4))}"
            try:
                (self.folder / name).mkdir()
                break
            except FileExistsError:
                continue
            except OSError as error:
                raise StoreError(
                    f"{self.folder / name} cannot be made a folder.",
                    f"{error.strerror}.",
                    "See who may write there, or name another folder for the runs.",
                ) from None
        private.settle(self.folder)
        row = {"id": name, "app": app, "plan": plan_text, "digest": digest, "settings": text}
        row |= {"name": label.name, "tags": json.dumps(label.tags), "note": label.note}
        with self.database.write() as c:
            c.execute(
                insert(db.runs).values(
                    row
                    | {"planned": rounds, "started": now.isoformat(), "status": "running"}
                    | {"tracked": "{}"}
                )
            )
        return self.resume(name)

    def open(self, id: str) -> Run:
        """The run with that id, or else with that name, or else whose id begins so, to be read;
        StoreError where there is none, or more than one.
        """
        with self.database.read() as c:
            labels = dict(
                c.execute(select(db.runs.c.id, db.runs.c.name).order_by(db.runs.c.started)).all()
            )
            names = list(labels)
            exact = [name for name in names if name == id]
            exact = exact or [name for name, label in labels.items() if id and label == id]
            exact = exact or [name for name in names if id and name.startswith(id)]
            if len(exact) == 1:
                row = c.execute(select(db.runs).where(db.runs.c.id == exact[0])).one()
                return Run(self.folder, self.database, row._asdict())
        if exact:
            raise StoreError(
                f"{len(exact)} runs begin with {id!r}, or have that name.",
                "One is needed.",
                f"Write more of its id: {either(exact[-3:])}.",
            )
        near = get_close_matches(id, names, 3, 0.5) or names[-3:]
        raise StoreError(
            f"There is no run {id!r} in {self.database.name}.",
            f"It holds {len(names)} run{'s' * (len(names) != 1)}.",
            f"Did you mean {either(near)}?" if near else "Start one first.",
        )

    def resume(self, id: str, rounds: int | None = None) -> Run:
        """The run that `open` finds, to go on with, up to `rounds` rounds where they are
        others.

        No other process can go on with it until this one finishes it or ends. StoreError where
        there is none of that name, more than one, or another process has it.
        """
        run = self.open(id)
        run.hold()
        if rounds not in (None, run.planned):
            with self.database.write() as c:
                c.execute(update(db.runs).where(db.runs.c.id == run.id).values(planned=rounds))
            run.planned = rounds
        return run

    def runs(self) -> list[Summary]:
        """All runs, the latest last."""
        of = db.rounds.c
        last = select(of.run, func.max(of.round).label("done")).group_by(of.run).subquery()
        latest = select(db.rounds).join(last, and_(of.run == last.c.run, of.round == last.c.done))
        with self.database.read() as c:
            done = {row.run: round_of(row) for row in c.execute(latest)}
            marked = select(db.files.c.run, db.files.c.round).where(db.files.c.kind == "best")
            best = {row.run: row.round for row in c.execute(marked)}
            return [
                self._summary(row, done.get(row.id), best.get(row.id))
                for row in c.execute(select(db.runs).order_by(db.runs.c.started))
            ]

    def summary(self, id: str) -> Summary:
        """One run, by its whole name; StoreError where there is none."""
        of = db.rounds.c
        latest = select(db.rounds).where(of.run == id).order_by(of.round.desc()).limit(1)
        with self.database.read() as c:
            row = c.execute(select(db.runs).where(db.runs.c.id == id)).one_or_none()
            done = {one.run: round_of(one) for one in c.execute(latest)}
            marked = select(db.files.c.round).where(db.files.c.run == id, db.files.c.kind == "best")
            best: int | None = c.scalar(marked)
        if row is None:
            raise StoreError(
                f"There is no run {id!r} in {self.database.name}.",
                "It has another name, or was deleted.",
                "Look for it in the list of runs.",
            )
        return self._summary(row, done.get(id), best)

    def _summary(self, row: Any, last: Round | None, best: int | None = None) -> Summary:
        """A row; a run that nobody holds and that says it is running was interrupted."""
        status = row.status
        if status == "running" and not files.held(self.folder / row.id / "lock"):
            status = "interrupted"
        label = Label(row.name, row.tags, row.note)
        about = (row.id, row.app, row.started, row.planned, status, last, row.settings, label)
        return Summary(*about, best, row.digest)


def verify(
    run: Run, roster: Mapping[str, Member] | None = None, ciphertexts: str | Path | None = None
) -> int:
    """How many rounds of a run's record hold: what clients have signed is what it says.

    StoreError that names the first line that does not hold, or what of the run is not in it.
    roster: who the clients are; without one, who they are is as the record itself says.
    ciphertexts: the folder in which the run has kept them: each sum is computed again from them.
    """
    kept = None if ciphertexts is None else Kept(Path(ciphertexts))
    models = run.record.verify(roster, run.digest, kept)
    state = run.state()
    assert state is not None  # the record is written before a round is committed
    missing = sorted({one.round for one in run.history()} - models.keys())
    if missing or models[state.round] != digest_of(state.x):
        what = f"round {missing[0]}" if missing else f"the model of round {state.round}"
        raise StoreError(
            f"The record of run {run.id} does not hold {what}.",
            "The run has it, so its end was taken away, or the model was changed since.",
            "Do not trust what is missing.",
        )
    return len(models)
