"""The record of a run: what clients have signed, in lines to which others are only added."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hansa as h
from hansa.aggregators.hidden.terms import View, agreed_of, binding_of
from hansa.cli.options import commands
from hansa.crypto.identity import Identity, Member, Roster
from hansa.crypto.keys import SigningKey
from hansa.errors import StoreError
from hansa.messages import SessionId, task_of
from hansa.store import Store, verify
from hansa.store.run import Run

rng = np.random.default_rng(6)
DATA = {f"c{i}": (rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 2, 9)) for i in range(5)}
PIPE = (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=5))
SECRET = h.Key.of(8)  # of which the clients' keys grow
PLAN = h.Plan(h.Softmax(3, 2), pipe=PIPE, aggregator=h.MaskedSum(), sample=h.Everyone(quorum=4), rounds=3)


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Run:
    """Three rounds of five clients."""
    run = Store(tmp_path / "runs").new("plan", PLAN.digest, "app", {}, PLAN.rounds)
    clients = [h.Client(who, PLAN, one, secret=SECRET) for who, one in DATA.items()]
    for state in h.synchronous(PLAN, h.InProcess(clients)):
        run.commit(state)
    return run


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(text) for text in run.record.path.read_text().splitlines()]


@pytest.mark.promise("P403")
def test_a_record_holds_and_names_its_clients(run: Run) -> None:
    assert verify(run) == 3
    cells = [cell for line in lines(run)[1:] for cell in line["cells"]]
    assert [cell["names"] for cell in cells] == [list(DATA)] * 3
    assert all(cell["sum"] and not cell["closed"] for cell in cells)


def rewritten(run: Run, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """The record with a change, by somebody who knows how heads are made."""
    every = [{name: value for name, value in line.items() if name != "head"} for line in lines(run)]
    change(every)
    run.record.path.unlink()
    run.record._last = ""
    for line in every:
        run.record.add(line)


def other_set(every: list[dict[str, Any]]) -> None:
    cell = every[2]["cells"][0]
    cell["inside"] = "00" + cell["inside"][2:]


def one_signature(every: list[dict[str, Any]]) -> None:
    cell = every[2]["cells"][0]
    cell["signatures"] = cell["signatures"][:128] * 5


def fewer_needed(every: list[dict[str, Any]]) -> None:
    every[2]["cells"][0]["needed"] = [1, 1]


def other_keys(every: list[dict[str, Any]]) -> None:
    """Somebody signs for a client, with a key of his own."""
    cell = every[2]["cells"][0]
    cell["members"]["c0"][0] = SigningKey.fresh().public.hex()


def other_broadcast(every: list[dict[str, Any]]) -> None:
    every[2]["broadcast"] = "00" * 32


def other_plan(every: list[dict[str, Any]]) -> None:
    every[0]["plan"] = "0" * 32


def other_model(every: list[dict[str, Any]]) -> None:
    every[2]["before"] = "00" * 32


def no_sum(every: list[dict[str, Any]]) -> None:
    every[2]["cells"] = []


def signed_by_one(every: list[dict[str, Any]], names: list[str]) -> None:
    """A cell of the second round that one client has signed, who colludes with who keeps the record."""
    entry = every[2]
    found = entry["cells"][0]
    n = len(names)
    t = 2 * n // 3 + 1
    found["members"] = {who: found["members"][who] for who in names}
    found |= {"names": names, "needed": [t, t], "inside": "01" * n, "prepared": "01" * n}
    found["publics"] = found["publics"][:128] * n
    members = {who: Member("client", *map(bytes.fromhex, found["members"][who])) for who in names}
    task = task_of(PLAN.digest, 1, SessionId(*entry["session"]), bytes.fromhex(entry["broadcast"]))
    every_one = np.ones(n, bool)
    view = View(every_one, np.frombuffer(bytes.fromhex(found["publics"]), np.uint8).reshape(n, -1))
    binding = binding_of(found["kind"], task, members, t, t)
    own = Identity.of("c0", "client", SECRET)
    found["signatures"] = own.signing.sign(agreed_of(binding, view, every_one)).hex() * n


def alone(every: list[dict[str, Any]]) -> None:
    """A cell of one, who signs."""
    signed_by_one(every, ["c0"])


def many_of_one(every: list[dict[str, Any]]) -> None:
    """One client as often as is needed, who signs as often."""
    signed_by_one(every, ["c0"] * 5)


def in_two_cells(every: list[dict[str, Any]]) -> None:
    every[2]["cells"] *= 2


def of_other_names(every: list[dict[str, Any]]) -> None:
    """Somebody else is said to have lied."""
    every[2]["cells"][0]["wrong"] = ["c9"]


def of_more_members(every: list[dict[str, Any]]) -> None:
    """Keys of one who is in no cell."""
    members = every[2]["cells"][0]["members"]
    members["c9"] = members["c0"]


def lower_threshold(every: list[dict[str, Any]]) -> None:
    """All five would have to open a sum, and four are said to be enough; all have signed that."""
    entry = every[2]
    cell = entry["cells"][0]
    cell["kind"] = "MaskedSum(threshold=0.9)"
    members = {who: Member("client", *map(bytes.fromhex, one)) for who, one in cell["members"].items()}
    task = task_of(PLAN.digest, 1, SessionId(*entry["session"]), bytes.fromhex(entry["broadcast"]))
    everyone = np.ones(5, bool)
    view = View(everyone, np.frombuffer(bytes.fromhex(cell["publics"]), np.uint8).reshape(5, -1))
    agreed = agreed_of(binding_of(cell["kind"], task, members, *cell["needed"]), view, everyone)
    signatures = [Identity.of(who, "client", SECRET).signing.sign(agreed) for who in DATA]
    cell["signatures"] = b"".join(signatures).hex()


def twice(every: list[dict[str, Any]]) -> None:
    """The round is there again, with another sum."""
    again = json.loads(json.dumps(every[3]))
    again["cells"][0]["sum"] = "00" * 32
    every.append(again)


def nobody(every: list[dict[str, Any]]) -> None:
    every[2]["cells"][0]["names"] = []


def left_out(every: list[dict[str, Any]]) -> None:
    del every[2]


def swapped(every: list[dict[str, Any]]) -> None:
    every[1], every[2] = every[2], every[1]


FORGERIES = {
    other_set: "have signed",
    one_signature: "have signed",
    fewer_needed: "fewer clients than hide each other",
    other_keys: "have signed",
    no_sum: "no sum was opened",
    alone: "not those of a cell",
    many_of_one: "not those of a cell",
    in_two_cells: "in two of its cells",
    of_other_names: "not in its cell",
    of_more_members: "not in its cell",
    lower_threshold: "not as many as",
    twice: "another sum of the same round",
    nobody: "not those of a cell",
    other_broadcast: "have signed",
    other_plan: "of another plan",
    other_model: "another model",
    left_out: "the round before it is missing",
    swapped: "the round before it is missing",
}


@pytest.mark.promise("P403")
@pytest.mark.guards("a cell of a record is one whose members hide each other")
@pytest.mark.guards("a client of a record is in one cell")
@pytest.mark.guards("a cell of a record names its members alone")
@pytest.mark.guards("as many sign as the plan of a record says")
@pytest.mark.guards("the model of a record moves by a sum")
@pytest.mark.guards("a round of a record has one sum")
@pytest.mark.parametrize("change", FORGERIES, ids=lambda f: f.__name__)
def test_who_rewrites_the_whole_record_is_found_out(run: Run, change: Any) -> None:
    rewritten(run, lambda every: None)
    assert verify(run) == 3
    rewritten(run, change)
    with pytest.raises(StoreError, match=f"does not hold: .*{FORGERIES[change]}"):
        verify(run)


@pytest.mark.promise("P403")
@pytest.mark.guards("a record is of the plan of its run")
def test_a_record_is_of_the_plan_of_its_run(run: Run) -> None:
    """Clients may have signed sums of another plan that has led to the same models."""
    run.digest = "0" * 32
    with pytest.raises(StoreError, match="of another plan"):
        verify(run)


@pytest.mark.promise("P403")
@pytest.mark.parametrize("line", range(4))
def test_a_changed_byte_is_named_by_its_line(run: Run, line: int) -> None:
    texts = run.record.path.read_text().splitlines()
    place = texts[line].index('"head":') - 10
    texts[line] = texts[line][:place] + ("0" if texts[line][place] != "0" else "1") + texts[line][place + 1 :]
    run.record.path.write_text("\n".join(texts) + "\n")
    with pytest.raises(StoreError, match=f"Line {line + 1} "):
        verify(run)


@pytest.mark.promise("P403")
def test_an_end_that_was_taken_away_is_missed(run: Run) -> None:
    texts = run.record.path.read_text().splitlines()
    run.record.path.write_text("\n".join(texts[:-1]) + "\n")
    with pytest.raises(StoreError, match="round 3"):
        verify(run)
    run.record.path.unlink()
    with pytest.raises(StoreError, match="no record"):
        verify(run)


@pytest.mark.promise("P403")
def test_who_is_not_in_the_roster_is_no_client(run: Run) -> None:
    found = dict(h.InProcess([h.Client(who, PLAN, one, secret=SECRET) for who, one in DATA.items()]).members)
    assert verify(run, found) == 3
    del found["c3"]
    with pytest.raises(StoreError, match="c3 is not in the roster"):
        verify(run, found)


@pytest.mark.promise("P403")
def test_a_roster_says_who_the_clients_are(run: Run, tmp_path: Path) -> None:
    clients = [h.Client(who, PLAN, one) for who, one in DATA.items()]
    runtime = h.InProcess(clients)
    other = Roster.signed(dict(runtime.members), 1, SigningKey.fresh())
    with pytest.raises(StoreError, match="other keys"):
        verify(run, other)
    file = tmp_path / "roster.json"
    file.write_bytes(other.encode())
    told = ["verify", run.id, "--folder", str(tmp_path / "runs")]
    found = CliRunner().invoke(commands, told)
    assert found.exit_code == 0 and "3 rounds hold" in found.output
    found = CliRunner().invoke(commands, [*told, "--roster", str(file)])
    assert found.exit_code != 0


def test_a_run_that_was_resumed_adds_to_its_record(tmp_path: Path) -> None:
    run = Store(tmp_path / "runs").new("plan", PLAN.digest, "app", {}, PLAN.rounds)
    state = None
    for _ in range(PLAN.rounds):
        clients = [h.Client(who, PLAN, one) for who, one in DATA.items()]
        state = next(h.synchronous(PLAN, h.InProcess(clients), state))
        run.commit(state)
        run.record._last = None  # as another process finds it
    assert verify(run) == 3


def test_a_line_that_was_not_ended_goes_when_the_run_goes_on(run: Run) -> None:
    """Its round was not committed: a line is on the disk before."""
    texts = run.record.path.read_text()
    run.record.path.write_text(texts + '{"round": 4, "cel')
    with pytest.raises(StoreError, match="Line 5 "):
        verify(run)
    run.record._last = None
    run.record.begin(run.digest)
    assert run.record.path.read_text() == texts and verify(run) == 3
    run.record.path.write_text("")
    run.record.begin(run.digest)
    assert len(lines(run)) == 1
