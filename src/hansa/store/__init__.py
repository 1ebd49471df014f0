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
import math
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import numpy as safetensors
from sqlalchemy import Connection, and_, delete, func, insert, select, update

from .. import codec as wire
from ..algorithms import ClientState
from ..errors import ProtocolError, StoreError
from ..models import Model
from ..rand import Key
from ..rounds import Round, Spent
from ..spec import Vector
from ..state import State
from . import database as db
from . import files

KEEP = 2  # checkpoints of a run; the last one counts, the others are for who wants to look back
SECRET = "secret"  # the file of a run that holds what its noise grows from
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none looks like another


@dataclass(frozen=True)
class Summary:
    """One run, in a row of a table."""

    id: str
    app: str
    started: datetime
    planned: int | None  # rounds, where the plan says so
    status: str  # "running", "interrupted" (its process died), or what `Run.finish` was told
    last: Round | None  # the last that is committed

    @property
    def done(self) -> int:
        """Rounds."""
        return self.last.round if self.last else 0


class Store:
    """Runs: their files in `folder`/RUN/, the rest in `folder`/hansa.sqlite or in the PostgreSQL
    database at `url`.
    """

    def __init__(self, folder: str | Path = "runs", url: str | None = None):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a name that no file system has
            why = getattr(error, "strerror", None) or error
            raise StoreError(
                f"{str(folder)!r} cannot be made a folder.", f"{why}.", "Name another one."
            ) from error
        self.database = db.Database(db.address(self.folder, url))

    def new(
        self,
        plan_text: str,
        digest: str,
        app: str,
        settings: Mapping[str, Any],
        rounds: int | None = None,
    ) -> Run:
        """A new run of `rounds` rounds, held by this process; settings are what JSON can hold."""
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
        files.settle(self.folder)
        row = {"id": name, "app": app, "plan": plan_text, "digest": digest, "settings": text}
        with self.database.write() as c:
            c.execute(
                insert(db.runs).values(
                    row | {"planned": rounds, "started": now.isoformat(), "status": "running"}
                )
            )
        return self.resume(name)

    def open(self, id: str) -> Run:
        """The run whose name begins with `id`, to be read; StoreError where there is none, or more
        than one.
        """
        with self.database.read() as c:
            names = list(c.scalars(select(db.runs.c.id).order_by(db.runs.c.started)))
            exact = [id] if id in names else [name for name in names if name.startswith(id)]
            if len(exact) == 1:
                return Run(
                    self, c.execute(select(db.runs).where(db.runs.c.id == exact[0])).one()._asdict()
                )
        if exact:
            raise StoreError(
                f"{len(exact)} runs begin with {id!r}.",
                "One is needed.",
                f"Write more of its name: {_either(exact[-3:])}.",
            )
        near = get_close_matches(id, names, 3, 0.5) or names[-3:]
        raise StoreError(
            f"There is no run {id!r} in {self.database.name}.",
            f"It holds {len(names)} run{'s' * (len(names) != 1)}.",
            f"Did you mean {_either(near)}?" if near else "Start one first.",
        )

    def resume(self, id: str, rounds: int | None = None) -> Run:
        """The run whose name begins with `id`, to go on with, up to `rounds` rounds where they are
        others.

        No other process can go on with it until this one finishes it or ends.
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
            done = {row.run: _round(row) for row in c.execute(latest)}
            return [
                self._summary(row, done.get(row.id))
                for row in c.execute(select(db.runs).order_by(db.runs.c.started))
            ]

    def _summary(self, row: Any, last: Round | None) -> Summary:
        alive = row.status != "running" or files.held(self.folder / row.id / "lock")
        return Summary(
            row.id, row.app, row.started, row.planned, row.status if alive else "interrupted", last
        )


class Run:
    """One run of a store; got from `Store.new`, `Store.resume` or, to be read, `Store.open`."""

    def __init__(self, store: Store, row: Mapping[str, Any]):
        self.id: str = row["id"]
        self.app: str = row["app"]
        self.plan: str = row["plan"]  # the expression that builds it
        self.digest: str = row["digest"]
        self.settings: dict[str, Any] = row["settings"]
        self.planned: int | None = row["planned"]
        self.started: datetime = row["started"]
        self.folder = store.folder / self.id
        # of rounds that overlap
        self.book, self.journal = self.folder / "book", self.folder / "journal"
        self.database = store.database
        self._held: IO[str] | None = None
        self._clock = time.perf_counter()

    def hold(self) -> None:
        """Keep other processes from going on with this run; clear away what one that died left
        behind.
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
            c.execute(update(db.runs).where(db.runs.c.id == self.id).values(status="running"))
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

    def commit(self, state: State, client_states: Mapping[str, ClientState] | None = None) -> None:
        """Make a round count: its state, and the memories of the clients that it changed.

        Those are the clients that count in it.
        Where ε rests on nobody knowing who took part, that is not kept.
        """
        self.hold()
        state = _kept(state)
        with self.database.read() as c:
            done = self._done(c)
        if state.round != done + 1:
            raise StoreError(
                f"Round {state.round} cannot be committed: run {self.id} has {done} rounds.",
                "Rounds are committed one after the other, each once.",
                f"Go on from `run.state()`, which is that of round {done}."
                if done
                else "Start with round 1.",
            )
        row: dict[str, Any] = {
            "metrics": _text(state.metrics),
            "scores": _text(state.scores),
            "spent": json.dumps(dict(state.spent)),
            "participants": json.dumps(None if state.hidden else state.participants),
            "excluded": json.dumps(dict(state.excluded)),
            "skipped": state.skipped,
            "named": state.named,
        }
        written = [self._write("state", state.round, _entries(state))]
        if client_states:
            written.append(self._write("memory", state.round, dict(client_states)))
        files.settle(self.folder)
        now = time.perf_counter()
        with self.database.write() as c:
            c.execute(
                insert(db.rounds).values(
                    run=self.id, round=state.round, seconds=now - self._clock, **row
                )
            )
            c.execute(insert(db.files), written)
            stale = self._old_states(c, state.round - KEEP)
            if client_states:
                stale += self._replaced(c, list(client_states), written[1]["name"])
            for name in stale:
                c.execute(
                    delete(db.files).where(db.files.c.run == self.id, db.files.c.name == name)
                )
        self._clock = now
        for name in stale:
            files.discard(self.folder / name)

    def keep_survey(self, asked: str, state: State) -> None:
        """Keep how the survey with the digest `asked` ended, so that nobody is asked again."""
        self.hold()
        value = {"asked": asked, "state": _entries(_kept(state))}
        written = self._write("survey", 0, value)
        files.settle(self.folder)
        with self.database.write() as c:
            c.execute(insert(db.files), [written])

    def keep_plan(self, plan_text: str, digest: str, rounds: int) -> None:
        """Keep the plan of a run that began before it was known."""
        self.hold()
        self.plan = plan_text
        self.digest = digest
        self.planned = rounds
        known = {"plan": plan_text, "digest": digest, "planned": rounds}
        with self.database.write() as c:
            c.execute(update(db.runs).where(db.runs.c.id == self.id).values(known))

    def survey(self) -> tuple[str, State | None]:
        """The digest of the survey that this run began with, and how it ended; none where it began
        without.
        """
        of = db.files.c
        with self.database.read() as c:
            row = c.execute(
                select(db.files).where(of.run == self.id, of.kind == "survey")
            ).one_or_none()
        if row is None:
            return "", None
        found = self._read(row.name, row.sha256, "Put it back from a backup, or start a new run.")
        return found["asked"], self._state(row.name, found["state"])

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

    def _old_states(self, c: Connection, last: int) -> list[str]:
        of = db.files.c
        return list(
            c.scalars(
                select(of.name).where(of.run == self.id, of.kind == "state", of.round <= last)
            )
        )

    def _replaced(self, c: Connection, who: list[str], name: str) -> list[str]:
        """Let the memories of `who` lie in file `name`; gives the files in which no client's latest
        memory is left.
        """
        of = db.memories.c
        before = set[str]()
        for i in range(0, len(who), 500):
            some = and_(of.run == self.id, of.who.in_(who[i : i + 500]))
            before |= set(c.scalars(select(of.file).where(some).distinct()))
            c.execute(delete(db.memories).where(some))
        c.execute(insert(db.memories), [{"run": self.id, "who": one, "file": name} for one in who])
        needed = [
            c.scalar(select(of.file).where(of.run == self.id, of.file == file).limit(1))
            for file in before
        ]
        return sorted(before.difference(needed))

    def state(self, round: int | None = None) -> State | None:
        """The state after `round`, of which the last few are kept; after the last one, or None
        before the first.
        """
        of = db.files.c
        with self.database.read() as c:
            done = self._done(c)
            rows = c.execute(
                select(db.files).where(of.run == self.id, of.kind == "state").order_by(of.round)
            ).all()
        kept = {row.round: row for row in rows}
        if round is None and not done:
            return None
        round = done if round is None else round
        if round not in kept:
            raise StoreError(
                f"Run {self.id} has no checkpoint of round {round}.",
                f"It has {done} rounds, and the checkpoints of the last {KEEP} are kept.",
                f"Take {_either(map(str, kept))}." if kept else "Commit a round first.",
            )
        others = _either(f"`run.state({number})`" for number in kept if number != round)
        instead = (
            "Put it back from a backup, or start a new "
            f"run{f'; {others} can still be read' if others else ''}."
        )
        state = self._state(
            kept[round].name, self._read(kept[round].name, kept[round].sha256, instead)
        )
        if state.round != round:
            raise self._damaged(
                f"{kept[round].name} holds the state of round {state.round}, not of round {round}"
            )
        return state

    def _state(self, name: str, found: Mapping[str, Any]) -> State:
        try:
            spent = {unit: Spent(*one) for unit, one in found["spent"].items()}
            return State(**{**found, "spent": spent})
        except (AttributeError, KeyError, TypeError) as error:
            why = f"{error}: another version of hansa wrote it."
            raise StoreError(
                f"{name} holds another kind of state.", why, "Go on with that version."
            ) from None

    def memory(self) -> dict[str, ClientState]:
        """What each client remembers after the last committed round."""
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
        path = self.folder / name
        try:
            found: dict[str, Any] = wire.read(files.read(path, sha256, instead))
        except ProtocolError as error:
            raise StoreError(
                f"{path} cannot be understood: {error.found}", error.why, instead
            ) from None
        return found

    def history(self) -> list[Round]:
        """All committed rounds."""
        with self.database.read() as c:
            rows = c.execute(
                select(db.rounds).where(db.rounds.c.run == self.id).order_by(db.rounds.c.round)
            ).all()
        if [row.round for row in rows] != list(range(1, len(rows) + 1)):
            raise self._damaged(f"its {len(rows)} rounds are not numbered from 1 to {len(rows)}")
        return [_round(row) for row in rows]

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"What {self.database.name} says of run {self.id} is damaged.",
            f"{why[0].upper()}{why[1:]}.",
            "Put the database back from a backup, or start a new run.",
        )

    def finish(self, status: str) -> None:
        """Say how the run ended ("done", "stopped", "failed"), and let other processes go on with
        it.
        """
        self.hold()
        if status == "done":
            for left in (*self.folder.glob("book*"), *self.folder.glob("journal*")):
                left.unlink(missing_ok=True)
            # first, for what is killed in between is resumed, and ends anew
            files.forget(self.folder / SECRET)
        with self.database.write() as c:
            c.execute(update(db.runs).where(db.runs.c.id == self.id).values(status=status))
        if self._held is not None:
            self._held.close()
            self._held = None

    def _done(self, c: Connection) -> int:
        of = db.rounds.c
        return (
            c.scalar(select(of.round).where(of.run == self.id).order_by(of.round.desc()).limit(1))
            or 0
        )


