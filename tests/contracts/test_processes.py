"""Processes: the bytes of one process, whatever the number of workers; and what happens when one does not answer."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts.running import forkserver, gone, group, pids, shared

import hansa as h
from hansa.messages import Request, SessionId
from hansa.plan import server
from hansa.runtimes.processes.sharedmemory import LARGEST, Sender, claims, receive, take

FEATURES, CLASSES = 12, 3


def federation(n: int = 9) -> dict[str, tuple[Any, Any]]:
    rng = h.Key.of(1).rng()
    W = rng.normal(size=(FEATURES, CLASSES))
    out = {}
    for i in range(n):
        A = rng.normal(size=(int(rng.integers(20, 60)), FEATURES)) + 0.5 * rng.normal(size=FEATURES)
        out[f"client-{i}"] = A, (A @ W).argmax(1)
    return out


DATA = federation()
MODEL = h.Softmax(FEATURES, CLASSES)
SECRET = h.Key.fresh()  # of all parties, for rounding grows from it


def clients(plan: h.Plan, data: dict[str, Any] = DATA) -> list[h.Client]:
    return [h.Client(who, plan, d, secret=SECRET) for who, d in data.items()]


def last(plan: h.Plan, runtime: Any, state: h.State | None = None) -> h.State:
    *_, end = h.synchronous(plan, runtime, state, SECRET)
    return end


@pytest.mark.promise("P47")
@pytest.mark.parametrize("algorithm", [h.FedAvg(h.Adam(0.1)), h.Scaffold(), h.Ditto()], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("pipe", [(h.Weigh("examples"),), (h.Clip(3.0, 10.0), h.Weigh("examples", 40), h.Quantize(30))])
def test_same_bytes_with_any_number_of_workers(
    algorithm: h.algorithms.Algorithm, pipe: tuple[h.transforms.Transform, ...]
) -> None:
    plan = h.Plan(MODEL, algorithm, pipe, sample=h.Uniform(6), training=h.Training(validation=0.2), rounds=4)
    one = h.InProcess(clients(plan)[::-1])
    expected = last(plan, one)
    for workers in (1, 3):
        runtime = h.Processes(clients(plan), workers)
        state = last(plan, runtime)
        assert state.x.tobytes() == expected.x.tobytes()
        assert (state.metrics, state.participants, state.excluded) == (
            expected.metrics,
            expected.participants,
            expected.excluded,
        )
        ours, theirs = runtime.memory.of(DATA), one.memory.of(DATA)
        assert ours.keys() == theirs.keys()
        for who, memo in ours.items():
            assert all(np.array_equal(memo[name], theirs[who][name]) for name in memo)
        runtime.close()


def test_same_bytes_for_a_torch_model() -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(FEATURES, 64), torch.nn.Dropout(0.3), torch.nn.Linear(64, CLASSES))
    model = h.TorchModel(net, lambda z, y: torch.nn.functional.cross_entropy(z, y))
    plan = h.Plan(model, rounds=2)
    expected = last(plan, h.InProcess(clients(plan))).x.tobytes()
    for workers in (1, 2):
        runtime = h.Processes(clients(plan), workers)
        assert last(plan, runtime).x.tobytes() == expected
        runtime.close()


def test_a_robust_rule_hears_every_vector() -> None:
    plan = h.Plan(MODEL, aggregator=h.Median(), rounds=2)
    runtime = h.Processes(clients(plan), 3)
    assert last(plan, runtime).x.tobytes() == last(plan, h.InProcess(clients(plan))).x.tobytes()
    runtime.close()


@pytest.mark.promise("P7")
def test_what_clients_remember_stays_in_no_worker() -> None:
    data = {f"c{i:02}": DATA["client-0"] for i in range(40)}
    plan = h.Plan(MODEL, h.Scaffold(), aggregator=h.Median(), sample=h.Uniform(3, quorum=3), rounds=60)
    runtime = h.Processes(clients(plan, data), 1)
    last(plan, runtime)
    assert len(os.listdir(f"/proc/{pids(runtime)[0]}/fd")) < 25  # of 40, each in another message
    runtime.close()


def test_what_clients_remember_goes_back_to_them() -> None:
    plan = h.Plan(MODEL, h.Scaffold(), rounds=4)
    whole = last(plan, h.InProcess(clients(plan)))
    first = h.Processes(clients(plan), 2)
    states = h.synchronous(plan, first)
    next(states)
    half = next(states)
    memory = first.memory.after(half.counted)
    first.close()
    second = h.Processes(clients(plan), 3)
    second.memory.load(memory)
    assert last(plan, second, half).x.tobytes() == whole.x.tobytes()
    second.close()


def test_what_is_committed_is_what_the_loop_has_heard() -> None:
    """Workers are ahead of the loop: what a client learns in a session that is not heard yet is not committed."""
    plan = h.Plan(MODEL, h.Scaffold(), rounds=4)
    runtime = h.Processes(clients(plan), 1)
    told = server.broadcast(plan, plan.start())
    runtime.send(Request(plan.digest, 0, SessionId(number=0), told, {"client-0": None}))
    first = runtime.receive()
    runtime.send(Request(plan.digest, 1, SessionId(number=1), told, {"client-0": None}))
    learnt = runtime.memory.learnt(["client-0"])["client-0"]["c"]
    while len(runtime.memory.book.pending["client-0"]) < 2:
        runtime._take(*(lambda worker, message: (worker.number, *message[1:]))(*runtime._hear()))
    assert np.array_equal(runtime.memory.learnt(["client-0"])["client-0"]["c"], learnt)
    second = runtime.receive()
    assert (first.session.number, second.session.number) == (0, 1)
    assert not np.array_equal(runtime.memory.learnt(["client-0"])["client-0"]["c"], learnt)
    runtime.close()


# ── any worker, any client ──


def ragged() -> dict[str, tuple[Any, Any]]:
    rng = h.Key.of(3).rng()
    sizes = (1500, 3, 700, 1, 40, 40, 2, 300)
    return {
        f"c{i}": (rng.normal(size=(n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n))
        for i, n in enumerate(sizes)
    }


class Dataset:
    """Data that no two workers share."""

    def __init__(self, data: Any):
        self.data = data

    def __len__(self) -> int:
        return len(self.data[1])

    def __getitem__(self, i: int) -> Any:
        return self.data[0][i], self.data[1][i]


def test_same_bytes_for_clients_of_all_sizes_and_kinds() -> None:
    data: dict[str, Any] = ragged()
    data["c2"], data["c5"] = Dataset(data["c2"]), dict(zip(("x", "y"), data["c5"], strict=True))
    data["c4"] = data["c4"][0][::-1, ::-1], data["c4"][1]  # has gaps in memory
    for aggregator in (h.Sum(), h.Median()):
        plan = h.Plan(MODEL, h.Scaffold(), aggregator=aggregator, rounds=3)
        expected = last(plan, h.InProcess(clients(plan, data)))
        for workers in (1, 2, 4) if aggregator == h.Sum() else (3,):
            runtime = h.Processes(clients(plan, data), workers)
            assert last(plan, runtime).x.tobytes() == expected.x.tobytes()
            assert last(plan, runtime).x.tobytes() == expected.x.tobytes()  # and again from the beginning
            runtime.close()


@dataclass(frozen=True)
class Noted(h.Softmax):
    """Writes down who trains what, in which order; one of 1,500 examples waits for all others."""

    file: str = ""
    wait: bool = False

    def train(self, x: Any, data: Any, training: Any, drift: Any, key: Any, *local: Any) -> h.models.TrainResult:
        until = time.monotonic() + 60
        while self.wait and len(data) == 1500 and len(trained(self.file)) < 7:
            assert time.monotonic() < until, "nobody else trains"
            time.sleep(0.01)
        with open(self.file, "a") as file:
            file.write(f"{os.getpid()} {len(data)}\n")
        return super().train(x, data, training, drift, key)


def trained(path: str) -> list[tuple[int, int]]:
    """(process, examples) in the order of their ends."""
    if not os.path.exists(path):
        return []
    return [(int(line.split()[0]), int(line.split()[1])) for line in open(path).read().splitlines()]


@pytest.mark.promise("P75")
def test_the_longest_first_and_the_rest_to_who_is_free(tmp_path: Path) -> None:
    plan = h.Plan(Noted(FEATURES, CLASSES, file=str(tmp_path / "notes"), wait=True), rounds=1)
    runtime = h.Processes(clients(plan, ragged()), 2)
    assert len(last(plan, runtime).participants) == 8
    *others, (alone, longest) = trained(plan.model.file)  # type: ignore[attr-defined]
    assert longest == 1500 and {pid for pid, _ in others} == set(pids(runtime)) - {alone}
    assert [n for _, n in others] == [700, 300, 40, 40, 3, 2, 1]
    runtime.close()


def test_memory_moves_with_the_client(tmp_path: Path) -> None:
    """In each round one of two workers is stopped, so all clients train where they did not train before."""
    plan = h.Plan(Noted(FEATURES, CLASSES, file=str(tmp_path / "notes")), h.Scaffold(), rounds=5)
    runtime = h.Processes(clients(plan, ragged()), 2)
    states, ours = h.synchronous(plan, runtime), pids(runtime)
    next(states)
    for i in (0, 1, 0, 1):
        os.kill(ours[i], signal.SIGSTOP)
        state = next(states)
        os.kill(ours[i], signal.SIGCONT)
    assert [pid for pid, _ in trained(plan.model.file)[8:]] == [ours[i] for i in (1, 0, 1, 0) for _ in range(8)]  # type: ignore[attr-defined]
    one = h.InProcess(clients(plan, ragged()))
    assert state.x.tobytes() == last(plan, one).x.tobytes()
    ours, theirs = runtime.memory.after(state.counted), one.memory.of(one.roster())
    assert {who: memo["c"].tobytes() for who, memo in ours.items()} == {
        who: memo["c"].tobytes() for who, memo in theirs.items()
    }
    runtime.close()


@pytest.mark.parametrize("more", [{}, {"algorithm": h.Scaffold()}, {"aggregator": h.Median()}], ids=str)
def test_a_population_is_made_in_the_workers(more: dict[str, Any]) -> None:
    parent = os.getpid()

    def data(i: int) -> Any:
        assert os.getpid() != parent or here, "made in the parent"
        rng = np.random.default_rng(i)
        return rng.normal(size=(1 + i % 50, FEATURES)), rng.integers(0, CLASSES, 1 + i % 50)

    plan = h.Plan(MODEL, sample=h.Uniform(12), rounds=3, **more)
    here = False
    runtime = h.Processes(h.Population(plan, 1_000_000, data), 2)
    state = last(plan, runtime)
    memory = runtime.memory.of(state.participants)
    runtime.close()
    here = True
    one = h.InProcess(h.Population(plan, 1_000_000, data))
    assert state.x.tobytes() == last(plan, one).x.tobytes()
    assert memory.keys() == one.memory.of(state.participants).keys()


# ── what it costs, and leaves ──


@dataclass(frozen=True)
class Writing(h.Softmax):
    def train(self, x: Any, data: Any, *rest: Any) -> h.models.TrainResult:
        data.arrays[0][0] = 0.0
        return super().train(x, data, *rest)


@pytest.mark.promise("P53")
def test_nobody_writes_into_what_all_share() -> None:
    plan = h.Plan(Writing(FEATURES, CLASSES), rounds=1)
    runtime = h.Processes(clients(plan), 1)
    with pytest.raises(RuntimeError, match="read-only"):
        last(plan, runtime)
    runtime.close()


def settled(most: int, runtime: h.Processes) -> None:
    """Workers close what they have read: so many descriptors stay open in each, fewer where others did its work."""
    until = time.monotonic() + 30
    while max(found := [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids(runtime)]) > most:
        assert time.monotonic() < until, f"workers have {found} open files, not {most}"
        time.sleep(0.02)


def memory(pid: int) -> dict[str, float]:
    """MiB of a process by kind: what it shares counts in part (Pss…), or in whole."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return {line.split()[0]: int(line.split()[1]) / 1024 for line in file if line.endswith("kB\n")}


