"""An app with a module and a data file of its own, a federation that approves it, and the command line for tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tests.kits import federation
from typer.testing import CliRunner, Result

from hansa import Client, Policy
from hansa.approval.bundle import Bundle
from hansa.approval.packing import pack
from hansa.cli import commands
from hansa.kits import Kit
from hansa.kits.authority import Authority

APP = '''"""Who has what."""

from pathlib import Path

import numpy as np

import hansa
from words import clean

BUNDLE = ("start.txt",)
HERE = Path(__file__).parent
try:
    (HERE / "ran").touch()
except PermissionError:  # in a worker
    pass
assert (HERE / "start.txt").read_text() == "0 0 0"


def read(path):
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    return clean(table[:, :-1]), table[:, -1].astype(int)


plan = hansa.Plan(
    hansa.Softmax(3, 2),
    pipe=(hansa.Clip(1.0), hansa.Weigh("one"), hansa.GaussianNoise(6.0)),
    training=hansa.Training(batch=8, report=False),
    sample=hansa.Everyone(quorum=2, deadline=60),
    rounds=4,
)
app = hansa.App(plan, hansa.Sites(read, str(HERE / "data" / "*.csv")))
'''
WORDS = "def clean(table):\n    return table.astype('float32')\n"
PARTIES = {"server": "server", "north": "client", "south": "client", "auditor": "helper"}


def study(folder: Path) -> Path:
    """The app, with what it names and what it does not, in a folder."""
    (folder / "data").mkdir(parents=True)
    (folder / "heart.py").write_text(APP)
    (folder / "words.py").write_text(WORDS)
    (folder / "start.txt").write_text("0 0 0")
    (folder / "other.py").write_text("raise SystemExit")
    for i, who in enumerate(("north", "south")):
        np.savetxt(folder / "data" / f"{who}.csv", records(i), delimiter=",")
    return folder / "heart.py"


def records(seed: int) -> np.ndarray:
    """24 examples: three numbers, and which of two classes."""
    X = np.random.default_rng(seed).normal(size=(24, 3))
    return np.column_stack([X, X.sum(axis=1) > 0])


def parties(folder: Path) -> Authority:
    """A federation with two clients, a helper and a server."""
    return federation(folder, "heart study", PARTIES)  # type: ignore[arg-type]


def kit(made: Authority, who: str) -> Path:
    """The folder of a kit."""
    return made.folder / "kits" / who


def packed(app: Path) -> Path:
    """The app's bundle, beside its folder."""
    path = app.parent.parent / "heart.bundle"
    path.write_bytes(pack(app).encode())
    return path


def hansa(*words: object) -> Result:
    """A command of the command line."""
    return CliRunner().invoke(commands, [str(word) for word in words])


def ran(folder: Path) -> bool:
    """Has the app run anywhere below this folder?"""
    return any(folder.rglob("ran"))


def written(path: Path, bundle: Bundle) -> Path:
    path.write_bytes(bundle.encode())
    return path


def owner(plan: Any, policy: Policy) -> Client:
    """The party of an owner who allows this."""
    table = records(0)
    return Client("north", plan, (table[:, :-1].astype("float32"), table[:, -1].astype(int)), policy)


def copied(app: Path, folder: Path) -> Path:
    """The app in another folder."""
    shutil.copytree(app.parent, folder)
    return folder / app.name


def kept(made: Authority, who: str) -> Kit:
    return Kit.load(kit(made, who))