def export(x: Vector, path: str | Path, model: Model | None = None) -> None:
    """Write weights to a safetensors file: as `model` names them, for a PyTorch model the entries
    of its state_dict.

    Without a model, and for one without names, the file holds one tensor "x" [size].
    """
    tensors = {"x": x} if model is None else model.tensors(x)
    data = safetensors.save({name: np.array(tensor, order="C") for name, tensor in tensors.items()})
    files.write(Path(path), [data])
    files.settle(Path(path).parent)


def _kept(state: State) -> State:
    """What may be kept of a state: not who took part, where ε rests on nobody knowing that."""
    return replace(state, participants=(), excluded={}) if state.hidden else state


def _entries(state: State) -> dict[str, Any]:
    """A state as a file holds it."""
    entries = {one.name: getattr(state, one.name) for one in fields(State)}
    return {**entries, "spent": {unit: tuple(one) for unit, one in state.spent.items()}}


def _round(row: Any) -> Round:
    """A round as its row has it."""
    return Round(
        row.round,
        metrics=row.metrics,
        scores=row.scores,
        spent=row.spent,
        participants=row.participants or (),
        excluded=row.excluded,
        skipped=row.skipped,
        seconds=row.seconds,
        named=row.named,
        hidden=row.participants is None,
    )


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def _text(numbers: Mapping[str, float]) -> str:
    """Named numbers as JSON; NaN and infinity, which JSON lacks, as text."""
    try:
        values = {name: float(value) for name, value in numbers.items()}
    except (TypeError, ValueError, AttributeError):
        raise StoreError(
            f"The scores {numbers!r} cannot be kept.",
            "They are numbers by name.",
            'Write {"accuracy": 0.9}.',
        ) from None
    return json.dumps({name: v if math.isfinite(v) else str(v) for name, v in values.items()})
