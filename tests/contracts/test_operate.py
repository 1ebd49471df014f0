"""Operations of real sites, with real processes: logs, metrics, draining; and what is deployed."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from tests.operating import CLIENTS, Federation, Process, free_port, get, limits_of, number, status_of

from hansa.runtimes.sites.events import WORDS, size, tell
from hansa.ui.logs import Lines, People

FIELDS = {"time", "level", "event", "run", "session", "round", "who", "kind", "bytes", "seconds"}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that is asked")


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P540")
def test_sizes_are_told_in_the_largest_unit() -> None:
    wanted = {0: "0 B", 999: "999 B", 1000: "1 kB", 45_123: "45.1 kB", 999_600: "1 MB", 3_250_000_000: "3.25 GB"}
    assert {bytes: size(bytes) for bytes in wanted} == wanted


@pytest.mark.promise("P540")
def test_an_event_is_one_line_for_people_or_as_json(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is in a name, it begins no other line and commands no terminal."""
    with caplog.at_level(logging.DEBUG, "hansa.sites"):
        tell("sent", round=7, bytes=45_000, seconds=0.8123)
        tell("came", who="north\n12:00:00  round 8: counted \x1b[2J")
        logging.getLogger("hansa.sites").warning("one\ntwo")
    sent, came, words = caplog.records
    assert re.fullmatch(r"\d\d:\d\d:\d\d  round 8: sent 45 kB in 0.8 s", People().format(sent))
    assert "\n" not in People().format(came) and "\x1b" not in People().format(came)
    told = json.loads(Lines().format(sent))
    assert {**told, "time": ""} == {
        "time": "",
        "level": "info",
        "event": "sent",
        "round": 8,
        "bytes": 45_000,
        "seconds": 0.812,
    }
    assert datetime.fromisoformat(told["time"]).tzinfo is not None
    assert json.loads(Lines().format(words))["words"] == "one two"
    assert "\n" not in Lines().format(came)


def test_every_event_that_is_told_has_words_and_each_has_one_that_tells_it() -> None:
    rooms = (Path(__file__).parents[2] / "src/hansa/runtimes" / room for room in ("sites", "peers"))
    source = "".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    found = set(re.findall(r'\btell\(\s*"([\w ]+)"', source)) | {"counted", "uncounted", "still away", "away"}
    assert found == set(WORDS)


@pytest.mark.promise("P540")
def test_a_run_is_told_in_lines_of_json_and_to_a_party_what_counted(tmp_path: Path) -> None:
    with Federation(tmp_path, rounds=3) as sites:
        server = sites.serve("--log", "json", "--verbose", "--wait", "0")
        north = sites.join("north")
        others = [sites.join(who, "--log", "json") for who in ("east", "west")]
        assert [one.code() for one in (server, north, *others)] == [0] * 4
    for one in (server, *others):
        assert one.events and not [event for event in one.events if not event.keys() <= FIELDS | {"words"}]
    heard = [event for event in server.events if event["event"] == "heard"]
    assert len(heard) == 9 and {event["who"] for event in heard} == set(CLIENTS)
    assert {event["round"] for event in heard} == {1, 2, 3}
    assert all(event["bytes"] > 0 and event["seconds"] >= 0 for event in heard)
    for part in ("run \\w{8}… begins", "round 1: sent \\d+ B in \\d+\\.\\d s", "round 1: counted", "the run is over"):
        assert re.search(rf"(?m)^\d\d:\d\d:\d\d  {part}$", north.said), (part, north.said)
    counted = [event["round"] for event in others[0].events if event["event"] == "counted"]
    assert counted == [1, 2, 3] or counted == [1, 2]  # the last is told when the server ends


@pytest.mark.promise("P540")
def test_a_server_that_is_not_reached_is_told_once_and_each_time_to_who_asks(tmp_path: Path) -> None:
    with Federation(tmp_path) as sites:
        quiet = sites.join("north")
        told = sites.join("east", "--verbose")
        told.wait_for("not reached", times=3)
        assert quiet.said.count("not reached") == 1 and "nobody listens there" in quiet.said
        server = sites.serve("--wait", "0")
        quiet.wait_for("attends")
        server.signal(signal.SIGKILL)
        quiet.wait_for("not reached", times=2)