def test_data_is_in_memory_once_and_no_message_stays() -> None:
    rng = h.Key.of(4).rng()
    data = {f"c{i:02}": (rng.normal(size=(1000, 128)), rng.integers(0, CLASSES, 1000)) for i in range(100)}
    training = h.Training(steps=1, validation=0.2)
    plan = h.Plan(h.Softmax(128, CLASSES), training=training, rounds=4)  # 100 MB
    there = len(os.listdir("/proc/self/fd"))
    runtime = h.Processes(clients(plan, data), 2)
    states = h.synchronous(plan, runtime)
    next(states)
    settled(3 + 1 + 2 + 1, runtime)  # the standard ones, the link; the data, to read and to let go; a reply
    list(states)
    settled(3 + 1 + 2 + 1, runtime)
    for pid in pids(runtime):
        own = memory(pid)
        assert own["Pss_Anon:"] < 60 < own["Pss_Anon:"] + 2 * own["Pss_Shmem:"]
    ours = shared([os.getpid(), forkserver(runtime), *pids(runtime)])
    runtime.close()
    assert not any(map(os.path.exists, ours)) and len(os.listdir("/proc/self/fd")) <= there


def net(**more: Any) -> h.TorchModel:
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Linear(FEATURES, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES)
    return h.TorchModel(torch.nn.Sequential(*layers), torch.nn.functional.cross_entropy, **more)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forks only on Linux")
