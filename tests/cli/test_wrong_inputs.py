"""Wrong input of any kind ends with one paragraph, in one form, and with one exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.cli.wrong import REFUSED, WRONG
from tests.kits import federation
from typer.testing import CliRunner

from hansa.cli import commands

APP = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
def records(n):
    X = rng.normal(size=(n, 3))
    return X, (X @ [1.0, -2.0, 0.5] > 0).astype(int)

data = {who: records(20) for who in ("north", "south", "west")}
plan = hansa.Plan(hansa.Softmax(3, 2), pipe=(hansa.Clip(5.0), hansa.Weigh("one")),
                  sample=hansa.Uniform(2, quorum=2), rounds=1)
app = hansa.App(plan, data, records(30))
"""

FILES = {
    "mine.py": APP,
    "mine.txt": APP,
    "mine.csv": "1,2,3,0\n",
    "mine.json": "{}",
    "other.py": APP.replace("Clip(5.0)", "Clip(6.0)"),
    "[draft].py": "x = 1\n",
    "wrong_plan.py": APP.replace(', hansa.Weigh("one")', ","),
    "raises.py": "x = 1\ny = {}['a']\n",
    "syntax.py": "x = (\n",
    "no_app.py": "x = 1\n",
    "other_app.py": "app = 1\n",
    "missing.py": "import nowhere\n",
    "bad_data.py": APP.replace("return X,", "return X * np.nan,"),
    "full/file": "",
    "bad.toml": "app = ",
    "names_no_app.toml": "rounds = 3\n",
    "gone.toml": 'app = "gone.py"\n',
    "unknown.toml": 'app = "mine.py"\n[set]\npipe.7.norm = 2\n',
    "unknown_piece.toml": 'app = "mine.py"\n[plan]\naggregator = {use = "Summ"}\n',
    "unknown_key.toml": 'app = "mine.py"\nroundz = 3\n',
    "unknown_field.toml": 'app = "mine.py"\n[plan]\nagregator = {use = "Sum"}\n',
    "text_rounds.toml": 'app = "mine.py"\nrounds = "three"\n',
    "set_is_no_table.toml": 'app = "mine.py"\nset = 3\n',
    "app_is_no_text.toml": "app = 3\n",
    "digits.toml": f"rounds = {'9' * 5000}\n",
    "deep.toml": f"tags = {'[' * 100_000}\n",
}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """A folder with apps, configs, two runs and a federation, and what stands for each in the table."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "binary.toml").write_bytes(bytes(range(256)))
    made = federation(folder / "pki")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        here.setattr(sys, "path", list(sys.path))
        found = [call("run", app, "--no-compare")[1].split("run ")[1].split()[0] for app in ("mine.py", "other.py")]
        kits = {name: str(made.folder / "kits" / who) for name, who in (("kit", "north"), ("server", "server"))}
        yield folder, {"run": found[0], "other": found[1], "pki": str(made.folder), **kits}


def call(*words: str) -> tuple[int, str, str]:
    """Exit code, what went to stdout, what went to stderr."""
    done = CliRunner().invoke(commands, list(words), prog_name="hansa")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def check_paragraph(err: str, expected: tuple[str, ...], known: Mapping[str, str]) -> None:
    """One paragraph, which says what is expected, and how to go on."""
    assert "Traceback" not in err
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "This is a bug" not in err, err
    for part in expected:
        assert part.format(**known) in err, err
    assert err.count(". ") + err.count("? ") >= 1, err  # what was found is not all


@pytest.mark.promise("P707")
@pytest.mark.guards("what an error quotes is no markup")
@pytest.mark.parametrize(("words", "expected"), WRONG.items(), ids=WRONG)
def test_wrong_input_is_told_in_one_paragraph(
    there: tuple[Path, Mapping[str, str]], words: str, expected: tuple[str, ...]
) -> None:
    code, _, err = call(*(word.format(**there[1]) for word in words.split()))
    assert code == 2, (code, err)
    check_paragraph(err, expected, there[1])


@pytest.mark.promise("P707")
@pytest.mark.parametrize(("words", "expected"), REFUSED.items(), ids=REFUSED)
def test_what_is_refused_has_a_code_of_its_own(
    there: tuple[Path, Mapping[str, str]], words: str, expected: tuple[str, ...]
) -> None:
    code, _, err = call(*(word.format(**there[1]) for word in words.split()))
    assert code == 3, (code, err)
    check_paragraph(err, expected, there[1])


@pytest.mark.promise("P707")
def test_check_tells_every_problem_in_a_paragraph_of_its_own(there: tuple[Path, Mapping[str, str]]) -> None:
    code, _, err = call("check", "bad_data.py")
    paragraphs = err.splitlines()
    assert code == 2 and len(paragraphs) == 4
    for who, paragraph in zip(("north", "south", "west", "test"), paragraphs, strict=True):
        check_paragraph(f"{paragraph}\n", (who, "NaN"), there[1])


REAL = ("frob", "run none.py", "run [draft]/app.py", "show nope", "kit show none")


@pytest.mark.promise("P707")
@pytest.mark.parametrize("words", REAL)
def test_a_process_says_the_same(there: tuple[Path, Mapping[str, str]], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hansa", *words.split()], capture_output=True, text=True, check=False, cwd=there[0]
    )
    assert done.returncode == 2 and not done.stdout
    check_paragraph(done.stderr, WRONG.get(words, ()), there[1])


@pytest.mark.promise("P707")
@pytest.mark.parametrize(("output", "said"), {">/dev/full": "No space left", ">&-": "output is closed"}.items())
def test_an_output_that_takes_nothing_is_told(output: str, said: str) -> None:
    words = f"{sys.executable} -m hansa new {output}"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    check_paragraph(done.stderr, (said,), {})


def test_every_command_is_in_the_table() -> None:
    typed = {word for words in WRONG for word in words.split()[:2]}
    assert {one.name or one.callback.__name__.rstrip("_") for one in commands.registered_commands} - typed == {"doctor"}
    for group in commands.registered_groups:
        assert group.name in typed


# ── names are no markup ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P708")
@pytest.mark.guards("a name is no markup")
@pytest.mark.parametrize("path", ["[draft]/app.py", "a[/b].py", "[bold]red[/].py"])
def test_paths_are_printed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """What a terminal library takes for its markup stays in every name, on a terminal too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FORCE_COLOR", "1")
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(APP)
    name = Path(path).name
    folder = f"{path}.runs"
    told = [
        call("check", path),
        call("run", path, "--no-compare", "--folder", folder),
        call("runs", "--folder", folder),
    ]
    assert [code for code, _, _ in told] == [0, 0, 0], told
    assert path in plain(told[0][1]) and folder in plain(told[1][1]) and name in plain(told[2][1])
    run = next(one.name for one in Path(folder).iterdir() if one.is_dir())
    told = [
        call("show", run, "--folder", folder),
        call("export", run, f"{path}.safetensors", "--folder", folder),
        call("explain", path),
        call("audit", path, "--attacks", "inversion", "--out", f"{path}.audit"),
        call("bundle", path, "--out", f"{path}.bundle"),
    ]
    assert [code for code, _, _ in told] == [0, 0, 0, 0, 0], told
    for _, out, _ in told[:2] + told[3:]:
        assert path in plain(out), out
    code, _, err = call("predict", run, "x.csv", "--data", f"{path}.data", "--folder", folder)
    assert code == 2 and "Traceback" not in err


@pytest.mark.promise("P708")
def test_no_path_commands_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = "\x1b[31mred.py"
    Path(path).write_text(APP)
    for words in (("new", "hospitals", "\x1b[2J"), ("check", path), ("run", path, "--no-compare")):
        code, out, _ = call(*words)
        assert code == 0 and "\x1b" not in out and "\\x1b" in out


def plain(text: str) -> str:
    """A text without colours, and without the lines that a terminal breaks it into."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\n", "")
