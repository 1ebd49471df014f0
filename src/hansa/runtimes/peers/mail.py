"""Mail: what a node has heard of its neighbours, what it has said, and what it owes whom.

    hear     words of a neighbour are on the disk, and only then held
    say      a round is over: what the node remembers, says, and owes, in one transaction
    held     a neighbour has them
    behind   rounds are skipped, in which the node took no part

A node that is killed goes on from here: what was not said is made again, and what was said is sent
again as it was. So many words of each neighbour are kept as one may be ahead, and as many are owed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...algorithms import ClientState
from ...codec import Frame, frames
from ...parties.database import Database, Row
from ...spec import Vector
from .mesh import Mesh

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, plan TEXT, number INTEGER, names TEXT, round INTEGER, answers INTEGER,
    over INTEGER, state BLOB
);
CREATE TABLE IF NOT EXISTS heard (
    run TEXT, who TEXT, round INTEGER, sha256 TEXT, words BLOB, PRIMARY KEY (run, who, round)
);
CREATE TABLE IF NOT EXISTS said (run TEXT, round INTEGER, words BLOB, PRIMARY KEY (run, round));
CREATE TABLE IF NOT EXISTS owed (
    run TEXT, who TEXT, round INTEGER, PRIMARY KEY (run, who, round)
);
"""
FILE = "mail"  # in a kit
NEVER = -1  # the round of who has said nothing


@dataclass(frozen=True)
class Begun:
    """A run as the mail has it: its names, how many rounds are done, and whether it is over."""

    run: str
    names: tuple[str, ...]
    round: int
    over: bool