# ── no core dump has a key ───────────────────────────────────────────────────────────────────────────────────────────


@LINUX
@pytest.mark.promise("P541")
@pytest.mark.guards("no debugger reads a key")
def test_a_process_with_keys_is_not_dumpable() -> None:
    program = "import ctypes; from hansa.private import harden; harden(); print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


# ── draining ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P542")
def test_who_is_told_to_end_finishes_its_round_and_begins_no_other(tmp_path: Path) -> None:
    """A party sends its answer first. A server says what goes on with the run; the run ends, and every client counted
    in every round.
    """
    with Federation(tmp_path, rounds=40) as sites:
        (tmp_path / "data" / "north.slow").write_text("2")
        parties = sites.join_all()
        server = sites.serve()
        parties["north"].wait_for("app: reading")
        parties["north"].signal()
        assert parties["north"].code() == 0 and "round 1: sent" in parties["north"].said
        (tmp_path / "data" / "north.slow").unlink()
        parties["north"] = sites.join("north")
        server.wait_for("round  3/40")
        server.signal()
        assert server.code() == 0
        done = len(sites.run.history())
        assert 3 <= done < 40 and "no new round begins" in server.said
        assert f"Stopped after {done} of 40 rounds" in server.said
        again = re.search(r"Go on with: hansa (serve --kit \S+ --resume \S+)", server.said)
        assert again is not None
        more = sites.start("again", *again.group(1).split(), "--listen", f"127.0.0.1:{sites.port}")
        assert more.code() == 0 and [one.code() for one in parties.values()] == [0] * 3
        assert [set(one.participants) for one in sites.run.history()] == [set(CLIENTS)] * 40


@pytest.mark.promise("P542")
def test_a_round_that_takes_too_long_is_left_to_the_journal(tmp_path: Path) -> None:
    """The two who have answered are not asked again."""
    with Federation(tmp_path, rounds=2) as sites:
        (tmp_path / "data" / "north.slow").write_text("600")
        parties = sites.join_all()
        server = sites.serve("--grace", "1", "--verbose")
        server.wait_for("east sent", "west sent")
        server.signal()
        assert server.code(30) == 0 and len(sites.run.history()) == 0
        (tmp_path / "data" / "north.slow").unlink()
        parties["north"].signal(signal.SIGKILL)
        assert parties["north"].code() == -signal.SIGKILL
        north = sites.join("north")
        server = sites.serve("--resume", sites.run.id)
        assert server.code() == 0 and north.code() == 0
        assert [set(one.participants) for one in sites.run.history()] == [set(CLIENTS)] * 2
        assert parties["east"].code() == 0 and parties["east"].said.count("round 1: sent") == 1


# ── metrics and health ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P543")
def test_a_server_tells_its_numbers_and_whether_it_is_ready(tmp_path: Path) -> None:
    port = free_port()
    noisy = "(hansa.Clip(1.0, side=10.0), hansa.Weigh('one'), hansa.GaussianNoise(2.0))"
    with Federation(tmp_path, rounds=30, pipe=noisy) as sites:
        server = sites.serve("--metrics", str(port), "--wait", "0")
        server.wait_for("Waiting for")
        assert get(port, "/livez") == (200, "alive\n") and get(port, "/readyz") == (200, "ready\n")
        before = get(port, "/metrics")[1]
        assert number(before, "hansa_round") == 0 and number(before, 'hansa_parties{state="present"}') == 0
        assert 364 < number(before, "hansa_certificate_days") < 366
        (tmp_path / "data" / "north.slow").write_text("600")
        parties = sites.join_all("--verbose")
        parties["north"].wait_for("app: reading")
        waiting = get(port, "/metrics")[1]
        assert number(waiting, 'hansa_parties{state="present"}') == 3 and number(waiting, "hansa_spool_bytes") > 0
        (tmp_path / "data" / "north.slow").unlink()
        parties["north"].signal(signal.SIGKILL)
        sites.join("north")
        server.wait_for("round 10/30")
        text = get(port, "/metrics")[1]
        server.signal()
        assert server.code() == 0
    last = sites.run.history()[-1]
    assert 10 <= number(text, "hansa_round") <= last.round
    assert 0 < number(text, 'hansa_epsilon{unit="client"}') <= last.spent["client"].epsilon
    assert number(text, "hansa_session_seconds_count") >= 9 and number(text, "hansa_session_seconds_sum") > 0
    assert number(text, 'hansa_bytes_total{way="up"}') > 30 * 100
    assert number(text, 'hansa_bytes_total{way="down"}') > 30 * 100
    assert number(text, "hansa_late_total") >= 0 and "hansa_lost_total" in text


