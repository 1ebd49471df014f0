"""What approved code tries beside keys: in its worker it reaches neither them, nor the network, nor its agent."""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hostile import AGENT, REFUSED, Hostile

from hansa import Key, sandbox
from hansa.crypto.identity import Identity
from hansa.errors import AppError, ProtocolError, WorkerError
from hansa.plan.outline import Outline
from hansa.plan.pieces import read
from hansa.runtimes.sites import quota
from hansa.runtimes.sites.agent import Agent
from hansa.runtimes.sites.quota import LOOK, Limits, Quota
from hansa.runtimes.sites.talk import receive
from hansa.runtimes.sites.worker import SHOWN

pytestmark = pytest.mark.skipif(
    bool(sandbox.fault()) and "CI" not in os.environ, reason=f"there is no sandbox: {sandbox.fault()}"
)
PASSWORD = "pass-word-471123"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """One worker for all that does not end it."""
    os.environ["HANSA_STORE"] = f"postgresql://hansa:{PASSWORD}@db/runs"
    made = Hostile(tmp_path_factory.mktemp("site"), limits=Limits(memory=6 * 2**30))
    del os.environ["HANSA_STORE"]
    yield made
    made.worker.close()
    assert not list((made.kit / "scratch").iterdir()) and not list((made.kit / "apps").iterdir())


# ── the network ──


@pytest.mark.promise("P550")
@pytest.mark.guards("a worker has no network")
@pytest.mark.parametrize("how", ["call", "in a thread"])
def test_no_byte_leaves_by_the_network(hostile: Hostile, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        assert hostile.tries(how, door.getsockname()[1]) in REFUSED
        door.settimeout(0.1)
        with pytest.raises(TimeoutError):
            door.accept()


@pytest.mark.promise("P550")
@pytest.mark.guards("a worker has no network")
def test_no_byte_leaves_by_a_local_socket(hostile: Hostile, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "door"))
        door.listen()
        assert hostile.tries("local", str(tmp_path / "door")) in REFUSED


@pytest.mark.promise("P550")
@pytest.mark.guards("a worker's pair of sockets leads nowhere else")
def test_no_byte_leaves_by_one_end_of_a_pair(hostile: Hostile, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "door"))
        assert hostile.tries("datagram", str(tmp_path / "door")) in REFUSED


@pytest.mark.promise("P550")
@pytest.mark.control("a kernel without such calls refuses them as well")
def test_other_numbers_of_calls_lead_to_no_socket(hostile: Hostile) -> None:
    assert hostile.tries("32 bits") == -1


# ── the kit, and all other files ──


@pytest.mark.promise("P551")
@pytest.mark.guards("a worker reads no key")
def test_the_kit_is_not_read(hostile: Hostile) -> None:
    assert hostile.tries("read", str(hostile.secret)) in REFUSED
    assert hostile.tries("list", str(hostile.kit)) in REFUSED
    assert hostile.tries("read", "/etc/shadow") in REFUSED
    assert hostile.tries("list", os.path.expanduser("~")) in REFUSED


@pytest.mark.promise("P551")
@pytest.mark.guards("a worker writes to its own folder alone")
def test_nothing_is_written_but_to_its_own_folder(hostile: Hostile, tmp_path: Path) -> None:
    here, home, app, _ = hostile.tries("where")
    assert here == home and Path(here).parent == hostile.kit / "scratch"
    assert hostile.tries("write", here + "/notes") is None
    for path in (hostile.kit / "planted", hostile.data, tmp_path / "x", Path(app) / "numpy.py", "/dev/shm/x"):
        assert hostile.tries("write", str(path)) in REFUSED, path
        assert not Path(path).exists() or path == hostile.data
    for how in ("shorten", "truncate", "rename", "unlink"):
        assert hostile.tries(how, str(hostile.secret)) in REFUSED, how
    assert hostile.secret.read_text() == "forty-two"


@pytest.mark.promise("P551")
@pytest.mark.guards("a worker opens no file to others")
def test_the_kit_is_not_opened_to_others(hostile: Hostile) -> None:
    before = hostile.kit.stat().st_mode
    assert hostile.tries("chmod", str(hostile.kit)) in REFUSED
    assert hostile.kit.stat().st_mode == before