def test_what_workers_import_is_in_memory_once() -> None:
    plan = h.Plan(net(), rounds=5)
    runtime = h.Processes(clients(plan), 3)
    last(plan, runtime)
    for pid in pids(runtime):
        own = memory(pid)
        assert own["Pss_Anon:"] < 0.7 * own["Anonymous:"] and own["Pss:"] < 0.5 * own["Rss:"]
    runtime.close()


def test_forks_may_compute_on_more_threads() -> None:
    plan = h.Plan(net(threads=2, compile=False), rounds=2)
    runtime = h.Processes(clients(plan), 2)
    assert last(plan, runtime).x.tobytes() == last(plan, h.InProcess(clients(plan))).x.tobytes()
    runtime.close()


@dataclass(frozen=True)
class Drawing(h.Softmax):
    """Writes down what its process draws from generators that nobody seeds."""

    folder: str = ""

    def train(self, *rest: Any) -> h.models.TrainResult:
        import random
        import tempfile
        import uuid

        file = Path(self.folder, str(os.getpid()))
        names = tempfile._get_candidate_names()  # type: ignore[attr-defined]
        if not file.exists():
            numpy = np.random.random(), np.random.default_rng().random()  # noqa: NPY002
            drawn = random.random(), *numpy, uuid.uuid4(), next(names)
            file.write_text(" ".join(map(str, (*drawn, h.Key.fresh().secret.hex()))))
        return super().train(*rest)


