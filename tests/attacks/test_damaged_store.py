"""A database with a flipped bit: what it holds is read as it was written or refused in words, and never with a bug."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hansa import Key, State, Store
from hansa.cli import commands
from hansa.errors import StoreError
from hansa.rounds import Spent

TABLES = {
    "runs": ("id", "app", "plan", "digest", "settings", "planned", "started", "status"),
    "rounds": ("run", "round", "metrics", "scores", "spent", "participants", "excluded", "skipped", "seconds", "named"),
    "files": ("run", "name", "kind", "round", "sha256"),
    "memories": ("run", "who", "file"),
}


def state(number: int) -> State:
    v = np.full(3, float(number))
    known = {"metrics": {"loss": 0.5, "best": float("nan")}, "scores": {"accuracy": number / 9}}
    known |= {"spent": {"client": Spent(number / 3, 1e-5)}}
    return State(number, v, {"c": v}, (None,), participants=("Zoë", "b"), excluded={"c": "late"}, **known)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two runs of three rounds each."""
    folder = tmp_path_factory.mktemp("whole")
    store = Store(folder)
    for _ in range(2):
        run = store.new("Plan()", "d1ge57", "app/__init__.py", {"rounds": 9, "set": {"pipe.0.norm": 2.0}}, 9)
        for number in (1, 2, 3):
            run.commit(state(number), {f"client {number % 2}": {"c": np.ones(2)}})
        run.finish("stopped")
    return folder


def used(folder: Path) -> None:
    """All that a person does with a store."""
    store = Store(folder)
    names = [summary.id for summary in store.runs()]
    for name in names:
        store.open(name)
    for name in names:
        run = store.open(name)
        rounds, last = run.history(), run.state()
        if last is not None:
            assert last.x.tobytes() == state(last.round).x.tobytes(), (last, rounds)
        assert set(run.memory()) <= {"client 0", "client 1"}
        told = [f"{run.started.astimezone():%Y-%m-%d %H:%M:%S}"]
        for one in rounds:
            told += [*one.participants, *one.excluded, *one.excluded.values(), one.skipped.strip()]
            told += [f"{number:.3f}" for number in (*one.metrics.values(), *one.scores.values(), one.seconds)]
            told += [f"{spent.epsilon:.3f} {spent.delta:.3f} {unit}" for unit, spent in one.spent.items()]
        " ".join(told).encode()
        run = store.resume(name, 10)
        run.commit(state(last.round + 1 if last else 1), {"client 0": {"c": np.ones(2)}})
        run.finish("done")


def tried(folder: Path) -> str:
    """What using the store ends in: nothing, or a StoreError that says what to do."""
    try:
        used(folder)
    except StoreError as error:
        assert error.found and error.why and error.instead, repr(error)
        str(error).encode()
        return error.found
    return ""