@pytest.mark.promise("P551")
@pytest.mark.guards("a kit is not shown as data")
@pytest.mark.parametrize("given", ["data", "reads"])
def test_a_kit_below_what_may_be_read_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(AppError, match="The kit lies in"):
        Hostile(tmp_path, reads=(tmp_path,)) if given == "reads" else _with_data(tmp_path)


def _with_data(folder: Path) -> None:
    """The folder above the kit, as data."""
    from dataclasses import replace

    from hansa.runtimes.sites.worker import Worker

    made = Hostile(folder)
    try:
        Worker(replace(made.worker.place, data=folder))
    finally:
        made.worker.close()


# ── the agent, and other processes ──


@pytest.mark.promise("P551")
@pytest.mark.control("Landlock and missing capabilities each keep it alone, and so does an agent that is hardened")
def test_the_memory_of_the_agent_is_not_read(hostile: Hostile) -> None:
    for name in ("mem", "environ", "maps", "cmdline"):
        assert hostile.tries("starter", name) in REFUSED, name
    assert hostile.tries("traced") == -1


@pytest.mark.promise("P552")
@pytest.mark.guards("a worker signals nobody")
def test_nobody_is_signalled(hostile: Hostile) -> None:
    assert hostile.tries("signal") in REFUSED


@pytest.mark.promise("P552")
@pytest.mark.guards("a worker limits nobody")
def test_nobody_is_limited(hostile: Hostile) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = hostile.tries("limits", before[0] - 1, before[1])
    after = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found in REFUSED and after == before


@pytest.mark.promise("P552")
@pytest.mark.guards("a worker is one process")
def test_no_process_is_started_that_could_stay_behind(hostile: Hostile) -> None:
    for how in ("fork", "spawn", "exec"):
        assert hostile.tries(how) in REFUSED, how


@pytest.mark.promise("P551")
@pytest.mark.guards("a worker knows little of its agent")
def test_the_environment_of_the_agent_is_not_passed_on(hostile: Hostile) -> None:
    assert hostile.tries("environ", PASSWORD) is False and hostile.tries("environ", "MPLCONFIGDIR") is True
    assert hostile.tries("files") <= 6  # in, out, err, the link, and what lists them


# ── what it uses ──


@pytest.mark.promise("P552")
@pytest.mark.guards("a worker has so much memory")
def test_memory_has_an_end(hostile: Hostile) -> None:
    assert hostile.tries("memory", 7 * 2**30) == {"error": "MemoryError", "errno": None}
    assert hostile.tries("memory", 2**20) == 2**20


@pytest.mark.promise("P552")
@pytest.mark.guards("a worker's shared memory has an end")
def test_memory_that_is_called_shared_has_an_end(tmp_path: Path) -> None:
    """The kernel's limit is on what a process has for itself."""
    made = Hostile(tmp_path, limits=Limits(memory=2**30))
    with pytest.raises(WorkerError, match=r"has [\d.]+ GB of shared memory, of 1.07 GB, and was ended"):
        made.tries("share", 2**30 + 2**28)
    made.worker.close()


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """A worker that may write 16 MiB."""
    made = Hostile(tmp_path_factory.mktemp("writer"), limits=Limits(written=2**24))
    yield made
    made.worker.close()


@pytest.mark.promise("P578")
@pytest.mark.guards("a worker's folder has an end")
@pytest.mark.parametrize("how", ["named", "unlinked", "mapped"])
def test_a_worker_fills_no_disk(writer: Hostile, how: str) -> None:
    """It is ended, with one line that says why, and its folder goes with it."""
    with pytest.raises(WorkerError, match=r"has written [\d.]+ MB, of 16.8 MB, and was ended"):
        writer.tries("fill", 6, 2**22, how)
    assert not list((writer.kit / "scratch").iterdir())
    assert writer.tries("memory", 1) == 1