class Mail:
    """A node's mail, in a file in its kit; StoreError where another process has it open."""

    def __init__(self, folder: Path):
        self._file = Database(folder / FILE, TABLES)

    def begun(self, plan: str, number: int) -> Begun | None:
        """The run with this number of a plan, as far as it has come; None where it has not begun.

        Its names are those that the roster had when it began.
        """
        columns = "run, names, round, over"
        of = "WHERE plan = ? AND number = ?"
        for run, names, *rest in self._file.execute(
            f"SELECT {columns} FROM runs {of}", (plan, number)
        ):
            return Begun(run, tuple(json.loads(names)), *rest)
        return None

    def begin(self, run: str, plan: str, number: int, names: Sequence[str]) -> None:
        """A run begins, in which nothing was said or heard; told again, nothing changes."""
        row = (run, plan, number, json.dumps(list(names)), frames({}))
        self._file.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, 0, 0, 0, ?)", row)

    def state(self, run: str) -> ClientState:
        """What the node remembers."""
        ((state,),) = self._file.execute("SELECT state FROM runs WHERE run = ?", (run,))
        found: ClientState = self._file.load(state)
        return found

    def answers(self, run: str) -> int | None:
        """In how many rounds the node spoke; None where the mail has no such run."""
        for (answers,) in self._file.execute("SELECT answers FROM runs WHERE run = ?", (run,)):
            return int(answers)
        return None

    def last(self, plan: str) -> int:
        """The largest number of a plan's runs; 0 where none has begun."""
        of = "SELECT coalesce(MAX(number), 0) FROM runs WHERE plan = ?"
        ((number,),) = self._file.execute(of, (plan,))
        return int(number)

    def latest(self, run: str, nonsense: bool = True) -> dict[str, int]:
        """The round in which each neighbour spoke last; or last said a vector of the plan."""
        of = "WHERE run = ? AND (? OR words IS NOT NULL) GROUP BY who"
        return dict(self._file.execute(f"SELECT who, MAX(round) FROM heard {of}", (run, nonsense)))

    def sha256(self, run: str, who: str, round: int) -> str:
        """What was heard of a neighbour in a round; "" where nothing was, or it is not kept."""
        of = "SELECT sha256 FROM heard WHERE run = ? AND who = ? AND round = ?"
        for (found,) in self._file.execute(of, (run, who, round)):
            return str(found)
        return ""

    def hear(
        self, run: str, who: str, round: int, sha256: str, words: Vector | None, mesh: Mesh
    ) -> None:
        """Write down what a neighbour says in a round; None for what is no vector of the plan."""
        kept = None if words is None else frames(words)
        newest = "SELECT round FROM heard WHERE run = ? AND who = ? ORDER BY round DESC LIMIT ?"
        old = f"DELETE FROM heard WHERE run = ? AND who = ? AND round NOT IN ({newest})"
        rows: list[Row] = [
            ("INSERT OR IGNORE INTO heard VALUES (?, ?, ?, ?, ?)", (run, who, round, sha256, kept)),
            (old, (run, who, run, who, mesh.leads[who] + 1)),
        ]
        self._file.write(rows)

    def said_by(self, run: str, who: str, round: int) -> Vector | None:
        """The words of a neighbour that count in a round behind that one: those of that round, or
        the next that have come, or the last before; None where none have.
        """
        of = "FROM heard WHERE run = ? AND who = ? AND words IS NOT NULL"
        later = f"SELECT words {of} AND round >= ? ORDER BY round LIMIT 1"
        earlier = f"SELECT words {of} AND round < ? ORDER BY round DESC LIMIT 1"
        for text in (later, earlier):
            for (words,) in self._file.execute(text, (run, who, round)):
                found: Vector = self._file.load(words)
                return found
        return None

    def say(
        self, run: str, round: int, words: Sequence[Frame], state: ClientState, mesh: Mesh
    ) -> None:
        """A round is over: what it has said is owed to all who hear it."""
        of = "WHERE run = ? AND who = ?"
        rows: list[Row] = [
            ("INSERT INTO said VALUES (?, ?, ?)", (run, round, list(words))),
            (
                "UPDATE runs SET round = ?, answers = answers + 1, state = ? WHERE run = ?",
                (round + 1, frames(state), run),
            ),
        ]
        for who in mesh.hearers(round):
            rows.append(("INSERT INTO owed VALUES (?, ?, ?)", (run, who, round)))
            newest = f"SELECT round FROM owed {of} ORDER BY round DESC LIMIT ?"
            old = f"DELETE FROM owed {of} AND round NOT IN ({newest})"
            rows.append((old, (run, who, run, who, mesh.lags[who] + 1)))
        rows.append(_paid(run))
        self._file.write(rows)
        self._file.forget()

    def behind(self, run: str, round: int) -> None:
        """The node goes on with this round; in those before it took no part."""
        self._file.execute("UPDATE runs SET round = ? WHERE run = ?", (round, run))

    def owed(self, run: str, who: str) -> int | None:
        """The first round whose words a neighbour has not got; None where it has all."""
        of = "SELECT MIN(round) FROM owed WHERE run = ? AND who = ?"
        ((round,),) = self._file.execute(of, (run, who))
        return None if round is None else int(round)

    def owes(self, run: str) -> bool:
        """Is anything owed to anybody?"""
        return bool(self._file.execute("SELECT 1 FROM owed WHERE run = ? LIMIT 1", (run,)))

    def words(self, run: str, round: int) -> bytes | Path | None:
        """What the node has said in a round; None where nobody has to hear it any more."""
        of = "SELECT words FROM said WHERE run = ? AND round = ?"
        for (words,) in self._file.execute(of, (run, round)):
            return self._file.value(words)
        return None

    def held(self, run: str, who: str, round: int) -> None:
        """A neighbour has the words of a round, or does not take them."""
        row = ("DELETE FROM owed WHERE run = ? AND who = ? AND round = ?", (run, who, round))
        self._file.write([row, _paid(run)])

    def forgive(self, run: str, who: str) -> None:
        """Nothing is owed to this one."""
        row = ("DELETE FROM owed WHERE run = ? AND who = ?", (run, who))
        self._file.write([row, _paid(run)])

    def end(self, run: str) -> None:
        """The run is over: what was heard and said goes, and what is remembered stays."""
        self._file.write(
            [
                ("UPDATE runs SET over = 1 WHERE run = ?", (run,)),
                ("DELETE FROM heard WHERE run = ?", (run,)),
                ("DELETE FROM owed WHERE run = ?", (run,)),
                ("DELETE FROM said WHERE run = ?", (run,)),
            ]
        )
        self._file.forget()

    def leave(self, run: str) -> None:
        """The run is over, and what is remembered of it goes too."""
        nothing = frames({})
        self._file.execute("UPDATE runs SET state = ? WHERE run = ?", (nothing, run))
        self.end(run)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def _paid(run: str) -> Row:
    """What lets go of words that nobody has to hear any more."""
    due = "SELECT round FROM owed WHERE owed.run = said.run"
    return f"DELETE FROM said WHERE run = ? AND round NOT IN ({due})", (run,)


def inbox_of_mail(
    mail: Mail, run: str, mesh: Mesh, round: int, gone: Collection[str] = ()
) -> dict[str, Any]:
    """What the loop's `inbox` is made of in a round: what each neighbour has said last.

    gone: who is on the roster no more, and silent: its share is the node's own.
    """
    found = dict[str, Vector]()
    if round:
        for who in mesh.heard(round - 1):
            if (one := mail.said_by(run, who, round - 1)) is not None:
                found[who] = one
    return {"said": found, "silent": tuple(sorted(gone))}
