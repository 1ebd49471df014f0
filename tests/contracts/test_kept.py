"""What was opened can be checked: from the ciphertexts that a run has kept anybody computes its sums again."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hansa as h
from hansa.aggregators.encrypted import kept as bytes_kept
from hansa.aggregators.grouped import Grouped
from hansa.cli.options import commands
from hansa.crypto.field import Field64
from hansa.errors import AppError, StoreError
from hansa.store import Store, verify
from hansa.store.kept import Kept, Room
from hansa.store.run import Run

rng = np.random.default_rng(9)
DATA = {f"c{i}": (rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 2, 9)) for i in range(5)}
PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=5))
PLAN = h.Plan(h.Softmax(3, 2), pipe=PIPE, aggregator=h.EncryptedSum(), sample=h.Everyone(quorum=4), rounds=3)
MASKED = replace(PLAN, aggregator=h.MaskedSum())
CELLS = replace(PLAN, aggregator=Grouped(h.EncryptedSum(), 3, h.Median()), sample=h.Everyone(quorum=5))


def kept(folder: Path, plan: h.Plan = PLAN) -> tuple[Run, Path]:
    """A run, and where its ciphertexts are."""
    run = started(folder, plan)
    with pytest.warns(Room):
        list(h.App(plan, DATA).run(run))
    return run, folder / "ciphertexts"


def started(folder: Path, plan: h.Plan) -> Run:
    """A run that is to keep its ciphertexts."""
    run = Store(folder / "runs").new("plan", plan.digest, "app", {}, plan.rounds)
    run.ciphertexts = folder / "ciphertexts"
    return run


@pytest.fixture(name="whole", scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Three rounds of five clients."""
    return kept(tmp_path_factory.mktemp("kept"))


def files_of(run: Run, round: int) -> list[tuple[str, str]]:
    """Whose, and SHA-256, of what is kept of a round."""
    line = json.loads(run.record.path.read_text().splitlines()[round])
    (cell,) = line["cells"]
    rows = [cell["vectors"][192 * i : 192 * i + 64] for i in range(len(cell["names"]))]
    return [*zip(cell["names"], rows, strict=True), ("the sum of keys", cell["key"])]


@pytest.mark.promise("P421")
def test_each_sum_is_computed_again(whole: tuple[Run, Path]) -> None:
    run, folder = whole
    assert verify(run, ciphertexts=folder) == 3
    found = {f"{path.parent.name}/{path.name}" for path in folder.glob("*/*")}
    assert found == {f"{number:06d}/{sha256}" for number in (1, 2, 3) for _, sha256 in files_of(run, number)}
    assert len(found) == 3 * 6


@pytest.fixture(name="spoilt")
def _spoilt() -> Iterator[Callable[[Path, bytes | None], None]]:
    """Put something else into a file until the test is over."""
    before = dict[Path, bytes]()

    def spoil(path: Path, data: bytes | None) -> None:
        before[path] = path.read_bytes()
        path.unlink()
        if data is not None:
            path.write_bytes(data)

    yield spoil
    for path, data in before.items():
        path.write_bytes(data)


PLACES = [(number, place) for number in (1, 3) for place in range(6)]


@pytest.mark.promise("P421")
@pytest.mark.guards("a file of ciphertexts is what was signed")
@pytest.mark.parametrize(("number", "place"), PLACES)
def test_one_bit_of_any_file_is_found(whole: tuple[Run, Path], spoilt: Any, number: int, place: int) -> None:
    run, folder = whole
    who, sha256 = files_of(run, number)[place]
    path = folder / f"{number:06d}" / sha256
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    spoilt(path, bytes(data))
    with pytest.raises(StoreError) as refused:
        verify(run, ciphertexts=folder)
    assert sha256 in str(refused.value) and who in str(refused.value) and "not what was signed" in str(refused.value)


@pytest.mark.promise("P421")
@pytest.mark.parametrize(("number", "place"), PLACES)
def test_a_missing_file_is_named(whole: tuple[Run, Path], spoilt: Any, number: int, place: int) -> None:
    run, folder = whole
    who, sha256 = files_of(run, number)[place]
    spoilt(folder / f"{number:06d}" / sha256, None)
    with pytest.raises(StoreError, match=f"{sha256} of round {number} .*{who}"):
        verify(run, ciphertexts=folder)


def rewritten(run: Run, folder: Path, change: Callable[[dict[str, Any]], None]) -> Run:
    """A run whose record is written anew, with a change of the cell of its second round, heads and all."""
    other = Store(folder / "runs").new("plan", run.digest, "app", {}, run.planned)
    other.record.begin(run.digest)
    for number, text in enumerate(run.record.path.read_text().splitlines()):
        line = {name: value for name, value in json.loads(text).items() if name != "head"}
        if number == 2:
            change(line["cells"][0])
        if number:
            other.record.add(line)
    return other


def other_sum(cell: dict[str, Any]) -> None:
    cell["sum"] = "00" * 32


def other_vector(cell: dict[str, Any]) -> None:
    """As if a client had said another one."""
    cell["vectors"] = "00" * 32 + cell["vectors"][64:]


def other_form(cell: dict[str, Any]) -> None:
    """Numbers that lie elsewhere in a coefficient make another sum of the same ciphertexts."""
    cell["form"][2] = 1


def no_key(cell: dict[str, Any]) -> None:
    cell["key"] = ""