@pytest.mark.promise("P578")
@pytest.mark.guards("what is mapped and not open is not hidden", "what a path cannot say is not hidden")
@pytest.mark.parametrize(
    ("how", "why"),
    [
        (("peep", 6, 2**22), r"has mapped peep-\d, which it has deleted and closed, so that nobody sees"),
        (("dig", 6, 2**22, 30), "shows nobody what it has written, and was ended"),
    ],
    ids=["one page of each", "further than a path"],
)
def test_a_worker_fills_no_disk_where_nobody_sees_how_much(tmp_path: Path, how: tuple[Any, ...], why: str) -> None:
    made = Hostile(tmp_path, limits=Limits(written=2**24))
    with pytest.raises(WorkerError, match=why):
        made.tries(*how)
    assert not list((made.kit / "scratch").iterdir())
    made.worker.close()


def mapped(path: Path) -> mmap.mmap:
    """A file that was written, mapped, closed and deleted."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(8192))
    with open(path, "rb") as file:
        found = mmap.mmap(os.dup(file.fileno()), 0, prot=mmap.PROT_READ)
    path.unlink()
    return found


@pytest.mark.promise("P578")
@pytest.mark.guards("a name is not two lines", "a folder is looked at as the kernel names it")
@pytest.mark.parametrize("name", ["pe\x0cep", "re\rturn", "a\x0cb/c", "x\u2028y", "n\new", "a  b"])
def test_no_name_hides_what_is_mapped(tmp_path: Path, name: str) -> None:
    """Names that lines are broken at, and a kit that a link leads to."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    with mapped(real / name):
        _, found = quota.holds(os.getpid(), tmp_path / "link")
    assert len(found) == 1


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    null = subprocess.DEVNULL
    with subprocess.Popen(["/bin/sleep", "60"], stdin=null, stdout=null, stderr=null) as one:
        yield one
        one.kill()


@pytest.mark.promise("P578")
@pytest.mark.guards("where nobody looks any more a worker is ended", "who is not seen for long is ended")
@pytest.mark.parametrize("error", [ValueError("odd"), OSError(errno.EMFILE, "too many")])
def test_who_is_not_looked_at_is_ended(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*about: object) -> str:
        raise error

    monkeypatch.setattr(quota, "LOOK", 0.01)
    monkeypatch.setattr(Quota, "_look", fails)
    one = Quota(Limits(written=1))
    one.watch(sleeper, tmp_path)
    sleeper.wait(10)
    assert "nobody knows how much" in one.passed


