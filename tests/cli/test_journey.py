"""A first day with hansa in a terminal of 80 × 24: from a checkout to exported weights, and nothing is cut off.

Steps stand in STEPS, in their order; each is one command with the words that it has to show. `{run}` is the run that
was stopped, `{other}` another one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cli.terminal import COLUMNS, Shown, typed

ROOT = Path(__file__).resolve().parents[2]
APP = """
import time
import numpy as np
import hansa

class Patient(hansa.Softmax):  # so that there is time to press Ctrl-C
    def train(self, *arguments):
        time.sleep(0.1)
        return super().train(*arguments)

rng = np.random.default_rng(0)
def records(n):
    X = rng.normal(size=(n, 3))
    return X, (X @ [1.0, -2.0, 0.5] > 0).astype(int)

data = {who: records(40) for who in ("general hospital", "referral centre", "rural hospital")}
plan = hansa.Plan(Patient(3, 2), pipe=(hansa.Clip(5.0, side=9.0), hansa.Weigh("one")),
                  training=hansa.Training(learning_rate=0.2, validation=0.25), rounds=4)
app = hansa.App(plan, data, records(30))
"""


@dataclass(frozen=True)
class Step:
    """One command, the words that it shows, and how it ends."""

    words: str
    shows: Sequence[str]
    code: int = 0
    stop_at: str = ""


STEPS = (
    Step("", ["Usage: hansa", "new", "doctor"]),
    Step("new", ["hospitals", "no patient's record leaves its hospital", "keyboard"]),
    Step("new hospitals .", ["hospitals.py, README.md. Run it: hansa run hospitals.py"]),
    Step("new hospitals .", ["error: . is there already.", "Name a new folder."], code=2),
    Step("check mine.py", ["the plan holds together, and all 3 clients can take part"]),
    Step("data mine.py", ["referral centre", "rural hospital"]),
    Step("explain mine.py", ["What a client sends", "Who sees what", "Warnings"]),
    Step("explain mine.py --html asked.html", ["wrote asked.html"]),
    Step("run mine.py", ["Stopped after", "Go on with: hansa run --resume"], code=130, stop_at="round 1 of 4"),
    Step("run --resume {run}", ["round 4 of 4", "On the central test", "federated", "report.html"]),
    Step("sweep mine.py --set training.learning_rate=0.1,0.2 --rounds 1", ["2 of 2", "training.learning_rate"]),
    Step("runs", ["{run}", "mine.py", "done"]),
    Step("show {run}", ["{run}", "4 of 4", "Clip(norm=5.0"]),
    Step("compare {run} {other}", ["{run}", "{other}", "loss, on the central test"]),
    Step("export {run} model.safetensors", ["model.safetensors: the weights of run {run} after round 4."]),
    Step("ui --port 0", ["http://127.0.0.1:"], stop_at="http://127.0.0.1:"),
    Step("export nope model.safetensors", ["error: There is no run 'nope'", "Did you mean"], code=2),
)


@pytest.fixture(scope="module")
def hansa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from the checkout into a new environment; what it needs is that of the tests."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", "--no-deps", str(ROOT)], check=True)
    (packages,) = (place / "lib").glob("python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return place / "bin" / "hansa"


@pytest.mark.promise("P713")
def test_a_first_day(hansa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # what is installed runs, and no other
    fresh = tmp_path / "my-app"
    fresh.mkdir()
    known: dict[str, str] = {}
    for step in STEPS:
        shown = typed([str(hansa), *step.words.format(**known).split()], fresh, step.stop_at)
        assert shown.code == step.code, f"{step.words}: {shown.text}"
        check_readable(shown, step.words)
        for words in step.shows:
            assert words.format(**known) in unbroken(shown.text), f"{step.words}: {words}\n{shown.text}"
        if step.words.startswith("new hospitals"):
            (fresh / "mine.py").write_text(APP)
        ids = sorted(one.name for one in fresh.glob("runs/2*"))
        known = dict(zip(("run", "other"), ids, strict=False))
    assert (fresh / "model.safetensors").stat().st_size > 0
    assert "site-packages" in where(hansa)


def where(hansa: Path) -> str:
    """Where the hansa that ran lies."""
    python = hansa.with_name("python")
    told = subprocess.run(
        [python, "-c", "import hansa; print(hansa.__file__)"], capture_output=True, text=True, check=True
    )
    return told.stdout


def check_readable(shown: Shown, words: str) -> None:
    """No traceback, no table wider than the terminal, and no word that was cut.

    A sentence may be longer, for a terminal goes on with it in the next line; what is laid out in columns may not.
    """
    assert "Traceback" not in shown.text, shown.text
    for line in shown.lines:
        if "  " in line.strip() or "─" in line:
            assert len(line) <= COLUMNS, f"{words}: {line}"
    cut = [word for word in re.findall(r"\S*…\S*", shown.text) if not ALLOWED.search(word)]
    assert not cut, f"{words}: {cut}\n{shown.text}"


ALLOWED = re.compile(r"^\S*[=(\[:] ?…|^…[\"')\]]|^\"?…\"?$")  # name=…, (…): what is to be filled in


def unbroken(text: str) -> str:
    """A text without the line breaks of the terminal."""
    return " ".join(text.split())
