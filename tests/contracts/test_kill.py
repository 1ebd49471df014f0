"""A run that is killed at any instant, and resumed, ends with the bytes of one that was never interrupted.

HANSA_KILLS says how many kills at random instants there are (6 where it is not set); and at five times as many lines of
the store's own code one commit is killed. What a run leaves in its folder is compared, name by name and byte by byte.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansa import (
    Adam,
    Client,
    InProcess,
    Key,
    Network,
    Plan,
    Processes,
    Scaffold,
    Softmax,
    Store,
    Sum,
    Training,
    Weigh,
    synchronous,
)
from hansa.errors import RoundError

KILLS = int(os.environ.get("HANSA_KILLS", "6"))
PATIENCE = 120  # seconds until a child that says nothing counts as stuck

# Everything that must survive is in this plan: the server's memory (Adam's and SCAFFOLD's), that of a transform (the
# clip), that of clients, of whom each round changes another few, a network that loses replies, and the secret that
# noise, rounding and the cohorts grow from: it is drawn before the first round, by a generator that fails later.
PROGRAM = """
from dataclasses import replace
import os, random, shutil, signal, sys
from pathlib import Path
from types import SimpleNamespace
from hansa import Adam, AdaptiveClip, Client, InProcess, Key, Network, Plan, Quantize, Scaffold, SkellamNoise, Softmax
from hansa import Store, Training, Uniform, Weigh, synchronous
from hansa.store import files

KEY = Key.of(5)
W = KEY.child("W").normal((12, 4))

def examples(who):
    A = KEY.child(who).normal((24, 12)) + KEY.child(who, "shift").normal((12,))
    return A, (A @ W).argmax(1)

plan = Plan(
    Softmax(12, 4), Scaffold(Adam(0.05)), pipe=(AdaptiveClip(0.5, side=10.0), Weigh("examples", cap=20), Quantize(24),
    SkellamNoise(0.05)),
    training=Training(epochs=1, batch=8, validation=0.2), sample=Uniform(4, quorum=3), rounds=ROUNDS, seed=3,
)

def life(folder, url, stop=plan.rounds, mark=lambda what: None):
    # Begin the run, or go on with it, and end after round `stop`.
    store = Store(folder, url or None)
    found = [row.id for row in store.runs() if row.app == folder or not url]
    mark("resume")
    run = store.resume(found[0]) if found else store.new(repr(plan), plan.digest, folder, {}, plan.rounds)
    assert run.digest == plan.digest
    over = len(run.history()) in (0, plan.rounds)  # killed in its end, a run is ended once more
    files.secrets = SimpleNamespace(token_bytes=lambda n: bytes(n) if over else None)
    secret = run.secret()
    clients = [Client(who, plan, examples(who), secret=secret) for who in "abcdefghij"]
    runtime = InProcess(clients, Network(drop=0.2))
    runtime.memory.load(run.memory())
    for state in synchronous(plan, runtime, run.state(), secret):
        mark("commit")
        state = replace(state, scores={"who": len(state.participants)})
        best = state.round - state.round % 4
        run.commit(state, runtime.memory.learnt(state.counted), best)
        mark("")
        if state.round == stop:
            break
    assert [row.round for row in run.history()] == list(range(1, stop + 1))
    run.finish("done" if stop == plan.rounds else "stopped")
"""

RUN = PROGRAM.replace("ROUNDS", "25") + "print('ready', flush=True)\nlife(*sys.argv[1:])\n"

# Without a server there is the mail that is on its way, what waits for peers that were lost, and what each remembers.
AMONG_PEERS = """
from pathlib import Path
import sys
from hansa import Choco, Client, Clip, GaussianNoise, InProcess, Key, Network, Plan, Scaffold, Softmax, Store, Sum
from hansa import MaskedSum, Neighbourhoods, Torus, Training, Weigh, gossip

