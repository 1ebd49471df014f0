"""What the command line promises: it runs, resumes to the same bytes, and tells every mistake in one paragraph."""

from __future__ import annotations

import ast
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import hansa
from hansa.cli import commands

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("run", "explain", "check", "audit", "calibrate", "runs", "show", "export", "new", "enroll", "provision")
HANSA = [sys.executable, "-c", "from hansa.cli import main; main()"]

APP = """
import time
import numpy as np
import hansa

PAUSE = 0.0

class Slow(hansa.Softmax):
    def train(self, *arguments):
        time.sleep(PAUSE)
        return super().train(*arguments)

rng = np.random.default_rng(0)
def records(n):
    X = rng.normal(size=(n, 3))
    return X, (X @ [1.0, -2.0, 0.5] > 0).astype(int)

data = {who: records(20) for who in ("north", "south", "west")}
training = hansa.Training(learning_rate=0.2, validation=0.25)
plan = hansa.Plan(Slow(3, 2), hansa.Scaffold(), pipe=(hansa.Clip(5.0, side=9.0), hansa.Weigh("one")),
                  training=training, sample=hansa.Uniform(2, quorum=2), rounds=6)
app = hansa.App(plan, data, records(30))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with an app in it, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(APP)
    yield tmp_path


def call(*arguments: object) -> tuple[int, str, str]:
    """Exit code, what went to stdout, what went to stderr."""
    done = CliRunner().invoke(commands, [str(one) for one in arguments], prog_name="hansa")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def ran(*arguments: object) -> str:
    """The id of a run that was run to its end."""
    code, out, err = call("run", *arguments)
    assert code == 0, err
    return re.findall(r"run (\S+)  ", out)[0]


def weights(run: str, folder: str = "runs") -> bytes:
    """The exported weights of a run."""
    code, _, err = call("export", run, "x.safetensors", "--raw", "--folder", folder)
    assert code == 0, err
    x = load_file("x.safetensors")["x"]
    return bytes(x.tobytes())


def started(*arguments: object) -> subprocess.Popen[str]:
    """A real process that runs a command."""
    command = [*HANSA, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Outside(HTMLParser):
    """Finds what a page loads, and its plots."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.plots: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += [value for name, value in attrs if name == "data-plot"]
        for name, value in attrs:
            if name in ("src", "srcset", "href", "style"):
                self.found.append(f"{tag} {name}={value}")
        if tag in ("script", "link", "iframe", "object"):
            self.found.append(tag)


def test_a_run_shows_its_rounds_compares_and_writes_a_report(here: Path) -> None:
    code, out, err = call("run", "mine.py")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    rounds = [line for line in lines if line.startswith("round ")]
    assert [line.split()[1] for line in rounds] == [f"{n}/6" for n in range(1, 7)]
    for line in rounds:
        assert re.search(r"loss \S+  accuracy \S+ %  took part: \w+, \w+  \d", line), line
    for name in ("north alone", "south alone", "west alone", "federated", "all data pooled"):
        assert sum(name in line for line in lines) == 1
    folder = here / re.findall(r"report  (\S+)/report.html", out)[0]
    page = (folder / "report.html").read_text()
    outside = Outside()
    outside.feed(page)
    assert not outside.found and "http" not in page.replace("http-equiv", "")
    assert outside.plots == ["accuracy on the central test", "loss", "accuracy", "who took part"]
    expected = [
        "Who sees what",
        "Participation",
        "The plan, explained",
        "Settings",
        "Versions",
        "Warnings",
        "federated",
    ]
    expected += ["server can see every client&#39;s update", folder.name, f"hansa</th><td>{hansa.__version__}"]
    for words in expected:
        assert words in page, words


