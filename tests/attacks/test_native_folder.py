"""Programs that others planted where compiled ones are kept: none is loaded, and no file of the user's is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hansa import native

NAME = "program"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of programs, made by hansa itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._private.cache_clear()
    return native.folder()


def compiled(file: Path) -> str:
    file.write_bytes(b"ours")
    return ""


def asked() -> Path:
    """The program that would be loaded."""
    found = native.kept(NAME, compiled)
    assert isinstance(found, Path)
    return found


@pytest.mark.guards("programs are private whatever the umask")
def test_a_program_is_made_once_whatever_the_umask(cache: Path) -> None:
    before = os.umask(0)
    try:
        assert asked() == cache / f"{NAME}.so"
        assert native.kept(NAME, lambda file: "made twice") == asked()
        assert native.kept("bad", lambda file: "no such header") == native.kept("bad", compiled) != asked()
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in cache.iterdir())


@pytest.mark.guards("a folder of others holds no program")
@pytest.mark.promise("P110")
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_nothing_is_loaded_from_a_folder_that_others_can_write_to(
    cache: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    (cache / f"{NAME}.so").write_bytes(b"planted")
    cache.chmod(mode)
    found = asked()
    assert found.read_bytes() == b"ours" and found.parent != cache and found.parent.stat().st_mode & 0o777 == 0o700
    assert asked() == found and caplog.text.count("Others than you can write to") == 1


@pytest.mark.guards("no other can swap the folder")
@pytest.mark.promise("P110")
def test_nothing_is_loaded_where_others_can_swap_the_folder_itself(cache: Path) -> None:
    (cache / f"{NAME}.so").write_bytes(b"planted")
    cache.parent.chmod(0o777)
    assert asked().read_bytes() == b"ours" and asked().parent != cache


@pytest.mark.guards("a folder of others holds no program")
def test_a_link_to_a_folder_of_others_is_seen_through(cache: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    (theirs / f"{NAME}.so").write_bytes(b"planted")
    cache.rmdir()
    cache.symlink_to(theirs)
    assert asked().read_bytes() == b"ours" and theirs not in asked().parents


@pytest.mark.guards("a program is its user's own", "the folders above are its user's own")
@pytest.mark.promise("P110")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["folder", "above", "program", "failed"])
def test_nothing_is_loaded_that_belongs_to_another_user(cache: Path, what: str) -> None:
    file, failed = cache / f"{NAME}.so", cache / f"{NAME}.failed"
    (failed if what == "failed" else file).write_bytes(b"planted")
    os.chown({"folder": cache, "above": cache.parent, "program": file, "failed": failed}[what], 65534, 65534)
    assert asked().read_bytes() == b"ours"


@pytest.mark.guards("nobody else can write to a program", "a link is no program")
@pytest.mark.promise("P110")
@pytest.mark.parametrize("plant", ["link", "open"])
def test_a_program_that_others_wrote_is_made_anew(cache: Path, tmp_path: Path, plant: str) -> None:
    """One that all may write to, or a link to one elsewhere, which stays as it is."""
    elsewhere, file = tmp_path / "elsewhere", cache / f"{NAME}.so"
    elsewhere.write_bytes(b"planted")
    if plant == "link":
        file.symlink_to(elsewhere)
    else:
        file.write_bytes(b"planted")
        file.chmod(0o666)
    assert asked() == file and file.read_bytes() == b"ours" and not file.is_symlink()
    assert elsewhere.read_bytes() == b"planted"


@pytest.mark.guards("a lock is no link", "no note is written through a link")
@pytest.mark.parametrize("suffix", [".lock", ".failed"])
def test_no_file_is_emptied_that_a_planted_link_points_to(cache: Path, tmp_path: Path, suffix: str) -> None:
    diary = tmp_path / "diary"
    diary.write_text("dear diary")
    (cache / f"{NAME}{suffix}").symlink_to(diary)
    reply = native.kept(NAME, lambda file: "the compiler's words")
    assert diary.read_text() == "dear diary" and isinstance(reply, str)
    (cache / f"{NAME}.failed").unlink()
    assert asked().read_bytes() == b"ours"
