"""Faults between real sites: whatever goes wrong, a run ends with the bytes of one without any.

python -m tests.evidence.faults_sites [FAULTS]     writes benchmarks/results/faults_sites.json

A server, a helper and three sites, each a process with its kit on a host of its own (`tests.evidence.network`), speak
over TLS through what stands between (`tests.evidence.between`): it delays, repeats and reorders what they say. There
are as many runs of 30 rounds as it takes to have FAULTS faults in all, of one sum after the other. A fault is one of

    kill     -9 of the server, of a site or of the helper, which is started again
    cut      of all links at once
    wire     one party's wire is cut for up to four seconds, and joined again
    freeze   a process is stopped for up to three seconds, as a machine that is moved or swaps
    clock    the clock of a process jumps by up to 50 minutes, forwards or back (`clock.c`)
    disk     the server's disk is full; it ends by itself, says so, and is started again when there is room

Messages that come twice or in another order, and parts that come twice, are counted beside. It takes root.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import save
from tests.evidence.network import SERVER, Network

from hansa.approval.approvals import approve
from hansa.approval.packing import pack
from hansa.kits.provision import KITS, Design, provision
from hansa.store import Store

LISTENING, DIALLED = f"{SERVER}:7443", f"{SERVER}:7444"
CLOCK = Path(tempfile.gettempdir()) / f"hansa-clock-{os.getpid()}.so"
DISK = 2**26  # bytes of the server's
SITES = ("north", "south", "west")
HELPER = "auditor as helper"
ROUNDS = 30
APP = """
from pathlib import Path
import numpy as np, hansa

def read(path):
    z = np.load(path)
    return z["X"], z["y"]

PIPE = (hansa.Finite(), hansa.Clip(1.0, side=10.0), hansa.Weigh("examples", cap=100))
WHOLE = (*PIPE, hansa.Quantize(16, of="sum", clients=20))
KINDS = {
    "Sum, SCAFFOLD": dict(algorithm=hansa.Scaffold()),
    "VerifiedSum": dict(pipe=PIPE, aggregator=hansa.VerifiedSum(helpers=("auditor",))),
    "MaskedSum": dict(pipe=WHOLE, aggregator=hansa.MaskedSum()),
    "EncryptedSum": dict(pipe=WHOLE, aggregator=hansa.EncryptedSum()),
}
sample = hansa.Everyone(quorum=3, deadline=600)
plan = hansa.Plan(hansa.Softmax(4, 2), training=hansa.Training(batch=8), sample=sample, rounds=ROUNDS, **KINDS[KIND])
app = hansa.App(plan, hansa.Sites(read, str(Path(__file__).parent / "data/*.npz")), secret=hansa.Key.of(7))
"""


class Party:
    """A process on a host of its own, which is killed and started again."""

    def __init__(self, folder: Path, network: Network, who: str, *command: str):
        self.folder, self.who, self.command = folder, who, command
        self._at = network.at(who)
        self._clock = folder / f"{who}.clock"
        self.jump(0)
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        kit = self.folder / "pki" / KITS / self.who
        line = [*self._at, sys.executable, "-m", "hansa", *self.command, "--kit", str(kit)]
        env = {**os.environ, "CLOCK": str(self._clock), "LD_PRELOAD": str(CLOCK)}
        with open(self.folder / f"{self.who}.log", "a") as log:
            self.process = subprocess.Popen(line, cwd=self.folder, stdout=log, stderr=log, env=env)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def jump(self, minutes: float) -> None:
        """Set its clock by so much."""
        with open(os.open(self._clock, os.O_CREAT | os.O_WRONLY), "wb") as file:
            file.write(struct.pack("<q", int(60 * minutes)))  # in place: it is mapped

    def freeze(self, seconds: float) -> None:
        """Let it stand still."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    @property
    def said(self) -> str:
        """What it has written."""
        return (self.folder / f"{self.who}.log").read_text()


def laid_out(folder: Path, kind: str) -> None:
    """App, data and kits."""
    (folder / "app.py").write_text(f"KIND, ROUNDS = {kind!r}, {ROUNDS}\n" + APP)
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    for who in SITES:
        X = rng.normal(size=(40, 4))
        np.savez(folder / "data" / f"{who}.npz", X=X, y=(X[:, 0] > 0).astype(int))
    roles: dict[str, Any] = {"server": "server", HELPER: "helper", **dict.fromkeys(SITES, "client")}
    provision(Design("study", DIALLED, parties=roles), folder / "pki")
    for who in (*SITES, HELPER):
        approve(folder / "pki" / KITS / who, pack(folder / "app.py"), "officer")