def test_a_run_is_followed_live_in_a_terminal(here: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    live = subprocess.Popen([*HANSA, "run", "mine.py"], stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    participants = b""
    try:
        while part := os.read(ours, 65536):
            participants += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert live.wait() == 0, participants.decode()
    screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", participants.decode())
    for words in ("round 6 of 6", "━━━━", "accuracy", "on the central test", "■", "federated", "report.html"):
        assert words in screen, words


def test_a_large_federation_is_not_compared_unless_asked(here: Path) -> None:
    many = APP.replace('("north", "south", "west")', "map(str, range(60))").replace("records(20)", "records(8)")
    (here / "many.py").write_text(many)
    code, out, _ = call("run", "many.py", "--rounds", 2)
    assert code == 0 and "federated" not in out and "round 2/2" in out
    code, out, _ = call("run", "mine.py", "--rounds", 1, "--no-compare")
    assert code == 0 and "federated" not in out


def test_settings_come_from_the_command_line_and_from_a_config(here: Path) -> None:
    a = ran("mine.py", "--rounds", 3, "--seed", 5, "--set", "pipe.0.norm=2", "--no-compare")
    (here / "run.toml").write_text('app = "mine.py"\nrounds = 3\nseed = 5\n[set]\npipe.0.norm = 2\n')
    b = ran("run.toml", "--no-compare")
    plan = (
        '[plan]\npipe = [{use = "Clip", norm = 2.0, side = 9.0}, {use = "Weigh", by = "one"}]\nrounds = 3\nseed = 5\n'
    )
    (here / "plan.toml").write_text(f'app = "mine.py"\n{plan}')
    c = ran("plan.toml", "--no-compare")
    d = ran("run.toml", "--seed", 6, "--no-compare")  # the command line has the last word
    assert weights(a) == weights(b) == weights(c) != weights(d)
    assert ran("--resume", c[:-1], "--no-compare") == c  # the run remembers what the config said


@pytest.mark.promise("P47")
def test_a_profile_changes_nothing_and_says_where_time_goes(here: Path) -> None:
    plain = ran("mine.py", "--no-compare")
    for workers in (0, 2):
        code, out, err = call("run", "mine.py", "--no-compare", "--profile", "--workers", workers)
        assert code == 0, err
        run = re.findall(r"run (\S+)  ", out)[0]
        assert weights(run) == weights(plain)
        parts = dict(re.findall(r"^ (\w+) +(\d+\.\d) ", out, re.MULTILINE))
        assert list(parts) == [
            "send", "train", "encode", "wait", "aggregate", "decode", "step", "score", "commit", "rest"
        ]  # fmt: skip
        notes = Path("runs", run, "profile.txt").read_text().split()
        # as many as there were rounds, and two clients in each, which score the model and train
        assert [notes.count(part) for part in ("round", "commit", "step", "train", "encode")] == [6, 6, 6, 24, 12]


NOISY = APP.replace('hansa.Weigh("one"))', 'hansa.Weigh("one"), hansa.GaussianNoise(1.0))').replace(
    "training=training, sample=hansa.Uniform(2, quorum=2)", "sample=hansa.Everyone(quorum=3)"
)


def test_a_budget_ends_the_run(here: Path) -> None:
    Path("noisy.py").write_text(NOISY.replace("hansa.Scaffold()", "hansa.FedAvg()").replace("side=9.0", "side=1.0"))
    code, out, err = call("run", "noisy.py", "--no-compare", "--budget", "9@1e-3")
    assert code == 0, err
    assert "one more could pass ε = 9 at δ = 0.001" in out and "round 1/6" in out and "round 6/6" not in out


@pytest.mark.parametrize("budget, why", [("much", "ε@δ"), ("4@", "ε@δ"), ("0", "positive"), ("4@2", "probability")])
def test_wrong_budgets_are_refused(here: Path, budget: str, why: str) -> None:
    code, _, err = call("run", "mine.py", "--budget", budget)
    assert code == 2 and why in err and not Path("runs").exists()


def test_a_budget_needs_noise(here: Path) -> None:
    code, _, err = call("run", "mine.py", "--budget", "4")
    assert code == 2 and "cannot be kept" in err


@pytest.mark.promise("P47")
def test_workers_compute_the_same_bytes(here: Path) -> None:
    assert weights(ran("mine.py", "--no-compare")) == weights(ran("mine.py", "--no-compare", "--workers", 2))


def test_the_example_beats_every_hospital_alone() -> None:
    from hansa.app.load import load

    app = load(ROOT / "examples" / "hospitals.py")
    *_, state = app.run()
    accuracy = {row.name: row.scores["accuracy"] for row in app.compare(state)}
    pooled, federated = accuracy.pop("all data pooled"), accuracy.pop("federated")
    assert len(accuracy) == 4
    assert federated > max(accuracy.values()) + 0.02
    assert abs(pooled - federated) < 0.02


# ── stopping and going on ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def slow(here: Path) -> bytes:
    """The weights of a run that nobody stops; after it, the same app takes its time."""
    whole = weights(ran("mine.py", "--no-compare"))
    (here / "mine.py").write_text(APP.replace("PAUSE = 0.0", "PAUSE = 0.15"))
    return whole


@pytest.mark.promise("P55")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_stopped_run_goes_on_to_the_same_bytes(here: Path, slow: bytes, how: signal.Signals, workers: int) -> None:
    process = started("run", "mine.py", "--no-compare", "--workers", workers)
    assert process.stdout is not None
    run = re.findall(r"run (\S+)  ", process.stdout.readline())[0]
    while "round 2/6" not in process.stdout.readline():
        pass
    process.send_signal(how)
    _, err = process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert re.fullmatch(
            rf"Stopped after \d of 6 rounds, all of them stored. Go on with: hansa run --resume {run}\n", err
        )
    else:
        assert process.returncode == -signal.SIGKILL
    status = {signal.SIGINT: "stopped", signal.SIGKILL: "interrupted"}[how]
    assert any(run in line and status in line for line in call("runs")[1].splitlines())
    code, out, err = call("run", "--resume", run, "--no-compare")
    assert code == 0, err
    assert "round 1/6" not in out and "round 6/6" in out
    assert weights(run) == slow


def test_a_run_can_be_made_longer(here: Path) -> None:
    whole = weights(ran("mine.py", "--rounds", 9, "--no-compare"))
    run = ran("mine.py", "--no-compare")
    assert ran("mine.py", "--resume", run, "--rounds", 9, "--no-compare") == run
    assert weights(run) == whole
    assert any(run in line and "9/9" in line for line in call("runs")[1].splitlines())
    assert ran("--resume", run, "--no-compare") == run  # it knows how long it was to be
    code, _, err = call("run", "--resume", run, "--rounds", 8)
    assert code == 2 and "has 9 rounds, and cannot go on to 8" in err


@pytest.mark.promise("P311")
@pytest.mark.guards("a schedule is not stretched")
def test_a_schedule_over_all_rounds_is_not_stretched(here: Path) -> None:
    """Rounds that are done had another learning rate than those of a longer run have."""
    run = ran("mine.py", "--rounds", 2, "--set", 'training.schedule={use = "Cosine"}', "--no-compare")
    code, _, err = call("run", "--resume", run, "--rounds", 4)
    assert code == 2 and "had the learning rates of a run of 2" in re.sub(r"\s+", " ", err)
    run = ran("mine.py", "--rounds", 2, "--set", 'training.schedule={use = "StepDecay", every = 3}', "--no-compare")
    assert ran("--resume", run, "--rounds", 4, "--no-compare") == run


def test_names_of_any_letters_are_shown_as_they_are(here: Path) -> None:
    names = ["../../x", "<script>alert(1)</script>", "Zürich 医院", "$\\frac{$ [bold]red[/]", "n" * 200]
    (here / "mine.py").write_text(APP.replace('("north", "south", "west")', repr(names)))
    code, out, err = call("run", "mine.py", "--rounds", 1)
    assert code == 0 and not err, err
    assert "[bold]red[/]" in out
    report = next(here.glob("runs/*/report.html")).read_text()
    assert "<script" not in report and "&lt;script&gt;alert(1)&lt;/script&gt;" in report
    assert {path.name for path in here.iterdir()} - {"__pycache__"} == {"mine.py", "runs"}


def test_the_password_of_a_store_is_not_shown() -> None:
    from hansa.cli import Place

    place = Place(Path("my runs"), "postgresql://me:secret@host/runs")
    assert place.words() == " --folder 'my runs' --store 'postgresql://me:***@host/runs'"


def test_a_run_that_is_done_can_be_reported_again(here: Path) -> None:
    run = ran("mine.py", "--no-compare")
    report = here / "runs" / run / "report.html"
    report.unlink()
    assert ran("--resume", run) == run
    assert "all data pooled" in report.read_text()


def test_a_run_goes_on_only_with_the_plan_that_it_began_with(here: Path) -> None:
    run = ran("mine.py", "--set", "pipe.0.norm=2", "--rounds", 2, "--no-compare")
    assert call("run", "--resume", run, "--no-compare")[0] == 0  # it remembers its settings
    code, _, err = call("run", "--resume", run, "--seed", 3)
    assert code == 2 and "cannot go on with another seed" in err
    (here / "mine.py").write_text(
        APP.replace("learning_rate=0.2", "learning_rate=0.15")
    )  # longer: Python may keep what it compiled within a second
    code, _, err = call("run", "--resume", run)
    assert code == 2
    assert "learning_rate=0.2" in err and "learning_rate=0.15" in err and "Clip" not in err


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_run_is_told_with_those_there_are(here: Path) -> None:
    run = ran("mine.py", "--rounds", 1, "--no-compare")
    for arguments in (["show", "nope"], ["export", "nope", "x.safetensors"], ["run", "--resume", "nope"]):
        code, _, err = call(*arguments)
        assert code == 2 and "There is no run 'nope'" in err and run in err and "Traceback" not in err


def test_weights_that_cannot_be_written_are_a_failure(here: Path) -> None:
    run = ran("mine.py", "--rounds", 1, "--no-compare")
    code, _, err = call("export", run, "none/x.safetensors")
    assert code == 2 and "none/x.safetensors" in err and "Traceback" not in err


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug_in_the_app_shows_its_own_frames_and_keeps_the_rounds(here: Path, workers: int) -> None:
    broken = """
class Broken(hansa.transforms.Transform):
    def encode(self, v, at):
        return self.rollback() if at.round == 2 else v

    def rollback(self):
        return undefined

plan = hansa.Plan"""
    (here / "bug.py").write_text(APP.replace("\nplan = hansa.Plan", broken).replace("pipe=(", "pipe=(Broken(), "))
    code, out, err = call("run", "bug.py", "--workers", workers)
    assert code == 1
    frames = re.findall(r'File "(.+?)", line \d+, in (\w+)', err)
    assert frames == [(str(here / "bug.py"), "encode"), (str(here / "bug.py"), "rollback")]
    paragraph, run = err.strip().split("\n")[-1], re.findall(r"run (\S+)  ", out)[0]
    assert paragraph.startswith("error: NameError: name 'undefined' is not defined.")
    assert f"2 of 6 rounds are stored. When the cause is gone, go on with: hansa run --resume {run}" in paragraph
    assert any(run in line and "failed" in line for line in call("runs")[1].splitlines())


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    assert re.search(rf"Examples?: hansa {command}", out)
    assert command in call("--help")[1]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, atexit; from hansa.cli import main; sys.argv = ['hansa', 'run', '--help']; "
        "atexit.register(lambda: print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)); main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--resume" in done.stdout
    assert not set(done.stderr.split()) & {"torch", "matplotlib", "sqlalchemy", "alembic", "jinja2", "sklearn", "scipy"}


def test_the_version_is_the_package_s() -> None:
    assert call("--version") == (0, f"hansa {hansa.__version__}\n", "")


def test_explain_tells_the_plan_with_its_settings(here: Path) -> None:
    code, out, err = call("explain", "mine.py", "--set", "pipe.0.norm=3")
    assert (code, err) == (0, "")
    for words in (
        "What a client sends",
        "control",
        "cuts delta, control to norm 3",
        "Who sees what",
        "Warnings",
        "no differential",
    ):
        assert words in out, words


def test_check_says_when_all_is_well(here: Path) -> None:
    code, out, _ = call("check", "mine.py")
    assert code == 0 and "all 3 clients can take part" in out


def test_show_and_export_know_a_run_by_the_beginning_of_its_name(here: Path) -> None:
    run = ran("mine.py", "--rounds", 3, "--no-compare")
    code, out, _ = call("show", run[:-2])
    assert code == 0
    for words in (run, "done", "3 of 3", "Scaffold", "report.html", "mine.py"):
        assert words in out, words
    code, out, _ = call("export", run[:-2], "m.safetensors")
    assert code == 0 and "after round 3" in out
    tensors = load_file("m.safetensors")
    whole = np.concatenate([tensors[name].ravel() for name in ("weight", "bias")])
    assert whole.tobytes() == weights(run)


def test_exported_weights_go_back_into_the_net(here: Path) -> None:
    import torch

    from hansa.app.load import load

    assert call("new", "hospitals", "app")[0] == 0
    run = ran("app/hospitals.py", "--rounds", 2, "--no-compare")
    assert call("export", run, "m.safetensors")[0] == 0
    app = load(here / "app" / "hospitals.py")
    net = app.plan.model.net  # type: ignore[attr-defined]
    net.load_state_dict({name: torch.from_numpy(value) for name, value in load_file("m.safetensors").items()})
    X, y = app.asked().tests.whole.arrays
    with torch.no_grad():
        accuracy = float((net(torch.from_numpy(X)).argmax(1).numpy() == y).mean())
    code, out, _ = call("runs")
    assert code == 0 and f"accuracy {100 * accuracy:.1f} %" in out


def test_new_makes_an_app_that_is_the_example_and_overwrites_nothing(here: Path) -> None:
    code, out, _ = call("new", "hospitals", "my/app")
    assert code == 0 and "hansa run my/app/hospitals.py" in out
    made = here / "my" / "app"
    assert sorted(path.name for path in made.iterdir()) == ["README.md", "hospitals.py"]
    assert len((made / "README.md").read_text().splitlines()) == 5
    example = (ROOT / "examples" / "hospitals.py").read_text()
    assert len(example.splitlines()) <= 60
    ours, theirs = (ast.parse(text) for text in (example, (made / "hospitals.py").read_text()))
    assert [ast.dump(node) for node in ours.body[1:]] == [ast.dump(node) for node in theirs.body[1:]]  # but its name

    (made / "hospitals.py").write_text("mine")
    code, _, err = call("new", "hospitals", "my/app")
    assert code == 2 and "is there already" in err
    assert (made / "hospitals.py").read_text() == "mine"
