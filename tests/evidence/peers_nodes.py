"""Sixteen real nodes without a server: four are killed, and then eight and eight are parted, and meet again.

python -m tests.evidence.peers_nodes [ROUNDS]     writes benchmarks/results/peers_nodes.json

Each node is a process with its kit on a host of its own (`tests.evidence.network`), and speaks over TLS with four
neighbours on a torus. The first eight have examples of two classes alone, and the last of two others.
In a first run four nodes are killed and started again, and no word is lost: all models have the bytes of a simulation.
In a second one the hub lets nothing pass between the first eight and the last for a while. How far the models are from
their mean is read from the mail of all nodes, which lies on their disks. It takes root.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import save
from tests.evidence.network import Network, ip
from tests.meeting import simulated

from hansa import sandbox
from hansa.approval.approvals import approve
from hansa.approval.packing import pack
from hansa.cli.target import app_of
from hansa.codec import loads, read
from hansa.config.run import Config
from hansa.kits.provision import KITS, Design, provision

NAMES = tuple(f"peer-{i:02d}" for i in range(16))
HALVES = NAMES[:8], NAMES[8:]
ROUNDS, DEADLINE = 60, 4.0
NO_SANDBOX = ("--no-isolation",) if sandbox.fault() else ()
APP = """
from pathlib import Path
import numpy as np, hansa

def read(path):
    z = np.load(path)
    return z["X"], z["y"]

plan = hansa.Plan(
    hansa.Softmax(16, 4),
    pipe=(hansa.Weigh("one"),),
    training=hansa.Training(batch=16, learning_rate=0.05),
    sample=hansa.Everyone(deadline=DEADLINE),
    rounds=ROUNDS,
)
data = hansa.Sites(read, str(Path(__file__).parent / "data/*.npz"))
app = hansa.App(plan, data, loop=hansa.gossip(graph=hansa.Torus()), secret=hansa.Key.of(7))
"""


def dealt(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Each node's examples, of two of four classes, others in each half; and a test set of all."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 16))
    (folder / "data").mkdir()
    for i, who in enumerate(NAMES):
        y = rng.choice([0, 1] if i < 8 else [2, 3], 120)
        np.savez(folder / "data" / f"{who}.npz", X=centres[y] + rng.normal(size=(120, 16)), y=y)
    y = rng.integers(0, 4, 2000)
    return centres[y] + rng.normal(size=(2000, 16)), y


class Run:
    """Sixteen nodes on their hosts."""

    def __init__(self, folder: Path, network: Network, rounds: int, deadline: float):
        self.folder, self.network = folder, network
        (folder / "app.py").write_text(f"ROUNDS, DEADLINE = {rounds}, {deadline}\n" + APP)
        self.test = dealt(folder)
        listens = {who: f"10.77.{i}.2:7443" for i, who in enumerate(NAMES, 1)}
        design = Design("study", "", parties=dict.fromkeys(NAMES, "peer"), addresses=listens)
        provision(design, folder / "pki")
        for who in NAMES:
            approve(self.kit(who), pack(folder / "app.py"), "officer")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def kit(self, who: str) -> Path:
        return self.folder / "pki" / KITS / who

    def start(self, who: str) -> None:
        """Let a node begin, or begin again."""
        words = ("peer", "app.py", "--kit", str(self.kit(who)), "--data", f"data/{who}.npz", "--repeats", *NO_SANDBOX)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with open(self.folder / f"{who}.log", "a") as log:
            line = [*self.network.at(who), sys.executable, "-m", "hansa", *words]
            self.processes[who] = subprocess.Popen(line, cwd=self.folder, stdout=log, stderr=log, env=env)

    def kill(self, who: str) -> None:
        """As a power cut would."""
        self.processes[who].send_signal(signal.SIGKILL)
        self.processes[who].wait()

    def round(self, who: str) -> int:
        """How many rounds a node has said that it is done with."""
        said = (self.folder / f"{who}.log").read_text() if (self.folder / f"{who}.log").exists() else ""
        done = [line.split("round ")[1].split(":")[0] for line in said.splitlines() if ": trained" in line]
        return int(done[-1]) if done else 0

    def wait_for(self, round: int) -> None:
        """Until all have so many rounds done."""
        until = time.monotonic() + 900
        while min(map(self.round, NAMES)) < round:
            assert time.monotonic() < until, f"{self.folder} does not go on"
            time.sleep(0.2)

    def end(self) -> None:
        """Until all are over."""
        codes = {who: one.wait(900) for who, one in self.processes.items()}
        assert not any(codes.values()), codes

    def said(self) -> dict[str, np.ndarray]:
        """What each node has said last, by a copy of its mail."""
        found = dict[str, np.ndarray]()
        for who in NAMES:
            with tempfile.TemporaryDirectory() as place:
                for path in self.kit(who).glob("mail*"):
                    shutil.copy(path, place)
                mail = sqlite3.connect(Path(place) / "mail")
                ((state,),) = mail.execute("SELECT state FROM runs")
                mail.close()
            found[who] = np.array(loads(state)["peer"]["y"])
        return found

    def apart(self) -> float:
        """How far the nodes are from their mean, √(Σᵢ ‖yᵢ − x‖²/n)."""
        said = np.stack(list(self.said().values()))
        return float(np.sqrt(((said - said.mean(0)) ** 2).sum(1).mean()))

    def models(self) -> dict[str, np.ndarray]:
        """Each node's own model."""
        return {who: np.array(read(next((self.kit(who) / "models").iterdir()))[-1]["x"]) for who in NAMES}

    def skips(self) -> int:
        """How often a node found that the others had gone on."""
        return sum((self.folder / f"{who}.log").read_text().count("have gone on") for who in NAMES)