@pytest.mark.promise("P421")
@pytest.mark.guards("a vector of a record is signed by its client")
@pytest.mark.parametrize("change", [other_vector, other_form])
def test_a_vector_that_nobody_has_signed_is_found_out(
    whole: tuple[Run, Path], tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Also where no ciphertexts are looked at."""
    other = rewritten(whole[0], tmp_path, change)
    with pytest.raises(StoreError, match=r"Line 3 .*c0 has not signed the vector"):
        other.record.verify(None, whole[0].digest)


@pytest.mark.promise("P421")
@pytest.mark.guards("a sum of a record is that of its ciphertexts")
@pytest.mark.parametrize(
    ("change", "words"), [(other_sum, "computed again from its ciphertexts"), (no_key, "nothing is kept")]
)
def test_who_rewrites_the_record_is_found_out(
    whole: tuple[Run, Path], tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    run, folder = whole
    other = rewritten(run, tmp_path, change)
    with pytest.raises(StoreError, match=f"Line 3 .*{words}"):
        other.record.verify(None, run.digest, kept=Kept(folder))


@pytest.mark.promise("P421")
def test_another_sum_of_keys_opens_nothing(whole: tuple[Run, Path], tmp_path: Path) -> None:
    """It is off by one in one place, kept well, and in the record."""
    run, folder = whole
    (_, sha256) = files_of(run, 2)[-1]
    key = np.frombuffer((folder / "000002" / sha256).read_bytes(), np.uint64)
    again = Kept(tmp_path / "ciphertexts")
    for path in (folder / "000002").iterdir():
        again.add(2, path.read_bytes())
    for number in (1, 3):
        for path in (folder / f"{number:06d}").iterdir():
            again.add(number, path.read_bytes())
    changed = Field64.add(key, np.eye(1, len(key), 5, dtype=np.uint64)[0])
    again.add(2, changed.tobytes())

    def other_key(cell: dict[str, Any]) -> None:
        cell["key"] = hashlib.sha256(changed.tobytes()).hexdigest()

    other = rewritten(run, tmp_path, other_key)
    with pytest.raises(StoreError, match=r"Line 3 .*ciphertexts do not open"):
        other.record.verify(None, run.digest, kept=again)


def test_cells_have_their_files_beside_each_other(tmp_path: Path) -> None:
    data = {f"c{i}": DATA[f"c{i % 5}"] for i in range(9)}
    pipe = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=9))
    plan = replace(CELLS, pipe=pipe, sample=h.Everyone(quorum=9), rounds=1)
    run = started(tmp_path, plan)
    with pytest.warns(Room):
        list(h.App(plan, data).run(run))
    assert len(list((tmp_path / "ciphertexts" / "000001").iterdir())) == 12
    assert verify(run, ciphertexts=tmp_path / "ciphertexts") == 1


# ── before it starts ──


@pytest.mark.promise("P421")
def test_how_many_bytes_a_round_keeps_is_said_before_and_is_so(tmp_path: Path) -> None:
    each = bytes_kept(PLAN.aggregator, PLAN.encoded_spec, 5)
    with pytest.warns(Room, match=f"Each round keeps up to {each:,} bytes"):
        next(h.App(PLAN, DATA).run(started(tmp_path, PLAN)))
    assert sum(path.stat().st_size for path in (tmp_path / "ciphertexts").glob("*/*")) == each


@pytest.mark.parametrize("plan", [MASKED, replace(PLAN, aggregator=h.Sum())], ids=["masked", "plain"])
def test_other_sums_keep_none(tmp_path: Path, plan: h.Plan) -> None:
    with pytest.raises(AppError, match="EncryptedSum"):
        next(h.App(plan, DATA).run(started(tmp_path, plan)))


def test_a_folder_that_cannot_be_is_refused_before_the_first_round(tmp_path: Path) -> None:
    (tmp_path / "ciphertexts").write_text("a file")
    with pytest.raises(StoreError, match="folder"):
        next(h.App(PLAN, DATA).run(started(tmp_path, PLAN)))


def test_where_there_is_no_room_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="room"):
        Kept(tmp_path / "c").check_room(2**62, 1)


def test_a_run_that_keeps_none_writes_none(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Room)
        list(h.App(replace(PLAN, rounds=1), DATA).run())
    assert not list(tmp_path.iterdir())


def test_a_record_of_masks_has_nothing_to_compute_sums_from(tmp_path: Path) -> None:
    run = Store(tmp_path / "runs").new("plan", MASKED.digest, "app", {}, 3)
    list(h.App(MASKED, DATA).run(run))
    assert verify(run) == 3
    with pytest.raises(StoreError, match="nothing is kept"):
        verify(run, ciphertexts=tmp_path)


APP = """
import numpy as np
import hansa as h

rng = np.random.default_rng(9)
data = {f"c{i}": (rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 2, 9)) for i in range(5)}
pipe = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=5))
plan = h.Plan(h.Softmax(3, 2), pipe=pipe, aggregator=h.EncryptedSum(), sample=h.Everyone(quorum=4), rounds=2)
app = h.App(plan, data)
"""


@pytest.mark.promise("P421")
def test_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(APP)
    runs = ["--folder", str(tmp_path / "runs")]
    folder = str(tmp_path / "kept")
    with pytest.warns(Room):
        done = CliRunner().invoke(commands, ["run", str(file), "--no-compare", "--ciphertexts", folder, *runs])
    assert done.exit_code == 0, done.output
    (run,) = Store(tmp_path / "runs").runs()
    found = CliRunner().invoke(commands, ["verify", run.id, "--ciphertexts", folder, *runs])
    assert found.exit_code == 0 and "computed again" in found.output
    next(Path(folder).glob("*/*")).unlink()
    found = CliRunner().invoke(commands, ["verify", run.id, "--ciphertexts", folder, *runs])
    assert found.exit_code == 1