def test_no_two_workers_draw_the_same(tmp_path: Path) -> None:
    plan = h.Plan(Drawing(FEATURES, CLASSES, folder=str(tmp_path)), rounds=9)
    runtime = h.Processes(clients(plan), 3)
    last(plan, runtime)
    runtime.close()
    drawn = [file.read_text().split() for file in tmp_path.iterdir()]
    assert len(drawn) > 1 and all(len(set(kind)) == len(drawn) for kind in zip(*drawn, strict=True))


def alive(pid: int) -> bool:
    """Does a process still run? One that nobody has waited for is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_library_with_threads_is_not_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    plan = h.Plan(MODEL, rounds=40)  # in few rounds the other worker may do all, before anybody looks
    expected, found = last(plan, h.InProcess(clients(plan))), {}
    for threads in (False, True):
        if threads:
            monkeypatch.syspath_prepend(tmp_path)
        runtime = h.Processes(clients(plan), 2)
        assert last(plan, runtime).x.tobytes() == expected.x.tobytes()
        found[threads] = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (forkserver(runtime), *pids(runtime))]
        killed = pids(runtime)[1]
        os.kill(killed, signal.SIGKILL)
        while alive(killed):
            time.sleep(0.01)
        with pytest.raises(RuntimeError, match=r"Worker 1 of 2 died \(signal 9"):
            last(plan, runtime)
        runtime.close()
    assert len(set(found[False])) == (1 if sys.platform == "linux" else 3) and len(set(found[True])) == 3


# ── who does not answer ──


@dataclass(frozen=True)
class Slow(h.Softmax):
    seconds: float = 0.0

    def train(self, x: Any, data: Any, training: Any, drift: Any, key: Any, *local: Any) -> h.models.TrainResult:
        if len(data) == 7:
            time.sleep(self.seconds)
        return super().train(x, data, training, drift, key)


@pytest.mark.parametrize("aggregator", [h.Sum(), h.Median()])
def test_who_is_late_is_lost_and_the_next_round_goes_on(aggregator: h.aggregators.Aggregator) -> None:
    rng = h.Key.of(2).rng()
    data = {**DATA, "a-slow": (rng.normal(size=(7, FEATURES)), rng.integers(0, CLASSES, 7))}
    plan = h.Plan(Slow(FEATURES, CLASSES, 30.0), aggregator=aggregator, sample=h.Everyone(deadline=2.0), rounds=1)
    runtime = h.Processes(clients(plan, data), 2)
    begin = time.monotonic()
    state = last(plan, runtime)
    assert time.monotonic() - begin < 20
    assert state.excluded["a-slow"] == "late" and state.participants and not state.skipped
    runtime.close()


def test_who_is_late_takes_nobody_along_from_the_same_worker() -> None:
    rng = h.Key.of(2).rng()
    data = {**DATA, "z-slow": (rng.normal(size=(7, FEATURES)), rng.integers(0, CLASSES, 7))}
    plan = h.Plan(Slow(FEATURES, CLASSES, 30.0), sample=h.Everyone(deadline=5.0), rounds=1)
    runtime = h.Processes(clients(plan, data), 1)
    state = last(plan, runtime)
    assert state.excluded == {"z-slow": "late"} and state.participants == tuple(sorted(DATA))
    runtime.close()


def test_a_deadline_may_be_longer_than_clocks_count() -> None:
    plan = h.Plan(MODEL, sample=h.Everyone(deadline=1e15), rounds=1)
    runtime = h.Processes(clients(plan), 1)
    assert len(last(plan, runtime).participants) == len(DATA)
    runtime.close()


class Undone:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_what_a_worker_cannot_read_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    plan = h.Plan(MODEL, rounds=1)
    with pytest.raises(RuntimeError, match="exit code 1"):
        h.Processes([h.Client("anna", plan, (Undone(), DATA["client-0"][1]))], 1)
    assert "no number" in capfd.readouterr().err


def test_a_refusal_and_bad_data_are_counted_with_their_reasons(capfd: pytest.CaptureFixture[str]) -> None:
    data = {
        **DATA,
        "bad": (np.full((5, FEATURES), np.nan), np.zeros(5, int)),
        "none": (np.zeros((0, FEATURES)), np.zeros(0, int)),
    }
    plan = h.Plan(MODEL, rounds=1)
    people = clients(plan, data)
    people[0] = h.Client(people[0].who, plan, people[0].data, allow=h.Policy(min_cohort=5))
    runtime = h.Processes(people, 2)
    state = last(plan, runtime)
    assert state.excluded == {"bad": "data", "none": "data", people[0].who: "refused"}
    told = capfd.readouterr().err  # the workers' own words
    assert "bad: 5 of 5 rows" in told and "none: There are no examples." in told and "Its owner allows" in told
    assert set(state.participants) == set(data) - set(state.excluded)
    runtime.close()


@pytest.mark.parametrize("children", [signal.SIG_DFL, signal.SIG_IGN], ids=repr)
def test_a_dead_worker_is_named(children: signal.Handlers) -> None:
    """Also where the program does not want to hear of its children, which the workers' parent must."""
    before, plan = signal.signal(signal.SIGCHLD, children), h.Plan(MODEL, rounds=50)
    try:
        runtime = h.Processes(clients(plan), 2)
        states, leader = h.synchronous(plan, runtime), forkserver(runtime)
        next(states)
        os.kill(pids(runtime)[1], signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"Worker 1 of 2 died \(signal 9"):
            list(states)
        runtime.close()
        assert gone(leader)
    finally:
        signal.signal(signal.SIGCHLD, before)