KEY = Key.of(5)
algorithm, aggregator = {
    "tracking": (Scaffold(), Sum()),
    "compressed": (None, Choco(0.3, 0.5)),
    "hidden": (None, Neighbourhoods(MaskedSum(), graph=Torus(), reach=50.0)),
}[KIND]
plan = Plan(
    Softmax(12, 4), *filter(None, [algorithm]), aggregator=aggregator,
    pipe=(Clip(0.5, side=10.0), Weigh("one"), GaussianNoise(0.3, by="each")),
    training=Training(epochs=1, batch=8, validation=0.2), rounds=25, seed=3,
)
print("ready", flush=True)
folder = sys.argv[1]
store = Store(folder)
found = [row.id for row in store.runs()]
run = store.resume(found[0]) if found else store.new(repr(plan), plan.digest, folder, {}, plan.rounds)
clients = [Client(w, plan, (KEY.child(w).normal((24, 12)), KEY.integers(24) % 4), secret=KEY) for w in "abcdefghi"]
runtime = InProcess(clients, Network(drop=0.05 if KIND == "hidden" else 0.2), secret=KEY)
runtime.memory.load(run.memory())
for state in gossip(plan, runtime, run.state(), KEY, graph=Torus()):
    run.commit(state, runtime.memory.learnt(state.counted), state.round - state.round % 4)
