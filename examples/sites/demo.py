"""`make sites`: a server, an auditor and three hospitals as processes on this machine, over TLS.

Each approves what it runs, a hospital and the server are killed on the way, and the model is that of
`hansa run`, byte for byte.

python examples/sites/demo.py [--rounds N] [DIR]

DIR: a new folder for kits, data and runs; else a temporary one. N: rounds, 8 at least; else those of the app.
"""

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from hansa import sandbox
from hansa.datasets.heart_disease import heart_disease
from hansa.errors import DataError
from hansa.kits.provision import KITS, Design, provision
from hansa.store import Store

HERE = Path(__file__).parent
HANSA = [sys.executable, "-m", "hansa"]
HOSPITALS = ("cleveland", "hungarian", "va")
HELPER = "auditor as helper"
ROUNDS = 20  # of the app


def records():
    """Each hospital's patients, and those that the model is tested on: X [n, 13] and y [n], side by side."""
    try:
        found = heart_disease(normalise="none")
    except DataError as error:
        sys.exit(f"{error}\nThe records are public; where they lie is named by HANSA_DATA.")
    table = {who: {part: np.column_stack(found[who][part]) for part in ("train", "test")} for who in HOSPITALS}
    test = np.concatenate([table[who]["test"] for who in HOSPITALS])
    return {who: table[who]["train"] for who in HOSPITALS}, test


def laid_out(folder, address, rounds):
    """The app, its data and the kits of all parties in a folder."""
    app = (HERE / "app.py").read_text()
    (folder / "app.py").write_text(app.replace(f"rounds={ROUNDS},", f"rounds={rounds},"))
    data, test = records()
    (folder / "data").mkdir()
    for who, table in data.items():
        np.savetxt(folder / "data" / f"{who}.csv", table, delimiter=",")
    np.savetxt(folder / "test.csv", test, delimiter=",")
    parties = {"server": "server", HELPER: "helper", **dict.fromkeys(HOSPITALS, "client")}
    provision(Design("heart study", address, parties=parties), folder / "pki")


class Party:
    """A process, whose lines are shown under its name."""

    def __init__(self, folder, who, *command):
        self.folder, self.who, self.command = folder, who, command
        self.lines = []
        self.start(*command)

    def start(self, *command):
        """Begin, or begin again."""
        kit = self.folder / "pki" / KITS / self.who
        self.process = subprocess.Popen(
            [*HANSA, *command, "--kit", kit],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._show, args=(self.process,), daemon=True).start()

    def _show(self, process):
        for line in process.stdout:
            self.lines.append(line)
            print(f"{self.who:>17} │ {line}", end="", flush=True)

    def says(self, word, seconds=300):
        """Has it said this, before it has failed?"""
        until = time.monotonic() + seconds
        while not any(word in line for line in self.lines):
            if time.monotonic() > until or self.process.poll() not in (None, 0):
                return False
            time.sleep(0.05)
        return True

    def wait_for(self, word):
        """Until it has said this."""
        if not self.says(word):
            sys.exit(f"{self.who} has not said {word!r}.")

    def kill(self):
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        print(f"{self.who:>17} │ — killed —", flush=True)


def hansa(folder, *command):
    """A command that comes to an end by itself."""
    subprocess.run([*HANSA, *command], cwd=folder, check=True)


def model(folder):
    """The last model of the one run in a store."""
    (run,) = Store(folder).runs()
    return Store(folder).open(run.id).state()


def free():
    """An address of this machine at which nobody listens just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


def served(folder, address):
    """The server; where another program has taken its port meanwhile, at another one, as all kits are told."""
    for _ in range(5):
        server = Party(folder, "server", "serve", "app.py", "--folder", "sites")
        if server.says("Waiting for"):
            return server
        shutil.rmtree(folder / "sites", ignore_errors=True)
        before, address = address, free()
        for about in folder.glob(f"pki/{KITS}/*/kit.toml"):
            about.write_text(about.read_text().replace(before, address))
    sys.exit("The server does not listen.")


def main(folder, rounds):
    address = free()
    laid_out(folder, address, rounds)
    server = served(folder, address)
    hansa(folder, "fetch", "app", "--kit", f"pki/{KITS}/{HOSPITALS[0]}")
    for who in (HELPER, *HOSPITALS):
        hansa(folder, "approve", "app.bundle", "--kit", f"pki/{KITS}/{who}", "--by", "data protection officer")
    app = ["app.bundle", "--repeats"]
    if why := sandbox.fault():
        print(f"The approved app is not kept from keys and network here: {why}.")
        app += ["--no-isolation"]
    helper = Party(folder, HELPER, "helper", *app)
    sites = {who: Party(folder, who, "join", *app, "--data", f"data/{who}.csv") for who in HOSPITALS}

    server.wait_for(f"round {3:>{len(str(rounds))}}/{rounds}")
    sites["va"].kill()
    sites["va"].start(*sites["va"].command)
    server.wait_for(f"round {6:>{len(str(rounds))}}/{rounds}")
    server.kill()
    (run,) = Store(folder / "sites").runs()
    server.start("serve", "--resume", run.id, "--folder", "sites")
    codes = {one.who: one.process.wait(300) for one in (server, helper, *sites.values())}

    print("\nThe same app in one process:")
    hansa(folder, "run", "app.py", "--folder", "alone", "--no-compare")
    between, alone = model(folder / "sites"), model(folder / "alone")
    same = between.x.tobytes() == alone.x.tobytes()
    print(f"\nThe weights are {'the same, byte for byte' if same else 'not the same'}.")
    return int(not same or any(codes.values()))


if __name__ == "__main__":
    told = argparse.ArgumentParser()
    told.add_argument("--rounds", type=int, default=ROUNDS, choices=range(8, 1000), metavar="N")
    told.add_argument("folder", type=Path, nargs="?")
    told = told.parse_args()
    if told.folder is not None:
        told.folder.mkdir()
        sys.exit(main(told.folder.resolve(), told.rounds))
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(Path(made), told.rounds))
