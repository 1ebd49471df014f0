"""What a store promises: what is committed comes back, bit for bit; what is not committed, or damaged, does not."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from safetensors import safe_open
from safetensors.numpy import load_file
from sqlalchemy import text

from hansa import Key, Softmax, State, Store
from hansa.codec import dumps
from hansa.errors import StoreError
from hansa.rounds import Spent
from hansa.store import KEEP, Label, database, export, heard


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """A database of its own for each test: None, or the URL of a new one as a person would write it."""
    if request.param == "sqlite":
        return None
    found: str = request.getfixturevalue("postgres").new()
    return found


@pytest.fixture
def store(tmp_path: Path, url: str | None) -> Store:
    return Store(tmp_path / "runs", url)


SPENT = {"client": Spent(1.0 + 0.2, 1e-6), "example": Spent(1e-9, 1 / 3)}


def state(number: int, **more: Any) -> State:
    """A state that holds every kind of thing that a state can hold."""
    rng = Key.of(number).rng()
    x = rng.normal(size=7)
    memo = {"opt": {"m": rng.normal(size=7), "v": np.full(7, np.nan)}, "c": np.float64(-0.0), "steps": 3, "none": None}
    metrics = {"loss": float("nan"), "val_loss": float("inf"), "val_accuracy": 0.1 + 0.2}
    known = {"metrics": metrics, "participants": ("a", "b"), "excluded": {"c": "absent"}}
    known |= {"scores": {"accuracy": number / 9}, "spent": SPENT}
    more = known | more
    return State(number, x, memo, (None, 0.3, {"C": x[:2]}), **more)


def same(a: Any, b: Any) -> bool:
    """Do two states or memories hold the same bytes?"""
    return dumps(plain(a)) == dumps(plain(b))


def plain(value: Any) -> Any:
    """The value in what a file can hold."""
    if not isinstance(value, State):
        return value
    return asdict(value) | {"spent": {unit: tuple(one) for unit, one in value.spent.items()}}


def begin(store: Store, rounds: int = 0, clients: int = 3) -> Any:
    """A run with some committed rounds; in round r client r mod `clients` changes, and remembers r."""
    run = store.new("Plan(…)", "d1ge57", "app.py", {"rounds": 9}, 9)
    for number in range(1, rounds + 1):
        who = f"client {number % clients}"
        run.commit(state(number), {who: {"c": np.full(4, float(number)), "deep": {"n": number}}})
    return run


# --- what is committed comes back ---


@pytest.mark.promise("P60")
def test_what_is_committed_comes_back(tmp_path: Path, url: str | None) -> None:
    run = begin(Store(tmp_path, url))
    assert run.state() is None
    assert run.memory() == {}
    assert run.history() == []
    for number in (1, 2, 3):
        run.commit(state(number, skipped=f"note {number}"), {f"client {number % 2}": {"c": np.full(4, float(number))}})
    run.finish("stopped")

    again = Store(tmp_path, url).open(run.id)
    assert same(again.state(), state(3, skipped="note 3"))
    assert same(again.memory(), {"client 0": {"c": np.full(4, 2.0)}, "client 1": {"c": np.full(4, 3.0)}})
    assert (again.app, again.plan, again.digest, again.settings, again.planned) == (
        "app.py", "Plan(…)", "d1ge57", {"rounds": 9}, 9,
    )  # fmt: skip
    assert again.started == run.started


def test_history_has_a_row_for_each_round(store: Store) -> None:
    run = begin(store, rounds=3)
    odd = {"accuracy": float("nan"), "loss": np.float32(0.5)}
    run.commit(state(4, skipped="1 answered, 2 needed", scores=odd, spent={}))
    rows = run.history()
    assert [row.round for row in rows] == [1, 2, 3, 4]
    assert rows[1].scores == {"accuracy": 2 / 9} and (rows[1].spent, rows[3].spent) == (SPENT, {})
    assert np.isnan(rows[3].scores["accuracy"]) and rows[3].scores["loss"] == 0.5
    assert np.isnan(rows[0].metrics["loss"]) and rows[0].metrics["val_loss"] == np.inf
    assert rows[0].metrics["val_accuracy"] == 0.1 + 0.2
    assert (rows[3].participants, rows[3].excluded, rows[3].skipped) == (
        ("a", "b"),
        {"c": "absent"},
        "1 answered, 2 needed",
    )
    assert all(row.seconds > 0 for row in rows)


def test_runs_are_listed_with_their_last_round(store: Store) -> None:
    first, second, third = begin(store), begin(store, rounds=2), begin(store, rounds=1)
    third.finish("done")
    rows = store.runs()
    assert [row.id for row in rows] == [first.id, second.id, third.id]
    assert [(row.done, row.planned, row.status) for row in rows] == [
        (0, 9, "running"),
        (2, 9, "running"),
        (1, 9, "done"),
    ]
    assert rows[0].last is None
    assert str(rows[1].last) == str(second.history()[-1])
    assert rows[1].last.scores == {"accuracy": 2 / 9}
    assert rows[0].app == "app.py" and rows[0].started <= rows[1].started


@pytest.mark.promise("P56")
def test_a_checkpoint_is_a_plain_safetensors_file(store: Store) -> None:
    run = begin(store, rounds=1)
    (path,) = run.folder.glob("*state*")
    with safe_open(path, "numpy") as file:
        assert (file.get_tensor("x") == state(1).x).all()
        assert {"memo.opt.m", "memo.opt.v", "memo.c", "transforms.2.C"} <= set(file.keys())


def test_a_run_may_be_given_more_rounds(store: Store) -> None:
    run = begin(store, rounds=1)
    run.finish("done")
    store.resume(run.id, 20).finish("stopped")
    store.resume(run.id).finish("stopped")
    assert store.open(run.id).planned == store.runs()[0].planned == 20


# --- names ---


def test_names_are_unique_and_sort_by_time(store: Store) -> None:
    names = [store.new("", "", "", {}).id for _ in range(30)]
    assert len(set(names)) == 30
    seconds = [name[:15] for name in names]
    assert seconds == sorted(seconds)
    assert [row.id for row in store.runs()] == names


def test_a_run_is_found_by_the_beginning_of_its_name(store: Store) -> None:
    with pytest.raises(StoreError, match="Start one first"):
        store.open("2026")
    run = begin(store)
    assert store.open(run.id).id == store.open(run.id[:-1]).id == store.open(run.id[:4]).id == run.id
    other = begin(store)
    with pytest.raises(StoreError) as error:
        store.open(run.id[:4])
    assert run.id in error.value.instead and other.id in error.value.instead
    with pytest.raises(StoreError) as error:
        store.open(run.id[:-1] + "_")
    assert run.id in error.value.instead
    for wild in ("%", "_", "x"):
        with pytest.raises(StoreError, match="no run"):
            store.open(wild)


# --- what may not be committed ---


def test_rounds_are_committed_in_order_and_once(store: Store) -> None:
    run = begin(store, rounds=2)
    for number in (0, 1, 2, 4):
        with pytest.raises(StoreError, match="has 2 rounds"):
            run.commit(state(number))
    assert len(run.history()) == 2
    run.commit(state(3))
    assert run.state().round == 3


@pytest.mark.promise("P60")
def test_what_cannot_be_written_is_refused_and_nothing_is_committed(store: Store) -> None:
    run = begin(store, rounds=1)
    for memos, scores, name in (
        ({"a": {"when": object()}}, {}, "a.when"),
        ({"a": {}}, {"accuracy": "high"}, "accuracy"),
        ({"a": {}}, [0.5], "0.5"),
    ):
        with pytest.raises(StoreError) as error:
            run.commit(state(2, scores=scores), memos)
        assert name in error.value.found and error.value.instead
    with pytest.raises(StoreError, match=r"memo\.f"):
        run.commit(State(2, np.zeros(2), {"f": len}))
    with pytest.raises(StoreError, match="settings"):
        store.new("", "", "", {"a": object()})
    assert len(run.history()) == 1
    run.commit(state(2))
    assert same(run.state(), state(2))


# --- the disk stays small ---


def test_old_checkpoints_and_memories_are_deleted(store: Store) -> None:
    run = begin(store, rounds=20)
    states, memories = sorted(run.folder.glob("*state*")), sorted(run.folder.glob("*memory*"))
    assert [path.name[:6] for path in states] == ["000019", "000020"][-KEEP:]
    assert [path.name[:6] for path in memories] == ["000018", "000019", "000020"]  # one for each of three clients
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in states + memories} | {"lock"}
    run.commit(state(21), {f"client {i}": {"c": np.zeros(1)} for i in range(1200)})
    assert len(list(run.folder.glob("*memory*"))) == 1
    assert len(run.memory()) == 1200


def test_leftovers_are_swept_and_a_users_files_are_not(tmp_path: Path, url: str | None) -> None:
    run = begin(Store(tmp_path, url), rounds=2)
    run.finish("stopped")
    ours = ["000003-state-0123456789ab.safetensors", "000003-memory.part"]
    theirs = ["model.safetensors", "000003.safetensors", "notes.part", "report.html"]
    for name in ours + theirs:
        (run.folder / name).write_bytes(b"?")
    again = Store(tmp_path, url).resume(run.id)
    assert not [name for name in ours if (run.folder / name).exists()]
    assert all((run.folder / name).exists() for name in theirs)
    assert same(again.state(), state(2))


# --- damage ---


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def swap(path: Path) -> None:
    shutil.copy(next(other for other in path.parent.glob("*state*") if other != path), path)


@pytest.mark.guards("files have their fingerprint")
@pytest.mark.promise("P58")
@pytest.mark.parametrize("damage", [flip, cut, swap, Path.unlink])
def test_damage_is_noticed(tmp_path: Path, damage: Any) -> None:
    run = begin(Store(tmp_path), rounds=3)
    path = max(run.folder.glob("*state*"))
    damage(path)
    with pytest.raises(StoreError) as error:
        run.state()
    assert str(path) in error.value.found
    assert "backup" in error.value.instead and "run.state(2)" in error.value.instead
    assert same(run.state(2), state(2))

    path = max(run.folder.glob("*memory*"))
    damage(path)
    with pytest.raises(StoreError) as error:
        run.memory()
    assert str(path) in error.value.found and error.value.instead


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    (tmp_path / "runs").rmdir()
    with pytest.raises(StoreError, match="cannot be made a folder") as error:
        store.new("Plan()", "digest", "app.py", {})
    assert error.value.why and error.value.instead


@pytest.mark.promise("P58")
def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    run = begin(Store(tmp_path), rounds=1)
    data = dumps({"round": 1, "weights": np.ones(3)})
    (run.folder / "later").write_bytes(data)
    later = {"name": "later", "sha256": hashlib.sha256(data).hexdigest()}
    with run.database.write() as connection:
        connection.execute(database.files.update().where(database.files.c.kind == "state").values(later))
    with pytest.raises(StoreError, match="another version") as error:
        run.state()
    assert error.value.instead


def test_rounds_that_are_not_kept_are_named(tmp_path: Path) -> None:
    run = begin(Store(tmp_path), rounds=5)
    with pytest.raises(StoreError) as error:
        run.state(2)
    assert "4 or 5" in error.value.instead


# --- one process at a time ---

HOLD = "import sys; from hansa import Store; run = Store(sys.argv[1]).resume(sys.argv[2]); print('held', flush=True)\n"


@contextmanager
def another(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a program, and has said its first word."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.guards("a run is locked")
@pytest.mark.promise("P59")
def test_one_process_at_a_time_goes_on_with_a_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = begin(store, rounds=2)
    with pytest.raises(StoreError, match=f"process {os.getpid()}"):
        Store(tmp_path).resume(run.id)
    run.finish("stopped")
    reader = store.open(run.id)
    with another(HOLD + "input()", tmp_path, run.id) as process:
        for attempt in (lambda: store.resume(run.id), lambda: reader.commit(state(3)), lambda: run.finish("done")):
            with pytest.raises(StoreError, match=f"process {process.pid} on") as error:
                attempt()
            assert error.value.instead
        assert same(reader.state(), state(2))  # who only reads may
        assert store.runs()[0].status == "running"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.runs()[0].status == "interrupted"
        run = store.resume(run.id)
    run.commit(state(3))
    assert store.runs()[0].status == "running"


@pytest.mark.promise("P59")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_children_of_a_dead_process_hold_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = begin(store)
    run.finish("stopped")
    fork = "import os\nif os.fork() == 0:\n    input()\nelse:\n    os.kill(os.getpid(), 9)"
    with another(HOLD + fork, tmp_path, run.id) as process:
        process.wait()  # its child lives on, and waits for a line
        store.resume(run.id)


def test_who_lost_the_race_for_a_round_is_told(tmp_path: Path, url: str | None) -> None:
    run = begin(Store(tmp_path, url), rounds=1)
    row = {
        "run": run.id,
        "round": 1,
        "metrics": "",
        "scores": "",
        "participants": "",
        "excluded": "",
        "skipped": "",
        "seconds": 0.0,
    }
    with pytest.raises(StoreError, match="already holds"), run.database.write() as connection:
        connection.execute(database.rounds.insert().values(row))
    assert len(run.history()) == 1


# --- versions ---


def test_tables_are_those_of_the_migrations(store: Store) -> None:
    with store.database.read() as connection:
        wanted = [database.tables]
        if store.database.shared:
            wanted.append(heard.tables)
        assert compare_metadata(MigrationContext.configure(connection), wanted) == []
    assert ScriptDirectory(str(database.MIGRATIONS)).get_current_head() == database.SCHEMA


def test_an_old_database_is_upgraded_and_a_new_one_refused(
    tmp_path: Path, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(Store(tmp_path / "runs", url), rounds=2)
    shutil.copytree(database.MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "next.py").write_text(
        "from alembic import op\nfrom sqlalchemy import Column, Text\n"
        f"revision, down_revision = 'next', {database.SCHEMA!r}\n"
        "def upgrade():\n    op.add_column('runs', Column('place', Text, server_default='here', nullable=False))\n"
    )
    with monkeypatch.context() as later:
        later.setattr(database, "MIGRATIONS", tmp_path / "migrations")
        later.setattr(database, "SCHEMA", "next")
        again = Store(tmp_path / "runs", url)
        with again.database.read() as connection:
            assert connection.scalar(text("SELECT place FROM runs")) == "here"
        assert same(again.open(run.id).state(), state(2))
    with pytest.raises(StoreError) as error:
        Store(tmp_path / "runs", url)
    assert "version next" in error.value.found and "upgrade" in error.value.instead


def test_runs_from_before_they_had_names_have_none(tmp_path: Path, url: str | None) -> None:
    """The columns of 0006 are added with nothing in them, and a run goes on."""
    run = begin(Store(tmp_path / "runs", url), rounds=2)
    run.finish("stopped")
    with Store(tmp_path / "runs", url).database.write() as connection:
        for name in ("name", "tags", "note", "tracked"):
            connection.execute(text(f"ALTER TABLE runs DROP COLUMN {name}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0005'"))
    again = Store(tmp_path / "runs", url)
    (found,) = again.runs()
    assert found.label == Label() and again.open(run.id).tracked == {}
    again.open(run.id).relabel(Label("old", ("kept",)))
    run = again.resume("old")
    run.commit(state(3))
    assert Store(tmp_path / "runs", url).runs()[0].label == Label("old", ("kept",)) and len(run.rows()) == 3


def test_a_store_of_an_earlier_release_is_refused_by_its_name(tmp_path: Path, url: str | None) -> None:
    begin(Store(tmp_path / "runs", url), rounds=2)
    with Store(tmp_path / "runs", url).database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    with pytest.raises(StoreError, match="version 0002") as error:
        Store(tmp_path / "runs", url)
    assert "hansa 0.1" in error.value.why and "hansa 0.1" in error.value.instead


FIRST_USE = """
import sys, alembic.script
from hansa import Store
print("held", flush=True)
input()
Store(sys.argv[1], sys.argv[2] or None).new("", "", "", {})
"""


def test_first_use_by_several_processes_at_once(tmp_path: Path, url: str | None) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(another(FIRST_USE, tmp_path, url or "")) for _ in range(3)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait() for process in processes] == [0] * 3
    assert len(Store(tmp_path, url).runs()) == 3


# --- places ---


def test_a_place_that_cannot_hold_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, and long enough to be none" * 9)
    (tmp_path / "runs").mkdir()
    shutil.copy(tmp_path / "file", tmp_path / "runs" / "hansa.sqlite")
    for folder, url in (
        (tmp_path / "file", None),
        (tmp_path / "runs", None),
        (tmp_path, "mysql://localhost/hansa"),
        (tmp_path, "no url"),
        (tmp_path, "postgresql://me:secret@localhost:1/hansa?connect_timeout=2"),
    ):
        with pytest.raises(StoreError) as error:
            Store(folder, url)
        assert error.value.instead
        assert "secret" not in str(error.value)


def test_a_run_whose_files_are_elsewhere_says_so(tmp_path: Path) -> None:
    run = begin(Store(tmp_path / "here"), rounds=1)
    run.finish("stopped")
    (tmp_path / "there").mkdir()
    shutil.copy(tmp_path / "here" / "hansa.sqlite", tmp_path / "there")
    there = Store(tmp_path / "there")
    with pytest.raises(StoreError, match="cannot be read"):
        there.open(run.id).state()
    with pytest.raises(StoreError, match="where its files are"):
        there.resume(run.id)


# --- export ---


def test_export_writes_weights(tmp_path: Path) -> None:
    model = Softmax(4, 3)
    x = Key.of(1).normal((model.size,))
    export(x, tmp_path / "plain.safetensors")
    export(x, tmp_path / "model.safetensors", model)
    assert load_file(tmp_path / "plain.safetensors")["x"].tobytes() == x.tobytes()
    named = load_file(tmp_path / "model.safetensors")
    assert np.concatenate([named["weight"].ravel(), named["bias"]]).tobytes() == x.tobytes()
    with pytest.raises(StoreError, match="cannot be written"):
        export(x, tmp_path / "no folder" / "x.safetensors")


def test_export_of_a_pytorch_model_is_a_state_dict(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file as load_torch

    from hansa import TorchModel

    def net() -> Any:
        return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3)).eval()

    model = TorchModel(net(), torch.nn.functional.cross_entropy)
    x = model.start(Key.of(1))
    x = x + Key.of(2).uniform(x.shape)
    export(x, tmp_path / "model.safetensors", model)
    other, batch = net(), torch.ones(2, 4)
    other.load_state_dict(load_torch(tmp_path / "model.safetensors"))
    assert torch.equal(other(batch), model.load(x).eval()(batch))
