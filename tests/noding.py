"""Real nodes as processes on this machine, for tests: each with its kit, its data and a log, started and killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Self

import numpy as np
from tests.meeting import simulated
from tests.operating import HOST, NO_SANDBOX, Process, free_port

from hansa.approval.approvals import approve
from hansa.approval.packing import pack
from hansa.cli.target import app_of
from hansa.codec import read
from hansa.config.run import Config
from hansa.kits.provision import KITS, Design, provision

APP = """
from pathlib import Path
import numpy as np
import hansa

def read(path):
    table = np.load(path)
    return table["X"], table["y"]

plan = hansa.Plan(
    hansa.Softmax(4, 2),
    pipe={pipe},
    aggregator={aggregator},
    training=hansa.Training(batch=8, learning_rate=0.1),
    sample=hansa.Everyone(deadline={deadline}),
    rounds={rounds},
)
data = hansa.Sites(read, str(Path(__file__).parent / "data" / "*.npz"))
app = hansa.App(plan, data, loop=hansa.gossip(graph={graph}), secret=hansa.Key.of(7))
"""
NOISY = "(hansa.Clip(0.5, side=10.0), hansa.Weigh('one'), hansa.GaussianNoise(0.3, by='each'))"
USUAL = {"pipe": NOISY, "aggregator": "hansa.Sum()", "graph": "hansa.Ring()", "rounds": 4, "deadline": 60}


class Nodes:
    """Kits and data of some nodes in a folder, and their processes; a context manager."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("east", "north", "south", "west"), **given: Any):
        self.folder = folder
        self.names = names
        (folder / "app.py").write_text(APP.format(**{**USUAL, **given}))
        (folder / "data").mkdir()
        for i, who in enumerate(names):
            rng = np.random.default_rng(i)
            X = rng.normal(size=(24, 4)) + i % 3
            np.savez(folder / "data" / f"{who}.npz", X=X, y=(X[:, 0] > X[:, 1]).astype(int))
        self.addresses = {who: f"{HOST}:{free_port()}" for who in names}
        design = Design("study", "", parties=dict.fromkeys(names, "peer"), addresses=self.addresses)
        self.pki = provision(design, folder / "pki")
        for who in names:
            approve(self.kit(who), pack(folder / "app.py"), "officer")
        self.running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self.running.values():
            if one.child.poll() is None:
                one.child.kill()
                one.child.wait()

    def kit(self, who: str) -> Path:
        return self.folder / "pki" / KITS / who

    def start(self, who: str, *more: str) -> Process:
        """Let a node begin, or begin again."""
        words = ("peer", "app.py", "--kit", str(self.kit(who)), "--data", f"data/{who}.npz", "--repeats")
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.running[who] = Process(self.folder, who, (*words, *NO_SANDBOX, *more), env)
        return self.running[who]

    def kill(self, who: str) -> None:
        """As a power cut would."""
        self.running[who].signal(signal.SIGKILL)
        self.running[who].code()

    def model(self, who: str) -> np.ndarray:
        """The node's own model, as its kit has it."""
        (path,) = (self.kit(who) / "models").iterdir()
        *_, vectors = read(path)
        return np.array(vectors["x"])

    def simulated(self) -> dict[str, np.ndarray]:
        """Each peer's own model after the same app in one process."""
        return simulated(app_of(Config(str(self.folder / "app.py"))))