@dataclass(frozen=True)
class Broken(h.Softmax):
    def train(self, *_: Any) -> h.models.TrainResult:
        raise ZeroDivisionError("the user's own mistake")


def test_a_bug_in_the_users_code_comes_back_with_its_traceback() -> None:
    plan = h.Plan(Broken(FEATURES, CLASSES), rounds=1)
    runtime = h.Processes(clients(plan), 2)
    with pytest.raises(RuntimeError, match="the user's own mistake") as error:
        last(plan, runtime)
    assert "in train" in str(error.value)
    runtime.close()


def test_a_plain_script_needs_no_guard_and_may_print(tmp_path: Any) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import numpy as np
        import hansa as h

        print("script runs")

        class Chatty(h.Softmax):
            def train(self, *a):
                print("training")
                return super().train(*a)

        plan = h.Plan(Chatty(4, 2), rounds=2)
        rng = h.Key.of(0).rng()
        people = [h.Client(f"c{i}", plan, (rng.normal(size=(9, 4)), rng.integers(0, 2, 9))) for i in range(4)]
        for state in h.synchronous(plan, h.Processes(people, 2)):
            print("round", state.round, len(state.participants))
    """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["script runs", "round 1 4", "round 2 4"]
    assert done.stderr.count("training") == 8


PARENT = """
import os, signal, sys
import numpy as np
import hansa as h
from tests.contracts.running import pids, shared, forkserver