def copied(whole: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    return folder


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one bit otherwise."""
    new = bytearray(data or b"\0")
    new[rng.integers(len(new))] ^= 1 << int(rng.integers(8))
    return bytes(new)


def cells(rng: np.random.Generator) -> Iterator[Callable[[Path], None]]:
    """Damage to one cell of the database: a flipped bit, or another kind of value."""
    for table, columns in TABLES.items():
        for column in columns:
            yield from (cell(table, column, how, rng) for how in ("bit", "bit", "bit", "bytes", "text", "json"))


def cell(table: str, column: str, how: str, rng: np.random.Generator) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with sqlite3.connect(folder / "hansa.sqlite") as database:
            rows = database.execute(f"SELECT rowid, CAST({column} AS BLOB) FROM {table}").fetchall()
            row, value = rows[rng.integers(len(rows))]
            other = {"bytes": value, "text": "?", "json": '["a", 1]'}.get(how, flipped(value, rng))
            sql = "CAST(? AS TEXT)" if how == "bit" else "?"
            database.execute(f"UPDATE OR IGNORE {table} SET {column} = {sql} WHERE rowid = ?", (other, row))
        database.close()

    return damage


def page(rng: np.random.Generator) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "hansa.sqlite"
        data = file.read_bytes()
        written = np.flatnonzero(np.frombuffer(data, np.uint8))  # most of a page is empty
        i = int(rng.choice(written))
        file.write_bytes(data[:i] + flipped(data[i : i + 1], rng) + data[i + 1 :])

    return damage


@pytest.mark.control("what is damaged here is whole before")
def test_a_store_that_is_whole_can_be_used(whole: Path, tmp_path: Path) -> None:
    assert tried(copied(whole, tmp_path / "runs")) == ""


@pytest.mark.guards("damage ends in words")
@pytest.mark.promise("P58")
def test_a_damaged_cell_is_told_in_words(whole: Path, tmp_path: Path) -> None:
    found = []
    for damage in cells(Key.of(0).rng()):
        damage(copied(whole, tmp_path / "runs"))
        found.append(tried(tmp_path / "runs"))
    assert sum(map(bool, found)) > len(found) / 2


@pytest.mark.guards("damage ends in words")
def test_a_flipped_bit_in_the_database_file_is_told_in_words(whole: Path, tmp_path: Path) -> None:
    rng = Key.of(1).rng()
    for _ in range(300):
        damage = page(rng)
        damage(copied(whole, tmp_path / "runs"))
        tried(tmp_path / "runs")


@pytest.mark.guards(
    "texts are texts",
    "whole numbers are whole",
    "yes is 1 and no is 0",
    "real numbers are real",
    "a name leads to no other folder",
    "times are times",
    "JSON means what was written",
    "rounds are numbered",
    "a memory lies in a file of its run",
    "a memory is in its file",
    "a stored name stands on one line",
    "stored tags stand on one line",
)
@pytest.mark.promise("P58")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DELETE FROM files WHERE kind = 'memory'", "no file of the run"),
        ("UPDATE memories SET who = 'client 7' WHERE who = 'client 1'", "does not hold the memory of 'client 7'"),
        ("UPDATE files SET name = '../' || name", "stands where a name was written"),
        ("UPDATE rounds SET round = 7 WHERE round = 2", "not numbered"),
        ("UPDATE rounds SET excluded = '[]'", "reasons"),
        ("UPDATE rounds SET metrics = '{\"loss\": null}'", "numbers"),
        ("UPDATE rounds SET participants = '[\"\\ud800\"]'", "participants"),
        ("UPDATE runs SET settings = '{'", "table"),
        ("UPDATE runs SET started = 'yesterday'", "stands where a time was written"),
        ("UPDATE runs SET id = 'a/b' WHERE rowid = 1", "stands where a name was written"),
        ("UPDATE runs SET plan = X'00'", "stands where a text was written"),
        ("UPDATE runs SET planned = 'nine'", "stands where a whole number was written"),
        ("UPDATE runs SET name = 'red' || char(27) || '[31m'", "the name of a run"),
        ("UPDATE runs SET tags = '[\"a,b\"]'", "tags"),
        ("UPDATE rounds SET seconds = 'long'", "stands where a number was written"),
        ("UPDATE rounds SET named = 7", "stands where yes or no was written"),
    ],
)
def test_damage_is_named(whole: Path, tmp_path: Path, change: str, told: str) -> None:
    folder = copied(whole, tmp_path / "runs")
    with sqlite3.connect(folder / "hansa.sqlite") as database:
        database.execute(change)
    database.close()
    with pytest.raises(StoreError) as error:
        used(folder)
    assert told in error.value.why and "backup" in error.value.instead


@pytest.mark.guards("a state is of its round")
@pytest.mark.promise("P58")
def test_a_round_that_is_swapped_for_another_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "runs")
    with sqlite3.connect(folder / "hansa.sqlite") as database:
        database.execute("UPDATE files SET round = 5 - round WHERE kind = 'state'")
    database.close()
    store = Store(folder)
    with pytest.raises(StoreError, match="the state of round 2, not of round 3"):
        store.open(store.runs()[0].id).state()


@pytest.mark.guards("nothing is swept away where files are missing")
def test_resuming_over_a_damaged_database_deletes_no_file(whole: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path / "runs")
    before = sorted(path.name for path in folder.rglob("*.safetensors"))
    with sqlite3.connect(folder / "hansa.sqlite") as database:
        database.execute("UPDATE files SET name = 'x' || name")
    database.close()
    store = Store(folder)
    for summary in store.runs():
        store.resume(summary.id).finish("done")
    assert sorted(path.name for path in folder.rglob("*.safetensors")) == before


@pytest.mark.guards("a name is looked up among names")
@pytest.mark.parametrize("name", ["\ud800", "\0", "../", "%", ""], ids=ascii)
def test_a_name_that_no_run_has_is_told(whole: Path, name: Any) -> None:
    with pytest.raises(StoreError) as error:
        Store(whole).open(name)
    assert error.value.found.startswith("There is no run")
    assert error.value.why and error.value.instead


@pytest.mark.guards("a folder that no system has is told")
@pytest.mark.parametrize("name", ["\ud800", "a\0b"], ids=ascii)
def test_a_folder_that_cannot_be_is_told(name: str) -> None:
    with pytest.raises(StoreError, match="cannot be made a folder"):
        Store(name)


def called(*words: str) -> str:
    """What the command line says, when it fails as it should."""
    done = CliRunner().invoke(commands, [*words])
    assert done.exit_code == 2, (done.output, done.exception)
    return done.output


@pytest.mark.guards("a name is looked up among names")
@pytest.mark.parametrize("name", ["\ud800", "\udcff", "\0"], ids=ascii)
def test_the_command_line_tells_of_a_name_that_no_run_has(
    whole: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.parent)
    for command in (("show", name), ("export", name, "x"), ("run", "--resume", name)):
        assert "There is no run" in called(*command, "--folder", str(whole))


@pytest.mark.guards("a setting is one that a run keeps", "settings of a plan are tables")
@pytest.mark.parametrize("change", ["'{\"rouods\": 9}'", "'{\"set\": []}'"])
def test_the_command_line_tells_of_damaged_settings(whole: Path, tmp_path: Path, change: str) -> None:
    folder = copied(whole, tmp_path / "runs")
    with sqlite3.connect(folder / "hansa.sqlite") as database:
        database.execute(f"UPDATE runs SET settings = {change}")
    database.close()
    name = Store(folder).runs()[0].id
    for command in (("export", name, "x"), ("run", "--resume", name)):
        assert "has kept" in called(*command, "--folder", str(folder))
