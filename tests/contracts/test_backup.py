"""Backups: what is put back is what was there; what is damaged, held or older than what was said does not count."""

from __future__ import annotations

import shutil
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.attending import SECRET, Sites
from tests.contracts.test_site_runtime import DATA, plan
from tests.contracts.test_store import begin, same, state, url  # noqa: F401  # a database for each test
from tests.operating import Federation
from typer.testing import CliRunner

import hansa as h
from hansa.cli import commands
from hansa.errors import StoreError
from hansa.kits import Kit
from hansa.runtimes.sites import backup as kits
from hansa.store import Store
from hansa.store.backup import backup, restore


@pytest.fixture
def store(tmp_path: Path, url: str | None) -> Store:  # noqa: F811
    return Store(tmp_path / "runs", url)


def snapshot(folder: Path) -> dict[str, bytes]:
    """The files below a folder, but for locks and the database."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "hansa.sqlite")
    }


# ── a store ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P544")
def test_what_is_put_back_is_what_was_there(store: Store, tmp_path: Path) -> None:
    """From SQLite and from PostgreSQL; and a backup is a store, which is read as one."""
    run = begin(store, 4)
    run.secret()
    run.finish("stopped")
    done = begin(store, 2)
    done.finish("done")
    assert sorted(backup(store, tmp_path / "saved")) == sorted([run.id, done.id])
    assert stat.S_IMODE((tmp_path / "saved").stat().st_mode) == 0o700
    saved = Store(tmp_path / "saved")
    assert list(map(repr, saved.runs())) == list(map(repr, store.runs()))
    shutil.copytree(tmp_path / "saved", tmp_path / "copy")
    other = Store(tmp_path / "other")
    restore(tmp_path / "copy", other)
    for name in (run.id, done.id):
        a, b = store.open(name), other.open(name)
        assert repr(a.history()) == repr(b.history()) and same(a.state(), b.state()) and same(a.memory(), b.memory())
        assert (a.settings, a.plan, a.planned, a.started) == (b.settings, b.plan, b.planned, b.started)
        assert snapshot(a.folder) == snapshot(b.folder)
    assert other.resume(run.id).secret() == run.secret()


@pytest.mark.promise("P544")
def test_what_was_put_back_goes_on_in_a_database_of_the_other_kind(store: Store, tmp_path: Path) -> None:
    run = begin(store, 3)
    run.finish("stopped")
    backup(store, tmp_path / "saved")
    run.hold()
    run.commit(state(4))
    run.finish("stopped")
    with pytest.raises(StoreError, match="already"):
        restore(tmp_path / "saved", store)
    assert len(store.open(run.id).history()) == 4
    (store.folder / run.id / "journal").write_bytes(b"of round 5")
    assert restore(tmp_path / "saved", store, replace=True) == [run.id]
    back = store.resume(run.id)
    assert len(back.history()) == 3 and not (back.folder / "journal").exists()
    back.commit(state(4))
    assert same(back.state(), state(4))


@pytest.mark.promise("P544")
def test_a_run_that_goes_on_is_backed_up_as_it_was_at_one_moment(store: Store, tmp_path: Path) -> None:
    """Rounds are committed while it is copied, and old checkpoints deleted."""
    run = begin(store, 1)
    over = threading.Event()

    def go_on() -> None:
        number = 2
        while not over.is_set():
            run.commit(state(number))
            number += 1

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for i in range(4):
            backup(store, tmp_path / f"saved {i}")
    finally:
        over.set()
        thread.join()
    for i in range(4):
        saved = Store(tmp_path / f"saved {i}").open(run.id)
        rounds = len(saved.history())
        assert same(saved.state(), state(rounds)) and saved.memory().keys() == run.memory().keys()
        restore(tmp_path / f"saved {i}", Store(tmp_path / f"other {i}"))


@pytest.mark.promise("P545")
@pytest.mark.guards("a backup is checked before it is put back")
def test_a_backup_that_was_changed_is_not_put_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    run = begin(store, 2)
    run.secret()
    run.finish("stopped")
    backup(store, tmp_path / "saved")
    changes: list[Callable[[Path], Any]] = [
        lambda at: next(at.glob("*/*state*")).write_bytes(b"another model"),
        lambda at: next(at.glob("*/secret")).write_bytes(bytes(32)),
        lambda at: next(at.glob("*/*memory*")).unlink(),
        lambda at: (at / run.id / "000009-state-000000000000.safetensors").write_bytes(b"more"),
        lambda at: (at / "hansa.sqlite").write_bytes(b""),
        lambda at: (at / run.id / "link").symlink_to("/etc/passwd"),
        lambda at: (at / "backup.json").unlink(),
        lambda at: (at / "backup.json").write_text("{}"),
    ]
    for i, change in enumerate(changes):
        shutil.copytree(tmp_path / "saved", tmp_path / f"changed {i}")
        change(tmp_path / f"changed {i}")
        other = Store(tmp_path / f"other {i}")
        with pytest.raises(StoreError) as error:
            restore(tmp_path / f"changed {i}", other)
        assert error.value.instead and not other.runs() and not list(other.folder.glob("*/*"))


@pytest.mark.promise("P545")
@pytest.mark.guards("a store is checked on the way")
def test_a_damaged_store_is_no_backup(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    run = begin(store, 2)
    run.finish("stopped")
    (path,) = run.folder.glob("000002-state*")
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(StoreError, match="not the file that was written"):
        backup(store, tmp_path / "saved")
    path.unlink()
    with pytest.raises(StoreError, match="not there"):
        backup(store, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.promise("P545")
@pytest.mark.guards("a run that is held is not put back")
def test_a_run_that_is_held_is_not_put_back(tmp_path: Path) -> None:
    with Federation(tmp_path) as sites:
        sites.join_all()
        server = sites.serve()
        server.wait_for(" 2/400")
        done = backup(Store(tmp_path / "runs"), tmp_path / "saved")
        told = CliRunner().invoke(
            commands, ["restore", str(tmp_path / "saved"), "--folder", str(tmp_path / "runs"), "--replace"]
        )
        assert told.exit_code == 2 and "is being run by a process" in told.output
        assert server.child.poll() is None
        server.signal(signal.SIGKILL)
        server.code()
    restore(tmp_path / "saved", Store(tmp_path / "runs"), replace=True)
    assert [one.id for one in Store(tmp_path / "runs").runs()] == done


@pytest.mark.promise("P545")
def test_a_backup_is_not_written_over_nor_mistaken(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    begin(store, 1).finish("stopped")
    backup(store, tmp_path / "saved")
    with pytest.raises(StoreError, match="already"):
        backup(store, tmp_path / "saved")
    with pytest.raises(StoreError, match="no backup of a kit"):
        kits.restore(tmp_path / "saved", tmp_path / "kit")
    with pytest.raises(StoreError, match="no backup"):
        restore(tmp_path / "runs", store)


# ── a kit ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def said(sites: Sites, key: Any) -> Any:
    """One round of a run that grows from this key."""
    with sites.runtime() as runtime:
        (found,) = h.synchronous(sites.plan, runtime, secret=key)
    return found


@pytest.mark.promise("P546")
@pytest.mark.guards(
    "a run from before a backup is void", "a forgotten run counts as begun", "a restored kit draws anew"
)
def test_a_book_that_was_put_back_answers_in_no_run_that_began_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the run that it knows, of which it has forgotten a round, nor in one that it has never heard of."""
    p = plan(rounds=3, sample=h.Everyone(quorum=3, deadline=60))
    north = sorted(DATA)[0]
    with Sites(tmp_path, p, DATA) as sites:
        runtime = sites.runtime()
        states = h.synchronous(p, runtime, secret=SECRET)
        next(states)
        sites.attendants[north].stop()
        folder = sites.kits[north].folder
        before = (folder / "secret").read_bytes()
        kits.backup(folder, tmp_path / "saved")
        sites.attend(north)
        sites.wait(*DATA)
        assert north in next(states).participants
        sites.attendants[north].stop()
        shutil.rmtree(folder)
        kit = kits.restore(tmp_path / "saved", folder)
        assert kit.who == north and (folder / "secret").read_bytes() != before
        sites.attend(north)
        sites.wait(*DATA)
        third = next(states)
        assert third.excluded == {north: "refused"} and "before this kit was put back" in caplog.text
        next(states, None)
        for one in sites.attendants.values():
            one.site._accept = 2
        fourth = next(h.synchronous(p, sites.runtime(), secret=h.Key.of(8)))
        assert fourth.excluded == {north: "refused"} and "join with --runs 3" in caplog.text
        for one in sites.attendants.values():
            one.site._accept = 3
        assert north in next(h.synchronous(p, sites.runtime(), secret=h.Key.of(9))).participants