@pytest.mark.promise("P578")
@pytest.mark.control("an honest worker is not ended for what its agent lacks")
def test_who_is_not_seen_for_a_moment_lives_on(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[OSError] = [OSError(number, "") for number in (errno.EMFILE, errno.EIO, errno.ESTALE)]
    seen = threading.Event()

    def looks(*about: object) -> str:
        if found:
            raise found.pop()
        seen.set()
        return ""

    monkeypatch.setattr(quota, "LOOK", 0.01)
    monkeypatch.setattr(Quota, "_look", looks)
    Quota(Limits(written=1)).watch(sleeper, tmp_path)
    assert seen.wait(10) and sleeper.poll() is None


@pytest.mark.promise("P578")
@pytest.mark.guards("a folder has so many names")
def test_a_folder_has_so_many_names(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is one file: who looks would be busy with them while the disk is filled."""
    monkeypatch.setattr(quota, "NAMES", 10)
    (tmp_path / "one").touch()
    for i in range(9):
        (tmp_path / f"name-{i}").hardlink_to(tmp_path / "one")
    assert not Quota(Limits(written=2**20))._look(sleeper.pid, tmp_path)
    (tmp_path / "more").hardlink_to(tmp_path / "one")
    assert "more than 10 files" in Quota(Limits(written=2**20))._look(sleeper.pid, tmp_path)


@pytest.mark.promise("P578")
@pytest.mark.guards("no rule holds a file")
def test_no_rule_holds_a_file_that_nobody_counts(hostile: Hostile) -> None:
    assert hostile.tries("rules") == -1


@pytest.mark.promise("P578")
@pytest.mark.guards("a disk is not filled at once")
def test_room_is_written_and_not_reserved(hostile: Hostile) -> None:
    """Else it would have all of the disk between two looks; who needs room for a file gets it all the same."""
    assert hostile.tries("reserve", 2**16) == [-1, 2**16]


@pytest.mark.promise("P578")
@pytest.mark.control("it is as on an older kernel, which has no such call")
def test_there_is_no_file_in_memory(hostile: Hostile) -> None:
    assert hostile.tries("memfd") == -1


@pytest.mark.promise("P578")
@pytest.mark.control("who counts goes as deep as a path leads, so that there is nothing to take away")
def test_a_folder_is_looked_at_however_deep_it_is(tmp_path: Path) -> None:
    """In folders a thousand deep who counts would end itself, and nobody would count any more."""
    made = Hostile(tmp_path, limits=Limits(written=2**25))
    with pytest.raises(WorkerError, match="has written"):
        made.tries("dig", 6, 2**23, 1500, "d")
    assert not list((made.kit / "scratch").iterdir())  # nor does who deletes it
    made.worker.close()


@pytest.mark.promise("P578")
@pytest.mark.guards("a worker does not hide what it has open")
def test_a_worker_does_not_hide_what_it_has_open(hostile: Hostile) -> None:
    assert hostile.tries("hidden") == -1


@pytest.mark.promise("P578")
@pytest.mark.guards("a worker's threads have the same files")
def test_no_thread_has_files_of_its_own(hostile: Hostile) -> None:
    assert hostile.tries("apart") == -1


@pytest.mark.promise("P578")
@pytest.mark.guards("no thread parts with the files of the others")
def test_no_thread_parts_with_the_files_of_the_others(hostile: Hostile) -> None:
    assert hostile.tries("apart later") == -1


@pytest.mark.promise("P578")
@pytest.mark.guards("no file is on its way between a worker's own sockets")
def test_no_file_is_on_its_way_where_nobody_counts_it(writer: Hostile) -> None:
    """Deleted, closed, and in a message to itself that it does not take: it would fill the disk unseen."""
    assert writer.tries("fill", 6, 2**22, "in flight") in REFUSED


HIDES = """
import ctypes, os, struct, time
libc = ctypes.CDLL(None)
assert libc.capset(struct.pack("<Ii", 0x20080522, 0), bytes(24)) == 0
print("here", flush=True)
input()
{}
time.sleep(60)
"""


@pytest.mark.promise("P578")
@pytest.mark.guards("who hides from its agent is ended")
@pytest.mark.parametrize("how", ["libc.prctl(4, 0, 0, 0, 0)", "os.mkdir('hidden', 0o300)"])
def test_who_hides_from_its_agent_is_ended(tmp_path: Path, how: str) -> None:
    """Else it would fill the disk where nobody counts. The agent is no root here, nor who hides."""
    own = Quota(Limits(written=2**24))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HIDES.format(how)], cwd=tmp_path, stdin=pipe, stdout=pipe, text=True
    ) as one:
        assert one.stdin and one.stdout and one.stdout.readline() == "here\n"
        watch = threading.Thread(target=lambda: (_plain(), own.watch(one, tmp_path)))
        watch.start()
        watch.join()
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                one.wait(4 * LOOK)  # who hides nothing lives on
            print(file=one.stdin, flush=True)
            one.wait(20)
        finally:
            one.kill()
    assert own.passed == "shows nobody what it has written, and was ended"


def _plain() -> None:
    """Let this thread, and those that it starts, see no more than any user does."""
    header = struct.pack("<Ii", 0x20080522, 0)
    assert ctypes.CDLL(None).capset(header, bytes(24)) == 0


@pytest.mark.promise("P578")
@pytest.mark.guards("a worker's file has an end")
def test_a_file_of_a_worker_has_an_end(writer: Hostile) -> None:
    assert writer.tries("far", 2**24) == {"error": "OSError", "errno": errno.EFBIG}
    assert writer.tries("far", 2**24 - 1) == 1  # one block on the disk, so it is not ended for these


@pytest.mark.promise("P553")
@pytest.mark.guards("what a worker prints has an end")
def test_what_is_printed_without_end_is_not_kept(hostile: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hansa.sites"):
        hostile.tries("print", 2000)
        hostile.tries("print without end", 2**22)
        until = time.monotonic() + 20
        while caplog.text.count("not shown") < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert 0 < len(caplog.text) < 4 * SHOWN


# ── what it says ──


@pytest.mark.promise("P553")
@pytest.mark.guards("what a worker says has an end")
def test_a_length_without_end_is_not_waited_for() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(struct.pack("<QQ", 1, 2**40))
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(ProtocolError, match="are expected here"):
            receive(other, 2**20)


@pytest.mark.promise("P553")
@pytest.mark.guards("garbage ends its worker")
@pytest.mark.parametrize("data", ["ff" * 16, struct.pack("<QQ", 1, 16).hex() + "ab" * 16])
def test_garbage_ends_the_worker_alone(hostile: Hostile, data: str) -> None:
    with pytest.raises(WorkerError, match="what no worker says"):
        hostile.tries("garbage", data)
    assert hostile.tries("memory", 1) == 1


@pytest.mark.promise("P553")
@pytest.mark.guards("a worker answers what was asked")
def test_an_answer_to_nothing_is_none(hostile: Hostile) -> None:
    """Else each question would get the answer that was made up for it before it was asked."""
    with pytest.raises(WorkerError, match="what was not asked"):
        hostile.tries("say", 2**40, {"answer": {"examples": 9, "sha256": ""}})


@pytest.mark.promise("P553")
@pytest.mark.control("that it dies is no attack; that the next question is answered is a contract")
@pytest.mark.parametrize("how", [("die", 9), ("exit",), ("hang up",)])
def test_who_dies_is_replaced(hostile: Hostile, how: tuple[Any, ...]) -> None:
    """At once, with a folder of its own, and nothing of it stays."""
    here, *_, pid = hostile.tries("where")
    with pytest.raises(WorkerError, match=r"ended by SIG|with the code 7|answers no more"):
        hostile.tries(*how)
    again, *_, other = hostile.tries("where")
    assert pid != other and not Path(here).exists() and Path(again).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.promise("P553")
@pytest.mark.parametrize(
    "told",
    [
        7,
        {},
        {"of": "subprocess:Popen", "fields": {"args": ["true"]}},
        {"of": "hansa.parties.policy:Policy", "fields": {}},
        {"of": "hansa.transforms:Context", "fields": {}},
        {"of": "hansa.transforms.scale:Clip", "fields": {"norms": 1.0}},
        {"of": "hansa.transforms.scale:np", "fields": {}},
    ],
)
@pytest.mark.guards("a plan is described by hansa's own pieces")
def test_what_describes_no_plan_is_refused(told: Any) -> None:
    with pytest.raises(ProtocolError):
        Outline.of(told)
    if isinstance(told, dict):
        with pytest.raises(ProtocolError, match="described by"):
            read(told)


# ── secrets ──


@pytest.mark.promise("P555")
@pytest.mark.guards("a secret that an app names is not taken")
def test_an_app_does_not_name_the_secret_of_a_party(tmp_path: Path) -> None:
    class Told:
        def ask(self, what: str, **more: Any) -> Any:
            return {"first": "", "plan": "", "secret": b"7" * 32, "prepares": False}

    agent = Agent(Told(), Identity.fresh("north", "client"), {}, Key.fresh())  # type: ignore[arg-type]
    with pytest.raises(AppError, match="names a secret"):
        agent.about()


@pytest.mark.promise("P552")
@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
@pytest.mark.guards("a worker dies with its agent")
def test_who_hangs_up_dies_with_its_agent(tmp_path: Path) -> None:
    """Its agent is killed while the worker has closed the link, and asks to live on."""
    with subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        worker = int(agent.stdout.readline())
        while not list(tmp_path.glob("kit/scratch/*/hung")):
            assert agent.poll() is None
            time.sleep(0.01)
        agent.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    gone = not Path(f"/proc/{worker}").exists()
    if not gone:
        os.kill(worker, signal.SIGKILL)
    assert gone