assert [row.round for row in run.history()] == list(range(1, plan.rounds + 1))
run.finish("done")
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def one_life(folder: Path, url: str, seconds: float | None = None, program: str = RUN) -> tuple[bool, float]:
    """Run the program until it ends or `seconds` have passed; was it killed, and how long did it live?"""
    with start(program, folder, url) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n", child.stderr and child.stderr.read()
        began = time.perf_counter()
        try:
            child.wait(PATIENCE if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            assert seconds is not None, "the child is stuck"
            child.send_signal(signal.SIGKILL)
            child.wait()
        lived = time.perf_counter() - began
        assert child.returncode in (0, -signal.SIGKILL), child.stderr and child.stderr.read()
        return child.returncode != 0, lived


def left(folder: Path) -> dict[str, bytes]:
    """The files of the only run in a folder, by name: checkpoints, memories, and nothing half-written."""
    (run,) = (path for path in folder.iterdir() if any(path.glob("*state*")))
    return {path.name: path.read_bytes() for path in run.iterdir() if path.name != "lock"}


def kill_and_compare(folder: Path, url: str, kills: int, program: str = RUN) -> None:
    """Kill runs until there were `kills` kills; every run must end as the first does, which is left alone."""
    seed = random.SystemRandom().randrange(10**6)
    killed, seconds = one_life(folder / "whole", url, program=program)
    assert not killed
    whole, done, draw = left(folder / "whole"), 0, random.Random(seed)
    while done < kills:
        place, killed, lives = folder / f"after {done} kills", True, 0
        while killed:
            until = draw.uniform(0, seconds / 2) if done < kills else None
            killed, _ = one_life(place, url, until, program)
            done, lives = done + killed, lives + 1
        assert left(place) == whole, f"{lives} lives, seed {seed}"
    assert len(whole) > 3
    runs = Store(folder / "whole", url or None).runs()
    assert {(row.done, row.status) for row in runs} == {(25, "done")}


@pytest.mark.promise("P55")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_random_instants(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, "", KILLS)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_at_random_instants_with_postgresql(tmp_path: Path, postgres_url: str) -> None:
    kill_and_compare(tmp_path, postgres_url, -(-KILLS // 3))


@pytest.mark.promise("P614")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("kind", ["tracking", "compressed", *["hidden"][: KILLS // 10]])
def test_peers_killed_at_random_instants(tmp_path: Path, kind: str) -> None:
    kill_and_compare(tmp_path, "", -(-KILLS // 6), AMONG_PEERS.replace("KIND", repr(kind)))


# Each life is a fork of a program that has imported everything and opened nothing.
LINES = (
    PROGRAM.replace("ROUNDS", "5")
    + """
def fork(body, *arguments):
    child = os.fork()
    if child == 0:
        try:
            body(*arguments)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    code = os.waitpid(child, 0)[1]
    assert code in (0, signal.SIGKILL), code
    return code == 0

def doomed(folder, line):
    # Go on for one round; die at the line-th line of the store's own code from `resume` on, as far as the commit goes.
    # With no line to die at, write down how many there are.
    passed = 0
    def local(frame, event, arg):
        nonlocal passed
        passed += event == "line"
        if passed == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return local
    def mark(what):
        ours = lambda frame, event, arg: local if "/hansa/store/" in frame.f_code.co_filename else None
        sys.settrace(ours if what else None)
    life(folder, "", 4, mark)
    assert line is None
    Path(folder, "lines").write_text(str(passed))

def left(folder):
    (run,) = (path for path in Path(folder).iterdir() if path.is_dir())
    return {path.name: path.read_bytes() for path in run.iterdir() if path.name != "lock"}

def main(here, kills):
    import alembic.script, hansa.store   # once, before all forks
    base, whole, place = f"{here}/base", f"{here}/whole", f"{here}/place"
    fork(life, base, "", 3), fork(life, whole, "")
    shutil.copytree(base, place)
    fork(doomed, place, None)
    lines = int(Path(place, "lines").read_text())
    step = max(1.0, lines / int(kills))
    for i in range(int(lines / step)):
        line = 1 + int((i + random.random()) * step)
        shutil.rmtree(place)
        shutil.copytree(base, place)
        assert not fork(doomed, place, line), line
        assert fork(life, place, "")
        assert left(place) == left(whole), line
    print(lines)

main(*sys.argv[1:])
"""
)


@pytest.mark.promise("P55")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_killed_at_any_line_of_a_commit(tmp_path: Path) -> None:
    with start(LINES, tmp_path, 5 * KILLS) as child:
        out, errors = child.communicate()
    assert child.returncode == 0, errors
    assert int(out) > 100, "so few lines cannot have been a commit"


# --- what a round changes, when the round comes to nothing, or its clients live elsewhere ---


class Fussy(Sum):
    """A sum that fails when it is too small, after the clients have trained for it."""

    def server(self, channel: Any, cohort: Sequence[str], decode: Any) -> Any:
        mean, participants = super().server(channel, cohort, decode)
        if len(participants) < 4:
            raise RoundError(f"{len(participants)} are too few.")
        return mean, participants


def hospital(plan: Plan) -> list[Client]:
    keys = {who: Key.of(1).child(who) for who in "abcdef"}
    data = {who: (key.normal((20, 5)), key.child("y").integers(20).astype(np.int64) % 3) for who, key in keys.items()}
    return [Client(who, plan, one) for who, one in data.items()]


def plan_of(**pieces: Any) -> Plan:
    return Plan(Softmax(5, 3), Scaffold(Adam(0.1)), (Weigh("one"),), training=Training(batch=5), rounds=8, **pieces)


@pytest.mark.promise("P55")
def test_clients_forget_a_round_that_failed(tmp_path: Path) -> None:
    plan, network = plan_of(aggregator=Fussy()), Network(drop=0.4)
    *_, whole = synchronous(plan, whole_runtime := InProcess(hospital(plan), network))
    run, failed = Store(tmp_path).new("", plan.digest, "", {}), 0
    for _ in range(plan.rounds):  # each round in another life
        runtime = InProcess(hospital(plan), network)
        runtime.memory.load(run.memory())
        state = next(synchronous(plan, runtime, run.state()))
        assert {*state.participants, *state.excluded} == set("abcdef")
        run.commit(state, runtime.memory.learnt(state.counted))
        failed += bool(state.skipped)
    assert 0 < failed < plan.rounds
    assert run.state().x.tobytes() == whole.x.tobytes()
    for who, memo in whole_runtime.memory.of("abcdef").items():
        assert run.memory()[who]["c"].tobytes() == memo["c"].tobytes()


def test_a_run_may_move_from_processes_into_one(tmp_path: Path) -> None:
    plan = plan_of()
    *_, whole = synchronous(plan, InProcess(hospital(plan)))
    run, runtime = Store(tmp_path).new("", plan.digest, "", {}), Processes(hospital(plan), workers=2)
    for state in synchronous(plan, runtime):
        run.commit(state, runtime.memory.learnt(state.counted))
        if state.round == 4:
            break
    runtime.close()
    runtime = InProcess(hospital(plan))
    runtime.memory.load(run.memory())
    *_, resumed = synchronous(plan, runtime, run.state())
    assert resumed.x.tobytes() == whole.x.tobytes()