plan = h.Plan(h.Softmax(4, 2), rounds=1)
people = [h.Client(f"c{i}", plan, (np.ones((9, 4)), np.arange(9) % 2)) for i in range(4)]
runtime = h.Processes(people, 2)
next(h.synchronous(plan, runtime))
print(forkserver(runtime), *pids(runtime))
print(*shared([os.getpid(), forkserver(runtime), *pids(runtime)]), flush=True)
who = {"forkserver": forkserver(runtime), "worker": pids(runtime)[0]}
for one in sys.argv[2:]:
    os.kill(who[one], getattr(signal, sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "before",
    [(), ("SIGKILL", "forkserver"), ("SIGKILL", "worker"), ("SIGKILL", "forkserver", "worker"), ("SIGSTOP", "worker")],
    ids=" ".join,
)
def test_workers_end_with_their_parent(before: tuple[str, ...]) -> None:
    """By `kill -9`, whoever was killed or stopped before it."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    command = [sys.executable, "-c", PARENT, *before]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == -signal.SIGKILL, done.stderr
    processes, memory = done.stdout.splitlines()
    leader, *workers = map(int, processes.split())
    assert len(workers) == 2 and gone(leader), f"{group(leader)} outlive their parent"
    assert not any(map(os.path.exists, memory.split()))


def test_shared_memory_is_looked_for_where_processes_are() -> None:
    """Open or mapped it is found; what another program has is not."""
    memory = SharedMemory(create=True, size=8)
    try:
        assert shared([os.getpid()]) >= {f"/dev/shm/{memory.name}"}
        with subprocess.Popen(["sleep", "60"]) as other:
            assert shared([other.pid]) == set()
            other.kill()
    finally:
        memory.close()
        memory.unlink()


def test_the_death_of_who_started_the_workers_is_told_and_takes_them_along() -> None:
    plan = h.Plan(MODEL, rounds=50)
    runtime = h.Processes(clients(plan), 2)
    states = h.synchronous(plan, runtime)
    next(states)
    leader = forkserver(runtime)
    os.kill(leader, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"The process that started the workers died \(signal 9\)"):
        list(states)
    assert gone(leader)
    runtime.close()


def test_closing_ends_stopped_workers_and_what_clients_started(tmp_path: Path) -> None:
    plan = h.Plan(Starting(FEATURES, CLASSES), rounds=1)
    runtime = h.Processes(clients(plan), 2)
    last(plan, runtime)
    leader = forkserver(runtime)
    assert len(group(leader)) == 3 + len(DATA)
    os.kill(pids(runtime)[1], signal.SIGSTOP)
    runtime.close()
    assert gone(leader)


@dataclass(frozen=True)
class Starting(h.Softmax):
    def train(self, *rest: Any) -> h.models.TrainResult:
        subprocess.Popen(["sleep", "1000"])
        return super().train(*rest)


def test_wrong_numbers_of_workers() -> None:
    plan = h.Plan(MODEL, rounds=1)
    with pytest.raises(h.errors.PlanError, match="nobody to work"):
        h.Processes(clients(plan), 0)
    with pytest.raises(h.errors.PlanError, match="no clients"):
        h.Processes([], 2)


# --- messages ---


def received(link: socket.socket) -> tuple[Any, int]:
    """The next message, and the memory that it lies in."""
    memory = receive(link)
    assert memory is not None
    message, which = take(memory), os.fstat(memory).st_ino
    os.close(memory)
    return message, which


def test_a_sender_writes_over_what_nobody_reads_any_more() -> None:
    """And over nothing else: an array that a reader still holds stays as it is, whatever comes after it."""
    sender, ends = Sender(), [socket.socketpair() for _ in range(2)]
    links, readers = zip(*ends, strict=True)
    rng, used = np.random.default_rng(0), list[int]()
    held: list[Any] = [None, None]
    for i in range(40):
        v = rng.normal(size=int(rng.integers(5_000, 9_000)))
        sender.send(links, ("round", i, v))
        for who, link in enumerate(readers):
            before = None if held[who] is None else held[who].copy()
            (word, number, array), which = received(link)
            assert (word, number) == ("round", i) and (array == v).all() and not array.flags.writeable
            assert before is None or (held[who] == before).all()
            if rng.random() < 0.5:  # this reader goes on with the new one, or keeps the old
                held[who] = array
            del array
        used.append(which)
    assert len(set(used)) < 20  # it was written over often,
    held = []
    sender.send(links, v)
    assert {received(link)[1] for link in readers} <= set(used)  # and is once more
    sender.close()


CLAIMS = """
import sys
from hansa.runtimes.processes.sharedmemory import claims
print(*claims(int(sys.argv[1]), [str(i) for i in range(3000)]))
"""


def test_each_task_is_claimed_once_and_a_stopped_process_holds_up_no_other() -> None:
    sender, (link, reader) = Sender(), socket.socketpair()
    sender.send([link], "tasks", 3000)
    memory = receive(reader)
    assert memory is not None
    first = os.fstat(memory).st_size - 3000
    if not (child := os.fork()):  # as if it were stopped while it claims task 7
        fcntl.lockf(memory, fcntl.LOCK_EX, 1, first + 7)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    command = [sys.executable, "-c", CLAIMS, str(memory)]
    workers = [subprocess.Popen(command, pass_fds=[memory], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    claimed = [int(task) for worker in workers for task in worker.communicate(timeout=60)[0].split()]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(memory)
    assert sorted(claimed) == [i for i in range(3000) if i != 7]


def test_a_forked_process_lets_go_of_nothing_for_its_reader() -> None:
    sender, (link, reader) = Sender(), socket.socketpair()
    v = np.arange(1000.0)
    sender.send([link], v)
    held, _ = received(reader)
    if not (child := os.fork()):
        del held
        os._exit(0)
    os.waitpid(child, 0)
    sender.send([link], -v)
    assert (held == v).all()
    sender.close()


def test_a_reader_that_stops_while_it_lets_go_holds_up_no_other() -> None:
    sender, (link, reader) = Sender(), socket.socketpair()
    sender.send([link, link], np.arange(1000.0))
    held, _ = received(reader)
    memory = receive(reader)
    assert memory is not None
    program = f"import fcntl; fcntl.lockf({memory}, fcntl.LOCK_EX, 8, 8); print(flush=True); input()"
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": [memory]}
    with subprocess.Popen(["timeout", "20", sys.executable, "-c", program], **how) as other:  # type: ignore[call-overload]
        other.stdout.readline()
        del held
        assert other.poll() is None  # it has the lock still
        other.communicate(b"\n")
    os.close(memory)
    sender.close()


def test_tasks_of_a_message_without_arrays_are_claimed_once() -> None:
    sender, (link, reader) = Sender(), socket.socketpair()
    sender.send([link], "a task", 3)
    memory = receive(reader)
    assert memory is not None and take(memory) == "a task"
    tasks = claims(memory, "abc")
    assert next(tasks) == "a"
    sender.send([link], "b task", 3)  # while it is at work
    assert list(tasks) == ["b", "c"]
    os.close(memory)
    sender.close()


def test_large_and_much_smaller_messages_take_memory_of_their_own() -> None:
    sender, (link, reader) = Sender(), socket.socketpair()
    sizes = (LARGEST // 8 + 1000, 1000, LARGEST // 8 + 1000, 100_000, 1100, 100_000)
    places = []
    for size in sizes:
        sender.send([link], np.full(size, float(size)))
        found, which = received(reader)
        assert found.shape == (size,) and (found == size).all()
        places.append(which)
        del found
    assert places[4] == places[1] and places[5] == places[3] and len(sender._sent) == 2
    sender.close()