@pytest.mark.promise("P546")
@pytest.mark.guards("a kit is backed up at one moment")
def test_a_kit_whose_party_attends_is_not_backed_up_and_two_are_not_put_in_one_place(tmp_path: Path) -> None:
    p = plan(rounds=1)
    with Sites(tmp_path, p, DATA) as sites:
        said(sites, SECRET)
        north = sorted(DATA)[0]
        folder = sites.kits[north].folder
        with pytest.raises(StoreError, match="cannot be held"):
            kits.backup(folder, tmp_path / "saved")
        assert not (tmp_path / "saved").exists()
        sites.attendants[north].stop()
        told = CliRunner().invoke(commands, ["backup", str(tmp_path / "saved"), "--kit", str(folder)])
        assert told.exit_code == 0 and north in told.output
        with pytest.raises(StoreError, match="already"):
            kits.restore(tmp_path / "saved", folder)
        files = snapshot(tmp_path / "saved")
        assert {"secret", "identity.json", "book", "runs", "tls.key"} <= files.keys()
        saved = (tmp_path / "saved").rglob("*")
        modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in saved}
        assert modes <= {(False, 0o600), (True, 0o700)}


@pytest.mark.promise("P546")
def test_a_kit_that_never_took_part_and_one_of_a_server_are_put_back(tmp_path: Path) -> None:
    with Sites(tmp_path, plan(), {}) as sites:
        for who, kit in sites.kits.items():
            kits.backup(kit.folder, tmp_path / f"saved {who}")
            restored = kits.restore(tmp_path / f"saved {who}", tmp_path / f"kit {who}")
            assert Kit.load(restored.folder).who == who and restored.secret != kit.secret
