"""Run: one run of a store, whose rounds are committed one after the other.

A round is in the run, or it is not: there is no time in which a model counts and the memories of
its clients do not. Files are written first, under names that nobody looks for; the transaction that
names them is the commit; what they replace is deleted last. So a process may die between any two
lines here, and `resume` finds the round before or the round after.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from sqlalchemy import select, update

from .. import codec as wire
from .. import private
from ..algorithms import ClientState
from ..errors import ProtocolError, StoreError
from ..notebook import table
from ..rand import Key
from ..record import Record
from ..rounds import Round
from ..state import State
from . import commits, files, heard
from . import database as db
from .label import Label
from .rows import either, entries, keepable, level, round_of, row_of, state_of

KEEP = 2  # checkpoints of a run; the last one counts, the others are for who wants to look back
STATES = ("state", "best")  # kinds of files that hold one
SECRET = "secret"  # the file of a run that holds what its noise grows from


class Run:
    """One run of a store; got from `Store.new`, `Store.resume` or, to be read, `Store.open`.

    Whoever writes to it holds it first, so that no two processes go on with one run; to look at it
    needs no holding.
    """

    def __init__(self, folder: Path, database: db.Database, row: Mapping[str, Any]):
        self.id: str = row["id"]
        self.app: str = row["app"]
        self.plan: str = row["plan"]  # the expression that builds it
        self.digest: str = row["digest"]
        self.settings: dict[str, Any] = row["settings"]
        self.planned: int | None = row["planned"]
        self.started: datetime = row["started"]
        self.label = Label(row["name"], row["tags"], row["note"])
        self.tracked: dict[str, str] = row["tracked"]  # tracker → why it stopped, or nothing
        self.folder = folder / self.id
        # of rounds that overlap
        self.book = self.folder / "book"
        self.journal = self.folder / "journal"
        self.record = Record(self.folder / "record")
        # where each round's are kept, so that anybody can compute its sum again; by default nowhere
        self.ciphertexts: str | Path | None = None
        self.database = database
        self._held: IO[str] | None = None
        self._clock = time.perf_counter()

    def hold(self) -> None:
        """Keep other processes from going on with this run; clear away what one that died left
        behind.

        StoreError where another process holds it. The lock goes with the process, however it ends.
        """
        if self._held is not None and not self._held.closed:  # it is, in a forked child
            return
        path = self.folder / "lock"
        self._held = files.hold(path)
        if self._held is None:
            raise StoreError(
                f"Run {self.id} is being run by {path.read_text('utf-8') or 'another process'}.",
                "Two processes that go on with one run would overwrite each other's rounds.",
                "Wait for it, finish it or end it, and resume then; what it has committed is safe.",
            )
        files.sign(self._held)
        with self.database.write() as c:
            commits.set_status(c, self.id, "running")
            named = set(c.scalars(select(db.files.c.name).where(db.files.c.run == self.id)))
        # else the database is damaged, or another folder's
        if all((self.folder / name).exists() for name in named):
            files.sweep(self.folder, named)
        self._clock = time.perf_counter()

    def secret(self) -> Key:
        """What the noise of the rounds to come grows from: in this run's folder until it is done,
        and nowhere else.

        With it a run that was stopped goes on to the same bytes. Whoever has it takes the noise off
        the models.
        """
        self.hold()
        return Key(files.secret(self.folder / SECRET), hides=True)

    def commit(
        self,
        state: State,
        client_states: Mapping[str, ClientState] | None = None,
        best: int | None = None,
        keep_all: bool = False,
    ) -> None:
        """Make a round count: its state, and the memories of the clients that it changed.

        best: the round whose model is the best by now, and 0 for none; None where nobody says so,
        and what was the best stays it. Its checkpoint is kept beside the last ones. keep_all: that
        of every round is kept.
        Those are the clients that count in it. Where ε rests on nobody knowing who took part, that
        is not kept. StoreError where the state is not that of the next round, or cannot be written;
        then the run stays as it was.
        """
        self.hold()
        state = keepable(state)
        self.database.insist(lambda c: commits.check_next(c, self.id, state.round), write=False)
        if state.record:
            self.record.begin(self.digest)
            self.record.add(state.record)
        row = row_of(state)
        written = [self._write("state", state.round, entries(state))]
        if client_states:
            written.append(self._write("memory", state.round, dict(client_states)))
        private.settle(self.folder)
        now = time.perf_counter()
        row |= {"run": self.id, "seconds": now - self._clock}
        who = list(client_states or {})
        last = None if keep_all else state.round - KEEP
        stale = self.database.insist(lambda c: commits.commit(c, row, written, who, best, last))
        self._clock = now
        for name in stale:
            files.discard(self.folder / name)

    def keep_survey(self, asked: str, state: State) -> None:
        """Keep how the survey with the digest `asked` ended, so that nobody is asked again."""
        self.hold()
        value = {"asked": asked, "state": entries(keepable(state))}
        written = self._write("survey", 0, value)
        private.settle(self.folder)
        self.database.insist(lambda c: commits.name_file(c, written))

    def keep_plan(self, plan_text: str, digest: str, rounds: int) -> None:
        """Keep the plan of a run that began before it was known, because a survey decides it."""
        self.hold()
        self.plan = plan_text
        self.digest = digest
        self.planned = rounds
        known = {"plan": plan_text, "digest": digest, "planned": rounds}
        changed = update(db.runs).where(db.runs.c.id == self.id).values(known)
        self.database.insist(lambda c: c.execute(changed))

    def relabel(self, label: Label) -> None:
        """Call the run otherwise; whoever goes on with it is not disturbed."""
        told = {"name": label.name, "tags": json.dumps(label.tags), "note": label.note}
        with self.database.write() as c:
            c.execute(update(db.runs).where(db.runs.c.id == self.id).values(told))
        self.label = label

    def keep_tracked(self, tracked: Mapping[str, str]) -> None:
        """Keep what became of its trackers: name → why it stopped, or nothing."""
        self.tracked = dict(tracked)
        changed = update(db.runs).where(db.runs.c.id == self.id)
        changed = changed.values(tracked=json.dumps(self.tracked))
        self.database.insist(lambda c: c.execute(changed))

    def survey(self) -> tuple[str, State | None]:
        """The digest of the survey that this run began with, and how it ended; none where it began
        without.
        """
        of = db.files.c
        mine = select(db.files).where(of.run == self.id, of.kind == "survey")
        row = self.database.insist(lambda c: c.execute(mine).one_or_none(), write=False)
        if row is None:
            return "", None
        found = self._read(row.name, row.sha256, "Put it back from a backup, or start a new run.")
        return found["asked"], state_of(row.name, found["state"])

    def _write(self, kind: str, number: int, value: dict[str, Any]) -> dict[str, Any]:
        """One new file, and its row."""
        value = {name: dict(v) if isinstance(v, Mapping) else v for name, v in value.items()}
        try:
            frames = wire.frames(value)
        except ProtocolError as error:
            raise StoreError(
                f"The {kind} of round {number} cannot be kept: {error.found}",
                error.why,
                error.instead,
            ) from None
        name, sha256 = files.add(self.folder, number, kind, frames)
        return {"run": self.id, "name": name, "kind": kind, "round": number, "sha256": sha256}

    def best(self) -> int | None:
        """The round whose model is the best, as the last commit that knew has it; None where none
        is.

        Its checkpoint is kept however many rounds come after it. What "best" means is known to who
        commits: a store compares no scores.
        """
        of = db.files.c
        with self.database.read() as c:
            found: int | None = c.scalar(
                select(of.round).where(of.run == self.id, of.kind == "best").limit(1)
            )
        return found

    def state(self, round: int | Literal["best"] | None = None) -> State | None:
        """The state after `round`, of which the last few are kept, and the best; after the last
        one, or None before the first.

        StoreError where there is no checkpoint of that round, or its file is not what was written.
        """
        of = db.files.c
        mine = select(db.files).where(of.run == self.id, of.kind.in_(STATES)).order_by(of.round)
        done, rows = self.database.insist(
            lambda c: (commits.done(c, self.id), c.execute(mine).all()), write=False
        )
        kept = {row.round: row for row in rows}
        if round is None and not done:
            return None
        if round is None:
            round = done
        if round == "best":
            round = self._best_of(rows)
        if round not in kept:
            raise StoreError(
                f"Run {self.id} has no checkpoint of round {round}.",
                f"It has {done} rounds; the last {KEEP} checkpoints are kept, and that of the "
                "best, or all where the app says so.",
                f"Take {either(map(str, kept))}." if kept else "Commit a round first.",
            )
        others = either(f"`run.state({number})`" for number in kept if number != round)
        instead = (
            "Put it back from a backup, or start a new "
            f"run{f'; {others} can still be read' if others else ''}."
        )
        state = state_of(
            kept[round].name, self._read(kept[round].name, kept[round].sha256, instead)
        )
        if state.round != round:
            raise self._damaged(
                f"{kept[round].name} holds the state of round {state.round}, not of round {round}"
            )
        return state

    def _best_of(self, rows: Sequence[Any]) -> int:
        """Which of the checkpoints is that of the best model; StoreError where none is."""
        for row in rows:
            if row.kind == "best":
                return int(row.round)
        kept = either(f"{row.round}" for row in rows)
        raise StoreError(
            f"Run {self.id} has no best model.",
            "It is kept where the app says by which metric, and not where that is best of the "
            "first weights.",
            f"Take that of round {kept}, or give App(stop=EarlyStopping('val_loss'))."
            if rows
            else "Commit a round first.",
        )

    def memory(self) -> dict[str, ClientState]:
        """What each client remembers after the last committed round: who → its state.

        Each memory lies in the file of the round in which it changed last.
        """
        of = db.memories.c
        client_states = dict[str, ClientState]()
        with self.database.read() as c:
            where = c.execute(
                select(of.who, of.file).where(of.run == self.id).order_by(of.who)
            ).all()
            rows = c.execute(
                select(db.files.c.name, db.files.c.sha256).where(db.files.c.run == self.id)
            )
            named = {row.name: row.sha256 for row in rows}
        held = dict[str, list[str]]()
        for who, file in where:
            held.setdefault(file, []).append(who)
        for file, names in held.items():
            if file not in named:
                raise self._damaged(
                    f"{names[0]!r} has its memory in {file}, which is no file of the run"
                )
            found = self._read(file, named[file], "Put it back from a backup, or start a new run.")
            if missing := [who for who in names if who not in found]:
                raise self._damaged(f"{file} does not hold the memory of {missing[0]!r}")
            client_states |= {who: found[who] for who in names}
        return {who: client_states[who] for who, _ in where}

    def _read(self, name: str, sha256: str, instead: str) -> dict[str, Any]:
        """What a file of the run holds; StoreError where it is not what was written."""
        path = self.folder / name
        try:
            found: dict[str, Any] = wire.read(files.read(path, sha256, instead))
        except ProtocolError as error:
            raise StoreError(
                f"{path} cannot be understood: {error.found}", error.why, instead
            ) from None
        return found

    def history(self, after: int = 0) -> list[Round]:
        """All committed rounds `after` one, the first one first; StoreError where one is
        missing.
        """
        of = db.rounds.c
        mine = select(db.rounds).where(of.run == self.id, of.round > after).order_by(of.round)
        rows = self.database.insist(lambda c: c.execute(mine).all(), write=False)
        last = after + len(rows)
        if [row.round for row in rows] != list(range(after + 1, last + 1)):
            raise self._damaged(f"its {last} rounds are not numbered from 1 to {last}")
        return [round_of(row) for row in rows]

    def rows(self) -> list[dict[str, Any]]:
        """All committed rounds as flat rows: `pandas.DataFrame(run.rows())`, or polars'.

        Every row has the same names; what a round does not have is None.
        """
        return level([one.row for one in self.history()])

    def _damaged(self, why: str) -> StoreError:
        """What is raised where rows and files of the run do not fit together."""
        return StoreError(
            f"What {self.database.name} says of run {self.id} is damaged.",
            f"{why[0].upper()}{why[1:]}.",
            "Put the database back from a backup, or start a new run.",
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: what it is, and its last round."""
        past = self.history()
        rows = [("run", self.id), ("app", Path(self.app).name), ("plan", self.plan)]
        rows.append(("rounds", f"{len(past)} of {self.planned or '?'}"))
        last = past[-1]._repr_html_() if past else ""
        return table(rows) + last

    def finish(self, status: str) -> None:
        """Say how the run ended ("done", "stopped", "failed"), and let other processes go on with
        it.
        """
        self.hold()
        if status == "done":
            for left in (*self.folder.glob("book*"), *self.folder.glob("journal*")):
                left.unlink(missing_ok=True)
            shutil.rmtree(self.folder / heard.FOLDER, ignore_errors=True)
            self.database.insist(lambda c: heard.clear(c, self.id))
            # first, for what is killed in between is resumed, and ends anew
            files.forget(self.folder / SECRET)
        else:
            self.database.waiting.stop()
        self.database.insist(lambda c: commits.set_status(c, self.id, status))
        if self._held is not None:
            self._held.close()
            self._held = None