@contextlib.contextmanager
def disk(place: Path) -> Iterator[None]:
    """A small disk at this place."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


class Run:
    """One run, and what goes wrong in it."""

    def __init__(self, folder: Path, kind: str, network: Network, rng: random.Random):
        self.folder, self.rng, self.network = folder, rng, network
        self.counts = Counter[str]()
        self.store = folder / "sites"
        line = [*network.at(), sys.executable, "-m", "tests.evidence.between", str(folder / "pki"), DIALLED, LISTENING]
        self.between = subprocess.Popen([*line, str(folder / "between.json")])
        self._at = ("--listen", LISTENING, "--folder", "sites", "--wait", "600")
        self.server = Party(folder, network, "server", "serve", "app.py", *self._at)
        joining = (("join", "app.py", "--data", f"data/{who}.npz") for who in SITES)
        self.parties = [Party(folder, network, who, *line) for who, line in zip(SITES, joining, strict=True)]
        if kind == "VerifiedSum":
            self.parties.append(Party(folder, network, HELPER, "helper", "app.py"))

    @property
    def runs(self) -> list[Any]:
        """What the store holds, once there is one."""
        return Store(self.store).runs() if any(self.store.iterdir()) else []

    def again(self) -> None:
        """Start the server once more, and let it end a round: else it would never get anywhere."""
        done = self.runs[-1].done
        self.server.command = ("serve", "--resume", self.runs[-1].id, *self._at)
        self.server.start()
        while self.server.process.poll() is None and self.runs[-1].done == done:
            time.sleep(0.1)

    def fault(self) -> None:
        """Something goes wrong."""
        one = self.rng.choice(self.parties)
        any_one = self.rng.choice([self.server, *self.parties])
        what = self.rng.choice(("server", "party", "party", "cut", "wire", "freeze", "clock", "disk"))
        match what:
            case "server":
                self.server.kill()
                self.again()
            case "party":
                one.kill()
                one.start()
            case "cut":
                self.between.send_signal(signal.SIGUSR1)
            case "wire":
                self.network.wire(one.who, "down")
                time.sleep(self.rng.uniform(0.5, 4))
                self.network.wire(one.who, "up")
            case "freeze":
                any_one.freeze(self.rng.uniform(0.5, 3))
            case "clock":
                any_one.jump(self.rng.uniform(-50, 50))
            case "disk":
                self._fill()
        self.counts[what] += 1

    def _fill(self) -> None:
        """No room at the server until it has ended."""
        full = self.store / "full"
        with contextlib.suppress(OSError), open(full, "wb", buffering=0) as file:
            while file.write(bytes(2**12)):
                pass
        code = self.server.process.wait(120)
        assert code, "a server whose disk is full goes on"
        full.unlink()
        self.again()

    def go(self) -> None:
        """Until the run is over."""
        until = time.monotonic() + 1500
        while self.server.process.poll() is None:
            assert time.monotonic() < until, f"{self.folder} does not end"
            time.sleep(self.rng.uniform(0.1, 1.5))
            if self.runs and self.runs[-1].done and self.server.process.poll() is None:
                self.fault()
        assert self.server.process.returncode == 0, self.server.said[-2000:]
        self.end()

    def end(self) -> None:
        """Let all go."""
        for one in self.parties:
            one.process.terminate()
            one.process.wait(60)
        self.between.terminate()
        self.between.wait(60)
        with contextlib.suppress(FileNotFoundError):
            self.counts.update(json.loads((self.folder / "between.json").read_text()))


BESIDE = ("messages twice", "messages in another order", "parts twice")


def one_run(folder: Path, kind: str, rng: random.Random) -> Counter[str]:
    """A run with faults as long as it lasts; how many there were of each sort."""
    laid_out(folder, kind)
    with disk(folder / "sites"), Network([*SITES, HELPER]) as network:
        run = Run(folder, kind, network, rng)
        try:
            run.go()
        finally:
            for one in (run.server, *run.parties):
                one.process.kill()
            run.between.kill()
        shutil.copytree(folder / "sites", folder / "kept")
    return run.counts


def model(store: Path) -> Any:
    """The last state of the one run in a store."""
    (run,) = Store(store).runs()
    return Store(store).open(run.id).state()


def main(faults: int = 200) -> int:
    """Runs of each kind until there were enough faults; 1 where one ended otherwise than without any."""
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", CLOCK, source], check=True)
    kinds = ("Sum, SCAFFOLD", "VerifiedSum", "MaskedSum", "EncryptedSum")
    rng = random.Random(7)
    rows: list[dict[str, Any]] = []
    wrong = 0
    while sum(row["faults"] for row in rows) < faults:
        kind = kinds[len(rows) % len(kinds)]
        folder = Path(tempfile.mkdtemp())
        counts = one_run(folder, kind, rng)
        subprocess.run(
            [sys.executable, "-m", "hansa", "run", "app.py", "--folder", "alone", "--no-compare"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found, wanted = model(folder / "kept"), model(folder / "alone")
        (run,) = Store(folder / "kept").runs()
        skipped = sum(bool(one.skipped) for one in Store(folder / "kept").open(run.id).history())
        same = found.x.tobytes() == wanted.x.tobytes()
        wrong += not same and not skipped
        rows.append(
            {
                "sum": kind,
                "rounds": found.round,
                "faults": sum(n for name, n in counts.items() if name not in BESIDE),
                **counts,
                "skipped": skipped,
                "same_bytes": same,
            }
        )
        print(rows[-1], flush=True)
        save("faults_sites", rows)
        if same:
            shutil.rmtree(folder)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