def accuracy(app: Any, models: dict[str, np.ndarray], test: Any) -> float:
    """The mean accuracy of the nodes' own models."""
    return float(np.mean([app.known_plan.model.score(x, test)["accuracy"] for x in models.values()]))


def killed(network: Network, rounds: int) -> dict[str, Any]:
    """A run in which four nodes are killed, one after another, and started again."""
    run = Run(Path(tempfile.mkdtemp()), network, rounds, 300.0)
    for who in NAMES:
        run.start(who)
    for i, who in enumerate(NAMES[1::4], 1):
        run.wait_for(i * rounds // 6)
        run.kill(who)
        run.start(who)
    run.end()
    app = app_of(Config(str(run.folder / "app.py")))
    wanted, found = simulated(app), run.models()
    return {
        "run": "four killed, and started again",
        "nodes": len(NAMES),
        "rounds": rounds,
        "kills": 4,
        "same_bytes": all(np.array_equal(found[who], wanted[who]) for who in NAMES),
        "skips": run.skips(),
        "accuracy": accuracy(app, found, run.test),
        "accuracy_simulated": accuracy(app, wanted, run.test),
    }


def passing_on(network: Network) -> None:
    """Let the hub carry what is for others."""
    forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    subprocess.run([*network.at(), "sh", "-c", forward], check=True)


def part(network: Network, apart: bool) -> None:
    """Let the hub pass nothing between the halves, or all again."""
    for here, there in (HALVES, HALVES[::-1]):
        for who in here:
            for other in there:
                i = NAMES.index(other) + 1
                host = network.at(who)[-1]
                ip("-n", host, "route", "add" if apart else "del", "blackhole", f"10.77.{i}.2/32")


def parted(network: Network, rounds: int) -> dict[str, Any]:
    """A run that is parted for a third of its rounds, and healed."""
    run = Run(Path(tempfile.mkdtemp()), network, rounds, DEADLINE)
    for who in NAMES:
        run.start(who)
    run.wait_for(rounds // 3)
    before = run.apart()
    part(network, True)
    begun = max(map(run.round, NAMES))
    run.wait_for(begun + 6)
    torn = run.apart()
    ended = max(map(run.round, NAMES))
    part(network, False)
    run.wait_for(ended + (rounds - ended) // 2)
    healed = run.apart()
    run.end()
    app = app_of(Config(str(run.folder / "app.py")))
    found = run.models()
    return {
        "run": "eight and eight parted, and met again",
        "nodes": len(NAMES),
        "rounds": rounds,
        "parted_from_round": begun,
        "parted_until_round": ended,
        "apart_before": before,
        "apart_when_parted": torn,
        "apart_when_healed": healed,
        "apart_at_the_end": run.apart(),
        "skips": run.skips(),
        "accuracy": accuracy(app, found, run.test),
        "accuracy_simulated": accuracy(app, simulated(app), run.test),
    }


def main(rounds: int = ROUNDS) -> int:
    """Both runs; 1 where the first has other bytes than a simulation, or the second does not come together again."""
    rows = list[dict[str, Any]]()
    for one in (killed, parted):
        with Network(NAMES) as network:
            passing_on(network)
            rows.append(one(network, rounds))
        print(json.dumps(rows[-1]), flush=True)
        save("peers_nodes", rows)
    together = rows[1]["apart_when_healed"] < rows[1]["apart_when_parted"]
    near = abs(rows[1]["accuracy"] - rows[1]["accuracy_simulated"]) < 0.02
    return int(not (rows[0]["same_bytes"] and together and near))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