@LINUX
@pytest.mark.promise("P541", "P542", "P543", "P549")
@pytest.mark.guards("no core dump has a key", "what is written is for its owner")
def test_one_round_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd is told when a process is there; no process leaves a core dump, and each writes for its owner alone; a
    server that cannot write, or is ending, is not ready; and a second SIGTERM ends server and party at once.
    """
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door, Federation(tmp_path) as sites:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(90)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        (tmp_path / "data" / "north.slow").write_text("600")
        server = sites.serve("--metrics", f"127.0.0.1:{port}", "--grace", "600", "--verbose")
        assert door.recv(100) == b"READY=1"
        parties = sites.join_all()
        assert [door.recv(100) for _ in parties] == [b"READY=1"] * 3
        server.wait_for("east sent", "west sent")
        for one in (server, parties["east"]):
            assert status_of(one.child.pid)["Umask"].strip() == "0077"
            assert re.search(r"Max core file size +0 +0 ", limits_of(one.child.pid))
        assert sites.run.folder.stat().st_mode & 0o077 == 0
        assert (tmp_path / "runs" / "hansa.sqlite").stat().st_mode & 0o077 == 0

        assert get(port, "/readyz")[0] == 200
        touched = sites.run.folder / "touched"
        touched.unlink()
        touched.mkdir()  # no file can be put there
        assert get(port, "/readyz") == (503, "not ready: its store cannot be written\n")
        touched.rmdir()
        assert get(port, "/readyz")[0] == 200

        _ends_at_the_second(parties["north"])
        server.signal()
        server.wait_for("no new round begins")
        assert get(port, "/readyz") == (503, "not ready: it is ending\n") and get(port, "/livez")[0] == 200
        server.signal()
        assert server.code(10) == -signal.SIGTERM
        parties["east"].wait_for("not reached")
        parties["east"].signal()  # whose server has gone does not wait for it
        assert parties["east"].code(20) == 0


def _ends_at_the_second(party: Process) -> None:
    """It finishes what it does at the first SIGTERM, and ends at the second."""
    party.signal()
    time.sleep(0.5)
    assert party.child.poll() is None
    party.signal()
    assert party.code(10) == -signal.SIGTERM


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P542", "P549")
def test_a_service_goes_on_with_its_run_and_begins_no_second_one(tmp_path: Path) -> None:
    """What is ended while it waits ends well; what is started again after a kill goes on; what is started again after
    the end says that it is over.
    """
    with Federation(tmp_path, rounds=40) as sites:
        server = sites.serve("--go-on")
        server.wait_for("Waiting for")
        server.signal()
        assert server.code(20) == 0 and "Go on with" in server.said
        sites.join_all()
        server = sites.serve("--go-on")
        server.wait_for("round  3/40")
        server.signal(signal.SIGKILL)
        server.code()
        assert sites.serve("--go-on").code() == 0 and len(sites.run.history()) == 40
        again = sites.serve("--go-on")
        assert again.code() == 0 and f"The run {sites.run.id}" in again.said
