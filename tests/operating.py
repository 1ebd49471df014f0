"""Real sites as processes on this machine, for tests: a server and clients, each with a log, started and ended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hansa import sandbox
from hansa.approval.approvals import approve
from hansa.approval.packing import pack
from hansa.kits.provision import KITS, Design, provision
from hansa.store import Store

Env = Mapping[str, str] | None
HOST = "127.0.0.1"
PATIENCE = 90  # seconds until a process that says nothing counts as stuck
CLIENTS = ("east", "north", "west")
NO_SANDBOX = ("--no-isolation",) if sandbox.fault() else ()  # on such a machine it is another test that says so
APP = '''
import os, time
from pathlib import Path
import numpy as np
import hansa

def read(path):
    """Ten examples; slowly, where a test wants that."""
    slow = Path(path).with_suffix(".slow")
    if slow.exists():
        print("reading")
        until = time.monotonic() + float(slow.read_text())
        while slow.exists() and time.monotonic() < until:
            time.sleep(0.02)
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    return table[:, :-1], table[:, -1].astype(int)

plan = hansa.Plan(
    hansa.Softmax(3, 2),
    pipe={pipe},
    training=hansa.Training(batch=5),
    sample={sample},
    rounds={rounds},
)
app = hansa.App(plan, hansa.Sites(read, str(Path(__file__).parent / "data" / "*.csv")), {more})
'''


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def wait_until(so: Callable[[], bool]) -> None:
    """Until it is so."""
    until = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < until
        time.sleep(0.02)


@dataclass
class Process:
    """One command of hansa's, and what it has said on stderr and stdout."""

    folder: Path
    name: str
    words: tuple[str, ...]
    env: Env = None  # by default this process's own
    child: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.out, self.err = self.folder / f"{self.name}.out", self.folder / f"{self.name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            command = [sys.executable, "-m", "hansa", *self.words]
            self.child = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=err, env=self.env)

    @property
    def said(self) -> str:
        return self.err.read_text() + self.out.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Lines of JSON on stderr."""
        return [json.loads(line) for line in self.err.read_text().splitlines() if line.startswith("{")]

    def wait_for(self, *words: str, times: int = 1) -> None:
        """Until it has said all of these."""
        until = time.monotonic() + PATIENCE
        while not all(self.said.count(one) >= times for one in words):
            assert time.monotonic() < until, f"{self.name} has not said {words}: {self.said}"
            assert self.child.poll() is None or all(self.said.count(one) >= times for one in words), self.said
            time.sleep(0.02)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.child.send_signal(number)

    def code(self, seconds: float = PATIENCE) -> int:
        return self.child.wait(seconds)


class Federation:
    """Kits and data of three clients in a folder, and their processes; a context manager."""

    def __init__(self, folder: Path, rounds: int = 400, **plan: str):
        self.folder = folder
        self.port = free_port()
        told = {"sample": "hansa.Everyone(quorum=3, deadline=600)", "pipe": "(hansa.Weigh('one'),)", "more": ""}
        (folder / "app.py").write_text(APP.format(rounds=rounds, **{**told, **plan}))
        (folder / "data").mkdir()
        for i, who in enumerate(CLIENTS):
            rows = [f"{j % 3 + i},{j / 7},{(i + j) % 5},{j % 2}" for j in range(10)]
            (folder / "data" / f"{who}.csv").write_text("\n".join(rows))
        parties = {"server": "server", **dict.fromkeys(CLIENTS, "client")}
        provision(Design("study", f"{HOST}:{self.port}", parties=parties), folder / "pki")
        for who in CLIENTS:
            approve(folder / "pki" / KITS / who, pack(folder / "app.py"), "officer")
        self.running: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self.running:
            if one.child.poll() is None:
                one.child.kill()
                one.child.wait()

    def kit(self, who: str) -> Path:
        return self.folder / "pki" / KITS / who

    def start(self, name: str, *words: str, env: Env = None) -> Process:
        self.running.append(Process(self.folder, name, words, env))
        return self.running[-1]

    def serve(self, *more: str, app: str = "app.py", env: Env = None) -> Process:
        target = (app,) if "--resume" not in more else ()
        listen = f"{HOST}:{self.port}"
        return self.start(
            "server", "serve", *target, "--kit", str(self.kit("server")), "--listen", listen, *more, env=env
        )

    def join(self, who: str, *more: str, env: Env = None) -> Process:
        words = "app.py", "--kit", str(self.kit(who)), "--data", f"data/{who}.csv", "--reads", "data"
        return self.start(who, "join", *words, *NO_SANDBOX, *more, env=env)

    def join_all(self, *more: str) -> dict[str, Process]:
        return {who: self.join(who, *more) for who in CLIENTS}

    @property
    def run(self) -> Any:
        """The one run of the store."""
        (found,) = Store(self.folder / "runs").runs()
        return Store(self.folder / "runs").open(found.id)


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of a page of the port for operators."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def number(text: str, name: str) -> float:
    """One number of a page of metrics."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[-1])


def status_of(pid: int) -> dict[str, str]:
    """What Linux says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def limits_of(pid: int) -> str:
    """What a process may use, as Linux says it."""
    return Path(f"/proc/{pid}/limits").read_text()
